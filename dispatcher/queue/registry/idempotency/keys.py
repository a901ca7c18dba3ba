"""Idempotency keys, durably: which message each key of a destination stands for.

A key is in the record of its message, so the two become durable together. Its entry (`entries`)
holds the part of the log where that lies, also when the message is settled; before the part is
dropped, the keys in it that still count are written again (`space`), in KEYS records. So a key is
always at the end of the log or on its way there, and what changes it lies behind it:

- A message that is delivered keeps its key until the window is over.
- One that is given up or cancelled is settled by an UNDELIVERED record. From then on its key counts
  while there is something left of it: a dead letter, or, when that was redriven, the message. So a
  key becomes free with the letter, whoever removes it, and nothing more has to be written for that.
- A MOVED record of a message that was redriven makes it one that may be delivered again. Before
  that is submitted its entries say so (`reviving`): keys that are written again behind it must not
  say the opposite.

While a message is pending its own record has its key, however long that is: then an entry whose
window is over needs no place in the log.

A log may be visited on another thread (`recovery.replay`); nothing here is shared by partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Final

from dispatcher.core.clock import SteadyClock, WallUs
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.settlements import Settlements, in_time
from dispatcher.queue.pending.extents import Extent
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.ids import id_parts
from dispatcher.queue.records.keys import MOST_KEYS, StoredKey, decode_keys
from dispatcher.queue.registry.idempotency.block import Entry
from dispatcher.queue.registry.idempotency.entries import Entries
from dispatcher.queue.registry.idempotency.hashes import entries_of
from dispatcher.queue.registry.idempotency.space import KeySpace
from dispatcher.queue.registry.idempotency.writing import KeyWriter

LOOK_SECONDS: Final = 1.0
_INCARNATION_AND_END: Final = itemgetter(3, 5)


class Keys:
    """The keys of one partition.

    `is_dead` says of a position and an incarnation whether there is a dead letter of that message.
    """

    def __init__(
        self,
        pending: Pending,
        committer: Committer,
        settlements: Settlements,
        *,
        clock: SteadyClock,
        window_ms: int,
        spread: int,
        is_dead: Callable[[int, int], bool],
        dropped: Callable[[int], None],
        keeps_everything: bool = False,
    ) -> None:
        """See `Entries` for `spread`; `dropped` is told how many keys were forgotten early. With
        `keeps_everything` the log is never trimmed, and no part of it is held."""
        self._pending = pending
        self._committer = committer
        self._settlements = settlements
        self._clock = clock
        self._is_dead = is_dead
        self._keeps_everything = keeps_everything
        self.entries = Entries(window_ms * 1000, now_us=clock.now_us(), spread=spread)
        self._writer = KeyWriter(pending, committer, clock)
        self.space = KeySpace(
            self.entries,
            self._writer,
            pending=pending,
            committer=committer,
            settlements=settlements,
            clock=clock,
            counts=self._counts,
            dropped=dropped,
        )

    # What callers ask.

    def standing(self, hashed: bytes) -> Entry | None:
        """The entry of a key that counts now; None: the key is free."""
        number = self.entries.find(hashed)
        if number < 0:
            return None
        entry = self.entries.read(number)
        if self._counts(entry):
            return entry
        self.entries.remove(number)
        return None

    def _counts(self, entry: Entry) -> bool:
        if self._is_pending(entry.position, entry.incarnation):
            return True
        if self.entries.is_over(entry, self._clock.now_us()):
            return False
        return not entry.undelivered or self._is_dead(entry.position, entry.incarnation)

    def _is_pending(self, position: int, incarnation: int) -> bool:
        return self._pending.find(position, incarnation) >= 0

    async def has_old(self, before_us: int) -> bool:
        """Whether there is a key that counts whose window began before an instant. Others have
        their turn in between."""
        for entries in self.entries.in_blocks():
            if any(entry.at_us < before_us and self._counts(entry) for entry in entries):
                return True
            await asyncio.sleep(0)
        return False

    # What becomes of messages.

    def enter(self, terms: Terms, destination: bytes, position: int, incarnation: int) -> None:
        """The record of a message was just stored, and is the last in the extents: its keys stand
        for it from now on."""
        now_us = self._clock.now_us()
        extent = None if self._keeps_everything else self._pending.extents.current
        for entry, wins in entries_of(terms, destination, position, incarnation, now_us):
            self.standing(entry.hashed)  # to forget one that counts no more
            self._enter(entry, extent, wins=wins)

    async def write(
        self, terms: Terms, destination: bytes, position: int, incarnation: int
    ) -> None:
        """Let keys stand for a dead letter that is stored next; returns when that is durable. Until
        the letter is there they are free.

        Raises:
            Refused: there is no space for it now.
        """
        now_us = self._clock.now_us()
        entries = entries_of(terms, destination, position, incarnation, now_us, undelivered=True)
        keys = [self._writer.stored(entry) for entry, _ in entries]
        await self._writer.append(keys, self._committer.submit, partial(self._written, entries))

    def _written(self, entries: list[tuple[Entry, bool]], extent: Extent) -> None:
        for entry, wins in entries:
            self.standing(entry.hashed)  # as above
            self._enter(entry, self._place(entry, extent), wins=wins)

    def _enter(self, entry: Entry, extent: Extent | None, *, wins: bool) -> None:
        """Enter a key; unless it wins, only where nothing else has it that counts."""
        number = self.entries.find(entry.hashed)
        if number >= 0:
            there = self.entries.read(number)
            is_same = (there.position, there.incarnation) == (entry.position, entry.incarnation)
            if is_same or not (wins or self._is_past(there)):
                return
            self.entries.remove(number)
        self.entries.add(entry, extent, self._clock.now_us())

    def _is_past(self, entry: Entry) -> bool:
        """Whether an entry counts no more, also while the log is opened. Then that is not known of
        a message that was given up: a record that is still to come may bring it back."""
        is_over = self.entries.is_over(entry, self._clock.now_us())
        return is_over and not self._is_pending(entry.position, entry.incarnation)

    def settle(self, position: int, incarnation: int) -> None:
        """A message was given up or cancelled: it is settled with the next batch."""
        if self.given_up(position, incarnation):
            self._settlements.add_undelivered(incarnation, position)
        else:
            self._settlements.add(incarnation, position)

    def given_up(self, position: int, incarnation: int) -> bool:
        """A message was given up or cancelled; whether it has a key, so that its settlement has to
        say so."""
        numbers = self.entries.of_message(position, incarnation)
        for number in numbers:
            self.entries.mark(number, undelivered=True)
        return bool(numbers)

    def forget(self, position: int, incarnation: int) -> None:
        """A message can't be delivered, as a part of it is lost: its keys are free."""
        for number in self.entries.of_message(position, incarnation):
            self.entries.remove(number)

    def reviving(self, position: int, incarnation: int) -> None:
        """A dead message is about to be brought back: before the record of that is submitted, as
        keys that are written again behind it must not say the opposite. If that fails, the letter
        is still there, and `give_up` sees to the rest."""
        for number in self.entries.of_message(position, incarnation):
            self.entries.mark(number, undelivered=False)

    async def give_up(self, letter_ids: Iterable[bytes]) -> None:
        """These letters are about to be removed: see to it that their keys are free then. Returns
        when that is durable, nearly always at once.

        Raises:
            Refused: it takes too long.
        """
        await self._change(letter_ids, undelivered=True)

    async def bring_back(self, letter_id: bytes) -> None:
        """A dead call is about to be brought back, of which no record here will tell: see to it
        that its key is not free when its letter is gone. Returns when that is durable.

        Raises:
            Refused: it takes too long.
        """
        await self._change([letter_id], undelivered=False)

    async def _change(self, letter_ids: Iterable[bytes], *, undelivered: bool) -> None:
        """Note that of those keys that say the opposite, and append records of them."""
        keys: list[StoredKey] = []
        for letter_id in letter_ids:
            _, incarnation, position = id_parts(letter_id)
            for number in self.entries.of_message(position, incarnation):
                if self.entries.read(number).undelivered is not undelivered:
                    self.entries.mark(number, undelivered=undelivered)
                    keys.append(self._writer.stored(self.entries.read(number)))
        submit = self._committer.submit_urgent
        written = [
            self._writer.append(keys[start : start + MOST_KEYS], submit, _nothing)
            for start in range(0, len(keys), MOST_KEYS)
        ]
        await in_time(written, lambda: self._committer.full)

    def revived(self, message: Message) -> None:
        """A dead message is pending again."""
        if message.terms is None:
            return
        begun_us = self._begun_us(message.accepted_at)
        entries = entries_of(
            message.terms,
            message.destination.key,
            message.position,
            message.incarnation,
            begun_us,
        )
        for entry, _ in entries:
            self.standing(entry.hashed)  # as above
        for entry, _ in entries:
            self._enter(entry, None, wins=False)

    def _begun_us(self, at_us: int) -> int:
        """When a window began that is stored; not later than now, if clocks were wrong."""
        now_us = self._clock.now_us()
        return min(self._clock.to_queue(WallUs(at_us)), now_us)

    def _place(self, entry: Entry, extent: Extent | None) -> Extent | None:
        """Where the record of a key has to be kept: nowhere when its window is over, or when all
        records stay."""
        if self._keeps_everything or self.entries.is_over(entry, self._clock.now_us()):
            return None
        return extent

    # While the log is opened.

    def visit_message(
        self,
        terms: Terms,
        destination: bytes,
        position: int,
        incarnation: int,
        at_us: int,
    ) -> None:
        """Take in the keys of a MESSAGE_TERMS; its record was just noted in the extents."""
        self._tidy()
        begun_us = self._begun_us(at_us)
        extent = self._pending.extents.of(position)
        for entry, wins in entries_of(terms, destination, position, incarnation, begun_us):
            self._enter(entry, self._place(entry, extent), wins=wins)

    def visit_messages(
        self,
        hashes: list[bytes],
        prints: list[int],
        positions: list[int],
        incarnation: int,
        accepted_at: list[int],
    ) -> None:
        """Take in the keys of many MESSAGE_TERMS, which were just noted and have one key each, with
        these hashes: as `visit_message` does, one after the other."""
        self._tidy()
        now_us = self._clock.now_us()
        ahead_us = now_us - self._clock.wall_us()
        begun_us = [min(at_us + ahead_us, now_us) for at_us in accepted_at]
        first = 0
        while first < len(hashes):
            extent, upto = self._place_of(positions, begun_us, first, now_us)
            left = self.entries.add_all(
                hashes[first:upto],
                prints[first:upto],
                positions[first:upto],
                incarnation,
                begun_us[first:upto],
                extent,
                now_us,
            )
            for entry in left:
                self._enter(entry, extent, wins=True)
            first = upto

    def _place_of(
        self, positions: list[int], begun_us: list[int], first: int, now_us: int
    ) -> tuple[Extent | None, int]:
        """Where the keys of messages from the `first` on have to be kept (see `_place`), and up to
        which of them that is the same."""
        extents, is_past = self._pending.extents, self.entries.is_past
        past = self._keeps_everything or is_past(begun_us[first], now_us)
        extent = extents.of(positions[first])
        end = extents.before(extent)
        upto = first + 1
        while (
            upto < len(positions)
            and positions[upto] < end
            and (self._keeps_everything or is_past(begun_us[upto], now_us)) == past
        ):
            upto += 1
        return None if past else extent, upto

    def visit_moved(
        self,
        terms: Terms,
        destination: bytes,
        position: int,
        incarnation: int,
        at_us: int,
    ) -> None:
        """The same of a MOVED_TERMS, which may have been redriven."""
        self._tidy()
        self.reviving(position, incarnation)
        begun_us = self._begun_us(at_us)
        extent = self._pending.extents.current
        for entry, _ in entries_of(terms, destination, position, incarnation, begun_us):
            self._enter(entry, self._place(entry, extent), wins=False)

    def visit_undelivered(self, incarnation: int, positions: Sequence[int]) -> None:
        """These messages were given up or cancelled."""
        for position in positions:
            for number in self.entries.of_message(position, incarnation):
                self.entries.mark(number, undelivered=True)

    def visit_keys(self, payload: bytes) -> None:
        """Take in a KEYS record, which was just noted in the extents."""
        self._tidy()
        entries, now_us = self.entries, self._clock.now_us()
        ahead_us = now_us - self._clock.wall_us()
        keys: list[Entry] = []
        for hashed, print_, position, incarnation, at_us, undelivered in decode_keys(payload):
            for number in entries.of_message(position, incarnation):
                entries.mark(number, undelivered=undelivered)
            begun_us = min(at_us + ahead_us, now_us)
            if not entries.is_past(begun_us, now_us):
                keys.append(Entry(hashed, print_, position, incarnation, begun_us, undelivered))
        extent = None if self._keeps_everything else self._pending.extents.current
        for (incarnation, undelivered), group in groupby(keys, _INCARNATION_AND_END):
            alike = list(group)
            hashes, prints, positions, _, begun, _ = zip(*alike, strict=True)
            if list(positions) == sorted(positions):
                alike = entries.add_all(
                    list(hashes),
                    list(prints),
                    list(positions),
                    incarnation,
                    list(begun),
                    extent,
                    now_us,
                    undelivered=undelivered,
                )
            for entry in alike:
                self._enter(entry, extent, wins=False)

    def _tidy(self) -> None:
        """Before an extent is looked up: what is dropped releases some."""
        self.entries.expire(self._clock.now_us(), self._is_pending)

    # The end of the window.

    async def look(self) -> None:
        """Forget keys whose windows are over."""
        more = self.entries.expire(self._clock.now_us(), self._is_pending)
        while more:
            await asyncio.sleep(0)
            more = self.entries.expire(self._clock.now_us(), self._is_pending)
        self.entries.tidy()


def _nothing(extent: Extent) -> None:
    """Nobody waits for that place: what it says is of keys that have one."""
