"""Makes the messages of schedules, each under the idempotency key of its firing: `NAME@TIME`.

A message is stored first, and the mark that says so after it. After a crash in between the message
is found by its key; and if it were made again, the key would make the second one the first.

What becomes of messages is looked at again and again while one of them waits, so that the queue
has nothing to tell, and its other messages pay nothing: soon after one was made, and every few
seconds of one that waits for long.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, Protocol

from dispatcher.core.destination import Destination, Origin
from dispatcher.core.instants import rfc3339
from dispatcher.core.message import Message
from dispatcher.errors import Refused
from dispatcher.schedules.plans import Firing, PlannedMessage
from dispatcher.schedules.ports import Ended, Order, Whose

MOST_BODY_BYTES: Final = 256 * 1024
CONFLICT: Final = "idempotency_conflict"
_FIRST_LOOK_US: Final = 250_000
_LONGEST_LOOK_US: Final = 8_000_000


class MessageOutcome(Enum):
    """What became of a message of a schedule; the value is the API's word.

    WAITING    it is neither delivered nor dead.
    DELIVERED  a destination has it.
    DEAD       it is, or was, a dead letter.
    CANCELLED  an operator has cancelled it.
    """

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Queue(Protocol):
    """What the maker needs of the queue. Ids are as on the wire."""

    async def accept(self, message: Message, accepted: Callable[[str], None]) -> None:
        """Store a message. `accepted` is told its id when it is durable, before it can have ended;
        or the id of the first one with its idempotency key.

        Raises:
            Refused: it is not stored.
        """

    def outcome(self, message_id: str) -> MessageOutcome | None:
        """What became of a message; None: nothing is left of it, and nobody knows why."""

    def with_key(self, destination: Destination, key: str) -> str | None:
        """The id of the message that an idempotency key of a destination stands for."""


Build = Callable[[PlannedMessage, str, int], Message]
"""Makes the message that is planned, with that idempotency key, accepted at that instant."""


class _Watched(NamedTuple):
    """A message that is waited for. `whose` is not known of one that was redriven."""

    at_us: int
    whose: Whose | None


class MessageMaker:
    """Implements `ports.Maker` for `PlannedMessage`. The key of a message is its id as a number."""

    stores_marks = False
    keeps_ends = False

    def __init__(self, queue: Queue, build: Build, now_us: Callable[[], int]) -> None:
        self._queue = queue
        self._build = build
        self._now_us = now_us
        self._ended: Ended = _nobody
        self._watched: dict[int, _Watched] = {}
        self._look_us = _FIRST_LOOK_US
        self._next_look_us = 0

    async def make(self, order: Order) -> None:
        """See `Maker`."""
        assert isinstance(order.what, PlannedMessage)
        key = firing_key(order.whose, order.at_us)
        message = self._build(order.what, key, self._now_us())

        def accepted(message_id: str) -> None:
            number = int(message_id, 16)
            order.made_as(number)
            self._watch(number, _Watched(order.at_us, order.whose))

        try:
            await self._queue.accept(message, accepted)
        except Refused as error:
            first = self._queue.with_key(message.destination, key)
            if error.refusal.slug != CONFLICT or first is None:
                raise
            accepted(first)  # it was made, and planned otherwise since

    def found(self, whose: Whose, at_us: int) -> int | None:
        """See `Maker`."""
        assert isinstance(whose.what, PlannedMessage)
        destination = Origin.parse(whose.what.destination.encode("ascii")).destination
        message_id = self._queue.with_key(destination, firing_key(whose, at_us))
        return None if message_id is None else int(message_id, 16)

    def tell(self, ended: Ended) -> None:
        """See `Maker`."""
        self._ended = ended

    def watch(self, whose: Whose, firing: Firing) -> None:
        """See `Maker`."""
        self._watch(firing.key, _Watched(firing.at_us, whose))

    def _watch(self, key: int, watched: _Watched) -> None:
        self._watched[key] = watched
        self._look_us = _FIRST_LOOK_US
        self._next_look_us = min(self._next_look_us, self._now_us() + _FIRST_LOOK_US)

    def look(self) -> float | None:
        """See `Maker`. It may be asked often, and looks only when it is time to."""
        now_us = self._now_us()
        if not 0 < self._next_look_us - now_us <= _LONGEST_LOOK_US:  # the clock may be set back
            self._look_at_all()
            self._next_look_us = now_us + self._look_us
            self._look_us = min(2 * self._look_us, _LONGEST_LOOK_US)
        return (self._next_look_us - now_us) / 1_000_000 if self._watched else None

    def _look_at_all(self) -> None:
        for key, watched in list(self._watched.items()):
            outcome = self._queue.outcome(self.id_of(key))
            if outcome is MessageOutcome.WAITING:
                continue
            del self._watched[key]
            if outcome is None:
                outcome = self._supposed(key, watched)
            self._ended(key, None if outcome is None else outcome.value)

    def _supposed(self, key: int, watched: _Watched) -> MessageOutcome | None:
        """What became of a message of which nothing is left: it was delivered before its partition
        was opened, then its idempotency key still stands for it; or it was cancelled."""
        if watched.whose is None:
            return None
        is_kept = self.found(watched.whose, watched.at_us) == key
        return MessageOutcome.DELIVERED if is_kept else None

    def is_alive(self, key: int) -> bool:
        """See `Maker`. Whoever asks is told when it has ended."""
        is_alive = self._queue.outcome(self.id_of(key)) is MessageOutcome.WAITING
        if is_alive and key not in self._watched:  # it was redriven
            self._watch(key, _Watched(0, None))
        return is_alive

    def id_of(self, key: int) -> str:
        """See `Maker`."""
        return f"{key:028x}"

    def state_now(self, key: int) -> str | None:
        """See `Maker`."""
        outcome = self._queue.outcome(self.id_of(key))
        return None if outcome is None else outcome.value

    async def ended_as(self, firing: Firing) -> str | None:
        """See `Maker`. Marks say it."""
        return None


def firing_key(whose: Whose, at_us: int) -> str:
    """The idempotency key of a firing. Where API keys are set, schedules of two of them may have
    one name: then the name of the key comes first."""
    return f"{whose.application}{'/' if whose.application else ''}{whose.name}@{rfc3339(at_us)}"


def _nobody(key: int, word: str | None) -> None:
    """Nobody keeps schedules yet."""
