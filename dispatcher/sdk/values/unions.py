"""Optional and Union: which member a value belongs to.

What is sent says it for classes with fields: their name goes along. For the rest, and for what
others send: a plain value whose type is a member's own is that member's (3 is the int of `int |
str`, "3" the str); otherwise the members are tried, those first whose fields have all the names
that came, then Enum and Literal, numbers, times, records, collections, and last texts. The order in
which the hint names them does not count: for Python `int | str` equals `str | int`.

Of `Enum | str`, what is a value of the Enum comes back as the Enum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dispatcher.sdk.values.codec import ANY, CHOICES, Codec, misfit
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.writing import Record


def optional(member: Codec) -> Codec:
    """The hint `X | None`."""
    name = f"{member.name} or None"
    lower, lift = member.lower, member.lift

    def lowered(value: object) -> object:
        return None if value is None else lower(value)

    def lifted(value: object) -> object:
        return None if value is None else lift(value)

    return Codec(
        name,
        _renamed(member.name, name, lowered),
        _renamed(member.name, name, lifted),
        (*member.classes, type(None)),
        member.plain | {type(None)},
        member.fields,
        member.fallback,
        member.rank,
    )


def _renamed(old: str, new: str, change: Callable[[object], object]) -> Callable[[object], object]:
    """Its messages say that None would do as well."""
    start = f"has to be {old}, "

    def renamed(value: object) -> object:
        try:
            return change(value)
        except Misfit as misfit:
            if misfit.is_outermost and misfit.what.startswith(start):
                misfit.what = f"has to be {new}, {misfit.what[len(start) :]}"
            raise

    return renamed


def union(members: Sequence[Codec]) -> Codec:
    """Any of several, at least two."""
    if ANY in members:
        return ANY
    ranked = sorted(members, key=lambda member: (member.rank, member.name))
    name = " or ".join(member.name for member in ranked)

    def lower(value: object) -> object:
        kind = type(value)
        sure = [member for member in ranked if kind in member.classes]
        return _first(name, value, sure or ranked, lambda member: member.lower(value))

    def lift(value: object) -> object:
        if isinstance(value, Record):
            sure = [member for member in ranked if member.name == value.name]
            if sure:
                return _first(name, value, sure, lambda member: member.lift(value))
        return _first(name, value, _likely(ranked, value), lambda member: member.lift(value))

    classes = tuple(kind for member in ranked for kind in member.classes)
    plain = frozenset[type]().union(*(member.plain for member in ranked))
    known = [member.fields for member in ranked if member.fields is not None]
    fields = (lambda: frozenset[str]().union(*(names() for names in known))) if known else None
    return Codec(name, lower, lift, classes, plain, fields, rank=70)


def _likely(ranked: Sequence[Codec], value: object) -> list[Codec]:
    """The members, those first that a value as others send it is more likely of."""
    sure = [member for member in ranked if member.rank == CHOICES]
    sure += [member for member in ranked if type(value) in member.plain]
    rest = [member for member in ranked if member not in sure]
    if not isinstance(value, dict):
        return [*sure, *rest]
    return [*sorted(rest, key=lambda member: _unknown(member, value)), *sure]


def _unknown(member: Codec, value: dict[str, object]) -> int:
    """How many of the keys it would pass over; none where it takes any."""
    if member.fields is None:
        return 1000
    return len(value.keys() - member.fields())


def _first(
    name: str, value: object, members: Sequence[Codec], change: Callable[[Codec], object]
) -> object:
    deepest: Misfit | None = None
    for member in members:
        try:
            return change(member)
        except Misfit as found:
            if not found.is_outermost or len(members) == 1:
                deepest = deepest or found
    raise deepest or misfit(name, value)
