"""A local store with killed writers, many readers and full disks: short runs of programs in `scripts`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from langchain_gemini_mm.errors import PartialWriteError, StoreError
from langchain_gemini_mm.vectorstores import LocalVectorStore
from scripts import kill_local_store, share_local_store
from tests.vectorstores.fakes import WordEmbeddings


@pytest.mark.slow
@pytest.mark.soak
def test_killed_writers_lose_nothing(tmp_path: Path, rounds: Callable[..., Iterable[int]]) -> None:
    """All operations of one or two writers that are killed at random: acknowledged writes are stored."""
    for seed in rounds(1):
        (tmp_path / str(seed)).mkdir()
        tally = kill_local_store.run(tmp_path / str(seed), rounds=12, seed=seed)
        assert tally.problems == []
        assert tally.clean
        assert tally.rounds == 12
        assert tally.acknowledged > 0


@pytest.mark.soak
def test_two_writers_and_three_readers(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """No error, no missing row, always k hits; a copy can be opened elsewhere."""
    tally = share_local_store.run(tmp_path, seconds=request.config.getoption("--soak-seconds"))
    assert tally.errors == []
    assert tally.writes >= 2 * share_local_store.LEAST
    assert tally.searches >= 3 * share_local_store.LEAST


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can make a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be made here: {mounted.stderr!r}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(store: LocalVectorStore) -> int:
    """Add until it fails; return the number of acknowledged documents."""
    for batch in range(1000):
        try:
            store.add_texts(["text " * 50] * 20, ids=[f"{batch}-{i}" for i in range(20)])
        except StoreError:
            return batch * 20
    raise AssertionError("the disk never got full")


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """Each call that needs disk space raises an error; acknowledged documents stay usable."""
    with LocalVectorStore(small_disk / "index.db", WordEmbeddings()) as store:
        count = fill(store)
        assert count > 100
        with pytest.raises(OSError, match="No space"):
            (small_disk / "rest").write_bytes(b"x" * 2_000_000)
        full = r"the disk is full\. Nothing of this call is stored that was not reported\. Make room"
        with pytest.raises(StoreError, match=full):
            store.add_texts(["text"] * 200)
        with pytest.raises(StoreError, match=full):
            store.compact()
        with pytest.raises(StoreError, match=full):
            store.backup(small_disk / "copy.db")
        with pytest.raises(StoreError, match=r"cannot be written: .*No space"):
            store.export_to(small_disk / "export")
        with pytest.raises((PartialWriteError, StoreError)):
            store.add_texts(["text"] * 2000, batch_size=100)
        assert store.count() >= count
        assert len(store.search("text", k=50)) == 50
        assert len(store.search("text", k=50, search_type="hybrid")) == 50
        assert store.check().problems == ()
        assert not [path.name for path in small_disk.iterdir() if path.name.endswith(".partial")]
        (small_disk / "rest").unlink()
        subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
        store.add_texts(["more"])
        store.compact()
        assert store.check().problems == ()


LIMITED = """
    import resource, sys
    from langchain_gemini_mm.errors import StoreError
    from langchain_gemini_mm.vectorstores import LocalVectorStore
    from tests.vectorstores.fakes import WordEmbeddings

    path = sys.argv[1]
    with LocalVectorStore(path, WordEmbeddings()) as store:
        store.add_texts(["first"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        count = 1
        try:
            while True:
                store.add_texts(["text " * 50] * 20)
                count += 20
        except StoreError as error:
            print(error)
        assert store.count() == count > 1, count
        assert len(store.search("text", k=20)) == 20
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.add_texts(["last"])
        assert store.count() == count + 1
        assert store.check().problems == (), store.check()
    with LocalVectorStore(path, WordEmbeddings()) as store:
        assert store.count() == count + 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_failing_write_loses_nothing(tmp_path: Path) -> None:
    """If the operating system fails to write, the error leaves complete documents, and later writes work."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path / "index.db")],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert "the disk reported an error. Check it and its connection" in run.stdout or "the disk is full" in run.stdout
