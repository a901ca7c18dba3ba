"""The tree of calls that a terminal shows: which rows, in which order, with which words. Pure.

What has not ended is shown whole, with all that it waits for; what has ended is one line. Where
there is no room for all of it, what went well is counted instead, the oldest first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dispatcher.cli import output
from dispatcher.cli.local.calls import Call, Calls, under

ICONS: Final = {"succeeded": "✔", "failed": "✗", "expired": "✗", "cancelled": "✗"}
_MOST_INDENTED: Final = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `state` is the call's; "" for a line that is about others."""

    name: str
    attempts: str = ""
    duration: str = ""
    note: str = ""
    state: str = ""
    depth: int = 0


def rows(calls: Calls, *, room: int, now_s: float) -> list[Row]:
    """Return at most `room` rows, at least two."""
    left = max(room, 2) - 1  # one for those that are left out
    shown: dict[str, list[Row]] = {}
    newest_first = calls.roots[::-1]
    active = [root for root in newest_first if not root.has_ended]
    for root in (*active, *(root for root in newest_first if root.has_ended)):
        if left < 1:
            break
        shown[root.id] = _fitting(root, left, now_s)
        left -= len(shown[root.id])
    found = [row for root in calls.roots if root.id in shown for row in shown[root.id]]
    hidden = len(calls.roots) - len(shown)
    return [Row(f"… {output.plural(hidden, 'more call')}"), *found] if hidden else found


def _fitting(root: Call, room: int, now_s: float) -> list[Row]:
    calls = list(_in_order(root, 0))
    if len(calls) <= room:
        return [_row(call, depth, now_s) for call, depth in calls]
    kept = [(call, depth) for call, depth in calls if call.state != "succeeded" or call is root]
    kept = kept[: max(room - 1, 1)]
    found = [_row(call, depth, now_s) for call, depth in kept]
    missing = len(calls) - len(kept)
    return [*found, Row(f"… {output.plural(missing, 'more call')}", depth=1)][:room]


def _in_order(call: Call, depth: int) -> Iterator[tuple[Call, int]]:
    """What is shown of a call, before all of it is cut to the room."""
    waiting = [(call, depth)]
    while waiting:
        one, deep = waiting.pop()
        yield one, deep
        if not one.has_ended:
            waiting += [(child, deep + 1) for child in reversed(one.children)]


def _row(call: Call, depth: int, now_s: float) -> Row:
    return Row(
        output.clean(call.name),
        str(call.attempts) if call.attempts else "",
        span(call.duration_s(now_s)),
        output.clean(note(call, now_s)),
        call.state,
        min(depth, _MOST_INDENTED),
    )


def note(call: Call, now_s: float) -> str:
    """Say in words what a call waits for, or why it failed."""
    match call.state:
        case "succeeded":
            below = sum(1 for _ in under(call)) - 1
            return output.plural(below, "call") + " below" if below else ""
        case "failed":
            return call.error or "failed"
        case "suspended" if call.waits_for:
            return f"waits for {output.plural(call.waits_for, 'call')}"
        case "suspended":
            return "sleeps" + _in(call.next_s, now_s, " for")
        case "outside":
            return "waits for somebody to complete it"
        case "scheduled" if call.error:
            return f"{call.error}, again" + (_in(call.next_s, now_s, " in") or " at once")
        case "scheduled":
            return "begins" + _in(call.next_s, now_s, " in")
        case "ready" | "running":
            return ""
        case other:
            return other


def _in(at_s: float | None, now_s: float, word: str) -> str:
    return "" if at_s is None or at_s <= now_s else f"{word} {span(at_s - now_s)}"


def span(seconds: float) -> str:
    """Return a span of time in five characters or a few more: `12 ms`, `2.3 s`, `4m 10s`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit_s, unit, below_s, below in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= unit_s:
            return f"{whole // unit_s}{unit} {whole % unit_s // below_s}{below}"
    return f"{whole // 60}m {whole % 60}s"
