"""The table of hashes: with one connection for many files, it does what it does with one for each."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.testing import png

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["folder", "links"])
def test_a_table_that_is_removed_meanwhile(kind: str, tmp_path: Path) -> None:
    """It is made again, and what is put later is in it."""
    (tmp_path / "library").mkdir()
    paths = [tmp_path / "library" / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(png(f"castle {number}"))
    media = MediaStore(tmp_path / "media") if kind == "folder" else MediaStore.links(tmp_path / "media")
    with media.many_puts():
        media.put_file(paths[0])
        (table,) = (tmp_path / "media").glob("*.db")
        table.unlink()
        later = [media.put_file(path) for path in paths[1:]]
        assert [media.get(ref) for ref in later] == [path.read_bytes() for path in paths[1:]]
        with media.many_puts():
            assert media.put_file(paths[1]) == later[0]
        assert media.put_file(paths[2]) == later[1]
    assert table.exists()
    assert [media.put_file(path) for path in paths[1:]] == later


def test_other_threads_and_copies_have_connections_of_their_own(tmp_path: Path) -> None:
    """A store is used from several threads, and pickled, while files are put."""
    path = tmp_path / "castle.png"
    path.write_bytes(png("a castle"))
    media = MediaStore.links(tmp_path / "media")
    found = []
    with media.many_puts():
        ref = media.put_file(path)
        thread = threading.Thread(target=lambda: found.append(media.put_file(path)))
        thread.start()
        thread.join()
        found.append(pickle.loads(pickle.dumps(media)).put_file(path))
    assert found == [ref, ref]
