"""What dataclasses, named tuples and TypedDicts share: named fields with hints."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any as Anything
from typing import Final, TypeAlias

from dispatcher.sdk.values.codec import Codec, misfit
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.writing import Record

Find: TypeAlias = Callable[[object], Codec]
"""Finds the codec of a hint."""


class Fields:
    """What is common to them. The hints of the fields are looked at when the first value comes:
    they may name classes that are defined later, or this one."""

    def __init__(self, kind: type, arguments: Mapping[object, object], find: Find) -> None:
        self.kind: Final = kind
        self.name: Final = kind.__name__
        self._arguments: Final = arguments
        self._find: Final = find

    @cached_property
    def codecs(self) -> dict[str, Codec]:
        """By the names of the fields, in their order."""
        hints = hints_of(self.kind)
        return {name: self._find(bound(hints.get(name), self._arguments)) for name in self._names()}

    def _names(self) -> list[str]:
        raise NotImplementedError

    def lower_fields(self, value: object) -> dict[str, object]:
        fields: dict[str, object] = {}
        codecs, name = self.codecs, ""
        try:
            for name, codec in codecs.items():
                fields[name] = codec.lower(getattr(value, name))
        except Misfit as misfit:
            raise misfit.at(f".{name}") from misfit.__cause__
        except AttributeError:
            raise Misfit(f"has no value for its field {name!r}") from None
        return fields

    def lift_fields(self, value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise misfit(self.name, value)
        fields: dict[str, object] = {}
        codecs, name = self.codecs, ""
        try:
            for name, codec in codecs.items():
                if name in value:
                    fields[name] = codec.lift(value[name])
        except Misfit as misfitting:
            raise misfitting.at(f".{name}") from misfitting.__cause__
        return fields

    def lower(self, value: object) -> object:
        if type(value) is not self.kind:
            raise other_class(self.kind, value)
        return Record(self.name, self.lower_fields(value))

    def lift(self, value: object) -> object:
        raise NotImplementedError

    def made(self, fields: Mapping[str, object]) -> object:
        try:
            return self.kind(**fields)
        except Exception as error:  # whatever its own checks raise
            raise Misfit(f"is no {self.name}: {error}") from error


def type_parameters(owner: object) -> dict[str, object]:
    """The variables of `class X[T]` and `def f[T]` by their names, which hints that are texts do
    not see."""
    return {one.__name__: one for one in getattr(owner, "__type_params__", ())}


def other_class(kind: type, value: object) -> Misfit:
    if isinstance(value, kind):
        own = type(value).__name__
        return Misfit(
            f"is {own}, a subclass of {kind.__name__}, which would come back as "
            f"{kind.__name__}: write the hint {kind.__name__} | {own}"
        )
    return misfit(kind.__name__, value)


def hints_of(kind: type) -> dict[str, object]:
    """The hints of its fields, forward references resolved. Raises Misfit."""
    try:
        known = {kind.__name__: kind, **type_parameters(kind)}
        return typing.get_type_hints(kind, localns=known, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise Misfit(
            f"is {kind.__name__}, whose type hints can't be read ({error}): define what they name "
            "at the top level of the module"
        ) from error


def is_qualified(hint: object) -> bool:
    """Whether it is Required, NotRequired, ReadOnly and so on, with the hint itself inside."""
    return getattr(typing.get_origin(hint), "_name", "") in _QUALIFIERS


_QUALIFIERS: Final = frozenset({"Required", "NotRequired", "ReadOnly", "Final", "ClassVar"})


def bound(hint: object, arguments: Mapping[object, object]) -> object:
    """The hint with what stands for its type variables, and without Required and its like."""
    while is_qualified(hint):
        hint = typing.get_args(hint)[0]
    if not arguments:
        return hint
    if hint in arguments:
        return arguments[hint]
    free: tuple[Anything, ...] = getattr(hint, "__parameters__", ())
    if not free:
        return hint
    return hint[tuple(arguments.get(one, one) for one in free)]  # type: ignore[index]  # generic
