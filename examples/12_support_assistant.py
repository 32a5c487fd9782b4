"""Answer support questions from a manual, recorded calls, a clip and e-mails: a chain whose model receives the media.

Run: python examples/12_support_assistant.py     (on the emulator, with a scripted model instead of a chat model)

With GOOGLE_API_KEY, langchain-google-genai and CHAT_MODEL=gemini-2.5-flash, a real model answers.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from PIL.Image import Image
from pydantic import Field

from langchain_gemini_mm import (
    GeminiEmbeddings,
    LocalVectorStore,
    MediaStore,
    MultimodalRetriever,
    citation,
    to_message,
)
from langchain_gemini_mm.testing import GeminiEmulator, mp3, mp4, pdf
from langchain_gemini_mm.testing.samples import drawings
from langchain_gemini_mm.testing.samples.speech import speech


class ScriptedModel(BaseChatModel):
    """Replace a chat model: always give the same answer, with the sources it received."""

    shown: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        blocks: list[Any] = list(messages[-1].content_blocks)
        self.shown = [block["mime_type"] for block in blocks if block.get("base64")]
        names = [block["text"].splitlines()[0] for block in blocks if block["type"] == "text"]
        cited = " ".join(name for name in names if name.startswith("["))
        answer = AIMessage(f"Hold the button next to the power socket for ten seconds {cited}.")
        return ChatResult(generations=[ChatGeneration(message=answer)])


def chat_model() -> BaseChatModel:
    """Return the model named by CHAT_MODEL, or a scripted one."""
    if name := os.environ.get("CHAT_MODEL"):
        from langchain_google_genai import ChatGoogleGenerativeAI

        return ChatGoogleGenerativeAI(model=name)
    return ScriptedModel()


def router(moment: float) -> Image:
    """Draw a finger that moves to the button of a router and stays there."""
    canvas = drawings.Canvas("aliceblue")
    canvas.block(60, 150, 260, 210, "dimgrey")
    canvas.oval(220, 180, 12, 12, "red")
    canvas.line(310, 20 + 60 * min(2 * moment, 1), 225, 110 + 60 * min(2 * moment, 1), "bisque", 24)
    return canvas.finish()


def write_material(folder: Path) -> None:
    """Write a manual, recorded calls, an instruction clip and mails."""
    folder.mkdir()
    pages = [
        "What is in the box",
        "Diagram: the button that resets the router\nis next to the power socket",
        "Warranty",
    ]
    (folder / "manual.pdf").write_bytes(pdf(pages))
    (folder / "call-1.mp3").write_bytes(mp3(samples=speech("To reset the router, hold the button for ten seconds.")))
    (folder / "call-2.mp3").write_bytes(mp3(samples=speech("Your parcel left our house on Monday.")))
    (folder / "reset.mp4").write_bytes(mp4(6, "a finger resets the router", frame=router, fps=4))
    (folder / "may.eml").write_text("From: ada@example.com\nSubject: Invoice\n\nPlease send the invoice for May.\n")
    (folder / "june.eml").write_text("From: ada@example.com\nSubject: Thanks\n\nAfter a reset the router is fine.\n")


with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    service = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    write_material(work / "support")

    media = MediaStore(work / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))
    retriever = MultimodalRetriever(store=store, k=4)
    print(f"{len(retriever.add(work / 'support'))} documents")
    model = chat_model()

    def ask(given: dict[str, Any]) -> list[BaseMessage]:
        """Return the question as one message, with the documents found and their media."""
        return [to_message(given["question"], given["found"], media=media, model="gemini")]

    answered = RunnableLambda(ask) | model | StrOutputParser()
    chain = {"question": RunnablePassthrough(), "found": retriever} | RunnablePassthrough.assign(answer=answered)
    result = chain.invoke("How do I reset the router?")
    print(result["answer"])
    sources = [citation(document) for document in result["found"]]
    assert sorted(sources) == [
        f"[support/{name}]" for name in ("call-1.mp3", "june.eml", "manual.pdf p. 2", "reset.mp4")
    ]
    assert any(source in result["answer"] for source in sources)
    if isinstance(model, ScriptedModel):
        print("The model received:", ", ".join(model.shown))
        assert sorted(model.shown) == ["application/pdf", "audio/mp3", "video/mp4"]
