"""After `mirror`, an index is equal to its folder, and only what is new was embedded."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob

from langchain_gemini_mm import ContentError, MediaLoader, MultimodalRetriever
from langchain_gemini_mm.errors import MirrorError, ServiceError
from langchain_gemini_mm.sync import MirrorPlan
from langchain_gemini_mm.testing import mp3, pdf, png
from langchain_gemini_mm.vectorstores import MultimodalVectorStore
from tests.sync.conftest import MirroredFolder, documents_of

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator
    from tests.vectorstores.contract_base import Call


def test_an_unchanged_folder_is_not_opened(mirrored: MirroredFolder) -> None:
    """Everything is unchanged, and nothing is embedded."""
    report = mirrored.mirror()
    assert report.is_current
    assert len(report.unchanged) == 3
    assert (mirrored.embedded, report.documents) == (0, 0)


def test_touched_files_are_unchanged(mirrored: MirroredFolder) -> None:
    """A file with new times and the same content is read once, and embedded never."""
    for path in mirrored.folder.rglob("*.*"):
        os.utime(path, (1, 1))
    report = mirrored.mirror()
    assert (len(report.unchanged), mirrored.embedded, report.documents) == (3, 0, 0)


def test_files_that_became_shorter(mirrored: MirroredFolder) -> None:
    """Documents of a former, longer version are not found any more."""
    mirrored.write(notes_txt="old secret " * 600, talk_mp3=mp3(200))
    mirrored.mirror()
    assert len(mirrored.contents["work/talk.mp3"]) > 1
    mirrored.write(notes_txt="new", talk_mp3=mp3(70), paper_pdf=pdf(("new one",)))
    report = mirrored.mirror()
    assert sorted(report.changed) == ["work/notes.txt", "work/paper.pdf", "work/talk.mp3"]
    assert mirrored.contents["work/notes.txt"] == ["new"]
    assert [len(texts) for texts in mirrored.contents.values()] == [1, 1, 1, 1]


def test_add_replaces_files_that_became_shorter(mirrored: MirroredFolder) -> None:
    """`add` returns the documents of the files, and the index has no others of them."""
    mirrored.write(notes_txt="old secret " * 600, talk_mp3=mp3(200))
    mirrored.retriever.add(mirrored.folder)
    mirrored.write(notes_txt="new", talk_mp3=mp3(70), paper_pdf=pdf(("new one",)))
    added = mirrored.retriever.add(mirrored.folder)
    assert sorted(added) == sorted(documents_of(mirrored.retriever))
    assert [len(texts) for texts in mirrored.contents.values()] == [1, 1, 1, 1]


def test_an_inserted_paragraph_is_embedded_alone(mirrored: MirroredFolder) -> None:
    """Chunks behind an insertion have new positions, and are not embedded again."""
    paragraphs = ["\n".join(f"paragraph {n} line {i} with some words" for i in range(45)) for n in range(8)]
    mirrored.write(long_txt="\n\n".join(paragraphs))
    mirrored.mirror()
    before = len(mirrored.contents["work/long.txt"])
    mirrored.write(long_txt="\n\n".join(["\n".join(["A new paragraph in front."] * 70)[:1900], *paragraphs]))
    mirrored.mirror()
    assert mirrored.embedded == 1
    assert len(mirrored.contents["work/long.txt"]) == before + 1
    chunks = [one for one in documents_of(mirrored.retriever).values() if one.metadata["source"] == "work/long.txt"]
    assert sorted(chunk.metadata["position"] for chunk in chunks) == list(range(before + 1))


def test_moved_files_are_not_embedded(mirrored: MirroredFolder) -> None:
    """A renamed or moved file keeps its vectors, and has its new source only."""
    (mirrored.folder / "photos").rename(mirrored.folder / "images")
    (mirrored.folder / "notes.txt").rename(mirrored.folder / "images" / "cat.txt")
    report = mirrored.mirror()
    assert sorted(report.moved) == [
        ("work/notes.txt", "work/images/cat.txt"),
        ("work/photos/castle.png", "work/images/castle.png"),
    ]
    assert (mirrored.embedded, report.deleted) == (0, ())
    assert sorted(mirrored.contents) == ["work/images/castle.png", "work/images/cat.txt", "work/paper.pdf"]


def test_files_that_take_the_place_of_others_are_not_embedded(mirrored: MirroredFolder) -> None:
    """Files that are exchanged, or renamed or copied over others, keep their vectors."""
    notes, castle, paper = (mirrored.folder / name for name in ("notes.txt", "photos/castle.png", "paper.pdf"))
    aside = mirrored.folder.with_name("aside")
    notes.rename(aside)
    castle.rename(notes)
    aside.rename(castle)
    report = mirrored.mirror()
    assert (sorted(report.changed), mirrored.embedded) == (["work/notes.txt", "work/photos/castle.png"], 0)
    notes.replace(paper)
    report = mirrored.mirror()
    assert (report.changed, report.deleted, mirrored.embedded) == (("work/paper.pdf",), ("work/notes.txt",), 0)
    shutil.copy(castle, paper)
    assert mirrored.mirror().changed == ("work/paper.pdf",)
    assert (mirrored.embedded, len(mirrored.contents)) == (0, 2)


def test_a_moved_file_and_its_copy(mirrored: MirroredFolder) -> None:
    """A file is moved to one place; it is listed once, and copies are additions."""
    castle = mirrored.folder / "photos" / "castle.png"
    shutil.copy(castle, mirrored.folder / "copy.png")
    castle.rename(mirrored.folder / "moved.png")
    report = mirrored.mirror()
    assert report.moved == (("work/photos/castle.png", "work/copy.png"),)
    assert (report.added, report.deleted, mirrored.embedded) == (("work/moved.png",), (), 0)


def test_adding_a_copy_keeps_the_original(mirrored: MirroredFolder) -> None:
    """`add` deletes nothing: a file that it is not given is not gone."""
    castle = mirrored.folder / "photos" / "castle.png"
    before = mirrored.contents
    shutil.copy(castle, mirrored.folder / "copy.png")
    assert mirrored.retriever.add(mirrored.folder / "copy.png").reports[0].added == ("work/copy.png",)
    assert {**before, "work/copy.png": before["work/photos/castle.png"]} == mirrored.contents
    assert len(mirrored.mirror().unchanged) == 4


def test_deleted_files_are_deleted(mirrored: MirroredFolder) -> None:
    """Deleted files are not found any more; with `delete=False` they are kept."""
    (mirrored.folder / "notes.txt").unlink()
    assert [kept.source for kept in mirrored.mirror(delete=False).kept] == ["work/notes.txt"]
    assert "work/notes.txt" in mirrored.contents
    assert mirrored.mirror().deleted == ("work/notes.txt",)
    assert "work/notes.txt" not in mirrored.contents


def test_excluded_files_are_deleted(mirrored: MirroredFolder) -> None:
    """A file that is excluded from now on is not part of the folder."""
    assert mirrored.mirror(exclude="*.pdf").deleted == ("work/paper.pdf",)


def test_a_damaged_file_keeps_its_documents(mirrored: MirroredFolder) -> None:
    """A file that is being copied stays searchable; it is not read again before it changes."""
    whole = png("a castle")
    mirrored.write(photos__castle_png=whole[:100], broken_png=b"\x89PNG\r\n\x1a\n")
    report = mirrored.mirror()
    assert [kept.source for kept in report.kept] == ["work/photos/castle.png"]
    assert [failed.source for failed in report.failed] == ["work/broken.png"]
    assert "work/photos/castle.png" in mirrored.contents
    again = mirrored.mirror()
    assert (again.kept, again.failed) == (report.kept, report.failed)
    assert mirrored.mirror(retry_failed=True).failed == report.failed
    mirrored.write(photos__castle_png=whole)
    assert mirrored.mirror().kept == ()
    assert mirrored.embedded == 0


def test_a_damaged_file_that_is_whole_elsewhere(mirrored: MirroredFolder) -> None:
    """The former content of a damaged file is not embedded again under another name."""
    castle = mirrored.folder / "photos" / "castle.png"
    whole = castle.read_bytes()
    castle.write_bytes(whole[:100])
    mirrored.mirror()
    mirrored.write(copy_png=whole)
    report = mirrored.mirror()
    assert (report.added, mirrored.embedded) == (("work/copy.png",), 0)
    assert [kept.source for kept in report.kept] == ["work/photos/castle.png"]


def test_a_failing_service_is_no_fault_of_a_file(emulator: GeminiEmulator, mirrored: MirroredFolder) -> None:
    """Files that the service has not embedded keep their former documents, and are embedded by the next run."""
    before = mirrored.contents["work/paper.pdf"]
    embeddings: Any = mirrored.retriever.store.embeddings
    embeddings.max_retries, embeddings.max_concurrency, embeddings.batch_bytes = 0, 1, 1
    mirrored.write(notes_txt="about two cats", paper_pdf=pdf(("uno", "dos", "tres", "cuatro")))
    emulator.script([None, None, None, *["malformed"] * 100])
    report = mirrored.mirror()
    emulator.reset()
    assert [failed.source for failed in report.failed] == ["work/paper.pdf"]
    assert set(before) < set(mirrored.contents["work/paper.pdf"])
    report = mirrored.mirror()
    assert (report.changed, report.failed) == (("work/paper.pdf",), ())
    assert len(mirrored.contents["work/paper.pdf"]) == 4
    assert mirrored.mirror().is_current


def test_an_empty_folder_deletes_nothing(mirrored: MirroredFolder) -> None:
    """A share that is not connected is not an empty library."""
    before = mirrored.contents
    mirrored.folder.rename(mirrored.folder.with_name("elsewhere"))
    with pytest.raises(MirrorError, match=r"there is no folder .*Nothing was deleted"):
        mirrored.mirror()
    mirrored.folder.mkdir()
    with pytest.raises(MirrorError, match=r"contains no files, and the index has 3 files"):
        mirrored.mirror(max_delete=1.0)
    assert mirrored.contents == before


def test_most_of_a_folder_is_not_deleted_by_default(mirrored: MirroredFolder) -> None:
    """More than `max_delete` needs to be confirmed."""
    for name in ("notes.txt", "paper.pdf"):
        (mirrored.folder / name).unlink()
    with pytest.raises(MirrorError, match=r"2 of 3 files .* max_delete=0.5. Nothing was deleted.*max_delete=1.0"):
        mirrored.mirror()
    assert len(mirrored.contents) == 3
    assert len(mirrored.mirror(max_delete=1.0).deleted) == 2


def test_folders_with_equal_file_names_stay_apart(mirrored: MirroredFolder, tmp_path: Path) -> None:
    """The name of the folder is part of the source."""
    other = shutil.copytree(mirrored.folder, tmp_path / "holiday")
    (other / "notes.txt").write_text("about a dog")
    mirrored.retriever.add(other)
    assert len(mirrored.contents) == 6
    assert mirrored.contents["holiday/notes.txt"] == ["about a dog"]


def test_a_file_has_one_source(mirrored: MirroredFolder) -> None:
    """It is the same whether a file is added alone, in a list, or with its folder."""
    before = documents_of(mirrored.retriever)
    alone = mirrored.retriever.add(mirrored.folder / "photos" / "castle.png")
    mirrored.retriever.add(mirrored.folder / "notes.txt", mirrored.folder / "photos")
    mirrored.mirror(mirrored.folder / "photos")
    assert documents_of(mirrored.retriever).keys() == before.keys()
    assert before[alone[0]].metadata["source"] == "work/photos/castle.png"


def test_files_of_one_name_that_are_added_alone(mirrored: MirroredFolder, tmp_path: Path) -> None:
    """Each has the name of its folder; both can be in a list, too."""
    other = tmp_path / "holiday" / "notes.txt"
    other.parent.mkdir()
    other.write_text("about a dog")
    (alone,) = mirrored.retriever.add(other)
    assert documents_of(mirrored.retriever)[alone].metadata["source"] == "holiday/notes.txt"
    assert mirrored.retriever.add(mirrored.folder / "notes.txt", other)[1] == alone
    assert {
        "holiday/notes.txt": ["about a dog"],
        "work/notes.txt": ["about a cat"],
    }.items() <= mirrored.contents.items()
    assert len(mirrored.contents) == 4


def test_two_folders_of_one_name(mirrored: MirroredFolder, tmp_path: Path) -> None:
    """They are refused unless a name says whether they are copies."""
    other = shutil.copytree(mirrored.folder, tmp_path / "copies" / "work")
    with pytest.raises(MirrorError, match=r"both|copies of the same files, pass name='work'"):
        mirrored.mirror(other)
    report = mirrored.mirror(other, name="work")
    assert (len(report.unchanged), mirrored.embedded) == (3, 0)
    (other / "notes.txt").unlink()
    assert [kept.source for kept in mirrored.mirror(other, name="work").kept] == ["work/notes.txt"]
    (mirrored.folder / "notes.txt").unlink()
    assert mirrored.mirror().deleted == ("work/notes.txt",)


def test_a_file_that_is_moved_in_one_of_two_copies(mirrored: MirroredFolder, tmp_path: Path) -> None:
    """The documents of the other copy stay; what is known as stored without documents is stored again."""
    other = shutil.copytree(mirrored.folder, tmp_path / "copies" / "work")
    mirrored.mirror(other, name="work")
    (other / "notes.txt").rename(other / "cat.txt")
    report = mirrored.mirror(other, name="work")
    assert (report.added, report.moved, mirrored.embedded) == (("work/cat.txt",), (), 0)
    assert [kept.source for kept in report.kept] == ["work/notes.txt"]
    assert {"work/notes.txt", "work/cat.txt"} < mirrored.contents.keys()
    assert mirrored.mirror().is_current


def test_a_higher_folder_takes_over(mirrored: MirroredFolder, tmp_path: Path) -> None:
    """Sources get the longer path, and nothing is embedded."""
    (tmp_path / "home").mkdir()
    moved = MirroredFolder(tmp_path / "home" / "talks", mirrored.retriever, mirrored.emulator)
    moved.write(a_txt="about a fox", b__c_png=png("a boat"))
    moved.mirror()
    report = moved.mirror(tmp_path / "home")
    assert sorted(report.moved) == [
        ("talks/a.txt", "home/talks/a.txt"),
        ("talks/b/c.png", "home/talks/b/c.png"),
    ]
    assert moved.embedded == 0
    assert not [source for source in moved.contents if source.startswith("talks/")]
    assert moved.mirror(tmp_path / "home").is_current


def test_a_dry_run_changes_nothing(mirrored: MirroredFolder) -> None:
    """The plan has the same lists as the report, and the price."""
    mirrored.write(notes_txt="about two cats", new_txt="about a bird")
    (mirrored.folder / "photos" / "castle.png").rename(mirrored.folder / "castle.png")
    before = mirrored.contents
    plan = mirrored.mirror(dry_run=True)
    assert mirrored.contents == before
    assert isinstance(plan, MirrorPlan)
    assert plan.tokens
    assert plan.usd
    report = mirrored.mirror()
    for name in ("added", "changed", "moved", "deleted", "unchanged", "kept", "failed"):
        assert getattr(plan, name) == getattr(report, name), name


def test_segments_of_bytes(mirrored: MirroredFolder) -> None:
    """Bytes and Blobs are cut like files; options of the loader are accepted."""
    pages = pdf(tuple(f"page {number}" for number in range(8)))
    first = mirrored.retriever.add(pages)
    assert len(first) > 1
    assert mirrored.retriever.add(Blob.from_data(pages)) == first
    added = mirrored.retriever.add(mirrored.folder, exclude=["*.pdf"], modalities=["text"])
    assert len(added) == 1


def test_a_loader_is_accepted(mirrored: MirroredFolder) -> None:
    """Its options are used."""
    media = mirrored.retriever.media_store
    assert media is not None
    added = mirrored.retriever.add(MediaLoader(mirrored.folder, media, glob="*.txt"))
    assert len(added) == 1


def test_a_text_that_is_a_path(mirrored: MirroredFolder) -> None:
    """It may be meant as a path, which the error explains."""
    with pytest.raises(ContentError, match=r"pathlib.Path\(...\); to store the text itself, pass it in a list"):
        mirrored.retriever.add(str(mirrored.folder))
    assert mirrored.retriever.add([str(mirrored.folder)])


async def test_progress(call: Call, mirrored: MirroredFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """A bar counts files, of all that are to be read; a function is called with the number of stored documents."""
    pytest.importorskip("tqdm")
    mirrored.write(**{f"text{number}_txt": f"text {number}" for number in range(600)})
    await call(mirrored.retriever, "mirror", mirrored.folder, progress=True)
    shown = capsys.readouterr().err
    assert re.search(r"100%.* 600/600 \[\d\d:\d\d<\d\d:\d\d", shown)
    assert " files" in shown
    seen: list[int] = []
    mirrored.write(**{f"text{number}_txt": f"new text {number}" for number in range(600)})
    await call(mirrored.retriever, "add", mirrored.folder, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert seen[-1] == 600
    await call(mirrored.retriever, "mirror", mirrored.folder, progress=True)
    assert capsys.readouterr().err == ""


async def test_a_bar_is_closed_after_an_error(
    call: Call, mirrored: MirroredFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next output begins on a line of its own, and the error says how much is done."""
    pytest.importorskip("tqdm")
    mirrored.write(**{f"text{number:03}_txt": f"text {number}" for number in range(600)})
    settings = mirrored.emulator.settings
    requests = iter(range(10_000))
    settings.failures = (403,)

    def latency() -> float:
        settings.failure_rate = 1.0 if next(requests) > 2 else 0.0
        return 0.0

    settings.latency = latency
    with pytest.raises(ServiceError) as caught:
        await call(mirrored.retriever, "mirror", mirrored.folder, progress=True)
    assert re.search(r"[1-9]\d* of 600 files are stored; running it again continues", str(caught.value.__notes__))
    shown = capsys.readouterr().err
    assert "/600" in shown
    assert shown.endswith("\n")


def test_an_emptied_store_is_filled_again(mirrored: MirroredFolder) -> None:
    """A ledger that is newer than the store is noticed."""
    before = mirrored.contents
    mirrored.retriever.store.delete(list(documents_of(mirrored.retriever)))
    assert mirrored.contents == {}
    mirrored.mirror()
    assert mirrored.contents == before


def test_status_and_forget(mirrored: MirroredFolder) -> None:
    """The status counts files and failures; a forgotten library is gone."""
    mirrored.write(broken_png=b"\x89PNG\r\n\x1a\n")
    mirrored.mirror()
    (status,) = mirrored.retriever.status()
    assert (status.library, status.files, status.places) == ("work", 3, (str(mirrored.folder),))
    assert [failed.source for failed in status.failed] == ["work/broken.png"]
    mirrored.retriever.forget("work/photos")
    assert "work/photos/castle.png" not in mirrored.contents
    with pytest.raises(ContentError, match="no library or source 'wrok'"):
        mirrored.retriever.forget("wrok")
    mirrored.retriever.forget("work")
    assert (mirrored.contents, mirrored.retriever.status()) == ({}, [])


async def test_async_twins(retriever: MultimodalRetriever, call: Call, tmp_path: Path) -> None:
    """`amirror`, `aadd`, `astatus` and `aforget` do the same."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.txt").write_text("about a cat")
    report = await call(retriever, "mirror", folder)
    assert report.added == ("work/a.txt",)
    assert len(await call(retriever, "add", folder)) == 1
    assert [status.documents for status in await call(retriever, "status")] == [1]
    await call(retriever, "forget", "work")
    assert documents_of(retriever) == {}


def test_documents_without_a_ledger_are_adopted(emulator: GeminiEmulator, mirrored: MirroredFolder) -> None:
    """Documents of an earlier version have other ids and sources; they are replaced, and not embedded again."""
    store = mirrored.retriever.store
    if not isinstance(store, MultimodalVectorStore):
        pytest.skip("other stores cannot be searched for a source")
    older = [
        Document(one.page_content, id=f"old {number}", metadata={**one.metadata, "source": source.partition("/")[2]})
        for number, one in enumerate(store.iterate())
        if (source := one.metadata["source"])
    ]
    before = mirrored.contents
    store.delete_all()
    store.add_documents(older)
    mirrored.mirror()
    assert (mirrored.contents, mirrored.embedded) == (before, 0)
