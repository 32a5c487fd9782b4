"""What a model may ask a retrieval tool for, as the schema it fills in."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from langchain_core.tools import InjectedToolArg
from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, ValidationError, create_model

from langchain_gemini_mm.interfaces import Modality

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
