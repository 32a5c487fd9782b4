"""`MultimodalRetriever`: queries with any content return Documents, in LangChain's chains and traces."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from PIL import Image

from langchain_gemini_mm import (
    ContentError,
    GeminiEmbeddings,
    LocalVectorStore,
    MediaStore,
    MultimodalRetriever,
    Query,
)
from langchain_gemini_mm.retrievers.search_options import SearchOptions
from langchain_gemini_mm.testing import png
from tests.vectorstores.contract_base import Call

if TYPE_CHECKING:
    from pathlib import Path

PUPPY, RED = "pictures/puppy.png", "colours/red.png"


def sources_of(documents: list[Document]) -> list[str]:
    """Return the names of the files."""
    return [document.metadata["source"] for document in documents]


def id_of(store: LocalVectorStore, source: str) -> str:
    """Return the id of the only document of a file."""
    (document,) = store.iterate(filter={"source": source})
    return str(document.id)


CONTENTS: dict[str, Any] = {
    "a path": lambda path, media: path,
    "bytes": lambda path, media: path.read_bytes(),
    "a blob": lambda path, media: Blob.from_path(path),
    "a PIL image": lambda path, media: Image.open(io.BytesIO(path.read_bytes())),
    "a reference": lambda path, media: media.put_file(path),
    "a content block": lambda path, media: {"type": "image", "url": media.put_file(path).uri},
    "a message": lambda path, media: HumanMessage([{"type": "image", "url": media.put_file(path).uri}]),
    "a document": lambda path, media: media.document(path),
    "a list": lambda path, media: [path],
    "a query": lambda path, media: Query(path),
}


@pytest.mark.parametrize("name", CONTENTS)
async def test_any_content_is_a_query(
    retriever: MultimodalRetriever, library: MediaStore, samples: Path, call: Call, name: str
) -> None:
    """An image finds itself first, in whatever form it is passed."""
    query = CONTENTS[name](samples / RED, library)
    assert sources_of(await call(retriever, "invoke", query))[0] == RED


async def test_text_and_image_together(retriever: MultimodalRetriever, samples: Path, call: Call) -> None:
    """A list is one query."""
    found = await call(retriever, "invoke", [samples / PUPPY, "but sleeping"], modalities=["image"], k=3)
    assert "pictures/sleeping-puppy.png" in sources_of(found)


async def test_like_and_unlike(retriever: MultimodalRetriever, store: LocalVectorStore, call: Call) -> None:
    """A query by stored documents does not find these documents."""
    liked, disliked = id_of(store, PUPPY), id_of(store, "pictures/sleeping-puppy.png")
    found = await call(retriever, "invoke", Query(like=[liked], unlike=[disliked], weights=[1, 0.2]), k=9)
    assert not {liked, disliked} & {document.id for document in found}
    with pytest.raises(ContentError, match="ids that are not stored: 'nothing'"):
        await call(retriever, "invoke", Query(like=["nothing"]))


async def test_two_vectors_or_one(retriever: MultimodalRetriever, samples: Path, call: Call) -> None:
    """The parts of a query are one vector; separate parts are weighted, and a weight of 0 excludes one."""
    pizza, waves = samples / "pictures/pizza.png", "waves at the sea"
    both = await call(retriever, "search", Query(pizza, waves), k=5)
    apart = await call(retriever, "search", Query(pizza, waves, separate=True), k=5)
    alone = await call(retriever, "search", Query(pizza, waves, separate=True, weights=[1, 0]), k=5)
    only = await call(retriever, "search", pizza, k=5)
    assert [hit.score for hit in both] != [hit.score for hit in apart]
    assert [hit.document for hit in alone] == [hit.document for hit in only]
    assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in only], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"search_type": "mmr", "fetch_k": 9, "lambda_mult": 0.3},
            {"search_type": "mmr", "fetch_k": 9, "lambda_mult": 0.3},
        ),
        (
            {"search_type": "hybrid", "alpha": 0.3, "fusion": "scores"},
            {"search_type": "hybrid", "alpha": 0.3, "fusion": "scores"},
        ),
        ({"search_type": "keyword"}, {"search_type": "keyword"}),
        ({"score_threshold": 0.3}, {"score_threshold": 0.3}),
        ({"task_type": "question answering"}, {"task_type": "question answering"}),
        ({"filter": {"title": "waves"}}, {"filter": {"title": "waves"}}),
        ({"modalities": ["pdf", "audio"]}, {"filter": {"modality": {"$in": ["pdf", "audio"]}}}),
        (
            {"filter": {"source": {"$in": ["papers/birds.pdf"]}}, "modalities": ["pdf"]},
            {"filter": {"source": "papers/birds.pdf", "modality": "pdf"}},
        ),
        ({"filter": lambda document: "waves" in document.metadata["source"]}, None),
    ],
)
async def test_options_are_those_of_the_store(
    store: LocalVectorStore, call: Call, options: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    """An option of the retriever or of a call has the meaning it has in `store.search`."""
    hits = store.search("waves", k=3, **(options if expected is None else expected))
    mine = MultimodalRetriever(store=store, k=3, ranking="raw" if "search_type" not in options else None, **options)
    found = await call(mine, "search", "waves")
    assert [hit.document for hit in found] == [hit.document for hit in hits]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in hits], abs=1e-6)
    plain = MultimodalRetriever(store=store, k=1)
    given = {"ranking": "raw", **options} if "search_type" not in options else options
    assert await call(plain, "invoke", "waves", **given, k=3) == [hit.document for hit in hits]
    assert hits


async def test_by_modality(retriever: MultimodalRetriever, call: Call) -> None:
    """The nearest documents of each modality are returned separately."""
    found = await call(retriever, "by_modality", "a cat purring")
    assert set(found) == {"text", "image", "audio", "video", "pdf"}
    assert all(len(hits) == 1 and hits[0].document.metadata["modality"] == modality for modality, hits in found.items())
    assert found["audio"][0].document.metadata["source"] == "sounds/purring.wav"
    two = await call(retriever, "by_modality", "a cat purring", k=2, modalities=["image", "audio"])
    assert {modality: len(hits) for modality, hits in two.items()} == {"image": 2, "audio": 2}


async def test_a_batch_embeds_once(retriever: MultimodalRetriever, emulator: Any, call: Call) -> None:
    """The queries of a batch are embedded in one request, and each is a run of its own."""
    before = len(emulator.requests)
    seen = Recorder()
    found = await call(retriever, "batch", ["waves", "a cat", "waves"], {"callbacks": [seen]}, k=1)
    assert len(emulator.requests) == before + 1
    assert sources_of([documents[0] for documents in found])[0] == sources_of([found[2][0]])[0]
    # LangChain starts the runs of a batch at once, in any order.
    assert sorted(seen.queries) == ["a cat", "waves", "waves"]


async def test_one_failure_of_a_batch(retriever: MultimodalRetriever, call: Call) -> None:
    """With `return_exceptions=True` one query can fail alone."""
    found = await call(retriever, "batch", ["waves", ""], return_exceptions=True)
    assert len(found[0]) == 3
    assert isinstance(found[1], ContentError)


class Recorder(BaseCallbackHandler):
    """Records what callbacks and traces receive."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.documents: list[Any] = []
        self.metadata: dict[str, Any] = {}

    def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
        """Record the query."""
        self.queries.append(query)
        self.metadata = kwargs.get("metadata", {})

    def on_retriever_end(self, documents: Any, **_: Any) -> None:
        """Record the documents."""
        self.documents = list(documents)


async def test_traces_have_no_payload(
    retriever: MultimodalRetriever, library: MediaStore, samples: Path, call: Call
) -> None:
    """Callbacks receive the text of a query, references, and the types of anything else."""
    seen = Recorder()
    data = (samples / PUPPY).read_bytes()
    await call(retriever, "invoke", [data, "but sleeping", samples / PUPPY], {"callbacks": [seen]})
    assert seen.queries == ["<bytes>, but sleeping, <puppy.png>"]
    block = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    image = {"type": "image", "url": library.put(data).uri}
    message = HumanMessage([{"type": "text", "text": "like this"}, image])
    await call(retriever, "invoke", message, {"callbacks": [seen]})
    assert seen.queries[-1] == "like this, <image>"
    with pytest.raises(ContentError):
        await call(retriever, "invoke", [block], {"callbacks": [seen]})
    assert "iVBOR" not in seen.queries[-1]
    assert all(len(document.page_content) < 2000 for document in seen.documents)
    assert seen.metadata["ls_vector_store_provider"] == "LocalVectorStore"
    assert seen.metadata["ls_embedding_provider"] == "GeminiEmbeddings"


async def test_in_a_chain(retriever: MultimodalRetriever, call: Call) -> None:
    """The retriever works in a chain, and the chain's config can set its fields."""
    configurable = retriever.configurable_fields(
        k=ConfigurableField(id="k"), modalities=ConfigurableField(id="modalities")
    )
    prompt = ChatPromptTemplate.from_template("{found}\n{question}")
    chain: Any = {"found": configurable | sources_of, "question": RunnableLambda(lambda text: text)} | prompt
    config = {"configurable": {"k": 1, "modalities": ["audio"]}}
    answer = await call(chain, "invoke", "waves", config)
    assert answer.to_messages()[0].content == "['sounds/waves.wav']\nwaves"
    assert [len(found) for found in retriever.stream("waves")] == [3]


NEEDS_OURS: dict[str, dict[str, Any]] = {
    "search_type='hybrid'": {"search_type": "hybrid"},
    "search_type='mmr'": {"search_type": "mmr"},
    "ranking='normalized'": {"ranking": "normalized"},
    "modalities": {"modalities": ["text"]},
    "min_confidence": {"min_confidence": 0.5},
    "score_threshold": {"score_threshold": 0.5},
}


@pytest.mark.parametrize("what", NEEDS_OURS)
async def test_what_another_store_lacks_fails_by_name(call: Call, what: str) -> None:
    """Similarity search works with any store; other options name the store they need."""
    theirs = InMemoryVectorStore.from_texts(["a cat", "a dog"], DeterministicFakeEmbedding(size=8))
    retriever = MultimodalRetriever(store=theirs)
    assert len(await call(retriever, "invoke", "a dog", k=1)) == 1
    with pytest.raises(
        TypeError, match=rf"{what}.* needs LocalVectorStore or WeaviateVectorStore.*InMemoryVectorStore"
    ):
        await call(retriever, "invoke", "a dog", **NEEDS_OURS[what])


async def test_another_store_is_searched_with_images(
    embeddings: GeminiEmbeddings, media: MediaStore, call: Call
) -> None:
    """With our embeddings any store can be searched with any content; other embeddings are named in the error."""
    retriever = MultimodalRetriever(store=InMemoryVectorStore(embeddings), k=1)
    await call(retriever, "add", png("a puppy"), png("a pizza"), ["a recipe with", png("an apple")])
    (found,) = await call(retriever, "invoke", [png("a puppy"), "a dog"])
    assert media.get(found.page_content.strip("![]()")) == png("a puppy")
    (hit,) = await call(retriever, "search", "a pizza", task_type="question answering")
    assert (hit.score_kind, hit.cosine) == ("rank", None)
    deaf = MultimodalRetriever(store=InMemoryVectorStore(DeterministicFakeEmbedding(size=8)))
    with pytest.raises(ContentError, match="DeterministicFakeEmbedding, which takes one text"):
        await call(deaf, "invoke", png("a puppy"))
    with pytest.raises(TypeError, match=r"Query\(like=.*needs LocalVectorStore"):
        await call(retriever, "invoke", Query(like=["x"]))


MISTAKES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"k": 0}, ValueError, "k must be an int >= 1, got 0"),
    ({"kk": 1}, TypeError, r"no option 'kk'. Did you mean 'k'\?"),
    ({"modalites": ["image"]}, TypeError, r"Did you mean 'modalities'\?"),
    ({"modalities": "image"}, TypeError, r"write modalities=\['image'\]"),
    ({"modalities": ["picture", "imag"]}, ValueError, "there is no modality 'picture'"),
    ({"modalities": ["imag"]}, ValueError, r"Did you mean 'image'\?"),
    ({"modalities": []}, ValueError, "modalities is empty"),
    ({"search_type": "similar"}, ValueError, "search_type 'similar' is not among .*Did you mean 'similarity'"),
    ({"ranking": "fair"}, ValueError, "ranking must be one of 'raw', 'normalized', 'calibrated', got 'fair'"),
    ({"min_confidence": 2, "ranking": None}, ValueError, "min_confidence must be a number from 0 to 1, got 2"),
    ({"min_confidence": 0.5}, ValueError, "does not go with ranking='raw'.* Use score_threshold"),
    ({"search_type": "mmr", "ranking": "normalized"}, ValueError, "of search_type='similarity', got search_type='mmr'"),
    ({"tenant": "red"}, TypeError, "LocalVectorStore has no tenants, got tenant='red'"),
    ({"score_threshold": 3}, ValueError, "score_threshold must be a number from -1 to 1"),
    ({"filter": {"$near": 1}}, Exception, "near"),
]


@pytest.mark.parametrize(("options", "error", "message"), MISTAKES)
async def test_mistakes_are_named(
    retriever: MultimodalRetriever, call: Call, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """An error names the wrong option of a call, and the nearest existing one."""
    with pytest.raises(error, match=message):
        await call(retriever, "invoke", "waves", **options)


@pytest.mark.parametrize("nothing", [None, "", [], 5, b""])
async def test_empty_queries_are_refused(retriever: MultimodalRetriever, call: Call, nothing: Any) -> None:
    """Empty queries and values that are not content are refused."""
    with pytest.raises(ContentError):
        await call(retriever, "invoke", nothing)


def test_mistakes_in_the_constructor(store: LocalVectorStore) -> None:
    """Wrong options of the constructor are refused at once."""
    for options in ({"k": 0}, {"kk": 3}, {"search_type": "similar"}, {"ranking": "fair"}, {"modalities": ["imag"]}):
        with pytest.raises((TypeError, ValueError), match=r"k|search_type|ranking|modality|modalities"):
            MultimodalRetriever(store=store, **options)
    with pytest.raises(ValueError, match="store"):
        MultimodalRetriever(store="index.db")  # type: ignore[arg-type]


def test_type_checkers_find_mistakes(store: LocalVectorStore, retriever: MultimodalRetriever) -> None:
    """Each of these is an error for mypy, which reports a comment that ignores none; and an error when it is run."""
    with pytest.raises(ValueError, match="search_type"):
        MultimodalRetriever(store=store, search_type="hybird")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ranking"):
        MultimodalRetriever(store=store, ranking="normlized")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="search_type"):
        retriever.search("x", search_type="hybird")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Did you mean 'ranking'"):
        retriever.search("x", rankin="raw")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Did you mean 'modalities'"):
        retriever.by_modality("x", modalites=["image"])  # type: ignore[call-arg]


def test_options_are_fields() -> None:
    """Every option of a search can be set for all searches of a retriever."""
    own = MultimodalRetriever.model_fields.keys() - BaseRetriever.model_fields.keys()
    assert own - {"store", "media", "media_text", "ledger", "k"} == SearchOptions.__optional_keys__
