"""Results are plain data in every serializer; no public object discloses folders, keys or hashes of other files."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python

from langchain_gemini_mm import (
    GeminiEmbeddings,
    Hit,
    Hits,
    LocalVectorStore,
    MediaLoader,
    MediaStore,
    MultimodalRetriever,
    MultimodalToolkit,
    citation,
    create_multimodal_retriever_tool,
    to_message,
)
from langchain_gemini_mm.rendering import clean_text
from langchain_gemini_mm.retrievers import Source
from langchain_gemini_mm.testing import GeminiEmulator, png
from langchain_gemini_mm.vectorstores.hits import Group

if TYPE_CHECKING:
    from pathlib import Path

DATA = ["document", "score", "score_kind", "rank", "cosine", "confidence"]


@dataclass(frozen=True)
class World:
    """A library of two images in a folder, its retriever, and what no result may disclose."""

    retriever: MultimodalRetriever
    media: MediaStore
    secrets: tuple[str, ...]
    """The folder, the key, the address of the service, and the hash of a file that is in no answer."""


@pytest.fixture
def world(emulator: GeminiEmulator, tmp_path: Path) -> Iterator[World]:
    """A library in a folder; another user has put a file into the same media store."""
    (tmp_path / "pictures").mkdir()
    for name in ("bicycle", "cat"):
        (tmp_path / "pictures" / f"{name}.png").write_bytes(png(f"a {name}"))
    media = MediaStore(tmp_path / "media")
    other = media.put(png("a letter of somebody else"))
    with (
        GeminiEmbeddings(media=media, output_dimensionality=256) as embeddings,
        LocalVectorStore(tmp_path / "index.db", embeddings) as store,
    ):
        retriever = MultimodalRetriever(store=store, k=2)
        retriever.add(tmp_path / "pictures")
        yield World(retriever, media, (str(tmp_path), emulator.api_key, other.sha256))


class Answer(BaseModel):
    """A response model of a web service."""

    hits: list[Hit]


class State(TypedDict, total=False):
    """The state of a graph."""

    question: str
    found: Any


WAYS: dict[str, Callable[[Hit], Any]] = {
    "dataclasses.asdict": dataclasses.asdict,
    "JSON by pydantic": lambda hit: json.loads(TypeAdapter(Hit).dump_json(hit)),
    "a list in a response model": lambda hit: Answer(hits=[hit]).model_dump(mode="json")["hits"][0],
    "an answer without a model": lambda hit: to_jsonable_python({"hits": Hits([hit])})["hits"][0],
    "a dict of its fields": lambda hit: json.loads(json.dumps(to_jsonable_python(dataclasses.asdict(hit)))),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_hit_serializes_to_its_data(world: World, way: str) -> None:
    """Every serializer gives document, scores and rank, and nothing of the media store."""
    (hit, *_) = world.retriever.search("a bicycle")
    found = WAYS[way](hit)
    assert list(found) == DATA
    assert (found["score"], found["rank"], found["score_kind"]) == (hit.score, 1, hit.score_kind)
    document = found["document"]
    assert citation(document) == "[pictures/bicycle.png]"
    assert not [secret for secret in world.secrets if secret in str(found)]


@pytest.mark.parametrize("way", WAYS)
def test_serialized_hits_can_be_used(world: World, way: str) -> None:
    """`citation`, `clean_text`, `to_message` and `context` take a hit that was serialized."""
    (hit, *_) = world.retriever.search("a bicycle")
    found = WAYS[way](hit)
    assert (citation(found), clean_text(found)) == (citation(hit), clean_text(hit))
    message = to_message("which colour?", [found], media=world.media)
    assert message == to_message("which colour?", [hit])
    assert "image" in [block["type"] for block in message.content]  # type: ignore[index]


def test_a_response_model_accepts_its_own_answer(world: World) -> None:
    """A client that has the same model reads equal hits."""
    hits = world.retriever.search("a bicycle")
    read = Answer.model_validate_json(Answer(hits=hits).model_dump_json())
    assert read.hits == hits
    assert [hit.media for hit in read.hits] == [None, None]
    schema = TypeAdapter(list[Hit]).json_schema(mode="serialization")
    # Older versions of pydantic also list parameters that are no fields; they are in no answer.
    assert [name for name in schema["$defs"]["Hit"]["properties"] if name not in {"media", "vector"}] == DATA


def test_copies_keep_the_media_and_pickles_do_not(world: World) -> None:
    """Within a process a copy can show its media; a pickle has the data alone."""
    (hit,) = world.retriever.search("a bicycle", k=1)
    assert hit.media is world.media
    changed = dataclasses.replace(hit, rank=3)
    for made in (copy.copy(hit), copy.deepcopy(hit), changed):
        assert (made.document, made.media, made.vector) == (hit.document, world.media, None)
    assert changed.rank == 3
    pickled = pickle.dumps(world.retriever.search("a bicycle"))
    assert pickle.loads(pickled)[0] == hit
    assert not [secret for secret in world.secrets if secret.encode() in pickled]


def test_hits_unpack_and_have_the_attributes_of_documents() -> None:
    """A hit unpacks as document and score, also in a loop, and gives text and metadata."""
    document = Document("a note", metadata={"source": "notes.md"})
    hits = Hits([Hit(document, 0.5, "cosine", 1)])
    for found, score in hits:
        assert (found, score) == (document, 0.5)
    assert (hits[0].page_content, hits[0].metadata) == ("a note", {"source": "notes.md"})


def test_reprs_name_the_file_and_the_time(world: World) -> None:
    """The repr of a hit has file, time or page, and score; no hash and no id."""
    hits = world.retriever.search("a bicycle")
    assert repr(hits[0]).startswith(f"Hit(#1 {hits[0].score_kind} {hits[0].score:.4f} [pictures/bicycle.png] ")
    assert "sha256" not in repr(hits)
    assert str(hits[0].document.id) not in repr(hits)
    clip = Document("![](mm://sha256-" + "ab" * 32 + "#t=30,60)", id="cd" * 16, metadata={"modality": "video"})
    assert repr(Hit(clip, 0.5, "rank", 1)) == "Hit(#1 rank 0.5000 [video])"
    named = clip.model_copy(update={"metadata": {"source": "talk.mp4"}})
    assert repr(Hit(named, 0.5, "rank", 1)) == "Hit(#1 rank 0.5000 [talk.mp4 0:30-1:00])"


@pytest.mark.parametrize("what", ["invoke", "search", "sources", "by_modality"])
def test_results_in_the_state_of_a_graph(world: World, what: str) -> None:
    """A checkpointer keeps what was found; afterwards it can be cited and shown."""
    pytest.importorskip("langgraph", reason="installed with the extra `agents`")
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph

    def find(state: State) -> State:
        return {"found": getattr(world.retriever, what)(state["question"])}

    graph = StateGraph(State)
    graph.add_node("find", find)
    graph.add_edge(START, "find")
    graph.add_edge("find", END)
    saver = InMemorySaver()
    app, thread = graph.compile(checkpointer=saver), {"configurable": {"thread_id": "1"}}
    app.invoke({"question": "a bicycle"}, thread)  # type: ignore[call-overload]
    (kept,) = [app.get_state(thread).values["found"]]  # type: ignore[arg-type]
    first = kept["image"][0] if isinstance(kept, dict) else kept[0]
    first = first.hits[0] if isinstance(first, Source) else first
    assert citation(first) == "[pictures/bicycle.png]"
    assert "image" in [block["type"] for block in to_message("?", [first], media=world.media).content]  # type: ignore[index]
    stored = repr((saver.storage, saver.blobs, saver.writes))
    assert not [secret for secret in world.secrets if secret in stored]


def public_objects(world: World) -> dict[str, Any]:
    """One object of every kind that searches, stores and tools hand out."""
    retriever, store = world.retriever, world.retriever.store
    assert isinstance(store, LocalVectorStore)
    hits = retriever.search("a bicycle")
    return {
        "hit": hits[0],
        "hits": hits,
        "sources": retriever.sources("a bicycle"),
        "by_modality": retriever.by_modality("a bicycle"),
        "groups": store.search_groups("a bicycle"),
        "store": store,
        "retriever": retriever,
        "LangChain's retriever": store.as_retriever(),
        "media store": world.media,
        "embeddings": store.embeddings,
        "loader": MediaLoader(world.media.path or ".", world.media),
        "tool": create_multimodal_retriever_tool(retriever, "search", "Searches."),
        "toolkit": MultimodalToolkit(retriever=retriever),
        "check": store.check(),
    }


def test_no_repr_discloses_a_folder_or_a_key(world: World) -> None:
    """`repr`, `str` and LangChain's `dumpd`, which traces contain, have no path, no key and no hash of another file."""
    for name, thing in public_objects(world).items():
        for shown in (repr(thing), str(thing), str(dumpd(thing))):
            assert not [secret for secret in world.secrets if secret in shown], name


def test_services_serialize_data_and_refuse_connections(world: World) -> None:
    """As JSON, results are data; stores, retrievers, embeddings and tools are refused."""
    data = {"hit", "hits", "sources", "by_modality", "groups", "check"}
    for name, thing in public_objects(world).items():
        if name in data:
            assert not [secret for secret in world.secrets if secret in json.dumps(to_jsonable_python(thing))], name
        else:
            with pytest.raises(ValueError, match="Unable to serialize unknown type"):
                to_jsonable_python(thing)


def test_groups_and_sources_are_data(world: World) -> None:
    """Groups and sources serialize as hits do."""
    store = world.retriever.store
    assert isinstance(store, LocalVectorStore)
    (group, *_) = store.search_groups("a bicycle")
    assert list(json.loads(TypeAdapter(Group).dump_json(group))["hits"][0]) == DATA
    (source, *_) = world.retriever.sources("a bicycle")
    found = json.loads(TypeAdapter(Source).dump_json(source))
    assert (found["source"], list(found["moments"][0]["hits"][0])) == ("pictures/bicycle.png", DATA)
