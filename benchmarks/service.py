"""The emulator in a separate process, and a minimal client that the emulator alone slows down."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
KEY = "emulator-key"
MODEL = "gemini-embedding-2"


@contextmanager
def emulator_process(latency: float, *, prepared: bool = False) -> Iterator[str]:
    """Serve the emulator in another process; yield its URL.

    Args:
        latency: seconds before each answer.
        prepared: whether requests of the same size get the same vectors, so that the emulator is not the bottleneck.
    """
    command = [sys.executable, "-m", "langchain_gemini_mm.testing", "--api-key", KEY, "--latency", str(latency)]
    command += ["--prepared"] if prepared else []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "the emulator did not start"
        yield url
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


class PlainClient:
    """Sends prepared bodies and discards the answers.

    Args:
        url: URL of the emulator.
        bodies: JSON bodies, one per request.
        concurrency: number of concurrent requests.
    """

    def __init__(self, url: str, bodies: Sequence[bytes], concurrency: int) -> None:
        self._address = urlsplit(url).netloc
        self._shares = [bodies[start::concurrency] for start in range(concurrency)]

    def __call__(self) -> None:
        """Send everything once."""
        with ThreadPoolExecutor(len(self._shares)) as pool:
            list(pool.map(self._send, self._shares))

    def keep_open(self) -> None:
        """Open a connection for `send_one`."""
        self._connection = http.client.HTTPConnection(self._address)
        self.send_one()

    def send_one(self) -> None:
        """Send the first body again."""
        _post(self._connection, self._shares[0][0])

    def close(self) -> None:
        """Close the connection of `send_one`."""
        self._connection.close()

    def _send(self, bodies: Sequence[bytes]) -> None:
        connection = http.client.HTTPConnection(self._address)
        for body in bodies:
            _post(connection, body)
        connection.close()


def _post(connection: http.client.HTTPConnection, body: bytes) -> None:
    headers = {"x-goog-api-key": KEY, "content-type": "application/json"}
    connection.request("POST", f"/v1beta/models/{MODEL}:batchEmbedContents", body, headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
