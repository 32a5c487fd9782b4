"""Which names need LangChain's agents."""

from __future__ import annotations

import subprocess
import sys

import pytest

HIDE = "import sys; sys.modules.update(dict.fromkeys(['langchain', 'langgraph'])); "


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process without langchain and langgraph."""
    return subprocess.run([sys.executable, "-c", HIDE + code], capture_output=True, text=True, check=False, timeout=60)


def test_the_middleware_names_its_extra() -> None:
    """Without langchain, importing `MediaMiddleware` names the extra to install."""
    done = run("from langchain_gemini_mm import MediaMiddleware")
    assert "MissingExtraError: MediaMiddleware needs langchain" in done.stderr
    assert 'pip install "langchain-gemini-mm[agents]"' in done.stderr


@pytest.mark.parametrize("name", ["create_multimodal_retriever_tool", "MultimodalToolkit"])
def test_tools_need_no_agent(name: str) -> None:
    """The tools need only langchain-core."""
    done = run(f"from langchain_gemini_mm import {name}; print({name}.__name__)")
    assert (done.stdout.strip(), done.stderr) == (name, "")
