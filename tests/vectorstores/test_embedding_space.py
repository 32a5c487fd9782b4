"""Fingerprints of embeddings of other packages: every attribute that names a model counts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from pydantic import BaseModel

from langchain_gemini_mm import LocalVectorStore, SpaceMismatchError
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace, require_space, same_space

if TYPE_CHECKING:
    from pathlib import Path


class Plain(Embeddings):
    """Embeddings with any attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for all texts."""
        return [[1.0, 0.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        """The same vector."""
        return [1.0, 0.0]


class Unnamed(Plain):
    """A class for the test of the warning."""


class Declared(BaseModel, Plain):
    """Embeddings with declared fields, as those of most packages."""

    model_id: str = "titan-1"
    region: str = "eu"

    def __init__(self, **attributes: Any) -> None:
        BaseModel.__init__(self, **attributes)


NAMED: list[tuple[Any, Any]] = [
    (Plain(model="a"), Plain(model="b")),
    (Plain(model_name="a"), Plain(model_name="b")),
    (Plain(model="a", model_name="x"), Plain(model="a", model_name="y")),
    (Plain(model_id="a"), Plain(model_id="b")),
    (Plain(model_path="models/a.gguf"), Plain(model_path="models/b.gguf")),
    (Plain(model="ada", deployment="a"), Plain(model="ada", deployment="b")),
    (Plain(endpoint_name="a"), Plain(endpoint_name="b")),
    (Plain(repo_id="a/x"), Plain(repo_id="b/x")),
    (Plain(base_embeddings=Plain(model="a")), Plain(base_embeddings=Plain(model="b"))),
    (Plain(underlying_embeddings=Plain(model_id="a")), Plain(underlying_embeddings=Plain(model_id="b"))),
    (Declared(), Declared(model_id="titan-2")),
]


@pytest.mark.parametrize(("one", "other"), NAMED, ids=lambda value: ",".join(vars(value)))
def test_models_are_told_apart_by_every_name(one: Any, other: Any, tmp_path: Path) -> None:
    """A collection of one model refuses the other; the same model is accepted."""
    with LocalVectorStore(tmp_path / "index.db", one) as store:
        store.add_texts(["a"])
    with LocalVectorStore(tmp_path / "index.db", one) as store:
        store.add_texts(["b"])
    with pytest.raises(SpaceMismatchError, match="of another embedding space"):
        LocalVectorStore(tmp_path / "index.db", other)


def test_settings_that_name_no_model_do_not_matter() -> None:
    """The same model on another machine, in another region, or behind a cache."""
    assert EmbeddingSpace(Declared(region="us")).fingerprint == EmbeddingSpace(Declared()).fingerprint
    local, other = Plain(model_path="/home/a/m.gguf"), Plain(model_path="/opt/m.gguf")
    assert EmbeddingSpace(local).fingerprint == EmbeddingSpace(other).fingerprint
    cached = EmbeddingSpace(Plain(underlying_embeddings=Plain(model="a", deployment="d")))
    assert cached.fingerprint == EmbeddingSpace(Plain(model="a", deployment="d")).fingerprint
    inner = Plain(model="a")
    inner.__dict__["embeddings"] = inner
    assert EmbeddingSpace(inner).fingerprint == {"embeddings": "Plain", "model": "a"}


@pytest.mark.parametrize(
    ("stored", "embedding"),
    [
        ({"embeddings": "Plain"}, Plain(model_id="a")),
        ({"embeddings": "Plain", "model": "ada"}, Plain(model="ada", deployment="a")),
    ],
)
def test_fingerprints_of_version_0_1_0_are_accepted(stored: dict[str, Any], embedding: Any) -> None:
    """They have fewer names, which is said once in a warning; the next write completes them."""
    given = EmbeddingSpace(embedding).fingerprint
    assert same_space(stored, given)
    with pytest.warns(UserWarning, match="does not record all names of the model that made its vectors"):
        require_space("collection 'x'", stored, given)
    with pytest.raises(SpaceMismatchError):
        require_space("collection 'x'", given, stored)


def test_a_class_that_names_no_model_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its instances may use several models; fakes and classes without attributes use one."""
    with caplog.at_level(logging.WARNING, "langchain_gemini_mm"):
        for _ in range(3):
            assert EmbeddingSpace(Unnamed(secret="s", width=5)).fingerprint == {"embeddings": "Unnamed"}
        EmbeddingSpace(Unnamed(size=5)).fingerprint  # noqa: B018
        EmbeddingSpace(Unnamed()).fingerprint  # noqa: B018
        EmbeddingSpace(DeterministicFakeEmbedding(size=5)).fingerprint  # noqa: B018
    (message,) = caplog.messages
    assert message.startswith("Unnamed does not name its model in an attribute such as `model`")
    assert message.endswith("Its attributes are secret, width")
