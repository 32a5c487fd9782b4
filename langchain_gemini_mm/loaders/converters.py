"""Functions of the user that convert files of other types, such as Office files, to text or PDF."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TypeAlias

from langchain_gemini_mm.errors import ContentError, InvalidTypeError, InvalidValueError
from langchain_gemini_mm.loaders.mail import file_name
from langchain_gemini_mm.loaders.walk import InputFile

Converter: TypeAlias = Callable[[Path], "str | bytes | Path"]
"""Converts a file to text in Markdown, or to another file such as a PDF: its bytes or path."""


@dataclass(frozen=True, slots=True)
class Converters:
    """Converters by the endings of the names of files.

    Raises:
        TypeError: a converter that cannot be called.
        ValueError: an ending without a dot.
    """

    by_suffix: Mapping[str, Converter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check all converters."""
        for suffix, convert in self.by_suffix.items():
            if not str(suffix).startswith("."):
                raise InvalidValueError(f"converters are given by endings such as '.docx', got {suffix!r}")
            if not callable(convert):
                raise InvalidTypeError(f"the converter for {suffix!r} must be callable, got {type(convert).__name__}")
        lowered = {suffix.lower(): convert for suffix, convert in self.by_suffix.items()}
        object.__setattr__(self, "by_suffix", lowered)

    def takes(self, source: str) -> bool:
        """Whether there is a converter for a file, by its name."""
        return PurePosixPath(source).suffix.lower() in self.by_suffix

    @contextmanager
    def converted(self, item: InputFile) -> Iterator[str | InputFile]:
        """Convert a file; one in memory is written to a temporary folder for that.

        Yields:
            Text, or the converted file under the same name.

        Raises:
            ContentError: the converter failed, or returned something else.
        """
        suffix = PurePosixPath(item.source).suffix.lower()
        with TemporaryDirectory(prefix="media-loader-") as folder:
            path = item.path
            if path is None:
                path = Path(folder, file_name(PurePosixPath(item.source).name))
                path.write_bytes(item.data)
            try:
                result = self.by_suffix[suffix](path)
            except Exception as error:
                raise ContentError(
                    f"the converter for {suffix} failed: {type(error).__name__}: {str(error)[:300]}"
                ) from error
            if isinstance(result, str):
                yield result
            elif isinstance(result, bytes):
                yield replace(item, path=None, data=result)
            elif isinstance(result, Path):
                yield replace(item, path=None, data=result.read_bytes())
            else:
                raise ContentError(
                    f"the converter for {suffix} must return str, bytes or Path, got {type(result).__name__}"
                )
