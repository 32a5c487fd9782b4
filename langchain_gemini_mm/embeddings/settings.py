"""The arguments of `GeminiEmbeddings`: what they are called, what they mean, and what they must satisfy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from langchain_core.stores import BaseStore
from langchain_core.utils import from_env, secret_from_env
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo

from langchain_gemini_mm.content.parts import Unresolved
from langchain_gemini_mm.embeddings.service.client import ServiceSettings
from langchain_gemini_mm.embeddings.tasks import Recipe, find_task, recipe
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Backend, Content, MediaSource, Modality, Role
from langchain_gemini_mm.media.convert import MediaTarget
from langchain_gemini_mm.media.media_options import MediaOptions
from langchain_gemini_mm.media.model_limits import consumer_name
from langchain_gemini_mm.models import DEFAULT_MODEL, INLINE_BYTES, ModelSpec, model_spec, warn_if_retired
from langchain_gemini_mm.references import SCHEME, MediaRef
from langchain_gemini_mm.validation import positive_int, unknown_option

# Pydantic makes a secret of a plain str; type checkers must know that one may be given.
if TYPE_CHECKING:
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
    """A ready `google.genai.Client` to use instead of one built from the fields below; it stays yours to close."""
    model: str = DEFAULT_MODEL
    """The embedding model, such as `gemini-embedding-2`; `models.MODELS` lists those known."""
    task_type: str | None = None
    """What the embeddings are for, when not for searching (`tasks.TASKS`); told to the model in its own way."""
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
    """Another address of the service, such as a gateway or an emulator."""
    additional_headers: dict[str, str] | None = Field(default=None, repr=False)
    """HTTP headers to add."""
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
    """Keeps vectors, as float32 bytes under a key of model, size, task and content."""
    max_concurrency: int = Field(default=8, ge=1, le=256)
    """Requests of one call under way at once, in threads or tasks."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one request."""
    max_retries: int = Field(default=6, ge=0)
    """How often a request is repeated after a 408, 429, 5xx or a lost connection."""
    deadline: float = Field(default=300.0, gt=0)
    """Seconds for one request with all its retries, whatever the service asks to wait."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Your quota; each content of a batch counts as one request."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Your quota of tokens, kept by estimate."""
    budget_usd: float | None = Field(default=None, ge=0)
    """US dollars that may be spent by this object; what would pass it, by estimate, is a `BudgetError` and not sent."""
    batch_bytes: int = Field(default=4_000_000, ge=1)
    """Bytes of contents in one request; bounds memory together with `max_concurrency`."""
    inline_limit: int = Field(default=INLINE_BYTES, ge=1)
    """Bytes above which a content's media go through the Files API."""
    image_max_edge: int | None = None
    """Pixels: larger pictures are scaled down before they are sent. Part of the space, like the four below."""
    video_max_edge: int | None = None
    """Pixels: larger videos are written anew and smaller, which takes long."""
    video_fps: float | None = None
    """Frames of a second of video that Vertex AI looks at, 1 when None, of at most 120 in all."""
    document_ocr: bool = False
    """Whether Vertex AI also reads the words on PDF pages."""
    audio_track_extraction: bool = False
    """Whether Vertex AI also hears the sound of videos, which then last 80 s at most."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        return check_known(values, cls.model_fields)

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        model_spec(value)
        return value

    @field_validator("task_type")
    @classmethod
    def _known_task(cls, value: str | None) -> str | None:
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
        """Look up everything that follows from the fields.

        Raises:
            ValueError: fields that do not go together, or a number out of its range.
        """
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
            inline_limit=self.inline_limit,
        )

    def _service_settings(self) -> ServiceSettings:
        key = self.google_api_key
        return ServiceSettings(
            backend=self.backend,
            api_key=key.get_secret_value() if isinstance(key, SecretStr) else key,
            project=self.project,
            location=self.location,
            credentials=self.credentials,
            base_url=self.base_url,
            api_version=self.api_version,
            headers=self.additional_headers or {},
            client_args=self.client_args or {},
            timeout=request_timeout(self.request_options) or self.timeout,
            max_retries=self.max_retries,
            deadline=self.deadline,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
        )


PREPARATION = "1"
"""Version of how media are prepared before they are sent; a part of the fingerprint."""
CONVERTED_BYTES = 64_000_000
"""Largest converted part; it is in memory while it is written. A larger one is encoded with fewer bits per second."""


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings:
    """What follows from the fields of `GeminiEmbeddings` for the preparation of contents."""

    backend: Backend
    spec: ModelSpec
    """The model, with the limits that follow from the media options."""
    options: MediaOptions
    targets: Mapping[Modality, MediaTarget]
    """What media are converted to."""
    dimensions: int
    """Size of the vectors, unless a call names another."""
    recipes: Mapping[Role, Recipe]
    """How texts are prefixed, unless a call names another task."""
    space: Mapping[str, object]
    """The fingerprint, but for the task of documents."""
    media: MediaSource | None
    unresolved: Unresolved
    inline_limit: int
    """Bytes of a request."""

    def recipe(self, role: Role, task_type: str | None) -> Recipe:
        """How texts are prefixed for a role and a task.

        Raises:
            ValueError: no such role or task.
        """
        if task_type is None and role in self.recipes:
            return self.recipes[role]
        return recipe(self.spec, role, task_type)


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


_FEW = 100
_TRUE = ("true", "1", "yes")
_FALSE = ("false", "0", "no")
_FOREIGN_SCHEMES = ("http://", "https://", "gs://", "s3://", "data:", "ftp://", "file:")


def check_known(values: Any, fields: Mapping[str, FieldInfo]) -> Any:
    """Refuse an argument that does not exist, naming the nearest that does.

    Raises:
        TypeError: as Python does for a function.
    """
    names = {*fields, *(field.alias for field in fields.values() if field.alias)}
    for name in values if isinstance(values, Mapping) else ():
        if name not in names:
            raise unknown_option(name, names, "GeminiEmbeddings")
    return values


def check_dimensions(given: int | None, spec: ModelSpec) -> int:
    """The size of the vectors, in the model's range.

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


def check_sequence(contents: Sequence[Content]) -> list[Content]:
    """Contents as a list; one content where many are meant is the commonest slip.

    Raises:
        TypeError: a single content, or nothing that can be iterated.
    """
    if isinstance(contents, str | bytes | bytearray | Path | Mapping) or not isinstance(contents, Iterable):
        raise TypeError(
            f"expected a list of contents, one vector each, got one {type(contents).__name__}; put it in a list, or "
            "use embed_query"
        )
    return list(contents)


def are_short_texts(contents: Sequence[Content]) -> bool:
    """Whether contents are short work: few texts, and no reference that needs a file."""
    few = isinstance(contents, list) and len(contents) <= _FEW
    return few and all(isinstance(item, str) and "mm:" not in item for item in contents)


def request_timeout(options: Mapping[str, Any] | None) -> float | None:
    """The timeout in `request_options`, in seconds.

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
    """Which backend is meant: what was said, then the environment, then what only Vertex AI needs."""
    if vertexai is not None:
        return vertexai
    word = os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", "").lower()
    if word in _TRUE + _FALSE:
        return word in _TRUE
    return credentials is not None or project is not None


def uris_to_contents(uris: Sequence[str | Path]) -> list[Path | MediaRef]:
    """Paths and references from strings that are known to be paths: nowhere else is a string taken for one.

    Raises:
        TypeError: a single string.
        ContentError: an address of another kind.
    """
    if isinstance(uris, str | Path):
        raise TypeError(f"expected a list of paths, got one {type(uris).__name__}; put it in a list")
    return [_uri_to_content(uri) for uri in uris]


def _uri_to_content(uri: str | Path) -> Path | MediaRef:
    if isinstance(uri, Path):
        return uri
    if not isinstance(uri, str):
        raise TypeError(f"expected a path as str or Path, got {type(uri).__name__}")
    if uri.startswith(SCHEME):
        return MediaRef.parse(uri)
    scheme = next((known for known in _FOREIGN_SCHEMES if uri.lower().startswith(known)), None)
    if scheme is not None:
        raise ContentError(f"an address that starts with {scheme!r} is not fetched; give the path of a local file")
    return Path(uri)
