"""The words other modules share: what may be given, and what a collaborator must offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from langchain_gemini_mm.references import MediaRef

Modality: TypeAlias = Literal["text", "image", "audio", "video", "pdf"]
"""What a piece of content is to the model."""

Backend: TypeAlias = Literal["gemini", "vertex"]
"""Which service answers: the Gemini API (an API key) or Vertex AI (a Google Cloud project)."""

Role: TypeAlias = Literal["query", "document"]
"""Which side of a search a text stands on; tasks word the two sides differently."""

COMPANION_TEXT = "companion_text"
"""The metadata key with words that belong to media: the text of a page, subtitles, a title, a caption."""

Content: TypeAlias = Any
"""One thing to embed: a `str`, `pathlib.Path`, `bytes`, `MediaRef`, LangChain `Blob`, `Document`, `HumanMessage` or
content block, PIL image, google-genai `Part` or `Content`, or a list or tuple of these (interleaved, in order)."""

Filter: TypeAlias = Mapping[str, Any]
"""A metadata filter, such as `{"modality": "image", "start_s": {"$gte": 60}}`."""

Vectors: TypeAlias = "NDArray[np.float32]"
"""`(n, d)` float32, rows of unit length."""

Vector: TypeAlias = "NDArray[np.float32]"
"""`(d,)` float32, unit length."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a media store knows of one stored file without reading it whole."""

    sha256: str
    """64 hex digits."""
    size: int
    """Bytes."""
    mime_type: str
    """By content, not by name, such as `image/jpeg`."""


@runtime_checkable
class MediaSource(Protocol):
    """What `GeminiEmbeddings` needs of a media store: look up and read what a reference names."""

    def info(self, ref: MediaRef) -> MediaInfo:
        """Tell size and type of what `ref` names. Raises `MissingMediaError`."""

    def get(self, ref: MediaRef) -> bytes:
        """Read all bytes of what `ref` names. Raises `MissingMediaError`."""

    def open(self, ref: MediaRef) -> BinaryIO:
        """Open what `ref` names for reading; seekable. Raises `MissingMediaError`."""


@runtime_checkable
class MediaEmbeddings(Protocol):
    """What our stores use when an embedding offers it: any content in, one array out."""

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The embedding space, as JSON-able values; equal fingerprints mean comparable vectors."""

    def embed(self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None) -> Vectors:
        """Embed each content to one row, in order."""

    async def aembed(
        self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None
    ) -> Vectors:
        """Async twin of `embed`."""
