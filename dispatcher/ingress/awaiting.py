"""A request whose caller waits for what becomes of its message (`X-Dispatcher-Wait`).

    handed over ─▶ durable ─▶ awaited ─▶ delivered, dead: the destination's answer
                                     ├─▶ there will be a retry: 202
                                     ├─▶ its time is over, or the server stops: 202
                                     └─▶ the caller is gone: nobody is told

It changes nothing for the message, which is stored before it is attempted as any other. While one
waits no other request of its connection is read (`Outbox.wait`), so that there is one for each
connection at most, and the answers keep their order. What is in memory of answers is bounded where
they are read (`delivery.collecting`): one that found no room is not whole, and its caller gets 202.
The room is given back when the answer has left, so that a caller who does not read it can't have
the room of others used twice.
"""

from __future__ import annotations

from dispatcher.core.answer import Answer
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.ingress.outbox import Outbox, Place
from dispatcher.ingress.shared import Shared, Timer


class Awaiting:
    """Such a request: its `ports.Receipt`, and the `ports.Waiter` of its message."""

    __slots__ = ("_answer", "_message_id", "_outbox", "_place", "_shared", "_timer", "_until_s")

    def __init__(self, shared: Shared, outbox: Outbox, place: Place, wait_ms: int) -> None:
        """`place` is that of its answer; it waits for so long from now on."""
        self._shared = shared
        self._outbox = outbox
        self._place = place
        self._until_s = shared.clock() + wait_ms / 1000
        self._message_id = b""
        self._timer: Timer | None = None
        self._answer: Answer | None = None

    # As a receipt.

    def accepted(self, message: Message) -> None:
        """The message is durable: from now on it is awaited."""
        self._message_id = message.wire_id
        left_s = self._until_s - self._shared.clock()
        if left_s <= 0 or self._shared.stopping:
            self._place.accepted(message)
            return
        self._shared.acceptor.await_end(message, self)
        self._timer = self._shared.call_later(left_s, self.stop)

    def duplicate(self, message_id: bytes) -> None:
        """Nothing was stored: what becomes of the first message is not waited for."""
        self._place.duplicate(message_id)

    def refused(self, refusal: Refusal) -> None:
        """The message was not accepted."""
        self._place.refused(refusal)

    # As a waiter.

    def ended(self, answer: Answer | None, error: str | None) -> None:
        """The message has ended."""
        self._cancel()
        outcome = b"delivered" if error is None else b"dead"
        self._answer = answer
        self._outbox.fill_ended(self._place, self._message_id, outcome, answer, error)

    def undecided(self) -> None:
        """There will be a retry."""
        self._cancel()
        self._outbox.fill(self._place, self._message_id, is_duplicate=False)

    # As the connection has it.

    def stop(self) -> None:
        """Wait no more: answer as soon as the message is durable, if it was not answered yet."""
        if self._timer is None:
            self._until_s = 0.0
            return
        self._shared.acceptor.forget(self._message_id)
        self.undecided()

    def leave(self) -> None:
        """The caller is gone. Idempotent."""
        if self._timer is not None:
            self._cancel()
            self._shared.acceptor.forget(self._message_id)
        self._until_s = 0.0
        self.release()

    def release(self) -> None:
        """The answer has left, or never will. Idempotent."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.release()

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
