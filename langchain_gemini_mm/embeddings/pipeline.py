"""From contents to vectors: two short drivers, one for threads and one for an event loop, over the same steps."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from langchain_core.stores import BaseStore

from langchain_gemini_mm.batching import CallLimits, CancelToken, gathered_map, plan, threaded_map
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.embeddings.cache import from_bytes, to_bytes
from langchain_gemini_mm.embeddings.preparation import (
    EmbedItem,
    PreparedPart,
    are_short_texts,
    conversion_requests,
    converted_part,
    prepare,
    total_tokens,
    with_converted,
)
from langchain_gemini_mm.embeddings.service.calls import Answer, EmbedCall
from langchain_gemini_mm.embeddings.service.service import GeminiService
from langchain_gemini_mm.embeddings.service.uploads import Uploads
from langchain_gemini_mm.embeddings.settings import EmbedRequest, ResolvedSettings, check_dimensions
from langchain_gemini_mm.embeddings.tasks import recipe as find_recipe
from langchain_gemini_mm.embeddings.usage import Meter, price_usd
from langchain_gemini_mm.errors import GeminiMMError, MediaLimitError
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.media.convert import ConversionRequest, TemporaryFiles, by_file, convert
from langchain_gemini_mm.models import ITEMS_PER_CALL
from langchain_gemini_mm.validation import positive_int


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """The contents of one call, prepared, and the vectors answered so far."""

    items: list[EmbedItem] = field(repr=False)
    dimensions: int
    keys: Sequence[str]
    """Cache keys, one for each item; empty where no cache is used."""
    limits: CallLimits
    vectors: Vectors = field(repr=False)
    """`(n, d)` float32, unit rows; filled in the order of the answers."""

    def from_cache(self, values: Sequence[bytes | None]) -> list[EmbedItem]:
        """Fill in the cached vectors; returns the items that are not cached."""
        missing: list[EmbedItem] = []
        for item, value in zip(self.items, values, strict=True):
            vector = from_bytes(value, self.dimensions)
            if vector is None:
                missing.append(item)
            else:
                self.vectors[item.position] = vector
        return missing


@dataclass(frozen=True, kw_only=True)
class EmbedPipeline:
    """What the calls of one `GeminiEmbeddings` work with, as long as its fields do not change."""

    fields: Mapping[str, Any] = field(repr=False)
    """The fields that it was built from."""
    settings: ResolvedSettings
    service: GeminiService
    uploads: Uploads
    meter: Meter
    cache: BaseStore[str, bytes] | None
    concurrency: int
    batch_bytes: int
    budget_usd: float | None

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A copy, or another process, builds its own when it is needed."""
        return type(None), ()

    def run(self, request: EmbedRequest) -> Vectors:
        """Embed in threads."""
        job = self._prepared(request)
        missing = job.items if self.cache is None else job.from_cache(self.cache.mget(job.keys))
        with self._within_budget(job, missing), ExitStack() as stack:
            if requests := conversion_requests(missing, self.settings):
                files = stack.enter_context(closing(TemporaryFiles()))
                converted = threaded_map(partial(self._convert, files), by_file(requests), self._converters)
                missing = with_converted(missing, converted)
            if len(missing) == 1:
                self._embed(job, missing, CancelToken())
            else:
                threaded_map(partial(self._embed, job), list(plan(missing, job.limits)), self.concurrency)
        return job.vectors

    async def arun(self, request: EmbedRequest) -> Vectors:
        """Embed on the running event loop; files are read, cut and converted in worker threads."""
        short = are_short_texts(request.contents)
        job = self._prepared(request) if short else await asyncio.to_thread(self._prepared, request)
        missing = job.items if self.cache is None else job.from_cache(await self.cache.amget(job.keys))
        with self._within_budget(job, missing):
            async with AsyncExitStack() as stack:
                if requests := conversion_requests(missing, self.settings):
                    files = TemporaryFiles()
                    stack.push_async_callback(asyncio.to_thread, files.close)
                    converted = await gathered_map(partial(self._aconvert, files), by_file(requests), self._converters)
                    missing = with_converted(missing, converted)
                if len(missing) == 1:
                    await self._aembed(job, missing)
                else:
                    await gathered_map(partial(self._aembed, job), list(plan(missing, job.limits)), self.concurrency)
        return job.vectors

    def _prepared(self, request: EmbedRequest) -> EmbedJob:
        settings, quota = self.settings, self.service.settings
        dimensions = settings.dimensions
        if request.output_dimensionality is not None:
            dimensions = check_dimensions(request.output_dimensionality, settings.spec)
        most = min(
            positive_int("batch_size", request.batch_size),
            self.service.items_per_call,
            quota.requests_per_minute or ITEMS_PER_CALL,
        )
        known = settings.recipes.get(request.role) if request.task_type is None else None
        recipe = known or find_recipe(settings.spec, request.role, request.task_type)
        items = prepare(settings, request.contents, recipe, request.titles)
        keys: list[str] = []
        if self.cache is not None:
            space = {**settings.space, "dimensions": dimensions}
            keys = [item.key(space, settings.media) for item in items]
        return EmbedJob(
            items=items,
            dimensions=dimensions,
            keys=keys,
            limits=CallLimits(items=most, wire_bytes=self.batch_bytes, tokens=quota.tokens_per_minute),
            vectors=np.empty((len(items), dimensions), dtype=np.float32),
        )

    def _within_budget(self, job: EmbedJob, missing: Sequence[EmbedItem]) -> AbstractContextManager[None]:
        """Refuse everything before the first call, so that no money is spent on vectors that are then thrown away."""
        if len(missing) < len(job.items):
            self.meter.add_cached(len(job.items) - len(missing))
        if self.budget_usd is None:
            return nullcontext()
        return self.meter.within_budget(price_usd(self.settings.spec, total_tokens(missing)), self.budget_usd)

    @property
    def _converters(self) -> int:
        """Conversion is work for processors, so more threads than these do not help."""
        return min(self.concurrency, os.cpu_count() or 1)

    def _convert(
        self, files: TemporaryFiles, requests: Sequence[ConversionRequest], cancel: CancelToken
    ) -> list[tuple[Part, PreparedPart]]:
        """Convert everything that is needed of one file."""
        results: list[tuple[Part, PreparedPart]] = []
        if cancel.is_set():
            return results
        try:
            with requests[0].part.open(self.settings.media) as file:
                for converted in convert(requests, self.settings.targets, file, cancel=cancel):
                    part = sent = converted.request.part
                    if converted.changed:
                        sent = Part(
                            modality=part.modality,
                            mime_type=converted.mime_type,
                            size=len(converted.data),
                            path=files.write(converted.data),
                            label=part.name,
                        )
                    results.append((part, converted_part(converted, sent, self.settings)))
        except GeminiMMError as error:
            error.about_input(requests[0].position or 0)
            raise
        return results

    async def _aconvert(
        self, files: TemporaryFiles, requests: Sequence[ConversionRequest]
    ) -> list[tuple[Part, PreparedPart]]:
        cancel = CancelToken()
        try:
            return await asyncio.to_thread(self._convert, files, requests, cancel)
        finally:
            cancel.set()

    def _embed(self, job: EmbedJob, items: Sequence[EmbedItem], cancel: CancelToken) -> None:
        entries = self._accept(job, items, self.service.embed(self._call(job, items, cancel), cancel))
        if self.cache is not None:
            self.cache.mset(entries)

    async def _aembed(self, job: EmbedJob, items: Sequence[EmbedItem]) -> None:
        """Read files in a worker thread; a call of texts is not worth one."""
        cancel = CancelToken()
        try:
            if all(part.part.text is not None for item in items for part in item.parts):
                call = self._call(job, items, cancel)
            else:
                call = await asyncio.to_thread(self._call, job, items, cancel)
        finally:
            cancel.set()
        entries = self._accept(job, items, await self.service.aembed(call))
        if self.cache is not None:
            await self.cache.amset(entries)

    def _call(self, job: EmbedJob, items: Sequence[EmbedItem], cancel: CancelToken) -> EmbedCall:
        """Build the request; one `Content` for each item, whatever it is made of."""
        contents: list[list[dict[str, Any]]] = []
        positions: list[int] = []
        tokens = 0
        for item in items:
            uploaded = self._too_large(item) if item.wire_bytes > self.settings.inline_limit else ()
            contents.append([])
            positions.append(item.position)
            tokens += item.token_count
            for part, _, _ in item.parts:
                payload = {"text": part.text} if part.text is not None else self._media(part, part in uploaded, cancel)
                contents[-1].append(payload)
        return EmbedCall(
            model=self.settings.spec.name,
            contents=contents,
            positions=tuple(positions),
            dimensions=job.dimensions,
            task_type=items[0].task_type,
            title=items[0].title,
            options=self.settings.request_fields,
            tokens=tokens,
        )

    def _accept(self, job: EmbedJob, items: Sequence[EmbedItem], answer: Answer) -> list[tuple[str, bytes]]:
        """Take over the vectors of a call and count it; returns the new entries of the cache."""
        job.vectors[[item.position for item in items]] = answer.vectors
        self.meter.add_call(self.settings.spec, total_tokens(items), answer)
        if self.cache is None:
            return []
        return [(job.keys[item.position], to_bytes(row)) for item, row in zip(items, answer.vectors, strict=True)]

    def _too_large(self, item: EmbedItem) -> set[Part]:
        """Which parts go through the Files API: the largest, until the rest fits inline."""
        limit = self.settings.inline_limit
        excess = item.wire_bytes - limit
        uploaded: set[Part] = set()
        for prepared in sorted(item.parts, key=lambda prepared: prepared.wire_bytes, reverse=True):
            if excess <= 0 or prepared.part.text is not None or prepared.part.uri is not None:
                break
            uploaded.add(prepared.part)
            excess -= prepared.wire_bytes
        if uploaded and self.settings.backend == "vertex":
            raise MediaLimitError(
                f"the content is {item.wire_bytes:,} bytes in a request, and Vertex AI takes {limit:,} inline and has "
                "no Files API. Put the file into Cloud Storage and give google.genai.types.Part.from_uri('gs://…'), or "
                "make it smaller"
            ).about_input(item.position)
        return uploaded

    def _media(self, part: Part, upload: bool, cancel: CancelToken) -> dict[str, Any]:
        extra = self.settings.options.part_fields if part.modality == "video" else {}
        if part.uri is not None:
            return {"file_data": {"file_uri": part.uri, "mime_type": part.mime_type}, **extra}
        if upload:
            client, media = self.service.client, self.settings.media
            file = self.service.persist(lambda: self.uploads.ensure(part, media, client, cancel), cancel)
            return {"file_data": {"file_uri": file.uri, "mime_type": file.mime_type}, **extra}
        return {"inline_data": {"data": part.read(self.settings.media), "mime_type": part.mime_type}, **extra}
