"""Links: files are not copied, and later changes to them are detected."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm.errors import ContentError, MissingMediaError, StoreError
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import jpeg, png
from tests.storage.conftest import UNRELATED, swept

if TYPE_CHECKING:
    from pathlib import Path

PNG = png()


@pytest.fixture
def links(tmp_path: Path) -> MediaStore:
    """A store of links."""
    return MediaStore.links(tmp_path / "links")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image in a user's folder."""
    path = tmp_path / "photos" / "cat.png"
    path.parent.mkdir()
    path.write_bytes(PNG)
    return path


def size_of(folder: Path) -> int:
    """The total size of the media below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if len(path.name) == 64)


def test_files_are_not_copied(links: MediaStore, photo: Path) -> None:
    """Only the path and the hash are stored; other store objects on the same folder find them."""
    ref = links.put_file(photo)
    assert links.path
    assert size_of(links.path) == 0
    assert MediaStore.links(links.path).get(ref) == PNG


def test_bytes_are_kept_in_the_folder(links: MediaStore) -> None:
    """Media without a file are copied."""
    assert links.get(links.put(PNG)) == PNG
    assert links.path
    assert size_of(links.path) == len(PNG)


def test_relative_paths_work_from_elsewhere(
    links: MediaStore, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link contains the absolute path, so the working directory does not matter."""
    monkeypatch.chdir(photo.parent)
    ref = links.put_file("cat.png")
    monkeypatch.chdir(tmp_path)
    assert links.get(ref) == PNG


def test_touched_files_are_found(links: MediaStore, photo: Path) -> None:
    """A file with other times and the same content is hashed again and found."""
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


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_changed_files_are_errors(links: MediaStore, photo: Path, change, message: str) -> None:
    """The error names the file, the change and the remedy."""
    ref = links.put_file(photo)
    change(photo)
    for ask in (links.get, links.info, links.open):
        with pytest.raises(MissingMediaError, match=message) as caught:
            ask(ref)
        assert "cat.png" in str(caught.value)
        assert "load the files again" in str(caught.value)
    assert ref not in links


def test_a_moved_file_is_found_after_loading_again(links: MediaStore, photo: Path) -> None:
    """References stay valid if their files are put again from their new path."""
    ref = links.put_file(photo)
    moved = photo.rename(photo.with_name("kitten.png"))
    assert ref not in links
    assert links.put_file(moved) == ref
    assert links.get(ref) == PNG


def test_one_of_two_equal_files_is_enough(links: MediaStore, photo: Path) -> None:
    """Media in two files are found while one of them is unchanged."""
    copy = photo.with_name("copy.png")
    copy.write_bytes(PNG)
    ref = links.put_file(photo)
    assert links.put_file(copy) == ref
    copy.unlink()
    assert links.get(ref) == PNG
    copy.write_bytes(PNG)
    photo.write_bytes(jpeg())
    assert links.get(ref) == PNG


def test_delete_and_sweep_keep_the_files(links: MediaStore, photo: Path) -> None:
    """Only the link is removed, never the file."""
    ref = links.put_file(photo)
    assert links.delete(ref)
    assert ref not in links
    ref = links.put_file(photo)
    assert swept(links, UNRELATED).removed == (ref,)
    assert ref not in links
    assert photo.read_bytes() == PNG


def test_many_links_are_listed(links: MediaStore, photo: Path) -> None:
    """A large index is listed completely."""
    assert links.path
    refs = set()
    for number in range(30):
        path = photo.with_name(f"{number}.png")
        path.write_bytes(png(f"number {number}"))
        refs.add(links.put_file(path))
    refs.add(links.put(jpeg()))
    assert set(links.refs()) == refs


def test_text_is_not_linked(links: MediaStore, photo: Path) -> None:
    """A file that is not media is refused as it is when copying."""
    photo.write_text("text")
    with pytest.raises(ContentError, match="no image"):
        links.put_file(photo)


@pytest.mark.parametrize("content", [b"junk" * 1000, PNG], ids=["content", "an image"])
def test_a_damaged_index_is_an_error(links: MediaStore, photo: Path, content: bytes) -> None:
    """The index is the only record of the paths, so it is never discarded."""
    ref = links.put_file(photo)
    assert links.path
    (links.path / "links.db").write_bytes(content)
    for ask in (lambda: links.get(ref), lambda: links.put_file(photo), lambda: list(links.refs())):
        with pytest.raises(StoreError, match=r"links\.db.*not a database"):
            ask()
    assert (links.path / "links.db").read_bytes() == content
