"""Looking through the messages that wait, millions maybe, for those that somebody means.

They are gone through in the order of the log: the oldest first, but for those that were copied
forward in it since. A position of the log is where to go on; what is copied beyond it meanwhile
comes up once more, and nothing that waits all the while is passed over.

No more than `SLICE` entries of the index are looked at between two turns of the event loop, and no
more than `READ_MOST` records are read at once. `Run` says how much work has been done, so that who
answers a request ends in time.

How long a message has waited is in its record. But instants grow with positions, apart from what
was copied forward and from large bodies, which take their time to arrive: so the last one of a
slice says it for all before it, and in one slice the border is looked for by halving. That is
right to within milliseconds, and where the wall clock was set back, as right as that clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import Final

from dispatcher.core.message import Message
from dispatcher.errors import LogCorrupt, LogTrimmed
from dispatcher.queue.admin.message_filter import MessageFilter
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.patience import patiently
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.pending.index import State
from dispatcher.queue.records.kinds import RecordError

SLICE: Final = 512
"""Entries that are looked at before others get their turn: a fifth of a millisecond."""
READ_MOST: Final = 16
"""Records that are read at once: most of what the first one costs is for the way to the disk and
back, and more of them would hold the loop for longer than a slice."""
READ_BYTES: Final = 256 * 1024
_DAMAGED: Final = (LogCorrupt, LogTrimmed, RecordError)


@dataclass(frozen=True, slots=True)
class Run:
    """Some of the messages that match, in the order of the log, and maybe none.

    `slots`     of those that match; they are good until the reader awaits something.
    `messages`  by their slots, as far as they had to be read for the filter.
    `end`       the position from which to go on behind these.
    `looked`, `read`  how many entries were looked at, and records read, since the run before.
    `read_bytes`      what those records take.
    """

    slots: list[int]
    messages: dict[int, Message]
    end: int
    looked: int = 0
    read: int = 0
    read_bytes: int = 0


@dataclass(slots=True)
class _Work:
    """What was done since the last run."""

    looked: int = 0
    read: int = 0
    read_bytes: int = 0

    def taken(self) -> tuple[int, int, int]:
        found = (self.looked, self.read, self.read_bytes)
        self.looked = self.read = self.read_bytes = 0
        return found


@dataclass(slots=True)
class _Ages:
    """What is known of the age of messages that lie where they were first stored: those at `young`
    and above it came after `before_us`. None: nothing yet."""

    before_us: int
    young: int | None = None


@dataclass(frozen=True, slots=True)
class _Search:
    """One going through everything."""

    which: MessageFilter
    states: frozenset[int]
    ages: _Ages | None
    stored_before: int | None
    work: _Work = field(default_factory=_Work)


Place = tuple[int, int]
"""Position of a record, and the slot of its message."""


class Waiting:
    """Finds waiting messages of one partition, and changes nothing."""

    def __init__(self, parts: Parts, pace: Pace) -> None:
        self._parts = parts
        self._pace = pace

    async def runs(
        self,
        which: MessageFilter,
        *,
        start: int = 0,
        at_once: int = SLICE,
        stored_before: int | None = None,
    ) -> AsyncIterator[Run]:
        """Everything that matches, at most `at_once` messages in each run, from a position on, to
        the end of the log. With `stored_before` only what was stored before that position
        (`end`), also where it was copied since: who changes what is found must not meet it again.
        """
        search = self._search(which, stored_before)
        while True:
            if start:
                await self._pace.rest()
            found, end = self._slice(search, start)
            if end is None:
                return
            if search.ages is not None:
                found = await self._old_enough(search, search.ages, found)
            if which.needs_record:
                async for run in self._read_runs(search, found, min(at_once, READ_MOST)):
                    yield run
            else:
                for at in range(0, len(found), at_once):
                    portion = [slot for at, slot in self._still(search, found[at : at + at_once])]
                    behind = found[min(at + at_once, len(found)) - 1][0] + 1
                    yield Run(portion, {}, behind, *search.work.taken())
            yield Run([], {}, end, *search.work.taken())
            start = end

    @property
    def end(self) -> int:
        """Above all positions of the log."""
        return self._parts.pending.extents.end

    def _search(self, which: MessageFilter, stored_before: int | None) -> _Search:
        ages = None
        if which.older_than_us is not None:
            ages = _Ages(self._parts.clock.wall_us() - which.older_than_us)
        return _Search(which, which.states, ages, stored_before)

    def _slice(self, search: _Search, start: int) -> tuple[list[Place], int | None]:
        """The next slice: those in it that match as far as the index knows, and where it ends;
        None: there is no more."""
        first, offsets, slots = self._parts.pending.extents.entries_from(start, SLICE)
        if not offsets:
            return [], None
        search.work.looked += len(offsets)
        return self._matching(search, first, zip(offsets, slots, strict=True)), (
            first + offsets[-1] + 1
        )

    def _still(self, search: _Search, places: Iterable[Place]) -> list[Place]:
        """Those whose messages lie there and match as far as the index knows."""
        return self._matching(search, 0, places)

    def _matching(
        self, search: _Search, first: int, entries: Iterable[tuple[int, int]]
    ) -> list[Place]:
        """Those of the entries, offsets from `first` and slots, whose messages lie there and match
        as far as the index knows. Of each the cheapest is asked first: this is what a slice takes
        its time for."""
        index, states = self._parts.pending.index, search.states
        count, position, state, lanes = index.slots, index.position, index.state, index.lane
        lane = self.lane_of(search.which)
        found = [
            (first + offset, slot)
            for offset, slot in entries
            if slot < count
            and (lane is None or lanes[slot] == lane)
            and state[slot] in states
            and position[slot] == first + offset
        ]
        if search.which.held:
            found = [one for one in found if self.is_held(one[1])]
        pending, which = self._parts.pending, search.which
        if which.state is not None and pending.has_lines:
            found = [one for one in found if which.means(pending, one[1])]
        before = search.stored_before
        if before is not None and found and found[-1][0] >= before:
            ids = index.id_position
            found = [(at, slot) for at, slot in found if at < before or ids[slot] < before]
        return found

    def is_held(self, slot: int) -> bool:
        """Whether an operator holds the destination of the message of a slot."""
        return self._parts.lanes.by_number[self._parts.pending.index.lane[slot]].peer.held

    def lane_of(self, which: MessageFilter) -> int | None:
        """The number of the lane that is meant; -1: it is of none that there is, None: any."""
        if which.destination is None:
            return None
        lane = self._parts.lanes.find(which.destination.encode("ascii"))
        return -1 if lane is None else lane.number

    # ------------------------------------------------------------------ age

    async def _old_enough(self, search: _Search, ages: _Ages, found: list[Place]) -> list[Place]:
        """Those that are old enough, in the order given."""
        index, owned = self._parts.pending.index, self._parts.pending.owned
        in_order = [index.id_position[slot] == at and slot not in owned for at, slot in found]
        plain = list(compress(found, in_order))
        others = [one for one, is_plain in zip(found, in_order, strict=True) if not is_plain]
        old = plain[: await self._border(search, ages, plain)]
        for portion in self._portions(others, READ_MOST):
            for place, message in (await self._read(search, portion)).items():
                if message.accepted_at < ages.before_us:
                    old.append(place)
        return sorted(old)

    async def _border(self, search: _Search, ages: _Ages, plain: list[Place]) -> int:
        """How many of these, in order, were accepted early enough."""
        if ages.young is not None:
            young = ages.young
            return sum(at < young for at, _ in plain)
        low, high = 0, len(plain)
        middle = high - 1
        while low < high:
            if await self._is_old(search, ages, plain[middle]):
                low = middle + 1
            else:
                high = middle
            middle = (low + high) // 2
        if low < len(plain):
            ages.young = plain[low][0]
        return low

    async def _is_old(self, search: _Search, ages: _Ages, place: Place) -> bool:
        """Whether one was accepted early enough; of one that is gone it does not matter."""
        for message in (await self._read(search, [place])).values():
            return message.accepted_at < ages.before_us
        return True

    # ------------------------------------------------------------------ records

    async def _read_runs(
        self, search: _Search, found: list[Place], at_once: int
    ) -> AsyncIterator[Run]:
        for portion in self._portions(found, at_once):
            read = await self._read(search, portion)
            messages = {
                place[1]: message for place, message in read.items() if search.which.fits(message)
            }
            places = [place for place in portion if place[1] in messages]
            slots = [slot for _, slot in self._still(search, places)]
            yield Run(slots, messages, portion[-1][0] + 1, *search.work.taken())
            await self._pace.rest()

    def _portions(self, found: list[Place], at_once: int) -> Iterable[list[Place]]:
        """A few at a time: as many as are read at once."""
        sizes = self._parts.pending.index.size
        portion: list[Place] = []
        size_bytes = 0
        for place in found:
            size = min(sizes[place[1]], READ_BYTES) if place[1] < len(sizes) else 0
            if portion and (len(portion) == at_once or size_bytes + size > READ_BYTES):
                yield portion
                portion, size_bytes = [], 0
            portion.append(place)
            size_bytes += size
        if portion:
            yield portion

    async def _read(self, search: _Search, places: list[Place]) -> dict[Place, Message]:
        """The messages that lie there still and can be read."""
        places = self._still(search, places)
        found = await self.read([slot for _, slot in places])
        search.work.read += len(places)
        for message in found.values():
            search.work.read_bytes += len(message.head) + len(message.body)
        return {place: found[place[1]] for place in places if place[1] in found}

    async def read(self, slots: list[int]) -> dict[int, Message]:
        """The messages that are in these slots, by slot, without those that end meanwhile or cannot
        be read."""
        try:
            return await patiently(partial(self._read_whole, slots))
        except _DAMAGED:
            if len(slots) == 1:
                return {}
            return {
                at: message for slot in slots for at, message in (await self.read([slot])).items()
            }

    async def _read_whole(self, slots: list[int]) -> dict[int, Message]:
        parts = self._parts
        index = parts.pending.index
        while True:
            slots = [s for s in slots if s < index.slots and index.state[s] != State.FREE]
            if not slots:
                return {}
            found = await read_messages(parts.log, parts.pending, slots, partition=parts.partition)
            if found is not None:
                return {
                    slot: message
                    for slot, message in zip(slots, found, strict=True)
                    if index.holds(slot, message.position, message.incarnation)
                }
