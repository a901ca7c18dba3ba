"""Messages that wait and that somebody wants to change, read back a few at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from dispatcher.core.message import Message
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.lanes.taking_out import TakingOut
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.ids import id_parts, wire_id
from dispatcher.txlog import TransactionLog

Told = Callable[[Sequence[bytes]], object]
"""Told of messages which something was done to, also before an error of the others is raised."""
MOST_AT_ONCE: Final = 64
MOST_BYTES_AT_ONCE: Final = 1024 * 1024


def nobody(_: Sequence[bytes], /) -> None:
    """For who does not ask before all of it is done."""


class ReadingBack:
    """Finds messages of one partition by their ids, and reads them."""

    def __init__(
        self, log: TransactionLog, pending: Pending, taking_out: TakingOut, *, partition: int
    ) -> None:
        self._log = log
        self._pending = pending
        self._taking_out = taking_out
        self._partition = partition

    def waiting(self, ids: Sequence[bytes]) -> list[int]:
        """The slots of those of these messages that wait, in their order."""
        return [slot for one in ids if (slot := self._slot(one)) >= 0]

    def _slot(self, message_id: bytes) -> int:
        partition, incarnation, position = id_parts(message_id)
        slot = self._pending.find(position, incarnation) if partition == self._partition else -1
        return slot if slot >= 0 and self._taking_out.waits(slot) else -1

    def id_of(self, slot: int) -> bytes:
        """The id of the message of a slot."""
        index = self._pending.index
        return wire_id(self._partition, index.incarnation_of(slot), index.id_position[slot])

    async def each_portion(
        self,
        ids: Sequence[bytes],
        change: Callable[[list[bytes], list[bytes]], Awaitable[None]],
        told: Told,
    ) -> list[bytes]:
        """Change messages a portion at a time; return which were changed. `change` is given a
        portion, and a list to which it adds those that it has changed, also where it raises."""
        done: list[bytes] = []
        for portion in self._portions(ids):
            changed: list[bytes] = []
            try:
                await change(portion, changed)
            finally:
                told(changed)
            done += changed
        return done

    def _portions(self, ids: Sequence[bytes]) -> Iterator[list[bytes]]:
        """The ids in portions that may be read at once, as the messages are when each is asked
        for."""
        left = list(dict.fromkeys(ids))
        while left:
            count = self._fitting(left)
            yield left[:count]
            del left[:count]

    def _fitting(self, ids: Sequence[bytes]) -> int:
        size = 0
        for count, message_id in enumerate(ids[:MOST_AT_ONCE]):
            slot = self._slot(message_id)
            size += self._pending.index.size[slot] if slot >= 0 else 0
            if count and size > MOST_BYTES_AT_ONCE:
                return count
        return min(len(ids), MOST_AT_ONCE)

    async def read(self, slots: list[int]) -> list[tuple[Message, int]] | None:
        """The messages of these slots, each with the place of its record; None: one of them was
        settled or moved meanwhile.

        Raises:
            LogError: as `read_messages` says.
        """
        places = [self._pending.index.position[slot] for slot in slots]
        messages = await read_messages(self._log, self._pending, slots, partition=self._partition)
        return None if messages is None else list(zip(messages, places, strict=True))

    def is_as_read(self, message: Message, place: int) -> bool:
        """Whether a message that was read waits still, and is as it was then."""
        index, slot = self._pending.index, message.slot
        return (
            index.holds(slot, message.position, message.incarnation)
            and index.position[slot] == place
            and index.attempts[slot] == message.attempt
            and self._taking_out.waits(slot)
        )

    def locate(self, message: Message) -> None:
        """Say where the pieces of a large body are now: they may have been copied since its message
        was read."""
        if message.chunks is not None:
            message.chunks = tuple(self._pending.owned.positions(message.slot))
