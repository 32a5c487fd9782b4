"""Media that a function is given: a path, bytes or an open file, read in place."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from langchain_gemini_mm.media.source import open_source, shown

Source: TypeAlias = "Path | bytes | BinaryIO"
"""A path, bytes, or an open seekable binary file, which is left open and read from its beginning."""


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """Open what was given; only what was opened here is closed again.

    Raises:
        ContentError: no regular file, or it cannot be read.
    """
    if isinstance(source, Path):
        with closing(open_source(source)[0]) as file:
            yield file
    elif isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif callable(getattr(source, "read", None)) and callable(getattr(source, "seek", None)):
        yield source
    else:
        raise TypeError(f"media are given as Path, bytes or an open binary file, got {type(source).__name__}")


def name_of(source: Source, kind: str) -> str:
    """How to call it in messages: a file by its name, anything else by its kind."""
    return shown(source.name) if isinstance(source, Path) else f"the {kind}"
