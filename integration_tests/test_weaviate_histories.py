"""Eight clients change and read the same few documents at once: a serial order of their calls explains every result."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import WeaviateVectorStore
from tests.vectorstores.fakes import WordEmbeddings
from tests.vectorstores.histories import RandomClient, contents, violations

if TYPE_CHECKING:
    from weaviate import WeaviateClient

    from integration_tests.weaviate_server import Endpoint

pytestmark = pytest.mark.weaviate

CLIENTS = 8
IDS = [f"d{number}" for number in range(12)]
WEIGHTS = {
    "add": 8.0,
    "delete": 3.0,
    "update_metadata": 4.0,
    "get_by_ids": 6.0,
    "search": 2.0,
    "delete_all": 0.3,
    "reindex": 0.3,
    "add_field": 0.5,
}
SECONDS = 6.0


def reindex(store: Any) -> None:
    """Index all vectors again."""
    store.reindex()


def add_field(store: Any) -> None:
    """Declare a key that all documents have."""
    store.add_field("written", str)


@pytest.mark.soak
def test_clients_that_change_the_same_documents(
    weaviate_server: Endpoint,
    weaviate_client: WeaviateClient,
    weaviate_name: str,
    rounds: Callable[..., Iterable[int]],
    request: pytest.FixtureRequest,
) -> None:
    """Texts, metadata, vectors and the filter index are those of a serial order, whoever did what meanwhile."""
    seconds = min(60.0, request.config.getoption("--soak-seconds") or SECONDS)
    for seed in rounds(1):
        store = WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings())
        store.add_texts(["the first"])
        store.delete_all()
        with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as pool:
            clients = []
            for number in range(CLIENTS):
                client = stack.enter_context(weaviate_server.client())
                own = WeaviateVectorStore(client, weaviate_name, WordEmbeddings())
                extra = {"reindex": reindex, "add_field": add_field}
                clients.append(RandomClient(own, number, IDS, WEIGHTS, extra, seed))
            started = time.monotonic()
            list(pool.map(lambda one: one.run(seconds), clients))
            taken = time.monotonic() - started
        calls: Counter[str] = Counter()
        for one in clients:
            calls.update(one.calls)
        errors = [error for one in clients for error in one.errors]
        numbers = {"seconds": round(taken), "calls": calls, "unknown": len(errors), "seed": seed}
        request.config.get_terminal_writer().line("\n".join([json.dumps(numbers), *errors[:5]]))
        found = violations([operation for one in clients for operation in one.operations], contents(store))
        assert not found, "\n".join(found)
        require_consistent(store, weaviate_client)


def require_consistent(store: WeaviateVectorStore, client: WeaviateClient) -> None:
    """Vectors belong to their texts, filters find what the metadata say, and no collection is left behind."""
    documents = {document.id: document for document in store.iterate()}
    for ids, rows in store.vectors():
        expected = np.asarray(WordEmbeddings().embed([documents[id_].page_content for id_ in ids]))
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert float(np.abs(rows - expected).max()) < 1e-4
    if documents:
        store.add_field("written", str)
    for id_, document in documents.items():
        matching = [one.id for one in store.iterate(filter={"written": document.metadata["written"]})]
        assert id_ in matching
    left = [name for name in client.collections.list_all() if name.startswith(f"{store.name}_v")]
    assert len(left) == 1


def test_metadata_of_a_document_replaced_meanwhile(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """A document has text and metadata of one write; `update_metadata` does not combine two."""
    store = WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings())
    store.add_documents([Document(id="x", page_content="a", metadata={"of": "a"})])
    store.update_metadata(["x"], {"seen": 1})
    store.add_documents([Document(id="x", page_content="b", metadata={"of": "b"})])
    (found,) = store.get_by_ids(["x"])
    assert (found.page_content, found.metadata) == ("b", {"of": "b"})
