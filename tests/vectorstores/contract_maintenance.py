"""The contract of reading, deleting, the embedding space, and stored information."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_gemini_mm.errors import ContentError, SpaceMismatchError
from langchain_gemini_mm.vectorstores import Hit, Query
from tests.vectorstores.contract_base import ANIMALS, Call, ContractBase, OpenStore, ids_of
from tests.vectorstores.fakes import WordEmbeddings


class KeepingContract(ContractBase):
    """Requirements for reading and deleting documents, and for the embedding space."""

    async def test_reading_by_id(self, animals: Any, call: Call) -> None:
        """Documents are in the order of the ids, each once; unknown ids are omitted."""
        assert ids_of(await call(animals, "get_by_ids", ["noise", "fox", "cat", "noise"])) == ["noise", "cat"]
        assert await call(animals, "get_by_ids", []) == []
        many = [f"no {i}" for i in range(2500)]
        assert ids_of(await call(animals, "get_by_ids", [*many, "dog"])) == ["dog"]
        with pytest.raises(TypeError, match="ids is a list of str, got one str"):
            await call(animals, "get_by_ids", "dog")
        with pytest.raises(TypeError, match=r"ids\[1\] is 5"):
            await call(animals, "get_by_ids", ["dog", 5])

    async def test_deleting_by_id(self, animals: Any, call: Call) -> None:
        """Deleted documents are not found any more; unknown ids and an empty list are not errors."""
        assert await call(animals, "delete", []) is True
        assert await call(animals, "count") == len(ANIMALS)
        assert await call(animals, "delete", ["cat", "fox"]) is True
        assert await call(animals, "get_by_ids", ["cat"]) == []
        assert "cat" not in ids_of(await call(animals, "search", "a black cat", k=100))
        assert await call(animals, "count", filter={"tags": "night"}) == 0

    async def test_deleting_everything_must_be_explicit(self, animals: Any, call: Call) -> None:
        """`delete()` and an empty filter are refused; the error names `delete_all`, which deletes everything."""
        bare: list[dict[str, Any]] = [{}, {"ids": None}, {"filter": {}}]
        for arguments in bare:
            with pytest.raises(ValueError, match=r"delete_all\(\)"):
                await call(animals, "delete", **arguments)
        with pytest.raises(ValueError, match="not both"):
            await call(animals, "delete", ["cat"], filter={"modality": "pdf"})
        with pytest.raises(TypeError, match="one str"):
            await call(animals, "delete", "cat")
        assert await call(animals, "count") == len(ANIMALS)
        await call(animals, "delete_all")
        assert await call(animals, "count") == 0
        assert await call(animals, "search", "cat") == []

    async def test_iterating_in_batches_sees_everything_once(self, store: Any, call: Call) -> None:
        """Any batch size gives each document exactly once, with its own vector, in a stable order."""
        documents = [Document(id=f"é{i}", page_content=f"text {i}") for i in range(25)]
        await call(store, "add_documents", documents)
        order = ids_of(await call.list(store, "iterate"))
        assert sorted(order) == sorted(doc.id or "" for doc in documents)
        for batch_size in (1, 7, 25, 100):
            assert ids_of(await call.list(store, "iterate", batch_size=batch_size)) == order
            batches = await call.list(store, "vectors", batch_size=batch_size)
            assert [id_ for ids, _ in batches for id_ in ids] == order
            assert max(len(ids) for ids, _ in batches) <= batch_size
            rows = np.concatenate([rows for _, rows in batches])
            assert rows.dtype == np.float32
            expected = WordEmbeddings().embed([f"text {id_[1:]}" for id_ in order])
            np.testing.assert_allclose(rows, expected, atol=1e-6)
        with pytest.raises(ValueError, match="batch_size must be"):
            await call.list(store, "iterate", batch_size=0)

    async def test_documents_may_be_replaced_while_iterating(self, store: Any) -> None:
        """Writing the documents back while reading ends, and returns every document once."""
        store.add_texts([f"text {i}" for i in range(10)], ids=[str(i) for i in range(10)])
        seen = []
        for document in store.iterate(batch_size=3):
            seen.append(document.id)
            store.add_documents([Document(id=document.id, page_content="new")])
        assert sorted(seen) == [str(i) for i in range(10)]

    async def test_a_collection_keeps_to_its_space(self, open_store: OpenStore, animals: Any, call: Call) -> None:
        """Another model or size is refused at opening; the error names both spaces and the remedy."""
        assert await call(animals, "get_info", "fingerprint") == {"model": "words-1", "dimensions": 16}
        assert await call(animals, "get_info", "dimensions") == 16
        for other, message in (
            (WordEmbeddings(model="words-2"), "model: 'words-1' stored, 'words-2' given"),
            (WordEmbeddings(size=8), "dimensions: 16 stored, 8 given"),
        ):
            with pytest.raises(SpaceMismatchError, match=message) as caught:
                open_store(other)
            assert "new collection or file" in str(caught.value)
            assert caught.value.stored == {"model": "words-1", "dimensions": 16}
            assert caught.value.given == dict(other.fingerprint)

    async def test_two_spaces_cannot_race_into_one_collection(self, open_store: OpenStore, call: Call) -> None:
        """A store that was opened while the collection was empty is refused after another space was stored."""
        first, second = open_store(WordEmbeddings()), open_store(WordEmbeddings(model="words-2"))
        third = open_store(WordEmbeddings(size=8))
        await call(first, "add_texts", ["a"])
        for late in (second, third):
            with pytest.raises(SpaceMismatchError):
                await call(late, "add_texts", ["b"])
            with pytest.raises(SpaceMismatchError):
                await call(late, "search", "b")
        assert await call(first, "count") == 1

    async def test_a_changed_size_is_detected(self, animals: Any, call: Call) -> None:
        """Vectors of another length are refused even if the fingerprint is the same."""
        animals.space.embedding.size = 8
        with pytest.raises(SpaceMismatchError, match="16 stored, 8 given"):
            await call(animals, "add_texts", ["x"])
        with pytest.raises(SpaceMismatchError):
            await call(animals, "search", "x")
        with pytest.raises(SpaceMismatchError, match="have 16 dimensions, those given have 5"):
            await call(animals, "search_by_vector", [1.0] * 5)

    async def test_an_emptied_collection_takes_another_space(
        self, open_store: OpenStore, animals: Any, call: Call
    ) -> None:
        """`delete_all` removes the space, but not the information."""
        await call(animals, "set_info", "calibration", {"image": [0.1, 0.2]})
        await call(animals, "delete_all")
        other = open_store(WordEmbeddings(size=8, model="words-2"))
        await call(other, "add_texts", ["x"])
        assert await call(other, "get_info", "dimensions") == 8
        assert await call(other, "get_info", "calibration") == {"image": [0.1, 0.2]}
        assert len(await call(other, "search", "x")) == 1

    async def test_plain_embeddings_are_for_text_only(self, open_store: OpenStore, call: Call) -> None:
        """Any LangChain embeddings work with text; for other content and tasks the error names the required class."""
        store = open_store(DeterministicFakeEmbedding(size=6))
        await call(store, "add_texts", ["a", "b"])
        (hit,) = await call(store, "search", "b", k=1)
        assert hit.document.page_content == "b"
        for query in (b"b", ["a", "b"], Query("a", "b"), None):
            with pytest.raises(ContentError, match=r"DeterministicFakeEmbedding embeds one text.*Use GeminiEmbeddings"):
                await call(store, "search", query)
        with pytest.raises(
            ValueError, match="task_type='search' is given, but DeterministicFakeEmbedding knows no tasks"
        ):
            await call(store, "search", "b", task_type="search")

    async def test_information_is_stored_with_the_collection(
        self, open_store: OpenStore, store: Any, call: Call
    ) -> None:
        """Any JSON value is stored by name, also before the first document; None removes it."""
        await call(store, "set_info", "calibration", {"a": [1, 2.5, None], "ключ": "🐕"})
        assert await call(store, "get_info", "calibration") == {"a": [1, 2.5, None], "ключ": "🐕"}
        assert await call(open_store(WordEmbeddings()), "get_info", "calibration") == {
            "a": [1, 2.5, None],
            "ключ": "🐕",
        }
        await call(store, "set_info", "calibration", 5)
        assert await call(store, "get_info", "calibration") == 5
        await call(store, "set_info", "calibration", None)
        assert await call(store, "get_info", "calibration") is None
        with pytest.raises(ValueError, match="'fingerprint' is kept by the store itself"):
            await call(store, "set_info", "fingerprint", {})
        with pytest.raises(ContentError, match="info 'x' is a bytes"):
            await call(store, "set_info", "x", b"1")
        with pytest.raises(TypeError, match="the key of an info is a str, got 5"):
            await call(store, "get_info", 5)

    def test_hits_print_without_their_payload(self, animals: Any) -> None:
        """A repr is one line."""
        (hit,) = animals.search("a black dog", k=1)
        assert isinstance(hit, Hit)
        assert repr(hit).startswith("Hit(#1 cosine 1.0000 'a black dog'")
