"""The index of dead letters: one row for each, in arrays, in the order of their deaths.

A row costs some 65 bytes, so that a million dead letters take as little as a million waiting
messages. What is shown of one besides this (method, target, attempts) is read from its record.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

from dispatcher.core.outcome import Failure
from dispatcher.core.verdict import DeadReason
from dispatcher.queue.admin import LetterFilter
from dispatcher.queue.records import LetterFacts, wire_id
from dispatcher.queue.slotmap import SlotMap

_FAILURES = (None, *(failure.value for failure in Failure))
_REASONS = tuple(reason.value for reason in DeadReason)
_REWRITE_ABOVE = 4096


@dataclass(frozen=True, slots=True)
class Cause:
    """What dead letters are grouped and selected by. `status` and `error` are those of the last
    attempt."""

    destination: str
    status: int | None
    error: str | None
    reason: str


class Letters:
    """The rows. A row's number is good until the next change of the index.

    `ordinal`   grows from row to row: microseconds since the epoch at the death, or one more than
                the row before. Cursors are made of it.
    `position`  of the record in the dead-letter log; `sizes` what it takes there, chunks too;
                `body_sizes` bytes of the message's body.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self.count = 0
        self._destinations: list[str] = []
        self._numbers: dict[bytes, int] = {}
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
        self._status = array("H")
        self._error = array("B")
        self._reason = array("B")
        self._alive = bytearray()
        self._keys = array("Q")
        self._rows = SlotMap(_Keys(self._keys))

    def __len__(self) -> int:
        return self.count

    @property
    def rows(self) -> int:
        """How many rows there are, those of removed letters included."""
        return len(self._alive)

    def is_alive(self, row: int) -> bool:
        """Whether the letter of a row is still there."""
        return self._alive[row] != 0

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
        self._destination.append(self._number_of(letter.destination))
        self._partition.append(letter.partition)
        self._redrives.append(letter.redrives)
        self._status.append(letter.status)
        self._error.append(letter.failure)
        self._reason.append(_REASONS.index(letter.reason))
        self._alive.append(1)
        self._keys.append(_key(letter.id_position, letter.incarnation))
        self._rows.add(row)
        self.count += 1
        self.size_bytes += size_bytes
        return row

    def remove(self, message_id: bytes) -> int:
        """Forget a letter; returns its row, -1 when there is none."""
        row = self.find(message_id)
        if row >= 0:
            self._rows.discard(row)
            self._alive[row] = 0
            self.count -= 1
            self.size_bytes -= self.sizes[row]
        return row

    def find(self, message_id: bytes) -> int:
        """The row of a letter, -1 when there is none with this id."""
        row = self._rows.find(_key(int(message_id[12:], 16), int(message_id[4:12], 16)))
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

    def cause(self, row: int) -> Cause:
        """Where a row's letter was going, and why it did not get there."""
        return Cause(
            self._destinations[self._destination[row]],
            self._status[row] or None,
            _FAILURES[self._error[row]],
            _REASONS[self._reason[row]],
        )

    def fits(self, row: int, which: LetterFilter) -> bool:
        """Whether a row's letter is one of those that are meant."""
        if which.before_us is not None and self.dead_at[row] >= which.before_us:
            return False
        if which.after_us is not None and self.dead_at[row] <= which.after_us:
            return False
        if which.status is not None and self._status[row] != which.status:
            return False
        if which.error is not None and _FAILURES[self._error[row]] != which.error:
            return False
        if which.destination is None:
            return True
        return self._destination[row] == self._numbers.get(which.destination.encode())

    def first_after(self, ordinal: int) -> int:
        """The first row with an ordinal above this one."""
        return bisect_left(self.ordinal, ordinal + 1)

    def alive(self) -> Iterator[int]:
        """The rows of all letters, oldest first."""
        row = self._alive.find(1)
        while row >= 0:
            yield row
            row = self._alive.find(1, row + 1)

    def tidy(self) -> None:
        """Give the rows of removed letters back, when they are most of all. Row numbers change;
        order and ordinals stay, because cursors that were given away are made of them."""
        rows = len(self._alive)
        if rows > _REWRITE_ABOVE and self.count < rows // 2:
            alive = self._alive
            self._rewrite(lambda column: compress(column, alive))

    def sort(self) -> None:
        """Bring the rows into the order of the deaths. Records that were copied forward come last
        in the log, whenever their letter died."""
        rows = sorted(self.alive(), key=lambda row: (self.dead_at[row], self.id_position[row]))
        if rows == list(range(len(self._alive))):
            return  # as they nearly always are, and most of the work is the map
        self._rewrite(lambda column: map(column.__getitem__, rows))
        before = 0
        for row, dead_at in enumerate(self.dead_at):
            before = self.ordinal[row] = max(before + 1, dead_at)

    def _rewrite(self, choose: Callable[[Sequence[int]], Iterable[int]]) -> None:
        """Replace each column by what is chosen of it."""
        old = vars(self).copy()
        self._reset()
        for name in _COLUMNS:
            getattr(self, name).extend(choose(old[name]))
        self._rows.fill(range(self.rows))

    def _number_of(self, destination: bytes) -> int:
        number = self._numbers.get(destination)
        if number is None:
            number = self._numbers[destination] = len(self._destinations)
            self._destinations.append(destination.decode("ascii"))
        return number


_COLUMNS = (
    "id_position",
    "position",
    "ordinal",
    "dead_at",
    "sizes",
    "body_sizes",
    "_incarnation",
    "_destination",
    "_partition",
    "_redrives",
    "_status",
    "_error",
    "_reason",
    "_alive",
    "_keys",
)


@dataclass(slots=True)
class _Keys:
    """What `SlotMap` finds rows by."""

    id_position: array[int]


def _key(position: int, incarnation: int) -> int:
    """Both in 64 bits: letters may be older than the transaction log (an operator deleted that),
    and then two of them may have one position."""
    return position ^ incarnation * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
