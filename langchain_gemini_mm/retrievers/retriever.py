"""`MultimodalRetriever`: searches all modalities with any content, as a LangChain retriever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, PrivateAttr, model_validator

from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.flows import Call, Flow, asynchronous, blocking, synchronous
from langchain_gemini_mm.interfaces import Content, Modality
from langchain_gemini_mm.media.source import file_of
from langchain_gemini_mm.ranking import Ranking
from langchain_gemini_mm.ranking.search import RankingPlan, by_modality_flow, plan_ranking, ranked_flow
from langchain_gemini_mm.rendering.clean_text import DocumentOrHit, document_of
from langchain_gemini_mm.rendering.media_text import MediaText, MediaTextTransformer
from langchain_gemini_mm.retrievers.bounds import bound_of, require_known_flow
from langchain_gemini_mm.retrievers.context import neighbours_flow
from langchain_gemini_mm.retrievers.ingest import Added, Ingest, Metadata, Progress, target_of, watched
from langchain_gemini_mm.retrievers.search import foreign_flow, require_own_store, sources_flow
from langchain_gemini_mm.retrievers.search_options import OPTIONS, SearchOptions, traced
from langchain_gemini_mm.retrievers.sources import Source
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.sync.report import LibraryStatus, MirrorReport
from langchain_gemini_mm.sync.status import forget_flow, path_flow, remove_unused, status_flow
from langchain_gemini_mm.validation import explains_fields, refuse_unknown, unknown_option
from langchain_gemini_mm.vectorstores import Hits, MultimodalVectorStore, Query
from langchain_gemini_mm.vectorstores.filters import Node, Predicate
from langchain_gemini_mm.vectorstores.query import Fusion, SearchType
from langchain_gemini_mm.vectorstores.store_retriever import AnsweredQuery, BatchedRetriever

if TYPE_CHECKING:
    import os

    from langchain_gemini_mm.loaders import MediaLoader
    from langchain_gemini_mm.sync.watch import StopEvent

T = TypeVar("T")

_AS_TEXT: Any = object()
_OWN: Any = object()


@explains_fields
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
    media_text: MediaText | None = None
    """For chains and rerankers that read only text: put the text of media (page, transcript, caption, citation) into
    the `page_content` of what `invoke` returns, `"instead"` of the references to the media or `"after"` them."""
    ledger: str | Path | None = None
    """For a store of another package: the SQLite file with what is known of its files. None is a file in the folder of
    the media store; `":memory:"` is as long as the store."""

    _transformers: dict[str, MediaTextTransformer] = PrivateAttr(default_factory=dict)

    if TYPE_CHECKING:  # LangChain's constructor takes anything

        def __init__(
            self,
            *,
            store: VectorStore,
            k: int = 4,
            media: MediaStore | None = None,
            media_text: MediaText | None = None,
            ledger: str | Path | None = None,
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
            kwargs: `k`, `media_text` and the options of `SearchOptions`, for this call; the retriever's fields are the
                defaults.

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
        return self._planned("by_modality", query, k, options, lambda plan: by_modality_flow(query, plan))

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
        return self._planned("sources", query, k, options, lambda plan: sources_flow(query, plan, by, per_source))

    asources: ClassVar = asynchronous(sources)

    @synchronous
    def context(self, found: DocumentOrHit, *, before: int = 1, after: int = 1) -> Flow[list[Document]]:
        """Read the segments or pages around a hit, of the same file and modality, the hit among them.

        Args:
            found: a hit or a Document, also as a dict, or as a copy without an id, as compressors make them.
            before: number of documents before it.
            after: number of documents after it.

        Raises:
            ContentError: the document does not name its place in a file, or is not stored any more.
        """
        document = document_of(found)
        counts: dict[str, Any] = {"before": before, "after": after}
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidValueError(f"{name} must be an int >= 0, got {value!r}")
        backend = require_own_store(self.store, "context").backend.for_tenant(self.tenant)
        return neighbours_flow(backend, document, before, after, self._bound())

    acontext: ClassVar = asynchronous(context)

    @synchronous
    def add(
        self,
        *items: Content | MediaLoader,
        metadata: Metadata | None = None,
        progress: Progress = None,
        **options: Any,
    ) -> Flow[Added]:
        """Store content; media are put into the media store.

        A `Path` to a file, folder or glob is loaded as by `MediaLoader`, and so are bytes, Blobs and loaders: long
        files in segments. Changed files are replaced, and unchanged ones are not opened; nothing else is deleted: see
        `mirror`. Other items become one Document each; a nested list is one Document of all its pieces.

        Args:
            items: any content, and loaders.
            metadata: for every Document, or a function that makes it from one.
            progress: True shows a bar; a function is called with the number of stored documents.
            options: of `MediaLoader`, such as `exclude`, `segments` and `name`, for files; of `add_documents` for other
                items.

        Returns:
            The ids, with `skipped` for what was left out.

        Raises:
            ContentError: a `str` is the path of a file or folder, which may be meant.
            MirrorError: another folder has the same name.
            PartialWriteError: some documents are not stored; it has `skipped`, too.
        """
        return Ingest(self, metadata or {}, progress, options).add(items)

    aadd: ClassVar = asynchronous(add)

    @synchronous
    def mirror(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        dry_run: bool = False,
        delete: bool = True,
        max_delete: float = 0.5,
        progress: Progress = None,
        retry_failed: bool = False,
        metadata: Metadata | None = None,
        **loader_options: Any,
    ) -> Flow[Any]:
        """Make the index equal to a folder: store new and changed files, keep moved ones, delete those that are gone.

        Unchanged files are not opened. A run that was interrupted is completed by the next one.

        Args:
            folder: a folder; one inside of a library is a part of it.
            name: of the library, with which every `source` begins; by default the name of the folder. The same name for
                several folders declares them copies of each other.
            dry_run: store and delete nothing, and return a `MirrorPlan`.
            delete: whether the documents of files that are gone are deleted.
            max_delete: largest share of the files of the folder that may be gone; if more are, nothing is deleted.
            progress: True shows a bar; a function is called with the number of stored documents.
            retry_failed: open files again that could not be used and are unchanged.
            metadata: as for `add`.
            loader_options: of `MediaLoader`, such as `exclude` and `segments`; with others, all files are read again.

        Returns:
            A `MirrorReport`; a `MirrorPlan` with `dry_run`.

        Raises:
            MirrorError: the folder is missing or suddenly empty, too many files are gone, or another folder has the
                same name.
        """
        return Ingest(self, metadata or {}, progress, loader_options).mirror(
            folder,
            name=name,
            dry_run=dry_run,
            delete=delete,
            max_delete=max_delete,
            retry_failed=retry_failed,
        )

    amirror: ClassVar = asynchronous(mirror)

    def watch(
        self,
        *folders: str | os.PathLike[str],
        settle_s: float = 1.0,
        longest_s: float = 60.0,
        rescan_s: float = 600.0,
        poll_s: float | None = None,
        stop: StopEvent | None = None,
        **mirror_options: Any,
    ) -> Generator[MirrorReport, None, None]:
        """Mirror folders, and again whenever their files have changed, until it is stopped.

        The first reports are those of the folders as they are; what fails then is raised. Later reports are of mirrors
        that did something. A folder that vanishes, an outage of the service or of the store is reported in
        `report.error`, once, and the mirror is tried again after growing pauses.

        Breaking out of the loop, `stop`, Ctrl-C and cancellation end it. A mirror that is under way ends after the
        documents that it is storing; the next one continues.

        Args:
            folders: one or more folders.
            settle_s: seconds without a change in a folder before it is mirrored, so that files that are being copied or
                saved are complete.
            longest_s: seconds after which it is mirrored although it is still changing.
            rescan_s: seconds after which it is mirrored without a reported change, in case the system missed one.
            poll_s: seconds between looks at all files, for network drives, whose changes the system does not report;
                None for its reports. A pause is at least ten times as long as a look.
            stop: an object with `is_set()`, such as a `threading.Event` or `asyncio.Event`.
            mirror_options: of `mirror`, except `dry_run`.

        Yields:
            A `MirrorReport` for each mirror of a folder.

        Raises:
            MissingExtraError: watchfiles is not installed, which is needed without `poll_s`.
            MirrorError: a folder is missing at the start, or not as expected.
            TypeError: an option does not exist.
            ValueError: an option is out of range, there is no folder, or `name=` is given for several.
        """
        times = {"settle_s": settle_s, "longest_s": longest_s, "rescan_s": rescan_s, "poll_s": poll_s}
        return watched(self, folders, times, stop, **mirror_options).reports()

    def awatch(
        self,
        *folders: str | os.PathLike[str],
        settle_s: float = 1.0,
        longest_s: float = 60.0,
        rescan_s: float = 600.0,
        poll_s: float | None = None,
        stop: StopEvent | None = None,
        **mirror_options: Any,
    ) -> AsyncGenerator[MirrorReport, None]:
        """Async twin of `watch`, arguments as in `watch`.

        With `contextlib.aclosing`, it ends at once when a loop over it is left.
        """
        times = {"settle_s": settle_s, "longest_s": longest_s, "rescan_s": rescan_s, "poll_s": poll_s}
        return watched(self, folders, times, stop, **mirror_options).areports()

    @synchronous
    def status(self, library: str | None = None) -> Flow[list[LibraryStatus]]:
        """What the index knows of its libraries: numbers of files, failures with reasons, folders, and the last run.

        Args:
            library: only this one.

        Raises:
            ContentError: there is no such library.
        """
        return status_flow(target_of(self), library)

    astatus: ClassVar = asynchronous(status)

    @synchronous
    def path(self, found: DocumentOrHit, *, root: str | Path | None = None) -> Flow[Path]:
        """The file that a hit was made from, as it is now; of an attachment, the file that has it.

        Args:
            found: a hit or a Document, also as a dict.
            root: the folder of the library; None for a folder of this machine that the index was made from.

        Raises:
            ContentError: the document was not made from a file of a library of this machine.
            MissingMediaError: the file is not there any more.
        """
        source = document_of(found).metadata.get("source")
        if root is None:
            return (yield from path_flow(target_of(self, lasting=False), source))
        path: Path = yield blocking(file_of, source, [Path(root).expanduser()])
        return path

    apath: ClassVar = asynchronous(path)

    @synchronous
    def forget(
        self, library_or_source: str | Path, *, media: bool = False, vectors: bool = False, captions: bool = False
    ) -> Flow[None]:
        """Delete the documents of a library, folder or file from the index; files are never deleted.

        Args:
            library_or_source: the name of a library, or the `source` of a folder or file. A `Path` only ends the
                connection with this folder of a library that has several: its documents stay.
            media: also remove media from the media store that no other document of this index references. Other indexes
                must not use the same media store.
            vectors: also remove vectors that are kept for a store of another package.
            captions: also remove what `describe` returned for these media, so that it is asked again.

        Raises:
            ContentError: the index does not have it.
            TypeError: `media=True` with a store of another package, which cannot be searched for references.
        """
        store = self.tenant_store
        if media:
            require_own_store(store, "forget(media=True)")
        digests = yield from forget_flow(target_of(self), library_or_source, vectors=vectors, captions=captions)
        if media and digests and self.media_store is not None:
            yield blocking(remove_unused, self.media_store, store, digests)

    aforget: ClassVar = asynchronous(forget)

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
        media_text: Any = _OWN,
        **kwargs: Any,
    ) -> list[Document]:
        transformer = self._transformer(media_text)
        if isinstance(query, AnsweredQuery):
            found = query.documents
        else:
            found = self.search(query if content is _AS_TEXT else content, **kwargs).documents
        return transformer.transform_documents(found) if transformer else found

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002 - the interface has it
        content: Any = _AS_TEXT,
        media_text: Any = _OWN,
        **kwargs: Any,
    ) -> list[Document]:
        transformer = self._transformer(media_text)
        if isinstance(query, AnsweredQuery):
            found = query.documents
        else:
            found = (await self.asearch(query if content is _AS_TEXT else content, **kwargs)).documents
        return await asyncio.to_thread(transformer.transform_documents, found) if transformer else found

    def _transformer(self, placement: Any) -> MediaTextTransformer | None:
        """Puts text into the documents of a call; None if they are returned as they are."""
        placement = self.media_text if placement is _OWN else placement
        if placement is None:
            return None
        if placement not in self._transformers:
            self._transformers[placement] = MediaTextTransformer(placement, media=self.media_store)
        return self._transformers[placement]

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
        searching = {name: value for name, value in options.items() if name != "media_text"}
        return self._hits(queries, None, searching)

    def _text_of(self, query: Any) -> str:
        return traced(query)

    def _hits(
        self, queries: Sequence[Content | Query], k: int | None, overrides: Mapping[str, Any]
    ) -> Flow[list[Hits]]:
        options = self._options(k, overrides)
        if not isinstance(self.store, MultimodalVectorStore):
            return foreign_flow(self.store, queries, **options)
        plan = plan_ranking(self.store.backend, **options)
        return self._bounded_flow(queries, plan, lambda bounded: ranked_flow(queries, bounded))

    def _planned(
        self,
        what: str,
        query: Content | Query,
        k: int | None,
        overrides: Mapping[str, Any],
        search: Callable[[RankingPlan], Flow[T]],
    ) -> Flow[T]:
        """Search in a store of this package.

        Args:
            what: the method, for messages.
            query: what is searched for.
            k: number of results; None is the retriever's.
            overrides: options of the call.
            search: carries out the plan.
        """
        backend = require_own_store(self.store, what).backend
        return self._bounded_flow([query], plan_ranking(backend, **self._options(k, overrides)), search)

    def _bounded_flow(
        self, queries: Sequence[Content | Query], plan: RankingPlan, search: Callable[[RankingPlan], Flow[T]]
    ) -> Flow[T]:
        """Search so that the queries name nothing that this retriever does not find."""
        bound = self._bound()
        if bound is not None or self.tenant is not None:
            backend = plan.search.backend.for_tenant(self.tenant)
            yield from require_known_flow(backend, bound, queries)
        plan = plan if bound is None else replace(plan, search=replace(plan.search, bound=bound))
        return (yield from search(plan))

    def _bound(self) -> Node | Predicate | None:
        """The filter for all that queries may name; `modalities` is none: an image may be asked about with a video."""
        return bound_of(self.filter)
