"""The contract of metadata updates, and of export and import with a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError, SpaceMismatchError, StoreError
from tests.vectorstores.contract_base import ANIMALS, Call, ContractBase, cases, ids_of
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from pathlib import Path

BAD_UPDATES: list[tuple[str, tuple[Any, ...], type[Exception], str]] = [
    ("an unknown id", (["cat", "wolf"], {"x": 1}), ContentError, "nothing was changed, .* not stored: 'wolf'"),
    ("unknown in a dict", ({"cat": {}, "wolf": {}},), ContentError, "not stored: 'wolf'"),
    ("no metadata", (["cat"],), TypeError, "needs metadata for these ids"),
    ("metadata twice", ({"cat": {}}, {"x": 1}), TypeError, "not both"),
    ("one id", ("cat", {"x": 1}), TypeError, "ids is a list of str, got one str"),
    ("a number", ([5], {"x": 1}), TypeError, "the id 5 is not a str"),
    ("not a dict", (["cat"], "x"), TypeError, "metadata is a dict, got str"),
    ("not JSON", (["cat"], {"x": b"1"}), ContentError, r"metadata\['x'\] is a bytes"),
    ("NaN", ({"cat": {"x": float("nan")}},), ContentError, r"metadata\['cat'\]\['x'\] is nan"),
]


def tampered(folder: Path) -> None:
    """Change a text."""
    path = folder / "documents.jsonl"
    path.write_bytes(path.read_bytes().replace(b"black cat", b"white cat"))


def cut(folder: Path) -> None:
    """Truncate the vectors."""
    path = folder / "vectors.npy"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(**changes: Any) -> Callable[[Path], None]:
    """Change the manifest."""

    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


SPOILT: list[tuple[str, Callable[[Path], object], str]] = [
    ("a text changed", tampered, "documents.jsonl was changed or cut after the export"),
    ("vectors cut", cut, "vectors.npy was changed or cut after the export"),
    ("no manifest", lambda folder: (folder / "manifest.json").unlink(), "not a whole export: manifest.json is missing"),
    ("no vectors", lambda folder: (folder / "vectors.npy").unlink(), "not a whole export: vectors.npy is missing"),
    ("a manifest that is no JSON", lambda folder: (folder / "manifest.json").write_text("{"), "not an export that can"),
    (
        "a manifest of something else",
        lambda folder: (folder / "manifest.json").write_text("[]"),
        "not an export that can",
    ),
    ("another count", edit(count=5), "does not hold what manifest.json says"),
    ("an unknown word", edit(colour=5), "not an export that can be read"),
    ("a newer format", edit(format=2), "has format 2, .* reads up to 1. Upgrade"),
]


class PortableContract(ContractBase):
    """Requirements for `update_metadata`, `export_to` and `import_from`."""

    async def test_metadata_is_merged_or_replaced(self, animals: Any, call: Call, embedding: WordEmbeddings) -> None:
        """Given keys or all keys are replaced; text, vector and keywords stay, and nothing is embedded."""
        before = {id_: row for ids, rows in animals.vectors() for id_, row in zip(ids, rows, strict=True)}
        calls = len(embedding.calls)
        await call(animals, "update_metadata", ["cat", "dog"], {"seen": True, "tags": []})
        await call(animals, "update_metadata", {"puppy": {"modality": "image"}, "report": {"first_page": 9}})
        await call(animals, "update_metadata", ["noise"], {"modality": "text"}, replace=True)
        found = {doc.id: doc for doc in await call(animals, "get_by_ids", [doc.id for doc in ANIMALS])}
        assert found["cat"].metadata == {"modality": "image", "tags": [], "seen": True}
        assert found["puppy"].metadata == {"modality": "image", "start_s": 60.5}
        assert found["report"].metadata == {"modality": "pdf", "first_page": 9, "draft": True}
        assert found["noise"].metadata == {"modality": "text"}
        assert found["summary"] == ANIMALS[4]
        assert {id_: doc.page_content for id_, doc in found.items()} == {doc.id: doc.page_content for doc in ANIMALS}
        after = {id_: row for ids, rows in animals.vectors() for id_, row in zip(ids, rows, strict=True)}
        assert all((after[id_] == row).all() for id_, row in before.items())
        assert set(ids_of(await call(animals, "search", "x", k=9, filter={"modality": "image"}))) == {"cat", "puppy"}
        assert await call(animals, "count", filter={"tags": "pet"}) == 0
        assert await call(animals, "count", filter={"start_s": {"$exists": True}}) == 2
        assert ids_of(await call(animals, "search", "wind", search_type="keyword", filter={"modality": "text"})) == [
            "noise"
        ]
        assert len(embedding.calls) == calls + 1

    async def test_updating_nothing_is_no_error(self, animals: Any, call: Call) -> None:
        """An empty list of ids changes nothing."""
        await call(animals, "update_metadata", [], {"first_page": 99})
        await call(animals, "update_metadata", {})
        assert await call(animals, "count", filter={"first_page": 99}) == 0

    @pytest.mark.parametrize(("arguments", "error", "message"), cases(BAD_UPDATES))
    async def test_bad_updates_change_nothing(
        self, animals: Any, call: Call, arguments: tuple[Any, ...], error: type[Exception], message: str
    ) -> None:
        """Either all of the documents are updated or none."""
        with pytest.raises(error, match=message):
            await call(animals, "update_metadata", *arguments)
        assert sorted(animals.iterate(), key=lambda doc: str(doc.id)) == sorted(ANIMALS, key=lambda doc: str(doc.id))

    async def test_updating_an_empty_store(self, store: Any, call: Call) -> None:
        """The result says that nothing was updated."""
        with pytest.raises(ContentError, match="not stored: 'x'"):
            await call(store, "update_metadata", ["x"], {"y": 1})

    async def test_a_folder_contains_everything(self, animals: Any, call: Call, tmp_path: Path) -> None:
        """The files can be read by other programs; a store that imports them is equal bit by bit."""
        assert await call(animals, "export_to", tmp_path / "new" / "export") == len(ANIMALS)
        folder = tmp_path / "new" / "export"
        assert {path.name for path in folder.iterdir()} == {"documents.jsonl", "vectors.npy", "manifest.json"}
        lines = [json.loads(line) for line in (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines()]
        rows = np.load(folder / "vectors.npy")
        assert rows.shape == (len(ANIMALS), 16)
        manifest = json.loads((folder / "manifest.json").read_text())
        assert (manifest["count"], manifest["dimensions"]) == (len(ANIMALS), 16)
        assert manifest["fingerprint"] == animals.get_info("fingerprint")
        before, vectors = list(animals.iterate()), list(animals.vectors())
        assert [line["id"] for line in lines] == [doc.id for doc in before]
        await call(animals, "delete_all")
        counts: list[int] = []
        assert await call(animals, "import_from", folder, batch_size=4, progress=counts.append) == len(ANIMALS)
        assert counts == [4, 6]
        for _ in range(2):
            assert list(animals.iterate()) == before
            ((ids, again),) = animals.vectors()
            assert ids == vectors[0][0]
            assert np.abs(again - vectors[0][1]).max() < 1e-6
            assert await call(animals, "import_from", folder) == len(ANIMALS)
        assert (await call(animals, "search", "a black dog", k=1))[0].document == ANIMALS[1]

    async def test_importing_replaces_and_keeps_the_rest(self, animals: Any, call: Call, tmp_path: Path) -> None:
        """Documents with the same id are replaced."""
        await call(animals, "export_to", tmp_path / "export")
        await call(animals, "add_texts", ["other", "new"], ids=["cat", "fox"])
        await call(animals, "import_from", tmp_path / "export")
        assert await call(animals, "get_by_ids", ["cat"]) == ANIMALS[:1]
        assert await call(animals, "count") == len(ANIMALS) + 1

    async def test_any_text_survives(self, store: Any, call: Call, tmp_path: Path) -> None:
        """All types of line breaks, quotes, and an empty text are preserved."""
        texts = ["", "a\nb\r\nc\u2028d\u0085e", '"quoted" \\ back', "\x00\x1f", "東京 😀"]
        documents = [Document(id=str(i), page_content=text, metadata={text: text}) for i, text in enumerate(texts)]
        await call(store, "add_documents", documents)
        await call(store, "export_to", tmp_path / "export")
        await call(store, "delete_all")
        await call(store, "import_from", tmp_path / "export")
        assert await call(store, "get_by_ids", [str(i) for i in range(len(texts))]) == documents

    async def test_an_empty_collection_is_exported(self, store: Any, call: Call, tmp_path: Path) -> None:
        """An empty collection can be exported and imported."""
        assert await call(store, "export_to", tmp_path / "export") == 0
        assert await call(store, "import_from", tmp_path / "export") == 0

    @pytest.mark.parametrize(("spoil", "message"), cases(SPOILT))
    async def test_a_damaged_folder_is_refused(
        self, animals: Any, call: Call, tmp_path: Path, spoil: Callable[[Path], object], message: str
    ) -> None:
        """The import is refused before anything is added."""
        await call(animals, "export_to", tmp_path / "export")
        await call(animals, "delete_all")
        spoil(tmp_path / "export")
        with pytest.raises(StoreError, match=message):
            await call(animals, "import_from", tmp_path / "export")
        assert await call(animals, "count") == 0

    async def test_a_folder_with_other_files_is_not_changed(self, animals: Any, call: Call, tmp_path: Path) -> None:
        """An export overwrites nothing but an unfinished export."""
        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "notes.txt").write_text("mine")
        with pytest.raises(StoreError, match=r"is not empty \('notes.txt'\). An export needs a folder of its own"):
            await call(animals, "export_to", mine)
        assert [path.name for path in mine.iterdir()] == ["notes.txt"]
        await call(animals, "export_to", tmp_path / "export")
        with pytest.raises(StoreError, match="is not empty"):
            await call(animals, "export_to", tmp_path / "export")
        (tmp_path / "export" / "manifest.json").unlink()
        assert await call(animals, "export_to", tmp_path / "export") == len(ANIMALS)
        with pytest.raises(StoreError, match="cannot be written"):
            await call(animals, "export_to", mine / "notes.txt")

    async def test_another_space_is_refused(self, animals: Any, open_store: Any, call: Call, tmp_path: Path) -> None:
        """The fingerprints are compared before anything is added."""
        await call(animals, "export_to", tmp_path / "export")
        await call(animals, "delete_all")
        other = open_store(WordEmbeddings(model="words-2"))
        with pytest.raises(SpaceMismatchError, match="model: 'words-1' stored, 'words-2' given"):
            await call(other, "import_from", tmp_path / "export")
        assert await call(other, "count") == 0
