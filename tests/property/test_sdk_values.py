"""Values by hints that are made up: they come back, and no bytes do any harm."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.protocol.messages import MarkedList, MarkedString, MarkedStruct, MarkedValue
from dispatcher.sdk.errors import exception_of, failure_of, status_of
from dispatcher.sdk.exceptions import DecodeError, EncodeError, InvalidArgumentError
from dispatcher.sdk.replay.model import Failure, Value
from dispatcher.sdk.values import Signature, decode, decode_arguments, encode, encode_arguments
from dispatcher.sdk.values.marks import EXCEPTION
from dispatcher.sdk.values.wire import _UNPACKERS
from tests.effort import times


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: str = ""


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    type(None): st.none(),
    bool: st.booleans(),
    int: st.integers() | st.integers(-(2**54), 2**54),
    float: st.floats(allow_nan=False) | st.integers(-(2**54), 2**54).map(float),
    str: texts,
    bytes: st.binary(max_size=8),
    datetime: st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)).map(
        lambda instant: instant.replace(fold=0)  # which says nothing in UTC
    ),
    date: st.dates(),
    time: st.times().map(lambda value: value.replace(fold=0)),
    timedelta: st.timedeltas(),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False),
    Colour: st.sampled_from(Colour),
}
LIST: Any = list  # a type checker does not like hints that are made up
TUPLE: Any = tuple
DICT: Any = dict
HASHABLE = [kind for kind in SCALARS if kind is not float]

plain = st.recursive(
    st.one_of(*(values for kind, values in SCALARS.items() if kind is not Colour)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts, inner, max_size=3)
        | st.dictionaries(st.integers() | texts | st.booleans(), inner, max_size=3)
        | st.sets(st.integers() | texts, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def hinted(draw: st.DrawFn, depth: int = 0) -> tuple[Any, st.SearchStrategy[Any]]:
    """A hint, and the values that fit it."""
    kind = draw(st.integers(0, 9 if depth < 3 else 3))
    if kind <= 3:
        scalar = draw(st.sampled_from(list(SCALARS)))
        return scalar, SCALARS[scalar]
    hint, values = draw(hinted(depth=depth + 1))
    match kind:
        case 4:
            return LIST[hint], st.lists(values, max_size=3)
        case 5:
            return TUPLE[hint, ...], st.lists(values, max_size=3).map(tuple)
        case 6:
            key = draw(st.sampled_from(HASHABLE))
            return DICT[key, hint], st.dictionaries(SCALARS[key], values, max_size=3)
        case 7:
            return hint | None, st.none() | values
        case 8:
            other, others = draw(hinted(depth=depth + 1))
            return TUPLE[hint, other], st.tuples(values, others)
        case _:
            made = make_dataclass("Made", [("a", hint), ("b", int, field(default=3))])
            return made, st.builds(made, values, SCALARS[int])


@settings(max_examples=times(80))
@given(st.data())
def test_what_fits_a_hint_comes_back(data: st.DataObject) -> None:
    """As the same value of the same type; with equal bytes each time."""
    hint, values = data.draw(hinted())
    value = data.draw(values)

    sent = encode(value, hint)

    again = decode(sent, hint)
    assert again == value
    assert repr(again) == repr(value)
    assert encode(again, hint) == sent


@settings(max_examples=times(80))
@given(plain)
def test_what_needs_no_hint_comes_back(value: object) -> None:
    """Types and all. Sets may be walked in another order."""
    again = decode(encode(value))

    assert again == value
    assert encode(again) == encode(value)
    assert "{" in repr(value) or repr(again) == repr(value)


@settings(max_examples=times(50))
@given(st.lists(plain, max_size=3), st.dictionaries(st.sampled_from("xyz"), plain))
def test_arguments_come_back(args: list[object], kwargs: dict[str, object]) -> None:
    """By position and by name, whatever they are."""

    def anything(*args, **kwargs): ...  # type: ignore[no-untyped-def]

    signature = Signature(anything)
    bound = decode_arguments(encode_arguments(signature, args, kwargs), signature)

    assert (bound.args, bound.kwargs) == (tuple(args), kwargs)


marks = st.integers(0, 20)


def listed(items: list[MarkedValue], mark: int) -> MarkedValue:
    """A list with this mark."""
    return MarkedValue(list_value=MarkedList(values=items), mark=mark)


def fielded(fields: list[tuple[str, MarkedValue]], mark: int) -> MarkedValue:
    """A struct with this mark."""
    entries = [MarkedStruct.Entry(key=key, value=value) for key, value in fields]
    return MarkedValue(struct_value=MarkedStruct(fields=entries), mark=mark)


# Values with marks that do not fit what they stand at.
marked = st.recursive(
    st.builds(MarkedValue, number_value=st.floats(), mark=marks)
    | st.builds(MarkedValue, string_value=texts | st.just("1e9999999"), mark=marks)
    | st.builds(MarkedValue, bool_value=st.booleans(), mark=marks),
    lambda inner: (
        st.builds(listed, st.lists(inner, max_size=3), marks)
        | st.builds(
            fielded,
            st.lists(st.tuples(texts | st.sampled_from(["a", "b", "args"]), inner), max_size=3),
            marks,
        )
    ),
    max_leaves=6,
)

wire = st.one_of(
    st.builds(Value, st.sampled_from(list(_UNPACKERS)) | texts, st.binary(max_size=30)),
    marked.map(lambda made: Value("google.protobuf.Value", made.SerializeToString())),
    st.builds(MarkedString, value=texts, mark=st.integers(0, 20)).map(
        lambda made: Value("google.protobuf.StringValue", made.SerializeToString())
    ),
)


def takes(a: int, b: list[Point | None] = [], **more: datetime) -> None: ...  # noqa: B006


@settings(max_examples=times(130))
@given(wire, hinted())
def test_no_bytes_do_anything_but_decode_or_be_refused(value: Value, hint: Any) -> None:
    """Whatever somebody sends; what was decoded without a hint can be sent again."""
    with suppress(DecodeError):
        decode(value, hint[0])
    with suppress(InvalidArgumentError):
        decode_arguments(value, Signature(takes))
    with suppress(DecodeError, EncodeError):
        encode(decode(value))


@settings(max_examples=times(50))
@given(
    marked | st.binary(max_size=30).map(lambda data: b"N." + data),
    texts,
    texts,
    st.binary(max_size=10),
)
def test_every_failure_is_an_exception(
    value: MarkedValue | bytes, kind: str, message: str, trace: bytes
) -> None:
    """One that can be printed, and passed on."""
    if isinstance(value, MarkedValue):
        value.mark = EXCEPTION
        value = b"N." + value.SerializeToString()

    error = exception_of(Failure(kind, message, value, trace))

    str(error), status_of(error), failure_of(error)
