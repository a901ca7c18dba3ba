"""Sets of keys: of a call's children."""

from __future__ import annotations

from typing import Final

Keys = tuple[int, ...] | set[int]
"""A set of keys; few of them are a tuple, which takes a fifth of the memory."""

NO_KEYS: Final[tuple[int, ...]] = ()

_FEW: Final = 8


def with_keys(keys: Keys, more: tuple[int, ...]) -> Keys:
    """Add keys that are not there yet. May change `keys`."""
    if isinstance(keys, set):
        keys.update(more)
        return keys
    return keys + more if len(keys) + len(more) <= _FEW else {*keys, *more}


def without_key(keys: Keys, key: int) -> Keys:
    """Take a key out, if it is there. May change `keys`."""
    if isinstance(keys, set):
        keys.discard(key)
        return keys
    return tuple(one for one in keys if one != key)
