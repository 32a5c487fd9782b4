"""Texts of more tokens than a model reads: refused, truncated, or split into parts whose vectors are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from langchain_gemini_mm.errors import MediaLimitError
from langchain_gemini_mm.interfaces import Modality, Vector
from langchain_gemini_mm.models import cut_text, text_token_range, text_tokens
from langchain_gemini_mm.vectors import unit_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

OnTooLong: TypeAlias = Literal["error", "truncate", "split"]
"""What to do with a text of more tokens than the model reads."""

_BOUNDARIES = (r"\n\s*\n", r"\n", r"(?<=[.!?…])\s+|(?<=[\u3002\uff01\uff1f\u061f\u06d4\u0964])\s*", r"\s+")
"""Where a text is split: after paragraphs, lines, sentences, words."""


def split_long_text(text: str, tokens: int) -> list[str]:
    """Split a text into parts that have at most `tokens` tokens, on paragraphs and sentences where that is possible.

    ```python
    from langchain_gemini_mm.embeddings.long_text import split_long_text

    assert split_long_text("One sentence. And another.", 13) == ["One sentence.", " And another."]
    ```

    Args:
        text: of any length and script.
        tokens: most tokens of a part, as `models.text_token_range` counts them.
    """
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    most = text_token_range(text)[1]
    if most <= tokens or len(text) < 2:
        return [text]
    size = max(1, len(text) * max(tokens, 1) // most)
    splitter = RecursiveCharacterTextSplitter(
        separators=list(_BOUNDARIES),
        is_separator_regex=True,
        keep_separator=True,
        strip_whitespace=False,
        chunk_size=size,
        chunk_overlap=0,
    )
    # Words that are too long are cut here: the splitter would list their single characters.
    words = splitter.split_text(text)
    pieces = (word[start : start + size] for word in words for start in range(0, len(word), size))
    # A piece with more tokens a character than the whole text may still be too long.
    return [part for piece in pieces if piece.strip() for part in split_long_text(piece, tokens)]


def truncated_text(text: str, tokens: int) -> str:
    """The beginning of a text, with at least everything that a model which reads `tokens` tokens can read."""
    return cut_text(text, tokens, count=lambda piece: text_token_range(piece)[0])


def weighted_mean(vectors: ArrayLike, texts: Sequence[str]) -> Vector:
    """The mean of the vectors of the parts of a text, weighted by their tokens, of unit length.

    Args:
        vectors: `(n, d)`, one row for each part.
        texts: the parts.

    Returns:
        `(d,)` float32.

    Raises:
        ValueError: the vectors cancel each other.
    """
    weights = np.array([text_tokens(text) for text in texts], dtype=np.float64)
    mean: Vector = unit_rows((weights @ np.asarray(vectors, dtype=np.float64))[None])[0]
    return mean


def too_many_tokens(tokens: Mapping[Modality, int], limit: int, consumer: str) -> MediaLimitError:
    """The error for a content that certainly has more tokens than the model reads.

    Args:
        tokens: the least of each modality.
        limit: of the model.
        consumer: the model and its service.
    """
    if set(tokens) == {"text"}:
        return MediaLimitError(
            f"the text has at least {tokens['text']:,} tokens; {consumer} reads {limit:,} of one content. Split it, or "
            "set on_too_long='split' (the mean of the vectors of its parts) or 'truncate' (its beginning)"
        )
    shown = ", ".join(f"{count:,} of {modality}" for modality, count in tokens.items())
    return MediaLimitError(
        f"the content has at least {sum(tokens.values()):,} tokens ({shown}); {consumer} reads {limit:,} of one "
        "content, text and media together. Give its parts as separate contents"
    )
