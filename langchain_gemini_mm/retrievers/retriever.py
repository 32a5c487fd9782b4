"""`MultimodalRetriever`: searches all modalities with any content, as a LangChain retriever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, model_validator

from langchain_gemini_mm.errors import PartialWriteError
from langchain_gemini_mm.flows import Call, Flow, asynchronous, synchronous
from langchain_gemini_mm.interfaces import Content, Modality
from langchain_gemini_mm.ranking import Ranking
from langchain_gemini_mm.ranking.search import RankingPlan, by_modality_flow, plan_ranking, ranked_flow
from langchain_gemini_mm.retrievers.context import neighbours_flow
from langchain_gemini_mm.retrievers.ingest import Added, Intake, Metadata
from langchain_gemini_mm.retrievers.search import foreign_flow, require_own_store, sources_flow
from langchain_gemini_mm.retrievers.search_options import OPTIONS, SearchOptions, traced
from langchain_gemini_mm.retrievers.sources import Source
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.validation import refuse_unknown, unknown_option
from langchain_gemini_mm.vectorstores import Hit, Hits, MultimodalVectorStore, Query
from langchain_gemini_mm.vectorstores.query import Fusion, SearchType
from langchain_gemini_mm.vectorstores.store_retriever import AnsweredQuery, BatchedRetriever

_AS_TEXT: Any = object()


class MultimodalRetriever(BatchedRetriever):
    """Stores documents and media, and finds them by any content: text, files, images, audio, or several together.

    It works in chains, agents and `configurable_fields` like any LangChain retriever. Traces and callbacks receive the
    text of a query and the types of its media, never their bytes.

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

    A call can set each option for itself: `retriever.invoke(query, k=10, filter={...})`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    store: VectorStore
    """Any LangChain vector store. Similarity works with all; options that need a store of this package say so."""
    k: int = 4
    """Number of documents, at least 1."""
    search_type: SearchType = "similarity"
    filter: Any = None
    """On metadata: see `vectorstores.filters`; a store of another package has its own form."""
    modalities: Sequence[Modality] | None = None
    """Only these modalities; None for all."""
    task_type: str | None = None
    """What queries are for, such as `question answering`; None is the default of the embedding."""
    score_threshold: float | None = None
    """Lowest cosine similarity, -1 to 1; for `keyword` lowest BM25 score."""
    ranking: Ranking | None = None
    """`raw`, `normalized` or `calibrated`: see `docs/ranking.md`. None is `raw` where one modality is searched."""
    min_confidence: float | None = None
    """From 0 to 1: hits below it are left out, so that there may be none. With `normalized` and `calibrated`."""
    fetch_k: int | None = None
    """For `mmr`: number of candidates; 20 by default."""
    lambda_mult: float | None = None
    """For `mmr`: 1 is relevance alone, 0 is diversity alone."""
    alpha: float | None = None
    """For `hybrid`: weight of the vectors, 0 to 1."""
    fusion: Fusion | None = None
    """For `hybrid`: `ranks` or `scores`."""
    query_properties: Sequence[str] | None = None
    """For `hybrid` and `keyword`: which texts are searched."""
    tenant: str | None = None
    """Whose data, in a `WeaviateVectorStore` with tenants."""
    media: MediaStore | None = None
    """Holds the media; None is the store of the embeddings."""

    if TYPE_CHECKING:  # LangChain's constructor takes anything

        def __init__(
            self,
            *,
            store: VectorStore,
            k: int = 4,
            media: MediaStore | None = None,
            name: str | None = None,
            tags: list[str] | None = None,
            metadata: dict[str, Any] | None = None,
            **options: Unpack[SearchOptions],
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        refuse_unknown(values, cls.model_fields, cls.__name__)
        return values

    @model_validator(mode="after")
    def _check(self) -> MultimodalRetriever:
        """Refuse options that can never work; the filter is checked in each search, by the fields there are then."""
        self._hits([], None, {"filter": None})  # checks options at once, and searches only when it is run
        return self

    @property
    def media_store(self) -> MediaStore | None:
        """Holds the media of what is added and found."""
        return self.media or getattr(self.store.embeddings, "media", None)

    @property
    def tenant_store(self) -> VectorStore:
        """The store of the retriever's own tenant; without one, the store."""
        if self.tenant is None:
            return self.store
        found: VectorStore = self.store.with_tenant(self.tenant)  # type: ignore[attr-defined]
        return found

    def invoke(self, input: Content | Query, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:  # noqa: A002
        """Find documents.

        Args:
            input: any content, a list of parts of one query, a `HumanMessage` with attachments, or a `Query`.
            config: of LangChain.
            kwargs: `k` and the options of `SearchOptions`, for this call; the retriever's fields are the defaults.

        Raises:
            ContentError: the query cannot be embedded, or names ids that are not stored.
            TypeError: an option does not exist, or the store lacks what it needs.
            ValueError: an option is out of range.
        """
        return super().invoke(traced(input), config, content=input, **kwargs)

    async def ainvoke(
        self,
        input: Content | Query,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Async twin of `invoke`."""
        return await super().ainvoke(traced(input), config, content=input, **kwargs)

    @synchronous
    def search(self, query: Content | Query, k: int | None = None, **options: Unpack[SearchOptions]) -> Flow[Hits]:
        """Find hits: documents with their scores, as `invoke` finds documents.

        Args:
            query: as in `invoke`.
            k: number of hits; None is the retriever's.
            options: those of `SearchOptions`, for this call; the others are the retriever's.

        Raises:
            ContentError: the query cannot be embedded, or names ids that are not stored.
            TypeError: an option does not exist, or the store lacks what it needs.
            ValueError: an option is out of range.
        """
        (hits,) = yield from self._hits([query], k, options)
        return hits

    asearch: ClassVar = asynchronous(search)

    @synchronous
    def by_modality(
        self, query: Content | Query, k: int = 1, **options: Unpack[SearchOptions]
    ) -> Flow[dict[str, Hits]]:
        """Find the closest documents of each modality, side by side: their scores are not compared.

        Args:
            query: as in `invoke`.
            k: number of hits of each modality.
            options: as in `search`.

        Returns:
            Hits by modality, of those that the collection has; their score is the cosine similarity.
        """
        return by_modality_flow(query, self._plan("by_modality", k, options))

    aby_modality: ClassVar = asynchronous(by_modality)

    @synchronous
    def sources(
        self,
        query: Content | Query,
        k: int | None = None,
        *,
        by: str = "source",
        per_source: int = 5,
        **options: Unpack[SearchOptions],
    ) -> Flow[list[Source]]:
        """Find files rather than pieces, each with its best moments or pages.

        Args:
            query: as in `invoke`.
            k: number of files; None is the retriever's.
            by: the metadata key that files have in common, such as `lesson`; by default each file is by itself.
            per_source: number of hits of a file; adjacent ones are merged into one moment.
            options: as in `search`.
        """
        return sources_flow(query, self._plan("sources", k, options), by, per_source)

    asources: ClassVar = asynchronous(sources)

    @synchronous
    def context(self, found: Hit | Document, *, before: int = 1, after: int = 1) -> Flow[list[Document]]:
        """Read the segments or pages around a hit, of the same file and modality, the hit among them.

        Args:
            found: a hit or a Document.
            before: number of documents before it.
            after: number of documents after it.

        Raises:
            ContentError: the document does not name its place in a file, or is not stored any more.
        """
        document = found.document if isinstance(found, Hit) else found
        if not isinstance(document, Document):
            raise TypeError(f"context is that of a hit or a Document, got {type(document).__name__}")
        counts: dict[str, Any] = {"before": before, "after": after}
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be an int >= 0, got {value!r}")
        backend = require_own_store(self.store, "context").backend.for_tenant(self.tenant)
        return neighbours_flow(backend, document, before, after)

    acontext: ClassVar = asynchronous(context)

    @synchronous
    def add(
        self, *items: Content, metadata: Metadata | None = None, source_prefix: str = "", **options: Any
    ) -> Flow[Added]:
        """Store content, one Document for each item; media are put into the media store.

        A `Path` to a file, folder or glob is loaded as by `MediaLoader`, long files in segments. A nested list is one
        Document of all its pieces. The same content has the same id: a store of this package keeps what is stored
        already, at no cost.

        Args:
            items: any content.
            metadata: for every Document, or a function that makes it from one.
            source_prefix: before the names of files, so that those of several folders stay apart.
            options: of `store.add_documents`, such as `progress`.

        Returns:
            The ids, with `skipped` for what was left out.

        Raises:
            PartialWriteError: some Documents are not stored; it has `skipped`, too.
        """
        intake = Intake(self.media_store, metadata or {}, source_prefix)
        options = {"skip_unchanged": True, **options}
        try:
            ids = yield Call(self.add_documents, self.aadd_documents, (intake.documents(items),), options)
        except PartialWriteError as error:
            error.skipped = tuple(intake.skipped)
            raise
        return Added(ids, intake.skipped)

    aadd: ClassVar = asynchronous(add)

    @synchronous
    def add_documents(self, documents: Iterable[Document], **options: Any) -> Flow[list[str]]:
        """Store Documents and return their ids; options as in `store.add_documents`."""
        if isinstance(self.store, MultimodalVectorStore):
            options = {"tenant": self.tenant, **options}
        else:
            documents = list(documents)
            options.pop("skip_unchanged", None)
        ids: list[str] = yield Call(self.store.add_documents, self.store.aadd_documents, (documents,), options)
        return ids

    aadd_documents: ClassVar = asynchronous(add_documents)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - the interface has it
        content: Any = _AS_TEXT,
        **kwargs: Any,
    ) -> list[Document]:
        if isinstance(query, AnsweredQuery):
            return query.documents
        return self.search(query if content is _AS_TEXT else content, **kwargs).documents

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002 - the interface has it
        content: Any = _AS_TEXT,
        **kwargs: Any,
    ) -> list[Document]:
        if isinstance(query, AnsweredQuery):
            return query.documents
        return (await self.asearch(query if content is _AS_TEXT else content, **kwargs)).documents

    def _get_ls_params(self, **_: Any) -> LangSmithRetrieverParams:
        params = super()._get_ls_params()
        params["ls_vector_store_provider"] = type(self.store).__name__
        if self.store.embeddings is not None:
            params["ls_embedding_provider"] = type(self.store.embeddings).__name__
        return params

    def _options(self, k: int | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Combine the options of a call with the retriever's own."""
        options = {name: getattr(self, name) for name in OPTIONS}
        for name in overrides:
            if name not in options:
                raise unknown_option(name, OPTIONS, "the retriever")
        options.update(overrides)
        if k is not None:
            options["k"] = k
        return options

    def _batch_flow(self, queries: Sequence[Any], options: Mapping[str, Any]) -> Flow[list[Hits]]:
        return self._hits(queries, None, options)

    def _text_of(self, query: Any) -> str:
        return traced(query)

    def _hits(
        self, queries: Sequence[Content | Query], k: int | None, overrides: Mapping[str, Any]
    ) -> Flow[list[Hits]]:
        options = self._options(k, overrides)
        if isinstance(self.store, MultimodalVectorStore):
            return ranked_flow(queries, plan_ranking(self.store.backend, **options))
        return foreign_flow(self.store, queries, **options)

    def _plan(self, what: str, k: int | None, overrides: Mapping[str, Any]) -> RankingPlan:
        backend = require_own_store(self.store, what).backend
        return plan_ranking(backend, **self._options(k, overrides))
