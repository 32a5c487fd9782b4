"""From the arguments a model filled in to a query and the settings of a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from langchain_core.tools import ToolException

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.references import SCHEME, MediaRef, escape_references
from langchain_gemini_mm.tools.attachments import attachment_name, attachment_number, attachments, payload_of
from langchain_gemini_mm.vectorstores import Query
from langchain_gemini_mm.vectorstores.filters import matches, parse_filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call of a search tool."""

    query: str = ""
    modalities: Sequence[str] = ()
    like: str = ""
    source: str = ""
    start_s: float | None = None
    end_s: float | None = None
    k: int
    messages: Sequence[Any] = field(default=(), repr=False)
    """The conversation, for its attachments."""

    def content(self) -> Content | Query:
        """What to look for.

        Raises:
            ToolException: nothing is asked, or `like` names nothing.
        """
        words = escape_references(self.query.strip())
        like = self.like.strip()
        if not like:
            if not words:
                raise ToolException("Nothing to look for: give `query` in words, or `like` with the id of a hit.")
            return words
        number = attachment_number(like)
        if number is not None:
            return _together(words, _attachment(self.messages, number))
        if SCHEME in like:
            return _together(words, _reference(like))
        return Query(*([words] if words else []), like=[like])

    def filter(self, own: Any) -> Any:
        """The retriever's own filter, and what the model asks beside it: never in its place.

        Raises:
            ToolException: the end is before the start.
        """
        conditions = [own] if own is not None else []
        if self.source:
            conditions.append({"source": _source(self.messages, self.source.strip().strip("[]"))})
        if self.start_s is not None or self.end_s is not None:
            conditions.append(_within(self.start_s, self.end_s))
        if callable(own) and len(conditions) > 1:
            node = parse_filter({"$and": conditions[1:]})
            return lambda document: own(document) and matches(node, document.metadata)
        return conditions[0] if len(conditions) == 1 else {"$and": conditions} if conditions else None

    def __str__(self) -> str:
        """In words, for the model that asked."""
        named: Mapping[str, object] = {
            "like": self.like,
            "modalities": ", ".join(self.modalities),
            "source": self.source,
            "start_s": self.start_s,
            "end_s": self.end_s,
        }
        told = [repr(self.query)] if self.query else []
        told += [f"{name}={value}" for name, value in named.items() if value not in ("", None)]
        return ", ".join(told)


def _together(words: str, media: Content) -> Content:
    return [words, media] if words else [media]


def _reference(text: str) -> MediaRef:
    try:
        return MediaRef.parse(text)
    except ContentError as error:
        raise ToolException(f"like: {error}. Use the id of a hit instead, or attachment:1") from error


def _attachment(messages: Sequence[Any], number: int) -> Content:
    found = [block for *_, block in attachments(messages)]
    if not found:
        raise ToolException("There is no attachment in this conversation: describe what to look for in `query`.")
    if not 1 <= number <= len(found):
        names = ", ".join(attachment_name(known) for known in range(1, len(found) + 1))
        raise ToolException(f"There is no {attachment_name(number)}; the attachments are: {names}.")
    block = found[number - 1]
    payload = payload_of(block)
    return payload if isinstance(payload, MediaRef) else block


def _source(messages: Sequence[Any], name: str) -> str | dict[str, list[str]]:
    """A source, or those that were shown before and have this name as the last part of their path."""
    shown = {source for message in messages for source in _sources_in(getattr(message, "artifact", None))}
    if name in shown:
        return name
    meant = sorted(source for source in shown if PureWindowsPath(source).name == name)
    return {"$in": meant} if len(meant) > 1 else meant[0] if meant else name


def _sources_in(artifact: Any) -> Iterator[str]:
    """Sources of the Documents in an artifact; out of a checkpoint they come as dicts."""
    for document in artifact if isinstance(artifact, list) else ():
        metadata = document.get("metadata") if isinstance(document, dict) else getattr(document, "metadata", None)
        source = metadata.get("source") if isinstance(metadata, dict) else None
        if isinstance(source, str):
            yield source


def _within(start_s: float | None, end_s: float | None) -> dict[str, Any]:
    """Segments that overlap; a recording that is one whole has no times, and is taken."""
    if start_s is not None and end_s is not None and end_s < start_s:
        raise ToolException(
            f"end_s={end_s:g} is before start_s={start_s:g}: give seconds from the beginning of the file."
        )
    bounds: dict[str, Any] = {}
    if end_s is not None:
        bounds["start_s"] = {"$lte" if end_s == start_s else "$lt": end_s}
    if start_s is not None:
        bounds["end_s"] = {"$gte" if end_s == start_s else "$gt": start_s}
    whole = {"start_s": {"$exists": False}, "modality": {"$in": ["audio", "video"]}}
    return {"$or": [bounds, whole]}
