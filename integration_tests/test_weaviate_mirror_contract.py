"""`mirror` on a Weaviate server does what it does with other stores: the tests of `tests.sync.test_mirror`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import GeminiEmbeddings, MediaStore, MultimodalRetriever, WeaviateVectorStore
from tests.conftest import emulator, emulator_server  # noqa: F401 - fixtures
from tests.sync import test_mirror
from tests.sync.conftest import call, mirrored  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from weaviate import WeaviateAsyncClient, WeaviateClient

    from langchain_gemini_mm.testing import GeminiEmulator

pytestmark = pytest.mark.weaviate

globals().update({name: test for name, test in vars(test_mirror).items() if name.startswith("test_")})


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
