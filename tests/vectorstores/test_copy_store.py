"""Copying a store into another: everything, once, checked; interrupted and taken up again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import (
    LocalVectorStore,
    MediaLimitError,
    MediaStore,
    MissingMediaError,
    SpaceMismatchError,
    StoreError,
)
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.storage.byte_store import ByteStoreBackend
from langchain_gemini_mm.testing import jpeg, png, wav
from langchain_gemini_mm.vectorstores import CopyReport, acopy_store, copy_store
from langchain_gemini_mm.vectorstores.records import Record
from tests.vectorstores.contract_base import ANIMALS, cases
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANY = [Document(id=f"d{n:03}", page_content=f"document {n}", metadata={"n": n}) for n in range(100)]


@pytest.fixture
def embedding() -> WordEmbeddings:
    """Embeddings that count their calls."""
    return WordEmbeddings()


@pytest.fixture
def source(tmp_path: Path, embedding: WordEmbeddings) -> LocalVectorStore:
    """A store with `ANIMALS`."""
    store = LocalVectorStore(tmp_path / "source.db", embedding)
    store.add_documents(ANIMALS)
    return store


@pytest.fixture
def target(tmp_path: Path, embedding: WordEmbeddings) -> LocalVectorStore:
    """An empty store."""
    return LocalVectorStore(tmp_path / "target.db", embedding)


@pytest.fixture(params=["sync", "async"])
def copy(request: pytest.FixtureRequest) -> Callable[..., CopyReport]:
    """`copy_store`, or its async twin."""
    if request.param == "sync":
        return copy_store
    return lambda *args, **options: asyncio.run(acopy_store(*args, **options))


def contents(store: Any) -> tuple[list[Document], dict[str, bytes]]:
    """Everything a store holds."""
    rows = {id_: row.tobytes() for ids, block in store.vectors() for id_, row in zip(ids, block, strict=True)}
    return sorted(store.iterate(), key=lambda document: str(document.id)), rows


def fail_after(batches: int, store: LocalVectorStore, patch: pytest.MonkeyPatch) -> None:
    """Let a store lose its disk after some batches."""
    upsert, left = store.backend.upsert, iter(range(batches))

    def fail_later(*args: Any) -> Flow[None]:
        if next(left, None) is None:
            raise StoreError("the disk is gone")
        return upsert(*args)

    patch.setattr(store.backend, "upsert", fail_later)


def test_everything_arrives_and_nothing_is_embedded(
    source: LocalVectorStore, target: LocalVectorStore, embedding: WordEmbeddings, copy: Callable[..., CopyReport]
) -> None:
    """Ids, texts, metadata and vectors, bit by bit; a second copy finds it all there."""
    calls, counts = len(embedding.calls), list[int]()
    assert copy(source, target, batch_size=4, progress=counts.append) == CopyReport(total=6, copied=6, skipped=0)
    assert counts == [4, 6]
    assert contents(target) == contents(source)
    assert copy(source, target) == CopyReport(total=6, copied=0, skipped=6)
    assert len(embedding.calls) == calls
    assert [hit.document.id for hit in target.search("a black dog", k=1)] == ["dog"]
    assert all(target.get_info(key) == source.get_info(key) for key in ("fingerprint", "dimensions"))
    assert target.count(filter={"modality": "pdf"}) == 2


CHANGES: list[tuple[str, Callable[[LocalVectorStore], object]]] = [
    ("a text", lambda store: store.add_texts(["another cat"], ids=["cat"])),
    ("a vector alone", lambda store: store.add_vectors([ANIMALS[0]], [[float(n) for n in range(1, 17)]])),
    ("a key of metadata", lambda store: store.update_metadata(["cat"], {"new": None})),
    ("1 for True", lambda store: store.update_metadata(["report"], {"draft": 1})),
    ("a document less", lambda store: store.delete(["dog"])),
]


@pytest.mark.parametrize("change", [case[1] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_only_what_differs_is_stored(
    source: LocalVectorStore, target: LocalVectorStore, change: Callable[[LocalVectorStore], object]
) -> None:
    """Text, metadata to the type, and vector are compared; what only the target has stays."""
    copy_store(source, target)
    target.add_texts(["of the target alone"], ids=["own"])
    change(target)
    assert copy_store(source, target) == CopyReport(total=6, copied=1, skipped=5)
    target.delete(["own"])
    assert contents(target) == contents(source)


def test_an_interrupted_copy_is_taken_up_again(
    tmp_path: Path, embedding: WordEmbeddings, copy: Callable[..., CopyReport]
) -> None:
    """The error comes through, what was stored stays and is not stored again."""
    source = LocalVectorStore(tmp_path / "source.db", embedding)
    source.add_documents(MANY)
    target = LocalVectorStore(tmp_path / "target.db", embedding)
    with pytest.MonkeyPatch.context() as patch:
        fail_after(1, target, patch)
        with pytest.raises(StoreError, match="the disk is gone"):
            copy(source, target, batch_size=30)
    assert target.count() == 30
    assert copy(source, target, batch_size=25) == CopyReport(total=100, copied=70, skipped=30)
    assert contents(target) == contents(source)


def test_a_change_meanwhile_is_found(source: LocalVectorStore, target: LocalVectorStore) -> None:
    """The check at the end reads both again: what was added behind the copy's back, or lost, is an error by name."""

    def disturb(_: int) -> None:
        source.add_texts(["late"], ids=["a-late-one"])
        target.delete(["dog"])

    with pytest.raises(StoreError, match=r"2 of 7 documents of .*: 'a-late-one', 'dog'. Was one of them changed"):
        copy_store(source, target, progress=disturb)
    assert copy_store(source, target) == CopyReport(total=7, copied=2, skipped=5)


def test_an_empty_store_is_copied(target: LocalVectorStore, embedding: WordEmbeddings) -> None:
    """No document is a number of documents."""
    assert copy_store(LocalVectorStore(":memory:", embedding), target) == CopyReport(total=0, copied=0, skipped=0)
    assert target.count() == 0


def test_collections_of_one_file(tmp_path: Path, source: LocalVectorStore, embedding: WordEmbeddings) -> None:
    """Another collection of the same file is another store."""
    other = LocalVectorStore(source.path, embedding, collection="other")
    assert copy_store(source, other).copied == 6
    assert contents(other) == contents(source)


def test_another_space_is_refused(
    tmp_path: Path, source: LocalVectorStore, target: LocalVectorStore, copy: Callable[..., CopyReport]
) -> None:
    """By the fingerprints, before anything is written, and also where the target is empty."""
    other = LocalVectorStore(tmp_path / "other.db", WordEmbeddings(model="words-2"))
    with pytest.raises(SpaceMismatchError, match="model: 'words-1' stored, 'words-2' given"):
        copy(source, other)
    other.add_texts(["x"])
    with pytest.raises(SpaceMismatchError, match="model"):
        copy(other, target)
    assert target.count() == 0
    assert target.get_info("fingerprint") is None


def test_other_dimensions_are_refused(tmp_path: Path) -> None:
    """Embeddings that say nothing of their length are told apart by what is stored."""
    from langchain_core.embeddings import DeterministicFakeEmbedding

    stores = [LocalVectorStore(tmp_path / f"{size}.db", DeterministicFakeEmbedding(size=size)) for size in (8, 12)]
    for store in stores:
        store.add_texts(["x"], ids=[store.path])
    with pytest.raises(SpaceMismatchError, match="have 12 dimensions, those given have 8"):
        copy_store(*stores)
    assert stores[1].count() == 1


def test_a_store_is_not_copied_onto_itself(
    tmp_path: Path, source: LocalVectorStore, embedding: WordEmbeddings, copy: Callable[..., CopyReport]
) -> None:
    """The same object, the same file, or a link to the file: refused, and no mark stays behind."""
    (tmp_path / "link.db").hardlink_to(source.path)
    for other in (source, LocalVectorStore(source.path, embedding)):
        with pytest.raises(ValueError, match="source and target are the same collection"):
            copy(source, other)
    source.set_info("mine", 1)
    with source._database.reading() as connection:
        assert [key for (key,) in connection.execute("SELECT key FROM info")] == ["mine"]


BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("no store", {"target": "target.db"}, TypeError, "target is a LocalVectorStore or WeaviateVectorStore, got str"),
    ("no documents a batch", {"batch_size": 0}, ValueError, "batch_size must be an int >= 1"),
    ("one media store", {"media": MediaStore.memory()}, TypeError, "media is a pair of MediaStores"),
    ("a folder", {"media": ("a", "b")}, TypeError, "media is a pair of MediaStores"),
    ("the same twice", {"media": (MediaStore.memory(),) * 2}, ValueError, "both media stores are one"),
]


@pytest.mark.parametrize(("changes", "error", "words"), cases(BAD))
def test_mistakes_are_told(
    source: LocalVectorStore, target: LocalVectorStore, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Before anything is read."""
    with pytest.raises(error, match=words):
        copy_store(**{"source": source, "target": target, **changes})


@pytest.fixture
def pair() -> tuple[MediaStore, MediaStore]:
    """Two media stores."""
    return MediaStore.memory(), MediaStore.memory()


def test_media_are_copied_once(
    source: LocalVectorStore,
    target: LocalVectorStore,
    pair: tuple[MediaStore, MediaStore],
    copy: Callable[..., CopyReport],
) -> None:
    """What documents name, in text or metadata, whole or in part; not the rest, and not what is there."""
    media, other = pair
    picture, sound, there, hidden, unused = (media.put(data) for data in (png(), wav(99.0), jpeg(), png("h"), png("u")))
    other.put(jpeg())
    source.add_documents(
        [
            media.document("one", picture, sound.segment(1, 2), id="one"),
            media.document(picture, sound.segment(2, 3), there, id="two"),
            Document(id="three", page_content="x", metadata={"media_sha256": hidden.sha256}),
            Document(id="four", page_content="a hash that is none of ours: " + "ab" * 32),
        ]
    )
    assert copy(source, target, media=pair, batch_size=1) == CopyReport(total=10, copied=10, skipped=0, media=3)
    assert set(other.refs()) == {picture, sound, there, hidden}
    assert other.get(sound) == wav(99.0)
    assert unused not in other
    other.delete(picture)
    assert copy(source, target, media=pair) == CopyReport(total=10, copied=0, skipped=10, media=1)


def test_missing_media_are_told_by_document(
    source: LocalVectorStore, target: LocalVectorStore, pair: tuple[MediaStore, MediaStore]
) -> None:
    """All else is copied first; then the error names the documents. Putting the file back completes the copy."""
    media, other = pair
    lost, kept = media.put(png("lost")), media.put(png("kept"))
    source.add_documents([media.document("see", lost, kept, id="album")])
    media.delete(lost)
    with pytest.raises(MissingMediaError, match=r"1 media .*: document 'album': .* is not in this media store.* again"):
        copy_store(source, target, media=pair)
    assert target.count() == 7
    assert list(other.refs()) == [kept]
    media.put(png("lost"))
    assert copy_store(source, target, media=pair) == CopyReport(total=7, copied=0, skipped=7, media=1)


def test_damaged_media_are_not_passed_on(source: LocalVectorStore, target: LocalVectorStore, tmp_path: Path) -> None:
    """Bytes that no longer have their hash never stand under it in the other store."""
    media, other = MediaStore(tmp_path / "media"), MediaStore.memory()
    mark_changed, spoilt = media.put(png("a")), media.put(png("b"))
    source.add_documents([media.document(mark_changed, id="1"), media.document(spoilt, id="2")])
    for ref, data in ((mark_changed, png("c")), (spoilt, b"no picture")):
        (tmp_path / "media" / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256).write_bytes(data)
    with pytest.raises(
        MissingMediaError, match=r"2 media .*document '1': .* is damaged .*; document '2': .* is damaged"
    ):
        copy_store(source, target, media=(media, other))
    assert mark_changed not in other
    assert spoilt not in other


def test_a_limit_of_the_target_ends_the_copy(source: LocalVectorStore, target: LocalVectorStore) -> None:
    """A file that the other store does not take is an error at once: the document is not copied without it."""
    from langchain_core.stores import InMemoryByteStore

    media, other = MediaStore.memory(), MediaStore(ByteStoreBackend(InMemoryByteStore(), max_bytes=1000))
    source.add_documents([media.document(wav(9.0), id="talk")])
    with pytest.raises(MediaLimitError, match="more than 1,000 bytes"):
        copy_store(source, target, media=(media, other))
    assert target.get_by_ids(["talk"]) == []
    assert list(other.refs()) == []


def test_torn_references_do_not_stop_a_copy(
    source: LocalVectorStore, target: LocalVectorStore, pair: tuple[MediaStore, MediaStore]
) -> None:
    """A text with half a reference is copied as it is, with the media of its whole ones."""
    media, other = pair
    ref = media.put(png())
    source.add_vectors(
        [Document(id="torn", page_content=f"{ref.markdown} mm://sha256-12")], [[float(n) for n in range(1, 17)]]
    )
    assert copy_store(source, target, media=pair).media == 1
    assert list(other.refs()) == [ref]


async def test_an_async_copy_leaves_the_loop_free(source: LocalVectorStore, target: LocalVectorStore) -> None:
    """Media and documents are copied in threads."""
    media, other = MediaStore.memory(), MediaStore.memory()
    source.add_documents([media.document(png(str(n)), id=str(n)) for n in range(20)])
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticker = asyncio.create_task(tick())
    report = await acopy_store(source, target, media=(media, other), batch_size=2)
    ticker.cancel()
    assert report == CopyReport(total=26, copied=26, skipped=0, media=20)
    assert ticks > 20


def test_a_document_without_a_vector_is_told(
    source: LocalVectorStore, target: LocalVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a document is not copied."""
    page = source.backend.page

    def without_vectors(*args: Any, **options: Any) -> Flow[list[Record]]:
        records = yield from page(*args, **options)
        return [replace(record, vector=None) for record in records]

    monkeypatch.setattr(source.backend, "page", without_vectors)
    with pytest.raises(StoreError, match=r"document 'cat' of .* has no vector"):
        copy_store(source, target)
