"""TypedDict: a dict whose keys have hints. Keys that it does not have are kept."""

from __future__ import annotations

import typing
from collections.abc import Callable
from functools import cached_property
from typing import Final

from dispatcher.sdk.values.codec import Codec, misfit
from dispatcher.sdk.values.fields import Fields, hints_of, is_qualified
from dispatcher.sdk.values.misfit import Misfit


def is_typed_dict(kind: type) -> bool:
    """Whether it is a TypedDict, that of `typing` or of `typing_extensions`."""
    return issubclass(kind, dict) and hasattr(kind, "__required_keys__")


class OfTypedDict(Fields):
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

    @cached_property
    def _required(self) -> list[str]:
        # `__required_keys__` does not see NotRequired in hints that are texts.
        known: frozenset[str] = self.kind.__required_keys__  # type: ignore[attr-defined]
        hints = hints_of(self.kind)
        return [name for name in sorted(hints) if _is_required(hints[name], name in known)]

    def _walked(
        self, value: dict[str, object], change: Callable[[Codec, object], object]
    ) -> dict[str, object]:
        for name in self._required:
            if name not in value:
                raise Misfit(f"lacks the key {name!r} of {self.name}")
        fields: dict[str, object] = {}
        codecs, name = self.codecs, ""
        try:
            for name, item in value.items():
                codec = codecs.get(name)
                fields[name] = item if codec is None else change(codec, item)
        except Misfit as misfitting:
            raise misfitting.at(f"[{name!r}]") from misfitting.__cause__
        return fields


def _is_required(hint: object, is_known: bool) -> bool:
    while is_qualified(hint):
        if (said := _REQUIRED.get(getattr(typing.get_origin(hint), "_name", ""))) is not None:
            return said
        hint = typing.get_args(hint)[0]
    return is_known


_REQUIRED: Final = {"Required": True, "NotRequired": False}
