"""An emulator of the Gemini embedding service: a local HTTP server."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from langchain_gemini_mm.errors import MissingExtraError
from langchain_gemini_mm.testing.faults import Failure
from langchain_gemini_mm.testing.service import Received, Service
from langchain_gemini_mm.testing.settings import Settings
from langchain_gemini_mm.validation import unknown_option

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_gemini_mm.testing.files import UploadedFile
    from langchain_gemini_mm.testing.transport.server import Application, Server


class GeminiEmulator:
    """Emulates the embedding endpoints of the Gemini API and of Vertex AI while its `with` block runs.

    The vectors are deterministic and do not come from a model: contents with related words, descriptions or colours are
    similar. Limits, errors, quotas and response formats follow `docs/api-assumptions.md`.

    ```python
    from google.genai import Client
    from google.genai.types import Content, HttpOptions, Part

    from langchain_gemini_mm.testing import GeminiEmulator

    with GeminiEmulator() as emulator:
        client = Client(api_key=emulator.api_key, http_options=HttpOptions(base_url=emulator.url))
        content = Content(parts=[Part(text="a sleepy puppy")])
        answer = client.models.embed_content(model="gemini-embedding-2", contents=[content])
        assert len(answer.embeddings[0].values) == 3072
        assert emulator.requests[-1].texts == ("a sleepy puppy",)
        client.close()
    ```

    Args:
        port: the TCP port; 0 for a free one.
        settings: fields of `Settings`, such as latency, quotas and failure rate. The attribute `settings` changes them
            while the emulator runs.

    Raises:
        MissingExtraError: uvicorn is not installed.
    """

    def __init__(self, *, port: int = 0, **settings: Any) -> None:
        if importlib.util.find_spec("uvicorn") is None:
            raise MissingExtraError("the Gemini emulator", package="uvicorn", extra="testing")
        known = [field.name for field in dataclasses.fields(Settings)]
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise unknown_option(unknown[0], ["port", *known], "GeminiEmulator")
        self.settings = Settings(**settings)
        """The settings; they may be changed while the emulator runs."""
        self._service = Service(self.settings)
        self._port = port
        self._application: Application | None = None
        self._server: Server | None = None

    def __repr__(self) -> str:
        where = self.url if self._server else "not started"
        return f"<GeminiEmulator {where}>"

    @property
    def url(self) -> str:
        """The `base_url` for the SDK, without a slash at the end."""
        if self._server is None:
            raise RuntimeError("the emulator is not running; use it in a `with` statement or call start()")
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def api_key(self) -> str:
        """The accepted API key."""
        return self.settings.api_key

    @property
    def requests(self) -> list[Received]:
        """The received requests, oldest first; at most `Settings.keep_requests`."""
        return self._service.log.requests

    @property
    def embed_requests(self) -> list[Received]:
        """The received requests for embeddings."""
        verbs = (":embedContent", ":batchEmbedContents", ":predict")
        return [request for request in self.requests if request.path.endswith(verbs)]

    @property
    def embedded(self) -> int:
        """Number of items embedded since the start or the last `reset`."""
        return self._service.embedded

    @property
    def tokens(self) -> int:
        """Input tokens of these items."""
        return self._service.tokens

    @property
    def uploads(self) -> list[UploadedFile]:
        """The stored files, oldest first."""
        return self._service.uploads.files

    @property
    def most_in_flight(self) -> int:
        """The highest number of requests in flight at one time."""
        return self._application.most_in_flight if self._application else 0

    def start(self) -> Self:
        """Start the server; a `with` block does this."""
        from langchain_gemini_mm.testing.transport.server import Application, Server

        if self._server is not None:
            raise RuntimeError("the emulator is already running")
        self._application = Application(self._service.handle)
        self._server = Server(self._application, port=self._port)
        self._server.start()
        return self

    def stop(self) -> None:
        """Close all connections and stop the server; does nothing if it is not running."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def reset(self) -> None:
        """Clear requests, files, scripted failures and used quotas; settings are kept."""
        self._service.reset()
        if self._application is not None:
            self._application.most_in_flight = self._application.in_flight

    def fail_next(self, kind: object, times: int = 1, **details: Any) -> None:
        """Make the next requests for embeddings fail.

        ```python
        from langchain_gemini_mm.testing import GeminiEmulator

        with GeminiEmulator() as emulator:
            emulator.fail_next(503)
            emulator.fail_next(429, times=2, retry_delay=0.05)
            emulator.fail_next("reordered")
        ```

        Args:
            kind: an HTTP status, `"cut"` (no response), `"cut-middle"` (half a body), `"per-day"` (429 of the daily
                quota), `"slow"` (1 s late), a value of `faults.Damage`, or a `Failure`.
            times: number of requests.
            details: fields of `Failure`, such as `retry_delay`, `per_day`, `message`, `delay`.
        """
        self.script([Failure.of(kind, **details)] * times)

    def script(self, steps: Sequence[object]) -> None:
        """Script the next requests for embeddings, one step each; None is a successful request.

        ```python
        from langchain_gemini_mm.testing import GeminiEmulator

        with GeminiEmulator() as emulator:
            emulator.script([503, None, "cut", None, "short"])
        ```
        """
        self._service.script.extend(None if step is None else Failure.of(step) for step in steps)

    def add_object(self, uri: str, data: bytes, mime_type: str) -> None:
        """Store `data` under an address such as `gs://bucket/name`, for the parts of later requests.

        Args:
            uri: the address.
            data: the file.
            mime_type: its MIME type.
        """
        self._service.objects[uri] = (data, mime_type)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)
