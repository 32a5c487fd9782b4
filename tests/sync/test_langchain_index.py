"""What docs/keeping-current.md says of LangChain's `index()` with a record manager that lasts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore
from langchain_gemini_mm.testing import write_samples

if TYPE_CHECKING:
    from langchain_gemini_mm.testing import GeminiEmulator

PAGE = Path(__file__).parents[2] / "docs" / "keeping-current.md"


def shown() -> str:
    """The block of the page."""
    pattern = r"^<!-- not run: .*test_langchain_index.*-->\n```python\n(.*?)^```$"
    found = re.search(pattern, PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def run(emulator: GeminiEmulator) -> tuple[dict[str, int], int]:
    """Run the block as a new process would; its counts, and the number of embedded contents."""
    before = emulator.embedded
    media = MediaStore("./library/media")
    with (
        GeminiEmbeddings(media=media, output_dimensionality=128) as embeddings,
        LocalVectorStore("./library/index.db", embeddings) as store,
    ):
        names: dict[str, Any] = {"media": media, "store": store, "LocalVectorStore": LocalVectorStore}
        exec(compile(shown(), str(PAGE), "exec"), names)
        names["indexed"].close()
        names["records"].engine.dispose()
    return names["counts"], emulator.embedded - before


def test_index_with_a_record_manager_that_lasts(
    emulator: GeminiEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process embeds nothing; a changed file is replaced, and a deleted one is deleted."""
    pytest.importorskip("langchain_classic.indexes", reason="needs the group `classic`", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos-and-talks"
    write_samples(folder)
    counts, embedded = run(emulator)
    total = counts["num_added"]
    assert total > 5
    assert 0 < embedded <= total
    counts, embedded = run(emulator)
    assert (counts["num_added"], counts["num_skipped"], counts["num_deleted"], embedded) == (0, total, 0, 0)
    (folder / "notes" / "trip.md").write_text("We went to the mountains instead.")
    (folder / "notes" / "kitten.md").unlink()
    counts, embedded = run(emulator)
    assert (counts["num_added"], counts["num_deleted"], embedded) == (1, 2, 1)
