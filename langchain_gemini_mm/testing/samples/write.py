"""A folder of small sample files of all modalities, for demos and tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from langchain_gemini_mm.testing.samples import clips, drawings
from langchain_gemini_mm.testing.samples.clips import mp3, mp4, wav
from langchain_gemini_mm.testing.samples.images import jpeg, png
from langchain_gemini_mm.testing.samples.papers import pdf

_TRIP = """# A weekend by the sea

We walked along the beach until the sun went down. The waves were high and the sand was warm.

## What we saw

A flock of birds over the water, two boats, and a puppy that chased a red ball into the surf.
"""
_PETS = """# Looking after a kitten

A sleepy kitten is a happy one: a young cat naps up to twenty hours a day. When it purrs it feels safe.

## Food

Feed it three small meals a day, and leave fresh water next to its bed.
"""
_RECIPES = """Banana bread
Mash three ripe bananas, add flour, sugar and two eggs, bake for an hour.

Apple pie
Slice five apples, cover them with dough, bake until golden.
"""
_SORT = '''"""Sorting, written out."""


def insertion_sort(numbers: list[int]) -> list[int]:
    """Return the numbers in ascending order."""
    done: list[int] = []
    for number in numbers:
        place = len(done)
        while place and done[place - 1] > number:
            place -= 1
        done.insert(place, number)
    return done
'''
_REVENUE = (
    "Annual report\n\nRevenue grew from 3.1 million euros in the first quarter\nto 6.8 million in the fourth.",
    "Costs and outlook\n\nThe cost of sales fell by two percent.\nWe expect a higher profit next year.",
)
_PIZZA = (
    "Pizza Margherita\n\nMix flour, water, yeast and salt. Let the dough rest.\nTomatoes, cheese, basil. Bake hot.",
)
_BIRDS = (
    "Garden birds\n\nA short guide to the birds at your window.",
    "The robin\n\nIt sings at dawn and has a red breast.",
    "The owl\n\nIt hunts at night and sleeps by day.",
)

SAMPLES: dict[str, Callable[[], bytes]] = {
    "pictures/puppy.png": lambda: png("a happy brown puppy dog on a meadow", image=drawings.puppy()),
    "pictures/puppy2.jpg": lambda: jpeg(
        "a cream puppy dog with floppy ears", image=drawings.puppy("wheat", "dimgrey", "lightsalmon")
    ),
    "pictures/sleeping-puppy.png": lambda: png("a puppy sleeping on a cushion", image=drawings.sleeping_puppy()),
    "pictures/kitten.png": lambda: png("a grey kitten looking at you", image=drawings.kitten()),
    "pictures/bird.jpg": lambda: jpeg("a small bird on a branch", image=drawings.bird()),
    "pictures/pizza.png": lambda: png("a pizza with cheese and salami, fresh from the oven", image=drawings.pizza()),
    "pictures/bananas.jpg": lambda: jpeg("three ripe bananas", image=drawings.bananas()),
    "pictures/apple.png": lambda: png("an apple with a leaf", image=drawings.apple()),
    "pictures/beach.jpg": lambda: jpeg("a beach with sun, sea and sand", image=drawings.beach()),
    "pictures/revenue-chart.png": lambda: png("diagram: bar chart of revenue by quarter", image=drawings.diagram()),
    "colours/red.png": partial(png, colour="red"),
    "colours/blue.jpg": partial(jpeg, colour="blue"),
    "colours/green.png": partial(png, colour="green"),
    "sounds/purring.wav": lambda: wav(description="a cat purring", samples=clips.purr(3)),
    "sounds/barking.mp3": lambda: mp3(description="a dog barking", samples=clips.bark(3)),
    "sounds/waves.wav": lambda: wav(description="waves of the sea on a beach", samples=clips.surf(4)),
    "videos/puppy-playing.mp4": lambda: mp4(
        3, "a puppy playing with a red ball", fps=8, frame=lambda t: drawings.puppy(ball=t), samples=clips.bark(3)
    ),
    "videos/waves.mov": lambda: mp4(
        3, "ocean waves rolling onto a beach", fps=8, frame=lambda t: drawings.beach(2 * t), container="mov"
    ),
    "papers/annual-report.pdf": lambda: pdf(_REVENUE, title="Annual report", keywords="revenue, costs, finance"),
    "papers/pizza.pdf": lambda: pdf(_PIZZA, title="How to bake a pizza", subject="a recipe"),
    "papers/birds.pdf": lambda: pdf(_BIRDS, title="Garden birds", subject="a field guide"),
    "notes/trip.md": _TRIP.encode,
    "notes/kitten.md": _PETS.encode,
    "notes/recipes.txt": _RECIPES.encode,
    "notes/sorting.py": _SORT.encode,
}
"""Functions that generate the files, by path in the folder."""


def write_samples(folder: str | Path) -> list[Path]:
    """Write the 25 sample files into a folder, a few hundred kB together.

    ```python
    from tempfile import TemporaryDirectory

    from langchain_gemini_mm.testing import write_samples

    with TemporaryDirectory() as folder:
        assert len(write_samples(folder)) == 25
    ```

    Args:
        folder: is created if it does not exist; files with the same names are replaced.

    Returns:
        The paths, in the order of `SAMPLES`.

    Raises:
        MissingExtraError: Pillow or PyAV is not installed.
    """
    written = []
    for name, make in SAMPLES.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())
        written.append(path)
    return written
