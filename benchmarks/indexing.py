"""Index a folder as a user would; print how many documents, the memory at the start, and its peak, in bytes.

Run: python -m benchmarks.indexing FOLDER LIBRARY URL
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.service import KEY
from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore


def index(folder: Path, library: Path, url: str) -> int:
    """Load, embed, store; gives how many documents."""
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
    """The memory in use before anything was opened; where the system does not tell, the most so far."""
    return _told("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """The most memory this process had in use at once.

    Linux lets `ru_maxrss` begin with that of the process that started this one, so its own mark comes first.
    """
    if peak := _told("VmHWM"):
        return peak
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _told(key: str) -> int:
    """What Linux says of this process; 0 elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    start = bytes_at_start()
    documents = index(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    print(documents, start, peak_bytes())
