"""The requests that are really sent."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import numpy as np
import pytest

from langchain_gemini_mm import ContentError, GeminiEmbeddings, MediaLimitError, MediaStore
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.testing import GeminiEmulator, mp4, pdf, png, wav

if TYPE_CHECKING:
    from pathlib import Path

PNG = png("a brown puppy")


def test_one_content_per_input(embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """A list gives one vector each; a nested list gives one vector in all."""
    vectors = embeddings.embed_documents(["a", "b", ["c", PNG]])

    (request,) = emulator.embed_requests
    assert len(vectors) == request.count == 3
    assert [len(item.parts) for item in request.items] == [1, 1, 2]
    assert request.path == "/v1beta/models/gemini-embedding-2:batchEmbedContents"


def test_interleaved_parts_keep_their_order(
    embeddings: GeminiEmbeddings, emulator: GeminiEmulator, media: MediaStore
) -> None:
    """Text, image, text, audio are sent in this order, media with their real type and without a prefix."""
    image, audio = media.put(PNG), media.put(wav(0.2))

    embeddings.embed_query(f"a puppy {image.markdown} and how it sounds {audio.markdown}")

    parts = emulator.embed_requests[-1].items[0].parts
    assert [part.text or part.mime_type for part in parts] == ["a puppy", "image/png", "and how it sounds", "audio/wav"]
    assert parts[1].sha256 == image.sha256


def test_prefixes_and_dimensions(embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """Texts have the prefix of their task and role; no task field is sent to a model that ignores it."""
    embeddings.embed_query("q", output_dimensionality=256)
    embeddings.embed_documents(["d", "e"], titles=["T", None])
    embeddings.embed_query("f", task_type="fact_verification")

    assert [text for request in emulator.embed_requests for text in request.texts] == [
        "task: search result | query: q",
        "title: T | text: d",
        "title: none | text: e",
        "task: fact checking | query: f",
    ]
    items = [item for request in emulator.embed_requests for item in request.items]
    assert {item.task_type for item in items} == {item.title for item in items} == {None}
    assert [item.dimensions for item in items] == [256, 3072, 3072, 3072]


def test_001_gets_fields(emulator: GeminiEmulator) -> None:
    """The older model gets task and title as fields and texts unchanged; all vectors have unit length."""
    older = GeminiEmbeddings(model="models/gemini-embedding-001", output_dimensionality=768, max_concurrency=1)

    vectors = np.array(older.embed_documents(["d", "e", "f"], titles=["T", "T", "U"]))
    older.embed_query("q")

    items = [item for request in emulator.embed_requests for item in request.items]
    assert [(item.task_type, item.title, item.parts[0].text) for item in items] == [
        ("RETRIEVAL_DOCUMENT", "T", "d"),
        ("RETRIEVAL_DOCUMENT", "T", "e"),
        ("RETRIEVAL_DOCUMENT", "U", "f"),
        ("RETRIEVAL_QUERY", None, "q"),
    ]
    assert [request.count for request in emulator.embed_requests] == [2, 1, 1]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_001_takes_no_media(emulator: GeminiEmulator) -> None:
    """A text-only model refuses media before anything is sent."""
    with pytest.raises(ContentError, match=r"input 0: gemini-embedding-001 takes text only.*image"):
        GeminiEmbeddings(model="gemini-embedding-001").embed_query(PNG)

    assert not emulator.embed_requests


def test_titles_without_effect_warn(embeddings: GeminiEmbeddings) -> None:
    """A title for media, or for a task without titles, causes a warning."""
    with pytest.warns(UserWarning, match=r"1 title\(s\) have no effect \(inputs 1\)"):
        embeddings.embed_documents(["a", PNG], titles=["A", "B"])
    with pytest.warns(UserWarning, match="inputs 0"):
        embeddings.embed_documents(["a"], titles=["A"], task_type="CLUSTERING")


def test_the_retired_preview_warns(emulator: GeminiEmulator) -> None:
    """The preview id works with a warning that names its successor."""
    with pytest.warns(DeprecationWarning, match=r"gemini-embedding-2-preview is retired.*'gemini-embedding-2'"):
        preview = GeminiEmbeddings(model="gemini-embedding-2-preview")

    preview.embed_query("q")

    assert "gemini-embedding-2-preview" in emulator.embed_requests[-1].path
    assert preview.fingerprint["model"] == "gemini-embedding-2-preview"


@pytest.mark.parametrize(("vertexai", "path"), [(True, "/v1beta1/publishers/google/models/gemini-embedding-2:")])
def test_vertex_requests(emulator: GeminiEmulator, vertexai: bool, path: str) -> None:
    """On Vertex AI every content gets its own vector, with every version of the SDK."""
    vertex = GeminiEmbeddings(vertexai=vertexai, base_url=emulator.url, api_key=emulator.api_key)

    contents: list[Content] = ["a", ["b", PNG], "c"]
    vectors = vertex.embed_documents(contents)

    assert len(vectors) == sum(request.count for request in emulator.embed_requests) == 3
    assert all(request.path.startswith(path) for request in emulator.embed_requests)
    assert vectors == [vertex.embed_documents([content])[0] for content in contents]


def test_project_credentials_and_location_reach_vertex(emulator: GeminiEmulator) -> None:
    """A project and credentials select Vertex AI and are in its URL and header."""
    from google.oauth2.credentials import Credentials

    vertex = GeminiEmbeddings(
        project="my-project", location="eu", credentials=Credentials("a-token"), base_url=emulator.url
    )
    assert vertex.backend == "vertex"

    vertex.embed_query("a")

    request = emulator.embed_requests[-1]
    assert "/projects/my-project/locations/eu/publishers/google/models/gemini-embedding-2:" in request.path
    assert request.headers["authorization"] == "Bearer a-token"


def test_calls_stay_under_a_hundred_items_and_the_byte_budget(emulator: GeminiEmulator) -> None:
    """250 texts take three requests; images are grouped by their size."""
    GeminiEmbeddings().embed_documents([f"text {n}" for n in range(250)])
    assert sorted(request.count for request in emulator.embed_requests) == [50, 100, 100]

    emulator.reset()
    images = [png(f"image {n}", size=(8, 8)) for n in range(7)]
    largest = max(len(base64.b64encode(image)) for image in images)
    GeminiEmbeddings(batch_bytes=3 * largest + 400).embed_documents(images)
    assert sorted(request.count for request in emulator.embed_requests) == [1, 3, 3]


def test_large_media_go_through_the_files_api_once(emulator: GeminiEmulator) -> None:
    """A file over the inline limit is uploaded, used again, and deleted by close()."""
    document = pdf(["one page " * 40])
    ours = GeminiEmbeddings(inline_limit=400)

    first = ours.embed_documents([document, ["the same", document]])
    ours.embed_documents([document])

    (upload,) = emulator.uploads
    parts = [part for request in emulator.embed_requests for part in request.parts if part.text is None]
    assert {part.uri for part in parts} == {upload.uri}
    assert np.allclose(first[0], GeminiEmbeddings().embed_documents([document])[0])

    ours.close()
    assert emulator.uploads == []


def test_vertex_has_no_files_api(emulator: GeminiEmulator) -> None:
    """A file that is too large for Vertex AI is refused; the error names Cloud Storage."""
    vertex = GeminiEmbeddings(vertexai=True, base_url=emulator.url, api_key=emulator.api_key, inline_limit=400)

    with pytest.raises(MediaLimitError, match=r"Vertex AI takes 400.*Cloud Storage"):
        vertex.embed_query(pdf(["one page " * 40]))


def test_limits_are_checked_before_sending(embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """Too many items, too long media, too many pages: the error has limit, value and remedy, and nothing is sent."""
    with pytest.raises(MediaLimitError, match=r"7 image files in one content.*at most 6"):
        embeddings.embed_query([PNG] * 7)
    with pytest.raises(MediaLimitError, match=r"181.*180"):
        embeddings.embed_query(wav(181))
    with pytest.raises(MediaLimitError, match=r"7.*6"):
        embeddings.embed_query(pdf(7))

    assert not emulator.embed_requests


def test_short_video_and_files_by_path(embeddings: GeminiEmbeddings, tmp_path: Path) -> None:
    """A clip passed as a path is embedded, and its cost is estimated by its duration."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(mp4(2))

    embeddings.embed_query(clip)

    assert embeddings.usage.estimated_tokens == {"video": 2 * 66}


def test_embed_images_take_paths_only(
    embeddings: GeminiEmbeddings, tmp_path: Path, emulator: GeminiEmulator, media: MediaStore
) -> None:
    """The method of other embedding classes: a list of paths or references, one vector each."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)

    vectors = embeddings.embed_images([str(path), path, media.put(PNG).uri])

    assert vectors[0] == vectors[1] == vectors[2] == embeddings.embed_image(uris=[str(path)])[0]
    assert asyncio.run(embeddings.aembed_image(uris=[str(path)])) == vectors[:1]
    with pytest.raises(TypeError, match="list of paths"):
        embeddings.embed_image(str(path))
    with pytest.raises(ContentError, match="'https://' is not fetched"):
        embeddings.embed_images(["https://example.org/a.png"])


def test_headers_version_and_options(emulator: GeminiEmulator) -> None:
    """Headers and API version are sent."""
    ours = GeminiEmbeddings(additional_headers={"x-team": "search"}, api_version="v1", request_options={"timeout": 10})

    ours.embed_query("a")

    request = emulator.embed_requests[-1]
    assert request.headers["x-team"] == "search"
    assert request.path.startswith("/v1/")
