"""Hits as HTML for notebooks: images and players with small copies of the media; all text is escaped."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape

from langchain_gemini_mm.content.parts import Part, to_parts
from langchain_gemini_mm.errors import MediaLimitError
from langchain_gemini_mm.interfaces import HitLike
from langchain_gemini_mm.media.convert import ConvertedPart
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering.citations import citation
from langchain_gemini_mm.rendering.clean_text import clean_text, pieces_of
from langchain_gemini_mm.rendering.media_blocks import MediaFitter
from langchain_gemini_mm.rendering.model_capabilities import Accepts

HIT_BYTES = 400_000
"""Largest size of the media of one hit, in bytes of base64."""
ALL_BYTES = 3_000_000
"""Largest size of the media of all hits in one list, in bytes of base64."""
MAX_HITS = 50
"""Hits that are shown; of further ones only the number is."""
MAX_MEDIA = 4
"""Media that are shown of one hit."""

_BROWSER = Accepts(
    name="browser",
    image=frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"}),
    audio=frozenset({"audio/mp3", "audio/wav"}),
    video=frozenset({"video/mp4", "video/webm"}),
    max_bytes=ALL_BYTES,
    image_edge=480,
    image_bytes=160_000,
)
_PLAYED_S = 30.0
"""Seconds that are kept of audio that is too large."""
_MAX_CHARACTERS = 400
_TYPES = {"audio/mp3": "audio/mpeg"}
_CARD = "border:1px solid #8884;border-radius:6px;padding:8px 12px;margin:6px 0;max-width:640px"
_MEDIUM = "max-width:100%;max-height:240px;display:block;margin-top:6px"
_LOG = logging.getLogger(__name__)


def hit_html(hit: HitLike) -> str:
    """Render one hit with its media; of a video that would have to be re-encoded only the keyframes are shown."""
    return _card(hit, HIT_BYTES, quick=False)[0]


def hits_html(hits: Sequence[HitLike]) -> str:
    """Render a list of hits; a video that would have to be re-encoded is shown as a still."""
    cards, left = [], ALL_BYTES
    for hit in hits[:MAX_HITS]:
        card, used = _card(hit, min(HIT_BYTES, left), quick=True)
        cards.append(card)
        left -= used
    more = len(hits) - len(cards)
    rest = f"<div>and {more:,} more</div>" if more > 0 else ""
    return f"<div>{''.join(cards)}{rest}</div>" if cards else "<div>no hits</div>"


def _card(hit: HitLike, most: int, *, quick: bool) -> tuple[str, int]:
    """Render a hit; returns the HTML, and the bytes of base64 in it."""
    left = most
    media: list[str] = []
    for piece in _pieces(hit, most, quick=quick):
        left -= piece.base64_bytes
        media.append(_medium(piece, citation(hit)))
    text = clean_text(hit)
    text = text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS].rstrip()} …"
    head = f"<b>{hit.rank}</b> {escape(citation(hit))} <span style='opacity:.6'>{escape(_scores(hit))}</span>"
    words = f"<div style='white-space:pre-wrap'>{escape(text)}</div>" if text else ""
    return f"<div style='{_CARD}'><div>{head}</div>{words}{''.join(media)}</div>", most - left


def _scores(hit: HitLike) -> str:
    shown = [f"{hit.score_kind} {hit.score:.3f}"]
    if hit.cosine is not None and hit.score_kind != "cosine":
        shown.append(f"cosine {hit.cosine:.3f}")
    if hit.confidence is not None:
        shown.append(f"confidence {hit.confidence:.0%}")
    return " · ".join(shown)


def _pieces(hit: HitLike, most: int, *, quick: bool) -> Iterator[ConvertedPart]:
    refs = [piece for piece in pieces_of(hit.document.page_content) if isinstance(piece, MediaRef)]
    if hit.media is None:
        return
    fitter = MediaFitter(accepts=_BROWSER, media=hit.media, stills=1, quick=quick, preview=True)
    for ref in refs[:MAX_MEDIA]:
        try:
            (part,) = to_parts(ref, hit.media)
            made = _made(fitter, part, most)
        except Exception as error:  # noqa: BLE001  a notebook shows what there is
            _LOG.warning("%s is not shown: %s", citation(hit), error)
            continue
        for piece in made:
            most -= piece.base64_bytes
            yield piece


def _made(fitter: MediaFitter, part: Part, most: int) -> list[ConvertedPart]:
    try:
        return fitter.fit(part, most)
    except MediaLimitError:
        if part.modality != "audio" or part.ref is None:
            raise
    start_s = part.ref.start_s or 0.0
    beginning = part.ref.segment(
        start_s, min(part.ref.end_s or start_s + _PLAYED_S, start_s + _PLAYED_S), track="audio"
    )
    made = fitter.fit(replace(part, ref=beginning), most)
    return [replace(piece, description=f"its first {_PLAYED_S:g} seconds") for piece in made]


def _medium(piece: ConvertedPart, cited: str) -> str:
    encoded = base64.b64encode(piece.data).decode("ascii")
    source = f"data:{_TYPES.get(piece.mime_type, piece.mime_type)};base64,{encoded}"
    title = escape(f"{piece.description} of {cited}" if piece.description else cited)
    if piece.modality == "image":
        return f"<img src='{source}' alt='{title}' title='{title}' style='{_MEDIUM}'>"
    tag = "audio" if piece.modality == "audio" else "video"
    return f"<{tag} controls preload='metadata' src='{source}' title='{title}' style='{_MEDIUM}'></{tag}>"
