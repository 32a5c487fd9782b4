"""Usage: contents, tokens and cost so far, and the budget."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from langchain_gemini_mm.batching import PerProcess
from langchain_gemini_mm.errors import BudgetError, GeminiMMError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.models import ModelSpec

if TYPE_CHECKING:
    from langchain_gemini_mm.embeddings.service.calls import Answer


def price_usd(spec: ModelSpec, tokens: Mapping[Modality, int]) -> float:
    """Cost of tokens at the standard price, in US dollars."""
    return sum(count * spec.usd_per_million_tokens.get(modality, 0.0) for modality, count in tokens.items()) / 1e6


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Contents, tokens and cost so far; tokens by modality and cost are estimates.

    The service has embedded at least `items` contents and at most `items + unconfirmed`.
    """

    items: int = 0
    """Contents embedded by the service."""
    cached: int = 0
    """Contents answered from the cache."""
    requests: int = 0
    """Requests answered with vectors."""
    retries: int = 0
    """Requests that had to be repeated."""
    reported_tokens: int = 0
    """Tokens reported by the service; 0 for requests for which it reports none."""
    estimated_tokens: Mapping[Modality, int] = field(default_factory=dict)
    """By modality; scaled to the tokens that the service reported, where it did."""
    estimated_usd: float = 0.0
    """In US dollars, at the standard price rather than the Batch API price."""
    unconfirmed: int = 0
    """Contents of requests whose response never arrived completely: time-outs, lost connections, cancelled tasks."""
    unconfirmed_usd: float = 0.0
    """What these cost if the service embedded them."""


@dataclass(frozen=True, kw_only=True)
class EmbedPlan:
    """What embedding contents would take; made by `GeminiEmbeddings.plan`."""

    calls: int
    """Requests, without a quota."""
    items: int
    """Contents that are sent: equal ones once, and each piece of a text that is split."""
    tokens: Mapping[Modality, int]
    """Estimated, by the modality they are billed as."""
    usd: float
    """US dollars at the standard price."""
    failed: Mapping[int, GeminiMMError]
    """Position of an input that cannot be embedded to its error."""


class BudgetReservation:
    """Money that a run may still spend; made by `Meter.within_budget`."""

    def __init__(self, meter: Meter, usd: float, budget_usd: float) -> None:
        self.usd = usd
        """Reserved and not spent yet."""
        self.budget_usd = budget_usd
        self._meter = meter

    def extend(self, spec: ModelSpec, tokens: Mapping[Modality, int]) -> None:
        """Reserve the price of a request that is sent again although it may have been paid already.

        Raises:
            BudgetError: the budget would be exceeded.
        """
        self._meter._reserve(self, price_usd(spec, tokens))


class Meter(PerProcess):
    """Adds up usage; thread-safe. A forked process counts from zero."""

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._usage = Usage()
        self._reserved_usd = 0.0

    def __reduce__(self) -> tuple[type[Meter], tuple[()]]:
        """A copy, or a worker process, counts from zero."""
        return Meter, ()

    @property
    def usage(self) -> Usage:
        """The usage so far."""
        with self._lock:
            return self._usage

    def reset(self) -> None:
        """Set the usage to zero."""
        with self._lock:
            self._usage = Usage()

    def add_cached(self, count: int) -> None:
        """Count contents that were answered from the cache."""
        with self._lock:
            self._usage = replace(self._usage, cached=self._usage.cached + count)

    def add_retry(self) -> None:
        """Count a request that is repeated."""
        with self._lock:
            self._usage = replace(self._usage, retries=self._usage.retries + 1)

    @contextmanager
    def within_budget(
        self, spec: ModelSpec, tokens: Mapping[Modality, int], budget_usd: float | None
    ) -> Iterator[BudgetReservation | None]:
        """Reserve the price of requests that are about to be sent; what other threads reserved counts as spent.

        What the requests cost is taken from the reservation; the rest is given back at the end of the block.

        Args:
            spec: the model, for its prices.
            tokens: estimated, by modality.
            budget_usd: the limit; None for no limit and no reservation.

        Raises:
            BudgetError: the budget would be exceeded.
        """
        if budget_usd is None:
            yield None
            return
        reservation = BudgetReservation(self, 0.0, budget_usd)
        self._reserve(reservation, price_usd(spec, tokens))
        try:
            yield reservation
        finally:
            with self._lock:
                self._take(reservation, reservation.usd)

    def answered(
        self,
        spec: ModelSpec,
        tokens: Mapping[Modality, int],
        answer: Answer,
        reservation: BudgetReservation | None = None,
    ) -> None:
        """Count one answered request.

        Args:
            spec: the model, for its prices.
            tokens: estimated, by modality; scaled to those that the answer reports.
            answer: its vectors are counted, and the tokens that it reports.
            reservation: what the request was sent under.
        """
        estimated = price_usd(spec, tokens)
        spent = _scaled(tokens, answer.reported_tokens)
        with self._lock:
            self._take(reservation, estimated)
            usage = self._usage
            self._usage = replace(
                usage,
                items=usage.items + len(answer.vectors),
                requests=usage.requests + 1,
                reported_tokens=usage.reported_tokens + answer.reported_tokens,
                estimated_tokens=dict(Counter(usage.estimated_tokens) + Counter(spent)),
                estimated_usd=usage.estimated_usd + price_usd(spec, spent),
            )

    def unconfirmed(
        self,
        spec: ModelSpec,
        tokens: Mapping[Modality, int],
        items: int,
        reservation: BudgetReservation | None = None,
    ) -> None:
        """Count a request that was sent and whose response did not arrive completely.

        Args:
            spec: the model, for its prices.
            tokens: estimated, by modality.
            items: contents of the request.
            reservation: what it was sent under; `BudgetReservation.extend` it before the request is sent again.
        """
        usd = price_usd(spec, tokens)
        with self._lock:
            self._take(reservation, usd)
            usage = self._usage
            self._usage = replace(
                usage, unconfirmed=usage.unconfirmed + items, unconfirmed_usd=usage.unconfirmed_usd + usd
            )

    def _reserve(self, reservation: BudgetReservation, needed_usd: float) -> None:
        with self._lock:
            spent = self._usage.estimated_usd + self._usage.unconfirmed_usd + self._reserved_usd
            left = reservation.budget_usd - spent
            if needed_usd > left + _ROUNDING_USD:
                raise BudgetError(
                    f"embedding this would cost about {needed_usd:.6g} USD; of the budget of "
                    f"{reservation.budget_usd:g} USD {max(0.0, left):.6g} are left. Nothing of it was sent. Raise "
                    "budget_usd, or call reset_usage() to set the amount spent to zero",
                    budget_usd=reservation.budget_usd,
                    spent_usd=spent,
                    needed_usd=needed_usd,
                )
            self._reserved_usd += needed_usd
            reservation.usd += needed_usd

    def _take(self, reservation: BudgetReservation | None, usd: float) -> None:
        """Take money out of a reservation: it is spent, or no longer needed."""
        if reservation is not None:
            taken = min(usd, reservation.usd)
            reservation.usd -= taken
            self._reserved_usd -= taken


_ROUNDING_USD = 1e-12
"""Sums of prices differ by this much from the price of a sum."""


def _scaled(tokens: Mapping[Modality, int], reported: int) -> dict[Modality, int]:
    """Estimated tokens scaled to a reported total, which stays exact."""
    total = sum(tokens.values())
    if not reported or not total:
        return dict(tokens)
    scaled = {modality: count * reported // total for modality, count in tokens.items()}
    largest = max(scaled, key=scaled.__getitem__)
    scaled[largest] += reported - sum(scaled.values())
    return scaled
