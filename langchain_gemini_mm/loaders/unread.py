"""Files of known kinds that are not read, and what to do instead."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_LOADERS = "load it with docling or unstructured, which make text of it, or save it as PDF"
_OFFICE = f"Office files are not read: {_LOADERS}"
_BOOK = f"e-books are not read: {_LOADERS}"
_ARCHIVE = "archives are not read: unpack it"
_OFFICE_NAMES = {
    ".doc", ".docx", ".docm", ".dot", ".dotx", ".xls", ".xlsx", ".xlsm", ".xlsb", ".ppt", ".pptx", ".pptm", ".pps",
    ".ppsx", ".odt", ".ods", ".odp", ".odg", ".pages", ".numbers", ".key", ".vsd", ".vsdx", ".pub", ".rtf",
}  # fmt: skip
_BOOK_NAMES = {".epub", ".mobi", ".azw", ".azw3", ".fb2"}
_ZIPPED = rb"PK\x03\x04.{26}"
_OFFICE_PARTS = rb"(?:\[Content_Types\]|_rels/|docProps/|word/|xl/|ppt/|mimetypeapplication/vnd)"
_PACKED = (
    rb"\x1f\x8b|BZh[1-9]1AY|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|MSCF|\x60\xea|xar!"
    rb"|PK\x05\x06|.{257}ustar"
)
_MAGIC = tuple(
    (re.compile(pattern, re.DOTALL), said)
    for pattern, said in (
        (_ZIPPED + rb"mimetypeapplication/epub", _BOOK),
        (_ZIPPED + _OFFICE_PARTS, _OFFICE),
        (rb"PK\x03\x04", f"archives, Office files and e-books are not read: unpack it, or {_LOADERS}"),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"old Office files and mails of Outlook are not read: {_LOADERS}"),
        (rb"\{\\rtf", f"rich text is not read: {_LOADERS}"),
        (rb".{60}BOOKMOBI", _BOOK),
        (_PACKED, _ARCHIVE),
        (rb"SQLite format 3\x00", "databases are not read: export what it holds as text"),
    )
)


def reason(head: bytes, source: str) -> str | None:
    """Why a file of this beginning and name is not read; None when nothing is known of its kind."""
    suffix = PurePosixPath(source).suffix.lower()
    found = next((said for magic, said in _MAGIC if magic.match(head)), None)
    if found and head.startswith(b"PK\x03\x04"):
        found = _OFFICE if suffix in _OFFICE_NAMES else _BOOK if suffix in _BOOK_NAMES else found
    return found
