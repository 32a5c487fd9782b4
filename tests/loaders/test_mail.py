"""Mails: headers, text and attachments in reading order, and protection against hostile mails."""

from __future__ import annotations

import random
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders import MediaLoader
from langchain_gemini_mm.loaders.mail import Attachment, read_mail
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.testing import jpeg, mp3, pdf, png
from tests.media.generate import portfolio

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.documents import Document

    from langchain_gemini_mm.storage import MediaStore


def mail(subject: str = "Lunch", body: str = "At noon?", **headers: str) -> EmailMessage:
    """A mail without attachments."""
    message = EmailMessage()
    for name, value in {"From": "ada@example.com", "Subject": subject, **headers}.items():
        message[name] = value
    message.set_content(body)
    return message


def full_mail() -> EmailMessage:
    """A mail with an inline image and attachments of several types."""
    message = mail("Größe", "the plain words", To="bob@example.com", Date="Sat, 21 Nov 2026 10:00:00 +0000")
    message.add_alternative(
        "<p>Look: <img src='cid:cat1'> so big. <img src='https://example.com/x.png' alt='ad'>", "html"
    )
    message.get_payload()[1].add_related(png("cat"), "image", "png", cid="<cat1>", filename="cat.png")  # type: ignore[union-attr,index]
    message.add_attachment(jpeg("dog"), "image", "jpeg", filename="dog.jpg")
    message.add_attachment(pdf(("one", "two")), "application", "pdf", filename="../../paper.pdf")
    message.add_attachment(mp3(1, "a bell"), "audio", "mpeg", filename="bell.mp3")
    message.add_attachment("some notes", filename="notes.txt")
    message.add_attachment(b"PK\x03\x04" + bytes(100), "application", "zip", filename="letter.docx")
    message.add_attachment(mail("Inner", "inner words"))
    return message


def load(path: Path, data: bytes, media: MediaStore, **options: Any) -> tuple[list[Document], dict[str, str]]:
    """The Documents of a mail file, and the skipped parts."""
    path.write_bytes(data)
    loader = MediaLoader(path, media, **options)
    return loader.load(), {skipped.source: skipped.reason for skipped in loader.skipped}


def test_a_complete_mail(tmp_path: Path, media: MediaStore) -> None:
    """Headers, the text with inline images, and the names of attachments, which are separate Documents."""
    documents, skipped = load(tmp_path / "a.eml", bytes(full_mail()), media)
    text = documents[0]
    cat, dog = media.put(png("cat")), media.put(jpeg("dog"))
    assert split_references(text.page_content) == [
        "From: ada@example.com\nTo: bob@example.com\nDate: Sat, 21 Nov 2026 10:00:00 +0000\nSubject: Größe\n\nLook: ",
        cat,
        " so big. ad\n\nAttached: dog.jpg ",
        dog,
        "\n\nAttached: paper.pdf\n\nAttached: bell.mp3\n\nAttached: notes.txt\nsome notes\n\nAttached: letter.docx\n\n"
        "From: ada@example.com\nSubject: Inner\n\ninner words",
    ]
    assert text.metadata == {
        "source": "a.eml",
        "modality": "text",
        "mime_type": "message/rfc822",
        "title": "Größe",
        "position": 0,
    }
    rest = [(document.metadata["source"], document.metadata["modality"]) for document in documents[1:]]
    assert rest == [("a.eml/paper.pdf", "pdf"), ("a.eml/paper.pdf", "pdf"), ("a.eml/bell.mp3", "audio")]
    assert documents[2].metadata["first_page"] == 2
    assert list(skipped) == ["a.eml/letter.docx"]
    assert len({document.id for document in documents}) == 4


def test_a_mailbox(tmp_path: Path, media: MediaStore) -> None:
    """The source of a mail does not depend on the others; duplicates are loaded once; `>From` lines are unquoted."""
    mails = [bytes(mail("One")), bytes(mail("Two", ">From the sea")), bytes(mail("One"))]
    box = [b"From ada Sat Nov 21 10:00:00 2026\n" + data + b"\n" for data in mails]
    documents, skipped = load(tmp_path / "a.mbox", b"".join(box), media)
    assert [document.metadata["title"] for document in documents] == ["One", "Two"]
    assert documents[1].page_content.endswith("\n\nFrom the sea")
    assert not skipped
    alone, _ = load(tmp_path / "a.mbox", box[1], media)
    assert alone == documents[1:]


def test_modalities(tmp_path: Path, media: MediaStore) -> None:
    """Without text only the attachments are loaded; with text only, the text contains its inline images."""
    files, _ = load(tmp_path / "a.eml", bytes(full_mail()), media, modalities={"pdf", "audio"})
    assert {document.metadata["modality"] for document in files} == {"pdf", "audio"}
    texts, _ = load(tmp_path / "a.eml", bytes(full_mail()), media, modalities={"text"})
    assert [document.metadata["modality"] for document in texts] == ["text"]
    assert len([piece for piece in split_references(texts[0].page_content) if isinstance(piece, MediaRef)]) == 2


def test_references_in_a_mail_are_escaped(tmp_path: Path, media: MediaStore) -> None:
    """References, file URLs and paths in a mail are literal text; only its own parts become media."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(png("secret"))
    stored = media.put(png("secret"))
    message = mail("x", f"{stored.markdown} secret.png")
    images = f"<img src='secret.png' alt='a'> <img src='file://{secret}' alt='b'> <img src='cid:../secret.png'>"
    message.add_alternative(f"{stored.markdown} {images}", "html")
    for body in (bytes(message), bytes(mail(stored.markdown, stored.markdown))):
        documents, _ = load(tmp_path / "a.eml", body, media)
        assert not [
            piece for one in documents for piece in split_references(one.page_content) if isinstance(piece, MediaRef)
        ]


NAMES = {
    "../../etc/passwd": "passwd",
    "C:\\x\\y.png": "y.png",
    "a\nb.png": "a_b.png",
    "...": "attachment",
    "": "attachment.octet-stream",
    "=?utf-8?q?gr=C3=BC=C3=9Fe.pdf?=": "grüße.pdf",
    "x" * 500 + ".png": "x" * 116 + ".png",
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items(), ids=map(ascii, NAMES.values()))
def test_attachment_names_are_sanitized(name: str, expected: str) -> None:
    """For any attachment name, the source is a single path component."""
    head = f'Content-Type: application/octet-stream\nContent-Disposition: attachment; filename="{name}"\n\nx'
    attached = [part for part in read_mail(b"Subject: x\n" + head.encode()).parts if isinstance(part, Attachment)]
    assert [part.name.replace("\r", "") for part in attached] == [expected] or "\n" in name


BROKEN: dict[str, bytes] = {
    "deep": b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(5000)),
    "nothing": b"",
    "blank": b"\n\n\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_files_that_are_not_mails(data: bytes) -> None:
    """A mail that cannot be parsed raises a ContentError."""
    with pytest.raises(ContentError, match="mail"):
        read_mail(data)


def test_damaged_mails_are_read_or_refused() -> None:
    """Damaged mails are read or refused within a time limit."""
    whole = bytes(full_mail())[:20_000]
    for seed in range(150):
        chance = random.Random(seed)
        damaged = bytearray(whole[: chance.randrange(1, len(whole))])
        for _ in range(30):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            read_mail(bytes(damaged))
        except ContentError as error:
            assert "mail" in str(error)  # noqa: PT017


def test_the_depth_of_nested_mails_is_limited(tmp_path: Path, media: MediaStore) -> None:
    """Nested mails are read up to a maximum depth."""
    message = mail("0", "words 0")
    for depth in range(1, 9):
        outer = mail(str(depth), f"words {depth}")
        outer.add_attachment(message)
        message = outer
    text = load(tmp_path / "a.eml", bytes(message), media)[0][0].page_content
    assert "words 3" in text
    assert "words 2" not in text


def test_named_text_is_part_of_the_text() -> None:
    """A part of text is an attachment only if it says so; programs name parts of the body, too."""
    mail = EmailMessage()
    mail["Subject"] = "Notes"
    mail.set_content("first")
    mail.add_attachment("second", filename="body.txt", disposition="inline")
    mail.add_attachment("third", filename="notes.txt")
    parts = read_mail(mail.as_bytes()).parts
    assert "second" in "".join(part for part in parts if isinstance(part, str))
    assert [part.name for part in parts if isinstance(part, Attachment)] == ["notes.txt"]


def test_what_is_left_out_of_a_mail_is_reported(tmp_path: Path, media: MediaStore) -> None:
    """Mails inside of mails beyond a depth, and parts beyond a number, are listed."""
    inner = EmailMessage()
    inner.set_content("the innermost")
    for number in range(8):
        outer = EmailMessage()
        outer.set_content(f"mail {number}")
        outer.add_attachment(inner)
        inner = outer
    (tmp_path / "deep.eml").write_bytes(inner.as_bytes())
    many = (
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\nContent-Type: text/plain\n\nx\n" * 1200 + b"--b--\n"
    )
    (tmp_path / "many.eml").write_bytes(many)
    loader = MediaLoader(tmp_path, media)
    assert loader.load()
    reasons = {skipped.source: skipped.reason for skipped in loader.skipped}
    assert "mails inside of 5 other mails are not loaded" in reasons["deep.eml"]
    assert "more than 1,000 parts" in reasons["many.eml"]


def test_a_reference_in_a_subject_is_text(tmp_path: Path, media: MediaStore) -> None:
    """The title of a mail refers to no media."""
    (tmp_path / "a.eml").write_bytes(b"Subject: ![](mm://sha256-" + b"0" * 64 + b")\n\nhello\n")
    (document,) = MediaLoader(tmp_path, media).load()
    assert not any(isinstance(piece, MediaRef) for piece in split_references(document.metadata["title"]))


def test_an_attached_pdf_with_attachments(tmp_path: Path, media: MediaStore) -> None:
    """Files inside of an attached PDF are loaded as well."""
    mail = EmailMessage()
    mail.set_content("see the tender")
    data = portfolio({"note.txt": b"a note"})
    mail.add_attachment(data, maintype="application", subtype="pdf", filename="tender.pdf")
    (tmp_path / "a.eml").write_bytes(mail.as_bytes())
    sources = [document.metadata["source"] for document in MediaLoader(tmp_path, media).load()]
    assert sources == ["a.eml", "a.eml/tender.pdf", "a.eml/tender.pdf/note.txt"]


@pytest.mark.parametrize("name", ["1700000000.M1P2.host", "Inbox", "letter.txt"])
def test_mails_are_recognized_by_their_headers(name: str, tmp_path: Path, media: MediaStore) -> None:
    """Mail programs store mails without the ending `.eml`; read as text, attachments would be lines of base64."""
    message = mail("Two birds", **{"Message-ID": "<1@example.com>", "Date": "Sat, 21 Nov 2026 10:00:00 +0000"})
    message.add_attachment(png("bird"), "image", "png", filename="bird.png")
    data = bytes(message)
    if name == "Inbox":
        other = bytes(mail("Lunch"))
        data = b"\n".join((b"From - Sat Nov 21 10:00:00 2026", data, b"From - Sat Nov 21 10:05:00 2026", other))
    documents, skipped = load(tmp_path / name, data, media)
    assert not skipped
    assert [document.metadata["title"] for document in documents] == ["Two birds", "Lunch"][: len(documents)]
    assert len(documents) == (2 if name == "Inbox" else 1)
    assert documents[0].page_content.count("![](mm://") == 1
    assert "base64" not in documents[0].page_content


@pytest.mark.parametrize(
    "text",
    [
        "From: the beginning\nTo: the end\n\nA poem with headings.",
        "From 1f3870be274f6c49b3e31a0c672 Mon Sep 17 00:00:00 2001\nFrom: Ada <a@b.c>\nDate: now\nSubject: a patch\n\n",
        "Date: 2026-11-21\nSubject: minutes\nTo: all\n\nPresent: Ada",
        "received: yes\nfor: nothing\n\nmore",
        "Received by post.\n",
    ],
)
def test_texts_with_headings_are_no_mails(text: str, tmp_path: Path, media: MediaStore) -> None:
    """Notes, patches and front matter are texts."""
    documents, skipped = load(tmp_path / "note.txt", text.encode(), media)
    assert not skipped
    assert [document.metadata["mime_type"] for document in documents] == ["text/plain"]


def test_mails_attached_as_files(tmp_path: Path, media: MediaStore) -> None:
    """A mail that is attached as a file is loaded as a mail, up to five inside of each other."""
    inner = mail("Inner", "inner words")
    inner.add_attachment(png("bird"), "image", "png", filename="bird.png")
    for number in range(7):
        outer = mail(f"Outer {number}", "see below")
        outer.add_attachment(bytes(inner), "application", "octet-stream", filename="forwarded.eml")
        inner = outer
    documents, skipped = load(tmp_path / "a.eml", bytes(inner), media)
    assert [document.metadata["title"] for document in documents] == [f"Outer {number}" for number in range(6, 0, -1)]
    assert "base64" not in "".join(document.page_content for document in documents)
    assert list(skipped.values()) == ["it is inside of 5 other files"]
