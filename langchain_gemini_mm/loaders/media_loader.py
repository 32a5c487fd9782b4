"""Files to Documents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.document_loaders import BaseLoader

from langchain_gemini_mm.errors import InvalidTypeError
from langchain_gemini_mm.interfaces import Backend, Modality
from langchain_gemini_mm.loaders.segmentation import Segments
from langchain_gemini_mm.models import DEFAULT_MODEL, ModelSpec
from langchain_gemini_mm.validation import explains_unknown_options

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from langchain_core.documents import Document

    from langchain_gemini_mm.loaders.converters import Converter, Converters
    from langchain_gemini_mm.loaders.examine import Examiner
    from langchain_gemini_mm.loaders.media_documents import Description
    from langchain_gemini_mm.loaders.walk import InputFile, Skipped
    from langchain_gemini_mm.storage import MediaStore


logger = logging.getLogger("langchain_gemini_mm")

_SEGMENTS = Segments()
_EXAMINING_SECONDS, _CUTTING_SECONDS = 30.0, 900.0


class MediaLoader(BaseLoader):
    """Loads files as Documents: texts in chunks, images whole, audio, video and PDFs in segments.

    ```python
    from langchain_gemini_mm import MediaLoader, MediaStore

    loader = MediaLoader("photos-and-talks", MediaStore("library/media"), exclude="drafts")
    for document in loader.lazy_load():
        assert document.metadata["source"]
    for left_out in loader.skipped:
        print(left_out.source, left_out.reason)
    ```

    Media are stored once and unchanged; a Document contains a reference to a file or to a segment of it, which is cut
    when it is embedded. Files are loaded in the order of their names, and memory does not grow with their number. A
    file that cannot be used does not stop the run: it is listed in `skipped` with the reason, and the log ends with a
    summary. Only a media store that cannot be written (`StoreError`) and a `describe` that returns no text
    (`TypeError`) stop it.

    Metadata: `source`, `modality`, `mime_type`, `title` (the file name without its suffix), `position` (among the
    segments of its modality in the file); of media also `media_sha256` and `size_bytes`; of segments `start_s`,
    `end_s`, `track`, `first_page` and `last_page`; and `companion_text`. Times of files are not included, so a touched
    file gives an equal Document.

    `source` is the name of the library, which is the loaded folder, and the path below it: `talks/2024/a.mp4`. It is
    the same on every machine, and whether a file is loaded with its folder or alone. Ids are computed from `source` and
    content. To keep an index equal to a folder, use `MultimodalRetriever.mirror`.

    Args:
        source: a folder, a file, a glob (`"photos/**/*.jpg"`), a Blob or BlobLoader, or a list of paths and Blobs.
        media: the store for media.
        glob: patterns of files to load, by name (`"*.jpg"`) or path (`"2024/**"`), regardless of case.
        exclude: patterns of files and folders to leave out.
        recursive: load subfolders as well.
        include_hidden: load names that begin with a dot, and files that operating systems create.
        follow_symlinks: follow symbolic links that stay inside the folder.
        name: of the library, with which every `source` begins; by default the name of the loaded folder, or of the
            folder of a file.
        root: the folder of the library, where only a part of it is loaded.
        min_bytes: smaller files are left out.
        max_bytes: larger files are left out.
        modalities: of Documents to make; all by default. The audio stream of a video is audio.
        segments: lengths of the segments of audio, video and PDFs.
        chunk_size: longest chunk of text, in characters.
        chunk_overlap: longest overlap of adjacent chunks, in characters.
        companions: collect text that belongs to media: subtitles, captions, titles and PDF text.
        describe: a callable or LangChain Runnable that returns text about each Document of media.
        fuse_text: add this text to the content of the Document, so that it is embedded with the media.
        workers: number of processes that examine files; 0 examines them in this process.
        model: the model that will embed the Documents; media that it does not take are left out.
        backend: the service of the model, `"gemini"` or `"vertex"`.
        converters: functions for files of other types by the endings of their names, such as
            `{".docx": function}`. Each takes a path, and returns text in Markdown, or a PDF as bytes or a path.
        worker_seconds: a worker process that takes longer for one file is ended, and the file left out.
        worker_bytes: memory that a worker process may allocate for a file, on Linux.
        progress: called after each file with its source, and None or the reason why it was left out.

    Raises:
        ContentError: there is no such file or folder.
        ValueError: an argument that can never work, such as segments longer than the model takes.
    """

    skipped: list[Skipped]
    """Files that the last run left out, with the reasons."""
    linked: dict[Path, str]
    """Images that the text of the last file links, each with a stamp that differs when it is changed."""

    @explains_unknown_options("MediaLoader")
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
        name: str | None = None,
        root: str | os.PathLike[str] | None = None,
        min_bytes: int = 0,
        max_bytes: int | None = None,
        modalities: Iterable[Modality] | None = None,
        segments: Segments = _SEGMENTS,
        chunk_size: int = 2000,
        chunk_overlap: int = 200,
        companions: bool = True,
        describe: Any = None,
        fuse_text: bool = False,
        workers: int = 0,
        model: str | ModelSpec = DEFAULT_MODEL,
        backend: Backend = "gemini",
        converters: Mapping[str, Converter] | None = None,
        worker_seconds: float | None = None,
        worker_bytes: int = 400 << 20,
        progress: Callable[[str, str | None], None] | None = None,
    ) -> None:
        from langchain_gemini_mm.loaders import inputs, options
        from langchain_gemini_mm.loaders.walk import FolderWalk, Patterns

        selected = options.chosen_modalities(modalities)
        sizes = (min_bytes, max_bytes, chunk_size, chunk_overlap, _seconds(worker_seconds, segments), worker_bytes)
        self.options = options.LoadOptions(segments, model, backend, selected, companions, fuse_text, *sizes)
        self.skipped, self.linked = [], {}
        names = Patterns(glob), Patterns(exclude), "", recursive, follow_symlinks, include_hidden, companions
        self._store, self._progress, self._walk = _checked_store(media), progress, FolderWalk(*names, omit=media.path)
        self._inputs = inputs.Inputs(source, self._walk, name, inputs.libraries_of(root, name))
        self._workers, self._calls = options.checked_workers(workers), (_description(describe), _converters(converters))

    @property
    def inputs(self) -> Any:
        """The files to load: the `Inputs` of `loaders.inputs`."""
        return self._inputs

    @property
    def recipe(self) -> dict[str, object]:
        """What determines the Documents of a file, besides the file and the package: options and functions."""
        options = {name: value for name, value in self.options.to_json().items() if not name.startswith("worker_")}
        describe, converters = self._calls
        function = None if describe is None else describe.given
        return {"options": options, "describe": function, "converters": converters.by_suffix}

    @property
    def description(self) -> Any:
        """What describes media, the `Description` of `loaders.media_documents`; None without `describe`."""
        return self._calls[0]

    def lazy_load(self) -> Iterator[Document]:
        """Yield Documents file by file, and fill `skipped`.

        Raises:
            StoreError: the media store cannot be written.
        """
        for _, documents in self.files(self._inputs):
            yield from documents

    def files(self, items: Iterable[InputFile | Skipped]) -> Iterator[tuple[InputFile | Skipped, Iterator[Document]]]:
        """Yield files, each with an iterator of its Documents, which must be read before the next file.

        Args:
            items: files of `inputs`, which are to be loaded.

        Raises:
            StoreError: the media store cannot be written.
        """
        from langchain_gemini_mm.loaders.examine import LocalExaminer
        from langchain_gemini_mm.loaders.load_run import DocumentReader, LoadRun
        from langchain_gemini_mm.loaders.walk import Skipped
        from langchain_gemini_mm.storage import MediaStore

        run = LoadRun(self._progress)
        self.skipped = run.skipped
        with ExitStack() as stack:
            if isinstance(self._store, MediaStore):
                stack.enter_context(self._store.many_puts())
            examiner: Examiner = LocalExaminer(self.options, partial(self._started, 1, stack))
            if self._workers:
                examiner = self._started(self._workers, stack)
            self.linked = {}
            reader = DocumentReader(self._store, self.options, self._walk, examiner, *self._calls, self.linked)
            try:
                for item, examination in examiner.ahead(items):
                    self.linked.clear()
                    if isinstance(item, Skipped):
                        run.note(item)
                        yield item, iter(())
                    else:
                        yield item, run.file(item, reader, examination)
            finally:
                run.log(self._inputs.hidden)

    def _started(self, count: int, stack: ExitStack) -> Examiner:
        """Worker processes that end with `stack`."""
        from langchain_gemini_mm.loaders.workers import Workers

        return stack.enter_context(Workers(count, self.options))

    def dry(self, media: MediaStore, progress: Callable[[str, str | None], None]) -> MediaLoader:
        """The same loader with another store, for estimates: without `describe` and companions that are not embedded.

        Args:
            media: takes the place of the store.
            progress: as that of a loader.
        """
        loader = copy(self)
        loader.options = replace(self.options, companions=self.options.companions and self.options.fuse_text)
        loader._store, loader._progress, loader.skipped, loader.linked = media, progress, [], {}
        loader._calls = None, self._calls[1]
        return loader


def _checked_store(media: MediaStore) -> MediaStore:
    if not callable(getattr(media, "put_file", None)):
        raise InvalidTypeError(f"media must be a MediaStore, got {type(media).__name__}")
    return media


def _converters(given: Mapping[str, Converter] | None) -> Converters:
    from langchain_gemini_mm.loaders.converters import Converters

    return Converters(given or {})


def _seconds(given: float | None, segments: Segments) -> float:
    """The time limit for examining a file; by default more to find blank segments, for which recordings are decoded."""
    if given is not None:
        return given
    return _CUTTING_SECONDS if segments.skip_silent or segments.skip_black else _EXAMINING_SECONDS


def _description(describe: Any) -> Description | None:
    """The caption callback, checked when the loader is made."""
    if describe is None:
        return None
    from langchain_gemini_mm.loaders.media_documents import Description

    return Description(describe)
