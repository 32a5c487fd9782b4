"""Everything this package raises on purpose, as one tree.

```
GeminiMMError
├── ContentError (ValueError)        what was given cannot be embedded or stored
│   ├── MediaLimitError              a file is over a limit of the model or the backend
│   └── MissingMediaError            a reference names media that the store cannot give
├── FilterError (ValueError)         a metadata filter is malformed
├── InvalidValueError (ValueError)   an argument is out of range, or two arguments exclude each other
├── InvalidTypeError (TypeError)     an argument is of a wrong type, or there is no such option
├── SpaceMismatchError               vectors of two embedding spaces would be mixed
├── PartialEmbeddingError            some inputs of a call have a vector, others do not; both are listed
├── PartialWriteError                some documents of a call are stored, others are not; both are listed
├── BudgetError                      embedding would cost more than allowed; nothing was sent
├── ServiceError                     the embedding service refused, failed or answered wrongly
│   ├── IncompleteAnswerError        a response lacks vectors; those that it contains are listed
│   └── QuotaError                   a quota is used up
├── MirrorError                      a folder is not as expected; nothing was deleted
├── StoreError                       the index or the media store cannot be used
└── MissingExtraError (ImportError)  an optional library is not installed
```

Catch `GeminiMMError` for all of them. Mistakes in a call (a wrong type, an unknown keyword) are also a `TypeError` or a
`ValueError`, as everywhere in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Scope: TypeAlias = Literal["input", "request", "run"]
"""What a refusal is about: contents of the request, this request, or every request of this kind."""

_SHOWN = 10


class GeminiMMError(Exception):
    """The root of every error of this package.

    Attributes:
        inputs: positions, from 0, of the inputs that the error is about; empty where it is about no single input.
            `str(error)` begins with them.
    """

    inputs: tuple[int, ...] = ()
    input_name = ""
    """Name of the file, if the error is about one input that is a file."""
    others: tuple[GeminiMMError, ...] = ()
    """Further errors of a call of which no input succeeded, each about other inputs."""

    def about_input(self, *positions: int, name: str = "") -> Self:
        """Name the inputs that the error is about, unless some are named already; returns the error itself.

        Args:
            positions: of the inputs, from 0.
            name: of the file, for one input.
        """
        self.inputs = self.inputs or positions
        self.input_name = self.input_name or name
        return self

    @property
    def message(self) -> str:
        """The message without the inputs that it is about."""
        return super().__str__()

    def __str__(self) -> str:
        """The message, after the inputs it is about."""
        message = self.message
        if not self.inputs:
            return message
        if len(self.inputs) == 1:
            name = f" ({self.input_name})" if self.input_name and self.input_name not in message else ""
            return f"input {self.inputs[0]}{name}: {message}"
        return f"inputs {shown_inputs(self.inputs)}: {message}"


def shown_inputs(positions: Sequence[int]) -> str:
    """Positions for a message: `3, 7`, `0 to 99`, or the first ten of many."""
    if len(positions) > 2 and tuple(positions) == tuple(range(positions[0], positions[0] + len(positions))):
        return f"{positions[0]} to {positions[-1]}"
    more = f" and {len(positions) - _SHOWN} more" if len(positions) > _SHOWN else ""
    return ", ".join(map(str, positions[:_SHOWN])) + more


class ContentError(GeminiMMError, ValueError):
    """The content cannot be embedded or stored: a wrong type, an empty text, or a file of an unsupported type."""


class MediaLimitError(ContentError):
    """A file is longer, larger or has more pages than the model takes; the message says limit, value and remedy."""


class MissingMediaError(ContentError):
    """A media reference cannot be resolved: unknown to the store, removed, or changed by another program."""


class FilterError(GeminiMMError, ValueError):
    """A metadata filter is malformed or uses an operator that does not exist."""


class InvalidValueError(GeminiMMError, ValueError):
    """An argument is out of range, or two arguments exclude each other; the message names argument and value."""


class InvalidTypeError(GeminiMMError, TypeError):
    """An argument is of a wrong type, or an option does not exist; the message names the right one."""


class SpaceMismatchError(GeminiMMError):
    """Vectors of another model, size or preparation would be mixed into a collection.

    Attributes:
        stored: fingerprint of the collection.
        given: fingerprint of the embeddings that were to be used with it.
    """

    def __init__(
        self, message: str, *, stored: Mapping[str, object] | None = None, given: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.stored = dict(stored or {})
        self.given = dict(given or {})


class PartialEmbeddingError(GeminiMMError):
    """Some inputs of a call have a vector, others do not. `__cause__` is the first failure.

    Attributes:
        vectors: position of an input to its vector, of unit length.
        failed: position of each other input to its error.
        stopped: whether the run was stopped before every input was tried, for example by an invalid key.
    """

    def __init__(
        self,
        message: str,
        *,
        vectors: Mapping[int, list[float]] | None = None,
        failed: Mapping[int, GeminiMMError] | None = None,
        stopped: bool = False,
    ) -> None:
        super().__init__(message)
        self.vectors = dict(vectors or {})
        self.failed = dict(failed or {})
        self.stopped = stopped


class PartialWriteError(GeminiMMError):
    """Some documents of a call are stored, others are not. Calling again with the same ids is safe.

    Attributes:
        stored: ids that are durably stored, in the order given.
        failed: id to reason for the rest. An id of None was never assigned.
        skipped: what was left out before, each a `Skipped`; only from `MultimodalRetriever.add`.
    """

    skipped: tuple[Any, ...] = ()

    def __init__(self, message: str, *, stored: Sequence[str] = (), failed: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.stored = list(stored)
        self.failed = dict(failed or {})


class BudgetError(GeminiMMError):
    """What was to be embedded would cost more than `budget_usd` leaves; nothing of it was sent.

    Attributes:
        budget_usd: what may be spent in all, in US dollars.
        spent_usd: estimated, so far.
        needed_usd: estimated, for what was refused.
    """

    def __init__(self, message: str, *, budget_usd: float, spent_usd: float, needed_usd: float) -> None:
        super().__init__(message)
        self.budget_usd = budget_usd
        self.spent_usd = spent_usd
        self.needed_usd = needed_usd


class ServiceError(GeminiMMError):
    """The embedding service refused a request, failed, or answered with something unusable.

    Attributes:
        code: HTTP status, or None when no answer came.
        status: the name of the status, such as `"INVALID_ARGUMENT"`.
        transient: whether the same request may succeed later.
        retry_after: seconds the service asked to wait, when it said so.
        scope: what is refused: `"input"`, contents of the request, so that the others are sent without them; `"run"`,
            every request, for example with an invalid key or for an unknown model; `"request"` otherwise.
        sent: whether the service may have processed the request, so that it is charged.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        status: str | None = None,
        transient: bool = False,
        retry_after: float | None = None,
        scope: Scope = "request",
        sent: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.transient = transient
        self.retry_after = retry_after
        self.scope: Scope = scope
        self.sent = sent


class IncompleteAnswerError(ServiceError):
    """A response lacks vectors or contains unusable ones.

    Attributes:
        vectors: position of an input to its vector, `(d,)` float32 of unit length, for those that are whole.
    """

    def __init__(self, message: str, *, vectors: Mapping[int, NDArray[np.float32]] | None = None) -> None:
        super().__init__(message, transient=True, sent=True)
        self.vectors = dict(vectors or {})


class QuotaError(ServiceError):
    """A quota is used up and waiting within the deadline did not help.

    Attributes:
        per_day: the daily quota is meant, so trying again before tomorrow is useless.
        limits: the limits that the service named, by `requests_per_minute`, `tokens_per_minute`, `requests_per_day`
            and `tokens_per_day`.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = 429,
        status: str | None = "RESOURCE_EXHAUSTED",
        transient: bool = True,
        retry_after: float | None = None,
        per_day: bool = False,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(
            message,
            code=code,
            status=status,
            transient=transient,
            retry_after=retry_after,
            scope="run" if per_day else "request",
        )
        self.per_day = per_day
        self.limits = dict(limits or {})


class StoreError(GeminiMMError):
    """The index or the media store cannot be opened, read or written."""


class MirrorError(GeminiMMError):
    """A folder is not mirrored because it is not as expected; nothing was deleted. The message says how to go on."""


class MissingExtraError(GeminiMMError, ImportError):
    """An optional library is needed and not installed.

    Attributes:
        extra: the extra that brings it, as in `pip install "langchain-gemini-mm[media]"`.
    """

    def __init__(self, purpose: str, *, package: str, extra: str) -> None:
        super().__init__(
            f'{purpose} needs {package}, which is not installed. Run: pip install "langchain-gemini-mm[{extra}]"'
        )
        self.extra = extra
