"""`watch` mirrors folders when their files have settled, survives outages, and ends without leaving anything behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from contextlib import aclosing, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.errors import MirrorError, MissingExtraError, ServiceError
from langchain_gemini_mm.sync import MirrorReport
from langchain_gemini_mm.testing import png
from tests.sync.conftest import documents_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_gemini_mm.testing import GeminiEmulator
    from tests.sync.conftest import MirroredFolder
    from tests.vectorstores.contract_base import Call

SECONDS = 30.0
SETTLE_S = 0.2
IS_LINUX = sys.platform == "linux"


class Watched:
    """The reports of a watch, sync or async, each waited for no longer than some seconds."""

    def __init__(self, call: Call, retriever: MultimodalRetriever, *folders: Path, **options: Any) -> None:
        self.stop = threading.Event()
        self._timer = threading.Timer(SECONDS, self.stop.set)
        self._timer.daemon = True
        self._timer.start()
        options = {"settle_s": SETTLE_S, "stop": self.stop, **options}
        name = "awatch" if call.asynchronous else "watch"
        self._reports = getattr(retriever, name)(*folders, **options)
        self._asynchronous = call.asynchronous

    async def next(self) -> MirrorReport:
        """The next report."""
        try:
            report: MirrorReport = await anext(self._reports) if self._asynchronous else next(self._reports)
        except (StopIteration, StopAsyncIteration):
            pytest.fail(f"no report in {SECONDS:g} seconds")
        return report

    async def rest(self) -> list[MirrorReport]:
        """All reports to the end."""
        if self._asynchronous:
            return [report async for report in self._reports]
        return list(self._reports)

    async def close(self) -> None:
        """End the watch."""
        self._timer.cancel()
        if self._asynchronous:
            await self._reports.aclose()
        else:
            self._reports.close()


@pytest.fixture
async def watched(call: Call, mirrored: MirroredFolder) -> AsyncIterator[Watched]:
    """A watch of the mirrored folder, whose first report is read."""
    found = Watched(call, mirrored.retriever, mirrored.folder)
    first = await found.next()
    assert first.is_current
    assert len(first.unchanged) == 3
    yield found
    await found.close()


@pytest.fixture
def later() -> Iterator[Any]:
    """Starts a function in a thread that ends with the test."""
    threads: list[threading.Thread] = []

    def start(function: Any) -> None:
        threads.append(threading.Thread(target=function))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


async def test_the_first_report_is_that_of_the_folder(
    call: Call, retriever: MultimodalRetriever, tmp_path: Path
) -> None:
    """Each of the folders is mirrored at the start."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"about {name}")
    watched = Watched(call, retriever, tmp_path / "one", tmp_path / "two")
    assert [(await watched.next()).added, (await watched.next()).added] == [("one/a.txt",), ("two/a.txt",)]
    (tmp_path / "two" / "b.txt").write_text("about b")
    assert (await watched.next()).added == ("two/b.txt",)
    await watched.close()


async def test_changes_are_mirrored(watched: Watched, mirrored: MirroredFolder) -> None:
    """A new, a changed, a moved and a deleted file each give a report."""
    mirrored.write(new__deep_txt="about a bird")
    assert (await watched.next()).added == ("work/new/deep.txt",)
    mirrored.write(notes_txt="about a dog")
    assert (await watched.next()).changed == ("work/notes.txt",)
    (mirrored.folder / "photos").rename(mirrored.folder / "images")
    report = await watched.next()
    assert report.moved == (("work/photos/castle.png", "work/images/castle.png"),)
    assert report.embedded == 0
    (mirrored.folder / "notes.txt").unlink()
    assert (await watched.next()).deleted == ("work/notes.txt",)


async def test_a_file_that_is_being_written_is_mirrored_once(
    watched: Watched, mirrored: MirroredFolder, emulator: GeminiEmulator, later: Any
) -> None:
    """It is read when it was not written to for a moment."""
    before = emulator.embedded

    def write() -> None:
        with (mirrored.folder / "slow.txt").open("w") as file:
            for number in range(12):
                file.write(f"line {number}\n")
                file.flush()
                time.sleep(SETTLE_S / 3)

    later(write)
    report = await watched.next()
    assert report.added == ("work/slow.txt",)
    assert emulator.embedded == before + 1
    assert mirrored.contents["work/slow.txt"][0].endswith("line 11")


async def test_a_file_that_never_settles_is_mirrored_all_the_same(
    call: Call, mirrored: MirroredFolder, later: Any
) -> None:
    """`longest_s` ends the waiting."""
    watched = Watched(call, mirrored.retriever, mirrored.folder, settle_s=5.0, longest_s=0.5)
    await watched.next()
    done = threading.Event()

    def write() -> None:
        while not done.wait(0.05):
            (mirrored.folder / "tick.txt").write_text(f"{time.monotonic()}")

    later(write)
    begun = time.monotonic()
    try:
        report = await watched.next()
    finally:
        done.set()
    assert {*report.added, *(failed.source for failed in report.failed)} == {"work/tick.txt"}
    assert time.monotonic() - begun < 4.5
    await watched.close()


async def test_the_renames_of_an_editor_are_a_change(watched: Watched, mirrored: MirroredFolder) -> None:
    """A file that is saved under another name and renamed is changed, neither deleted nor moved."""
    notes = mirrored.folder / "notes.txt"
    (mirrored.folder / ".notes.txt.swp").write_bytes(b"\0\0")
    (mirrored.folder / "notes.txt.tmp").write_text("about three cats")
    notes.rename(mirrored.folder / "notes.txt~")
    (mirrored.folder / "notes.txt.tmp").rename(notes)
    (mirrored.folder / "notes.txt~").unlink()
    (mirrored.folder / ".notes.txt.swp").unlink()
    report = await watched.next()
    assert (report.changed, report.added, report.moved, report.deleted) == (("work/notes.txt",), (), (), ())
    assert mirrored.contents["work/notes.txt"] == ["about three cats"]


async def test_a_burst_of_files(watched: Watched, mirrored: MirroredFolder) -> None:
    """Thousands of changes lose nothing, also in folders that are new."""
    names = set()
    for number in range(1500):
        path = mirrored.folder / f"burst {number % 40}" / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"text {number % 7}")
        names.add(f"work/burst {number % 40}/{number}.txt")
    added: set[str] = set()
    while added != names:
        report = await watched.next()
        added |= set(report.added)
        assert report.failed == ()


async def test_polling(call: Call, mirrored: MirroredFolder) -> None:
    """Folders whose changes the system does not report are looked at."""
    watched = Watched(call, mirrored.retriever, mirrored.folder, poll_s=0.05)
    await watched.next()
    mirrored.write(notes_txt="about a dog")  # of the same size, perhaps in the same second
    assert (await watched.next()).changed == ("work/notes.txt",)
    (mirrored.folder / "photos").rename(mirrored.folder / "images")
    assert len((await watched.next()).moved) == 1
    (mirrored.folder / "notes.txt").unlink()
    assert (await watched.next()).deleted == ("work/notes.txt",)
    await watched.close()


async def test_missed_changes_are_found_later(call: Call, mirrored: MirroredFolder) -> None:
    """Folders are compared every `rescan_s` seconds, although no change was reported."""
    watched = Watched(call, mirrored.retriever, mirrored.folder, poll_s=10_000, rescan_s=0.5)
    await watched.next()
    mirrored.write(notes_txt="about a dog")
    assert (await watched.next()).changed == ("work/notes.txt",)
    await watched.close()


async def test_a_folder_that_vanishes_and_returns(watched: Watched, mirrored: MirroredFolder) -> None:
    """It is reported once, nothing is deleted, and changes of the folder that returned are mirrored."""
    before, elsewhere = mirrored.contents, mirrored.folder.with_name("elsewhere")
    mirrored.folder.rename(elsewhere)
    report = await watched.next()
    assert isinstance(report.error, MirrorError)
    assert str(report).startswith("work: MirrorError: there is no folder")
    assert mirrored.contents == before
    await asyncio.sleep(5 * SETTLE_S)
    elsewhere.rename(mirrored.folder)
    mended = await watched.next()
    assert (mended.error, mended.is_current) == (None, True)
    mirrored.write(notes_txt="about a dog")
    assert (await watched.next()).changed == ("work/notes.txt",)


async def test_an_outage_is_reported_and_passes(
    watched: Watched, mirrored: MirroredFolder, emulator: GeminiEmulator
) -> None:
    """What could not be embedded is embedded as soon as the service works again."""
    emulator.settings.failure_rate, emulator.settings.failures = 1.0, (403,)
    mirrored.write(new_txt="about a bird")
    report = await watched.next()
    assert isinstance(report.error, ServiceError)
    await asyncio.sleep(5 * SETTLE_S)
    emulator.settings.failure_rate = 0.0
    assert (await watched.next()).added == ("work/new.txt",)


async def test_the_first_mirror_raises(call: Call, retriever: MultimodalRetriever, tmp_path: Path) -> None:
    """A folder that is not there at the start is probably a mistake."""
    with pytest.raises(MirrorError, match="there is no folder"):
        await Watched(call, retriever, tmp_path / "missing").next()


@pytest.mark.parametrize("poll_s", [None, 0.05], ids=["reported", "polled"])
async def test_what_does_not_matter_is_ignored(
    call: Call, emulator: GeminiEmulator, tmp_path: Path, poll_s: float | None
) -> None:
    """The index and the media store in a watched folder do not make it changed, nor do hidden and excluded files."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.png").write_bytes(png("a castle"))
    with (
        GeminiEmbeddings(media=MediaStore(folder / "media"), output_dimensionality=128) as embeddings,
        LocalVectorStore(folder / "index.db", embeddings) as store,
    ):
        retriever = MultimodalRetriever(store=store)
        watched = Watched(call, retriever, folder, exclude=["*.log", "index.db*"], poll_s=poll_s)
        assert (await watched.next()).added == ("work/a.png",)
        await asyncio.sleep(0.5)
        (folder / "b.png").write_bytes(png("a tree"))
        assert (await watched.next()).added == ("work/b.png",)
        last_run = retriever.status()[0].last_run
        for name in (".hidden", "debug.log", "~$lock"):
            (folder / name).write_text("x")
        threading.Timer(5 * SETTLE_S, watched.stop.set).start()
        assert await watched.rest() == []
        assert retriever.status()[0].last_run == last_run


async def test_a_stop_ends_a_mirror_that_is_under_way(
    call: Call, retriever: MultimodalRetriever, emulator: GeminiEmulator, tmp_path: Path
) -> None:
    """What was stored stays, and the next mirror continues."""
    folder = tmp_path / "work"
    folder.mkdir()
    for number in range(800):
        (folder / f"{number:03}.txt").write_text(f"text {number}")
    stop = threading.Event()
    assert await Watched(call, retriever, folder, progress=lambda _: stop.set(), stop=stop).rest() == []
    stored = len(documents_of(retriever))
    assert 0 < stored < 800
    assert emulator.embedded < 800
    report = retriever.mirror(folder)
    assert len(report.added) + stored == 800
    assert emulator.embedded == 800


@pytest.mark.skipif(not IS_LINUX, reason="reads /proc")
async def test_nothing_is_left_open(call: Call, mirrored: MirroredFolder) -> None:
    """A loop that is left ends the watch."""
    before = watchers()
    if call.asynchronous:
        async with aclosing(mirrored.retriever.awatch(mirrored.folder, settle_s=SETTLE_S)) as reports:
            async for report in reports:
                assert report.is_current
                assert watchers() > before
                break
    else:
        for report in mirrored.retriever.watch(mirrored.folder, settle_s=SETTLE_S):
            assert report.is_current
            assert watchers() > before
            break
    assert await settled(before)


@pytest.mark.skipif(not IS_LINUX, reason="reads /proc")
async def test_cancellation_ends_the_watch(mirrored: MirroredFolder) -> None:
    """A task that waits for changes is cancelled at once, and nothing stays open."""
    before = watchers()
    seen = asyncio.Event()

    async def consume() -> None:
        async for _ in mirrored.retriever.awatch(mirrored.folder):
            seen.set()

    task = asyncio.create_task(consume())
    await asyncio.wait_for(seen.wait(), SECONDS)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert await settled(before)


def watchers() -> int:
    """The number of open watchers of the system."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += "inotify" in str(entry.readlink())
        except OSError:
            continue
    return found


async def settled(expected: int) -> bool:
    """Whether the number of open watchers is soon as expected."""
    for _ in range(250):
        if watchers() == expected:
            return True
        await asyncio.sleep(0.02)
    return watchers() == expected


_PROGRAM = """
import signal, sys
from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
folder, home, api_key, base_url = sys.argv[1:]
embeddings = GeminiEmbeddings(
    media=MediaStore(home + "/media"), output_dimensionality=128, api_key=api_key, base_url=base_url
)
retriever = MultimodalRetriever(store=LocalVectorStore(home + "/index.db", embeddings))
try:
    for report in retriever.watch(folder):
        print(len(report.added), flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_the_watch(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """It is a `KeyboardInterrupt` in the loop, at once."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.txt").write_text("about a cat")
    arguments = [str(folder), str(tmp_path), emulator.api_key, emulator.url]
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, *arguments], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "1\n"
        time.sleep(0.3)
        program.send_signal(signal.SIGINT)
        begun = time.monotonic()
        rest = program.stdout.read()
        assert (rest, program.wait(SECONDS)) == ("interrupted\n", 0)
        assert time.monotonic() - begun < 5


def test_options_are_checked_at_once(retriever: MultimodalRetriever, tmp_path: Path) -> None:
    """Mistakes in a call are found before the first report."""
    for mistake, error, message in (
        ({"settle": 1}, TypeError, r"watch has no option 'settle'. Did you mean 'settle_s'\?"),
        ({"dry_run": True}, TypeError, "watch has no option 'dry_run'"),
        ({"settle_s": -1}, ValueError, "settle_s must be a number"),
        ({"poll_s": 0}, ValueError, "poll_s must be a number"),
        ({"max_delete": 2}, ValueError, "max_delete must be a number"),
    ):
        with pytest.raises(error, match=message):
            retriever.watch(tmp_path, **mistake)
    with pytest.raises(ValueError, match="at least one folder"):
        retriever.awatch()
    with pytest.raises(ValueError, match="name='x' is for one folder, got 2"):
        retriever.watch(tmp_path, tmp_path / "a", name="x")


def test_the_extra_is_named(retriever: MultimodalRetriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without watchfiles, the error says what to install."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(MissingExtraError, match=r'pip install "langchain-gemini-mm\[watch\]"'):
        retriever.watch(tmp_path)
    (tmp_path / "work").mkdir()
    with closing(retriever.watch(tmp_path / "work", poll_s=1)) as reports:
        assert next(reports).is_current
