"""Small charts as SVG text: values from 0 to 1 with their intervals, as bars or over an axis of numbers."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_gemini_mm.evaluation.metrics import Measure

if TYPE_CHECKING:
    import os

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#7f7f7f", "#b5a800")
_CONTROL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LEFT, _TOP, _HEIGHT, _BELOW = 48, 64, 220, 64
_BAR, _GAP, _NARROWEST = 16, 24, 72


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart; one value for each place on the axis, None where there is none."""

    name: str
    values: Sequence[Measure | None]


def bars(title: str, places: Sequence[str], series: Sequence[Series]) -> str:
    """Bars with whiskers, grouped by place."""
    group = max(_BAR * len(series) + _GAP, _NARROWEST)
    width = max(_LEFT + group * len(places) + _GAP, 360)
    body: list[str] = []
    for place, name in enumerate(places):
        left = _LEFT + _GAP / 2 + place * group
        body += _label(left + group / 2 - _GAP / 2, name)
        for number, one in enumerate(series):
            measure = one.values[place]
            if measure is not None:
                body += _bar(left + number * _BAR, measure, _colour(number))
    return _chart(title, width, series, body)


def lines(title: str, axis: Sequence[float], series: Sequence[Series]) -> str:
    """Lines with whiskers over numbers, in steps of their logarithms."""
    width = 640
    steps = [math.log(value) for value in axis]
    span = (max(steps) - min(steps)) or 1.0
    places = [_LEFT + 30 + (step - min(steps)) / span * (width - _LEFT - 80) for step in steps]
    body = [piece for x, value in zip(places, axis, strict=True) for piece in _label(x, f"{value:g}")]
    for number, one in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * 4
        points = [(x + shift, measure) for x, measure in zip(places, one.values, strict=True) if measure is not None]
        path = " ".join(f"{x:.1f},{_y(measure.value):.1f}" for x, measure in points)
        body.append(f'<polyline points="{path}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>')
        for x, measure in points:
            body += [*_whisker(x, measure, _colour(number)), _dot(x, measure, _colour(number))]
    return _chart(title, width, series, body)


def save(path: str | os.PathLike[str], picture: str) -> Path:
    """Write a picture.

    Raises:
        ValueError: the name does not end in `.svg`.
    """
    target = Path(path)
    if target.suffix.lower() != ".svg":
        raise ValueError(f"pictures are written as SVG, so the name ends in .svg, got {target.name!r}")
    target.write_text(picture, encoding="utf-8")
    return target


def _chart(title: str, width: float, series: Sequence[Series], body: Sequence[str]) -> str:
    rows = list(_rows(series, width))
    top = 18 * (len({y for _, y in rows}) - 1)
    height = _TOP + _HEIGHT + _BELOW + top
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 {-top} {width:.0f} {height}" role="img" font-family="sans-serif" font-size="12">'
    )
    pieces = [head, f"<title>{_text(title)}</title>"]
    pieces.append(f'<rect y="{-top}" width="{width:.0f}" height="{height}" fill="white"/>')
    pieces.append(f'<text x="{_LEFT}" y="{20 - top}" font-size="15" font-weight="bold">{_text(title)}</text>')
    for number, (one, (x, y)) in enumerate(zip(series, rows, strict=True)):
        pieces.append(f'<rect x="{x}" y="{y - top - 9}" width="10" height="10" fill="{_colour(number)}"/>')
        pieces.append(f'<text x="{x + 14}" y="{y - top}">{_text(one.name)}</text>')
    for tick in (0, 0.25, 0.5, 0.75, 1):
        line = _y(tick)
        pieces.append(f'<line x1="{_LEFT}" y1="{line}" x2="{width - 8:.0f}" y2="{line}" stroke="#dddddd"/>')
        pieces.append(f'<text x="{_LEFT - 6}" y="{line + 4}" text-anchor="end">{tick:g}</text>')
    return "\n".join([*pieces, *body, "</svg>", ""])


def _rows(series: Sequence[Series], width: float) -> Iterator[tuple[int, int]]:
    """Where the names of the series stand: beside each other, in as many lines as they need."""
    x, y = _LEFT, 42
    for one in series:
        needed = 30 + 7 * len(one.name)
        if x > _LEFT and x + needed > width:
            x, y = _LEFT, y + 18
        yield x, y
        x += needed


def _bar(x: float, measure: Measure, colour: str) -> list[str]:
    y, foot = _y(max(0.0, measure.value)), _y(0)
    tip = f"<title>{measure}, {measure.count} queries</title>"
    box = f'<rect x="{x:.1f}" y="{y:.1f}" width="{_BAR - 2}" height="{foot - y:.1f}" fill="{colour}">{tip}</rect>'
    return [box, *_whisker(x + _BAR / 2 - 1, measure, "#333333")]


def _whisker(x: float, measure: Measure, colour: str) -> list[str]:
    low, high = _y(measure.low), _y(measure.high)
    stem = f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}"/>'
    return [stem, *(f'<path d="M{x - 3:.1f} {y:.1f}h6" stroke="{colour}"/>' for y in (low, high))]


def _dot(x: float, measure: Measure, colour: str) -> str:
    tip = f"<title>{measure}, {measure.count} queries</title>"
    return f'<circle cx="{x:.1f}" cy="{_y(measure.value):.1f}" r="3.5" fill="{colour}">{tip}</circle>'


def _label(x: float, name: str) -> list[str]:
    """The name of a place, in two lines if it is long."""
    first, _, second = name.partition(" → ")
    halves = [first, f"→ {second}"] if second else [name]
    return [
        f'<text x="{x:.1f}" y="{_y(0) + 18 + 15 * line}" text-anchor="middle" font-size="11">{_text(half)}</text>'
        for line, half in enumerate(halves)
    ]


def _y(value: float) -> float:
    return round(_TOP + _HEIGHT * (1 - min(1.0, max(0.0, value))), 2)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _text(text: str) -> str:
    return html.escape(_CONTROL.sub("�", text))
