"""The index of dead letters: one row for each, in arrays, in the order of their deaths.

So a million of them take little more than a million waiting messages. What is shown of one besides
this (method, target, attempts) is read from its record.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, MutableSequence
from dataclasses import dataclass
from itertools import islice, repeat
from operator import le

from dispatcher.core.calls import CallReason
from dispatcher.core.verdict import DeadReason
from dispatcher.queue.deadletters.causes import Cause, ErrorTypes, spelled, split, word
from dispatcher.queue.deadletters.names import Names
from dispatcher.queue.deadletters.selection import LetterFilter, LetterKind
from dispatcher.queue.pending.order import in_order
from dispatcher.queue.pending.slotmap import SlotMap
from dispatcher.queue.records.ids import id_parts, wire_id
from dispatcher.queue.records.letters import LetterFacts

_REASONS = tuple(reason.value for reason in (*DeadReason, CallReason.FAILED))
_CALL_BITS = 63
"""A number of a call has the bit above these."""
_REWRITE_ABOVE = 4096
_TIDY_AT_ONCE = 250
"""Rows that are moved before others get their turn: a millisecond or two."""
_LOOK_AT_ONCE = 5000
"""Rows of one column that are gone through before that: a millisecond."""


class Letters:
    """The rows. A row's number is good until the next change of the index.

    `uptime_s`  of the log at the death: it orders the rows, because the wall clock may be wrong.
    `ordinal`   grows from row to row: microseconds since the epoch at the death, or one more than
                the row before. Cursors are made of it.
    `position`  of the record in the dead-letter log; `sizes` what it takes there, chunks too;
                `body_sizes` bytes of the message's body.
    `destinations` of the letters that are there; of calls, with the function, and the type of the
                error that ended them.
    `labels`    of those that have one.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self.count = 0
        self.destinations = Names()
        self.labels = Names()
        self._error_types = ErrorTypes()
        self._reset()

    def _reset(self) -> None:
        self.id_position = array("Q")
        self.position = array("Q")
        self.ordinal = array("Q")
        self.dead_at = array("Q")
        self.sizes = array("Q")
        self.body_sizes = array("Q")
        self._incarnation = array("I")
        self._destination = array("I")
        self._partition = array("H")
        self._redrives = array("H")
        self.uptime_s = array("I")
        self._status = array("H")
        self._error = array("B")
        self._reason = array("B")
        self._label = array("I")
        """One more than the number of its label, or 0: there is none. It is no column before a
        letter has one."""
        self._has_labels = False
        self._alive = bytearray()
        self._rows = SlotMap(_Ids(self.id_position, self._incarnation))
        self._tidied = 0
        self._looked_at = 0
        self._columns: list[MutableSequence[int]] = [
            *(self.id_position, self.position, self.ordinal, self.dead_at),
            *(self.sizes, self.body_sizes, self._incarnation, self._destination, self._partition),
            *(self._redrives, self._status, self._error, self._reason, self._alive),
            self.uptime_s,
        ]

    def __len__(self) -> int:
        return self.count

    @property
    def rows(self) -> int:
        """How many rows there are, those of removed letters included."""
        return len(self._alive)

    @property
    def last_ordinal(self) -> int:
        """The ordinal of the last row; 0 when there is none."""
        return self.ordinal[-1] if self.ordinal else 0

    def is_alive(self, row: int) -> bool:
        """Whether the letter of a row is still there."""
        return self._alive[row] != 0

    def are_alive(self, rows: range) -> bytearray:
        """Of each of these rows, which follow each other, 1 when there is a letter in it."""
        return self._alive[rows.start : rows.stop]

    def add(self, letter: LetterFacts, position: int, size_bytes: int) -> int:
        """Enter a letter whose record is at `position`. None with the same id is there."""
        row = len(self._alive)
        before = self.ordinal[row - 1] if row else 0
        self.id_position.append(letter.id_position)
        self.position.append(position)
        self.ordinal.append(max(before + 1, letter.dead_at))
        self.dead_at.append(letter.dead_at)
        self.sizes.append(size_bytes)
        self.body_sizes.append(letter.body_size)
        self._incarnation.append(letter.incarnation)
        self._destination.append(self.destinations.take(self._error_types.place(letter)))
        self._partition.append(letter.partition)
        self._redrives.append(letter.redrives)
        self.uptime_s.append(letter.uptime_s)
        self._status.append(letter.status)
        self._error.append(letter.failure)
        self._reason.append(_REASONS.index(letter.reason))
        if letter.label and not self._has_labels:
            self._begin_labels(row)
        if self._has_labels:
            self._label.append(1 + self.labels.take(letter.label) if letter.label else 0)
        self._alive.append(1)
        self._rows.add(row)
        self.count += 1
        self.size_bytes += size_bytes
        return row

    def _begin_labels(self, rows: int) -> None:
        """Have a column of labels; so many rows are there, and have none."""
        self._has_labels = True
        self._label.extend(repeat(0, rows))
        self._columns.append(self._label)

    def remove(self, message_id: bytes) -> int:
        """Forget a letter; returns its row, -1 when there is none."""
        row = self.find(message_id)
        if row >= 0:
            self._rows.discard(row)
            self._alive[row] = 0
            self.destinations.give_back(self._destination[row])
            if self._has_labels and self._label[row]:
                self.labels.give_back(self._label[row] - 1)
            self.count -= 1
            self.size_bytes -= self.sizes[row]
        return row

    def find(self, message_id: bytes) -> int:
        """The row of a letter, -1 when there is none with this id."""
        _, incarnation, position = id_parts(message_id)
        row = self._rows.find(position, incarnation)
        return row if row >= 0 and self.id(row) == message_id else -1

    def moved(self, row: int, position: int) -> None:
        """The record of a row was copied to `position`."""
        self.position[row] = position

    def id(self, row: int) -> bytes:
        """The id of a row's letter."""
        return wire_id(self._partition[row], self._incarnation[row], self.id_position[row])

    def redrives(self, row: int) -> int:
        """How often the letter had been redriven when it died."""
        return self._redrives[row]

    def label(self, row: int) -> str | None:
        """The label of a row's letter."""
        number = self._label[row] if self._has_labels else 0
        return self.labels[number - 1] if number else None

    def cause_key(self, row: int) -> tuple[str, int, int, int]:
        """What letters have in common that were going to one place and died of one cause; `cause`
        says which."""
        return (
            self.destinations[self._destination[row]],
            self._status[row],
            self._error[row],
            self._reason[row],
        )

    def cause(self, key: tuple[str, int, int, int]) -> Cause:
        """Where letters were going, and why they did not get there."""
        place, status, error, reason = key
        destination, function, _ = split(place)
        found = word(place, status, error)
        return Cause(destination, function, status or None, found, _REASONS[reason])

    def fits(self, row: int, which: LetterFilter) -> bool:
        """Whether a row's letter is one of those that are meant, as far as the index knows."""
        if which.before_us is not None and self.dead_at[row] >= which.before_us:
            return False
        if which.after_us is not None and self.dead_at[row] <= which.after_us:
            return False
        if which.status is not None and self._status[row] != which.status:
            return False
        if which.error is not None and self._word(row) != which.error:
            return False
        if which.reason is not None and _REASONS[self._reason[row]] != which.reason:
            return False
        if which.kind is not None and which.kind is not self._kind(row):
            return False
        if which.label is not None and which.label != self.label(row):
            return False
        if which.function is None:
            if which.destination is None:
                return True
            if self._destination[row] == self.destinations.find(which.destination):
                return True  # a message
        if not self.id_position[row] >> _CALL_BITS:
            return False
        destination, function, _ = split(self.destinations[self._destination[row]])
        if which.function not in (None, function):
            return False
        return which.destination is None or which.destination == spelled(destination)

    def _word(self, row: int) -> str | None:
        place = self.destinations[self._destination[row]]
        return word(place, self._status[row], self._error[row])

    def _kind(self, row: int) -> LetterKind:
        return LetterKind.CALL if self.id_position[row] >> _CALL_BITS else LetterKind.MESSAGE

    def first_after(self, ordinal: int) -> int:
        """The first row with an ordinal above this one."""
        row = bisect_left(self.ordinal, ordinal + 1, 0, self._tidied)
        if row < self._tidied:
            return row
        return bisect_left(self.ordinal, ordinal + 1, self._looked_at)

    def count_after(self, ordinal: int) -> int:
        """How many letters have an ordinal above this one: that died after this instant, about."""
        return self._alive.count(1, self.first_after(ordinal))

    def alive(self) -> Iterator[int]:
        """The rows of all letters, oldest first."""
        row = self._alive.find(1)
        while row >= 0:
            yield row
            row = self._alive.find(1, row + 1)

    def tidy(self) -> bool:
        """Give rows of removed letters back, when they are most of all, and say whether there is
        more to do: a slice at a time, because a million rows take seconds. Row numbers change;
        order and ordinals stay, because cursors that were given away are made of them.

        Rows in use are moved down to the first ones. In the middle of it there is a gap: rows below
        `_tidied` are in order, those between it and `_looked_at` mean nothing, the others were not
        looked at yet.
        """
        if not self._looked_at and not self._is_sparse:
            return False
        for _ in range(_TIDY_AT_ONCE):
            row = self._alive.find(1, self._looked_at)
            if row < 0:
                for column in self._columns:
                    del column[self._tidied :]
                self._rows.shrink()
                self._tidied = self._looked_at = 0
                return False
            if row != self._tidied:
                self._move(row, self._tidied)
            self._tidied += 1
            self._looked_at = row + 1
        return True

    @property
    def _is_sparse(self) -> bool:
        rows = len(self._alive)
        return rows > _REWRITE_ABOVE and self.count < rows // 2

    def _move(self, row: int, to: int) -> None:
        for column in self._columns:
            column[to] = column[row]
        self._rows.replace(row, to)
        self._alive[row] = 0

    def sort(self) -> Iterator[None]:
        """Bring the rows into the order of the deaths. Records that were copied forward come last
        in the log, whenever their letter died.

        A slice of it at a time: whoever iterates lets others run in between, and sees to it that
        nothing comes, goes or is looked for meanwhile.
        """
        is_sorted = self.count == len(self._alive)
        bounds = []
        for column in (self.dead_at, self.uptime_s):
            low, high = 1 << 64, 0
            for start in range(0, len(column), _LOOK_AT_ONCE):
                part = column[start : start + _LOOK_AT_ONCE + 1]
                low, high = min(low, min(part)), max(high, max(part))
                is_sorted = is_sorted and all(map(le, part, islice(part, 1, None)))
                yield
            bounds.append((column, low, high))
        if is_sorted:
            return  # as they nearly always are
        rows: Iterable[int] = self.alive()
        for keys, low, high in bounds:  # each keeps the order of the one before among equals
            order = array("I")
            for portion in in_order(rows, keys, low=low, high=high):
                order.extend(portion)
                yield
            rows = order
        yield from self._arrange(order)

    def _arrange(self, order: array[int]) -> Iterator[None]:
        """Make these rows the only ones, in this order."""
        former = self._columns
        has_labels = self._has_labels
        self._reset()
        if has_labels:
            self._begin_labels(0)
        for column, old in zip(self._columns, former, strict=True):
            for start in range(0, len(order), _LOOK_AT_ONCE):
                column.extend(map(old.__getitem__, order[start : start + _LOOK_AT_ONCE]))
                yield
        before = 0
        for row, dead_at in enumerate(self.dead_at):
            before = self.ordinal[row] = max(before + 1, dead_at)
            self._rows.add(row)
            if not row % _TIDY_AT_ONCE:
                yield


@dataclass(slots=True)
class _Ids:
    """What `SlotMap` finds rows by."""

    id_position: array[int]
    incarnation: array[int]
