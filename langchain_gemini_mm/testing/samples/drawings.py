"""Drawings for the sample images and videos, on a canvas of 320 x 240 pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_gemini_mm.testing.samples.images import plain

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT = 320, 240
_SCALE = 2

Box: TypeAlias = tuple[float, float, float, float]


class Canvas:
    """A canvas that is drawn at twice its size and scaled down, for smooth edges; coordinates are final pixels."""

    def __init__(self, background: str) -> None:
        self._image = plain((WIDTH * _SCALE, HEIGHT * _SCALE), background)
        from PIL import ImageDraw

        self._draw = ImageDraw.Draw(self._image)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: str) -> None:
        """Draw an ellipse.

        Args:
            x: centre.
            y: centre.
            rx: horizontal radius.
            ry: vertical radius.
            colour: a CSS colour name.
        """
        self._draw.ellipse(_scaled(x - rx, y - ry, x + rx, y + ry), fill=colour)

    def block(self, x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
        """Draw a rectangle.

        Args:
            x0: left edge.
            y0: upper edge.
            x1: right edge.
            y1: lower edge.
            colour: a CSS colour name.
        """
        self._draw.rectangle(_scaled(x0, y0, x1, y1), fill=colour)

    def shape(self, colour: str, *points: tuple[float, float]) -> None:
        """Draw a polygon."""
        self._draw.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=colour)

    def arc(self, box: Box, start: float, end: float, colour: str, width: float = 3) -> None:
        """Draw an arc of an ellipse.

        Args:
            box: left, upper, right and lower edge of the ellipse.
            start: in degrees, clockwise from three o'clock.
            end: in degrees.
            colour: a CSS colour name.
            width: of the line.
        """
        self._draw.arc(_scaled(*box), start, end, fill=colour, width=round(width * _SCALE))

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: str, width: float = 3) -> None:
        """Draw a line.

        Args:
            x0: start.
            y0: start.
            x1: end.
            y1: end.
            colour: a CSS colour name.
            width: of the line.
        """
        self._draw.line(_scaled(x0, y0, x1, y1), fill=colour, width=round(width * _SCALE))

    def text(self, x: float, y: float, words: str, colour: str = "black", size: float = 14) -> None:
        """Draw text.

        Args:
            x: left edge.
            y: upper edge.
            words: the text.
            colour: a CSS colour name.
            size: of the font.
        """
        from PIL import ImageFont

        self._draw.text((x * _SCALE, y * _SCALE), words, fill=colour, font=ImageFont.load_default(size * _SCALE))

    def finish(self) -> Image:
        """Return the image at its final size."""
        return self._image.reduce(_SCALE)


def puppy(
    coat: str = "peru", ears: str = "saddlebrown", background: str = "lightskyblue", ball: float | None = None
) -> Image:
    """Draw a puppy's face on a meadow.

    Args:
        coat: a CSS colour name.
        ears: a CSS colour name.
        background: a CSS colour name.
        ball: horizontal position of a ball, 0 to 1; None for no ball.
    """
    canvas = Canvas(background)
    canvas.block(0, 180, WIDTH, HEIGHT, "yellowgreen")
    canvas.oval(160, 215, 62, 60, coat)
    canvas.oval(160, 118, 66, 60, coat)
    for side in (-1, 1):
        canvas.oval(160 + 62 * side, 112, 20, 48, ears)
        canvas.oval(160 + 25 * side, 103, 11, 13, "white")
        canvas.oval(160 + 24 * side, 105, 7, 9, "black")
        canvas.oval(160 + 22 * side, 101, 2.5, 2.5, "white")
    canvas.oval(160, 146, 30, 22, "blanchedalmond")
    canvas.oval(160, 136, 12, 8, "black")
    canvas.arc((140, 134, 160, 156), 0, 120, "black")
    canvas.arc((160, 134, 180, 156), 60, 180, "black")
    canvas.oval(160, 164, 8, 11, "palevioletred")
    if ball is not None:
        canvas.oval(20 + 280 * ball, 205 - 60 * abs(math.sin(math.pi * 2 * ball)), 16, 16, "crimson")
    return canvas.finish()


def sleeping_puppy() -> Image:
    """Draw a puppy curled up on a cushion, eyes shut."""
    canvas = Canvas("lavender")
    canvas.oval(160, 200, 140, 36, "steelblue")
    canvas.oval(175, 150, 100, 58, "burlywood")
    canvas.arc((205, 120, 290, 200), 300, 120, "tan", 14)
    canvas.oval(100, 165, 54, 42, "burlywood")
    canvas.oval(128, 158, 18, 38, "sienna")
    canvas.oval(68, 178, 26, 17, "blanchedalmond")
    canvas.oval(50, 172, 8, 6, "black")
    canvas.arc((80, 146, 102, 164), 20, 160, "black")
    for step, size in enumerate((12, 17, 23)):
        canvas.text(70 + 22 * step, 95 - 26 * step, "z", "slategrey", size)
    return canvas.finish()


def kitten() -> Image:
    """Draw a grey kitten's face."""
    canvas = Canvas("mistyrose")
    for side in (-1, 1):
        canvas.shape("slategrey", (160 + 66 * side, 30), (160 + 72 * side, 110), (160 + 12 * side, 75))
        canvas.shape("pink", (160 + 60 * side, 46), (160 + 62 * side, 96), (160 + 26 * side, 76))
    canvas.oval(160, 135, 78, 70, "slategrey")
    for side in (-1, 1):
        canvas.oval(160 + 32 * side, 122, 17, 16, "gold")
        canvas.oval(160 + 32 * side, 122, 5, 15, "black")
        for drop in (-8, 2, 12):
            canvas.line(160 + 22 * side, 158, 160 + 100 * side, 156 + drop, "white", 1.5)
    canvas.shape("hotpink", (150, 146), (170, 146), (160, 157))
    canvas.arc((140, 150, 160, 170), 0, 150, "black", 2)
    canvas.arc((160, 150, 180, 170), 30, 180, "black", 2)
    return canvas.finish()


def bird() -> Image:
    """Draw a blue bird on a branch."""
    canvas = Canvas("honeydew")
    canvas.line(0, 200, WIDTH, 185, "saddlebrown", 9)
    canvas.shape("royalblue", (70, 150), (20, 190), (95, 175))
    canvas.oval(145, 140, 72, 48, "dodgerblue")
    canvas.oval(160, 158, 50, 30, "lightblue")
    canvas.oval(215, 92, 36, 33, "dodgerblue")
    canvas.shape("orange", (246, 84), (290, 97), (246, 106))
    canvas.oval(225, 86, 7, 7, "black")
    canvas.oval(227, 84, 2, 2, "white")
    canvas.shape("royalblue", (95, 125), (175, 118), (130, 180))
    for x in (140, 165):
        canvas.line(x, 184, x, 198, "darkorange", 4)
    return canvas.finish()


def pizza() -> Image:
    """Draw a pizza from above."""
    canvas = Canvas("beige")
    canvas.oval(160, 120, 108, 108, "chocolate")
    canvas.oval(160, 120, 96, 96, "tomato")
    canvas.oval(160, 120, 90, 90, "khaki")
    for turn in range(8):
        angle = math.tau * turn / 8
        reach = 62 if turn % 2 else 34
        canvas.oval(160 + reach * math.cos(angle), 120 + reach * math.sin(angle), 14, 14, "firebrick")
        canvas.oval(160 + 75 * math.cos(angle + 0.4), 120 + 75 * math.sin(angle + 0.4), 7, 4, "olivedrab")
        canvas.line(160, 120, 160 + 106 * math.cos(angle + 0.2), 120 + 106 * math.sin(angle + 0.2), "peru", 1.5)
    return canvas.finish()


def bananas() -> Image:
    """Draw three bananas."""
    canvas = Canvas("aliceblue")
    for step, colour in enumerate(("goldenrod", "gold", "yellow")):
        canvas.arc((40 + 18 * step, -90 + 22 * step, 280 - 8 * step, 190 + 10 * step), 20, 150, colour, 30)
    canvas.block(252, 118, 268, 150, "saddlebrown")
    return canvas.finish()


def apple() -> Image:
    """Draw a red apple with a leaf."""
    canvas = Canvas("ivory")
    canvas.oval(128, 135, 62, 74, "crimson")
    canvas.oval(192, 135, 62, 74, "crimson")
    canvas.oval(160, 190, 46, 24, "crimson")
    canvas.line(160, 78, 172, 34, "saddlebrown", 7)
    canvas.oval(200, 44, 30, 14, "forestgreen")
    canvas.oval(112, 104, 12, 20, "lightcoral")
    return canvas.finish()


def beach(tide: float = 0.0) -> Image:
    """Draw sun, sea and sand; `tide` moves the waves, 0 to 1."""
    canvas = Canvas("skyblue")
    canvas.oval(255, 50, 28, 28, "gold")
    canvas.block(0, 105, WIDTH, 190, "deepskyblue")
    canvas.oval(160, 235, 240, 55, "sandybrown")
    for row in range(3):
        for step in range(-1, 6):
            left = step * 64 + 64 * ((tide + row / 3) % 1)
            canvas.arc((left, 112 + 22 * row, left + 60, 136 + 22 * row), 200, 340, "white", 3)
    canvas.line(80, 225, 80, 150, "sienna", 4)
    canvas.shape("orangered", (28, 165), (80, 128), (132, 165))
    return canvas.finish()


def diagram() -> Image:
    """Draw a bar chart of a year's revenue."""
    canvas = Canvas("white")
    canvas.text(20, 10, "Revenue by quarter, million euros", size=15)
    for quarter, amount in enumerate((3.1, 4.4, 5.2, 6.8)):
        left = 55 + 64 * quarter
        canvas.block(left, 205 - 23 * amount, left + 42, 205, "steelblue")
        canvas.text(left + 12, 187 - 23 * amount, f"{amount}", size=13)
        canvas.text(left + 11, 210, f"Q{quarter + 1}", size=13)
    canvas.line(40, 205, 305, 205, "black", 2)
    canvas.line(40, 40, 40, 205, "black", 2)
    return canvas.finish()


def _scaled(*numbers: float) -> Any:
    return tuple(number * _SCALE for number in numbers)
