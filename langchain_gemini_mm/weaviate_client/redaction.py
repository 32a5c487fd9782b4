"""Keeps documents out of the log of Weaviate's client, which writes every object of a failed batch into it, whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_OURS: ContextVar[bool] = ContextVar("ours", default=False)


@contextmanager
def redacted() -> Iterator[None]:
    """Within it, the client's log records tell how many objects failed and not what was in them."""
    logger = logging.getLogger("weaviate-client")
    if _redact not in logger.filters:
        logger.addFilter(_redact)
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)


def _redact(record: logging.LogRecord) -> bool:
    if _OURS.get() and isinstance(record.msg, dict) and "errors" in record.msg:
        record.msg = f"{len(record.msg['errors'])} objects of a batch failed; langchain_gemini_mm reports them"
        record.args = ()
    return True
