"""The media store: files by the hash of their bytes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar, cast

from langchain_core.documents import Document

from langchain_gemini_mm.content.mime_types import HEAD_BYTES
from langchain_gemini_mm.content.parts import Part, to_parts
from langchain_gemini_mm.errors import (
    ContentError,
    GeminiMMError,
    InvalidTypeError,
    InvalidValueError,
    MissingMediaError,
    StoreError,
)
from langchain_gemini_mm.interfaces import Content, MediaInfo, Modality
from langchain_gemini_mm.media.source import OpenedSource, Stamp, chunks_of, hash_of, media_type, open_source, shown
from langchain_gemini_mm.references import MediaRef, escape_references
from langchain_gemini_mm.storage.backend import DAMAGED, UNKNOWN, MediaBackend, MemoryBackend, missing
from langchain_gemini_mm.storage.buckets import SCHEMES, Bucket
from langchain_gemini_mm.storage.byte_store import ByteStore, ByteStoreBackend
from langchain_gemini_mm.storage.download import FETCH_BYTES, FETCH_SECONDS, Fetcher
from langchain_gemini_mm.storage.folder import FolderBackend
from langchain_gemini_mm.storage.garbage import Sweep, referenced_by
from langchain_gemini_mm.storage.hash_cache import FileTable, KnownFile
from langchain_gemini_mm.storage.links import LinksBackend
from langchain_gemini_mm.validation import explains_unknown_options, number_in, positive_int

GRACE_SECONDS = 24 * 3600.0
"""Seconds for which a sweep keeps media after they were put or used: the time between storing and indexing them."""

_LEASE_SECONDS = 60.0
"""Media that are read need not be marked as used more often, except during a sweep."""
_MAX_GRACE_SECONDS = 100 * 365 * 24 * 3600.0

_KNOWN_TYPES = 10_000

P = ParamSpec("P")
T = TypeVar("T")


def _in_thread(
    method: Callable[Concatenate[MediaStore, P], T],
) -> Callable[Concatenate[MediaStore, P], Coroutine[Any, Any, T]]:
    """The async twin of a method of `MediaStore`."""
    name = method.__name__

    @wraps(method)
    async def twin(self: MediaStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        found: T = await asyncio.to_thread(getattr(self, name), *args, **kwargs)
        return found

    twin.__name__, twin.__qualname__ = f"a{name}", f"MediaStore.a{name}"
    twin.__doc__ = f"Async twin of `{name}`, in a worker thread."
    return twin


class MediaStore:
    """Stores images, audio, video and PDFs under the hash of their bytes; equal files are stored once.

    ```python
    from langchain_gemini_mm import MediaStore
    from langchain_gemini_mm.testing import png

    media = MediaStore.memory()  # or MediaStore("./library/media")
    ref = media.put(png())
    assert media.info(ref).mime_type == "image/png"
    assert media.document("the logo", ref).page_content == f"the logo {ref.markdown}"
    ```

    A reference to a part of a file (`ref.segment(30, 60)`) finds the whole file. Safe to use from many threads and
    processes at once.

    Args:
        where: a folder (created when needed), a bucket (`"s3://library/media"`, with the extra `cloud`), a LangChain
            `BaseStore[str, bytes]`, or a `MediaBackend`.

    Raises:
        ValueError: `where` is a URL with an unsupported scheme.
        StoreError: `where` is a file.
    """

    # Without `__dict__`, web frameworks refuse a media store in an answer instead of showing its attributes.
    __slots__ = ("__weakref__", "_backend", "_types", "_verified")

    _fetcher = Fetcher()

    @explains_unknown_options("MediaStore")
    def __init__(self, where: str | os.PathLike[str] | ByteStore | MediaBackend) -> None:
        self._backend = backend_of(where)
        self._types: dict[str, str] = {}
        self._verified: dict[str, tuple[int, ...]] = {}

    @classmethod
    def memory(cls) -> MediaStore:
        """A store in memory, for tests and experiments."""
        return cls(MemoryBackend())

    @classmethod
    def links(cls, path: str | os.PathLike[str]) -> MediaStore:
        """A store of links to files; the folder `path` contains their index.

        Only hashes and paths are stored. Reading a file that was changed, moved or removed raises `MissingMediaError`.
        Media that are put as bytes are stored in the folder.
        """
        return cls(LinksBackend(folder_of(path)))

    @classmethod
    def weaviate(
        cls,
        client: Any,
        name: str = "Library_Media",
        *,
        tenant: str | None = None,
        max_bytes: int = 256 << 20,
        timeout: float = 10.0,
        write_timeout: float = 30.0,
        replication: int = 1,
    ) -> MediaStore:
        """A store in a collection of a Weaviate server.

        Args:
            client: a connected `WeaviateClient`, which you close; async methods use it in worker threads.
            name: of the collection, which the first write creates.
            tenant: in a collection with tenants; a tenant cannot read the media of others.
            max_bytes: largest file.
            timeout: seconds for one response.
            write_timeout: seconds for storing one piece of 1 MiB, including retries.
            replication: number of copies in a cluster, for a new collection.

        Raises:
            StoreError: the server cannot be reached or is too old, or the collection contains other data.
            MissingExtraError: weaviate-client is not installed.
        """
        from langchain_gemini_mm.storage.weaviate import WeaviateValues

        limit = positive_int("max_bytes", max_bytes)
        values = WeaviateValues(
            client, name, tenant=tenant, replication=replication, timeout=timeout, write_timeout=write_timeout
        )
        return cls(ByteStoreBackend(values, kind="weaviate", max_bytes=limit))

    @property
    def path(self) -> Path | None:
        """The folder of this store, if it has one."""
        return self._backend.path

    @contextmanager
    def many_puts(self) -> Iterator[None]:
        """Let this thread put many files with one connection to the table of their hashes."""
        with self._backend.files.kept_open() if self._backend.files else nullcontext():
            yield

    def put(self, data: Any) -> MediaRef:
        """Store bytes, an open binary file (from its position), or a LangChain `Blob`.

        Raises:
            ContentError: empty, unreadable, or no image, audio, video or PDF by its content.
            StoreError: the store cannot be written.
        """
        if isinstance(data, bytes | bytearray | memoryview):
            return MediaRef(self._store(io.BytesIO(data), f"{len(data):,} bytes", hash_first=True))
        if callable(getattr(data, "read", None)):
            return MediaRef(self._store(data, "the given file"))
        if hasattr(data, "as_bytes") and hasattr(data, "mimetype"):
            return self.put_file(data.path) if data.data is None else self.put(data.as_bytes())
        if isinstance(data, str | os.PathLike):
            raise InvalidTypeError(
                f"put takes bytes, an open binary file or a Blob; for {shown(str(data))} use put_file"
            )
        raise InvalidTypeError(f"put takes bytes, an open binary file or a Blob, got {type(data).__name__}")

    def put_file(self, path: str | os.PathLike[str]) -> MediaRef:
        """Store a file, reading it in chunks; a file that was put before and is unchanged is not read again.

        Raises:
            ContentError: not a readable regular file, empty, being written, or no media by its content.
            StoreError: the store cannot be written.
        """
        given = Path(path)
        file, stamp = open_source(given)
        with closing(file):
            return self.put_opened(OpenedSource(file, given, stamp))

    def put_opened(self, source: OpenedSource) -> MediaRef:
        """Store an open file, as `put_file` and `put` do.

        Raises:
            ContentError: empty, being written, or no media by its content.
            StoreError: the store cannot be written.
        """
        if source.path is None or source.stamp is None:
            source.file.seek(0)
            return MediaRef(self._store(source.file, "the given file", hash_first=True))
        files, place, name = self._backend.files, source.path.absolute(), shown(source.path)
        known = files.find(place) if files else None
        if known and known.is_still(source.stamp) and self._has(known, source.stamp):
            return MediaRef(known.sha256)
        started = time.time_ns()
        source.file.seek(0)
        if self._backend.in_place:
            media_type(source.file.read(HEAD_BYTES), name)
            source.file.seek(0)
            digest = hash_of(source.file, name)
        else:
            # A known file is hashed first, because it is often stored already.
            digest = self._store(source.file, name, hash_first=not files or known is not None)
        if not source.stamp.same_content(Stamp.of(os.fstat(source.file.fileno()))):
            raise ContentError(f"{name} was written to while it was read; put it again when it is complete")
        if files:
            files.remember(place, source.stamp, digest, started)
        return MediaRef(digest)

    def put_url(
        self, url: str, *, max_bytes: int = FETCH_BYTES, timeout: float = FETCH_SECONDS, allow_http: bool = False
    ) -> MediaRef:
        """Fetch a file from the internet and store it.

        Only public addresses are used: hosts with private, loopback or link-local addresses are refused, also in
        redirects. Proxies are not used. Each call fetches the file again.

        Args:
            url: `https://...`, without a user name or password.
            max_bytes: largest file.
            timeout: seconds for the whole file.
            allow_http: accept `http://`, which can be modified on the way.

        Raises:
            ContentError: refused, not found, incomplete, too slow, or no image, audio, video or PDF by its content.
            MediaLimitError: over `max_bytes`.
            StoreError: the store cannot be written.
        """
        with self._fetcher.opened(url, max_bytes=max_bytes, timeout=timeout, allow_http=allow_http) as download:
            return MediaRef(self._store(cast("BinaryIO", download), download.name))

    def document(self, *content: Content, metadata: Mapping[str, Any] | None = None, id: str | None = None) -> Document:  # noqa: A002
        """Make a Document of texts and media in the given order, joined with spaces; the media are stored.

        References in texts are used as references: pass text of others through `references.escape_references` first.

        Args:
            content: `str`, `Path`, `bytes`, `MediaRef`, `Blob`, PIL image, content block, Document, ...
            metadata: of the Document; `modality` is added unless it is given.
            id: of the Document.

        Raises:
            ContentError: no content, or content of a type that cannot be stored.
            MissingMediaError: a reference to media that are not in this store.
        """
        return compose(self, content, metadata or {}, id)

    def info(self, ref: MediaRef | str) -> MediaInfo:
        """Size and type of media.

        Raises:
            MissingMediaError: not in this store.
        """
        digest = self._leased(ref)
        size = self._backend.size(digest)
        mime_type = self._types.get(digest)
        if mime_type is None:
            with closing(self._backend.open(digest)) as file:
                head = file.read(HEAD_BYTES)
            try:
                mime_type = media_type(head, "it")
            except ContentError as error:
                raise self._damaged(digest) from error
            if len(self._types) >= _KNOWN_TYPES:
                self._types.clear()
            self._types[digest] = mime_type
        return MediaInfo(sha256=digest, size=size, mime_type=mime_type)

    def get(self, ref: MediaRef | str) -> bytes:
        """Read all bytes and check their hash.

        Raises:
            MissingMediaError: not in this store, or damaged there.
        """
        digest = self._leased(ref)
        with closing(self._backend.open(digest)) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != digest:
            raise self._damaged(digest)
        return data

    def verify(self, ref: MediaRef | str) -> None:
        """Check the hash of media in a folder, where other programs can change them; once while the file is unchanged.

        Other backends check what they read, or are written by this package alone.

        Raises:
            MissingMediaError: not in this store, or changed there.
        """
        if not hasattr(self._backend, "stamp"):
            return
        digest = self._leased(ref)
        mark = self._backend.stamp(digest)
        if self._verified.get(digest) == mark:
            return
        with closing(self._backend.open(digest)) as file:
            if hashlib.file_digest(cast("io.BufferedIOBase", file), "sha256").hexdigest() != digest:
                raise self._damaged(digest)
        if len(self._verified) >= _KNOWN_TYPES:
            self._verified.clear()
        self._verified[digest] = mark

    def open(self, ref: MediaRef | str) -> BinaryIO:
        """Open a seekable file for reading, which you close. The hash is not checked, see `verify`.

        Raises:
            MissingMediaError: not in this store.
        """
        return self._backend.open(self._leased(ref))

    def read_range(self, ref: MediaRef | str, start: int, length: int) -> bytes:
        """Read part of the bytes; fewer than `length` at the end, none after it.

        Args:
            ref: a reference or its text.
            start: offset of the first byte.
            length: number of bytes.

        Raises:
            MissingMediaError: not in this store.
        """
        if start < 0 or length < 0:
            raise InvalidValueError(f"a range needs start >= 0 and length >= 0, got {start!r} and {length!r}")
        with closing(self.open(ref)) as file:
            file.seek(start)
            return file.read(length)

    def exists(self, ref: MediaRef | str) -> bool:
        """Whether the media are stored, so that `get` finds them."""
        try:
            self._backend.size(_digest(ref))
        except MissingMediaError:
            return False
        return True

    def __contains__(self, ref: object) -> bool:
        """Whether a `MediaRef` is in this store."""
        return isinstance(ref, MediaRef) and self.exists(ref)

    def refs(self) -> Iterator[MediaRef]:
        """List everything that is stored, in no particular order."""
        return (MediaRef(entry.sha256) for entry in self._backend.stored())

    def delete(self, ref: MediaRef | str) -> bool:
        """Remove the file that `ref` refers to; False if it is not stored. Linked files are not removed."""
        return self._backend.delete(_digest(ref))

    def unused(self, keep: Any, *, grace_s: float = GRACE_SECONDS) -> Sweep:
        """What `sweep` would remove now; nothing is removed.

        Args:
            keep: as for `sweep`.
            grace_s: as for `sweep`.

        Raises:
            ValueError: nothing in `keep` references media.
        """
        return self._sweep(keep, grace_s, time.time, dry_run=True)

    def sweep(self, keep: Any, *, grace_s: float = GRACE_SECONDS, dry_run: bool = False) -> Sweep:
        """Remove media that nothing in `keep` references, and unfinished uploads.

        Media that are put, read or composed into a Document after the sweep has begun are kept.

        Args:
            keep: stores, retrievers, Documents, hits, references or texts, in any nesting of iterables: *everything*
                that is still in use. References are found in texts, ids and all metadata.
            grace_s: keep media that were put or used within so many seconds, because they may not be indexed yet.
            dry_run: remove nothing, as `unused`.

        Raises:
            ValueError: nothing in `keep` references media, or an invalid `grace_s`.
            StoreError: the store cannot be read or written.
        """
        return self._sweep(keep, grace_s, time.time if dry_run else self._backend.begin_sweep, dry_run=dry_run)

    def _sweep(self, keep: Any, grace_s: float, clock: Callable[[], float], *, dry_run: bool) -> Sweep:
        # Before the references are collected, so that media that are used meanwhile are kept.
        before = -number_in("grace_s", grace_s, 0, _MAX_GRACE_SECONDS) + clock()
        referenced = referenced_by(keep)
        removed: list[MediaRef] = []
        size = 0
        for entry in self._backend.stored():
            if bytes.fromhex(entry.sha256) in referenced or entry.stored_at >= before:
                continue
            if dry_run or self._backend.delete(entry.sha256, before=before):
                removed.append(MediaRef(entry.sha256))
                size += entry.size
        leftovers = self._backend.tidy(before, dry_run=dry_run)
        return Sweep(tuple(dict.fromkeys(removed)), size, leftovers)

    aput = _in_thread(put)
    aput_file = _in_thread(put_file)
    aput_url = _in_thread(put_url)
    adocument = _in_thread(document)
    ainfo = _in_thread(info)
    aget = _in_thread(get)
    aread_range = _in_thread(read_range)
    adelete = _in_thread(delete)
    aunused = _in_thread(unused)
    asweep = _in_thread(sweep)

    def __repr__(self) -> str:
        place = f" {self.path.name!r}" if self.path else ""
        return f"<MediaStore {self._backend.kind}{place}>"

    def _leased(self, ref: MediaRef | str) -> str:
        """The hash of media that are about to be used; a sweep that has begun already does not remove them."""
        digest = _digest(ref)
        verified = self._verified.get(digest) if self._verified else None
        is_same = verified is not None and verified == self._stamp(digest)
        with suppress(StoreError):  # a store that cannot be written can be read
            self._backend.touch(digest, within=_LEASE_SECONDS)
        if is_same and (stamp := self._stamp(digest)) is not None:  # the time in it was just changed here
            self._verified[digest] = stamp
        return digest

    def _has(self, known: KnownFile, stamp: Stamp) -> bool:
        """Whether the content of a known file is stored, to judge by its size."""
        try:
            return self._backend.touch(known.sha256) and self._backend.size(known.sha256) == stamp.size
        except MissingMediaError:
            return False

    def _is_intact(self, digest: str) -> bool:
        try:
            with closing(self._backend.open(digest)) as file:
                return hash_of(file, "it") == digest
        except ContentError:
            return False

    def _stamp(self, digest: str) -> tuple[int, ...] | None:
        """The stamp of a file that was verified; None if it is gone."""
        try:
            stamp: tuple[int, ...] = self._backend.stamp(digest)  # type: ignore[attr-defined]
        except GeminiMMError:
            return None
        return stamp

    def _damaged(self, digest: str) -> MissingMediaError:
        """The error for damaged media; files known to have this content are hashed again when they are put again."""
        if self._backend.files and not self._backend.in_place:
            self._backend.files.forget(digest)
        return missing(digest, DAMAGED)

    def _store(self, source: BinaryIO, name: str, *, hash_first: bool = False) -> str:
        """Store the rest of `source` unless it is stored already and intact; returns its hash.

        A file of one chunk is read once. A larger file is hashed while it is written. With `hash_first`, it is hashed
        before, which needs a seekable file and avoids writing one that is stored already.
        """
        start = source.tell() if hash_first else 0
        chunks = chunks_of(source, name)
        chunk, following = next(chunks, b""), next(chunks, b"")
        media_type(chunk, name)
        digest = hashlib.sha256(chunk)
        if hash_first or not following:
            for rest in (following, *chunks) if following else ():
                digest.update(rest)
            if self._backend.touch(digest.hexdigest()) and self._is_intact(digest.hexdigest()):
                return digest.hexdigest()
            if following:
                source.seek(start)
                return self._store(source, name)
        writer = self._backend.writer()
        try:
            writer.write(chunk)
            while following:
                digest.update(following)
                writer.write(following)
                following = next(chunks, b"")
            writer.commit(digest.hexdigest())
        finally:
            writer.discard()
        return digest.hexdigest()


def _digest(ref: MediaRef | str) -> str:
    if isinstance(ref, str):
        ref = MediaRef.parse(ref)
    if not isinstance(ref, MediaRef):
        raise InvalidTypeError(f"media are asked for with a MediaRef or its text, got {type(ref).__name__}")
    return ref.sha256


_WEIGHTIEST: tuple[Modality, ...] = ("video", "audio", "pdf", "image")


def compose(store: MediaStore, content: Sequence[Content], metadata: Mapping[str, Any], id_: str | None) -> Document:
    """Make a Document of texts and media, and store the media.

    Args:
        store: for the media.
        content: in order.
        metadata: of the Document.
        id_: of the Document.
    """
    if not content:
        raise ContentError("document() needs at least one text or media")
    parts = [part for item in content for part in to_parts(item, store)]
    text = " ".join(_word(store, part) for part in parts)
    return Document(page_content=text, metadata={"modality": modality_of(parts), **metadata}, id=id_)


def modality_of(parts: Sequence[Part]) -> Modality:
    """The modality of a content: that of its media, or text."""
    modalities = {part.modality for part in parts}
    return next((modality for modality in _WEIGHTIEST if modality in modalities), "text")


def _word(store: MediaStore, part: Part) -> str:
    if part.text is not None:
        return escape_references(part.text)
    if part.ref is not None:
        if not store._backend.touch(part.ref.sha256):
            raise missing(part.ref.sha256, UNKNOWN)
        return part.ref.markdown
    if part.path is not None:
        return store.put_file(part.path).markdown
    if part.data is not None:
        return store.put(part.data).markdown
    raise ContentError(f"{part.name} is a file that the service keeps for two days; put its bytes into the store")


def backend_of(where: object) -> MediaBackend:
    """The backend for a folder, the address of a bucket, a byte store, or a backend.

    Raises:
        TypeError: another type.
        ValueError: another URL, or empty.
    """
    if isinstance(where, str) and where.partition("://")[0].lower() in SCHEMES:
        return ByteStoreBackend(Bucket.at(where))
    if isinstance(where, str | os.PathLike):
        root = folder_of(where)
        return FolderBackend(root, files=FileTable(root / "files.db"))
    if all(callable(getattr(where, name, None)) for name in ("mget", "mset", "mdelete", "yield_keys")):
        return ByteStoreBackend(cast("ByteStore", where))
    if all(hasattr(where, name) for name in ("kind", "writer", "open", "size", "touch", "delete", "stored", "tidy")):
        return cast("MediaBackend", where)
    raise InvalidTypeError(
        "MediaStore takes a folder (str or Path), a LangChain BaseStore[str, bytes] or a MediaBackend, "
        f"got {type(where).__name__}"
    )


def folder_of(where: str | os.PathLike[str]) -> Path:
    """Check the path of a folder.

    Raises:
        TypeError: not text.
        ValueError: a URL, or empty.
    """
    text = os.fspath(where)
    if not isinstance(text, str):
        raise InvalidTypeError(f"a folder is given as str or Path, got {type(text).__name__}")
    if "://" in text:
        raise InvalidValueError(
            f"{text.partition('://')[0]}:// addresses are no media stores; give a folder, a bucket of s3://, gs:// or "
            "az://, or a LangChain BaseStore[str, bytes]"
        )
    if not text.strip():
        raise InvalidValueError("the folder of a media store must not be empty")
    return Path(text).expanduser()
