"""Messages and their large bodies, read back from the transaction log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dispatcher.core.answer import MOST_WAITED_BYTES
from dispatcher.core.message import Message
from dispatcher.errors import LogBusy, LogError, LogTrimmed
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.ports import BodyUnavailable
from dispatcher.queue.records.chunks import decode_chunk
from dispatcher.queue.records.kinds import RecordError
from dispatcher.queue.records.messages import decode_stored
from dispatcher.queue.records.retry import decode_retry
from dispatcher.txlog import TransactionLog

AGAIN_SECONDS = 1.0
"""How long after `LogBusy` a record is read again."""


async def read_messages(
    log: TransactionLog, pending: Pending, slots: list[int], *, partition: int
) -> list[Message] | None:
    """Read the messages of these slots back, with their attempts and history as they are at the
    call, in the order given. None: one of them was settled or copied forward meanwhile, and what
    lay at its place is gone; ask again.

    A slot may be settled or copied forward without that: the caller sees whether what was read
    still counts. A record of another kind than the index says is a mistake in this program, not
    damage of the disk: `RecordError`.

    Raises:
        LogCorrupt: the disk gave back something else than was written.
        LogTrimmed: a message that is needed, and was not copied, is gone. Asking again would never
            end.
        LogBusy: descriptors or memory are lacking; ask again after `AGAIN_SECONDS`.
    """
    index = pending.index
    # The newest RETRY record may still be on its way, or not be written at all while the disk is
    # full. The index has counted it.
    attempts = [index.attempts[slot] for slot in slots]
    unwritten = [(slot, pending.unwritten[slot]) for slot in slots if slot in pending.unwritten]
    positions = [index.position[slot] for slot in slots]
    tried = [slot for slot in slots if index.retry[slot] and slot not in pending.unwritten]
    positions += [index.retry[slot] for slot in tried]
    ids = [(index.id_position[slot], index.incarnation_of(slot)) for slot in slots]
    known = [pending.destination_of(slot) for slot in slots]
    try:
        payloads = await log.read(positions)
    except LogTrimmed:
        if not all(index.holds(slot, *id_) for slot, id_ in zip(slots, ids, strict=True)):
            return None
        now = [index.position[slot] for slot in slots] + [index.retry[slot] for slot in tried]
        if now != positions:
            return None
        raise
    messages = []
    by_slot = {}
    for slot, position, payload, goes_to in zip(slots, positions, payloads, known, strict=False):
        message = decode_stored(position, payload, partition, goes_to)
        message.slot = slot
        if pending.awaited and message.wire_id in pending.awaited:
            message.want_start(MOST_WAITED_BYTES)
        by_slot[slot] = message
        messages.append(message)
    for slot, payload in [*zip(tried, payloads[len(slots) :], strict=True), *unwritten]:
        retry = decode_retry(payload)
        message = by_slot[slot]
        if retry.position != message.position or retry.incarnation not in (
            None,
            message.incarnation,
        ):
            raise RecordError(f"a retry of message {retry.position} where {message.position} was")
        message.history = retry.history
    for message, made in zip(messages, attempts, strict=True):
        message.attempt = made
    return messages


class Chunks(Protocol):
    """Reads chunk records back; raises what the log raises (`Bodies`)."""

    async def read(self, positions: list[int]) -> list[bytes]:
        """The data of these chunk records, in order."""


class Bodies:
    """Reads the chunks of large bodies back, wherever they are by now."""

    __slots__ = ("_log", "_pending")

    def __init__(self, log: TransactionLog, pending: Pending) -> None:
        self._log = log
        self._pending = pending

    async def read(self, positions: list[int]) -> list[bytes]:
        """The data of these chunk records, in order.

        A body that is copied forward while it is delivered is read from its new place.
        """
        while True:
            now = [self._pending.owned.where(position) for position in positions]
            try:
                return [decode_chunk(payload) for payload in await self._log.read(now)]
            except LogTrimmed:
                if now == [self._pending.owned.where(position) for position in positions]:
                    raise


class OutgoingBodies:
    """The chunks of large bodies, as delivery reads them. `failed` is told when the log can't be
    read any more, with the log's own error: what ends with it is for the partition to say."""

    __slots__ = ("_bodies", "_failed")

    def __init__(self, bodies: Chunks, failed: Callable[[Exception], None]) -> None:
        self._bodies = bodies
        self._failed = failed

    async def read(self, positions: list[int]) -> list[bytes]:
        """The data of these chunk records, in order.

        Raises:
            BodyUnavailable: with what the log said; `failed` was told before.
        """
        try:
            return await self._bodies.read(positions)
        except LogBusy as error:
            raise BodyUnavailable(str(error), passing=True) from error
        except (LogError, RecordError) as error:
            self._failed(error)
            raise BodyUnavailable(str(error), passing=False) from error
