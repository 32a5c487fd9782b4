"""The tool by which an agent searches all modalities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from langchain_core.documents import Document
from langchain_core.tools import StructuredTool, ToolException
from pydantic import BaseModel

from langchain_gemini_mm.errors import ContentError, FilterError, InvalidTypeError
from langchain_gemini_mm.flows import Call, Flow, arun, blocking, run
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering import accepts_of, citation, clean_text, expand_blocks, reference_blocks
from langchain_gemini_mm.retrievers import MultimodalRetriever
from langchain_gemini_mm.retrievers.bounds import bound_of, has_source_flow, is_known_flow
from langchain_gemini_mm.tools.attachments import REFERENCES_FOR, Block
from langchain_gemini_mm.tools.search_arguments import (
    ToolQuery,
    conversation,
    is_named,
    search_arguments,
    shown_sources,
    validation_message,
)
from langchain_gemini_mm.validation import explains_unknown_options, positive_int
from langchain_gemini_mm.vectorstores import Hit, MultimodalVectorStore
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.filters import Node, Predicate

MAX_BYTES = 6_000_000
"""Bytes of all media in one tool result, base64 included: three such results fit into a request to Gemini."""
MAX_K = 10
SNIPPET = 600
"""Characters."""

ToolResult: TypeAlias = tuple[str | list[Block], list[Document]]
"""Content for the model, and the Documents as artifact."""


@explains_unknown_options("create_multimodal_retriever_tool")
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
    search = SearchTool(
        name=name,
        retriever=retriever,
        look=look,
        model=model,
        media_references=media_references,
        max_bytes=max_bytes,
        snippet=snippet,
        max_k=positive_int("max_k", max_k),
    )
    schema = search_arguments(name, k=min(retriever.k, max_k), max_k=max_k, modalities=retriever.modalities)
    return search.structured(description, schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverTool(ABC):
    """A tool on a retriever: its options, and how its results are rendered.

    Raises:
        TypeError: `retriever` is not a `MultimodalRetriever`.
        ValueError: a number is below 1, or there is no such family of models.
    """

    name: str
    retriever: MultimodalRetriever = field(repr=False)
    look: bool
    """Whether the result has media; else it is text."""
    model: Any
    """Whose content blocks to return."""
    media_references: bool | None
    """Whether the result names media instead of holding them; None does so where `MediaMiddleware` is active."""
    max_bytes: int
    """Bytes of all media of a result, base64 included."""
    snippet: int
    """Characters of a document's text in a list of hits."""

    def __post_init__(self) -> None:
        """Check the options."""
        if not isinstance(self.retriever, MultimodalRetriever):
            raise InvalidTypeError(
                f"the tool searches with a MultimodalRetriever, got {type(self.retriever).__name__}. Give "
                "MultimodalRetriever(store=...)"
            )
        accepts_of(self.model)
        positive_int("max_bytes", self.max_bytes)
        positive_int("snippet", self.snippet)

    def structured(self, description: str, arguments: type[BaseModel]) -> StructuredTool:
        """Return the tool for an agent.

        Args:
            description: for the model.
            arguments: schema of the arguments of `flow`.
        """
        return StructuredTool(
            name=self.name,
            description=description,
            args_schema=arguments,
            func=self.run,
            coroutine=self.arun,
            response_format="content_and_artifact",
            handle_tool_error=True,
            handle_validation_error=partial(validation_message, arguments),
        )

    def run(self, **arguments: Any) -> ToolResult:
        """Carry out one call."""
        return run(self.flow(**arguments))

    async def arun(self, **arguments: Any) -> ToolResult:
        """Async twin of `run`."""
        return await arun(self.flow(**arguments))

    @abstractmethod
    def flow(self, *args: Any, **arguments: Any) -> Flow[ToolResult]:
        """Read what the arguments ask for, and return it rendered."""

    def list_hits(self, hits: Sequence[Hit]) -> str:
        """Return a line for each hit: number, citation, id, score and the beginning of its text."""
        lines = ["1 hit:" if len(hits) == 1 else f"{len(hits)} hits, best first:"]
        for number, hit in enumerate(hits, start=1):
            facts = f"id={hit.document.id}, {hit.score_kind} {hit.score:.2f}"
            if hit.confidence is not None:
                facts += f", confidence {hit.confidence:.2f}"
            text = " ".join(clean_text(hit.document).split())
            if len(text) > self.snippet:
                text = f"{text[: self.snippet].rstrip()}…"
            lines.append(f"{number}. {citation(hit.document)} ({facts})" + (f": {text}" if text else ""))
        return "\n".join(lines)

    def content(self, text: str, documents: Sequence[Document]) -> str | list[Block]:
        """Return the text followed by the media of the documents, each below its number and citation.

        Args:
            text: the text of the result.
            documents: most relevant first.
        """
        blocks: list[Block] = []
        for number, document in enumerate(documents if self.look else (), start=1):
            found = [block for block in reference_blocks([document], cite=False) if block["type"] != "text"]
            if found and len(documents) > 1:
                blocks.append({"type": "text", "text": f"{number}. {citation(document)}"})
            blocks += found
        if not blocks:
            return text
        if not (REFERENCES_FOR.get() == self.name if self.media_references is None else self.media_references):
            media, accepts = self.retriever.media_store, accepts_of(self.model)
            blocks = expand_blocks(blocks, media, accepts=accepts, place="tool", max_bytes=self.max_bytes)
        if all(block["type"] == "text" for block in blocks):  # many servers take only a string as the result of a tool
            return "\n".join([text, *(block["text"] for block in blocks)])
        return [{"type": "text", "text": text}, *blocks]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTool(RetrieverTool):
    """Carries out the calls of a search tool."""

    max_k: int

    def flow(self, *, k: int | None = None, runtime: Any = None, **arguments: Any) -> Flow[ToolResult]:
        """Search and return the rendered hits."""
        count = max(1, min(self.retriever.k if k is None else k, self.max_k))
        asked = ToolQuery(**arguments, k=count, messages=conversation(runtime))
        yield from self._require_media(asked.reference)
        options = {"k": count, "filter": asked.filter(self.retriever.filter), "modalities": self._modalities(asked)}
        try:
            hits: list[Hit] = yield Call(self.retriever.search, self.retriever.asearch, (asked.content(),), options)
        except (ContentError, FilterError) as error:
            raise ToolException(input_error(error)) from error
        if not hits:
            yield from self._require_source(asked, options)
            return (
                f"Nothing matches {asked}. Nothing in this collection is close enough; do not guess. You may try other "
                "words, fewer restrictions, or say that there is nothing.",
                [],
            )
        documents = [hit.document for hit in hits]
        content = yield blocking(self.content, self.list_hits(hits), documents)
        return content, documents

    def _require_media(self, ref: MediaRef | None) -> Flow[None]:
        """Refuse a reference to media that the retriever does not find, whether they exist or not."""
        if ref is None:
            return
        searched = _searched(self.retriever)
        if searched is None or not (yield from is_known_flow(*searched, ref)):
            raise ToolException(
                f"like: {ref} is neither in this conversation nor in the collection. Use the id of a hit instead, or "
                "attachment:1"
            )

    def _require_source(self, asked: ToolQuery, options: Mapping[str, Any]) -> Flow[None]:
        """Tell a source without hits from one that does not exist, or that the retriever does not find."""
        name = asked.source_name
        searched = _searched(self.retriever)
        if not name or searched is None or name in shown_sources(asked.messages):
            return
        if (yield from has_source_flow(*searched, name)):
            return
        everywhere = {**options, "filter": replace(asked, source="").filter(self.retriever.filter)}
        hits: list[Hit] = yield Call(self.retriever.search, self.retriever.asearch, (asked.content(),), everywhere)
        near = sorted({source for hit in hits if is_named(source := str(hit.metadata.get("source")), name)})
        hint = f"Do you mean {' or '.join(near)}?" if near else "Search without `source` to see the names of sources."
        raise ToolException(f"There is no source {name!r} in this collection. {hint}")

    def _modalities(self, asked: ToolQuery) -> list[str] | None:
        """Return the requested modalities that the retriever searches; None for all."""
        allowed = self.retriever.modalities
        if not asked.modalities or allowed is None:
            return list(asked.modalities or allowed or ()) or None
        found = [modality for modality in asked.modalities if modality in allowed]
        if not found:
            raise ToolException(f"This collection is searched for {', '.join(allowed)} only; change `modalities`.")
        return found


def _searched(retriever: MultimodalRetriever) -> tuple[Backend, Node | Predicate | None] | None:
    """Where a retriever searches, and for what; None for a store of another package."""
    if not isinstance(retriever.store, MultimodalVectorStore):
        return None
    return retriever.store.backend.for_tenant(retriever.tenant), bound_of(retriever.filter)


def input_error(error: Exception) -> str:
    """Return what is wrong with the arguments, for the model that wrote them."""
    return f"{error}. Change the arguments and call again."
