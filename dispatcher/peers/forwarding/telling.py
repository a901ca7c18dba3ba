"""Who is told what the other process says of a message, or of the messages of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.peers.forwarding.encoding import DUPLICATE, STORED
from dispatcher.queue.ports import Acceptor, GroupReceipt, Receipt, Upload
from dispatcher.queue.refusals import NO_VERDICT


class Told(Protocol):
    """A receipt, of one message or of several."""

    @property
    def is_keyed(self) -> bool:
        """Whether the same again is known to be the same."""

    def tell(self, said: bytes) -> None:
        """This is the answer (`encoding`)."""

    def refused(self, refusal: Refusal) -> None:
        """Nothing was accepted."""

    def stay(self, intake: Acceptor, upload: Upload, place: bytes) -> None:
        """The body is an upload of this process."""


class One:
    """The caller of one message (`Told`)."""

    __slots__ = ("message", "receipt")

    def __init__(self, message: Message, receipt: Receipt) -> None:
        self.message = message
        self.receipt = receipt

    @property
    def is_keyed(self) -> bool:
        """See `Told`."""
        return is_keyed(self.message)

    def tell(self, said: bytes) -> None:
        """See `Told`."""
        tell_one(self.message, self.receipt, said)

    def refused(self, refusal: Refusal) -> None:
        """See `Told`."""
        self.receipt.refused(refusal)

    def stay(self, intake: Acceptor, upload: Upload, place: bytes) -> None:
        """See `Told`."""
        intake.accept(self.message, self.receipt, upload)


class All:
    """The caller of the messages of a group (`Told`)."""

    __slots__ = ("messages", "receipt")

    def __init__(self, messages: Sequence[Message], receipt: GroupReceipt) -> None:
        self.messages = messages
        self.receipt = receipt

    @property
    def is_keyed(self) -> bool:
        """See `Told`."""
        return is_keyed(self.messages[0])

    def tell(self, said: bytes) -> None:
        """See `Told`."""
        ids = said[1:].split(b",")
        if said[:1] == DUPLICATE:
            self.receipt.duplicate_all(ids)
        elif said[:1] == STORED and len(ids) == len(self.messages):
            for message, message_id in zip(self.messages, ids, strict=True):
                message.wire_id = message_id
            self.receipt.accepted_all(self.messages)
        else:
            self.receipt.refused(NO_VERDICT)

    def refused(self, refusal: Refusal) -> None:
        """See `Told`."""
        self.receipt.refused(refusal)

    def stay(self, intake: Acceptor, upload: Upload, place: bytes) -> None:
        """See `Told`."""
        intake.accept_all(self.messages, self.receipt, upload, place)


def is_keyed(message: Message) -> bool:
    """Whether the same message again is known to be the same."""
    return message.terms is not None and message.terms.stands_for_one


def tell_one(message: Message, receipt: Receipt, said: bytes) -> None:
    """Tell the caller of one message. An answer that is not known here says nothing."""
    if said[:1] == STORED:
        message.wire_id = said[1:]
        receipt.accepted(message)
    elif said[:1] == DUPLICATE:
        receipt.duplicate(said[1:])
    else:
        receipt.refused(NO_VERDICT)
