"""Converted media are stored on disk, not in memory, and removed after each call."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from langchain_gemini_mm import GeminiEmbeddings, MediaStore, ServiceError, StoreError
from langchain_gemini_mm.testing import GeminiEmulator
from tests.media.recordings import recording

ROOT = Path(__file__).parent.parent.parent


def test_a_service_failure_leaves_nothing(
    embeddings: GeminiEmbeddings, emulator: GeminiEmulator, scratch: Path
) -> None:
    """The folder is removed if the call fails after cutting."""
    assert isinstance(embeddings.media, MediaStore)
    film = embeddings.media.put(recording(seconds=12))
    emulator.fail_next(401)

    with pytest.raises(ServiceError):
        embeddings.embed([film.segment(0, 4), film.segment(4, 8)])

    assert not list(scratch.iterdir())


def test_an_unwritable_temporary_folder_is_reported(
    embeddings: GeminiEmbeddings, emulator: GeminiEmulator, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the folder and the remedy."""
    assert isinstance(embeddings.media, MediaStore)
    film = embeddings.media.put(recording(seconds=12))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch / "missing"))

    with pytest.raises(StoreError, match=r"^input 0: cannot keep [\d,]+ bytes.*No such file.*TMPDIR"):
        embeddings.embed([film.segment(0, 4)])


def test_cancelling_leaves_nothing(emulator: GeminiEmulator, media: MediaStore, scratch: Path) -> None:
    """A cancelled call returns at once; its files are removed, also those of its thread."""
    ref = media.put(recording(seconds=60, noisy=True, fps=20))
    ours = GeminiEmbeddings(media=media, video_max_edge=64, output_dimensionality=128)
    left: list[Path] = []

    async def cancelled() -> None:
        task = asyncio.create_task(ours.aembed([ref.segment(start, start + 1) for start in range(60)]))
        await asyncio.to_thread(first_file, scratch)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left.extend(await asyncio.to_thread(lambda: list(scratch.iterdir())))

    asyncio.run(cancelled())

    assert not left
    assert not list(scratch.iterdir())


def first_file(folder: Path) -> None:
    """Wait until the first file exists."""
    deadline = time.monotonic() + 60
    while not any(folder.rglob("*[0-9]")) and time.monotonic() < deadline:
        time.sleep(0.01)


INTERRUPTED = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
from langchain_gemini_mm import GeminiEmbeddings, MediaStore
media = MediaStore.links(sys.argv[2])
ref = media.put_file(Path(sys.argv[1]))
ours = GeminiEmbeddings(media=media, video_max_edge=64, max_retries=0)
print("ready", flush=True)
try:
    ours.embed([ref.segment(start / 2, start / 2 + 0.5) for start in range(120)])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_nothing(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """An interrupted program ends soon and leaves no folder."""
    film, folder = tmp_path / "film.mp4", tmp_path / "scratch"
    film.write_bytes(recording(seconds=60, noisy=True, fps=20))
    folder.mkdir()
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(film), str(tmp_path / "links")],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        first_file(folder)
        program.send_signal(signal.SIGINT)
        said, _ = program.communicate(timeout=60)
    finally:
        program.kill()

    assert said.split() == ["ready", "interrupted"]
    assert not list(folder.iterdir())


MEASURED = """
import resource, sys
from pathlib import Path
from langchain_gemini_mm import GeminiEmbeddings, MediaStore
media = MediaStore.links(sys.argv[2])
ref = media.put_file(Path(sys.argv[1]))
ours = GeminiEmbeddings(media=media, max_concurrency=1, output_dimensionality=128)
ours.embed([ref.segment(0, 60)])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ours.embed([ref.segment(start, start + 60) for start in range(0, 2400, 60)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts kilobytes as Linux does")
def test_memory_does_not_hold_the_segments(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """Forty segments of 2 MB each need at most 40 MB more than one."""
    path = tmp_path / "talk.wav"
    rate = 16_000
    with path.open("wb") as file:
        size = 2400 * 2 * rate
        file.write(b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little"))
        file.write(b"\x01\x00\x01\x00" + rate.to_bytes(4, "little") + (2 * rate).to_bytes(4, "little"))
        file.write(b"\x02\x00\x10\x00data" + size.to_bytes(4, "little"))
        block = np.random.default_rng(1).integers(-9000, 9000, rate * 10, dtype=np.int16).tobytes()
        for _ in range(240):
            file.write(block)

    run = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path), str(tmp_path / "links")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 40_000
