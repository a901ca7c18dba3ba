"""What an event brought, as a state holds it: a byte that says what follows, and that.

    0         nothing: a timer or a sleep has ended
    1         a value: its type, its bytes
    2         a failure: its type, message, value, traceback
    3         a value that the server keeps: the id of the call that it came from
    4         the call is to end: the reason
    16 to 63  a value of one of the types in `USUAL`: its bytes
    64 to 255 a value of one of the first twelve of them, of up to 15 bytes: 64, and 16 times the
              number of the type, and the length; then the bytes, without a length

Everything else that follows is its length as a varint, and then its bytes; texts are UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from dispatcher.sdk.replay import varints
from dispatcher.sdk.replay.model import Cancelled, Failure, Value


@dataclass(frozen=True, slots=True)
class Kept:
    """A value that the server keeps under this id of a call."""

    dispatch_id: str


Recorded: TypeAlias = Value | Failure | Kept | Cancelled | None

USUAL: Final = (
    "google.protobuf.Empty",
    "google.protobuf.BoolValue",
    "google.protobuf.Int64Value",
    "google.protobuf.DoubleValue",
    "google.protobuf.StringValue",
    "google.protobuf.BytesValue",
    "google.protobuf.Value",
    "google.protobuf.Struct",
    "google.protobuf.ListValue",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "google.protobuf.Int32Value",
    "google.protobuf.UInt32Value",
    "google.protobuf.UInt64Value",
    "google.protobuf.FloatValue",
)
"""Types whose name is one byte. New ones go to the end: the place of each is part of the format."""

_NOTHING, _VALUE, _FAILURE, _KEPT, _CANCELLED, _USUAL, _SHORT = 0, 1, 2, 3, 4, 16, 64
_NUMBER_OF = {name: index for index, name in enumerate(USUAL)}
_TYPES_OF_SHORT = (256 - _SHORT) // 16


def encode(recorded: Iterable[Recorded]) -> bytes:
    """Return the column of these."""
    out = bytearray()
    for result in recorded:
        _put(out, result)
    return bytes(out)


def _put(out: bytearray, result: Recorded) -> None:
    if isinstance(result, Value):
        _put_value(out, result)
    elif result is None:
        out.append(_NOTHING)
    elif isinstance(result, Failure):
        texts = _utf8(result.type), _utf8(result.message)
        _put_parts(out, _FAILURE, (*texts, result.value, result.traceback))
    elif isinstance(result, Kept):
        _put_parts(out, _KEPT, (_utf8(result.dispatch_id),))
    else:
        _put_parts(out, _CANCELLED, (_utf8(result.reason),))


def _put_value(out: bytearray, value: Value) -> None:
    number, size = _NUMBER_OF.get(value.type), len(value.data)
    if number is None:
        _put_parts(out, _VALUE, (_utf8(value.type), value.data))
    elif number < _TYPES_OF_SHORT and size < 16:
        out.append(_SHORT + 16 * number + size)
        out += value.data
    else:
        _put_parts(out, _USUAL + number, (value.data,))


def _put_parts(out: bytearray, kind: int, parts: Iterable[bytes]) -> None:
    out.append(kind)
    for part in parts:
        varints.put(out, len(part))
        out += part


def decode(data: bytes) -> list[Recorded]:
    """Return what a column holds.

    Raises:
        ValueError, IndexError: it does not hold what was said above.
    """
    found: list[Recorded] = []
    at, end = 0, len(data)
    while at < end:
        kind = data[at]
        at += 1
        if kind >= _SHORT:
            size = kind & 15
            if at + size > end:
                raise ValueError("a result that ends too late")
            found.append(Value(USUAL[(kind - _SHORT) >> 4], data[at : at + size]))
            at += size
        elif kind == _NOTHING:
            found.append(None)
        elif kind >= _USUAL:
            part, at = _part(data, at)
            found.append(Value(USUAL[kind - _USUAL], part))
        else:
            result, at = _get(kind, data, at)
            found.append(result)
    return found


def _get(kind: int, data: bytes, at: int) -> tuple[Recorded, int]:
    first, at = _part(data, at)
    if kind == _VALUE:
        value, at = _part(data, at)
        return Value(_text(first), value), at
    if kind == _FAILURE:
        message, at = _part(data, at)
        value, at = _part(data, at)
        traceback, at = _part(data, at)
        return Failure(_text(first), _text(message), value, traceback), at
    if kind == _KEPT:
        return Kept(_text(first)), at
    if kind == _CANCELLED:
        return Cancelled(_text(first)), at
    raise ValueError(f"a result of kind {kind}")


def _part(data: bytes, at: int) -> tuple[bytes, int]:
    size = data[at]
    at += 1
    if size > 0x7F:
        size, at = varints.get(data, at - 1)
    end = at + size
    if end > len(data):
        raise ValueError("a result that ends too late")
    return data[at:end], end


def _utf8(text: str) -> bytes:
    # Messages of exceptions may hold lone surrogates: names of files have them.
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
