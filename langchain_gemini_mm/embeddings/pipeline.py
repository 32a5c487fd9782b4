"""From contents to vectors: two short drivers, one for threads and one for an event loop, over the same steps.

A run has one outcome for each input, a vector or an error. `EmbedJob.finish` returns the vectors or raises; `dispatch`
decides what is sent when, and what a failed request means.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from contextlib import AbstractContextManager, AsyncExitStack, closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from langchain_core.stores import BaseStore

from langchain_gemini_mm.batching import (
    TICK_S,
    CallLimits,
    CancelToken,
    DaemonThreads,
    ended,
    gathered_map,
    interruptible_wait,
    plan,
    threaded_map,
)
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.embeddings.cache import (
    IdentityJournal,
    aread_cache,
    awrite_cache,
    from_bytes,
    read_cache,
    write_cache,
)
from langchain_gemini_mm.embeddings.conversion import Conversions, convert_file, usable_items
from langchain_gemini_mm.embeddings.dispatch import Batch, Dispatch
from langchain_gemini_mm.embeddings.job import EmbedJob
from langchain_gemini_mm.embeddings.preparation import (
    EmbedItem,
    are_short_texts,
    conversion_requests,
    prepare,
    total_tokens,
    truncation,
    with_estimated_sizes,
)
from langchain_gemini_mm.embeddings.service.calls import Answer, EmbedCall
from langchain_gemini_mm.embeddings.service.rate_limit import Admission
from langchain_gemini_mm.embeddings.service.service import GeminiService
from langchain_gemini_mm.embeddings.service.uploads import Upload, Uploads
from langchain_gemini_mm.embeddings.settings import EmbedRequest, ResolvedSettings, check_dimensions
from langchain_gemini_mm.embeddings.tasks import recipe as find_recipe
from langchain_gemini_mm.embeddings.usage import BudgetReservation, EmbedPlan, Meter, price_usd
from langchain_gemini_mm.errors import GeminiMMError, IncompleteAnswerError, MediaLimitError, QuotaError, ServiceError
from langchain_gemini_mm.interfaces import Vector, Vectors, WaitNotice
from langchain_gemini_mm.media.convert import ConversionRequest, TemporaryFiles, by_file
from langchain_gemini_mm.validation import positive_int

logger = logging.getLogger("langchain_gemini_mm")

Result: TypeAlias = Answer | ServiceError | None
"""What became of a request; None if it was not sent."""

_LEAVING_S = 0.5
"""How long an interrupted run waits for its driver, which may be reading a file."""
_REPORTED_S = 0.5
"""Shorter waits are not reported."""
_LONG_WAIT_S = 10.0
"""Longer waits are logged as warnings if there is no callback."""


class Sending:
    """One request of a run."""

    def __init__(self, batch: Batch[EmbedItem], admission: Admission) -> None:
        self.batch = batch
        self.admission = admission
        self.items: list[EmbedItem] = []
        """What is sent: the items of the batch, without those whose files cannot be read."""
        self.errors: dict[int, GeminiMMError] = {}
        """The others, by position."""
        self.uploads: list[Upload] = []
        """Uploaded files of the items."""
        self.started = False
        self._claim = threading.Lock()

    def claim(self) -> bool:
        """Whether the caller has to account for the request; true once, for whoever ends it first."""
        return self._claim.acquire(blocking=False)


class Run:
    """The requests of one run, and its job."""

    def __init__(self, job: EmbedJob, dispatch: Dispatch[EmbedItem], urgent: bool) -> None:
        self.job = job
        self.dispatch = dispatch
        self.urgent = urgent
        self.reservation: BudgetReservation | None = None
        self.cancel = CancelToken()
        self.in_flight: set[Sending] = set()
        self.unconfirmed: set[int] = set()
        """Units that may have been paid although their vectors did not arrive."""
        self.waiting_until = 0.0
        """End of the wait that was reported last."""


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
    on_wait: Callable[[WaitNotice], object] | None

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """A copy, or another process, builds its own when it is needed."""
        return type(None), ()

    def run(self, request: EmbedRequest) -> Vectors:
        """Embed in threads."""
        job = self._prepared(request)
        missing = self._uncached(job, job.units, read_cache(self.cache, job.keys))
        with (
            self._within_budget(missing) as reservation,
            DaemonThreads(self.concurrency + 1) as workers,
            closing(TemporaryFiles()) as files,
        ):
            if requests := conversion_requests(missing, self.settings):
                work = partial(self._convert, files)
                missing = usable_items(
                    missing, threaded_map(work, by_file(requests), self._converters), job.failed_units
                )
                if self.cache is not None:
                    missing = job.identify(missing)
                    values = read_cache(self.cache, list(job.content_keys.values()))
                    missing = self._uncached_media(job, missing, values)
                    write_cache(self.cache, job.known_media())
            self._send_in_threads(self._started(job, missing, request, reservation), workers)
        self._note(job, request)
        return job.finish()

    async def arun(self, request: EmbedRequest) -> Vectors:
        """Embed on the running event loop; files are read, converted and uploaded in threads of this run."""
        # One thread more than requests, so that an interrupted run can remove its files while others are busy.
        with DaemonThreads(self.concurrency + 1) as workers:
            short = are_short_texts(request.contents)
            job = self._prepared(request) if short else await workers.run(self._prepared, request)
            missing = self._uncached(job, job.units, await aread_cache(self.cache, job.keys))
            with self._within_budget(missing) as reservation:
                async with AsyncExitStack() as stack:
                    if requests := conversion_requests(missing, self.settings):
                        files = TemporaryFiles()
                        stack.push_async_callback(workers.run, files.close)
                        work = partial(self._aconvert, files, workers)
                        results = await gathered_map(work, by_file(requests), self._converters)
                        missing = usable_items(missing, results, job.failed_units)
                        if self.cache is not None:
                            missing = await workers.run(job.identify, missing)
                            values = await aread_cache(self.cache, list(job.content_keys.values()))
                            missing = self._uncached_media(job, missing, values)
                            await awrite_cache(self.cache, job.known_media())
                    await self._send_in_tasks(self._started(job, missing, request, reservation), workers)
            self._note(job, request)
            return job.finish()

    def _note(self, job: EmbedJob, request: EmbedRequest) -> None:
        cache: object = self.cache
        if isinstance(cache, IdentityJournal):
            cache.note_contents(job.identities(request.contents))

    def _prepared(self, request: EmbedRequest) -> EmbedJob:
        settings = self.settings
        dimensions = settings.dimensions
        if request.output_dimensionality is not None:
            dimensions = check_dimensions(request.output_dimensionality, settings.spec)
        positive_int("batch_size", request.batch_size)
        known = None if request.task_type else settings.recipes.get(request.role)
        recipe = known or find_recipe(settings.spec, request.role, request.task_type or None, literal=True)
        prepared = prepare(settings, request.contents, recipe, request.titles)
        return EmbedJob(prepared, settings, dimensions, cached=self.cache is not None)

    def _uncached(self, job: EmbedJob, units: Sequence[EmbedItem], values: Sequence[bytes | None]) -> list[EmbedItem]:
        """Fill in the cached vectors of units; returns those that are not cached."""
        if self.cache is None:
            return list(units)
        missing: list[EmbedItem] = []
        for unit, value in zip(units, values, strict=True):
            vector = from_bytes(value, job.dimensions)
            if vector is None:
                missing.append(unit)
            else:
                job.vectors[unit.position] = vector
                job.known.add(unit.position)
        if len(missing) < len(units):
            self.meter.add_cached(len(units) - len(missing))
        return missing

    def _uncached_media(
        self, job: EmbedJob, units: Sequence[EmbedItem], values: Sequence[bytes | None]
    ) -> list[EmbedItem]:
        """As `_uncached`, by the bytes of converted media: a segment of a file that has changed may be known."""
        found = dict(zip(job.content_keys.values(), values, strict=True))
        return self._uncached(job, units, [found.get(job.content_keys.get(unit.position, "")) for unit in units])

    def _within_budget(self, missing: Sequence[EmbedItem]) -> AbstractContextManager[BudgetReservation | None]:
        """Refuse everything before the first call, so that no money is spent on a part of it."""
        if self.budget_usd is None:
            return nullcontext()
        return self.meter.within_budget(self.settings.spec, total_tokens(missing), self.budget_usd)

    def _started(
        self, job: EmbedJob, missing: Sequence[EmbedItem], request: EmbedRequest, reservation: BudgetReservation | None
    ) -> Run:
        settings = self.service.settings
        dispatch = Dispatch(
            missing,
            self._limits(request),
            max_retries=settings.max_retries,
            deadline=settings.deadline,
            now=time.monotonic(),
        )
        run = Run(job, dispatch, request.urgent)
        run.reservation = reservation
        return run

    def _limits(self, request: EmbedRequest) -> CallLimits:
        return CallLimits(
            items=min(request.batch_size, self.service.items_per_call),
            wire_bytes=self.batch_bytes,
            tokens=self.settings.spec.call_tokens if self.settings.backend == "vertex" else None,
        )

    def plan(self, request: EmbedRequest, *, convert: bool) -> EmbedPlan:
        """What `run` would send, without a quota and an empty cache."""
        job = self._prepared(request)
        units = job.units
        with closing(TemporaryFiles()) as files:
            if not convert:
                units = with_estimated_sizes(units)
            elif requests := conversion_requests(units, self.settings):
                work = partial(self._convert, files)
                units = usable_items(units, threaded_map(work, by_file(requests), self._converters), job.failed_units)
        sent: list[EmbedItem] = []
        for item in units:
            try:
                if item.wire_bytes > self.settings.inline_limit:
                    self._too_large(item)
                sent.append(item)
            except GeminiMMError as error:
                job.failed_units[item.position] = error
        job.settle()
        tokens = total_tokens(sent)
        return EmbedPlan(
            calls=sum(1 for _ in plan(sent, self._limits(request))),
            items=len(sent),
            tokens=tokens,
            usd=price_usd(self.settings.spec, tokens),
            failed=dict(sorted(job.failed.items())),
        )

    def _send_in_threads(self, run: Run, workers: DaemonThreads) -> None:
        """Send everything. The main thread only waits: an interrupt anywhere else could lose a reservation."""
        if threading.current_thread() is not threading.main_thread():
            self._drive(run, workers)
            return
        driver = workers.submit(self._drive, run, workers)
        try:
            interruptible_wait([driver])
        except BaseException:
            run.cancel.set()
            interruptible_wait([driver], seconds=_LEAVING_S)
            self._abandon(run)
            raise
        driver.result()

    def _drive(self, run: Run, workers: DaemonThreads) -> None:
        alone = run.dispatch.waiting == 1
        running: dict[Future[Result], Sending] = {}

        def start(sending: Sending) -> None:
            # A single content is sent here, which saves the change of threads.
            submit = ended if alone else workers.submit
            running[submit(self._send, run, sending)] = sending

        try:
            while not (run.dispatch.done or run.cancel.is_set()):
                pause = min(self._start_due(run, start), TICK_S)
                if running:
                    done = interruptible_wait(running, FIRST_COMPLETED, pause)
                else:
                    done = set()
                    run.cancel.wait(pause)
                for future in done:
                    self._settle(run, running.pop(future), future.result())
                self._expire(run)
        finally:
            self._abandon(run)

    async def _send_in_tasks(self, run: Run, workers: DaemonThreads) -> None:
        """Async twin of `_send_in_threads`."""
        running: dict[asyncio.Task[Result], Sending] = {}

        def start(sending: Sending) -> None:
            running[asyncio.create_task(self._asend(run, sending, workers))] = sending

        try:
            while not run.dispatch.done:
                pause = self._start_due(run, start)
                if running:
                    done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                else:
                    done = set()
                    await asyncio.sleep(pause)
                for task in done:
                    self._settle(run, running.pop(task), task.result())
                self._expire(run)
        finally:
            for task in running:
                task.cancel()
            self._abandon(run)
            await asyncio.gather(*running, return_exceptions=True)

    def _start_due(self, run: Run, start: Callable[[Sending], None]) -> float:
        """Start the requests that are due; returns the seconds until there may be more."""
        dispatch = run.dispatch
        quota = self.service.quota(self.settings.spec.name)
        while len(run.in_flight) < self.concurrency:
            now = time.monotonic()
            batch = dispatch.next(now)
            if batch is None:
                pause = dispatch.wait_s(now)
                if not run.in_flight:
                    self._report_wait(run, "a failed request is repeated", pause, now)
                return pause
            admission = quota.admit([item.token_count for item in batch.items], urgent=run.urgent)
            if not admission.count:
                dispatch.put_back(batch)
                if not run.in_flight:
                    dispatch.excuse(admission.wait_s, now, asked=admission.reason == "the service asked for a pause")
                self._report_wait(run, admission.reason or "", admission.wait_s, now)
                return min(admission.wait_s, dispatch.wait_s(now))
            sending = Sending(dispatch.begin(batch, admission.count), admission)
            run.in_flight.add(sending)
            start(sending)
        return dispatch.wait_s(time.monotonic())

    def _report_wait(self, run: Run, reason: str, seconds: float, now: float) -> None:
        """Report each wait once, and again when it gets longer."""
        if seconds < _REPORTED_S or now + seconds < run.waiting_until + _REPORTED_S:
            return
        run.waiting_until = now + seconds
        # Without a callback, a long wait would look like a program that hangs.
        unexpected = self.on_wait is None and seconds >= _LONG_WAIT_S
        logger.log(logging.WARNING if unexpected else logging.INFO, "waiting %.1f s: %s", seconds, reason)
        if self.on_wait is not None:
            self.on_wait(WaitNotice(reason, seconds, run.dispatch.waiting))

    def _settle(self, run: Run, sending: Sending, result: Result) -> None:
        """Take over what became of a request."""
        now = time.monotonic()
        run.in_flight.discard(sending)
        run.dispatch.exclude(sending.batch, sending.errors)
        if not isinstance(result, ServiceError):
            run.dispatch.accept(sending.batch, now)
            return
        failures = sending.batch.attempts + sending.batch.held + sending.batch.incomplete + 1
        seconds = run.dispatch.fail(sending.batch, result, now)
        if seconds is not None:
            self.meter.add_retry()
            logger.info("attempt %d failed, trying again in %.1f s: %s", failures, seconds, result.message)

    def _expire(self, run: Run) -> None:
        """Do not wait for requests in flight after the deadline."""
        if run.dispatch.expire(time.monotonic()):
            run.dispatch.abandon([sending.batch for sending in run.in_flight])

    def _abandon(self, run: Run) -> None:
        """Account for requests that nobody waits for any longer, and take over the errors of the run."""
        run.cancel.set()
        for sending in list(run.in_flight):
            if sending.claim():
                self._unanswered(run, sending)
        run.job.failed_units |= run.dispatch.failed
        run.job.stopped = run.dispatch.stopped is not None

    def _send(self, run: Run, sending: Sending) -> Result:
        """Send a request; the answer of one that was abandoned is only cached."""
        call = self._call(run, sending)
        if call is None:
            return None
        try:
            result: Answer | ServiceError = self.service.embed(call)
        except ServiceError as error:
            result = error
        except BaseException:
            if sending.claim():
                self._unanswered(run, sending)
            raise
        write_cache(self.cache, self._account(run, sending, result))
        return result

    async def _asend(self, run: Run, sending: Sending, workers: DaemonThreads) -> Result:
        """Async twin of `_send`; files are read in a worker thread, which a request of texts is not worth."""
        if all(part.part.text is not None for item in sending.batch.items for part in item.parts):
            call = self._call(run, sending)
        else:
            call = await workers.run(self._call, run, sending)
        if call is None:
            return None
        try:
            result: Answer | ServiceError = await self.service.aembed(call)
        except ServiceError as error:
            result = error
        await awrite_cache(self.cache, self._account(run, sending, result))
        return result

    def _account(self, run: Run, sending: Sending, result: Answer | ServiceError) -> list[tuple[str, bytes]]:
        """Take over the vectors of a response and count it; returns the new entries of the cache."""
        if isinstance(result, Answer):
            vectors: Mapping[int, Vector] = dict(
                zip((item.position for item in sending.items), result.vectors, strict=True)
            )
            if sending.claim():
                self.meter.answered(self.settings.spec, total_tokens(sending.items), result, run.reservation)
                sending.admission.settle(result.reported_tokens)
            vectors = self._without_truncated(run, sending, result, vectors)
        else:
            vectors = result.vectors if isinstance(result, IncompleteAnswerError) else {}
            if sending.claim():
                self._count_failed(run, sending, result, vectors)
        for row, vector in vectors.items():
            run.job.vectors[row] = vector
        return run.job.cache_entries(vectors)

    def _without_truncated(
        self, run: Run, sending: Sending, answer: Answer, vectors: Mapping[int, Vector]
    ) -> Mapping[int, Vector]:
        """The vectors without those of texts that the service has truncated, where these fail."""
        if not answer.truncated and not any(item.may_be_cut for item in sending.items):
            return vectors
        tokens = answer.reported_tokens if len(sending.items) == 1 else None
        for item in sending.items:
            reported = item.position in answer.truncated
            error = truncation(item, self.settings, reported=reported, tokens=tokens)
            if error is not None:
                run.job.failed_units[item.position] = error
        return {row: vector for row, vector in vectors.items() if row not in run.job.failed_units}

    def _count_failed(self, run: Run, sending: Sending, error: ServiceError, vectors: Mapping[int, Vector]) -> None:
        """Count a request without a complete answer; whatever of it arrived was paid."""
        if isinstance(error, QuotaError):
            sending.admission.refused(error)
        elif not error.sent:
            sending.admission.release()
        else:
            if vectors:
                arrived = [item for item in sending.items if item.position in vectors]
                answer = Answer(np.stack(list(vectors.values())), 0)
                self.meter.answered(self.settings.spec, total_tokens(arrived), answer, run.reservation)
                sending.items = [item for item in sending.items if item.position not in vectors]
            self._unanswered(run, sending)

    def _unanswered(self, run: Run, sending: Sending) -> None:
        """Count a request whose response did not arrive; what was not sent is given back."""
        if not sending.started:
            sending.admission.release()
            return
        sending.admission.settle()
        run.unconfirmed.update(item.position for item in sending.items)
        self.meter.unconfirmed(self.settings.spec, total_tokens(sending.items), len(sending.items), run.reservation)

    @property
    def _converters(self) -> int:
        """Conversion is work for processors, so more threads than these do not help."""
        return min(self.concurrency, os.cpu_count() or 1)

    def _convert(
        self, files: TemporaryFiles, requests: Sequence[ConversionRequest], cancel: CancelToken
    ) -> Conversions:
        return convert_file(requests, self.settings, files, cancel)

    async def _aconvert(
        self, files: TemporaryFiles, workers: DaemonThreads, requests: Sequence[ConversionRequest]
    ) -> Conversions:
        cancel = CancelToken()
        try:
            return await workers.run(self._convert, files, requests, cancel)
        finally:
            cancel.set()

    def _call(self, run: Run, sending: Sending) -> EmbedCall | None:
        """Build the request, one `Content` for each item; None if nothing is left to send."""
        contents: list[list[dict[str, Any]]] = []
        for item in sending.batch.items:
            try:
                if run.reservation is not None and item.position in run.unconfirmed:
                    run.reservation.extend(self.settings.spec, total_tokens([item]))
                contents.append(self._payload(item, sending.uploads, run.cancel))
            except GeminiMMError as error:
                sending.errors[item.position] = error
            else:
                sending.items.append(item)
        # In this order, so that a run which is interrupted now either sees the start, or is seen by this thread.
        sending.started = bool(contents)
        if not contents or run.cancel.is_set():
            sending.started = False
            if sending.claim():
                sending.admission.release()
            return None
        first = sending.items[0]
        return EmbedCall(
            model=self.settings.spec.name,
            contents=contents,
            positions=tuple(item.position for item in sending.items),
            dimensions=run.job.dimensions,
            task_type=first.task_type,
            title=first.title,
            options=self.settings.request_fields,
            text_only=not self.settings.spec.media,
            uploads=tuple(sending.uploads),
        )

    def _payload(self, item: EmbedItem, uploads: list[Upload], cancel: CancelToken) -> list[dict[str, Any]]:
        uploaded = self._too_large(item) if item.wire_bytes > self.settings.inline_limit else ()
        payload: list[dict[str, Any]] = []
        for part, _, _ in item.parts:
            if part.text is not None:
                payload.append({"text": part.text})
            elif part in uploaded:
                media, connections = self.settings.media, self.service.connections
                ensure = partial(self.uploads.ensure, part, media, connections, cancel)
                upload = self.service.persist(ensure, cancel)
                uploads.append(upload)
                payload.append(self._media(part, {"file_uri": upload.uri, "mime_type": upload.mime_type}))
            else:
                payload.append(self._media(part))
        return payload

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

    def _media(self, part: Part, file: Mapping[str, str] | None = None) -> dict[str, Any]:
        extra = self.settings.options.part_fields if part.modality == "video" else {}
        if part.uri is not None:
            file = {"file_uri": part.uri, "mime_type": part.mime_type or ""}
        if file is not None:
            return {"file_data": file, **extra}
        return {"inline_data": {"data": part.read(self.settings.media), "mime_type": part.mime_type}, **extra}
