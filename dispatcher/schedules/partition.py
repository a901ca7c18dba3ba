"""The partitions that messages of schedules are of, as their maker sees them: `messages.Queue`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dispatcher.core.destination import Destination
from dispatcher.core.idempotency import key_hash
from dispatcher.core.message import Message
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.partition import Partition
from dispatcher.queue.ports import Acceptor
from dispatcher.queue.records.ids import id_parts, wire_id
from dispatcher.queue.refusals import MOVED
from dispatcher.schedules.messages import MessageOutcome


def nowhere(message_id: str) -> MessageOutcome | None:
    """There are no other processes."""
    return None


class PartitionQueue:
    """Accepts messages of schedules into a partition, and looks for them there. Where there are
    several, the acceptor says which one takes a message."""

    def __init__(
        self,
        partitions: Sequence[Partition],
        acceptor: Acceptor,
        *,
        elsewhere: Callable[[str], MessageOutcome | None] = nowhere,
    ) -> None:
        """`partitions` are those of the process, which may come and go; `elsewhere` says what
        became of messages in those of other processes."""
        self._elsewhere = elsewhere
        self._partitions = partitions
        self._acceptor = acceptor

    async def accept(self, message: Message, accepted: Callable[[str], None]) -> None:
        """See `messages.Queue`."""
        if (refusal := self._acceptor.refusal()) is not None:
            raise Refused(refusal)
        receipt = _Receipt(accepted)
        self._acceptor.accept(message, receipt)
        await receipt.answered

    def with_key(self, destination: Destination, key: str) -> str | None:
        """See `messages.Queue`."""
        hashed = key_hash(destination.key, key)
        for partition in self._partitions:
            entry = partition.keys.standing(hashed)
            if entry is not None:
                number = partition.config.partition
                return wire_id(number, entry.incarnation, entry.position).decode("ascii")
        return None

    def outcome(self, message_id: str) -> MessageOutcome | None:
        """See `messages.Queue`."""
        try:
            return self.outcome_here(message_id)
        except Refused:
            return self._elsewhere(message_id)

    def outcome_here(self, message_id: str) -> MessageOutcome | None:
        """What became of a message of this process. It is pending until its dead letter is durable,
        and again from when that is redriven. What was accepted before its partition came here may
        have been delivered elsewhere, of which nothing is known here.

        Raises:
            Refused: its partition is not here.
        """
        key = message_id.encode("ascii")
        number, incarnation, position = id_parts(key)
        partition = next((one for one in self._partitions if one.config.partition == number), None)
        if partition is None:
            raise Refused(MOVED)
        if partition.pending.find(position, incarnation) >= 0:
            return MessageOutcome.WAITING
        if key in partition.dead_letters:
            return MessageOutcome.DEAD
        if partition.recent.find(position, incarnation) is not None:
            return MessageOutcome.DELIVERED
        return MessageOutcome.CANCELLED if position >= partition.opened_at else None


class _Receipt:
    """Waits for the answer that a caller would get (`queue.ports.Receipt`)."""

    def __init__(self, accepted: Callable[[str], None]) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._accepted = accepted

    def accepted(self, message: Message) -> None:
        """It is durable."""
        self._accepted(message.wire_id.decode("ascii"))
        if not self.answered.done():
            self.answered.set_result(None)

    def duplicate(self, message_id: bytes) -> None:
        """It is there already."""
        self._accepted(message_id.decode("ascii"))
        if not self.answered.done():
            self.answered.set_result(None)

    def refused(self, refusal: Refusal) -> None:
        """It is not stored."""
        if not self.answered.done():
            self.answered.set_exception(Refused(refusal))
