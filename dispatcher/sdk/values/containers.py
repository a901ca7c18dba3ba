"""Lists, tuples, sets and dicts whose items have hints."""

from __future__ import annotations

import collections
from collections import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from dispatcher.sdk.values.codec import ANY, Change, Codec, misfit
from dispatcher.sdk.values.misfit import Misfit

# What is made of the items, by the hint's class. An abstract one gets what people mean by it.
COLLECTIONS: Final[dict[object, type]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Iterable: list,
    abc.Set: set,
    abc.MutableSet: set,
}
MAPPINGS: Final[dict[object, type]] = {
    dict: dict,
    collections.OrderedDict: collections.OrderedDict,
    collections.defaultdict: dict,
    collections.Counter: collections.Counter,
    abc.Mapping: dict,
    abc.MutableMapping: dict,
}

_SETS: Final = (set, frozenset)
_LISTED: Final = frozenset({list, tuple, set, frozenset})


def collection(name: str, kind: type, item: Codec) -> Codec:
    """A collection of any length; `kind` is made of what is lifted."""
    plain = kind if kind in _SETS else list
    takes = (abc.Set,) if kind in _SETS else (list, tuple, collections.deque, abc.Sequence)

    def lower(value: object) -> object:
        if not isinstance(value, takes) or isinstance(value, str | bytes | bytearray):
            raise misfit(name, value)
        return _made(plain, value, item.lower)

    def lift(value: object) -> object:
        if type(value) not in _LISTED:
            raise misfit(name, value)
        return _made(kind, value, item.lift)  # type: ignore[arg-type]  # it is one of those listed

    return Codec(name, lower, lift, (kind,), frozenset({plain}), rank=60)


def _made(kind: type, value: Iterable[object], change: Change) -> object:
    items = _changed(value, change)
    if kind is list:
        return items
    try:
        return kind(items)
    except TypeError as error:
        raise Misfit(f"holds something that can't be in a {kind.__name__}: {error}") from error


def _changed(value: Iterable[object], change: Change) -> list[object]:
    items: list[object] = []
    try:
        for item in value:
            items.append(change(item))
    except Misfit as misfit:
        raise misfit.at(f"[{len(items)}]") from misfit.__cause__
    return items


def tuple_of(name: str, items: Sequence[Codec]) -> Codec:
    """A tuple with one codec for each item."""

    def changed(value: Sequence[object], changes: list[Change]) -> tuple[object, ...]:
        if len(value) != len(changes):
            raise Misfit(f"has to be {name}, which has {len(changes)} items, not {len(value)}")
        place = iter(changes)
        return tuple(_changed(value, lambda item: next(place)(item)))

    def lower(value: object) -> object:
        if not isinstance(value, tuple):
            raise misfit(name, value)
        return changed(value, [item.lower for item in items])

    def lift(value: object) -> object:
        if not isinstance(value, tuple | list):
            raise misfit(name, value)
        return changed(value, [item.lift for item in items])

    return Codec(name, lower, lift, (tuple,), frozenset({tuple}), rank=59)


def tuple_like(name: str, item: Codec) -> Codec:
    """A tuple of any length."""

    def lower(value: object) -> object:
        if not isinstance(value, tuple):
            raise misfit(name, value)
        return tuple(_changed(value, item.lower))

    def lift(value: object) -> object:
        if type(value) not in _LISTED:
            raise misfit(name, value)
        return tuple(_changed(value, item.lift))  # type: ignore[arg-type]  # one of those listed

    return Codec(name, lower, lift, (tuple,), frozenset({tuple}), rank=59)


def mapping(name: str, kind: type, key: Codec, item: Codec) -> Codec:
    """A dict; `kind` is made of what is lifted. Keys that came as texts, which is all that JSON
    has, are lifted from them."""

    def lower(value: object) -> object:
        if not isinstance(value, Mapping):
            raise misfit(name, value)
        return _mapped(value, key.lower, item.lower)

    def lift(value: object) -> object:
        if not isinstance(value, dict):
            raise misfit(name, value)
        fields = _mapped(value, _key_lift(key), item.lift)
        return fields if kind is dict else kind(fields)

    return Codec(name, lower, lift, (kind,), frozenset({dict}), rank=61)


def _mapped(value: Mapping[object, object], key: Change, change: Change) -> dict[object, object]:
    fields: dict[object, object] = {}
    name: object = None
    try:
        for name, item in value.items():
            fields[_at_key(key, name)] = change(item)
    except _BadKey as bad:
        raise bad.misfit from bad.misfit.__cause__
    except Misfit as misfit:
        raise misfit.at(f"[{name!r:.60}]") from misfit.__cause__
    except TypeError as error:
        raise Misfit(f"has a key that can't be one of a dict: {error}") from error
    return fields


class _BadKey(Exception):
    def __init__(self, misfit: Misfit) -> None:
        self.misfit = misfit


def _at_key(change: Change, name: object) -> object:
    try:
        return change(name)
    except Misfit as misfit:
        raise _BadKey(Misfit(f"has the key {name!r:.60}, which {misfit.what}")) from misfit


def _key_lift(key: Codec) -> Change:
    if str in key.plain or key is ANY:
        return key.lift

    def lift(name: object) -> object:
        if isinstance(name, str):
            for read in _READINGS:
                try:
                    return key.lift(read(name))
                except (Misfit, ValueError):
                    continue
        return key.lift(name)

    return lift


_READINGS: Final[tuple[Callable[[str], object], ...]] = (str, int, float)
