"""The messages as JSON, as Connect sends them with application/json: protobuf's own mapping,
https://protobuf.dev/programming-guides/json

    {"calls": [{"endpoint": "http://127.0.0.1:8000", "function": "greet",
                "input": {"@type": "type.googleapis.com/google.protobuf.StringValue",
                          "value": "Ada"}}]}

An `Any` is written out in JSON, so its type has to be one of `messages`; in binary form it may be
any. Fields that are not known here are refused: in a request that a person has typed they are
mistakes.
"""

from __future__ import annotations

from typing import Final, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import POOL

M = TypeVar("M", bound=Message)

_TYPES: Final = (
    'In JSON a value is written {"@type": "type.googleapis.com/google.protobuf.StringValue", '
    '"value": …}, with one of the types Empty, BoolValue, Int64Value, DoubleValue, StringValue, '
    "BytesValue, Timestamp, Duration and Value; others need application/proto."
)
# What json_format says, in several words, when an Any is not written so.
_ABOUT_TYPES: Final = ("type_url", "@type", "subscriptable", "indices", "iterable")


def to_json(message: Message) -> bytes:
    """Write a message as JSON on one line; fields that are not set are left out.

    Raises:
        ConnectError: unimplemented; a value in it has no JSON form.
    """
    try:
        text = json_format.MessageToJson(message, indent=None, descriptor_pool=POOL)
    except (json_format.Error, DecodeError, TypeError, ValueError) as error:
        said = f"the answer has no JSON form: {_sentence(error)} {_TYPES}"
        raise ConnectError(Code.UNIMPLEMENTED, said) from error
    return text.encode()


def from_json(kind: type[M], body: bytes) -> M:
    """Read a message of this kind.

    Raises:
        ConnectError: invalid_argument; the body is not JSON, or not of such a message. The message
            names the field.
    """
    name = kind.DESCRIPTOR.name
    if not body.lstrip().startswith(b"{"):
        raise ConnectError(Code.INVALID_ARGUMENT, f"expected a {name} as a JSON object")
    try:
        return json_format.Parse(body, kind(), descriptor_pool=POOL)
    except _REFUSED as error:
        said = f"the body is no {name} in JSON: {_sentence(error)}"
        if any(word in said for word in _ABOUT_TYPES):
            said = f"{said} {_TYPES}"
        raise ConnectError(Code.INVALID_ARGUMENT, said) from error


# json_format wraps most of what goes wrong in it, and not all.
_REFUSED: Final = (
    json_format.Error,
    DecodeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    RecursionError,
)


def _sentence(error: Exception) -> str:
    """What json_format says, on one line and with one full stop."""
    return f"{' '.join(str(error).split()).rstrip('.')[:1000]}."
