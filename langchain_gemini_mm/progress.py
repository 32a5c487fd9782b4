"""Progress of long work, for people: a bar where tqdm is installed, else lines on the log."""

from __future__ import annotations

import logging
import time
from typing import Any, Self

logger = logging.getLogger("langchain_gemini_mm")

EVERY_SECONDS = 5.0
"""How often a line is written where there is no bar."""


class ProgressBar:
    """What to give as `progress=`: it is called with how much is done so far.

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
        total: how much there is, such as `plan(...).documents`; None where nobody knows.
        unit: what is counted.
        options: for tqdm, such as `file=` or `leave=False`.
    """

    def __init__(self, total: int | None = None, *, unit: str = "documents", **options: Any) -> None:
        self.total = total
        self.unit = unit
        self.done = 0
        """What was told last."""
        self._told_at = time.monotonic()
        self._bar = _bar(total, unit, options)

    def __call__(self, done: int) -> None:
        """Show that `done` are done."""
        self.done = done
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._told_at >= EVERY_SECONDS:
            self._told_at = time.monotonic()
            logger.info("%d%s %s", done, "" if self.total is None else f" of {self.total}", self.unit)

    def close(self) -> None:
        """Leave the bar as it stands."""
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
