"""From the records of the log to what is pending: the one recovery path.

`Recovery.visit` is called for every record of the log in order. It runs a million times at a start
with a million messages, so it reads no more of a record than it must. `finish` then lines the
messages up, oldest first. `records` and `lined_up` say how far they are.

A log may call `visit` on another thread, while the loop serves other partitions. So it touches
nothing that the partitions of a process share: lanes, which join those of other partitions at their
destination, are made by `finish`.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator

from dispatcher.core.clock import QueueUs
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.errors import LogTooNew
from dispatcher.queue.lanes.lanes import Lanes
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.pending.ages import Ages
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.order import PORTION, in_order
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.kinds import GUESTS, OVERHEAD_BYTES, STATELESS, Kind
from dispatcher.queue.records.layouts import Layout, Layouts
from dispatcher.queue.records.messages import (
    accepted_at_of,
    decode_stored,
    incarnation_in,
    message_facts,
    moved_facts,
    place_of,
    prefix_of,
    was_redriven,
)
from dispatcher.queue.records.retry import retry_facts
from dispatcher.queue.records.settled import decode_settled
from dispatcher.queue.records.terms import decode_terms, message_at
from dispatcher.queue.recovery.noted import Noted, Rows
from dispatcher.queue.recovery.numbers import NOWHERE, LaneNumbers
from dispatcher.queue.recovery.order import lined_up
from dispatcher.queue.registry.idempotency.keys import Keys
from dispatcher.queue.registry.pauses import Pauses
from dispatcher.txlog.records import Records

_LATER = 1 << 63
_MOST_DELAYED_US = 366 * 86_400_000_000
"""No caller may choose an instant further ahead."""
_SETTLED = frozenset(
    {Kind.SETTLED, Kind.SETTLED_PACKED, Kind.SETTLED_V1, Kind.DELIVERED, Kind.UNDELIVERED}
)


_NO_ROWS = Rows(Layout(()), -1)


class Recovery:
    """Rebuilds a `Pending` that is empty at the beginning. `lost` are the messages, by id position
    and incarnation, that cannot be delivered because a part of their body was in a damaged part of
    the log."""

    def __init__(self, pending: Pending, lanes: Lanes, pauses: Pauses, keys: Keys) -> None:
        self._lanes = lanes
        self._pending = pending
        self._pauses = pauses
        self._keys = keys
        self._numbers = LaneNumbers()
        self._first: int | None = None
        self._chunks: set[int] = set()
        self._layouts = Layouts()
        self._noted = Noted(pending, keys)
        self.lost: dict[tuple[int, int], Message] = {}
        self.records = 0
        self.settled = 0
        self.lined_up = 0

    def take(self, records: Records) -> None:
        """Take in the next records: as `visit` does each of them, but most are messages like the
        one before, with terms or without, and are entered many at a time."""
        data, begins, ends = records.data, records.begins, records.ends
        at, count = 0, len(begins)
        while at < count:
            run = self._run(records, at)
            if run:
                at += run
            else:
                self.visit(records.origin + begins[at], data[begins[at] : ends[at]])
                at += 1

    def _run(self, records: Records, first: int) -> int:
        """Take in the messages from the record `first` on, as long as they are of one incarnation
        and have their whole bodies with them; returns how many they are."""
        data, origin = records.data, records.origin
        begins = records.begins[first : first + PORTION]
        prefix = prefix_of(data, message_at(data, begins[0]))
        incarnation = incarnation_in(prefix)
        if incarnation is None:
            return 0
        layouts, found, rows = self._layouts, list[Rows](), _NO_ROWS
        lanes: list[int] = []
        lane, last = NOWHERE, b""
        for begin in begins:
            start, row = begin, None
            if prefix_of(data, begin) != prefix:
                row = layouts.row(data, begin)
                start = begin + layouts.last.size
                if row is None or start >= records.ends[first + len(lanes)]:
                    break
                if prefix_of(data, start) != prefix:
                    break
            place = place_of(data, start)
            if place != last:
                lane, last = self._numbers.at(place), place
                if lane == NOWHERE:
                    break
            lanes.append(lane)
            if row is not None and layouts.last.counts:
                number = len(lanes) - 1
                if layouts.last is not rows.layout or rows.upto != number:
                    rows = Rows(layouts.last, number)
                    found.append(rows)
                rows.rows.append(row)
                rows.starts.append(start)
                rows.upto = number + 1
        count = len(lanes)
        if not count:
            return 0
        del begins[count:]
        ends = records.ends[first : first + count]
        slots = self._pending.add_all(
            [origin + begin for begin in begins],
            incarnation,
            lanes,
            [end - begin + OVERHEAD_BYTES for begin, end in zip(begins, ends, strict=True)],
        )
        if self._pending.ages is not None:
            for slot, begin in zip(slots, begins, strict=True):
                self._pending.ages.note(slot, accepted_at_of(data, begin))
        for rows in found:
            part = slice(rows.first, rows.upto)
            places = [self._numbers.keys[lane] for lane in lanes[part]]
            self._noted.note_all(rows, records, incarnation, slots[part], places)
        self.records += count
        if self._first is None:
            self._first = origin + begins[0]
        return count

    def visit(self, position: int, payload: bytes) -> None:
        """Take in the next record. Kinds that carry no state (chunks, probes) are passed over."""
        self.records += 1
        if self._first is None:
            self._first = position
        kind = payload[0]
        if kind == 1:
            self._message(position, payload)
            return
        if kind == Kind.MESSAGE_TERMS:
            self._message(position, payload)
            return
        if kind == Kind.MOVED or kind == Kind.MOVED_TERMS:
            self._moved(position, payload)
            return
        self._pending.extents.note(position, len(payload) + OVERHEAD_BYTES)
        if kind in _SETTLED:
            self._settle(payload)
        elif kind == Kind.RETRY or kind == Kind.RETRY_V1:
            self._retry(position, payload)
        elif kind == Kind.CHUNK:
            self._chunks.add(position)
        elif kind == Kind.KEYS:
            self._keys.visit_keys(payload)
        elif kind == Kind.PAUSED:
            self._pauses.visit(position, payload)
        elif kind in GUESTS:
            self._pending.guest.visit(position, payload, self._chunks, self._first)
        elif kind not in STATELESS:
            # Passing over it could bring back what it says is over.
            raise LogTooNew(kind)

    def _message(self, position: int, payload: bytes) -> None:
        incarnation, destination, body_size, chunks = message_facts(payload)
        terms = decode_terms(payload, 0)
        if chunks and not self._is_whole(position, payload, chunks):
            if terms is not None:
                at_us = accepted_at_of(payload)
                self._keys.visit_message(terms, destination, position, incarnation, at_us)
            return
        lane = self._numbers.of(destination)
        slot = self._pending.add(position, incarnation, lane, len(payload) + OVERHEAD_BYTES)
        if self._pending.ages is not None:
            self._pending.ages.note(slot, accepted_at_of(payload))
        if terms is not None:
            at_us = accepted_at_of(payload)
            self._keys.visit_message(terms, destination, position, incarnation, at_us)
            self._pending.index.due_at[slot] = terms.not_before_us
            self._noted.note(slot, terms, destination)
        if chunks:
            self._pending.owned.own(slot, array("Q", payload[-8 * chunks :]), body_size)

    def _is_whole(self, position: int, payload: bytes, chunks: int) -> bool:
        """Whether all chunks of the message are there. If not, its record is passed over.

        Where one was trimmed, the message was settled or copied: nothing that is needed is ever
        trimmed. The record that says so may have been lost, because nobody waits for it to be
        durable. Otherwise the log was damaged, and repaired without them.
        """
        positions = array("Q", payload[-8 * chunks :])
        if self._chunks.issuperset(positions):
            return True
        self._pending.extents.note(position, len(payload) + OVERHEAD_BYTES)
        assert self._first is not None
        if min(positions) >= self._first:
            message = decode_stored(position, payload, 0)
            self.lost[message.position, message.incarnation] = message
        return False

    def _settle(self, payload: bytes) -> None:
        pending = self._pending
        incarnation, positions = decode_settled(payload)
        if payload[0] == Kind.UNDELIVERED:
            assert incarnation is not None, "it is not of version 1"
            self._keys.visit_undelivered(incarnation, positions)
        for position in positions:
            if self.lost:
                self._find_again(position, incarnation)
            slot = self._find(position, incarnation)
            if slot >= 0:  # its record may be trimmed already
                pending.remove(slot)
                if self._noted.patience_us:
                    self._noted.patience_us.pop(slot, None)
                self.settled += 1

    def _retry(self, position: int, payload: bytes) -> None:
        incarnation, id_position, attempts, due_at = retry_facts(payload)
        slot = self._find(id_position, incarnation)
        if slot >= 0:
            index = self._pending.index
            index.attempts[slot] = attempts
            index.due_at[slot] = due_at
            index.retry[slot] = position

    def _find(self, id_position: int, incarnation: int | None) -> int:
        """The slot that a record names, or -1; without an incarnation it is of version 1."""
        if incarnation is None:
            return self._pending.find_v1(id_position)
        return self._pending.find(id_position, incarnation)

    def _find_again(self, id_position: int, incarnation: int | None) -> None:
        """A message was settled, or lies elsewhere too: it is not lost."""
        if incarnation is not None:
            self.lost.pop((id_position, incarnation), None)
            return
        for name in [name for name in self.lost if name[0] == id_position]:
            del self.lost[name]

    def _moved(self, position: int, payload: bytes) -> None:
        pending = self._pending
        index = pending.index
        id_position, attempts, due_at, start = moved_facts(payload)
        incarnation, destination, body_size, chunks = message_facts(payload, start)
        slot = pending.find(id_position, incarnation)
        size = len(payload) + OVERHEAD_BYTES
        terms = decode_terms(payload, start)
        at_us = accepted_at_of(payload, start)
        if chunks and not self._is_whole(position, payload, chunks):
            if terms is not None:
                self._keys.visit_moved(terms, destination, id_position, incarnation, at_us)
            if slot >= 0:  # the original is whole, or it would not be here
                self.lost.pop((id_position, incarnation), None)
                index.attempts[slot] = attempts
                index.due_at[slot] = _due_at(attempts, due_at, terms)
            return
        self.lost.pop((id_position, incarnation), None)
        if slot >= 0:
            pending.move(slot, position, size)
            if slot in pending.owned:
                pending.owned.disown(slot)
        else:
            lane = self._numbers.of(destination)
            slot = pending.add_moved(id_position, incarnation, position, lane, size)
        if pending.ages is not None:
            # When it was redriven is not known: its age counts from the start of this process.
            since = _LATER if was_redriven(payload) else at_us
            pending.ages.note(slot, since)
        index.attempts[slot] = attempts
        index.due_at[slot] = _due_at(attempts, due_at, terms)
        if terms is not None:
            self._keys.visit_moved(terms, destination, id_position, incarnation, at_us)
            self._noted.note(slot, terms, destination)
        elif was_redriven(payload):
            self._keys.reviving(id_position, incarnation)
        if chunks:
            pending.owned.own(slot, array("Q", payload[-8 * chunks :]), body_size)

    async def finish(self, now_us: QueueUs, latest_us: QueueUs) -> None:
        """Line up what is pending: oldest first in each lane and line, retries that are not due in
        the timers. Others get their turn in between.

        No retry waits beyond `latest_us`, or what its message has in place of RETRY_MAX_DELAY: the
        clock may have been wrong when its time was chosen (a machine that was started before its
        clock was set), or RETRY_MAX_DELAY may be less now. What was not attempted yet waits for the
        instant that its caller chose.
        """
        self._chunks.clear()
        self._layouts.clear()
        await self._numbers.make(self._lanes)
        index = self._pending.index
        due_at = index.due_at
        lane_of, by_number = index.lane, self._lanes.by_number
        lineup = Lineup(self._pending, self._lanes)
        ages = self._pending.ages
        if ages is not None:
            for _ in self._enter(ages, now_us):
                await asyncio.sleep(0)
        lines = self._pending.lines
        lines.open()
        has_lines = self._pending.has_lines
        for portion in lined_up(self._pending, self._noted.late):
            ready: dict[int, list[int]] = {}
            last, same = NOWHERE, [0]
            scheduled: list[int] = []
            for slot in portion:
                due_us = 0
                if due_at[slot] > now_us:
                    due_us = min(due_at[slot], self._latest_us(slot, now_us, latest_us))
                if has_lines and lines.waits(slot, due_us, now_us):
                    continue
                if due_us > now_us:
                    due_at[slot] = due_us
                    scheduled.append(slot)
                    continue
                number = lane_of[slot]
                if number != last:
                    last, same = number, ready.setdefault(number, [])
                same.append(slot)
            for number, slots in ready.items():
                by_number[number].push_all(index, slots)
            if scheduled:
                lineup.schedule_all(scheduled, now_us)
            self.lined_up += len(portion)
            await asyncio.sleep(0)
        self._noted.clear()

    def _latest_us(self, slot: int, now_us: int, latest_us: int) -> int:
        """When a message that waits becomes ready at the latest."""
        pending = self._pending
        if not pending.index.attempts[slot]:
            latest_us = now_us + _MOST_DELAYED_US
        elif slot in self._noted.patience_us:
            latest_us = now_us + self._noted.patience_us[slot]
        return min(latest_us, pending.expires_us(slot)) if pending.may_expire else latest_us

    def _is_delayed(self, slot: int, now_us: int) -> bool:
        """Whether a message waits for its first attempt until an instant that its caller chose."""
        index = self._pending.index
        return index.due_at[slot] > now_us and not index.attempts[slot]

    def _enter(self, ages: Ages, now_us: QueueUs) -> Iterator[None]:
        """Enter all messages by when they began to wait. Their ids have another order: a message
        keeps its id when it is redriven, and clocks that were ahead are set back."""
        since = ages.since
        ages.opened_us = now_us
        oldest: int = now_us
        for start in range(0, len(since), PORTION):
            for slot in range(start, min(start + PORTION, len(since))):
                since[slot] = min(since[slot], now_us)
                oldest = min(oldest, since[slot])
            yield
        for portion in in_order(self._slots(), since, low=oldest, high=now_us):
            for slot in portion:
                if self._is_delayed(slot, now_us):  # its age counts from its time on
                    ages.note(slot, self._pending.index.due_at[slot])
                else:
                    ages.add(slot, since[slot])
            yield

    def _slots(self) -> Iterator[int]:
        states = self._pending.index.state
        for slot in range(self._pending.index.slots):
            if states[slot] != State.FREE:
                yield slot


def _due_at(attempts: int, due_at: int, terms: Terms | None) -> int:
    """When a message that was copied is due, by the wall clock. Before its first attempt that is
    the instant that its caller chose, however the clock was set since; what it waited for besides,
    as for descriptors that were lacking, ended with the process."""
    if attempts:
        return due_at
    return 0 if terms is None else terms.not_before_us
