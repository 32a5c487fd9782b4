"""Writes a collection with langchain-weaviate itself; run as a program, in an environment that has it.

    python langchain_weaviate_writer.py <REST port> <gRPC port> <collection>[:<tenant>] ...

It prints the ids of each collection as JSON lists. The vectors are those of `vector_of`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from datetime import UTC, datetime
from typing import Any

DIMENSIONS = 8
TEXTS = ["a red fox", "the blue whale", "green tea", "to be or not to be"]
METADATAS = [
    {"source": "zoo/fox.txt", "page": 1, "seen": datetime(2024, 5, 1, 12, tzinfo=UTC), "tags": ["red", "land"]},
    {"source": "zoo/whale.txt", "page": 2, "weight": 1.5, "tags": ["blue"]},
    {"source": "Kitchen/tea.txt", "page": 3, "draft": True, "seen": datetime(2024, 6, 1, tzinfo=UTC)},
    {"source": "books/the", "page": 4},
]


def vector_of(text: str) -> list[float]:
    """A vector that depends on the text alone; not of unit length."""
    return [byte / 255 - 0.5 for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]


def main(port: int, grpc_port: int, names: list[str]) -> None:
    """Create the collections and print the ids."""
    warnings.simplefilter("ignore")
    import weaviate
    from langchain_core.embeddings import Embeddings
    from langchain_weaviate import WeaviateVectorStore

    class HashEmbeddings(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vector_of(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vector_of(text)

    written = []
    with weaviate.connect_to_local(port=port, grpc_port=grpc_port, skip_init_checks=True) as client:
        for name, _, tenant in (item.partition(":") for item in names):
            options: dict[str, Any] = {"use_multi_tenancy": True} if tenant else {}
            store = WeaviateVectorStore(client, name, "body", embedding=HashEmbeddings(), **options)
            ids = store.add_texts(TEXTS, METADATAS, tenant=tenant or None)
            written.append([str(id_) for id_ in ids])
    sys.stdout.write(json.dumps(written))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
