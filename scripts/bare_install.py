"""Show what an installation without extras can do: embed and search text, and name the missing extra for the rest.

`scripts/check_wheel.py` runs this in an environment that contains the wheel and nothing else, outside the checkout.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from langchain_core.vectorstores import InMemoryVectorStore

import langchain_gemini_mm
from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore, MissingExtraError

TEXTS = ["a puppy asleep on a sofa", "quarterly revenue by region", "how to bake rye bread"]


def refusal_of(action: Callable[[], object]) -> str:
    """Return the message of the error that a missing extra raises."""
    try:
        action()
    except MissingExtraError as error:
        return str(error)
    raise AssertionError("this worked without its extra")


def main() -> None:
    """Embed and search text, then trigger the errors of missing extras."""
    for library in ("PIL", "av", "pypdfium2", "uvicorn"):
        assert importlib.util.find_spec(library) is None, f"{library} is installed: this is no bare installation"
    print(f"langchain-gemini-mm {langchain_gemini_mm.__version__} in {Path(langchain_gemini_mm.__file__).parent}")

    media = MediaStore("media")
    embeddings = GeminiEmbeddings(media=media, output_dimensionality=768)
    for store in (LocalVectorStore("index.db", embeddings), InMemoryVectorStore(embeddings)):
        store.add_texts(TEXTS)
        (found,) = store.similarity_search("a sleepy puppy", k=1)
        assert found.page_content == TEXTS[0], found
    print("text: embedded, stored and found")

    folder = Path("library")
    folder.mkdir()
    paper = folder / "paper.pdf"
    paper.write_bytes(b"%PDF-1.7\n" + bytes(200))
    needing: dict[str, Callable[[], object]] = {
        "a PDF": lambda: embeddings.embed_query(paper),
        "the emulator": lambda: importlib.import_module("langchain_gemini_mm.testing").GeminiEmulator(),
    }
    for what, action in needing.items():
        refusal = refusal_of(action)
        assert 'pip install "langchain-gemini-mm[' in refusal, refusal
        print(f"{what}: {refusal}")

    (folder / "notes.txt").write_text("Puppies sleep a lot.", encoding="utf-8")
    loader = MediaLoader(folder, media)
    assert [document.metadata["source"] for document in loader.lazy_load()] == [f"{folder.name}/notes.txt"]
    (left_out,) = loader.skipped
    assert left_out.source == f"{folder.name}/paper.pdf", left_out
    assert "pip install" in left_out.reason, left_out
    print(f"loader: 1 text; {left_out.source} skipped: {left_out.reason}")


if __name__ == "__main__":
    main()
