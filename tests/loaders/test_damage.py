"""A folder of damaged files: the run completes, reports each file, and loads the valid ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_gemini_mm.testing import png
from tests.loaders.damaged import write_damaged

ROOT = Path(__file__).parent.parent.parent

RUN = """
import json, sys
from langchain_gemini_mm.loaders import MediaLoader
from langchain_gemini_mm.storage import MediaStore

def memory():
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

from langchain_gemini_mm.testing import mp4
MediaLoader(sys.argv[1] + "/good", MediaStore.memory()).load()
start, files = memory(), {}
loader = MediaLoader(
    sys.argv[1], MediaStore(sys.argv[2]), workers=int(sys.argv[3]), progress=lambda *of: files.update([of])
)
loaded = sorted({document.metadata["source"] for document in loader.lazy_load()})
print(json.dumps({
    "files": files,
    "loaded": loaded,
    "skipped": {one.source: one.reason for one in loader.skipped},
    "grown_mb": memory() - start,
}))
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_of_damaged_files(tmp_path: Path, workers: int) -> None:
    """Each of 200 damaged files is loaded or reported; none stops the run, hangs it or exhausts the memory."""
    folder = tmp_path / "library"
    doubtful, certain = write_damaged(folder)
    assert len(doubtful) + len(certain) >= 200
    for name in ("a.png", "z.png"):
        (folder / "good").mkdir(exist_ok=True)
        (folder / "good" / name).write_bytes(png(name))
    (folder / "zz.txt").write_text("the last one")
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, str(folder), str(tmp_path / "media"), str(workers)],
        capture_output=True,
        cwd=ROOT,
        check=False,
        timeout=280,
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


def _normalized(source: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFC", source)
