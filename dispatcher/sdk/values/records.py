"""Classes with named fields: dataclasses, named tuples, TypedDict. Each is sent as a dict.

A field that is missing gets its default. One that the class does not have is passed over, so that
who sends may be newer; a TypedDict keeps it.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any as Anything
from typing import Final, NotRequired, Required

from dispatcher.sdk.values.codec import Codec, misfit
from dispatcher.sdk.values.misfit import Misfit, named
from dispatcher.sdk.values.writing import Record

Find = Callable[[object], Codec]
"""Finds the codec of a hint."""


def is_record(kind: object) -> bool:
    """Whether this class is one of those here."""
    return isinstance(kind, type) and (
        dataclasses.is_dataclass(kind) or is_named_tuple(kind) or typing.is_typeddict(kind)
    )


def is_named_tuple(kind: type) -> bool:
    """Whether it was made by `NamedTuple` or `namedtuple`."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def record(hint: object, kind: type, arguments: Mapping[object, object], find: Find) -> Codec:
    """Serve a class; `arguments` are what stands for its type variables."""
    if dataclasses.is_dataclass(kind):
        fields: _Fields = _OfDataclass(kind, arguments, find)
    elif typing.is_typeddict(kind):
        fields = _OfTypedDict(kind, arguments, find)
    else:
        fields = _OfNamedTuple(kind, arguments, find)
    return Codec(
        named(hint),
        fields.lower,
        fields.lift,
        (dict,) if typing.is_typeddict(kind) else (kind,),
        fields=lambda: frozenset(fields.codecs),
        rank=40,
    )


class _Fields:
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
        return {
            name: self._find(_bound(hints.get(name), self._arguments)) for name in self._names()
        }

    def _names(self) -> list[str]:
        raise NotImplementedError

    def lower_fields(self, value: object) -> dict[str, object]:
        fields: dict[str, object] = {}
        name = ""
        try:
            for name, codec in self.codecs.items():
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
        name = ""
        try:
            for name, codec in self.codecs.items():
                if name in value:
                    fields[name] = codec.lift(value[name])
        except Misfit as misfitting:
            raise misfitting.at(f".{name}") from misfitting.__cause__
        return fields

    def lower(self, value: object) -> object:
        if type(value) is not self.kind:
            raise _other_class(self.kind, value)
        return Record(self.name, self.lower_fields(value))

    def lift(self, value: object) -> object:
        raise NotImplementedError

    def made(self, fields: Mapping[str, object]) -> object:
        try:
            return self.kind(**fields)
        except Exception as error:  # whatever its own checks raise
            raise Misfit(f"is no {self.name}: {error}") from error


def _other_class(kind: type, value: object) -> Misfit:
    if isinstance(value, kind):
        own = type(value).__name__
        return Misfit(
            f"is {own}, a subclass of {kind.__name__}, which would come back as "
            f"{kind.__name__}: write the hint {kind.__name__} | {own}"
        )
    return misfit(kind.__name__, value)


class _OfDataclass(_Fields):
    def _names(self) -> list[str]:
        if unkept := _init_only(self.kind):
            raise Misfit(
                f"is {self.name}, whose InitVar {unkept!r} is not kept in it and can't be sent: "
                "make it a field"
            )
        return [field.name for field in dataclasses.fields(self.kind)]

    def lift(self, value: object) -> object:
        fields = self.lift_fields(value)
        later = {name: fields.pop(name) for name in self._made_later if name in fields}
        for name in self._needed:
            if name not in fields:
                raise Misfit(f"lacks the field {name!r} of {self.name}")
        made = self.made(fields)
        for name, item in later.items():
            object.__setattr__(made, name, item)
        return made

    @cached_property
    def _made_later(self) -> list[str]:
        return [field.name for field in dataclasses.fields(self.kind) if not field.init]

    @cached_property
    def _needed(self) -> list[str]:
        return [
            field.name
            for field in dataclasses.fields(self.kind)
            if field.init
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ]


def _init_only(kind: type) -> str:
    for name, field in getattr(kind, "__dataclass_fields__", {}).items():
        if field._field_type is dataclasses._FIELD_INITVAR:  # type: ignore[attr-defined]
            return str(name)
    return ""


class _OfNamedTuple(_Fields):
    def _names(self) -> list[str]:
        return list(self.kind._fields)  # type: ignore[attr-defined]  # is_named_tuple saw it

    def lift(self, value: object) -> object:
        if isinstance(value, list | tuple) and len(value) <= len(self.codecs):
            value = dict(zip(self.codecs, value, strict=False))
        fields = self.lift_fields(value)
        defaults = self.kind._field_defaults  # type: ignore[attr-defined]
        for name in self.codecs:
            if name not in fields and name not in defaults:
                raise Misfit(f"lacks the field {name!r} of {self.name}")
        return self.made(fields)


class _OfTypedDict(_Fields):
    def _names(self) -> list[str]:
        return list(hints_of(self.kind))

    def lower(self, value: object) -> object:
        if not isinstance(value, dict):
            raise misfit(self.name, value)
        return self._walked(value, lambda codec, item: codec.lower(item))

    def lift(self, value: object) -> object:
        if not isinstance(value, dict):
            raise misfit(self.name, value)
        return self._walked(value, lambda codec, item: codec.lift(item))

    def _walked(
        self, value: dict[str, object], change: Callable[[Codec, object], object]
    ) -> dict[str, object]:
        for name in sorted(self.kind.__required_keys__):  # type: ignore[attr-defined]
            if name not in value:
                raise Misfit(f"lacks the key {name!r} of {self.name}")
        fields: dict[str, object] = {}
        name = ""
        try:
            for name, item in value.items():
                codec = self.codecs.get(name)
                fields[name] = item if codec is None else change(codec, item)
        except Misfit as misfitting:
            raise misfitting.at(f"[{name!r}]") from misfitting.__cause__
        return fields


def hints_of(kind: type) -> dict[str, object]:
    """The hints of its fields, forward references resolved. Raises Misfit."""
    try:
        return typing.get_type_hints(kind, localns={kind.__name__: kind}, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise Misfit(
            f"is {kind.__name__}, whose type hints can't be read ({error}): define what they name "
            "at the top level of the module"
        ) from error


def _bound(hint: object, arguments: Mapping[object, object]) -> object:
    """The hint with what stands for its type variables, and without Required and its like."""
    while typing.get_origin(hint) in (Required, NotRequired):
        hint = typing.get_args(hint)[0]
    if not arguments:
        return hint
    if hint in arguments:
        return arguments[hint]
    free: tuple[Anything, ...] = getattr(hint, "__parameters__", ())
    if not free:
        return hint
    return hint[tuple(arguments.get(one, one) for one in free)]  # type: ignore[index]  # generic
