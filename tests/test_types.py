"""Results of type checkers for a user's program: correct lines pass, and each mistake is reported on its own line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PROGRAM = """
from pathlib import Path

from google.genai import types
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import HumanMessage
from PIL import Image

from langchain_gemini_mm import GeminiEmbeddings, Hits, LocalVectorStore, MediaStore, MultimodalRetriever, Query
from langchain_gemini_mm.evaluation import LabelledQuery, Report, evaluate
from langchain_gemini_mm.references import MediaRef

embeddings = GeminiEmbeddings(api_key="x", output_dimensionality=768, media=MediaStore.memory())
store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
retriever = MultimodalRetriever(store=store)
image = Image.new("RGB", (8, 8))
part = types.Part(text="a cat")

hits: Hits = store.search("a cat")
store.search(Path("cat.png"))
store.search(b"bytes")
store.search(MediaRef("0" * 64))
store.search(Blob.from_data(b"bytes"))
store.search(Document("a cat"))
store.search(HumanMessage("a cat"))
store.search({"type": "text", "text": "a cat"})
store.search(image)
store.search(part)
store.search(types.Content(parts=[part]))
store.search(types.File(uri="files/1", mime_type="image/png"))
store.search(["a cat", Path("cat.png"), image])
store.search(("a cat", image))
store.search(Query("a cat", like=["b"]))
store.search_many(["a cat", [image, "sleeping"], Query(image)], k=3)
vector: list[float] = embeddings.embed_query([image, "sleeping"])
documents: list[Document] = retriever.invoke("a cat")
found: Hits = retriever.search(image, k=2)
report: Report = evaluate(store, [LabelledQuery("a cat", ["cat"]), LabelledQuery(Query(image), {"cat": 2.0})])
"""

MISTAKES = [
    "store.search(42)",
    'LabelledQuery(42, ["cat"])',
    "embeddings.embed_query(42)",
    'store.search("x", search_type="hybird")',
    'store.search_many(["x"], search_typ="mmr")',
    'MultimodalRetriever(store=store, search_type="hybird")',
    'MultimodalRetriever(store=store).search("x", rankin="raw")',
    'MultimodalRetriever(store=store, ranking="normlized")',
]
FIRST = len(PROGRAM.splitlines()) + 1
"""The line of the first mistake in the program."""
SETTINGS = {
    "include": ["program.py"],
    "extraPaths": [str(ROOT)],
    "pythonVersion": "3.11",
    "typeCheckingMode": "standard",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with all mistakes at its end, one per line."""
    path = tmp_path_factory.mktemp("user") / "program.py"
    path.write_text(PROGRAM + "\n".join([*MISTAKES, ""]), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["mypy", "basedpyright"])
def errors(request: pytest.FixtureRequest, program: Path) -> dict[int, str]:
    """The errors that a type checker reports in the program, by line."""
    if find_spec(request.param) is None:
        assert not (os.environ.get("CI") and find_spec("mypy")), f"{request.param} of the group lint is missing"
        pytest.skip(f"{request.param} is not installed: it is in the dependency group `lint`")
    return {"mypy": mypy_errors, "basedpyright": pyright_errors}[request.param](program)


def mypy_errors(program: Path) -> dict[int, str]:
    """Errors of `mypy --strict` without our own configuration."""
    printed = checked(
        program, "mypy", "--strict", "--hide-error-context", "--no-pretty", f"--cache-dir={ROOT / '.mypy_cache/user'}"
    )
    found = re.finditer(r"^program\.py:(\d+): error: (.*)$", printed, flags=re.MULTILINE)
    return {int(match[1]): match[2] for match in found}


def pyright_errors(program: Path) -> dict[int, str]:
    """Errors of pyright in its standard mode."""
    program.with_name("pyrightconfig.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    report = json.loads(checked(program, "basedpyright", "--outputjson", f"--pythonpath={sys.executable}"))
    assert report["summary"]["filesAnalyzed"] == 1
    return {
        found["range"]["start"]["line"] + 1: found["message"]
        for found in report["generalDiagnostics"]
        if found["severity"] == "error"
    }


def checked(program: Path, tool: str, *options: str) -> str:
    """Run a type checker on the program in its folder, as a user does."""
    where = {"MYPYPATH": str(ROOT)} if tool == "mypy" else {}
    names = [program.name] if tool == "mypy" else []
    run = subprocess.run(
        [sys.executable, "-m", tool, *options, *names],
        cwd=program.parent,
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return run.stdout


@pytest.mark.slow
def test_correct_lines_pass(errors: dict[int, str]) -> None:
    """Every type of content is accepted, as are the documented arguments."""
    wrong = {line: PROGRAM.splitlines()[line - 1] for line in errors if line < FIRST}
    assert not wrong, [errors[line] for line in wrong]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_on_its_line(errors: dict[int, str], mistake: str) -> None:
    """Mistakes that raise at run time are also reported by type checkers."""
    assert FIRST + MISTAKES.index(mistake) in errors
