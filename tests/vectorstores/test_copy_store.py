"""Copying a store to another: complete, without repetition, verified, and resumed after an interruption."""

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
    """All content of a store."""
    rows = {id_: row.tobytes() for ids, block in store.vectors() for id_, row in zip(ids, block, strict=True)}
    return sorted(store.iterate(), key=lambda document: str(document.id)), rows


def fail_after(batches: int, store: LocalVectorStore, patch: pytest.MonkeyPatch) -> None:
    """Make a store fail after some batches."""
    upsert, left = store.backend.upsert, iter(range(batches))

    def fail_later(*args: Any) -> Flow[None]:
        if next(left, None) is None:
            raise StoreError("the disk is gone")
        return upsert(*args)

    patch.setattr(store.backend, "upsert", fail_later)


def test_everything_is_copied_and_nothing_is_embedded(
    source: LocalVectorStore, target: LocalVectorStore, embedding: WordEmbeddings, copy: Callable[..., CopyReport]
) -> None:
    """Ids, texts, metadata and vectors are equal bit by bit; a second copy stores nothing."""
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
def test_only_differences_are_stored(
    source: LocalVectorStore, target: LocalVectorStore, change: Callable[[LocalVectorStore], object]
) -> None:
    """Text, metadata with types, and vectors are compared; other documents of the target stay."""
    copy_store(source, target)
    target.add_texts(["of the target alone"], ids=["own"])
    change(target)
    assert copy_store(source, target) == CopyReport(total=6, copied=1, skipped=5)
    target.delete(["own"])
    assert contents(target) == contents(source)


def test_an_interrupted_copy_is_resumed(
    tmp_path: Path, embedding: WordEmbeddings, copy: Callable[..., CopyReport]
) -> None:
    """The error is raised; stored documents stay and are not stored again."""
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


def test_concurrent_changes_are_detected(source: LocalVectorStore, target: LocalVectorStore) -> None:
    """The check at the end reads both stores again: added or lost documents are an error that names them."""

    def disturb(_: int) -> None:
        source.add_texts(["late"], ids=["a-late-one"])
        target.delete(["dog"])

    with pytest.raises(StoreError, match=r"2 of 7 documents of .*: 'a-late-one', 'dog'. Was one of them changed"):
        copy_store(source, target, progress=disturb)
    assert copy_store(source, target) == CopyReport(total=7, copied=2, skipped=5)


def test_an_empty_store_is_copied(target: LocalVectorStore, embedding: WordEmbeddings) -> None:
    """An empty store can be copied."""
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
    """Fingerprints are compared before anything is written, even if the target is empty."""
    other = LocalVectorStore(tmp_path / "other.db", WordEmbeddings(model="words-2"))
    with pytest.raises(SpaceMismatchError, match="model: 'words-1' stored, 'words-2' given"):
        copy(source, other)
    other.add_texts(["x"])
    with pytest.raises(SpaceMismatchError, match="model"):
        copy(other, target)
    assert target.count() == 0
    assert target.get_info("fingerprint") is None


def test_other_dimensions_are_refused(tmp_path: Path) -> None:
    """Without known dimensions, embeddings are compared by their stored vectors."""
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
    """The same object, the same file, or a link to the file is refused, and no information is written."""
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
def test_wrong_arguments_are_reported(
    source: LocalVectorStore, target: LocalVectorStore, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Errors are raised before anything is read."""
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
    """All media referenced in texts or metadata, whole or in part, are copied, except for those already there."""
    media, other = pair
    image, audio, there, hidden, unused = (media.put(data) for data in (png(), wav(99.0), jpeg(), png("h"), png("u")))
    other.put(jpeg())
    source.add_documents(
        [
            media.document("one", image, audio.segment(1, 2), id="one"),
            media.document(image, audio.segment(2, 3), there, id="two"),
            Document(id="three", page_content="x", metadata={"media_sha256": hidden.sha256}),
            Document(id="four", page_content="a hash that is none of ours: " + "ab" * 32),
        ]
    )
    assert copy(source, target, media=pair, batch_size=1) == CopyReport(total=10, copied=10, skipped=0, media=3)
    assert set(other.refs()) == {image, audio, there, hidden}
    assert other.get(audio) == wav(99.0)
    assert unused not in other
    other.delete(image)
    assert copy(source, target, media=pair) == CopyReport(total=10, copied=0, skipped=10, media=1)


def test_missing_media_are_reported_by_document(
    source: LocalVectorStore, target: LocalVectorStore, pair: tuple[MediaStore, MediaStore]
) -> None:
    """Everything else is copied; the error names the documents. With the file restored, a second call completes."""
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


def test_damaged_media_are_not_copied(source: LocalVectorStore, target: LocalVectorStore, tmp_path: Path) -> None:
    """Bytes that differ from their hash are never stored in the other store."""
    media, other = MediaStore(tmp_path / "media"), MediaStore.memory()
    mark_changed, spoilt = media.put(png("a")), media.put(png("b"))
    source.add_documents([media.document(mark_changed, id="1"), media.document(spoilt, id="2")])
    for ref, data in ((mark_changed, png("c")), (spoilt, b"no image")):
        (tmp_path / "media" / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256).write_bytes(data)
    with pytest.raises(
        MissingMediaError, match=r"2 media .*document '1': .* is damaged .*; document '2': .* is damaged"
    ):
        copy_store(source, target, media=(media, other))
    assert mark_changed not in other
    assert spoilt not in other


def test_a_limit_of_the_target_ends_the_copy(source: LocalVectorStore, target: LocalVectorStore) -> None:
    """A file that the other store does not accept is an error at once: its document is not copied without it."""
    from langchain_core.stores import InMemoryByteStore

    media, other = MediaStore.memory(), MediaStore(ByteStoreBackend(InMemoryByteStore(), max_bytes=1000))
    source.add_documents([media.document(wav(9.0), id="talk")])
    with pytest.raises(MediaLimitError, match="more than 1,000 bytes"):
        copy_store(source, target, media=(media, other))
    assert target.get_by_ids(["talk"]) == []
    assert list(other.refs()) == []


def test_truncated_references_do_not_stop_a_copy(
    source: LocalVectorStore, target: LocalVectorStore, pair: tuple[MediaStore, MediaStore]
) -> None:
    """A text with half a reference is copied unchanged, with the media of complete ones."""
    media, other = pair
    ref = media.put(png())
    source.add_vectors(
        [Document(id="torn", page_content=f"{ref.markdown} mm://sha256-12")], [[float(n) for n in range(1, 17)]]
    )
    assert copy_store(source, target, media=pair).media == 1
    assert list(other.refs()) == [ref]


async def test_an_async_copy_does_not_block_the_loop(source: LocalVectorStore, target: LocalVectorStore) -> None:
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


def test_a_document_without_a_vector_is_reported(
    source: LocalVectorStore, target: LocalVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document without a vector is not copied."""
    page = source.backend.page

    def without_vectors(*args: Any, **options: Any) -> Flow[list[Record]]:
        records = yield from page(*args, **options)
        return [replace(record, vector=None) for record in records]

    monkeypatch.setattr(source.backend, "page", without_vectors)
    with pytest.raises(StoreError, match=r"document 'cat' of .* has no vector"):
        copy_store(source, target)
