"""The calls of a session, as far as they have been heard of: made of events, and of lists of the
API where events were missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from dispatcher.cli.client import Json

_MOST: Final = 2000
"""Calls that are remembered: then the oldest that have ended are forgotten."""
_OUTSIDE: Final = ("promise:", "channel:")
_ENDED: Final = frozenset({"succeeded", "failed", "expired", "cancelled"})


@dataclass(slots=True)
class Call:
    """One call. Instants are seconds since the epoch; `failed` counts runs without success,
    `has_run` says whether there was one with. `error` is why the last run, or the call, failed.
    `next_s` is when it goes on, where that is known; `waits_for` how many calls it waits for."""

    id: str
    name: str
    parent_id: str | None
    created_s: float
    state: str = "ready"
    failed: int = 0
    has_run: bool = False
    ended_s: float | None = None
    error: str | None = None
    next_s: float | None = None
    waits_for: int = 0
    children: list[Call] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it will be run."""
        return self.state in _ENDED

    @property
    def attempts(self) -> int:
        """How often it was tried to get on; what went well counts once."""
        return self.failed + self.has_run

    def duration_s(self, now_s: float) -> float:
        """How long it takes, or took."""
        return max((now_s if self.ended_s is None else self.ended_s) - self.created_s, 0.0)


class Calls:
    """All calls. `roots` are those at the top, the oldest first. `heard` counts all there were,
    `runs` their runs, `refused` the runs in a row that could not connect."""

    def __init__(self) -> None:
        self.roots: list[Call] = []
        self.heard = 0
        self.runs = 0
        self.refused = 0
        self._by_id: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def active(self) -> int:
        """How many have not ended."""
        return sum(not call.has_ended for call in self._by_id.values())

    def apply(self, kind: str, fields: Json) -> Call:
        """Take in an event. Returns its call as it then stands."""
        at_s = seconds(fields["time"]) or 0.0
        call = self._call(fields, at_s)
        match kind:
            case "created" if fields["destination"].startswith(_OUTSIDE):
                call.state = "outside"
            case "run":
                self._run(call, fields)
            case "suspended":
                call.state = "suspended"
                call.waits_for = fields["count"] or 0
                call.next_s = seconds(fields["next_at"])
            case "resumed":
                call.state, call.waits_for, call.next_s = "ready", 0, None
            case "restarted" | "tail_called":
                call.state, call.error, call.next_s = "ready", None, None
                call.name = fields["function"] or call.name
            case "cancel_asked":
                call.state = "ready"
            case "ended":
                call.state, call.ended_s, call.next_s = fields["status"] or "failed", at_s, None
                if call.state == "succeeded":
                    call.error = None
        return call

    def learn(self, items: Iterable[Json]) -> None:
        """Take in what the API lists, in any order, in place of what was heard of those."""
        by_age = sorted(items, key=lambda item: (item["created_at"], item["depth"], item["id"]))
        for item in by_age:
            call = self._call(item, seconds(item["created_at"]) or 0.0)
            call.state, call.error = item["state"], item["last_error"]
            call.ended_s = seconds(item["ended_at"])
            call.next_s = seconds(item["next_run_at"])
            call.waits_for = item["waits_for"]
            call.failed = max(call.failed, item["attempts"])
            call.has_run = call.has_run or item["steps"] > 0

    def _run(self, call: Call, fields: Json) -> None:
        self.runs += 1
        is_ok = fields["status"] == "ok"
        self.refused = self.refused + 1 if found_nobody(fields) else 0
        call.state = "ready" if is_ok or not fields["next_at"] else "scheduled"
        call.next_s = seconds(fields["next_at"])
        if is_ok:
            call.has_run, call.error = True, None
        else:
            call.failed += 1
            call.error = fields["error"] or fields["status"] or "no answer"

    def _call(self, fields: Json, created_s: float) -> Call:
        found = self._by_id.get(fields["id"])
        if found is not None:
            return found
        name = fields["function"] or fields.get("destination") or fields.get("endpoint") or "?"
        call = Call(fields["id"], name, fields["parent_id"], created_s)
        parent = self._by_id.get(call.parent_id or "")
        (self.roots if parent is None else parent.children).append(call)
        self._by_id[call.id] = call
        self.heard += 1
        if len(self._by_id) > _MOST:
            self._forget()
        return call

    def _forget(self) -> None:
        """The oldest root that has ended, with all under it; else what has ended below a call."""
        for place, root in enumerate(self.roots[:-1]):
            if root.has_ended:
                self._drop(self.roots.pop(place))
                return
        for call in list(self._by_id.values()):
            ended = [child for child in call.children if child.has_ended]
            if ended:
                call.children = [child for child in call.children if not child.has_ended]
                for child in ended:
                    self._drop(child)
                return

    def _drop(self, call: Call) -> None:
        for one in under(call):
            self._by_id.pop(one.id, None)


def found_nobody(run: Json) -> bool:
    """Say whether a run could not connect: an error of the application begins with its type."""
    return (run["error"] or "").lower().startswith("connection refused")


def under(call: Call) -> Iterator[Call]:
    """Yield a call and all under it."""
    waiting = [call]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += one.children


def seconds(instant: str | None) -> float | None:
    """Return an instant of the API as seconds since the epoch."""
    return None if instant is None else datetime.fromisoformat(instant).timestamp()
