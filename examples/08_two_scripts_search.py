"""The second of two scripts: search the images that 07_two_scripts_index.py has embedded, by text and by an image.

Run: python examples/08_two_scripts_search.py FOLDER     (without a folder it runs the first script as well)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.testing import GeminiEmulator, jpeg
from langchain_gemini_mm.testing.samples import drawings

with ExitStack() as stack:
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
    else:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        first = Path(__file__).with_name("07_two_scripts_index.py")
        subprocess.run([sys.executable, str(first), str(folder)], check=True)
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}

    media = MediaStore.links(folder / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(folder / "library/index.db", embeddings))
    retriever = MultimodalRetriever(store=store, k=3, modalities=["image"])

    another_puppy = folder / "another-puppy.jpg"
    another_puppy.write_bytes(jpeg("a puppy with floppy ears", image=drawings.puppy("wheat", "dimgrey", "lightsalmon")))
    for question, expected in (
        ("an image of an animal", {"puppy", "bird", "kitten"}),
        ("an image of food", {"pizza", "bananas", "apple"}),
        (another_puppy, ["puppy", "kitten"]),
    ):
        hits = retriever.search(question)
        found = [Path(hit.document.metadata["source"]).stem for hit in hits]
        print(f"\n{getattr(question, 'name', question)}")
        for name, hit in zip(found, hits, strict=True):
            print(f"  {hit.score:.2f}  {name}")
        assert set(found) == expected if isinstance(expected, set) else found[:2] == expected
