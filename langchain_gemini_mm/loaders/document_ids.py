"""What a Document of a loader is called: its id, its source, its title."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from langchain_core.documents import Document

_IDS = uuid.UUID("5b1ff1ce-1d06-5c0f-9a3d-0a6f3c9b2e51")


def document_of(content: str, source: str, key: str, metadata: Mapping[str, Any], title: str | None = None) -> Document:
    """A Document with the id that this part of this source always has.

    Args:
        content: of the Document.
        source: POSIX path below the loaded root.
        key: which part of the source it is.
        metadata: further words.
        title: the source's name without its ending by default.
    """
    named = {"source": source, "title": title or PurePosixPath(source).stem}
    return Document(id=str(uuid.uuid5(_IDS, f"{source}\n{key}")), page_content=content, metadata={**metadata, **named})
