"""Texts over the tokens that a model reads: refused, truncated, or split into parts whose vectors are averaged."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import GeminiEmbeddings
from langchain_gemini_mm.embeddings.long_text import split_long_text
from langchain_gemini_mm.errors import GeminiMMError, MediaLimitError, PartialEmbeddingError
from langchain_gemini_mm.models import cut_text, text_token_range, text_tokens
from langchain_gemini_mm.testing import png

if TYPE_CHECKING:
    from langchain_gemini_mm.testing import GeminiEmulator

LONG = "The weather in spring is mild. " * 2000
"""12,000 words, so certainly more than 8,192 tokens."""
DOUBTFUL = "intergovernmental incomprehensibilities " * 1000
"""2,000 words of 10,001 tokens by estimate."""
FITS = "The weather in spring is mild. " * 500
"""15,500 characters: more than 8,192 tokens are possible, but not the case."""


@pytest.fixture(params=["gemini", "vertex"])
def service(request: pytest.FixtureRequest, emulator: GeminiEmulator) -> dict[str, Any]:
    """Options of the embeddings for each backend."""
    return {"vertexai": request.param == "vertex", "base_url": emulator.url, "output_dimensionality": 128}


def failed(ours: GeminiEmbeddings, how: str, texts: list[str]) -> dict[int, GeminiMMError]:
    """The errors by position; the others must have vectors."""
    with pytest.raises(PartialEmbeddingError) as caught:
        ours.embed_documents(texts) if how == "sync" else asyncio.run(ours.aembed_documents(texts))
    assert sorted({*caught.value.failed, *caught.value.vectors}) == list(range(len(texts)))
    return caught.value.failed


@pytest.mark.parametrize("how", ["sync", "async"])
def test_what_is_certainly_too_long_is_refused(how: str, service: dict[str, Any], emulator: GeminiEmulator) -> None:
    """The error names tokens, limit and remedy, and costs nothing; the other texts get their vectors."""
    error = failed(GeminiEmbeddings(**service), how, ["a", LONG, "b"])[1]

    assert isinstance(error, MediaLimitError)
    assert "input 1: the text has at least 12,004 tokens" in str(error)
    assert "reads 8,192 of one content. Split it, or set on_too_long='split'" in str(error)
    assert emulator.embedded == 2


@pytest.mark.parametrize("how", ["sync", "async"])
def test_what_may_be_too_long_is_sent_and_checked(how: str, service: dict[str, Any], emulator: GeminiEmulator) -> None:
    """It is sent alone, and its vector is refused if the service reports that it truncated it or read the limit."""
    error = failed(GeminiEmbeddings(**service), how, ["a", DOUBTFUL, FITS, "b"])

    assert list(error) == [1]
    assert "input 1: the service truncated the text" in str(error[1])
    assert sorted(request.count for request in emulator.embed_requests) in ([1, 1, 1, 1], [1, 1, 2])


def test_truncated_texts_are_accepted_where_that_is_asked_for(
    service: dict[str, Any], emulator: GeminiEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """What the model reads is sent, not more; tokens and money are those of what it reads; the log says it."""
    ours = GeminiEmbeddings(on_too_long="truncate", **service)
    with caplog.at_level(logging.INFO, "langchain_gemini_mm"):
        vectors = ours.embed_documents([LONG, LONG[:-200] + " and another end of it", DOUBTFUL])

    assert vectors[0] == vectors[1], "they differ only where the model does not read"
    assert ours.usage.estimated_tokens == {"text": emulator.tokens}
    assert all(len(text) < len(LONG) for request in emulator.embed_requests for text in request.texts)
    assert "was truncated to the 8192 tokens" in caplog.text


@pytest.mark.parametrize("how", ["sync", "async"])
def test_split_texts_are_the_weighted_mean_of_their_parts(
    how: str, service: dict[str, Any], emulator: GeminiEmulator
) -> None:
    """All of the text is read, each part as a document of its own, and the vector has unit length."""
    text = LONG + "A recipe for apple pie.\n\n" * 900
    ours = GeminiEmbeddings(on_too_long="split", cache=InMemoryByteStore(), **service)
    texts = ["a", text, FITS]
    made = np.array(ours.embed_documents(texts) if how == "sync" else asyncio.run(ours.aembed_documents(texts)))

    prefix = "title: none | text: "
    pieces = [sent for request in emulator.embed_requests for sent in request.texts if len(sent) > 40]
    first = [sent for sent in pieces if sent.removeprefix(prefix) in text and "recipe" in "".join(pieces)]
    assert "".join(sent.removeprefix(prefix) for sent in first).replace("\n", "")[:200] == text[:200]
    assert all(text_token_range(sent)[1] <= 8192 for sent in pieces)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)

    parts = split_long_text(text, 8192 - text_token_range(prefix)[1])
    vectors = np.array(GeminiEmbeddings(**service).embed_documents(parts))
    mean = np.array([text_tokens(prefix + part) for part in parts]) @ vectors
    np.testing.assert_allclose(made[1], mean / np.linalg.norm(mean), atol=1e-6)
    before = emulator.embedded
    assert np.array_equal(made, np.array(ours.embed_documents(texts)))
    assert emulator.embedded == before, "the parts are in the cache"


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ("One sentence. " * 400, ". "),
        ("What is it? It is this! " * 300, ("? ", "! ")),
        ("今天天气很好。" * 300, "。"),
        ("كيف حالك؟ أنا بخير. " * 200, ("؟ ", ". ")),
        ("A paragraph of a few words\n\n" * 200, "\n\n"),
    ],
)
def test_parts_end_with_a_sentence(text: str, boundary: str | tuple[str, ...]) -> None:
    """Nothing is lost, each part is within the limit, and none but the last ends inside a sentence."""
    parts = split_long_text(text, 300)

    assert "".join(parts) == text
    assert len(parts) > 2
    assert max(text_token_range(part)[1] for part in parts) <= 300
    ends = tuple(sign.strip(" ") for sign in ([boundary] if isinstance(boundary, str) else boundary))
    assert all(part.rstrip(" ").endswith(ends) or following.startswith(ends) for part, following in pairwise(parts))


def test_a_text_without_any_boundary_is_cut_anywhere() -> None:
    """A line of digits, and a text whose end has more tokens a character than its beginning."""
    assert [len(part) for part in split_long_text("7" * 1000, 300)] == [300, 300, 300, 100]
    parts = split_long_text("word " * 400 + "天" * 400, 300)
    assert max(text_token_range(part)[1] for part in parts) <= 300
    assert "".join(parts).count("天") == 400


def test_text_and_media_share_the_limit(service: dict[str, Any], emulator: GeminiEmulator) -> None:
    """Six images leave 6,644 tokens for text; the error lists both. `split` and `truncate` are for texts alone."""
    images = [png(f"image {number}") for number in range(6)]
    with pytest.raises(MediaLimitError, match=r"at least 8,\d\d\d tokens \(.*1,548 of image.*text and media together"):
        GeminiEmbeddings(on_too_long="split", **service).embed([[*images, "word " * 7000]])
    assert not emulator.requests
    GeminiEmbeddings(**service).embed([[*images, "word " * 1000]])


def test_a_text_is_cut_to_its_tokens() -> None:
    """The longest beginning within the tokens, at least one character."""
    assert cut_text("a" * 100, 10) == "a" * 40
    assert cut_text("abc", 10) == "abc"
    assert cut_text("天气", 1) == "天"


def test_text_without_spaces_is_not_listed_by_characters() -> None:
    """A text of one word takes memory in proportion to its length, with a small factor."""
    text = "x" * 400_000
    split_long_text("y " * 20_000, 300)
    tracemalloc.start()
    parts = split_long_text(text, 8000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "".join(parts) == text
    assert peak < 8 * len(text)
