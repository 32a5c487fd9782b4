"""A text with images is stored again when one of its images has changed, although the text has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm.testing import png

if TYPE_CHECKING:
    from tests.sync.conftest import MirroredFolder
    from tests.vectorstores.contract_base import Call

TEXTS = {
    "markdown": ("page_md", "# A castle\n\n![the castle](images/a%20castle.png)\n\nIt is old."),
    "html": ("page_html", '<h1>A castle</h1><p><img src="images/a%20castle.png"> It is old.</p>'),
}


@pytest.fixture(params=TEXTS)
def page(request: pytest.FixtureRequest, mirrored: MirroredFolder) -> str:
    """A text with an image in another folder; its source."""
    name, text = TEXTS[request.param]
    (mirrored.folder / "images").mkdir()
    (mirrored.folder / "images" / "a castle.png").write_bytes(png("a small castle", size=(64, 64)))
    mirrored.write(**{f"guide__{name}": text.replace("images/", "../images/")})
    return f"work/guide/{name.replace('_', '.')}"


async def test_a_changed_image(run: Any, page: str, mirrored: MirroredFolder) -> None:
    """The text and the image are embedded again, and nothing else."""
    assert page in (await run()).added
    before = mirrored.contents[page]
    assert any("mm://" in text for text in before)
    assert (await run()).is_current
    (mirrored.folder / "images" / "a castle.png").write_bytes(png("a large castle", size=(64, 64)))
    assert (await run(dry_run=False)).changed == (page, "work/images/a castle.png")
    assert mirrored.contents[page] != before
    report = await run()
    assert report.is_current
    assert len(report.unchanged) == 5


async def test_an_image_that_goes_and_comes(run: Any, page: str, mirrored: MirroredFolder) -> None:
    """Without its image the text is stored without it; with the same image it is as before."""
    await run()
    before = mirrored.contents[page]
    image = mirrored.folder / "images" / "a castle.png"
    content = image.read_bytes()
    image.unlink()
    assert (await run()).changed == (page,)
    assert not any("mm://" in text for text in mirrored.contents[page])
    assert (await run()).is_current
    image.write_bytes(content)
    report = await run()
    assert (report.changed, report.added) == ((page,), ("work/images/a castle.png",))
    assert mirrored.contents[page] == before


async def test_a_touched_image(run: Any, page: str, mirrored: MirroredFolder) -> None:
    """New times of an image embed nothing, and do not count as a change."""
    await run()
    image = mirrored.folder / "images" / "a castle.png"
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content)
    report = await run()
    assert (report.is_current, report.embedded) == (True, 0)
    assert (await run()).is_current


async def test_only_images_of_the_library_count(call: Call, mirrored: MirroredFolder) -> None:
    """Links that lead out of the folder are not looked at, and excluded images are not loaded."""
    outside = mirrored.folder.parent / "secret.png"
    outside.write_bytes(png("a secret", size=(64, 64)))
    text = "![a](../secret.png) ![b](https://example.com/b.png) ![c](images/c.png)"
    mirrored.write(page_md=text, images__c_png=png("c", size=(64, 64)))
    options = {"exclude": "images"}
    await call(mirrored.retriever, "mirror", mirrored.folder, **options)
    outside.write_bytes(png("another secret", size=(64, 64)))
    report = await call(mirrored.retriever, "mirror", mirrored.folder, **options)
    assert report.is_current
    assert mirrored.contents["work/page.md"] == [text]


async def test_texts_beside_captions(run: Any, page: str, mirrored: MirroredFolder) -> None:
    """Images are tracked in a folder with `captions.jsonl`, too."""
    (mirrored.folder / "captions.jsonl").write_text('{"source": "notes.txt", "text": "notes"}\n')
    await run()
    assert (await run()).is_current
    (mirrored.folder / "images" / "a castle.png").write_bytes(png("a large castle", size=(64, 64)))
    assert page in (await run()).changed
    assert (await run()).is_current
