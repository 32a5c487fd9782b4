"""Conversion of the media of a run: one result for each part, whatever happens to others of the same file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.embeddings.preparation import EmbedItem, PreparedPart, converted_part, with_converted
from langchain_gemini_mm.embeddings.settings import ResolvedSettings
from langchain_gemini_mm.errors import GeminiMMError
from langchain_gemini_mm.media.convert import ConversionRequest, ConvertedPart, TemporaryFiles, convert

Conversions: TypeAlias = Mapping[Part, PreparedPart | GeminiMMError]
"""What became of each part that was requested."""


def convert_file(
    requests: Sequence[ConversionRequest], settings: ResolvedSettings, files: TemporaryFiles, cancel: CancelToken
) -> Conversions:
    """Convert everything that is needed of one file; a part that cannot be converted leaves the others alone.

    Args:
        requests: all of one file.
        settings: of the embeddings.
        files: keeps the results.
        cancel: ends the conversion early, without the remaining results.
    """
    results: dict[Part, PreparedPart | GeminiMMError] = {}
    while not cancel.is_set() and (rest := [request for request in requests if request.part not in results]):
        made: dict[Part, PreparedPart] = {}
        try:
            with rest[0].part.open(settings.media) as file:
                for converted in convert(rest, settings.targets, file, cancel=cancel):
                    made[converted.request.part] = _kept(converted, settings, files)
        except GeminiMMError as error:
            left = [request for request in rest if request.part not in made]
            named = [request for request in left if (request.position,) == error.inputs]
            # Without a position the error is about the first part that is left, or about the file: then each of the
            # others fails in its turn.
            results[(named or left or rest)[0].part] = error
        results |= made
    return _of_the_same_bytes(results, requests, settings)


def _kept(converted: ConvertedPart, settings: ResolvedSettings, files: TemporaryFiles) -> PreparedPart:
    part = sent = converted.request.part
    if converted.changed:
        sent = Part(
            modality=part.modality,
            mime_type=converted.mime_type,
            size=len(converted.data),
            path=files.write(converted.data),
            label=part.name,
        )
    return converted_part(converted, sent, settings)


def _of_the_same_bytes(
    results: Conversions, requests: Sequence[ConversionRequest], settings: ResolvedSettings
) -> Conversions:
    """The results, or an error for all of them if the file was written meanwhile."""
    part = requests[0].part
    if part.sha256 is None or all(isinstance(result, GeminiMMError) for result in results.values()):
        return results
    try:
        with part.open(settings.media) as file:
            part.require_unchanged(file)
    except GeminiMMError as error:
        return dict.fromkeys(results, error)
    return results


def usable_items(
    items: Iterable[EmbedItem], conversions: Iterable[Conversions], failed: dict[int, GeminiMMError]
) -> list[EmbedItem]:
    """The items with their converted parts; those with a part that could not be converted get into `failed`.

    Args:
        items: of one run.
        conversions: of each file.
        failed: position of an item to its error.
    """
    results = dict(chain.from_iterable(found.items() for found in conversions))
    errors = {part: result for part, result in results.items() if isinstance(result, GeminiMMError)}
    usable = []
    for item in items:
        error = next((errors[part.part] for part in item.parts if part.convert and part.part in errors), None)
        if error is None:
            usable.append(item)
        else:
            failed[item.position] = error
    made = [(part, result) for part, result in results.items() if not isinstance(result, GeminiMMError)]
    return with_converted(usable, [made])
