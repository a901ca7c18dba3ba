"""Values of Python as well-known types, and back."""

from __future__ import annotations

import json
import math
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any as Anything

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.protocol.messages import (
    Any,
    BytesValue,
    Duration,
    FloatValue,
    Int32Value,
    ListValue,
    Pickled,
    Struct,
    Timestamp,
    UInt32Value,
    UInt64Value,
    Value,
)
from dispatcher.protocol.values import NotEncodable, Opaque, from_any, to_any, to_shown

NOON = datetime(2026, 11, 29, 12, 0, 0, 250, UTC)


@pytest.mark.parametrize(
    ("value", "kind", "data"),
    [
        (None, "Empty", ""),
        (True, "BoolValue", "0801"),
        (False, "BoolValue", ""),
        (2, "Int64Value", "0802"),
        (-1, "Int64Value", "08ffffffffffffffffff01"),
        (1.5, "DoubleValue", "09000000000000f83f"),
        ("ä", "StringValue", "0a02c3a4"),
        (b"\0", "BytesValue", "0a0100"),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "Timestamp", "0801"),
        (timedelta(seconds=90), "Duration", "085a"),
        ([True], "Value", "32040a022001"),
        ({"a": None}, "Value", "2a090a070a016112020800"),
        ([], "Value", "3200"),
        ({}, "Value", "2a00"),
    ],
)
def test_value_has_its_well_known_type(value: object, kind: str, data: str) -> None:
    """As other SDKs encode it, and back."""
    packed = to_any(value)
    assert packed.type_url == f"type.googleapis.com/google.protobuf.{kind}"
    assert packed.value.hex() == data
    assert from_any(packed) == value
    assert type(from_any(packed)) is type(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
values = st.one_of(
    json_values,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(),
    st.datetimes(timezones=st.just(UTC)),
    st.timedeltas(timedelta(days=-3_000_000), timedelta(days=3_000_000)),
)


@given(values)
def test_value_is_read_as_it_was_written(value: object) -> None:
    """What is the same has the same bytes, and can be shown as JSON."""
    packed = to_any(value)
    assert from_any(packed) == value
    assert to_any(value).SerializeToString() == packed.SerializeToString()
    json.dumps(to_shown(from_any(packed)), allow_nan=False)


def test_integers_in_lists_and_dicts_come_back_as_doubles() -> None:
    """Value knows no others; shown, they are whole again."""
    read = from_any(to_any({"n": [1, 2.5]}))
    assert repr(read) == "{'n': [1.0, 2.5]}"
    assert json.dumps(to_shown(read)) == '{"n": [1, 2.5]}'


def test_time_of_another_zone_is_read_as_utc() -> None:
    """The instant is the same."""
    there = NOON.astimezone(timezone(timedelta(hours=5)))
    read = from_any(to_any(there))
    assert read == there
    assert isinstance(read, datetime)
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (Int32Value(value=-1), -1),
        (UInt32Value(value=2**32 - 1), 2**32 - 1),
        (UInt64Value(value=2**64 - 1), 2**64 - 1),
        (FloatValue(value=0.5), 0.5),
        (Value(), None),
        (Struct(fields={"b": Value(bool_value=True), "a": Value()}), {"a": None, "b": True}),
        (ListValue(values=[Value(string_value="x")]), ["x"]),
        (Timestamp(seconds=1, nanos=1_999), datetime(1970, 1, 1, 0, 0, 1, 1, UTC)),
    ],
)
def test_types_that_only_other_sdks_write_are_read(message: Anything, value: object) -> None:
    """dispatch-go has unsigned integers."""
    packed = Any()
    packed.Pack(message)
    assert from_any(packed) == value


class Trap:
    """Fails the test where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("unpickled",)


def test_nothing_is_unpickled() -> None:
    """Neither a Pickled nor bytes that are a pickle."""
    data = pickle.dumps(Trap())
    packed = Any()
    packed.Pack(Pickled(pickled_value=data), "buf.build/stealthrocket/dispatch-proto/")
    read = from_any(packed)
    assert read == Opaque("dispatch.sdk.python.v1.Pickled", len(packed.value))
    assert str(read) == f"dispatch.sdk.python.v1.Pickled ({len(packed.value)} bytes)"
    packed.Pack(BytesValue(value=data))
    assert from_any(packed) == data


@pytest.mark.parametrize(
    ("packed", "kind"),
    [
        (Any(type_url="buf.build/x/coroutine.v1.State", value=b"abc"), "coroutine.v1.State"),
        (Any(type_url="type.googleapis.com/google.protobuf.Value", value=b"\xff\xff\xff"), "Value"),
        (Any(type_url="a/google.protobuf.StringValue", value=b"\x0a\x01\xff"), "StringValue"),
        (Any(value=b"abc"), "no type"),
        (Any(type_url="x/a\x1b[2J\n" + "b" * 900, value=b"abc"), "a?[2J?" + "b" * 194),
    ],
)
def test_value_that_cannot_be_read_is_told_by_type_and_size(packed: Any, kind: str) -> None:
    """Unknown and damaged ones; what is printed can't drive a terminal."""
    read = from_any(packed)
    assert isinstance(read, Opaque)
    assert read.type.endswith(kind)
    assert read.size_bytes == 3
    assert to_shown(read) == {"type": read.type, "size_bytes": 3}


@pytest.mark.parametrize(
    "message",
    [
        Timestamp(seconds=10**12),
        Timestamp(nanos=-1),
        Timestamp(nanos=2 * 10**9),
        Duration(seconds=2**62),
        Duration(seconds=315_576_000_001),
    ],
)
def test_time_that_python_does_not_have_is_opaque(message: Anything) -> None:
    """Nor protobuf: years above 9999, more than 10 000 of them, nanoseconds out of range."""
    packed = Any()
    packed.Pack(message)
    assert isinstance(from_any(packed), Opaque)


def nested(value: Anything, times: int, *, as_dict: bool) -> Anything:
    for _ in range(times):
        value = {"k": value} if as_dict else [value]
    return value


@pytest.mark.parametrize(("as_dict", "most"), [(False, 50), (True, 33)])
def test_deepest_value_that_is_encoded_can_be_decoded(as_dict: bool, most: int) -> None:
    """One level more would make bytes that no parser takes."""
    deepest = nested("x", most, as_dict=as_dict)
    assert from_any(to_any(deepest)) == deepest
    with pytest.raises(NotEncodable, match="too deeply"):
        to_any(nested("x", most + 1, as_dict=as_dict))


def circle() -> list[object]:
    round_trip: list[object] = []
    round_trip.append(round_trip)
    return round_trip


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (2**63, "more than 64 bits"),
        ((1, 2), "the value is of type tuple"),
        ({"a": [1, {2}]}, r"the value\['a'\]\[1\] is of type set"),
        ({1: "x"}, "has the key 1"),
        ([math.nan], r"the value\[0\] is not a finite number"),
        ([10**400], "too large"),
        ([2**53 + 1], "a double can't hold"),
        ([b"x"], "of type bytes"),
        ([NOON], "of type datetime"),
        (NOON.replace(tzinfo=None), "without a time zone"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "years 1 to 9999"),
        (timedelta.max, "10 000 years"),
        ("\ud800", "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        (circle(), "in themselves"),
        (object(), "of type object"),
    ],
)
def test_value_without_a_type_is_refused(value: object, why: str) -> None:
    """The message says where it stands."""
    with pytest.raises(NotEncodable, match=why):
        to_any(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (NOON, "2026-11-29T12:00:00.000250Z"),
        (timedelta(seconds=-1, milliseconds=-500), "-1.500s"),
        (b"\xff", "/w=="),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
        (2.0, 2),
        (1e300, 1e300),
        (None, None),
    ],
)
def test_value_is_shown_as_json(value: object, shown: object) -> None:
    """As protobuf's JSON writes it, but for numbers, which stay numbers."""
    assert to_shown(value) == shown
    assert type(to_shown(value)) is type(shown)
