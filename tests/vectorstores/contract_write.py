"""The contract of adding: ids, batches, metadata, failures, precomputed vectors."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError, PartialWriteError, ServiceError, SpaceMismatchError
from tests.vectorstores.contract_base import ANIMALS, Call, ContractBase, OpenStore, cases, ids_of
from tests.vectorstores.fakes import AnswerEmbeddings, WordEmbeddings
from tests.vectorstores.test_records import FORMS

METADATA: list[tuple[str, dict[str, Any]]] = [
    ("empty", {}),
    ("reserved words", {"id": 1, "text": "x", "vector": [1], "metadata": {}, "type": "y", "n": 0, "_id": "z"}),
    ("nested", {"a": {"b": [{"c": [None, True, 1.5, "x"]}, []], "d": {}}}),
    ("numbers", {"a": 2**63, "b": -(2**80), "c": 0.1, "d": 1e-300, "e": 5.0, "f": 0, "g": -0.0}),
    ("texts", {"ключ": "画像🐕\u200b", "quote\"'": "a'b\"c;--", "nul": "a\0b", "line": "a\n\tb", "": "", "$x": "$y"}),
    ("none and bools", {"a": None, "b": True, "c": False, "d": ""}),
    ("a long text", {"a": "word " * 20_000}),
]

NOT_JSON: list[tuple[str, Any, str]] = [
    ("a duration", {"a": timedelta(1)}, r"documents\[1\].metadata\['a'\] is a timedelta"),
    ("bytes, deep", {"a": [{"b": b"x"}]}, r"documents\[1\].metadata\['a'\]\[0\]\['b'\] is a bytes"),
    ("NaN", {"a": float("nan")}, r"documents\[1\].metadata\['a'\] is nan"),
    ("infinity", {"a": [float("-inf")]}, r"documents\[1\].metadata\['a'\]\[0\] is -inf"),
    ("a key that is no string", {"a": {1: 2}}, r"metadata\['a'\] has the key 1; .* write '1'"),
    ("a NumPy array", {"a": np.zeros(5)}, r"metadata\['a'\] is a ndarray.*tolist"),
    ("NaN of NumPy", {"a": np.float32("nan")}, r"metadata\['a'\] is nan"),
    (
        "too many digits",
        {"a": Decimal("0.12345678901234567890")},
        r"metadata\['a'\] is Decimal.* store str\(\) or float",
    ),
    ("a lone surrogate", {"a": "x\udc80"}, r"metadata\['a'\] is not valid Unicode: a lone surrogate at character 1"),
    ("a surrogate in a key", {"\udc80": 1}, "a key of .*metadata is not valid Unicode"),
    ("an endless integer", {"a": 10**5000}, r"metadata\['a'\] is an integer of 16610 bits"),
]


class AddingContract(ContractBase):
    """Requirements for adding documents, and for the returned ids and errors."""

    async def test_ids_come_back_in_order_and_missing_ones_are_made(self, store: Any, call: Call) -> None:
        """`ids` override those of documents, None falls back to them, and documents without an id get a new one."""
        documents = [Document(id=id_, page_content=f"text {i}") for i, id_ in enumerate(["a", "b", None, None])]
        ids = await call(store, "add_documents", documents, ids=["x", None, None, "y"])
        assert ids[:2] == ["x", "b"]
        assert len(ids[2]) == 36
        assert ids[3] == "y"
        assert [doc.page_content for doc in await call(store, "get_by_ids", ids)] == [f"text {i}" for i in range(4)]
        assert [doc.id for doc in documents] == ["a", "b", None, None]

    async def test_unchanged_documents_can_be_skipped(self, open_store: OpenStore, call: Call) -> None:
        """Only new or changed documents are embedded, all ids are returned, and another space is still refused."""
        embedding = WordEmbeddings()
        store = open_store(embedding)
        first = [Document(id=f"d{i}", page_content=f"text {i}", metadata={"n": i, "tags": ["x"]}) for i in range(6)]
        await call(store, "add_documents", first)
        embedding.calls.clear()
        again = copy.deepcopy(first)
        again[1].page_content = "another text"
        again[4].metadata["n"] = 40
        again.append(Document(id="d6", page_content="new"))
        seen: list[int] = []
        ids = await call(store, "add_documents", again, skip_unchanged=True, batch_size=4, progress=seen.append)
        assert ids == [f"d{i}" for i in range(7)]
        assert [content for contents, _, _ in embedding.calls for content in contents] == [
            "another text",
            "text 4",
            "new",
        ]
        assert seen == [4, 7]
        assert await call(store, "get_by_ids", ids) == again
        embedding.calls.clear()
        assert await call(store, "add_documents", again, skip_unchanged=True) == ids
        assert not embedding.calls
        with pytest.raises(SpaceMismatchError):
            await call(open_store(WordEmbeddings(model="words-2")), "add_documents", again, skip_unchanged=True)

    async def test_unchanged_documents_are_reported_as_stored(self, open_store: OpenStore, call: Call) -> None:
        """The error lists failed documents, and lists skipped ones as stored."""
        store = open_store(WordEmbeddings())
        there = [Document(id=f"d{i}", page_content=f"text {i}") for i in range(3)]
        await call(store, "add_documents", there)
        given = [*there[:2], Document(id="bad", page_content="poison"), there[2], Document(id="late", page_content="x")]
        with pytest.raises(PartialWriteError) as caught:
            await call(store, "add_documents", given, skip_unchanged=True, batch_size=4)
        assert caught.value.stored == ["d0", "d1", "d2"]
        assert set(caught.value.failed) == {"bad", "late"}
        assert await call(store, "count") == 3

    async def test_adding_again_replaces(self, animals: Any, call: Call) -> None:
        """Documents are added or replaced with text, metadata and vector; none is duplicated."""
        new = Document(id="cat", page_content="wind and rain", metadata={"modality": "audio"})
        assert await call(animals, "add_documents", [new]) == ["cat"]
        assert await call(animals, "get_by_ids", ["cat"]) == [new]
        assert await call(animals, "count") == len(ANIMALS)
        assert set(ids_of(await call(animals, "search", "wind and rain", k=2))) == {"cat", "noise"}
        assert await call(animals, "count", filter={"tags": "night"}) == 0

    async def test_of_duplicate_ids_the_last_document_is_stored(self, store: Any, call: Call) -> None:
        """One id per input is returned, and the last document wins, within a batch and across batches."""
        for batch_size in (1, 2, 256):
            texts = ["first", "other", "last"]
            ids = await call(store, "add_texts", texts, ids=["x", "y", "x"], batch_size=batch_size)
            assert ids == ["x", "y", "x"]
            assert [doc.page_content for doc in await call(store, "get_by_ids", ["x", "y"])] == ["last", "other"]
            assert await call(store, "count") == 2

    async def test_texts_with_metadata(self, store: Any, call: Call) -> None:
        """`add_texts` accepts generators, and None for no metadata."""
        ids = await call(store, "add_texts", (t for t in ("a", "b")), [{"first_page": 1}, None], ids=iter(["1", "2"]))
        assert await call(store, "get_by_ids", ids) == [
            Document(id="1", page_content="a", metadata={"first_page": 1}),
            Document(id="2", page_content="b"),
        ]

    async def test_generators_are_read_batch_by_batch(self, store: Any, call: Call) -> None:
        """Documents are embedded and stored before later ones are read, and progress is reported."""
        drawn: list[tuple[int, int]] = []
        progress: list[int] = []

        def documents() -> Iterator[Document]:
            for i in range(10):
                drawn.append((i, store.count()))
                yield Document(page_content=f"text {i}")

        ids = await call(
            store,
            "add_documents",
            documents(),
            ids=(f"id {i}" for i in range(10)),
            batch_size=4,
            progress=progress.append,
        )
        assert ids == [f"id {i}" for i in range(10)]
        assert progress == [4, 8, 10]
        assert drawn == [(i, i // 4 * 4) for i in range(10)]
        assert [len(contents) for contents, _, _ in store.space.embedding.calls] == [4, 4, 2]

    async def test_async_adding_reads_a_generator_in_a_worker_thread(self, store: Any) -> None:
        """A loader that reads files does not block the event loop."""
        threads: list[int] = []

        def documents() -> Iterator[Document]:
            threads.append(threading.get_ident())
            yield Document(page_content="text")

        await store.aadd_documents(documents())
        assert threads != [threading.get_ident()]

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            pytest.param({"documents": ANIMALS[:3], "ids": ["a"]}, ValueError, "3 documents and 1 ids", id="few ids"),
            pytest.param(
                {"documents": ANIMALS[:1], "ids": ["a", "b"]}, ValueError, "1 documents and 2 ids", id="many ids"
            ),
            pytest.param(
                {"documents": lambda: iter(ANIMALS[:3]), "ids": ["a"]},
                ValueError,
                "1 ids for at least 2",
                id="generator",
            ),
            pytest.param(
                {"documents": ANIMALS[:1], "ids": lambda: iter("ab")},
                ValueError,
                "at least 2 ids for 1 doc",
                id="more ids",
            ),
            pytest.param({"documents": ANIMALS[0]}, TypeError, "documents is a list.*one Document", id="one document"),
            pytest.param({"documents": "text"}, TypeError, "documents is a list.*one str", id="one text"),
            pytest.param({"documents": None}, TypeError, "documents is a list.*one NoneType", id="nothing"),
            pytest.param({"documents": ["text"]}, TypeError, r"documents\[0\] is a str, not a Document", id="texts"),
            pytest.param({"documents": ANIMALS[:2], "ids": "ab"}, TypeError, "ids is a list.*one str", id="ids a text"),
            pytest.param(
                {"documents": ANIMALS[:1], "ids": [5]}, TypeError, r"id of documents\[0\] is 5.*'5'", id="id 5"
            ),
            pytest.param(
                {"documents": ANIMALS[:1], "ids": [""]}, ValueError, r"id of documents\[0\] is empty", id="id empty"
            ),
            pytest.param(
                {"documents": ANIMALS[:1], "ids": ["\ud800"]}, ContentError, "not valid Unicode", id="id broken"
            ),
            pytest.param(
                {"documents": ANIMALS[:1], "batch_size": 0}, ValueError, "batch_size must be", id="batch of none"
            ),
            pytest.param(
                {"documents": [Document("a\udc80")]}, ContentError, r"\[0\].page_content is not valid", id="text broken"
            ),
        ],
    )
    async def test_bad_input_of_adding_is_refused_before_anything_is_embedded(
        self, store: Any, call: Call, arguments: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        """The error names position, value or both lengths; nothing is embedded or stored."""
        arguments = {name: value() if callable(value) else value for name, value in arguments.items()}
        with pytest.raises(error, match=message):
            await call(store, "add_documents", **arguments)
        assert await call(store, "count") == 0
        assert store.space.embedding.calls == []

    async def test_metadata_and_ids_must_fit_the_texts(self, store: Any, call: Call) -> None:
        """Another number of metadata or ids than of texts is an error with both numbers."""
        with pytest.raises(ValueError, match="2 texts and 1 metadatas"):
            await call(store, "add_texts", ["a", "b"], [{}])
        with pytest.raises(ValueError, match="2 texts and 1 ids"):
            await call(store, "add_texts", ["a", "b"], ids=["1"])
        with pytest.raises(ValueError, match="1 metadatas for at least 2 texts"):
            await call(store, "add_texts", iter("ab"), [{}])
        with pytest.raises(ValueError, match="at least 2 metadatas for 1 texts"):
            await call(store, "add_texts", iter("a"), [{}, {}])
        with pytest.raises(TypeError, match=r"texts\[1\] is a int, not a str"):
            await call(store, "add_texts", ["a", 5])
        assert await call(store, "count") == 0

    @pytest.mark.parametrize("metadata", cases(METADATA))
    async def test_metadata_comes_back_as_it_was(self, store: Any, call: Call, metadata: dict[str, Any]) -> None:
        """JSON metadata round-trip: types, nesting, Unicode and integers of any size; the input is not changed."""
        given = Document(page_content="text", metadata=copy.deepcopy(metadata))
        ids = await call(store, "add_documents", [given])
        (read,) = await call(store, "get_by_ids", ids)
        assert repr(read.metadata) == repr(metadata)
        (hit,) = await call(store, "search", "text")
        assert repr(hit.document.metadata) == repr(metadata)
        read.metadata["changed"] = True
        assert repr(given.metadata) == repr(metadata)
        assert repr((await call(store, "get_by_ids", ids))[0].metadata) == repr(metadata)

    async def test_other_types_are_stored_found_and_returned_in_one_form(self, store: Any, call: Call) -> None:
        """`vectorstores.records` lists them; filters take the values as they were given, and ranges are in order."""
        for number, (_, value, expected) in enumerate(FORMS):
            key = {str: "modality", bool: "draft", list: "any list"}.get(type(expected), "start_s")
            (id_,) = await call(store, "add_texts", ["x"], [{key: value}], ids=[str(number)])
            assert repr((await call(store, "get_by_ids", [id_]))[0].metadata) == repr({key: expected})
            await call(store, "update_metadata", [id_], {key: value})
            assert repr((await call(store, "get_by_ids", [id_]))[0].metadata) == repr({key: expected})
            if not isinstance(expected, list):
                assert id_ in ids_of(await call.list(store, "iterate", filter={key: value}))
        await call(store, "delete_all")
        times = [datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2, 3)]
        await call(store, "add_texts", list("abc"), [{"modality": at} for at in times], ids=list("abc"))
        assert ids_of(await call(store, "search", "a", filter={"modality": {"$gt": times[1]}})) == ["c"]
        assert await call(store, "count", filter={"modality": {"$in": times[:2]}}) == 2

    async def test_keys_of_the_loader_take_any_value(self, store: Any, call: Call) -> None:
        """A document from elsewhere may use them for values of other types."""
        other: dict[str, Any] = {"track": 3, "title": ["a", "b"], "position": "top", "source": None, "start_s": True}
        await call(store, "add_documents", [Document("a cat", id="x", metadata=other)])
        assert (await call(store, "get_by_ids", ["x"]))[0].metadata == other
        await call(store, "update_metadata", ["x"], {"position": 5, "first_page": "iv"})
        assert (await call(store, "get_by_ids", ["x"]))[0].metadata == other | {"position": 5, "first_page": "iv"}
        assert ids_of(await call(store, "search", "cat", filter={"position": 5})) == ["x"]

    async def test_skipping_compares_stored_forms(self, store: Any, call: Call) -> None:
        """Tuples, sets and dates are unchanged when they are added again; 1, 1.0 and True are different values."""
        metadata = {"tags": ("a", "b"), "set": {"x", "y"}, "on": date(2024, 5, 1), "n": 1}
        document = Document("a cat", id="x", metadata=metadata)
        for changed, calls in ((document, 1), (document.model_copy(deep=True), 1)):
            await call(store, "add_documents", [changed], skip_unchanged=True)
            assert len(store.space.embedding.calls) == calls
        for number, value in enumerate((True, 1.0, 1), 2):
            again = Document("a cat", id="x", metadata=metadata | {"n": value})
            await call(store, "add_documents", [again], skip_unchanged=True)
            assert len(store.space.embedding.calls) == number
            assert repr((await call(store, "get_by_ids", ["x"]))[0].metadata["n"]) == repr(value)
        bad = Document("a cat", id="x", metadata={"n": float("nan")})
        with pytest.raises(ContentError, match=r"documents\[0\].metadata\['n'\] is nan"):
            await call(store, "add_documents", [bad], skip_unchanged=True)

    async def test_a_time_weighted_retriever_works(self, store: Any, call: Call) -> None:
        """LangChain's retriever stores the times of access as datetimes."""
        retrievers: Any = pytest.importorskip("langchain_classic.retrievers", exc_type=ImportError)
        retriever = retrievers.TimeWeightedVectorStoreRetriever(vectorstore=store, k=1, decay_rate=0.001)
        await call(retriever, "add_documents", [Document("a black cat"), Document("quarterly report")])
        found = await call(retriever, "invoke", "a black cat")
        assert [document.page_content for document in found] == ["a black cat"]

    @pytest.mark.parametrize(("metadata", "message"), cases(NOT_JSON))
    async def test_metadata_that_json_cannot_hold_is_refused(
        self, store: Any, call: Call, metadata: dict[Any, Any], message: str
    ) -> None:
        """The error names document, key path and type; nothing is embedded."""
        with pytest.raises(ContentError, match=message):
            await call(store, "add_documents", [Document("fine"), Document("not", metadata=metadata)])
        assert store.space.embedding.calls == []

    async def test_metadata_that_contains_itself_is_refused(self, store: Any, call: Call) -> None:
        """A cycle is an error, not an infinite recursion."""
        cycle: dict[str, Any] = {}
        cycle["a"] = cycle
        document = Document("x")
        document.metadata = cycle
        with pytest.raises(ContentError, match="nests deeper than 100 levels"):
            await call(store, "add_documents", [document])

    async def test_a_failure_of_the_first_batch_is_raised_unchanged(self, store: Any, call: Call) -> None:
        """As long as nothing is stored, the error is not a partial write."""
        with pytest.raises(ServiceError, match="poison"):
            await call(store, "add_texts", ["a", "poison"], ids=["1", "2"])
        assert await call(store, "count") == 0

    async def test_a_later_failure_lists_stored_and_failed_documents(self, store: Any, call: Call) -> None:
        """The error has both lists and the cause; a second call without the invalid document completes."""
        texts = ["a", "b", "poison", "d", "e", "f"]
        with pytest.raises(PartialWriteError, match=r"2 documents are stored, 4 not: ServiceError: .*poison") as caught:
            await call(store, "add_texts", texts, ids=list("123456"), batch_size=2)
        assert caught.value.stored == ["1", "2"]
        assert list(caught.value.failed) == ["3", "4", "5", "6"]
        assert "poison" in caught.value.failed["3"]
        assert caught.value.failed["6"] == "not tried"
        assert isinstance(caught.value.__cause__, ServiceError)
        assert sorted(ids_of(await call.list(store, "iterate"))) == ["1", "2"]
        assert await call(store, "add_texts", ["a", "b", "c", "d", "e", "f"], ids=list("123456")) == list("123456")
        assert await call(store, "count") == 6

    async def test_a_failing_loader_after_the_first_batch_is_a_partial_write(self, store: Any, call: Call) -> None:
        """Documents that were read but not stored are listed."""

        def documents() -> Iterator[Document]:
            yield from (Document(id=str(i), page_content=f"text {i}") for i in range(3))
            raise OSError("the disk went away")

        with pytest.raises(PartialWriteError, match="the disk went away") as caught:
            await call(store, "add_documents", documents(), batch_size=2)
        assert caught.value.stored == ["0", "1"]
        assert list(caught.value.failed) == ["2"]

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param([[1.0, 2.0]], id="too few"),
            pytest.param([[1.0, 2.0]] * 3, id="too many"),
            pytest.param([[1.0, 2.0], [1.0]], id="unequal lengths"),
            pytest.param([[1.0, 2.0], [float("nan"), 1.0]], id="NaN"),
            pytest.param([[1.0, 2.0], [0.0, 0.0]], id="zeros"),
            pytest.param([1.0, 2.0], id="flat"),
            pytest.param([["x", "y"], ["z", "w"]], id="texts"),
            pytest.param(None, id="nothing"),
        ],
    )
    async def test_invalid_vectors_of_the_embedding_are_never_stored(
        self, open_store: OpenStore, call: Call, answer: Any
    ) -> None:
        """Number, length, finiteness and direction are checked."""
        store = open_store(AnswerEmbeddings(answer))
        with pytest.raises(ServiceError, match="AnswerEmbeddings answered"):
            await call(store, "add_texts", ["a", "b"])
        assert await call(store, "count") == 0

    async def test_precomputed_vectors_are_stored_without_embedding(self, store: Any, call: Call) -> None:
        """Rows of an array or an iterable are stored in batches, normalized to unit length."""
        rows = np.random.default_rng(0).standard_normal((5, 16)) * 7
        documents = [Document(id=str(i), page_content=f"text {i}") for i in range(5)]
        assert await call(store, "add_vectors", documents, rows, batch_size=2) == list("01234")
        assert await call(store, "add_vectors", iter(documents), (row.tolist() for row in rows)) == list("01234")
        assert store.space.embedding.calls == []
        assert (await call(store, "search_by_vector", rows[3], k=1))[0].document.id == "3"
        ((ids, stored),) = await call.list(store, "vectors")
        np.testing.assert_allclose(stored[ids.index("2")], rows[2] / np.linalg.norm(rows[2]), atol=1e-6)

    @pytest.mark.parametrize(
        ("vectors", "error", "message"),
        [
            pytest.param([[1.0] * 16], ValueError, "2 documents and 1 vectors", id="too few"),
            pytest.param(
                lambda: iter([[1.0] * 16]), ValueError, "1 vectors for at least 2 documents", id="too few, generator"
            ),
            pytest.param([[1.0] * 16, [0.0] * 16], ContentError, "vector 1 is all zeros", id="zeros"),
            pytest.param([[1.0] * 16, [1.0] * 15], ContentError, "from position 0", id="unequal"),
            pytest.param([[1.0] * 16, None], ContentError, "from position 0", id="none"),
        ],
    )
    async def test_unusable_precomputed_vectors_are_refused(
        self, store: Any, call: Call, vectors: Any, error: type[Exception], message: str
    ) -> None:
        """Nothing is stored if a vector is missing or has no direction."""
        with pytest.raises(error, match=message):
            await call(store, "add_vectors", ANIMALS[:2], vectors() if callable(vectors) else vectors)
        assert await call(store, "count") == 0
