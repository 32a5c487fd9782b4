"""Sweeps remove only unreferenced media, and none that are being stored."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.references import MediaRef, escape_references
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import png

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
    swept = store.sweep(keep, grace_s=-60)
    assert swept.removed == (refs[5],)
    assert swept.size == len(FILES[5])
    assert set(store.refs()) == set(refs[:5])


def test_a_dry_run_removes_nothing(store: MediaStore) -> None:
    """A dry run reports what a sweep would remove."""
    ref = store.put(FILES[0])
    assert store.sweep([], grace_s=-60, dry_run=True).removed == (ref,)
    assert ref in store
    assert store.sweep([], grace_s=-60).removed == (ref,)


def test_recent_media_are_kept(store: MediaStore) -> None:
    """By default unreferenced media are kept for a day, because their Documents may not be indexed yet."""
    ref = store.put(FILES[0])
    assert store.sweep([]).removed == ()
    assert store.sweep([], grace_s=60).removed == ()
    assert ref in store


@pytest.mark.parametrize("keep", [None, 5, b"bytes", {"a": 1}, [None]], ids=repr)
def test_invalid_keep_is_refused(store: MediaStore, keep: object) -> None:
    """An argument that contains no references is refused before anything is removed."""
    ref = store.put(FILES[0])
    with pytest.raises(TypeError, match="keep"):
        store.sweep(keep, grace_s=-60)
    assert ref in store


def test_keep_accepts_a_single_value(store: MediaStore) -> None:
    """A single reference, text or Document needs no list around it."""
    ref = store.put(FILES[0])
    for keep in (ref, ref.markdown, Document(ref.markdown)):
        assert store.sweep(keep, grace_s=-60).removed == ()


def test_a_failing_source_of_documents_removes_nothing(store: MediaStore) -> None:
    """Nothing is removed before all references are collected."""
    ref = store.put(FILES[0])

    def documents() -> object:
        yield Document("x")
        raise ConnectionError("the index went away")

    with pytest.raises(ConnectionError):
        store.sweep(documents(), grace_s=-60)
    assert ref in store


def test_putting_again_resets_the_age(tmp_path: Path) -> None:
    """Old media that are put again count as new."""
    store = MediaStore(tmp_path)
    ref = store.put(FILES[0])
    path = tmp_path / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256
    os.utime(path, (1, 1))
    store.put(FILES[0])
    assert store.sweep([]).removed == ()
    os.utime(path, (1, 1))
    assert store.sweep([]).removed == (ref,)


def test_old_temporary_files_are_removed(tmp_path: Path) -> None:
    """Temporary files of interrupted uploads are removed after the grace period; recent ones are kept."""
    store = MediaStore(tmp_path)
    store.put(FILES[0])
    old, new = tmp_path / "incoming" / "a.part", tmp_path / "incoming" / "b.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert store.sweep([], dry_run=True).leftovers == 1
    assert store.sweep([]).leftovers == 1
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == ["b.part"]


def test_a_sweep_keeps_media_that_are_being_put(tmp_path: Path) -> None:
    """For any order of sweeps and puts, media that were put exist at the end."""
    store = MediaStore(tmp_path)
    refs = [store.put(data) for data in FILES]
    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            store.sweep([], grace_s=30)

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
