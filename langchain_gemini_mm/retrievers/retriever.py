"""`MultimodalRetriever`: one question, in any kind of content, asked across everything that is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, PrivateAttr, model_validator

from langchain_gemini_mm.flows import Flow, arun, run
from langchain_gemini_mm.interfaces import Content, Modality
from langchain_gemini_mm.retrievers.context import neighbours_flow
from langchain_gemini_mm.retrievers.ingest import Added, Extra, Intake
from langchain_gemini_mm.retrievers.search import find_flow, kinds_flow, many_flow, sources_flow
from langchain_gemini_mm.retrievers.search_options import Ask, asked, store_of_tenant, traced
from langchain_gemini_mm.retrievers.sources import Source
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.vectorstores import Hit, Hits, MultimodalVectorStore, Query

_KEPT_TENANTS = 100
_AS_TEXT: Any = object()


@dataclass(frozen=True, slots=True)
class _Answered:
    """A query of a batch, with its answer."""

    query: Content | Query
    documents: list[Document]


class MultimodalRetriever(BaseRetriever):
    """Stores documents and media, and finds them by any content: text, files, pictures, sound, or several together.

    A LangChain retriever: it goes into chains, agents and `configurable_fields` as any other. Traces and callbacks see
    the words of a query and the kinds of its media, never their bytes.

    ```python
    from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
    from langchain_gemini_mm.testing import png

    embeddings = GeminiEmbeddings(media=MediaStore.memory(), output_dimensionality=768)
    retriever = MultimodalRetriever(store=LocalVectorStore(":memory:", embeddings), k=1)
    retriever.add(png("a brown puppy"), png("a pizza"), "how to bake a pizza")

    (puppy,) = retriever.invoke("an image of a puppy", modalities=["image"])
    assert puppy.page_content.startswith("![](mm://")
    (same,) = retriever.invoke([png("a brown puppy"), "a dog"])
    assert same.id == puppy.id
    ```

    Every field may be given anew in a call: `retriever.invoke(query, k=10, filter={...})`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    store: VectorStore
    """Any LangChain vector store. Similarity works with all; what needs ours fails by name on others."""
    k: int = 4
    """How many documents, at least 1."""
    search_type: str = "similarity"
    """`similarity`, `mmr`, `hybrid` or `keyword`."""
    filter: Any = None
    """On metadata: see `vectorstores.filters`; for another store in its own form."""
    modalities: Sequence[Modality] | None = None
    """Only these kinds; None for all."""
    task_type: str | None = None
    """What the query is for, such as `question answering`; None is the embedding's own."""
    score_threshold: float | None = None
    """Lowest cosine similarity, -1 to 1; with `keyword` lowest BM25 score."""
    ranking: str | None = None
    """`raw`, `normalized` or `calibrated`: see `docs/ranking.md`. None is raw where one modality is searched."""
    min_confidence: float | None = None
    """From 0 to 1: nothing less sure is an answer, and there may be none. With `normalized` and `calibrated`."""
    fetch_k: int | None = None
    """Candidates of `mmr`; 20 by default."""
    lambda_mult: float | None = None
    """Of `mmr`: 1 relevance alone, 0 diversity alone."""
    alpha: float | None = None
    """Of `hybrid`: share of the vectors, 0 to 1."""
    fusion: str | None = None
    """Of `hybrid`: `ranks` or `scores`."""
    query_properties: Sequence[str] | None = None
    """Of `hybrid` and `keyword`: which texts are searched."""
    tenant: str | None = None
    """Of a `WeaviateVectorStore`."""
    media: MediaStore | None = None
    """Where media are; None is the store of the embeddings."""

    _tenants: dict[str, VectorStore] = PrivateAttr(default_factory=dict)
    """Stores by tenant: each keeps what it has read of its background."""

    @model_validator(mode="after")
    def _check(self) -> MultimodalRetriever:
        """Refuse at once what can never work."""
        self._ask({"tenant": None})
        self._store_of(self.tenant)
        return self

    @property
    def media_store(self) -> MediaStore | None:
        """Where media are kept and found."""
        return self.media or getattr(self.store.embeddings, "media", None)

    @property
    def tenant_store(self) -> VectorStore:
        """The store of the retriever's own tenant; where it has none, the store."""
        return self._store_of(self.tenant)

    def invoke(self, input: Content | Query, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:  # noqa: A002
        """Find documents.

        Args:
            input: any content, a list of pieces that belong together, a `HumanMessage` with attachments, or a `Query`.
            config: of LangChain.
            kwargs: fields of the retriever, for this call.

        Raises:
            ContentError: the query cannot be embedded, or names ids that are not stored.
            TypeError: an option does not exist, or the store lacks what it needs.
            ValueError: an option is out of range.
        """
        return super().invoke(_text_of(input), config, content=input, **kwargs)

    async def ainvoke(
        self,
        input: Content | Query,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Async twin of `invoke`."""
        return await super().ainvoke(_text_of(input), config, content=input, **kwargs)

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """Find documents for several queries, embedded together; each remains a run of its own."""
        if return_exceptions or len(inputs) < 2:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        answers = run(many_flow(self._ask(kwargs), inputs))
        return super().batch(_answered(inputs, answers), config, **kwargs)

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """Async twin of `batch`."""
        if return_exceptions or len(inputs) < 2:
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        answers = await arun(many_flow(self._ask(kwargs), inputs))
        return await super().abatch(_answered(inputs, answers), config, **kwargs)

    def search(self, query: Content | Query, **overrides: Any) -> Hits:
        """Find hits: documents with their scores, as `invoke` finds documents.

        Args:
            query: as in `invoke`.
            overrides: fields of the retriever, for this call.
        """
        return Hits(run(find_flow(self._ask(overrides), query)))

    async def asearch(self, query: Content | Query, **overrides: Any) -> Hits:
        """Async twin of `search`."""
        return Hits(await arun(find_flow(self._ask(overrides), query)))

    def by_modality(self, query: Content | Query, k: int = 1, **overrides: Any) -> dict[str, Hits]:
        """Find the closest `k` of each kind, side by side: scores of different kinds are not compared.

        Returns:
            Hits by modality, of those that the collection has; the raw cosine similarity is their score.
        """
        return _each_hits(run(kinds_flow(self._ask({**overrides, "k": k}), query)))

    async def aby_modality(self, query: Content | Query, k: int = 1, **overrides: Any) -> dict[str, Hits]:
        """Async twin of `by_modality`."""
        return _each_hits(await arun(kinds_flow(self._ask({**overrides, "k": k}), query)))

    def sources(
        self, query: Content | Query, *, by: str = "source", per_source: int = 5, **overrides: Any
    ) -> list[Source]:
        """Find files rather than pieces: `k` of them, each with its best moments or pages.

        Args:
            query: as in `invoke`.
            by: the metadata key that files have in common, such as `lesson`; by default each file is by itself.
            per_source: how many hits of a file, at most; neighbouring ones are joined to one moment.
            overrides: fields of the retriever, for this call.
        """
        return run(sources_flow(self._ask(overrides), query, by, per_source))

    async def asources(
        self, query: Content | Query, *, by: str = "source", per_source: int = 5, **overrides: Any
    ) -> list[Source]:
        """Async twin of `sources`."""
        return await arun(sources_flow(self._ask(overrides), query, by, per_source))

    def context(self, found: Hit | Document, *, before: int = 1, after: int = 1) -> list[Document]:
        """Read what stands around a hit: the neighbouring segments or pages of the same file and kind, it among them.

        Raises:
            ContentError: the document does not say where it stands, or is not stored any more.
        """
        return run(self._around(found, before, after))

    async def acontext(self, found: Hit | Document, *, before: int = 1, after: int = 1) -> list[Document]:
        """Async twin of `context`."""
        return await arun(self._around(found, before, after))

    def add(self, *items: Content, metadata: Extra | None = None, source_prefix: str = "", **options: Any) -> Added:
        """Store content, one Document for each item; media go into the media store.

        A `Path` to a file, folder or glob is loaded as `MediaLoader` does it, long files in segments. A nested list is
        one Document of all its pieces. The same content has the same id: with our stores, what is stored already is
        left as it is, and costs nothing.

        Args:
            items: any content.
            metadata: for every Document, or a function that makes it from one.
            source_prefix: before the names of files, so that those of several folders stay apart.
            options: of `store.add_documents`, such as `progress`.

        Returns:
            The ids, and what was left out: `skipped`.
        """
        intake = Intake(self.media_store, metadata or {}, source_prefix)
        documents, given = self._to_add(intake.documents(items), options)
        ids = self.tenant_store.add_documents(documents, **given)
        return Added(ids, intake.skipped)

    async def aadd(
        self, *items: Content, metadata: Extra | None = None, source_prefix: str = "", **options: Any
    ) -> Added:
        """Async twin of `add`."""
        intake = Intake(self.media_store, metadata or {}, source_prefix)
        documents, given = self._to_add(intake.documents(items), options)
        ids = await self.tenant_store.aadd_documents(documents, **given)
        return Added(ids, intake.skipped)

    def add_documents(self, documents: Iterable[Document], **options: Any) -> list[str]:
        """Store Documents, and return their ids; options as in `store.add_documents`."""
        return self.tenant_store.add_documents(documents, **options)  # type: ignore[arg-type]

    async def aadd_documents(self, documents: Iterable[Document], **options: Any) -> list[str]:
        """Async twin of `add_documents`."""
        return await self.tenant_store.aadd_documents(documents, **options)  # type: ignore[arg-type]

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - the interface has it
        content: Any = _AS_TEXT,
        **kwargs: Any,
    ) -> list[Document]:
        if isinstance(content, _Answered):
            return content.documents
        return self.search(query if content is _AS_TEXT else content, **kwargs).documents

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002 - the interface has it
        content: Any = _AS_TEXT,
        **kwargs: Any,
    ) -> list[Document]:
        if isinstance(content, _Answered):
            return content.documents
        return (await self.asearch(query if content is _AS_TEXT else content, **kwargs)).documents

    def _get_ls_params(self, **_: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params()
        params["ls_vector_store_provider"] = type(self.store).__name__
        if self.store.embeddings is not None:
            params["ls_embedding_provider"] = type(self.store.embeddings).__name__
        return params

    def _ask(self, overrides: Mapping[str, Any]) -> Ask:
        own = type(self).model_fields.keys() - BaseRetriever.model_fields.keys() - {"media", "tenant"}
        tenant = overrides.get("tenant", self.tenant)
        settings = {name: getattr(self, name) for name in own} | {"store": self._store_of(tenant)}
        return asked(settings, {name: value for name, value in overrides.items() if name != "tenant"})

    def _store_of(self, tenant: str | None) -> VectorStore:
        if tenant is None:
            return self.store
        if tenant not in self._tenants:
            while len(self._tenants) >= _KEPT_TENANTS:
                self._tenants.pop(next(iter(self._tenants)))
            self._tenants[tenant] = store_of_tenant(self.store, tenant)
        return self._tenants[tenant]

    def _to_add(self, documents: Iterable[Document], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Documents and options as the store wants them: others than ours want a list."""
        if isinstance(self.store, MultimodalVectorStore):
            return documents, {"skip_unchanged": True, **options}
        return list(documents), options

    def _around(self, found: Hit | Document, before: int, after: int) -> Flow[list[Document]]:
        document = found.document if isinstance(found, Hit) else found
        if not isinstance(document, Document):
            raise TypeError(f"context of a hit or a Document is asked for, got {type(document).__name__}")
        counts: dict[str, Any] = {"before": before, "after": after}
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be an int >= 0, got {value!r}")
        return neighbours_flow(self._ask({}).ours("context"), document, before, after)


def _text_of(query: Any) -> str:
    return traced(query.query if isinstance(query, _Answered) else query)


def _answered(queries: Sequence[Content | Query], answers: Sequence[Sequence[Hit]]) -> list[Any]:
    return [_Answered(query, [hit.document for hit in hits]) for query, hits in zip(queries, answers, strict=True)]


def _each_hits(found: Mapping[str, Iterable[Hit]]) -> dict[str, Hits]:
    return {modality: Hits(hits) for modality, hits in found.items()}
