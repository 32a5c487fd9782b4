"""The program behind `make demo`: index a folder and search it by text, image, audio, and image with text.

Run: python examples/demo.py [--folder ~/Pictures] [--question "a dog on a beach"]
Without GOOGLE_API_KEY an emulator answers; it compares words, descriptions inside files, and colours.
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
    """Parse the arguments and run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="your files (default: sample files)")
    parser.add_argument("--question", help="text to search for")
    given = parser.parse_args()
    with ExitStack() as stack:
        try:
            demo(stack, given.folder and given.folder.expanduser(), given.question)
        except GeminiMMError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    return 0


def demo(stack: ExitStack, folder: Path | None, question: str | None) -> None:
    """Index `folder` outside of it, and search."""
    live = bool(os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY"))
    service: dict[str, Any] = {}
    if not live:
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
        print("No GOOGLE_API_KEY: an emulator answers. It compares words, descriptions inside files, and colours.\n")
    samples = folder is None
    if folder is None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "samples"
        write_samples(folder)

    # Vectors of the service and of the emulator need separate indexes; your own files are not embedded twice.
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
    """Show the number of stored Documents on one line, and end the line afterwards."""
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
    """Print what was indexed, what was skipped, and the cost."""
    counts = {name: store.count(filter={"modality": name}) for name in ("text", "image", "audio", "video", "pdf")}
    print("Indexed:", ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing")
    for skipped in loader.skipped[:10]:
        print(f"Skipped: {skipped.source}: {skipped.reason}")
    if len(loader.skipped) > 10:
        print(f"... and {len(loader.skipped) - 10} more")
    usage = embeddings.usage
    tokens = sum(usage.estimated_tokens.values())
    print(
        f"{usage.items} embedded in {usage.requests} requests, about {tokens:,} tokens, {usage.estimated_usd:.4f} USD"
    )


def ask_samples(store: LocalVectorStore, folder: Path) -> None:
    """Search with a query of each modality."""
    puppy = folder / "pictures/puppy2.jpg"
    show(store, 'text: "an image of an animal"', "an image of an animal", modality="image")
    show(store, 'text: "an image of food"', "an image of food", modality="image")
    show(store, "image: puppy2.jpg", puppy)
    show(store, "audio: purring.wav", folder / "sounds/purring.wav")
    show(store, 'image and text: puppy2.jpg, "but sleeping"', [puppy, "but sleeping"])
    show(store, 'text: "waves on a beach", any modality', "waves on a beach")


def show(store: LocalVectorStore, title: str, question: Any, modality: str | None = None) -> None:
    """Print the three nearest documents."""
    print(f"\n{title}")
    for hit in store.search(question, k=3, filter={"modality": modality} if modality else None):
        metadata = hit.document.metadata
        print(f"  {hit.score:.2f}  {metadata['modality']:5}  {metadata['source']}")


if __name__ == "__main__":
    sys.exit(main())
