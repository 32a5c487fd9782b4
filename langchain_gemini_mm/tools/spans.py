"""Neighbouring parts of one file as one part."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.documents import Document

from langchain_gemini_mm.references import MediaRef, split_references

GAP_S = 1.0
"""Segments with no more than so many seconds between them are one stretch."""


def joined(documents: Sequence[Document]) -> list[Document]:
    """One Document with the stretch or the pages that several neighbours make up; none where they make up none.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm import MediaRef
    from langchain_gemini_mm.tools.spans import joined

    talk = MediaRef("ab" * 32)
    parts = [Document(talk.segment(start, start + 30).markdown) for start in (0, 30)]
    assert joined(parts)[0].page_content == talk.segment(0, 60).markdown
    ```
    """
    refs = [_only_reference(document) for document in documents]
    whole = _union([ref for ref in refs if ref is not None])
    if whole is None or None in refs or len(refs) < 2:
        return []
    span = {
        "start_s": whole.start_s,
        "end_s": whole.end_s,
        "first_page": whole.first_page,
        "last_page": whole.last_page,
    }
    metadata = {**documents[0].metadata, **{name: value for name, value in span.items() if value is not None}}
    return [Document(page_content=whole.markdown, metadata=metadata, id=documents[0].id)]


def _only_reference(document: Document) -> MediaRef | None:
    refs = [piece for piece in split_references(document.page_content) if isinstance(piece, MediaRef)]
    return refs[0] if len(refs) == 1 else None


def _union(refs: Sequence[MediaRef]) -> MediaRef | None:
    if len({(ref.sha256, ref.track) for ref in refs}) != 1:
        return None
    times = sorted((ref.start_s, ref.end_s) for ref in refs if ref.start_s is not None and ref.end_s is not None)
    pages = sorted((ref.first_page, ref.last_page) for ref in refs if ref.first_page and ref.last_page)
    if len(times) == len(refs) and _touch(times, GAP_S):
        return refs[0].segment(times[0][0], max(end for _, end in times), track=refs[0].track)
    if len(pages) == len(refs) and _touch(pages, 1):
        return refs[0].pages(pages[0][0], max(last for _, last in pages))
    return None


def _touch(spans: Sequence[tuple[float, float]], gap: float) -> bool:
    reached = spans[0][1]
    for low, high in spans[1:]:
        if low - reached > gap:
            return False
        reached = max(reached, high)
    return True
