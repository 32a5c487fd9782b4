"""Count the modules and functions that one warm operation calls.

Functions are counted by qualified name, comprehensions and lambdas included; the emulator is not counted. The same
count of others: httpx `get().json()` 14 modules and 107 functions, pydantic-ai `embed_query` 10 and 26.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import langchain_gemini_mm
from benchmarks.report import Row

if TYPE_CHECKING:
    from types import FrameType

AIMS = {
    "load an image": (24, 110),
    "add an image": (30, 150),
    "add a text": (22, 110),
    "search": (22, 110),
    "retriever.search": (28, 140),
    "agent with tool and middleware": (48, 250),
}
"""Upper limits of modules and functions per operation."""
_ROOT = str(Path(langchain_gemini_mm.__file__).parent) + "/"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Whether to measure the agent, which needs the extra `agents`."""

    agent: bool = True


FULL = Size()
QUICK = Size(agent=False)


@dataclass
class Tracer:
    """Records which functions of the package are called, on all threads.

    It is installed before the warm-up, so that it also sees long-lived worker threads.
    """

    recording: bool = False
    functions: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        """Set the profile function of this thread and of new threads."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the profile function."""
        sys.setprofile(None)
        threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and self.recording and code.co_filename.startswith(_ROOT):
            module = code.co_filename[len(_ROOT) :]
            if not module.startswith("testing/") and "<module>" not in code.co_qualname:
                self.functions.add(f"{module}:{code.co_qualname}")

    def path(self, name: str, operation: Callable[[], Any]) -> Row:
        """Run an operation that has run before, and count."""
        self.functions.clear()
        self.recording = True
        try:
            operation()
        finally:
            self.recording = False
        modules = len({function.split(":")[0] for function in self.functions})
        most_modules, most_functions = AIMS[name]
        return Row(
            measured=f"call path: {name}",
            against="modules / functions",
            ratio=f"{modules} / {len(self.functions)}",
            aim=f"≤ {most_modules} / {most_functions}",
            met=modules <= most_modules and len(self.functions) <= most_functions,
        )


def measure(size: Size = FULL) -> Iterator[Row]:
    """Load, add and search on the emulator, and invoke an agent."""
    from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore, MultimodalRetriever
    from langchain_gemini_mm.testing import GeminiEmulator, png

    with tempfile.TemporaryDirectory() as work, GeminiEmulator() as emulator, Tracer() as tracer:
        folder = Path(work) / "images"
        folder.mkdir()
        (folder / "puppy.png").write_bytes(png("a brown puppy"))
        media = MediaStore(Path(work) / "media")
        embeddings = GeminiEmbeddings(
            api_key=emulator.api_key, base_url=emulator.url, media=media, output_dimensionality=768
        )
        with embeddings, LocalVectorStore(Path(work) / "index.db", embeddings) as store:
            retriever = MultimodalRetriever(store=store, k=2)
            store.add_documents(MediaLoader(folder, media).lazy_load())
            store.add_texts(["a text"])
            store.search("a query")
            retriever.search("a query")
            (folder / "puppy.png").write_bytes(png("a red puppy"))
            documents: list[Any] = []
            yield tracer.path("load an image", lambda: documents.extend(MediaLoader(folder, media).lazy_load()))
            yield tracer.path("add an image", lambda: store.add_documents(documents))
            yield tracer.path("add a text", lambda: store.add_texts(["a short text"]))
            yield tracer.path("search", lambda: store.search("an image of a puppy"))
            yield tracer.path("retriever.search", lambda: retriever.search("an image of a puppy"))
            if size.agent:
                yield tracer.path("agent with tool and middleware", _agent(retriever, media))


def _agent(retriever: Any, media: Any) -> Callable[[], Any]:
    """Return an agent whose model calls the search once and then answers."""
    from langchain.agents import create_agent
    from langchain_core.language_models import FakeMessagesListChatModel
    from langchain_core.messages import AIMessage, HumanMessage

    from langchain_gemini_mm import MediaMiddleware, create_multimodal_retriever_tool

    class Model(FakeMessagesListChatModel):
        """A chat model that accepts tools and returns prepared answers."""

        def bind_tools(self, *_: Any, **__: Any) -> Any:
            return self

    tool = create_multimodal_retriever_tool(retriever, "search_library", "Finds images.")
    call = AIMessage("", tool_calls=[{"name": "search_library", "args": {"query": "puppy"}, "id": "1"}])
    model = Model(responses=[call, AIMessage("done")])
    agent = create_agent(model, tools=[tool], middleware=[MediaMiddleware(media, model="gemini")])
    return lambda: agent.invoke({"messages": [HumanMessage("find the puppy")]})
