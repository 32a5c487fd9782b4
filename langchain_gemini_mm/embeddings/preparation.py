"""What is embedded: one item per content, checked against the model's limits, worded for its task, and measured."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, NamedTuple

from langchain_gemini_mm.content.mime_types import modality_of
from langchain_gemini_mm.content.parts import Part, Unresolved, to_parts
from langchain_gemini_mm.embeddings.cache import cache_key
from langchain_gemini_mm.embeddings.tasks import Recipe
from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError
from langchain_gemini_mm.interfaces import Backend, Content, MediaSource, Modality
from langchain_gemini_mm.media.av.segments import Track
from langchain_gemini_mm.media.convert import ConversionRequest, MediaTarget
from langchain_gemini_mm.media.facts import MediaFacts
from langchain_gemini_mm.media.images.exif import looks_turned
from langchain_gemini_mm.media.media_options import MediaOptions
from langchain_gemini_mm.media.model_limits import check_extent, check_modality, consumer_name
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.models import MediaLimit, ModelSpec

_NAMED = {"image": "a picture", "audio": "sound", "video": "a video", "pdf": "a PDF"}
_WIRE_OVERHEAD = 120
"""Bytes of JSON around one part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedItem:
    """One content, ready to be sent."""

    position: int
    """Which input it is, from 0."""
    parts: tuple[Part, ...]
    costs: tuple[Mapping[Modality, int], ...]
    """Tokens of each part, estimated, by modality."""
    unconverted: frozenset[int] = frozenset()
    """Which parts are yet to be cut out of their file, or converted."""
    task_type: str | None = None
    title: str | None = None

    @property
    def group(self) -> Hashable:
        """Request fields hold for a whole call, so items with other fields travel apart."""
        return self.task_type, self.title

    @property
    def wire_bytes(self) -> int:
        """Bytes in a request: media grow by a third as base64."""
        return sum(wire_bytes(part) for part in self.parts)

    @property
    def tokens(self) -> Mapping[Modality, int]:
        """Estimated, by modality."""
        total: Counter[Modality] = Counter()
        for cost in self.costs:
            total.update(cost)
        return total

    @property
    def token_count(self) -> int:
        """All tokens, estimated."""
        return sum(sum(cost.values()) for cost in self.costs)

    @property
    def name(self) -> str:
        """For messages."""
        return f"input {self.position}"

    def key(self, space: Mapping[str, object], media: MediaSource | None) -> str:
        """The content's key in an embedding cache."""
        parts = [(part.modality, part.digest(media)) for part in self.parts]
        return cache_key(space, parts, (self.task_type, self.title))


class SentPart(NamedTuple):
    """What is sent for a part after conversion."""

    part: Part
    cost: Mapping[Modality, int]
    """Tokens, estimated, by the modality they are billed as."""


def conversion_requests(items: Iterable[EmbedItem], options: MediaOptions) -> list[ConversionRequest]:
    """Which parts of the items have to be converted."""
    track: Track | None = None if options.audio_track_extraction else "video"
    return [
        ConversionRequest.of(
            item.parts[index], track=track if item.parts[index].modality == "video" else None, position=item.position
        )
        for item in items
        for index in sorted(item.unconverted)
    ]


def with_converted(items: Iterable[EmbedItem], converted: Iterable[Mapping[Part, SentPart]]) -> list[EmbedItem]:
    """The items with the converted media in the places of their parts."""
    found = {part: sent for results in converted for part, sent in results.items()}
    ready: list[EmbedItem] = []
    for item in items:
        parts, costs = list(item.parts), list(item.costs)
        for index in item.unconverted:
            parts[index], costs[index] = found[parts[index]]
        ready.append(replace(item, parts=tuple(parts), costs=tuple(costs), unconverted=frozenset()))
    return ready


CONVERTED_BYTES = 64_000_000
"""Largest converted part; it is in memory while it is written. A larger one is encoded with fewer bits per second."""


def media_targets(
    spec: ModelSpec, backend: Backend, options: MediaOptions, inline_limit: int
) -> dict[Modality, MediaTarget]:
    """What the model takes of each modality under the options.

    Args:
        spec: the model, with the limits that follow from the options.
        backend: the service.
        options: choices of the caller.
        inline_limit: bytes of a request, base64 counted; Vertex AI has no other way for media.
    """
    inline = max(inline_limit - 1000, 4) // 4 * 3
    max_bytes = min(CONVERTED_BYTES, inline) if backend == "vertex" else CONVERTED_BYTES
    targets: dict[Modality, MediaTarget] = {}
    for modality, limit in spec.media.get(backend, {}).items():
        edges = {"image": (options.image_max_edge, limit.pixels_per_side), "video": (options.video_max_edge,)}
        targets[modality] = MediaTarget(
            mime_types=limit.mime_types,
            max_bytes=max_bytes,
            max_edge=min((edge for edge in edges.get(modality, ()) if edge), default=None),
            max_seconds=limit.seconds,
            consumer=consumer_name(spec, backend),
        )
    return targets


def selected(part: Part) -> MediaFacts:
    """What a reference to a part of a file asks for, without opening the file.

    Raises:
        ContentError: it selects what files of this kind do not have.
    """
    ref = part.ref
    if ref is None or not ref.is_part:
        raise TypeError(f"{part.name} is a whole file")
    kind = modality_of(part.mime_type or "")
    what = "pages" if ref.first_page is not None else "seconds" if ref.start_s is not None else "a sound track"
    if kind not in (("pdf",) if what == "pages" else ("audio", "video")):
        raise ContentError(
            f"{ref} selects {what}, and the file is {_NAMED.get(kind or '', part.mime_type)}, which has none"
        )
    return MediaFacts(
        mime_type=part.mime_type or "",
        modality=part.modality,
        size=part.size,
        seconds=None if ref.end_s is None else round(ref.end_s - (ref.start_s or 0), 3),
        pages=None if ref.first_page is None else (ref.last_page or 0) - ref.first_page + 1,
        has_audio=True,
    )


def _sound_alone(part: Part, file: BinaryIO) -> MediaFacts | None:
    """What is in a container for video that holds only sound, as browsers and phones record it."""
    from langchain_gemini_mm.media.av.clip import inspect

    clip = inspect(file, name=part.name) if part.modality == "video" else None
    if clip is None or clip.pictures is not None or clip.sound is None or clip.is_cut_off:
        return None
    return MediaFacts(
        mime_type=part.mime_type or "", modality="audio", size=part.size, seconds=clip.duration_s, has_audio=True
    )


def wire_bytes(part: Part) -> int:
    """Bytes that one part takes in a request."""
    content = len(part.text.encode()) if part.text is not None else (part.size + 2) // 3 * 4
    return content + _WIRE_OVERHEAD


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What items are made with: the model, its backend, the task's recipe and where media come from."""

    spec: ModelSpec
    backend: Backend
    recipe: Recipe
    media: MediaSource | None
    options: MediaOptions
    unresolved: Unresolved = "error"

    def items(self, contents: Sequence[Content], titles: Sequence[str | None] | None) -> list[EmbedItem]:
        """Make an item of every content.

        Raises:
            ContentError: a content cannot be embedded; the message says which.
        """
        named = titles if titles is not None else [None] * len(contents)
        if len(named) != len(contents):
            raise ValueError(f"got {len(named)} titles for {len(contents)} contents")
        items = [
            self._item(position, content, title)
            for position, (content, title) in enumerate(zip(contents, named, strict=True))
        ]
        self._warn_of_idle_titles(items, named)
        return items

    def _item(self, position: int, content: Content, title: str | None) -> EmbedItem:
        try:
            parts = to_parts(content, self.media, unresolved=self.unresolved)
            self._check_counts(parts)
            seen = [self._seen(part) for part in parts]
        except GeminiMMError as error:
            error.about_input(position)
            raise
        parts, costs = tuple(part for part, _, _ in seen), tuple(cost for _, cost, _ in seen)
        if len(parts) > 1 or parts[0].text is None:
            unconverted = frozenset(place for place, (_, _, to_make) in enumerate(seen) if to_make)
            return EmbedItem(position=position, parts=parts, costs=costs, unconverted=unconverted)
        worded = replace(parts[0], text=self.recipe.text(parts[0].text, title))
        in_field = self.recipe.task_type is not None and self.recipe.takes_title
        return EmbedItem(
            position=position,
            parts=(worded,),
            costs=costs,
            task_type=self.recipe.task_type,
            title=title if in_field else None,
        )

    def _seen(self, part: Part) -> tuple[Part, Mapping[Modality, int], bool]:
        """A part as what it is, its tokens estimated, and whether it is yet to be made."""
        if part.text is not None:
            return part, self.options.tokens("text", self.backend, characters=len(part.text)), False
        if part.uri is not None:
            return part, self.options.tokens(part.modality, self.backend), False
        limit = check_modality(part.mime_type or "", self.spec, self.backend, name=part.name)
        taken = part.mime_type in limit.mime_types
        if part.ref is not None and part.ref.is_part:
            facts, to_make = selected(part), True
        elif part.modality == "image" and not taken:
            # It is read once, when it is converted.
            facts, to_make = None, True
        else:
            facts, to_make = self._opened(part, limit)
        if facts is None:
            return part, self.options.tokens(part.modality, self.backend), to_make
        check_extent(facts, self.spec, self.backend, name=part.name)
        cost = self.options.tokens(
            facts.modality, self.backend, seconds=facts.seconds, pages=facts.pages, has_audio=facts.has_audio
        )
        return part if facts.modality == part.modality else replace(part, modality=facts.modality), cost, to_make

    def _opened(self, part: Part, limit: MediaLimit) -> tuple[MediaFacts, bool]:
        """Open a file for the proof that it is what it looks like."""
        with part.open(self.media) as file:
            try:
                facts = probe(file, part.mime_type or "", name=part.name)
            except ContentError:
                sound = _sound_alone(part, file)
                if sound is None:
                    raise
                return sound, True
            if facts.mime_type not in limit.mime_types or self._is_larger(facts):
                return facts, True
            # Of other types only Pillow knows how they are turned.
            known = facts.mime_type in ("image/png", "image/jpeg") or facts.modality != "image"
            return facts, looks_turned(file, facts.mime_type) if known else True

    def _is_larger(self, facts: MediaFacts) -> bool:
        edges = {"image": self.options.image_max_edge, "video": self.options.video_max_edge}
        most = edges.get(facts.modality)
        return most is not None and max(facts.width or 0, facts.height or 0) > most

    def _check_counts(self, parts: tuple[Part, ...]) -> None:
        for modality, count in Counter(part.modality for part in parts).items():
            if modality == "text":
                continue
            limit = self.spec.limit(modality, self.backend)
            if limit is None:
                raise ContentError(
                    f"{self.spec.name} takes text only, and this content holds {modality}. Use 'gemini-embedding-2'"
                )
            if limit.per_item is not None and count > limit.per_item:
                raise MediaLimitError(
                    f"{count} {modality} files in one content; {self.spec.name} takes at most {limit.per_item} for one "
                    "vector. Give them as separate contents"
                )

    def _warn_of_idle_titles(self, items: Sequence[EmbedItem], titles: Sequence[str | None]) -> None:
        idle = [item.position for item in items if titles[item.position] and not self._takes_title(item)]
        if idle:
            shown = ", ".join(map(str, idle[:5])) + (", …" if len(idle) > 5 else "")
            warnings.warn(
                f"{len(idle)} title(s) have no effect (inputs {shown}): titles belong to text-only documents of a "
                "retrieval task; put the words into the content instead",
                UserWarning,
                stacklevel=5,
            )

    def _takes_title(self, item: EmbedItem) -> bool:
        text_only = len(item.parts) == 1 and item.parts[0].text is not None
        return text_only and self.recipe.takes_title
