"""Bad input: each case raises a typed error that names the value and the remedy."""

from __future__ import annotations

import math
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob

from langchain_gemini_mm import (
    ContentError,
    FilterError,
    GeminiEmbeddings,
    LocalVectorStore,
    MediaLimitError,
    MediaLoader,
    MediaStore,
    MissingMediaError,
    Query,
    ServiceError,
    SpaceMismatchError,
    StoreError,
)
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, mp4, pdf, png, wav

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class World:
    """The objects that a case may use: a service, a media store, an index with one text, and a folder."""

    folder: Path
    media: MediaStore
    embeddings: GeminiEmbeddings
    store: LocalVectorStore

    def file(self, name: str, data: bytes) -> Path:
        """Write a new file."""
        path = self.folder / name
        path.write_bytes(data)
        return path

    def reopened(self, name: str = "index.db", **options: Any) -> LocalVectorStore:
        """Open a second store."""
        return LocalVectorStore(self.folder / name, self.embeddings, **options)

    def changed(self, **fields: Any) -> GeminiEmbeddings:
        """Embeddings of another space."""
        return GeminiEmbeddings(**{"media": self.media, "output_dimensionality": 768, **fields})


@pytest.fixture
def world(tmp_path: Path, emulator: GeminiEmulator) -> Iterator[World]:
    """A new `World` for each case."""
    media = MediaStore(tmp_path / "media")
    embeddings = GeminiEmbeddings(media=media, output_dimensionality=768)
    with embeddings, LocalVectorStore(tmp_path / "index.db", embeddings) as store:
        store.add_texts(["hello"], ids=["1"])
        yield World(tmp_path, media, embeddings, store)


def foreign_database(world: World) -> Path:
    """An SQLite file of another program."""
    path = world.folder / "foreign.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE x (a)")
    connection.commit()
    connection.close()
    return path


def locked_write(world: World) -> None:
    """Write while another connection holds the file."""
    with world.reopened(timeout=0.1) as second:
        blocker = sqlite3.connect(world.folder / "index.db")
        try:
            blocker.execute("BEGIN EXCLUSIVE")
            second.add_texts(["x"])
        finally:
            blocker.rollback()
            blocker.close()


def newer_file(world: World) -> None:
    """Open a file of a newer version."""
    world.reopened("newer.db").close()
    connection = sqlite3.connect(world.folder / "newer.db")
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    world.reopened("newer.db")


def closed_search(world: World) -> None:
    """Search in a closed store."""
    world.store.close()
    world.store.search("a")


def torn_media(world: World) -> None:
    """Read media whose file was truncated outside of the store."""
    ref = world.media.put(png("x", size=(300, 300)))
    (stored,) = [path for path in (world.folder / "media").rglob("*") if path.name == ref.sha256]
    os.chmod(stored, 0o644)  # noqa: PTH101
    stored.write_bytes(stored.read_bytes()[:50])
    world.embeddings.embed_query(ref.markdown)


PNG, JPEG, WAV, PDF = png("x"), jpeg("x"), wav(1), pdf(2)
UNKNOWN = MediaRef("0" * 64)
Case = tuple[str, Callable[[World], Any], type[Exception], str]

FILES: list[Case] = [
    (
        "half a PNG",
        lambda w: w.embeddings.embed_query(PNG[: len(PNG) // 2]),
        ContentError,
        "damaged PNG.*again",
    ),
    ("60 bytes of a JPEG", lambda w: w.embeddings.embed_query(JPEG[:60]), ContentError, "damaged JPEG.*again"),
    ("a JPEG of zeros", lambda w: w.embeddings.embed_query(JPEG[:200] + bytes(999)), ContentError, "damaged"),
    ("half a WAV", lambda w: w.embeddings.embed_query(WAV[:9000]), ContentError, "damaged WAV.*of 16,000 bytes"),
    ("half an MP4", lambda w: w.embeddings.embed_query(mp4(2)[:600]), ContentError, "damaged or cut off"),
    ("half a PDF", lambda w: w.embeddings.embed_query(PDF[:400]), ContentError, "400 bytes.*cut-off PDF.*again"),
    (
        "a damaged file by path",
        lambda w: w.embeddings.embed_query(w.file("a.png", PNG[:60])),
        ContentError,
        "'a.png'",
    ),
    (
        "a GIF in name only",
        lambda w: w.embeddings.embed_query(b"GIF89a" + bytes(90)),
        ContentError,
        "image/gif.*damaged.*onvert it to PNG",
    ),
    (
        "an Office file",
        lambda w: w.embeddings.embed_query(w.file("a.docx", b"PK\3\4" + bytes(90))),
        ContentError,
        "'a.docx' is application/zip",
    ),
    ("an empty file", lambda w: w.embeddings.embed_query(w.file("a.png", b"")), ContentError, "'a.png' is empty"),
    ("a folder", lambda w: w.embeddings.embed_query(w.folder), ContentError, "MediaLoader"),
    ("a missing file", lambda w: w.embeddings.embed_query(w.folder / "nope.png"), MissingMediaError, "nope.png"),
    ("audio that is too long", lambda w: w.embeddings.embed_query(wav(181)), MediaLimitError, "181.*180"),
    ("too many pages", lambda w: w.embeddings.embed_query(pdf(7)), MediaLimitError, "7.*6"),
    ("too many images", lambda w: w.embeddings.embed_query([PNG] * 7), MediaLimitError, "7 image.*at most 6"),
    ("a torn file in the store", torn_media, ContentError, "sha256-.*damaged PNG"),
]
REFERENCES: list[Case] = [
    ("forged", lambda w: w.embeddings.embed_query(UNKNOWN.markdown), MissingMediaError, "not in this media store"),
    ("forged, asked of the store", lambda w: w.media.get(UNKNOWN), MissingMediaError, "000.*Put the file again"),
    ("with a path in it", lambda w: w.media.get("mm://sha256-../../etc/passwd"), ContentError, "not a media reference"),
    ("torn", lambda w: w.store.add_texts(["see ![](mm://sha256-12ab"]), ContentError, r"12ab.*truncated.*chunk size"),
    (
        "upper case",
        lambda w: w.store.search("![](mm://sha256-" + "AB" * 32 + ")"),
        ContentError,
        "64 lower-case hex digits",
    ),
    ("not hexadecimal", lambda w: MediaRef("zz"), ContentError, "64 lower-case hex digits, got 'zz'"),
    ("backwards", lambda w: UNKNOWN.segment(5, 2), ContentError, "got 5.0 to 2.0"),
    ("not a number", lambda w: UNKNOWN.segment(math.nan, 2), ContentError, "got nan"),
    ("page 0", lambda w: UNKNOWN.pages(0, 2), ContentError, "1-based.*got 0 to 2"),
    ("half a page", lambda w: UNKNOWN.pages(1.5, 2), ContentError, "got 1.5 to 2"),  # type: ignore[arg-type]
    (
        "a part beyond the end",
        lambda w: w.embeddings.embed_query(w.media.put(WAV).segment(5, 6)),
        ContentError,
        "t=5,6 begins at 5 s.*1.00 s.*earlier",
    ),
    (
        "a remote block",
        lambda w: w.store.search({"type": "image", "url": "http://localhost/a.png"}),
        ContentError,
        "http:….*never fetched.*MediaStore.put_url",
    ),
    (
        "a file block",
        lambda w: w.store.search({"type": "image", "url": "file:///etc/passwd"}),
        ContentError,
        "never fetched",
    ),
    (
        "a remote uri",
        lambda w: w.embeddings.embed_images(["https://example.org/a.png"]),
        ContentError,
        "'https://'.*local file",
    ),
]
MEDIA: list[Case] = [
    ("an address", lambda w: MediaStore("ftp://site"), ValueError, "ftp://.*folder"),
    ("a file as folder", lambda w: MediaStore(w.file("a.txt", b"a")), StoreError, "a.txt' is a file; give a folder"),
    ("nothing", lambda w: MediaStore(None), TypeError, "folder.*got NoneType"),  # type: ignore[arg-type]
    ("a text", lambda w: w.media.put(b"hello"), ContentError, "5 bytes.*text goes into a Document"),
    ("a name", lambda w: w.media.put("a.png"), TypeError, "'a.png' use put_file"),
    ("no bytes", lambda w: w.media.put(b""), ContentError, "empty"),
    ("a folder", lambda w: w.media.put_file(w.folder), ContentError, "is a folder; load a folder with MediaLoader"),
    ("a missing file", lambda w: w.media.put_file(w.folder / "nope"), ContentError, "nope"),
    ("an empty document", lambda w: w.media.document(), ContentError, "at least one text or media"),
    ("an odd part", lambda w: w.media.document(3), ContentError, "cannot embed int"),  # type: ignore[arg-type]
    ("a blob of junk", lambda w: w.media.put(Blob.from_data(b"junk", mime_type="image/png")), ContentError, "4 bytes"),
    ("a loader of nothing", lambda w: MediaLoader(None, w.media).load(), TypeError, "folder.*got NoneType"),
    ("a missing folder", lambda w: MediaLoader(w.folder / "nope", w.media).load(), ContentError, "nope"),
    ("a loader without store", lambda w: MediaLoader(w.folder, "media").load(), TypeError, "MediaStore, got str"),  # type: ignore[arg-type]
    ("a misspelt option", lambda w: MediaLoader(w.folder, w.media, recursiv=False), TypeError, "'recursiv'"),  # type: ignore[call-arg]
]
DOCUMENTS: list[Case] = [
    ("one text for many", lambda w: w.store.add_texts("abc"), TypeError, "one str"),
    ("one document for many", lambda w: w.store.add_documents(Document(page_content="x")), TypeError, "one Document"),  # type: ignore[arg-type]
    ("texts as documents", lambda w: w.store.add_documents(["x"]), TypeError, r"documents\[0\] is a str"),  # type: ignore[list-item]
    ("ids too few", lambda w: w.store.add_texts(["a", "b"], ids=["1"]), ValueError, "2 texts and 1 ids"),
    ("a number as id", lambda w: w.store.add_texts(["a"], ids=[1]), TypeError, "write '1'"),  # type: ignore[list-item]
    ("an empty id", lambda w: w.store.add_texts(["a"], ids=[""]), ValueError, "empty; leave it None"),
    (
        "bytes in metadata",
        lambda w: w.store.add_texts(["a"], [{"x": b"1"}]),
        ContentError,
        r"\['x'\] is a bytes.*Convert",
    ),
    ("NaN in metadata", lambda w: w.store.add_texts(["a"], [{"x": math.nan}]), ContentError, "is nan.*None"),
    ("an empty text", lambda w: w.store.add_texts(["", " "]), ContentError, "inputs 0, 1.*nothing to embed"),
    ("delete without a word", lambda w: w.store.delete(), ValueError, r"delete_all\(\)"),
    ("delete one id", lambda w: w.store.delete("abc"), TypeError, r"write \['abc'\]"),
    ("one id to get", lambda w: w.store.get_by_ids("abc"), TypeError, r"write \['abc'\]"),
]
QUESTIONS: list[Case] = [
    ("k of 0", lambda w: w.store.search("a", 0), ValueError, "k must be an int >= 1, got 0"),
    ("k of True", lambda w: w.store.search("a", True), TypeError, "got True"),
    (
        "a misspelt search type",
        lambda w: w.store.search("a", search_type="similarty"),  # type: ignore[call-overload]
        ValueError,
        "'similarty'.*'similarity'",
    ),
    ("a threshold of 3", lambda w: w.store.search("a", score_threshold=3), ValueError, "-1 to 1, got 3"),
    (
        "an unknown operator",
        lambda w: w.store.search("a", filter={"x": {"$gtee": 1}}),
        FilterError,
        "'\\$gtee' on 'x'. Did you mean '\\$gte'",
    ),
    ("a list as filter", lambda w: w.store.search("a", filter=[1]), FilterError, "got a list"),  # type: ignore[call-overload]
    (
        "a text for $in",
        lambda w: w.store.search("a", filter={"x": {"$in": "abc"}}),
        FilterError,
        "list of values, got 'abc'",
    ),
    ("a misspelt option", lambda w: w.store.search("a", filtr={}), TypeError, "'filtr'. Did you mean 'filter'"),  # type: ignore[call-overload]
    ("nothing", lambda w: w.store.search(None), ContentError, "NoneType"),  # type: ignore[call-overload]
    ("an empty query", lambda w: Query(), ContentError, "empty: give content, like"),
    ("an unknown id", lambda w: w.store.search(Query(like=["zz"])), ContentError, "not stored: 'zz'"),
    ("a vector with NaN", lambda w: w.store.similarity_search_by_vector([math.nan] * 768), ContentError, "NaN"),
    ("a zero vector", lambda w: w.store.similarity_search_by_vector([0.0] * 768), ContentError, "all zeros"),
    (
        "a short vector",
        lambda w: w.store.similarity_search_by_vector([1.0] * 5),
        SpaceMismatchError,
        "768 dimensions.*have 5",
    ),
    ("an unknown task", lambda w: w.store.search("a", task_type="guess"), ValueError, "unknown task 'guess'"),
]
DATABASES: list[Case] = [
    (
        "other dimensions",
        lambda w: LocalVectorStore(w.folder / "index.db", w.changed(output_dimensionality=256)),
        SpaceMismatchError,
        "768 stored, 256 given.*embed the documents again",
    ),
    (
        "another model",
        lambda w: LocalVectorStore(w.folder / "index.db", w.changed(model="gemini-embedding-001")),
        SpaceMismatchError,
        "'gemini-embedding-2' stored",
    ),
    (
        "another task",
        lambda w: LocalVectorStore(w.folder / "index.db", w.changed(task_type="CLUSTERING")),
        SpaceMismatchError,
        "document_task",
    ),
    (
        "no database",
        lambda w: LocalVectorStore(w.file("a.db", b"not a database" * 99), w.embeddings),
        StoreError,
        "a.db.*not an SQLite file.*another path",
    ),
    (
        "a foreign database",
        lambda w: LocalVectorStore(foreign_database(w), w.embeddings),
        StoreError,
        "another program.*another path",
    ),
    ("a newer database", newer_file, StoreError, "newer"),
    ("a locked database", locked_write, StoreError, "lock.*timeout="),
    ("a folder", lambda w: LocalVectorStore(w.folder, w.embeddings), StoreError, "is a folder.*file in it"),
    ("a path through a file", lambda w: LocalVectorStore(w.file("a", b"a") / "b.db", w.embeddings), StoreError, "b.db"),
    ("no path", lambda w: LocalVectorStore(None, w.embeddings), TypeError, "got None"),  # type: ignore[arg-type]
    ("no embeddings", lambda w: LocalVectorStore(w.folder / "z.db", None), TypeError, "GeminiEmbeddings.*NoneType"),  # type: ignore[arg-type]
    ("no collection name", lambda w: w.reopened(collection=""), ValueError, "collection.*''"),
    ("a misspelt argument", lambda w: w.reopened(colection="a"), TypeError, "'colection'"),
    ("a closed store", closed_search, StoreError, "closed. Open it again"),
    (
        "no service",
        lambda w: w.changed(base_url="http://127.0.0.1:9", max_retries=0).embed_query("a"),
        ServiceError,
        "no answer",
    ),
]

CASES = [
    pytest.param(case, id=f"{group}: {case[0]}")
    for group, cases in {
        "files": FILES,
        "references": REFERENCES,
        "media": MEDIA,
        "documents": DOCUMENTS,
        "questions": QUESTIONS,
        "databases": DATABASES,
    }.items()
    for case in cases
]


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: Case, world: World) -> None:
    """The error has the right type and names value and remedy; stored documents are unchanged."""
    _, action, error, message = case

    with pytest.raises(error) as caught:
        action(world)

    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
    with world.reopened() as store:
        assert store.count() == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")
def test_a_fifo_does_not_block(world: World) -> None:
    """A pipe is refused instead of being read."""
    os.mkfifo(world.folder / "pipe")

    with pytest.raises(ContentError, match=r"'.*pipe' is not a file"):
        world.embeddings.embed_query(world.folder / "pipe")


def test_there_are_enough_cases() -> None:
    """The table has a minimum of cases."""
    assert len(CASES) >= 80
