"""Cost estimates before indexing: files, Documents, calls, tokens and US dollars."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from langchain_gemini_mm.content.mime_types import HEAD_BYTES
from langchain_gemini_mm.embeddings import GeminiEmbeddings
from langchain_gemini_mm.embeddings.usage import price_usd
from langchain_gemini_mm.errors import InvalidValueError, MissingMediaError
from langchain_gemini_mm.interfaces import MediaInfo, Modality
from langchain_gemini_mm.loaders.media_loader import MediaLoader
from langchain_gemini_mm.loaders.walk import Skipped
from langchain_gemini_mm.media.source import OpenedSource, hash_of, media_type, open_source
from langchain_gemini_mm.models import model_spec
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.vectorstores.langchain_api import BATCH_SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.documents import Document

BATCH_SHARE = 0.5
"""Share of the standard price that the Batch API costs
(https://ai.google.dev/gemini-api/docs/pricing, read 2026-11-21)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Documents of one modality, and the tokens billed as this modality."""

    documents: int = 0
    tokens: int = 0
    """Estimated by the published rates."""
    usd: float = 0.0
    """At the standard price."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The estimated cost of indexing; `str(plan)` is a table."""

    model: str
    files: int
    """Number of files that can be loaded."""
    by_modality: Mapping[Modality, Share]
    calls: int
    """Requests to the service."""
    items: int
    """Contents that are sent, of which each counts against the quota; equal Documents are sent once."""
    skipped: tuple[Skipped, ...]
    """Files and Documents that would be left out, with the reasons."""

    @property
    def documents(self) -> int:
        """Number of Documents of all modalities."""
        return sum(share.documents for share in self.by_modality.values())

    @property
    def tokens(self) -> int:
        """Estimated tokens of all modalities."""
        return sum(share.tokens for share in self.by_modality.values())

    @property
    def usd(self) -> float:
        """Estimated US dollars, at the standard price."""
        return sum(share.usd for share in self.by_modality.values())

    @property
    def batch_usd(self) -> float:
        """Estimated US dollars, at the price of the Batch API."""
        return self.usd * BATCH_SHARE

    def __str__(self) -> str:
        """A table by modality, the totals, and how many files are left out."""
        rows = [("", "Documents", "tokens", "USD", "USD, Batch")]
        shares = [*self.by_modality.items(), ("all", Share(documents=self.documents, tokens=self.tokens, usd=self.usd))]
        for name, share in shares:
            money = f"{share.usd:,.4f}", f"{share.usd * BATCH_SHARE:,.4f}"
            rows.append((str(name), f"{share.documents:,}", f"{share.tokens:,}", *money))
        lines = [f"{row[0]:<6}" + "".join(f"{cell:>14}" for cell in row[1:]) for row in rows]
        return "\n".join(
            [f"{self.files:,} files for {self.model}, {self.calls:,} calls, {len(self.skipped):,} left out", *lines]
        )


def plan(source: Any, embeddings: GeminiEmbeddings | None = None, *, convert: bool = False, **options: Any) -> Plan:
    """Load and prepare files as for indexing, and count what would be sent; nothing is stored or sent.

    ```python
    from langchain_gemini_mm.loaders.cost_plan import plan

    planned = plan("photos-and-talks")
    assert planned.by_modality["image"].documents and planned.usd > planned.batch_usd > 0
    print(planned)
    ```

    Counts are those of an empty store without a cache, in batches as stores write them, with the options and limits of
    the embeddings. `describe` is not called. Files of equal size are compared, others are not read completely.

    Args:
        source: a `MediaLoader`, or its source: a folder, a glob, a list of paths.
        embeddings: the `GeminiEmbeddings` to use; by default the loader's model with default options.
        convert: also cut and convert media, to know exactly how large and long they are; without it, both are estimated
            for media that are cut or converted.
        options: of `MediaLoader`, unless `source` is one.

    Raises:
        ContentError: there is no such file or folder.
        ValueError: the loader is for another model or backend than `embeddings`.
    """
    if embeddings is not None and not isinstance(source, MediaLoader):
        options = {"model": embeddings.model, "backend": embeddings.backend, **options}
    loader = source if isinstance(source, MediaLoader) else MediaLoader(source, MediaStore.memory(), **options)
    spec, backend = loader.options.spec, loader.options.backend
    if embeddings is None:
        embeddings = GeminiEmbeddings(model=spec, vertexai=backend == "vertex", api_key="not needed")
    elif (spec.name, backend) != (meant := (model_spec(embeddings.model).name, embeddings.backend)):
        raise InvalidValueError(
            f"the loader is for {(spec.name, backend)!r}, the embeddings are for {meant!r}; give both the same model "
            "and backend"
        )
    media = _PlannedMedia()
    planning = embeddings.model_copy(update={"media": media})
    tally = _Tally()
    for documents in _batches(loader.dry(cast("MediaStore", media), tally.note).lazy_load()):
        tally.add(documents, planning, convert=convert)
        media.forget_data()
    return Plan(
        model=spec.name,
        files=tally.files,
        by_modality={
            modality: Share(documents=count, tokens=tokens, usd=price_usd(spec, {modality: tokens}))
            for modality in sorted({*tally.documents, *tally.tokens})
            for count, tokens in [(tally.documents[modality], tally.tokens[modality])]
        },
        calls=tally.calls,
        items=tally.items,
        skipped=tuple(tally.skipped),
    )


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := list(islice(iterator, BATCH_SIZE)):
        yield batch


@dataclass
class _Tally:
    files: int = 0
    calls: int = 0
    items: int = 0
    documents: Counter[Modality] = field(default_factory=Counter)
    tokens: Counter[Modality] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)

    def note(self, source: str, reason: str | None) -> None:
        """Count a file, or why it is left out."""
        if reason is None:
            self.files += 1
        else:
            self.skipped.append(Skipped(source, reason))

    def add(self, documents: list[Document], embeddings: GeminiEmbeddings, *, convert: bool) -> None:
        """Count documents that are embedded together.

        Args:
            documents: of one batch.
            embeddings: with the media of the plan.
            convert: whether media are cut and converted.
        """
        planned = embeddings.plan(documents, convert=convert)
        self.calls += planned.calls
        self.items += planned.items
        self.tokens.update(planned.tokens)
        for position, document in enumerate(documents):
            if position in planned.failed:
                self.skipped.append(Skipped(document.metadata["source"], planned.failed[position].message))
            else:
                self.documents[document.metadata["modality"]] += 1


@dataclass(slots=True)
class _PlannedFile:
    info: MediaInfo
    path: Path | None
    data: bytes | None
    sha256: str | None = None


class _PlannedMedia:
    """Refers to files where they are, as a `MediaStore` of a plan; only files of equal size are hashed."""

    path = None

    def __init__(self) -> None:
        self._files: dict[str, _PlannedFile] = {}
        self._by_size: dict[int, list[_PlannedFile]] = {}

    def put_file(self, path: Path) -> MediaRef:
        """Refer to a file."""
        file, stamp = open_source(path)
        with file:
            return self.put_opened(OpenedSource(file, path, stamp))

    def put_opened(self, source: OpenedSource) -> MediaRef:
        """Refer to an open file; equal files get one reference."""
        file = source.file
        file.seek(0)
        mime_type = media_type(file.read(HEAD_BYTES), "the file")
        size = file.seek(0, 2)
        file.seek(0)
        data = None if source.path is not None else file.read()
        number = hashlib.sha256(f"planned file {len(self._files)}".encode()).hexdigest()
        new = _PlannedFile(MediaInfo(sha256=number, size=size, mime_type=mime_type), source.path, data)
        same_size = self._by_size.setdefault(size, [])
        if same_size:
            new.sha256 = self._hash(new)
        for other in same_size:
            other.sha256 = other.sha256 or self._hash(other)
            if other.sha256 == new.sha256:
                other.path, other.data = new.path, new.data  # its own bytes may have been released
                return MediaRef(other.info.sha256)
        same_size.append(new)
        self._files[number] = new
        return MediaRef(number)

    def info(self, ref: MediaRef) -> MediaInfo:
        """Size and type of a file."""
        return self._file(ref).info

    def get(self, ref: MediaRef) -> bytes:
        """The bytes of a file."""
        with self.open(ref) as file:
            return file.read()

    def open(self, ref: MediaRef) -> BinaryIO:
        """Open a file."""
        return _opened(self._file(ref))

    def forget_data(self) -> None:
        """Release files that are in memory alone, whose Documents are counted."""
        for file in self._files.values():
            if file.data is not None:
                file.sha256 = file.sha256 or self._hash(file)
                file.data = None

    def _file(self, ref: MediaRef) -> _PlannedFile:
        if ref.sha256 not in self._files:
            raise MissingMediaError(f"{ref} is not in the files of this plan")
        return self._files[ref.sha256]

    @staticmethod
    def _hash(planned: _PlannedFile) -> str:
        with _opened(planned) as file:
            return hash_of(file, "the file")


def _opened(planned: _PlannedFile) -> BinaryIO:
    if planned.path is None:
        return io.BytesIO(planned.data or b"")
    return open_source(planned.path)[0]
