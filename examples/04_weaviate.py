"""Start with a local file, then copy it to a Weaviate server that a team shares: nothing is embedded twice.

Run: python examples/04_weaviate.py     (without GOOGLE_API_KEY it runs on the emulator)

The server is expected on the usual ports, or on WEAVIATE_PORT and WEAVIATE_GRPC_PORT. Without a server, a second local
file takes its place; the rest of the program is the same.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import weaviate

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore, WeaviateVectorStore
from langchain_gemini_mm.testing import GeminiEmulator, write_samples
from langchain_gemini_mm.vectorstores import MultimodalVectorStore, copy_store

PORTS = int(os.environ.get("WEAVIATE_PORT", "8080")), int(os.environ.get("WEAVIATE_GRPC_PORT", "50051"))


def shared_store(stack: ExitStack, embeddings: GeminiEmbeddings, folder: Path) -> MultimodalVectorStore:
    """Open a store on the server, or a second local file if there is no server."""
    try:
        client = stack.enter_context(weaviate.connect_to_local(port=PORTS[0], grpc_port=PORTS[1]))
    except weaviate.exceptions.WeaviateConnectionError:
        print("no Weaviate server found, using a second local file instead")
        return stack.enter_context(LocalVectorStore(folder / "team.db", embeddings))
    return WeaviateVectorStore(client, "Example", embeddings, tenant="team-a")


with ExitStack() as stack:
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_samples(folder / "samples")

    media = MediaStore(folder / "media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    mine = stack.enter_context(LocalVectorStore(folder / "mine.db", embeddings))
    mine.add_documents(MediaLoader(folder / "samples", media).lazy_load())

    team = shared_store(stack, embeddings, folder)
    print(copy_store(mine, team))

    for hit in team.search([folder / "samples/pictures/puppy2.jpg", "but sleeping"], k=2, filter={"modality": "image"}):
        print(f"{hit.score:.2f} {hit.document.metadata['source']}")
    for group in team.search_groups("waves", k=2):
        print(group.value, f"{group.hits[0].score:.2f}")
    team.delete_all()
