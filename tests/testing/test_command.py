"""The emulator as a command."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest


def ask(url: str, key: str = "emulator-key") -> int:
    """Status of one request."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    body = json.dumps({"content": {"parts": [{"text": "a"}]}})
    try:
        connection.request("POST", "/v1beta/models/gemini-embedding-2:embedContent", body, {"x-goog-api-key": key})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_serves_until_a_signal(ending):
    """The first line is the URL; options reach the emulator; a signal ends it with status 0 and no traceback."""
    command = [sys.executable, "-m", "langchain_gemini_mm.testing", "--rpm", "2", "--api-key", "another"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert [ask(url, "another") for _ in range(3)] == [200, 200, 429]
        assert ask(url) == 400
        process.send_signal(ending)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_wrong_option():
    """An unknown option is refused with the usage."""
    command = [sys.executable, "-m", "langchain_gemini_mm.testing", "--speed", "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: python -m langchain_gemini_mm.testing" in done.stderr
