"""What is started when it is entered, and closed when it is left or does not start."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Started:
    """A context manager over `start` and `close`."""

    @abstractmethod
    def start(self, *, wait: bool = True) -> Self:
        """Start, and wait until it works."""

    @abstractmethod
    def close(self) -> None:
        """End, whatever state it is in."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
