"""The store of calls: it hosts the machine in the transaction log of a partition.

An event is encoded and handed to the committer; when its record is durable it is decoded again, as
at recovery, and applied. So what is in memory is what a crash would leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

from dispatcher.errors import Refusal, Refused
from dispatcher.functions.endpoints import OUTSIDE
from dispatcher.functions.events import (
    CancelAsked,
    Completed,
    Copied,
    Created,
    Dropped,
    Ended,
    Event,
    Exited,
    Forgotten,
    Given,
    Noted,
    Polled,
    Sent,
    Stored,
    TailCalled,
)
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import Call
from dispatcher.functions.ports import Then
from dispatcher.functions.spans import Span
from dispatcher.functions.store.copying import Copying
from dispatcher.functions.store.holds import Holds, Large
from dispatcher.functions.store.ordering import ALL, Ordering, Thing
from dispatcher.functions.store.reading import Pick, Reading
from dispatcher.functions.store.recent import Recent
from dispatcher.functions.store.records import chunks_of, decoded
from dispatcher.functions.store.writing import NORMAL, URGENT, Writing
from dispatcher.queue.bodies.host import Host
from dispatcher.queue.pending.extents import Extent
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.txlog import Bounds

_ANY_STEP: Final = 1 << 62


class Silent:
    """A listener (`machine.Listener`) that does nothing: nobody acts while the log is read."""

    def is_due(self, call: Call) -> None:
        """See `Listener`."""

    def waits(self, call: Call) -> None:
        """See `Listener`."""

    def is_asked_to_end(self, call: Call) -> None:
        """See `Listener`."""

    def has_ended(self, call: Call) -> None:
        """See `Listener`."""

    def is_gone(self, call: Call) -> None:
        """See `Listener`."""


class Store:
    """Implements `ports.Store`, and is the partition's guest (`queue.pending.guest`).

    `machine` is the table of calls; whoever acts on it sets its `listener` once the log is open.
    `lost`, after a start, are the keys of calls of which a log that was repaired has lost something
    large (an input, a state, a result), each with the step that it belonged to. `log_end` is where
    the log ended when it was opened.

    Order: events that concern calls with the same root, or the same fact, take effect in the order
    of `submit`, but that urgent ones may overtake others. So do those that may concern every call
    (`Completed`, `Sent`, an event of a call that is not known, what takes values from outside).
    Others may overtake each other: a large one takes its time, and only what concerns the same
    waits for it.
    """

    def __init__(self, host: Host) -> None:
        self.lost: dict[int, int] = {}
        self.log_end = 0
        self._extents = host.extents
        self._holds = Holds(host.extents)
        self.machine = Machine(self._holds, Silent())
        self._ordering = Ordering()
        self._writing = Writing(host, self._ordering, self._stored)
        self._reading = Reading(host, self._holds)
        self._copying = Copying(
            host, self.machine, self._holds, self._ordering, self._writing, self._reading
        )

    # ports.Store

    def submit(self, event: Event, then: Then | None = None, *, urgent: bool = False) -> None:
        """See `ports.Store`."""
        things = self._concerns(event)
        told, how = then or _nobody, URGENT if urgent else NORMAL
        self._ordering.go(things, partial(self._writing.write, event, things, told, how))

    async def stored(self, event: Event, *, urgent: bool = False) -> None:
        """See `ports.Store`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.submit(event, partial(_set, done), urgent=urgent)
        await done

    def at_hand(self, spans: Sequence[Span]) -> list[bytes] | None:
        """See `ports.Store`."""
        return self._reading.at_hand(spans)

    def keep_recent(self, most_bytes: int) -> None:
        """Keep so much of what was written lately in memory, from now on."""
        self._reading.recent = Recent(most_bytes)

    async def read(self, pick: Pick) -> list[bytes] | None:
        """See `ports.Store`."""
        return await self._reading.read(pick)

    def _concerns(self, event: Event) -> tuple[Thing, ...]:
        match event:
            case Created():
                facts = tuple((fact.space, fact.name) for fact in event.facts)
                return (*facts, ALL) if _any_outside(event) else facts
            case Noted():
                return tuple((fact.space, fact.name) for fact in event.facts)
            case Completed() | Sent() | Given():
                return (ALL,)
            case Forgotten():
                return event.keys
            case Copied() | Stored():
                return ()
            case Dropped():
                keys = (event.key, *event.children)  # any of them may be gone
                found = (self.machine.calls.get(key) for key in keys)
                call = next((call for call in found if call is not None), None)
                return (event.key, ALL) if call is None else (call.root,)
            case _:
                call = self.machine.calls.get(event.key)
                if call is None:
                    return (event.key, ALL)
                return (call.root, ALL) if _any_outside(event) else (call.root,)

    # At work and at recovery.

    def _stored(self, position: int, payload: bytes) -> None:
        self._extents.note(position, len(payload) + OVERHEAD_BYTES)
        self._reading.recent.put(position, payload)
        self._apply(position, payload)
        self._give()

    def _give(self) -> None:
        """Store who gets what is kept."""
        for given in self.machine.take_matches():
            self.submit(given, urgent=True)

    def _apply(self, position: int, payload: bytes) -> None:
        event = decoded(position, payload)
        holds = self._holds
        chunks = chunks_of(payload)
        if chunks is None:
            holds.base = position
        else:
            large = holds.larges[position] = Large(chunks)
            holds.base = large.first
        if isinstance(event, Copied):
            event.call.base = holds.oldest(event.call.spans, holds.base)
        self.machine.apply(event)
        if isinstance(event, Stored):
            self._copying.stored = event.blobs
        elif chunks is not None and not large.held and not isinstance(event, Copied):
            # A copy may be needed when the last of its tree has come.
            del holds.larges[position]

    # The partition's guest.

    @property
    def live_bytes(self) -> int:
        """See `Guest`."""
        return self._holds.live_bytes

    @property
    def ending_bytes(self) -> int:
        """See `Guest`."""
        return self._holds.ending_bytes

    def visit(self, position: int, payload: bytes, chunks: AbstractSet[int], first: int) -> None:
        """See `Guest`. An event of which chunks are missing is passed over. Where they were
        trimmed, nothing of it is needed; otherwise the log was damaged, and repaired without
        them."""
        needed = chunks_of(payload)
        if needed is not None and not all(one in chunks for one in needed):
            if min(needed) >= first:
                self.lost.update(_lost_with(decoded(position, payload)))
            return
        self._apply(position, payload)
        if self.lost and isinstance(event := decoded(position, payload), Forgotten):
            for key in event.keys:
                self.lost.pop(key, None)

    def opened(self, bounds: Bounds) -> None:
        """See `Guest`."""
        self.log_end = bounds.end
        self.lost = {key: step for key, step in self.lost.items() if self._is_missing(key, step)}
        self.machine.end_recovery()
        self._holds.forget_unused()
        self._give()

    def _is_missing(self, key: int, step: int) -> bool:
        """Whether what was lost of a call is needed: it has not ended since, nor been copied."""
        call = self.machine.calls.get(key)
        if call is not None:
            return call.step <= step
        return self.machine.gone is None or key not in self.machine.gone

    async def growth_bytes(self, extent: Extent) -> int:
        """See `Guest`."""
        return await self._copying.growth_bytes(extent)

    async def copy(self, extents: Sequence[Extent]) -> None:
        """See `Guest`."""
        await self._copying.copy(extents)


def _lost_with(event: Event) -> dict[int, int]:
    """The calls that lost something with an event, and at which step: -1 where that is all."""
    match event:
        case Created():
            return {call.key: -1 for call in event.calls}
        case Copied():
            return {event.call.key: -1}
        case Polled() | Exited() | TailCalled():
            return {event.key: event.step}
        case Ended() | CancelAsked():
            return {event.key: _ANY_STEP}
    return {}


def _any_outside(event: Event) -> bool:
    """Whether it makes calls that wait outside, or are given what is kept."""
    if isinstance(event, (Created, Polled)):
        return any(call.endpoint.startswith(OUTSIDE) for call in event.calls)
    return isinstance(event, TailCalled) and event.endpoint.startswith(OUTSIDE)


def _nobody(refusal: Refusal | None) -> None:
    """Nobody waits."""


def _set(done: asyncio.Future[None], refusal: Refusal | None) -> None:
    if done.done():
        return
    if refusal is None:
        done.set_result(None)
    else:
        done.set_exception(Refused(refusal))
