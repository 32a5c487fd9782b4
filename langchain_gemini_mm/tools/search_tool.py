"""The tool by which an agent searches across everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import StructuredTool, ToolException

from langchain_gemini_mm.errors import ContentError, FilterError
from langchain_gemini_mm.flows import Call, Flow, arun, blocking, run
from langchain_gemini_mm.rendering import accepts_of
from langchain_gemini_mm.retrievers import MultimodalRetriever
from langchain_gemini_mm.tools.attachments import are_references_wanted, messages_in
from langchain_gemini_mm.tools.results import Answer, Look, nothing, told
from langchain_gemini_mm.tools.search_arguments import Asked, search_arguments, validation_message
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores import Hit

MAX_BYTES = 6_000_000
"""Of all media in one tool result, base64 counted: three of them fit into a request to Gemini."""
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
    """Make a tool by which an agent searches, and looks at what it found.

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
    allows in tool results (`text`, `image`, `file`), and the Documents, media by reference, as artifact. What is wrong
    with the arguments is told to the model. A filter, modalities and a tenant of the retriever always hold.

    Args:
        retriever: what to search with.
        name: of the tool.
        description: what is in the collection, and when to search it; for the model.
        look: whether the model can see and hear; text only when not.
        model: whose content blocks to return: `gemini`, `openai`, `anthropic`, `text`, or a LangChain chat model.
        media_references: return references, which `MediaMiddleware` turns into media for each model call, instead of
            bytes; None does so where that middleware is around the call.
        max_bytes: of the media of one result, base64 counted.
        max_k: most hits the model can ask for.
        snippet: characters of a hit's text.
    """
    search = Searching(
        name=name,
        retriever=retriever,
        look=look_of(retriever, look=look, model=model, max_bytes=max_bytes, snippet=snippet),
        media_references=media_references,
        max_k=positive_int("max_k", max_k),
    )
    return StructuredTool(
        name=name,
        description=description,
        args_schema=search_arguments(name, k=search.k, max_k=max_k, modalities=search.modalities),
        func=search.run,
        coroutine=search.arun,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=validation_message,
    )


def look_of(retriever: MultimodalRetriever, *, look: bool, model: Any, max_bytes: int, snippet: int) -> Look:
    """How the results of a retriever's tools are shown."""
    if not isinstance(retriever, MultimodalRetriever):
        raise TypeError(
            f"the tool searches with a MultimodalRetriever, got {type(retriever).__name__}. Give "
            "MultimodalRetriever(store=...)"
        )
    return Look(
        media=retriever.media_store,
        accepts=accepts_of(model),
        look=look,
        max_bytes=positive_int("max_bytes", max_bytes),
        snippet=positive_int("snippet", snippet),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Searching:
    """A search tool at work."""

    name: str
    retriever: MultimodalRetriever = field(repr=False)
    look: Look = field(repr=False)
    media_references: bool | None
    max_k: int

    @property
    def k(self) -> int:
        """Hits when the model does not say how many."""
        return min(self.retriever.k, self.max_k)

    @property
    def modalities(self) -> tuple[str, ...] | None:
        """What can be searched; None for all."""
        own = self.retriever.modalities
        return None if own is None else tuple(own)

    def run(self, query: str = "", **arguments: Any) -> Answer:
        """Search and show."""
        return run(self._flow({"query": query, **arguments}))

    async def arun(self, query: str = "", **arguments: Any) -> Answer:
        """Async twin of `run`."""
        return await arun(self._flow({"query": query, **arguments}))

    def _flow(self, arguments: dict[str, Any]) -> Flow[Answer]:
        references = are_references_wanted(self.media_references, self.name)
        asked = self._asked(arguments)
        overrides = {"k": asked.k, "filter": asked.filter(self.retriever.filter), "modalities": self._kinds(asked)}
        try:
            content = asked.content()
            hits: list[Hit] = yield Call(self.retriever.search, self.retriever.asearch, (content,), overrides)
        except (ContentError, FilterError) as error:
            raise ToolException(told(error)) from error
        if not hits:
            return nothing(asked), []
        answer: Answer = yield blocking(self.look.hits, hits, references=references)
        return answer

    def _asked(self, arguments: dict[str, Any]) -> Asked:
        given = {name: value for name, value in arguments.items() if value is not None}
        runtime = given.pop("runtime", None)
        k = max(1, min(given.pop("k", self.k), self.max_k))
        return Asked(**given, k=k, messages=messages_in(runtime))

    def _kinds(self, asked: Asked) -> list[str] | None:
        """Those asked for, of those allowed."""
        allowed = self.modalities
        if not asked.modalities:
            return None if allowed is None else list(allowed)
        kinds = [kind for kind in asked.modalities if allowed is None or kind in allowed]
        if not kinds:
            raise ToolException(
                f"This collection is searched for {', '.join(allowed or ())} only; change `modalities`."
            )
        return kinds
