"""The contents of one run and the outcome of each: a vector, or an error that names the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from langchain_core.documents import Document

from langchain_gemini_mm.embeddings.cache import ContentIdentity, to_bytes
from langchain_gemini_mm.embeddings.preparation import EmbedItem, joined, units_of
from langchain_gemini_mm.embeddings.settings import ResolvedSettings
from langchain_gemini_mm.errors import GeminiMMError, PartialEmbeddingError
from langchain_gemini_mm.interfaces import Content, Vector, Vectors


class EmbedJob:
    """The prepared contents of one run; those that are equal are sent once.

    Args:
        prepared: an item or an error for each input.
        settings: of the embeddings.
        dimensions: of the vectors.
        cached: whether every unit needs a cache key.
    """

    def __init__(
        self,
        prepared: Sequence[EmbedItem | GeminiMMError],
        settings: ResolvedSettings,
        dimensions: int,
        *,
        cached: bool,
    ) -> None:
        self.dimensions = dimensions
        self.count = len(prepared)
        self.failed: dict[int, GeminiMMError] = {}
        """Position of an input to its error."""
        self.failed_units: dict[int, GeminiMMError] = {}
        """Position of a unit to its error."""
        self.content_keys: dict[int, str] = {}
        """Cache keys of the media that are sent, by row, of units whose media were converted."""
        self.known: set[int] = set()
        """Rows of the vectors that were in the cache."""
        self._settings = settings
        self.stopped = False
        """Whether the run ended before every unit was tried."""
        self._items: list[EmbedItem] = []
        for position, item in enumerate(prepared):
            if isinstance(item, GeminiMMError):
                self.failed[position] = item
            else:
                self._items.append(item)
        self.units: list[EmbedItem] = []
        """What is sent, each once; `position` is the row of its vector."""
        self.keys: list[str] = []
        """Cache keys of the units, if there is a cache."""
        self._rows: list[int] = []
        """The row of each unit of each item."""
        self._number(units_of(self._items), settings, cached)
        self.vectors: Vectors = np.empty((len(self.units), dimensions), dtype=np.float32)
        """`(n, d)` float32, one unit row for each of `units`, filled in the order of the answers."""

    def _number(self, units: Sequence[EmbedItem], settings: ResolvedSettings, cached: bool) -> None:
        """Give each unit its row; equal ones share theirs.

        Without a cache, files are hashed only where another content of the run has the same sizes.
        """
        sizes = [_sizes(unit) for unit in units]
        counts = Counter(sizes)
        rows: dict[object, int] = {}
        for unit, size in zip(units, sizes, strict=True):
            key, sent = size, unit
            if cached or (counts[size] > 1 and any(part.part.text is None for part in unit.parts)):
                try:
                    sent = unit.hashed(settings.media)
                    key = self._key(sent)
                except GeminiMMError as error:
                    self.failed.setdefault(unit.position, error)
                    self._rows.append(-1)
                    continue
            row = rows.setdefault(key, len(self.units))
            self._rows.append(row)
            if row == len(self.units):
                self.units.append(sent if sent.position == row else replace(sent, position=row))
                if cached:
                    self.keys.append(str(key))

    def _key(self, unit: EmbedItem) -> str:
        space = {**self._settings.space, "dimensions": self.dimensions}
        return unit.key(space, self._settings.media, self._settings.sampling)

    def identify(self, units: Sequence[EmbedItem]) -> list[EmbedItem]:
        """Give units whose media were converted a key of what is sent: equal pages of different files are equal.

        Args:
            units: with their converted media.

        Returns:
            The units, each content once.
        """
        different: list[EmbedItem] = []
        rows: dict[str, int] = {}
        same: dict[int, int] = {}
        for unit in units:
            row = unit.position
            if any(part.convert for part in self.units[row].parts):
                key = self.content_keys[row] = self._key(unit)
                if rows.setdefault(key, row) != row:
                    same[row] = rows[key]
                    continue
            different.append(unit)
        self._rows = [same.get(row, row) for row in self._rows] if same else self._rows
        return different

    def cache_entries(self, vectors: Mapping[int, Vector]) -> list[tuple[str, bytes]]:
        """The entries of a cache for vectors, by row: under the keys of the reference and of what is sent."""
        if not self.keys:
            return []
        entries = [(self.keys[row], to_bytes(vector)) for row, vector in vectors.items()]
        return entries + [
            (self.content_keys[row], to_bytes(vector)) for row, vector in vectors.items() if row in self.content_keys
        ]

    def known_media(self) -> list[tuple[str, bytes]]:
        """The entries for references to media that were found by what is sent, which need not be cut again."""
        rows = self.known & self.content_keys.keys()
        return [(self.keys[row], to_bytes(self.vectors[row])) for row in sorted(rows)]

    def identities(self, contents: Sequence[Content]) -> Iterator[ContentIdentity]:
        """The identities of contents that are one text or Document; see `IdentityJournal`.

        Args:
            contents: of the run.
        """
        start = 0
        known = set(self.known)
        for item in self._items:
            rows = self._rows[start : start + (len(item.pieces) or 1)]
            start += len(rows)
            content = contents[item.position]
            text = content.page_content if isinstance(content, Document) else content
            if isinstance(text, str):
                yield ContentIdentity(text, self.content_keys.get(rows[0]), known.issuperset(rows))
            known.update(rows)

    def finish(self) -> Vectors:
        """The vectors of all inputs, in order.

        Raises:
            PartialEmbeddingError: some inputs failed, others have a vector.
            GeminiMMError: no input has a vector: the first error, which names all inputs that failed for the same
                reason; `others` has the other errors.
        """
        succeeded, rows = self.settle()
        whole = len(rows) == len(self.units) and rows == list(range(len(rows)))
        vectors = joined(succeeded, self.vectors if whole else self.vectors[rows])
        if not self.failed:
            return vectors
        raise self._error(succeeded, vectors)

    def settle(self) -> tuple[list[EmbedItem], list[int]]:
        """The items whose units all have a vector, and the rows of these; the others get into `failed`."""
        start = 0
        succeeded: list[EmbedItem] = []
        rows: list[int] = []
        for item in self._items:
            end = start + (len(item.pieces) or 1)
            mine = self._rows[start:end]
            start = end
            error = next((self.failed_units[row] for row in mine if row in self.failed_units), None)
            if error is not None:
                self.failed.setdefault(item.position, error)
            elif item.position not in self.failed:
                succeeded.append(item)
                rows += mine
        return succeeded, rows

    def _error(self, succeeded: Sequence[EmbedItem], vectors: Vectors) -> GeminiMMError:
        names = {item.position: item.name for item in self._items if item.position in self.failed}
        _name_inputs(self.failed, names)
        if not succeeded:
            return _combined(self.failed)
        first = self.failed[min(self.failed)]
        error = PartialEmbeddingError(
            f"{len(self.failed):,} of {self.count:,} inputs could not be embedded; `vectors` has the vectors of the "
            f"others. {_reasons(self.failed)}",
            vectors={item.position: row for item, row in zip(succeeded, vectors.tolist(), strict=True)},
            failed=dict(sorted(self.failed.items())),
            stopped=self.stopped,
        )
        error.__cause__ = first
        return error


def _reasons(failed: Mapping[int, GeminiMMError]) -> str:
    """The first errors that differ, one per line where there are several, and the number of the others."""
    messages = list(dict.fromkeys(str(failed[position]) for position in sorted(failed)))
    shown = messages[:_SHOWN_REASONS]
    if len(messages) > len(shown):
        shown.append(f"{len(messages) - len(shown):,} more reasons are in `failed`")
    return "\n".join(shown)


_SHOWN_REASONS = 3
"""How many different errors a message of `PartialEmbeddingError` contains."""


def _sizes(unit: EmbedItem) -> object:
    """What is equal for equal contents, without reading media; texts are compared by themselves."""
    if len(unit.parts) == 1 and unit.parts[0].part.text is not None:
        return unit.parts[0].part.text, unit.group
    parts = (part.part for part in unit.parts)
    return tuple((part.modality, part.text or part.uri or part.size) for part in parts), unit.group


def _name_inputs(failed: Mapping[int, GeminiMMError], names: Mapping[int, str]) -> None:
    """Let every error name the inputs that it is about."""
    positions: dict[int, list[int]] = {}
    for position in sorted(failed):
        positions.setdefault(id(failed[position]), []).append(position)
    for found in positions.values():
        error = failed[found[0]]
        error.inputs = tuple(found)
        if len({names.get(position, "") for position in found}) == 1:
            error.input_name = error.input_name or names.get(found[0], "")


def _combined(failed: Mapping[int, GeminiMMError]) -> GeminiMMError:
    """The first error, about all inputs that failed for the same reason."""
    alike: dict[tuple[type, str], list[GeminiMMError]] = {}
    for error in _different(failed[position] for position in sorted(failed)):
        alike.setdefault((type(error), error.message), []).append(error)
    errors = []
    for group in alike.values():
        group[0].inputs = tuple(sorted(position for error in group for position in error.inputs))
        errors.append(group[0])
    errors[0].others = tuple(errors[1:])
    return errors[0]


def _different(errors: Iterable[GeminiMMError]) -> list[GeminiMMError]:
    return list({id(error): error for error in errors}.values())
