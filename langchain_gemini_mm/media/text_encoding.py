"""The encoding of a text: as it declares, or else as its bytes suggest."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from langchain_gemini_mm.errors import ContentError

BINARY = "its content is neither text nor an image, audio, video or PDF"
UNKNOWN = "its text encoding cannot be detected; save it as UTF-8"

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARATION = re.compile(
    rb"<meta[^<>]{0,200}charset=[\"']?([A-Za-z0-9_-]{1,30})"
    rb"|\A\s{0,9}<\?xml[^<>]{0,100}encoding=[\"']([A-Za-z0-9_-]{1,30})",
    re.IGNORECASE,
)
_DECLARATION_BYTES = 2048
_LABELS = {
    "windows-874": "cp874", "x-sjis": "cp932", "x-gbk": "gb18030", "iso-8859-8-i": "iso8859_8",
    "x-mac-cyrillic": "mac_cyrillic", "x-mac-ce": "mac_latin2", "x-user-defined": "cp1252", "x-x-big5": "big5",
}  # fmt: skip
"""Labels that Python does not know."""
_BROWSERS = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs",
    "iso2022_jp": "iso2022_jp_2",
}  # fmt: skip
"""Encodings that browsers and mail programs read as larger ones (https://encoding.spec.whatwg.org)."""
_ACCEPTED = re.compile(
    r"utf-?(?:7|8|16|32)(?:-(?:sig|le|be))?|cp(?:125\d|8[56]\d|874|437|7[37]\d|932|949|950)"
    r"|iso(?:8859-\d{1,2}|2022_(?:jp|kr).{0,6})|koi8-[rut]|mac-(?:roman|cyrillic|latin2|greek|turkish|iceland)|hz"
    r"|gb18030|big5|big5hkscs|euc_jp|johab|kz1048|ptcp154|iso8859_8"
)
"""Other codecs of Python take quadratic time, or are no text encodings."""
_ESCAPES = ((re.compile(rb"\x1b\$\)C"), "iso2022_kr"), (re.compile(rb"\x1b(?:\$[@B]|\$\(D|\([JI])"), "iso2022_jp_2"))
"""Encodings of 7 bits that switch between character sets by escape sequences."""
_DETECTED = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1255", "cp1256", "cp866", "cp874", "koi8_r", "koi8_u", "iso8859_2",
    "iso8859_5", "iso8859_6", "iso8859_7", "iso8859_8", "mac_cyrillic", "cp855", "gb18030", "big5", "euc_jp",
    "cp932", "cp949",
)  # fmt: skip
"""Encodings that charset-normalizer distinguishes, in texts that are not mainly of Latin letters."""
_MAX_MESS = 0.4
"""Largest share of implausible characters, as charset-normalizer counts them; it is higher for short texts."""
_LATIN = (
    "cp1252", "cp1250", "iso8859_2", "cp1254", "cp1257", "iso8859_15", "mac_roman", "cp850", "cp852", "mac_latin2",
    "iso8859_16", "iso8859_13", "iso8859_4", "iso8859_10", "iso8859_3",
)  # fmt: skip
"""Encodings of Latin letters; of those that suit a text equally well, the first is taken."""
_LETTERS = (
    "éèàêçôùâîûëïœæüÿ", "üäößé", "íóáéñúüªº", "ãçáéóíêõâúàôüªº", "èàùòéìíîóúªº", "äåöé", "åøæéèêóòâô",
    "áðíéóöþæúý", "ëéïèöüáóíúê", "àéèíóòçïúü", "äöõüšž", "łąęóżśćńź", "íáěéřčžýšůúťďňó", "áíéčžšýľúťňďôäóŕĺ",
    "áéöóőüíúű", "ăîâșțşţ", "čšžćđ", "ışüğçöİâîû", "āīēšņļķūžčģŗō", "ėšųžįąčūę", "ĉĝŭŝĵĥ", "ħżġċàèìòù", "ëç",
    "àòèìùáé",
)  # fmt: skip
"""Letters beyond ASCII of languages with the Latin alphabet, the most frequent first."""
_FREQUENT, _FREQUENT_WEIGHT = 3, 0.2
"""Of languages whose letters suit a text equally well, one whose first letters are common in it is preferred."""
_WESTERN = "àâæçéèêëîïôœùûüÿäöüßáíóúñãõåøìòªº"
_IN_WORDS = "\u2019\u02bc\u00b7\u2010\u2013\u2014\u00ad"
"""Apostrophes, dashes and the like, which stand between letters."""
_MIN_FIT = 0.97
_RUNS = re.compile(rb"[\x80-\xff]{4,}")
_MAX_RUNS = 0.4
"""Largest share of letters beyond ASCII, in a text of Latin letters, that are next to three others."""
_LATIN_SHARE = 0.6
"""Above this share of bytes beyond ASCII among letters, a text is not of Latin letters."""
_SURE_LETTERS = 4
_SURE_BYTES = 24
_SAMPLE_BYTES = 1 << 16
_UTF8_SHARE = 2
"""Valid multi-byte characters for each invalid byte, from which on a text counts as UTF-8."""
_WIDE_SHARE = 0.2
"""Largest share of implausible characters in text of UTF-16 or UTF-32."""
_WIDE_BLOCKS = 16
"""Blocks of 256 characters, apart from those of Chinese and Korean, that the beginning of such a text uses at most."""
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\r\f\x1b"))
_HIGH = bytes(range(128, 256))
_FIRST_HIGH = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Encoding:
    """The codec of a text."""

    codec: str
    uncertain: bool = False
    """Whether it is a guess from few characters, or one of several that suit the text."""

    @property
    def note(self) -> str | None:
        """What to tell the user about a guess; None where it is certain."""
        if not self.uncertain:
            return None
        return f"it declares no encoding and is read as {self.codec}, which is a guess; save it as UTF-8 if it is wrong"


@dataclass(slots=True)
class _Scan:
    """What one pass over the bytes of a text counts."""

    size: int = 0
    nulls: int = 0
    controls: int = 0
    invalid: int = 0
    """Bytes that are not UTF-8."""
    foreign: int = 0
    """Characters beyond ASCII, invalid ones included."""
    sample: bytes = b""

    @classmethod
    def of(cls, blocks: Iterator[bytes]) -> _Scan:
        scan = cls()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for block in blocks:
            scan.size += len(block)
            scan.nulls += block.count(0)
            scan.controls += len(block) - len(block.translate(None, _CONTROLS))
            text = decoder.decode(block)
            if high := _FIRST_HIGH.search(block):
                scan.invalid += text.count("\ufffd") - block.count(b"\xef\xbf\xbd")
                scan.foreign += len(text) - len(block.translate(None, _HIGH))
                scan.sample = scan.sample or block[max(high.start() - _SAMPLE_BYTES // 2, 0) :][:_SAMPLE_BYTES]
        scan.invalid += len(decoder.decode(b"", final=True))
        return scan


def detect(file: BinaryIO, declared: str | None = None) -> Encoding:
    """Find the encoding of a text, in one pass over it; it is left at any position.

    In this order: a byte order mark; UTF-16 and UTF-32 without one; escape sequences; UTF-8 with few invalid bytes,
    whatever is declared; the declaration; the letters of the languages that a text of Latin letters may have; and
    charset-normalizer.

    ```python
    import io

    from langchain_gemini_mm.media.text_encoding import detect

    assert detect(io.BytesIO("mała łódź na żółtym morzu".encode("cp1250"))).codec == "cp1250"
    ```

    Args:
        file: open, seekable.
        declared: the label of its encoding in what surrounds it, such as a mail; None where there is none.

    Raises:
        ContentError: binary data, or an encoding that cannot be detected.
    """
    file.seek(0)
    head = file.read(_DECLARATION_BYTES)
    if wide := _byte_order_mark(head) or _wide(head):
        if wide != "utf-8-sig" and not _is_plausible(head, wide):
            raise ContentError(BINARY)
        return Encoding(wide)
    file.seek(0)
    scan = _Scan.of(iter(lambda: file.read(1 << 20), b""))
    codec = (_codec(declared) if declared else None) or declared_encoding(head)
    if not scan.foreign:
        escaped = next((name for pattern, name in _ESCAPES if pattern.search(head)), None) or codec
        if escaped and escaped.startswith(("iso2022", "hz", "utf-7")):
            return Encoding(escaped)
    if scan.nulls or scan.controls > scan.size // 100:
        raise ContentError(BINARY)
    if scan.invalid * _UTF8_SHARE <= scan.foreign - scan.invalid:
        return Encoding("utf-8")
    if codec and not codec.startswith("utf"):
        return Encoding(codec)
    found = _guessed(scan.sample)
    if found is None or scan.controls:
        raise ContentError(UNKNOWN)
    return found


def decoded(data: bytes, declared: str | None = None) -> str:
    """Decode text in memory; bytes that do not fit become U+FFFD, and so does all that is no text.

    Args:
        data: the text.
        declared: the label of its encoding, such as `"gb2312"`; None where there is none.
    """
    try:
        codec = detect(io.BytesIO(data), declared).codec
    except ContentError:
        codec = "utf-8"
    return data.decode(codec, "replace")


def declared_encoding(head: bytes) -> str | None:
    """The encoding that the beginning of an HTML or XML file declares; None where it declares none that is known."""
    found = _DECLARATION.search(head[:_DECLARATION_BYTES])
    return _codec((found[1] or found[2]).decode()) if found else None


def _byte_order_mark(head: bytes) -> str | None:
    return next((encoding for mark, encoding in _BOMS if head.startswith(mark)), None)


def _wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, by the zeros in it."""
    if head.count(0) < 2:
        return None
    for width, name in ((4, "utf-32-be"), (4, "utf-32-le"), (2, "utf-16-be"), (2, "utf-16-le")):
        units = len(head) // width
        zeros = [head[place : units * width : width].count(0) for place in range(width)]
        zeros = zeros if name.endswith("be") else zeros[::-1]
        text = head[: units * width].decode(name, "replace")
        # The first byte of a character is always zero in UTF-32; in UTF-16 it is zero in spaces and line ends.
        spaces = text.count(" ") + text.count("\n")
        if units > 3 and (
            "\ufffd" not in text
            if width == 4
            else spaces > max(1, units // 100) or zeros[0] > units // 2 > 10 * zeros[1]
        ):
            return name
    return None


def _is_plausible(head: bytes, codec: str) -> bool:
    """Whether the beginning of a file is text in an encoding of wide characters."""
    text = codecs.getincrementaldecoder(codec)("replace").decode(head, final=len(head) < _DECLARATION_BYTES)
    strange = sum(sign == "\ufffd" or not (sign.isprintable() or sign.isspace()) for sign in text)
    blocks = {ord(sign) >> 8 for sign in text if not "\u3400" <= sign <= "\ud7ff"}
    return strange <= _WIDE_SHARE * len(text) and len(blocks) <= _WIDE_BLOCKS


def _codec(label: str) -> str | None:
    """The codec for a declared encoding, as browsers understand the label."""
    label = label.strip().lower()
    label = _LABELS.get(label, label)
    try:
        name = codecs.lookup(label).name if len(label) <= 30 else ""
    except (LookupError, ValueError):  # unknown, or a NUL in it
        return None
    name = _BROWSERS.get(name, name)
    if name.startswith(("utf-16", "utf-32")):
        # What declares this in single bytes is not encoded so.
        return "utf-8"
    return name if _ACCEPTED.fullmatch(name) else None


def _guessed(sample: bytes) -> Encoding | None:
    """The most plausible encoding of bytes that declare none."""
    letters = sum(map(str.isalpha, sample.decode("ascii", "ignore")))
    high = len(sample) - len(sample.translate(None, _HIGH))
    if high > _LATIN_SHARE * (high + letters) or sum(map(len, _RUNS.findall(sample))) > _MAX_RUNS * high:
        return _detected(sample, [codec for codec in _DETECTED if codec not in _LATIN], uncertain=high < _SURE_BYTES)
    return _of_latin(sample, high) or _detected(sample, _DETECTED, uncertain=True)


def _of_latin(sample: bytes, high: int) -> Encoding | None:
    """The encoding in which the letters beyond ASCII are those of one language."""
    texts = {codec: sample.decode(codec, "replace") for codec in _LATIN}
    fits = {codec: fit for codec, text in texts.items() if (fit := _fit(text))}
    # A few bytes tell no language: the encoding that is most used and suits them is as good as any.
    best = 0.0 if high < _SURE_LETTERS else max(fits.values(), default=0.0)
    found = [(codec, texts[codec]) for codec, fit in fits.items() if fit >= best]
    if not found:
        western = {codec: _fit(sample.decode(codec, "replace"), (_WESTERN,)) for codec in ("cp1252", "mac_roman")}
        codec = max(western, key=lambda one: western[one])
        return Encoding(codec, uncertain=True) if western[codec] else None
    # Texts in several encodings that are the same text are no doubt.
    return Encoding(found[0][0], uncertain=high < _SURE_LETTERS and any(text != found[0][1] for _, text in found))


def _fit(text: str, languages: Sequence[str] = _LETTERS) -> float:
    """How well the characters beyond ASCII suit the best of the languages; 0 for not at all."""
    counts = Counter(
        "\ufffd" if _is_within_word(before, sign, after) else sign
        for before, sign, after in zip(" " + text, text, text[1:] + " ", strict=False)
        if sign > "\x7f"
    )
    letters: Counter[str] = Counter()
    for sign, count in counts.items():
        if sign.isalpha() or not _is_sign(sign):
            letters[sign if sign in "İªº" or len(sign.lower()) > 1 else sign.lower()] += count
    total = sum(letters.values())
    if not total:
        return 1.0
    fits = ((_share(letters, known, total), _share(letters, known[:_FREQUENT], total)) for known in languages)
    return max(fit + _FREQUENT_WEIGHT * frequent if fit >= _MIN_FIT else 0.0 for fit, frequent in fits)


def _is_within_word(before: str, sign: str, after: str) -> bool:
    """Whether a sign is where only letters are, or a capital behind a small letter."""
    if sign.isupper() and before.islower():
        return True
    if sign.isalpha() or sign in _IN_WORDS or not after.isalpha():
        return False
    return before.isalpha() or unicodedata.category(sign) in ("No", "So", "Sk")


def _share(letters: Counter[str], known: str, total: int) -> float:
    return sum(letters[sign] for sign in known) / total


def _is_sign(sign: str) -> bool:
    return sign != "\ufffd" and (sign.isprintable() or sign.isspace())


def _detected(sample: bytes, codecs_: Sequence[str], *, uncertain: bool) -> Encoding | None:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=list(codecs_), threshold=_MAX_MESS).best()
    return None if best is None else Encoding(best.encoding, uncertain=uncertain)
