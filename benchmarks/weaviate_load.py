"""Load synthetic documents from a generator into Weaviate and print the peak memory in bytes.

Run: python -m benchmarks.weaviate_load URL GRPC_URL NAME COUNT
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from benchmarks.indexing import peak_bytes
from integration_tests.weaviate_server import Endpoint
from langchain_gemini_mm import WeaviateVectorStore
from langchain_gemini_mm.interfaces import Vector

DIMENSIONS = 768


def documents(count: int) -> Iterator[Document]:
    """Yield documents, which nothing keeps in memory."""
    for number in range(count):
        yield Document(
            id=f"document-{number}",
            page_content=f"What stands in document {number}. " * 5,
            metadata={"source": f"file-{number % 100}.pdf"},
        )


def vectors(count: int) -> Iterator[Vector]:
    """Yield random directions, one at a time."""
    random = np.random.default_rng(7)
    for _ in range(count):
        yield random.standard_normal(DIMENSIONS, dtype=np.float32)


def load(endpoint: Endpoint, name: str, count: int) -> None:
    """Add everything with the flat index, which is fastest to fill and makes no difference to the client."""
    with endpoint.client() as client:
        store = WeaviateVectorStore(client, name, DeterministicFakeEmbedding(size=DIMENSIONS), index="flat")
        assert len(store.add_vectors(documents(count), vectors(count))) == count
        assert store.count() == count


if __name__ == "__main__":
    url, grpc_url, name, count = sys.argv[1:]
    load(Endpoint(url, grpc_url, os.environ.get("WEAVIATE_API_KEY") or None), name, int(count))
    print(peak_bytes())
