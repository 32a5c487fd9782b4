"""MediaLoader: files of every modality become Documents; unusable files are reported and do not end the run."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.document_loaders.blob_loaders import BlobLoader
from langchain_core.documents.base import Blob

from langchain_gemini_mm.errors import ContentError, StoreError
from langchain_gemini_mm.loaders import MediaLoader, Skipped
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.storage import MediaStore, MemoryBackend
from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from tests.media.generate import locked_pdf, picture
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.documents import Document

PAPER = pdf(("one",))
FILES: dict[str, bytes] = {
    "a.txt": b"Hello, world",
    "notes/readme.md": b"# Title\n\nText",
    "pictures/cat.png": png("cat"),
    "pictures/dog.JPG": jpeg("dog"),
    "sounds/bell.mp3": mp3(0.5),
    "sounds/rain.wav": wav(0.5),
    "talks/paper.pdf": PAPER,
    "videos/clip.mov": mp4(0.5, container="mov"),
    "videos/clip.mp4": mp4(0.5),
    "without-ending": png("lost its name"),
}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of each modality."""
    return write(tmp_path / "library", FILES)


def sources(documents: list[Document]) -> list[str]:
    """The sources of Documents."""
    return [document.metadata["source"] for document in documents]


def test_each_modality_becomes_a_document(folder: Path, media: MediaStore) -> None:
    """Texts become text, media one reference each, in the order of names; nothing is skipped."""
    loader = PathLoader(folder, media)
    documents = loader.load()
    assert sources(documents) == sorted(FILES)
    assert loader.skipped == []
    for document in documents:
        if document.metadata["modality"] == "text":
            assert document.page_content == FILES[document.metadata["source"]].decode()
        else:
            ref = MediaRef.parse(document.page_content)
            assert media.get(ref) == FILES[document.metadata["source"]]


def test_metadata(folder: Path, media: MediaStore) -> None:
    """The keys are the same for all files of a modality, the type comes from the content, and there are no times."""
    found = {document.metadata["source"]: document.metadata for document in PathLoader(folder, media).load()}
    assert found["pictures/dog.JPG"] == {
        "source": "pictures/dog.JPG",
        "modality": "image",
        "mime_type": "image/jpeg",
        "title": "dog",
        "position": 0,
        "media_sha256": hashlib.sha256(FILES["pictures/dog.JPG"]).hexdigest(),
        "size_bytes": len(FILES["pictures/dog.JPG"]),
        "companion_text": "dog",
    }
    assert found["notes/readme.md"] == {
        "source": "notes/readme.md",
        "modality": "text",
        "mime_type": "text/markdown",
        "title": "readme",
        "position": 0,
    }
    types = {source: (entry["modality"], entry["mime_type"]) for source, entry in found.items()}
    assert types["without-ending"] == ("image", "image/png")
    assert types["videos/clip.mov"] == ("video", "video/quicktime")
    assert types["talks/paper.pdf"] == ("pdf", "application/pdf")
    assert types["sounds/bell.mp3"] == ("audio", "audio/mp3")


def test_ids_do_not_depend_on_the_machine(folder: Path, tmp_path: Path) -> None:
    """A copy of a folder with other file times and another media store gives equal Documents."""
    other = write(tmp_path / "elsewhere" / folder.name, FILES)
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    here = PathLoader(folder, MediaStore.memory()).load()
    assert here == PathLoader(str(other), MediaStore(tmp_path / "media")).load()
    assert len({document.id for document in here}) == len(here)


def test_names_of_libraries(folder: Path, media: MediaStore) -> None:
    """Sources begin with the name of the folder, or with another name; equal files of two libraries have other ids."""
    plain = MediaLoader(folder, media).load()
    prefixed = MediaLoader(folder, media, name="archive").load()
    assert sources(plain)[0] == f"{folder.name}/a.txt"
    assert sources(prefixed) == [source.replace(folder.name, "archive", 1) for source in sources(plain)]
    assert not {document.id for document in plain} & {document.id for document in prefixed}


def office() -> bytes:
    """The first bytes of a Word file."""
    return b"PK\x03\x04\x14\x00\x06\x00" + bytes(500)


UNUSABLE: dict[str, tuple[bytes, str]] = {
    "bad.png": (b"\x89PNG\r\n\x1a\n1234", "it is a damaged PNG"),
    "cut.jpg": (jpeg()[:-40], "it is a damaged JPEG file: it is cut off"),
    "empty.txt": (b"", "it is empty"),
    "book.epub": (office(), "e-books are not read: save it as PDF, or name a function"),
    "letter.docx": (office(), "Office files.*save it as PDF.*docling or unstructured"),
    "many.zip": (office(), "archives.*unpack it"),
    "old.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Office files.*docling"),
    "locked.pdf": (locked_pdf(), "password"),
    "program.exe": (b"MZ\x90\x00\x03\x00\x00\x00", "neither text nor"),
    "sketch.svg": (b"<svg/>", "export it as PNG"),
    "spaces.txt": (b" \n\n \t\n", "nothing but white space"),
    "wrong-end.png": (b"junk\x01\x02\x03" * 50, "neither text nor"),
}


def test_unusable_files_are_reported(folder: Path, media: MediaStore, caplog: pytest.LogCaptureFixture) -> None:
    """Each unusable file is reported with its reason and remedy; the others are loaded."""
    caplog.set_level(logging.INFO, "langchain_gemini_mm")
    write(folder / "rotten", {name: data for name, (data, _) in UNUSABLE.items()})
    loader = PathLoader(folder, media)
    assert sources(loader.load()) == sorted(FILES)
    assert [skipped.source for skipped in loader.skipped] == [f"rotten/{name}" for name in sorted(UNUSABLE)]
    for skipped in loader.skipped:
        pattern = UNUSABLE[skipped.source.removeprefix("rotten/")][1]
        assert re.search(pattern, skipped.reason), skipped
    assert f"left out {len(UNUSABLE)} of {len(UNUSABLE) + len(FILES)}" in caplog.text
    assert f"{len(FILES)} files gave {len(FILES)} documents" in caplog.text


def test_unused_files_are_not_stored(folder: Path, media: MediaStore) -> None:
    """Skipped files are not in the media store."""
    write(folder, {"book.docx": office(), "cut.jpg": jpeg()[:-40]})
    documents = PathLoader(folder, media).load()
    assert {ref.sha256 for ref in media.refs()} == {
        document.metadata["media_sha256"] for document in documents if document.metadata["modality"] != "text"
    }


def test_the_backend_and_model_decide(tmp_path: Path, media: MediaStore) -> None:
    """Types that can be converted are loaded; media without companion text are reported for a text model."""
    folder = write(tmp_path / "x", {"modern.webp": picture("WEBP"), "a.txt": b"text"})
    for backend in ("gemini", "vertex"):
        assert sources(PathLoader(folder, media, backend=backend).load()) == ["a.txt", "modern.webp"]
    loader = PathLoader(folder, media, model="gemini-embedding-001")
    assert sources(loader.load()) == ["a.txt"]
    assert "text only" in loader.skipped[0].reason


def test_skipped_is_reset_for_each_run(folder: Path, media: MediaStore) -> None:
    """A second run reports only its own skipped files."""
    loader = PathLoader(write(folder, {"empty.txt": b""}), media)
    loader.load()
    assert [skipped.source for skipped in loader.skipped] == ["empty.txt"]
    (folder / "empty.txt").unlink()
    assert len(loader.load()) == len(FILES)
    assert loader.skipped == []


def test_progress(folder: Path, media: MediaStore) -> None:
    """After each file, the callback receives its source, and the reason if it was skipped."""
    seen: list[tuple[str, str | None]] = []
    write(folder, {"empty.txt": b""})
    PathLoader(folder, media, progress=lambda source, reason: seen.append((source, reason))).load()
    reasons = {**dict.fromkeys(FILES), "empty.txt": "it is empty"}
    assert dict(seen) == {f"{folder.name}/{name}": reason for name, reason in reasons.items()}


def test_each_file_is_opened_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is opened once to examine, read and store it, also if it has changed since it was stored."""
    opened: list[str] = []
    really = os.open

    def counted(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        opened.append(str(path))
        return really(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", counted)
    store = MediaStore(tmp_path / "media")
    for _ in range(2):
        opened.clear()
        PathLoader(folder, store).load()
        assert sorted(path for path in opened if path.startswith(str(folder))) == sorted(
            str(folder / name) for name in FILES
        )
        write(folder, {name: data + b" " for name, data in FILES.items()})


def test_loading_is_lazy(folder: Path, media: MediaStore) -> None:
    """The first Document is returned before the second file is opened."""
    documents = PathLoader(folder, media).lazy_load()
    assert next(documents).metadata["source"] == "a.txt"
    (folder / "notes" / "readme.md").write_text("changed meanwhile")
    assert next(documents).page_content == "changed meanwhile"


def test_files_removed_during_the_run_are_reported(folder: Path, media: MediaStore) -> None:
    """A file or folder that was listed and then removed is reported."""
    loader = PathLoader(folder, media)
    documents = loader.lazy_load()
    next(documents)
    for path in (folder / "pictures").iterdir():
        path.unlink()
    (folder / "pictures").rmdir()
    (folder / "without-ending").unlink()
    assert "sounds/bell.mp3" in sources(list(documents))
    reasons = {skipped.source: skipped.reason for skipped in loader.skipped}
    assert reasons["pictures"] == "it cannot be listed: No such file or directory"
    assert "No such file" in reasons["without-ending"]


async def test_the_event_loop_is_not_blocked(folder: Path, media: MediaStore) -> None:
    """alazy_load returns the same Documents, and other tasks run while files are read."""
    threads = set()
    loader = PathLoader(folder, media, progress=lambda *_: threads.add(threading.current_thread()))
    documents = [document async for document in loader.alazy_load()]
    assert documents == PathLoader(folder, media).load()
    assert threading.current_thread() not in threads
    assert list(await asyncio.gather(loader.aload(), loader.aload())) == [documents, documents]


class Full(MemoryBackend):
    """A media store on a full disk."""

    def writer(self) -> Any:
        """Raise."""
        raise StoreError("cannot write to the media store: No space left on device")


def test_a_full_media_store_ends_the_run(folder: Path) -> None:
    """An error of the media store affects every following file, so it is raised instead of reported."""
    loader = PathLoader(folder, MediaStore(Full()))
    with pytest.raises(StoreError, match="No space"):
        loader.load()
    assert loader.skipped == []


def test_a_single_file(folder: Path, media: MediaStore) -> None:
    """The source of a single file is its name."""
    assert sources(PathLoader(folder / "pictures" / "cat.png", media).load()) == ["cat.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    {
        "pictures/*": ["pictures/cat.png", "pictures/dog.JPG"],
        "*/*.jpg": ["pictures/dog.JPG"],
        "**/*.m[op][v34]": ["sounds/bell.mp3", "videos/clip.mov", "videos/clip.mp4"],
        "*.txt": ["a.txt"],
        "nothing/*.here": [],
    }.items(),
)
def test_a_glob_as_source(folder: Path, media: MediaStore, pattern: str, expected: list[str]) -> None:
    """Sources are relative to the folder before the first wildcard."""
    root = Path(pattern.partition("*")[0])
    for given in (folder / pattern, str(folder / pattern)):
        found = [(root / source).as_posix() for source in sources(PathLoader(given, media).load())]
        assert found == expected


def test_a_list_of_paths(folder: Path, media: MediaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, folders and missing paths can be mixed; the order is that of the list."""
    monkeypatch.chdir(folder)
    loader = MediaLoader(["videos/clip.mp4", Path("./a.txt"), "gone.png", "pictures", "a.txt"], media)
    name = folder.name
    assert sources(loader.load()) == ["videos/clip.mp4", f"{name}/a.txt", "pictures/cat.png", "pictures/dog.JPG"]
    assert [(skipped.source, "twice" in skipped.reason) for skipped in loader.skipped] == [
        (f"{name}/gone.png", False),
        (f"{name}/a.txt", True),
    ]


def test_a_list_of_absolute_paths(folder: Path, media: MediaStore) -> None:
    """Sources begin with the folder of each file, or with the library that `root=` names, as with their folder."""
    paths = [folder / "videos" / "clip.mp4", folder / "pictures" / "cat.png"]
    assert sources(MediaLoader(paths, media).load()) == ["videos/clip.mp4", "pictures/cat.png"]
    whole = sources(MediaLoader(paths, media, root=folder).load())
    assert whole == [f"{folder.name}/videos/clip.mp4", f"{folder.name}/pictures/cat.png"]
    assert set(whole) < set(sources(MediaLoader(folder, media).load()))


def test_two_folders_of_one_name(tmp_path: Path, media: MediaStore) -> None:
    """Files of one would replace those of the other, so they are refused."""
    for place in ("a", "b"):
        write(tmp_path / place / "docs", {"x.txt": place.encode()})
    with pytest.raises(ContentError, match=r"would both be the library 'docs'.*name=.*root="):
        MediaLoader([tmp_path / "a" / "docs", tmp_path / "b" / "docs" / "x.txt"], media)
    together = MediaLoader([tmp_path / "a" / "docs", tmp_path / "b" / "docs"], media, root=tmp_path, name="all")
    assert sources(together.load()) == ["all/a/docs/x.txt", "all/b/docs/x.txt"]


class Loader(BlobLoader):
    """A third-party blob loader."""

    def yield_blobs(self) -> Iterator[Blob]:
        """Return two blobs."""
        yield Blob.from_data("# Some text", path="mail/1.md", metadata={"author": "Ada"})
        yield Blob.from_data(FILES["pictures/cat.png"], metadata={"source": "mail/2", "author": "Bob"})


def test_blobs(folder: Path, media: MediaStore) -> None:
    """Blobs in memory or on disk are loaded like files; their metadata are kept unless the loader sets the same key."""
    first, second = PathLoader(Loader(), media).load()
    assert (first.page_content, first.metadata["mime_type"]) == ("# Some text", "text/markdown")
    assert first.metadata["author"] == "Ada"
    assert second.metadata | {"author": "Bob", "source": "mail/2", "modality": "image"} == second.metadata
    blobs = [Blob.from_data(PAPER), Blob.from_data(b"junk\x00"), Blob.from_path(folder / "a.txt"), Blob.from_data("x")]
    loader = PathLoader(blobs, media)
    found = loader.load()
    assert sources(found)[0] == f"sha256-{hashlib.sha256(PAPER).hexdigest()}"
    assert sources(found)[1] == "a.txt"
    assert len({document.id for document in found}) == 3
    assert len(loader.skipped) == 1
    assert sources(MediaLoader(Blob.from_path(folder / "a.txt"), media).load()) == [f"{folder.name}/a.txt"]


CALLS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a folder that is not there": ({"source": "nope"}, ContentError, "no file or folder 'nope'"),
    "a URL": ({"source": "https://example.com/x.png"}, ValueError, "https:// addresses are not loaded"),
    "a bucket in a list": ({"source": ["s3://b/x"]}, ValueError, "s3://"),
    "nothing": ({"source": ""}, ValueError, "empty"),
    "a number": ({"source": 5}, TypeError, "int"),
    "open files": ({"source": [io.BytesIO()]}, TypeError, "BytesIO"),
    "bytes": ({"source": b"path"}, TypeError, "bytes"),
    "no store": ({"media": None}, TypeError, "MediaStore"),
    "too much overlap": ({"chunk_size": 10, "chunk_overlap": 10}, ValueError, "chunk_overlap < chunk_size"),
    "no size": ({"chunk_size": 0, "chunk_overlap": 0}, ValueError, "chunk_overlap < chunk_size"),
    "another backend": ({"backend": "azure"}, ValueError, "'azure'"),
    "no model": ({"model": ""}, TypeError, "model"),
    "an empty pattern": ({"exclude": [""]}, TypeError, "patterns"),
}


@pytest.mark.parametrize(("change", "error", "message"), CALLS.values(), ids=CALLS)
def test_invalid_arguments(
    folder: Path, media: MediaStore, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Invalid arguments are refused when the loader is created."""
    arguments = {"source": folder, "media": media, **change}
    with pytest.raises(error, match=message):
        PathLoader(arguments.pop("source"), arguments.pop("media"), **arguments)


BARE = """
import sys
for name in ("PIL", "av", "pypdfium2"):
    sys.modules[name] = None
from tests.path_loader import PathLoader
from langchain_gemini_mm.storage import MediaStore
loader = PathLoader(sys.argv[1], MediaStore.memory())
print(*[document.metadata["source"] for document in loader.lazy_load()])
print(*sorted({skipped.reason for skipped in loader.skipped}), sep="\\n")
"""


def test_skipped_files_name_the_missing_extra(folder: Path) -> None:
    """Without extras texts, PNG, JPEG and WAV are loaded; for other files the reason contains the install command."""
    done = subprocess.run([sys.executable, "-c", BARE, str(folder)], capture_output=True, check=True, text=True)
    loaded, *reasons = done.stdout.splitlines()
    assert loaded.split() == [
        "a.txt",
        "notes/readme.md",
        "pictures/cat.png",
        "pictures/dog.JPG",
        "sounds/rain.wav",
        "without-ending",
    ]
    assert [reason.split()[3] for reason in reasons] == ["PyAV,", "pypdfium2,"]
    assert all('pip install "langchain-gemini-mm[media]"' in reason for reason in reasons)


def test_skipped_entries_are_hashable() -> None:
    """Entries of `skipped` can be compared and added to sets."""
    assert {Skipped("a", "b")} == {Skipped("a", "b")}
