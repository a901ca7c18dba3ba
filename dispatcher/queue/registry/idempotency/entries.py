"""Which message each key stands for: one small entry a key, in blocks of those that came together.

An entry is found by the hash of its key, and by the id of its message: a message may have several.
Its number says which block it is in, and where. A block ends when it is full or as old as a part of
the window, and it is dropped as a whole when the window of its last entry is over: nothing looks
through the others. What is still pending then is entered again, without a place in the log: the
record of the message itself keeps it.

A block also knows where in the log its keys are written: *runs* of entries whose records lie in one
extent. They hold that extent (`pending.extents`), and are written again before it is dropped. So an
entry needs no place of its own: 37 bytes, and some 9 in the directory of hashes.

Messages mostly come in the order of their positions, and so do their keys: the blocks of those are
searched for an id as they are. Keys that are entered again are *strays*: they have blocks of their
own, and a directory.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Final

from dispatcher.core.idempotency import HASH_BYTES
from dispatcher.queue.pending.extents import Extent
from dispatcher.queue.records.keys import KEY_BYTES
from dispatcher.queue.registry.idempotency.block import (
    ENTRY,
    ENTRY_BYTES,
    FLAGS_AT,
    GONE,
    HASHED,
    UNDELIVERED,
    Block,
    Entry,
    Run,
    incarnation_at,
)
from dispatcher.queue.registry.idempotency.directory import HASH_BITS, NOWHERE, Directory

BLOCK_ENTRIES = 1024
"""Looked at in one go when they expire: a millisecond or two."""
_PARTS: Final = 24
"""Of the window, that the entries of one block come from at most."""
_OFFSET_BITS = 10
_BLOCK_NUMBERS = 1 << 22
_TICK_BITS: Final = 16
"""A tick is 2^16 microseconds: instants are kept that exactly, in 32 bits for nine years."""
_LAST_TICK: Final = 0xFFFFFFFF

IsPending = Callable[[int, int], bool]
"""Whether the message with this position and incarnation is pending."""


class Entries:
    """All entries of one partition. `count` are in memory, `held` of them have a place in the log.

    Instants are microseconds by the queue's clock. `spread` makes the places in the directories
    differ from process to process, so that nobody can choose keys that fall on one.
    """

    __slots__ = (
        "_base_us",
        "_blocks",
        "_by_hash",
        "_by_id",
        "_current",
        "_firsts",
        "_highest",
        "_next",
        "_ordered",
        "_spread",
        "_stray",
        "_strays",
        "_window_us",
        "count",
        "held",
    )

    def __init__(self, window_us: int, *, now_us: int, spread: int) -> None:
        self.count = 0
        self.held = 0
        self._window_us = window_us
        self._base_us = max(0, now_us - (_LAST_TICK << _TICK_BITS) // 2)
        self._spread = spread * 0x9E3779B97F4A7C15 | 1
        self._blocks: dict[int, Block] = {}  # oldest first
        self._current: Block | None = None
        self._stray: Block | None = None
        self._strays = 0
        self._ordered: list[Block] = []
        self._firsts: list[int] = []  # the lowest position of each of those
        self._highest = -1
        self._next = 0
        self._by_hash = Directory(self._is_gone)
        self._by_id = Directory(self._is_gone)

    @property
    def live_bytes(self) -> int:
        """What they take in the log when they are written again."""
        return self.held * KEY_BYTES

    def __iter__(self) -> Iterator[int]:
        """Numbers of all entries."""
        for block in list(self._blocks.values()):
            for offset in range(block.count):
                if not block.data[offset * ENTRY_BYTES + FLAGS_AT] & GONE:
                    yield block.number << _OFFSET_BITS | offset

    def find(self, hashed: bytes) -> int:
        """The number of the entry with this hash, or -1."""
        for number in self._by_hash.find(self._mix_hash(hashed)):
            block = self._blocks.get(number >> _OFFSET_BITS)
            if block is None:
                continue
            at = (number & BLOCK_ENTRIES - 1) * ENTRY_BYTES
            if block.data[at : at + HASH_BYTES] == hashed and not block.data[at + FLAGS_AT] & GONE:
                return number
        return NOWHERE

    def of_message(self, position: int, incarnation: int) -> list[int]:
        """The numbers of the entries that stand for this message."""
        found: list[int] = []
        if not self.count:
            return found
        at = bisect_right(self._firsts, position) - 1
        while at >= 0:
            block = self._ordered[at]
            offset = bisect_left(block.positions, position)
            while offset < block.count and block.positions[offset] == position:
                if self._is_of(block, offset, position, incarnation):
                    found.append(block.number << _OFFSET_BITS | offset)
                offset += 1
            if self._firsts[at] != position:
                break
            at -= 1  # they may be in two
        if not self._strays:
            return found
        for number in self._by_id.find(_mix_id(position, incarnation)):
            stray = self._blocks.get(number >> _OFFSET_BITS)
            offset = number & BLOCK_ENTRIES - 1
            if (
                stray is not None
                and offset < stray.count
                and self._is_of(stray, offset, position, incarnation)
                and number not in found
            ):
                found.append(number)
        return found

    def _is_of(self, block: Block, offset: int, position: int, incarnation: int) -> bool:
        """Whether an entry is there, and stands for a message."""
        at = offset * ENTRY_BYTES
        return (
            block.positions[offset] == position
            and not block.data[at + FLAGS_AT] & GONE
            and incarnation_at(block, offset) == incarnation
        )

    def read(self, number: int) -> Entry:
        """The entry with a number that was found just now."""
        block = self._blocks[number >> _OFFSET_BITS]
        offset = number & BLOCK_ENTRIES - 1
        position = block.positions[offset]
        hashed, print_, incarnation, tick, flags = ENTRY.unpack_from(
            block.data, offset * ENTRY_BYTES
        )
        at_us = self._base_us + (tick << _TICK_BITS)
        return Entry(hashed, print_, position, incarnation, at_us, bool(flags & UNDELIVERED))

    def is_over(self, entry: Entry, now_us: int) -> bool:
        """Whether the window of an entry has passed: it counts only while its message is
        pending."""
        return self.is_past(entry.at_us, now_us)

    def is_past(self, at_us: int, now_us: int) -> bool:
        """The same of a window that began at an instant."""
        return at_us + self._window_us <= now_us

    def add(self, entry: Entry, extent: Extent | None, now_us: int) -> int:
        """Enter a key, under which nothing is entered now; `extent` is where its record lies, None:
        the record of its message keeps it. Returns its number."""
        first = self._append(
            [entry.hashed],
            [entry.print],
            [entry.position],
            entry.incarnation,
            [entry.at_us],
            entry.undelivered,
            extent,
            now_us,
        )
        self._by_hash.add(self._mix_hash(entry.hashed), first, self.count)
        return first

    def add_all(
        self,
        hashes: list[bytes],
        prints: list[int],
        positions: list[int],
        incarnation: int,
        at_us: list[int],
        extent: Extent | None,
        now_us: int,
        *,
        undelivered: bool = False,
    ) -> list[Entry]:
        """Do what `add` does for many keys, in the order of the positions of their messages. Those
        under which something may be entered are returned instead."""
        left: list[Entry] = []
        mixed = self._mix_hashes(hashes)
        at = 0
        while at < len(hashes):
            upto = at + BLOCK_ENTRIES - self._block_for(positions[at], now_us).count
            first = self._append(
                hashes[at:upto],
                prints[at:upto],
                positions[at:upto],
                incarnation,
                at_us[at:upto],
                undelivered,
                extent,
                now_us,
            )
            for number in self._by_hash.add_all(mixed[at:upto], first, self.count):
                left.append(self.read(number))
                self.remove(number)
            at = upto
        return left

    def _append(
        self,
        hashes: list[bytes],
        prints: list[int],
        positions: list[int],
        incarnation: int,
        at_us: list[int],
        undelivered: bool,
        extent: Extent | None,
        now_us: int,
    ) -> int:
        """Put entries into a block that has room for them; returns the number of the first one."""
        block = self._block_for(positions[0], now_us)
        flags = UNDELIVERED if undelivered else 0
        offset, base_us = block.count, self._base_us - (1 << _TICK_BITS) + 1
        # What is over already is looked at again after another part.
        again_us = now_us - self._window_us + self._window_us // _PARTS
        block.last_us = max(block.last_us, max(at_us), again_us)
        for hashed, print_, begun_us in zip(hashes, prints, at_us, strict=True):
            tick = begun_us - base_us >> _TICK_BITS
            block.data += ENTRY.pack(
                hashed, print_, incarnation, min(max(tick, 0), _LAST_TICK), flags
            )
        block.positions.extend(array("Q", positions))
        self.count += len(hashes)
        if extent is not None:
            self._hold(block, offset, len(hashes), extent)
        number = block.number << _OFFSET_BITS | offset
        if not block.are_strays:
            self._highest = positions[-1]
        else:
            self._strays += len(hashes)
            for at, position in enumerate(positions):
                self._by_id.add(_mix_id(position, incarnation), number + at, self._strays)
        return number

    def _block_for(self, position: int, now_us: int) -> Block:
        """The block with room that an entry comes to."""
        are_strays = position < self._highest
        block = self._stray if are_strays else self._current
        if (
            block is None
            or block.count >= BLOCK_ENTRIES
            or now_us > block.begun_us + self._window_us // _PARTS
        ):
            block = self._begin(now_us, block, are_strays=are_strays)
            if are_strays:
                self._stray = block
            else:
                self._current = block
                self._ordered.append(block)
                self._firsts.append(position)
        return block

    def _begin(self, now_us: int, full: Block | None, *, are_strays: bool) -> Block:
        if full is not None:  # without room to grow
            full.data = bytearray(full.data)
            full.positions = array("Q", full.positions)
        number = self._next
        while number in self._blocks:  # one that has been there for a million others
            number = (number + 1) % _BLOCK_NUMBERS
        self._next = (number + 1) % _BLOCK_NUMBERS
        block = self._blocks[number] = Block(number, now_us, are_strays=are_strays)
        return block

    def _hold(self, block: Block, offset: int, count: int, extent: Extent) -> None:
        run = block.runs[-1] if block.runs else None
        if run is None or run.extent is not extent or run.end != offset:
            run = Run(extent, offset)
            block.runs.append(run)
        run.end = offset + count
        run.live += count
        self.held += count
        extent.keep(count, KEY_BYTES * count)

    def mark(self, number: int, *, undelivered: bool) -> None:
        """Note that the message of an entry was given up or cancelled, or is pending again."""
        block = self._blocks[number >> _OFFSET_BITS]
        at = (number & BLOCK_ENTRIES - 1) * ENTRY_BYTES + FLAGS_AT
        block.data[at] = UNDELIVERED if undelivered else 0

    def remove(self, number: int) -> None:
        """Forget an entry: its key is free."""
        block = self._blocks[number >> _OFFSET_BITS]
        offset = number & BLOCK_ENTRIES - 1
        block.data[offset * ENTRY_BYTES + FLAGS_AT] = GONE
        self.count -= 1
        self._strays -= block.are_strays
        for run in block.runs:
            if run.first <= offset < run.end:
                self._release(run, 1)
                if not run.live:
                    block.runs.remove(run)
                break

    def _release(self, run: Run, count: int) -> None:
        run.live -= count
        self.held -= count
        run.extent.keep(-count, -KEY_BYTES * count)

    def in_blocks(self) -> Iterator[list[Entry]]:
        """All of them, block by block; those that come or go meanwhile may be left out."""
        for block in list(self._blocks.values()):
            yield [
                self.read(block.number << _OFFSET_BITS | offset)
                for offset in range(block.count)
                if self._blocks.get(block.number) is block
                and not block.data[offset * ENTRY_BYTES + FLAGS_AT] & GONE
            ]

    # What has to be written again.

    def runs_in(self, extent: Extent) -> list[tuple[Block, Run]]:
        """The runs whose records lie in an extent."""
        return [
            (block, run)
            for block in self._blocks.values()
            for run in block.runs
            if run.extent is extent
        ]

    def numbers(self, block: Block, run: Run) -> list[int]:
        """The entries of a run that are needed."""
        return [
            block.number << _OFFSET_BITS | offset
            for offset in range(run.first, run.end)
            if not block.data[offset * ENTRY_BYTES + FLAGS_AT] & GONE
        ]

    def move(self, block: Block, run: Run, extent: Extent | None) -> None:
        """The entries of a run were written again, in another extent; None: they need not be."""
        if self._blocks.get(block.number) is not block or run not in block.runs:
            return  # dropped meanwhile
        run.extent.keep(-run.live, -KEY_BYTES * run.live)
        if extent is None:
            self.held -= run.live
            block.runs.remove(run)
            return
        run.extent = extent
        extent.keep(run.live, KEY_BYTES * run.live)

    # The end of the window.

    def expire(self, now_us: int, is_pending: IsPending, *, most_blocks: int = 1) -> int:
        """Drop the oldest blocks whose windows have passed, `most_blocks` at most; returns how many
        were dropped."""
        dropped = 0
        while dropped < most_blocks and self._blocks:
            block = self._blocks[next(iter(self._blocks))]
            if block.last_us + (1 << _TICK_BITS) + self._window_us > now_us:
                break
            self._drop(block, is_pending, now_us)
            dropped += 1
        return dropped

    def tidy(self) -> None:
        """Give a little of the memory back that a burst of keys has left."""
        self._by_hash.tidy(self.count)
        self._by_id.tidy(self._strays)

    def _drop(self, block: Block, is_pending: IsPending, now_us: int) -> None:
        left = []
        for offset in range(block.count):
            if block.data[offset * ENTRY_BYTES + FLAGS_AT] & GONE:
                continue
            self.count -= 1
            self._strays -= block.are_strays
            if is_pending(block.positions[offset], incarnation_at(block, offset)):
                left.append(self.read(block.number << _OFFSET_BITS | offset))
        for run in block.runs:
            self._release(run, run.live)
        del self._blocks[block.number]
        if block is self._current:
            self._current = None
        if block is self._stray:
            self._stray = None
        if not block.are_strays:
            at = self._ordered.index(block)  # the first one, nearly always
            del self._ordered[at], self._firsts[at]
            if not self._ordered:
                self._highest = -1
        if not self._blocks:
            self._by_hash.clear()
            self._by_id.clear()
        for entry in left:
            self.add(entry, None, now_us)

    # Hashes for the directories.

    def _mix_hash(self, hashed: bytes) -> int:
        mixed = int.from_bytes(hashed[:8], "little") * self._spread & 0xFFFFFFFFFFFFFFFF
        return mixed >> 64 - HASH_BITS

    def _mix_hashes(self, hashes: list[bytes]) -> list[int]:
        spread = self._spread
        return [
            (first * spread & 0xFFFFFFFFFFFFFFFF) >> 64 - HASH_BITS
            for (first,) in HASHED.iter_unpack(b"".join(hashes))
        ]

    def _is_gone(self, number: int) -> bool:
        block = self._blocks.get(number >> _OFFSET_BITS)
        if block is None:
            return True
        offset = number & BLOCK_ENTRIES - 1
        return offset >= block.count or bool(block.data[offset * ENTRY_BYTES + FLAGS_AT] & GONE)


def _mix_id(position: int, incarnation: int) -> int:
    mixed = (position ^ incarnation << 40) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return mixed >> 64 - HASH_BITS
