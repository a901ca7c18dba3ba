"""Bytes of values that are on record: what any version wrote is read for ever.

A value that is written otherwise by a newer version contradicts the record of each suspended call
that has it as an input, so these bytes are what is written, too. Never change a line; add some.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from dispatcher.sdk.errors import exception_of, failure_of
from dispatcher.sdk.replay.model import Failure, Value
from dispatcher.sdk.values import Signature, decode, decode_arguments, encode, encode_arguments

VALUES: list[tuple[object, str, str]] = [
    (None, "Empty",
     ""),
    (True, "BoolValue",
     "0801"),
    (5, "Int64Value",
     "0805"),
    (-1, "Int64Value",
     "08ffffffffffffffffff01"),
    (2**63, "StringValue",
     "0a1339323233333732303336383534373735383038c03e02"),
    (1.5, "DoubleValue",
     "09000000000000f83f"),
    (3.0, "DoubleValue",
     "090000000000000840"),
    ("Ada", "StringValue",
     "0a03416461"),
    (b"\xff", "BytesValue",
     "0a01ff"),
    (datetime(2026, 11, 20, 12, 30, 1, 5, tzinfo=UTC), "Timestamp",
     "08c9fa80d806108827"),
    (timedelta(seconds=-1.5), "Duration",
     "08ffffffffffffffffff011080b6ca91feffffffff01"),
    (date(2026, 2, 28), "StringValue",
     "0a0a323032362d30322d3238c03e05"),
    (time(1, 2, 3), "StringValue",
     "0a0830313a30323a3033c03e06"),
    (UUID("0f8fad5b-d9cb-469f-a165-70867728950e"), "StringValue",
     "0a2430663866616435622d643963622d343639662d613136352d373038363737323839"
     "353065c03e08"),
    (Decimal("1.50"), "StringValue",
     "0a04312e3530c03e09"),
    ([1, 2.0, 2**53 + 1], "Value",
     "32300a0911000000000000f03f0a0c110000000000000040c03e010a151a1039303037"
     "313939323534373430393933c03e02"),
    ((1, "a"), "Value",
     "32100a0911000000000000f03f0a031a0161c03e0a"),
    ({"b": 1, "a": [None, True]}, "Value",
     "2a210a0e0a0162120911000000000000f03f0a0f0a0161120a32080a0208000a022001"),
    ({1: "one"}, "Value",
     "2a0c0a0a0a013112051a036f6e65c03e0e"),
    ({(1,): b"x"}, "Value",
     "32210a1f321d0a10320b0a0911000000000000f03fc03e0a0a091a0465413d3dc03e03"
     "c03e0d"),
    ({1, 2}, "Value",
     "32160a091100000000000000400a0911000000000000f03fc03e0b"),
    (frozenset(), "Value",
     "3200c03e0c"),
    ([datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1), b"hi"], "Value",
     "32330a191a14323032362d30312d30315430303a30303a30305ac03e040a0b1a063836"
     "34303073c03e070a091a0461476b3dc03e03"),
    ([UUID(int=5), Decimal("2"), date(2026, 1, 1), time(1)], "Value",
     "32530a291a2430303030303030302d303030302d303030302d303030302d3030303030"
     "30303030303035c03e080a061a0132c03e090a0f1a0a323032362d30312d3031c03e05"
     "0a0d1a0830313a30303a3030c03e06"),
]  # fmt: skip

KEYWORDS = (
    "2a5c0a120a056669727374120911000000000000f03f0a130a067365636f6e6412091100000000000000400a"
    "150a0472657374120d320b0a091100000000000008400a1a0a046d6f726512122a100a0e0a01611209110000"
    "00000000f83fc03e0f"
)
WHOLE = "2a100a0e0a0178120911000000000000f03fc03e10"
NULL = "0800c03e10"
NAMED = "2a0d0a0b0a046e616d6512031a0178c03e11ca3e03446f67"
EXCEPTION = (
    "4e2e"  # what dispatch-py reads
    "2a85020a140a066d6f64756c65120a1a086275696c74696e730a130a05636c617373120a1a084b6579457272"
    "6f720a0d0a047465787412051a03276b270a0f0a0461726773120732050a031a016b0a100a056e6f74657312"
    "0732050a031a016e0aa5010a056361757365129b012a98010a140a066d6f64756c65120a1a086275696c7469"
    "6e730a120a05636c61737312091a074f534572726f720a180a047465787412101a0e5b4572726e6f20355d20"
    "6469736b0a1d0a0461726773121532130a091100000000000014400a061a046469736b0a330a057374617465"
    "122a2a280a120a056572726e6f12091100000000000014400a120a087374726572726f7212061a046469736b"
    "c03e12"
)


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str


def many(first: int, /, second: int = 2, *rest: int, **more: float) -> None: ...


def one(x=None): ...  # type: ignore[no-untyped-def]  # as it is without a hint


def value(kind: str, data: str) -> Value:
    return Value(f"google.protobuf.{kind}", bytes.fromhex(data))


@pytest.mark.parametrize(("plain", "kind", "data"), VALUES)
def test_a_value_has_these_bytes(plain: object, kind: str, data: str) -> None:
    """Both ways."""
    assert encode(plain) == value(kind, data)
    again = decode(value(kind, data))
    assert again == plain
    assert type(again) is type(plain)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "data"),
    [
        (many, (1, 2, 3), {"a": 1.5}, KEYWORDS),
        (one, ({"x": 1},), {}, WHOLE),
        (one, (None,), {}, NULL),
    ],
)
def test_arguments_have_these_bytes(
    function: object, args: tuple[object, ...], kwargs: dict[str, object], data: str
) -> None:
    """Both ways."""
    assert callable(function)
    signature = Signature(function)

    assert encode_arguments(signature, args, kwargs) == value("Value", data)
    bound = decode_arguments(value("Value", data), signature)
    assert (bound.args, bound.kwargs) == (args, kwargs)


def test_a_member_of_a_union_has_its_name_beside_it() -> None:
    """Both ways."""
    assert encode(Dog("x"), Cat | Dog) == value("Value", NAMED)
    assert decode(value("Value", NAMED), Cat | Dog) == Dog("x")


def test_an_exception_has_these_bytes() -> None:
    """Both ways, with its note and its cause."""
    error = KeyError("k")
    error.add_note("n")
    error.__cause__ = OSError(5, "disk")

    assert failure_of(error)[1].value.hex() == EXCEPTION
    again = exception_of(Failure("KeyError", "'k'", bytes.fromhex(EXCEPTION)))
    assert (repr(again), again.__notes__) == ("KeyError('k')", ["n"])
    assert repr(again.__cause__) == "OSError(5, 'disk')"
