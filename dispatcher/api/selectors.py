"""What bulk calls select by: exactly one of `ids`, `destination` and `all`, the last two narrowed
by what else is said."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from pydantic.config import JsonDict

from dispatcher.api.audit import ids as some_ids
from dispatcher.api.fields import checked_id
from dispatcher.api.models import Input
from dispatcher.queue.admin.pace import Pace

MAX_IDS: Final = 10_000
_SELECTORS: Final = ("ids", "destination", "all")
_IDS_AT_ONCE: Final = 1000
"""They take a fraction of a millisecond."""


def say_one_selector(narrowing: Sequence[str]) -> Callable[[JsonDict], None]:
    """The rules of a selection in JSON Schema."""

    def say(schema: JsonDict) -> None:
        narrowed: list[Any] = [{"required": [name]} for name in narrowing]
        schema["oneOf"] = [
            {"required": ["ids"], "not": {"anyOf": narrowed}},
            {"required": ["destination"]},
            {"required": ["all"]},
        ]

    return say


def check_one_selector(given: Collection[str], narrowing: Sequence[str]) -> None:
    """Refuse a selection whose fields, as far as they were `given`, break the rules.

    Raises:
        ValueError: it has more or less than one selector, or ids and something else.
    """
    count = sum(name in given for name in _SELECTORS)
    if count != 1:
        raise ValueError(f"exactly one of `ids`, `destination` and `all` is expected, not {count}")
    narrowed = [name for name in narrowing if name in given]
    if "ids" in given and narrowed:
        raise ValueError(f"`ids` can't be narrowed with `{narrowed[0]}`")


async def each_once(ids: Sequence[str], pace: Pace) -> list[str]:
    """Check ids; each once, in the caller's order.

    Raises:
        ApiError: 400, one is no id.
    """
    which: dict[str, None] = {}
    for start in range(0, len(ids), _IDS_AT_ONCE):
        if start:
            await pace.rest()
        which.update(dict.fromkeys(map(checked_id, ids[start : start + _IDS_AT_ONCE])))
    return list(which)


def as_told(ids: Sequence[str] | None, selection: Input) -> dict[str, object]:
    """What was selected, as the audit tells it."""
    if ids is not None:
        return dict(some_ids(list(ids)))
    return selection.model_dump(exclude_none=True, exclude_defaults=True)
