"""A worker process: takes files by their paths, one JSON line each, and answers with what it found in them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from langchain_gemini_mm.loaders.examine import examine_path
from langchain_gemini_mm.loaders.failures import refusal
from langchain_gemini_mm.loaders.options import Wanted


def main() -> None:
    """Answer until there are no more questions.

    The first line says what is wanted. Libraries that print would spoil the answers, so these go out by a door of
    their own.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    wanted = Wanted.from_json(json.loads(questions.readline()))
    while line := questions.readline():
        answers.write(json.dumps(answer(json.loads(line), wanted)) + "\n")
        answers.flush()


def answer(question: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """What is in a file, or why it cannot be used."""
    path = Path(os.fsdecode(bytes.fromhex(question["path"])))
    wanted = wanted.inside_texts() if question["into_texts"] else wanted
    try:
        return {"seen": examine_path(path, question["source"], wanted).to_json()}
    except Exception as error:  # noqa: BLE001  whatever a file causes is the file's fault here
        return {"refused": refusal(error)}
