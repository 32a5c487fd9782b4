"""Sends one embedding request over the SDK and reads its response.

The SDK's raw request adds authentication, addresses and headers. It is not public: where a version lacks it, the typed
`embed_content` is used, which is slower.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from langchain_gemini_mm.embeddings.service.calls import (
    Answer,
    EmbedCall,
    encoded_body,
    parse,
    read_answer,
    request_body,
    request_path,
)
from langchain_gemini_mm.embeddings.service.connections import Connections
from langchain_gemini_mm.embeddings.service.errors import lost_file, refusal, translate, unreadable
from langchain_gemini_mm.embeddings.service.http_client import Exchange, exchanging
from langchain_gemini_mm.errors import GeminiMMError, IncompleteAnswerError, ServiceError
from langchain_gemini_mm.flows import Call, Flow, synchronous

if TYPE_CHECKING:
    from google.genai import Client

logger = logging.getLogger("langchain_gemini_mm")


@synchronous
def send(connections: Connections, call: EmbedCall) -> Flow[Answer]:
    """Send a request once. Where Vertex AI refuses several contents in one request, send one request for each.

    Args:
        connections: to the service.
        call: the request.

    Raises:
        QuotaError: a quota is used up.
        IncompleteAnswerError: vectors are missing or unusable.
        ServiceError: the service refused, failed or could not be reached.
    """
    if connections.one_per_call and len(call.contents) > 1:
        return (yield from _one_by_one(connections, call))
    result: Answer | Exception = yield _attempt(connections, call)
    if isinstance(result, Answer):
        return result
    if isinstance(result, ServiceError) and _refuses_batches(connections, call, result):
        first: Answer | Exception = yield _attempt(connections, call.single(0))
        if isinstance(first, Answer):
            logger.warning("this location of Vertex AI takes one content in a request; sending one at a time")
            connections.one_per_call = True
            return (yield from _one_by_one(connections, call, first))
    raise result


asend = send.asynchronous


def _refuses_batches(connections: Connections, call: EmbedCall, error: ServiceError) -> bool:
    """Whether the method may be refused, rather than a content. No source documents it for Vertex AI."""
    possible = connections.settings.backend == "vertex" and not call.text_only and len(call.contents) > 1
    return possible and (error.code in (404, 405, 501) or (error.code == 400 and "batch" in error.message.lower()))


def _one_by_one(connections: Connections, call: EmbedCall, *answers: Answer) -> Flow[Answer]:
    done = list(answers)
    for index in range(len(done), len(call.contents)):
        result: Answer | Exception = yield _attempt(connections, call.single(index))
        if isinstance(result, Answer):
            done.append(result)
        elif isinstance(result, GeminiMMError) and done:
            rows = {position: answer.vectors[0] for position, answer in zip(call.positions, done, strict=False)}
            raise IncompleteAnswerError(result.message, vectors=rows).about_input(*call.positions[index:])
        else:
            raise result
    return Answer(
        np.concatenate([answer.vectors for answer in done]),
        sum(answer.reported_tokens for answer in done),
        tuple(position for answer in done for position in answer.truncated),
    )


def _attempt(connections: Connections, call: EmbedCall) -> Call:
    """One request. Its error is returned, so that the error of the SDK, which has key and media, is not its context."""
    return Call(_sent, _asent, (connections, call))


def _sent(connections: Connections, call: EmbedCall) -> Answer | Exception:
    try:
        with connections.lend() as client:
            return _read(connections, call, _exchanged(connections, client, call))
    except Exception as error:  # noqa: BLE001 - translated, or raised by the caller as it is
        return _failure(connections, call, error)


async def _asent(connections: Connections, call: EmbedCall) -> Answer | Exception:
    try:
        async with connections.alend() as client:
            return _read(connections, call, await _aexchanged(connections, client, call))
    except Exception as error:  # noqa: BLE001 - translated, or raised by the caller as it is
        return _failure(connections, call, error)


def _exchanged(connections: Connections, client: Client, call: EmbedCall) -> Exchange:
    request = getattr(client._api_client, "request", None)
    if request is None:
        return _typed(client.models.embed_content(**_arguments(call)))
    path, backend = request_path(call, connections.settings.backend), connections.settings.backend
    if not connections.own_http:
        return _foreign(request("post", path, request_body(call, backend)))
    exchange = Exchange(encoded_body(call, backend))
    with exchanging(exchange):
        request("post", path, {})
    return exchange


async def _aexchanged(connections: Connections, client: Client, call: EmbedCall) -> Exchange:
    request = getattr(client._api_client, "async_request", None)
    if request is None:
        return _typed(await client.aio.models.embed_content(**_arguments(call)))
    path, backend = request_path(call, connections.settings.backend), connections.settings.backend
    if not connections.own_http:
        return _foreign(await request("post", path, request_body(call, backend)))
    exchange = Exchange(encoded_body(call, backend))
    with exchanging(exchange):
        await request("post", path, {})
    return exchange


def _foreign(response: Any) -> Exchange:
    """The response of a client that is not ours; the SDK has raised its errors."""
    return Exchange(None, status=200, content=(response.body or "").encode())


def _typed(response: Any) -> Exchange:
    """The response of `embed_content`, in the form of `batchEmbedContents`."""
    embeddings = [one.model_dump(exclude_none=True) for one in response.embeddings or ()]
    usage = getattr(response, "usage_metadata", None)
    counted = {"usageMetadata": {"promptTokenCount": getattr(usage, "prompt_token_count", None)}}
    return Exchange(None, status=200, values={"embeddings": embeddings, **counted})


def _arguments(call: EmbedCall) -> dict[str, Any]:
    """Arguments of the SDK's `embed_content`."""
    from google.genai import types

    contents = [types.Content(role="user", parts=[types.Part(**part) for part in parts]) for parts in call.contents]
    return {"model": call.model, "contents": contents, "config": call.config}


def _read(connections: Connections, call: EmbedCall, exchange: Exchange) -> Answer | Exception:
    """The answer, or the error that the response means."""
    secrets = connections.settings.secrets
    values = exchange.values
    if values is None:
        values = parse(exchange.content)
    if not 200 <= exchange.status < 300:
        text = exchange.content[:1000].decode(errors="replace").strip()
        said = values or ("an HTML page" if text.startswith("<") else text)
        error: ServiceError = refusal(exchange.status, said, exchange.headers, secrets)
    elif values is None:
        error = unreadable("something that is not JSON")
    elif isinstance(values, dict) and "error" in values and not values.keys() & {"embeddings", "embedding"}:
        error = refusal(None, values, exchange.headers, secrets)
    else:
        return read_answer(call, values)
    return _about(call, error)


def _failure(connections: Connections, call: EmbedCall, error: Exception) -> Exception:
    """Our error for one that the SDK or its HTTP library raised; a programming error as it is."""
    if isinstance(error, GeminiMMError):
        # The frames of the attempt would keep the request as long as the error.
        return error.with_traceback(None)
    ours = translate(error, connections.settings.secrets)
    if ours is None and not connections.own_http and isinstance(error, _SDK_PARSING):
        # The SDK parses errors and, in the typed request, answers; it does not expect other shapes.
        ours = unreadable(f"something that the SDK cannot read ({type(error).__name__})")
    return error if ours is None else _about(call, ours)


_SDK_PARSING = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


def _about(call: EmbedCall, error: ServiceError) -> ServiceError:
    if call.uploads and lost_file(error):
        for upload in call.uploads:
            upload.lost = True
        message = f"the service no longer has an uploaded file, which is uploaded again ({error.message})"
        error = ServiceError(message, code=error.code, status=error.status, transient=True)
    return error.about_input(*call.positions)
