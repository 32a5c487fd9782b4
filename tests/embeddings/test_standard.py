"""LangChain's own standard tests for embeddings."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_gemini_mm import GeminiEmbeddings
from langchain_gemini_mm.testing import GeminiEmulator


class TestUnit(EmbeddingsUnitTests):
    """Construction, also with environment variables."""

    @property
    def embeddings_class(self) -> type[GeminiEmbeddings]:
        """The class under test."""
        return GeminiEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"model": "gemini-embedding-2", "api_key": "k"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        """Environment variables, arguments, and the resulting attributes."""
        return (
            {"GOOGLE_API_KEY": "from the environment", "GOOGLE_CLOUD_LOCATION": "eu"},
            {"model": "gemini-embedding-2"},
            {"google_api_key": "from the environment", "location": "eu"},
        )


class TestIntegration(EmbeddingsIntegrationTests):
    """Embedding on the emulator."""

    @pytest.fixture(autouse=True)
    def _service(self, emulator: GeminiEmulator) -> None:
        """Set the environment variables for the emulator."""

    @property
    def embeddings_class(self) -> type[GeminiEmbeddings]:
        """The class under test."""
        return GeminiEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"model": "gemini-embedding-2"}
