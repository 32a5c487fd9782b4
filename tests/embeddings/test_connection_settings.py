"""Keys, headers, addresses, proxies and certificates, and the SDK's precedence of key, project and location."""

from __future__ import annotations

import datetime as dt
import ipaddress
import itertools
import json
import logging
import pickle
import ssl
from typing import TYPE_CHECKING, Any

import google.auth
import pytest
from google.auth import exceptions as auth_errors
from google.auth.credentials import AnonymousCredentials, Credentials
from langchain_core.load import dumps

from langchain_gemini_mm import GeminiEmbeddings, ServiceError
from langchain_gemini_mm.embeddings.service.client import new_client
from langchain_gemini_mm.embeddings.service.errors import translate
from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.testing import GeminiEmulator, png
from tests.embeddings.raw_server import Play, RawServer, http

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a zero-width space in the key": ({"api_key": "emulator\u200b-key"}, r"API key.*U\+200B at position 9 of 13.*copy"),
    "a line feed in the key": ({"api_key": "emulator\n-key"}, r"API key contains the character U\+000A"),
    "an empty key": ({"api_key": ""}, "API key is empty: set GOOGLE_API_KEY"),
    "a blank key": ({"api_key": "  "}, "API key is empty"),
    "a line feed in a header": ({"additional_headers": {"X-Token": "s3cret\n"}}, r"header 'X-Token'.*U\+000A"),
    "a control character in a name": ({"additional_headers": {"X\x00": "s3cret"}}, r"U\+0000"),
    "no scheme": ({"base_url": "localhost:8080"}, r"base_url must begin with https://.*'localhost:8080'"),
    "no host": ({"base_url": "http:///v1"}, "name a host"),
    "a version": ({"base_url": "http://localhost:1/v1beta/"}, "must not end with /v1beta, which is appended"),
    "the version": ({"base_url": "http://localhost:1/v1", "api_version": "v1"}, "must not end with /v1"),
    "another scheme": ({"base_url": "ftp://user:s3cret@host"}, "got 'ftp://host'"),
    "no timeout": ({"timeout": float("inf")}, "finite"),
    "not a client": ({"client": object()}, "client must be a google.genai.Client, got object"),
    "two ways to identify": (
        {"vertexai": True, "api_key": "k", "credentials": AnonymousCredentials()},
        "credentials and api_key are both given",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_refused_when_the_object_is_made(name: str) -> None:
    """The message says what to do, and never shows a secret."""
    arguments, message = WRONG[name]

    with pytest.raises(InvalidValueError, match=message) as caught:
        GeminiEmbeddings(**({"api_key": "k"} | arguments))

    assert "s3cret" not in str(caught.value)
    assert "emulator" not in str(caught.value)


@pytest.mark.parametrize(
    ("google", "gemini", "expected"), [("", "g", "g"), ("  ", "g", "g"), ("a", "g", "a"), (" a ", None, "a")]
)
def test_empty_variables_are_none(
    google: str, gemini: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty key in the environment is like none."""
    monkeypatch.setenv("GOOGLE_API_KEY", google)
    if gemini is not None:
        monkeypatch.setenv("GEMINI_API_KEY", gemini)

    assert GeminiEmbeddings(api_key=None).google_api_key.get_secret_value() == expected  # type: ignore[union-attr]


def test_no_key_at_all_is_refused_when_the_object_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the variable is there and empty."""
    monkeypatch.setenv("GOOGLE_API_KEY", "")

    with pytest.raises(InvalidValueError, match="no API key: set GOOGLE_API_KEY"):
        GeminiEmbeddings()


def test_secrets_are_in_no_copy_for_people(caplog: pytest.LogCaptureFixture, emulator: GeminiEmulator) -> None:
    """Neither repr, str, dumps, model_dump nor a log has keys, headers, or passwords of URLs."""
    caplog.set_level(logging.DEBUG)
    url = emulator.url.replace("http://", "http://user:s3cret-1@")
    ours = GeminiEmbeddings(
        api_key=emulator.api_key,
        base_url=url,
        additional_headers={"X-Token": "s3cret-2"},
        client_args={"headers": {"X-Other": "s3cret-3"}},
        output_dimensionality=128,
    )
    ours.embed_query("a")

    shown = [repr(ours), str(ours), dumps(ours), str(ours.model_dump()), ours.model_dump_json(), caplog.text]
    for text in (*shown, repr(ours._service_settings())):
        assert "s3cret" not in text
        assert emulator.api_key not in text
    assert "127.0.0.1" in repr(ours)
    request = emulator.embed_requests[-1]
    assert (request.headers["x-token"], request.headers["x-other"]) == ("s3cret-2", "s3cret-3")
    assert request.headers["authorization"].startswith("Basic ")
    assert pickle.loads(pickle.dumps(ours)).embed_query("a") == ours.embed_query("a")


ENVIRONMENTS = [
    dict(
        itertools.compress(
            {"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "us", "GOOGLE_API_KEY": "k"}.items(), on
        )
    )
    for on in itertools.product([True, False], repeat=3)
]
ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"location": "eu"},
    {"project": "mine"},
    {"project": "mine", "location": "eu"},
    {"api_key": "own"},
    {"api_key": "own", "location": "eu"},
    {"credentials": AnonymousCredentials()},
    {"credentials": AnonymousCredentials(), "project": "mine"},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda given: "+".join(given) or "nothing")
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda names: "+".join(n[7:] for n in names) or "empty")
def test_key_project_and_location_are_those_of_the_sdk(
    environment: dict[str, str], arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is made from the same arguments in the same environment has the same.

    With a base URL, the SDK ignores project and location unless both are arguments; here the environment counts, too.
    """
    from google.genai import Client

    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (AnonymousCredentials(), "found"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    try:
        expected = Client(vertexai=True, **arguments)._api_client
    except ValueError:
        pytest.skip("the SDK refuses it")

    ours = GeminiEmbeddings(vertexai=True, **arguments)
    client = new_client(ours._service_settings(), True)
    found = client.sdk._api_client

    wanted = (expected.api_key, expected.project, expected.location)
    project = arguments.get("project") or environment.get("GOOGLE_CLOUD_PROJECT")
    location = arguments.get("location") or environment.get("GOOGLE_CLOUD_LOCATION")
    if wanted == (None, None, None) and project and location:
        wanted = (None, project, location)
    assert (found.api_key, found.project, found.location) == wanted
    assert found._http_options.base_url == expected._http_options.base_url
    client.close()


@pytest.mark.parametrize(
    ("environment", "arguments", "backend"),
    [
        ({}, {}, "gemini"),
        ({"GOOGLE_CLOUD_PROJECT": "p"}, {}, "gemini"),
        ({}, {"project": "p"}, "vertex"),
        ({"GOOGLE_GENAI_USE_VERTEXAI": "true"}, {}, "vertex"),
        ({"GOOGLE_GENAI_USE_VERTEXAI": "1"}, {}, "vertex"),
        ({"GOOGLE_GENAI_USE_VERTEXAI": "true"}, {"vertexai": False}, "gemini"),
        ({"GOOGLE_GENAI_USE_VERTEXAI": "false"}, {"vertexai": True}, "vertex"),
        ({"GOOGLE_GENAI_USE_VERTEXAI": "false"}, {"project": "p"}, "vertex"),
        ({"GOOGLE_GENAI_USE_ENTERPRISE": "true"}, {}, "vertex"),
        ({"GOOGLE_GENAI_USE_ENTERPRISE": "false", "GOOGLE_GENAI_USE_VERTEXAI": "true"}, {}, "gemini"),
    ],
)
def test_the_backend(
    environment: dict[str, str], arguments: dict[str, Any], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given outweighs what is in the environment."""
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert GeminiEmbeddings(**arguments).backend == backend


def test_a_location_without_effect_is_a_warning() -> None:
    """The Gemini API has no locations; whoever names one expects data to stay there."""
    with pytest.warns(UserWarning, match=r"location='eu' has no effect on the Gemini API.*vertexai=True"):
        GeminiEmbeddings(api_key="k", location="eu")


class Renewing(Credentials):
    """Credentials whose first renewal fails."""

    failures: list[Exception]

    def refresh(self, request: Any) -> None:
        """Fail, or get a token."""
        if self.failures:
            raise self.failures.pop()
        self.token = "a-token"

    @property
    def expired(self) -> bool:
        """Whether there is no token yet."""
        return self.token is None


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("failure", [auth_errors.TransportError("reset"), auth_errors.RefreshError("503 from oauth2")])
async def test_a_failed_renewal_of_a_token_is_tried_again(
    failure: Exception, how: str, emulator: GeminiEmulator
) -> None:
    """Long runs renew their token every hour."""
    credentials = Renewing()
    credentials.failures = [failure]
    ours = GeminiEmbeddings(
        project="p", location="eu", credentials=credentials, base_url=emulator.url, output_dimensionality=128
    )

    assert len(ours.embed_query("a") if how == "sync" else await ours.aembed_query("a")) == 128
    await ours.aclose()


def test_missing_credentials_name_the_remedy() -> None:
    """They are an error of the service for every request."""
    error = translate(auth_errors.DefaultCredentialsError("none found"))

    assert isinstance(error, ServiceError)
    assert (error.scope, error.transient) == ("run", False)
    assert "gcloud auth application-default login" in str(error)


def test_batch_bytes_is_at_most_the_inline_limit(emulator: GeminiEmulator) -> None:
    """A larger value would make requests that the service refuses."""
    emulator.settings.inline_bytes = 10_000
    pictures = [png(f"picture {n}", size=(40, 40)) + bytes(1500) for n in range(12)]
    ours = GeminiEmbeddings(output_dimensionality=128, batch_bytes=50_000_000, inline_limit=10_000)

    assert len(ours.embed_documents(pictures)) == 12
    assert len(emulator.embed_requests) > 1


def test_text_models_on_vertex_use_predict(emulator: GeminiEmulator) -> None:
    """The service refuses `gemini-embedding-001` on the other methods."""
    ours = GeminiEmbeddings(
        model="gemini-embedding-001", vertexai=True, api_key=emulator.api_key, base_url=emulator.url,
        output_dimensionality=128,
    )  # fmt: skip

    assert len(ours.embed_documents(["a", "b"])) == 2
    (request,) = emulator.embed_requests
    assert request.path.endswith("/models/gemini-embedding-001:predict")


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("given", ["argument", "environment"])
async def test_a_proxy_gets_the_requests(
    given: str, how: str, raw_server: Callable[[Play], RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of `client_args`, or of the environment."""
    response = http(200, json.dumps({"embeddings": [{"values": [1.0] * 128}]}))
    proxy = raw_server(lambda connection, _: connection.sendall(response))
    arguments: dict[str, Any] = {}
    if given == "argument":
        arguments = {"client_args": {"proxy": proxy.url.replace("://", "://user:s3cret@")}}
    else:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
    ours = GeminiEmbeddings(api_key="k", base_url="http://service.example", output_dimensionality=128, **arguments)

    vector = ours.embed_query("a") if how == "sync" else await ours.aembed_query("a")
    await ours.aclose()

    assert len(vector) == 128
    assert proxy.requests[0][0].startswith("POST http://service.example/v1beta/models/gemini-embedding-2:")
    assert "s3cret" not in repr(ours) + repr(ours._service_settings())


def certificate(folder: Path) -> Path:
    """A file with a certificate of 127.0.0.1 that is its own authority, and its key."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    file = folder / "certificate.pem"
    file.write_bytes(pem + key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return file


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("given", ["verify", "SSL_CERT_FILE", "nothing"])
async def test_certificates(given: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A custom authority is given as context or as file; without it the connection fails."""
    file = certificate(tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(file)
    response = http(200, json.dumps({"embeddings": [{"values": [1.0] * 128}]}))
    server = RawServer(lambda connection, _: connection.sendall(response), server_side)
    arguments: dict[str, Any] = {}
    if given == "verify":
        arguments = {"client_args": {"verify": ssl.create_default_context(cafile=str(file))}}
    elif given == "SSL_CERT_FILE":
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    url = server.url.replace("http://", "https://")
    ours = GeminiEmbeddings(api_key="k", base_url=url, output_dimensionality=128, max_retries=0, **arguments)

    async def ask() -> list[float]:
        return ours.embed_query("a") if how == "sync" else await ours.aembed_query("a")

    if given == "nothing":
        with pytest.raises(ServiceError, match="CERTIFICATE_VERIFY_FAILED"):
            await ask()
    else:
        assert len(await ask()) == 128
    await ours.aclose()
    server.close()
