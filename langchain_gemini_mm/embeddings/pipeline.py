"""From a job to its vectors: two short drivers, one for threads and one for an event loop, over the same steps."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.stores import BaseStore

from langchain_gemini_mm.batching import CallLimits, CancelToken, gathered_map, plan, threaded_map
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.embeddings.cache import from_bytes, to_bytes
from langchain_gemini_mm.embeddings.preparation import (
    EmbedItem,
    SentPart,
    conversion_requests,
    wire_bytes,
    with_converted,
)
from langchain_gemini_mm.embeddings.service.calls import Answer, EmbedCall
from langchain_gemini_mm.embeddings.service.service import GeminiService
from langchain_gemini_mm.embeddings.service.uploads import Uploads
from langchain_gemini_mm.embeddings.usage import Meter, price_usd
from langchain_gemini_mm.errors import GeminiMMError, MediaLimitError, ServiceError
from langchain_gemini_mm.interfaces import MediaSource, Modality, Vector, Vectors
from langchain_gemini_mm.media.convert import ConversionRequest, MediaTarget, TemporaryFiles, by_file, convert
from langchain_gemini_mm.media.media_options import MediaOptions
from langchain_gemini_mm.models import ITEMS_PER_CALL, ModelSpec

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


@dataclass(frozen=True, kw_only=True)
class EmbedPipeline:
    """The parts one embedding call works with."""

    service: GeminiService
    uploads: Uploads
    options: MediaOptions
    targets: Mapping[Modality, MediaTarget]
    meter: Meter
    spec: ModelSpec
    media: MediaSource | None
    cache: BaseStore[str, bytes] | None
    concurrency: int
    limits: CallLimits
    inline_limit: int
    check_order: bool
    budget_usd: float | None

    def run(self, job: EmbedJob) -> Vectors:
        """Embed in threads."""
        known = job.known(self.cache.mget(job.keys)) if self.cache is not None else {}
        missing = job.missing(known)
        self.meter.add(cached=len(known))

        def work(items: list[EmbedItem], stop: CancelToken) -> Vectors:
            call = self._call(items, job.dimensions, stop)
            vectors = self._read(items, self.service.embed(call, stop))
            if self.cache is not None:
                self.cache.mset(job.to_cache(items, vectors))
            return vectors

        with self._budgeted(missing), TemporaryFiles() as files:
            converted = threaded_map(
                partial(self._convert, files), by_file(conversion_requests(missing, self.options)), self._makers
            )
            calls = list(plan(with_converted(missing, converted), self.limits))
            return job.assembled(known, calls, threaded_map(work, calls, self.concurrency))

    async def arun(self, job: EmbedJob) -> Vectors:
        """Embed on the running event loop."""
        known = job.known(await self.cache.amget(job.keys)) if self.cache is not None else {}
        missing = job.missing(known)
        self.meter.add(cached=len(known))

        async def work(items: list[EmbedItem]) -> Vectors:
            call = await self._acall(items, job.dimensions)
            vectors = self._read(items, await self.service.aembed(call))
            if self.cache is not None:
                await self.cache.amset(job.to_cache(items, vectors))
            return vectors

        with self._budgeted(missing):
            files = TemporaryFiles()
            try:
                converted = await gathered_map(
                    partial(self._aconvert, files), by_file(conversion_requests(missing, self.options)), self._makers
                )
                calls = list(plan(with_converted(missing, converted), self.limits))
                return job.assembled(known, calls, await gathered_map(work, calls, self.concurrency))
            finally:
                if files.used:
                    await asyncio.to_thread(files.close)
                files.close()

    def _budgeted(self, items: Sequence[EmbedItem]) -> AbstractContextManager[None]:
        """Refuse all of it before the first call, so that no money is spent on vectors that are then thrown away."""
        needed = sum(price_usd(self.spec, item.tokens) for item in items) if self.budget_usd is not None else 0.0
        return self.meter.within_budget(needed, self.budget_usd)

    @property
    def _makers(self) -> int:
        """Cutting and converting is work for processors."""
        return min(self.concurrency, os.cpu_count() or 1)

    def _convert(
        self, files: TemporaryFiles, requests: list[ConversionRequest], cancel: CancelToken
    ) -> Mapping[Part, SentPart]:
        """Convert everything that is needed of one file."""
        sent: dict[Part, SentPart] = {}
        backend = self.service.settings.backend
        try:
            if cancel.requested:
                return sent
            with requests[0].part.open(self.media) as file:
                for converted in convert(requests, self.targets, file, cancel=cancel):
                    request, part = converted.request, converted.request.part
                    pages = None if request.pages is None else request.pages[1] - request.pages[0] + 1
                    seconds = None if converted.end_s is None else converted.end_s - (converted.start_s or 0.0)
                    cost = self.options.tokens(request.modality, backend, seconds=seconds, pages=pages)
                    sent[part] = SentPart(part, cost)
                    if converted.changed:
                        kept = Part(
                            modality=part.modality,
                            mime_type=converted.mime_type,
                            size=len(converted.data),
                            path=files.write(converted.data),
                            label=part.name,
                        )
                        sent[part] = SentPart(kept, cost)
        except GeminiMMError as error:
            error.about_input(requests[0].position or 0)
            raise
        return sent

    async def _aconvert(self, files: TemporaryFiles, requests: list[ConversionRequest]) -> Mapping[Part, SentPart]:
        cancel = CancelToken()
        try:
            return await asyncio.to_thread(self._convert, files, requests, cancel)
        finally:
            cancel()

    async def _acall(self, items: list[EmbedItem], dimensions: int) -> EmbedCall:
        """Read files aside from the event loop; a call of texts is not worth a thread."""
        if all(part.text is not None for item in items for part in item.parts):
            return self._call(items, dimensions, CancelToken())
        stop = CancelToken()
        try:
            return await asyncio.to_thread(self._call, items, dimensions, stop)
        finally:
            stop()

    def _call(self, items: Sequence[EmbedItem], dimensions: int, stop: CancelToken) -> EmbedCall:
        sent = with_echo(items) if self.check_order and len(items) > 1 else items
        return EmbedCall(
            model=self.spec.name,
            contents=[self._content(item, stop) for item in sent],
            names=[item.name for item in sent],
            dimensions=dimensions,
            task_type=items[0].task_type,
            title=items[0].title,
            options=self.options.request_fields,
            tokens=sum(item.token_count for item in sent),
        )

    def _read(self, items: Sequence[EmbedItem], answer: Answer) -> Vectors:
        tokens: Counter[Modality] = Counter()
        for item in items:
            tokens.update(item.tokens)
        self.meter.add_call(self.spec, len(items), tokens, answer.reported_tokens)
        self.meter.add(retries=answer.attempts - 1)
        if self.check_order and len(items) > 1:
            return without_echo(answer.vectors, items)
        return answer.vectors

    def _content(self, item: EmbedItem, stop: CancelToken) -> Mapping[str, Any]:
        """One `Content`, always, whatever it is converted of."""
        uploaded = self._too_large(item)
        return {"role": "user", "parts": [self._part(part, part in uploaded, stop) for part in item.parts]}

    def _too_large(self, item: EmbedItem) -> set[Part]:
        """Which parts go through the Files API: the largest, until the rest fits inline."""
        excess = item.wire_bytes - self.inline_limit
        uploaded: set[Part] = set()
        for part in sorted(item.parts, key=wire_bytes, reverse=True):
            if excess <= 0 or part.text is not None or part.uri is not None:
                break
            uploaded.add(part)
            excess -= wire_bytes(part)
        if uploaded and self.service.settings.backend == "vertex":
            raise MediaLimitError(
                f"{item.name} is {item.wire_bytes:,} bytes in a request, and Vertex AI takes {self.inline_limit:,} "
                "inline and has no Files API. Put the file into Cloud Storage and give "
                "google.genai.types.Part.from_uri('gs://…'), or make it smaller"
            )
        return uploaded

    def _part(self, part: Part, upload: bool, stop: CancelToken) -> dict[str, Any]:
        if part.text is not None:
            return {"text": part.text}
        beside = self.options.part_fields if part.modality == "video" else {}
        if part.uri is not None:
            return {"file_data": {"file_uri": part.uri, "mime_type": part.mime_type}, **beside}
        if upload:
            file = self.service.persist(lambda: self.uploads.ensure(part, self.media, self.service.client, stop), stop)
            return {"file_data": {"file_uri": file.uri, "mime_type": file.mime_type}, **beside}
        return {"inline_data": {"data": part.read(self.media), "mime_type": part.mime_type}, **beside}


def call_limits(service: GeminiService, *, batch_size: object, batch_bytes: int, check_order: bool) -> CallLimits:
    """How much one call may carry, so that it stays within the service's limits and one minute's quota.

    Raises:
        ValueError: `batch_size` is not a whole number of at least 1.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number from 1 to {ITEMS_PER_CALL}, got {batch_size!r}")
    quota = service.settings
    most = min(batch_size, service.items_per_call, quota.requests_per_minute or ITEMS_PER_CALL)
    echo = 1 if check_order and most > 2 else 0
    return CallLimits(items=most - echo, wire_bytes=batch_bytes, tokens=quota.tokens_per_minute)


_SAME = 0.99
"""Cosine similarity above which two answers count as one content's; a service need not answer bit for bit alike."""


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """All contents of one `embed` call."""

    items: Sequence[EmbedItem] = field(repr=False)
    dimensions: int
    keys: Sequence[str] = ()
    """Cache keys, one an item; empty where no cache is used."""

    def known(self, values: Sequence[bytes | None]) -> dict[int, Vector]:
        """Read what the cache gave: position to vector."""
        vectors = (from_bytes(value, self.dimensions) for value in values)
        return {position: vector for position, vector in enumerate(vectors) if vector is not None}

    def missing(self, known: Mapping[int, Vector]) -> list[EmbedItem]:
        """What is yet to be embedded."""
        return [item for item in self.items if item.position not in known]

    def to_cache(self, call: Sequence[EmbedItem], vectors: Vectors) -> list[tuple[str, bytes]]:
        """Pairs to keep after a call."""
        return [(self.keys[item.position], to_bytes(row)) for item, row in zip(call, vectors, strict=True)]

    def assembled(
        self, known: Mapping[int, Vector], calls: Sequence[Sequence[EmbedItem]], answers: Sequence[Vectors]
    ) -> Vectors:
        """Put every vector in its input's place: `(n, d)` float32, unit rows."""
        result = np.empty((len(self.items), self.dimensions), dtype=np.float32)
        for position, vector in known.items():
            result[position] = vector
        for call, vectors in zip(calls, answers, strict=True):
            result[[item.position for item in call]] = vectors
        return result


def with_echo(call: Sequence[EmbedItem]) -> list[EmbedItem]:
    """Send the first item a second time, last but one: the place where every shift, reversal or rotation shows."""
    return [*call[:-1], call[0], call[-1]]


def without_echo(vectors: Vectors, call: Sequence[EmbedItem]) -> Vectors:
    """Take the echo out of an answer.

    Raises:
        ServiceError: the echo differs from the first vector, so the answer is not in the order of the call.
    """
    if float(vectors[0] @ vectors[-2]) < _SAME:
        raise ServiceError(
            f"the embedding service answered out of order: {call[0].name} was sent twice and its two vectors differ. "
            f"None of the vectors for {call[0].name} to {call[-1].name} is used"
        )
    return np.delete(vectors, -2, axis=0)
