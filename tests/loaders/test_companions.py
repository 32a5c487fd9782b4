"""Companion text: read from files next to media and from the media, and stored with the part it belongs to."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.loaders.subtitles import parse, text_between
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.storage import MediaStore

SRT = """1
00:00:01,500 --> 00:00:03,000
Hello <i>there</i>

2
00:00:29,000 --> 00:00:31,000
{\\an8}across the border

3
00:00:40,000 --> 00:00:41,000
<b>two</b>
lines &amp; more
"""
VTT = """WEBVTT

NOTE 00:00.000 --> this is no cue

00:01.500 --> 00:03.000 align:start
Hello there

29:00.000 --> broken

00:00:29.000 --> 00:00:31.000
across the border
"""


SUBTITLES = {
    "a.srt": SRT,
    "a.vtt": VTT,
    "a.ass": "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Dialogue: 0,0:00:01.50,0:00:03.00,Default,,0,0,0,,{\\i1}Hello{\\i0} there\n"
    "Dialogue: 0,0:00:29.00,0:00:31.00,Default,,0,0,0,,across\\Nthe, border\n",
    "a.sbv": "0:00:01.500,0:00:03.000\nHello there\n\n0:00:29.000,0:00:31.000\nacross the border\n",
    "a.smi": "<SAMI><BODY><SYNC Start=1500><P Class=EN>Hello <b>there</b>\n<SYNC Start=3000><P>&nbsp;\n"
    "<SYNC Start=29000><P>across<br>the border<SYNC Start=31000><P>&nbsp;</BODY></SAMI>",
    "a.ttml": '<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttp="x" ttp:tickRate="10"><body><div>'
    '<p begin="00:00:01.500" end="3s">Hello <span>there</span></p><p begin="290t" dur="00:00:02">across<br/>the border'
    "</p></div></body></tt>",
}


@pytest.mark.parametrize("name", SUBTITLES)
def test_subtitles_of_all_formats(tmp_path: Path, media: MediaStore, name: str) -> None:
    """Subtitles beside a recording belong to its segments, in any usual format, and are no files of their own."""
    folder = write(tmp_path, {"a.mp3": mp3(40.0), name: SUBTITLES[name]})
    loader = PathLoader(folder, media, segments=Segments(audio_s=20))
    first, second = loader.load()
    assert first.metadata["companion_text"] == "Hello there"
    assert second.metadata["companion_text"].replace("\n", " ").replace(",", "").startswith("across the border")
    assert loader.skipped == []


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def companion_texts(documents: list[Document]) -> list[tuple[str, str]]:
    """The source and the companion text of each Document."""
    return [(document.metadata["source"], document.metadata.get("companion_text", "")) for document in documents]


CUES: dict[str, tuple[str, list[tuple[float, float, str]]]] = {
    "srt": (SRT, [(1.5, 3, "Hello there"), (29, 31, "across the border"), (40, 41, "two\nlines & more")]),
    "vtt": (VTT, [(1.5, 3, "Hello there"), (29, 31, "across the border")]),
    "Windows line endings": (SRT.split("\n\n", maxsplit=1)[0].replace("\n", "\r\n"), [(1.5, 3, "Hello there")]),
    "out of order": ("0:09,0 --> 0:10,0\nb\n\n0:01,0 --> 0:02,0\na", [(1, 2, "a"), (9, 10, "b")]),
    "backwards": ("0:09,0 --> 0:08,0\nb\n", []),
    "no blank line": ("0:01,0 --> 0:02,0\na\n0:02,0 --> 0:03,0\nb", [(1, 2, "a"), (2, 3, "b")]),
    "no subtitles": ("Dear all,\n\nhello", []),
}


@pytest.mark.parametrize(("text", "expected"), CUES.values(), ids=CUES)
def test_subtitles(text: str, expected: list[tuple[float, float, str]]) -> None:
    """Times and plain text, in order; damaged cues are skipped."""
    assert parse(text) == expected


def test_rolling_subtitles_are_merged() -> None:
    """Rolling captions repeat their last line in the next cue."""
    cues = parse("0:01,0 --> 0:02,0\none\n\n0:02,0 --> 0:03,0\none\ntwo\n\n0:03,0 --> 0:04,0\ntwo\nthree\n")
    assert text_between(cues, 0, 10) == "one\ntwo\nthree"
    assert text_between(cues, 3, 10) == "two\nthree"


@pytest.mark.parametrize("name", ["talk.srt", "talk.en.srt", "talk.vtt", "talk.pt-BR.vtt"])
def test_subtitles_next_to_a_video(tmp_path: Path, media: MediaStore, name: str) -> None:
    """A segment has the cues in it; a cue across a border is in both; the subtitle file is not a Document."""
    samples = np.sin(np.arange(8000 * 45) / 5).astype(np.float32)
    text = VTT if name.endswith("vtt") else SRT
    write(tmp_path, {"talk.mp4": mp4(45, samples=samples), name: text, "other.srt": SRT})
    loader = PathLoader(tmp_path, media, segments=Segments(video_s=30))
    found = {document.page_content.partition("#")[2]: document for document in loader.load()}
    assert "other.srt" in {document.metadata["source"] for document in found.values()}
    assert name not in {document.metadata["source"] for document in found.values()}
    assert found["t=0,30)"].metadata["companion_text"] == "Hello there\nacross the border"
    assert found["t=30,45)"].metadata["companion_text"].startswith("across the border")
    assert found["t=0,45&track=audio)"].metadata["companion_text"].startswith("Hello there\nacross the border")
    assert loader.skipped == []
    alone = PathLoader(tmp_path / "talk.mp4", media).load()
    assert alone[0].metadata["companion_text"].startswith("Hello there")


def test_subtitles_without_their_video(tmp_path: Path, media: MediaStore) -> None:
    """If the video is not loaded, or companions are disabled, subtitles are loaded as text."""
    write(tmp_path, {"talk.mp4": mp4(5), "talk.srt": SRT})
    for options in ({"glob": "*.srt"}, {"companions": False}, {"exclude": "*.mp4"}):
        assert "talk.srt" in {source for source, _ in companion_texts(PathLoader(tmp_path, media, **options).load())}


@pytest.mark.parametrize(("container", "codec"), [("mp4", "mov_text"), ("matroska", "subrip"), ("matroska", "ass")])
def test_subtitles_inside_a_video(tmp_path: Path, media: MediaStore, container: str, codec: str) -> None:
    """Subtitle tracks of a video are read without a separate file."""
    (tmp_path / "talk").write_bytes(_with_subtitles(container, codec))
    documents = PathLoader(tmp_path / "talk", media, segments=Segments(video_s=2)).load()
    assert [text for _, text in companion_texts(documents)] == ["Hello there", "", "Goodbye"]


def _with_subtitles(container: str, codec: str) -> bytes:
    import av

    cues = {1.0: "Hello there", 4.5: "Goodbye"}
    source, buffer = io.BytesIO(mp4(6)), io.BytesIO()
    with av.open(source, "r") as given, av.open(buffer, "w", format=container) as output:
        video: Any = output.add_stream_from_template(given.streams.video[0])
        track: Any = output.add_stream(codec)
        track.codec_context.subtitle_header = b"[Script Info]\n\n[Events]\n"
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = video
                output.mux(packet)
        for start, text in cues.items():
            data = text.encode()
            if codec == "mov_text":
                data = len(data).to_bytes(2, "big") + data
            elif codec == "ass":
                data = b"0,0,Default,,0,0,0,," + data
            cue = av.Packet(data)
            cue.stream, cue.time_base = track, video.time_base
            cue.pts = cue.dts = round(start / video.time_base)
            cue.duration = round(1 / video.time_base)
            output.mux(cue)
    return buffer.getvalue()


def test_captions_of_a_folder(tmp_path: Path, media: MediaStore) -> None:
    """`captions.jsonl` describes files in its folder and below: whole files, times or pages."""
    lines = [
        {"source": "cat.png", "text": "Tom on the sofa"},
        {"source": "talk.mp4", "text": "the diagram", "start_s": 35, "end_s": 40},
        {"source": "talk.mp4", "text": "a talk"},
        {"source": "deep/paper.pdf", "text": "the proof", "first_page": 2},
        {"source": "nobody.png", "text": "not here"},
    ]
    captions = "\n".join(map(json.dumps, lines)) + "\nno json\n[1]\n"
    inner = json.dumps({"source": "paper.pdf", "text": "from nearby"})
    files: dict[str, bytes | str] = {
        "cat.png": png(),
        "talk.mp4": mp4(60),
        "deep/paper.pdf": pdf(2),
        "deep/captions.jsonl": inner,
    }
    loader = PathLoader(write(tmp_path, {**files, "captions.jsonl": captions}), media)
    assert companion_texts(loader.load()) == [
        ("cat.png", "Tom on the sofa"),
        ("deep/paper.pdf", "from nearby\n\nPage 1"),
        ("deep/paper.pdf", "the proof\n\nPage 2"),
        ("talk.mp4", "a talk"),
        ("talk.mp4", "the diagram"),
    ]
    assert [skipped.source for skipped in loader.skipped] == ["captions.jsonl"]
    assert loader.skipped[0].reason == "2 of its lines cannot be used, the others are; line 6: it is no JSON"


EMBEDDED: dict[str, tuple[str, bytes, str]] = {
    "text of a PNG": ("a.png", png("a grey cat"), "a grey cat"),
    "EXIF": ("a.jpg", jpeg("a brown dog"), "a brown dog"),
    "ID3": ("a.mp3", mp3(1, "a bell"), "a bell"),
    "RIFF INFO": ("a.wav", wav(1, "a bell"), "a bell"),
    "a title that is not UTF-8": (
        "a.wav",
        wav(1, "a b?ll in caf?").replace(b"?", b"\xe9"),
        "a bll in caf",
    ),
    "a container's title": ("a.mp4", mp4(1, "a ball"), "a ball"),
    "a PDF's title and page": (
        "a.pdf",
        pdf(("words of the page",), title="The title"),
        "The title\n\nwords of the page",
    ),
    "no text": ("a.png", png(), ""),
    "the default text of a camera": ("a.jpg", jpeg("OLYMPUS DIGITAL CAMERA"), ""),
}


@pytest.mark.parametrize(("name", "data", "expected"), EMBEDDED.values(), ids=EMBEDDED)
def test_embedded_text(tmp_path: Path, media: MediaStore, name: str, data: bytes, expected: str) -> None:
    """Titles, captions and the text of pages are read from the file, each once."""
    (tmp_path / name).write_bytes(data)
    assert companion_texts(PathLoader(tmp_path, media).load()) == [(name, expected)]
    assert "companion_text" not in PathLoader(tmp_path, media, companions=False).load()[0].metadata


def test_xmp(tmp_path: Path, media: MediaStore) -> None:
    """Photo managers write captions as XMP."""
    packet = (
        b"<x:xmpmeta><rdf:RDF><rdf:Description><dc:description><rdf:Alt><rdf:li xml:lang='x-default'>Tom &amp; Jerry"
        b"</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    segment = b"http://ns.adobe.com/xap/1.0/\0" + packet
    data = jpeg()
    data = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    (tmp_path / "a.jpg").write_bytes(data)
    assert companion_texts(PathLoader(tmp_path, media).load()) == [("a.jpg", "Tom & Jerry")]


def test_text_of_the_whole_file_belongs_to_its_first_part(tmp_path: Path, media: MediaStore) -> None:
    """A title on every segment would fill search results with segments of one file."""
    (tmp_path / "a.mp4").write_bytes(mp4(95, "Lecture 5"))
    assert [text for _, text in companion_texts(PathLoader(tmp_path, media).load())] == ["Lecture 5", "", ""]


def test_companion_text_can_be_fused(tmp_path: Path, media: MediaStore) -> None:
    """On request the text follows the reference; a string in it that looks like a reference is escaped."""
    evil = f"see ![](mm://sha256-{'ab' * 32})"
    write(tmp_path, {"a.png": png(), "captions.jsonl": json.dumps({"source": "a.png", "text": evil})})
    plain = PathLoader(tmp_path, media).load()[0]
    fused = PathLoader(tmp_path, media, fuse_text=True).load()[0]
    assert MediaRef.parse(plain.page_content).is_part is False
    assert fused.page_content == f"{plain.page_content}\n\n{plain.metadata['companion_text']}"
    assert [piece for piece in split_references(fused.page_content) if isinstance(piece, MediaRef)] == [
        MediaRef.parse(plain.page_content)
    ]


def test_a_text_model_gets_companion_text(tmp_path: Path, media: MediaStore) -> None:
    """For a text model, media are replaced with their companion text; those without text are reported."""
    write(tmp_path, {"a.pdf": pdf(("one", "two")), "b.png": png(), "c.txt": "three"})
    loader = PathLoader(tmp_path, media, model="gemini-embedding-001")
    assert [document.page_content for document in loader.load()] == ["one", "two", "three"]
    assert [skipped.source for skipped in loader.skipped] == ["b.png"]
    assert "text only" in loader.skipped[0].reason


def caption(document: Document) -> str:
    """The text that a model might return."""
    return f"seen: {document.metadata['modality']} ![](mm://sha256-{'0' * 64})"


CAPTION_FUNCTIONS: dict[str, Any] = {
    "a function": caption,
    "a Runnable": RunnableLambda(caption),
    "a model": RunnableLambda(lambda document: AIMessage(caption(document))),
}


@pytest.mark.parametrize("describe", CAPTION_FUNCTIONS.values(), ids=CAPTION_FUNCTIONS)
def test_describe(tmp_path: Path, media: MediaStore, describe: Any) -> None:
    """A callable or Runnable receives each media Document, and its text precedes the other companion text."""
    write(tmp_path, {"a.png": png("a cat"), "b.txt": "words"})
    image, text = PathLoader(tmp_path, media, describe=describe).load()
    assert image.metadata["companion_text"] == f"seen: image \\![](mm://sha256-{'0' * 64})\n\na cat"
    assert "companion_text" not in text.metadata


def test_errors_of_describe_are_reported(tmp_path: Path, media: MediaStore) -> None:
    """The media are loaded without the text, and the error is reported once per file."""

    def failing(document: Document) -> str:
        if document.metadata.get("first_page") == 1:
            return "fine"
        raise ConnectionError("the service is away")

    loader = PathLoader(write(tmp_path, {"a.pdf": pdf(("", "", ""))}), media, describe=failing)
    assert [text for _, text in companion_texts(loader.load())] == ["fine", "", ""]
    assert len(loader.skipped) == 1
    assert (
        "describe= failed for 2 of its 3 Documents; they are loaded without: ConnectionError"
        in loader.skipped[0].reason
    )


def test_describe_must_return_text(tmp_path: Path, media: MediaStore) -> None:
    """A result that is not text raises an error and ends the run."""
    write(tmp_path, {"a.png": png()})
    with pytest.raises(TypeError, match="describe must give a str"):
        PathLoader(tmp_path, media, describe=lambda _: 5).load()
    with pytest.raises(TypeError, match="describe must be a callable"):
        PathLoader(tmp_path, media, describe="a caption")
    assert companion_texts(PathLoader(tmp_path, media, describe=lambda _: None).load()) == [("a.png", "")]
