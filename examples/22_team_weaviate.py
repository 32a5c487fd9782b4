"""A team's library on Weaviate: tenants, one query across modalities, hits grouped by file, and a tool for an agent.

Run: python examples/22_team_weaviate.py     (without GOOGLE_API_KEY it runs on the emulator)

The server is expected on the usual ports, or on WEAVIATE_PORT and WEAVIATE_GRPC_PORT. Without a server, a local file
per tenant takes its place; the rest of the program is the same.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import weaviate

from langchain_gemini_mm import (
    GeminiEmbeddings,
    LocalVectorStore,
    MediaStore,
    MultimodalRetriever,
    WeaviateVectorStore,
    citation,
    create_multimodal_retriever_tool,
)
from langchain_gemini_mm.testing import GeminiEmulator, write_samples

PORTS = int(os.environ.get("WEAVIATE_PORT", "8080")), int(os.environ.get("WEAVIATE_GRPC_PORT", "50051"))
COLLECTION = "ExampleTeams"


def retrievers(stack: ExitStack, embeddings: GeminiEmbeddings, folder: Path) -> dict[str, MultimodalRetriever]:
    """Return a retriever per team."""
    teams = ("design", "kitchen")
    try:
        client = stack.enter_context(weaviate.connect_to_local(port=PORTS[0], grpc_port=PORTS[1]))
    except weaviate.exceptions.WeaviateConnectionError:
        print("no Weaviate server found, using local files instead")
        stores = {team: stack.enter_context(LocalVectorStore(folder / f"{team}.db", embeddings)) for team in teams}
        return {team: MultimodalRetriever(store=store) for team, store in stores.items()}
    stack.callback(client.collections.delete, COLLECTION)
    shared = WeaviateVectorStore(client, COLLECTION, embeddings, tenant=teams[0])
    return {team: MultimodalRetriever(store=shared, tenant=team) for team in teams}


with ExitStack() as stack:
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_samples(folder / "samples")

    media = MediaStore(folder / "media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    team = retrievers(stack, embeddings, folder)
    team["design"].add(folder / "samples")
    team["kitchen"].add("The dishwasher is emptied by whoever comes first.")

    # The nearest document of each modality.
    best = {modality: hits[0] for modality, hits in team["design"].by_modality("a cat, or a kitten that purrs").items()}
    for modality, hit in best.items():
        print(f"{modality:6} {hit.score:.2f} {citation(hit)}")
    assert citation(best["text"]) == "[samples/notes/kitten.md]"
    assert citation(best["image"]) == "[samples/pictures/kitten.png]"
    assert citation(best["audio"]) == "[samples/sounds/purring.wav]"

    # Hits grouped by file, with adjacent pages joined; and the pages around a hit.
    (report, *_) = team["design"].sources("how did revenue grow by quarter?", k=2, modalities=["pdf"])
    moment = report.moments[0]
    print(f"{report.source}, pages {moment.first_page} to {moment.last_page}")
    assert (report.source, moment.first_page, moment.last_page) == ("samples/papers/annual-report.pdf", 1, 2)
    around = team["design"].context(report.hits[0])
    assert [document.metadata["first_page"] for document in around] == [1, 2]

    # A team does not see the other team's documents.
    (note,) = team["kitchen"].invoke("a picture of a kitten", k=10)
    assert "dishwasher" in note.page_content

    # The same as a tool: the model chooses the query and the modalities, but not the tenant.
    tool = create_multimodal_retriever_tool(team["design"], "search_library", "Searches images, recordings and papers.")
    call = {"name": tool.name, "args": {"query": "waves on a beach", "modalities": ["audio"], "k": 1}, "id": "1"}
    answer = tool.invoke({**call, "type": "tool_call"})
    print([block["type"] for block in answer.content])
    assert answer.artifact[0].metadata["source"] == "samples/sounds/waves.wav"
    assert "tenant" not in tool.args
