"""LangChain's own suites for tools."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_gemini_mm import MultimodalRetriever, MultimodalToolkit


class OfSearch:
    """The tool that searches, over the library."""

    @pytest.fixture(autouse=True)
    def make(self, retriever: MultimodalRetriever) -> None:
        """Make the tool."""
        self.made, _ = MultimodalToolkit(retriever=retriever).get_tools()

    @property
    def tool_constructor(self) -> BaseTool:
        """The tool itself, for it is made by a function."""
        return self.made

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        """As a model might call it."""
        return {"query": "a puppy", "modalities": ["image"], "k": 2}


class OfOpening(OfSearch):
    """The tool that opens a hit of the library."""

    @pytest.fixture(autouse=True)
    def make(self, retriever: MultimodalRetriever) -> None:
        """Make the tool."""
        _, self.made = MultimodalToolkit(retriever=retriever).get_tools()
        self.known = retriever.invoke("a puppy")[0].id

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        """As a model might call it."""
        return {"id": self.known, "after": 1}


class TestSearchUnit(OfSearch, ToolsUnitTests):
    """The suite for units."""


class TestSearchIntegration(OfSearch, ToolsIntegrationTests):
    """The suite with calls."""


class TestOpeningUnit(OfOpening, ToolsUnitTests):
    """The suite for units."""


class TestOpeningIntegration(OfOpening, ToolsIntegrationTests):
    """The suite with calls."""
