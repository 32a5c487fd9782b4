"""A folder of damaged files: the run completes, reports each file, and loads the valid ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_gemini_mm.testing import png
from tests.loaders.damaged import write_damaged

ROOT = Path(__file__).parent.parent.parent

RUN = """
import json, os, resource, sys, threading, time
from tests.path_loader import PathLoader
from langchain_gemini_mm.storage import MediaStore

def memory():
    # `ru_maxrss` would include the memory of the process that started this one.
    try:
        status = open("/proc/self/status").read()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

from langchain_gemini_mm.testing import mp4
PathLoader(sys.argv[1] + "/good", MediaStore.memory()).load()

def descriptors():
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0

start, files, took, clock = memory(), {}, {}, [time.process_time()]

def progress(source, reason):
    source = source.removeprefix("library/")
    files[source] = reason
    took[source] = time.process_time() - clock[0]
    clock[0] = time.process_time()

before = descriptors(), threading.active_count()
loader = PathLoader(sys.argv[1], MediaStore(sys.argv[2]), workers=int(sys.argv[3]), progress=progress)
loaded = sorted({document.metadata["source"] for document in loader.lazy_load()})
try:
    left = os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    left = None
print(json.dumps({
    "leaked": [before != (descriptors(), threading.active_count()), left, os.listdir(os.environ["TMPDIR"])],
    "slowest": max(took.items(), key=lambda one: one[1]),
    "peak_mb": memory(),
    "worker_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    "files": files,
    "loaded": loaded,
    "skipped": {one.source: one.reason for one in loader.skipped},
    "grown_mb": memory() - start,
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_of_damaged_files(tmp_path: Path, workers: int) -> None:
    """Each of 200 damaged files is loaded or reported; none stops the run, hangs it or exhausts the memory."""
    check_folder(tmp_path, workers, thorough=False)


@pytest.mark.soak
@pytest.mark.parametrize("workers", [0, 2])
def test_a_thousand_hostile_files(tmp_path: Path, request: pytest.FixtureRequest, workers: int) -> None:
    """The same of more than 1,000 files; none takes over 30 s, and nothing is left open."""
    if not request.config.getoption("--soak-seconds"):
        pytest.skip("for minutes: pass --soak-seconds=1")
    check_folder(tmp_path, workers, thorough=True)


def check_folder(tmp_path: Path, workers: int, *, thorough: bool) -> None:
    """Load a folder of damaged files in a process of its own, and check its report.

    Args:
        tmp_path: an empty folder.
        workers: of the loader.
        thorough: with more than 1,000 files.
    """
    folder, temporary = tmp_path / "library", tmp_path / "temporary"
    temporary.mkdir()
    doubtful, certain = write_damaged(folder, thorough=thorough)
    assert len(doubtful) + len(certain) >= (1000 if thorough else 200)
    for name in ("a.png", "z.png"):
        (folder / "good").mkdir(exist_ok=True)
        (folder / "good" / name).write_bytes(png(name))
    (folder / "zz.txt").write_text("the last one")
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, str(folder), str(tmp_path / "media"), str(workers)],
        capture_output=True,
        cwd=ROOT,
        check=False,
        timeout=1800 if thorough else 280,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    report = json.loads(run.stdout)
    companions = {"captions.jsonl", "bombs/cues.srt", "cut/half.srt"}
    assert {"good/a.png", "good/z.png", "zz.txt"} <= set(report["loaded"])
    assert not certain & set(report["loaded"])
    assert certain <= set(report["skipped"])
    unaccounted = {
        source
        for source in (*doubtful, *certain)
        if source not in companions and _normalized(source) not in report["files"]
    }
    assert not unaccounted
    assert all(report["skipped"].values())
    assert "captions.jsonl" in report["skipped"]
    assert all(f"renamed/{ending}-as.{other}" in report["loaded"] for ending, other in (("png", "jpg"), ("pdf", "png")))
    assert sum(source.startswith("odd names/") for source in report["loaded"]) == 9
    assert report["grown_mb"] < 400
    assert report["peak_mb"] < 500
    assert report["worker_mb"] < 500
    assert report["slowest"][1] < 30, report["slowest"]
    assert report["leaked"] == [False, None, []]


def _normalized(source: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFC", source)
