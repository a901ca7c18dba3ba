"""What operators can see and do: the surface that the management API stands on.

Plain values; instants are integer microseconds since the epoch. `Admin` is implemented by
`queue.administration` and has a twin for tests in `dispatcher.testing.admin`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from dispatcher.core.lifecycle import MessageState as MessageState
from dispatcher.queue.ports import CHUNK_BYTES


class Reason(Enum):
    """Why a message is not delivered yet; the value is the API's slug."""

    WAITING_TURN = "waiting_turn"
    BACKOFF = "backoff"
    BREAKER_OPEN = "breaker_open"
    RETRY_AFTER = "retry_after"
    DESTINATION_PAUSED = "destination_paused"
    LIMIT_REACHED = "limit_reached"
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    DEAD = "dead"


class Cancelled(Enum):
    """What came of a wish to cancel a message."""

    DONE = "done"
    UNKNOWN = "unknown"
    IN_FLIGHT = "in_flight"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class LaneView:
    """One destination. `paused_until_us` is None when nothing but its limit holds it up."""

    destination: str
    ready: int
    scheduled: int
    in_flight: int
    limit: int
    paused_until_us: int | None
    paused: bool
    breaker: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the start of the process (`_total`), and now."""

    accepted_total: int
    delivered_total: int
    dead_total: int
    ready: int
    scheduled: int
    in_flight: int
    dead: int
    log_bytes: int
    log_live_bytes: int


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message. `last_error` is a slug, `next_attempt_at_us` None unless SCHEDULED."""

    id: str
    state: MessageState
    destination: str
    method: str
    target: str
    accepted_at_us: int
    attempts: int
    next_attempt_at_us: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The one reason why a message is not delivered yet, with a sentence for people."""

    id: str
    state: MessageState
    reason: Reason
    message: str
    until_us: int | None
    expected_at_us: int | None


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters: all that match everything that is not None.

    `before_us` and `after_us` are compared with the instant of death, exclusively.
    """

    destination: str | None = None
    status: int | None = None
    error: str | None = None
    before_us: int | None = None
    after_us: int | None = None


@dataclass(frozen=True, slots=True)
class LetterView:
    """One dead letter as it is listed."""

    id: str
    destination: str
    method: str
    target: str
    accepted_at_us: int
    dead_at_us: int
    attempts: int
    last_status: int | None
    last_error: str | None
    reason: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt of a dead letter; `response_start` is known of the last one only."""

    attempt: int
    started_at_us: int
    duration_ms: int
    status: int | None
    error: str | None
    response_start: bytes | None


class LetterGone(Exception):
    """A dead letter was redriven or purged while it was read."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """A body that is there already."""

    data: bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), CHUNK_BYTES):
            yield self.data[start : start + CHUNK_BYTES]


@dataclass(frozen=True, slots=True)
class LetterDetail:
    """All of a dead letter. `headers` are name and value as bytes.

    `body` gives the body in pieces of at most `ports.CHUNK_BYTES`, each time it is gone through: a
    large one is read meanwhile. It raises `LetterGone` once the letter is redriven or purged.
    """

    letter: LetterView
    headers: Sequence[tuple[bytes, bytes]]
    body: AsyncIterable[bytes]
    detail: str
    redrives: int
    history: Sequence[AttemptView]


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Dead letters with the same destination and cause."""

    destination: str
    status: int | None
    error: str | None
    reason: str
    count: int
    size_bytes: int
    oldest_us: int
    newest_us: int


@dataclass(frozen=True, slots=True)
class LetterPage:
    """A page of dead letters, oldest first. `next_cursor` is None on the last one."""

    items: Sequence[LetterView]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of redriving or purging: how many, and the ids that are no dead letters."""

    count: int
    not_found: Sequence[str]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `kind` is accepted, attempted, delivered or dead; `fields` are the
    API's, instants as microseconds in `*_at`."""

    kind: str
    time_us: int
    id: str
    destination: str
    fields: Mapping[str, object]


class Listener(Protocol):
    """Who is told of events, synchronously and quickly."""

    def __call__(self, event: Event, /) -> None:
        """One event."""


class Admin(Protocol):
    """Everything the API asks of the queue. Ids are 28 lower-case hexadecimal digits.

    What changes something returns when it is durable, and raises `Refused` (see
    `dispatcher.errors`) when it can't be stored now: then nothing has changed.
    """

    def totals(self) -> Totals:
        """The figures of `/v1/stats`."""

    async def lanes(self) -> Sequence[LaneView]:
        """Every destination that has messages or is paused, by name."""

    async def message(self, message_id: str) -> MessageView | None:
        """One message, None when it is not known."""

    async def explain(self, message_id: str) -> Explanation | None:
        """Why a message is not delivered yet, None when it is not known."""

    async def cancel(self, message_id: str) -> Cancelled:
        """Forget a message for good."""

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """A page of dead letters; `cursor` 0 is the first page."""

    async def letter_groups(self, which: LetterFilter) -> Sequence[LetterGroup]:
        """Dead letters by destination and cause, the largest group first."""

    async def letter(self, message_id: str) -> LetterDetail | None:
        """One dead letter, None when there is none with this id."""

    async def count_letters(self, which: LetterFilter) -> int:
        """How many dead letters match."""

    def missing_letters(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of the ids that are no dead letters."""

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, rate: int | None = None
    ) -> Moved:
        """Make dead letters ready again; `rate` is messages a second at most."""

    async def purge(self, which: LetterFilter | Sequence[str]) -> Moved:
        """Remove dead letters for good."""

    async def pause(self, destination: str) -> str:
        """Send nothing to a destination until `resume`; returns its spelling. ValueError: it is
        none."""

    async def resume(self, destination: str) -> str:
        """Go on sending. As `pause`."""

    def subscribe(self, listener: Listener) -> None:
        """Tell a listener of every event from now on."""

    def unsubscribe(self, listener: Listener) -> None:
        """No more. Idempotent."""
