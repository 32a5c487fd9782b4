"""Proxies, certificates and gateways: the examples of docs/networks.md run through real servers."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import GeminiEmbeddings, ServiceError
from tests.embeddings.network import Relay, write_certificates
from tests.test_docs import ROOT, blocks_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator

PAGE = ROOT / "docs" / "networks.md"
KEY = "sk-..."
HOWS = ["sync", "async"]


class _Network:
    """The emulator behind a proxy, a gateway, and TLS."""

    def __init__(self, folder: Path, emulator: GeminiEmulator) -> None:
        certificates = write_certificates(folder)
        key = {"x-goog-api-key": emulator.api_key}
        self.proxy = Relay(emulator.url)
        self.secure = Relay(emulator.url, tls=certificates)
        self.gateway = Relay(emulator.url, tls=certificates, prefix="/gemini", added=key)


@pytest.fixture
def network(tmp_path: Path, emulator: GeminiEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Network]:
    """Servers on loopback; the working directory has the certificate of their authority."""
    monkeypatch.chdir(tmp_path)
    network = _Network(tmp_path, emulator)
    yield network
    for relay in (network.proxy, network.secure, network.gateway):
        relay.close()


def _embed(embeddings: GeminiEmbeddings, how: str) -> list[float]:
    if how == "sync":
        return embeddings.embed_query("a question")

    async def both() -> list[float]:
        async with embeddings:
            return await embeddings.aembed_query("a question")

    return asyncio.run(both())


def _example(word: str, **replaced: str) -> GeminiEmbeddings:
    """Run the example of the page that contains `word`, with addresses of the test."""
    page = PAGE.read_text(encoding="utf-8")
    (block,) = (block for block in blocks_in(page, PAGE, 1, "") if word in block.code)
    code = block.code
    for name, value in replaced.items():
        shown = {"proxy": "http://user:password@proxy.example.com:8080", "gateway": "https://gateway.example.com"}[name]
        assert shown in code
        code = code.replace(shown, value)
    namespace: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), namespace)
    embeddings = namespace["embeddings"]
    assert isinstance(embeddings, GeminiEmbeddings)
    return embeddings


@pytest.mark.parametrize("how", HOWS)
def test_a_proxy_for_one_object(how: str, network: _Network) -> None:
    """Requests pass the proxy, with its user and password, which are in no repr."""
    embeddings = _example('"proxy"', proxy=f"http://user:password@{network.proxy.address}")

    assert len(_embed(embeddings, how)) == 3072
    assert network.proxy.heads[0].startswith("POST http://127.0.0.1:")
    assert base64.b64encode(b"user:password").decode() in network.proxy.heads[0]
    assert "password" not in repr(embeddings)


@pytest.mark.parametrize("how", HOWS)
def test_a_proxy_of_the_environment(how: str, network: _Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """`HTTPS_PROXY` is used for TLS, by a tunnel, together with `SSL_CERT_FILE`; `NO_PROXY` excepts hosts."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:password@{network.proxy.address}")
    monkeypatch.setenv("SSL_CERT_FILE", "corporate-ca.pem")

    assert len(_embed(GeminiEmbeddings(base_url=network.secure.url), how)) == 3072
    assert network.proxy.heads[0].startswith(f"CONNECT {network.secure.address} ")
    assert network.secure.heads[0].startswith("POST /v1beta/models/")

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert len(_embed(GeminiEmbeddings(base_url=network.secure.url), how)) == 3072
    assert len(network.proxy.heads) == 1


@pytest.mark.parametrize("how", HOWS)
def test_certificates_of_a_company(how: str, network: _Network) -> None:
    """An authority that is not trusted is an error that names the reason; with its certificate it is trusted."""
    with pytest.raises(ServiceError, match="CERTIFICATE_VERIFY_FAILED"):
        _embed(GeminiEmbeddings(base_url=network.secure.url, max_retries=0), how)

    embeddings = _example('"verify"')
    embeddings.base_url = network.secure.url
    assert len(_embed(embeddings, how)) == 3072


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("example", ["api_key=", "x-gateway-key", "HttpOptions"])
def test_a_gateway(example: str, how: str, network: _Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go below the path of the gateway, with the key of the gateway or its header."""
    monkeypatch.setenv("SSL_CERT_FILE", "corporate-ca.pem")
    word = example if example != "api_key=" else "GeminiEmbeddings(api_key="
    embeddings = _example(word, gateway=network.gateway.url)

    assert len(_embed(embeddings, how)) == 3072
    (head,) = network.gateway.heads
    assert head.startswith("POST /gemini/v1beta/models/gemini-embedding-2:batchEmbedContents ") or (
        example == "HttpOptions" and head.startswith("POST /gemini/v1")
    )
    sent = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
    assert sent["x-gateway-key" if example == "x-gateway-key" else "x-goog-api-key"] == KEY
    if example == "HttpOptions":
        embeddings.client.close()


def test_vertex_through_a_gateway(network: _Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Project and location are in the path, from arguments or from the environment."""
    from google.oauth2.credentials import Credentials

    monkeypatch.setenv("SSL_CERT_FILE", "corporate-ca.pem")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us")
    embeddings = GeminiEmbeddings(credentials=Credentials("token"), base_url=f"{network.gateway.url}/gemini")

    assert len(embeddings.embed_query("a question")) == 3072
    assert "/gemini/v1beta1/projects/p/locations/us/publishers/google/models/" in network.gateway.heads[0]


def test_files_are_uploaded_through_a_gateway(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """The upload of a large file starts below the path of the gateway, and continues at the address of the answer."""
    from langchain_gemini_mm.testing import png

    image = tmp_path / "large.png"
    image.write_bytes(png("a puppy", size=(300, 300)))
    gateway = Relay(emulator.url, prefix="/gemini", added={"x-goog-api-key": emulator.api_key})
    with GeminiEmbeddings(
        api_key=KEY, base_url=f"{gateway.url}/gemini", inline_limit=image.stat().st_size
    ) as embeddings:
        assert len(embeddings.embed_query([image])) == 3072

    assert any(head.startswith("POST /gemini/upload/v1beta/files") for head in gateway.heads)
    gateway.close()
