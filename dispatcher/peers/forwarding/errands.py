"""What is on its way to a partition of another process: a message, or those of a group.

send ─▶ answered: the caller is told
     ├▶ not asked: held, and sent when the process is there; refused when it does not come
     ├▶ refused over there: refused here
     ├▶ not there any more: held, and sent where it is by then; or taken here, if that is here
     └▶ nobody knows: with an idempotency key sent once more, else the caller is cut off
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from dispatcher.core.message import Message
from dispatcher.errors import DispatcherError, Refusal, Refused
from dispatcher.peers.errors import Broken, NotConnected
from dispatcher.peers.forwarding.encoding import Head, encode_group
from dispatcher.peers.forwarding.telling import All, is_keyed, tell_one
from dispatcher.peers.kinds import Kind
from dispatcher.peers.peer import Peer
from dispatcher.queue.ports import Acceptor, GroupReceipt, Receipt
from dispatcher.queue.records.messages import encode_message
from dispatcher.queue.refusals import (
    GROUP_TOO_LARGE,
    IDEMPOTENCY_CONFLICT,
    MOVED,
    NO_VERDICT,
    SHUTTING_DOWN,
)

_ACCEPT: Final = Kind.ACCEPT
_MANY_BYTES: Final = 512
_NOT_THERE: Final = frozenset((MOVED.slug, SHUTTING_DOWN.slug))


class Past:
    """What has happened to an errand that was not answered at once. `until_s` is how long it may be
    held, by the loop's clock. `may_be_stored`: it was sent before, and nobody knows whether it
    came."""

    __slots__ = ("may_be_stored", "until_s")

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s
        self.may_be_stored = False


class Errand(Protocol):
    """What is sent, and held while it can't be; `past` is None for what never was."""

    past: Past | None

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

    def stay(self, intake: Acceptor) -> None:
        """The partition is this process's now: have it taken here."""

    def refused(self, refusal: Refusal) -> None:
        """It is over."""


class Way(Protocol):
    """How errands get to their partition (`remote`)."""

    @property
    def partition(self) -> int:
        """The partition that is to take what is sent now."""

    @property
    def head(self) -> bytes:
        """How the payload of a plain message for it begins."""

    def failed(self, errand: Errand, error: DispatcherError) -> None:
        """It was not answered: see to it."""


def may_be_stored(errand: Errand) -> bool:
    """Whether it was sent before, and nobody knows whether it came."""
    return errand.past is not None and errand.past.may_be_stored


def is_not_there(error: DispatcherError) -> bool:
    """Whether who was asked has not stored it because the partition is not there (any more)."""
    return isinstance(error, Refused) and error.refusal.slug in _NOT_THERE


def refusal_for(errand: Errand, error: DispatcherError) -> Refusal | None:
    """What its caller is told after an error; None: it is to be sent (again)."""
    if isinstance(error, NotConnected):
        return None
    if isinstance(error, Refused):
        return _of_a_later_try(error.refusal) if may_be_stored(errand) else error.refusal
    if isinstance(error, Broken) and errand.is_keyed and not may_be_stored(errand):
        return None
    return NO_VERDICT


def refusal_when_late(errand: Errand) -> Refusal:
    """What its caller is told when the other process did not come."""
    return NO_VERDICT if may_be_stored(errand) else MOVED


def _of_a_later_try(refusal: Refusal) -> Refusal:
    """It says nothing of the first try, unless another request has its key."""
    return refusal if refusal.slug == IDEMPOTENCY_CONFLICT.slug else NO_VERDICT


class _Unsure:
    """Who hears of a message that was sent before, and may be stored (`ports.Receipt`)."""

    __slots__ = ("_receipt",)

    def __init__(self, receipt: Receipt) -> None:
        self._receipt = receipt

    def accepted(self, message: Message) -> None:
        """See `Receipt`."""
        self._receipt.accepted(message)

    def duplicate(self, message_id: bytes) -> None:
        """See `Receipt`: mostly of the first try."""
        self._receipt.duplicate(message_id)

    def refused(self, refusal: Refusal) -> None:
        """See `Receipt`."""
        self._receipt.refused(_of_a_later_try(refusal))


class _AllUnsure:
    """As `_Unsure`, for the messages of a group (`ports.GroupReceipt`)."""

    __slots__ = ("_receipt",)

    def __init__(self, receipt: GroupReceipt) -> None:
        self._receipt = receipt

    def accepted_all(self, messages: Sequence[Message]) -> None:
        """See `GroupReceipt`."""
        self._receipt.accepted_all(messages)

    def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
        """See `GroupReceipt`."""
        self._receipt.duplicate_all(message_ids)

    def refused(self, refusal: Refusal) -> None:
        """See `GroupReceipt`."""
        self._receipt.refused(_of_a_later_try(refusal))


def take(errand: Errand, intake: Acceptor, message: Message, receipt: Receipt) -> None:
    """Have a message taken by a partition of this process."""
    receipt = _Unsure(receipt) if may_be_stored(errand) else receipt
    refusal = intake.refusal()
    if refusal is not None:
        receipt.refused(refusal)
    else:
        intake.accept(message, receipt)


class Single:
    """A message (`Errand`), and who waits for the answer (`link.Waiter`)."""

    __slots__ = ("_message", "_receipt", "_way", "past")

    past: Past | None

    is_over = False

    def __init__(self, way: Way, message: Message, receipt: Receipt) -> None:
        self._way = way
        self._message = message
        self._receipt = receipt
        self.past = None

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
        peer.begin(_ACCEPT, self._way.head + encode_message(self._message), self)

    def stay(self, intake: Acceptor) -> None:
        """See `Errand`."""
        take(self, intake, self._message, self._receipt)

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

    __slots__ = ("_place", "_told", "_way", "past")

    is_over = False

    def __init__(self, way: Way, told: All, place: bytes) -> None:
        self._way = way
        self._told = told
        self._place = place
        self.past: Past | None = None

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
        head = Head(self._way.partition, place=self._place).encode()
        payload = encode_group(head, self._told.messages)
        try:
            peer.begin(Kind.ACCEPT_ALL, payload, self)
        except ValueError:  # more than a frame holds, and so more than a batch of the log
            self.refused(GROUP_TOO_LARGE)

    def stay(self, intake: Acceptor) -> None:
        """See `Errand`."""
        messages, receipt = self._told.messages, self._told.receipt
        receipt = _AllUnsure(receipt) if may_be_stored(self) else receipt
        refusal = intake.refusal()
        if refusal is not None:
            receipt.refused(refusal)
        else:
            intake.accept_all(messages, receipt, None, self._place)

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

    __slots__ = ("_payload", "_told", "_way", "past")

    is_over = False
    is_keyed = True

    def __init__(self, way: Way, payload: bytes, told: Callable[[int | None], None]) -> None:
        """`told` is told a bit for each key; None: nobody can say now."""
        self._way = way
        self._payload = payload
        self._told = told
        self.past: Past | None = None

    @property
    def size_bytes(self) -> int:
        """See `Errand`."""
        return _MANY_BYTES + len(self._payload)

    def go(self, peer: Peer) -> None:
        """See `Errand`."""
        peer.begin(Kind.KNOWN, self._payload, self)

    def stay(self, intake: Acceptor) -> None:
        """See `Errand`: who asks for keys asks a partition of before, and none of those moves."""
        self._told(None)

    def refused(self, refusal: Refusal) -> None:
        """See `Errand`."""
        self._told(None)

    def answered(self, payload: bytes) -> None:
        """See `link.Waiter`."""
        self._told(int(payload) if payload.isdigit() else None)

    def failed(self, error: DispatcherError) -> None:
        """See `link.Waiter`."""
        self._way.failed(self, error)
