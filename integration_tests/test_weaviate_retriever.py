"""`MultimodalRetriever` on Weaviate: the same results as on the local store, and tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import LocalVectorStore, MultimodalRetriever, Query, WeaviateVectorStore
from langchain_gemini_mm.ranking import LabelledQuery, calibrate, sample_background
from langchain_gemini_mm.vectorstores import MultimodalVectorStore
from tests.vectorstores.contract_base import Call, ids_of
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient, WeaviateClient

pytestmark = pytest.mark.weaviate

THINGS = ("cat", "dog", "report", "summary", "wind", "rain", "small", "black", "quarterly", "noise")
MODALITIES = ("text", "image", "audio", "video")


def documents() -> list[Document]:
    """Every pair of things in every modality, in files of four segments."""
    made = []
    for number, (one, two) in enumerate((a, b) for a in THINGS for b in THINGS if a != b):
        modality = MODALITIES[number % 4]
        where = {
            "source": f"{modality}-{number // 16}",
            "start_s": number % 16 * 10.0,
            "end_s": number % 16 * 10.0 + 10,
        }
        made.append(Document(id=f"{number}", page_content=f"{one} {two}", metadata={"modality": modality, **where}))
    return made


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture
def stores(
    weaviate_client: WeaviateClient, weaviate_async_client: WeaviateAsyncClient, weaviate_name: str
) -> tuple[MultimodalVectorStore, MultimodalVectorStore]:
    """The same documents on Weaviate and in a file."""
    theirs = WeaviateVectorStore(
        weaviate_client, weaviate_name, WordEmbeddings(), async_client=weaviate_async_client, index="flat"
    )
    ours = LocalVectorStore(":memory:", WordEmbeddings())
    for store in (theirs, ours):
        store.add_documents(documents())
    return theirs, ours


ASKED: dict[str, dict[str, Any]] = {
    "raw": {"ranking": "raw"},
    "normalized": {"ranking": "normalized"},
    "calibrated": {"ranking": "calibrated"},
    "of two modalities": {"ranking": "normalized", "modalities": ["image", "audio"]},
    "of one source": {"ranking": "normalized", "filter": {"source": {"$in": ["text-0", "video-1"]}}},
    "sure": {"ranking": "normalized", "min_confidence": 0.5},
    "nothing is said": {},
}


@pytest.mark.parametrize("name", ASKED)
async def test_answers_are_those_of_the_local_store(
    stores: tuple[MultimodalVectorStore, MultimodalVectorStore], call: Call, name: str
) -> None:
    """A query has the same hits, scores and confidences on both stores."""
    labelled = [LabelledQuery(f"{a} {b}", {str(n)}) for n, (a, b) in ((0, ("cat", "dog")), (13, ("dog", "wind")))]
    labelled += [LabelledQuery("submarine yellow", [])]
    answers = []
    for store in stores:
        sample_background(store, per_modality=1000)
        calibrate(store, labelled)
        options = {key: value for key, value in ASKED[name].items() if key != "filter"}
        only = {key: value for key, value in ASKED[name].items() if key == "filter"}  # as a field, it would hide "8"
        retriever = MultimodalRetriever(store=store, k=6, **options)
        hits = await call(retriever, "search", "dog black", **only)
        liked = await call(retriever, "search", Query("dog", like=["3"], unlike=["8"]), **only)
        answers.append([(hit.score, hit.cosine, hit.confidence) for hit in [*hits, *liked]])
    for mine, other in zip(*answers, strict=True):  # hits with equal scores may be in any order
        assert mine == pytest.approx(other, abs=2e-3)
    assert answers[0] or name == "sure"


async def test_modalities_sources_and_neighbours(
    stores: tuple[MultimodalVectorStore, MultimodalVectorStore], call: Call
) -> None:
    """The nearest hits of each modality, files with their moments, and the context of a hit."""
    theirs, ours = (MultimodalRetriever(store=store, ranking="raw", k=3) for store in stores)
    groups = await call(theirs, "by_modality", "dog black", k=2)
    expected = await call(ours, "by_modality", "dog black", k=2)
    assert {modality: [hit.score for hit in hits] for modality, hits in groups.items()} == {
        modality: pytest.approx([hit.score for hit in hits], abs=1e-4) for modality, hits in expected.items()
    }
    found = await call(theirs, "sources", "dog black", per_source=2)
    assert len(found) == 3
    assert all(1 <= len(source.hits) <= 2 and source.moments for source in found)
    (document,) = theirs.store.get_by_ids(["21"])
    around = await call(theirs, "context", document, before=2, after=1)
    assert ids_of(around) == ids_of(await call(ours, "context", document, before=2, after=1))
    assert "21" in ids_of(around)


async def test_tenants(
    weaviate_client: WeaviateClient, weaviate_async_client: WeaviateAsyncClient, weaviate_name: str, call: Call
) -> None:
    """A call or the retriever names the tenant to search."""
    store = WeaviateVectorStore(
        weaviate_client, weaviate_name, WordEmbeddings(), async_client=weaviate_async_client, multi_tenant=True
    )
    red = MultimodalRetriever(store=store, tenant="red", k=2)
    await call(red, "add", "a red cat", "a red dog")
    await call(MultimodalRetriever(store=store, tenant="blue"), "add", "a blue cat")
    anyone = MultimodalRetriever(store=store, k=2)
    assert {d.page_content for d in await call(red, "invoke", "a cat")} == {"a red cat", "a red dog"}
    assert [d.page_content for d in await call(anyone, "invoke", "a cat", tenant="blue")] == ["a blue cat"]
    assert [d.page_content for d in await call(red, "invoke", "a cat", tenant="blue")] == ["a blue cat"]
    for tenant, expected in (("red", 2), ("blue", 1)):
        hits = await call(anyone, "search", "a cat", tenant=tenant, ranking="normalized")
        assert [hit.score_kind for hit in hits] == ["deviation"] * expected
        assert store.with_tenant(tenant).backend is store.with_tenant(tenant).backend
        samples = store.with_tenant(tenant).get_info("ranking_background")["kinds"]
        assert sum(sample["count"] for sample in samples.values()) == expected
