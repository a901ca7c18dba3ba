"""Forgets numbers of partitions of before, once nothing is left that lies where they put it: from
then on nobody is asked about keys any more (`node.meeting`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from dispatcher.core.clock import WallUs
from dispatcher.core.placing import partition_of
from dispatcher.node.layout import Former, Layout, write_layout
from dispatcher.node.meeting import Meeting
from dispatcher.queue.partition import Partition
from dispatcher.telemetry.supervisor import Supervisor

LOOK_S: Final = 60.0


class FormerSpreads:
    """Those of a node whose partitions are all in this process."""

    def __init__(
        self,
        layout: Layout,
        meeting: Meeting,
        parts: Sequence[Partition],
        *,
        transaction_log: Path,
        window_ms: int,
    ) -> None:
        """`window_ms` is the longest one of a key."""
        self.layout = layout
        self._meeting = meeting
        self._parts = parts
        self._transaction_log = transaction_log
        self._window_us = window_ms * 1000

    def start(self, supervisor: Supervisor) -> None:
        """Look now and then."""
        supervisor.forever("former spreads", self.look, every_s=LOOK_S)

    async def look(self) -> None:
        """Forget those of which nothing is left."""
        for former in self.layout.former:
            if not await self._counts(former):
                layout = self.layout.without(former.spread)
                await asyncio.to_thread(write_layout, self._transaction_log, layout)
                self.layout = layout
                self._meeting.forget(former.spread)

    async def _counts(self, former: Former) -> bool:
        clock = self._parts[0].clock
        if clock.wall_us() <= former.ended_us + self._window_us:
            return True
        ended_us = clock.to_queue(WallUs(former.ended_us))
        for part in self._parts:
            misplaced = partial(_is_misplaced, part.config.partition, self.layout.spread)
            if await part.intake.known.has_old(ended_us, is_misplaced=misplaced):
                return True
        return False


def _is_misplaced(number: int, spread: int, place: bytes) -> bool:
    return partition_of(place, spread) != number
