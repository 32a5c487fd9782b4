"""Usage and budget: what was paid, what may have been paid, and what may still be spent."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm import BudgetError, GeminiEmbeddings, GeminiMMError
from langchain_gemini_mm.embeddings.service.calls import Answer
from langchain_gemini_mm.embeddings.usage import Meter, price_usd
from langchain_gemini_mm.models import model_spec
from langchain_gemini_mm.testing import Failure, GeminiEmulator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_gemini_mm.interfaces import Modality

SPEC = model_spec("gemini-embedding-2")


def tokens_for(usd: float) -> dict[Modality, int]:
    """Text tokens of a price."""
    return {"text": round(usd / price_usd(SPEC, {"text": 1_000_000}) * 1_000_000)}


def answer(items: int, reported_tokens: int = 0) -> Answer:
    """The response to a request."""
    return Answer(np.ones((items, 1), dtype=np.float32), reported_tokens)


def test_money_is_not_counted_twice() -> None:
    """What was spent of a reservation is no longer reserved (case r02)."""
    meter = Meter()
    with meter.within_budget(SPEC, tokens_for(0.5), 1.0) as reservation:
        meter.answered(SPEC, tokens_for(0.49), answer(1), reservation)
        with meter.within_budget(SPEC, tokens_for(0.1), 1.0):
            pass
        with pytest.raises(BudgetError) as caught, meter.within_budget(SPEC, tokens_for(0.6), 1.0):
            pass
        assert caught.value.spent_usd == pytest.approx(0.5)
    with meter.within_budget(SPEC, tokens_for(0.51), 1.0):
        pass


def test_a_repeated_request_needs_its_price_again() -> None:
    """A request without a response may have been paid; sending it again is refused where the budget ends."""
    meter = Meter()
    with meter.within_budget(SPEC, tokens_for(0.4), 1.0) as reservation:
        assert reservation is not None
        meter.unconfirmed(SPEC, tokens_for(0.4), 3, reservation)
        reservation.extend(SPEC, tokens_for(0.4))
        meter.unconfirmed(SPEC, tokens_for(0.4), 3, reservation)
        with pytest.raises(BudgetError, match=r"0\.2 are left"):
            reservation.extend(SPEC, tokens_for(0.4))
    assert (meter.usage.unconfirmed, meter.usage.items) == (6, 0)
    assert meter.usage.unconfirmed_usd == pytest.approx(0.8)


def test_reported_tokens_replace_the_estimate() -> None:
    """Tokens by modality are scaled to the service's total, and so is the cost."""
    meter = Meter()
    meter.answered(SPEC, {"text": 10, "video": 66}, answer(1, reported_tokens=7600))
    assert meter.usage.estimated_tokens == {"text": 1000, "video": 6600}
    assert meter.usage.estimated_usd == pytest.approx(price_usd(SPEC, {"text": 1000, "video": 6600}))
    meter.answered(SPEC, {"text": 10}, answer(1))
    assert meter.usage.estimated_tokens == {"text": 1010, "video": 6600}


@given(
    calls=st.lists(
        st.tuples(st.integers(1, 50), st.lists(st.sampled_from(["answered", "unconfirmed", "refused"]), max_size=4)),
        max_size=12,
    ),
    budget=st.integers(0, 100),
)
def test_a_budget_is_exact(calls: list[tuple[int, list[str]]], budget: int) -> None:
    """Whatever becomes of the attempts of each call, the budget is used up to a cent and not exceeded."""
    meter = Meter()
    paid = 0
    for cents, outcomes in calls:
        tokens = tokens_for(cents / 100)
        try:
            with meter.within_budget(SPEC, tokens, budget / 100) as reservation:
                assert reservation is not None
                for number, outcome in enumerate(outcomes):
                    if number and outcomes[number - 1] == "unconfirmed":
                        reservation.extend(SPEC, tokens)
                    if outcome == "answered":
                        meter.answered(SPEC, tokens, answer(1), reservation)
                        paid += cents
                        break
                    if outcome == "unconfirmed":
                        meter.unconfirmed(SPEC, tokens, 1, reservation)
                        paid += cents
        except BudgetError as error:
            assert paid + cents > budget
            assert error.spent_usd == pytest.approx(paid / 100)  # noqa: PT017
    assert paid <= budget
    usage = meter.usage
    assert usage.estimated_usd + usage.unconfirmed_usd == pytest.approx(paid / 100)


def test_concurrent_callers_share_a_budget(emulator: GeminiEmulator) -> None:
    """Of 12 callers as many may send as the budget allows, whenever they reserve and spend."""
    emulator.settings.latency = (0.0, 0.05)
    with GeminiEmbeddings(output_dimensionality=128) as embeddings:
        embeddings.embed_documents([f"caller 00 text {i:02}" for i in range(10)])
        price = embeddings.usage.estimated_usd
        sent = emulator.embedded
        embeddings.reset_usage()
        embeddings.budget_usd = 5.5 * price
        outcomes: list[str] = []

        def embed(caller: int) -> None:
            try:
                embeddings.embed_documents([f"caller {caller:02} text {i:02}" for i in range(10)], batch_size=3)
                outcomes.append("embedded")
            except BudgetError:
                outcomes.append("refused")

        threads = [threading.Thread(target=embed, args=(caller,)) for caller in range(1, 13)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes.count("embedded") == 5
        assert emulator.embedded - sent == 50
        assert embeddings.usage.estimated_usd == pytest.approx(5 * price)


def test_time_outs_are_unconfirmed(emulator: GeminiEmulator) -> None:
    """The service embeds what the client no longer waits for; a time-out is not a confirmation (case r34)."""
    emulator.settings.latency = 0.6
    with GeminiEmbeddings(output_dimensionality=128, timeout=0.2, max_retries=1) as embeddings:
        with pytest.raises(GeminiMMError):
            embeddings.embed_query("x")
        assert (embeddings.usage.items, embeddings.usage.unconfirmed) == (0, 2)
        assert embeddings.usage.unconfirmed_usd > 0
        assert emulator.embedded <= 2


async def test_cancelled_requests_are_unconfirmed(emulator: GeminiEmulator) -> None:
    """What was in flight when the task was cancelled may have been paid (case r34)."""
    emulator.settings.latency = 0.5
    async with GeminiEmbeddings(output_dimensionality=128) as embeddings:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(embeddings.aembed_documents([f"text {i}" for i in range(300)], batch_size=50), 0.3)
        usage = embeddings.usage
        assert usage.items == 0
        assert emulator.embedded <= usage.unconfirmed <= 300


def test_media_in_a_bucket_cost_what_the_service_reports(emulator: GeminiEmulator) -> None:
    """The length of a `gs://` video is not known before it is embedded (case r40)."""
    from google.genai.types import Part

    from langchain_gemini_mm.testing import mp4

    emulator.add_object("gs://bucket/film.mp4", mp4(100.0), "video/mp4")
    film = Part.from_uri(file_uri="gs://bucket/film.mp4", mime_type="video/mp4")
    with GeminiEmbeddings(vertexai=True, base_url=emulator.url, output_dimensionality=128) as embeddings:
        embeddings.embed_documents([film])
        usage = embeddings.usage
    assert usage.reported_tokens == usage.estimated_tokens["video"] == 6600


CHAOS = (
    429,
    500,
    503,
    "cut",
    "cut-middle",
    "short",
    "missing",
    "malformed",
    "html",
    Failure(status=429, retry_delay=0.02),
    Failure(delay=0.6),
)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "tasks"])
def test_usage_under_failures(seed: int, asynchronous: bool) -> None:
    """Confirmed <= embedded by the service <= confirmed + unconfirmed, also for cancelled and failed calls."""
    dice = random.Random(seed)
    options: dict[str, Any] = {"output_dimensionality": 128, "timeout": 0.4, "max_retries": 2, "deadline": 20}
    with (
        GeminiEmulator(seed=seed, failure_rate=0.4, failures=CHAOS) as emulator,
        GeminiEmbeddings(api_key=emulator.api_key, base_url=emulator.url, **options) as embeddings,
    ):

        def texts(call: int) -> Sequence[str]:
            return [f"call {call} text {i}" for i in range(dice.randint(1, 60))]

        async def embed() -> None:
            for call in range(6):
                try:
                    await asyncio.wait_for(
                        embeddings.aembed_documents(texts(call), batch_size=7), dice.choice([0.2, 1, 30])
                    )
                except (TimeoutError, GeminiMMError):
                    continue
            await embeddings.aclose()

        if asynchronous:
            asyncio.run(embed())
        else:
            for call in range(6):
                try:
                    embeddings.embed_documents(texts(call), batch_size=7)
                except GeminiMMError:
                    continue
        time.sleep(0.8)  # requests that nobody waits for arrive
        usage = embeddings.usage
        assert usage.items > 0
        assert usage.items <= emulator.embedded <= usage.items + usage.unconfirmed
