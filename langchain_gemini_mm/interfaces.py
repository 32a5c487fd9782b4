"""Types that other modules share: accepted contents, and the protocols of media stores, embeddings and hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from langchain_core.documents import Document
    from langchain_core.documents.base import Blob
    from langchain_core.messages import BaseMessage
    from numpy.typing import NDArray

    from langchain_gemini_mm.references import MediaRef

Modality: TypeAlias = Literal["text", "image", "audio", "video", "pdf"]
"""A modality of the model."""

Backend: TypeAlias = Literal["gemini", "vertex"]
"""The service: the Gemini API (with an API key) or Vertex AI (with a Google Cloud project)."""

Role: TypeAlias = Literal["query", "document"]
"""Whether a content is a query or a document; tasks have different prefixes for them."""

COMPANION_TEXT = "companion_text"
"""The metadata key with text that belongs to media: the text of a page, subtitles, a title or a caption."""


class NativeFilter(Protocol):
    """What a `weaviate.classes.query.Filter` looks like to a type checker, whether the client is installed or not."""

    def __and__(self, other: Any, /) -> Any:
        """Both filters together."""

    def __or__(self, other: Any, /) -> Any:
        """One of the two filters."""


Filter: TypeAlias = Mapping[str, Any] | NativeFilter
"""A metadata filter, such as `{"modality": "image", "start_s": {"$gte": 60}}`; in Weaviate also one of its client."""

Vectors: TypeAlias = "NDArray[np.float32]"
"""`(n, d)` float32, rows of unit length."""

Vector: TypeAlias = "NDArray[np.float32]"
"""`(d,)` float32, unit length."""


class PILImage(Protocol):
    """What a `PIL.Image.Image` looks like to a type checker, whether Pillow is installed or not."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    def getbands(self) -> tuple[str, ...]:
        """Names of the channels, such as `("R", "G", "B")`."""


class GenaiPart(Protocol):
    """What a `google.genai.types.Part` looks like to a type checker."""

    @property
    def inline_data(self) -> Any:
        """Bytes with their MIME type."""

    @property
    def file_data(self) -> Any:
        """The address of a file with its MIME type."""


class GenaiContent(Protocol):
    """What a `google.genai.types.Content` looks like to a type checker."""

    @property
    def parts(self) -> Any:
        """A list of parts."""

    @property
    def role(self) -> Any:
        """Who wrote it: `user` or `model`."""


class GenaiFile(Protocol):
    """What a `google.genai.types.File` looks like to a type checker."""

    @property
    def uri(self) -> Any:
        """Its address."""

    @property
    def mime_type(self) -> Any:
        """Its MIME type."""


if TYPE_CHECKING:
    ContentPiece: TypeAlias = (
        str
        | Path
        | bytes
        | bytearray
        | memoryview
        | MediaRef
        | Blob
        | Document
        | BaseMessage
        | Mapping[str, Any]
        | PILImage
        | GenaiPart
        | GenaiContent
        | GenaiFile
    )
    Content: TypeAlias = ContentPiece | Sequence["Content"]
else:
    # The union names types that are not imported at run time, so evaluated annotations accept any content.
    ContentPiece: TypeAlias = Any
    """One piece of content: a text, a file, bytes, a reference, or one of the objects listed under `Content`."""
    Content: TypeAlias = Any
    """One thing to embed: a `str`, `pathlib.Path`, `bytes`, `MediaRef`, LangChain `Blob`, `Document`, message or
    content block, PIL image, google-genai `Part`, `Content` or `File`, or a list or tuple of these (interleaved, in
    order)."""


class QueryLike(Protocol):
    """What `vectorstores.Query` is: contents to look for, and stored documents to be near to or far from."""

    @property
    def content(self) -> tuple[Content, ...]:
        """Contents to look for."""

    @property
    def like(self) -> tuple[str, ...]:
        """Ids of stored documents to be near to."""

    @property
    def unlike(self) -> tuple[str, ...]:
        """Ids of stored documents to be far from."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Facts about one stored file that a media store knows without reading it."""

    sha256: str
    """64 hex digits."""
    size: int
    """Bytes."""
    mime_type: str
    """Detected from the bytes, not from the file name, such as `image/jpeg`."""


@dataclass(frozen=True, slots=True)
class WaitNotice:
    """Passed to `GeminiEmbeddings(on_wait=)` when a run waits for a quota or for the service."""

    reason: str
    """Such as `"requests per minute"`."""
    seconds: float
    """How long the wait is expected to be."""
    items: int
    """Contents that are not embedded yet."""


@runtime_checkable
class MediaSource(Protocol):
    """The methods of a media store that `GeminiEmbeddings` uses."""

    def info(self, ref: MediaRef) -> MediaInfo:
        """Look up the file that `ref` references, without its fragment.

        Raises:
            MissingMediaError: the store does not have it.
        """

    def get(self, ref: MediaRef) -> bytes:
        """Read all bytes of the file that `ref` references.

        Raises:
            MissingMediaError: the store does not have it.
        """

    def open(self, ref: MediaRef) -> BinaryIO:
        """Open the file that `ref` references for reading; the result is seekable.

        Raises:
            MissingMediaError: the store does not have it.
        """


@runtime_checkable
class MediaEmbeddings(Protocol):
    """Embeddings of any content; stores of this package use these methods if they exist."""

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The embedding space as JSON values; vectors are comparable if fingerprints are equal."""

    def embed(self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None) -> Vectors:
        """Embed contents, one row for each, in order.

        Args:
            contents: any contents; a list in it is one content of several parts.
            role: whether they are queries or documents.
            task_type: the task; that of the embeddings by default.

        Returns:
            `(n, d)` float32, unit rows.
        """

    async def aembed(
        self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None
    ) -> Vectors:
        """Async twin of `embed`."""


class HitLike(Protocol):
    """What rendering needs of a search hit; `vectorstores.Hit` is one."""

    @property
    def document(self) -> Document:
        """The document that was found."""

    @property
    def score(self) -> float:
        """Higher is better."""

    @property
    def score_kind(self) -> str:
        """What `score` means, such as `cosine`."""

    @property
    def rank(self) -> int:
        """Position among the hits, from 1."""

    @property
    def cosine(self) -> float | None:
        """Cosine similarity to the query; None where none was computed."""

    @property
    def confidence(self) -> float | None:
        """Probability from 0 to 1 that the document matches; None where the ranking gives none."""

    @property
    def media(self) -> MediaSource | None:
        """The store that holds the media of the document."""
