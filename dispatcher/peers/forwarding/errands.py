"""What is on its way to a partition of another process: a message, or those of a group.

send ─▶ answered: the caller is told
     ├▶ not asked: held, and sent when the process is there; refused when it does not come
     ├▶ refused over there: refused here
     └▶ nobody knows: with an idempotency key sent once more, else the caller is cut off
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dispatcher.core.message import Message
from dispatcher.errors import DispatcherError, Refusal, Refused
from dispatcher.peers.errors import Broken, NotConnected
from dispatcher.peers.forwarding.encoding import encode_group
from dispatcher.peers.forwarding.telling import All, is_keyed, tell_one
from dispatcher.peers.kinds import Kind
from dispatcher.peers.links import Peer
from dispatcher.queue.ports import Receipt
from dispatcher.queue.records.messages import encode_message
from dispatcher.queue.refusals import GROUP_TOO_LARGE, IDEMPOTENCY_CONFLICT, MOVED, NO_VERDICT

_MANY_BYTES = 512


class Errand(Protocol):
    """What is sent, and held while it can't be.

    `until_s` is how long it may be held, by the loop's clock; 0: it never was. `may_be_stored`: it
    was sent before, and nobody knows whether it came.
    """

    until_s: float
    may_be_stored: bool

    @property
    def is_over(self) -> bool:
        """Whether nobody wants it sent any more."""

    @property
    def is_keyed(self) -> bool:
        """Whether it may be sent again, as it is known then."""

    @property
    def size_bytes(self) -> int:
        """In memory; the same while it is held."""

    def go(self, peer: Peer) -> None:
        """Send it.

        Raises:
            NotConnected: it can't be now.
        """

    def refused(self, refusal: Refusal) -> None:
        """It is over."""


class Way(Protocol):
    """How errands get to their partition (`remote`)."""

    @property
    def head(self) -> bytes:
        """How the payload of a plain message begins."""

    def failed(self, errand: Errand, error: DispatcherError) -> None:
        """It was not answered: see to it."""


def refusal_for(errand: Errand, error: DispatcherError) -> Refusal | None:
    """What its caller is told after an error; None: it is to be sent (again)."""
    if isinstance(error, NotConnected):
        return None
    if isinstance(error, Refused):
        # A refusal of the second try says nothing of the first, unless another request has its key.
        is_sure = not errand.may_be_stored or error.refusal.slug == IDEMPOTENCY_CONFLICT.slug
        return error.refusal if is_sure else NO_VERDICT
    if isinstance(error, Broken) and errand.is_keyed and not errand.may_be_stored:
        return None
    return NO_VERDICT


def refusal_when_late(errand: Errand) -> Refusal:
    """What its caller is told when the other process did not come."""
    return NO_VERDICT if errand.may_be_stored else MOVED


class Single:
    """A message (`Errand`), and who waits for the answer (`link.Waiter`)."""

    __slots__ = ("_message", "_receipt", "_way", "may_be_stored", "until_s")

    is_over = False

    def __init__(self, way: Way, message: Message, receipt: Receipt) -> None:
        self._way = way
        self._message = message
        self._receipt = receipt
        self.until_s = 0.0
        self.may_be_stored = False

    @property
    def is_keyed(self) -> bool:
        """See `Errand`."""
        return is_keyed(self._message)

    @property
    def size_bytes(self) -> int:
        """See `Errand`."""
        return _MANY_BYTES + len(self._message.head) + len(self._message.body)

    def go(self, peer: Peer) -> None:
        """See `Errand`."""
        peer.begin(Kind.ACCEPT, self._way.head + encode_message(self._message), self)

    def refused(self, refusal: Refusal) -> None:
        """See `Errand`."""
        self._receipt.refused(refusal)

    def answered(self, payload: bytes) -> None:
        """See `link.Waiter`."""
        tell_one(self._message, self._receipt, payload)

    def failed(self, error: DispatcherError) -> None:
        """See `link.Waiter`."""
        self._way.failed(self, error)


class Group:
    """The messages of a group (`Errand`), and who waits for the answer (`link.Waiter`)."""

    __slots__ = ("_head", "_told", "_way", "may_be_stored", "until_s")

    is_over = False

    def __init__(self, way: Way, told: All, head: bytes) -> None:
        self._way = way
        self._told = told
        self._head = head
        self.until_s = 0.0
        self.may_be_stored = False

    @property
    def is_keyed(self) -> bool:
        """See `Errand`."""
        return self._told.is_keyed

    @property
    def size_bytes(self) -> int:
        """See `Errand`."""
        messages = self._told.messages
        heads = sum(_MANY_BYTES + len(message.head) for message in messages)
        return heads + len(messages[0].body)

    def go(self, peer: Peer) -> None:
        """See `Errand`."""
        payload = encode_group(self._head, self._told.messages)
        try:
            peer.begin(Kind.ACCEPT_ALL, payload, self)
        except ValueError:  # more than a frame holds, and so more than a batch of the log
            self.refused(GROUP_TOO_LARGE)

    def refused(self, refusal: Refusal) -> None:
        """See `Errand`."""
        self._told.refused(refusal)

    def answered(self, payload: bytes) -> None:
        """See `link.Waiter`."""
        self._told.tell(payload)

    def failed(self, error: DispatcherError) -> None:
        """See `link.Waiter`."""
        self._way.failed(self, error)


class Inquiry:
    """Which of some keys the partition knows (`Errand`), and who wants to know (`link.Waiter`). It
    changes nothing, and may be asked twice."""

    __slots__ = ("_payload", "_told", "_way", "may_be_stored", "until_s")

    is_over = False
    is_keyed = True

    def __init__(self, way: Way, payload: bytes, told: Callable[[int | None], None]) -> None:
        """`told` is told a bit for each key; None: nobody can say now."""
        self._way = way
        self._payload = payload
        self._told = told
        self.until_s = 0.0
        self.may_be_stored = False

    @property
    def size_bytes(self) -> int:
        """See `Errand`."""
        return _MANY_BYTES + len(self._payload)

    def go(self, peer: Peer) -> None:
        """See `Errand`."""
        peer.begin(Kind.KNOWN, self._payload, self)

    def refused(self, refusal: Refusal) -> None:
        """See `Errand`."""
        self._told(None)

    def answered(self, payload: bytes) -> None:
        """See `link.Waiter`."""
        self._told(int(payload) if payload.isdigit() else None)

    def failed(self, error: DispatcherError) -> None:
        """See `link.Waiter`."""
        self._way.failed(self, error)
