"""The arguments of a call: what we send, what others send, and what a wrong one is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from dispatcher.sdk.exceptions import EncodeError, InvalidArgumentError
from dispatcher.sdk.replay.model import Value
from dispatcher.sdk.values import FOREIGN, Signature, decode_arguments, encode, encode_arguments


class Speed(Enum):
    SLOW = "slow"
    FAST = "fast"


@dataclass
class Item:
    price: float
    count: int = 1


@dataclass
class Order:
    items: list[Item]
    speed: Speed = Speed.SLOW


def greet(name: str) -> str: ...  # type: ignore[empty-body]  # only its signature counts


def add(a: int, b: int) -> int: ...  # type: ignore[empty-body]


def checkout(order: Order, urgent: bool = False) -> None: ...


def anything(x): ...  # type: ignore[no-untyped-def]  # as users write as well


def maybe(x: int | None = 5): ...  # type: ignore[no-untyped-def]


def none() -> None: ...


def many(first: int, /, second: int = 2, *rest: int, key: str = "k", **more: float) -> None: ...


def given(function: Callable[..., Any], value: Value) -> tuple[tuple[object, ...], dict[str, Any]]:
    bound = decode_arguments(value, Signature(function))
    return bound.args, bound.kwargs


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (greet, ("Ada",), {}),
        (greet, (), {"name": "Ada"}),
        (add, (1, 2), {}),
        (add, (1,), {"b": 2}),
        (checkout, (Order([Item(1.5), Item(2.0, 3)], Speed.FAST),), {}),
        (checkout, (Order([]),), {"urgent": True}),
        (anything, (None,), {}),
        (anything, ({"x": 1},), {}),
        (anything, ({"x": {"x": 1}},), {}),
        (anything, ({},), {}),
        (anything, ([1, 2],), {}),
        (maybe, (None,), {}),
        (maybe, (), {}),
        (none, (), {}),
        (many, (1,), {}),
        (many, (1, 5, 6, 7), {"key": "x", "a": 1.0, "first": 2.5}),
        (many, (1,), {"more": 1.5}),
        (lambda *xs: None, ({"xs": 1},), {}),
        (lambda *xs: None, ([1, 2],), {}),
        (lambda **xs: None, (), {"xs": [1]}),
        (lambda a=1, b=2: None, (), {"b": 3}),
    ],
)
def test_what_we_send_arrives_exactly(
    function: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    """Whatever the form it took; defaults are the receiver's."""
    signature = Signature(function)
    bound = decode_arguments(encode_arguments(signature, args, kwargs), signature)

    expected = signature.plain.bind(*args, **kwargs)
    assert (bound.args, bound.kwargs) == (expected.args, expected.kwargs)


def test_one_argument_is_sent_as_itself() -> None:
    """So that functions of others can be called, and ours by them."""
    sent = encode_arguments(Signature(greet), ("Ada",), {})

    assert sent == encode("Ada") == Value("google.protobuf.StringValue", b"\n\x03Ada")


@pytest.mark.parametrize(
    ("function", "sent", "args", "kwargs"),
    [
        (greet, "Ada", ("Ada",), {}),
        (greet, {"name": "Ada"}, ("Ada",), {}),
        (add, {"a": 1, "b": 2.0}, (1, 2), {}),
        (add, [1, 2], (1, 2), {}),
        (checkout, {"items": [{"price": 2}]}, (Order([Item(2.0)]),), {}),
        (checkout, {"order": {"items": []}, "urgent": True}, (Order([]), True), {}),
        (anything, {"x": 1}, (1,), {}),
        (anything, {"y": 1}, ({"y": 1},), {}),
        (anything, None, (None,), {}),
        (maybe, None, (), {}),
        (none, None, (), {}),
        (none, {}, (), {}),
        (many, {"first": 1, "more": 2, "rest": [3]}, (1, 2, 3), {"more": 2.0}),
        (many, {"first": 1, "key": "x"}, (1,), {"key": "x"}),
    ],
)
def test_what_others_send_is_understood(
    function: Callable[..., Any],
    sent: object,
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    """JSON by curl, a schedule, another SDK: no marks."""
    assert given(function, encode(sent, FOREIGN)) == (args, kwargs)


@pytest.mark.parametrize(
    ("function", "sent", "text"),
    [
        (greet, 3, "parameter 'name' of greet has to be str, not 3 (int)."),
        (greet, None, "parameter 'name' of greet has to be str, not None."),
        (greet, {"nmae": "Ada"},
         "greet needs the parameter 'name', which is missing: it was given 'nmae'."),
        (greet, {"name": "Ada", "age": 5}, "greet has no parameter 'age'; it has 'name'."),
        (add, {"a": 1}, "add needs the parameter 'b', which is missing: it was given 'a'."),
        (add, {}, "add needs the parameter 'a', which is missing: it was given none."),
        (add, [1, "2"], "parameter 'b' of add has to be int, not '2' (str)."),
        (add, [1, 2, 3],
         "add was given a list of 3: too many positional arguments; it needs 'a', 'b'."),
        (add, "x", "add was given 'x' (str), and it needs 'a', 'b': send a dict with these names."),
        (none, 5, "none takes no arguments, and was given 5 (int)."),
        (none, {"a": 5}, "none has no parameter 'a'; it has none."),
        (checkout, {"items": [{"price": 1}, {"price": "x"}]},
         "parameter 'order' of checkout, at .items[1].price: has to be float, not 'x' (str)."),
        (checkout, {"items": [], "speed": "warp"},
         "parameter 'order' of checkout, at .speed: has to be Speed ('slow', 'fast'), not 'warp' "
         "(str)."),
        (checkout, {"itemz": []},
         "parameter 'order' of checkout lacks the field 'items' of Order."),
        (checkout, {"order": {"items": []}, "urgent": 1},
         "parameter 'urgent' of checkout has to be bool, not 1 (int)."),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_name_parameter_and_type(
    function: Callable[..., Any], sent: object, text: str
) -> None:
    """INVALID_ARGUMENT, which ends the call, in a sentence that its caller understands."""
    with pytest.raises(InvalidArgumentError) as caught:
        given(function, encode(sent, FOREIGN))

    assert str(caught.value) == text


def test_an_argument_that_cannot_be_sent_is_named_where_it_is_sent() -> None:
    """With its place inside."""
    order = Order([Item(1.0), Item("dear")])  # type: ignore[arg-type]  # the mistake

    with pytest.raises(EncodeError) as caught:
        encode_arguments(Signature(checkout), (order,), {})

    assert str(caught.value) == (
        "argument 'order' of checkout, at .items[1].price: has to be float, not 'dear' (str)."
    )


def test_arguments_that_a_function_does_not_take_are_a_type_error_where_it_is_called() -> None:
    """As Python says it, with the function's name."""
    with pytest.raises(TypeError) as caught:
        encode_arguments(Signature(add), (1,), {"c": 2})

    assert str(caught.value) == "add(): missing a required argument: 'b'"


def test_a_parameter_whose_default_is_none_takes_none() -> None:
    """`x: int = None` is written often enough."""

    def sloppy(x: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    signature = Signature(sloppy)
    assert decode_arguments(encode_arguments(signature, (None,), {}), signature).args == (None,)


def test_a_hint_that_names_what_is_not_there_serves_plain_values() -> None:
    """Names that are imported for type checkers only."""

    def late(x: Missing, y: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    signature = Signature(late)
    assert decode_arguments(encode_arguments(signature, ([1], 2), {}), signature).args == ([1], 2)
    with pytest.raises(EncodeError) as caught:
        encode_arguments(signature, (Order([]), 2), {})
    assert str(caught.value) == (
        "argument 'x' of late is an Order, and its hint 'Missing' can't be resolved (name "
        "'Missing' is not defined): define or import what it names at the top level of the module, "
        "not only for type checkers."
    )


def test_a_hint_may_name_a_class_of_the_function_around_it() -> None:
    """As tests and notebooks have them, where the function uses it."""

    @dataclass
    class Local:
        x: int

    def local(value: Local) -> int:
        return Local(1).x

    signature = Signature(local)
    assert decode_arguments(encode({"x": 5}, FOREIGN), signature).args == (Local(5),)
