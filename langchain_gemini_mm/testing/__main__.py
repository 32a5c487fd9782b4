"""Serve the emulator for other processes: `python -m langchain_gemini_mm.testing --latency 0.1`.

The first line of the output is the URL for `base_url`. Ctrl-C or SIGTERM stops the server.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from langchain_gemini_mm.testing.emulator import GeminiEmulator
from langchain_gemini_mm.testing.quotas import WindowKind
from langchain_gemini_mm.testing.settings import Settings

if TYPE_CHECKING:
    from types import FrameType

_DEFAULTS = Settings()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse `arguments`, serve until a signal arrives, and return the exit status."""
    options = vars(_parser().parse_args(arguments))
    done = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        done.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with GeminiEmulator(**options) as emulator:
        print(emulator.url, flush=True)
        print(f"api key: {emulator.api_key}", file=sys.stderr, flush=True)
        # Windows delivers signals only between bytecodes, so a wait without timeout would not be interrupted.
        while not done.wait(0.2):
            pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m langchain_gemini_mm.testing",
        description="Serve an emulator of the Gemini embedding service; the first line of the output is its URL.",
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    add("--api-key", default=_DEFAULTS.api_key, help="the accepted key (default: %(default)s)")
    add("--latency", type=_latency, default=0.0, metavar="SECONDS", help="per answer: 0.1, or a range 0.05,0.2")
    add("--rpm", type=int, help="requests per minute; each item of a batch counts")
    add("--tpm", type=int, help="input tokens per minute")
    add("--rpd", type=int, help="requests per day; each item of a batch counts")
    add("--minute", type=float, default=_DEFAULTS.minute, metavar="SECONDS", help="seconds per quota minute")
    add(
        "--quota-window",
        choices=get_args(WindowKind),
        default="sliding",
        help="how quotas are counted (default: %(default)s)",
    )
    add("--gap", dest="modality_gap", type=float, default=_DEFAULTS.modality_gap, help="distance of modalities, 0 to 1")
    add("--failure-rate", type=float, default=0.0, metavar="SHARE", help="share of requests that fail, 0 to 1")
    add(
        "--failures",
        type=_failures,
        default=_DEFAULTS.failures,
        metavar="LIST",
        help="their failures, such as 429,503,cut",
    )
    add(
        "--long-text",
        choices=("truncate", "error"),
        default="truncate",
        help="what to do with text over the token limit",
    )
    add("--seed", type=int, default=0, help="seed of random latencies and failures")
    add("--prepared", action="store_true", help="same response to requests of the same size, to measure clients")
    add("--keep-requests", type=int, default=0, help="number of requests to record")
    return parser


def _latency(text: str) -> float | tuple[float, float]:
    low, comma, high = text.partition(",")
    return (float(low), float(high)) if comma else float(low)


def _failures(text: str) -> list[object]:
    return [int(word) if word.isdigit() else word for word in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
