"""Index a folder of pictures as a user would and print the peak memory of doing so, in bytes.

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


def peak_bytes() -> int:
    """The most memory this process had in use at once.

    Linux lets `ru_maxrss` begin with that of the process that started this one, so its own mark comes first.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kilobytes) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    documents = index(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    print(documents, peak_bytes())
