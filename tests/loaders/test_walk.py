"""Walking folders: a deterministic order, links, unusual names and missing permissions."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm.loaders.walk import Patterns
from langchain_gemini_mm.storage import MediaStore
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from collections.abc import Iterable

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


def write(folder: Path, names: Iterable[str]) -> Path:
    """Write text files below a folder; each contains its name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return folder


def load(source: Any, **options: Any) -> tuple[list[str], dict[str, str]]:
    """The sources of the loaded files, and the reasons of the skipped ones."""
    loader = PathLoader(source, options.pop("media", MediaStore.memory()), **options)
    found = [document.metadata["source"] for document in loader.lazy_load()]
    return found, {skipped.source: skipped.reason for skipped in loader.skipped}


def test_files_are_sorted_by_name(tmp_path: Path) -> None:
    """Folders and files are sorted by code points, independent of the file system."""
    names = ["Z.txt", "a/b.txt", "a/a/z.txt", "a.txt", "é.txt", "b/1.txt", "b/10.txt", "b/2.txt"]
    expected = ["Z.txt", "a/a/z.txt", "a/b.txt", "a.txt", "b/1.txt", "b/10.txt", "b/2.txt", "é.txt"]
    assert load(write(tmp_path, names)) == (expected, {})


def test_hidden_and_system_files_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Hidden files and operating-system files are counted in the log, and loaded only on request."""
    hidden = [".env", ".git/config", "Thumbs.db", "x/desktop.ini", "~$letter.txt", "__MACOSX/a.txt", "x/@eaDir/a.txt"]
    write(tmp_path, [*hidden, "a.txt"])
    caplog.set_level("INFO", "langchain_gemini_mm")
    assert load(tmp_path) == (["a.txt"], {})
    assert "1 files gave 1 documents; 7 hidden" in caplog.text
    assert len(load(tmp_path, include_hidden=True)[0]) == len(hidden) + 1


GLOBS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "by name anywhere": ({"glob": "*.md"}, ["a.MD", "x/b.md", "x/y/c.md"]),
    "by path": ({"glob": "x/*.md"}, ["x/b.md"]),
    "at the top": ({"glob": "./*.md"}, ["a.MD"]),
    "across folders": ({"glob": "x/**/*.md"}, ["x/b.md", "x/y/c.md"]),
    "several": ({"glob": ["*.txt", "./a*"]}, ["a.MD", "x/d.txt"]),
    "a class": ({"glob": "[a-b].md"}, ["a.MD", "x/b.md"]),
    "not in a class": ({"glob": "[!a-b].*"}, ["x/d.txt", "x/y/c.md"]),
    "one letter": ({"glob": "?.txt"}, ["x/d.txt"]),
    "not these": ({"exclude": "*.md"}, ["x/d.txt"]),
    "not this folder": ({"exclude": "x/y"}, ["a.MD", "x/b.md", "x/d.txt"]),
    "not this folder, with a slash": ({"exclude": "x/"}, ["a.MD"]),
    "not the contents of a folder": ({"exclude": "x/**"}, ["a.MD"]),
    "not a folder by name": ({"exclude": "y"}, ["a.MD", "x/b.md", "x/d.txt"]),
    "some but not all": ({"glob": "*.md", "exclude": ["y", "a.*"]}, ["x/b.md"]),
    "not deeper": ({"recursive": False}, ["a.MD"]),
}


@pytest.mark.parametrize(("options", "expected"), GLOBS.values(), ids=GLOBS)
def test_patterns_select_files(tmp_path: Path, options: dict[str, Any], expected: list[str]) -> None:
    """Glob patterns and exclusions match names or paths, ignoring case; excluded files are not reported."""
    folder = write(tmp_path, ["a.MD", "x/b.md", "x/y/c.md", "x/d.txt"])
    assert load(folder, **options) == (expected, {})


@given(st.text("ab*?[]!^-/.\\&|~", max_size=12), st.text("ab/.]^-&", max_size=12))
def test_every_pattern_is_valid(pattern: str, path: str) -> None:
    """Every string is a valid pattern, and `**` matches everything."""
    if pattern:
        Patterns(pattern).match(path)
    assert Patterns("**").match(path)


@given(st.text("ab/.[]^$+(){}|", min_size=1, max_size=12).filter(lambda text: text.strip("/.") and "[" not in text))
def test_a_name_without_wildcards_matches_itself(path: str) -> None:
    """Every character except `*`, `?` and classes matches itself."""
    path = path.strip("/").removeprefix("./").strip("/") or "a"
    assert Patterns(f"./{path}").match(path)


@posix
def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    """Symbolic links are reported; nothing outside the folder is loaded."""
    secret = write(tmp_path / "outside", ["secret.txt"])
    folder = write(tmp_path / "library", ["a.txt", "x/b.txt"])
    (folder / "file-link.txt").symlink_to(secret / "secret.txt")
    (folder / "folder-link").symlink_to(secret)
    (folder / "inner-link").symlink_to(folder / "x")
    found, skipped = load(folder)
    assert found == ["a.txt", "x/b.txt"]
    assert set(skipped) == {"file-link.txt", "folder-link", "inner-link"}
    assert all("symbolic link" in reason for reason in skipped.values())


@posix
def test_followed_links_stay_inside(tmp_path: Path) -> None:
    """On request links are followed, except out of the folder and in cycles; no folder is read twice."""
    secret = write(tmp_path / "outside", ["secret.txt"])
    folder = write(tmp_path / "library", ["a.txt", "x/b.txt"])
    (folder / "alias.txt").symlink_to(folder / "a.txt")
    (folder / "dangling.txt").symlink_to(folder / "gone.txt")
    (folder / "loop").symlink_to(folder)
    (folder / "out.txt").symlink_to(secret / "secret.txt")
    (folder / "out-by-dots").symlink_to(Path("..") / "outside")
    (folder / "self").symlink_to(folder / "self")
    (folder / "x" / "up").symlink_to(folder / "x")
    (folder / "x" / "sibling").symlink_to(tmp_path / "library-2")
    write(tmp_path / "library-2", ["c.txt"])
    found, skipped = load(folder, follow_symlinks=True)
    assert found == ["a.txt", "alias.txt", "x/b.txt"]
    assert {source: reason.split()[-1] for source, reason in skipped.items()} == {
        "dangling.txt": "nothing",
        "loop": "already",
        "out-by-dots": "folder",
        "out.txt": "folder",
        "self": skipped["self"].split()[-1],
        "x/sibling": "folder",
        "x/up": "already",
    }


@posix
def test_the_folder_can_be_a_link(tmp_path: Path) -> None:
    """A link that is passed as the folder is followed."""
    write(tmp_path / "real", ["a.txt"])
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert load(tmp_path / "link") == (["a.txt"], {})


@posix
def test_special_files_are_reported(tmp_path: Path) -> None:
    """A pipe and a socket are reported without opening them."""
    folder = write(tmp_path / "x", ["a.txt"])
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        found, skipped = load(folder)
    assert found == ["a.txt"]
    assert set(skipped) == {"pipe", "socket"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_missing_permissions_are_reported(tmp_path: Path) -> None:
    """Files and folders without read permission are reported."""
    folder = write(tmp_path / "x", ["a.txt", "locked/b.txt", "secret.txt"])
    (folder / "secret.txt").chmod(0)
    (folder / "locked").chmod(0)
    try:
        found, skipped = load(folder)
    finally:
        (folder / "locked").chmod(0o755)
    assert found == ["a.txt"]
    assert set(skipped) == {"locked", "secret.txt"}
    assert all("Permission denied" in reason for reason in skipped.values())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_cannot_be_decoded(tmp_path: Path) -> None:
    """A name in another encoding is loaded under an escaped name that can be stored and printed."""
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    (tmp_path / "line\nbreak.txt").write_text("x")
    (tmp_path / os.fsdecode(b"bad\xff.png")).write_bytes(b"\x89PNG\r\n\x1a\n")
    found, skipped = load(tmp_path)
    assert found == ["caf\\xe9.txt", "line\nbreak.txt"]
    assert set(skipped) == {"bad\\xff.png"}
    assert all(source.encode() for source in [*found, *skipped])


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS holds the two for one name")
def test_composed_and_decomposed_names(tmp_path: Path) -> None:
    """Composed and decomposed spellings of é give the same source; if both files exist, both are loaded."""
    write(tmp_path / "mac", ["cafe\u0301.txt"])
    write(tmp_path / "linux", ["caf\u00e9.txt"])
    assert load(tmp_path / "mac") == load(tmp_path / "linux") == (["caf\u00e9.txt"], {})
    write(tmp_path / "mac", ["caf\u00e9.txt"])
    assert len(set(load(tmp_path / "mac")[0])) == 2


def test_the_media_store_is_not_loaded_into_itself(tmp_path: Path) -> None:
    """A media store inside the loaded folder is skipped in every run."""
    from langchain_gemini_mm.testing import png

    write(tmp_path, ["a.txt"])
    (tmp_path / "cat.png").write_bytes(png())
    for store in (MediaStore(tmp_path / "media"), MediaStore.links(tmp_path / "media")):
        assert load(tmp_path, media=store) == load(tmp_path, media=store) == (["a.txt", "cat.png"], {})


def test_deep_folders(tmp_path: Path) -> None:
    """Deeply nested folders do not exceed the recursion limit."""
    depth = 100 if os.name == "nt" else 400
    folder = tmp_path.joinpath(*["d"] * depth)
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("deep")
    assert load(tmp_path) == (["d/" * depth + "a.txt"], {})


def test_an_empty_folder(tmp_path: Path) -> None:
    """An empty folder is not an error."""
    assert load(tmp_path) == ([], {})
