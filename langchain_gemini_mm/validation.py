"""Checks of arguments: counts, ranges, choices and option names."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError

_LONGEST_VALUE = 80
_SECRET = ("key", "secret", "token", "credential", "header", "url", "password", "client_args", "request_options")
"""Parts of the names of fields whose values are not shown."""

T = TypeVar("T")
P = ParamSpec("P")

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_OTHER_NAMES = {
    "collection_name": ("collection", "name"),
    "dimension": ("output_dimensionality",),
    "dimensions": ("output_dimensionality",),
    "distance_threshold": ("score_threshold",),
    "embedding_function": ("embedding",),
    "embeddings": ("embedding",),
    "filters": ("filter",),
    "group_by": ("by",),
    "index_name": ("name", "collection"),
    "limit": ("k",),
    "media_store": ("media",),
    "mode": ("search_type",),
    "n_results": ("k",),
    "num_results": ("k",),
    "directory": ("path", "where", "source"),
    "folder": ("where", "source"),
    "k": ("max_k",),
    "model_name": ("model",),
    "path": ("where", "source"),
    "persist_directory": ("path", "where"),
    "persist_path": ("path", "where"),
    "task": ("task_type",),
    "threshold": ("score_threshold",),
    "top_k": ("k", "max_k"),
    "vector_store": ("store", "retriever"),
    "vectorstore": ("store", "retriever"),
    "where": ("filter",),
}
"""Names of options in other packages, with those of the same options here."""


def positive_int(name: str, value: Any) -> int:
    """Check a count.

    Raises:
        TypeError: not an integer.
        ValueError: below 1.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidTypeError(f"{name} must be an int >= 1, got {value!r}")
    number = operator.index(value)
    if number < 1:
        raise InvalidValueError(f"{name} must be an int >= 1, got {value!r}")
    return number


def number_in(name: str, value: Any, low: float, high: float) -> float:
    """Check a number within a closed range.

    Args:
        name: the argument, for the message.
        value: what was given.
        low: the smallest allowed number.
        high: the largest allowed number.

    Raises:
        TypeError: not a number.
        ValueError: out of the range, or not finite.
    """
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise InvalidTypeError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    number = float(value)
    if math.isnan(number) or not low <= number <= high:
        raise InvalidValueError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    return number


def one_of(name: str, value: T, allowed: Collection[T]) -> T:
    """Check a choice.

    Args:
        name: the argument, for the message.
        value: what was given.
        allowed: the choices.

    Raises:
        ValueError: not one of `allowed`; the message names the nearest.
    """
    if value not in allowed:
        listed = ", ".join(map(repr, allowed))
        raise InvalidValueError(f"{name} must be one of {listed}, got {value!r}{did_you_mean(value, allowed)}")
    return value


def unknown_option(name: str, allowed: Iterable[str], where: str) -> InvalidTypeError:
    """Make an error for an unknown option, which names the most similar option that exists.

    Args:
        name: the option given.
        allowed: the options that exist.
        where: what has these options, such as "search".
    """
    known = sorted(allowed)
    other = next((other for other in _OTHER_NAMES.get(name, ()) if other in known), None)
    hint = f". Did you mean {other!r}?" if other else did_you_mean(name, known)
    return InvalidTypeError(f"{where} has no option {name!r}{hint}{'' if hint else '.'} Options: {', '.join(known)}")


def refuse_unknown(given: Any, allowed: Iterable[str], where: str) -> None:
    """Check the names of options, if `given` is a mapping of them.

    Args:
        given: options by name; anything else is not checked.
        allowed: the names that exist.
        where: what has the options, for the message.

    Raises:
        TypeError: see `unknown_option`.
    """
    known = set(allowed)
    for name in given if isinstance(given, Mapping) else ():
        if name not in known:
            raise unknown_option(str(name), known, where)


def explains_unknown_options(where: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function so that a keyword argument that it lacks raises `unknown_option`.

    ```python
    import pytest

    from langchain_gemini_mm import Query

    with pytest.raises(TypeError, match="Query has no option 'lik'. Did you mean 'like'"):
        Query("a cat", lik=["photo-7"])
    ```

    Args:
        where: what has the arguments, such as a class.
    """

    def decorated(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            if kwargs:
                refuse_unknown(kwargs, names(), where)
            return function(*args, **kwargs)

        @functools.cache
        def names() -> frozenset[str]:
            given = inspect.signature(function).parameters.values()
            return frozenset(one.name for one in given if one.kind in _BY_NAME) - {"self"}

        return checked

    return decorated


def explains_fields(model: type[T]) -> type[T]:
    """Decorate a pydantic model so that wrong fields raise `InvalidValueError` instead of pydantic's error.

    ```python
    import pytest

    from langchain_gemini_mm import GeminiMMError, MultimodalToolkit

    with pytest.raises(GeminiMMError, match="MultimodalToolkit: retriever"):
        MultimodalToolkit(retriever="a store")
    ```

    Args:
        model: a class of pydantic.
    """
    initialize: Callable[..., None] = model.__init__

    @functools.wraps(initialize)
    def explained(self: Any, *args: Any, **fields: Any) -> None:
        try:
            initialize(self, *args, **fields)
        except ValidationError as error:
            if error.title != type(self).__name__:
                raise
            raise InvalidValueError(_wrong_fields(error)) from None

    setattr(model, "__init__", explained)  # noqa: B010 - a type checker keeps the fields as arguments
    return model


def _wrong_fields(error: ValidationError) -> str:
    """The fields that are wrong; values are shown where they are short and cannot be secret."""
    lines = []
    for detail in error.errors(include_url=False, include_context=False):
        value, name = detail.get("input"), ".".join(map(str, detail["loc"]))
        message = detail["msg"].removeprefix("Value error, ")
        is_shown = name and isinstance(value, str | int | float) and len(repr(value)) <= _LONGEST_VALUE
        if not is_shown or "got " in message:
            shown = "" if "got " in message or not name else f", got a {type(value).__name__}"
        elif any(word in name for word in _SECRET):
            shown = ""
        else:
            shown = f", got {value!r}"
        lines.append(f"{error.title}: {name}{': ' if name else ''}{message}{shown}")
    return "\n".join(lines)


def did_you_mean(value: object, allowed: Iterable[object]) -> str:
    """Return a hint for the end of a message that names the most similar allowed value; empty if none is similar."""
    near = difflib.get_close_matches(str(value), [str(known) for known in allowed], n=1)
    return f". Did you mean {near[0]!r}?" if near else ""
