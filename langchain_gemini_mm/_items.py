"""What is embedded: one item per content, checked against the model's limits, worded for its task, and measured."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from langchain_gemini_mm._cache import cache_key
from langchain_gemini_mm.content import Part, Unresolved, to_parts
from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError
from langchain_gemini_mm.media.limits import check_limits
from langchain_gemini_mm.media.probing import MediaFacts, probe
from langchain_gemini_mm.models import ModelSpec
from langchain_gemini_mm.tasks import Recipe
from langchain_gemini_mm.types import Backend, Content, MediaSource, Modality
from langchain_gemini_mm.usage import estimate_tokens

_WIRE_OVERHEAD = 120
"""Bytes of JSON around one part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedItem:
    """One content, ready to be sent."""

    position: int
    """Which input it is, from 0."""
    parts: tuple[Part, ...]
    tokens: Mapping[Modality, int]
    """Estimated, by modality."""
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
    def token_count(self) -> int:
        """All tokens, estimated."""
        return sum(self.tokens.values())

    @property
    def name(self) -> str:
        """For messages."""
        return f"input {self.position}"

    def key(self, space: Mapping[str, object], media: MediaSource | None) -> str:
        """The content's key in an embedding cache."""
        parts = [(part.modality, part.digest(media)) for part in self.parts]
        return cache_key(space, parts, (self.task_type, self.title))


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
            tokens = self._measured(parts)
        except GeminiMMError as error:
            if error.args:
                error.args = (f"input {position}: {error.args[0]}", *error.args[1:])
            raise
        if len(parts) > 1 or parts[0].text is None:
            return EmbedItem(position=position, parts=parts, tokens=tokens)
        worded = replace(parts[0], text=self.recipe.text(parts[0].text, title))
        in_field = self.recipe.task_type is not None and self.recipe.takes_title
        return EmbedItem(
            position=position,
            parts=(worded,),
            tokens=tokens,
            task_type=self.recipe.task_type,
            title=title if in_field else None,
        )

    def _measured(self, parts: tuple[Part, ...]) -> Mapping[Modality, int]:
        """Estimate tokens, opening each file once for the proof that it is what it looks like."""
        self._check_counts(parts)
        tokens: Counter[Modality] = Counter()
        for part in parts:
            facts = self._proved(part)
            tokens[part.modality] += estimate_tokens(
                part.modality,
                self.backend,
                characters=len(part.text or ""),
                seconds=facts.seconds if facts else None,
                pages=facts.pages if facts else None,
            )
        return tokens

    def _proved(self, part: Part) -> MediaFacts | None:
        if part.text is not None:
            return None
        if part.ref is not None and part.ref.is_part:
            raise ContentError(
                f"{part.ref} selects a part of a file; cutting segments and pages is not offered yet. Store the part "
                "as a file of its own"
            )
        if part.uri is not None:
            return None
        with part.open(self.media) as file:
            facts = probe(file, part.mime_type or "", name=part.name)
        check_limits(facts, self.spec, self.backend, name=part.name)
        return facts

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
