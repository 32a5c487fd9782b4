"""Documented properties of the emulator's vectors."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from google.genai.types import Part
from PIL import Image

from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from langchain_gemini_mm.testing.space import directions as space
from langchain_gemini_mm.testing.space.concepts import meaning_of, stem_of
from langchain_gemini_mm.testing.space.describe_media import colours_of


def part(data: bytes, mime_type: str) -> Part:
    """A part with bytes."""
    return Part.from_bytes(data=data, mime_type=mime_type)


DESCRIBED = {
    "PNG": lambda words: part(png(words), "image/png"),
    "JPEG": lambda words: part(jpeg(words), "image/jpeg"),
    "WAV": lambda words: part(wav(0.5, words), "audio/wav"),
    "MP3": lambda words: part(mp3(0.5, words), "audio/mp3"),
    "MP4": lambda words: part(mp4(1, words), "video/mp4"),
    "MOV": lambda words: part(mp4(1, words, container="mov"), "video/quicktime"),
    "PDF title": lambda words: part(pdf([""], title=words), "application/pdf"),
    "PDF page": lambda words: part(pdf([words]), "application/pdf"),
    "text": lambda words: words,
}
SUBJECTS = ("a puppy on a meadow", "a pizza with cheese", "waves on the beach", "revenue by quarter", "a red apple")


def test_unit_length_at_every_size(embed):
    """gemini-embedding-2 returns unit vectors at every size, each the normalized start of the full one."""
    (full,) = embed("a puppy")
    for size in (128, 768, 1536, 3072):
        (cut,) = embed("a puppy", output_dimensionality=size)
        assert np.linalg.norm(cut) == pytest.approx(1.0, abs=1e-6)
        assert cut == pytest.approx(full[:size] / np.linalg.norm(full[:size]), abs=1e-6)


@pytest.mark.parametrize("modality", DESCRIBED)
def test_texts_find_files_with_the_same_description(embed, modality):
    """In every modality the file nearest to a text is the one whose metadata have the same description."""
    texts = embed(*[f"task: search result | query: {subject}" for subject in SUBJECTS], output_dimensionality=768)
    files = embed(*[DESCRIBED[modality](subject) for subject in SUBJECTS], output_dimensionality=768)
    assert np.argmax(texts @ files.T, axis=1).tolist() == list(range(len(SUBJECTS)))


def test_related_words_are_near(embed):
    """An animal is nearer to puppy, kitten and bird than to food, and vice versa."""
    animals, foods = ("a puppy", "two kittens", "birds"), ("a pizza", "bananas", "apple")
    creature, meal = embed("an image of an animal", "an image of food")
    files = [part(png(words), "image/png") for words in animals + foods]
    images = embed(*files)
    assert (images[:3] @ creature).min() > (images[3:] @ creature).max()
    assert (images[3:] @ meal).min() > (images[:3] @ meal).max()


def test_prefixes_of_vectors_keep_neighbours(embed):
    """With 128 of 3072 values the nearest files are the same."""
    contents = [make(subject) for subject in SUBJECTS for make in (DESCRIBED["PNG"], DESCRIBED["text"])]
    small, full = (embed(*contents, output_dimensionality=size) for size in (128, 3072))
    for vectors in (small, full):
        similarity = vectors @ vectors.T
        np.fill_diagonal(similarity, -1)
        pairs = similarity[0::2, 1::2]
        assert np.argmax(pairs, axis=1).tolist() == list(range(len(SUBJECTS)))
    assert np.abs(small @ small.T - full @ full.T).mean() < 0.06


def test_query_and_document_side_are_near_not_equal(embed):
    """A text with its query prefix and with its document prefix has two similar vectors."""
    query, document, plain = embed(
        "task: search result | query: a sleepy puppy", "title: none | text: a sleepy puppy", "a sleepy puppy"
    )
    assert 0.85 < query @ document < 0.999
    assert plain @ document > 0.9


def test_title_counts(embed):
    """The title in a document prefix influences the vector."""
    beach, titled, untitled = embed("beach", "title: Beach | text: a weekend", "title: none | text: a weekend")
    assert beach @ titled > beach @ untitled + 0.1


def test_modality_gap(emulator, embed):
    """The gap moves unrelated images away from texts and keeps the order of images."""
    found = {}
    for gap in (0.0, 0.3, 1.0):
        emulator.settings.modality_gap = gap
        text, near, far = embed("a puppy", *[part(png(words), "image/png") for words in ("a puppy dog", "a pizza")])
        other_text = embed("quarterly revenue")[0]
        found[gap] = (text @ near, text @ far, text @ other_text)
        assert text @ near > text @ far + 0.1
    assert found[0.0][0] > found[0.3][0] > found[1.0][0]
    assert found[1.0][2] > found[1.0][0]
    assert found[0.0][2] < found[0.0][0]


def test_fused_input_is_not_the_average(embed):
    """The vector of text and image is not their mean: it is closer to the image, and depends on their order."""
    puppy = part(png("a brown puppy dog"), "image/png")
    text, image, fused, other_order = embed("a brown puppy", puppy, ["a brown puppy", puppy], [puppy, "a brown puppy"])
    mean = (text + image) / np.linalg.norm(text + image)
    assert 0.5 < fused @ text < 0.75
    assert 0.7 < fused @ image < 0.87
    assert fused @ image > fused @ text + 0.05
    assert fused @ mean < 0.93
    assert 0.5 < fused @ other_order < 0.98


def test_fused_figures_at_the_published_similarity():
    """If text and image have cosine 0.413, as in the cookbook's output, fused has about 0.607 and 0.786."""
    rng = np.random.default_rng(5)
    text = space._unit(rng.standard_normal(3072).astype(np.float32))
    noise = space._unit(rng.standard_normal(3072).astype(np.float32))
    noise = space._unit(noise - (noise @ text) * text)
    image = space._unit(np.float32(0.413) * text + np.float32((1 - 0.413**2) ** 0.5) * noise)
    fused = space._fuse([text, image], [space._FUSED_TEXT, space._FUSED_MEDIA])
    assert fused @ text == pytest.approx(0.607, abs=0.03)
    assert fused @ image == pytest.approx(0.786, abs=0.03)


def test_image_and_text_together_find_both(embed):
    """An image of a puppy with the text "sleeping" is nearest to the sleeping puppy."""
    names = ("a puppy sleeping on a cushion", "a puppy running", "a kitten", "a pizza")
    files = embed(*[part(png(name), "image/png") for name in names])
    (query,) = embed([part(png("a cream puppy"), "image/png"), "but sleeping"])
    assert np.argmax(files @ query) == 0


def test_equal_bytes_give_equal_vectors(embed):
    """The same file twice, in one batch and later, has the same vector; with one more byte it has another."""
    data = png("a puppy")
    first, second, other = embed(
        part(data, "image/png"), part(data, "image/png"), part(png("a puppy", size=(9, 9)), "image/png")
    )
    (later,) = embed(part(data, "image/png"))
    assert np.array_equal(first, second)
    assert np.array_equal(first, later)
    assert not np.array_equal(first, other)
    assert first @ other > 0.9


def test_word_order_changes_the_vector(embed):
    """Texts of the same words are near, but not equal."""
    first, second = embed("dog bites man", "man bites dog")
    assert 0.85 < first @ second < 0.9999


def test_images_without_description_are_described_by_colour(embed):
    """A plain red image is found by the word "red"."""
    names = ("red", "blue", "green", "yellow", "purple")
    images = embed(*[part(png(colour=name), "image/png") for name in names])
    words = embed(*[f"something {name}" for name in names])
    assert np.argmax(words @ images.T, axis=1).tolist() == list(range(5))


@pytest.mark.parametrize(
    ("css", "name"),
    [
        ("black", "black"), ("white", "white"), ("grey", "grey"), ("crimson", "red"), ("orange", "orange"),
        ("gold", "yellow"), ("forestgreen", "green"), ("cyan", "cyan"), ("royalblue", "blue"),
        ("blueviolet", "purple"), ("hotpink", "pink"), ("saddlebrown", "brown"),
    ],
)  # fmt: skip
def test_colour_names(css, name):
    """Colours have their usual names."""
    assert colours_of(np.asarray(Image.new("RGB", (4, 4), css))) == [(name, 1.0)]


def test_exif_orientation_and_alpha_do_no_harm(embed):
    """Images with transparency, palettes and EXIF are read."""
    files = []
    for mode in ("RGBA", "P", "L", "1", "LA"):
        buffer = io.BytesIO()
        Image.new(mode, (8, 8)).save(buffer, "PNG")
        files.append(part(buffer.getvalue(), "image/png"))
    assert embed(*files, part(jpeg(orientation=6), "image/jpeg")).shape == (6, 3072)


STEMS = {
    "puppies": "puppy", "sleeping": "sleep", "waves": "wave", "beaches": "beach", "running": "run", "stopped": "stop",
    "tomatoes": "tomato", "glass": "glass", "purring": "purr", "bus": "bus", "sing": "sing", "is": "is", "猫": "猫",
}  # fmt: skip


@pytest.mark.parametrize(("word", "stem"), STEMS.items())
def test_stems(word, stem):
    """Plural and verb endings are removed, other endings are kept."""
    assert stem_of(word) == stem


def test_prefixes_are_read():
    """Task prefixes are recognised only at the beginning."""
    assert meaning_of("task: question answering | query: why").task == "question answering"
    assert meaning_of("title: A | B | text: c").task == "document"
    assert meaning_of("say task: x | query: y").task is None


PROGRAM = """
import hashlib
from langchain_gemini_mm.testing.service import Service
from langchain_gemini_mm.testing.settings import Settings
from langchain_gemini_mm.testing.transport.exchange import HttpRequest

body = b'{"content": {"parts": [{"text": "a sleepy puppy on a beach"}]}}'
path = "/v1beta/models/gemini-embedding-2:embedContent"
headers = {"x-goog-api-key": "emulator-key"}
reply = Service(Settings()).handle(HttpRequest(method="POST", path=path, headers=headers, body=body))
print(hashlib.sha256(reply.body).hexdigest())
"""


def test_vectors_are_the_same_in_every_process():
    """Two processes with different hash seeds compute the same bytes."""
    command = [sys.executable, "-c", PROGRAM]
    answers = {
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


def test_latin_and_other_scripts(embed):
    """Words of any script are used, and different ones differ."""
    first, same, other = embed("собака на пляже", "собака", "пицца")
    assert first @ same > first @ other + 0.1
