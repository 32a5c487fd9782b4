"""Ids, sources and titles of loaded Documents."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from langchain_core.documents import Document

_IDS = uuid.UUID("5b1ff1ce-1d06-5c0f-9a3d-0a6f3c9b2e51")


def document_of(content: str, source: str, key: str, metadata: Mapping[str, Any], title: str | None = None) -> Document:
    """Make a Document with an id that depends only on its source and key.

    Args:
        content: text of the Document.
        source: POSIX path below the loaded root.
        key: identifies the part of the source.
        metadata: further entries.
        title: by default, the file name without its suffix.
    """
    named = {"source": source, "title": title or PurePosixPath(source).stem}
    return Document(id=str(uuid.uuid5(_IDS, f"{source}\n{key}")), page_content=content, metadata={**metadata, **named})
