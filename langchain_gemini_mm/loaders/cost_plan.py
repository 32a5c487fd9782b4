"""Cost estimates before indexing: files, Documents, calls, tokens and US dollars."""

from __future__ import annotations

import io
import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from langchain_gemini_mm.batching import CallLimits
from langchain_gemini_mm.batching import plan as calls_of
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.loaders.examine import Examined, examine, refusal
from langchain_gemini_mm.loaders.mail import SUFFIXES, Attachment, read_mails
from langchain_gemini_mm.loaders.media_loader import MediaLoader
from langchain_gemini_mm.loaders.segmentation import MediaSegment
from langchain_gemini_mm.loaders.walk import InputFile, Skipped
from langchain_gemini_mm.media.facts import MediaFacts
from langchain_gemini_mm.media.model_limits import check_modality
from langchain_gemini_mm.media.source import OpenedSource
from langchain_gemini_mm.models import INLINE_BYTES, ITEMS_PER_CALL, estimate_tokens
from langchain_gemini_mm.storage import MediaStore

BATCH_SHARE = 0.5
"""Share of the standard price that the Batch API costs
(https://ai.google.dev/gemini-api/docs/pricing, read 2026-11-21)."""

_AUDIO_BYTES_PER_SECOND = 8000
"""Of encoded audio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Documents of one modality, and what embedding them costs."""

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
    """Requests to the service; its quota counts every Document."""
    skipped: tuple[Skipped, ...]
    """Files that would be left out, with the reasons."""

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


def plan(source: Any, embeddings: Any = None, **options: Any) -> Plan:
    """Examine files and estimate the cost of indexing them; nothing is stored or sent.

    ```python
    from langchain_gemini_mm.loaders.cost_plan import plan

    planned = plan("photos-and-talks")
    assert planned.by_modality["image"].documents and planned.usd > planned.batch_usd > 0
    print(planned)
    ```

    Files are examined as by `MediaLoader`. Texts are counted by their bytes, without the images in them, and without
    the text that `fuse_text` adds. Caches, and stores that contain some of the Documents, reduce the actual cost.

    Args:
        source: a `MediaLoader`, or its source: a folder, a glob, a list of paths.
        embeddings: the `GeminiEmbeddings` to use; by default the loader's model.
        options: of `MediaLoader`, unless `source` is one.

    Raises:
        ContentError: there is no such file or folder.
        ValueError: the loader is for another model or backend than `embeddings`.
    """
    if embeddings is not None and not isinstance(source, MediaLoader):
        options = {"model": embeddings.model, "backend": embeddings.backend, **options}
    loader = source if isinstance(source, MediaLoader) else MediaLoader(source, MediaStore.memory(), **options)
    if embeddings is not None and (loader.options.spec.name, loader.options.backend) != _meant(embeddings):
        raise ValueError(
            f"the loader is for {(loader.options.spec.name, loader.options.backend)!r}, the embeddings are for "
            f"{_meant(embeddings)!r}; give both the same model and backend"
        )
    tally = _Tally(loader)
    items = ITEMS_PER_CALL if loader.options.backend == "gemini" else 1
    calls = sum(1 for _ in calls_of(tally.contents(), CallLimits(items=items, wire_bytes=INLINE_BYTES)))
    return Plan(
        model=loader.options.spec.name,
        files=tally.files,
        by_modality=tally.shares(),
        calls=calls,
        skipped=tuple(tally.skipped),
    )


@dataclass(frozen=True, slots=True)
class _Content:
    modality: Modality
    token_count: int
    wire_bytes: int
    group: Hashable = None


@dataclass
class _Tally:
    loader: MediaLoader
    files: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    _counts: dict[Modality, tuple[int, int]] = field(default_factory=dict)

    def contents(self) -> Iterator[_Content]:
        """The contents that would be embedded, one by one."""
        for found in self.loader.survey():
            if isinstance(found, Skipped):
                self.skipped.append(found)
                continue
            made = 0
            try:
                for content in self._of(*found):
                    documents, tokens = self._counts.get(content.modality, (0, 0))
                    self._counts[content.modality] = documents + 1, tokens + content.token_count
                    made += 1
                    yield content
            except Exception as error:  # noqa: BLE001  no file ends a run
                self.skipped.append(Skipped(found[0].source, refusal(error, found[0].source)))
            self.files += bool(made)

    def shares(self) -> dict[Modality, Share]:
        prices = self.loader.options.spec.usd_per_million_tokens
        return {
            modality: Share(documents=documents, tokens=tokens, usd=tokens * prices.get(modality, 0.0) / 1e6)
            for modality, (documents, tokens) in sorted(self._counts.items())
        }

    def _of(self, item: InputFile, opened: OpenedSource, examined: Examined) -> Iterator[_Content]:
        if examined.facts is not None:
            yield from self._media(examined)
        elif item.source.lower().endswith(SUFFIXES):
            yield from self._mails(opened.file, item.source)
        elif examined.is_text:
            yield from self._text(opened.file.seek(0, io.SEEK_END))

    def _media(self, examined: Examined) -> Iterator[_Content]:
        options, facts = self.loader.options, examined.facts
        if facts is None or not examined.segments:
            return
        check_modality(facts.mime_type, options.spec, options.backend, name="it")
        for segment in examined.segments:
            seconds, pages = _extent(segment, facts)
            tokens = estimate_tokens(segment.modality, options.backend, seconds=seconds, pages=pages)
            yield _Content(segment.modality, tokens, _wire_bytes(segment, facts, seconds, pages))

    def _text(self, characters: int) -> Iterator[_Content]:
        size, overlap = self.loader.options.chunk_size, self.loader.options.chunk_overlap
        for _ in range(max(1, math.ceil((characters - overlap) / (size - overlap)))):
            length = min(size, characters)
            yield _Content("text", estimate_tokens("text", self.loader.options.backend, characters=length), length)

    def _mails(self, file: BinaryIO, source: str) -> Iterator[_Content]:
        for key, mail in read_mails(file, source):
            if isinstance(mail, ContentError):
                self.skipped.append(Skipped(f"{source}/{key}", str(mail)))
                continue
            if "text" in self.loader.options.modalities:
                yield from self._text(sum(len(part) for part in mail.parts if isinstance(part, str)))
            for part in mail.parts:
                if isinstance(part, Attachment):
                    yield from self._attached(part, f"{source}/{part.name}")

    def _attached(self, part: Attachment, source: str) -> Iterator[_Content]:
        try:
            examined = examine(io.BytesIO(part.data), source, self.loader.options)
        except Exception as error:  # noqa: BLE001  no file ends a run
            self.skipped.append(Skipped(source, refusal(error, source)))
            return
        if examined.facts is not None and examined.facts.modality != "image":
            yield from self._media(examined)


def _meant(embeddings: Any) -> tuple[str, str]:
    return str(embeddings.model).rsplit("/", 1)[-1], str(embeddings.backend)


def _extent(segment: MediaSegment, facts: MediaFacts) -> tuple[float | None, int | None]:
    if segment.start_s is not None and segment.end_s is not None:
        return segment.end_s - segment.start_s, None
    if segment.first_page is not None and segment.last_page is not None:
        return None, segment.last_page - segment.first_page + 1
    return facts.seconds, facts.pages


def _wire_bytes(segment: MediaSegment, facts: MediaFacts, seconds: float | None, pages: int | None) -> int:
    """Bytes in a request, as base64: a share of the file, or the size of encoded audio."""
    size = float(facts.size)
    if segment.track:
        size = _AUDIO_BYTES_PER_SECOND * (seconds or 0)
    elif seconds and facts.seconds:
        size *= min(seconds / facts.seconds, 1)
    elif pages and facts.pages:
        size *= pages / facts.pages
    return math.ceil(size * 4 / 3)
