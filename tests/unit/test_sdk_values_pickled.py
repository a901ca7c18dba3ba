"""The arguments of functions of dispatch-py, which take a pickle and nothing else."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest

from dispatcher.protocol.messages import Pickled
from dispatcher.sdk.exceptions import DecodeError, EncodeError
from dispatcher.sdk.values import decode, encode_pickled_arguments


@dataclass
class Arguments:
    """As dispatch-py has it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@pytest.fixture
def dispatch_py(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules, as far as a pickle names them."""
    for name in ("dispatch", "dispatch.proto"):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
    vars(sys.modules["dispatch.proto"])["Arguments"] = Arguments


@pytest.mark.usefixtures("dispatch_py")
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, "a", None, [1.5, {"b": b"x"}]), {"key": (1, 2)}),
        ((Decimal("1.5"), {1, 2}), {}),
        ((["shared"] * 3, "x" * 200_000, [b"y" * 70_000] * 3), {"n": list(range(5000))}),
    ],
)
def test_the_arguments_are_those_that_its_pickle_holds(
    args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    """Also those that a pickle has in several frames, or more than once."""
    value = encode_pickled_arguments("theirs", args, kwargs)

    assert value.type == ("buf.build/stealthrocket/dispatch-proto/dispatch.sdk.python.v1.Pickled")
    data = Pickled.FromString(value.data).pickled_value
    assert data.startswith(pickle.PROTO + b"\x04")
    assert pickle.loads(data) == Arguments(args, kwargs)
    assert pickle._loads(data) == Arguments(args, kwargs)  # type: ignore[attr-defined]  # in Python


def test_writing_it_imports_nothing_of_dispatch_py() -> None:
    """It need not be installed."""
    encode_pickled_arguments("theirs", (1,), {})

    assert "dispatch.proto" not in sys.modules


def test_an_argument_that_can_not_be_pickled_is_refused() -> None:
    """As a function of a function."""
    with pytest.raises(EncodeError) as caught:
        encode_pickled_arguments("theirs", (lambda: 1,), {})

    assert str(caught.value).startswith("the arguments of theirs can't be pickled, which dispatch-")


def test_it_is_never_unpickled_here() -> None:
    """Not even what we wrote ourselves."""
    with pytest.raises(DecodeError, match=r"is a pickle, .* nothing is ever unpickled here"):
        decode(encode_pickled_arguments("theirs", (1,), {}))
