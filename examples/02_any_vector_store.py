"""Make a vector store that you already have multimodal: only the embeddings change, the store is LangChain's own.

Run: python examples/02_any_vector_store.py     (without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_gemini_mm import GeminiEmbeddings, MediaStore
from langchain_gemini_mm.testing import GeminiEmulator, png, wav

with ExitStack() as stack:
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}

    media = MediaStore.memory()
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = InMemoryVectorStore(embeddings)

    # A Document contains references to its media, so that indexing, caching and splitting work unchanged.
    documents = [
        media.document(png("a red bicycle", colour="red"), metadata={"source": "bicycle.png"}),
        media.document("how the cat sounds:", wav(1, "a cat purring"), metadata={"source": "cat.wav"}),
        media.document("The bicycle costs 300 euros.", metadata={"source": "prices.txt"}),
    ]
    print(documents[1].page_content[:60], "...")

    records = InMemoryRecordManager("shop")
    records.create_schema()
    for _ in range(2):
        print(index(documents, records, store, cleanup="full", source_id_key="source", key_encoder="sha256"))

    retriever = store.as_retriever(search_kwargs={"k": 2})
    for found in retriever.invoke("a bicycle"):
        print(found.metadata["source"])
