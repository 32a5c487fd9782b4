"""Parsing of mails into headers, text and attachments, in the order in which mail programs show them."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from typing import BinaryIO

from langchain_gemini_mm.content.mime_types import HEAD_BYTES
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.markup import html_parts
from langchain_gemini_mm.media.source import printable
from langchain_gemini_mm.media.text_encoding import decoded

_SUFFIXES = (".eml", ".mbox")
_HEADER_LINES = re.compile(
    rb"(?:From (?P<envelope>(?:[^\s@]{1,99}@\S{1,200}|-|MAILER-DAEMON)\s[^\n]{1,200}\d{4}[^\n]{0,50})\r?\n)?"
    rb"(?P<headers>(?:[!-9;-~]{1,80}:[^\n]*\n(?:[ \t][^\n]*\n)*)+)(?P<end>\r?\n)?"
)
_FIELD = re.compile(rb"^([!-9;-~]{1,80}):", re.MULTILINE)
_OF_MAILS = {b"message-id", b"mime-version", b"received", b"return-path", b"delivered-to"}
_OF_ALL = {b"from", b"to", b"date", b"subject"}

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_HEADER_CHARACTERS = 2000
_NAME_CHARACTERS = 120
_MAIL_BYTES = 100_000_000
_LINE_BYTES = 1 << 20
_LINE_CHARACTERS = 1000
"""Longest line of a mail, as RFC 5322 has it."""
_MAX_PARTS = 1000
MAX_DEPTH = 5
"""Files inside of files inside of files: deeper ones are not loaded."""
_PATH_SIGNS = re.compile(r"[:\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file attached to a mail."""

    name: str
    """A file name, never a path."""
    data: bytes = field(repr=False)
    inline: bool = False
    """Whether it is shown within the text rather than after it."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A parsed mail."""

    subject: str
    parts: tuple[str | Attachment, ...]
    """Headers, text, and attachments where they are shown in the text or after it."""
    left_out: tuple[str, ...] = ()
    """What of it is not loaded, and why."""


def is_mail(source: str, file: BinaryIO) -> bool:
    """Whether a text is a mail or a mailbox: by its name, or by headers that only mails have.

    Programs store mails under names such as `1700000000.M1P2.host` and `Inbox`.

    Args:
        source: its name.
        file: open, at any position.
    """
    return source.lower().endswith(_SUFFIXES) or _header_lines(file) is not None


def _header_lines(file: BinaryIO) -> re.Match[bytes] | None:
    """The headers at the beginning of a mail or mailbox; None for other texts."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    found = _HEADER_LINES.match(head.lstrip(b"\r\n"))
    if found is None or not (found["end"] or found.end() > len(head) - _LINE_CHARACTERS):
        return None
    fields = {name.lower() for name in _FIELD.findall(found["headers"])}
    return found if fields & _OF_MAILS and (len(fields & _OF_ALL) > 1 or not found["end"]) else None


def read_mails(file: BinaryIO, source: str) -> Iterator[tuple[str, Mail | ContentError]]:
    """Read a mail, or the mails of a mailbox one by one.

    Yields:
        A key, and the mail or the reason why it cannot be read. The key is empty for a single mail; in a mailbox it is
        made of the content, so that it stays the same when other mails are removed.

    Raises:
        ContentError: a mail that cannot be read, or an `.mbox` that is no mailbox.
    """
    headers = _header_lines(file)
    file.seek(0)
    if not source.lower().endswith(".mbox") and (headers is None or headers["envelope"] is None):
        data = file.read(_MAIL_BYTES + 1)
        if len(data) > _MAIL_BYTES:
            raise ContentError(f"it is a mail of more than {_MAIL_BYTES:,} bytes; save its attachments as files")
        yield "", read_mail(data)
        return
    if not file.read(5).startswith(b"From "):
        raise ContentError("it is no mailbox: it does not begin with a line 'From '")
    seen: set[str] = set()
    for number, data in enumerate(_messages(file), start=1):
        key = hashlib.sha256(data or str(number).encode()).hexdigest()[:16]
        if key in seen:
            continue
        seen.add(key)
        try:
            yield key, read_mail(data) if data else _too_long(number)
        except ContentError as error:
            yield key, error


def read_mail(data: bytes) -> Mail:
    r"""Parse a mail.

    ```python
    from langchain_gemini_mm.loaders.mail import read_mail

    mail = read_mail(b"Subject: Lunch\nFrom: ada@example.com\n\nAt noon?")
    assert mail.parts == ("From: ada@example.com\nSubject: Lunch", "\n\n", "At noon?")
    ```

    Raises:
        ContentError: damaged or empty.
    """
    try:
        message = message_from_bytes(data)
        budget = _Budget()
        parts = tuple(_parts(message, 0, budget))
        subject = _header(message, "Subject")
    except (MessageError, ValueError, LookupError, AttributeError, TypeError, RecursionError, AssertionError) as error:
        raise ContentError("it is a damaged mail") from error
    if not any(part.strip() if isinstance(part, str) else part.data for part in parts):
        raise ContentError("it is no mail, or an empty one")
    return Mail(subject, parts, tuple(dict.fromkeys(budget.left_out)))


class _Budget:
    """Limits the number of parts of a mail."""

    def __init__(self) -> None:
        self.left = _MAX_PARTS
        self.left_out: list[str] = []

    def spend(self) -> bool:
        self.left -= 1
        if self.left < 0:
            self.left_out.append(f"it has more than {_MAX_PARTS:,} parts, of which the others are not loaded")
        return self.left >= 0


def _parts(message: Message, depth: int, budget: _Budget) -> Iterator[str | Attachment]:
    head = "\n".join(f"{name}: {value}" for name in _HEADERS if (value := _header(message, name)))
    if head:
        yield head
    attached: list[Message] = []
    body: list[Message] = []
    _sort(message, body, attached, budget)
    by_id = {_content_id(part): part for part in attached if _content_id(part)}
    for part in body:
        yield "\n\n"
        for piece in _words(part):
            if isinstance(piece, str) or piece.data:
                yield piece
            elif inner := by_id.pop(piece.name, None):
                attached.remove(inner)
                yield _attachment(inner, inline=True)
    for part in attached:
        nested = part.get_payload(0) if part.get_content_type() == "message/rfc822" and part.is_multipart() else None
        if isinstance(nested, Message) and depth < MAX_DEPTH:
            yield "\n\n"
            yield from _parts(nested, depth + 1, budget)
        elif isinstance(nested, Message):
            budget.left_out.append(f"mails inside of {MAX_DEPTH} other mails are not loaded")
        else:
            yield _attachment(part)


def _sort(message: Message, body: list[Message], attached: list[Message], budget: _Budget) -> None:
    """Divide the parts of a mail into text and attachments; of alternatives, one is text."""
    if not budget.spend():
        return
    mime_type = message.get_content_type()
    if mime_type == "message/rfc822" or message.get_content_disposition() == "attachment":
        attached.append(message)
    elif message.is_multipart():
        inner = [part for part in message.get_payload() if isinstance(part, Message)]
        if mime_type == "multipart/alternative":
            inner = _plainest(inner)
        for part in inner:
            _sort(part, body, attached, budget)
    elif mime_type in ("text/plain", "text/html"):
        body.append(message)
    else:
        attached.append(message)


def _plainest(parts: list[Message]) -> list[Message]:
    # HTML with its own images is preferred to its plain alternative.
    rich = [part for part in parts if part.is_multipart()]
    plain = [part for part in parts if part.get_content_type() == "text/plain" and str(part.get_payload()).strip()]
    return (rich or plain or parts)[:1]


def _words(part: Message) -> Iterator[str | Attachment]:
    """The text of a body, and the content ids of images in it, as attachments without data."""
    data = part.get_payload(decode=True)
    data = data if isinstance(data, bytes) else b""
    charset = part.get_content_charset()
    if part.get_content_type() != "text/html":
        text = decoded(data, charset).replace("\r\n", "\n").strip()
        if text:
            yield text
        return
    for piece in html_parts(decoded(data, charset)):
        if isinstance(piece, str):
            yield piece
        elif piece.source.lower().startswith("cid:"):
            yield Attachment(piece.source[4:].strip(), b"")
        elif data := piece.data:
            yield Attachment("image", data, inline=True)
        elif piece.written:
            yield piece.written


def _attachment(part: Message, *, inline: bool = False) -> Attachment:
    data = part.get_payload(decode=True)
    ending = part.get_content_subtype()
    name = _decoded_header(part.get_filename() or "") or f"attachment.{ending}"
    return Attachment(file_name(name), data if isinstance(data, bytes) else b"", inline)


def file_name(name: str) -> str:
    """The name of an attachment as the name of a file, without any path."""
    return _PATH_SIGNS.sub("_", printable(re.split(r"[/\\]", name)[-1])).strip(". ")[-_NAME_CHARACTERS:] or "attachment"


def _content_id(part: Message) -> str:
    return str(part.get("Content-ID", "")).strip().strip("<>")


def _header(message: Message, name: str) -> str:
    return _decoded_header(str(message.get(name, ""))[:_HEADER_CHARACTERS])


def _decoded_header(value: str) -> str:
    try:
        pieces = [
            piece if isinstance(piece, str) else decoded(piece, charset) for piece, charset in decode_header(value)
        ]
    except (ValueError, LookupError, MessageError):
        pieces = [value]
    text = " ".join(" ".join(pieces).split())
    # Headers that are not ASCII, as they must be, are returned with surrogates.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _messages(file: BinaryIO) -> Iterator[bytes]:
    """The mails of a mailbox, one in memory at a time; empty for one that is too long."""
    file.seek(0)
    held = io.BytesIO()
    blank = whole = True
    started = False
    while line := file.readline(_LINE_BYTES):
        if whole and blank and line.startswith(b"From "):
            if started:
                yield _taken(held)
            held, started = io.BytesIO(), True
        elif held.tell() <= _MAIL_BYTES:
            held.write(line[1:] if re.match(rb">+From ", line) else line)
        blank = whole and not line.strip()
        whole = line.endswith(b"\n")
    yield _taken(held)


def _taken(held: io.BytesIO) -> bytes:
    return held.getvalue() if held.tell() <= _MAIL_BYTES else b""


def _too_long(number: int) -> Mail:
    raise ContentError(f"mail {number} has more than {_MAIL_BYTES:,} bytes")
