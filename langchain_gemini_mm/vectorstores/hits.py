"""The results of a search: `Hit`, `Hits` and `Group`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import MediaSource, Vector
from langchain_gemini_mm.media.source import file_of

ScoreKind = Literal["cosine", "bm25", "rank", "fused", "deviation", "probability"]
"""What a score means; higher is always better.

`cosine` is a cosine similarity in [-1, 1]. `bm25` is the BM25 score of a keyword search, comparable only within one
search. `rank` is the sum of 1 / (60 + rank) over the fused rankings and only defines an order. `fused` is the
weighted sum, from 0 to 1, of the scores in two lists, each scaled to the range from 0 to 1. `deviation` is the
number of standard deviations by which the cosine similarity exceeds that of other documents of the same modality.
`probability` is the probability of being relevant, calibrated on labelled queries.
"""


if TYPE_CHECKING:

    class HitAccess:
        """What a hit gives access to in this process, which is not part of its data."""

        __slots__ = ("_media", "_vector")

        _media: MediaSource | None
        _vector: Vector | None

else:

    @dataclass(frozen=True)
    class HitAccess:
        """What a hit gives access to in this process, which is not part of its data.

        Serializers of dataclasses leave an `InitVar` out, and `dataclasses.replace` passes it on.
        """

        __slots__ = ("_media", "_vector")

        media: InitVar[Any] = None
        vector: InitVar[Any] = None


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Hit(HitAccess):
    """One result of a search: a Document with its scores.

    A hit is plain data. As an answer of a web service, in JSON, in the state of a graph or in a pickle it has the
    fields below; `media` and `vector` are left out. It unpacks as `document, score = hit`.

    ```python
    from dataclasses import asdict

    from langchain_core.documents import Document

    from langchain_gemini_mm import Hit

    hit = Hit(Document("a red bicycle", metadata={"source": "notes.md"}), 0.5, "cosine", 1)
    assert (hit.page_content, hit.metadata["source"]) == ("a red bicycle", "notes.md")
    assert list(asdict(hit)) == ["document", "score", "score_kind", "rank", "cosine", "confidence"]
    assert repr(hit) == "Hit(#1 cosine 0.5000 [notes.md] 'a red bicycle')"
    ```

    Args:
        document: the Document that was found.
        score: higher is better.
        score_kind: how to read `score`.
        rank: position among the results, from 1.
        cosine: cosine similarity; that of a cosine score by default.
        confidence: from 0 to 1.
        media: the media store that resolves references of the document.
        vector: `(d,)` float32, unit length.
    """

    document: Document
    score: float
    score_kind: ScoreKind
    """How to read `score`."""
    rank: int
    """Position among the results, from 1; with `search_type="mmr"` the order of selection, not of the scores."""
    cosine: float | None = None
    """The cosine similarity, for every `score_kind`; None if it was not computed."""
    confidence: float | None = None
    """Confidence from 0 to 1 that the document matches at all; None for rankings without confidence."""

    def __init__(
        self,
        document: Document,
        score: float,
        score_kind: ScoreKind,
        rank: int,
        cosine: float | None = None,
        confidence: float | None = None,
        media: MediaSource | None = None,
        vector: Vector | None = None,
    ) -> None:
        """Set the fields; a cosine score is the cosine similarity."""
        set_field = object.__setattr__
        set_field(self, "document", document)
        set_field(self, "score", score)
        set_field(self, "score_kind", score_kind)
        set_field(self, "rank", rank)
        set_field(self, "cosine", score if cosine is None and score_kind == "cosine" else cosine)
        set_field(self, "confidence", confidence)
        set_field(self, "_media", media)
        set_field(self, "_vector", vector)

    @property
    def media(self) -> MediaSource | None:
        """The media store that resolves references of the document; None for a hit that was serialized."""
        return getattr(self, "_media", None)

    @property
    def vector(self) -> Vector | None:
        """The stored vector, `(d,)` float32 of unit length, if the search was asked to `return_vectors`."""
        return getattr(self, "_vector", None)

    @property
    def page_content(self) -> str:
        """The text of the document, with references to its media."""
        return self.document.page_content

    @property
    def id(self) -> str | None:
        """The id of the document."""
        return self.document.id

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the document."""
        return self.document.metadata

    def with_vector(self, vector: Vector | None) -> Hit:
        """The same hit with another `vector`."""
        return Hit(*self._data, self.media, vector)

    def __iter__(self) -> Iterator[Any]:
        """Unpack as `document, score`."""
        return iter((self.document, self.score))

    def __copy__(self) -> Hit:
        """Copy within this process, with access to the media."""
        return Hit(*self._data, self.media, self.vector)

    def __deepcopy__(self, memo: dict[int, Any]) -> Hit:
        """Copy the document; the media store stays the same."""
        return Hit(*deepcopy(self._data, memo), self.media, self.vector)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the data alone: a media store may hold a connection."""
        return Hit, self._data

    @property
    def _data(self) -> tuple[Document, float, ScoreKind, int, float | None, float | None]:
        return self.document, self.score, self.score_kind, self.rank, self.cosine, self.confidence

    def __repr__(self) -> str:
        """Show rank, score, file with time or page, and the beginning of the text."""
        from langchain_gemini_mm.rendering.citations import described

        return f"Hit(#{self.rank} {self.score_kind} {self.score:.4f} {described(self.document)})"

    def path(self, root: str | Path | Mapping[str, str | Path]) -> Path:
        """The file that the document was made from, as it is now; `MultimodalRetriever.path` knows the folders.

        Of an attachment, it is the file that has it. A hit itself has no paths: it may go to other machines.

        ```python
        from pathlib import Path

        from langchain_core.documents import Document

        from langchain_gemini_mm import Hit

        Path("photos").mkdir()
        Path("photos/castle.png").write_bytes(b"...")
        hit = Hit(Document("", metadata={"source": "photos/castle.png"}), 0.5, "cosine", 1)
        assert hit.path("./photos") == Path("photos/castle.png")
        assert hit.path({"photos": "./photos"}) == Path("photos/castle.png")
        ```

        Args:
            root: the folder of the library; or folders by the names of libraries.

        Raises:
            ContentError: the document was not made from a file of this library, or the file is outside of the folder.
            MissingMediaError: the file is not there any more.
        """
        source = self.document.metadata.get("source")
        if isinstance(root, Mapping):
            library = str(source).partition("/")[0]
            if library not in root:
                raise ContentError(f"{source!r} is in none of these libraries: {', '.join(map(repr, root)) or 'none'}")
            root = root[library]
        return file_of(source, [Path(root).expanduser()])

    def to_html(self) -> str:
        """The hit as an HTML fragment, as in notebooks: citation, text, and image, page or player."""
        from langchain_gemini_mm.rendering.html_view import hit_html

        return hit_html(self)

    def _repr_html_(self) -> str:
        return self.to_html()


class Hits(list[Hit]):
    """The hits of one search, best first: a list."""

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Hit: ...
    @overload
    def __getitem__(self, index: slice, /) -> Hits: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> Hit | Hits:
        """One hit, or for a slice the `Hits` in it."""
        return Hits(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    @property
    def documents(self) -> list[Document]:
        """The documents alone."""
        return [hit.document for hit in self]

    @property
    def scored(self) -> list[tuple[Document, float]]:
        """Each document with its score."""
        return [(hit.document, hit.score) for hit in self]

    def to_html(self) -> str:
        """The hits as an HTML fragment, as in notebooks."""
        from langchain_gemini_mm.rendering.html_view import hits_html

        return hits_html(self)

    def _repr_html_(self) -> str:
        return self.to_html()


@dataclass(frozen=True, slots=True)
class Group:
    """The hits that share a metadata value, such as the segments of one video."""

    value: str | int | float | bool | None
    """None for a document without a value, which is a group of its own."""
    hits: tuple[Hit, ...]
    """Best first; `rank` is the rank among all hits of the search."""
