"""A collection that another program created in Weaviate: searched, filtered and extended without embedding it again.

Run: python examples/23_existing_weaviate.py     (without GOOGLE_API_KEY it runs on the emulator)

The server is expected on the usual ports, or on WEAVIATE_PORT and WEAVIATE_GRPC_PORT. Without one the program ends.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import Any

import weaviate
from weaviate.classes.config import DataType, Property
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter

from langchain_gemini_mm import GeminiEmbeddings, WeaviateVectorStore
from langchain_gemini_mm.testing import GeminiEmulator

PORTS = int(os.environ.get("WEAVIATE_PORT", "8080")), int(os.environ.get("WEAVIATE_GRPC_PORT", "50051"))
COLLECTION = "ExampleArticles"
ARTICLES: list[dict[str, Any]] = [
    {"body": "rents are rising in every city", "source": "reports/2024/rents.pdf", "page": 1.0},
    {"body": "a kitten was found on a tree", "source": "local/kitten.txt", "page": 2.0},
    {"body": "wages follow the prices", "source": "reports/2023/wages.pdf", "page": 3.0},
]


def create(client: weaviate.WeaviateClient, embeddings: GeminiEmbeddings) -> None:
    """Create the collection as programs with the bare client, or with langchain-weaviate, do."""
    kinds = {"body": DataType.TEXT, "source": DataType.TEXT, "page": DataType.NUMBER}
    client.collections.delete(COLLECTION)
    articles = client.collections.create(
        COLLECTION, properties=[Property(name=name, data_type=kind) for name, kind in kinds.items()]
    )
    vectors = embeddings.embed_documents([article["body"] for article in ARTICLES])
    articles.data.insert_many(
        [DataObject(properties=item, vector=vector) for item, vector in zip(ARTICLES, vectors, strict=True)]
    )


with ExitStack() as stack:
    try:
        client = stack.enter_context(weaviate.connect_to_local(port=PORTS[0], grpc_port=PORTS[1]))
    except weaviate.exceptions.WeaviateConnectionError:
        print("no Weaviate server found, and this example needs one")
        sys.exit()
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    embeddings = stack.enter_context(GeminiEmbeddings(output_dimensionality=768, **service))
    create(client, embeddings)
    stack.callback(client.collections.delete, COLLECTION)

    store = WeaviateVectorStore.existing(client, COLLECTION, embeddings, text_key="body")
    (best,) = store.search("a kitten on a tree", k=1)
    print(f"{best.score:.2f} {best.document.page_content}  {best.document.metadata}")
    assert best.document.metadata["source"] == "local/kitten.txt"

    # A folder; a range; a filter of the client, alone and together with a dict.
    reports = {"source": {"$startswith": "reports/2024/"}}
    assert [hit.document.metadata["page"] for hit in store.search("prices", filter=reports)] == [1.0]
    assert store.count(filter={"page": {"$gte": 2}}) == 2
    pattern = Filter.by_property("source").like("*pdf*")
    assert {hit.document.metadata["page"] for hit in store.search("prices", filter=pattern)} == {1.0, 3.0}
    assert len(store.search("prices", filter={"$and": [pattern, {"page": 3}]})) == 1

    # New documents; a metadata key that the collection does not have is declared first.
    store.add_field("author", str)
    store.add_texts(["the kitten is home again"], [{"source": "local/home.txt", "author": "Kim"}])
    (hit,) = store.search("a kitten", k=1, filter={"author": "Kim"})
    print(f"{hit.score:.2f} {hit.document.page_content}  {hit.document.metadata}")
    assert store.count() == 4
