"""`GeminiEmbeddings`: text, images, audio, video and PDFs in one embedding space, as LangChain `Embeddings`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from langchain_core.embeddings import Embeddings
from pydantic import PrivateAttr

from langchain_gemini_mm.content.parts import uris_to_contents
from langchain_gemini_mm.embeddings.service.uploads import Uploads
from langchain_gemini_mm.embeddings.settings import EmbeddingSettings, EmbedRequest
from langchain_gemini_mm.embeddings.usage import EmbedPlan, Meter, Usage
from langchain_gemini_mm.interfaces import Content, Role, Vectors
from langchain_gemini_mm.models import ITEMS_PER_CALL
from langchain_gemini_mm.validation import explains_fields

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.embeddings.pipeline import EmbedPipeline


@explains_fields
class GeminiEmbeddings(EmbeddingSettings, Embeddings):
    """Gemini embeddings of text, media and interleaved content; a drop-in replacement for text-only embeddings.

    Setup:
        `pip install "langchain-gemini-mm[media]"`, and set `GOOGLE_API_KEY`.

    Key init args:
        model: the embedding model.
        media: the `MediaStore` that resolves `mm://` references.
        output_dimensionality: size of the vectors, 128 to 3072; 768, 1536 and 3072 are recommended.

    Instantiate:
        ```python
        from langchain_gemini_mm import GeminiEmbeddings, MediaStore

        embeddings = GeminiEmbeddings(media=MediaStore.memory(), output_dimensionality=768)
        ```

    Embed one content, which may consist of several parts:
        ```python
        from pathlib import Path
        from langchain_gemini_mm.testing import png

        Path("puppy.png").write_bytes(png("a brown puppy"))
        assert len(embeddings.embed_query("a small dog")) == 768
        assert len(embeddings.embed_query([Path("puppy.png"), "but sleeping"])) == 768
        ```

    Embed many contents; a nested list gives one vector:
        ```python
        vectors = embeddings.embed_documents(["a text", Path("puppy.png"), ["a caption", Path("puppy.png")]])
        assert len(vectors) == 3
        ```

    Async:
        ```python
        import asyncio

        assert len(asyncio.run(embeddings.aembed_query("a small dog"))) == 768
        ```

    Environment:
        | Variable | Purpose |
        | --- | --- |
        | `GOOGLE_API_KEY`, then `GEMINI_API_KEY` | API key |
        | `GOOGLE_GENAI_USE_VERTEXAI` | `true` or `false`: which backend |
        | `GOOGLE_CLOUD_PROJECT`, `GOOGLE_CLOUD_LOCATION` | Vertex AI |
        | `GOOGLE_GEMINI_BASE_URL`, `GOOGLE_VERTEX_BASE_URL` | base URL of the service |
        | `HTTPS_PROXY`, `SSL_CERT_FILE` | as httpx reads them |
    """

    _current: EmbedPipeline | None = PrivateAttr(default=None)
    _meter: Meter = PrivateAttr(default_factory=Meter)
    _uploads: Uploads = PrivateAttr(default_factory=Uploads)

    @property
    def fingerprint(self) -> dict[str, object]:
        """The embedding space of documents, as JSON values; vectors with equal fingerprints are comparable."""
        settings = self._pipeline.settings
        document = settings.recipes["document"]
        video = {"video": settings.sampling} if "video" in settings.targets else {}
        return {**settings.space, **video, "document_task": document.template or document.task_type or "none"}

    @property
    def usage(self) -> Usage:
        """Contents, tokens and cost since construction or the last `reset_usage`."""
        return self._meter.usage

    def reset_usage(self) -> None:
        """Set `usage` to zero."""
        self._meter.reset()

    def embed_query(
        self,
        text: Content,
        *,
        task_type: str | None = None,
        title: str | None = None,
        output_dimensionality: int | None = None,
    ) -> list[float]:
        """Embed one content as a query: a text, a file, or a list of texts and files that belong together.

        Args:
            text: the content.
            task_type: what the embedding is for, when not for search; see `tasks.TASKS`.
            title: used only where the task gives titles a place, which the default task of queries does not.
            output_dimensionality: size of the vector; that of the object by default.

        Returns:
            A vector of unit length.

        Raises:
            ContentError: the content cannot be embedded.
            QuotaError: a quota is used up.
            ServiceError: the service refused or failed.
        """
        vector: list[float] = self._pipeline.run(_query(text, task_type, title, output_dimensionality))[0].tolist()
        return vector

    async def aembed_query(
        self,
        text: Content,
        *,
        task_type: str | None = None,
        title: str | None = None,
        output_dimensionality: int | None = None,
    ) -> list[float]:
        """Async twin of `embed_query`."""
        vectors = await self._pipeline.arun(_query(text, task_type, title, output_dimensionality))
        vector: list[float] = vectors[0].tolist()
        return vector

    def embed_documents(
        self,
        texts: Sequence[Content],
        *,
        task_type: str | None = None,
        titles: Sequence[str | None] | None = None,
        output_dimensionality: int | None = None,
        batch_size: int = ITEMS_PER_CALL,
    ) -> list[list[float]]:
        """Embed contents that will be searched, one vector each, in order; a nested list is one content.

        Args:
            texts: texts or other contents.
            task_type: what the embeddings are for, when not for search; see `tasks.TASKS`.
            titles: one for each content, or None; used for contents that consist of one text.
            output_dimensionality: size of the vectors; that of the object by default.
            batch_size: most contents in one request, 1 to 100.

        Returns:
            `len(texts)` vectors of unit length.

        Raises:
            PartialEmbeddingError: some contents failed; it has the vectors of the others, and an error for each failed
                one.
            ContentError: no content can be embedded. As the next two, the error names the inputs, and `others` has
                those of inputs that failed for other reasons.
            QuotaError: a quota is used up, and no content was embedded.
            ServiceError: the service refused or failed, and no content was embedded.
        """
        request = EmbedRequest(texts, "document", task_type, titles, output_dimensionality, batch_size)
        vectors: list[list[float]] = self._pipeline.run(request).tolist()
        return vectors

    async def aembed_documents(
        self,
        texts: Sequence[Content],
        *,
        task_type: str | None = None,
        titles: Sequence[str | None] | None = None,
        output_dimensionality: int | None = None,
        batch_size: int = ITEMS_PER_CALL,
    ) -> list[list[float]]:
        """Async twin of `embed_documents`."""
        request = EmbedRequest(texts, "document", task_type, titles, output_dimensionality, batch_size)
        vectors: list[list[float]] = (await self._pipeline.arun(request)).tolist()
        return vectors

    def embed(self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None) -> Vectors:
        """Embed contents as one NumPy array.

        Args:
            contents: one row each; a nested list is one content.
            role: `"document"` for contents that will be searched, `"query"` for queries.
            task_type: what the embeddings are for, when not for search; see `tasks.TASKS`.

        Returns:
            `(n, d)` float32, rows of unit length, in the order of `contents`.

        Raises:
            PartialEmbeddingError: some contents failed; see `embed_documents`.
        """
        return self._pipeline.run(EmbedRequest(contents, role, task_type))

    async def aembed(
        self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None
    ) -> Vectors:
        """Async twin of `embed`."""
        return await self._pipeline.arun(EmbedRequest(contents, role, task_type))

    def plan(
        self,
        contents: Sequence[Content],
        *,
        role: Role = "document",
        task_type: str | None = None,
        batch_size: int = ITEMS_PER_CALL,
        convert: bool = True,
    ) -> EmbedPlan:
        """Prepare contents as `embed` does, and count what would be sent; nothing is.

        ```python
        from langchain_gemini_mm import GeminiEmbeddings

        planned = GeminiEmbeddings().plan(["a small dog", "a cat", "a small dog"])
        assert (planned.calls, planned.items) == (1, 2)
        ```

        Args:
            contents: one vector each; a nested list is one content.
            role: `"document"` or `"query"`.
            task_type: what the embeddings are for, when not for search.
            batch_size: most contents in one request.
            convert: cut and convert media to count exactly what is sent. Otherwise the sizes and durations of media
                that are cut or converted are estimated, which is fast.
        """
        request = EmbedRequest(contents, role, task_type, batch_size=batch_size)
        return self._pipeline.plan(request, convert=convert)

    def embed_images(self, uris: Sequence[str | Path]) -> list[list[float]]:
        """Embed files by path, one vector each; Chroma, AlloyDB and other stores call this method."""
        return self.embed_documents(uris_to_contents(uris))

    def embed_image(self, uris: Sequence[str | Path]) -> list[list[float]]:
        """Same as `embed_images`, under the name that some stores call."""
        return self.embed_images(uris)

    async def aembed_images(self, uris: Sequence[str | Path]) -> list[list[float]]:
        """Async twin of `embed_images`."""
        return await self.aembed_documents(uris_to_contents(uris))

    async def aembed_image(self, uris: Sequence[str | Path]) -> list[list[float]]:
        """Async twin of `embed_image`."""
        return await self.aembed_images(uris)

    def close(self) -> None:
        """Delete uploads and close connections; the object can be used again and reconnects then."""
        if self._current is not None:
            self._uploads.delete(self._current.service.connections)
            self._current.service.close()

    async def aclose(self) -> None:
        """Async twin of `close`, also for the connections of the running event loop."""
        if self._current is not None:
            await asyncio.to_thread(self._uploads.delete, self._current.service.connections)
            await self._current.service.aclose()

    def __enter__(self) -> Self:
        """Close at the end of a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Close at the end of an `async with` block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.aclose()

    @property
    def _pipeline(self) -> EmbedPipeline:
        """The pipeline for the fields as they are now; a changed field makes a new one."""
        pipeline = self._current
        if pipeline is None or pipeline.fields != self.__dict__:
            with _renewing:
                pipeline = self._renewed()
        return pipeline

    def _renewed(self) -> EmbedPipeline:
        """Resolve the fields again; connections are kept unless the service is reached in another way."""
        from langchain_gemini_mm.embeddings.pipeline import EmbedPipeline
        from langchain_gemini_mm.embeddings.service.service import GeminiService

        settings = self._service_settings()
        service = None if self._current is None else self._current.service
        if service is None or service.settings != settings or service.connections.given is not self.client:
            service = GeminiService(settings, self.client)
        self._current = EmbedPipeline(
            fields=dict(self.__dict__),
            settings=self._resolve(),
            service=service,
            uploads=self._uploads,
            meter=self._meter,
            cache=self.cache,
            concurrency=self.max_concurrency,
            batch_bytes=min(self.batch_bytes, self.inline_limit),
            budget_usd=self.budget_usd,
            on_wait=self.on_wait,
        )
        return self._current


_renewing = threading.Lock()


def _query(text: Content, task_type: str | None, title: str | None, dimensions: int | None) -> EmbedRequest:
    return EmbedRequest([text], "query", task_type, None if title is None else [title], dimensions, urgent=True)
