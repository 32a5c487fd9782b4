"""Files to Documents."""

from __future__ import annotations

import io
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, get_args

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError, MediaLimitError, MissingExtraError
from langchain_gemini_mm.loaders.inputs import GivenBlob, Inputs
from langchain_gemini_mm.loaders.patterns import Patterns
from langchain_gemini_mm.loaders.scanning import Found, Scan, Skipped
from langchain_gemini_mm.loaders.texts import chunks_of_text, mime_type_of
from langchain_gemini_mm.media.limits import check_limits, check_type
from langchain_gemini_mm.media.probing import probe
from langchain_gemini_mm.media.source_file import open_source
from langchain_gemini_mm.models import DEFAULT_MODEL, model_spec
from langchain_gemini_mm.sniffing import HEAD_BYTES, modality_of, sniff
from langchain_gemini_mm.types import Backend

if TYPE_CHECKING:
    import os

    from langchain_gemini_mm.storage import MediaStore

logger = logging.getLogger("langchain_gemini_mm")

_IDS = uuid.UUID("5b1ff1ce-1d06-5c0f-9a3d-0a6f3c9b2e51")
_UNREAD = {
    "application/zip": "archives, Office files and e-books are not read; unpack it, or save it as PDF",
    "application/gzip": "archives are not read; unpack it",
}
_SHOWN_REASONS = 10


class MediaLoader(BaseLoader):
    """Makes Documents of files: texts in chunks; pictures, sounds, videos and PDFs as one reference each.

    ```python
    from langchain_gemini_mm import MediaLoader, MediaStore

    loader = MediaLoader("photos-and-talks", MediaStore("library/media"), exclude="drafts")
    for document in loader.lazy_load():
        assert document.metadata["source"]
    for left_out in loader.skipped:
        print(left_out.source, left_out.reason)
    ```

    Files are opened one at a time, in the order of their names; nothing is kept of those before. A file that cannot be
    used never stops the run: it is in `skipped` with its reason, and the log ends with a summary. Only a media store
    that cannot be written (`StoreError`) does.

    Metadata: `source`, `modality`, `mime_type`, `title` (the name without its end), `position` (of a chunk in its
    file), and of media `media_sha256` and `size_bytes`. No times: a touched file gives an equal Document. Ids come from
    `source` and `position`, so that a changed file replaces itself; give each folder of one collection a
    `source_prefix` of its own, or equal names in two of them replace each other.

    Args:
        source: a folder, a file, a glob (`"photos/**/*.jpg"`), a Blob or BlobLoader, or a list of paths and Blobs.
        media: where media are put.
        glob: patterns of files to load, by name (`"*.jpg"`) or path (`"2024/**"`); case does not matter.
        exclude: patterns of files and folders to leave out.
        recursive: also folders in folders.
        include_hidden: also names with a dot in front, and the litter of operating systems.
        follow_symlinks: take symbolic links that stay inside the folder.
        source_prefix: stands before every `source`, such as `"holiday/"`.
        chunk_size: most characters in a chunk of text.
        chunk_overlap: most characters that the next chunk repeats.
        model: the model the Documents are for; what it does not take is left out.
        backend: the service they are for, `"gemini"` or `"vertex"`.
        on_file: called after each file with its source, and None or why it was left out.

    Raises:
        ContentError: there is no such file or folder.
    """

    def __init__(
        self,
        source: Any,
        media: MediaStore,
        *,
        glob: str | Iterable[str] = "**",
        exclude: str | Iterable[str] = (),
        recursive: bool = True,
        include_hidden: bool = False,
        follow_symlinks: bool = False,
        source_prefix: str = "",
        chunk_size: int = 2000,
        chunk_overlap: int = 200,
        model: str = DEFAULT_MODEL,
        backend: Backend = "gemini",
        on_file: Callable[[str, str | None], None] | None = None,
    ) -> None:
        if not callable(getattr(media, "put_file", None)):
            raise TypeError(f"media must be a MediaStore, got {type(media).__name__}")
        if not 0 <= chunk_overlap < chunk_size:
            raise ValueError(f"needs 0 <= chunk_overlap < chunk_size, got {chunk_overlap!r} and {chunk_size!r}")
        if backend not in get_args(Backend):
            raise ValueError(f"backend must be one of {get_args(Backend)}, got {backend!r}")
        scan = Scan(
            root=Path(),
            prefix=source_prefix,
            include=Patterns(glob),
            exclude=Patterns(exclude),
            recursive=recursive,
            include_hidden=include_hidden,
            follow_symlinks=follow_symlinks,
            apart=media.path,
        )
        self.skipped: list[Skipped] = []
        """What the last run left out, so far as it went."""
        self._inputs = Inputs(source, scan)
        self._reader = _Reader(media, model, backend, chunk_size, chunk_overlap)
        self._on_file = on_file

    def lazy_load(self) -> Iterator[Document]:
        """Yield Documents file by file; `skipped` fills meanwhile.

        Raises:
            StoreError: the media store cannot be written.
        """
        run = _Run(self._on_file)
        self.skipped = run.skipped
        try:
            for item in self._inputs:
                if isinstance(item, Skipped):
                    run.note(item.source, item.reason)
                    continue
                reason = None
                try:
                    for document in self._reader.documents(item):
                        run.documents += 1
                        yield document
                except (ContentError, MissingExtraError, OSError) as error:
                    reason = _reason(error)
                run.note(item.source, reason)
        finally:
            run.log(self._inputs.hidden)


@dataclass
class _Run:
    """What happened since a run began."""

    on_file: Callable[[str, str | None], None] | None
    skipped: list[Skipped] = field(default_factory=list)
    files: int = 0
    documents: int = 0

    def note(self, source: str, reason: str | None) -> None:
        if reason is None:
            self.files += 1
        else:
            self.skipped.append(Skipped(source, reason))
            logger.info("left out %r: %s", source, reason)
        if self.on_file:
            self.on_file(source, reason)

    def log(self, hidden: int) -> None:
        aside = f"; {hidden} hidden" if hidden else ""
        logger.info("%d files gave %d documents%s", self.files, self.documents, aside)
        if self.skipped:
            reasons = Counter(skipped.reason for skipped in self.skipped).most_common()
            lines = [f"{count} x {reason}" for reason, count in reasons[:_SHOWN_REASONS]]
            lines += [f"and {len(reasons) - _SHOWN_REASONS} more reasons"] if len(reasons) > _SHOWN_REASONS else []
            logger.warning("left out %d of %d: %s", len(self.skipped), self.files + len(self.skipped), "; ".join(lines))


class _Reader:
    """Turns one file or blob into Documents."""

    def __init__(self, media: MediaStore, model: str, backend: Backend, chunk_size: int, chunk_overlap: int) -> None:
        self._media = media
        self._spec = model_spec(model)
        self._backend = backend
        self._chunk_size = chunk_size
        self._chunk_overlap = chunk_overlap

    def documents(self, item: Found | GivenBlob) -> Iterator[Document]:
        """Yield the Documents of one file."""
        extra: dict[str, Any] = {}
        if isinstance(item, Found):
            file: BinaryIO = open_source(item.path)[0]
            path: os.PathLike[str] | None = item.path
        else:
            file, path, extra = io.BytesIO(item.data), None, dict(item.metadata)
        with closing(file):
            head = file.read(HEAD_BYTES)
            if not head:
                raise ContentError("it is empty")
            mime_type = sniff(head)
            if mime_type is None:
                yield from self._texts(file, item.source, extra)
            else:
                yield self._medium(file, path, mime_type, item.source, extra)

    def _texts(self, file: BinaryIO, source: str, extra: dict[str, Any]) -> Iterator[Document]:
        suffix = PurePosixPath(source).suffix
        chunks = chunks_of_text(file, suffix, chunk_size=self._chunk_size, chunk_overlap=self._chunk_overlap)
        position = -1
        for position, chunk in enumerate(chunks):
            yield _document(chunk, source, position, {**extra, "modality": "text", "mime_type": mime_type_of(suffix)})
        if position < 0:
            raise ContentError("it holds nothing but white space")

    def _medium(
        self, file: BinaryIO, path: os.PathLike[str] | None, mime_type: str, source: str, extra: dict[str, Any]
    ) -> Document:
        if modality_of(mime_type) is None:
            raise ContentError(_UNREAD.get(mime_type, f"{mime_type} files are not read"))
        check_type(mime_type, self._spec, self._backend, name="it")
        facts = probe(file, mime_type, name="it")
        check_limits(facts, self._spec, self._backend, name="it")
        file.seek(0)
        ref = self._media.put(file) if path is None else self._media.put_file(path)
        found = {"modality": facts.modality, "mime_type": facts.mime_type}
        stored = {"media_sha256": ref.sha256, "size_bytes": facts.size}
        return _document(ref.markdown, source, 0, {**extra, **found, **stored})


def _document(content: str, source: str, position: int, metadata: dict[str, Any]) -> Document:
    title = PurePosixPath(source).stem
    return Document(
        id=str(uuid.uuid5(_IDS, f"{source}\n{position}")),
        page_content=content,
        metadata={**metadata, "source": source, "title": title, "position": position},
    )


def _reason(error: Exception) -> str:
    if isinstance(error, MediaLimitError):
        return f"{error}; the loader does not cut media into segments yet"
    return str(error)
