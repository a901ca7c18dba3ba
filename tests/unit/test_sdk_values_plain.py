"""Values without a hint: they come back as what they were, and others can read them."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from uuid import UUID

import pytest

from dispatcher.protocol import messages
from dispatcher.protocol.values import from_any
from dispatcher.sdk.exceptions import DecodeError, EncodeError
from dispatcher.sdk.replay.model import Value
from dispatcher.sdk.values import FOREIGN, decode, encode

SOME_ID = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
NOW = datetime(2026, 11, 20, 12, 30, 1, 5, tzinfo=UTC)


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass
class Order:
    id: int
    colour: Colour = Colour.RED


def seen_by_others(value: object) -> object:
    """What a reader of the well-known types finds in it, who knows no marks."""
    encoded = encode(value, FOREIGN)
    url = f"type.googleapis.com/{encoded.type}"
    return from_any(messages.Any(type_url=url, value=encoded.data))


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, 1, 127, 128, -1, 2**63 - 1, -(2**63), 2**63, 10**40,
        0.0, -0.0, 1.5, 3.0, 1e300, float("inf"),
        "", "Ada", "\x00 ü 😀", b"", b"\xff\x00",
        NOW, timedelta(0), timedelta(seconds=-1.5), timedelta(days=999_999_999),
        date(2026, 2, 28), time(1, 2, 3, 4), time(1, 2, tzinfo=timezone(timedelta(hours=2))),
        SOME_ID, Decimal("1.50"), Decimal("NaN"),
        [], {}, (), set(), frozenset(),
        [1, 2.0, 2.5, -0.0, 2**53, 2**53 + 1, -(2**60), True, None],
        [NOW, date(2026, 1, 1), time(3), timedelta(1), SOME_ID, Decimal("2"), b"\x00"],
        ("a", (1, [2, ()])), {"b": 1, "a": {"c": [None]}}, {1: "one", -2: "two"},
        {(1, 2): {"x"}, "a": 1.0}, {True: 1}, {None: frozenset({1})},
    ],
    ids=repr,
)  # fmt: skip
def test_a_plain_value_comes_back_as_what_it_was(value: object) -> None:
    """Type and all, however deep it stands."""
    again = decode(encode(value))

    assert repr(again) == repr(value)
    assert type(again) is type(value)


def test_a_dict_keeps_the_order_of_its_keys() -> None:
    """As a dict that was passed in one process does."""
    assert list(decode(encode({"b": 1, "a": 2, "c": 3}), dict[str, int])) == ["b", "a", "c"]


def test_a_set_has_the_same_bytes_whatever_the_order_in_which_it_is_walked() -> None:
    """Inputs are compared in every replay, and another process hashes texts otherwise."""
    one = set([0, 8, 16])  # noqa: C405  # in this order: they collide
    other = set([16, 8, 0])  # noqa: C405
    assert list(one) != list(other)

    assert encode(one) == encode(other)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (5, 5),
        (2**70, str(2**70)),
        (SOME_ID, str(SOME_ID)),
        (Decimal("1.50"), "1.50"),
        (date(2026, 2, 28), "2026-02-28"),
        ([1, 2.0, 2**53 + 1], [1.0, 2.0, "9007199254740993"]),
        ((1, "a"), [1.0, "a"]),
        ({1: "one"}, {"1": "one"}),
        ({(1, 2): 3}, [[[1.0, 2.0], 3.0]]),
        ([NOW, timedelta(seconds=1.5), b"hi"], ["2026-11-20T12:30:01.000005Z", "1.5s", "aGk="]),
        (Order(7), {"id": 7.0, "colour": "red"}),
        ([Order(7), Colour.RED], [{"id": 7.0, "colour": "red"}, "red"]),
    ],
)
def test_others_find_the_plain_form(value: object, found: object) -> None:
    """Who knows no marks passes over them; integers that a double can't hold are texts."""
    assert seen_by_others(value) == found


def test_what_others_send_is_read() -> None:
    """Every well-known type; whole numbers in JSON are integers, typed doubles are floats."""
    sent: list[tuple[object, object]] = [
        (messages.Int32Value(value=-5), -5),
        (messages.UInt64Value(value=2**64 - 1), 2**64 - 1),
        (messages.FloatValue(value=0.5), 0.5),
        (messages.DoubleValue(value=3.0), 3.0),
        (messages.Struct(fields={"n": messages.Value(number_value=3)}), {"n": 3}),
        (messages.ListValue(values=[messages.Value(number_value=2.5)]), [2.5]),
        (messages.Value(null_value=0), None),  # type: ignore[arg-type]  # its only value
        (messages.Value(), None),
    ]
    for message, value in sent:
        data = message.SerializeToString()  # type: ignore[attr-defined]  # a message
        again = decode(Value(message.DESCRIPTOR.full_name, data))  # type: ignore[attr-defined]
        assert repr(again) == repr(value)


def test_a_value_of_a_subclass_of_a_plain_class_is_one_of_that_class() -> None:
    """As it would be for json; those that are their base in all that counts are not refused."""
    pair = namedtuple("pair", "a b")

    assert decode(encode([Level.HIGH, OrderedDict(a=1), pair(1, 2)])) == [3, {"a": 1}, (1, 2)]
    assert encode(Level.HIGH) == encode(3)
    assert encode(Level.HIGH, int) == encode(3)
    assert encode(bytearray(b"x"), bytes) == encode(b"x")


def test_a_span_that_protobuf_has_no_duration_for_is_a_text() -> None:
    """Others refuse a Duration of more than 10 000 years."""
    assert encode(timedelta(days=3_652_500)).type == "google.protobuf.Duration"
    assert encode(timedelta(days=3_652_501)).type == "google.protobuf.StringValue"


def test_an_instant_in_another_zone_comes_back_in_utc() -> None:
    """Which is the same instant."""
    there = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    for again in (decode(encode(there), datetime), decode(encode([there]), list[datetime])[0]):
        assert again == there
        assert again.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            datetime(2026, 1, 1),
            "argument 'x' is a datetime without a time zone, which is another instant on each "
            "machine: write datetime.now(UTC), or value.replace(tzinfo=UTC).",
        ),
        (
            {"a": [1, Order(1)]},
            "argument 'x', at ['a'][1]: is an Order, which would not come back as one: write the "
            "type hint Order for it.",
        ),
        (
            [Colour.RED],
            "argument 'x', at [0]: is a Colour, which would not come back as one: write the type "
            "hint Colour for it.",
        ),
        (
            [seen_by_others],
            "argument 'x', at [0]: is the function seen_by_others, which can't be sent: send what "
            "it can be looked up by.",
        ),
        (
            UTC,
            "argument 'x' is a timezone, which can't be sent: send a number, a text, a list, a "
            "dict or a dataclass of these, or what it can be looked up by.",
        ),
        (
            ["\ud800"],
            "argument 'x', at [0]: is a text with half of a surrogate pair, which has no UTF-8: "
            "send it as bytes.",
        ),
        (
            [10**5000],
            "argument 'x', at [0]: is an integer of too many digits: send it as bytes or a text.",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_place_and_what_to_do(
    value: object, text: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(EncodeError) as caught:
        encode(value, where="argument 'x'")

    assert str(caught.value) == text


def test_a_list_in_itself_is_refused() -> None:
    """Not a RecursionError, and not what a parser of protobuf gives up on."""
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises(EncodeError, match="or stands in itself: send a flatter one"):
        encode(endless)


def test_what_is_as_deep_as_may_be_is_read_again() -> None:
    """Parsers of protobuf stop at 100 messages."""
    value: object = "x"
    for _ in range(30):
        value = {"a": value}

    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            Value("buf.build/stealthrocket/dispatch-proto/dispatch.sdk.python.v1.Pickled", b"\n\0"),
            "the value is a pickle, as dispatch-py makes of objects, tuples, sets and large "
            "integers, and nothing is ever unpickled here: let that function return a number, a "
            "text, a list or a dict.",
        ),
        (
            Value("com.example.Order", b""),
            "the value is a com.example.Order, which this SDK does not know: let the other side "
            "send a number, a text, a list or a dict.",
        ),
        (
            Value("google.protobuf.Int64Value", b"\x08"),
            "the value is damaged: no Int64Value in 1 bytes.",
        ),
    ],
)
def test_what_cannot_be_read_is_named(value: Value, text: str) -> None:
    """Nothing is ever unpickled, and no other error than this leaves `decode`."""
    with pytest.raises(DecodeError) as caught:
        decode(value)

    assert str(caught.value) == text


async def test_call_that_was_not_awaited_is_no_value() -> None:
    """`return f(x)` in place of `return await f(x)`."""

    async def value() -> int:
        return 1

    forgotten = value()
    with pytest.raises(EncodeError, match=r"coroutine object .*: write `await` before it"):
        encode(forgotten)
    await forgotten
