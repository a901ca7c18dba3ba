"""What a name can stand for, beside objects that exist."""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType
from typing import TypeGuard, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """Some object of a class: of a parameter's hint, or made in a body."""

    cls: type


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A method with its object: an Instance, an object that exists, or a class."""

    function: FunctionType
    owner: object


def is_a(thing: object, kind: type[T]) -> TypeGuard[T]:
    """Whether a thing is of a class. Unlike `isinstance` it does not ask the thing: Flask's
    `request` and Django's lazy objects are not what they say, and begin something when asked."""
    return issubclass(type(thing), kind)


def class_of(thing: object) -> type:
    """Return the class whose attributes a thing has."""
    if is_a(thing, Instance):
        return thing.cls
    return thing if is_a(thing, type) else type(thing)
