"""Values of Python in the well-known types of protobuf, and back: for promises that are completed
with JSON, and to show what a call was given and returned.

    None       Empty           datetime   Timestamp (with a time zone; read as UTC)
    bool       BoolValue       timedelta  Duration
    int        Int64Value      list, dict of these, with keys of str
    float      DoubleValue                Value: what JSON can say, and all
    str        StringValue                numbers in it are doubles
    bytes      BytesValue

Nothing is ever unpickled. A value of another type is opaque: its type's name and size are all that
is told of it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any as Anything
from typing import Final

from google.protobuf.message import DecodeError, Message

from dispatcher.protocol.messages import (
    Any,
    BoolValue,
    BytesValue,
    DoubleValue,
    Duration,
    Empty,
    FloatValue,
    Int32Value,
    Int64Value,
    ListValue,
    StringValue,
    Struct,
    Timestamp,
    UInt32Value,
    UInt64Value,
    Value,
)

_INT64: Final = range(-(2**63), 2**63)
_MAX_DURATION: Final = timedelta(seconds=315_576_000_000)  # 10 000 years, protobuf's own bound
# Parsers of protobuf give up on messages nested deeper than this. A list in a Value is two messages
# deep, a dict three.
_MAX_DEPTH: Final = 100


class NotEncodable(ValueError):
    """A value has no well-known type. The message says where it stands and what to do."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that is not looked into: `type` is its message's full name, as far as it is
    printable, of at most 200 characters."""

    type: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.type} ({self.size_bytes} bytes)"


def to_any(value: object) -> Any:
    """Encode a value; equal ones have equal bytes.

    Raises:
        NotEncodable: it is of another type than those above, or out of its type's range.
    """
    packed = Any()
    try:
        packed.Pack(_message(value), deterministic=True)
    except UnicodeEncodeError as error:
        raise NotEncodable("a text with half of a surrogate pair can't be encoded") from error
    return packed


def from_any(packed: Any) -> object:
    """Decode a value: what `to_any` takes, or `Opaque` when its type is another one, its bytes are
    damaged, or Python has no such value. Dicts have their keys in order."""
    decode = _DECODERS.get(packed.type_url.rpartition("/")[2])
    if decode is not None:
        try:
            return decode(packed.value)
        except (DecodeError, ValueError, OverflowError):
            pass
    name = packed.type_url.rpartition("/")[2][:200]
    printable = "".join(c if c.isprintable() else "?" for c in name)
    return Opaque(printable or "no type", len(packed.value))


def to_shown(value: object) -> object:
    """Turn what `from_any` returned into what `json.dumps` takes, for people to look at: times and
    durations as in protobuf's JSON, bytes in base64, doubles that are whole as integers, `Opaque`
    as {"type", "size_bytes"}."""
    match value:
        case float():
            return _shown_number(value)
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            duration = Duration()
            duration.FromTimedelta(value)
            return duration.ToJsonString()
        case Opaque():
            return {"type": value.type, "size_bytes": value.size_bytes}
        case list():
            return [to_shown(item) for item in value]
        case dict():
            return {key: to_shown(item) for key, item in value.items()}
        case _:
            return value


def _shown_number(number: float) -> object:
    if not math.isfinite(number):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(number, "NaN")
    return int(number) if number.is_integer() and abs(number) <= 2**53 else number


def _message(value: object) -> Message:
    match value:
        case None:
            return Empty()
        case bool():
            return BoolValue(value=value)
        case int() if value in _INT64:
            return Int64Value(value=value)
        case int():
            raise NotEncodable("an integer of more than 64 bits; send it as a string")
        case float():
            return DoubleValue(value=value)
        case str():
            return StringValue(value=value)
        case bytes():
            return BytesValue(value=value)
        case datetime():
            return _timestamp(value)
        case timedelta():
            return _duration(value)
        case _:
            encoded = Value()
            _fill(encoded, value, "the value", 0)
            return encoded


def _timestamp(value: datetime) -> Timestamp:
    if value.utcoffset() is None:
        raise NotEncodable("a datetime without a time zone; give it one, such as datetime.UTC")
    timestamp = Timestamp()
    try:
        timestamp.FromDatetime(value.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise NotEncodable(
            f"a datetime that is not in the years 1 to 9999 of UTC: {value}"
        ) from error
    return timestamp


def _duration(value: timedelta) -> Duration:
    if abs(value) > _MAX_DURATION:
        raise NotEncodable("a timedelta of more than 10 000 years")
    duration = Duration()
    duration.FromTimedelta(value)
    return duration


def _fill(encoded: Value, value: object, where: str, depth: int) -> None:
    """Set a Value that is `depth` messages deep. `where` names the value in errors."""
    if depth > _MAX_DEPTH:
        raise NotEncodable("lists and dicts nested too deeply, or in themselves")
    match value:
        case None:
            encoded.null_value = 0  # type: ignore[assignment]  # the only value of that enum
        case bool():
            encoded.bool_value = value
        case int() | float():
            encoded.number_value = _double(value, where)
        case str():
            encoded.string_value = value
        case list():
            items = encoded.list_value.values
            encoded.list_value.SetInParent()
            for place, item in enumerate(value):
                _fill(items.add(), item, f"{where}[{place}]", depth + 2)
        case dict():
            fields = encoded.struct_value.fields
            encoded.struct_value.SetInParent()
            for key, item in value.items():
                if not isinstance(key, str):
                    raise NotEncodable(f"{where} has the key {key!r}; keys have to be strings")
                _fill(fields[key], item, f"{where}[{key!r}]", depth + 3)
        case _:
            raise NotEncodable(
                f"{where} is of type {type(value).__name__}, which JSON does not have"
            )


def _double(number: float, where: str) -> float:
    try:
        double = float(number)
    except OverflowError:
        double = math.inf
    if not math.isfinite(double):
        raise NotEncodable(f"{where} is not a finite number, or too large for one in JSON")
    if isinstance(number, int) and int(double) != number:
        raise NotEncodable(f"{where} is an integer that a double can't hold; send it as a string")
    return double


def _plain(value: Value) -> object:
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "list_value":
            return _plain_list(value.list_value)
        case "struct_value":
            return _plain_dict(value.struct_value.fields)
        case _:
            return None


def _plain_list(values: ListValue) -> list[object]:
    return [_plain(item) for item in values.values]


def _plain_dict(fields: Mapping[str, Value]) -> dict[str, object]:
    return {key: _plain(fields[key]) for key in sorted(fields)}


def _wrapped(kind: Anything) -> Callable[[bytes], object]:
    return lambda data: kind.FromString(data).value


def _instant(data: bytes) -> datetime:
    return Timestamp.FromString(data).ToDatetime(tzinfo=UTC)


def _span(data: bytes) -> timedelta:
    span = Duration.FromString(data).ToTimedelta()
    if abs(span) > _MAX_DURATION:
        raise OverflowError
    return span


def _nothing(data: bytes) -> None:
    Empty.FromString(data)


_DECODERS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "google.protobuf.Empty": _nothing,
    "google.protobuf.Timestamp": _instant,
    "google.protobuf.Duration": _span,
    "google.protobuf.Value": lambda data: _plain(Value.FromString(data)),
    "google.protobuf.ListValue": lambda data: _plain_list(ListValue.FromString(data)),
    "google.protobuf.Struct": lambda data: _plain_dict(Struct.FromString(data).fields),
    **{
        f"google.protobuf.{kind.__name__}": _wrapped(kind)
        for kind in (
            BoolValue,
            BytesValue,
            DoubleValue,
            FloatValue,
            Int32Value,
            Int64Value,
            StringValue,
            UInt32Value,
            UInt64Value,
        )
    },
}
