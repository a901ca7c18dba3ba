"""Plain values of Python in the well-known types of protobuf, which every SDK reads, and back.

    None       Empty           datetime, timedelta          Timestamp, Duration
    bool       BoolValue       date, time, UUID, Decimal,   StringValue, marked
    int        Int64Value      larger int
    float      DoubleValue     list, tuple, set, dict       Value, marked where JSON
    str        StringValue                                  has no such type
    bytes      BytesValue

What others send is read from these, and from Int32Value, UInt64Value, FloatValue, Struct and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any as Anything
from typing import Final
from uuid import UUID

from google.protobuf.message import DecodeError as Damaged

from dispatcher.protocol.messages import (
    BoolValue,
    BytesValue,
    DoubleValue,
    Duration,
    Empty,
    FloatValue,
    Int32Value,
    Int64Value,
    MarkedList,
    MarkedString,
    MarkedStruct,
    MarkedValue,
    StringValue,
    Timestamp,
    UInt32Value,
    UInt64Value,
)
from dispatcher.sdk.replay.model import NOTHING, Value
from dispatcher.sdk.values import marks, texts
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.reading import fields_of, items_of, of_text, read
from dispatcher.sdk.values.writing import HALF, Fallback, based, text_of_integer, write

VALUE: Final = "google.protobuf.Value"
_INT64: Final = "google.protobuf.Int64Value"
_STRING: Final = "google.protobuf.StringValue"
_MAX_DURATION: Final = timedelta(seconds=315_576_000_000)  # 10 000 years, protobuf's own bound

_TRUE: Final = Value("google.protobuf.BoolValue", b"\x08\x01")
_FALSE: Final = Value("google.protobuf.BoolValue", b"")


def to_wire(value: object, fallback: Fallback) -> Value:
    """Encode a value; equal ones have equal bytes, but for the order of keys.

    Raises:
        Misfit: it can't be sent.
    """
    pack = _PACKERS.get(type(value))
    if pack is None:
        value = based(value)
        pack = _PACKERS.get(type(value))
    return pack(value) if pack is not None else packed(value, fallback)


def packed(value: object, fallback: Fallback, mark: int = 0) -> Value:
    """Encode a value as a `Value` in any case, with this mark where it has none by itself."""
    message = MarkedValue()
    write(message, value, fallback)
    if mark and not message.mark:
        message.mark = mark
    return Value(VALUE, message.SerializeToString(deterministic=True))


def from_wire(value: Value) -> object:
    """Decode a value.

    Raises:
        Misfit: its type is not known here, or its bytes are damaged.
    """
    unpack = _UNPACKERS.get(value.type)
    if unpack is None:
        raise Misfit(_unknown(value.type))
    try:
        return unpack(value.data)
    except (Damaged, ValueError, OverflowError) as error:
        kind = value.type.rpartition(".")[2]
        raise Misfit(f"is damaged: no {kind} in {len(value.data)} bytes") from error


def _unknown(kind: str) -> str:
    if kind.endswith("dispatch.sdk.python.v1.Pickled"):
        return (
            "is a pickle, as dispatch-py makes of objects, tuples, sets and large integers, and "
            "nothing is ever unpickled here: let that function return a number, a text, a list or "
            "a dict"
        )
    name = "".join(c if c.isprintable() else "?" for c in kind[:200])
    return (
        f"is a {name or 'value without a type'}, which this SDK does not know: let the other side "
        "send a number, a text, a list or a dict"
    )


def _int(value: int) -> Value:
    if 0 <= value < 128:
        return _SMALL[value]
    if -(2**63) <= value < 2**63:
        return Value(_INT64, Int64Value(value=value).SerializeToString())
    return _text(marks.INTEGER, text_of_integer(value))


# Small integers and short texts are most of what is sent. Their bytes are put together here, which
# takes a third of the time that a message does.
_SMALL: Final = tuple(
    Value(_INT64, b"\x08" + bytes([value]) if value else b"") for value in range(128)
)
_HEADS: Final = tuple(b"\n" + bytes([size]) if size else b"" for size in range(128))


def _str(value: str) -> Value:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise Misfit(HALF) from None
    if len(data) < 128:
        return Value(_STRING, _HEADS[len(data)] + data)
    return Value(_STRING, StringValue(value=value).SerializeToString())


def _text(mark: int, text: str) -> Value:
    return Value(_STRING, MarkedString(value=text, mark=mark).SerializeToString())


def _instant(value: datetime) -> Value:
    try:
        instant = texts.utc(value)
    except OverflowError:
        raise Misfit(f"is not in the years 1 to 9999 of UTC: {value}") from None
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return Value("google.protobuf.Timestamp", timestamp.SerializeToString())


def _span(value: timedelta) -> Value:
    if abs(value) > _MAX_DURATION:
        return _text(marks.TIMEDELTA, texts.text_of_span(value))
    duration = Duration()
    duration.FromTimedelta(value)
    return Value("google.protobuf.Duration", duration.SerializeToString())


_PACKERS: Final[Mapping[type, Callable[[Anything], Value]]] = {
    type(None): lambda value: NOTHING,
    bool: lambda value: _TRUE if value else _FALSE,
    int: _int,
    str: _str,
    float: lambda value: Value(
        "google.protobuf.DoubleValue", DoubleValue(value=value).SerializeToString()
    ),
    bytes: lambda value: Value(
        "google.protobuf.BytesValue", BytesValue(value=value).SerializeToString()
    ),
    datetime: _instant,
    timedelta: _span,
    date: lambda value: _text(marks.DATE, value.isoformat()),
    time: lambda value: _text(marks.TIME, texts.text_of_time(value)),
    UUID: lambda value: _text(marks.UUID, str(value)),
    Decimal: lambda value: _text(marks.DECIMAL, str(value)),
}


def _wrapped(kind: Anything) -> Callable[[bytes], object]:
    parse = kind.FromString
    return lambda data: parse(data).value


def _read_text(data: bytes) -> object:
    if len(data) > 2 and data[0] == 0x0A and data[1] == len(data) - 2 < 128:
        return data[2:].decode()
    message = MarkedString.FromString(data)
    mark = message.mark
    return of_text(mark, message.value) if mark else message.value


def _read_int(data: bytes) -> int:
    if len(data) == 2 and data[0] == 0x08 and data[1] < 128:
        return data[1]
    return Int64Value.FromString(data).value


def _read_nothing(data: bytes) -> None:
    Empty.FromString(data)


def _read_instant(data: bytes) -> datetime:
    return Timestamp.FromString(data).ToDatetime(tzinfo=UTC)


_UNPACKERS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "google.protobuf.Empty": _read_nothing,
    _STRING: _read_text,
    _INT64: _read_int,
    VALUE: lambda data: read(MarkedValue.FromString(data)),
    "google.protobuf.ListValue": lambda data: items_of(MarkedList.FromString(data)),
    "google.protobuf.Struct": lambda data: fields_of(MarkedStruct.FromString(data)),
    "google.protobuf.Timestamp": _read_instant,
    "google.protobuf.Duration": lambda data: Duration.FromString(data).ToTimedelta(),
    **{
        f"google.protobuf.{kind.__name__}": _wrapped(kind)
        for kind in (
            BoolValue,
            BytesValue,
            DoubleValue,
            FloatValue,
            Int32Value,
            UInt32Value,
            UInt64Value,
        )
    },
}
