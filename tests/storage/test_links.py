"""Links: files stay where they are, and what happened to them since is told."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm.errors import ContentError, MissingMediaError, StoreError
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import jpeg, png

if TYPE_CHECKING:
    from pathlib import Path

PNG = png()


@pytest.fixture
def links(tmp_path: Path) -> MediaStore:
    """A store of links."""
    return MediaStore.links(tmp_path / "links")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture in somebody's folder."""
    path = tmp_path / "photos" / "cat.png"
    path.parent.mkdir()
    path.write_bytes(PNG)
    return path


def size_of(folder: Path) -> int:
    """Bytes of media below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if len(path.name) == 64)


def test_files_are_not_copied(links: MediaStore, photo: Path) -> None:
    """Only the place and the hash are kept; other store objects on the same folder know them."""
    ref = links.put_file(photo)
    assert links.path
    assert size_of(links.path) == 0
    assert MediaStore.links(links.path).get(ref) == PNG


def test_bytes_are_kept_in_the_folder(links: MediaStore) -> None:
    """What has no file of its own is copied."""
    assert links.get(links.put(PNG)) == PNG
    assert links.path
    assert size_of(links.path) == len(PNG)


def test_relative_paths_work_from_elsewhere(
    links: MediaStore, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link holds the whole path, wherever the program runs later."""
    monkeypatch.chdir(photo.parent)
    ref = links.put_file("cat.png")
    monkeypatch.chdir(tmp_path)
    assert links.get(ref) == PNG


def test_a_touched_file_is_the_same_file(links: MediaStore, photo: Path) -> None:
    """Other times and the same content: the file is hashed again, and found."""
    ref = links.put_file(photo)
    os.utime(photo, (1, 1))
    assert links.get(ref) == PNG
    assert links.info(ref).size == len(PNG)


CHANGES = {
    "removed": (lambda path: path.unlink(), "No such file"),
    "made longer": (lambda path: path.write_bytes(PNG + b"x"), "has changed since"),
    "overwritten at the same length": (lambda path: path.write_bytes(PNG[:-1] + b"x"), "has changed since"),
    "replaced by a folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    "moved away with its folder": (lambda path: shutil.move(path.parent, path.parent.parent / "old"), "No such file"),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_what_happened_to_a_file_is_told(links: MediaStore, photo: Path, change, words: str) -> None:
    """The error names the file, what is wrong with it, and what to do."""
    ref = links.put_file(photo)
    change(photo)
    for ask in (links.get, links.info, links.open):
        with pytest.raises(MissingMediaError, match=words) as caught:
            ask(ref)
        assert "cat.png" in str(caught.value)
        assert "load the files again" in str(caught.value)
    assert ref not in links


def test_a_moved_file_is_found_after_loading_again(links: MediaStore, photo: Path) -> None:
    """References stay valid when their files are put again from their new place."""
    ref = links.put_file(photo)
    moved = photo.rename(photo.with_name("kitten.png"))
    assert ref not in links
    assert links.put_file(moved) == ref
    assert links.get(ref) == PNG


def test_one_of_two_equal_files_is_enough(links: MediaStore, photo: Path) -> None:
    """Media that lie in two places are found as long as one of them is unchanged."""
    copy = photo.with_name("copy.png")
    copy.write_bytes(PNG)
    ref = links.put_file(photo)
    assert links.put_file(copy) == ref
    copy.unlink()
    assert links.get(ref) == PNG
    copy.write_bytes(PNG)
    photo.write_bytes(jpeg())
    assert links.get(ref) == PNG


def test_deleting_and_sweeping_leave_the_files(links: MediaStore, photo: Path) -> None:
    """Only the link goes; what belongs to somebody else is never removed."""
    ref = links.put_file(photo)
    assert links.delete(ref)
    assert ref not in links
    ref = links.put_file(photo)
    assert links.sweep([], grace_s=-60).removed == (ref,)
    assert ref not in links
    assert photo.read_bytes() == PNG


def test_many_links_are_listed(links: MediaStore, photo: Path) -> None:
    """The index is listed whole, in pieces."""
    assert links.path
    refs = set()
    for number in range(30):
        path = photo.with_name(f"{number}.png")
        path.write_bytes(png(f"number {number}"))
        refs.add(links.put_file(path))
    refs.add(links.put(jpeg()))
    assert set(links.refs()) == refs


def test_text_is_not_linked(links: MediaStore, photo: Path) -> None:
    """A link to a file that is no media is refused like a copy."""
    photo.write_text("text")
    with pytest.raises(ContentError, match="no image"):
        links.put_file(photo)


@pytest.mark.parametrize("junk", [b"junk" * 1000, PNG], ids=["junk", "a picture"])
def test_a_spoilt_index_is_an_error(links: MediaStore, photo: Path, junk: bytes) -> None:
    """The index is the only record of where media are: it is never thrown away."""
    ref = links.put_file(photo)
    assert links.path
    (links.path / "links.db").write_bytes(junk)
    for ask in (lambda: links.get(ref), lambda: links.put_file(photo), lambda: list(links.refs())):
        with pytest.raises(StoreError, match=r"links\.db.*not a database"):
            ask()
    assert (links.path / "links.db").read_bytes() == junk
