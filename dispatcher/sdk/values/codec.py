"""How a type hint is served: a value of it is lowered to a plain one to be sent, and lifted again.

Plain values are those of `wire`. What has no hint at all stays what it is, and what is no plain
value is refused: it would come back as something else. A foreign receiver gets the fields instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from dispatcher.sdk.values.misfit import Misfit, shown
from dispatcher.sdk.values.refusing import refuse
from dispatcher.sdk.values.writing import Fallback

Change: TypeAlias = Callable[[object], object]


CHOICES: Final = 20
"""The rank of Enum and Literal: in a union they come before numbers and texts."""


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """Serves one hint.

    `name` is the hint as messages have it. `lower` makes a plain value of one that fits the hint,
    `lift` the other way round; both raise Misfit for what does not fit. `classes` are those whose
    instances it lowers, where they can be told; `plain` the classes of plain values that it lifts
    without a doubt: in a union they decide before anything else. `fields` are the names that it
    knows in a struct, None when it is not lifted from one or takes any.
    """

    name: str
    lower: Change
    lift: Change
    classes: tuple[type, ...] = ()
    plain: frozenset[type] = frozenset()
    fields: Callable[[], frozenset[str]] | None = None
    fallback: Fallback = refuse
    rank: int = 50


def same(value: object) -> object:
    """Any value is lowered and lifted to itself."""
    return value


ANY: Final = Codec("anything", same, same, (object,), rank=99)
"""Serves what has no hint, and `Any` and `object`."""


def misfit(name: str, value: object) -> Misfit:
    """What is wrong where another type was expected."""
    return Misfit(f"has to be {name}, not {shown(value)}")
