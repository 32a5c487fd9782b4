"""The emulated service: endpoints, authorization and the order of checks, without I/O.

The limits are in `limits`, and the vectors in `space`.
"""

from __future__ import annotations

import dataclasses
import hmac
import random
import re
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from langchain_gemini_mm.models import MODELS
from langchain_gemini_mm.testing import answers
from langchain_gemini_mm.testing.faults import Failure, damage_body, refusal_of
from langchain_gemini_mm.testing.files import UploadedFiles
from langchain_gemini_mm.testing.limits import check_count
from langchain_gemini_mm.testing.quotas import (
    REQUESTS_PER_DAY,
    REQUESTS_PER_MINUTE,
    TOKENS_PER_MINUTE,
    Quotas,
    QuotaWindow,
)
from langchain_gemini_mm.testing.settings import Settings
from langchain_gemini_mm.testing.space.embedder import Embedder
from langchain_gemini_mm.testing.transport.exchange import HttpReply, HttpRequest, Json, RefusedError, json_reply
from langchain_gemini_mm.testing.transport.wire import (
    Embedded,
    Route,
    SentItem,
    SentPart,
    parse_json,
    read_items,
    shorten_media,
)
from langchain_gemini_mm.vectors import unit_rows

_VERBS = "embedContent|batchEmbedContents|predict|countTokens"
_GEMINI = re.compile(rf"^/(v1|v1beta|v1alpha)/models/([^/:]+):({_VERBS})$")
_VERTEX = re.compile(
    rf"^/(?:v1|v1beta1)/(?:projects/[^/]+/locations/[^/]+/)?publishers/google/models/([^/:]+):({_VERBS})$"
)
_INLINE_MARK = re.compile(rb'"inline_?[dD]ata"')


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request and the status of its response."""

    method: str
    path: str
    status: int
    """HTTP status of the response; 0 if the connection was dropped."""
    items: tuple[SentItem, ...] = field(default=(), repr=False)
    """The items to embed, in order."""
    body: Json = field(default_factory=dict, repr=False)
    """The parsed JSON; inline media are replaced by their size."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers with lower-case names. They contain the API key, so they are not in the repr."""
    size: int = 0
    """Bytes of the body."""

    @property
    def count(self) -> int:
        """Number of items, and so of requested vectors."""
        return len(self.items)

    @property
    def parts(self) -> tuple[SentPart, ...]:
        """All parts of all items, in order."""
        return tuple(part for item in self.items for part in item.parts)

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of all items, in order."""
        return tuple(part.text for part in self.parts if part.text is not None)


@dataclass
class _ParsedRequest:
    """The parsed parts of a request."""

    body: Json = field(default_factory=dict)
    items: tuple[SentItem, ...] = ()
    delay: float = 0.0
    """Seconds until the response."""


class RequestLog:
    """The last `keep_requests` requests, with at most `keep_bytes` of their inline media. Not thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._requests: deque[Received] = deque()
        self._bytes = 0

    @property
    def requests(self) -> list[Received]:
        """The received requests, oldest first."""
        return list(self._requests)

    def clear(self) -> None:
        """Remove all requests."""
        self._requests.clear()
        self._bytes = 0

    def add(self, request: HttpRequest, parsed: _ParsedRequest, reply: HttpReply) -> None:
        """Record a request and its response.

        Args:
            request: the HTTP request.
            parsed: its items and its body.
            reply: the response.
        """
        self._requests.append(
            Received(
                method=request.method,
                path=request.path,
                status=0 if reply.cut == "before" else reply.status,
                items=tuple(
                    dataclasses.replace(item, parts=tuple(map(self._keep, item.parts))) for item in parsed.items
                ),
                body=parsed.body,
                headers=request.headers,
                size=len(request.body),
            )
        )
        while len(self._requests) > self._settings.keep_requests:
            self._bytes -= sum(part.size for part in self._requests.popleft().parts if part.data is not None)

    def _keep(self, part: SentPart) -> SentPart:
        if part.data is None:
            return part
        if self._bytes + part.size > self._settings.keep_bytes:
            return dataclasses.replace(part, data=None)
        self._bytes += part.size
        return part


class Service:
    """Responds to requests. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log = RequestLog(settings)
        self.uploads = UploadedFiles(settings)
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.script: deque[Failure | None] = deque()
        self.embedded = self.tokens = 0
        self._embedder = Embedder(settings, self.uploads, self.objects)
        self._replies: dict[tuple[Route, int, int], HttpReply] = {}
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Clear requests, files, scripted failures and used quotas; settings are kept."""
        with self._lock:
            self.log.clear()
            self.uploads.clear()
            self.script.clear()
            self.embedded = self.tokens = 0
            self._dice = random.Random(self.settings.seed)
            self._windows: dict[str, QuotaWindow] = {}

    def handle(self, request: HttpRequest) -> HttpReply:
        """Respond to one request; invalid requests get an error response."""
        parsed = _ParsedRequest()
        try:
            self._authorise(request)
            reply = self._answer(request, parsed)
        except RefusedError as refusal:
            reply = dataclasses.replace(refusal.reply(), delay=parsed.delay)
        if self.settings.keep_requests:
            shorten_media(parsed.body)
            with self._lock:
                self.log.add(request, parsed, reply)
        return reply

    def _answer(self, request: HttpRequest, parsed: _ParsedRequest) -> HttpReply:
        if self.uploads.matches(request.path):
            with self._lock:
                return self.uploads.handle(request)
        route = _route(request)
        if route is None:
            return _models(request)
        parsed.body = parse_json(request.body)
        parsed.items = read_items(parsed.body, route.verb, route.backend)
        if route.verb == "countTokens":
            return answers.token_count(self._embedder.load(parsed.items, route))
        failure, parsed.delay = self._next_failure()
        if failure and (refusal := refusal_of(failure, route.model)):
            raise refusal
        if self.settings.prepared and parsed.items:
            return dataclasses.replace(self._prepared_reply(route, parsed.items), delay=parsed.delay)
        reply = dataclasses.replace(self._embed(request, route, parsed.items, failure), delay=parsed.delay)
        if failure is None:
            return reply
        return dataclasses.replace(damage_body(reply, failure.damage), cut=failure.cut)

    def _embed(
        self, request: HttpRequest, route: Route, items: Sequence[SentItem], failure: Failure | None
    ) -> HttpReply:
        check_count(items, route.verb)
        if len(request.body) > self.settings.inline_bytes and _INLINE_MARK.search(request.body):
            raise RefusedError(400, f"Request payload size exceeds the limit: {self.settings.inline_bytes} bytes.")
        embedded = self._embedder(items, route)
        tokens = sum(sum(one.tokens.values()) for one in embedded)
        with self._lock:
            self._quotas(route.model).take(len(items), tokens, route.model)
            self.embedded += len(items)
            self.tokens += tokens
        return answers.embeddings(embedded, route, failure.damage if failure else None)

    def _prepared_reply(self, route: Route, items: Sequence[SentItem]) -> HttpReply:
        """The response to all requests of this size: random unit vectors."""
        size = route, len(items), items[0].dimensions or 3072
        if size not in self._replies:
            vectors = unit_rows(np.random.default_rng(len(items)).normal(size=size[1:]))
            embedded = [Embedded(values=vector, tokens={"TEXT": 1}) for vector in vectors]
            self._replies[size] = answers.embeddings(embedded, route, None)
        with self._lock:
            self.embedded += len(items)
        return self._replies[size]

    def _authorise(self, request: HttpRequest) -> None:
        if self.uploads.authorizes(request):
            return
        key = request.headers.get("x-goog-api-key") or request.query.get("key")
        if key is None and request.headers.get("authorization", "").startswith("Bearer "):
            return
        if key is None:
            raise RefusedError(
                403,
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key "
                "or other form of API consumer identity to call this API.",
            )
        if not hmac.compare_digest(key.encode(), self.settings.api_key.encode()):
            reason = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
            raise RefusedError(400, "API key not valid. Please pass a valid API key.", details=[reason])

    def _next_failure(self) -> tuple[Failure | None, float]:
        """Return the failure of this request, or None, and the seconds to wait before its response."""
        with self._lock:
            delay = self.settings.draw_latency(self._dice)
            failure = self.script.popleft() if self.script else None
            if failure is None and self._dice.random() < self.settings.failure_rate:
                failure = Failure.of(self._dice.choice(list(self.settings.failures)))
        return failure, delay + (failure.delay if failure else 0.0)

    def _quotas(self, model: str) -> Quotas:
        """The quotas of a model with the current settings; used amounts are kept."""
        now = self.settings

        def window(limit: int | None, seconds: float, name: Any) -> list[QuotaWindow]:
            if limit is None:
                return []
            kept = self._windows.setdefault(f"{model}/{name.id}", QuotaWindow(limit, seconds, name))
            kept.limit, kept.seconds, kept.kind = limit, seconds, now.quota_window
            return [kept]

        return Quotas(
            clock=now.clock,
            requests=window(now.rpd, now.day, REQUESTS_PER_DAY) + window(now.rpm, now.minute, REQUESTS_PER_MINUTE),
            tokens=window(now.tpm, now.minute, TOKENS_PER_MINUTE),
            header=now.retry_after_header,
        )


def _route(request: HttpRequest) -> Route | None:
    if request.method != "POST":
        return None
    if match := _GEMINI.match(request.path):
        return Route("gemini", match[2], match[3], match[1])  # type: ignore[arg-type]
    if match := _VERTEX.match(request.path):
        return Route("vertex", match[1], match[2])  # type: ignore[arg-type]
    return None


def _models(request: HttpRequest) -> HttpReply:
    """Respond to `GET …/models` and `GET …/models/{model}`; any other path is a 404."""
    match = re.match(r"^/(?:v1|v1beta|v1alpha)/models(?:/([^/:]+))?$", request.path)
    if match is None or request.method != "GET":
        raise RefusedError(404, f"The requested URL {request.path} was not found on this server.")
    described = {
        name: {
            "name": f"models/{name}",
            "displayName": name,
            "inputTokenLimit": spec.tokens,
            "outputTokenLimit": 1,
            "supportedGenerationMethods": ["embedContent", "countTextTokens", "countTokens"],
        }
        for name, spec in MODELS.items()
    }
    if match[1] is None:
        return json_reply({"models": list(described.values())})
    if match[1] not in described:
        raise answers.unknown_model(Route("gemini", match[1], "embedContent"))
    return json_reply(described[match[1]])
