"""Forgets numbers of partitions of before, once nothing is left that lies where they put it: from
then on nobody is asked about keys any more (`node.meeting`).

The process that has partition 0 looks. Where there are others it asks them whether anything is left
in theirs, and tells them what is forgotten; one that does not hear it goes on asking, which costs a
little and hurts nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from dispatcher.core.clock import SteadyClock, WallUs
from dispatcher.core.placing import partition_of
from dispatcher.errors import DispatcherError
from dispatcher.node.layout import Former, Layout, write_layout
from dispatcher.node.meeting import Meeting
from dispatcher.peers.kinds import Kind
from dispatcher.peers.serving import Answering, Table
from dispatcher.queue.partition import Partition
from dispatcher.telemetry.supervisor import Supervisor

LOOK_S: Final = 60.0
_LEFT: Final = b"1"
_NOTHING: Final = b"0"


class Other(Protocol):
    """Another process (`peers.peer.Peer`)."""

    async def ask(self, kind: int, payload: bytes = b"") -> bytes:
        """Ask something. Raises DispatcherError where it can't be, or fails."""

    def tell(self, kind: int, payload: bytes) -> None:
        """Say something that nobody answers. Raises as `ask`."""


class FormerSpreads:
    """The former spreads of a node, as one of its processes knows them."""

    def __init__(
        self,
        layout: Layout,
        meeting: Meeting,
        parts: Sequence[Partition],
        *,
        clock: SteadyClock,
        transaction_log: Path,
        window_ms: int,
        others: Sequence[Other] = (),
    ) -> None:
        """`parts` are this process's; `window_ms` is the longest one of a key."""
        self.layout = layout
        self._meeting = meeting
        self._parts = parts
        self._clock = clock
        self._transaction_log = transaction_log
        self._window_us = window_ms * 1000
        self._others = others

    def start(self, supervisor: Supervisor) -> None:
        """Look now and then."""
        supervisor.forever("former spreads", self.look, every_s=LOOK_S)

    def enter(self, table: Table, answering: Answering) -> None:
        """Have this process say what is left in its partitions, and hear what is forgotten."""
        table.on_ask(Kind.FORMER, answering.asking("former spreads", self._answer))
        table.on_tell(Kind.FORGOTTEN, self._hear)

    async def look(self) -> None:
        """Forget those of which nothing is left."""
        for former in self.layout.former:
            if not await self._counts(former):
                layout = self.layout.without(former.spread)
                await asyncio.to_thread(write_layout, self._transaction_log, layout)
                self._forget(former.spread)
                for other in self._others:
                    try:
                        other.tell(Kind.FORGOTTEN, json.dumps(former.spread).encode())
                    except DispatcherError:
                        continue  # it is away

    async def _counts(self, former: Former) -> bool:
        if self._clock.wall_us() <= former.ended_us + self._window_us:
            return True
        if await self.has_any(former):
            return True
        asked = json.dumps({"spread": former.spread, "ended_us": former.ended_us}).encode()
        try:
            return any([await one.ask(Kind.FORMER, asked) != _NOTHING for one in self._others])
        except DispatcherError:
            return True  # nobody knows: ask again the next time

    async def has_any(self, former: Former) -> bool:
        """Whether anything is left here of what lies where that number has put it."""
        ended_us = self._clock.to_queue(WallUs(former.ended_us))
        for part in self._parts:
            misplaced = partial(_is_misplaced, part.config.partition, self.layout.spread)
            if await part.intake.known.has_old(ended_us, is_misplaced=misplaced):
                return True
        return False

    async def _answer(self, payload: bytes) -> bytes:
        asked = json.loads(payload)
        former = Former(asked["spread"], asked["ended_us"])
        return _LEFT if await self.has_any(former) else _NOTHING

    def _hear(self, process: int, payload: bytes) -> None:
        self._forget(json.loads(payload))

    def _forget(self, spread: int) -> None:
        self.layout = self.layout.without(spread)
        self._meeting.forget(spread)


def _is_misplaced(number: int, spread: int, place: bytes) -> bool:
    return partition_of(place, spread) != number
