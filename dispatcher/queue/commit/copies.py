"""Copies: records that move what is needed to the log's end, so that its beginning can be given
back (`compaction`).

They keep their place among the urgent records: behind the record that ends a message, its copy
would bring it back. But they are not needed as those are, for what they copy is durable where it
is. So they leave what is kept back alone, and when there is no space they are refused, and never
wait: whoever copies has to give way to what ends messages, and to the trimming of what is dead.

On a full disk they may take as much of what is kept back as they are allowed.

Records of attempts are not needed that much either, and a destination that is down could use up
what is kept back before anybody knew that the disk is full. So they leave it alone too, and are
refused when there is no space: they are written later (`retries`). For anything else than space
they wait.
"""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.errors import Refusal
from dispatcher.queue.commit.telling import Waiter
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import DISK_FULL


class Copies:
    """The records on their way into one log that leave alone what is kept back. `under_way` says
    how many there are; `full`, set by the committer, that the disk is."""

    __slots__ = ("_allowed_bytes", "_submit_urgent", "full", "under_way")

    def __init__(self, submit_urgent: Callable[[bytes, Waiter], None]) -> None:
        self.under_way = 0
        self.full = False
        self._allowed_bytes = 0
        self._submit_urgent = submit_urgent

    def allow(self, most_bytes: int) -> None:
        """While the disk is full, copies may take so much from now on, and no more."""
        self._allowed_bytes = most_bytes

    def submit(self, payload: bytes, waiter: Waiter) -> None:
        """Queue a copy, or refuse it, at once or later. Starts no batch."""
        if self.full:
            size = len(payload) + OVERHEAD_BYTES
            if size > self._allowed_bytes:
                waiter.refused(DISK_FULL)
                return
            self._allowed_bytes -= size
        self.under_way += 1
        self._submit_urgent(payload, Modest(self, waiter, is_copy=True))

    def submit_attempt(self, payload: bytes, waiter: Waiter) -> None:
        """Queue the record of an attempt. Starts no batch."""
        self.under_way += 1
        self._submit_urgent(payload, Modest(self, waiter, is_copy=False))


class Modest:
    """The waiter of such a record."""

    __slots__ = ("_copies", "_waiter", "is_copy")

    def __init__(self, copies: Copies, waiter: Waiter, *, is_copy: bool) -> None:
        self.is_copy = is_copy
        self._copies = copies
        self._waiter = waiter

    def stored(self, position: int) -> None:
        """It is durable."""
        self._copies.under_way -= 1
        self._waiter.stored(position)

    def refused(self, refusal: Refusal) -> None:
        """It is not stored."""
        self._copies.under_way -= 1
        self._waiter.refused(refusal)
