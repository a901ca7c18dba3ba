"""The places of idempotency keys in the log, for whoever compacts it.

A key holds the part of the log where its record lies. Before that part is dropped the keys in it
that still count are written again, at the end of the log.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dispatcher.core.clock import SteadyClock
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.settlements import Settlements
from dispatcher.queue.pending.extents import Extent
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.keys import MOST_KEYS, StoredKey
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.registry.idempotency.block import Block, Entry, Run
from dispatcher.queue.registry.idempotency.entries import Entries
from dispatcher.queue.registry.idempotency.writing import KeyWriter


class KeySpace:
    """The places of one partition's keys. `counts` says whether an entry still does; `dropped` is
    told how many keys were forgotten early."""

    __slots__ = (
        "_clock",
        "_committer",
        "_counts",
        "_dropped",
        "_entries",
        "_pending",
        "_settlements",
        "_writer",
    )

    def __init__(
        self,
        entries: Entries,
        writer: KeyWriter,
        *,
        pending: Pending,
        committer: Committer,
        settlements: Settlements,
        clock: SteadyClock,
        counts: Callable[[Entry], bool],
        dropped: Callable[[int], None],
    ) -> None:
        self._entries = entries
        self._writer = writer
        self._pending = pending
        self._committer = committer
        self._settlements = settlements
        self._clock = clock
        self._counts = counts
        self._dropped = dropped

    @property
    def live_bytes(self) -> int:
        """What the keys that have a place in the log take in it when they are written again."""
        return self._entries.live_bytes

    def growth_bytes(self, extent: Extent) -> int:
        """By how much that is more than the extent counts, at most."""
        return OVERHEAD_BYTES + 1 if self._entries.runs_in(extent) else 0

    def live_in(self, extent: Extent) -> int:
        """How many keys keep an extent."""
        return sum(run.live for _, run in self._entries.runs_in(extent))

    def drop(self, extent: Extent) -> None:
        """Forget the keys that lie in an extent, as there is no space to write them again."""
        dropped = 0
        for block, run in self._entries.runs_in(extent):
            for number in self._entries.numbers(block, run):
                entry = self._entries.read(number)
                if self._pending.find(entry.position, entry.incarnation) < 0:
                    self._entries.remove(number)
                    dropped += 1
            self._entries.move(block, run, None)
        if dropped:
            self._dropped(dropped)

    async def move_from(self, extent: Extent) -> None:
        """Write the keys again whose records lie in this extent, which is about to be dropped.
        After an error some may be written; the others are where they were.

        Raises:
            Refused: there is no space for it now.
        """
        while runs := self._entries.runs_in(extent):
            await self._move(runs)

    async def _move(self, runs: list[tuple[Block, Run]]) -> None:
        taken: list[tuple[Block, Run]] = []
        keys: list[StoredKey] = []
        for block, run in runs:
            more = self._still_needed(block, run)
            if keys and len(keys) + len(more) > MOST_KEYS:
                break
            keys += more
            taken.append((block, run))
        if not keys:
            self._place_in(taken, None)
            return
        if any(key.undelivered for key in keys):
            # What says so of their messages has to be durable first, or with it.
            while self._settlements.waiting:
                self._settlements.collect()
        submit = self._committer.copies.submit
        await self._writer.append(keys, submit, partial(self._place_in, taken))

    def _still_needed(self, block: Block, run: Run) -> list[StoredKey]:
        now_us = self._clock.now_us()
        keys: list[StoredKey] = []
        for number in self._entries.numbers(block, run):
            entry = self._entries.read(number)
            if self._entries.is_over(entry, now_us):
                continue
            if not self._counts(entry):
                self._entries.remove(number)
                continue
            keys.append(self._writer.stored(entry))
        return keys

    def _place_in(self, runs: list[tuple[Block, Run]], extent: Extent | None) -> None:
        for block, run in runs:
            self._entries.move(block, run, extent)
