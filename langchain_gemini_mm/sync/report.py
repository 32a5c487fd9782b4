"""What a mirror did or would do, and what an index knows of its libraries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.errors import GeminiMMError
    from langchain_gemini_mm.loaders.cost_plan import Plan
    from langchain_gemini_mm.loaders.walk import Skipped

_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorPlan:
    """What `mirror` would do, from `mirror(dry_run=True)`; `str(plan)` is a summary."""

    library: str
    """Its name."""
    root: Path
    """The folder."""
    added: tuple[str, ...] = ()
    """Sources that the index does not have."""
    changed: tuple[str, ...] = ()
    """Sources whose documents differ from those of the index; in a plan, those whose files were written to."""
    moved: tuple[tuple[str, str], ...] = ()
    """Pairs of the former and the new source of files that were moved or renamed."""
    deleted: tuple[str, ...] = ()
    """Sources that are not there any more."""
    unchanged: tuple[str, ...] = ()
    kept: tuple[Skipped, ...] = ()
    """Files that cannot be read now, or not deleted, whose documents stay, with the reason."""
    failed: tuple[Skipped, ...] = ()
    """Files that cannot be used, or only in part, with the reason."""
    cost: Plan | None = None
    """An estimate, in a plan for `GeminiEmbeddings`."""

    @property
    def tokens(self) -> int | None:
        """Estimated tokens to embed; None if they are not known."""
        return None if self.cost is None else self.cost.tokens

    @property
    def usd(self) -> float | None:
        """Estimated US dollars to embed, at the standard price; None if they are not known."""
        return None if self.cost is None else self.cost.usd

    @property
    def is_current(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.added or self.changed or self.moved or self.deleted)

    def __str__(self) -> str:
        """Numbers of files, and the first of those with a reason."""
        lists = {name: getattr(self, name) for name in ("added", "changed", "moved", "deleted", "unchanged")}
        counts = ", ".join(f"{len(sources):,} {name}" for name, sources in lists.items())
        lines = [f"{self.library}: {counts}, {len(self.kept):,} kept, {len(self.failed):,} failed"]
        for name, files in (("kept", self.kept), ("failed", self.failed)):
            lines += [f"  {name} {file.source}: {file.reason}" for file in files[:_LISTED]]
            lines += [f"  and {len(files) - _LISTED:,} more"] if len(files) > _LISTED else []
        if self.cost is not None:
            lines.append(f"  about {self.cost.tokens:,} tokens, {self.cost.usd:,.4f} US dollars")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorReport(MirrorPlan):
    """What `mirror`, `watch` or `add` did; `str(report)` is a summary."""

    documents: int = 0
    """Number of documents that were stored or changed."""
    embedded: int = 0
    """Number of documents that were embedded; the vectors of the others were known."""
    left_out: tuple[Skipped, ...] = ()
    """Parts of files that were left out, such as attachments, with the reason."""
    error: GeminiMMError | None = None
    """Why the folder could not be mirrored, in a report of `watch`, which then has no lists."""

    def __str__(self) -> str:
        """As that of a plan, or the error."""
        if self.error is not None:
            return f"{self.library}: {type(self.error).__name__}: {self.error}"
        return MirrorPlan.__str__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryStatus:
    """What an index knows of a library."""

    library: str
    files: int
    """Number of files that have documents."""
    documents: int
    size: int
    """Of the files, in bytes."""
    failed: tuple[Skipped, ...]
    """Files that could not be used, with the reason."""
    places: tuple[str, ...]
    """The folders that it was stored from."""
    last_run: float | None
    """When a mirror ended last, in seconds since 1970."""
