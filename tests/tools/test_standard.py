"""LangChain's own suites for tools."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_gemini_mm import MultimodalRetriever, MultimodalToolkit


class OfSearch:
    """The search tool of the library."""

    @pytest.fixture(autouse=True)
    def make(self, retriever: MultimodalRetriever) -> None:
        """Make the tool."""
        self.made, _ = MultimodalToolkit(retriever=retriever).get_tools()

    @property
    def tool_constructor(self) -> BaseTool:
        """The tool itself, which is made by a function."""
        return self.made

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        """Arguments of one call."""
        return {"query": "a puppy", "modalities": ["image"], "k": 2}


class OfOpening(OfSearch):
    """The open tool of the library."""

    @pytest.fixture(autouse=True)
    def make(self, retriever: MultimodalRetriever) -> None:
        """Make the tool."""
        _, self.made = MultimodalToolkit(retriever=retriever).get_tools()
        self.known = retriever.invoke("a puppy")[0].id

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        """Arguments of one call."""
        return {"id": self.known, "after": 1}


class TestSearchUnit(OfSearch, ToolsUnitTests):
    """LangChain's unit tests."""


class TestSearchIntegration(OfSearch, ToolsIntegrationTests):
    """LangChain's integration tests."""


class TestOpeningUnit(OfOpening, ToolsUnitTests):
    """LangChain's unit tests."""


class TestOpeningIntegration(OfOpening, ToolsIntegrationTests):
    """LangChain's integration tests."""
