"""Checks of arguments: counts, ranges, choices and option names."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Collection, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def positive_int(name: str, value: Any) -> int:
    """Check a count.

    Raises:
        TypeError: not an integer.
        ValueError: below 1.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int >= 1, got {value!r}")
    number = operator.index(value)
    if number < 1:
        raise ValueError(f"{name} must be an int >= 1, got {value!r}")
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
        raise TypeError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    number = float(value)
    if math.isnan(number) or not low <= number <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
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
        raise ValueError(f"{name} must be one of {listed}, got {value!r}{did_you_mean(value, allowed)}")
    return value


def unknown_option(name: str, allowed: Iterable[str], where: str) -> TypeError:
    """Make an error for an unknown option, which names the most similar option that exists.

    Args:
        name: the option given.
        allowed: the options that exist.
        where: what has these options, such as "search".
    """
    known = sorted(allowed)
    hint = did_you_mean(name, known)
    return TypeError(f"{where} has no option {name!r}{hint}{'' if hint else '.'} Options: {', '.join(known)}")


def did_you_mean(value: object, allowed: Iterable[object]) -> str:
    """Return a hint for the end of a message that names the most similar allowed value; empty if none is similar."""
    near = difflib.get_close_matches(str(value), [str(known) for known in allowed], n=1)
    return f". Did you mean {near[0]!r}?" if near else ""
