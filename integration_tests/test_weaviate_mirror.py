"""`mirror` on a Weaviate server: its ledger, several writers, and what is left after it is removed."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest

from integration_tests.weaviate_server import Endpoint
from langchain_gemini_mm import GeminiEmbeddings, MediaStore, MultimodalRetriever, WeaviateVectorStore
from langchain_gemini_mm.testing import GeminiEmulator, pdf, png
from tests.sync.conftest import MirroredFolder, documents_of
from tests.sync.folder_histories import FolderHistories, run_histories
from tests.sync.killed_runs import Job, kill_runs, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from weaviate import WeaviateClient

pytestmark = pytest.mark.weaviate


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[GeminiEmulator]:
    """An emulator, to which environment variables point."""
    with GeminiEmulator() as server:
        monkeypatch.setenv("GOOGLE_API_KEY", server.api_key)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        yield server


@pytest.fixture
def mirrored(
    weaviate_client: WeaviateClient, weaviate_name: str, emulator: GeminiEmulator, tmp_path: Path
) -> MirroredFolder:
    """A folder that is mirrored once."""
    embeddings = GeminiEmbeddings(media=MediaStore(tmp_path / "media"), output_dimensionality=128)
    store = WeaviateVectorStore(weaviate_client, weaviate_name, embeddings)
    found = MirroredFolder(tmp_path / "work", MultimodalRetriever(store=store), emulator)
    found.write(notes_txt="about a cat", photos__castle_png=png("a castle"), paper_pdf=pdf(("one", "two", "three")))
    assert len(found.mirror().added) == 3
    return found


def test_one_folder_after_several_changes(mirrored: MirroredFolder) -> None:
    """Unchanged and moved files embed nothing; changed, damaged and deleted ones are what they are."""
    before = documents_of(mirrored.retriever)
    assert mirrored.mirror().is_current
    assert mirrored.embedded == 0
    (mirrored.folder / "notes.txt").rename(mirrored.folder / "photos" / "cat.txt")
    mirrored.write(photos__castle_png=png("a castle")[:80], paper_pdf=pdf(("another",)))
    report = mirrored.mirror()
    assert report.moved == (("work/notes.txt", "work/photos/cat.txt"),)
    assert report.changed == ("work/paper.pdf",)
    assert [kept.source for kept in report.kept] == ["work/photos/castle.png"]
    assert mirrored.embedded == 1
    assert sorted(mirrored.contents) == ["work/paper.pdf", "work/photos/castle.png", "work/photos/cat.txt"]
    (mirrored.folder / "paper.pdf").unlink()
    assert mirrored.mirror().deleted == ("work/paper.pdf",)
    assert len(documents_of(mirrored.retriever)) == 2 < len(before) + 1


def test_the_ledger_is_removed_with_the_store(mirrored: MirroredFolder, weaviate_client: WeaviateClient) -> None:
    """`delete_all` and `remove` leave no ledger that says that files are stored."""
    store = mirrored.retriever.store
    assert isinstance(store, WeaviateVectorStore)
    store.delete_all()
    assert mirrored.retriever.status() == []
    assert len(mirrored.mirror().added) == 3
    store.remove()
    assert not [name for name in weaviate_client.collections.list_all() if name.startswith(store.name)]


def test_tenants_have_ledgers_of_their_own(
    weaviate_client: WeaviateClient, weaviate_name: str, emulator: GeminiEmulator, tmp_path: Path
) -> None:
    """A folder is mirrored for each tenant."""
    embeddings = GeminiEmbeddings(media=MediaStore(tmp_path / "media"), output_dimensionality=128)
    store = WeaviateVectorStore(weaviate_client, weaviate_name, embeddings, multi_tenant=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.txt").write_text("about a cat")
    for tenant in ("ada", "bob"):
        retriever = MultimodalRetriever(store=store, tenant=tenant)
        assert retriever.mirror(tmp_path / "work").added == ("work/a.txt",)
        assert retriever.mirror(tmp_path / "work").is_current
    MultimodalRetriever(store=store, tenant="ada").forget("work")
    assert [status.documents for status in MultimodalRetriever(store=store, tenant="bob").status()] == [1]


_WRITER = """
import sys, weaviate
from langchain_gemini_mm import GeminiEmbeddings, MediaStore, MultimodalRetriever, WeaviateVectorStore
from integration_tests.weaviate_server import Endpoint

url, grpc, name, folder, media, api_key, base_url = sys.argv[1:]
with Endpoint(url, grpc, None).client() as client:
    embeddings = GeminiEmbeddings(
        media=MediaStore(media), output_dimensionality=128, api_key=api_key, base_url=base_url
    )
    retriever = MultimodalRetriever(store=WeaviateVectorStore(client, name, embeddings))
    print(retriever.mirror(folder, name="work"))
"""


def test_two_processes_mirror_copies_of_a_folder(
    mirrored: MirroredFolder, weaviate_server: Endpoint, emulator: GeminiEmulator, tmp_path: Path
) -> None:
    """At once, into one store: there is one index, without duplicates, and nothing is lost."""
    mirrored.write(**{f"text{number}_txt": f"text number {number}" for number in range(60)})
    other = shutil.copytree(mirrored.folder, tmp_path / "other" / "work")
    store = mirrored.retriever.store
    assert isinstance(store, WeaviateVectorStore)
    arguments = [str(weaviate_server.url), str(weaviate_server.grpc_url), store.name]
    service = [str(tmp_path / "media"), emulator.api_key, emulator.url]
    processes = [
        subprocess.Popen([sys.executable, "-c", _WRITER, *arguments, str(folder), *service])
        for folder in (mirrored.folder, other)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert len(mirrored.contents) == 63
    assert all(len(texts) == (3 if "paper" in source else 1) for source, texts in mirrored.contents.items())
    for folder in (mirrored.folder, other):
        assert mirrored.mirror(folder, name="work").is_current
        assert mirrored.embedded == 0


class WeaviateHistories(FolderHistories):
    """Histories of an index on a server."""

    client: ClassVar[WeaviateClient]
    name: ClassVar[str]

    def open_store(self, embeddings: GeminiEmbeddings) -> Any:
        """Open a new collection."""
        return WeaviateVectorStore(self.client, f"{self.name}_{next(self.numbers)}", embeddings)

    def close_store(self) -> None:
        """Remove it."""
        self.store.remove()


@pytest.mark.soak
def test_histories(
    weaviate_client: WeaviateClient,
    weaviate_name: str,
    emulator: GeminiEmulator,
    tmp_path: Path,
    rounds: Callable[..., Iterator[int]],
) -> None:
    """After any history of a folder, its index equals one made from scratch, and costs no more."""
    for number in rounds(1):
        attributes = {"client": weaviate_client, "name": weaviate_name, "emulator": emulator, "home": tmp_path}
        run_histories(WeaviateHistories, number, 3, **attributes)


@contextmanager
def open_store(
    embeddings: GeminiEmbeddings, home: Path, *, url: str, grpc_url: str, name: str
) -> Iterator[WeaviateVectorStore]:
    """Open a collection with a client of its own."""
    with Endpoint(url, grpc_url, None).client() as client:
        yield WeaviateVectorStore(client, f"{name}_{home.name}", embeddings)


@pytest.mark.soak
@pytest.mark.parametrize("method", ["mirror", "add"])
def test_killed_runs_are_completed(
    method: Literal["mirror", "add"],
    weaviate_server: Endpoint,
    weaviate_name: str,
    emulator: GeminiEmulator,
    tmp_path: Path,
    rounds: Callable[..., Iterator[int]],
    request: pytest.FixtureRequest,
) -> None:
    """The index of a new or changed folder is one made from scratch, and at most calls in flight are paid twice."""
    emulator.settings.latency = 0.01
    service = {"api_key": emulator.api_key, "base_url": emulator.url}
    url, grpc_url = weaviate_server.url, weaviate_server.grpc_url
    opened = partial(open_store, url=url, grpc_url=grpc_url, name=weaviate_name)
    numbers = itertools.count()

    def job() -> Job:
        home = tmp_path / f"home{next(numbers)}"
        return Job(method=method, folder=tmp_path / "work", home=home, service=service, open_store=opened)

    seconds = seconds_of(job)
    kills = sum(kill_runs(job(), emulator, seed, seconds) for seed in rounds(1, parts=2))
    request.config.get_terminal_writer().line(f"{kills} kills of {method}")
    assert kills
