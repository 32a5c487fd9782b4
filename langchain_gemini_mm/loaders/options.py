"""The options of a loader: checked once, and sent to its worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast, get_args

from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.interfaces import Backend, Modality
from langchain_gemini_mm.loaders.segmentation import Segments
from langchain_gemini_mm.models import MediaLimit, ModelSpec, model_spec
from langchain_gemini_mm.validation import number_in, one_of, positive_int

_MAX_WORKERS = 64
_MIN_WORKER_BYTES = 64 << 20
"""Libraries need as much to open any file."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a loader makes of files; the arguments of `MediaLoader`, checked.

    Raises:
        ValueError: an option that can never work; the message says which.
    """

    segments: Segments
    model: str | ModelSpec
    backend: Backend
    modalities: frozenset[Modality]
    companions: bool = True
    """Whether to collect text that belongs to media."""
    fuse_text: bool = False
    min_bytes: int = 0
    max_bytes: int | None = None
    chunk_size: int = 2000
    chunk_overlap: int = 200
    worker_seconds: float = 30.0
    worker_bytes: int = 400 << 20

    def __post_init__(self) -> None:
        """Check all options."""
        one_of("backend", self.backend, get_args(Backend))
        most = self.min_bytes if self.max_bytes is None else self.max_bytes
        if not 0 <= self.min_bytes <= most:
            raise InvalidValueError(f"needs 0 <= min_bytes <= max_bytes, got {self.min_bytes!r} and {self.max_bytes!r}")
        if not 0 <= self.chunk_overlap < self.chunk_size:
            raise InvalidValueError(
                f"needs 0 <= chunk_overlap < chunk_size, got {self.chunk_overlap!r} and {self.chunk_size!r}"
            )
        number_in("worker_seconds", self.worker_seconds, 0.1, 24 * 3600)
        if positive_int("worker_bytes", self.worker_bytes) < _MIN_WORKER_BYTES:
            raise InvalidValueError(f"worker_bytes must be at least {_MIN_WORKER_BYTES:,}, got {self.worker_bytes!r}")
        self.segments.check(self.limits, self.spec.name)

    @property
    def spec(self) -> ModelSpec:
        """The facts of the model that the Documents are for."""
        return model_spec(self.model)

    @property
    def limits(self) -> Mapping[Modality, MediaLimit]:
        """What the model takes of each modality of media."""
        return self.spec.media.get(self.backend, {})

    def in_texts(self) -> LoadOptions:
        """The options for files inside a page or a mail: images are taken with text, files of any size."""
        added: set[Modality] = {"image"} if "text" in self.modalities else set()
        return replace(self, modalities=self.modalities | added, min_bytes=0)

    def to_json(self) -> dict[str, Any]:
        """Serialize the options for another process."""
        return {**asdict(self), "modalities": sorted(self.modalities)}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> LoadOptions:
        """Undo `to_json`."""
        modalities = frozenset(given["modalities"])
        model = given["model"] if isinstance(given["model"], str) else ModelSpec.from_json(given["model"])
        segments = Segments(**given["segments"])
        return cls(**{**given, "segments": segments, "model": model, "modalities": modalities})


def chosen_modalities(given: Iterable[Modality] | None) -> frozenset[Modality]:
    """The modalities that the caller has chosen; all modalities for None.

    Raises:
        ValueError: no modality is chosen, or one that does not exist.
    """
    known: tuple[Modality, ...] = get_args(Modality)
    chosen: frozenset[Modality] = frozenset(
        known if given is None else cast("list[Modality]", [given]) if isinstance(given, str) else given
    )
    if not chosen or not chosen <= set(known):
        raise InvalidValueError(f"modalities must be some of {known}, got {given!r}")
    return chosen


def checked_workers(count: int) -> int:
    """The number of worker processes.

    Raises:
        ValueError: below 0, or more than 64.
    """
    if not 0 <= count <= _MAX_WORKERS:
        raise InvalidValueError(f"workers must be from 0 to {_MAX_WORKERS}, got {count!r}")
    return count
