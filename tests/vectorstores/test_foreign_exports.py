"""Export folders from elsewhere: damaged or hostile ones are refused before anything is added, with typed errors."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_gemini_mm.errors import GeminiMMError, StoreError
from langchain_gemini_mm.evaluation import LabelledQuery, write_labelled
from langchain_gemini_mm.vectorstores import LocalVectorStore
from tests.vectorstores.contract_base import cases
from tests.vectorstores.fakes import WordEmbeddings

SIZE, COUNT = 8, 3
NAMES = ("documents.jsonl", "vectors.npy", "manifest.json")


def opened() -> LocalVectorStore:
    """An empty store in memory."""
    return LocalVectorStore(":memory:", WordEmbeddings(SIZE))


def exported(folder: Path, count: int = COUNT) -> Path:
    """An export of a few documents."""
    with opened() as store:
        store.add_documents(Document(id=f"{i:05}", page_content=f"text {i}", metadata={"k": i}) for i in range(count))
        store.export_to(folder)
    return folder


def rewrite(folder: Path, *, lines: list[bytes] | None = None, vectors: bytes | None = None, **manifest: Any) -> None:
    """Replace parts of an export; the hashes in the manifest are those of the new files."""
    if lines is not None:
        (folder / "documents.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    if vectors is not None:
        (folder / "vectors.npy").write_bytes(vectors)
    stored = json.loads((folder / "manifest.json").read_text())
    for key, name in (("documents_sha256", "documents.jsonl"), ("vectors_sha256", "vectors.npy")):
        stored[key] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(stored | manifest))


def first_line(line: bytes) -> Callable[[Path], None]:
    """Replace the first document."""

    def change(folder: Path) -> None:
        rewrite(folder, lines=[line, *(folder / "documents.jsonl").read_bytes().splitlines()[1:]])

    return change


def other_lines(choose: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    """Choose other documents."""
    return lambda folder: rewrite(folder, lines=choose((folder / "documents.jsonl").read_bytes().splitlines()))


def all_vectors(value: float) -> Callable[[Path], None]:
    """Replace the numbers of all vectors."""

    def change(folder: Path) -> None:
        header = (folder / "vectors.npy").read_bytes()[:128]
        rewrite(folder, vectors=header + np.full((COUNT, SIZE), value, "<f4").tobytes())

    return change


def header(description: str, content: bytes, **manifest: Any) -> Callable[[Path], None]:
    """Replace header and content of the vectors."""
    text = description.ljust(117).encode() + b"\n"
    whole = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content
    return lambda folder: rewrite(folder, vectors=whole, **manifest)


def manifest(**changes: Any) -> Callable[[Path], None]:
    """Change the manifest."""
    return lambda folder: rewrite(folder, **changes)


DEEP = b"[" * 100_000 + b"]" * 100_000
SPOILT: list[tuple[str, Callable[[Path], None], str]] = [
    ("deep JSON", first_line(b'{"id":"0","text":"x","metadata":{"a":' + DEEP + b"}}"), "not an export"),
    (
        "JSON that nests 900 times",
        first_line(b'{"id":"0","text":"x","metadata":{"a":' + b"[" * 900 + b"]" * 900 + b"}}"),
        "nests deeper",
    ),
    ("NaN in metadata", first_line(b'{"id":"0","text":"x","metadata":{"a":NaN}}'), "is nan"),
    ("a huge number", first_line(b'{"id":"0","text":"x","metadata":{"a":' + b"9" * 5000 + b"}}"), "not an export"),
    ("half a character", first_line(b'{"id":"0","text":"\\ud800","metadata":{}}'), "not valid Unicode"),
    ("no UTF-8", first_line(b'{"id":"0","text":"\xff","metadata":{}}'), "not an export that can be read"),
    ("no object", first_line(b"[1]"), "a line is not an object"),
    ("an empty id", first_line(b'{"id":"","text":"x","metadata":{}}'), "an id is empty"),
    ("an id that is a list", first_line(b'{"id":["x"],"text":"x","metadata":{}}'), "a line is not an object with"),
    ("metadata that are a list", first_line(b'{"id":"0","text":"x","metadata":[1]}'), "is not an object"),
    ("no metadata", first_line(b'{"id":"0","text":"x"}'), "metadata"),
    ("an id twice", other_lines(lambda found: [found[0], found[0], found[2]]), "two documents with the same id"),
    ("a line less", other_lines(lambda found: found[:2]), "does not have the 3 lines"),
    ("a line more", other_lines(lambda found: [*found, found[0]]), "does not have the 3 lines"),
    ("an empty line", other_lines(lambda found: [found[0], b"", found[2]]), "not an export that can be read"),
    ("NaN vectors", all_vectors(np.nan), "not of unit length"),
    ("infinite vectors", all_vectors(np.inf), "not of unit length"),
    ("zero vectors", all_vectors(0), "not of unit length"),
    ("vectors of 1e30", all_vectors(1e30), "not of unit length"),
    ("a count below zero", manifest(count=-1), "count in manifest.json is '-1'"),
    ("a count in words", manifest(count="3"), "count in manifest.json is '3'"),
    ("a count that is true", manifest(count=True), "count in manifest.json is 'True'"),
    ("no documents", manifest(count=0), "does not hold what"),
    ("dimensions of zero", manifest(dimensions=0), "dimensions in manifest.json is 0"),
    ("a fingerprint that is a list", manifest(fingerprint=[1]), "fingerprint in manifest.json"),
    ("a format in words", manifest(format="x"), "format in manifest.json is 'x'"),
    ("a manifest of 2 MB", manifest(fingerprint={"a": "x" * 2_000_000}), "manifest.json is longer than"),
    (
        "objects in the vectors",
        header("{'descr': '|O', 'fortran_order': False, 'shape': (3, 8), }", b"cos\nsystem\n(S'id'\ntR."),
        "vectors.npy does not hold what",
    ),
    (
        "a shape beyond memory",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1000000000000), }", bytes(96), dimensions=10**12),
        "dimensions in manifest.json is '1000000000000'",
    ),
    (
        "a negative shape",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, -8), }", bytes(96), dimensions=-8),
        "dimensions in manifest.json is '-8'",
    ),
]  # fmt: skip


def refused(folder: Path, message: str) -> None:
    """An import is refused, and nothing is added."""
    with opened() as store:
        store.add_texts(["mine"], ids=["mine"])
        with pytest.raises(StoreError, match=message):
            store.import_from(folder)
        assert [document.id for document in store.iterate()] == ["mine"]
        assert store.search("mine", k=5)[0].document.id == "mine"
        assert store.check().problems == ()


@pytest.mark.parametrize(("spoil", "message"), cases(SPOILT))
def test_a_hostile_export_is_refused(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    """With right hashes, too; the error names the folder and what is wrong."""
    folder = exported(tmp_path / "export")
    spoil(folder)
    refused(folder, message)


def test_a_damaged_line_far_behind_is_found_before_anything_is_added(tmp_path: Path) -> None:
    """All lines are read before the first is stored."""
    folder = exported(tmp_path / "export", 2500)
    lines = (folder / "documents.jsonl").read_bytes().splitlines()
    rewrite(folder, lines=[*lines[:2400], b'{"id":1', *lines[2401:]])
    refused(folder, "not an export that can be read")


def test_an_honest_export_is_imported(tmp_path: Path) -> None:
    """The checks refuse nothing else."""
    folder = exported(tmp_path / "export", 2500)
    with opened() as store:
        assert store.import_from(folder, batch_size=999) == 2500
        assert store.check().problems == ()
        assert store.search("text 77", k=1)[0].document.id == "00077"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipes_and_links_are_not_followed(tmp_path: Path, name: str) -> None:
    """A pipe would block for ever, a link could lead to any file."""
    folder = exported(tmp_path / "export")
    (folder / name).rename(tmp_path / "real")
    os.mkfifo(folder / name)
    refused(folder, "not a regular file")
    (folder / name).unlink()
    (folder / name).symlink_to(tmp_path / "real")
    refused(folder, "a symbolic link")
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, "not a regular file")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that tests copy."""
    path: Path = tmp_path_factory.mktemp("healthy") / "export"
    return exported(path)


@settings(max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    place=st.floats(0, 1, exclude_max=True),
    length=st.integers(0, 40),
    new=st.binary(max_size=40),
    rehash=st.booleans(),
)
def test_any_damage_adds_nothing_or_documents_that_can_be_used(
    healthy: Path,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    place: float,
    length: int,
    new: bytes,
    rehash: bool,
) -> None:
    """Whatever bytes are replaced: only errors of this package, all documents or none, and a healthy store."""
    folder = tmp_path_factory.mktemp("damaged") / "export"
    shutil.copytree(healthy, folder)
    content = (folder / name).read_bytes()
    start = int(place * len(content))
    (folder / name).write_bytes(content[:start] + new + content[start + length :])
    if rehash and name != "manifest.json":
        rewrite(folder)
    with opened() as store:
        try:
            expected = store.import_from(folder)
        except GeminiMMError:
            expected = 0
        assert store.count() == expected
        assert store.check().problems == ()
        assert len(store.search("text", k=9)) == expected


def special_files(folder: Path) -> dict[str, Path]:
    """Things with names that are not regular files."""
    os.mkfifo(folder / "pipe")
    (folder / "target").write_text("precious")
    (folder / "link").symlink_to(folder / "target")
    (folder / "dangling").symlink_to(folder / "nothing")
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind(str(folder / "socket"))
    return {name: folder / name for name in ("pipe", "link", "dangling", "socket")} | {"null": Path(os.devnull)}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_only_regular_files_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backups and labelled files replace no links, pipes, sockets or devices, and follow no links."""
    monkeypatch.chdir(tmp_path)
    with opened() as store:
        store.add_texts(["a"])
        for name, path in special_files(tmp_path).items():
            before = path.lstat()
            with pytest.raises(StoreError):
                store.backup(path)
            with pytest.raises(OSError, match=r"link|not a regular file"):
                write_labelled(path, [LabelledQuery("a", ["b"])])
            assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino), name
        assert (tmp_path / "target").read_text() == "precious"
        assert not (tmp_path / "nothing").exists()


def test_only_files_of_their_kind_are_replaced(tmp_path: Path) -> None:
    """A file with other content is not a labelled file, even with its name."""
    path = tmp_path / "labelled.jsonl"
    path.write_text("my notes")
    with pytest.raises(FileExistsError, match="not a file of labelled queries"):
        write_labelled(path, [LabelledQuery("a", ["b"])])
    assert path.read_text() == "my notes"
    for earlier in ("", '\ufeff\n { "relevant": ["b"], "query": "a"}\n'):
        path.write_text(earlier, encoding="utf-8")
        assert write_labelled(path, [LabelledQuery("a", ["b"])]) == 1
        assert write_labelled(path, [LabelledQuery("b", ["b"])]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["labelled.jsonl"]


@pytest.mark.parametrize("name", ["documents.jsonl", "vectors.npy", "manifest.json.partial"])
def test_an_export_follows_no_links_and_replaces_no_other_files(tmp_path: Path, name: str) -> None:
    """A folder may contain an unfinished export, but no files of others with these names."""
    folder = tmp_path / "export"
    folder.mkdir()
    target = tmp_path / "target"
    target.write_text('{"id": "precious"}')
    (folder / name).symlink_to(target)
    with opened() as store:
        store.add_texts(["a"])
        with pytest.raises(StoreError, match="a symbolic link"):
            store.export_to(folder)
        assert target.read_text() == '{"id": "precious"}'
        (folder / name).unlink()
        (folder / name).write_text("my notes")
        with pytest.raises(StoreError, match="is not part of an export"):
            store.export_to(folder)
        assert (folder / name).read_text() == "my notes"
        (folder / name).unlink()
        assert store.export_to(folder) == 1
