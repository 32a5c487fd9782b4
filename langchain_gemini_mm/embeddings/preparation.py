"""Preparation of contents: validated against the model's limits, prefixed for their task, measured and priced."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from langchain_core.documents import Document

from langchain_gemini_mm.content.mime_types import modality_of
from langchain_gemini_mm.content.parts import Part, to_parts
from langchain_gemini_mm.embeddings.cache import cache_key
from langchain_gemini_mm.embeddings.long_text import split_long_text, too_many_tokens, truncated_text, weighted_mean
from langchain_gemini_mm.embeddings.settings import ResolvedSettings
from langchain_gemini_mm.embeddings.tasks import Recipe
from langchain_gemini_mm.errors import ContentError, GeminiMMError, InvalidTypeError, InvalidValueError, MediaLimitError
from langchain_gemini_mm.interfaces import Content, MediaSource, Modality, Vector, Vectors
from langchain_gemini_mm.media.av.segments import Track
from langchain_gemini_mm.media.convert import ConversionRequest, ConvertedPart
from langchain_gemini_mm.media.facts import MediaFacts, known_facts
from langchain_gemini_mm.media.model_limits import check_extent, check_modality, consumer_name, too_long
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.models import text_token_range, text_tokens
from langchain_gemini_mm.references import SCHEME

logger = logging.getLogger("langchain_gemini_mm")

_RANGE = 7
"""An estimate below the limit by this factor needs no closer look."""
_AUDIO_BYTES_PER_SECOND = 8000
"""Of encoded audio."""
_NAMED = {"image": "an image", "audio": "audio", "video": "a video", "pdf": "a PDF"}
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

    @property
    def token_range(self) -> tuple[int, int]:
        """The least and most tokens: rates of media are exact, but for the text on pages."""
        if self.part.text is not None:
            return text_token_range(self.part.text)
        return self.tokens.get(self.part.modality, 0), sum(self.tokens.values())


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
    may_be_cut: bool = False
    """Whether the content may have more tokens than the model reads. It is sent alone, so that the tokens that the
    service reports are its own."""
    pieces: tuple[EmbedItem, ...] = ()
    """What is sent instead of a text that is too long; the vector is the mean of theirs."""

    @classmethod
    def of(
        cls,
        position: int,
        parts: Sequence[PreparedPart],
        *,
        task_type: str | None = None,
        title: str | None = None,
        may_be_cut: bool = False,
    ) -> EmbedItem:
        """Build an item, with the sums over its parts.

        Args:
            position: of the input, from 0.
            parts: in their written order.
            task_type: request field, for models that have one.
            title: request field, for models that have one.
            may_be_cut: whether it may have more tokens than the model reads.
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
            group=(task_type, title, hash(parts[0].part.text)) if may_be_cut else (task_type, title),
            task_type=task_type,
            title=title,
            may_be_cut=may_be_cut,
        )

    @property
    def name(self) -> str:
        """Names of its files, for messages; empty for texts and references."""
        named = (part.part for part in self.parts if part.part.path is not None or part.part.label is not None)
        return ", ".join(part.name for part in named if SCHEME not in part.name)

    @property
    def tokens(self) -> Mapping[Modality, int]:
        """Estimated, by the modality they are billed as."""
        return total_tokens([self])

    def hashed(self, media: MediaSource | None) -> EmbedItem:
        """The item with the hashes of its files, which must still be the same when they are sent.

        Raises:
            MissingMediaError: a file cannot be read.
        """
        if all(part.part.path is None for part in self.parts):
            return self
        parts = [
            part if part.part.path is None else part._replace(part=replace(part.part, sha256=part.part.digest(media)))
            for part in self.parts
        ]
        return replace(self, parts=tuple(parts))

    def key(self, space: Mapping[str, object], media: MediaSource | None, sampling: str = "") -> str:
        """The key of the content in an embedding cache, from everything that decides the vector; see also `hashed`.

        Args:
            space: the embedding space.
            media: where the bytes of references are.
            sampling: how the service samples video, `ResolvedSettings.sampling`.
        """
        parts = [
            (part.modality, f"{part.digest(media)} {sampling}" if part.modality == "video" else part.digest(media))
            for part, _, _ in self.parts
        ]
        return cache_key(space, parts, (self.task_type, self.title))


def units_of(prepared: Iterable[EmbedItem]) -> list[EmbedItem]:
    """What is sent for prepared contents, in order: the items, or the pieces of those that are split."""
    return [unit for item in prepared for unit in item.pieces or (item,)]


def joined(prepared: Iterable[EmbedItem], vectors: Vectors) -> Vectors:
    """One row for each prepared content, from one row for each of its units.

    Args:
        prepared: the items.
        vectors: `(n, d)`, unit rows, one for each of `units_of(prepared)`, in order.

    Returns:
        `(len(prepared), d)` float32, unit rows.
    """
    if not any(item.pieces for item in prepared):
        return vectors
    rows: list[Vector] = []
    start = 0
    for item in prepared:
        end = start + (len(item.pieces) or 1)
        texts = [unit.parts[0].part.text or "" for unit in item.pieces]
        rows.append(weighted_mean(vectors[start:end], texts) if texts else vectors[start])
        start = end
    return np.stack(rows)


def truncation(
    item: EmbedItem, settings: ResolvedSettings, *, reported: bool, tokens: int | None
) -> MediaLimitError | None:
    """The error for an answer that was made from a part of the text only; a log message where that is accepted.

    Args:
        item: that was answered.
        settings: of the embeddings.
        reported: whether the service says that it truncated the text.
        tokens: that the service reports for the request, if the item was alone in it.
    """
    limit = settings.spec.tokens
    if not reported and not (item.may_be_cut and tokens is not None and tokens >= limit):
        return None
    consumer = consumer_name(settings.spec, settings.backend)
    if settings.on_too_long == "truncate":
        logger.info("input %d was truncated to the %d tokens that %s reads", item.position, limit, consumer)
        return None
    return MediaLimitError(
        f"the service truncated the text: {consumer} reads {limit:,} tokens of one content. Split it, or set "
        "on_too_long='split' (the mean of the vectors of its parts) or 'truncate' (its beginning)"
    ).about_input(item.position)


def total_tokens(items: Iterable[EmbedItem]) -> Mapping[Modality, int]:
    """Estimated tokens of items, by the modality they are billed as."""
    total: Counter[Modality] = Counter()
    for item in items:
        for part in item.parts:
            total.update(part.tokens)
    return total


def prepare(
    settings: ResolvedSettings, contents: Sequence[Content], recipe: Recipe, titles: Sequence[str | None] | None = None
) -> list[EmbedItem | GeminiMMError]:
    """Prepare every content: one item each, or the error that names the input, in order.

    Args:
        settings: of the embeddings.
        contents: one vector each.
        recipe: how texts are prefixed for their task.
        titles: one for each content, by default that in the metadata of a Document; used where a text stands alone in
            its content.

    Raises:
        ValueError: another number of titles than of contents.
    """
    contents = check_sequence(contents)
    if titles and len(titles) != len(contents):
        raise InvalidValueError(f"got {len(titles)} titles for {len(contents)} contents")
    items: list[EmbedItem | GeminiMMError] = []
    unused: list[int] = []
    for position, content in enumerate(contents):
        title = (titles[position] if titles else None) or _title_of(content)
        try:
            item = _prepare_item(settings, position, content, recipe, title)
        except GeminiMMError as error:
            items.append(error.about_input(position))
            continue
        if (
            titles
            and titles[position]
            and not (recipe.takes_title and len(item.parts) == 1 and item.parts[0].part.text is not None)
        ):
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


def _title_of(content: Content) -> str | None:
    """The title in the metadata of a Document."""
    title = content.metadata.get("title") if isinstance(content, Document) else None
    return title if isinstance(title, str) else None


def _prepare_item(
    settings: ResolvedSettings, position: int, content: Content, recipe: Recipe, title: str | None
) -> EmbedItem:
    parts = to_parts(content, settings.media, unresolved=settings.unresolved)
    text = parts[0].text
    if len(parts) == 1 and text is not None:
        return _text_item(settings, position, text, recipe, title)
    _check_counts(settings, parts)
    prepared = [_prepare_part(settings, part) for part in parts]
    if len(prepared) > 1:
        _check_extents(settings, [facts for _, facts in prepared if facts is not None])
    item = EmbedItem.of(position, [part for part, _ in prepared])
    if item.token_count * _RANGE < settings.spec.tokens:
        return item
    ranges = [(part.part.modality, *part.token_range) for part in item.parts]
    least = Counter[Modality]()
    for modality, low, _ in ranges:
        least[modality] += low
    if least.total() > settings.spec.tokens:
        raise too_many_tokens(least, settings.spec.tokens, consumer_name(settings.spec, settings.backend))
    if sum(high for _, _, high in ranges) > settings.spec.tokens:
        excess = item.token_count - settings.spec.tokens
        return EmbedItem.of(position, _without_excess(item.parts, excess), may_be_cut=True)
    return item


def _without_excess(parts: Sequence[PreparedPart], excess: int) -> list[PreparedPart]:
    """The parts without the tokens that the service leaves out, which are the last of the text."""
    counted: list[PreparedPart] = []
    for part in reversed(parts):
        left_out = min(max(excess, 0), part.tokens["text"] - 1) if part.part.text is not None else 0
        counted.append(part._replace(tokens={"text": part.tokens["text"] - left_out}) if left_out else part)
        excess -= left_out
    return counted[::-1]


def _text_item(settings: ResolvedSettings, position: int, text: str, recipe: Recipe, title: str | None) -> EmbedItem:
    """A content that is one text: with the prefix of its task, and within the tokens that the model reads."""
    limit = settings.spec.tokens
    field = title if recipe.task_type is not None and recipe.takes_title else None
    prefix = recipe.text("", title) if title else recipe.prefix

    def item(text: str, *, may_be_cut: bool = False) -> EmbedItem:
        whole = prefix + text
        tokens = text_tokens(whole)
        part = PreparedPart(Part(modality="text", text=whole), {"text": min(tokens, limit) if may_be_cut else tokens})
        return EmbedItem.of(position, [part], task_type=recipe.task_type, title=field, may_be_cut=may_be_cut)

    # No text has more tokens than bytes, and a character has at most four.
    if 4 * (len(prefix) + len(text)) <= limit:
        return item(text)
    least, most = text_token_range(prefix + text)
    if most <= limit:
        return item(text)
    if settings.on_too_long == "split":
        pieces = split_long_text(text, limit - text_token_range(prefix)[1])
        return replace(item(text), pieces=tuple(item(piece) for piece in pieces))
    if least > limit:
        if settings.on_too_long == "error":
            raise too_many_tokens({"text": least}, limit, consumer_name(settings.spec, settings.backend))
        text = truncated_text(text, limit - text_token_range(prefix)[0])
    return item(text, may_be_cut=True)


def _prepare_part(settings: ResolvedSettings, part: Part) -> tuple[PreparedPart, MediaFacts | None]:
    options, backend = settings.options, settings.backend
    if part.text is not None:
        return PreparedPart(part, {"text": text_tokens(part.text)}), None
    if part.uri is not None:
        # The length of a file that only the service has is not known, so the longest that it takes is assumed.
        limit = check_modality(part.mime_type or "", settings.spec, backend, name=part.name)
        tokens = options.tokens(part.modality, backend, seconds=limit.seconds, pages=limit.pages)
        return PreparedPart(part, tokens), None
    name, is_part = part.name, part.ref is not None and part.ref.is_part
    check_modality(part.mime_type or "", settings.spec, backend, name=name)
    accepted = settings.targets[part.modality].mime_types
    if part.modality == "image" and part.mime_type not in accepted and not is_part:
        # Not opened here: the conversion opens it.
        return PreparedPart(part, options.tokens("image", backend), convert=True), None
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
    prepared = part if facts.modality == part.modality else replace(part, modality=facts.modality)
    return PreparedPart(prepared, tokens, convert), facts


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
        raise InvalidTypeError(f"{part.name} has no reference")
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


def _check_extents(settings: ResolvedSettings, facts: Sequence[MediaFacts]) -> None:
    """Refuse more seconds or pages of a modality, in all files together, than the model takes of one content."""
    for modality in ("audio", "video", "pdf"):
        limit = settings.spec.limit(modality, settings.backend)
        found = [one for one in facts if one.modality == modality]
        if limit is None or len(found) < 2:
            continue
        consumer = consumer_name(settings.spec, settings.backend)
        seconds, pages = sum(one.seconds or 0 for one in found), sum(one.pages or 0 for one in found)
        if limit.seconds is not None and seconds > limit.seconds:
            raise too_long(f"the {modality} of this content", seconds, limit.seconds, modality, consumer)
        if limit.pages is not None and pages > limit.pages:
            raise MediaLimitError(
                f"the PDFs of this content have {pages:,} pages; {consumer} takes at most {limit.pages} in one "
                "content. Give them as separate contents"
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
    modality = converted.request.modality
    if modality == "image":
        return PreparedPart(sent, settings.options.tokens(modality, settings.backend))
    # A copy begins at a keyframe, and an encoder adds its padding.
    facts = probe(io.BytesIO(converted.data), converted.mime_type, name=converted.request.part.name)
    tokens = settings.options.tokens(
        modality, settings.backend, seconds=facts.seconds, pages=facts.pages, has_audio=facts.has_audio
    )
    return PreparedPart(sent, tokens)


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
            may_be_cut=item.may_be_cut,
        )
        for item in items
    ]


def with_estimated_sizes(items: Iterable[EmbedItem]) -> list[EmbedItem]:
    """The items with estimated sizes of the parts that have to be cut out of their files: their share of the file."""

    def estimated(prepared: PreparedPart) -> PreparedPart:
        ref = prepared.part.ref
        facts = known_facts(ref.sha256) if ref is not None and ref.is_part and prepared.convert else None
        if ref is None or facts is None:
            return prepared
        seconds = (ref.end_s or facts.seconds or 0) - (ref.start_s or 0)
        share = seconds / facts.seconds if facts.seconds else 1.0
        if ref.first_page is not None and ref.last_page is not None:
            share = (ref.last_page - ref.first_page + 1) / (facts.pages or 1)
        size = _AUDIO_BYTES_PER_SECOND * seconds if ref.track else min(share, 1.0) * facts.size
        return prepared._replace(part=replace(prepared.part, size=math.ceil(size)))

    return [
        item
        if not any(part.convert for part in item.parts)
        else EmbedItem.of(
            item.position,
            [estimated(part) for part in item.parts],
            task_type=item.task_type,
            title=item.title,
            may_be_cut=item.may_be_cut,
        )
        for item in items
    ]


def check_sequence(contents: Sequence[Content]) -> list[Content]:
    """Return contents as a list; passing one content instead of a list is the most common mistake.

    Raises:
        TypeError: a single content, or nothing that can be iterated.
    """
    if isinstance(contents, str | bytes | bytearray | Path | Mapping) or not isinstance(contents, Iterable):
        raise InvalidTypeError(
            f"expected a list of contents, one vector each, got one {type(contents).__name__}; put it in a list, or "
            "use embed_query"
        )
    return list(contents)


def are_short_texts(contents: Sequence[Content]) -> bool:
    """Whether contents are few and only text, so that preparing them does not block an event loop noticeably."""
    few = isinstance(contents, list) and len(contents) <= _SHORT_LIST
    texts = (item.page_content if isinstance(item, Document) else item for item in contents)
    return few and all(isinstance(text, str) and "mm:" not in text for text in texts)
