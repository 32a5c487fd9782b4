"""What a store offers beside adding and searching: new metadata for old vectors, and moving as a plain folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_gemini_mm.batching import positive
from langchain_gemini_mm.flows import Call, Flow, arun, blocking, run
from langchain_gemini_mm.vectorstores.backend import Primitives
from langchain_gemini_mm.vectorstores.embedding_space import require_dimensions, require_space
from langchain_gemini_mm.vectorstores.export import Writer, checked_manifest, records_in
from langchain_gemini_mm.vectorstores.revising import Changes, revise_flow
from langchain_gemini_mm.vectorstores.write import BATCH_SIZE, Progress

_PAGE_SIZE = 1000


class Portable(Primitives):
    """Methods that need nothing but the primitives of a store."""

    def update_metadata(
        self, ids: Iterable[str] | Changes, metadata: Mapping[str, Any] | None = None, *, replace: bool = False
    ) -> None:
        """Change the metadata of stored documents; nothing is embedded, and they can be found all the while.

        ```python
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
        store.add_texts(["a cat", "a dog"], [{"page": 1}, {"page": 2}], ids=["cat", "dog"])
        store.update_metadata(["cat", "dog"], {"seen": True})
        store.update_metadata({"cat": {"page": 7}, "dog": {"page": 8}})
        assert store.get_by_ids(["cat"])[0].metadata == {"page": 7, "seen": True}
        ```

        Args:
            ids: the documents, or a dict of metadata by id.
            metadata: for each of `ids`.
            replace: put it in the place of all the old metadata. Otherwise the keys given are set and the others stay;
                a value is never merged into a value.

        Raises:
            ContentError: an id is not stored, or metadata is not JSON; then nothing is changed.
        """
        run(revise_flow(self, ids, metadata, replace=replace))

    async def aupdate_metadata(
        self, ids: Iterable[str] | Changes, metadata: Mapping[str, Any] | None = None, *, replace: bool = False
    ) -> None:
        """Async twin of `update_metadata`."""
        await arun(revise_flow(self, ids, metadata, replace=replace))

    def export_to(self, folder: str | os.PathLike[str]) -> int:
        """Write the collection as a plain folder: JSON lines, one `.npy` array and a manifest; see `exporting`.

        Works in batches, so memory stays flat. Media are not copied. What is added or deleted meanwhile may be in it or
        not; what is there all the time is in it once.

        Returns:
            How many documents were written.

        Raises:
            StoreError: the folder holds something else, or cannot be written.
        """
        return run(self._exported(folder))

    async def aexport_to(self, folder: str | os.PathLike[str]) -> int:
        """Async twin of `export_to`."""
        return await arun(self._exported(folder))

    def import_from(
        self, folder: str | os.PathLike[str], *, batch_size: int = BATCH_SIZE, progress: Progress | None = None
    ) -> int:
        """Add everything from a folder of `export_to`; nothing is embedded.

        Batches are stored one by one. Whatever stopped it, running it again is safe and completes it.

        Args:
            folder: a whole export of a collection with the same embeddings.
            batch_size: how many documents are stored together.
            progress: called after each batch with the number of documents stored so far.

        Returns:
            How many documents were read.

        Raises:
            StoreError: the folder is not whole, or was changed; nothing is added then.
            SpaceMismatchError: the vectors are of other embeddings; nothing is added then.
        """
        return run(self._imported(folder, positive("batch_size", batch_size), progress))

    async def aimport_from(
        self, folder: str | os.PathLike[str], *, batch_size: int = BATCH_SIZE, progress: Progress | None = None
    ) -> int:
        """Async twin of `import_from`."""
        return await arun(self._imported(folder, positive("batch_size", batch_size), progress))

    def _exported(self, folder: str | os.PathLike[str]) -> Flow[int]:
        fingerprint = yield Call(self._read_info, self._aread_info, ("fingerprint",))
        writer: Writer = yield blocking(Writer, folder)
        try:
            after: str | None = None
            while records := (yield Call(self._page, self._apage, (after, _PAGE_SIZE, None, True, True))):
                yield blocking(writer.add, records)
                after = records[-1].id
            count: int = yield blocking(writer.finish, fingerprint)
        finally:
            writer.close()
        return count

    def _imported(self, folder: str | os.PathLike[str], batch_size: int, progress: Progress | None) -> Flow[int]:
        manifest = yield blocking(checked_manifest, folder)
        if not manifest.count:
            return 0
        name = f"the export {os.fspath(folder)!r}"
        fingerprint = self.space.fingerprint
        require_space(name, manifest.fingerprint, fingerprint)
        stored = yield Call(self._read_info, self._aread_info, ("dimensions",))
        require_dimensions(name, manifest.dimensions, stored or manifest.dimensions)
        batches = records_in(folder, batch_size)
        count = 0
        try:
            while records := (yield blocking(next, batches, None)):
                yield Call(self._upsert, self._aupsert, (records, fingerprint))
                count += len(records)
                if progress is not None:
                    progress(count)
        finally:
            batches.close()
        return count
