"""One unary call of Connect: its headers, its body as a message, its answer."""

from __future__ import annotations

from typing import Final, TypeVar

from aiohttp import web
from google.protobuf.message import DecodeError, Message

from dispatcher.protocol.connect import (
    VERSION_HEADER,
    Code,
    ConnectError,
    Encoding,
    check_version,
    encoding_of,
)
from dispatcher.protocol.jsonform import to_json

_CODINGS: Final = frozenset({"", "identity", "gzip"})

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


def parse(body: bytes, into: _Message) -> _Message:
    """Read a message in protobuf.

    Raises:
        ConnectError: it is none.
    """
    try:
        into.ParseFromString(body)
    except DecodeError as error:
        raise ConnectError(
            Code.INVALID_ARGUMENT, f"The body is no {into.DESCRIPTOR.name} in protobuf."
        ) from error
    return into


def answer(message: Message, encoded: Encoding) -> web.Response:
    """An answer with a message, in the form of the question."""
    if encoded is Encoding.JSON:
        return web.Response(body=to_json(message), content_type=encoded.value)
    return web.Response(body=message.SerializeToString(), content_type=encoded.value)
