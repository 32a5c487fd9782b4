"""What `make demo` runs: index a folder and print what it finds for a text, a picture, a sound, and both together.

Run: python examples/demo.py [--folder ~/Pictures] [--question "a dog on a beach"]
Without GOOGLE_API_KEY the emulator answers, a stand-in that knows words, descriptions inside files and colours.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from langchain_gemini_mm import GeminiEmbeddings, GeminiMMError, LocalVectorStore, MediaLoader, MediaStore
from langchain_gemini_mm.testing import GeminiEmulator, write_samples

INDEX = Path("demo-index")


def main() -> int:
    """Index, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="your files; sample files when left out")
    parser.add_argument("--question", help="what to look for, in words")
    given = parser.parse_args()
    with ExitStack() as stack:
        try:
            demo(stack, given.folder and given.folder.expanduser(), given.question)
        except GeminiMMError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    return 0


def demo(stack: ExitStack, folder: Path | None, question: str | None) -> None:
    """Index `folder` next to nothing of yours, and ask."""
    live = bool(os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY"))
    service: dict[str, Any] = {}
    if not live:
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
        print(
            "No GOOGLE_API_KEY: the emulator answers. It is a stand-in that goes by words, descriptions and colours.\n"
        )
    samples = folder is None
    if folder is None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "samples"
        write_samples(folder)

    # Real vectors and stand-in vectors must never share an index; your own files are not embedded twice.
    home = folder.parent if samples else INDEX / ("gemini" if live else "emulator")
    media = MediaStore.links(home / "media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(home / "index.db", embeddings, collection=folder.resolve().as_posix()))
    loader = MediaLoader(folder, media)
    with progress_line() as progress:
        store.add_documents(loader.lazy_load(), skip_unchanged=True, progress=progress)
    report(store, loader, embeddings)
    if question:
        show(store, question, question)
    if samples and not question:
        ask_samples(store, folder)


@contextmanager
def progress_line() -> Iterator[Callable[[int], None]]:
    """One line that is written over as more is stored, and ended before anything else is printed."""
    counts = [0]

    def show_progress(stored: int) -> None:
        counts.append(stored)
        print(f"  {stored} embedded", end="\r", file=sys.stderr, flush=True)

    try:
        yield show_progress
    finally:
        if any(counts):
            print(file=sys.stderr, flush=True)


def report(store: LocalVectorStore, loader: MediaLoader, embeddings: GeminiEmbeddings) -> None:
    """What was indexed, what was not, and what it cost."""
    counts = {kind: store.count(filter={"modality": kind}) for kind in ("text", "image", "audio", "video", "pdf")}
    print("Indexed:", ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "nothing")
    for skipped in loader.skipped[:10]:
        print(f"Left out: {skipped.source}: {skipped.reason}")
    if len(loader.skipped) > 10:
        print(f"... and {len(loader.skipped) - 10} more")
    usage = embeddings.usage
    tokens = sum(usage.estimated_tokens.values())
    print(
        f"{usage.items} embedded in {usage.requests} requests, about {tokens:,} tokens, {usage.estimated_usd:.4f} USD"
    )


def ask_samples(store: LocalVectorStore, folder: Path) -> None:
    """A question of each kind."""
    puppy = folder / "pictures/puppy2.jpg"
    show(store, 'text: "an image of an animal"', "an image of an animal", modality="image")
    show(store, 'text: "an image of food"', "an image of food", modality="image")
    show(store, "picture: puppy2.jpg", puppy)
    show(store, "sound: purring.wav", folder / "sounds/purring.wav")
    show(store, 'picture and text: puppy2.jpg, "but sleeping"', [puppy, "but sleeping"])
    show(store, 'text: "waves on a beach", any kind', "waves on a beach")


def show(store: LocalVectorStore, title: str, question: Any, modality: str | None = None) -> None:
    """Print the nearest three."""
    print(f"\n{title}")
    for hit in store.search(question, k=3, filter={"modality": modality} if modality else None):
        metadata = hit.document.metadata
        print(f"  {hit.score:.2f}  {metadata['modality']:5}  {metadata['source']}")


if __name__ == "__main__":
    sys.exit(main())
