"""Models: known and unknown ids, own specifications, retired models and locations."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import GeminiEmbeddings, MediaStore
from langchain_gemini_mm.loaders import plan
from langchain_gemini_mm.models import MODELS, ModelSpec, model_spec, register_model, text_token_range, text_tokens
from langchain_gemini_mm.testing import png
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator

MINE = replace(MODELS["gemini-embedding-2"], name="gemini-embedding-9", tokens=16_384, source="a test")


@pytest.mark.parametrize(
    ("model", "name", "dimensions"),
    [
        ("gemini-embedding-2", "gemini-embedding-2", 3072),
        ("models/gemini-embedding-2", "gemini-embedding-2", 3072),
        ("publishers/google/models/gemini-embedding-001", "gemini-embedding-001", 3072),
        ("text-embedding-005", "text-embedding-005", 768),
        ("text-multilingual-embedding-002", "text-multilingual-embedding-002", 768),
    ],
)
@pytest.mark.filterwarnings("error")
def test_known_models(model: str, name: str, dimensions: int) -> None:
    """Ids of the Gemini API and of Vertex AI, with and without a path, give no warning."""
    assert model_spec(model).name == name
    assert len(GeminiEmbeddings(model=model, api_key="k").fingerprint) >= 4
    assert GeminiEmbeddings(model=model, api_key="k").fingerprint["dimensions"] == dimensions


@pytest.mark.parametrize(
    ("model", "modalities", "style"),
    [
        ("gemini-embedding-3", {"image", "audio", "video", "pdf"}, "prefix"),
        ("gemini-embedding-2-exp-11-2025", {"image", "audio", "video", "pdf"}, "prefix"),
        ("gemini-embedding-002", set(), "field"),
        ("tunedModels/x", set(), "field"),
        ("projects/p/locations/us-central1/endpoints/123", set(), "field"),
    ],
)
def test_unknown_models_get_the_facts_of_their_family(model: str, modalities: set[str], style: str) -> None:
    """They work, with one warning for each id that says what is assumed; a path that is no model name is kept."""
    with pytest.warns(UserWarning, match=f"unknown embedding model '{model}': limits, .*ModelSpec") as seen:
        spec = model_spec(model)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GeminiEmbeddings(model=model, api_key="k")
    assert (spec.name, set(spec.media.get("gemini", ())), spec.task_style) == (model, modalities, style)


@pytest.mark.parametrize(
    ("model", "successor"),
    [
        ("gemini-embedding-2-preview", "gemini-embedding-2"),
        ("text-embedding-004", "gemini-embedding-001"),
        ("embedding-001", "gemini-embedding-001"),
        ("gemini-embedding-exp-03-07", "gemini-embedding-001"),
    ],
)
def test_retired_models_name_their_successor(model: str, successor: str) -> None:
    """They can still be used where they are served."""
    with pytest.warns(DeprecationWarning, match=f"{model} is retired .* use '{successor}'"):
        GeminiEmbeddings(model=model, api_key="k")


@pytest.mark.filterwarnings("error")
def test_an_own_specification(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """A `ModelSpec` can be passed, copied, pickled, planned with and loaded for; its limits are used."""
    (tmp_path / "dog.png").write_bytes(png("a dog"))
    ours = GeminiEmbeddings(model=MINE, output_dimensionality=128)

    for one in (ours, pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)):
        assert one.fingerprint["model"] == "gemini-embedding-9"
        assert not one.plan(["word " * 9000]).failed
    assert plan(tmp_path, ours).documents == 1
    assert len(PathLoader(tmp_path, MediaStore.memory(), model=MINE, workers=1).load()) == 1
    with pytest.raises(ValueError, match="the same model and backend"):
        plan(PathLoader(tmp_path, MediaStore.memory()), ours)
    with pytest.raises(ValueError, match="128 to 3072 for gemini-embedding-9"):
        GeminiEmbeddings(model=MINE, output_dimensionality=4096)
    assert not emulator.requests


@pytest.mark.filterwarnings("error")
def test_a_registered_model() -> None:
    """It is known by its id."""
    register_model(ModelSpec(name="tunedModels/registered", default_dimensions=256, dimensions=(256, 256)))
    assert GeminiEmbeddings(model="tunedModels/registered", api_key="k").fingerprint["dimensions"] == 256
    with pytest.raises(TypeError, match="expected a ModelSpec, got str"):
        register_model("x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "location", "listed"),
    [
        ("gemini-embedding-001", "global", "us-central1.*europe-west4"),
        ("text-embedding-005", "eu", "us-central1"),
        ("gemini-embedding-2", "europe-west1", "Its locations: global, us, eu"),
    ],
)
def test_a_location_without_the_model_lists_those_with_it(model: str, location: str, listed: str) -> None:
    """The error comes before anything is sent; where a location is new, the list can be emptied."""
    options: dict[str, Any] = {"vertexai": True, "project": "p", "location": location}
    with pytest.raises(ValueError, match=f"{model} is not served in '{location}' on Vertex AI.*{listed}"):
        GeminiEmbeddings(model=model, **options)
    GeminiEmbeddings(model=replace(MODELS[model], locations=()), **options)


def test_requests_of_text_models_on_vertex_stay_below_their_limit(emulator: GeminiEmulator) -> None:
    """`predict` takes 20,000 tokens in one request: 100 texts of 500 tokens are three requests."""
    ours = GeminiEmbeddings(
        model="gemini-embedding-001", vertexai=True, base_url=emulator.url, output_dimensionality=128
    )
    texts = [f"{number} " + "word " * 400 for number in range(100)]

    ours.embed_documents(texts)

    tokens = [sum(text_tokens(text) for text in request.texts) for request in emulator.embed_requests]
    assert sum(request.count for request in emulator.embed_requests) == 100
    assert max(tokens) <= 20_000
    assert ours.plan(texts).calls == len(tokens) == 3


# The beginning of the Universal Declaration of Human Rights, and its tokens as counted by the tokenizer of Gemma 3,
# which google-genai names for Gemini models.
ARTICLES = {
    "English": (
        "Whereas recognition of the inherent dignity and of the equal and inalienable rights of all members of the "
        "human family is the foundation of freedom, justice and peace in ",
        33,
    ),
    "Russian": (
        "Принимая во внимание, что признание достоинства, присущего всем членам человеческой семьи, и равных и "
        "неотъемлемых прав их является основой свободы, справедливости и всео",
        41,
    ),
    "Arabic": (
        "لمّا كان الاعتراف بالكرامة المتأصلة في جميع أعضاء الأسرة البشرية وبحقوقهم المتساوية الثابتة هو أساس الحرية "
        "والعدل والسلام في العالم.",
        41,
    ),
    "Chinese": ("鉴于对人类家庭所有成员的固有尊严及其平等的和不移的权利的承认,乃是世界自由、正义与和平的基础,", 33),
    "Japanese": (
        "人類社会のすべての構成員の固有の尊厳と平等で譲ることのできない権利とを承認することは、"
        "世界における自由、正義及び平和の基礎であるので、",
        37,
    ),
    "Korean": (
        "모든 인류 구성원의 천부의 존엄성과 동등하고 양도할 수 없는 권리를 인정하는 것이 세계의 자유, 정의 및 "
        "평화의 기초이며,",
        37,
    ),
    "Hebrew": (
        "הואיל והכרה בכבוד הטבעי אשר לכל בני משפחת האדם ובזכויותיהם השוות והבלתי נפקעות הוא יסוד החופש, הצדק והשלום "
        "בעולם.",
        52,
    ),
}


@pytest.mark.parametrize("language", ARTICLES)
def test_estimates_of_tokens(language: str) -> None:
    """The estimate is near what was counted, and what was counted lies between the least and the most."""
    text, tokens = ARTICLES[language]
    least, most = text_token_range(text)
    assert least <= tokens <= most
    assert text_tokens(text) == pytest.approx(tokens, rel=0.45)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("5" * 4000, 4000), ("-" * 4000, 250), ("word " * 500, 501), ("a b c d " * 500, 2001), ("😀🎉👍" * 500, 1500)],
)
def test_extreme_texts_are_within_the_range(text: str, tokens: int) -> None:
    """Digits are single tokens, lines of one sign are the longest, and words are never joined (counted as above)."""
    least, most = text_token_range(text)
    assert least <= tokens <= most


def test_empty_texts_have_no_tokens() -> None:
    """A piece of white space adds nothing."""
    assert text_token_range("") == (0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert text_tokens("\ud800") >= 1
