"""A base class for servers: started on entering the context, closed on leaving it or on a failed start."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Started:
    """A context manager that calls `start` and `close`."""

    @abstractmethod
    def start(self, *, wait: bool = True) -> Self:
        """Start, and wait until it is ready."""

    @abstractmethod
    def close(self) -> None:
        """Stop, in whatever state it is."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
