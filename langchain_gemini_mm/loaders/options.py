"""What a loader wants of files, as it is told to whoever looks into them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from langchain_gemini_mm.interfaces import Backend, Modality
from langchain_gemini_mm.loaders.segmentation import Segments
from langchain_gemini_mm.models import ModelSpec, model_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a loader wants of files."""

    segments: Segments
    model: str
    backend: Backend
    modalities: frozenset[Modality]
    words: bool
    """Whether to look for words in media."""
    min_bytes: int
    max_bytes: int | None

    @classmethod
    def checked(
        cls,
        segments: Segments,
        model: str,
        backend: Backend,
        modalities: Iterable[Modality] | None,
        words: bool,
        min_bytes: int,
        max_bytes: int | None,
    ) -> Wanted:
        """Wishes that can be met.

        Raises:
            ValueError: the message says which cannot.
        """
        if backend not in get_args(Backend):
            raise ValueError(f"backend must be one of {get_args(Backend)}, got {backend!r}")
        kinds = frozenset(get_args(Modality) if modalities is None else _listed(modalities))
        if not kinds or not kinds <= set(get_args(Modality)):
            raise ValueError(f"modalities must be some of {get_args(Modality)}, got {modalities!r}")
        if not 0 <= min_bytes <= (min_bytes if max_bytes is None else max_bytes):
            raise ValueError(f"needs 0 <= min_bytes <= max_bytes, got {min_bytes!r} and {max_bytes!r}")
        segments.check(model_spec(model), backend)
        return cls(
            segments=segments,
            model=model,
            backend=backend,
            modalities=kinds,
            words=words,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
        )

    @property
    def spec(self) -> ModelSpec:
        """The model's facts."""
        return model_spec(self.model)

    def inside_texts(self) -> Wanted:
        """What is wanted of files that stand in a page or a mail: also pictures for their words' sake, of any size."""
        wanted: set[Modality] = {"image"} if "text" in self.modalities else set()
        return replace(self, modalities=self.modalities | wanted, min_bytes=0)

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return {**asdict(self), "modalities": sorted(self.modalities)}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Wanted:
        """Undo `to_json`."""
        modalities = frozenset(given["modalities"])
        return cls(**{**given, "segments": Segments(**given["segments"]), "modalities": modalities})


def _listed(modalities: Iterable[Modality]) -> Iterable[Modality]:
    return [modalities] if isinstance(modalities, str) else modalities  # type: ignore[list-item]
