"""The constructor arguments of `GeminiEmbeddings`, their validation, and the settings that follow from them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from langchain_core.stores import BaseStore
from langchain_core.utils import from_env, secret_from_env
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo

from langchain_gemini_mm.content.parts import Unresolved
from langchain_gemini_mm.interfaces import Backend, Content, MediaSource, Modality, Role
from langchain_gemini_mm.models import (
    DEFAULT_MODEL,
    INLINE_BYTES,
    ITEMS_PER_CALL,
    ModelSpec,
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
    model: str = DEFAULT_MODEL
    """The embedding model, such as `gemini-embedding-2`; `models.MODELS` lists those known."""
    task_type: str | None = None
    """What the embeddings are for, when not for search (`tasks.TASKS`); passed to the model as prefix or field."""
    google_api_key: ApiKey | None = Field(
        alias="api_key", default_factory=secret_from_env(["GOOGLE_API_KEY", "GEMINI_API_KEY"], default=None)
    )
    """API key of the Gemini API; on Vertex AI the key of express mode."""
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
    additional_headers: dict[str, str] | None = Field(default=None, repr=False)
    """HTTP headers added to every request."""
    client_args: dict[str, Any] | None = Field(default=None, repr=False)
    """Arguments for the SDK's HTTP clients, such as `{"proxy": ...}`."""
    api_version: str | None = None
    """Version in the service's URLs; when None, `v1beta` (Gemini API) or `v1beta1` (Vertex AI)."""
    request_options: dict[str, Any] | None = None
    """Only `{"timeout": seconds}`, for compatibility; prefer `timeout`."""
    output_dimensionality: int | None = None
    """Size of the vectors; the model's default (3072) when None."""

    media: MediaSource | None = None
    """Resolves `mm://` references in texts."""
    unresolved: Unresolved = "error"
    """`"text"` keeps references that `media` does not know as plain text."""
    cache: BaseStore[str, bytes] | None = Field(default=None, repr=False)
    """Caches vectors as float32 bytes, under a key of model, size, task and content."""
    max_concurrency: int = Field(default=8, ge=1, le=256)
    """Concurrent requests of one call, in threads or tasks."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one request."""
    max_retries: int = Field(default=6, ge=0)
    """Most retries of a request after status 408, 429, 5xx or a lost connection."""
    deadline: float = Field(default=300.0, gt=0)
    """Seconds for one request including its retries, whatever delay the service asks for."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Your quota; each content of a batch counts as one request."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Your quota of tokens; the tokens of a request are estimated."""
    budget_usd: float | None = Field(default=None, ge=0)
    """US dollars that this object may spend, by estimate; a call that would exceed them raises `BudgetError`."""
    batch_bytes: int = Field(default=4_000_000, ge=1)
    """Bytes of contents in one request; together with `max_concurrency` it bounds memory."""
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

    @field_validator("task_type")
    @classmethod
    def _known_task(cls, value: str | None) -> str | None:
        from langchain_gemini_mm.embeddings.tasks import find_task

        return None if value is None else find_task(value).name

    @model_validator(mode="after")
    def _ready(self) -> Self:
        self._resolve()
        self._service_settings()
        if self.backend == "gemini" and self.google_api_key is None and self.client is None:
            raise ValueError(
                "no API key: set GOOGLE_API_KEY (or GEMINI_API_KEY), or give api_key=. For Vertex AI give project="
            )
        warn_if_retired(model_spec(self.model))
        return self

    @property
    def backend(self) -> Backend:
        """Which service answers."""
        given = getattr(self.client, "vertexai", None)
        if given is None:
            given = use_vertex(self.vertexai, self.credentials, self.project)
        return "vertex" if given else "gemini"

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
            request_fields=options.request_fields,
            inline_limit=self.inline_limit,
        )

    def _service_settings(self) -> ServiceSettings:
        from langchain_gemini_mm.embeddings.service.client import ServiceSettings

        key = self.google_api_key
        same = {setting.name for setting in fields(ServiceSettings)} & type(self).model_fields.keys()
        values = {name: getattr(self, name) for name in same}
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
_FALSE = ("false", "0", "no")


def check_known(values: Any, fields: Mapping[str, FieldInfo]) -> Any:
    """Refuse an argument that does not exist, naming the nearest that does.

    Raises:
        TypeError: as for an unknown keyword argument of a function.
    """
    names = {*fields, *(field.alias for field in fields.values() if field.alias)}
    for name in values if isinstance(values, Mapping) else ():
        if name not in names:
            raise unknown_option(name, names, "GeminiEmbeddings")
    return values


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
        raise ValueError(f"output_dimensionality must be {least} to {most} for {spec.name}, got {given}")
    return given


def request_timeout(options: Mapping[str, Any] | None) -> float | None:
    """Return the timeout in `request_options`, in seconds.

    Raises:
        ValueError: another option is in it, or the timeout is not a positive number.
    """
    if not options:
        return None
    others = sorted(set(options) - {"timeout"})
    if others:
        raise ValueError(
            f"request_options takes only 'timeout' (seconds), got {', '.join(map(repr, others))}; HTTP options go into "
            "client_args or additional_headers"
        )
    timeout = options["timeout"]
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"request_options['timeout'] must be a positive number of seconds, got {timeout!r}")
    return float(timeout)


def use_vertex(vertexai: bool | None, credentials: object, project: str | None) -> bool:
    """Whether to use Vertex AI: by the argument, else the environment, else by arguments that only Vertex AI needs.

    Args:
        vertexai: the argument of that name; None if it was not given.
        credentials: Google Cloud credentials, or None.
        project: a Google Cloud project, or None.
    """
    if vertexai is not None:
        return vertexai
    variable = os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", "").lower()
    if variable in _TRUE + _FALSE:
        return variable in _TRUE
    return credentials is not None or project is not None
