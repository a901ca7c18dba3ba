"""One unary call of Connect: its headers, its body as a message, its answer."""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

from aiohttp import web
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.json_format import ParseError as JsonError
from google.protobuf.message import DecodeError, Message

from dispatcher.api.room import too_large
from dispatcher.protocol.connect import (
    VERSION_HEADER,
    Code,
    ConnectError,
    Encoding,
    check_version,
    encoding_of,
)
from dispatcher.protocol.messages import POOL

_CODINGS: Final = frozenset({"", "identity", "gzip"})
MOST_JSON_BYTES: Final = 1024 * 1024
"""Of JSON, which takes a hundred times as long to read as the same in protobuf."""
_AT_ONCE_BYTES: Final = 16 * 1024

_Message = TypeVar("_Message", bound=Message)


class UnsupportedType(web.HTTPUnsupportedMediaType):
    """The body is of a type that nobody here reads."""

    def __init__(self) -> None:
        expected = " or ".join(encoding.value for encoding in Encoding)
        super().__init__(reason=f"Send the body with Content-Type: {expected}")


def encoding(request: web.Request) -> Encoding:
    """Check the headers of a call, and say how its body is encoded.

    Raises:
        ConnectError: it is of another version, or has an unknown Content-Encoding.
        UnsupportedType: its Content-Type is none of ours.
    """
    check_version(request.headers.get(VERSION_HEADER))
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in _CODINGS:
        raise ConnectError(
            Code.UNIMPLEMENTED,
            f"Content-Encoding {coding[:40]!r} is not known here; send gzip, or none.",
        )
    found = encoding_of(request.headers.get("Content-Type"))
    if found is None:
        raise UnsupportedType
    return found


async def parse(body: bytes, into: _Message, encoded: Encoding) -> _Message:
    """Read a message.

    Raises:
        ConnectError: it is none.
        ApiError: JSON that is too long.
    """
    if encoded is Encoding.JSON:
        if len(body) > MOST_JSON_BYTES:
            raise too_large(MOST_JSON_BYTES)
        if len(body) > _AT_ONCE_BYTES:
            return await asyncio.to_thread(_parse_json, body, into)
        return _parse_json(body, into)
    try:
        into.ParseFromString(body)
    except DecodeError as error:
        raise _malformed(into, "protobuf") from error
    return into


def _parse_json(body: bytes, into: _Message) -> _Message:
    try:
        return Parse(body.decode("utf-8"), into, descriptor_pool=POOL)
    except (JsonError, ValueError, RecursionError) as error:
        raise _malformed(into, "JSON", str(error)) from error


def _malformed(message: Message, form: str, why: str = "") -> ConnectError:
    reason = f": {why[:200]}" if why else ""
    return ConnectError(
        Code.INVALID_ARGUMENT, f"The body is no {message.DESCRIPTOR.name} in {form}{reason}."
    )


def answer(message: Message, encoded: Encoding) -> web.Response:
    """An answer with a message, in the form of the question."""
    if encoded is Encoding.JSON:
        text = MessageToJson(message, descriptor_pool=POOL, indent=None)
        return web.Response(body=text.encode("utf-8"), content_type=encoded.value)
    return web.Response(body=message.SerializeToString(), content_type=encoded.value)
