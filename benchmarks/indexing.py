"""Index a folder; print the number of documents, the initial memory and its peak, in bytes.

Run: python -m benchmarks.indexing FOLDER LIBRARY URL
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.service import KEY
from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore


def index(folder: Path, library: Path, url: str) -> int:
    """Load, embed and store; return the number of documents."""
    media = MediaStore(library / "media")
    with (
        GeminiEmbeddings(media=media, api_key=KEY, base_url=url, output_dimensionality=768) as embeddings,
        LocalVectorStore(library / "index.db", embeddings) as store,
    ):
        loader = MediaLoader(folder, media)
        stored = store.add_documents(loader.lazy_load())
        assert not loader.skipped, loader.skipped[:3]
        return len(stored)


def bytes_at_start() -> int:
    """Return the memory in use, or the peak so far on systems that do not report the former."""
    return _told("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """Return the peak memory of this process.

    On Linux, `ru_maxrss` starts with the value of the parent process, so the process's own peak is read first.
    """
    if peak := _told("VmHWM"):
        return peak
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _told(key: str) -> int:
    """Return a value of /proc/self/status in bytes; 0 on other systems."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    start = bytes_at_start()
    documents = index(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    print(documents, start, peak_bytes())
