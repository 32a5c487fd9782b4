"""The tool by which an agent searches all modalities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import StructuredTool, ToolException

from langchain_gemini_mm.errors import ContentError, FilterError
from langchain_gemini_mm.flows import Call, Flow, arun, blocking, run
from langchain_gemini_mm.rendering import accepts_of
from langchain_gemini_mm.retrievers import MultimodalRetriever
from langchain_gemini_mm.tools.results import ResultRenderer, ToolResult, input_error
from langchain_gemini_mm.tools.search_arguments import ToolQuery, conversation, search_arguments, validation_message
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores import Hit

MAX_BYTES = 6_000_000
"""Bytes of all media in one tool result, base64 included: three such results fit into a request to Gemini."""
MAX_K = 10
SNIPPET = 600
"""Characters."""


def create_multimodal_retriever_tool(
    retriever: MultimodalRetriever,
    name: str,
    description: str,
    *,
    look: bool = True,
    model: Any = "gemini",
    media_references: bool | None = None,
    max_bytes: int = MAX_BYTES,
    max_k: int = MAX_K,
    snippet: int = SNIPPET,
) -> StructuredTool:
    """Make a tool by which an agent searches and sees the media that were found.

    ```python
    from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MultimodalRetriever
    from langchain_gemini_mm import create_multimodal_retriever_tool

    retriever = MultimodalRetriever(store=LocalVectorStore(":memory:", GeminiEmbeddings()))
    retriever.add("The quarterly meeting is on Friday.")
    tool = create_multimodal_retriever_tool(retriever, "search_library", "Searches minutes, slides and recordings.")
    assert "Friday" in tool.invoke({"query": "when is the meeting?"})
    ```

    The model fills in `query`, `modalities`, `like` (the id of an earlier hit, or an attachment of the conversation),
    `source`, `start_s`, `end_s` and `k`. The result is a line for each hit, media as content blocks that LangChain
    accepts in tool results (`text`, `image`, `file`), and the Documents, media by reference, as artifact. Mistakes in
    the arguments are reported to the model. The filter, modalities and tenant of the retriever always hold.

    Args:
        retriever: searches.
        name: name of the tool.
        description: what is in the collection and when to search it, for the model.
        look: whether the model can see and hear; if not, results are text.
        model: whose content blocks to return: `gemini`, `openai`, `anthropic`, `text`, or a LangChain chat model.
        media_references: return references, which `MediaMiddleware` turns into media for each model call, instead of
            bytes; None does so where that middleware is active.
        max_bytes: bytes of the media of one result, base64 included.
        max_k: largest number of hits the model can ask for.
        snippet: characters of a hit's text.
    """
    renderer = result_renderer(
        name,
        retriever,
        look=look,
        model=model,
        media_references=media_references,
        max_bytes=max_bytes,
        snippet=snippet,
    )
    search = SearchTool(retriever=retriever, renderer=renderer, max_k=positive_int("max_k", max_k))
    return StructuredTool(
        name=name,
        description=description,
        args_schema=search_arguments(name, k=min(retriever.k, max_k), max_k=max_k, modalities=retriever.modalities),
        func=search.run,
        coroutine=search.arun,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=validation_message,
    )


def result_renderer(
    tool: str,
    retriever: MultimodalRetriever,
    *,
    look: bool,
    model: Any,
    media_references: bool | None,
    max_bytes: int,
    snippet: int,
) -> ResultRenderer:
    """Make what shows the results of a retriever's tool; arguments as in `create_multimodal_retriever_tool`.

    Raises:
        TypeError: `retriever` is not a `MultimodalRetriever`.
        ValueError: a number is below 1, or there is no such family of models.
    """
    if not isinstance(retriever, MultimodalRetriever):
        raise TypeError(
            f"the tool searches with a MultimodalRetriever, got {type(retriever).__name__}. Give "
            "MultimodalRetriever(store=...)"
        )
    return ResultRenderer(
        tool=tool,
        media=retriever.media_store,
        accepts=accepts_of(model),
        look=look,
        references=media_references,
        max_bytes=positive_int("max_bytes", max_bytes),
        snippet=positive_int("snippet", snippet),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTool:
    """Carries out the calls of a search tool."""

    retriever: MultimodalRetriever = field(repr=False)
    renderer: ResultRenderer = field(repr=False)
    max_k: int

    def run(self, **arguments: Any) -> ToolResult:
        """Search and return the rendered hits."""
        return run(self._flow(**arguments))

    async def arun(self, **arguments: Any) -> ToolResult:
        """Async twin of `run`."""
        return await arun(self._flow(**arguments))

    def _flow(self, *, k: int | None = None, runtime: Any = None, **arguments: Any) -> Flow[ToolResult]:
        count = max(1, min(self.retriever.k if k is None else k, self.max_k))
        asked = ToolQuery(**arguments, k=count, messages=conversation(runtime))
        options = {"k": count, "filter": asked.filter(self.retriever.filter), "modalities": self._modalities(asked)}
        try:
            hits: list[Hit] = yield Call(self.retriever.search, self.retriever.asearch, (asked.content(),), options)
        except (ContentError, FilterError) as error:
            raise ToolException(input_error(error)) from error
        if not hits:
            return (
                f"Nothing matches {asked}. Nothing in this collection is close enough; do not guess. You may try other "
                "words, fewer restrictions, or say that there is nothing.",
                [],
            )
        documents = [hit.document for hit in hits]
        content = yield blocking(self.renderer.content, self.renderer.list_hits(hits), documents)
        return content, documents

    def _modalities(self, asked: ToolQuery) -> list[str] | None:
        """Return the requested modalities that the retriever searches; None for all."""
        allowed = self.retriever.modalities
        if not asked.modalities or allowed is None:
            return list(asked.modalities or allowed or ()) or None
        found = [modality for modality in asked.modalities if modality in allowed]
        if not found:
            raise ToolException(f"This collection is searched for {', '.join(allowed)} only; change `modalities`.")
        return found
