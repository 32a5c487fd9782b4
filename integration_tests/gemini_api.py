"""Plain HTTP calls of the Gemini API without an SDK."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import numpy as np

MODEL = "gemini-embedding-2"


class UsedUpError(Exception):
    """The quota of the key is exhausted, so the check has no result."""


@dataclass(frozen=True)
class Answer:
    """Status and parsed body."""

    status: int
    body: Any

    @property
    def refusal(self) -> tuple[int, str]:
        """Status code and error status of the service."""
        return self.status, self.body.get("error", {}).get("status", "")

    @property
    def vectors(self) -> np.ndarray:
        """The vectors of a successful response, with shape `(n, d)`."""
        assert self.status == 200, self.body
        embeddings = self.body["embeddings"] if "embeddings" in self.body else [self.body["embedding"]]
        return np.array([one["values"] for one in embeddings])

    @property
    def tokens(self) -> dict[str, int]:
        """Token counts by modality."""
        details = self.body["usageMetadata"]["promptTokenDetails"]
        return {one["modality"]: one["tokenCount"] for one in details}


class Api:
    """A plain HTTP client for one server and one key."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url
        self._key = key

    def __call__(self, path: str, body: Any = None, method: str = "POST", **headers: str) -> Answer:
        """Send a request; if the server is overloaded, up to three times."""
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"x-goog-api-key": self._key, "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = path if path.startswith("http") else self.base_url + path
        request = urllib.request.Request(
            url, raw, {name: value for name, value in sent.items() if value}, method=method
        )
        for pause in (1, 5, None):
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    self.upload_url = answer.headers.get("x-goog-upload-url")
                    return Answer(answer.status, json.loads(answer.read() or b"{}"))
            except urllib.error.HTTPError as error:
                with error:
                    answered = Answer(error.code, _json(error.read()))
            if answered.status == 429:
                raise UsedUpError(answered.body)
            if answered.status not in {500, 503} or pause is None:
                return answered
            time.sleep(pause)
        raise AssertionError("unreachable")

    def embed(self, *contents: list[Any] | str, model: str = MODEL, version: str = "v1beta", **fields: Any) -> Answer:
        """`:batchEmbedContents`; a content is a text or a list of texts and parts."""
        requests = [
            {"model": f"models/{model}", "content": {"parts": [_part(part) for part in _listed(content)]}, **fields}
            for content in contents
        ]
        return self(f"/{version}/models/{model}:batchEmbedContents", {"requests": requests})

    def upload(self, data: bytes, mime_type: str) -> Any:
        """Upload a file with a resumable upload, and return it when it is no longer PROCESSING."""
        self(
            "/upload/v1beta/files",
            {"file": {"display_name": "assumption"}},
            x_goog_upload_protocol="resumable",
            x_goog_upload_command="start",
            x_goog_upload_header_content_length=str(len(data)),
            x_goog_upload_header_content_type=mime_type,
        )
        url = str(self.upload_url)
        file = self(url, data, x_goog_upload_command="upload, finalize", x_goog_upload_offset="0").body["file"]
        for _ in range(30):
            if file["state"] != "PROCESSING":
                break
            time.sleep(1)
            file = self(f"/v1beta/{file['name']}", method="GET").body
        return file


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return {"error": {"message": raw[:200].decode("utf-8", "replace")}}


def _listed(content: list[Any] | str) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _part(part: Any) -> Any:
    return {"text": part} if isinstance(part, str) else part
