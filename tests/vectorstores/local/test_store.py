"""The local store: the contract of all stores, LangChain's standard suite, and features of files."""

from __future__ import annotations

import gc
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from langchain_gemini_mm.errors import ContentError, PartialWriteError, SpaceMismatchError, StoreError
from langchain_gemini_mm.vectorstores import LocalVectorStore
from tests.vectorstores.contract import StoreContract
from tests.vectorstores.contract_base import ANIMALS
from tests.vectorstores.fakes import AnswerEmbeddings, WordEmbeddings

if TYPE_CHECKING:
    from pathlib import Path


class TestContract(StoreContract):
    """The contract of all stores, on a file."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Iterator[Callable[..., LocalVectorStore]]:
        """Stores on one file."""
        stores = []

        def open_one(embedding: Any, **options: Any) -> LocalVectorStore:
            stores.append(LocalVectorStore(tmp_path / "index.db", embedding, **options))
            return stores[-1]

        yield open_one
        for store in stores:
            store.close()


class TestStandardOnFile(VectorStoreIntegrationTests):
    """LangChain's suite on a file."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[LocalVectorStore]:
        """An empty store."""
        with LocalVectorStore(tmp_path / "index.db", self.get_embeddings()) as store:
            yield store


class TestStandardInMemory(VectorStoreIntegrationTests):
    """LangChain's suite in memory."""

    @pytest.fixture
    def vectorstore(self) -> Iterator[LocalVectorStore]:
        """An empty store."""
        with LocalVectorStore(":memory:", self.get_embeddings()) as store:
            yield store


def test_documents_are_there_after_reopening(tmp_path: Path) -> None:
    """Documents, vectors and metadata are in the file; folders are created."""
    path = tmp_path / "new" / "folder" / "index.db"
    with LocalVectorStore(path, WordEmbeddings()) as store:
        store.add_documents(ANIMALS)
    with LocalVectorStore(str(path), WordEmbeddings()) as store:
        assert [hit.document for hit in store.search("a black dog", k=1)] == [ANIMALS[1]]
        assert store.count(filter={"modality": "pdf"}) == 2
        assert store.path == str(path)


def test_collections_of_one_file_are_independent(tmp_path: Path) -> None:
    """Each collection has its own documents, space and information."""
    path = tmp_path / "index.db"
    with (
        LocalVectorStore(path, WordEmbeddings()) as one,
        LocalVectorStore(path, WordEmbeddings(size=8), collection="Ünïcode 'quoted'") as two,
    ):
        one.add_texts(["a", "b"], [{"x": 1}, {"x": 2}], ids=["1", "2"])
        two.add_texts(["c"], [{"x": 1}], ids=["1"])
        one.set_info("k", 1)
        assert (one.count(), two.count(), two.get_info("k")) == (2, 1, None)
        assert [hit.document.page_content for hit in two.search("a", k=9, filter={"x": 1})] == ["c"]
        one.delete_all()
        assert (one.count(), two.count()) == (0, 1)
        assert [hit.document.page_content for hit in two.search("c")] == ["c"]
        two.delete(["1"])
        one.add_texts(["d"])
        assert one.count() == 1


def test_stores_in_memory_are_independent() -> None:
    """Two stores in memory share nothing."""
    with LocalVectorStore(":memory:", WordEmbeddings()) as one, LocalVectorStore(":memory:", WordEmbeddings()) as two:
        one.add_texts(["a"])
        assert two.count() == 0


def test_a_filter_may_be_a_function(tmp_path: Path) -> None:
    """As in LangChain's in-memory store, for searches; the function gets documents with ids and may use the store."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        assert store.search("dog", filter=lambda _: True) == []
        store.add_documents(ANIMALS)
        hits = store.search("a black dog", k=9, filter=lambda doc: len(doc.page_content) == 11 and bool(doc.id))
        assert {hit.document.id for hit in hits} == {"cat", "dog"}
        assert store.similarity_search("dog", filter=lambda _: False) == []
        assert len(store.search("dog", k=9, filter=lambda _: store.count() == len(ANIMALS))) == len(ANIMALS)


async def test_class_methods_create_filled_stores(tmp_path: Path) -> None:
    """`from_texts` and `from_documents`, sync and async, in memory unless a path is passed."""
    with LocalVectorStore.from_texts(["a", "b"], WordEmbeddings(), [{"x": 1}, {}], ids=["1", "2"]) as store:
        assert store.get_by_ids(["1"]) == [Document(id="1", page_content="a", metadata={"x": 1})]
    with await LocalVectorStore.afrom_texts(iter("ab"), DeterministicFakeEmbedding(size=4)) as store:
        assert (store.path, store.count()) == (":memory:", 2)
    options: dict[str, Any] = {"path": tmp_path / "index.db", "collection": "animals", "batch_size": 2}
    with LocalVectorStore.from_documents(iter(ANIMALS), WordEmbeddings(), **options) as store:
        assert store.count() == len(ANIMALS)
    with await LocalVectorStore.afrom_documents(ANIMALS[:1], WordEmbeddings(), ids=["x"], **options) as store:
        assert store.count() == len(ANIMALS) + 1
    embedding = WordEmbeddings()
    with LocalVectorStore.from_documents(ANIMALS, embedding, skip_unchanged=True, **options) as store:
        assert (store.count(), embedding.calls) == (len(ANIMALS) + 1, [])
    options["path"] = tmp_path / "texts.db"
    for _ in range(2):
        with await LocalVectorStore.afrom_texts(["a"], embedding, ids=["1"], skip_unchanged=True, **options) as store:
            assert (store.count(), len(embedding.calls)) == (1, 1)


def test_a_failing_class_method_closes_its_store(tmp_path: Path) -> None:
    """Documents stored before the failure are in the file."""
    options: dict[str, Any] = {"path": tmp_path / "index.db", "batch_size": 1, "ids": ["1", "2"]}
    with pytest.raises(PartialWriteError):
        LocalVectorStore.from_texts(["a", "poison"], WordEmbeddings(), **options)
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        assert store.count() == 1


def test_index_embeds_only_what_changed(tmp_path: Path) -> None:
    """LangChain's `index()` adds, skips and deletes."""
    embedding = WordEmbeddings()
    records = InMemoryRecordManager("test")
    records.create_schema()
    options: dict[str, Any] = {"cleanup": "full", "key_encoder": "sha256"}
    with LocalVectorStore(tmp_path / "index.db", embedding) as store:
        documents = [Document(page_content=f"text {i}", metadata={"source": str(i)}) for i in range(5)]
        assert index(documents, records, store, **options)["num_added"] == 5
        calls = len(embedding.calls)
        assert index(documents, records, store, **options)["num_skipped"] == 5
        assert len(embedding.calls) == calls
        result = index([*documents[:3], Document(page_content="new")], records, store, **options)
        assert (result["num_added"], result["num_deleted"], store.count()) == (1, 2, 4)


def test_plain_embeddings_are_identified_by_class_and_model(tmp_path: Path) -> None:
    """The fingerprint of other embeddings is their class, model and dimensions."""

    class Named(DeterministicFakeEmbedding):
        model: str

    path = tmp_path / "index.db"
    with LocalVectorStore(path, Named(size=4, model="one")) as store:
        store.add_texts(["a"])
        assert store.get_info("fingerprint") == {"embeddings": "Named", "model": "one"}
    for other in (Named(size=4, model="two"), DeterministicFakeEmbedding(size=4)):
        with pytest.raises(SpaceMismatchError):
            LocalVectorStore(path, other)
    with LocalVectorStore(path, Named(size=5, model="one")) as store:
        with pytest.raises(SpaceMismatchError, match="have 4 dimensions, those given have 5"):
            store.add_texts(["a"])
        with pytest.raises(SpaceMismatchError, match="have 4 dimensions, those given have 5"):
            store.search("a")


def test_a_cache_around_embeddings_does_not_change_the_space(tmp_path: Path) -> None:
    """The fingerprint is that of the embeddings inside LangChain's caching wrapper."""

    class Cache(AnswerEmbeddings):
        underlying_embeddings = WordEmbeddings(size=2)

    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings(size=2)) as store:
        store.add_texts(["a"])
    with LocalVectorStore(tmp_path / "index.db", Cache([0.0, 1.0])) as store:
        assert len(store.search("a")) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"path": ""}, TypeError, "path is a file name or ':memory:', got ''", id="empty path"),
        pytest.param({"path": 5}, TypeError, "got 5", id="path a number"),
        pytest.param({"path": None}, TypeError, "got None", id="no path"),
        pytest.param({"embedding": None}, TypeError, "embedding must be .* got NoneType", id="no embedding"),
        pytest.param({"embedding": WordEmbeddings}, TypeError, "embedding must be", id="a class"),
        pytest.param({"collection": ""}, ValueError, "collection must be a name, got ''", id="no name"),
        pytest.param({"collection": 5}, ValueError, "collection must be a name, got 5", id="name a number"),
        pytest.param({"collection": "\udc80"}, ContentError, "collection is not valid Unicode", id="name broken"),
        pytest.param({"timeout": -1}, ValueError, "timeout must be seconds >= 0, got -1", id="timeout"),
        pytest.param({"timeout": float("nan")}, ValueError, "timeout must be", id="timeout NaN"),
        pytest.param({"colection": "x"}, TypeError, "colection", id="misspelt"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """The error names argument and value."""
    with pytest.raises(error, match=message):
        LocalVectorStore(**{"path": ":memory:", "embedding": WordEmbeddings(), **arguments})


@pytest.mark.parametrize("place", ["file", "memory"])
def test_a_closed_store_is_a_clear_error(tmp_path: Path, place: str) -> None:
    """Closing twice is allowed; using it afterwards is an error."""
    store = LocalVectorStore(":memory:" if place == "memory" else tmp_path / "index.db", WordEmbeddings())
    store.add_texts(["a"])
    store.close()
    store.close()
    with pytest.raises(StoreError, match=r"is closed. Open it again"):
        store.search("a")
    with pytest.raises(StoreError, match=r"is closed. Open it again"):
        store.add_texts(["b"])


def test_a_collected_store_is_closed_without_a_warning(tmp_path: Path) -> None:
    """Deleting the last reference closes the file and leaves no additional files."""
    store = LocalVectorStore(tmp_path / "index.db", WordEmbeddings())
    store.add_texts(["a"])
    assert (tmp_path / "index.db-wal").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del store
        gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == ["index.db"]


def test_a_store_pickles_as_its_path(tmp_path: Path) -> None:
    """The unpickled store opens the same file; a store in memory cannot be pickled."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings(), collection="c", timeout=5) as store:
        store.add_texts(["a"])
        with pickle.loads(pickle.dumps(store)) as copy:
            assert (copy.count(), copy.collection, copy.path) == (1, "c", store.path)
            copy.add_texts(["b"])
        assert store.count() == 2
    with LocalVectorStore(":memory:", WordEmbeddings()) as store, pytest.raises(TypeError, match="give it a path"):
        pickle.dumps(store)


def test_the_repr_of_a_store(tmp_path: Path) -> None:
    """The repr has path, embedding and collection, and no secrets."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        assert repr(store) == "LocalVectorStore('index.db', WordEmbeddings, 'default')"


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.search("a cat", tenant="red"),
        lambda store: store.add_texts(["a cat"], tenant="red"),
        lambda store: store.delete(["cat"], tenant="red"),
    ],
    ids=["search", "add", "delete"],
)
def test_a_local_store_has_no_tenants(use: Callable[[LocalVectorStore], object]) -> None:
    """A tenant is refused before anything is read or written."""
    with (
        LocalVectorStore(":memory:", WordEmbeddings()) as store,
        pytest.raises(TypeError, match="LocalVectorStore has no tenants, got tenant='red'"),
    ):
        use(store)
