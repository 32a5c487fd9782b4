"""The tokens of texts and queries: the same tokenizer for every script."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_gemini_mm.vectorstores import Hit, LocalVectorStore
from langchain_gemini_mm.vectorstores.search import fused
from langchain_gemini_mm.vectorstores.tokenizer import MAX_TERMS, has_words, readable_text, terms, token_terms, tokens
from tests.vectorstores.fakes import WordEmbeddings

IMAGE = "![](mm://sha256-" + "ab" * 32 + "#t=30,60)"

KNOWN = "aZ09äßΣςçİ' _-.,()\"*\0\n\u0301\u2019東京の한국แมวที่हिन्दीكِتَاב"
"""Characters that every SQLite knows; it may be older than the newest letters."""

CUT: list[tuple[str, str, list[str]]] = [
    ("words", "Black cats, black dogs", ["black", "cats", "dogs"]),
    ("an apostrophe", "don't", ["don't"]),
    ("a decimal", "3.5 or 3,5.", ["3.5", "3,5"]),
    ("a full stop without a space", "end.Next", ["end", "next"]),
    ("Japanese", "東京都", ["東 京", "京 都"]),
    ("Japanese and Latin", "東京tower", ["東 京", "tower"]),
    ("one character", "水", ["水"]),
    ("Thai", "แมว", ["แ ม", "ม ว"]),
    ("common words among others", "the cat and the hat", ["cat", "hat"]),
    ("a reference", f"cat {IMAGE} hat", ["cat", "hat"]),
    ("half a reference", "cat ![](mm://sha256-ab", ["cat"]),
]


@pytest.mark.parametrize(("text", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CUT])
def test_a_query_is_split_into_terms(text: str, expected: list[str]) -> None:
    """Each term once, in order."""
    assert terms(text) == expected


def test_a_query_has_a_bounded_number_of_terms() -> None:
    """A long query is truncated."""
    assert len(terms(" ".join(f"w{i}" for i in range(10_000)))) == MAX_TERMS


@pytest.mark.soak
@given(st.text(max_size=60) | st.text(KNOWN, max_size=60))
@settings(max_examples=100)
def test_any_text_is_a_query(text: str) -> None:
    """No text is a syntax error, and a text with tokens matches itself."""
    with LocalVectorStore(":memory:", WordEmbeddings()) as store:
        store.add_texts(["something else", text], ids=["other", "text"])
        found = [hit.document.id for hit in store.search(text, search_type="keyword")]
        assert ("text" in found) == bool(terms(text)) or not set(text) <= set(KNOWN)
        assert terms(text) or "text" not in found
        assert store.check().problems == ()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text", "text"),
        (["a", [b"b", "c"]], "a c"),
        (Document(page_content="page"), "page"),
        ({"type": "text", "text": "block"}, "block"),
        ({"type": "image", "url": "x"}, None),
        (b"bytes", None),
        ([], None),
        (5, None),
    ],
    ids=repr,
)
def test_text_is_read_from_any_content(content: object, expected: str | None) -> None:
    """Content without text gives None."""
    assert readable_text(content) == expected


def test_media_without_text_have_no_tokens() -> None:
    """Their reference is not text."""
    assert not has_words(IMAGE)
    assert not has_words("")
    assert has_words(f"a {IMAGE}")


@settings(max_examples=300)
@given(st.text(alphabet=KNOWN, max_size=20), st.text(max_size=10))
def test_terms_of_a_query_are_among_the_tokens(text: str, other: str) -> None:
    """This holds for any text, for indexes without phrases."""
    assert set(token_terms(text + other)) <= set(tokens(text + other))


def ranked(*ids: str, scores: Sequence[float] = ()) -> list[Hit]:
    """Hits for texts; an id in capitals is an image."""
    return [
        Hit(Document(id=id_, page_content=IMAGE if id_.isupper() else "words"), score, "cosine", rank)
        for rank, (id_, score) in enumerate(zip(ids, scores or [0.0] * len(ids), strict=True), start=1)
    ]


def test_fusion_with_computed_values() -> None:
    """The sums of 1 / (60 + rank); ties are in the order of the first list."""
    hits = fused(ranked("a", "b", "c"), ranked("b", "d"), 3)
    assert [(hit.document.id, hit.rank) for hit in hits] == [("b", 1), ("a", 2), ("d", 3)]
    assert [hit.score for hit in hits] == [1 / 62 + 1 / 61, 1 / 61, 1 / 62]
    assert {hit.score_kind for hit in hits} == {"rank"}
    assert fused([], [], 3) == []


def test_an_image_gets_the_expected_keyword_score() -> None:
    """Of the four texts near the query, two match keywords: half of the image's own score is added."""
    hits = fused(ranked("P", "a", "b", "c", "d"), ranked("a", "b"), 9)
    assert next(hit.score for hit in hits if hit.document.id == "P") == pytest.approx(1.5 / 61)
    assert fused(ranked("P", "Q"), ranked("a"), 9)[0].score == 1 / 61


def test_alpha_weights_the_lists() -> None:
    """Alpha 1 gives the order of vectors, 0 that of keywords; an image never loses for having no text."""
    near, worded = ranked("a", "b", "c"), ranked("c", "b")
    assert [hit.document.id for hit in fused(near, worded, 9, alpha=1.0)] == ["a", "b", "c"]
    assert [hit.document.id for hit in fused(near, worded, 2, alpha=0.0)] == ["c", "b"]
    even, most = (fused(ranked("P", "a"), ranked("a"), 9, alpha=alpha) for alpha in (0.5, 0.9))
    assert even[0].score == pytest.approx(most[0].score) == 2 / 61


def test_fusion_of_scores_with_computed_values() -> None:
    """Each list is scaled to 0 to 1; a list with one value is all 1."""
    near, worded = ranked("a", "b", "c", scores=[0.9, 0.8, 0.5]), ranked("b", "d", scores=[7.0, 7.0])
    hits = fused(near, worded, 9, fusion="scores")
    assert [(hit.document.id, round(hit.score, 6)) for hit in hits] == [("b", 1.75), ("a", 1), ("d", 1), ("c", 0)]
    assert {hit.score_kind for hit in hits} == {"rank"}
