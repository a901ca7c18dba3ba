"""Where a message with a key goes while partitions of a former spread may know its key
(`core.meeting`).

    asked: every partition that its place had or has ─▶ told: which keys each knows ─▶ decided
        ─▶ under way, until the partition has answered whether it is stored ─▶ done

One process decides for a place, that of its partition by the spread in force: so no two messages
with one key are decided by two. What is under way counts as known, or the next message would go
elsewhere while the record of this one is being written. Messages are decided in the order in which
they come: a partition's answers come in the order of the questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from dispatcher.core.meeting import Key, Keys, candidates, decide
from dispatcher.core.message import Message
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.ports import GroupReceipt, Receipt
from dispatcher.queue.refusals import MOVED

OnKnown = Callable[[int | None], None]
"""Is told a bit for each key that is known, the first key's the lowest; None: nobody can say now.
"""


class Ask(Protocol):
    """Asks a partition, wherever it is."""

    def __call__(self, number: int, keys: Keys, told: OnKnown) -> None:
        """Ask which of these keys the partition knows. `told` is called once, before this returns
        or later; of one partition in the order of the questions. A partition that does not exist
        knows none."""


class Placement:
    """Where a message goes, until it is `done`."""

    __slots__ = ("_keys", "_meeting", "number")

    def __init__(self, number: int, keys: Keys, meeting: Meeting) -> None:
        self.number = number
        self._keys = keys
        self._meeting = meeting

    def done(self) -> None:
        """It was answered: what became of it the partition knows. Idempotent."""
        keys, self._keys = self._keys, ()
        self._meeting.leave(keys)


Then = Callable[[Placement | None], None]
"""Is given the placement; None: it cannot be decided now."""


class Meeting:
    """Decides for one process."""

    def __init__(self, spread: int, former: Iterable[int], ask: Ask) -> None:
        """Places are spread over so many partitions; `former` spreads come latest first."""
        self._spread = spread
        self._former = list(former)
        self._ask = ask
        self._under_way: dict[Key, _UnderWay] = {}

    def __repr__(self) -> str:
        return f"<Meeting: {self._spread} after {self._former}, {len(self._under_way)} under way>"

    @property
    def former(self) -> Sequence[int]:
        """The former spreads whose partitions are asked, the latest first."""
        return tuple(self._former)

    def forget(self, former: int) -> None:
        """Nothing of a former spread is left. Idempotent."""
        if former in self._former:
            self._former.remove(former)

    def place(self, place: bytes, keys: Keys, then: Then) -> None:
        """Decide where a message for a place with these keys goes."""
        numbers = candidates(place, self._spread, self._former)
        if len(numbers) == 1:
            then(self._go(numbers[0], keys))
            return
        asked = _Asked(self, keys, numbers, then)
        for number in numbers:
            self._ask(number, keys, asked.of(number))

    def decided(self, keys: Keys, known: Sequence[tuple[int, int]]) -> Placement:
        """Decide, with what every partition said; see `decide`."""
        known = [(number, mask | self._mask(keys, number)) for number, mask in known]
        number, by = decide(keys, known)
        # A duplicate is not stored, and takes no other message along.
        return self._go(number, () if by is not None and by.kind.stands_for_one else keys)

    def _mask(self, keys: Keys, number: int) -> int:
        found = 0
        for bit, key in enumerate(keys):
            under_way = self._under_way.get(key)
            if under_way is not None and under_way.number == number:
                found |= 1 << bit
        return found

    def _go(self, number: int, keys: Keys) -> Placement:
        for key in keys:
            under_way = self._under_way.get(key)
            if under_way is None:
                under_way = self._under_way[key] = _UnderWay()
            under_way.number = number
            under_way.count += 1
        return Placement(number, keys, self)

    def leave(self, keys: Keys) -> None:
        """A message with these keys is under way no more."""
        for key in keys:
            under_way = self._under_way[key]
            under_way.count -= 1
            if not under_way.count:
                del self._under_way[key]

    async def placed(self, place: bytes, keys: Keys) -> Placement:
        """As `place`, for code that awaits.

        Raises:
            Refused: it cannot be decided now.
        """
        found: asyncio.Future[Placement | None] = asyncio.get_running_loop().create_future()
        self.place(place, keys, found.set_result)
        placement = await found
        if placement is None:
            raise Refused(MOVED)
        return placement


class _UnderWay:
    """Messages with one key that are being stored; `number` is the partition of the last."""

    __slots__ = ("count", "number")

    def __init__(self) -> None:
        self.number = -1
        self.count = 0


class _Asked:
    """One question to several partitions."""

    __slots__ = ("_keys", "_known", "_meeting", "_numbers", "_then")

    def __init__(self, meeting: Meeting, keys: Keys, numbers: Sequence[int], then: Then) -> None:
        self._meeting = meeting
        self._keys = keys
        self._numbers = numbers
        self._then = then
        self._known: dict[int, int | None] = {}

    def of(self, number: int) -> OnKnown:
        """Who is told what this partition says."""

        def told(mask: int | None) -> None:
            self._known[number] = mask
            if len(self._known) == len(self._numbers):
                self._end()

        return told

    def _end(self) -> None:
        known = [(one, mask) for one in self._numbers if (mask := self._known[one]) is not None]
        if len(known) < len(self._numbers):
            self._then(None)
        else:
            self._then(self._meeting.decided(self._keys, known))


class PlacedReceipt:
    """Passes the answer on, and ends the placement (`ports.Receipt`)."""

    __slots__ = ("_placement", "_receipt")

    def __init__(self, receipt: Receipt, placement: Placement) -> None:
        self._receipt = receipt
        self._placement = placement

    def accepted(self, message: Message) -> None:
        """See `Receipt`. The next request may be read meanwhile, and the partition does not have
        this message yet."""
        try:
            self._receipt.accepted(message)
        finally:
            self._placement.done()

    def duplicate(self, message_id: bytes) -> None:
        """See `Receipt`."""
        self._placement.done()
        self._receipt.duplicate(message_id)

    def refused(self, refusal: Refusal) -> None:
        """See `Receipt`."""
        self._placement.done()
        self._receipt.refused(refusal)


class PlacedGroupReceipt:
    """As `PlacedReceipt`, for the messages of a group (`ports.GroupReceipt`)."""

    __slots__ = ("_placement", "_receipt")

    def __init__(self, receipt: GroupReceipt, placement: Placement) -> None:
        self._receipt = receipt
        self._placement = placement

    def accepted_all(self, messages: Sequence[Message]) -> None:
        """See `GroupReceipt`."""
        try:
            self._receipt.accepted_all(messages)
        finally:
            self._placement.done()

    def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
        """See `GroupReceipt`."""
        self._placement.done()
        self._receipt.duplicate_all(message_ids)

    def refused(self, refusal: Refusal) -> None:
        """See `GroupReceipt`."""
        self._placement.done()
        self._receipt.refused(refusal)
