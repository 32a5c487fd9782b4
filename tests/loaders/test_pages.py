"""HTML and Markdown: text with inline images, which are loaded only from inside the folder."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm.loaders.markup import ImageLink, html_parts, markdown_parts
from langchain_gemini_mm.loaders.text_documents import split_parts
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.testing import jpeg, mp4, png
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.storage import MediaStore

REF = MediaRef("ab" * 32)


def load(folder: Path, name: str, text: str, media: MediaStore, **options: Any) -> list[str | MediaRef]:
    """The texts and references in the chunks of a page, in order."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    documents = PathLoader(folder, media, **options).load()
    chosen = [document for document in documents if document.metadata["source"] == name]
    assert {document.metadata["modality"] for document in chosen} == {"text"}
    return [piece for document in chosen for piece in split_references(document.page_content)]


def references(pieces: list[str | MediaRef]) -> list[MediaRef]:
    """The references among the pieces."""
    return [piece for piece in pieces if isinstance(piece, MediaRef)]


PAGES: dict[str, tuple[str, list[str]]] = {
    "blocks": ("<div>a<p>b</p>c<br>d</div>", ["a\n\nb\n\nc\nd"]),
    "headings": ("<h2>Part</h2>text", ["## Part\n\ntext"]),
    "lists": ("<ul><li>a<li>b</ul>", ["- a\n- b"]),
    "tables": ("<table><tr><td>a<td>b<tr><td>c</table>", ["a b\nc"]),
    "invisible elements": ("a<script>x<y</script><style>z</style><!-- no -->b", ["ab"]),
    "entities": ("&lt;b&gt; &amp; &eacute;&#x4e2d;&nbsp;x", ["<b> & é中 x"]),
    "white space": ("a \n\n  b\t c", ["a b c"]),
    "kept white space": ("<pre>a\nb</pre>", ["a\nb"]),
    "no tags": ("3 < 4 and 5 > 4, x<3", ["3 < 4 and 5 > 4, x<3"]),
    "quotes in a tag": ("<a title='x > y'>link</a>", ["link"]),
    "capitals": ("<P>a<SCRIPT>x</ScRiPt>b</P>", ["ab"]),
    "unfinished": ("<p>a <b", ["a <b"]),
    "an open script": ("a<script>for(;;)", ["a"]),
    "an open comment": ("a<!-- b", ["a"]),
}


@pytest.mark.parametrize(("page", "expected"), PAGES.values(), ids=PAGES)
def test_html_becomes_text(page: str, expected: list[str]) -> None:
    """The visible text, in paragraphs, without markup."""
    found = [piece if isinstance(piece, str) else piece.source for piece in html_parts(page)]
    assert found == expected


IMAGES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "html": ('<img src="a b.png" alt="one &amp; two">', [("a b.png", "one & two")]),
    "without quotes": ("<img src=a.png>", [("a.png", "")]),
    "other attributes": ("<IMG class=x data-src='no' SRC='a.png' />", [("a.png", "")]),
    "nothing in it": ("<img alt=x><img src=''>", []),
}


@pytest.mark.parametrize(("page", "expected"), IMAGES.values(), ids=IMAGES)
def test_images_of_html(page: str, expected: list[tuple[str, str]]) -> None:
    """Source and alternative text are read from any spelling of the tag."""
    found = [(piece.source, piece.alt) for piece in html_parts(page) if isinstance(piece, ImageLink)]
    assert found == expected


MARKDOWN: dict[str, tuple[str, list[str]]] = {
    "plain": ("![x](a.png)", ["a.png"]),
    "with a title": ('![x](a.png "the title")', ["a.png"]),
    "with spaces": ("![x](<a b.png>)", ["a b.png"]),
    "as HTML": ('<img width=5 src="a.png">', ["a.png"]),
    "two": ("![](a.png)![](b.png)", ["a.png", "b.png"]),
    "escaped": (r"\![x](a.png)", []),
    "a link": ("[x](a.png)", []),
}


@pytest.mark.parametrize(("text", "expected"), MARKDOWN.values(), ids=MARKDOWN)
def test_images_of_markdown(text: str, expected: list[str]) -> None:
    """Both image syntaxes are read; all other text is unchanged."""
    pieces = list(markdown_parts(f"before {text} after"))
    assert [piece.source for piece in pieces if isinstance(piece, ImageLink)] == expected
    assert "".join(piece if isinstance(piece, str) else piece.written for piece in pieces) == f"before {text} after"


@pytest.mark.parametrize("name", ["notes/a.md", "notes/a.html"])
def test_images_keep_their_position(tmp_path: Path, media: MediaStore, name: str) -> None:
    """Local images become references at their position in the text, with their alternative text."""
    (tmp_path / "notes" / "pics").mkdir(parents=True)
    (tmp_path / "notes" / "pics" / "my cat.png").write_bytes(png("cat"))
    (tmp_path / "dog.jpg").write_bytes(jpeg("dog"))
    text = {
        "notes/a.md": "A cat ![grey](pics/my%20cat.png) and ![](../dog.jpg) asleep.",
        "notes/a.html": "A cat <img src='pics/my%20cat.png' alt='grey'> and <img src='../dog.jpg'> asleep.",
    }
    pieces = load(tmp_path, name, text[name], media)
    assert [piece if isinstance(piece, str) else media.info(piece).mime_type for piece in pieces] == [
        "A cat grey ",
        "image/png",
        " and ",
        "image/jpeg",
        " asleep.",
    ]


OUTSIDE = [
    "https://example.com/cat.png",
    "//example.com/cat.png",
    "file:///SECRET",
    "FILE:/SECRET",
    "gs://bucket/cat.png",
    f"mm://sha256-{'ab' * 32}",
    "data:image/png;base64,AAAA",
    "/SECRET",
    "../outside/secret.png",
    "pics/../../outside/secret.png",
    "%2e%2e/outside/secret.png",
    "..%2foutside%2fsecret.png",
    "..\\outside\\secret.png",
    "C:\\outside\\secret.png",
    "link.png",
    "linked/secret.png",
    ".hidden.png",
    "pics",
    "pipe.png",
    "drafts/cat.png",
    "media/aa.png",
    "gone.png",
    "a%00.png",
    "x" * 3000,
    "clip.mp4",
    "broken.png",
    "dot.png",
]


@pytest.mark.parametrize("source", OUTSIDE, ids=lambda source: ascii(source[:30]))
@pytest.mark.parametrize("name", ["a.md", "a.html"])
def test_images_outside_the_folder_are_not_loaded(tmp_path: Path, media: MediaStore, name: str, source: str) -> None:
    """URLs, paths outside the folder, links, hidden and excluded files, and other file types stay text."""
    folder, outside = tmp_path / "library", tmp_path / "outside"
    for place in (folder / "pics", folder / "drafts", outside):
        place.mkdir(parents=True)
    secret = outside / "secret.png"
    for path in (secret, folder / ".hidden.png", folder / "drafts" / "cat.png"):
        path.write_bytes(png())
    (folder / "link.png").symlink_to(secret)
    (folder / "linked").symlink_to(outside)
    (folder / "clip.mp4").write_bytes(mp4(0.5))
    (folder / "broken.png").write_bytes(png()[:-30])
    (folder / "dot.png").write_bytes(png(size=(1, 1)))
    source = source.replace("SECRET", str(secret).lstrip("/"))
    text = f"words ![alt](<{source}>) end" if name == "a.md" else f'words <img src="{source}" alt="alt"> end'
    pieces = load(folder, name, text, media, exclude="drafts")
    assert not references(pieces)
    assert "words" in str(pieces[0])
    assert "alt" in "".join(map(str, pieces))


def test_followed_links_stay_inside(tmp_path: Path, media: MediaStore) -> None:
    """With follow_symlinks an image can be a link to a file inside the folder only."""
    folder = tmp_path / "library"
    folder.mkdir()
    for path in (folder / "cat.png", tmp_path / "secret.png"):
        path.write_bytes(png())
    (folder / "in.png").symlink_to(folder / "cat.png")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    text = "a ![](in.png) b ![](out.png)"
    assert len(references(load(folder, "a.md", text, media, follow_symlinks=True))) == 1
    assert not references(load(folder, "a.md", text, media))


def test_images_per_chunk_are_limited(tmp_path: Path, media: MediaStore) -> None:
    """A chunk has at most six images; none is lost, and the order is kept."""
    for number in range(15):
        (tmp_path / f"{number}.png").write_bytes(png(str(number)))
    (tmp_path / "a.md").write_text(" ".join(f"word ![]({number}.png)" for number in range(15)))
    chunks = [one for one in PathLoader(tmp_path, media).load() if one.metadata["source"] == "a.md"]
    found = [references(split_references(chunk.page_content)) for chunk in chunks]
    assert max(map(len, found)) == 6
    expected = [media.put(png(str(number))) for number in range(15)]
    assert [ref for refs in found for ref in refs] == expected
    assert [chunk.metadata["position"] for chunk in chunks] == list(range(len(chunks)))


def test_references_in_pages_are_escaped(tmp_path: Path, media: MediaStore) -> None:
    """References and private markers in the text of a page are escaped."""
    (tmp_path / "cat.png").write_bytes(png())
    evil = f"{REF.markdown} \\{REF.markdown} \U00100000 {chr(0x100001)} ![x](cat.png)"
    pieces = load(tmp_path, "a.md", evil, media)
    assert references(pieces) == [media.put(png())]
    page = f"{REF.markdown} &#x21;[](mm://sha256-{'ab' * 32}) &#x100000; <img src=cat.png>"
    assert references(load(tmp_path, "a.html", page, media)) == [media.put(png())]


@given(
    st.lists(st.sampled_from(["\\", " ", "\n\n", "word", "!", "[](", REF.markdown, "mm://", REF]), max_size=15),
    st.integers(5, 60),
)
def test_only_inserted_images_become_references(pieces: list[str | MediaRef], size: int) -> None:
    """With any text around it, each image becomes one resolvable reference, and no text becomes one."""
    given_refs = [MediaRef(f"{number:064x}") for number in range(len(pieces))]
    parts = [given_refs[number] if isinstance(piece, MediaRef) else piece for number, piece in enumerate(pieces)]
    chunks = split_parts(parts, ".md", chunk_size=size, chunk_overlap=3, max_images=2)
    found = [ref for chunk in chunks for ref in references(split_references(chunk))]
    assert found == [part for part in parts if isinstance(part, MediaRef)]


HOSTILE = [
    "<a ",
    "<!--",
    "<![CDATA[",
    "<",
    "</",
    "<img src='",
    "<script>",
    "&#",
    "<a '",
    '<a ">',
    "<pre> ",
    "![",
    "![a](",
    "<img ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_pages_are_parsed_in_bounded_time(piece: str) -> None:
    """Two megabytes of unclosed markup are parsed in seconds."""
    text = piece * (2_000_000 // len(piece))
    started = time.process_time()
    for read in (html_parts, markdown_parts):
        assert sum(1 for _ in read(text)) < 2_000_000
    assert time.process_time() - started < 20


CHARSETS: dict[str, bytes] = {
    "UTF-8": "<p>Grüße".encode(),
    "declared": '<meta charset="iso-8859-1"><p>Grüße'.encode("latin-1"),
    "undeclared": "<p>Grüße".encode("cp1252"),
    "UTF-16": "<p>Grüße".encode("utf-16"),
    "declared wrongly": '<meta charset="shift_jis"><p>Grüße'.encode(),
    "declared as no charset": '<meta charset="zlib"><p>Grüße'.encode(),
}


@pytest.mark.parametrize("data", CHARSETS.values(), ids=CHARSETS)
def test_encodings(tmp_path: Path, media: MediaStore, data: bytes) -> None:
    """The encoding that a page declares is used if it is supported and decodes the page."""
    (tmp_path / "a.html").write_bytes(data)
    text = PathLoader(tmp_path, media).load()[0].page_content
    assert text == "Grüße"


PIXELS = base64.b64encode(png("a dog", size=(64, 64))).decode()
WRITTEN: dict[str, tuple[str, list[str]]] = {
    "a reference": ("![x][pic] ![pic][] ![pic]\n\n[Pic]: <a b.png> 'title'", ["a b.png"] * 3),
    "no definition": ("![x][absent] ![absent]", []),
    "a fenced block": ("```py\n![a](a.png)\n```\n~~~\n![b](b.png)\n~~~~\n![c](c.png)", ["c.png"]),
    "a fence in a fence": ("````\n```\n![a](a.png)\n```\n````\n![c](c.png)", ["c.png"]),
    "an open fence": ("![a](a.png)\n```\n![b](b.png)", ["a.png"]),
    "a code span": ("`![a](a.png)` ``![b](b.png)` `` ![c](c.png)", ["c.png"]),
    "a lone backtick": ("a ` b ![a](a.png)\n\n` ![b](b.png)", ["a.png", "b.png"]),
    "an indented block": ("text\n\n    ![a](a.png)\n\ntext ![b](b.png)", ["b.png"]),
    "an item of a list": ("- item\n\n    ![a](a.png)\n", ["a.png"]),
    "a comment": ("<!-- ![a](a.png)\n\n<img src=b.png> -->![c](c.png)", ["c.png"]),
    "an open comment": ("![a](a.png) <!-- ![b](b.png)", ["a.png"]),
    "a definition in code": ("![x][pic]\n```\n[pic]: a.png\n```\n", []),
    "an image in the text": (f"![x](data:image/png;base64,{PIXELS})", [f"data:image/png;base64,{PIXELS}"]),
    "an image in a definition": (
        f"![x][pic] end\n\n[pic]: data:image/png;base64,{PIXELS}\n",
        [f"data:image/png;base64,{PIXELS}"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRITTEN.values(), ids=WRITTEN)
def test_images_in_code_and_comments(text: str, expected: list[str]) -> None:
    """Images in the text and by reference are found, and those in code and comments are text; nothing else is lost."""
    parts = list(markdown_parts(text))
    assert [part.source for part in parts if isinstance(part, ImageLink)] == expected
    words = "".join(part if isinstance(part, str) else part.written for part in parts)
    assert PIXELS not in words
    if "data:" not in text:
        assert words == text


@pytest.mark.parametrize("name", ["a.md", "a.html"])
@pytest.mark.parametrize(
    "written",
    [
        f'<img alt="x" src="data:image/png;base64,{PIXELS}">',
        f"<img src=data:image/png;base64,{PIXELS[:40]}\n{PIXELS[40:]} alt=x>",
    ],
    ids=["quoted", "broken lines"],
)
def test_images_in_pages_become_images(tmp_path: Path, media: MediaStore, name: str, written: str) -> None:
    """An image that is written in base64 is stored and referenced at its position, and leaves no base64 behind."""
    if "\n" in written:
        written = written.replace("src=data", "src='data").replace(" alt", "' alt")
    pieces = load(tmp_path, name, f"before {written} after", media)
    (ref,) = references(pieces)
    assert media.get(ref) == png("a dog", size=(64, 64))
    assert [str(piece).split() for piece in pieces if isinstance(piece, str)] == [["before", "x"], ["after"]]


@pytest.mark.parametrize("data", ["image/png;base64,AAAA", "image/png;base64,%%%", "text/html,b", "image/png,"])
def test_invalid_images_in_pages_leave_their_text(tmp_path: Path, media: MediaStore, data: str) -> None:
    """What is no image leaves its alternative text."""
    assert load(tmp_path, "a.md", f"before ![words](data:{data}) after", media) == ["before words after"]
