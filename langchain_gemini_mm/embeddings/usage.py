"""Usage: contents, tokens and cost so far, and the budget."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from langchain_gemini_mm.errors import BudgetError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.models import ModelSpec

if TYPE_CHECKING:
    from langchain_gemini_mm.embeddings.service.calls import Answer


def price_usd(spec: ModelSpec, tokens: Mapping[Modality, int]) -> float:
    """Cost of tokens at the standard price, in US dollars."""
    return sum(count * spec.usd_per_million_tokens.get(modality, 0.0) for modality, count in tokens.items()) / 1e6


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Contents, tokens and cost so far; tokens by modality and cost are estimates."""

    items: int = 0
    """Contents embedded by the service."""
    cached: int = 0
    """Contents answered from the cache."""
    requests: int = 0
    """Requests answered with vectors."""
    retries: int = 0
    """Requests that had to be repeated."""
    reported_tokens: int = 0
    """Tokens reported by the service, where the SDK has them (google-genai 3.3 and newer, and Vertex AI); else 0."""
    estimated_tokens: Mapping[Modality, int] = field(default_factory=dict)
    estimated_usd: float = 0.0
    """In US dollars, at the standard price rather than the Batch API price."""


class Meter:
    """Adds up usage; thread-safe."""

    def __init__(self) -> None:
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

    @contextmanager
    def within_budget(self, needed_usd: float, budget_usd: float) -> Iterator[None]:
        """Reserve money for requests that are about to be sent; what other threads reserved counts as spent.

        Raises:
            BudgetError: the budget would be exceeded.
        """
        with self._lock:
            spent = self._usage.estimated_usd + self._reserved_usd
            if spent + needed_usd > budget_usd:
                raise BudgetError(
                    f"embedding this would cost about {needed_usd:.4f} USD; of the budget of {budget_usd:g} USD "
                    f"{max(0.0, budget_usd - spent):.4f} are left. Nothing of it was sent. Raise budget_usd, or call "
                    "reset_usage() to set the amount spent to zero",
                    budget_usd=budget_usd,
                    spent_usd=spent,
                    needed_usd=needed_usd,
                )
            self._reserved_usd += needed_usd
        try:
            yield
        finally:
            with self._lock:
                self._reserved_usd -= needed_usd

    def add_call(self, spec: ModelSpec, tokens: Mapping[Modality, int], answer: Answer) -> None:
        """Count one answered request.

        Args:
            spec: the model, for its prices.
            tokens: estimated, by modality.
            answer: its vectors are counted, and the tokens and attempts that it reports.
        """
        with self._lock:
            usage = self._usage
            self._usage = replace(
                usage,
                items=usage.items + len(answer.vectors),
                requests=usage.requests + 1,
                retries=usage.retries + answer.attempts - 1,
                reported_tokens=usage.reported_tokens + answer.reported_tokens,
                estimated_tokens=dict(Counter(usage.estimated_tokens) + Counter(tokens)),
                estimated_usd=usage.estimated_usd + price_usd(spec, tokens),
            )
