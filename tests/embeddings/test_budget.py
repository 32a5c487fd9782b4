"""A budget: calls that exceed it are not sent, and what was indexed before stays usable."""

from __future__ import annotations

import pytest

from langchain_gemini_mm import BudgetError, GeminiEmbeddings, LocalVectorStore, PartialWriteError
from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.testing import GeminiEmulator

TEXTS = [f"text number {i} of some length" for i in range(100)]


def price_of(texts: list[str]) -> float:
    """The estimated cost of embedding them."""
    with GeminiEmbeddings() as embeddings:
        embeddings.embed_documents(texts)
        return embeddings.usage.estimated_usd


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_call_over_the_budget_is_not_sent(emulator: GeminiEmulator, asynchronous: bool) -> None:
    """Either all of a call is sent or nothing."""
    price = price_of(TEXTS)
    sent = emulator.embedded
    async with GeminiEmbeddings(budget_usd=1.5 * price) as embeddings:

        async def embed() -> list[list[float]]:
            return await embeddings.aembed_documents(TEXTS) if asynchronous else embeddings.embed_documents(TEXTS)

        assert len(await embed()) == len(TEXTS)
        with pytest.raises(BudgetError, match=r"would cost about 0\.\d+ USD; .* Nothing of it was sent") as caught:
            await embed()
        assert (caught.value.needed_usd, caught.value.spent_usd) == pytest.approx((price, price))
        assert emulator.embedded == sent + len(TEXTS)
        embeddings.embed_documents(TEXTS[:40])
        embeddings.reset_usage()
        embeddings.embed_documents(TEXTS)


def test_an_index_stops_within_its_budget_and_is_usable(emulator: GeminiEmulator) -> None:
    """The error lists stored and failed documents; with a larger budget the same call completes."""
    price = price_of(TEXTS)
    ids = [f"id {i}" for i in range(100)]
    with (
        GeminiEmbeddings(budget_usd=price / 2) as embeddings,
        LocalVectorStore(":memory:", embeddings) as store,
    ):
        with pytest.raises(PartialWriteError, match="of the budget of") as caught:
            store.add_texts(TEXTS, ids=ids, batch_size=10)
        assert isinstance(caught.value.__cause__, BudgetError)
        assert embeddings.usage.estimated_usd <= price / 2
        assert caught.value.stored == ids[: store.count()]
        assert 30 <= store.count() <= 50
        assert [*caught.value.stored, *caught.value.failed] == ids
        embeddings.reset_usage()
        embeddings.budget_usd = 2 * price
        assert store.add_texts(TEXTS, ids=ids, batch_size=10) == ids


def test_a_cache_costs_nothing(emulator: GeminiEmulator) -> None:
    """Cached vectors need no budget."""
    from langchain_core.stores import InMemoryByteStore

    cache = InMemoryByteStore()
    with GeminiEmbeddings(cache=cache) as embeddings:
        expected = embeddings.embed_documents(TEXTS)
    with GeminiEmbeddings(cache=cache, budget_usd=0) as embeddings:
        assert embeddings.embed_documents(TEXTS) == expected
        with pytest.raises(BudgetError):
            embeddings.embed_documents(["new"])


def test_a_budget_is_a_positive_number() -> None:
    """Negative and invalid amounts are refused."""
    with pytest.raises(InvalidValueError):
        GeminiEmbeddings(api_key="x", budget_usd=-1)
