"""Uploads through the Files API of media that are too large for a request; reused, and deleted at the end."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.embeddings.service.errors import translate
from langchain_gemini_mm.errors import ServiceError
from langchain_gemini_mm.interfaces import MediaSource

if TYPE_CHECKING:
    import io

    from google.genai import Client

    from langchain_gemini_mm.batching import CancelToken
    from langchain_gemini_mm.embeddings.service.service import GeminiService

logger = logging.getLogger("langchain_gemini_mm")

KEPT_S = 47 * 3600
"""How long an upload is reused, in seconds; the service deletes a file after 48 hours
(https://ai.google.dev/gemini-api/docs/files, read 2026-11-21)."""
_POLL_S = 0.5
_READY_WITHIN_S = 300


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file."""

    name: str
    uri: str
    mime_type: str
    since: float
    """Monotonic time of the upload, in seconds."""


class Uploads:
    """Uploads media once by content; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_digest: dict[str, Upload] = {}
        self._locks: dict[str, threading.Lock] = {}

    def __reduce__(self) -> tuple[type[Uploads], tuple[()]]:
        """A copy uploads its own files, so that no object deletes files that another one uses."""
        return Uploads, ()

    def ensure(self, part: Part, media: MediaSource | None, client: Client, cancel: CancelToken) -> Upload:
        """Upload the media of a part, or return an earlier upload of the same content.

        Args:
            part: media of any modality.
            media: where its bytes are.
            client: of the SDK.
            cancel: ends waiting when the upload is no longer needed.

        Raises:
            ServiceError: the upload failed, or the service could not process the file.
        """
        digest = part.digest(media)
        with self._lock:
            gate = self._locks.setdefault(digest, threading.Lock())
        with gate:
            known = self._by_digest.get(digest)
            if known is not None and time.monotonic() - known.since < KEPT_S:
                return known
            try:
                upload = _upload(part, media, client, cancel)
            except ServiceError:
                raise
            except Exception as error:
                ours = translate(error)
                if ours is None:
                    raise
                ours.args = (f"{ours.args[0]} (uploading {part.name})",)
                raise ours from error
            self._by_digest[digest] = upload
            return upload

    def delete(self, service: GeminiService) -> None:
        """Delete all uploads; one that cannot be deleted is logged, and expires within 48 hours."""
        with self._lock:
            uploads, self._by_digest = list(self._by_digest.values()), {}
        for upload in uploads:
            try:
                service.client.files.delete(name=upload.name)
            except Exception as error:
                if translate(error) is None:
                    raise
                logger.warning("could not delete the uploaded file %s; it expires within 48 hours", upload.name)


def _upload(part: Part, media: MediaSource | None, client: Client, cancel: CancelToken) -> Upload:
    since = time.monotonic()
    with part.open(media) as source:
        file: Any = client.files.upload(file=cast("io.BufferedIOBase", source), config={"mime_type": part.mime_type})
    logger.info("uploaded %s (%d bytes)", part.name, part.size)
    while _state(file) == "PROCESSING":
        if cancel.is_set() or time.monotonic() - since > _READY_WITHIN_S:
            raise ServiceError(f"the uploaded file {part.name} was not ready after {time.monotonic() - since:.0f} s")
        cancel.wait(_POLL_S)
        file = client.files.get(name=file.name)
    if _state(file) == "FAILED":
        raise ServiceError(f"the service could not process the uploaded file {part.name}; check that it plays or opens")
    return Upload(file.name, file.uri, part.mime_type or file.mime_type, since)


def _state(file: Any) -> str:
    return str(getattr(file.state, "name", file.state))
