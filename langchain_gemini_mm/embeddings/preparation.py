"""Preparation of contents: validated against the model's limits, prefixed for their task, measured and priced."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from langchain_gemini_mm.content.mime_types import modality_of
from langchain_gemini_mm.content.parts import Part, to_parts
from langchain_gemini_mm.embeddings.cache import cache_key
from langchain_gemini_mm.embeddings.settings import ResolvedSettings
from langchain_gemini_mm.embeddings.tasks import Recipe
from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError
from langchain_gemini_mm.interfaces import Content, MediaSource, Modality
from langchain_gemini_mm.media.av.segments import Track
from langchain_gemini_mm.media.convert import ConversionRequest, ConvertedPart
from langchain_gemini_mm.media.facts import MediaFacts, known_facts
from langchain_gemini_mm.media.model_limits import check_extent, check_modality
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.models import estimate_tokens
from langchain_gemini_mm.references import SCHEME, MediaRef

_NAMED = {"image": "an image", "audio": "audio", "video": "a video", "pdf": "a PDF"}
_FOREIGN_SCHEMES = ("http://", "https://", "gs://", "s3://", "data:", "ftp://", "file:")
_SHORT_LIST = 100
_WIRE_OVERHEAD = 120
"""Bytes of JSON around one part in a request."""


class PreparedPart(NamedTuple):
    """A part as it is sent."""

    part: Part
    tokens: Mapping[Modality, int]
    """Estimated, by the modality they are billed as."""
    convert: bool = False
    """Whether it has yet to be cut out of its file, or converted."""

    @property
    def wire_bytes(self) -> int:
        """Size in a request, in bytes; base64 adds a third to media."""
        part = self.part
        content = len(part.text.encode()) if part.text is not None else (part.size + 2) // 3 * 4
        return content + _WIRE_OVERHEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedItem:
    """One content, ready to be sent."""

    position: int
    """Position of the input, from 0."""
    parts: tuple[PreparedPart, ...]
    wire_bytes: int
    """Bytes in a request."""
    token_count: int
    """Tokens of all modalities, estimated."""
    group: Hashable = None
    """Items of different groups cannot share a request: task type and title are fields of the request."""
    task_type: str | None = None
    title: str | None = None

    @classmethod
    def of(
        cls, position: int, parts: Sequence[PreparedPart], *, task_type: str | None = None, title: str | None = None
    ) -> EmbedItem:
        """Build an item, with the sums over its parts.

        Args:
            position: of the input, from 0.
            parts: in their written order.
            task_type: request field, for models that have one.
            title: request field, for models that have one.
        """
        wire_bytes = token_count = 0
        for part in parts:
            wire_bytes += part.wire_bytes
            token_count += sum(part.tokens.values())
        return cls(
            position=position,
            parts=tuple(parts),
            wire_bytes=wire_bytes,
            token_count=token_count,
            group=(task_type, title),
            task_type=task_type,
            title=title,
        )

    def key(self, space: Mapping[str, object], media: MediaSource | None) -> str:
        """The key of the content in an embedding cache.

        Args:
            space: the embedding space.
            media: where the bytes of references are.
        """
        parts = [(part.modality, part.digest(media)) for part, _, _ in self.parts]
        return cache_key(space, parts, (self.task_type, self.title))


def total_tokens(items: Iterable[EmbedItem]) -> Mapping[Modality, int]:
    """Estimated tokens of items, by the modality they are billed as."""
    total: Counter[Modality] = Counter()
    for item in items:
        for part in item.parts:
            total.update(part.tokens)
    return total


def prepare(
    settings: ResolvedSettings, contents: Sequence[Content], recipe: Recipe, titles: Sequence[str | None] | None = None
) -> list[EmbedItem]:
    """Prepare every content, one item each, in order.

    Args:
        settings: of the embeddings.
        contents: one vector each.
        recipe: how texts are prefixed for their task.
        titles: one for each content; used where a text stands alone in its content.

    Raises:
        ContentError: a content cannot be embedded; the error names the input.
        ValueError: another number of titles than of contents.
    """
    contents = check_sequence(contents)
    if titles is not None and len(titles) != len(contents):
        raise ValueError(f"got {len(titles)} titles for {len(contents)} contents")
    items: list[EmbedItem] = []
    unused: list[int] = []
    for position, content in enumerate(contents):
        title = titles[position] if titles else None
        item = _prepare_item(settings, position, content, recipe, title)
        if title and not (recipe.takes_title and len(item.parts) == 1 and item.parts[0].part.text is not None):
            unused.append(position)
        items.append(item)
    if unused:
        shown = ", ".join(map(str, unused[:5])) + (", …" if len(unused) > 5 else "")
        warnings.warn(
            f"{len(unused)} title(s) have no effect (inputs {shown}): titles belong to text-only documents of a "
            "retrieval task; put the title into the content instead",
            UserWarning,
            stacklevel=5,
        )
    return items


def _prepare_item(
    settings: ResolvedSettings, position: int, content: Content, recipe: Recipe, title: str | None
) -> EmbedItem:
    try:
        parts = to_parts(content, settings.media, unresolved=settings.unresolved)
        if len(parts) > 1 or parts[0].text is None:
            _check_counts(settings, parts)
        prepared = [_prepare_part(settings, part) for part in parts]
    except GeminiMMError as error:
        error.about_input(position)
        raise
    part, tokens, _ = prepared[0]
    if len(prepared) > 1 or part.text is None:
        return EmbedItem.of(position, prepared)
    text = recipe.text(part.text, title) if title else recipe.prefix + part.text
    return EmbedItem.of(
        position,
        [PreparedPart(replace(part, text=text), tokens)],
        task_type=recipe.task_type,
        title=title if recipe.task_type is not None and recipe.takes_title else None,
    )


def _prepare_part(settings: ResolvedSettings, part: Part) -> PreparedPart:
    options, backend = settings.options, settings.backend
    if part.text is not None:
        return PreparedPart(part, {"text": estimate_tokens("text", backend, characters=len(part.text))})
    if part.uri is not None:
        return PreparedPart(part, options.tokens(part.modality, backend))
    name, is_part = part.name, part.ref is not None and part.ref.is_part
    check_modality(part.mime_type or "", settings.spec, backend, name=name)
    accepted = settings.targets[part.modality].mime_types
    if part.modality == "image" and part.mime_type not in accepted and not is_part:
        # Not opened here: the conversion opens it.
        return PreparedPart(part, options.tokens("image", backend), convert=True)
    facts = _selected(part) if is_part else _facts_of(settings, part)
    check_extent(facts, settings.spec, backend, name=name)
    edge = settings.targets[facts.modality].max_edge
    convert = (
        is_part
        or facts.modality != part.modality
        or facts.mime_type not in accepted
        or facts.needs_redraw
        or (edge is not None and max(facts.width or 0, facts.height or 0) > edge)
    )
    tokens = options.tokens(
        facts.modality, backend, seconds=facts.seconds, pages=facts.pages, has_audio=facts.has_audio
    )
    return PreparedPart(
        part if facts.modality == part.modality else replace(part, modality=facts.modality), tokens, convert
    )


def _facts_of(settings: ResolvedSettings, part: Part) -> MediaFacts:
    """Open a file and measure it, unless it was opened in this process before."""
    known = known_facts(part.ref.sha256) if part.ref is not None else None
    if known is not None and (known.mime_type, known.size) == (part.mime_type, part.size):
        return known
    with part.open(settings.media) as file:
        return probe(file, part.mime_type or "", name=part.name)


def _selected(part: Part) -> MediaFacts:
    """What a reference to a part of a file selects, without opening the file.

    Raises:
        ContentError: it selects what files of this modality do not have.
    """
    ref = part.ref
    if ref is None:
        raise TypeError(f"{part.name} has no reference")
    modality = modality_of(part.mime_type or "")
    what = "pages" if ref.first_page is not None else "seconds" if ref.start_s is not None else "an audio track"
    if modality not in (("pdf", "image") if what == "pages" else ("audio", "video")):
        raise ContentError(
            f"{ref} selects {what}, and the file is {_NAMED.get(modality or '', part.mime_type)}, which has none"
        )
    return MediaFacts(
        mime_type=part.mime_type or "",
        modality=part.modality,
        size=part.size,
        seconds=None if ref.end_s is None else round(ref.end_s - (ref.start_s or 0), 3),
        pages=None if ref.first_page is None else (ref.last_page or 0) - ref.first_page + 1,
        has_audio=True,
    )


def _check_counts(settings: ResolvedSettings, parts: Sequence[Part]) -> None:
    """Refuse more files of a modality than fit into one embedding."""
    spec = settings.spec
    for modality, count in Counter(part.modality for part in parts if part.text is None).items():
        limit = spec.limit(modality, settings.backend)
        if limit is None:
            raise ContentError(
                f"{spec.name} takes text only, and this content holds {modality}. Use 'gemini-embedding-2'"
            )
        if limit.per_item is not None and count > limit.per_item:
            raise MediaLimitError(
                f"{count} {modality} files in one content; {spec.name} takes at most {limit.per_item} for one vector. "
                "Give them as separate contents"
            )


def conversion_requests(items: Iterable[EmbedItem], settings: ResolvedSettings) -> list[ConversionRequest]:
    """Requests for the parts that have to be converted."""
    track: Track | None = None if settings.options.audio_track_extraction else "video"
    requests: list[ConversionRequest] = []
    for item in items:
        for prepared in item.parts:
            if prepared.convert:
                kept = track if prepared.part.modality == "video" else None
                requests.append(ConversionRequest.of(prepared.part, track=kept, position=item.position))
    return requests


def converted_part(converted: ConvertedPart, sent: Part, settings: ResolvedSettings) -> PreparedPart:
    """A part after its conversion, with the tokens of what is really sent.

    Args:
        converted: the result.
        sent: where its bytes are.
        settings: of the embeddings.
    """
    request = converted.request
    seconds = None if converted.end_s is None else converted.end_s - (converted.start_s or 0.0)
    pages = None if request.pages is None else request.pages[1] - request.pages[0] + 1
    return PreparedPart(sent, settings.options.tokens(request.modality, settings.backend, seconds=seconds, pages=pages))


def with_converted(
    items: Iterable[EmbedItem], results: Iterable[Iterable[tuple[Part, PreparedPart]]]
) -> list[EmbedItem]:
    """The items with the converted parts in place of those that had to be converted.

    Args:
        items: of one call.
        results: for each file, the parts requested of it and what they became.
    """
    converted = dict(chain.from_iterable(results))
    return [
        EmbedItem.of(
            item.position,
            [converted[prepared.part] if prepared.convert else prepared for prepared in item.parts],
            task_type=item.task_type,
            title=item.title,
        )
        for item in items
    ]


def check_sequence(contents: Sequence[Content]) -> list[Content]:
    """Return contents as a list; passing one content instead of a list is the most common mistake.

    Raises:
        TypeError: a single content, or nothing that can be iterated.
    """
    if isinstance(contents, str | bytes | bytearray | Path | Mapping) or not isinstance(contents, Iterable):
        raise TypeError(
            f"expected a list of contents, one vector each, got one {type(contents).__name__}; put it in a list, or "
            "use embed_query"
        )
    return list(contents)


def are_short_texts(contents: Sequence[Content]) -> bool:
    """Whether contents are few and only text, so that preparing them does not block an event loop noticeably."""
    few = isinstance(contents, list) and len(contents) <= _SHORT_LIST
    return few and all(isinstance(item, str) and "mm:" not in item for item in contents)


def uris_to_contents(uris: Sequence[str | Path]) -> list[Path | MediaRef]:
    """Turn strings that the caller declares to be paths into paths and references; elsewhere a string is text.

    Raises:
        TypeError: a single string.
        ContentError: a URL.
    """
    if isinstance(uris, str | Path):
        raise TypeError(f"expected a list of paths, got one {type(uris).__name__}; put it in a list")
    contents: list[Path | MediaRef] = []
    for uri in uris:
        if not isinstance(uri, str | Path):
            raise TypeError(f"expected a path as str or Path, got {type(uri).__name__}")
        scheme = next((known for known in _FOREIGN_SCHEMES if str(uri).lower().startswith(known)), None)
        if scheme is not None and isinstance(uri, str):
            raise ContentError(
                f"a URL that starts with {scheme!r} is not fetched; give the path of a local file"
            ).about_input(len(contents))
        contents.append(MediaRef.parse(uri) if isinstance(uri, str) and uri.startswith(SCHEME) else Path(uri))
    return contents
