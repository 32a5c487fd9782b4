"""`mirror` and `watch` on a Weaviate server do what they do with other stores: the tests of `tests.sync`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import GeminiEmbeddings, MediaStore, MultimodalRetriever, WeaviateVectorStore
from tests.conftest import emulator, emulator_server  # noqa: F401 - fixtures
from tests.sync import test_captions, test_linked_images, test_mirror, test_paths, test_segments, test_watch
from tests.sync.conftest import call, mirrored, run  # noqa: F401 - fixtures
from tests.sync.test_captions import describe, describing  # noqa: F401 - fixtures
from tests.sync.test_linked_images import page  # noqa: F401 - fixture
from tests.sync.test_watch import later, watched  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from weaviate import WeaviateAsyncClient, WeaviateClient

    from langchain_gemini_mm.testing import GeminiEmulator

pytestmark = pytest.mark.weaviate

for module in (test_captions, test_linked_images, test_mirror, test_paths, test_segments, test_watch):
    globals().update({name: test for name, test in vars(module).items() if name.startswith("test_")})


@pytest.fixture
async def retriever(
    weaviate_client: WeaviateClient,
    weaviate_async_client: WeaviateAsyncClient,
    weaviate_name: str,
    emulator: GeminiEmulator,  # noqa: F811 - requested here
    tmp_path: Path,
) -> AsyncIterator[MultimodalRetriever]:
    """A retriever of an empty collection."""
    with GeminiEmbeddings(media=MediaStore(tmp_path / "media"), output_dimensionality=128) as embeddings:
        store = WeaviateVectorStore(weaviate_client, weaviate_name, embeddings, async_client=weaviate_async_client)
        yield MultimodalRetriever(store=store)
