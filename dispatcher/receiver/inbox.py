"""Each message handled once: a store, seen from who handles messages.

A handler that fails frees its message, so that the retry is handled. Between the end of a handler
and the store's word that it was handled there is a moment in which a crash has it handled again:
less than that needs the handler's own transaction.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from dispatcher.errors import DispatcherError
from dispatcher.receiver.store import Claimed, Handled, Running, Store, StoreUnavailable

LEASE_S: Final = 300
"""How long a message stays with a process that was killed; ten retries take longer."""

_log: Final = logging.getLogger("dispatcher.receiver")


class MessageRunning(DispatcherError):
    """The message is being handled by somebody else. Whether that ends well is not known yet, so
    the sender has to ask again, after `retry_after_s`."""

    slug = "message_running"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            "The message is being handled, by another request or by a process that was killed. "
            f"Send it again in {retry_after_s} s."
        )
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Handling:
    """The right to handle one message, until `finish` or `release`."""

    inbox: Inbox
    message_id: str
    token: str

    def finish(self) -> None:
        """The message was handled. A store that can't keep that is told in the log: what was done
        can't be undone, and the sender had better not send it again."""
        try:
            self.inbox.store.finish(self.message_id, now_us=self.inbox.now_us())
        except StoreUnavailable as error:
            _log.error("message %s was handled, and may be again: %s", self.message_id, error)

    def release(self) -> None:
        """The message was not handled. A store that can't free it is told in the log: it stays
        claimed until its lease is over."""
        try:
            self.inbox.store.release(self.message_id, self.token)
        except StoreUnavailable as error:
            _log.error("message %s stays claimed for a while: %s", self.message_id, error)


@dataclass(frozen=True, slots=True)
class Inbox:
    """A store, how long a claim holds, and the wall clock in seconds."""

    store: Store
    lease_s: float = LEASE_S
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if self.lease_s <= 0:
            raise ValueError(f"expected a lease of more than 0 s, got {self.lease_s}")

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return int(self.clock() * 1_000_000)

    def begin(self, message_id: str) -> Handling | None:
        """Claim a message, before it is handled. Returns None when it was handled before.

        Raises:
            MessageRunning: somebody handles it.
            StoreUnavailable: nobody knows.
        """
        token = uuid4().hex
        lease_us = int(self.lease_s * 1_000_000)
        match self.store.claim(message_id, token, now_us=self.now_us(), lease_us=lease_us):
            case Claimed():
                return Handling(self, message_id, token)
            case Handled():
                return None
            case Running() as running:
                raise MessageRunning(retry_after_s(running))


@contextmanager
def once(store: Store, message_id: str, *, lease_s: float = LEASE_S) -> Iterator[bool]:
    """Handle a message in the block, once:

        with once(store, message_id) as first:
            if first:
                handle(message)

    An exception that leaves the block frees the message again. `lease_s` is longer than the block
    ever takes: for so long a process that was killed in it keeps the message.

    Raises:
        MessageRunning: it is being handled by somebody else; answer 425 or 503, not 2xx.
        StoreUnavailable: the store can't tell; answer 503.
    """
    handling = Inbox(store, lease_s).begin(message_id)
    if handling is None:
        yield False
        return
    try:
        yield True
    except BaseException:
        handling.release()
        raise
    handling.finish()


def retry_after_s(running: Running) -> int:
    """Say when to ask again: what has run for a second may run for another one, and what has run
    for an hour for another hour. The retries of a sender then last, and it does not ask long after
    the lease either."""
    return max(1, math.ceil(min(running.for_us, running.left_us) / 1_000_000))
