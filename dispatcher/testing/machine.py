"""The machine of calls without a log: events are durable at once, and what is held is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar

from dispatcher.functions.events import Blob, Copied, Created, Event, Fact, NewCall, Noted, Polled
from dispatcher.functions.machine import Kept, Machine, Owner
from dispatcher.functions.model import Call, Phase
from dispatcher.functions.spans import Span, position_of, span
from dispatcher.testing.call_fields import FIELDS

T = TypeVar("T", NewCall, Fact)


class Tally:
    """What is held for whom (`machine.Holder`). `base` is the position of the event that is being
    applied."""

    def __init__(self) -> None:
        self.held: dict[Owner, Counter[Span]] = {}
        self.base = 0

    def enter(self, call: Call, parent: Call | None) -> None:
        """The log is needed from the event on that made it, or its parent what it is."""
        call.base = self.base if parent is None else parent.base

    def leave(self, call: Call) -> None:
        """Its base goes with it."""

    def copied(self, calls: Sequence[Call], base: int) -> None:
        """The log is needed from the first copy on."""
        for call in calls:
            call.base = base

    def hold(self, owner: Owner, where: Span) -> None:
        """Count it."""
        self.held.setdefault(owner, Counter())[where] += 1
        if isinstance(owner, Call):
            owner.base = min(owner.base, position_of(where))

    def release(self, owner: Owner, where: Span) -> None:
        """Take it off; it has to be there."""
        counts = self.held[owner]
        assert counts[where], f"{owner} holds no {where:x}"
        counts[where] -= 1
        if not counts[where]:
            del counts[where]
        if not counts:
            del self.held[owner]

    def first_needed(self, machine: Machine) -> int | None:
        """The position that the log is needed from on; None: nothing of it is."""
        bases = [call.base for call in machine.calls.values()]
        bases += [position_of(where) for counts in self.held.values() for where in counts]
        return min(bases, default=None)

    def check(self, machine: Machine) -> None:
        """What is held is what is there: nothing leaks, nothing is missing."""
        needed: dict[Owner, Counter[Span]] = {}
        for call in machine.calls.values():
            needed[call] = Counter(call.spans)
        for known in machine.facts.values():
            needed[known] = Counter([known.where])
        for kept in machine.promises.values():
            needed[kept] = Counter([kept.where])
        for values in machine.channels.values():
            for kept in values:
                needed[kept] = Counter([kept.where])
        assert self.held == needed


class Notes:
    """What a listener was told, by key (`machine.Listener`)."""

    def __init__(self) -> None:
        self.due: list[int] = []
        self.waiting: list[int] = []
        self.asked: list[int] = []
        self.ended: list[int] = []
        self.gone: list[int] = []

    def is_due(self, call: Call) -> None:
        """Note it."""
        assert call.phase is Phase.DUE
        self.due.append(call.key)

    def waits(self, call: Call) -> None:
        """Note it."""
        self.waiting.append(call.key)

    def is_asked_to_end(self, call: Call) -> None:
        """Note it."""
        self.asked.append(call.key)

    def has_ended(self, call: Call) -> None:
        """Note it."""
        assert call.phase is Phase.ENDED
        self.ended.append(call.key)

    def is_gone(self, call: Call) -> None:
        """Note it."""
        self.gone.append(call.key)


class Bench:
    """A machine, and the events that made it what it is.

    `log` has them with spans, at positions that count up from 1; `bytes_at` what the spans name.
    """

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.bytes_at: dict[Span, bytes] = {}
        self.tally = Tally()
        self.notes = Notes()
        self.machine = Machine(self.tally, self.notes)
        self.machine.end_recovery()

    def apply(self, event: Event) -> None:
        """Make an event durable, and apply it; and what follows from it, as the store does."""
        events = [event]
        while events:
            self.log.append(self.placed(events.pop(0)))
            _apply(self.machine, self.tally, self.log, len(self.log))
            events += self.machine.take_matches()
        self.tally.check(self.machine)

    def call(self, key: int) -> Call:
        """A call that is in the table."""
        return self.machine.calls[key]

    def placed(self, event: Event) -> Event:
        """The event as it comes from the log: spans in place of bytes."""
        position = len(self.log) + 1
        offset = 0

        def place(blob: Blob | None) -> Blob | None:
            nonlocal offset
            if not isinstance(blob, bytes):
                return blob
            where = span(position, offset, len(blob))
            offset += len(blob)
            self.bytes_at[where] = blob
            return where

        if isinstance(event, Copied):
            call = clone(event.call)
            for slot, blob in zip(_slots_of_spans(call), event.blobs, strict=True):
                slot.put(place(blob))
            return replace(event, call=call, blobs=())
        changes: dict[str, Any] = {}
        for name in ("input", "state", "error", "result"):
            if isinstance(getattr(event, name, None), bytes):
                changes[name] = place(getattr(event, name))
        if isinstance(event, (Created, Polled)):
            changes["calls"] = tuple(_with(new, "input", place(new.input)) for new in event.calls)
        if isinstance(event, (Created, Noted)):
            changes["facts"] = tuple(_with(one, "value", place(one.value)) for one in event.facts)
        return replace(event, **changes)

    def rebuilt(self, first: int = 1) -> tuple[Machine, Tally]:
        """A new machine from what is in the log from a position on."""
        tally = Tally()
        machine = Machine(tally, Notes())
        for position in range(first, len(self.log) + 1):
            _apply(machine, tally, self.log, position)
        machine.end_recovery()
        tally.check(machine)
        return machine, tally


def _apply(machine: Machine, tally: Tally, log: list[Event], position: int) -> None:
    event = fresh(log[position - 1])
    tally.base = position
    if isinstance(event, Copied):
        event.call.base = position
    machine.apply(event)


def a_new(key: int, correlation: int = 0, *, endpoint: str = "http://app.example") -> NewCall:
    """A call that begins at instant 1000 and expires at a million."""
    return NewCall(key, correlation, endpoint, "f", "", 1000, 1_000_000, b"input")


def _with(one: T, name: str, blob: Blob | None) -> T:
    changes: dict[str, Any] = {name: blob}
    return replace(one, **changes)


def fresh(event: Event) -> Event:
    """The event as a log gives it each time it is read: a call that nobody else changes."""
    return replace(event, call=clone(event.call)) if isinstance(event, Copied) else event


def clone(call: Call) -> Call:
    """Another call that is the same."""
    return copy(call)


def picture(machine: Machine) -> dict[str, object]:
    """All that a machine knows, to compare it with another one's."""
    return {
        "calls": {key: _picture(call) for key, call in machine.calls.items()},
        "facts": {name: (one.where, one.expires_us) for name, one in machine.facts.items()},
        "promises": {name: _kept(one) for name, one in machine.promises.items()},
        "channels": {name: [*map(_kept, some)] for name, some in machine.channels.items()},
        "waiting": {name: list(keys) for name, keys in machine.waiting.items()},
        "trees": dict(machine.trees),
    }


def _picture(call: Call) -> dict[str, object]:
    shown = {name: getattr(call, name) for name in FIELDS if name != "base"}
    return shown | {"children": set(call.children), "strays": set(call.strays)}


def _kept(kept: Kept) -> tuple[object, ...]:
    return kept.where, kept.is_error, kept.expires_us, kept.number


class _Slot:
    """A place of a call that has a span."""

    def __init__(self, call: Call, name: str, index: int = -1) -> None:
        self._call, self._name, self._index = call, name, index

    def put(self, where: object) -> None:
        if self._index < 0:
            setattr(self._call, self._name, where)
            return
        old = list(getattr(self._call, self._name))
        is_result = self._name in ("results", "kept")
        old[self._index] = replace(old[self._index], where=where) if is_result else where
        setattr(self._call, self._name, tuple(old))


def _slots_of_spans(call: Call) -> Iterator[_Slot]:
    """In the order of `Call.spans`."""
    yield _Slot(call, "input")
    for index in range(len(call.states)):
        yield _Slot(call, "states", index)
    for index in range(len(call.results)):
        yield _Slot(call, "results", index)
    for name in ("error", "result"):
        if getattr(call, name) is not None:
            yield _Slot(call, name)
    for index in range(len(call.kept)):
        yield _Slot(call, "kept", index)
