"""Values by their type hints: what each hint takes, and what comes back."""

from __future__ import annotations

import collections
import functools
import sys
import typing
from collections import abc
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from types import ModuleType
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import pydantic
import pytest

from dispatcher.sdk.exceptions import DecodeError, EncodeError
from dispatcher.sdk.values import FOREIGN, Signature, decode, encode

T = TypeVar("T")
N = TypeVar("N", bound=int)
NOW = datetime(2026, 11, 20, 12, 30, 1, 5, tzinfo=UTC)
SOME_ID = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
UserId = NewType("UserId", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Name(StrEnum):
    ADA = "ada"


class Rights(Flag):
    READ = 1
    WRITE = 2


class Odd(Enum):
    PAIR = (1, 2)
    NOTHING = None


@dataclass(frozen=True)
class Item:
    price: Decimal
    at: datetime | None = None


@dataclass
class Order:
    items: list[Item]
    by_name: dict[str, Item] = field(default_factory=dict)
    parent: Order | None = None
    total: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if len(self.items) > 3:
            raise ValueError("at most 3 items")


@dataclass(slots=True, kw_only=True)
class Cat:
    name: str


@dataclass
class Dog:
    name: str
    barks: bool = True


@dataclass
class Puppy(Dog):
    pass


@dataclass
class Page(Generic[T]):
    rows: list[T]
    next: T | None = None


@dataclass
class Hidden:
    secret: InitVar[int]


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Address(TypedDict):
    street: str
    since: NotRequired[date]


class User(pydantic.BaseModel):
    id: int
    born: date
    tags: set[str] = set()
    boss: User | None = None
    mail: str = pydantic.Field("x@example.com", alias="eMail")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime
    id: UUID


class Aliased(pydantic.BaseModel):
    """Reads another name than it writes, and writes what it does not read."""

    model_config = pydantic.ConfigDict(extra="forbid")
    one: int = pydantic.Field(validation_alias="in", serialization_alias="out")

    @pydantic.computed_field
    def double(self) -> int:
        return self.one * 2


class Names(pydantic.RootModel[list[str]]):
    pass


class Box(pydantic.BaseModel, Generic[T]):
    inside: T


class Opaque:
    pass


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, 5), (int, 2**70), (float, 2.0), (float, float("inf")), (bool, True), (str, "x"),
        (bytes, b"x"), (bytearray, bytearray(b"x")), (type(None), None), (Any, [1, 2.0]),
        (object, (1,)), (datetime, NOW), (date, NOW.date()), (time, time(1)), (UUID, SOME_ID),
        (timedelta, timedelta(1)), (Decimal, Decimal("1.10")), (Path, Path("/x/y")),
        (IPv4Address, IPv4Address("127.0.0.1")),
        (list, [1, "a"]), (list[int], [1, 2]), (list[float], [1.0]), (dict[str, int], {"a": 1}),
        (dict[int, str], {1: "a"}), (dict[UUID, int], {SOME_ID: 1}), (dict[float, int], {1.5: 1}),
        (dict[Colour, int], {Colour.RED: 1}), (dict[date, int], {NOW.date(): 1}),
        (dict[bool, int], {True: 1}), (dict[tuple[int, str], int], {(1, "a"): 1}),
        (dict[str | int, int], {"1": 1, 1: 2}),
        (tuple, (1, "a")), (tuple[int, str], (1, "a")), (tuple[int, ...], (1, 2)),
        (tuple[()], ()), (set[int], {1, 2}), (frozenset[str], frozenset("ab")),
        (collections.deque[int], collections.deque([1, 2])),
        (collections.OrderedDict[str, int], collections.OrderedDict(b=1, a=2)),
        (collections.Counter[str], collections.Counter("aab")),
        (abc.Sequence[Colour], [Colour.RED]), (abc.Mapping[str, Item], {"a": Item(Decimal(1))}),
        (abc.Iterable[Point], [Point(1)]), (abc.Set[int], {1}),
        (typing.List[int], [1]),  # noqa: UP006  # older code has these
        (Optional[int], None),  # noqa: UP045
        (Union[int, str], "3"),  # noqa: UP007
        (int | None, 3), (int | float, 3.0),
        (int | float, 3), (int | str | None, None), (datetime | str, "2026-01-01T00:00:00Z"),
        (datetime | str, NOW), (list[int] | dict[str, int], {"a": 1}), (bytes | str, "aGk="),
        (Cat | Dog, Cat(name="x")), (Cat | Dog, Dog("x")), (Dog | Puppy, Puppy("x")),
        (list[Cat | Dog], [Dog("x"), Cat(name="y")]), (Colour | int, Colour.RED), (Colour | int, 5),
        (Point | Cat, Point(1, 2.5)), (User | Cat, Cat(name="x")), (list[int] | list[str], ["a"]),
        (list[Item] | Item, Item(Decimal(1))),
        (Literal["a", 1, True, None, Colour.RED], 1),
        (Literal["a", 1, True, None, Colour.RED], True),
        (Literal["a", 1, True, None, Colour.RED], Colour.RED),
        (Literal["a", 1, True, None, Colour.RED], None),
        (Colour, Colour.BLUE), (Level, Level.LOW), (Name, Name.ADA), (Odd, Odd.PAIR),
        (Odd, Odd.NOTHING), (Rights, Rights.READ | Rights.WRITE),
        (UserId, UserId(5)), (Annotated[int, "doc"], 5), (Annotated[list[int], [1]], [5]),
        (N, 5), (T, [1]),
        (Item, Item(Decimal("1.5"), NOW)),
        (Order, Order([Item(Decimal(1))], {"a": Item(Decimal(2))}, Order([]))),
        (Page[int], Page([1, 2], 3)), (Page[Item], Page([Item(Decimal(1))])),
        (Page[Page[Colour]], Page([Page([Colour.RED])])), (Page, Page([1, "a"])),
        (Point, Point(1, 2.0)), (Address, {"street": "x", "since": NOW.date()}),
        (Address, {"street": "x"}), (list[Address], [{"street": "x"}]),
        (User, User(id=1, born=NOW.date(), tags={"a"}, eMail="y")),
        (list[User], [User(id=2**60, born=NOW.date(), eMail="z")]),
        (Strict, Strict(at=NOW, id=SOME_ID)), (Box[int], Box[int](inside=3)),
        (Aliased, Aliased.model_validate({"in": 1})), (Names, Names(["a"])),
        (list[Names | Aliased], [Names(["a"])]),
    ],
)  # fmt: skip
def test_a_value_comes_back_as_what_its_hint_says(hint: object, value: object) -> None:
    """Whatever plain values it went through."""
    again = decode(encode(value, hint), hint)

    assert again == value
    assert type(again) is type(value)
    assert repr(again) == repr(value) or isinstance(value, set | frozenset | pydantic.BaseModel)


@pytest.mark.parametrize(
    ("hint", "sent", "value"),
    [
        (int, 3.0, 3), (int, "9007199254740993", 2**53 + 1), (float, 3, 3.0), (float, "NaN", None),
        (float, "Infinity", float("inf")),
        (datetime, "2026-11-20T13:30:01.000005+01:00", NOW), (date, "2026-11-20", NOW.date()),
        (time, "01:00", time(1)), (timedelta, "1.5s", timedelta(seconds=1.5)),
        (timedelta, 90, timedelta(seconds=90)), (timedelta, "-0.000001s", -timedelta.resolution),
        (UUID, "0f8fad5bd9cb469fa16570867728950e", SOME_ID), (Decimal, "1.10", Decimal("1.10")),
        (Decimal, 1.1, Decimal("1.1")), (bytes, "aGk=", b"hi"), (bytes, "_-8", b"\xff\xef"),
        (set[int], [1, 2, 2], {1, 2}), (tuple[int, str], [1, "a"], (1, "a")),
        (dict[int, str], {"1": "a"}, {1: "a"}), (dict[Colour, int], {"red": 1}, {Colour.RED: 1}),
        (Colour, "blue", Colour.BLUE), (Odd, "PAIR", Odd.PAIR), (Level, 1.0, Level.LOW),
        (Item, {"price": "1.5", "unknown": 1}, Item(Decimal("1.5"))),
        (Cat | Dog, {"name": "x", "barks": False}, Dog("x", False)),
        (Cat | Dog, {"name": "x"}, Cat(name="x")),
        (Point, [1, 2], Point(1, 2.0)), (Point, {"x": 1}, Point(1)),
        (User, {"id": 1, "born": "2026-11-20", "eMail": "z"},
         User(id=1, born=NOW.date(), eMail="z")),
        (Address, {"street": "x", "more": [1]}, {"street": "x", "more": [1]}),
        (str | datetime, "2026-11-20T13:30:01Z", "2026-11-20T13:30:01Z"),
        (int | None, 3.0, 3),
    ],
)  # fmt: skip
def test_what_others_send_as_json_is_made_what_the_hint_says(
    hint: object, sent: object, value: object
) -> None:
    """Texts of times, whole doubles, dicts of fields; fields that are not known are passed over."""
    again = decode(encode(sent, FOREIGN), hint)

    assert again == value if value is not None else again != again  # NaN
    assert value is None or type(again) is type(value)


@pytest.mark.parametrize(
    ("hint", "value", "text"),
    [
        (int, "5", "has to be int, not '5' (str)"),
        (int, 5.0, "has to be int, not 5.0 (float)"),
        (float, "x", "has to be float, not 'x' (str)"),
        (float, 2**53 + 1, "is an integer that no float holds exactly: write the hint int for it"),
        (bool, 1, "has to be bool, not 1 (int)"),
        (str, None, "has to be str, not None"),
        (int | None, "x", "has to be int or None, not 'x' (str)"),
        (int | str, 1.5, "has to be int or str, not 1.5 (float)"),
        (date, NOW, "has to be date, not a datetime"),
        (list[int], [1, "a"], "at [1]: has to be int, not 'a' (str)"),
        (list[int], "ab", "has to be list[int], not 'ab' (str)"),
        (list[int], {1, 2}, "has to be list[int], not a set"),
        (tuple[int, str], (1,), "has to be tuple[int, str], which has 2 items, not 1"),
        (dict[str, int], {"a": "b"}, "at ['a']: has to be int, not 'b' (str)"),
        (dict[str, int], {1: 1}, "has the key 1, which has to be str, not 1 (int)"),
        (Literal["a", "b"], "c", "has to be one of 'a', 'b', not 'c' (str)"),
        (Colour, "red", "has to be Colour, not 'red' (str)"),
        (Item, {"price": 1}, "has to be Item, not a dict"),
        (Item, Item("1"), "at .price: has to be Decimal, not '1' (str)"),  # type: ignore[arg-type]
        (Order, Order([Item(Decimal(1)), 3]),  # type: ignore[list-item]
         "at .items[1]: has to be Item, not 3 (int)"),
        (Cat | Dog, Dog(5), "at .name: has to be str, not 5 (int)"),  # type: ignore[arg-type]
        (Dog, Puppy("x"),
         "is Puppy, a subclass of Dog, which would come back as Dog: write the hint Dog | Puppy"),
        (Address, {}, "lacks the key 'street' of Address"),
        (Hidden, Hidden(5),
         "is Hidden, whose InitVar 'secret' is not kept in it and can't be sent: make it a field"),
        (Opaque, Opaque(),
         "has the type hint Opaque, and values of that can't be sent: use a dataclass, a pydantic "
         "model, a TypedDict, an Enum, a number, a text, a list or a dict, or send what it needs "
         "to be looked up by"),
        (list[Callable[[], int]], [print],
         "at [0]: has the type hint collections.abc.Callable[[], int], and values of that can't be "
         "sent: use a dataclass, a pydantic model, a TypedDict, an Enum, a number, a text, a list "
         "or a dict, or send what it needs to be looked up by"),
        (Any, [Item(Decimal(1))],
         "at [0]: is an Item, which would not come back as one: write the type hint Item for it"),
        (dict[str, Any], {"a": datetime(2026, 1, 1)},
         "at ['a']: is a datetime without a time zone, which is another instant on each machine: "
         "write datetime.now(UTC), or value.replace(tzinfo=UTC)"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_its_hint_is_refused_where_it_is_sent(
    hint: object, value: object, text: str
) -> None:
    """With the place inside, and what to write."""
    with pytest.raises(EncodeError) as caught:
        encode(value, hint)

    assert str(caught.value) == ("the value, " if text.startswith("at ") else "the value ") + (
        f"{text}."
    )


@pytest.mark.parametrize(
    ("hint", "sent", "text"),
    [
        (int, 5.5, "has to be int, not 5.5 (float)"),
        (int, "5", "has to be int, not '5' (str)"),
        (int, True, "has to be int, not True (bool)"),
        (datetime, "2026-11-20T13:30:01", "has to be datetime, not '2026-11-20T13:30:01' (str)"),
        (datetime, "soon", "has to be datetime, not 'soon' (str)"),
        (timedelta, 1e300, "has to be timedelta, not 1e+300 (float)"),
        (UUID, "x", "has to be UUID, not 'x' (str)"),
        (bytes, "!", "has to be bytes, not '!' (str)"),
        (list[int], {"a": 1}, "has to be list[int], not a dict"),
        (dict[int, str], {"a": "b"}, "has the key 'a', which has to be int, not 'a' (str)"),
        (Colour, "green", "has to be Colour ('red', 'blue'), not 'green' (str)"),
        (Order, {"items": [{}]}, "at .items[0]: lacks the field 'price' of Item"),
        (Order, {"items": [{"price": 1}] * 4}, "is no Order: at most 3 items"),
        (Point, [1, 2, 3], "has to be Point, not a list"),
        (Point, {}, "lacks the field 'x' of Point"),
        (User, {"id": "x", "born": "2026-11-20"},
         "is no User: id: Input should be a valid integer, unable to parse string as an integer"),
        (Cat | Dog | None, {"barks": True}, "has to be Cat or Dog or None, not a dict"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_the_hint_is_refused_where_it_comes(
    hint: object, sent: object, text: str
) -> None:
    """With the place inside."""
    with pytest.raises(DecodeError) as caught:
        decode(encode(sent, FOREIGN), hint)

    assert str(caught.value) == ("the value, " if text.startswith("at ") else "the value ") + (
        f"{text}."
    )


def test_a_field_that_init_does_not_take_comes_back() -> None:
    """It may have been changed since the object was made."""
    order = Order([])
    order.total = 5

    assert decode(encode(order, Order), Order).total == 5


def test_the_order_of_a_union_does_not_count() -> None:
    """For Python `int | str` and `str | int` are equal, and whichever was seen first is kept."""
    for sent, value in ((3.0, 3), ("3", "3"), ("2026-01-01", "2026-01-01")):
        for hint in (int | str, str | int, str | int | date, date | int | str):
            assert decode(encode(sent, FOREIGN), hint) == value


def test_the_hints_of_a_signature_are_looked_at_when_they_are_needed() -> None:
    """A function may name a class that is defined below it."""
    space: dict[str, Any] = {}
    exec("def f(x: 'Later') -> 'list[Later]': ...", space)  # what a module does
    signature = Signature(space["f"])
    space["Later"] = Item

    assert signature.returns == list[Item]
    assert [taken.codec.name for taken in signature.parameters.values()] == ["Item"]


def test_callables_of_all_kinds_have_their_hints() -> None:
    """Partials, methods, objects that are called, decorated functions."""

    class Service:
        def method(self, x: Colour) -> None: ...

        def __call__(self, x: Colour) -> None: ...

    def plain(y: int, x: Colour) -> None: ...

    @functools.wraps(plain)
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    for function in (Service().method, Service(), functools.partial(plain, 1), wrapper):
        assert Signature(function).parameters["x"].codec.name == "Colour"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is newer")
def test_the_syntax_of_python_3_12_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aliases that stand in themselves, and variables of classes and functions."""
    module = ModuleType("newer")
    monkeypatch.setitem(sys.modules, "newer", module)
    space: dict[str, Any] = vars(module)
    exec(NEWER, space)
    tree = space["Node"](1, space["Node"](2))

    for hint, value in (
        (space["Json"], {"a": [1, 2.0, None, {"b": "x"}]}),
        (space["Pair"][int], (1, 2)),
        (space["Node"][int], tree),
    ):
        assert decode(encode(value, hint), hint) == value
    with pytest.raises(EncodeError, match=r"the value, at \.value: has to be int, not 'x' \(str\)"):
        encode(space["Node"]("x"), space["Node"][int])
    assert Signature(space["f"]).parameters["x"].codec.name == "int"


NEWER = """
from dataclasses import dataclass

type Json = None | bool | int | float | str | list[Json] | dict[str, Json]
type Pair[T] = tuple[T, T]

@dataclass
class Node[T]:
    value: T
    left: "Node[T] | None" = None

def f[T: int](x: "T") -> None: ...
"""
