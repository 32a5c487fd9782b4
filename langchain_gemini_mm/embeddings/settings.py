"""The constructor arguments of `GeminiEmbeddings`, their validation, and the settings that follow from them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import urlsplit

from langchain_core.stores import BaseStore
from langchain_core.utils import from_env
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer, field_validator, model_validator
from pydantic.fields import FieldInfo

from langchain_gemini_mm.content.parts import Unresolved
from langchain_gemini_mm.embeddings.long_text import OnTooLong
from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.interfaces import Backend, Content, MediaSource, Modality, Role, WaitNotice
from langchain_gemini_mm.models import (
    DEFAULT_MODEL,
    INLINE_BYTES,
    ITEMS_PER_CALL,
    ModelSpec,
    check_location,
    model_spec,
    warn_if_retired,
)
from langchain_gemini_mm.validation import positive_int, unknown_option

# Pydantic makes a secret of a plain str; type checkers must know that one may be given.
if TYPE_CHECKING:
    from langchain_gemini_mm.embeddings.service.client import ServiceSettings
    from langchain_gemini_mm.embeddings.tasks import Recipe
    from langchain_gemini_mm.media.convert import MediaTarget
    from langchain_gemini_mm.media.media_options import MediaOptions

    ApiKey: TypeAlias = SecretStr | str
else:
    ApiKey = SecretStr


def key_of_environment() -> SecretStr | None:
    """The key in `GOOGLE_API_KEY` or `GEMINI_API_KEY`, the first that is not empty, as the SDK reads them."""
    keys = (os.environ.get(name, "").strip() for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"))
    return next((SecretStr(key) for key in keys if key), None)


class EmbeddingSettings(BaseModel):
    """Fields of `GeminiEmbeddings`; those of `GoogleGenerativeAIEmbeddings` keep their names and meanings."""

    model_config = ConfigDict(
        populate_by_name=True,
        arbitrary_types_allowed=True,
        # A validation error would print what it was given, keys included.
        hide_input_in_errors=True,
    )

    client: Any = Field(default=None, exclude=True, repr=False)
    """A `google.genai.Client` to use instead of one built from the fields below; the caller closes it."""
    model: str | ModelSpec = DEFAULT_MODEL
    """The embedding model: an id such as `gemini-embedding-2`, or a `ModelSpec` (see `models`)."""
    task_type: str | None = None
    """What the embeddings are for, when not for search (`tasks.TASKS`); queries and documents get the form of their
    side. Passed to the model as prefix or field."""
    google_api_key: ApiKey | None = Field(alias="api_key", default_factory=key_of_environment, validate_default=True)
    """API key of the Gemini API; on Vertex AI the key of express mode. Pickles contain it in clear text."""
    credentials: Any = Field(default=None, exclude=True, repr=False)
    """`google.auth` credentials; they select Vertex AI."""
    vertexai: bool | None = None
    """Which backend; when None: `GOOGLE_GENAI_USE_VERTEXAI`, else Vertex AI if `credentials` or `project` is given."""
    project: str | None = None
    """Google Cloud project, Vertex AI only."""
    location: str | None = Field(default_factory=from_env("GOOGLE_CLOUD_LOCATION", default=None))
    """Google Cloud location, Vertex AI only."""
    base_url: str | None = None
    """Base URL of the service, such as that of a gateway or an emulator."""
    additional_headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """HTTP headers added to every request."""
    client_args: dict[str, Any] | None = Field(default=None, exclude=True, repr=False)
    """Arguments for the SDK's HTTP clients, such as `{"proxy": ...}`."""
    api_version: str | None = None
    """Version in the service's URLs; when None, `v1beta` (Gemini API) or `v1beta1` (Vertex AI)."""
    request_options: dict[str, Any] | None = None
    """Only `{"timeout": seconds}` is used, for compatibility; prefer `timeout`."""
    output_dimensionality: int | None = None
    """Size of the vectors; the model's default (3072) when None."""

    media: MediaSource | None = None
    """Resolves `mm://` references in texts."""
    unresolved: Unresolved = "error"
    """`"text"` keeps references that `media` does not know as plain text."""
    on_too_long: OnTooLong = "error"
    """What to do with a text of more tokens than the model reads: raise `MediaLimitError`, `"truncate"` it, or
    `"split"` it and take the mean of the vectors of its parts."""
    cache: BaseStore[str, bytes] | None = Field(default=None, repr=False)
    """Caches vectors as float32 bytes, under a key of model, size, task and content."""
    max_concurrency: int = Field(default=8, ge=1, le=256)
    """Concurrent requests of one call, in threads or tasks."""
    timeout: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    """Seconds for one request, from connecting to the last byte of the response."""
    max_retries: int = Field(default=6, ge=0)
    """Most retries of a request after status 408, 5xx, a time-out or a lost connection; a quota is waited for."""
    deadline: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    """Seconds without an accepted request, beyond the delays that the service asks for, after which a call fails; also
    the longest such delay."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Your quota; each content of a batch counts as one request. Learnt from the service when None."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Your quota of tokens. Learnt from the service when None."""
    on_wait: Callable[[WaitNotice], object] | None = Field(default=None, exclude=True, repr=False)
    """Called when a run waits for a quota or for the service, such as `ProgressBar().waiting`; not pickled."""
    budget_usd: float | None = Field(default=None, ge=0)
    """US dollars that this object may spend, by estimate; a call that would exceed them raises `BudgetError`."""
    batch_bytes: int = Field(default=4_000_000, ge=1)
    """Bytes of contents in one request, at most `inline_limit`; together with `max_concurrency` it bounds memory."""
    inline_limit: int = Field(default=INLINE_BYTES, ge=1)
    """Bytes above which a content's media go through the Files API."""
    image_max_edge: int | None = None
    """Longer side in pixels; larger images are scaled down. Part of the fingerprint, as are the next four."""
    video_max_edge: int | None = None
    """Longer side in pixels; larger videos are scaled down and re-encoded, which is slow."""
    video_fps: float | None = None
    """Frames per second that Vertex AI samples from a video, 1 when None; at most 120 frames in all."""
    document_ocr: bool = False
    """Whether Vertex AI also reads the text on PDF pages."""
    audio_track_extraction: bool = False
    """Whether Vertex AI also processes the audio of videos, which may then last at most 80 s."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        return check_known(values, cls.model_fields)

    @field_validator("google_api_key")
    @classmethod
    def _usable_key(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else check_key(value)

    @field_validator("base_url")
    @classmethod
    def _usable_url(cls, value: str | None) -> str | None:
        return None if value is None else check_url(value)

    @field_validator("additional_headers")
    @classmethod
    def _usable_headers(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        return None if value is None else check_headers(value)

    @field_validator("client")
    @classmethod
    def _usable_client(cls, value: Any) -> Any:
        if value is not None and not (hasattr(value, "models") and hasattr(value, "vertexai")):
            raise InvalidValueError(f"client must be a google.genai.Client, got {type(value).__name__}")
        return value

    @field_serializer("base_url")
    def _url_without_password(self, value: str | None) -> str | None:
        from langchain_gemini_mm.embeddings.service.client import without_password

        return None if value is None else without_password(urlsplit(value))

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Fields for the repr, without the password in a URL."""
        for name, value in super().__repr_args__():
            yield name, self._url_without_password(value) if name == "base_url" else value

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field; a plain key becomes a secret."""
        if name == "google_api_key" and value is not None:
            value = check_key(value if isinstance(value, SecretStr) else SecretStr(value))
        super().__setattr__(name, value)

    @field_validator("task_type")
    @classmethod
    def _known_task(cls, value: str | None) -> str | None:
        from langchain_gemini_mm.embeddings.tasks import find_task

        return find_task(value).name if value else None

    @field_validator("request_options")
    @classmethod
    def _only_timeout(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if others := sorted(set(value or ()) - {"timeout"}):
            _warn_ignored(f"request_options[{', '.join(map(repr, others))}]", "client_args or additional_headers")
        return value

    @model_validator(mode="after")
    def _ready(self) -> Self:
        self._resolve()
        self._service_settings()
        if self.backend == "gemini" and self.google_api_key is None and self.client is None:
            raise InvalidValueError(
                "no API key: set GOOGLE_API_KEY (or GEMINI_API_KEY), or give api_key=. For Vertex AI give project="
            )
        if self.backend == "gemini" and self.client is None and self.location and "location" in self.model_fields_set:
            message = f"location={self.location!r} has no effect on the Gemini API; for Vertex AI give vertexai=True"
            warnings.warn(message, UserWarning, stacklevel=3)
        if self.base_url is not None:
            check_version(self.base_url, self.api_version, self.backend)
        warn_if_retired(model_spec(self.model))
        express = "google_api_key" in self.model_fields_set and self.project is None
        # A key that is given outweighs a location of the environment.
        if self.backend == "vertex" and ("location" in self.model_fields_set or not express):
            check_location(model_spec(self.model), self.location)
        return self

    @property
    def backend(self) -> Backend:
        """Which service answers."""
        given = getattr(self.client, "vertexai", None)
        if given is None:
            given = use_vertex(self.vertexai, self.credentials, self.project)
        return "vertex" if given else "gemini"

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle without `on_wait`: a progress bar belongs to one process."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "on_wait": None}}

    def _resolve(self) -> ResolvedSettings:
        """Derive everything that the preparation of contents needs.

        Raises:
            ValueError: fields that contradict each other, or a number out of its range.
        """
        from langchain_gemini_mm.embeddings.tasks import recipe
        from langchain_gemini_mm.media.media_options import MediaOptions

        backend = self.backend
        options = MediaOptions(**{option.name: getattr(self, option.name) for option in fields(MediaOptions)})
        options.check(backend)
        spec = options.limits(model_spec(self.model), backend)
        recipes: dict[Role, Recipe] = {
            "query": recipe(spec, "query", self.task_type),
            "document": recipe(spec, "document", self.task_type),
        }
        dimensions = check_dimensions(self.output_dimensionality, spec)
        return ResolvedSettings(
            backend=backend,
            spec=spec,
            options=options,
            targets=MappingProxyType(media_targets(spec, backend, options, self.inline_limit)),
            dimensions=dimensions,
            recipes=MappingProxyType(recipes),
            space=MappingProxyType(
                {
                    "model": spec.name,
                    "dimensions": dimensions,
                    "preparation": f"{PREPARATION} {options.recipe}".rstrip(),
                }
            ),
            media=self.media,
            unresolved=self.unresolved,
            on_too_long=self.on_too_long,
            sampling=options.sampling(backend),
            request_fields=options.request_fields,
            inline_limit=self.inline_limit,
        )

    def _service_settings(self) -> ServiceSettings:
        """How to connect.

        Raises:
            ValueError: credentials and a key are both given.
        """
        from langchain_gemini_mm.embeddings.service.client import ServiceSettings

        same = {setting.name for setting in fields(ServiceSettings)} & type(self).model_fields.keys()
        values = {name: getattr(self, name) for name in same}
        key = self.google_api_key
        if self.backend == "vertex":
            key = key if "google_api_key" in self.model_fields_set else None
            if key is None:
                # With a base URL, the SDK drops a project and a location that it reads from the environment itself.
                values["project"] = self.project or os.environ.get("GOOGLE_CLOUD_PROJECT")
            if not (values["project"] or self.credentials or "location" in self.model_fields_set):
                # A location would keep the SDK from using a key of the environment.
                values["location"] = None
            if key is not None and self.credentials is not None:
                raise InvalidValueError("credentials and api_key are both given, and Vertex AI takes one of them")
        values |= {
            "timeout": request_timeout(self.request_options) or self.timeout,
            "client_args": self.client_args or {},
            "headers": self.additional_headers or {},
            "api_key": key.get_secret_value() if isinstance(key, SecretStr) else key,
        }
        return ServiceSettings(backend=self.backend, **values)


@dataclass(frozen=True)
class EmbedRequest:
    """The arguments of one `embed` call; None stands for the settings of the object."""

    contents: Sequence[Content] = field(repr=False)
    role: Role
    task_type: str | None = None
    titles: Sequence[str | None] | None = None
    output_dimensionality: int | None = None
    batch_size: int = ITEMS_PER_CALL
    urgent: bool = False
    """Whether it is a query, which does not wait for bulk work of the same object."""


PREPARATION = "1"
"""Version of the media preparation; a part of the fingerprint."""
CONVERTED_BYTES = 64_000_000
"""Largest converted part; it is in memory while it is written. A larger one is encoded with fewer bits per second."""


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings:
    """Values derived from the fields of `GeminiEmbeddings`, computed once."""

    backend: Backend
    spec: ModelSpec
    """The model, with the limits that follow from the media options."""
    options: MediaOptions
    targets: Mapping[Modality, MediaTarget]
    """What media are converted to, by modality."""
    dimensions: int
    """Size of the vectors, unless a call names another."""
    recipes: Mapping[Role, Recipe]
    """How texts are prefixed, unless a call names another task."""
    space: Mapping[str, object]
    """The fingerprint without the task of documents."""
    media: MediaSource | None
    unresolved: Unresolved
    on_too_long: OnTooLong
    sampling: str
    """How the service samples video; a part of the cache keys of video."""
    request_fields: Mapping[str, object]
    """Fields of every request that follow from the media options."""
    inline_limit: int
    """Bytes of a request."""


def media_targets(
    spec: ModelSpec, backend: Backend, options: MediaOptions, inline_limit: int
) -> dict[Modality, MediaTarget]:
    """What a model takes of each modality.

    Args:
        spec: the model, with the limits that follow from the options.
        backend: the service.
        options: choices of the caller.
        inline_limit: bytes of a request, base64 counted; Vertex AI has no other way for media.
    """
    from langchain_gemini_mm.media.convert import MediaTarget
    from langchain_gemini_mm.media.model_limits import consumer_name

    inline = max(inline_limit - 1000, 4) // 4 * 3
    max_bytes = min(CONVERTED_BYTES, inline) if backend == "vertex" else CONVERTED_BYTES
    targets: dict[Modality, MediaTarget] = {}
    for modality, limit in spec.media.get(backend, {}).items():
        edges = {"image": (options.image_max_edge, limit.pixels_per_side), "video": (options.video_max_edge,)}
        targets[modality] = MediaTarget(
            mime_types=limit.mime_types,
            max_bytes=max_bytes,
            max_edge=min((edge for edge in edges.get(modality, ()) if edge), default=None),
            max_seconds=limit.seconds,
            consumer=consumer_name(spec, backend),
        )
    return targets


_TRUE = ("true", "1", "yes")


def check_known(values: Any, fields: Mapping[str, FieldInfo]) -> Any:
    """Refuse an argument that does not exist, naming the nearest that does.

    Raises:
        TypeError: as for an unknown keyword argument of a function.
    """
    names = {*fields, *(field.alias for field in fields.values() if field.alias)}
    if not isinstance(values, Mapping):
        return values
    for name in values:
        if name in _IGNORED:
            _warn_ignored(name, _IGNORED[name])
        elif name not in names:
            raise unknown_option(name, names, "GeminiEmbeddings")
    # None for a key means that of the environment, as for the SDK.
    known = (name for name, value in values.items() if value is not None or "api_key" not in name)
    return {name: values[name] for name in known if name not in _IGNORED}


_IGNORED = {"client_options": "base_url", "transport": "base_url, as HTTP is always used"}
"""Arguments of older versions of `GoogleGenerativeAIEmbeddings`, which version 4 ignores, and what to use instead."""


def _warn_ignored(name: str, instead: str) -> None:
    warnings.warn(f"{name} has no effect, as in GoogleGenerativeAIEmbeddings; use {instead}", UserWarning, stacklevel=4)


def check_dimensions(given: int | None, spec: ModelSpec) -> int:
    """Return the size of the vectors, if the model supports it.

    Raises:
        TypeError: not an integer.
        ValueError: outside the range.
    """
    if given is None:
        return spec.default_dimensions
    least, most = spec.dimensions
    if not least <= positive_int("output_dimensionality", given) <= most:
        raise InvalidValueError(f"output_dimensionality must be {least} to {most} for {spec.name}, got {given}")
    return given


def request_timeout(options: Mapping[str, Any] | None) -> float | None:
    """Return the timeout in `request_options`, in seconds.

    Raises:
        ValueError: the timeout is not a positive number.
    """
    timeout = (options or {}).get("timeout")
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise InvalidValueError(f"request_options['timeout'] must be a positive number of seconds, got {timeout!r}")
    return float(timeout)


def check_key(key: SecretStr) -> SecretStr:
    """Return an API key without the white space around it.

    Raises:
        ValueError: it is empty, or contains characters that no key has; the message does not show it.
    """
    text = key.get_secret_value().strip()
    if not text:
        raise InvalidValueError("the API key is empty: set GOOGLE_API_KEY (or GEMINI_API_KEY), or give api_key=")
    for position, char in enumerate(text):
        if not " " <= char <= "~":
            raise InvalidValueError(
                f"the API key contains the character U+{ord(char):04X} at position {position + 1} of {len(text)}; no "
                "key has it, and it may be invisible: copy the key again"
            )
    return SecretStr(text)


def check_url(url: str) -> str:
    """Return a base URL.

    Raises:
        ValueError: it has no scheme or no host, or its port is not one.
    """
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number from 0 to 65535
        usable = False
    if not usable:
        from langchain_gemini_mm.embeddings.service.client import without_password

        shown = without_password(parts) if "@" in parts.netloc else url.rpartition("@")[2]
        raise InvalidValueError(
            f"base_url must begin with https:// or http:// and name a host (and a port of 1 to 65535), got {shown!r}"
        )
    return url


def check_version(url: str, version: str | None, backend: Backend) -> None:
    """Refuse a base URL that already ends with the version that is appended to it.

    Args:
        url: the base URL.
        version: the version; None for that of the backend.
        backend: which service it is.

    Raises:
        ValueError: it does; every request would be answered with 404.
    """
    from langchain_gemini_mm.embeddings.service.client import DEFAULT_API_VERSIONS

    version = version or DEFAULT_API_VERSIONS[backend]
    if urlsplit(url).path.rstrip("/").rpartition("/")[2] == version:
        raise InvalidValueError(f"base_url must not end with /{version}, which is appended to it; leave it out")


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return HTTP headers.

    Raises:
        ValueError: a name or value contains a control character; the message does not show the value.
    """
    for name, value in headers.items():
        for char in f"{name}{value}":
            if (char < " " and char != "\t") or char == "\x7f" or ord(char) > 0xFF:
                raise InvalidValueError(
                    f"the header {name!r} contains the character U+{ord(char):04X}, which HTTP does not allow; a token "
                    "that was read from a file may end with a line feed (U+000A)"
                )
    return headers


def use_vertex(vertexai: bool | None, credentials: object, project: str | None) -> bool:
    """Whether to use Vertex AI: by the argument, else by arguments that only Vertex AI has, else by the environment.

    Args:
        vertexai: the argument of that name; None if it was not given.
        credentials: Google Cloud credentials, or None.
        project: a Google Cloud project, or None.
    """
    if vertexai is not None:
        return vertexai
    if credentials is not None or project is not None:
        return True
    variables = (os.environ.get(name) for name in ("GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_USE_VERTEXAI"))
    return next((variable.lower() in _TRUE for variable in variables if variable is not None), False)
