"""Watching folders: each is mirrored again when its files have changed, and have not been written to for a moment."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from langchain_gemini_mm.errors import GeminiMMError, MirrorError, MissingExtraError, ServiceError, StoreError
from langchain_gemini_mm.flows import Flow, arun, blocking, run
from langchain_gemini_mm.sync.report import MirrorReport
from langchain_gemini_mm.validation import number_in

logger = logging.getLogger("langchain_gemini_mm")

_TICK_S = 0.5
"""How often folders are looked at that may have been removed or connected again."""
_STEP_MS = 25
"""How often the watcher looks for changes, and whether it is stopped."""
_WAIT_MS = 100
"""How long the watcher waits for changes at once."""
_LONGEST_S = 1_000_000
_OUTAGES = (MirrorError, ServiceError, StoreError)
"""Errors after which a folder is still watched."""


Mirror: TypeAlias = Callable[[Path], Flow[Any]]
Ignores: TypeAlias = Callable[[Path, Path], bool]
"""Called with a path and the watched folder that it is in; whether the path does not matter."""


class StopEvent(Protocol):
    """What ends a watch, such as a `threading.Event` or an `asyncio.Event`."""

    def is_set(self) -> bool:
        """Whether to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """When folders are mirrored; see `MultimodalRetriever.watch`."""

    settle_s: float = 1.0
    longest_s: float = 60.0
    rescan_s: float = 600.0
    poll_s: float | None = None
    """None for notifications of the system."""

    @property
    def quiet_s(self) -> float:
        """Seconds without a change after which files have settled, with a look in between."""
        return max(self.settle_s, 1.5 * (self.poll_s or 0))

    def __post_init__(self) -> None:
        """Check all times."""
        for name in ("settle_s", "longest_s", "rescan_s", "poll_s"):
            value = getattr(self, name)
            if name != "poll_s" or value is not None:
                number_in(name, value, 0.001 if name == "poll_s" else 0, _LONGEST_S)


class WatchStopped(Exception):  # noqa: N818  it is no error
    """Ends a mirror that is under way, when the watch is stopped."""


@dataclass(slots=True)
class _WatchedFolder:
    """A folder, and what is due for it; times are those of `time.monotonic`."""

    path: Path
    roots: tuple[str, ...]
    """The path, and the same without symbolic links: systems report either."""
    identity: tuple[int, int] | None = None
    """Device and number of the folder, by which another one in its place is noticed; None if it is not there."""
    first_change: float | None = None
    """Time of the first change since the last mirror."""
    last_change: float = 0.0
    due: float = 0.0
    """When it is mirrored without a change."""
    not_before: float = 0.0
    """End of the pause after an outage."""
    failures: int = 0
    """Number of mirrors in a row that failed."""
    report: MirrorReport | None = None
    """The last one."""
    look: FolderLook | None = None
    """How its files were at the last look, where the system reports no changes."""

    @classmethod
    def at(cls, path: Path) -> _WatchedFolder:
        return cls(path, tuple(dict.fromkeys([str(path), os.path.realpath(path)])), _identity(path))

    def note(self, now: float) -> None:
        """Note a change."""
        self.first_change = now if self.first_change is None else self.first_change
        self.last_change = now

    def due_at(self, options: WatchOptions) -> float:
        """When it is mirrored next, as far as known."""
        if self.first_change is None:
            return self.due
        settled = min(self.last_change + options.quiet_s, self.first_change + options.longest_s)
        return min(self.due, max(settled, self.not_before))


@dataclass(frozen=True, slots=True)
class FolderLook:
    """Names, sizes and times of the files in a folder at one time, as a digest.

    The times are more exact than those that watchfiles compares, which are seconds.
    """

    digest: bytes

    @classmethod
    def at(cls, folder: Path, ignores: Ignores) -> FolderLook:
        """Look at a folder, which may be missing."""
        digest = hashlib.sha256()
        for root, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if not ignores(Path(root, name), folder))
            for name in sorted(files):
                path = Path(root, name)
                if ignores(path, folder):
                    continue
                try:
                    status = path.stat()
                except OSError:
                    continue
                stamp = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\n"
                digest.update(stamp.encode("utf-8", "surrogateescape"))
        return cls(digest.digest())


@dataclass(eq=False)
class FolderWatch:
    """Watches folders, and mirrors those whose files have changed.

    Args:
        folders: absolute.
        mirror: makes the index equal to a folder.
        ignores: which changes do not matter.
        options: when folders are mirrored.
        stop: ends the watch.

    Raises:
        MissingExtraError: watchfiles is not installed, which is needed without `poll_s`.
    """

    folders: Sequence[Path]
    mirror: Mirror
    ignores: Ignores
    options: WatchOptions
    stop: StopEvent | None = None
    _ended: threading.Event = field(default_factory=threading.Event)
    _folders: list[_WatchedFolder] = field(default_factory=list)
    _watcher: Any = None
    """A generator of changes; None if no folder is there."""
    _found: set[tuple[Any, str]] = field(default_factory=set)
    """Changes since the watcher was made, which are not noted yet."""
    _polls: bool = False
    _next_look: float = 0.0
    _waiting: threading.Lock = field(default_factory=threading.Lock)
    """Held while the watcher is used; it is closed by whoever uses it last."""

    def __post_init__(self) -> None:
        """Import what watches."""
        self._polls = self.options.poll_s is not None
        if self._polls:
            return
        try:
            import watchfiles  # noqa: F401
        except ImportError as error:
            purpose = "watching folders without poll_s="
            raise MissingExtraError(purpose, package="watchfiles", extra="watch") from error

    def is_set(self) -> bool:
        """Whether the watch has ended."""
        return self._ended.is_set() or (self.stop is not None and self.stop.is_set())

    def reports(self) -> Generator[MirrorReport, None, None]:
        """Yield the reports of mirrors until the watch is stopped."""
        try:
            while (report := run(self._next())) is not None:
                yield report
        finally:
            self.close()

    async def areports(self) -> AsyncGenerator[MirrorReport, None]:
        """Async twin of `reports`."""
        try:
            while (report := await arun(self._next())) is not None:
                yield report
        finally:
            self.close()

    def close(self) -> None:
        """End the watch, also in the thread that waits for changes."""
        self._ended.set()
        if self._waiting.acquire(blocking=False):
            try:
                self._close_watcher()
            finally:
                self._waiting.release()

    def _next(self) -> Flow[MirrorReport | None]:
        """The next report; None if the watch is stopped."""
        if not self._folders:
            yield blocking(self._open)
        while not self.is_set():
            now = time.monotonic()
            folder = next((one for one in self._folders if one.due_at(self.options) <= now), None)
            if folder is None:
                self._note((yield blocking(self._wait)))
                continue
            report = yield from self._mirrored(folder)
            if report is not None:
                return report
        return None

    def _mirrored(self, folder: _WatchedFolder) -> Flow[MirrorReport | None]:
        """Mirror a folder; the report, if it says anything new."""
        before = folder.report
        folder.first_change = None  # what changes from now on may not be read any more
        try:
            report: MirrorReport = yield from self.mirror(folder.path)
        except WatchStopped:
            return None
        except _OUTAGES as error:
            if before is None:
                raise
            return self._failed(folder, before, error)
        folder.failures, folder.not_before = 0, 0.0
        folder.due = time.monotonic() + self.options.rescan_s
        folder.report = report
        if before is None or before.error is not None or not report.is_current:
            return report
        return None if (report.kept, report.failed) == (before.kept, before.failed) else report

    def _failed(self, folder: _WatchedFolder, before: MirrorReport, error: GeminiMMError) -> MirrorReport | None:
        """The report of a mirror that failed, unless it is the same as before; it is repeated after a pause."""
        folder.failures += 1
        now = time.monotonic()
        pause = min(self.options.settle_s * 2 ** min(folder.failures + 1, 30), self.options.rescan_s)
        folder.due = now + pause
        folder.not_before = 0.0 if isinstance(error, MirrorError) else folder.due
        folder.report = MirrorReport(library=before.library, root=folder.path, error=error)
        if before.error is not None and str(before.error) == str(error):
            return None
        logger.warning("%s could not be mirrored, and is tried again in %.0f s: %s", folder.path.name, pause, error)
        return folder.report

    def _wait(self) -> Iterable[str]:
        """Wait for changes, or until something else may be due; the changed paths."""
        now = time.monotonic()
        due = min(folder.due_at(self.options) for folder in self._folders)
        due = min(due, self._next_look) if self._polls else due
        seconds = min(max(due - now, 0.001), _TICK_S)
        with self._waiting:
            try:
                self._follow()
                if self._watcher is None:
                    self._ended.wait(seconds)
                    return self._looked() if self._polls else ()
                found, self._found = self._found or next(self._watcher, set()), set()
            except (OSError, RuntimeError) as error:
                logger.warning("changes could not be read, so that the folders are compared: %s", error)
                for folder in self._folders:
                    folder.identity = None
                self._ended.wait(seconds)
                return ()
            finally:
                if self._ended.is_set():
                    self._close_watcher()
        return [path for _, path in found]

    def _note(self, paths: Iterable[str]) -> None:
        now = time.monotonic()
        listed = list(paths)
        for folder in self._folders:
            if any(self._concerns(path, folder) for path in listed):
                folder.note(now)

    def _concerns(self, path: str, folder: _WatchedFolder) -> bool:
        for root in folder.roots:
            if path == root:
                return True
            if path.startswith(root.rstrip(os.sep) + os.sep):
                return not self.ignores(Path(path), Path(root))
        return False

    # The watcher

    def _open(self) -> None:
        """Watch the folders, before they are mirrored for the first time."""
        self._folders = [_WatchedFolder.at(path) for path in self.folders]
        self._renew()
        if self._polls:
            self._looked()

    def _follow(self) -> None:
        """Watch again if a folder was removed, disconnected or connected."""
        now = time.monotonic()
        changed = False
        for folder in self._folders:
            identity = _identity(folder.path)
            if identity != folder.identity:
                folder.identity, changed = identity, True
                folder.not_before = 0.0
                folder.note(now)
        if changed:
            self._renew()

    def _renew(self) -> None:
        self._close_watcher()
        roots = [str(folder.path) for folder in self._folders if folder.identity is not None]
        if not roots or self._polls:
            return
        try:
            self._watcher = self._new_watcher(roots)
            self._found = next(self._watcher, set())  # it watches from here on
        except FileNotFoundError:
            return  # it is gone again, which the next look notices
        except (OSError, RuntimeError) as error:
            # Such as the limit of Linux for watched folders.
            logger.warning("the system does not report changes (%s); files are looked at regularly instead", error)
            self._polls = True

    def _new_watcher(self, roots: list[str]) -> Any:
        from watchfiles import watch

        return watch(
            *roots,
            watch_filter=None,
            debounce=2 * _STEP_MS,
            step=_STEP_MS,
            stop_event=self,
            rust_timeout=_WAIT_MS,
            yield_on_timeout=True,
            force_polling=False,
            ignore_permission_denied=True,
        )

    def _looked(self) -> list[str]:
        """Look at all files, if it is time; the folders that have changed since the last look."""
        begun = time.monotonic()
        if begun < self._next_look:
            return []
        changed = []
        for folder in self._folders:
            look = FolderLook.at(folder.path, self.ignores)
            if folder.look not in {None, look}:
                changed.append(str(folder.path))
            folder.look = look
        ended = time.monotonic()
        self._next_look = ended + max(self.options.poll_s or _POLL_S, _LOOKING_SHARE * (ended - begun))
        return changed

    def _close_watcher(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()


_POLL_S = 5.0
"""Seconds between two looks at all files where the system reports no changes."""
_LOOKING_SHARE = 10
"""The pause between two looks is longer than a look by this factor at least."""


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = path.stat()
        if path.is_dir():
            return status.st_dev, status.st_ino
    return None
