"""The lanes that operators see: those of messages, and behind them those of calls.

By name they come in pages. The cursor of a page of calls begins with a word that no destination
begins with; `call:` alone is the first such page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dispatcher.functions.surface import Functions
from dispatcher.queue.admin.surface import (
    EVERY_LANE,
    Admin,
    LaneFilter,
    LaneKind,
    LaneOrder,
    LanePage,
    LaneView,
)

CALLS: Final = "call:"
_NONE: Final = LanePage([], 0, None)


async def page_of_lanes(
    admin: Admin,
    functions: Functions | None,
    order: LaneOrder,
    *,
    kind: LaneKind | None,
    which: LaneFilter = EVERY_LANE,
    after: str,
    limit: int,
) -> LanePage:
    """A page of lanes of this kind, or of both, of those that match `which`."""
    is_of_calls = after.startswith(CALLS)
    after_message, after_call = ("", after.removeprefix(CALLS)) if is_of_calls else (after, "")
    messages = calls = _NONE
    if kind is not LaneKind.CALL:
        most = 1 if is_of_calls else limit  # only their number is told then
        messages = await admin.lanes(order, which=which, after=after_message, limit=most)
    if functions is not None and kind is not LaneKind.MESSAGE:
        calls = await functions.lanes(order, which=which, after=after_call, limit=limit)
    total = messages.total + calls.total
    if order is LaneOrder.MESSAGES:
        return LanePage(_busiest(messages.items, calls.items)[:limit], total, None)
    if is_of_calls:
        return LanePage(calls.items, total, _behind(calls))
    if messages.next_after is not None:
        return LanePage(messages.items, total, messages.next_after)
    return _both(messages, calls, limit, total)


def _both(messages: LanePage, calls: LanePage, limit: int, total: int) -> LanePage:
    """The last lanes of messages and the first of calls, as many as fit on one page."""
    room = limit - len(messages.items)
    if len(calls.items) <= room:
        return LanePage([*messages.items, *calls.items], total, _behind(calls))
    shown = calls.items[:room]
    last = shown[-1].destination if shown else ""
    return LanePage([*messages.items, *shown], total, CALLS + last)


def _behind(calls: LanePage) -> str | None:
    return None if calls.next_after is None else CALLS + calls.next_after


def _busiest(*kinds: Sequence[LaneView]) -> list[LaneView]:
    every = [lane for lanes in kinds for lane in lanes]
    return sorted(every, key=lambda lane: -(lane.ready + (lane.scheduled or 0)))
