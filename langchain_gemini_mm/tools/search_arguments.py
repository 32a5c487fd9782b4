"""From the arguments a model filled in to a query and the settings of a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Annotated, Any, get_args

from langchain_core.tools import InjectedToolArg, ToolException
from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, ValidationError, create_model

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Content, Modality
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


_NOTHING = ("", "none", "null")
_SHOWN = 60


def _text(value: object) -> object:
    """Models write what they leave out in many ways."""
    if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
        return ""
    return value


def _number(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in _NOTHING else value


def _list(value: object) -> object:
    if isinstance(value, str):
        value = [piece.strip().lower() for piece in value.split(",") if piece.strip().lower() not in _NOTHING]
    return value or []


Text = Annotated[str, BeforeValidator(_text)]
Seconds = Annotated[float | None, BeforeValidator(_number)]
Count = Annotated[int | None, BeforeValidator(_number)]
Kinds = Annotated[list[Modality], BeforeValidator(_list)]
Runtime = Annotated[Any, InjectedToolArg, PlainSerializer(lambda _: None)]
"""What the tool node of an agent hands over, the conversation in it. Models neither see nor fill it."""


class OpenArguments(BaseModel):
    """What the tool that opens a hit is asked."""

    id: Text = Field(description="The id of a hit, exactly as it stands in a search result.")
    before: Count = Field(
        default=None, description="How many segments or pages before it to show, too: a longer clip, more pages."
    )
    after: Count = Field(default=None, description="How many segments or pages after it to show, too.")


def search_arguments(name: str, *, k: int, max_k: int, modalities: tuple[str, ...] | None) -> type[BaseModel]:
    """The schema of a search: `query`, `modalities`, `like`, `source`, `start_s`, `end_s`, `k`.

    Args:
        name: of the tool.
        k: hits when the model does not say how many.
        max_k: most hits.
        modalities: what can be searched; None for all kinds.
    """
    kinds = ", ".join(modalities or get_args(Modality))
    fields: dict[str, Any] = {
        "query": (
            Text,
            Field(
                default="",
                description="What to look for, in words: a question, or a description of a scene, a sound, a page. "
                "Words also find pictures, sounds and videos. May be empty when `like` is given.",
            ),
        ),
        "modalities": (Kinds, Field(default=[], description=f"Only these kinds; empty for all. Kinds: {kinds}.")),
        "like": (
            Text,
            Field(
                default="",
                description="Find more like this: the id of an earlier hit, or an attachment of the conversation as "
                "`attachment:1`, or its `mm://` reference. With `query`, both count.",
            ),
        ),
        "source": (
            Text,
            Field(
                default="",
                description="Only from this file, named as in the brackets of an earlier result, without times.",
            ),
        ),
        "start_s": (Seconds, Field(default=None, description="Only from this second of audio or video on.")),
        "end_s": (Seconds, Field(default=None, description="Only up to this second of audio or video.")),
        "k": (Count, Field(default=None, description=f"How many hits, 1 to {max_k}; {k} by default.")),
        "runtime": (Runtime, Field(default=None)),
    }
    schema: type[BaseModel] = create_model(f"{name}_arguments", **fields)
    return schema


def validation_message(error: Any) -> str:
    """What is wrong with arguments, for the model that gave them."""
    if not isinstance(error, ValidationError):
        return "the arguments are not as the tool describes them"
    lines = [
        f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}, got {_shorten(detail.get('input'))}"
        for detail in error.errors(include_url=False, include_context=False)
    ]
    return "\n".join(["The arguments were not understood. Call again with these changed:", *lines])


def _shorten(value: object) -> str:
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
