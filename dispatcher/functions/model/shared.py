"""Values that many calls have, as one object for all."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

T = TypeVar("T")

_SHARED: Final[dict[Any, Any]] = {}
_MOST_SHARED: Final = 10_000


def shared(value: T) -> T:
    """The same value, as one object for all who ask."""
    if len(_SHARED) >= _MOST_SHARED:
        _SHARED.clear()
    return cast("T", _SHARED.setdefault(value, value))
