"""Response bodies of successful requests, per endpoint, and the error for an unknown model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from langchain_gemini_mm.interfaces import Backend
from langchain_gemini_mm.testing.faults import Damage, Values, damage_values
from langchain_gemini_mm.testing.transport.exchange import HttpReply, Json, RefusedError, json_reply
from langchain_gemini_mm.testing.transport.wire import Embedded, Route


def embeddings(embedded: Sequence[Embedded], route: Route, damage: Damage | None) -> HttpReply:
    """Format vectors as the response of an endpoint.

    Args:
        embedded: a vector for each item of the request, with its tokens.
        route: the endpoint.
        damage: how to damage the response; None for a correct one.
    """
    present = [one.values for one in embedded if one.values is not None]
    values: list[Values] = (
        damage_values(present, damage) if len(present) == len(embedded) else [one.values for one in embedded]
    )
    if route.verb == "predict":
        return _reply(_predictions(values, embedded))
    if route.verb == "embedContent":
        payload: Json = {"embedding": _embedding(values[0])} if values else {}
        if route.backend == "vertex":
            payload |= {"usageMetadata": _usage(embedded, "vertex"), "truncated": embedded[0].truncated}
        return _reply(payload)
    payload = {"embeddings": [_embedding(one) for one in values]}
    if route.backend == "gemini":
        payload["usageMetadata"] = _usage(embedded, "gemini")
    return _reply(payload)


def token_count(tokens: Mapping[str, int]) -> HttpReply:
    """The response of `:countTokens`."""
    return json_reply({"totalTokens": sum(tokens.values()), "promptTokensDetails": _details(tokens)})


def unknown_model(route: Route) -> RefusedError:
    """The 404 for a model that does not exist, with the message of the backend."""
    if route.backend == "vertex":
        return RefusedError(
            404,
            f"Publisher Model `publishers/google/models/{route.model}` was not found or your project does not have "
            "access to it. Please ensure you are using a valid model version.",
        )
    return RefusedError(
        404,
        f"models/{route.model} is not found for API version {route.version}, or is not supported for {route.verb}. "
        "Call ListModels to see the list of available models and their supported methods.",
    )


def _embedding(values: Values) -> Json:
    return {} if values is None else {"values": values}


def _predictions(values: Sequence[Values], embedded: Sequence[Embedded]) -> Json:
    predictions: list[Any] = []
    for n, one in enumerate(values):
        cost = embedded[min(n, len(embedded) - 1)]
        statistics = {"token_count": sum(cost.tokens.values()), "truncated": cost.truncated}
        predictions.append({"embeddings": {**_embedding(one), "statistics": statistics}})
    characters = 4 * sum(sum(one.tokens.values()) for one in embedded)
    return {"predictions": predictions, "metadata": {"billableCharacterCount": characters}}


def _usage(embedded: Sequence[Embedded], backend: Backend) -> Json:
    total: dict[str, int] = {}
    for one in embedded:
        for name, count in one.tokens.items():
            total[name] = total.get(name, 0) + count
    # The two services name the field differently.
    details = "promptTokenDetails" if backend == "gemini" else "promptTokensDetails"
    return {"promptTokenCount": sum(total.values()), details: _details(total)}


def _details(tokens: Mapping[str, int]) -> list[Json]:
    return [{"modality": name, "tokenCount": count} for name, count in tokens.items()]


def _reply(payload: Json) -> HttpReply:
    return HttpReply(body=orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY))
