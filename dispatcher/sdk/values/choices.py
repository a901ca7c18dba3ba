"""Enum and Literal: one of few values."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, Flag

from dispatcher.sdk.values.codec import CHOICES, Codec, misfit
from dispatcher.sdk.values.misfit import Misfit, shown

_PLAIN = (bool, int, float, str)


def enumeration(kind: type[Enum]) -> Codec:
    """A member is sent as its value where all of them are numbers or texts, else as its name."""
    members = list(kind.__members__.values())
    by_value = all(isinstance(member.value, _PLAIN) for member in members)
    name = kind.__name__
    choices = [member.value if by_value else member.name for member in members]

    def lower(value: object) -> object:
        if not isinstance(value, kind):
            raise misfit(name, value)
        return value.value if by_value else value.name

    def lift(value: object) -> object:
        try:
            if not by_value:
                return kind[str(value)]
            return kind(int(value) if _is_whole_flag(kind, value) else value)  # type: ignore[call-overload]
        except (ValueError, KeyError, TypeError):
            raise Misfit(f"has to be {name} ({_listed(choices)}), not {shown(value)}") from None

    return Codec(name, lower, lift, (kind,), rank=CHOICES)


def _is_whole_flag(kind: type[Enum], value: object) -> bool:
    return issubclass(kind, Flag) and isinstance(value, float) and value.is_integer()


def literal(values: Sequence[object]) -> Codec:
    """One of these: texts, numbers, None, bytes, members of an Enum."""
    name = f"one of {_listed(values)}"
    lowered = [(value, _lowered(value)) for value in values]

    def lower(value: object) -> object:
        for own, plain in lowered:
            if type(own) is type(value) and own == value:
                return plain
        raise misfit(name, value)

    def lift(value: object) -> object:
        for own, plain in lowered:
            if isinstance(plain, bool) == isinstance(value, bool) and plain == value:
                return own
        raise misfit(name, value)

    return Codec(name, lower, lift, tuple({type(value) for value in values}), rank=CHOICES)


def _lowered(value: object) -> object:
    return enumeration(type(value)).lower(value) if isinstance(value, Enum) else value


def _listed(values: Sequence[object]) -> str:
    texts = [repr(value) for value in values[:8]]
    return ", ".join([*texts, "…"] if len(values) > 8 else texts)
