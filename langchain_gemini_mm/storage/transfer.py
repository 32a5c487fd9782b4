"""Copying the media of documents to another store, with a check of their hashes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from langchain_gemini_mm.errors import ContentError, MediaLimitError, MissingMediaError
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.storage.backend import DAMAGED, missing
from langchain_gemini_mm.storage.garbage import digests_in
from langchain_gemini_mm.storage.store import MediaStore

_REMEMBERED = 10_000
_SHOWN = 3


class MediaTransfer:
    """Copies the media of documents, and records those that could not be copied.

    Args:
        source: the store to read from.
        target: the store to write to; media that it contains are not read.
    """

    def __init__(self, source: MediaStore, target: MediaStore) -> None:
        self.source = source
        self.target = target
        self.copied = 0
        """Number of files copied."""
        self._seen: set[str] = set()
        self._lost = 0
        self._examples: list[str] = []

    def copy(self, documents: Iterable[tuple[str, str, object]]) -> None:
        """Copy the media of documents.

        Args:
            documents: tuples of id, text, and the hash in the metadata, if any.

        Raises:
            MediaLimitError: a file is too large for the target.
            StoreError: one of the stores cannot be read or written.
        """
        for id_, text, digest in documents:
            needed = _needed(text)
            # Like a sweep, this includes everything that looks like a hash.
            for found in sorted(value.hex() for value in digests_in([text, str(digest or "")])):
                if found not in self._seen:
                    self._copy_one(id_, found, needed=found in needed)

    def require_complete(self) -> None:
        """Raise an error if media could not be copied.

        Raises:
            MissingMediaError: it lists some of the documents.
        """
        if self._lost:
            raise MissingMediaError(
                f"{self._lost} media that documents name could not be copied: {'; '.join(self._examples)}"
                f"{'; …' if self._lost > _SHOWN else ''}. All else is copied. Put the files into the source's media "
                "store, or delete the documents, and copy again"
            )

    def _copy_one(self, id_: str, digest: str, *, needed: bool) -> None:
        try:
            self.copied += copy_media(self.source, self.target, MediaRef(digest))
        except MissingMediaError as error:
            if not needed:
                return
            self._lost += 1
            if len(self._examples) < _SHOWN:
                self._examples.append(f"document {id_[:60]!r}: {error}")
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen.add(digest)


def copy_media(source: MediaStore, target: MediaStore, ref: MediaRef) -> bool:
    """Copy one file; False if the target has it.

    Args:
        source: the store to read from.
        target: the store to write to.
        ref: of the file.

    Raises:
        MissingMediaError: the source does not have it, or it is damaged.
        MediaLimitError: it is too large for the target.
    """
    if target._backend.touch(ref.sha256):
        return False
    try:
        with closing(source.open(ref)) as file:
            stored = target.put(file)
    except (MissingMediaError, MediaLimitError):
        raise
    except ContentError as error:
        raise missing(ref.sha256, DAMAGED) from error
    if stored.sha256 != ref.sha256:
        raise missing(ref.sha256, DAMAGED)
    return True


def _needed(text: str) -> set[str]:
    """The hashes of the references in a text; none if one is malformed, because the text cannot be embedded."""
    try:
        return {piece.sha256 for piece in split_references(text) if isinstance(piece, MediaRef)}
    except ContentError:
        return set()
