"""Marks on what makes a body durable that names it: `deciding` looks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

ATTRIBUTE: Final = "__dispatch_op__"


@dataclass(frozen=True, slots=True)
class Mark:
    """What is meant by naming the thing that has it.

    `harmless` are attributes that wait for nothing, as `f.dispatch`. `same` are chains behind it
    that give the like of it, as `f.with_options(...)`.
    """

    harmless: frozenset[str] = frozenset()
    same: frozenset[tuple[str, ...]] = frozenset()


def operation(
    *, harmless: Iterable[str] = (), same: Iterable[tuple[str, ...]] = ()
) -> Callable[[T], T]:
    """Mark a function, a class with its objects, or an object: who names it waits for something
    durable. The arguments are those of `Mark`."""
    mark = Mark(frozenset(harmless), frozenset(same))

    def marked(thing: T) -> T:
        setattr(thing, ATTRIBUTE, mark)
        return thing

    return marked
