"""Progress of long operations: a bar if tqdm is installed, else log messages."""

from __future__ import annotations

import logging
import time
from typing import Any, Self

from langchain_gemini_mm.interfaces import WaitNotice

logger = logging.getLogger("langchain_gemini_mm")

EVERY_SECONDS = 5.0
"""Seconds between two log messages."""


class ProgressBar:
    """A progress bar for parameters `progress=`, which are called with the number of finished items.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.progress import ProgressBar

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    with ProgressBar(total=3) as progress:
        store.add_texts(["a cat", "a dog", "a fox"], batch_size=1, progress=progress)
    assert progress.done == 3
    ```

    Args:
        total: number of all items, such as `plan(...).documents`; None if it is unknown.
        unit: name of the items.
        options: options of tqdm, such as `file=` or `leave=False`.
    """

    def __init__(self, total: int | None = None, *, unit: str = "documents", **options: Any) -> None:
        self.total = total
        self.unit = unit
        self.done = 0
        """Number of finished items."""
        self._logged_at = time.monotonic()
        self._bar = _bar(total, unit, options)

    def __call__(self, done: int) -> None:
        """Show that `done` items are finished."""
        self.done = done
        if self._bar is not None:
            self._bar.set_postfix_str("", refresh=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._logged_at >= EVERY_SECONDS:
            self._logged_at = time.monotonic()
            logger.info("%d%s %s", done, "" if self.total is None else f" of {self.total}", self.unit)

    def waiting(self, notice: WaitNotice) -> None:
        """Show that the run waits and why; for `GeminiEmbeddings(on_wait=)`, which also writes it to the log."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"waiting {notice.seconds:.0f} s: {notice.reason}")

    def close(self) -> None:
        """Close the bar; it stays visible unless `leave=False`."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bar(total: int | None, unit: str, options: dict[str, Any]) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(total=total, unit=f" {unit}", **options)
