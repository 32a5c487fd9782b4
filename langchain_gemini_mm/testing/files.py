"""The Files API: resumable uploads, states, listing and deletion.

Source: https://ai.google.dev/gemini-api/docs/files; the upload protocol is that of google-genai 2.34 and 3.4.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from langchain_gemini_mm.testing.settings import Settings
from langchain_gemini_mm.testing.transport.exchange import HttpReply, HttpRequest, Json, RefusedError, json_reply
from langchain_gemini_mm.testing.transport.wire import parse_json, pick

_START = re.compile(r"^/upload/(?:v1|v1beta|v1alpha)/files$")
_ONE = re.compile(r"^/(?:v1|v1beta|v1alpha)/files/([a-z0-9-]{1,40})$")
_LIST = re.compile(r"^/(?:v1|v1beta|v1alpha)/files$")
_NAME_IN_URI = re.compile(r"files/([a-z0-9-]{1,40})$")
_LIFETIME = timedelta(hours=48)
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """An uploaded file."""

    name: str
    """`files/…`"""
    uri: str
    mime_type: str
    size: int
    sha256: str
    display_name: str | None = None
    uploaded_at: float
    """Seconds on the emulator's clock."""
    data: bytes = field(default=b"", repr=False)


@dataclass(kw_only=True)
class _Session:
    name: str
    mime_type: str
    display_name: str | None
    data: bytearray = field(default_factory=bytearray, repr=False)
    final: bool = False


class UploadedFiles:
    """The files of one emulator, and its uploads in progress."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files: dict[str, UploadedFile] = {}
        self._sessions: dict[str, _Session] = {}
        self._count = 0

    @property
    def files(self) -> list[UploadedFile]:
        """The stored files, oldest first."""
        return list(self._files.values())

    def clear(self) -> None:
        """Remove all files and uploads."""
        self._files.clear()
        self._sessions.clear()
        self._count = 0

    def matches(self, path: str) -> bool:
        """Whether a path belongs to the Files API."""
        return bool(_START.match(path) or _ONE.match(path) or _LIST.match(path))

    def authorizes(self, request: HttpRequest) -> bool:
        """Whether the URL of an upload in progress authorizes the request, which then needs no key."""
        return bool(_START.match(request.path)) and request.query.get("upload_id") in self._sessions

    def handle(self, request: HttpRequest) -> HttpReply:
        """Respond to a request for one of these paths.

        Raises:
            RefusedError: the request is invalid, or the file does not exist.
        """
        if _START.match(request.path) and request.method == "POST":
            return self._upload(request)
        if (match := _ONE.match(request.path)) and request.method == "GET":
            return json_reply(self._describe(self._find(match[1])))
        if match and request.method == "DELETE":
            self._find(match[1])
            del self._files[match[1]]
            return json_reply({})
        if _LIST.match(request.path) and request.method == "GET":
            return self._list(request)
        raise RefusedError(405, f"Method {request.method} is not supported for {request.path}.")

    def resolve(self, uri: str) -> UploadedFile:
        """Look up the file that a part of a content references.

        Raises:
            RefusedError: the file does not exist, or is not ACTIVE yet.
        """
        match = _NAME_IN_URI.search(uri)
        if not match:
            raise RefusedError(400, f"Unsupported file uri: {uri[:200]}")
        file = self._find(match[1])
        if self._state(file) != "ACTIVE":
            message = f"The File {match[1]} is not in an ACTIVE state and usage is not allowed."
            raise RefusedError(400, message, status="FAILED_PRECONDITION")
        return file

    def _upload(self, request: HttpRequest) -> HttpReply:
        commands = {word.strip() for word in request.headers.get("x-goog-upload-command", "").split(",")}
        if "start" in commands:
            return self._start(request)
        session = self._sessions.get(request.query.get("upload_id", ""))
        if session is None:
            raise RefusedError(404, "Upload session not found. Start one with X-Goog-Upload-Command: start.")
        if "query" in commands:
            return _progress(session)
        if "cancel" in commands:
            del self._sessions[request.query["upload_id"]]
            return json_reply({}, headers={"x-goog-upload-status": "cancelled"})
        offset = int(request.headers.get("x-goog-upload-offset") or 0)
        if offset != len(session.data) or session.final:
            raise RefusedError(400, f"Upload offset {offset} does not match the {len(session.data)} bytes received.")
        session.data += request.body
        if "finalize" not in commands:
            return _progress(session)
        session.final = True
        file = self._finish(request, session)
        return json_reply({"file": self._describe(file)}, headers={"x-goog-upload-status": "final"})

    def _start(self, request: HttpRequest) -> HttpReply:
        fields = pick(parse_json(request.body), "file") or {}
        self._count += 1
        name = str(fields.get("name") or "").removeprefix("files/") or f"emulated-{self._count:06d}"
        if name in self._files:
            raise RefusedError(409, f"Resource already exists: files/{name}", status="ALREADY_EXISTS")
        mime_type = request.headers.get("x-goog-upload-header-content-type") or pick(fields, "mimeType")
        session = _Session(
            name=name,
            mime_type=mime_type or "application/octet-stream",
            display_name=pick(fields, "displayName"),
        )
        upload_id = f"upload-{self._count:06d}"
        self._sessions[upload_id] = session
        url = f"{request.base_url}{request.path}?upload_id={upload_id}&upload_protocol=resumable"
        return json_reply({}, headers={"x-goog-upload-url": url, "x-goog-upload-status": "active"})

    def _finish(self, request: HttpRequest, session: _Session) -> UploadedFile:
        data = bytes(session.data)
        version = request.path.split("/")[2]
        file = UploadedFile(
            name=f"files/{session.name}",
            uri=f"{request.base_url}/{version}/files/{session.name}",
            mime_type=session.mime_type,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            display_name=session.display_name,
            uploaded_at=self._settings.clock(),
            data=data,
        )
        self._files[session.name] = file
        del self._sessions[request.query["upload_id"]]
        return file

    def _find(self, name: str) -> UploadedFile:
        file = self._files.get(name)
        if file is None:
            raise RefusedError(403, f"You do not have permission to access the File {name} or it may not exist.")
        return file

    def _state(self, file: UploadedFile) -> Literal["PROCESSING", "ACTIVE"]:
        return "ACTIVE" if self._settings.clock() >= file.uploaded_at + self._settings.file_processing else "PROCESSING"

    def _describe(self, file: UploadedFile) -> Json:
        created = _EPOCH + timedelta(seconds=file.uploaded_at)
        described: Json = {
            "name": file.name,
            "mimeType": file.mime_type,
            "sizeBytes": str(file.size),
            "createTime": _stamp(created),
            "updateTime": _stamp(created),
            "expirationTime": _stamp(created + _LIFETIME),
            "sha256Hash": base64.b64encode(file.sha256.encode()).decode(),
            "uri": file.uri,
            "state": self._state(file),
            "source": "UPLOADED",
        }
        if file.display_name:
            described["displayName"] = file.display_name
        return described

    def _list(self, request: HttpRequest) -> HttpReply:
        size = min(max(int(request.query.get("pageSize") or 10), 1), 100)
        start = int(request.query.get("pageToken") or 0)
        files = self.files
        payload: Json = {"files": [self._describe(file) for file in files[start : start + size]]}
        if start + size < len(files):
            payload["nextPageToken"] = str(start + size)
        return json_reply(payload)


def _progress(session: _Session) -> HttpReply:
    received = str(len(session.data))
    return json_reply({}, headers={"x-goog-upload-status": "active", "x-goog-upload-size-received": received})


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
