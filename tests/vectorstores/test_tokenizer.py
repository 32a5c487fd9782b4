"""The tokens of texts and queries: the same tokenizer for every script."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_gemini_mm.vectorstores import Hit, LocalVectorStore
from langchain_gemini_mm.vectorstores.search import fused
from langchain_gemini_mm.vectorstores.tokenizer import (
    MAX_TERMS,
    has_words,
    indexed_text,
    older_terms,
    older_token_terms,
    readable_text,
    terms,
    token_terms,
    tokens,
)
from tests.vectorstores import older_tokenizer
from tests.vectorstores.contract_keywords import SCRIPTS
from tests.vectorstores.fakes import WordEmbeddings

IMAGE = "![](mm://sha256-" + "ab" * 32 + "#t=30,60)"

SCRIPT = st.sampled_from(
    "aZ09äßΣςçİıłøđæþ' _-.,()\"*+#\0\n\u0301\u2019\u00ad\u200c\u200b\u0640'_.,+#  "
    "東京の한국แมวที่हिन्दीज़।كِتَابأحمدیکשָׁлёйїβάΐͅ١۲३ދިབོད🎉👍🏽🇩🇪ｶﾞ½™①ﬁ\U00020000"
)
"""Letters and signs of many scripts."""
ANY_TEXT = st.text(SCRIPT, max_size=30) | st.text(max_size=15)

CUT: list[tuple[str, str, list[str]]] = [
    ("words", "Black cats, black dogs", ["black", "cats", "dogs"]),
    ("an apostrophe", "don't", ["don't"]),
    ("a decimal", "3.5 or 3,5.", ["3.5", "or", "3,5"]),
    ("a full stop without a space", "end.Next", ["end", "next"]),
    ("Japanese", "東京都", ["東 京", "京 都"]),
    ("Japanese and Latin", "東京tower", ["東 京", "tower"]),
    ("one character", "水", ["水"]),
    ("Thai", "แมว", ["แ ม", "ม ว"]),
    ("common words among others", "the cat and the hat", ["the", "cat", "and", "hat"]),
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


def is_in(term: str, text: str) -> bool:
    """Whether a phrase index of the tokens in a text contains a term."""
    placed, wanted = text.split(" "), term.split(" ")
    return any(placed[i : i + len(wanted)] == wanted for i in range(len(placed)))


@settings(max_examples=500)
@given(ANY_TEXT, ANY_TEXT)
def test_both_indexes_contain_the_same_terms(text: str, query: str) -> None:
    """Adjacent characters are found as a phrase in one index and as a token in the other."""
    indexed, known = indexed_text(text + query), set(tokens(text + query))
    for given_text in (query, text + query, text):
        pairs = list(zip(terms(given_text), token_terms(given_text), strict=True))
        assert [is_in(term, indexed) for term, _ in pairs] == [term in known for _, term in pairs]
    assert set(token_terms(text + query)) <= known
    assert bool(terms(text)) == has_words(text)


@settings(max_examples=500)
@given(ANY_TEXT)
def test_tokens_are_folded_completely(text: str) -> None:
    """No token contains white space or a capital, and composition does not matter."""
    for token in tokens(text):
        assert token.casefold().split() == [token]
    assert indexed_text(unicodedata.normalize("NFD", text)) == indexed_text(unicodedata.normalize("NFC", text))


@settings(max_examples=500)
@given(ANY_TEXT, ANY_TEXT)
def test_older_indexes_find_what_they_found(text: str, query: str) -> None:
    """An index that version 0.1.0 made, with phrases or without, is searched for at least the terms of that time."""
    for given_text in (query, text + query):
        older = set(older_tokenizer.token_terms(given_text))
        newer = {*token_terms(given_text), *older_token_terms(given_text)}
        assert older <= newer | set(older_tokenizer.STOP_WORDS)
        phrases = {*terms(given_text), *older_terms(given_text)}
        assert set(older_tokenizer.terms(given_text)) <= phrases


def test_scripts_are_found_where_version_0_1_0_found_them() -> None:
    """For each convention, the older index is searched successfully if it was before."""
    found = 0
    for name, text, query in SCRIPTS:
        older = set(older_tokenizer.tokens(text))
        if older.intersection(older_tokenizer.token_terms(query)):
            assert older.intersection(token_terms(query) + older_token_terms(query)), name
            found += 1
    assert found > len(SCRIPTS) // 2


@pytest.mark.soak
@given(st.lists(ANY_TEXT, min_size=1, max_size=4), ANY_TEXT)
@settings(max_examples=100)
def test_the_local_store_finds_what_the_tokens_say(texts: list[str], query: str) -> None:
    """No text is a syntax error, a text with tokens matches itself, and SQLite changes nothing about the tokens."""
    with LocalVectorStore(":memory:", WordEmbeddings()) as store:
        store.add_texts(texts, ids=[str(i) for i in range(len(texts))])
        for given_text in (query, texts[0]):
            found = {hit.document.id for hit in store.search(given_text, k=9, search_type="keyword")}
            wanted = set(token_terms(given_text))
            assert found == {str(i) for i, text in enumerate(texts) if wanted.intersection(tokens(text))}
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
    assert [hit.document.id for hit in fused(near, worded, 9, alpha=0.0)] == ["c", "b"]
    assert [hit.document.id for hit in fused(near, ranked("d"), 9, alpha=1.0)] == ["a", "b", "c"]
    even, most = (fused(ranked("P", "a"), ranked("a"), 9, alpha=alpha) for alpha in (0.5, 0.9))
    assert even[0].score == pytest.approx(most[0].score) == 2 / 61


def test_fusion_of_scores_with_computed_values() -> None:
    """Each list is scaled to 0 to 1; a list with one value is all 1."""
    near, worded = ranked("a", "b", "c", scores=[0.9, 0.8, 0.5]), ranked("b", "d", scores=[7.0, 7.0])
    hits = fused(near, worded, 9, fusion="scores")
    assert [(hit.document.id, round(hit.score, 6)) for hit in hits] == [("b", 0.875), ("a", 0.5), ("d", 0.5), ("c", 0)]
    assert {hit.score_kind for hit in hits} == {"fused"}
    (best, *_) = fused(near[:2], near[:2], 9, fusion="scores", alpha=0.3)
    assert best.document.id == "a"
    assert best.score == pytest.approx(1)
