"""Sweeps remove only unreferenced media, and none that are being stored."""

from __future__ import annotations

import io
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.errors import MissingMediaError, StoreError
from langchain_gemini_mm.references import MediaRef, escape_references
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import png
from tests.storage.conftest import STORE_TYPES, UNRELATED, make_store, swept

if TYPE_CHECKING:
    from pathlib import Path

FILES = [png(f"picture {number}") for number in range(6)]


def test_referenced_media_are_kept(store: MediaStore) -> None:
    """Media in references, parts, Documents, texts, metadata and lists of these are kept; others are removed."""
    refs = [store.put(data) for data in FILES]
    keep = [
        refs[0].segment(1, 2),
        Document(f"a {refs[1].markdown} b"),
        [f"text with {escape_references(refs[2].markdown)}", iter([refs[3]])],
        Document("text", metadata={"media_sha256": refs[4].sha256}),
    ]
    result = swept(store, keep)
    assert result.removed == (refs[5],)
    assert result.size == len(FILES[5])
    assert set(store.refs()) == set(refs[:5])


def test_a_dry_run_removes_nothing(store: MediaStore) -> None:
    """A dry run reports what a sweep would remove."""
    ref = store.put(FILES[0])
    assert swept(store, UNRELATED, dry_run=True).removed == (ref,)
    assert ref in store
    assert swept(store, UNRELATED).removed == (ref,)


def test_recent_media_are_kept(store: MediaStore) -> None:
    """By default unreferenced media are kept for a day, because their Documents may not be indexed yet."""
    ref = store.put(FILES[0])
    assert store.sweep(UNRELATED).removed == ()
    assert store.sweep(UNRELATED, grace_s=60).removed == ()
    assert ref in store


class Hits(NamedTuple):
    """Something that holds a document, as a hit does."""

    document: Document


@pytest.mark.parametrize("nested", [False, True])
def test_references_are_found_anywhere(store: MediaStore, nested: bool) -> None:
    """References count in all metadata, in capitals, in hits, and in whatever a store iterates over."""
    refs = [store.put(data) for data in FILES]

    class Documents:
        def iterate(self) -> Iterator[Document]:
            yield Document("a film", metadata={"poster": refs[0].uri, "pictures": [{"first": refs[1].sha256}]})

    keep: list[object] = [
        Documents(),
        Hits(Document(refs[2].markdown)),
        refs[3].uri.upper(),
        {"media_sha256": refs[4].sha256, "pages": 3, "none": None},
        Document("no media", id=f"of {refs[5].uri}"),
    ]
    assert swept(store, [keep] if nested else keep).removed == ()


NAMELESS = {
    "nothing": [],
    "a path": "library/index.db",
    "ids": ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
    "an exhausted iterator": iter(()),
    "Documents without media": [Document("text", metadata={"source": "a.txt"})],
}


@pytest.mark.parametrize("keep", NAMELESS.values(), ids=NAMELESS)
def test_keep_without_references_is_refused(store: MediaStore, keep: object) -> None:
    """What references nothing is a mistake: it would remove everything. It can be neither swept nor previewed."""
    ref = store.put(FILES[0])
    for method in (store.sweep, store.unused):
        with pytest.raises(ValueError, match="references media"):
            method(keep, grace_s=0)
    assert ref in store


@pytest.mark.parametrize("grace_s", [float("nan"), -1, float("inf"), True, "1", None], ids=repr)
def test_an_invalid_grace_period_is_refused(store: MediaStore, grace_s: Any) -> None:
    """A grace period that is no duration removes nothing."""
    ref = store.put(FILES[0])
    with pytest.raises((ValueError, TypeError), match="grace_s must be a number from 0"):
        store.sweep(UNRELATED, grace_s=grace_s)
    assert ref in store


USES: dict[str, Callable[[MediaStore, MediaRef], object]] = {
    "put": lambda store, _: store.put(FILES[0]),
    "put as a file": lambda store, _: store.put(io.BytesIO(FILES[0])),
    "a Document": lambda store, ref: store.document("our dog", ref),
    "get": lambda store, ref: store.get(ref),
    "open": lambda store, ref: store.open(ref).close(),
    "info": lambda store, ref: store.info(ref),
    "read_range": lambda store, ref: store.read_range(ref, 0, 4),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_media_used_during_a_sweep_are_kept(store: MediaStore, use: Callable[[MediaStore, MediaRef], object]) -> None:
    """Old media that are used after a sweep has begun are kept, also where the sweep lists them as unused."""
    ref = store.put(FILES[0])
    time.sleep(0.02)

    def keep() -> Iterator[MediaRef]:
        yield UNRELATED
        use(store, ref)

    assert store.sweep(keep(), grace_s=0).removed == ()
    assert store.get(ref) == FILES[0]


def test_recent_use_renews_the_grace_period(store: MediaStore) -> None:
    """Media that are put again are kept for the whole grace period, whatever its length."""
    ref = store.put(FILES[0])
    time.sleep(1.5)
    store.put(FILES[0])
    assert store.sweep(UNRELATED, grace_s=1).removed == ()
    assert ref in store


def test_a_preview_removes_nothing(store: MediaStore) -> None:
    """`unused` lists what a sweep with the same arguments removes."""
    refs = [store.put(data) for data in FILES[:2]]
    time.sleep(0.02)
    assert store.unused(refs[0]).removed == ()
    preview = store.unused(refs[0], grace_s=0)
    assert (preview.removed, preview.size) == ((refs[1],), len(FILES[1]))
    assert set(store.refs()) == set(refs)
    assert swept(store, refs[0]) == preview


@pytest.mark.parametrize("keep", [None, 5, b"bytes", [None]], ids=repr)
def test_invalid_keep_is_refused(store: MediaStore, keep: object) -> None:
    """An argument that contains no references is refused before anything is removed."""
    ref = store.put(FILES[0])
    with pytest.raises(TypeError, match="keep"):
        swept(store, keep)
    assert ref in store


def test_keep_accepts_a_single_value(store: MediaStore) -> None:
    """A single reference, text or Document needs no list around it."""
    ref = store.put(FILES[0])
    for keep in (ref, ref.markdown, Document(ref.markdown)):
        assert swept(store, keep).removed == ()


def test_a_failing_source_of_documents_removes_nothing(store: MediaStore) -> None:
    """Nothing is removed before all references are collected."""
    ref = store.put(FILES[0])

    def documents() -> object:
        yield Document("x")
        raise ConnectionError("the index went away")

    with pytest.raises(ConnectionError):
        swept(store, documents())
    assert ref in store


def test_putting_again_resets_the_age(tmp_path: Path) -> None:
    """Old media that are put again count as new."""
    store = MediaStore(tmp_path)
    ref = store.put(FILES[0])
    path = tmp_path / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256
    os.utime(path, (1, 1))
    store.put(FILES[0])
    assert store.sweep(UNRELATED).removed == ()
    os.utime(path, (1, 1))
    assert store.sweep(UNRELATED).removed == (ref,)


def test_old_temporary_files_are_removed(tmp_path: Path) -> None:
    """Temporary files of interrupted uploads are removed after the grace period; recent ones are kept."""
    store = MediaStore(tmp_path)
    store.put(FILES[0])
    old, new = tmp_path / "incoming" / "a.part", tmp_path / "incoming" / "b.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert store.sweep(UNRELATED, dry_run=True).leftovers == 1
    assert store.sweep(UNRELATED).leftovers == 1
    assert sorted(path.name for path in (tmp_path / "incoming").iterdir()) == ["b.part", "sweep"]


def test_a_sweep_keeps_media_that_are_being_put(tmp_path: Path) -> None:
    """For any order of sweeps and puts, media that were put exist at the end."""
    store = MediaStore(tmp_path)
    refs = [store.put(data) for data in FILES]
    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            store.sweep(UNRELATED, grace_s=30)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for _ in range(40):
            for ref, data in zip(refs, FILES, strict=True):
                path = tmp_path / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256
                if path.exists():
                    try:
                        os.utime(path, (1, 1))
                    except FileNotFoundError:
                        continue
                store.put(data)
    finally:
        stop.set()
        sweeper.join()
    assert set(store.refs()) == set(refs)
    assert all(store.get(MediaRef(ref.sha256)) for ref in refs)


def test_a_file_set_aside_by_a_sweep_is_found(tmp_path: Path) -> None:
    """A reader that meets a file between the two steps of its removal gets it, and the removal fails."""
    store = MediaStore(tmp_path)
    ref = store.put(FILES[0])
    path = tmp_path / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256
    for use in (store.get, store.info, lambda ref: store.document("x", ref), lambda _: store.put(FILES[0])):
        path.replace(tmp_path / "incoming" / f"{ref.sha256}.gone")
        use(ref)
        assert path.read_bytes() == FILES[0]


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights on Windows")
def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    """A symbolic link or pipe in place of a file is damage; a link in place of `incoming` is an error."""
    outside, root = tmp_path / "outside", tmp_path / "media"
    outside.mkdir()
    (outside / "old.part").write_bytes(b"mine")
    os.utime(outside / "old.part", (1, 1))
    store = MediaStore(root)
    ref = store.put(FILES[0])
    path = root / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256
    secret = outside / "secret.png"
    secret.write_bytes(FILES[0])
    for replace in (lambda: path.symlink_to(secret), lambda: os.mkfifo(path)):
        path.unlink()
        replace()
        with pytest.raises(MissingMediaError, match="damaged"):
            store.get(ref)
        assert store.get(store.put(FILES[0])) == FILES[0]
    (root / "incoming" / "sweep").unlink(missing_ok=True)
    (root / "incoming").rmdir()
    (root / "incoming").symlink_to(outside)
    with pytest.raises(StoreError, match="symbolic link"):
        store.sweep(ref)
    with pytest.raises(StoreError, match="symbolic link"):
        store.put(FILES[1])
    assert (outside / "old.part").exists()


def test_an_unreadable_folder_is_a_store_error(tmp_path: Path) -> None:
    """A folder that cannot be listed ends `refs` and a sweep with a `StoreError`, and removes nothing."""
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("root may read anything")
    store = MediaStore(tmp_path)
    ref = store.put(FILES[0])
    (tmp_path / ref.sha256[:2]).chmod(0)
    try:
        with pytest.raises(StoreError, match="cannot read"):
            list(store.refs())
        with pytest.raises(StoreError, match="cannot read"):
            store.sweep(UNRELATED)
    finally:
        (tmp_path / ref.sha256[:2]).chmod(0o700)


def test_the_grace_period_is_measured_by_the_folders_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is ten days ahead does not sweep what was stored a moment ago."""
    store = MediaStore(tmp_path)
    store.put(FILES[0])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10 * 86400)
    assert store.sweep(UNRELATED).removed == ()


def _work(store: MediaStore, index: dict[str, Document], number: int, stop: threading.Event) -> None:
    """Put new media, use old ones again, and delete Documents."""
    chance = random.Random(number)
    known: list[MediaRef] = []
    for turn in itertools.count():
        if stop.is_set():
            return
        if known and chance.random() < 0.6:
            try:
                document = store.document("again", chance.choice(known))
            except MissingMediaError:
                continue  # it was swept before it was used
        else:
            known.append(store.put(png(f"{number} {turn % 40}")))
            document = store.document("new", known[-1])
        index[f"{number}-{turn % 12}"] = document
        if chance.random() < 0.3:
            index.pop(f"{number}-{chance.randrange(12)}", None)


@pytest.mark.soak
@pytest.mark.parametrize("store_type", STORE_TYPES)
def test_sweeps_beside_writers_and_a_reader(
    tmp_path: Path, store_type: str, rounds: Callable[..., Iterator[int]]
) -> None:
    """With sweeps in a loop beside two writers and a reader, each Document in the index has its media."""
    sweep_beside_writers(make_store(store_type, tmp_path), rounds(1, parts=len(STORE_TYPES)), 1.5)


def sweep_beside_writers(store: MediaStore, seeds: Iterable[int], grace_s: float) -> None:
    """Sweep in a loop beside two writers and a reader, for two seconds for each seed.

    Args:
        store: an empty store.
        seeds: of the writers.
        grace_s: of the sweeps: longer than a writer takes from putting to indexing.
    """
    index: dict[str, Document] = {"first": store.document("first", store.put(FILES[0]))}
    for seed in seeds:
        stop = threading.Event()
        with ThreadPoolExecutor(2) as writers:
            working = [writers.submit(_work, store, index, 2 * seed + number, stop) for number in range(2)]
            ends = time.monotonic() + 2
            try:
                while time.monotonic() < ends:
                    store.sweep(list(index.values()), grace_s=grace_s)
                    _read_all(store, index)
            finally:
                stop.set()
            for work in working:
                work.result()
        _read_all(store, index)


def _read_all(store: MediaStore, index: dict[str, Document]) -> None:
    """Read the media of all Documents that are in the index."""
    for key, document in list(index.items()):
        try:
            store.get(document.page_content.partition(" ")[2])
        except MissingMediaError:
            assert index.get(key) is not document, "a Document in the index has lost its media"
