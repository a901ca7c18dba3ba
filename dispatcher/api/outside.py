"""What comes from outside to calls that wait for it: promises and channels.

A value is JSON, text, or a CallResult in protobuf; with the parameter `error` the body is the
message of an error of that type.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web
from google.protobuf.message import DecodeError

from dispatcher.api.auth import application, only
from dispatcher.api.call_models import ByName, OutsideQuery
from dispatcher.api.call_values import any_of, text_of
from dispatcher.api.errors import ApiError
from dispatcher.api.models import Nothing
from dispatcher.api.room import BodyRoom
from dispatcher.api.routes import JSON, MAY_ACT, AnyRoute, Asked, Route
from dispatcher.functions.limits import MOST_PAYLOAD_BYTES
from dispatcher.functions.surface import Functions
from dispatcher.protocol.messages import CallResult, Error

_MOST_TEXT_BYTES: Final = 1024 * 1024
_PROTO: Final = ("application/proto", "application/x-protobuf", "application/protobuf")
_TEXT: Final = "text/plain"
_FORM: Final = "application/x-www-form-urlencoded"
_WAYS: Final = (
    f"Send the value with `Content-Type: {JSON}`, `{_TEXT}`, or `{_PROTO[0]}` (a CallResult)."
)


class OutsideCalls:
    """Complete promises, and send to channels."""

    def __init__(self, functions: Functions, room: BodyRoom) -> None:
        self._functions = functions
        self._room = room

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "POST", "/v1/promises/{name}", self._complete, "completePromise",
                "Complete a promise, also before anybody waits for it",
                ByName, OutsideQuery, Nothing, status=204, streams=JSON,
                also_streams=(_TEXT, _PROTO[0]), roles=MAY_ACT,
                refusals={409: "It was completed before: `promise_completed`."},
            ),
            Route(
                "POST", "/v1/channels/{name}", self._send, "sendToChannel",
                "Send a value to whoever waits for one, or will",
                ByName, OutsideQuery, Nothing, status=204, streams=JSON,
                also_streams=(_TEXT, _PROTO[0]), roles=MAY_ACT,
            ),
        ]  # fmt: skip

    async def _complete(self, asked: Asked[ByName, OutsideQuery, Nothing]) -> None:
        name = asked.place.name
        owner = _owner(asked.query)
        async with self._room.body(asked.request, MOST_PAYLOAD_BYTES) as body:
            result = _result(asked.request, asked.query.error, body)
            is_first = await self._functions.complete(
                owner, name, result.SerializeToString(), is_error=result.HasField("error")
            )
        if not is_first:
            raise ApiError(
                409, "promise_completed", f"Promise {name} was completed before; that one counts."
            )

    async def _send(self, asked: Asked[ByName, OutsideQuery, Nothing]) -> None:
        owner = _owner(asked.query)
        async with self._room.body(asked.request, MOST_PAYLOAD_BYTES) as body:
            result = _result(asked.request, asked.query.error, body)
            await self._functions.send(
                owner,
                asked.place.name,
                result.SerializeToString(),
                is_error=result.HasField("error"),
            )


def _owner(query: OutsideQuery) -> str:
    """Whose promise or channel it is: of who asks, unless an operator says another."""
    if query.application is None:
        return application()
    if only() not in (None, query.application):
        raise ApiError(
            403, "key_forbidden", "With this key only its own promises and channels can be reached."
        )
    return query.application


def _result(request: web.Request, error: str | None, body: bytes) -> CallResult:
    """The result that a body is."""
    kind = _kind(request)
    if kind in _PROTO and error is None:
        return _call_result(body)
    if len(body) > _MOST_TEXT_BYTES:
        raise ApiError(
            413, "body_too_large", f"JSON and text have at most {_MOST_TEXT_BYTES} bytes."
        )
    if error is not None:
        return CallResult(error=Error(type=error, message=_message(kind, body)))
    try:
        if kind == JSON:
            return CallResult(output=any_of(_json(body)))
        if kind == _TEXT:
            return CallResult(output=text_of(_text(body)))
    except ValueError as problem:
        raise ApiError(400, "body_invalid", f"The body: {problem}.") from problem
    if not body and not kind:
        return CallResult()  # a promise of nothing
    raise ApiError(415, "content_type_invalid", _WAYS)


def _kind(request: web.Request) -> str:
    """The content type, empty without one. `curl -d` says of any body that it is a form: here it is
    taken as JSON, as nobody sends a form."""
    if "Content-Type" not in request.headers:
        return ""
    return JSON if request.content_type == _FORM else request.content_type


def _call_result(body: bytes) -> CallResult:
    try:
        sent = CallResult.FromString(body)
    except DecodeError:
        raise ApiError(400, "body_invalid", "The body is no CallResult in protobuf.") from None
    result = CallResult()  # which call it is the result of says the promise, not the caller
    if sent.HasField("output"):
        result.output.CopyFrom(sent.output)
    if sent.HasField("error"):
        result.error.CopyFrom(sent.error)
    return result


def _message(kind: str, body: bytes) -> str:
    """The message of an error: text, or JSON text."""
    if not body:
        return ""
    if kind == JSON:
        message = _json(body)
        if not isinstance(message, str):
            raise ApiError(400, "body_invalid", "The body: the message of an error is text.")
        return message
    if kind == _TEXT:
        return _text(body)
    raise ApiError(415, "content_type_invalid", f"Send the message as `{_TEXT}` or `{JSON}`.")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "body_invalid", f"The body is not valid JSON: {error}.") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ApiError(400, "body_invalid", "The body is not text in UTF-8.") from error
