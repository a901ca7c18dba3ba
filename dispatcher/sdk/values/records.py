"""Classes with named fields: dataclasses, named tuples, TypedDict. Each is sent as a dict.

A field that is missing gets its default. One that the class does not have is passed over, so that
who sends may be newer; a TypedDict keeps it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property

from dispatcher.sdk.values.codec import Codec
from dispatcher.sdk.values.fields import Fields, Find
from dispatcher.sdk.values.misfit import Misfit, named
from dispatcher.sdk.values.typeddicts import OfTypedDict, is_typed_dict


def is_record(kind: object) -> bool:
    """Whether this class is one of those here."""
    return isinstance(kind, type) and (
        dataclasses.is_dataclass(kind) or is_named_tuple(kind) or is_typed_dict(kind)
    )


def is_named_tuple(kind: type) -> bool:
    """Whether it was made by `NamedTuple` or `namedtuple`."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def record(hint: object, kind: type, arguments: Mapping[object, object], find: Find) -> Codec:
    """Serve a class; `arguments` are what stands for its type variables."""
    if dataclasses.is_dataclass(kind):
        fields: Fields = _OfDataclass(kind, arguments, find)
    elif is_typed_dict(kind):
        fields = OfTypedDict(kind, arguments, find)
    else:
        fields = _OfNamedTuple(kind, arguments, find)
    return Codec(
        named(hint),
        fields.lower,
        fields.lift,
        (dict,) if is_typed_dict(kind) else (kind,),
        fields=lambda: frozenset(fields.codecs),
        rank=40,
    )


class _OfDataclass(Fields):
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


class _OfNamedTuple(Fields):
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
