"""What stands beside a file to go with it: subtitles of its name, and its folder's captions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from langchain_gemini_mm.loaders.captions import NAME

_SUBTITLES = (".srt", ".vtt")
_LANGUAGE_LETTERS = 12
_WITH_SUBTITLES = frozenset(
    {
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".flv",
        ".wmv", ".ogv", ".asf", ".mp3", ".wav", ".m4a", ".m4b", ".aac", ".ogg", ".oga", ".opus", ".flac", ".aiff",
        ".aif", ".amr",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Beside:
    """The companions in one folder."""

    captions: tuple[tuple[Path, str], ...] = ()
    """Each `captions.jsonl` here and above: its path, and its folder's source."""
    taken: frozenset[str] = frozenset()
    """Names that go with others, and so are no files of their own."""
    _subtitles: dict[str, list[Path]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, companions: Iterable[Path], wanted: Iterable[str], folder: str, above: tuple[tuple[Path, str], ...] = ()
    ) -> Beside:
        """Sort what is in a folder.

        Args:
            companions: files that are named like companions.
            wanted: names of all files that are to be loaded; only those take companions.
            folder: its source.
            above: the captions of folders that it is in.
        """
        stems = {PurePath(name).stem for name in wanted if PurePath(name).suffix.lower() in _WITH_SUBTITLES}
        captions, taken = above, set()
        subtitles: dict[str, list[Path]] = {}
        for path in companions:
            if path.name == NAME:
                captions = ((path, folder), *above)
                taken.add(path.name)
            elif stem := next((stem for stem in _stems(path.name) if stem in stems), None):
                subtitles.setdefault(stem, []).append(path)
                taken.add(path.name)
        return cls(captions, frozenset(taken), subtitles)

    def subtitles(self, name: str) -> tuple[Path, ...]:
        """The subtitles of a file: those without a language in their name, or else the first by name."""
        path = PurePath(name)
        found = self._subtitles.get(path.stem, []) if path.suffix.lower() in _WITH_SUBTITLES else []
        plain = [one for one in found if one.stem == path.stem]
        return tuple((plain or found)[:1])


def is_companion(name: str) -> bool:
    """Whether a file might go with others."""
    return name == NAME or name.lower().endswith(_SUBTITLES)


def _stems(name: str) -> Iterable[str]:
    """What the file that these subtitles go with may be called, without its ending: `talk` for `talk.en.srt`."""
    stem = PurePath(name).stem
    yield stem
    head, dot, language = stem.rpartition(".")
    if dot and 0 < len(language) <= _LANGUAGE_LETTERS:
        yield head
