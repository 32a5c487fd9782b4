"""Media in a folder: complete files after kills, concurrent writers, bounded memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from langchain_gemini_mm.errors import MissingMediaError, StoreError
from langchain_gemini_mm.media.source import Stamp
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import jpeg, png, wav
from tests.storage.conftest import UNRELATED, swept

PNG = png()
ROOT = Path(__file__).parent.parent.parent

WRITER = """
import hashlib, io, itertools, sys
from langchain_gemini_mm.storage import MediaStore
store = MediaStore(sys.argv[1])
print("ready", flush=True)
for number in itertools.count():
    ref = store.put(io.BytesIO(b"\\x89PNG\\r\\n\\x1a\\n" + number.to_bytes(8, "big") * 2_000_000))
    print(ref.sha256, flush=True)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def media_files(root: Path) -> list[Path]:
    """All files with final names."""
    return [path for path in root.rglob("*") if path.is_file() and len(path.name) == 64]


def test_a_killed_writer_leaves_no_partial_files(tmp_path: Path) -> None:
    """A process that is killed during a write leaves every acknowledged file complete and no partial one."""
    root = tmp_path / "media"
    acknowledged: set[str] = set()
    for delay in (0.0, 0.01, 0.025, 0.04, 0.06, 0.09):
        with start(WRITER, root) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay)
            if delay == 0.09:  # a busy machine may not have written anything yet
                acknowledged.add(process.stdout.readline().strip())
            process.kill()
            acknowledged |= set(process.stdout.read().split("\n")[:-1])
    stored = media_files(root)
    assert acknowledged <= {path.name for path in stored}
    assert [path.name for path in stored if hashlib.sha256(path.read_bytes()).hexdigest() != path.name] == []
    store = MediaStore(root)
    leftovers = len(list((root / "incoming").iterdir()))
    assert swept(store, [UNRELATED, store.refs()]).leftovers == leftovers
    assert [path.name for path in (root / "incoming").iterdir()] == ["sweep"]
    assert {ref.sha256 for ref in store.refs()} == {path.name for path in stored}


SAME = """
import sys
from langchain_gemini_mm.storage import MediaStore
sys.stdin.read(1)
store = MediaStore(sys.argv[1])
for path in sys.argv[2:]:
    assert store.get(store.put_file(path))
"""


def test_eight_processes_store_the_same_files(tmp_path: Path) -> None:
    """Concurrent writers of the same content all succeed, and it is stored once."""
    files = []
    for number in range(12):
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(png(f"number {number % 6}"))
    command = [sys.executable, "-c", SAME, str(tmp_path / "media"), *map(str, files)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) for _ in range(8)]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"x")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0] * 8
    assert len(media_files(tmp_path / "media")) == 6
    assert list((tmp_path / "media" / "incoming").iterdir()) == []


MEMORY = """
import resource, sys
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.storage import MediaStore
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
store = MediaStore.links(sys.argv[1]) if sys.argv[3] == "links" else MediaStore(sys.argv[1])
small = store.put_file(sys.argv[4])
store.get(small)
before = peak()
ref = store.put_file(sys.argv[2])
with store.open(ref) as file:
    while file.read(1 << 20):
        pass
with store.open(ref) as file:
    probe(file, "audio/wav")
with open(sys.argv[2], "rb") as file:
    store.put(file)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize("store_type", ["folder", "links"])
def test_memory_is_bounded(tmp_path: Path, store_type: str) -> None:
    """A file of 200 MB is stored and read in pieces."""
    large, small = tmp_path / "large.wav", tmp_path / "small.png"
    head = bytearray(wav(0.1)[:44])
    size = 200_000_000
    head[4:8], head[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    with large.open("wb") as file:
        file.write(head)
        file.truncate(44 + size)
    small.write_bytes(PNG)
    with start(MEMORY, tmp_path / "media", large, store_type, small) as process:
        grown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert int(grown) < 30


FULL = """
import resource, signal, sys
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.storage import MediaStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
store = MediaStore(sys.argv[1])
try:
    store.put_file(sys.argv[2])
except StoreError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_a_full_disk(tmp_path: Path) -> None:
    """If the disk is full, the error names the store and the cause, and no temporary file remains."""
    path = tmp_path / "long.wav"
    path.write_bytes(wav(120.0))
    root = tmp_path / "media"
    with start(FULL, root, path) as process:
        output, _ = process.communicate(timeout=60)
    assert output == f"cannot write to the media store {str(root)!r}: File too large\n"
    assert list((root / "incoming").iterdir()) == []
    assert media_files(root) == []


def test_subfolders(tmp_path: Path) -> None:
    """Files are stored at ab/cd/<sha256> to limit the files per folder."""
    ref = MediaStore(tmp_path).put(PNG)
    assert (tmp_path / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256).read_bytes() == PNG


def test_unrelated_files_in_the_folder_are_kept(tmp_path: Path) -> None:
    """Unrelated files in the folder are not listed, swept or deleted."""
    (tmp_path / "ab" / "cd").mkdir(parents=True)
    foreign = [tmp_path / "notes.txt", tmp_path / "ab" / "x", tmp_path / "ab" / "cd" / "readme", tmp_path / "zz"]
    for path in foreign:
        path.write_text("mine")
    store = MediaStore(tmp_path)
    store.put(PNG)
    assert len(swept(store, UNRELATED).removed) == 1
    assert all(path.read_text() == "mine" for path in foreign)


def test_damaged_files_are_detected_and_replaced(tmp_path: Path) -> None:
    """A file that was changed in the store is an error when it is read; putting the original again replaces it."""
    store = MediaStore(tmp_path)
    ref = store.put(PNG)
    (tmp_path / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256).write_bytes(PNG[:-20])
    with pytest.raises(MissingMediaError, match="damaged in the store"):
        store.get(ref)
    assert store.delete(ref)
    assert store.get(store.put(PNG)) == PNG


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A store requires a folder."""
    (tmp_path / "media").write_text("x")
    for make in (MediaStore, MediaStore.links):
        with pytest.raises(StoreError, match="is a file"):
            make(tmp_path / "media")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_store_can_be_read(tmp_path: Path) -> None:
    """A store on a read-only disk can be read, and writing raises an error."""
    store = MediaStore(tmp_path / "media")
    ref = store.put(PNG)
    for path in [*(tmp_path / "media").rglob("*"), tmp_path / "media"]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert store.get(ref) == PNG
        assert store.put(PNG) == ref
        with pytest.raises(StoreError, match="Permission denied"):
            store.put(jpeg())
    finally:
        for path in [tmp_path / "media", *(tmp_path / "media").rglob("*")]:
            path.chmod(0o755)


def settle(path: Path) -> None:
    """Set old file times, which the store trusts."""
    os.utime(path, (1_700_000_000, 1_700_000_000))
    time.sleep(0.15)


def bytes_read() -> int:
    """The bytes that this process has read."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(lines[0].removeprefix("rchar: "))


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs the kernel's count of bytes read")
@pytest.mark.parametrize("store_type", ["folder", "links"])
def test_an_unchanged_file_is_read_once(tmp_path: Path, store_type: str) -> None:
    """Later runs recognize a file by its size and times; a touched file is read again, and so is its copy."""
    path = tmp_path / "a.wav"
    path.write_bytes(wav(120.0))
    settle(path)
    size = path.stat().st_size

    def read_by_put() -> float:
        before = bytes_read()
        (MediaStore.links if store_type == "links" else MediaStore)(tmp_path / "media").put_file(path)
        return (bytes_read() - before) / size

    assert read_by_put() == pytest.approx(1, abs=0.1)
    assert read_by_put() < 0.1
    path.touch()
    assert read_by_put() == pytest.approx(1 if store_type == "links" else 2, abs=0.1)


STAMPS = {
    "old": (Stamp(9, 10**18, 10**18), True),
    "written a second ago": (Stamp(9, 2 * 10**18 - 10**9, 2 * 10**18 - 10**9), False),
    "copied just now, with its old time": (Stamp(9, 10**18, 2 * 10**18 - 10**7), False),
    "copied a second ago, with its old time": (Stamp(9, 10**18, 2 * 10**18 - 10**9), True),
    "from the future": (Stamp(9, 3 * 10**18, 10**18), False),
}


@pytest.mark.parametrize(("stamp", "settled"), STAMPS.values(), ids=STAMPS)
def test_when_file_times_are_trusted(stamp: Stamp, settled: bool) -> None:
    """A file that was changed within the clock resolution before hashing is hashed again."""
    assert stamp.settled(hashed_ns=2 * 10**18) == settled


def test_edits_within_the_clock_resolution_are_detected(tmp_path: Path) -> None:
    """A file that was changed right before hashing and again with the same times is hashed again."""
    store, path = MediaStore(tmp_path / "media"), tmp_path / "a.png"
    other = png("other text of one length")
    same = png("some1 text of one length")
    assert len(other) == len(same)
    path.write_bytes(other)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    first = store.put_file(path)
    path.write_bytes(same)
    os.utime(path, ns=times)
    assert store.put_file(path) != first


def test_deleted_media_are_stored_again(tmp_path: Path) -> None:
    """The hash cache does not replace the stored bytes."""
    store, path = MediaStore(tmp_path / "media"), tmp_path / "a.png"
    path.write_bytes(PNG)
    settle(path)
    ref = store.put_file(path)
    store.delete(ref)
    assert store.get(store.put_file(path)) == PNG


@pytest.mark.parametrize("content", [b"junk" * 1000, b"", PNG], ids=["content", "empty", "an image"])
def test_a_damaged_hash_cache(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """If the cache cannot be read, files are hashed again and a new cache is created."""
    store, path = MediaStore(tmp_path / "media"), tmp_path / "a.png"
    path.write_bytes(PNG)
    ref = store.put_file(path)
    (tmp_path / "media" / "files.db").write_bytes(content)
    assert store.put_file(path) == ref
    assert store.put_file(path) == ref
    assert ("hashed again" in caplog.text) == bool(content)


def test_files_that_grow_during_reading_are_refused(tmp_path: Path) -> None:
    """A recording that is still being written has no final hash."""
    store, path = MediaStore(tmp_path / "media"), tmp_path / "a.wav"
    path.write_bytes(wav(60.0))
    grow = """
import sys
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.errors import ContentError
path = sys.argv[2]
# The store creates its folder after it has examined the file and before it copies it.
sys.addaudithook(lambda event, arguments: event == "os.mkdir" and open(path, "ab").write(b"more") and None)
try:
    MediaStore(sys.argv[1]).put_file(path)
except ContentError as error:
    print(error)
"""
    with start(grow, tmp_path / "fresh", path) as process:
        output, _ = process.communicate(timeout=60)
    assert "was written to while it was read" in output
    assert store.put_file(path) in store
