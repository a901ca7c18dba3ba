"""RETRY records: what is known of a message that waits for its next attempt.

Nobody waits for one to be durable; until it is, its payload is kept in `Pending.unwritten`, because
the message may be due, and read back, before that. While the disk is full none is written, the
space that is kept back is for settling; those that were kept are written when there is space again.
"""

from __future__ import annotations

import asyncio

from dispatcher.core.clock import WallUs
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.records.retry import encode_retry, retry_facts

MAX_UNWRITTEN = 100_000
"""Payloads that are kept while the disk is full. Beyond that only the index counts the attempts:
a crash forgets them, and their lines in the history are lost."""


_AT_ONCE = 500
"""Records that are submitted before others get their turn."""


class Retries:
    """Writes the RETRY records of one queue."""

    __slots__ = ("_committer", "_pending")

    def __init__(self, pending: Pending, committer: Committer) -> None:
        self._pending = pending
        self._committer = committer

    def write(self, message: Message, due_at: WallUs, detail: str) -> None:
        """Write down that `message.attempt` attempts are made, and when the next one is due."""
        unwritten = self._pending.unwritten
        slot = message.slot
        if self._committer.full and len(unwritten) >= MAX_UNWRITTEN and slot not in unwritten:
            return
        payload = unwritten[slot] = encode_retry(message, due_at, detail)
        if not self._committer.full:
            self._submit(slot, payload)
            self._committer.wake_lazily()

    async def write_unwritten(self) -> None:
        """There is space again. Others get their turn in between, and what is written by then, or
        settled, is passed over."""
        unwritten = self._pending.unwritten
        slots = list(unwritten)
        for start in range(0, len(slots), _AT_ONCE):
            if self._committer.full:
                return  # all over again when there is space
            for slot in slots[start : start + _AT_ONCE]:
                if (payload := unwritten.get(slot)) is not None:
                    self._submit(slot, payload)
            self._committer.wake_lazily()
            await asyncio.sleep(0)

    def _submit(self, slot: int, payload: bytes) -> None:
        self._committer.copies.submit_attempt(payload, _StoredRetry(self._pending, slot, payload))


class _StoredRetry:
    """A RETRY record on its way; the index learns where it is, unless the message is done
    meanwhile."""

    __slots__ = ("_payload", "_pending", "_slot")

    def __init__(self, pending: Pending, slot: int, payload: bytes) -> None:
        self._pending = pending
        self._slot = slot
        self._payload = payload

    def stored(self, position: int) -> None:
        """The record is durable: it counts if the message is still there, and not copied since."""
        pending, slot = self._pending, self._slot
        pending.extents.note(position, len(self._payload) + OVERHEAD_BYTES)
        incarnation, id_position, attempts, _ = retry_facts(self._payload)
        assert incarnation is not None, "only recovery meets version 1"
        index = pending.index
        if not index.holds(slot, id_position, incarnation):
            return
        index.retry[slot] = position
        if index.attempts[slot] == attempts:
            pending.unwritten.pop(slot, None)

    def refused(self, refusal: Refusal) -> None:
        """There is no space: it stays unwritten until there is. Or the log failed and the process
        ends: the attempt is made again after the next start."""
