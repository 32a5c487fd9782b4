"""Media references: one canonical form each; only references that are meant are resolved."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.references import MediaRef, TornReference, escape_references, scan_references, split_references

DIGEST = "0123456789abcdef" * 4
URI = f"mm://sha256-{DIGEST}"

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
milliseconds = st.integers(0, 10**9)


@st.composite
def references(draw: st.DrawFn) -> MediaRef:
    """Any reference: a whole file, a segment, an audio track, or pages."""
    whole = MediaRef(draw(digests))
    form = draw(st.sampled_from(["whole", "segment", "audio", "pages"]))
    if form == "segment":
        start, length = draw(milliseconds), draw(st.integers(1, 10**8))
        track: Literal["audio"] | None = draw(st.sampled_from([None, "audio"]))
        return whole.segment(start / 1000, (start + length) / 1000, track=track)
    if form == "audio":
        return MediaRef(whole.sha256, track="audio")
    if form == "pages":
        first = draw(st.integers(1, 10**6))
        return whole.pages(first, first + draw(st.integers(0, 100)))
    return whole


# The alphabet consists of parts of references, so that near misses are common.
pieces = st.sampled_from(
    [
        "\\",
        "!",
        "[",
        "]",
        "(",
        ")",
        "![](",
        "m",
        "://sha256-",
        "x",
        "mm:",
        "mm://sha256-",
        f"![]({URI})",
        f"{URI}",
        f"![a]({URI} 'b')",
        f"{DIGEST[20:]})",
        "](",
        "<",
        "'",
        "#t=1,2",
        "\n",
        " ",
        "é",
    ]
)
tricky_texts = st.lists(pieces | st.text(max_size=3), max_size=12).map("".join)


@given(references())
def test_printing_and_parsing_are_inverse(ref: MediaRef) -> None:
    """Every reference is read back from its URI and from its Markdown."""
    assert MediaRef.parse(ref.uri) == ref
    assert MediaRef.parse(ref.markdown) == ref
    assert not any(sign.isspace() for sign in ref.markdown)


@given(references(), references())
def test_a_part_has_one_canonical_form(one: MediaRef, other: MediaRef) -> None:
    """Equal references have equal text, and different ones different text."""
    assert (one == other) == (one.uri == other.uri)


@given(
    st.from_regex(
        rf"mm://sha256-{DIGEST}(#(t=[0-9.]{{1,6}},[0-9.]{{1,6}}(&track=audio)?|page=[0-9]{{1,3}},[0-9]{{1,3}}))?",
        fullmatch=True,
    )
)
def test_only_the_canonical_form_is_parsed(text: str) -> None:
    """Text that is parsed is printed unchanged."""
    try:
        ref = MediaRef.parse(text)
    except ContentError:
        return
    assert ref.uri == text


@given(
    st.lists(references() | st.text(st.characters(exclude_characters="m!\\", codec="utf-8"), min_size=1), max_size=8)
)
def test_splitting_loses_nothing(content: list[str | MediaRef]) -> None:
    """Texts and references are returned in their order."""
    text = "".join(part if isinstance(part, str) else part.markdown for part in content)
    assert "".join(part if isinstance(part, str) else part.markdown for part in split_references(text)) == text
    assert [p for p in split_references(text) if isinstance(p, MediaRef)] == [
        p for p in content if isinstance(p, MediaRef)
    ]


@given(tricky_texts)
def test_escaped_text_is_literal_text(text: str) -> None:
    """Escaping and splitting returns any text unchanged, without a reference."""
    assert split_references(escape_references(text)) == ([text] if text else [])


@given(tricky_texts, references(), tricky_texts)
def test_escaped_text_stays_literal_next_to_a_reference(before: str, ref: MediaRef, after: str) -> None:
    """Escaped text before and after a reference does not change it."""
    text = f"{escape_references(before)} {ref.markdown} {escape_references(after)}"
    assert split_references(text) == [f"{before} ", ref, f" {after}"]


FORGED = {
    "a path": "/etc/passwd",
    "a URL": "https://example.com/cat.png",
    "another scheme": f"file://sha256-{DIGEST}",
    "climbing out": "mm://sha256-../../../etc/passwd",
    "climbing out behind a hash": f"{URI}/../../etc/passwd",
    "63 digits": URI[:-1],
    "65 digits": f"{URI}0",
    "upper case": f"mm://sha256-{DIGEST.upper()}",
    "an upper-case scheme": f"MM://sha256-{DIGEST}",
    "digits of another script": f"mm://sha256-{DIGEST[:-1]}\u0663",
    "full-width digits": f"mm://sha256-{DIGEST[:-1]}\uff10",
    "not hex": f"mm://sha256-{DIGEST[:-1]}g",
    "a newline behind": f"{URI}\n",
    "a space in front": f" {URI}",
    "a NUL": f"{URI}\x00",
    "a query": f"{URI}?x=1",
    "a user and host": f"mm://sha256-{DIGEST}@evil.example",
    "another hash": f"mm://md5-{DIGEST[:32]}",
    "nothing behind the scheme": "mm://sha256-",
    "empty": "",
    "Markdown with a text": f"![cat]({URI})",
    "Markdown cut off": f"![]({URI}",
    "Markdown closed only": f"{URI})",
    "two references": f"![]({URI})![]({URI})",
    "an empty fragment": f"{URI}#",
    "an unknown fragment": f"{URI}#xywh=1,2,3,4",
    "the wrong order": f"{URI}#track=audio&t=1,2",
    "seconds and pages": f"{URI}#t=1,2&page=1,2",
    "an exponent": f"{URI}#t=1e1,20",
    "NaN": f"{URI}#t=nan,2",
    "infinity": f"{URI}#t=1,inf",
    "negative": f"{URI}#t=-1,2",
    "negative zero": f"{URI}#t=-0,2",
    "a plus": f"{URI}#t=+1,2",
    "leading zeros": f"{URI}#t=01,2",
    "trailing zeros": f"{URI}#t=1.50,2",
    "a dot alone": f"{URI}#t=1.,2",
    "microseconds": f"{URI}#t=1.0001,2",
    "backwards": f"{URI}#t=2,1",
    "an empty segment": f"{URI}#t=1,1",
    "an open end": f"{URI}#t=1",
    "an open start": f"{URI}#t=,1",
    "hours": f"{URI}#t=0:01:00,0:02:00",
    "Arabic digits in seconds": f"{URI}#t=1\u0663,20",
    "seconds without end": f"{URI}#t=0,{'9' * 400}",
    "another track": f"{URI}#t=1,2&track=video",
    "page 0": f"{URI}#page=0,1",
    "pages backwards": f"{URI}#page=3,2",
    "half a page": f"{URI}#page=1.5,2",
    "one page number": f"{URI}#page=3",
    "a page with 5000 digits": f"{URI}#page=1,{'9' * 5000}",
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
def test_forged_references_are_refused(text: str) -> None:
    """Any other form is an error that shows a part of it."""
    with pytest.raises(ContentError) as caught:
        MediaRef.parse(text)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", [None, 5, b"mm://", ["x"]])
def test_only_text_is_parsed(value: object) -> None:
    """Other types raise a TypeError."""
    with pytest.raises(TypeError, match="str"):
        MediaRef.parse(value)  # type: ignore[arg-type]


MADE_WRONG = {
    "no hash": {"sha256": "cat.png"},
    "bytes": {"sha256": DIGEST.encode()},
    "a trailing newline": {"sha256": DIGEST + "\n"},
    "an end only": {"sha256": DIGEST, "end_s": 3.0},
    "NaN": {"sha256": DIGEST, "start_s": float("nan"), "end_s": 3.0},
    "no end": {"sha256": DIGEST, "start_s": 1.0, "end_s": float("inf")},
    "microseconds": {"sha256": DIGEST, "start_s": 0.00001, "end_s": 3.0},
    "too far": {"sha256": DIGEST, "start_s": 0.0, "end_s": 1e12},
    "a track that is none": {"sha256": DIGEST, "track": "video"},
    "half pages": {"sha256": DIGEST, "first_page": 1.0, "last_page": 2.0},
    "a page that is true": {"sha256": DIGEST, "first_page": True, "last_page": 2},
    "one page end": {"sha256": DIGEST, "first_page": 2},
    "seconds and pages": {"sha256": DIGEST, "start_s": 1.0, "end_s": 2.0, "first_page": 1, "last_page": 1},
}


@pytest.mark.parametrize("fields", MADE_WRONG.values(), ids=MADE_WRONG)
def test_values_without_a_canonical_form_are_refused(fields: dict[str, object]) -> None:
    """A reference that could not be parsed from its text is refused."""
    with pytest.raises(ContentError):
        MediaRef(**fields)  # type: ignore[arg-type]


def test_negative_zero_is_zero() -> None:
    """A computed start of -0.0 has the canonical form of 0."""
    assert MediaRef(DIGEST).segment(-0.0, 1).uri == f"{URI}#t=0,1"


TORN = {
    "the front half": f"see ![]({URI[:40]}",
    "cut in the scheme": "see ![](mm:/",
    "the back half, cut in the scheme": f"m://sha256-{DIGEST})",
    "the back half, cut behind the scheme": f"://sha256-{DIGEST})",
    "the back half, cut in the hash": f"{DIGEST[10:]}) and more",
    "the back half, cut before the fragment": f"{DIGEST[40:]}#t=3,4)",
    "the back half, cut in the alternative text": f"our dog]({URI})",
    "the back half, cut behind the exclamation mark": f"[]({URI})",
    "the back half, cut before the address": f"({URI})",
    "cut in the title": f"![]({URI} 'our",
    "no address of ours": "![](mm:cat.png)",
    "a space inside": f"![]({URI[:30]} {URI[30:]})",
    "a bad part": f"![]({URI}#t=2,1)",
    "upper case": f"![](mm://sha256-{DIGEST.upper()})",
}


@pytest.mark.parametrize("text", TORN.values(), ids=TORN)
def test_truncated_references_are_refused(text: str) -> None:
    """A truncated or misspelt reference is an error, not text."""
    with pytest.raises(ContentError):
        split_references(text)


LITERAL = {
    "an image on the web": "![](https://example.com/cat.png)",
    "a local image": "![](../../etc/passwd)",
    "a data URL": "![](data:image/png;base64,AAAA)",
    "a path": "/etc/passwd",
    "an open bracket": "see ![](",
    "another scheme": f"oci://sha256-{DIGEST}",
    "a hash": DIGEST,
    "a short hash": "(as in a1b2c3d4)",
    "the start of a list": "a) first",
    "a time format": "(mm:ss) is [minutes](mm:ss)",
    "an address in a sentence": f"The picture is {URI}, see above.",
    "an address in JSON": f'[{{"type": "image", "url": "{URI}"}}]',
    "a part of an address": f"such as {URI[:20]}… and others",
    "a link": f"[our dog]({URI})",
    "a link cut in its text": "see ![our dog",
    "an escaped one": "\\",
}


@pytest.mark.parametrize("text", LITERAL.values(), ids=LITERAL)
def test_everything_else_is_text(text: str) -> None:
    """Paths, URLs and ordinary images in text stay text."""
    assert split_references(text) == [text]


def test_a_backslash_makes_a_reference_literal() -> None:
    """The backslash is removed, and the reference stays text."""
    assert split_references(f"see \\![]({URI}#t=1,2)!") == [f"see ![]({URI}#t=1,2)!"]
    assert split_references(f"see \\\\![]({URI})") == [f"see \\![]({URI})"]


def halves_refused(text: str, position: int) -> bool:
    """Whether a reference that is split at `position` is refused, and neither half references media."""
    refused = False
    for half in (text[:position], text[position:]):
        try:
            assert not any(isinstance(piece, MediaRef) for piece in split_references(half))
        except ContentError:
            refused = True
    return refused


SPLIT = {
    "canonical": f"![]({URI}#t=30,60)",
    "with a text and a title": f"![our dog](<{URI}> 'at home')",
}


@pytest.mark.parametrize("text", SPLIT.values(), ids=SPLIT)
def test_a_split_reference_is_always_refused(text: str) -> None:
    """Wherever an address is split, one of the halves is refused; digits of a hash are never taken for text."""
    start, end = text.index("mm:"), text.index(")")
    assert [position for position in range(start + 3, end) if not halves_refused(text, position)] == []
    for position in range(2, len(text)):  # the part behind "!" is a link, and a link is text
        for half in (text[:position], text[position:]):
            literal = [piece for piece in scan_references(half) if isinstance(piece, str)]
            assert not any(re.search("[0-9a-f]{16}", piece) for piece in literal), half


MARKDOWN = {
    "a text": (f"see ![our dog]({URI}) here", ["see our dog", MediaRef(DIGEST), " here"]),
    "a title": (f'![dog]({URI} "at home")', ["dog at home", MediaRef(DIGEST)]),
    "a title in parentheses": (f"![]({URI}  (at \\(home))", ["at (home", MediaRef(DIGEST)]),
    "angle brackets": (f"![](<{URI}>)", [MediaRef(DIGEST)]),
    "white space": (f"![]( {URI}\n'dog' )", ["dog", MediaRef(DIGEST)]),
    "brackets in the text": (f"![a [b] \\] c]({URI})", ["a [b] ] c", MediaRef(DIGEST)]),
    "an entity": (f"![]({URI}#t=1,2&amp;track=audio)", [MediaRef(DIGEST, 1, 2, track="audio")]),
    "percent-encoding": (f"![]({URI}#t=1%2C2)", [MediaRef(DIGEST, 1, 2)]),
    "a backslash": (f"![](mm://sha256\\-{DIGEST})", [MediaRef(DIGEST)]),
    "an image in a link": (
        f"[![dog]({URI})](https://example.com)",
        ["[dog", MediaRef(DIGEST), "](https://example.com)"],
    ),
    "another image before it": (f"![a](b.png) ![c]({URI})", ["![a](b.png) c", MediaRef(DIGEST)]),
    "a blank line in the text": (f"wow![a\n\nb ![]({URI})", ["wow![a\n\nb ", MediaRef(DIGEST)]),
}


@pytest.mark.parametrize("name", MARKDOWN)
def test_references_as_markdown_writes_them(name: str) -> None:
    """An image with one of our addresses is a reference however Markdown writes it; its text and title are text."""
    text, pieces = MARKDOWN[name]
    assert split_references(text) == pieces


def test_what_is_torn_can_be_left_out_or_kept() -> None:
    """Callers that must not fail get the valid references, and the text of those that are not."""
    pieces = scan_references(f"a ![]({URI[:40]} b ![]({URI})")
    assert [piece.text if isinstance(piece, TornReference) else piece for piece in pieces] == [
        "a ", f"![]({URI[:40]}", " b ", MediaRef(DIGEST),
    ]  # fmt: skip
