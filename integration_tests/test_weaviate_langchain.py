"""What users of langchain-weaviate 0.0.8 know, on our store: each behaviour that its own tests check.

`docs/migrating-from-langchain-weaviate.md` has the table, with the reasons where ours differs on purpose.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from weaviate.classes.query import Filter

from langchain_gemini_mm import WeaviateVectorStore
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.weaviate_client.versions import NOT_FILTERS
from tests.vectorstores.contract_base import Call
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient, WeaviateClient

pytestmark = pytest.mark.weaviate

Open = Callable[..., WeaviateVectorStore]
TEXTS = ["foo", "bar", "baz"]
PAGES = [{"page": number} for number in range(3)]
FIRST = Filter.by_property("page").equal(0)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture
def open_store(weaviate_client: WeaviateClient, weaviate_async_client: WeaviateAsyncClient, weaviate_name: str) -> Open:
    """Opens the collection of this test."""

    def open_one(**options: Any) -> WeaviateVectorStore:
        given = {"index": "flat", "async_client": weaviate_async_client, "fields": {"page": int}, **options}
        return WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings(), **given)

    return open_one


async def filled(open_store: Open, call: Call, **options: Any) -> WeaviateVectorStore:
    """A store with three texts and their pages."""
    store = open_store(**options)
    await call(store, "add_texts", TEXTS, PAGES)
    return store


async def test_search(open_store: Open, call: Call) -> None:
    """The nearest text comes first, with its metadata, its id and its score."""
    store = await filled(open_store, call)
    (found,) = await call(store, "similarity_search", "foo", k=1)
    assert (found.page_content, found.metadata) == ("foo", {"page": 0})
    assert uuid.UUID(found.id) == store.uuid_of(found.id)
    ((_, score),) = await call(store, "similarity_search_with_score", "foo", k=1)
    assert score == pytest.approx(1.0, abs=1e-3)
    vector = store.space.embedding.embed(["bar"])[0]  # type: ignore[union-attr] # of the tests
    assert (await call(store, "similarity_search_by_vector", vector, k=1))[0].page_content == "bar"
    assert store.embeddings is store.space.embedding


async def test_filters(open_store: Open, call: Call) -> None:
    """A Filter of the client, as `filters=` there, is `filter=` here, in every kind of search."""
    store = await filled(open_store, call)
    for method in ("similarity_search", "max_marginal_relevance_search"):
        assert [found.metadata["page"] for found in await call(store, method, "foo", k=2, filter=FIRST)] == [0]
    (hit,) = await call(store, "search", "foo", k=2, filter={"$and": [FIRST, {"page": {"$lt": 5}}]})
    assert hit.document.metadata == {"page": 0}
    assert await call(store, "count", filter=FIRST | Filter.by_property("page").equal(2)) == 2
    version = store.backend.collection.connection.known_version
    if version is not None and version >= NOT_FILTERS:
        assert await call(store, "count", filter={"$not": FIRST}) == 2
    await call(store, "delete", filter=FIRST)
    assert {document.metadata["page"] for document in await call.list(store, "iterate")} == {1, 2}


async def test_filters_of_objects(open_store: Open, call: Call) -> None:
    """What only Weaviate has: patterns, lengths of lists, times of creation, ids."""
    store = open_store(fields={"source": str, "tags": list[str]})
    ids = await call(
        store,
        "add_documents",
        [
            Document(page_content="a", metadata={"source": "x/1.txt", "tags": ["p", "q"]}),
            Document(page_content="b", metadata={"source": "y/2.md", "tags": ["q"]}),
        ],
    )
    for given, expected in [
        (Filter.by_property("source").like("*.txt"), [0]),
        (Filter.by_property("tags").contains_all(["p", "q"]), [0]),
        (Filter.by_property("tags").contains_any(["q"]), [0, 1]),
        (Filter.by_id().equal(store.uuid_of(ids[1])), [1]),
        (Filter.by_property("source").like("x*") & Filter.by_property("tags").contains_any(["q"]), [0]),
    ]:
        assert {hit.document.id for hit in await call(store, "search", "a", filter=given)} == {ids[i] for i in expected}


async def test_mmr(open_store: Open, call: Call) -> None:
    """With lambda 1 the order is that of the similarities; with 0 the second hit differs most from the first."""
    store = await filled(open_store, call)
    nearest = await call(store, "similarity_search", "foo", k=2)
    vector = store.space.embedding.embed(["foo"])[0]  # type: ignore[union-attr] # of the tests
    for method, query in (
        ("max_marginal_relevance_search", "foo"),
        ("max_marginal_relevance_search_by_vector", vector),
    ):
        assert await call(store, method, query, k=2, fetch_k=3, lambda_mult=1.0) == nearest
        first, second = await call(store, method, query, k=2, fetch_k=3, lambda_mult=0.0)
        assert first.page_content == "foo"
        assert second.page_content != "foo"
        assert set(first.metadata) == {"page"}


async def test_ids(open_store: Open, call: Call, weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """`uuids=` there is `ids=` here; the same id replaces, and the object has the UUID."""
    store, same = open_store(), str(uuid.uuid5(uuid.NAMESPACE_DNS, "same"))
    await call(store, "add_texts", TEXTS, PAGES, ids=[same] * 3)
    assert [found.page_content for found in await call(store, "similarity_search", "foo", k=3)] == ["baz"]
    other = str(uuid.uuid4())
    assert await call(store, "add_texts", ["qux"], [{"page": 1}], ids=[other]) == [other]
    stored = weaviate_client.collections.use(weaviate_name).query.fetch_object_by_id(other)
    assert (str(stored.uuid), stored.properties["text"], stored.properties["page"]) == (other, "qux", 1)


async def test_delete(open_store: Open, call: Call) -> None:
    """Ids are deleted; without ids and filter nothing is."""
    store = open_store()
    ids = await call(store, "add_texts", TEXTS)
    assert await call(store, "delete", ids[:2]) is True
    assert await call(store, "count") == 1
    with pytest.raises(ValueError, match="delete needs ids or a filter"):
        await call(store, "delete")


async def test_tenants(open_store: Open, call: Call, weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """A tenant is created by its first write; calls without one are refused where the collection has tenants."""
    store = open_store(multi_tenant=True)
    for _ in range(2):
        await call(store, "add_texts", TEXTS, tenant="Foo")
    collection = weaviate_client.collections.use(weaviate_name)
    assert collection.config.get().multi_tenancy_config.enabled
    assert set(weaviate_client.collections.use(f"{weaviate_name}_v1").tenants.get()) == {"Foo"}
    assert await call(store.with_tenant("Foo"), "count") == 6
    assert len(await call(store, "similarity_search", "foo", k=9, tenant="Foo")) == 6
    with pytest.raises(StoreError, match="has tenants"):
        await call(store, "similarity_search", "foo", k=1)


async def test_a_tenant_where_there_are_none(open_store: Open, call: Call) -> None:
    """The error says that the collection was created without tenants."""
    store = await filled(open_store, call)
    with pytest.raises(StoreError, match="was created without tenants"):
        await call(store, "similarity_search", "foo", k=1, tenant="Foo")


async def test_metadata_of_any_shape(open_store: Open, call: Call) -> None:
    """Many keys, lists, and names that are reserved in Weaviate are stored and returned; all documents are."""
    metadatas = [
        {"aliases": ["Big Tech Co", "Tech Giant"], "categoryid": "101", "name": "Surge", "ticker": "BTCH"},
        {"_additional": 1, "id": 5, "vector": [1, 2], "Name with spaces": None},
    ]
    store = open_store(fields={})
    ids = await call(store, "add_texts", ["one", "two"], metadatas)
    assert [found.metadata for found in await call(store, "get_by_ids", ids)] == metadatas


async def test_autocut(open_store: Open, call: Call) -> None:
    """With `auto_limit`, what comes after the first drop of the score is left out."""
    texts = ["sun wind energy", "wind sun energy power", "energy sun wind plan", "stone tools"]
    store = open_store()
    await call(store, "add_texts", texts)
    assert len(await call(store, "similarity_search", "sun wind energy", k=4)) == 4
    assert len(await call(store, "similarity_search", "sun wind energy", k=4, auto_limit=1)) < 4
    assert len(await call(store, "search", "sun wind", k=4, search_type="keyword", auto_limit=1)) <= 3
    with pytest.raises(
        ValueError, match=r"auto_limit is an option of search_type='similarity' or search_type='keyword'"
    ):
        await call(store, "search", "sun", search_type="hybrid", auto_limit=1)


async def test_hybrid(open_store: Open, call: Call) -> None:
    """What is the default there is a search type here, with the same weight `alpha`."""
    store = await filled(open_store, call)
    for alpha in (0.0, 0.5, 1.0):
        (hit,) = await call(store, "search", "foo", k=1, search_type="hybrid", alpha=alpha)
        assert (hit.document.page_content, hit.score_kind) == ("foo", "rank")


async def test_relevance(open_store: Open, call: Call) -> None:
    """`relevance_score_fn` maps the cosine similarity."""
    store = await filled(open_store, call, relevance_score_fn=lambda cosine: max(0.0, cosine))
    cosines = [score for _, score in await call(store, "similarity_search_with_score", "foo", k=3)]
    for one, expected in (
        (store, [max(0.0, cosine) for cosine in cosines]),
        (open_store(), [(1 + c) / 2 for c in cosines]),
    ):
        scored = await call(one, "similarity_search_with_relevance_scores", "foo", k=3)
        assert [score for _, score in scored] == pytest.approx(expected)
    close = await call(store, "similarity_search_with_relevance_scores", "foo", k=3, score_threshold=0.99)
    assert [document.page_content for document, _ in close] == ["foo"]


async def test_pages_of_hits_and_their_vectors(open_store: Open, call: Call) -> None:
    """`offset` and, for `include_vector` there, `return_vectors`."""
    store = await filled(open_store, call)
    everything = await call(store, "search", "foo", k=3)
    assert await call(store, "search", "foo", k=2, offset=1) == everything[1:]
    (hit,) = await call(store, "search", "foo", k=1, return_vectors=True)
    assert hit.vector is not None
    assert hit.vector.shape == (16,)
    assert everything[0].vector is None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("filters", r"Did you mean 'filter'\?"),
        ("return_uuids", r"every Document has its id; WeaviateVectorStore.uuid_of\(id\)"),
        ("return_properties", r"WeaviateVectorStore.existing\(metadata_keys=...\)"),
        ("return_metadata", "hits have score"),
        ("include_vector", "return_vectors=True"),
        ("rerank", "ContextualCompressionRetriever"),
        ("target_vector", "vector_name="),
        ("vector", "search_by_vector"),
        ("max_vector_distance", "score_threshold="),
        ("fusion_type", "it is called fusion here"),
    ],
)
def test_options_with_other_names(open_store: Open, option: str, message: str) -> None:
    """Nothing is ignored: an option of langchain-weaviate that is none here is refused with its equivalent."""
    with pytest.raises(TypeError, match=rf"search has no option '{option}'[.:] .*{message}"):
        open_store().similarity_search("foo", **{option: 1})
