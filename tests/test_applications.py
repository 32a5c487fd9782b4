"""Chains, tools and retrievers of LangChain that read only text work with media, unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate, format_document
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import Field

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever, to_message
from langchain_gemini_mm.rendering import MediaTextTransformer
from langchain_gemini_mm.testing import GeminiEmulator, pdf, png

if TYPE_CHECKING:
    from pathlib import Path

WORDS = {"bicycle.png": "a red bicycle", "cat.png": "a cat on a sofa"}
PROMPT = ChatPromptTemplate.from_template("Answer from these sources:\n{context}\n\nQuestion: {question}")


class Listener(FakeListChatModel):
    """A chat model that records its prompts."""

    responses: list[str] = Field(default=["It is red."])
    prompts: list[str] = Field(default_factory=list)

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        self.prompts.append("\n".join(message.text for message in messages))
        return super()._call(messages, *args, **kwargs)


@pytest.fixture
def model() -> Listener:
    """A chat model without prompts so far."""
    return Listener()


@pytest.fixture
def retriever(emulator: GeminiEmulator, tmp_path: Path) -> Iterator[MultimodalRetriever]:
    """Two images with captions and a PDF of two pages, as text for text-only consumers."""
    folder = tmp_path / "library"
    folder.mkdir()
    for name, words in WORDS.items():
        (folder / name).write_bytes(png(words))
    (folder / "slides.pdf").write_bytes(pdf(("Goals of the year", "Revenue by region")))
    media = MediaStore.memory()
    with (
        GeminiEmbeddings(media=media, output_dimensionality=256) as embeddings,
        LocalVectorStore(":memory:", embeddings) as store,
    ):
        retriever = MultimodalRetriever(store=store, k=2, media_text="instead", ranking="raw")
        retriever.add(folder)
        yield retriever


def joined(documents: Sequence[Document]) -> str:
    """Join texts as most chains do."""
    return "\n\n".join(document.page_content for document in documents)


def check_prompt(prompt: str) -> None:
    """The words and names of the media are in a prompt, hashes are not."""
    assert "[library/bicycle.png]\na red bicycle" in prompt
    assert "mm://" not in prompt
    assert "sha256" not in prompt


def test_the_usual_chain(retriever: MultimodalRetriever, model: Listener) -> None:
    """A chain that joins `page_content` gives the model the words of media."""
    chain: Runnable[Any, str] = (
        {"context": retriever | joined, "question": RunnablePassthrough()} | PROMPT | model | StrOutputParser()
    )
    assert chain.invoke("a red bicycle") == "It is red."
    check_prompt(model.prompts[0])


async def test_every_way_to_call(retriever: MultimodalRetriever) -> None:
    """`invoke`, `batch`, `stream` and their async twins return the same texts; `search` keeps the references."""
    (expected,) = [retriever.invoke("a red bicycle")]
    assert retriever.batch(["a red bicycle", "a red bicycle"]) == [expected, expected]
    assert list(retriever.stream("a red bicycle")) == [expected]
    assert await retriever.ainvoke("a red bicycle") == expected
    assert await retriever.abatch(["a red bicycle"]) == [expected]
    hits = retriever.search("a red bicycle")
    assert [hit.document.id for hit in hits] == [document.id for document in expected]
    assert hits[0].page_content.startswith("![](mm://")


def test_a_call_chooses(retriever: MultimodalRetriever) -> None:
    """A call can set the option for itself; a wrong value is refused."""
    (plain,) = retriever.invoke("a red bicycle", media_text=None, k=1)
    (after,) = retriever.invoke("a red bicycle", media_text="after", k=1)
    assert after.page_content == f"{plain.page_content}\n[library/bicycle.png]\na red bicycle"
    for documents in retriever.batch(["a red bicycle", "a cat"], media_text="after", k=1):
        assert "mm://" in documents[0].page_content
    with pytest.raises(ValueError, match="placement must be one of 'instead', 'after', got 'befor'"):
        retriever.invoke("a red bicycle", media_text="befor")
    with pytest.raises(ValueError, match="media_text"):
        MultimodalRetriever(store=retriever.store, media_text="befor")  # type: ignore[arg-type]


def test_create_retriever_tool(retriever: MultimodalRetriever) -> None:
    """LangChain's own retriever tool returns words."""
    tool = create_retriever_tool(retriever, "search", "Searches the library.")
    check_prompt(tool.invoke({"query": "a red bicycle"}))


def test_format_document(retriever: MultimodalRetriever) -> None:
    """`format_document` with metadata works."""
    prompt = PromptTemplate.from_template("{source}: {page_content}")
    assert format_document(retriever.invoke("a red bicycle")[0], prompt).startswith("library/bicycle.png: [library/")


def test_the_stuff_chain(retriever: MultimodalRetriever, model: Listener) -> None:
    """`create_stuff_documents_chain` in `create_retrieval_chain` works unchanged."""
    pytest.importorskip("langchain_classic", reason="needs the dependency group `classic`")
    from langchain_classic.chains import create_retrieval_chain
    from langchain_classic.chains.combine_documents import create_stuff_documents_chain

    prompt = ChatPromptTemplate.from_template("{context}\n\nQuestion: {input}")
    chain = create_retrieval_chain(retriever, create_stuff_documents_chain(model, prompt))
    answer = chain.invoke({"input": "a red bicycle"})
    check_prompt(model.prompts[0])
    assert answer["answer"] == "It is red."


def test_a_history_aware_retriever(retriever: MultimodalRetriever) -> None:
    """A retriever that rewrites the question first returns words."""
    pytest.importorskip("langchain_classic", reason="needs the dependency group `classic`")
    from langchain_classic.chains import create_history_aware_retriever

    rewriting: BaseChatModel = Listener(responses=["a red bicycle"])
    prompt = ChatPromptTemplate.from_template("{chat_history} {input}")
    found = create_history_aware_retriever(rewriting, retriever, prompt).invoke(
        {"input": "which colour has it?", "chat_history": "We spoke of the bicycle."}
    )
    check_prompt(joined(found))


class WordReranker(BaseDocumentCompressor):
    """A reranker of texts, as those of Cohere and FlashRank: it returns new Documents without ids."""

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
    ) -> Sequence[Document]:
        """Order by the number of common words."""
        wanted = set(query.split())
        scored = [(len(wanted & set(document.page_content.split())), document) for document in documents]
        scored.sort(key=lambda item: -item[0])
        return [
            Document(document.page_content, metadata={**document.metadata, "relevance_score": score})
            for score, document in scored
        ]


@pytest.mark.parametrize("placement", ["instead", "after"])
def test_a_text_reranker(retriever: MultimodalRetriever, placement: Any) -> None:
    """A text reranker orders media by their words; with `after`, its answers can be shown, and `context` finds them."""
    pytest.importorskip("langchain_classic", reason="needs the dependency group `classic`")
    from langchain_classic.retrievers import ContextualCompressionRetriever

    wide = retriever.model_copy(update={"k": 4, "media_text": placement})
    reranked = ContextualCompressionRetriever(base_retriever=wide, base_compressor=WordReranker())
    found = reranked.invoke("Revenue by region")
    assert (found[0].metadata["first_page"], found[0].metadata["relevance_score"]) == (2, 3)
    message = to_message("?", found[:1], media=retriever.media_store)
    assert ("file" in [block["type"] for block in message.content]) == (placement == "after")  # type: ignore[index]
    assert found[0].id is None
    around = retriever.context(found[0])
    assert [document.metadata["first_page"] for document in around] == [1, 2]


def test_stores_of_other_packages(emulator: GeminiEmulator, media: MediaStore, model: Listener) -> None:
    """The transformer gives a chain on any other vector store the words of media."""
    with GeminiEmbeddings(media=media, output_dimensionality=256) as embeddings:
        store = InMemoryVectorStore(embeddings)
        metadata = {"source": "library/bicycle.png", "companion_text": "a red bicycle"}
        store.add_documents([media.document(png("a red bicycle"), metadata=metadata)])
        text = MediaTextTransformer(media=media)
        context = store.as_retriever() | text.transform_documents | joined
        chain: Runnable[Any, Any] = {"context": context, "question": RunnablePassthrough()} | PROMPT | model
        chain.invoke("a red bicycle")
    check_prompt(model.prompts[0])
