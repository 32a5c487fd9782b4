"""Copying between local files and a real Weaviate server, and a server that holds documents and media."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document

from integration_tests.weaviate_server import Endpoint, WeaviateServer
from langchain_gemini_mm import (
    ContentError,
    GeminiEmbeddings,
    LocalVectorStore,
    MediaLoader,
    MediaStore,
    SpaceMismatchError,
    StoreError,
    WeaviateVectorStore,
)
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.testing import GeminiEmulator, png, wav, write_samples
from langchain_gemini_mm.vectorstores import CopyReport, acopy_store, copy_store
from tests.storage.conftest import swept
from tests.vectorstores.contract_base import ANIMALS, FIELDS
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from pathlib import Path

    from weaviate import WeaviateAsyncClient, WeaviateClient

pytestmark = pytest.mark.weaviate

SIZE = 16
UNDECLARED: dict[str, Any] = {"nested": {"a": [1, 2.0, None, True]}, "big": 2**70, "Ünïcode key": "東京"}


@pytest.fixture
def embedding() -> WordEmbeddings:
    """Embeddings that count their calls."""
    return WordEmbeddings(SIZE)


@pytest.fixture
def local(tmp_path: Path, embedding: WordEmbeddings) -> LocalVectorStore:
    """A store with animals and many others, ids of several forms, and undeclared metadata."""
    store = LocalVectorStore(tmp_path / "local.db", embedding)
    store.add_documents(ANIMALS)
    documents = [
        Document(id=f"00000000-0000-4000-8000-{n:012}" if n % 2 else f"id {n}/é", page_content=f"text {n}", metadata=m)
        for n, m in enumerate([UNDECLARED, {}, {"tags": ["x"]}] * 100)
    ]
    rows = np.random.default_rng(5).standard_normal((len(documents), SIZE))
    store.add_vectors(documents, rows.tolist())
    return store


def contents(store: Any) -> tuple[list[Document], list[str], np.ndarray]:
    """Everything a store holds."""
    rows = {id_: row for ids, block in store.vectors() for id_, row in zip(ids, block, strict=True)}
    ids = sorted(rows)
    documents = sorted(store.iterate(), key=lambda document: str(document.id))
    return documents, ids, np.stack([rows[id_] for id_ in ids])


def assert_same(one: Any, other: Any) -> None:
    """Both stores hold the same; vectors of Weaviate differ in their last bits, so equal vectors are avoided."""
    (documents, ids, rows), (expected, expected_ids, expected_rows) = contents(one), contents(other)
    assert (documents, ids) == (expected, expected_ids)
    assert np.abs(rows - expected_rows).max() < 1e-6


def test_there_and_back(
    local: LocalVectorStore,
    weaviate_client: WeaviateClient,
    weaviate_name: str,
    embedding: WordEmbeddings,
    tmp_path: Path,
) -> None:
    """Copying file, server, tenant, other tenant, file: the copies are equal bit by bit."""
    remote = WeaviateVectorStore(weaviate_client, weaviate_name, embedding, fields=FIELDS)
    red = WeaviateVectorStore(weaviate_client, f"{weaviate_name}_T", embedding, tenant="red")
    blue = red.with_tenant("blue")
    back = LocalVectorStore(tmp_path / "back.db", embedding)
    calls = len(embedding.calls)
    way = [local, remote, red, blue, back]
    for source, target in pairwise(way):
        assert copy_store(source, target, batch_size=90) == CopyReport(total=306, copied=306, skipped=0)
        assert copy_store(source, target) == CopyReport(total=306, copied=0, skipped=306)
        assert_same(target, local)
    assert len(embedding.calls) == calls
    query = "a small black dog"
    found = [[hit.document.id for hit in store.search(query, k=3)] for store in way]
    assert all(ids == found[0] for ids in found)
    assert remote.count(filter={"modality": "video"}) == 2


async def test_with_only_async_clients(
    local: LocalVectorStore,
    weaviate_async_client: WeaviateAsyncClient,
    weaviate_name: str,
    embedding: WordEmbeddings,
    tmp_path: Path,
) -> None:
    """The async twin needs no sync client."""
    remote = WeaviateVectorStore(weaviate_async_client, weaviate_name, embedding)
    back = LocalVectorStore(tmp_path / "back.db", embedding)
    counts: list[int] = []
    assert await acopy_store(local, remote, batch_size=200, progress=counts.append) == CopyReport(306, 306, 0)
    assert counts == [200, 306]
    assert await acopy_store(remote, back) == CopyReport(306, 306, 0)
    assert_same(back, local)


def test_a_server_that_crashes(
    local: LocalVectorStore, start_weaviate: Callable[..., WeaviateServer], embedding: WordEmbeddings
) -> None:
    """A copy with media that a server crash interrupted is completed by the same call."""
    server = start_weaviate()
    media = MediaStore.memory()
    local.add_documents(media.document(f"picture {n}", png(str(n)), id=f"p{n}") for n in range(20))
    local.add_documents([media.document("talk", wav(200.0), id="talk")])
    with server.client() as client:
        remote = WeaviateVectorStore(client, "Library", embedding, timeout=2, write_timeout=2)
        pair = (media, MediaStore.weaviate(client, timeout=2, write_timeout=2))

        def kill(done: int) -> None:
            if done == 150:
                server.kill()

        with pytest.raises(StoreError, match="Weaviate"):
            copy_store(local, remote, media=pair, batch_size=50, progress=kill)
    server.start()
    with server.client() as client:
        remote = WeaviateVectorStore(client, "Library", embedding)
        pair = (media, MediaStore.weaviate(client))
        there, files = remote.count(), len(list(pair[1].refs()))
        assert 150 <= there < 327
        report = copy_store(local, remote, media=pair, batch_size=50)
        assert report == CopyReport(total=327, copied=327 - there, skipped=there, media=21 - files)
        assert_same(remote, local)
        assert {ref: pair[1].get(ref) for ref in pair[1].refs()} == {ref: media.get(ref) for ref in media.refs()}


def test_refusals(
    local: LocalVectorStore,
    weaviate_server: Endpoint,
    weaviate_client: WeaviateClient,
    weaviate_name: str,
    embedding: WordEmbeddings,
) -> None:
    """Another space and one collection through two clients are refused; other tenants and collections are not."""
    other = WeaviateVectorStore(weaviate_client, f"{weaviate_name}_B", WordEmbeddings(SIZE, model="words-2"))
    with pytest.raises(SpaceMismatchError, match="model: 'words-1' stored, 'words-2' given"):
        copy_store(local, other)
    assert not weaviate_client.collections.exists(f"{weaviate_name}_B")
    with weaviate_server.client() as second:
        one = WeaviateVectorStore(weaviate_client, weaviate_name, embedding, tenant="red")
        same = WeaviateVectorStore(second, weaviate_name, embedding, tenant="red")
        one.add_documents(ANIMALS)
        with pytest.raises(ValueError, match="source and target are the same collection"):
            copy_store(one, same)
        assert copy_store(one, same.with_tenant("blue")).copied == len(ANIMALS)


def test_a_large_document_that_weaviate_does_not_take(
    local: LocalVectorStore, weaviate_client: WeaviateClient, weaviate_name: str, embedding: WordEmbeddings
) -> None:
    """The error names the document and the limit."""
    local.add_texts(["x" * (5 << 20)], ids=["large"])
    with pytest.raises(ContentError, match="document 'large' is 5,242,882 bytes of text and metadata; the limit"):
        copy_store(local, WeaviateVectorStore(weaviate_client, weaviate_name, embedding))


def test_one_server_holds_all(weaviate_server: Endpoint, weaviate_name: str, tmp_path: Path) -> None:
    """Vectors and media of a folder on one server: new clients search by text and by image, and read the files back."""
    samples = tmp_path / "samples"
    write_samples(samples)
    with GeminiEmulator() as emulator:

        def opened(client: WeaviateClient) -> tuple[MediaStore, WeaviateVectorStore, GeminiEmbeddings]:
            media = MediaStore.weaviate(client, f"{weaviate_name}_Media")
            embeddings = GeminiEmbeddings(
                media=media, api_key=emulator.api_key, base_url=emulator.url, output_dimensionality=768
            )
            return media, WeaviateVectorStore(client, weaviate_name, embeddings), embeddings

        with weaviate_server.client() as client:
            media, store, embeddings = opened(client)
            with embeddings:
                ids = store.add_documents(MediaLoader(samples, media).lazy_load())
        with weaviate_server.client() as client:
            media, store, embeddings = opened(client)
            with embeddings:
                assert store.count() == len(ids) > 10
                puppy = next(samples.rglob("puppy.png"))
                for query in ("a puppy", puppy):
                    (hit,) = store.search(query, k=1, filter={"modality": "image"})
                    assert hit.document.metadata["title"].startswith("puppy")
                    (ref,) = (
                        piece for piece in split_references(hit.document.page_content) if isinstance(piece, MediaRef)
                    )
                    assert media.get(ref) == (tmp_path / hit.document.metadata["source"]).read_bytes()
                named = {d.metadata["media_sha256"] for d in store.iterate() if "media_sha256" in d.metadata}
                assert {ref.sha256 for ref in media.refs()} == named
                assert swept(media, store.iterate()).removed == ()
