"""What a caller may say to `GeminiEmbeddings`, checked before anything is done."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.models import ModelSpec
from langchain_gemini_mm.references import SCHEME, MediaRef

_FEW = 100
_TRUE = ("true", "1", "yes")
_FALSE = ("false", "0", "no")
_FOREIGN_SCHEMES = ("http://", "https://", "gs://", "s3://", "data:", "ftp://", "file:")


def check_known(values: Any, fields: Mapping[str, FieldInfo]) -> Any:
    """Refuse an argument that does not exist, naming the nearest that does.

    Raises:
        TypeError: as Python does for a function.
    """
    if not isinstance(values, Mapping):
        return values
    names = {*fields, *(field.alias for field in fields.values() if field.alias)}
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(str(name), sorted(names), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"GeminiEmbeddings has no argument {name!r}{hint}")
    return values


def check_dimensions(given: int | None, spec: ModelSpec) -> int:
    """The size of the vectors, in the model's range.

    Raises:
        TypeError: not a whole number.
        ValueError: outside the range.
    """
    if given is None:
        return spec.default_dimensions
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"output_dimensionality must be a whole number, got {given!r}")
    least, most = spec.dimensions
    if not least <= given <= most:
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


def all_plain(contents: Sequence[Content]) -> bool:
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
