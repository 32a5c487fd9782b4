"""Hits grouped by files, moments, and the context of a hit."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_gemini_mm import ContentError, Hit, LocalVectorStore, MultimodalRetriever
from langchain_gemini_mm.retrievers import group_by_source
from tests.vectorstores.contract_base import Call


def hit(rank: int, **metadata: Any) -> Hit:
    """Make a hit of a part of a file."""
    return Hit(Document(id=str(rank), page_content="", metadata=metadata), 1 - rank / 100, "cosine", rank)


def test_adjacent_hits_become_moments() -> None:
    """Adjacent or overlapping segments, and adjacent pages, are one moment, in any order; the best is first."""
    hits = [
        hit(1, source="talk.mp4", start_s=60, end_s=90),
        hit(2, source="slides.pdf", first_page=7, last_page=7),
        hit(3, source="talk.mp4", start_s=0, end_s=30),
        hit(4, source="talk.mp4", start_s=90, end_s=120),
        hit(5, source="talk.mp4", start_s=60, end_s=120, track="audio"),
        hit(6, source="slides.pdf", first_page=8, last_page=9),
        hit(7, source="slides.pdf", first_page=12, last_page=12),
        hit(8, source="note.md", position=3),
        hit(9),
        hit(10),
    ]
    talk, slides, note, *alone = group_by_source(hits)
    assert (talk.source, [found.rank for found in talk.hits]) == ("talk.mp4", [1, 3, 4, 5])
    assert [(m.start_s, m.end_s, [h.rank for h in m.hits]) for m in talk.moments] == [
        (60, 120, [1, 4, 5]),
        (0, 30, [3]),
    ]
    assert [(m.first_page, m.last_page) for m in slides.moments] == [(7, 9), (12, 12)]
    assert (note.moments[0].start_s, note.moments[0].best.rank, note.score) == (None, 8, 0.92)
    assert [found.source for found in alone] == [None, None]
    assert [len(found.hits) for found in group_by_source(hits, per_source=1)] == [1] * 5


def test_files_with_a_key_in_common() -> None:
    """Files with the same lesson are one group; a moment is within one file and has a citation."""
    hits = [
        hit(1, lesson="birds", source="birds/talk.mp4", start_s=60, end_s=90),
        hit(2, lesson="birds", source="birds/slides.pdf", first_page=3, last_page=3),
        hit(3, lesson="birds", source="birds/questions.mp3", start_s=90, end_s=120),
        hit(4, lesson=7, source="seven.md"),
        hit(5, lesson="birds", source="birds/talk.mp4", start_s=90, end_s=150),
    ]
    birds, seven = group_by_source(hits, by="lesson")
    assert (birds.source, seven.source) == ("birds", "7")
    assert [(moment.source, moment.citation) for moment in birds.moments] == [
        ("birds/talk.mp4", "[birds/talk.mp4 1:00-2:30]"),
        ("birds/slides.pdf", "[birds/slides.pdf p. 3]"),
        ("birds/questions.mp3", "[birds/questions.mp3 1:30-2:00]"),
    ]


def test_moments_hold_every_hit_once() -> None:
    """Each hit is in exactly one moment, and the moments of a file are not adjacent."""
    for seed in range(50):
        random.seed(seed)
        starts = [random.randrange(0, 2000) for _ in range(60)]
        hits = [hit(i, source="a", start_s=start, end_s=start + 20) for i, start in enumerate(starts, 1)]
        (found,) = group_by_source(hits)
        assert sorted(h.rank for moment in found.moments for h in moment.hits) == list(range(1, 61))
        spans: Any = sorted((moment.start_s, moment.end_s) for moment in found.moments)
        assert all(later[0] - earlier[1] > 1 for earlier, later in pairwise(spans))


@pytest.fixture
def lectures() -> LocalVectorStore:
    """Two lectures in segments of video and of audio, and slides."""
    texts, metadatas, ids = [], [], []
    for name in ("one", "two"):
        for position in range(10):
            for modality in ("video", "audio"):
                texts.append(f"{name} {modality} {position}")
                metadatas.append(
                    {
                        "source": f"{name}.mp4",
                        "modality": modality,
                        "start_s": position * 30,
                        "end_s": position * 30 + 30,
                    }
                )
                ids.append(f"{name}-{modality}-{position}")
    for page in range(1, 6):
        texts.append(f"page {page}")
        metadatas.append({"source": "slides.pdf", "modality": "pdf", "first_page": page, "last_page": page})
        ids.append(f"page-{page}")
    texts.append("a loose note")
    metadatas.append({"source": "note.md"})
    ids.append("note")
    return LocalVectorStore.from_texts(texts, DeterministicFakeEmbedding(size=16), metadatas, ids=ids, path=":memory:")


async def test_files_rather_than_segments(lectures: LocalVectorStore, call: Call) -> None:
    """`k` files are returned with their best hits, for raw and for normalized ranking."""
    retriever = MultimodalRetriever(store=lectures, ranking="raw", k=2)
    found = await call(retriever, "sources", "one video 3", per_source=3)
    assert (len(found), found[0].source, found[0].hits[0].document.id) == (2, "one.mp4", "one-video-3")
    assert all(1 <= len(source.hits) <= 3 for source in found)
    many = await call(retriever, "sources", "one video 3", k=9)
    assert {source.source for source in many} == {"one.mp4", "two.mp4", "slides.pdf", "note.md"}
    groups = await call(retriever, "sources", "one video 3", by="modality")
    assert groups[0].source == "video"
    mixed = await call(retriever, "sources", "one video 3", k=2, search_type="hybrid")
    assert mixed[0].source == "one.mp4"


async def test_context(lectures: LocalVectorStore, call: Call) -> None:
    """The context is of the same file and modality, in the order of the file, and ends with it."""
    retriever = MultimodalRetriever(store=lectures, ranking="raw")

    async def around(id_: str, **counts: int) -> list[str | None]:
        (document,) = lectures.get_by_ids([id_])
        return [found.id for found in await call(retriever, "context", document, **counts)]

    assert await around("one-video-3") == ["one-video-2", "one-video-3", "one-video-4"]
    assert await around("two-audio-0", before=5, after=2) == ["two-audio-0", "two-audio-1", "two-audio-2"]
    assert await around("page-5", before=1, after=0) == ["page-4", "page-5"]
    first = (await call(retriever, "search", "one video 3"))[0]
    assert len(await call(retriever, "context", first)) == 3


async def test_documents_without_context(lectures: LocalVectorStore, call: Call) -> None:
    """A document without a place in a file has no context, which is an error."""
    retriever = MultimodalRetriever(store=lectures)
    (note,) = lectures.get_by_ids(["note"])
    with pytest.raises(ContentError, match=r"does not say where in 'note\.md' it is"):
        await call(retriever, "context", note)
    with pytest.raises(ContentError, match="has no 'source'"):
        await call(retriever, "context", Document(id="x", page_content="y"))
    (page,) = lectures.get_by_ids(["page-1"])
    lectures.delete(["page-1"])
    with pytest.raises(ContentError, match="'page-1' is not in the store any more"):
        await call(retriever, "context", page)
    for wrong in (-1, "1", True):
        with pytest.raises(ValueError, match="before must be an int >= 0, got "):
            await call(retriever, "context", page, before=wrong)
    with pytest.raises(TypeError, match="expected a Document or a hit, got int"):
        await call(retriever, "context", 5)
    with pytest.raises(TypeError, match="by is the metadata key"):
        await call(retriever, "sources", "x", by=5)


@pytest.mark.parametrize(
    "options",
    [{}, {"ranking": "raw"}, {"ranking": "normalized"}, {"search_type": "mmr"}, {"search_type": "hybrid"}],
    ids=str,
)
def test_one_long_file_does_not_hide_others(options: dict[str, Any]) -> None:
    """`sources(k)` finds k files even where the nearest three thousand segments are of two of them."""
    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    near = DeterministicFakeEmbedding(size=8).embed_query("waves")
    documents, vectors = [], []
    for name, count, closeness in (("a.mp4", 2100, 0.0), ("b.mp4", 900, 0.1), ("c.mp4", 3, 0.2), ("d.mp4", 3, 0.3)):
        for start in range(count):
            where = {"modality": "video" if start % 2 else "text", "source": name, "start_s": start, "end_s": start + 1}
            documents.append(Document(page_content=f"waves {start}", metadata=where))
            vectors.append([near[0] + closeness + start * 1e-6, *near[1:]])
    lengths = [sum(value * value for value in vector) ** 0.5 for vector in vectors]
    rows = [[value / length for value in vector] for vector, length in zip(vectors, lengths, strict=True)]
    store.add_vectors(documents, rows)
    retriever = MultimodalRetriever(store=store)
    found = retriever.sources("waves", k=4, **options)
    assert {source.source for source in found} == {"a.mp4", "b.mp4", "c.mp4", "d.mp4"}
    ranks = [hit.rank for source in found for hit in source.hits]
    assert len(ranks) == len(set(ranks))
