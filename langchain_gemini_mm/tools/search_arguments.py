"""The arguments of the tools: what a model fills in, and the query and filter that result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Annotated, Any, get_args

from langchain_core.tools import InjectedToolArg, ToolException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, create_model

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Content, Modality
from langchain_gemini_mm.references import SCHEME, MediaRef, escape_references, scan_references
from langchain_gemini_mm.tools.attachments import attachment_name, attachment_number, media_blocks
from langchain_gemini_mm.validation import unknown_option
from langchain_gemini_mm.vectorstores import Query
from langchain_gemini_mm.vectorstores.filters import all_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolQuery:
    """The arguments of one call of a search tool."""

    query: str = ""
    modalities: Sequence[str] = ()
    like: str = ""
    source: str = ""
    start_s: float | None = None
    end_s: float | None = None
    k: int
    messages: Sequence[Any] = field(default=(), repr=False)
    """The conversation, which has the attachments."""

    @property
    def source_name(self) -> str:
        """The source without the brackets of a citation."""
        return self.source.strip().strip("[]")

    @property
    def reference(self) -> MediaRef | None:
        """The media that `like` names by a reference, unless they are in the conversation."""
        like = self.like.strip()
        if SCHEME not in like or attachment_number(like) is not None:
            return None
        try:
            ref = MediaRef.parse(like)
        except ContentError:
            return None
        return None if ref.sha256 in set(_hashes_in(self.messages)) else ref

    def content(self) -> Content | Query:
        """Return what to search for.

        Raises:
            ToolException: there is neither `query` nor `like`, or `like` names nothing.
        """
        text = escape_references(self.query.strip())
        like = self.like.strip()
        if not like:
            if not text:
                raise ToolException("Nothing to look for: give `query` in words, or `like` with the id of a hit.")
            return text
        words = [text] if text else []
        number = attachment_number(like)
        if number is not None:
            return [*words, _attachment(self.messages, number)]
        if SCHEME not in like:
            return Query(*words, like=[like])
        try:
            return [*words, MediaRef.parse(like)]
        except ContentError as error:
            raise ToolException(f"like: {error}. Use the id of a hit instead, or attachment:1") from error

    def filter(self, own: Any) -> Any:
        """Return the retriever's own filter combined with the restrictions of this call.

        Args:
            own: a dict, a function of a Document, or None.

        Raises:
            ToolException: the end is before the start.
        """
        conditions: list[dict[str, Any]] = []
        if self.source:
            conditions.append({"source": _source(self.messages, self.source_name)})
        if self.start_s is not None or self.end_s is not None:
            conditions.append(_overlapping(self.start_s, self.end_s))
        return all_of(own, conditions)

    def __str__(self) -> str:
        """Name the arguments that are set, for the model that wrote them."""
        named: Mapping[str, object] = {
            "like": self.like,
            "modalities": ", ".join(self.modalities),
            "source": self.source,
            "start_s": self.start_s,
            "end_s": self.end_s,
        }
        shown = [repr(self.query)] if self.query else []
        shown += [f"{name}={value}" for name, value in named.items() if value not in ("", None)]
        return ", ".join(shown)


def conversation(runtime: Any) -> Sequence[Any]:
    """Return the messages that a tool node passes in `runtime`; none outside of an agent."""
    state = getattr(runtime, "state", None)
    if isinstance(state, Mapping):
        state = state.get("messages", ())
    elif state is not None and not isinstance(state, list):
        state = getattr(state, "messages", ())
    return state if isinstance(state, list | tuple) else ()


def _attachment(messages: Sequence[Any], number: int) -> Content:
    found = [media for media in media_blocks(messages) if not media.in_tool_result]
    if not found:
        raise ToolException("There is no attachment in this conversation: describe what to look for in `query`.")
    if not 1 <= number <= len(found):
        names = ", ".join(attachment_name(known) for known in range(1, len(found) + 1))
        raise ToolException(f"There is no {attachment_name(number)}; the attachments are: {names}.")
    attached = found[number - 1]
    return attached.payload if isinstance(attached.payload, MediaRef) else attached.block


def _source(messages: Sequence[Any], name: str) -> str | dict[str, list[str]]:
    """Return a source, or the sources shown before whose path ends with this name."""
    shown = shown_sources(messages)
    if name in shown:
        return name
    meant = sorted(source for source in shown if is_named(source, name))
    return {"$in": meant} if len(meant) > 1 else meant[0] if meant else name


def is_named(source: str, name: str) -> bool:
    """Whether the last part of a source's path is `name`."""
    return PureWindowsPath(source).name == name


def shown_sources(messages: Sequence[Any]) -> set[str]:
    """The sources of the Documents that tools returned in a conversation."""
    return {source for message in messages for source in _sources_in(getattr(message, "artifact", None))}


def _hashes_in(messages: Sequence[Any]) -> Iterator[str]:
    """The hashes of media that a conversation shows: attachments, and blocks and artifacts of tool results."""
    yield from (media.payload.sha256 for media in media_blocks(messages) if isinstance(media.payload, MediaRef))
    for message in messages:
        artifact = getattr(message, "artifact", None)
        for document in artifact if isinstance(artifact, list) else ():
            text = document.get("page_content") if isinstance(document, dict) else getattr(document, "page_content", "")
            pieces = scan_references(text) if isinstance(text, str) else ()
            yield from (piece.sha256 for piece in pieces if isinstance(piece, MediaRef))


def _sources_in(artifact: Any) -> Iterator[str]:
    """List the sources of the Documents in an artifact; read from a checkpoint, they are dicts."""
    for document in artifact if isinstance(artifact, list) else ():
        metadata = document.get("metadata") if isinstance(document, dict) else getattr(document, "metadata", None)
        source = metadata.get("source") if isinstance(metadata, dict) else None
        if isinstance(source, str):
            yield source


def _overlapping(start_s: float | None, end_s: float | None) -> dict[str, Any]:
    """Select segments that overlap a time span, and recordings that were not cut: these have no times."""
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
    """Normalize the values by which models leave a text out."""
    return "" if _is_nothing(value) else value


def _number(value: object) -> object:
    return None if _is_nothing(value) else value


def _list(value: object) -> object:
    if isinstance(value, str):
        value = [piece.strip().lower() for piece in value.split(",") if not _is_nothing(piece)]
    return value or []


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


Text = Annotated[str, BeforeValidator(_text)]
Seconds = Annotated[float | None, BeforeValidator(_number)]
Count = Annotated[int | None, BeforeValidator(_number)]
Modalities = Annotated[list[Modality], BeforeValidator(_list)]
Runtime = Annotated[Any, InjectedToolArg, PlainSerializer(lambda _: None)]
"""What the tool node of an agent passes, with the conversation. Models neither see it nor fill it in."""


class OpenArguments(BaseModel):
    """The arguments of the tool that opens a hit."""

    model_config = ConfigDict(extra="forbid")

    id: Text = Field(description="The id of a hit, exactly as in a search result.")
    before: Count = Field(
        default=None, description="How many segments or pages before it to show as well: a longer clip, more pages."
    )
    after: Count = Field(default=None, description="How many segments or pages after it to show as well.")


class SearchArguments(BaseModel):
    """The arguments of the tool that searches."""

    model_config = ConfigDict(extra="forbid")

    query: Text = Field(
        default="",
        description="What to look for, in words: a question, or a description of a scene, a sound, a page. Words also "
        "find images, audio and video. May be empty when `like` is given.",
    )
    modalities: Modalities = []
    like: Text = Field(
        default="",
        description="Find more like this: the id of an earlier hit, or an attachment of the conversation as "
        "`attachment:1`, or its `mm://` reference. With `query`, both count.",
    )
    source: Text = Field(
        default="",
        description="Only from this file, named as in the brackets of an earlier result, without time, page and part.",
    )
    start_s: Seconds = Field(default=None, description="Only from this second of audio or video on.")
    end_s: Seconds = Field(default=None, description="Only up to this second of audio or video.")
    k: Count = None
    runtime: Runtime = None


def search_arguments(name: str, *, k: int, max_k: int, modalities: Sequence[str] | None) -> type[BaseModel]:
    """Make the schema of a search tool: `SearchArguments` that name the choices of this tool.

    Args:
        name: name of the tool.
        k: number of hits by default.
        max_k: largest number of hits.
        modalities: what can be searched; None for all modalities.
    """
    listed = ", ".join(modalities or get_args(Modality))
    fields: dict[str, Any] = {
        "modalities": (Modalities, Field(default=[], description=f"Only these; empty for all. Modalities: {listed}.")),
        "k": (Count, Field(default=None, description=f"How many hits, 1 to {max_k}; {k} by default.")),
    }
    schema: type[BaseModel] = create_model(f"{name}_arguments", __base__=SearchArguments, **fields)
    return schema


def validation_message(arguments: type[BaseModel], error: Any) -> str:
    """Return what is wrong with the arguments, for the model that wrote them.

    Args:
        arguments: the schema of the tool.
        error: of pydantic.
    """
    if not isinstance(error, ValidationError):
        return "the arguments are not as the tool describes them"
    known = [name for name in arguments.model_fields if name != "runtime"]
    lines = []
    for detail in error.errors(include_url=False, include_context=False):
        name = ".".join(map(str, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            message = str(unknown_option(_shown_name(name), known, "the tool")).replace("Options:", "Arguments:")
            lines.append(f"{message}. There is no other way to restrict a search.")
        else:
            lines.append(f"{name}: {detail['msg']}, got {_shorten(detail.get('input'))}")
    return "\n".join(["The arguments were not understood. Call again with these changed:", *lines])


def _shown_name(name: str) -> str:
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"


def _shorten(value: object) -> str:
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
