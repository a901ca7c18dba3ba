"""A request, checked by the models of its route: what is unknown, repeated or of the wrong type is
refused with a message that names it and says what is expected."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, NoReturn, TypeVar

from aiohttp import HttpVersion11, web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dispatcher.api.errors import ApiError
from dispatcher.api.models import Input, Nothing
from dispatcher.api.pieces import pieces
from dispatcher.api.routes import JSON, AnyRoute, Asked
from dispatcher.api.selectors import MAX_IDS
from dispatcher.api.unpacking import coding_of

MAX_BODY_BYTES: Final = 1024 * 1024
_BODY_SECONDS: Final = 30.0
_MOST_COMMAS: Final = 2 * MAX_IDS
_SHOWN_CHARACTERS: Final = 200
_NOTHING: Final = Nothing()
"""Of a request that has none of what its route takes none of: applications dispatch so, often."""

_Model = TypeVar("_Model", bound=Input)


async def read(request: web.Request, route: AnyRoute) -> Asked[Any, Any, Any]:
    """Read a request.

    Raises:
        ApiError: 400 for what is not as the models say, 408, 413 and 415 for a body, 417.
    """
    await _answer_expectation(request)
    named = request.match_info
    is_bare = route.place is Nothing and not named
    place = _NOTHING if is_bare else route.place.model_validate(dict(named))
    is_bare = route.query is Nothing and not request.query
    query = _NOTHING if is_bare else _query(request, route.query)
    if route.takes_body and not route.streams:
        return Asked(place, query, _checked_body(route.body, await _body(request)), request)
    body = _NOTHING if route.body is Nothing else _checked_body(route.body, {})
    return Asked(place, query, body, request)


async def _answer_expectation(request: web.Request) -> None:
    expected = request.headers.get("Expect")
    if expected is None or request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise ApiError(417, "expectation_failed", "`Expect` may only be `100-continue`.")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # aiohttp: the answer itself has not begun


def _query(request: web.Request, model: type[_Model]) -> _Model:
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise ApiError(400, "parameter_invalid", f"Parameter {_shown(name)} is repeated.")
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = _where(problem)
        if problem["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields) or "none"
            raise ApiError(
                400, "parameter_unknown", f"Unknown parameter {_shown(name)}; known here: {known}."
            ) from error
        raise ApiError(
            400, "parameter_invalid", f"Parameter `{name}`: {_expectation(problem)}."
        ) from error


async def _body(request: web.Request) -> Any:
    raw = await _raw_body(request)
    if not raw:
        return {}
    check_type(request)
    return _parsed(raw)


def check_type(request: web.Request) -> None:
    """See that a body is said to be JSON.

    Raises:
        ApiError: 415.
    """
    if request.content_type != JSON:
        # Also what a page in a browser can't send elsewhere without asking first.
        raise ApiError(415, "content_type_invalid", f"Send the body with `Content-Type: {JSON}`.")


def checked_json(raw: bytes, model: type[_Model]) -> _Model:
    """What a body says that a handler has read by itself.

    Raises:
        ApiError: 400, it is not as the model says.
    """
    return _checked_body(model, _parsed(raw))


def _parsed(raw: bytes) -> Any:
    if raw.count(b",") > _MOST_COMMAS:
        # Reading a mebibyte of brackets takes a tenth of a second, in one call.
        raise ApiError(
            400, "body_invalid", f"The body: at most {_MOST_COMMAS} commas; send several."
        )
    try:
        return json.loads(
            raw.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_number
        )
    except RecursionError:
        raise ApiError(400, "body_invalid", "The body is nested too deeply.") from None
    except ValueError as error:
        raise ApiError(400, "body_invalid", f"The body is not valid JSON: {error}.") from error


async def _raw_body(request: web.Request) -> bytes:
    body = bytearray()
    _check_size(request.content_length or 0)  # who says it at once need not send it
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for data in pieces(request.content, coding_of(request)):
                body += data
                _check_size(len(body))
    except TimeoutError:
        raise ApiError(408, "body_timeout", "The body stopped arriving; send it again.") from None
    return bytes(body)


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_BODY_BYTES:
        raise ApiError(
            413, "body_too_large", f"A body has at most {MAX_BODY_BYTES} bytes; send several."
        )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two fields of one name each reader takes another one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {_shown(repeated)} is repeated")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _checked_body(model: type[_Model], body: Any) -> _Model:
    if not isinstance(body, dict):
        raise ApiError(400, "body_invalid", "The body: a JSON object is expected.")
    try:
        return model.model_validate(body, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = _where(problem)
        if problem["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields) or "none"
            text = f"unknown field {_shown(name)}; known here: {known}"
        elif name:
            text = f"field `{name}`: {_expectation(problem)}"
        else:
            text = _expectation(problem)
        raise ApiError(400, "body_invalid", f"The body: {text}.") from error


def _where(problem: ErrorDetails) -> str:
    return ".".join(str(part) for part in problem["loc"])


def _expectation(problem: ErrorDetails) -> str:
    """Pydantic's sentence as a part of one."""
    text = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return text[:1].lower() + text[1:]


def _shown(text: str) -> str:
    """A caller's own word, cut where it gets long."""
    shown = repr(text)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
