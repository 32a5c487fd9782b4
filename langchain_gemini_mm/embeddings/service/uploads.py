"""Uploads through the Files API of media that are too large for a request; reused, and deleted at the end."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.embeddings.service.connections import Connections
from langchain_gemini_mm.embeddings.service.errors import translate
from langchain_gemini_mm.errors import GeminiMMError, MissingMediaError, ServiceError
from langchain_gemini_mm.interfaces import MediaSource

if TYPE_CHECKING:
    import io

    from google.genai import Client

logger = logging.getLogger("langchain_gemini_mm")

KEPT_S = 47 * 3600
"""How long an upload is reused, in seconds; the service deletes a file after 48 hours
(https://ai.google.dev/gemini-api/docs/files, read 2026-11-21)."""
_POLL_S = 0.5
_READY_WITHIN_S = 300


@dataclass(slots=True)
class Upload:
    """An uploaded file."""

    name: str
    uri: str
    mime_type: str
    since: tuple[float, float]
    """When it was uploaded, in seconds: by the clock, which may be set, and monotonic, which stops in standby."""
    ready: bool = False
    lost: bool = False
    """Whether a request was refused because the service does not have it."""

    @property
    def age(self) -> float:
        """Seconds since the upload, by the clock that shows more."""
        return max(time.time() - self.since[0], time.monotonic() - self.since[1])


class Uploads:
    """Uploads media once by content; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_digest: dict[str, Upload] = {}
        self._locks: dict[str, threading.Lock] = {}

    def __reduce__(self) -> tuple[type[Uploads], tuple[()]]:
        """A copy uploads its own files, so that no object deletes files that another one uses."""
        return Uploads, ()

    def ensure(self, part: Part, media: MediaSource | None, connections: Connections, cancel: CancelToken) -> Upload:
        """Upload the media of a part, or return an earlier upload of the same content.

        Args:
            part: media of any modality.
            media: where its bytes are.
            connections: to the service.
            cancel: ends waiting when the upload is no longer needed.

        Raises:
            MissingMediaError: the file was written since it was hashed.
            ServiceError: the upload failed, or the service could not process the file.
        """
        digest = part.digest(media)
        if part.path is not None:
            part = replace(part, sha256=digest)
        with self._lock:
            gate = self._locks.setdefault(digest, threading.Lock())
        failure: Exception
        with gate:
            try:
                with connections.lend() as client:
                    known = self._by_digest.get(digest)
                    if known is None or known.lost or known.age > KEPT_S:
                        # Kept before it is ready: a failed poll does not upload the file again.
                        known = self._by_digest[digest] = _upload(part, media, client)
                    if not known.ready:
                        _wait(known, part, client, cancel)
                    return known
            except Exception as error:  # noqa: BLE001 - translated, or raised as it is
                failure = _failure(error, part, connections)
            if isinstance(failure, ServiceError) and not failure.transient:
                gone = self._by_digest.pop(digest, None) is not None and failure.code in (403, 404)
                if gone:
                    failure.transient, failure.scope = True, "request"
        # Raised outside of the handler: the SDK's exception contains the request, with its key.
        raise failure

    def delete(self, connections: Connections) -> None:
        """Delete all uploads; one that cannot be deleted is logged, and expires within 48 hours."""
        with self._lock:
            uploads, self._by_digest = list(self._by_digest.values()), {}
        for upload in uploads:
            try:
                with connections.lend() as client:
                    client.files.delete(name=upload.name)
            except Exception as error:
                if translate(error) is None:
                    raise
                logger.warning("could not delete the uploaded file %s; it expires within 48 hours", upload.name)


def _failure(error: Exception, part: Part, connections: Connections) -> Exception:
    if isinstance(error, GeminiMMError):
        return error
    ours = translate(error, connections.settings.secrets)
    if ours is None:
        return error
    ours.args = (f"{ours.args[0]} (uploading {part.name})",)
    return ours


def _upload(part: Part, media: MediaSource | None, client: Client) -> Upload:
    since = time.time(), time.monotonic()
    with part.open(media) as source:
        file: Any = client.files.upload(file=cast("io.BufferedIOBase", source), config={"mime_type": part.mime_type})
        try:
            part.require_unchanged(source)
        except MissingMediaError:
            client.files.delete(name=file.name)
            raise
    logger.info("uploaded %s (%d bytes)", part.name, part.size)
    return Upload(file.name, file.uri, part.mime_type or file.mime_type, since, ready=_state(file) == "ACTIVE")


def _wait(upload: Upload, part: Part, client: Client, cancel: CancelToken) -> None:
    """Wait until the service has processed the file."""
    end = time.monotonic() + _READY_WITHIN_S
    while (state := _state(client.files.get(name=upload.name))) == "PROCESSING":
        if cancel.is_set() or time.monotonic() > end:
            message = f"the uploaded file {part.name} is not ready after {upload.age:.0f} s"
            raise ServiceError(message, transient=not cancel.is_set())
        cancel.wait(_POLL_S)
    if state == "FAILED":
        raise ServiceError(
            f"the service could not process the uploaded file {part.name}; check that it plays or opens", scope="input"
        )
    upload.ready = True


def _state(file: Any) -> str:
    return str(getattr(file.state, "name", file.state))
