"""The answers of one connection, in the order of its requests.

Requests are answered when they are durable, refusals at once: without this, the refusal of a
pipelined request would overtake the 202 of the one before it. Nothing is kept for an answer but how
it has to look.

The queue answers most requests in the order in which it got them. One that it may answer earlier or
later has a `Place` of its own among the answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from dispatcher.core.answer import Answer
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.ingress import answers
from dispatcher.ingress.answers import ACCEPTED_TAIL
from dispatcher.ingress.relayed import relayed
from dispatcher.ingress.shared import Shared
from dispatcher.queue.ports import CHUNK_BYTES

MAX_WAITING: Final = 64
"""Requests of one connection that may wait for their answers."""
MAX_HELD_BYTES: Final = CHUNK_BYTES
"""Bytes of their bodies; another request is read only while there are fewer.

Not more than `CHUNK_BYTES`, or answers come out of order: the queue promises its receipts in the
order of `accept`, but a message with an upload is submitted when the last chunk is durable, and a
small one after it would overtake it. Every body with an upload is longer than `CHUNK_BYTES`, so
that nothing is read after it until it was answered."""

_READY: Final = -1
_PLACE: Final = -2


class Place:
    """The `Receipt` of a request that may be answered before those in front of it, or after those
    behind it. `style` says how its answer has to look."""

    __slots__ = ("_outbox", "style")

    def __init__(self, outbox: Outbox, style: int) -> None:
        self._outbox = outbox
        self.style = style

    def accepted(self, message: Message) -> None:
        """The message is durable."""
        self._outbox.fill(self, message.wire_id, is_duplicate=False)

    def accepted_all(self, message_ids: Sequence[bytes]) -> None:
        """The messages of a request to a group are durable."""
        self._outbox.fill(self, b",".join(message_ids), is_duplicate=False)

    def duplicate(self, message_id: bytes) -> None:
        """Nothing was stored."""
        self._outbox.fill(self, message_id, is_duplicate=True)

    def refused(self, refusal: Refusal) -> None:
        """The message was not accepted."""
        self._outbox.fill_refused(self, refusal)


class Outbox:
    """The `Receipt` of every request of a connection: the queue tells it when a message is durable.

    `_waiting` has one entry an answer that is still owed: its style, or _READY for one that is
    rendered already and only waits for those before it, or _PLACE for one whose receipt is next in
    `_places`. `is_blocked` is set by the connection while the caller does not read. With `ends`
    the next answer after which none is owed says that the connection ends, and `has_said_end`.
    """

    __slots__ = (
        "_cut",
        "_emptied",
        "_held_bytes",
        "_places",
        "_ready",
        "_shared",
        "_waiting",
        "_write",
        "ends",
        "has_said_end",
        "is_blocked",
    )

    def __init__(self, shared: Shared, emptied: Callable[[], None]) -> None:
        self._shared = shared
        self._write: Callable[[bytes], None] = _nowhere
        self._cut: Callable[[], None] = _nothing
        self._emptied = emptied
        self._waiting: deque[int] = deque()
        self._ready: deque[bytes] = deque()
        self._places: list[Place] = []
        self._held_bytes = 0
        self.is_blocked = False
        self.ends = shared.stopping
        self.has_said_end = False

    def __repr__(self) -> str:
        blocked = ", blocked" if self.is_blocked else ""
        return f"<Outbox {len(self._waiting)} answers owed{blocked}>"

    def connect(self, write: Callable[[bytes], None], cut: Callable[[], None]) -> None:
        """From now on answers are written with `write`; `cut` ends the connection without one."""
        self._write = write
        self._cut = cut

    @property
    def is_empty(self) -> bool:
        """Whether every request was answered."""
        return not self._waiting

    @property
    def is_full(self) -> bool:
        """Whether no request should be read until some were answered."""
        return (
            len(self._waiting) >= MAX_WAITING
            or self._held_bytes >= MAX_HELD_BYTES
            or self.is_blocked
            or self.has_said_end
        )

    def expect(self, style: int, body_size: int) -> None:
        """A message goes to the queue; one of `accepted` and `refused` follows, in order."""
        self._waiting.append(style)
        self._held_bytes += body_size

    def place(self, style: int, body_size: int) -> Place:
        """A message goes to the queue, which may answer it out of order: return its receipt."""
        place = Place(self, style)
        self._places.append(place)
        self._waiting.append(_PLACE)
        self._held_bytes += body_size
        return place

    def wait(self, style: int, body_size: int) -> Place:
        """The same of a message of which the caller waits for the outcome: nothing is read after it
        until it was answered. So there is one at most, and its answer is the last."""
        return self.place(style, body_size + MAX_HELD_BYTES)

    def put(self, answer: bytes) -> None:
        """Write an answer that needs no receipt, after those that are still owed."""
        if self._waiting:
            self._waiting.append(_READY)
            self._ready.append(answer)
        else:
            self._write(answer)

    def accepted(self, message: Message) -> None:
        """The message is durable: write its 202."""
        style = self._waiting.popleft()
        shared = self._shared
        if style or self.ends:
            self._waiting.appendleft(style)
            at = self._first_plain()
            style = self._style(at, self._waiting[at])
            self._answer(at, answers.accepted(message.wire_id, style=style, date=shared.date))
            return
        self._write(shared.accepted_start + message.wire_id + ACCEPTED_TAIL)
        self._advance()

    def duplicate(self, message_id: bytes) -> None:
        """Only a message that has a `Place` can be one."""
        raise AssertionError("a message without an idempotency key is no duplicate")

    def refused(self, refusal: Refusal) -> None:
        """The queue did not take the message after all: write why."""
        at = self._first_plain()
        self._refuse(at, self._waiting[at], refusal)

    def fill(self, place: Place, message_id: bytes, *, is_duplicate: bool) -> None:
        """Write the 202 of a request that has a place."""
        at = self._leave(place)
        style = self._style(at, place.style)
        date = self._shared.date
        answer = answers.accepted(message_id, style=style, date=date, is_duplicate=is_duplicate)
        self._answer(at, answer)

    def fill_ended(
        self,
        place: Place,
        message_id: bytes,
        outcome: bytes,
        answer: Answer | None,
        error: str | None,
    ) -> None:
        """Write what became of the message of a request that has a place: the destination's answer
        if it is there, and otherwise why not. One that is too large to be kept is neither."""
        at = self._leave(place)
        style = self._style(at, place.style)
        date = self._shared.date
        if answer is not None and answer.is_whole:
            text = relayed(answer, message_id, outcome=outcome, style=style, date=date)
        elif answer is None and error is not None:
            text = answers.unanswered(message_id, error, style=style, date=date)
        else:
            text = answers.accepted(message_id, style=style, date=date, outcome=outcome)
        self._answer(at, text)

    def fill_refused(self, place: Place, refusal: Refusal) -> None:
        """Write why the queue did not take a request that has a place."""
        self._refuse(self._leave(place), place.style, refusal)

    def disconnect(self) -> None:
        """The caller is gone: messages under way stay accepted, their answers go nowhere."""
        self._write = _nowhere
        self._cut = self._emptied = _nothing

    def _first_plain(self) -> int:
        """Where the answer that comes in order is owed: those in front of it have places, or wait
        for one."""
        at = 0
        while self._waiting[at] < 0:
            at += 1
        return at

    def _leave(self, place: Place) -> int:
        """Where the answer with this place is owed; the place is not needed any more."""
        before = self._places.index(place)
        del self._places[before]
        at = 0
        while before or self._waiting[at] != _PLACE:
            before -= self._waiting[at] == _PLACE
            at += 1
        return at

    def _style(self, at: int, style: int) -> int:
        """How an answer has to look: the last one of a connection says that it ends."""
        if not self.ends or at < len(self._waiting) - 1:
            return style
        self.has_said_end = True
        return style | answers.CLOSE

    def _refuse(self, at: int, style: int, refusal: Refusal) -> None:
        shared = self._shared
        shared.count_refusal(refusal)
        if refusal.is_silent:  # those before and behind it hear no more either, which says the same
            cut = self._cut
            self.disconnect()
            cut()
            return
        style = self._style(at, style)
        self._answer(at, answers.refused(refusal, style=style, date=shared.date))

    def _answer(self, at: int, answer: bytes) -> None:
        """Write an answer, or keep it until those in front of it are known."""
        waiting = self._waiting
        if not at:
            waiting.popleft()
            self._write(answer)
            self._advance()
            return
        behind = sum(waiting[other] == _READY for other in range(at))
        self._ready.insert(behind, answer)
        waiting[at] = _READY

    def _advance(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0] == _READY:
            waiting.popleft()
            self._write(self._ready.popleft())
        if not waiting:
            self._held_bytes = 0
            self._emptied()


def _nowhere(data: bytes) -> None:
    """Drop an answer: the caller is gone."""


def _nothing() -> None:
    """Do nothing: the connection is gone."""
