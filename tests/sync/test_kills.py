"""A process is killed while it mirrors a folder; the next run completes the index, and pays little again."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import png
from tests.sync.conftest import documents_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator

FILES, CONCURRENCY, KILLS = 40, 2, 2
_WRITER = """
import sys
from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever

folder, home, api_key, base_url = sys.argv[1:]
embeddings = GeminiEmbeddings(
    media=MediaStore(home + "/media"), output_dimensionality=128, api_key=api_key, base_url=base_url,
    batch_bytes=2000, max_concurrency=2,
)
retriever = MultimodalRetriever(store=LocalVectorStore(home + "/index.db", embeddings))
print("ready", flush=True)
retriever.mirror(folder)
print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.soak
def test_a_killed_mirror_is_completed(
    emulator: GeminiEmulator, tmp_path: Path, rounds: Callable[[int], Iterator[int]]
) -> None:
    """The index is that of an undisturbed run, and at most the calls in flight are paid twice."""
    folder = tmp_path / "work"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number:03}.txt").write_text(f"text number {number}: " + "words " * 90)
    (folder / "a.png").write_bytes(png("a castle"))
    expected = _mirrored(emulator, folder, tmp_path / "undisturbed")
    emulator.settings.latency = 0.03
    for seed in rounds(1):
        home = tmp_path / f"home {seed}"
        home.mkdir()
        before, chance = emulator.embedded, random.Random(seed)
        kills = 0
        while kills < KILLS and not _killed(emulator, folder, home, chance.uniform(0.2, 3.0)):
            kills += 1
        assert _mirrored(emulator, folder, home) == expected
        paid = emulator.embedded - before
        assert FILES < paid <= FILES + 1 + kills * _in_flight(emulator)
        shutil.rmtree(home)


def _in_flight(emulator: GeminiEmulator) -> int:
    return CONCURRENCY * max(len(request.items) for request in emulator.embed_requests)


def _mirrored(emulator: GeminiEmulator, folder: Path, home: Path) -> dict[str, tuple[str, object]]:
    service = {"api_key": emulator.api_key, "base_url": emulator.url}
    with (
        GeminiEmbeddings(media=MediaStore(home / "media"), output_dimensionality=128, **service) as embeddings,
        LocalVectorStore(home / "index.db", embeddings) as store,
    ):
        retriever = MultimodalRetriever(store=store)
        retriever.mirror(folder)
        assert retriever.mirror(folder).is_current
        assert store.check().ok
        found = documents_of(retriever)
        return {id_: (document.page_content, document.metadata) for id_, document in found.items()}


def _killed(emulator: GeminiEmulator, folder: Path, home: Path, seconds: float) -> bool:
    """Kill a mirror after some seconds; whether it was done before."""
    arguments = [str(folder), str(home), emulator.api_key, emulator.url]
    with subprocess.Popen([sys.executable, "-c", _WRITER, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        rest = process.stdout.read()
        timer.cancel()
    time.sleep(0.1)  # requests of the killed process arrive
    return rest == "done\n"
