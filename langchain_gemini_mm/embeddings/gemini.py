"""`GeminiEmbeddings`: text, pictures, sound, video and PDFs in one space, behind LangChain's `Embeddings`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from langchain_core.embeddings import Embeddings
from pydantic import PrivateAttr

from langchain_gemini_mm._making import Maker
from langchain_gemini_mm.embeddings.pipeline import EmbedJob, EmbedPipeline, call_limits
from langchain_gemini_mm.embeddings.preparation import Preparation
from langchain_gemini_mm.embeddings.service.service import GeminiService
from langchain_gemini_mm.embeddings.service.uploads import Uploads
from langchain_gemini_mm.embeddings.settings import EmbeddingSettings, all_plain, check_sequence, uris_to_contents
from langchain_gemini_mm.embeddings.tasks import recipe
from langchain_gemini_mm.embeddings.usage import Meter, Usage
from langchain_gemini_mm.interfaces import Content, Role, Vectors
from langchain_gemini_mm.models import ITEMS_PER_CALL

if TYPE_CHECKING:
    from pathlib import Path

PREPARATION = "1"
"""Version of how media are prepared before they are sent; a part of the fingerprint."""


class GeminiEmbeddings(EmbeddingSettings, Embeddings):
    """Gemini embeddings of any content: a drop-in for text-only embeddings that also takes interleaved media.

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

    Embed one thing, which may be several pieces that belong together:
        ```python
        from pathlib import Path
        from langchain_gemini_mm.testing import png

        Path("puppy.png").write_bytes(png("a brown puppy"))
        assert len(embeddings.embed_query("a small dog")) == 768
        assert len(embeddings.embed_query([Path("puppy.png"), "but sleeping"])) == 768
        ```

    Embed many; a nested list is one vector:
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
        | `GOOGLE_GEMINI_BASE_URL`, `GOOGLE_VERTEX_BASE_URL` | another address of the service |
        | `HTTPS_PROXY`, `SSL_CERT_FILE` | as httpx reads them |
    """

    _service: GeminiService | None = PrivateAttr(default=None)
    _meter: Meter = PrivateAttr(default_factory=Meter)
    _uploads: Uploads = PrivateAttr(default_factory=Uploads)

    @property
    def fingerprint(self) -> dict[str, object]:
        """The space of the document vectors; vectors are comparable when fingerprints are equal."""
        words = recipe(self._spec, "document", self.task_type)
        return {**self._space(self._sized(None)), "document_task": words.template or words.task_type or "none"}

    @property
    def usage(self) -> Usage:
        """What was embedded since construction or `reset_usage`, with estimated tokens and money."""
        return self._meter.usage

    def reset_usage(self) -> None:
        """Count from zero again."""
        self._meter.reset()

    def embed_query(
        self,
        text: Content,
        *,
        task_type: str | None = None,
        title: str | None = None,
        output_dimensionality: int | None = None,
    ) -> list[float]:
        """Embed one content as a question: a text, a file, or a list of pieces that belong together.

        Raises:
            ContentError: the content cannot be embedded.
            QuotaError: a quota is used up.
            ServiceError: the service refused or failed.
        """
        job = self._job([text], "query", task_type, [title], output_dimensionality)
        vector: list[float] = self._pipeline().run(job)[0].tolist()
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
        job = await self._ajob([text], "query", task_type, [title], output_dimensionality)
        vector: list[float] = (await self._pipeline().arun(job))[0].tolist()
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
        """Embed contents to be searched, one vector each, in order; a nested list is one content.

        Args:
            texts: texts or other contents.
            task_type: what for, when not for searching.
            titles: one for each text; used where a text stands alone in its content.
            output_dimensionality: size of the vectors, when not the object's own.
            batch_size: most contents in one request, 1 to 100.

        Raises:
            ContentError: a content cannot be embedded; the message says which.
            QuotaError: a quota is used up.
            ServiceError: the service refused or failed.
        """
        job = self._job(texts, "document", task_type, titles, output_dimensionality)
        vectors: list[list[float]] = self._pipeline(batch_size).run(job).tolist()
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
        job = await self._ajob(texts, "document", task_type, titles, output_dimensionality)
        vectors: list[list[float]] = (await self._pipeline(batch_size).arun(job)).tolist()
        return vectors

    def embed(self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None) -> Vectors:
        """Embed contents to one array: `(n, d)` float32, unit rows, in order.

        Args:
            contents: one vector each; a nested list is one content.
            role: which side of a search they stand on.
            task_type: what for, when not for searching.
        """
        return self._pipeline().run(self._job(contents, role, task_type))

    async def aembed(
        self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None
    ) -> Vectors:
        """Async twin of `embed`."""
        return await self._pipeline().arun(await self._ajob(contents, role, task_type))

    def embed_images(self, uris: Sequence[str | Path]) -> list[list[float]]:
        """Embed files by path, one vector each; the duck type that Chroma, AlloyDB and others look for."""
        return self.embed_documents(uris_to_contents(uris))

    def embed_image(self, uris: Sequence[str | Path]) -> list[list[float]]:
        """The same as `embed_images`, by the name that some stores call."""
        return self.embed_images(uris)

    async def aembed_images(self, uris: Sequence[str | Path]) -> list[list[float]]:
        """Async twin of `embed_images`."""
        return await self.aembed_documents(uris_to_contents(uris))

    async def aembed_image(self, uris: Sequence[str | Path]) -> list[list[float]]:
        """Async twin of `embed_image`."""
        return await self.aembed_images(uris)

    def close(self) -> None:
        """Delete uploads and close connections; the object can be used again, and connects anew."""
        self._uploads.delete(lambda: self._connection.client)
        if self._service is not None:
            self._service.close()

    async def aclose(self) -> None:
        """Async twin of `close`, also for the connections of the running event loop."""
        await asyncio.to_thread(self._uploads.delete, lambda: self._connection.client)
        if self._service is not None:
            await self._service.aclose()

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

    def _space(self, dimensions: int) -> dict[str, object]:
        preparation = f"{PREPARATION} {self._options.recipe}".rstrip()
        return {"model": self._spec.name, "dimensions": dimensions, "preparation": preparation}

    def _job(
        self,
        contents: Sequence[Content],
        role: Role,
        task: str | None,
        titles: Sequence[str | None] | None = None,
        output_dimensionality: int | None = None,
    ) -> EmbedJob:
        dimensions = self._sized(output_dimensionality)
        preparation = Preparation(
            spec=self._limits,
            backend=self.backend,
            options=self._options,
            recipe=recipe(self._spec, role, task if task is not None else self.task_type),
            media=self.media,
            unresolved=self.unresolved,
        )
        items = preparation.items(check_sequence(contents), titles)
        space = self._space(dimensions)
        keys = [item.key(space, self.media) for item in items] if self.cache is not None else []
        return EmbedJob(items=items, dimensions=dimensions, keys=keys)

    async def _ajob(self, contents: Sequence[Content], *how: Any) -> EmbedJob:
        if all_plain(contents) and self.cache is None:
            return self._job(contents, *how)
        return await asyncio.to_thread(self._job, contents, *how)

    def _pipeline(self, batch_size: int = ITEMS_PER_CALL) -> EmbedPipeline:
        service = self._connection
        return EmbedPipeline(
            service=service,
            uploads=self._uploads,
            maker=Maker(
                spec=self._limits,
                backend=self.backend,
                options=self._options,
                media=self.media,
                inline_limit=self.inline_limit,
            ),
            meter=self._meter,
            budget_usd=self.budget_usd,
            spec=self._spec,
            media=self.media,
            cache=self.cache,
            concurrency=self.max_concurrency,
            limits=call_limits(
                service, batch_size=batch_size, batch_bytes=self.batch_bytes, check_order=self.check_order
            ),
            inline_limit=self.inline_limit,
            check_order=self.check_order,
        )

    @property
    def _connection(self) -> GeminiService:
        """The service for the fields as they are now; a changed field connects anew."""
        settings = self._service_settings()
        with _connecting:
            if self._service is None or self._service.settings != settings:
                self._service = GeminiService(settings, self.client)
            return self._service


_connecting = threading.Lock()
