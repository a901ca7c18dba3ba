"""Which message each key stands for: one small entry a key, in blocks of those that came together.

An entry is found by the hash of its key, and by the id of its message: a message may have several.
Its number says which block it is in, and where. A block ends when it is full or as old as a part of
the window, and it is dropped as a whole when the window of its last entry is over: nothing looks
through the others. What is still pending then is entered again, without a place in the log: the
record of the message itself keeps it.

A block also knows where in the log its keys are written: *runs* of entries whose records lie in one
extent. They hold that extent (`pending.extents`), and are written again before it is dropped. So an
entry needs no position of its own: 37 bytes, and twice some 8 in the directories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from dispatcher.core.idempotency import HASH_BYTES
from dispatcher.queue.pending.extents import Extent
from dispatcher.queue.records.keys import KEY_BYTES
from dispatcher.queue.registry.idempotency.directory import NOWHERE, Directory

BLOCK_ENTRIES = 1024
"""Looked at in one go when they expire: a millisecond or two."""
_PARTS: Final = 24
"""Of the window, that the entries of one block come from at most."""
_OFFSET_BITS = 10
_BLOCK_NUMBERS = 1 << 22
_TICK_BITS: Final = 16
"""A tick is 2^16 microseconds: instants are kept that exactly, in 32 bits for nine years."""
_LAST_TICK: Final = 0xFFFFFFFF

# hash, print, id position, incarnation, tick of the 202, flags
_ENTRY: Final = Struct("<12sQQIIB")
_ENTRY_BYTES: Final = _ENTRY.size
_PRINT_AT: Final = HASH_BYTES
_NAME: Final = Struct("<QI")
_NAME_AT: Final = _PRINT_AT + 8
_FLAGS_AT: Final = _ENTRY_BYTES - 1
_GONE: Final = 1
_UNDELIVERED: Final = 2

IsPending = Callable[[int, int], bool]
"""Whether the message with this position and incarnation is pending."""


class Entry(NamedTuple):
    """A key that stands for a message.

    `hashed`         of destination and key.
    `print`          of what was asked for: see `prints`.
    `position`, `incarnation`   with the partition, the message's id.
    `at_us`          when its window began, by the queue's clock, a tick or less too late.
    `undelivered`    its message was given up or cancelled: the key is free when nothing is left of
                     that.
    """

    hashed: bytes
    print: int
    position: int
    incarnation: int
    at_us: int
    undelivered: bool


class Run:
    """Entries of a block that are side by side, and whose records are in one extent; `live` of them
    are needed."""

    __slots__ = ("end", "extent", "first", "live")

    def __init__(self, extent: Extent, first: int) -> None:
        self.extent = extent
        self.first = first
        self.end = first
        self.live = 0


class Block:
    """Entries that came together, from `begun_us` on; the window of the last one begins at
    `last_us`."""

    __slots__ = ("begun_us", "data", "last_us", "number", "runs")

    def __init__(self, number: int, begun_us: int) -> None:
        self.number = number
        self.data = bytearray()
        self.runs: list[Run] = []
        self.begun_us = begun_us
        self.last_us = 0

    @property
    def count(self) -> int:
        """Entries that were ever put here."""
        return len(self.data) // _ENTRY_BYTES


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
        "_next",
        "_spread",
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
        self._next = 0
        self._by_hash = Directory(self._hash_of)
        self._by_id = Directory(self._id_hash_of)

    @property
    def live_bytes(self) -> int:
        """What they take in the log when they are written again."""
        return self.held * KEY_BYTES

    def __iter__(self) -> Iterator[int]:
        """Numbers of all entries."""
        for block in list(self._blocks.values()):
            for offset in range(block.count):
                if not block.data[offset * _ENTRY_BYTES + _FLAGS_AT] & _GONE:
                    yield block.number << _OFFSET_BITS | offset

    def find(self, hashed: bytes) -> int:
        """The number of the entry with this hash, or -1."""
        for number in self._by_hash.find(self._mix_hash(hashed)):
            block = self._blocks.get(number >> _OFFSET_BITS)
            if block is None:
                continue
            at = (number & BLOCK_ENTRIES - 1) * _ENTRY_BYTES
            if (
                block.data[at : at + HASH_BYTES] == hashed
                and not block.data[at + _FLAGS_AT] & _GONE
            ):
                return number
        return NOWHERE

    def of_message(self, position: int, incarnation: int) -> list[int]:
        """The numbers of the entries that stand for this message."""
        found: list[int] = []
        if not self.count:
            return found
        for number in self._by_id.find(self._mix_id(position, incarnation)):
            block = self._blocks.get(number >> _OFFSET_BITS)
            if block is None:
                continue
            at = (number & BLOCK_ENTRIES - 1) * _ENTRY_BYTES
            if (
                at < len(block.data)
                and _NAME.unpack_from(block.data, at + _NAME_AT) == (position, incarnation)
                and not block.data[at + _FLAGS_AT] & _GONE
                and number not in found
            ):
                found.append(number)
        return found

    def read(self, number: int) -> Entry:
        """The entry with a number that was found just now."""
        block = self._blocks[number >> _OFFSET_BITS]
        hashed, print_, position, incarnation, tick, flags = _ENTRY.unpack_from(
            block.data, (number & BLOCK_ENTRIES - 1) * _ENTRY_BYTES
        )
        at_us = self._base_us + (tick << _TICK_BITS)
        return Entry(hashed, print_, position, incarnation, at_us, bool(flags & _UNDELIVERED))

    def is_over(self, entry: Entry, now_us: int) -> bool:
        """Whether the window of an entry has passed: it counts only while its message is
        pending."""
        return entry.at_us + self._window_us <= now_us

    def add(self, entry: Entry, extent: Extent | None, now_us: int) -> int:
        """Enter a key, under which nothing is entered now; `extent` is where its record lies, None:
        the record of its message keeps it. Returns its number."""
        block = self._current
        part_us = self._window_us // _PARTS
        if (
            block is None
            or len(block.data) >= BLOCK_ENTRIES * _ENTRY_BYTES
            or now_us > block.begun_us + part_us
        ):
            block = self._begin(now_us)
        offset = block.count
        # What is over already is looked at again after another part.
        block.last_us = max(block.last_us, entry.at_us, now_us - self._window_us + part_us)
        tick = entry.at_us - self._base_us + (1 << _TICK_BITS) - 1 >> _TICK_BITS
        block.data += _ENTRY.pack(
            entry.hashed,
            entry.print,
            entry.position,
            entry.incarnation,
            min(max(tick, 0), _LAST_TICK),
            _UNDELIVERED if entry.undelivered else 0,
        )
        self.count += 1
        if extent is not None:
            self._hold(block, offset, extent)
        number = block.number << _OFFSET_BITS | offset
        self._by_hash.add(self._mix_hash(entry.hashed), number)
        self._by_id.add(self._mix_id(entry.position, entry.incarnation), number)
        return number

    def _begin(self, now_us: int) -> Block:
        if self._current is not None:
            self._current.data = bytearray(self._current.data)  # without room to grow
        number = self._next
        while number in self._blocks:  # one that has been there for a million others
            number = (number + 1) % _BLOCK_NUMBERS
        self._next = (number + 1) % _BLOCK_NUMBERS
        block = self._current = self._blocks[number] = Block(number, now_us)
        return block

    def _hold(self, block: Block, offset: int, extent: Extent) -> None:
        run = block.runs[-1] if block.runs else None
        if run is None or run.extent is not extent or run.end != offset:
            run = Run(extent, offset)
            block.runs.append(run)
        run.end = offset + 1
        run.live += 1
        self.held += 1
        extent.keep(1, KEY_BYTES)

    def mark(self, number: int, *, undelivered: bool) -> None:
        """Note that the message of an entry was given up or cancelled, or is pending again."""
        block = self._blocks[number >> _OFFSET_BITS]
        at = (number & BLOCK_ENTRIES - 1) * _ENTRY_BYTES + _FLAGS_AT
        block.data[at] = _UNDELIVERED if undelivered else 0

    def remove(self, number: int) -> None:
        """Forget an entry: its key is free."""
        block = self._blocks[number >> _OFFSET_BITS]
        offset = number & BLOCK_ENTRIES - 1
        block.data[offset * _ENTRY_BYTES + _FLAGS_AT] = _GONE
        self.count -= 1
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
            if not block.data[offset * _ENTRY_BYTES + _FLAGS_AT] & _GONE
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
        self._by_id.tidy(self.count)

    def _drop(self, block: Block, is_pending: IsPending, now_us: int) -> None:
        left = []
        for offset in range(block.count):
            if block.data[offset * _ENTRY_BYTES + _FLAGS_AT] & _GONE:
                continue
            self.count -= 1
            position, incarnation = _NAME.unpack_from(block.data, offset * _ENTRY_BYTES + _NAME_AT)
            if is_pending(position, incarnation):
                left.append(self.read(block.number << _OFFSET_BITS | offset))
        for run in block.runs:
            self._release(run, run.live)
        del self._blocks[block.number]
        if block is self._current:
            self._current = None
        if not self._blocks:
            self._by_hash.clear()
            self._by_id.clear()
        for entry in left:
            self.add(entry, None, now_us)

    # Hashes for the directories.

    def _mix_hash(self, hashed: bytes) -> int:
        mixed = int.from_bytes(hashed[:8], "little") * self._spread & 0xFFFFFFFFFFFFFFFF
        return mixed >> 16

    def _mix_id(self, position: int, incarnation: int) -> int:
        mixed = (position ^ incarnation << 40) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        return mixed >> 16

    def _hash_of(self, number: int) -> int:
        block = self._blocks.get(number >> _OFFSET_BITS)
        if block is None:
            return NOWHERE
        at = (number & BLOCK_ENTRIES - 1) * _ENTRY_BYTES
        if at >= len(block.data) or block.data[at + _FLAGS_AT] & _GONE:
            return NOWHERE
        return self._mix_hash(bytes(block.data[at : at + HASH_BYTES]))

    def _id_hash_of(self, number: int) -> int:
        block = self._blocks.get(number >> _OFFSET_BITS)
        if block is None:
            return NOWHERE
        at = (number & BLOCK_ENTRIES - 1) * _ENTRY_BYTES
        if at >= len(block.data) or block.data[at + _FLAGS_AT] & _GONE:
            return NOWHERE
        position, incarnation = _NAME.unpack_from(block.data, at + _NAME_AT)
        return self._mix_id(position, incarnation)
