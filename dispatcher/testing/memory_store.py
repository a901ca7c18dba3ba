"""A `functions.ports.Store` in memory: what it stores is durable after a turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, cast

from dispatcher.errors import Refusal, Refused
from dispatcher.functions.events import Event, Fact, NewCall
from dispatcher.functions.machine import Machine, Owner
from dispatcher.functions.model import Call
from dispatcher.functions.ports import Then
from dispatcher.functions.spans import Span, position_of, span

DISK_FULL = Refusal(507, "disk_full", "The disk is full.")


class Unheard:
    """A listener of a machine that nobody listens to."""

    def is_due(self, call: Call) -> None:
        """Nothing."""

    def waits(self, call: Call) -> None:
        """Nothing."""

    def is_asked_to_end(self, call: Call) -> None:
        """Nothing."""

    def has_ended(self, call: Call) -> None:
        """Nothing."""

    def is_gone(self, call: Call) -> None:
        """Nothing."""


class MemoryStore:
    """The store of one partition, and the holder of its machine.

    `events` are those that were applied, with spans; `submitted` all, with bytes. With `is_full`
    nothing but what is urgent is stored. While `is_stalled` nothing becomes durable. `error` is
    raised by reads. `reads` counts the blobs that were read.
    """

    def __init__(self) -> None:
        self.machine = Machine(self, Unheard())
        self.machine.end_recovery()
        self.blobs: dict[int, bytes] = {}
        self.events: list[Event] = []
        self.submitted: list[Event] = []
        self.is_full = False
        self.error: Exception | None = None
        self.reads = 0
        self._first = 1  # what lies before it was written by another process
        self._moving = asyncio.Event()
        self._moving.set()
        self._waiting: list[tuple[Event, Then | None]] = []

    def again(self) -> MemoryStore:
        """What the next process finds."""
        other = MemoryStore()
        other.blobs = self.blobs
        other._first = len(other.blobs) + 1
        for event in self.events:
            other.machine.apply(event)
        other.events = list(self.events)
        return other

    def stall(self) -> None:
        """Let the disk stand still."""
        self._moving.clear()

    def move(self) -> None:
        """Let it move again."""
        self._moving.set()
        asyncio.get_running_loop().call_soon(self._store)

    def submit(self, event: Event, then: Then | None = None, *, urgent: bool = False) -> None:
        """See `ports.Store`."""
        loop = asyncio.get_running_loop()
        self.submitted.append(event)
        if self.is_full and not urgent:
            if then is not None:
                loop.call_soon(then, DISK_FULL)
            return
        self._waiting.append((event, then))
        loop.call_soon(self._store)

    async def stored(self, event: Event, *, urgent: bool = False) -> None:
        """See `ports.Store`."""
        done: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        self.submit(event, done.set_result, urgent=urgent)
        refusal = await done
        if refusal is not None:
            raise Refused(refusal)

    def at_hand(self, spans: Sequence[Span]) -> list[bytes] | None:
        """See `ports.Store`: what this process wrote."""
        if self.error is not None or any(position_of(where) < self._first for where in spans):
            return None
        return [self.blobs[position_of(where)] for where in spans]

    async def read(self, pick: Callable[[], Sequence[Span] | None]) -> list[bytes] | None:
        """See `ports.Store`."""
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        spans = pick()
        if spans is None:
            return None
        self.reads += len(spans)
        return [self.blobs[position_of(where)] for where in spans]

    def bytes_at(self, where: Span | None) -> bytes:
        """What a span names."""
        assert where is not None
        return self.blobs[position_of(where)]

    def _store(self) -> None:
        if not self._moving.is_set():
            return
        waiting, self._waiting = self._waiting, []
        for event, then in waiting:
            placed = cast(Event, self._placed(event))
            self.events.append(placed)
            self.machine.apply(placed)
            if then is not None:
                then(None)

    def _placed(self, value: Any) -> Any:
        """The same event, with spans where it has bytes."""
        if isinstance(value, bytes):
            position = len(self.blobs) + 1
            self.blobs[position] = value
            return span(position, 0, len(value))
        if isinstance(value, tuple) and value and isinstance(value[0], NewCall | Fact):
            return tuple(self._placed(one) for one in value)
        if hasattr(value, "__dataclass_fields__"):
            found = {
                field.name: self._placed(getattr(value, field.name)) for field in fields(value)
            }
            return replace(value, **found)
        return value

    # Everything is held for ever (`machine.Holder`).

    def hold(self, owner: Owner, where: Span) -> None:
        """Nothing."""

    def release(self, owner: Owner, where: Span) -> None:
        """Nothing."""

    def enter(self, call: Call, parent: Call | None) -> None:
        """Nothing."""

    def leave(self, call: Call) -> None:
        """Nothing."""

    def copied(self, calls: Sequence[Call], base: int) -> None:
        """Nothing."""
