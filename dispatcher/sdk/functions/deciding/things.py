"""What a name can stand for, beside objects that exist."""

from __future__ import annotations

from dataclasses import dataclass
from types import FunctionType


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """Some object of a class: of a parameter's hint, or made in a body."""

    cls: type


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A method with its object: an Instance, an object that exists, or a class."""

    function: FunctionType
    owner: object


def class_of(thing: object) -> type:
    """Return the class whose attributes a thing has."""
    if isinstance(thing, Instance):
        return thing.cls
    return thing if isinstance(thing, type) else type(thing)
