"""A retriever's filter and tenant bound everything that a query, a tool argument or a question can name."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage, ToolMessage

from langchain_gemini_mm import (
    ContentError,
    GeminiEmbeddings,
    LocalVectorStore,
    MediaStore,
    MissingMediaError,
    MultimodalRetriever,
    MultimodalToolkit,
    Query,
    to_message,
)
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.testing import GeminiEmulator, png
from tests.tools.chat import call

SCAN = png("a scan of bob")
UNKNOWN = MediaRef("cd" * 32)


@dataclass(frozen=True)
class Library:
    """One store of Ada's and Bob's documents."""

    store: LocalVectorStore
    media: MediaStore
    ada: MultimodalRetriever
    """Finds Ada's documents only."""
    hers: MediaRef
    his: MediaRef

    def answer(self, **arguments: Any) -> ToolMessage:
        """Call the search tool, or with `id` the tool that opens, of Ada's retriever."""
        search, opens = MultimodalToolkit(retriever=self.ada).get_tools()
        tool = opens if "id" in arguments else search
        answer = tool.invoke(call(tool.name, **arguments).tool_calls[0])
        assert isinstance(answer, ToolMessage)
        return answer


FILTERS: dict[str, Any] = {
    "a dict": {"owner": "ada"},
    "a function": lambda document: document.metadata["owner"] == "ada",
}


@pytest.fixture(params=FILTERS)
def library(request: pytest.FixtureRequest, emulator: GeminiEmulator, media: MediaStore) -> Iterator[Library]:
    """Documents of two people in one store, in which the media of both are."""
    his, hers = media.put(SCAN), media.put(png("a boat of ada"))
    with (
        GeminiEmbeddings(media=media, output_dimensionality=256) as embeddings,
        LocalVectorStore(":memory:", embeddings) as store,
    ):
        owned = [("bob-scan", "bob", his.markdown, his), ("ada-boat", "ada", hers.markdown, hers)]
        store.add_documents(
            [
                Document(text, id=id_, metadata={"owner": owner, "modality": "image", "media_sha256": ref.sha256})
                for id_, owner, text, ref in owned
            ]
            + [
                Document(
                    f"{owner} likes boats",
                    id=f"{owner}-{n}",
                    metadata={"owner": owner, "source": "boats.md", "position": n, "modality": "text"},
                )
                for n, owner in enumerate(("ada", "bob", "ada"))
            ]
        )
        ada = MultimodalRetriever(store=store, k=4, filter=FILTERS[request.param], ranking="raw")
        yield Library(store, media, ada, hers, his)


def said(make: Callable[[], Any], *names: str) -> str:
    """The message of the error, without the names that were given."""
    with pytest.raises(ContentError) as caught:
        make()
    message = str(caught.value)
    for name in names:
        message = message.replace(name, "<name>")
    return message


@pytest.mark.parametrize("way", ["like", "unlike"])
def test_ids_outside_of_the_filter_do_not_exist(library: Library, way: str) -> None:
    """A query that names a hidden document has the error of one that names nothing; a visible one is answered."""
    ada = library.ada
    hidden, unknown = Query("a boat", **{way: ["bob-scan"]}), Query("a boat", **{way: ["nobody"]})  # type: ignore[arg-type]
    for search in (ada.search, ada.invoke, ada.sources, ada.by_modality, lambda query: ada.batch([query, "x"])):
        assert said(lambda: search(hidden), "bob-scan") == said(lambda: search(unknown), "nobody")  # noqa: B023
    assert ada.search(Query("a boat", **{way: ["ada-boat"]}))  # type: ignore[arg-type]


async def test_async_twins_are_bounded(library: Library) -> None:
    """The async twins refuse the same."""
    for query in (Query(like=["bob-scan"]), library.his.markdown):
        with pytest.raises(ContentError):
            await library.ada.asearch(query)


NAMED: dict[str, Callable[[MediaRef], Any]] = {
    "text": lambda ref: f"like {ref.markdown}",
    "a part in a text": lambda ref: f"like {ref.segment(0, 1).markdown}",
    "a list": lambda ref: ["like", ref.markdown],
    "a block": lambda ref: {"type": "image", "url": ref.uri, "mime_type": "image/png"},
    "an older block": lambda ref: {"type": "image_url", "image_url": {"url": ref.uri}},
    "a message": lambda ref: HumanMessage([{"type": "text", "text": f"like {ref.markdown}"}]),
    "a message with a block": lambda ref: HumanMessage([{"type": "image", "url": ref.uri, "mime_type": "image/png"}]),
    "a Query": lambda ref: Query("like", ref.markdown, separate=True),
}


@pytest.mark.parametrize("way", NAMED)
def test_media_outside_of_the_filter_do_not_exist(library: Library, way: str) -> None:
    """A query whose text or block names hidden media has the error of one that names unknown media."""
    make = NAMED[way]
    hidden = said(lambda: library.ada.search(make(library.his)), library.his.sha256)
    assert hidden == said(lambda: library.ada.search(make(UNKNOWN)), UNKNOWN.sha256)
    assert "in no document that this retriever finds" in hidden
    if way != "a part in a text":
        assert "ada-boat" in [hit.id for hit in library.ada.search(make(library.hers))]


def test_objects_of_the_program_are_not_restricted(library: Library) -> None:
    """A program may search with media that are in no document; without a filter, so may a text."""
    upload = library.media.put(png("a boat, uploaded"))
    assert library.ada.search(upload)[0].metadata["owner"] == "ada"
    assert library.ada.search([upload, "a boat"])
    everyone = MultimodalRetriever(store=library.store, ranking="raw")
    assert everyone.search(library.his.markdown)[0].id == "bob-scan"
    assert everyone.search(Query(like=["bob-scan"]))
    with pytest.raises(MissingMediaError):
        everyone.search(UNKNOWN.markdown)


def test_modalities_are_no_bound(library: Library) -> None:
    """A retriever of texts answers by similarity to an image."""
    texts = library.ada.model_copy(update={"modalities": ["text"]})
    for query in (Query(like=["ada-boat"]), library.hers.markdown):
        assert {hit.id for hit in texts.search(query)} == {"ada-0", "ada-2"}


def test_the_context_of_a_hit_is_bounded(library: Library) -> None:
    """Documents around a hit are read only within the filter; those of a hidden document not at all."""
    hidden, first = library.store.get_by_ids(["bob-1", "ada-0"])
    assert [document.id for document in library.ada.context(first, after=5)] == ["ada-0", "ada-2"]
    with pytest.raises(ContentError, match="not in the store any more"):
        library.ada.context(hidden)


TOOLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "an id": ({"like": "bob-scan"}, {"like": "nobody"}),
    "an opened id": ({"id": "bob-scan"}, {"id": "nobody"}),
    "a source": ({"query": "boats", "source": "bob-scan"}, {"query": "boats", "source": "nobody"}),
}


@pytest.mark.parametrize("way", TOOLS)
def test_a_model_cannot_tell_hidden_from_unknown(library: Library, way: str) -> None:
    """The tools answer to hidden documents as to unknown ones."""
    hidden, unknown = (library.answer(**arguments) for arguments in TOOLS[way])
    assert hidden.status == unknown.status == "error"
    assert str(hidden.content).replace("bob-scan", "nobody") == unknown.content
    assert not hidden.artifact


def test_a_model_cannot_name_hidden_media(library: Library) -> None:
    """`like` accepts references of the collection and of the conversation, and no others."""
    hidden, unknown = (library.answer(like=ref.uri) for ref in (library.his, UNKNOWN))
    assert hidden.status == unknown.status == "error"
    assert str(hidden.content).replace(library.his.sha256, UNKNOWN.sha256) == unknown.content
    assert library.answer(like=library.hers.uri).artifact[0].id == "ada-boat"
    quoted = library.answer(query=f"a boat {library.his.markdown}")
    assert quoted.status == "success"
    assert {document.metadata["owner"] for document in quoted.artifact} == {"ada"}


def test_a_question_shows_only_media_of_the_sources(library: Library) -> None:
    """References in the text of a question show nothing that was not found; those of the program do."""
    hits = library.ada.search("a boat", modalities=["image"])
    block = {"type": "text", "text": library.his.markdown}
    questions: list[Any] = [f"what is {library.his.markdown}?", ["what is", block]]
    for question in questions:
        message = to_message(question, hits, media=library.media)
        images = [block for block in message.content if block["type"] == "image"]  # type: ignore[index]
        assert len(images) == 1
        assert base64.b64encode(SCAN).decode() not in str(message.content)
        assert library.his.sha256 not in str(message.content)
        assert "(media that are not among the sources)" in str(message.content)
    assert "(Shown above" not in str(to_message(HumanMessage("plain"), hits).content)
    shown = to_message([library.his, "what is this?"], hits, media=library.media)
    assert [block["type"] for block in shown.content].count("image") == 2  # type: ignore[index]
    torn = to_message("what does ![](mm: mean?", hits)
    assert "what does ![](mm: mean?" in str(torn.content)
