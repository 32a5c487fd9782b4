"""Change a folder, and let the index follow: only what is new is embedded.

Run: python examples/24_keep_current.py     (without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import GeminiEmulator, png, write_samples

with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    folder = work / "samples"
    write_samples(folder)

    media = MediaStore(work / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))
    retriever = MultimodalRetriever(store=store)

    print(retriever.mirror(folder, dry_run=True))
    first = retriever.mirror(folder)
    print(first)

    (folder / "pictures").rename(folder / "images")  # moved: nothing is embedded
    (folder / "notes/trip.md").write_text("We went to the mountains instead.")
    (folder / "notes/kitten.md").unlink()
    (folder / "images/kite.png").write_bytes(png("a red kite"))
    (folder / "images/half.png").write_bytes(png("being copied")[:60])
    second = retriever.mirror(folder)
    print(second)
    assert second.embedded == 2
    assert second.deleted == ("samples/notes/kitten.md",)
    assert [failed.source for failed in second.failed] == ["samples/images/half.png"]

    (folder / "images/half.png").unlink()
    assert retriever.mirror(folder).is_current
    (library,) = retriever.status()
    print(f"{library.library}: {library.files} files, {library.documents} documents")
