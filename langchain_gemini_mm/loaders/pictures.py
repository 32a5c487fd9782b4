"""The pictures that a page or a Markdown file names: only files inside the folder that is loaded."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from langchain_gemini_mm.loaders.walk import Found, Scan, is_hidden

_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:|[/\\#?]")
"""An address of any kind, a drive, a path from the top."""
_MOST_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class LocalPictures:
    """Finds the files that a text of others means by its pictures."""

    beside: Path
    """The folder of the text."""
    root: Path
    """Nothing outside of this folder is ever looked at."""
    scan: Scan
    """What the loader may load: exclusions, hidden names and links hold here, too."""

    @classmethod
    def near(cls, item: Found, scan: Scan) -> LocalPictures:
        """For one text file."""
        return cls(item.path.parent, item.root or item.path.parent, scan)

    def path_of(self, source: str) -> Path | None:
        """The file that is meant, None for what is remote, outside, hidden, excluded or not there.

        ```python
        from pathlib import Path

        from langchain_gemini_mm.loaders.patterns import Patterns
        from langchain_gemini_mm.loaders.pictures import LocalPictures
        from langchain_gemini_mm.loaders.walk import Scan

        scan = Scan(root=Path(), prefix="", include=Patterns("**"), exclude=Patterns(()))
        local = LocalPictures(Path("notes"), Path("notes"), scan)
        assert local.path_of("https://example.com/cat.png") is local.path_of("../../etc/passwd") is None
        ```
        """
        if len(source) > _MOST_CHARACTERS or _ELSEWHERE.match(source):
            return None
        name = unquote(re.split(r"[?#]", source, maxsplit=1)[0])
        if not name or _ELSEWHERE.match(name) or any(sign in name for sign in "\0\\:"):
            return None
        try:
            return self._checked(Path(os.path.normpath(self.beside / name)))
        except (OSError, ValueError):
            return None

    def _checked(self, path: Path) -> Path | None:
        root = Path(os.path.normpath(self.root))
        if not path.is_relative_to(root):
            return None
        inside = path.relative_to(root)
        real, real_root = os.path.realpath(path), os.path.realpath(root)
        if not Path(real).is_relative_to(real_root):
            return None
        if not self.scan.follow_symlinks and real != os.path.join(real_root, inside):  # noqa: PTH118  compared as text
            return None
        if not self.scan.include_hidden and any(map(is_hidden, inside.parts)):
            return None
        if any(self.scan.exclude.match("/".join(inside.parts[: n + 1])) for n in range(len(inside.parts))):
            return None
        if self.scan.apart is not None and Path(real).is_relative_to(os.path.realpath(self.scan.apart)):
            return None
        return path if path.is_file() else None
