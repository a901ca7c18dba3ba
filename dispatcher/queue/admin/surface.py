"""What operators can see and do: the surface that the management API stands on.

Plain values; instants are integer microseconds since the epoch. `Admin` is implemented by
`queue.admin.administration` and has a twin for tests in `dispatcher.testing.admin`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, TypeAlias

from dispatcher.core.calls import CallReason
from dispatcher.core.lifecycle import MessageState as MessageState
from dispatcher.core.message import Message
from dispatcher.queue.deadletters.selection import LetterFilter as LetterFilter
from dispatcher.queue.deadletters.selection import LetterKind as LetterKind
from dispatcher.queue.ports import CHUNK_BYTES


class Reason(Enum):
    """Why a message is not delivered yet; the value is the API's slug."""

    WAITING_TURN = "waiting_turn"
    SCHEDULED = "scheduled"
    BREAKER_OPEN = "breaker_open"
    RETRY_AFTER = "retry_after"
    LACKING = "lacking"
    DESTINATION_HELD = "destination_held"
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


class LaneKind(Enum):
    """What waits in a lane; the value is the API's word."""

    MESSAGE = "message"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class LaneView:
    """One destination of messages, or one application with its calls. `paused_until_us` is None
    when nothing but its limit holds it up.

    Of an application `destination` is scheme and authority of its endpoints, or the session that
    its runs are fetched with: that has no `limit`. How many of its calls wait for a time
    (`scheduled`) is not counted.
    """

    destination: str
    ready: int
    scheduled: int | None
    in_flight: int
    limit: int | None
    paused_until_us: int | None
    held: bool
    breaker: str
    kind: LaneKind = LaneKind.MESSAGE


class LaneOrder(Enum):
    """How lanes are listed; the value is the API's word."""

    NAME = "name"
    MESSAGES = "messages"


MOST_LANES: Final = 1000
"""Lanes of one page, at most."""


@dataclass(frozen=True, slots=True)
class LanePage:
    """A page of lanes, of `total` ones. `next_after` is None on the last one, and where lanes are
    not listed by name."""

    items: Sequence[LaneView]
    total: int
    next_after: str | None


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
    """One message. `last_error` is as `core.outcome.cause` has it, `next_attempt_at_us` None unless
    SCHEDULED."""

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
class LetterView:
    """One dead letter as it is listed. `last_error` is as `core.outcome.cause` has it. A call has
    its endpoint as `destination`, and a `function` in place of `method` and `target`."""

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
    kind: LetterKind = LetterKind.MESSAGE
    function: str | None = None


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
class CallDetail:
    """What only a call has; `timeout_ms` 0 is the setting's."""

    application: str
    version: str
    correlation: int
    expiration_ms: int
    timeout_ms: int
    error_type: str


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
    call: CallDetail | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """Why and when a message was given up. `response_start` is of the last response."""

    dead_at_us: int
    reason: str
    detail: str
    response_start: bytes
    attempts: int
    history: Sequence[AttemptView]


@dataclass(frozen=True, slots=True)
class Carried:
    """A message that is exported; `death` is None unless it is a dead letter.

    `body` gives the body in pieces of at most `ports.CHUNK_BYTES`, once, before the next message is
    asked for. It raises `LetterGone` when the message ended meanwhile.
    """

    message: Message
    body: AsyncIterable[bytes]
    death: Death | None

    @property
    def id(self) -> bytes:
        """Its id."""
        return self.message.wire_id

    @property
    def destination(self) -> str:
        """Where it goes."""
        return str(self.message.destination)


@dataclass(frozen=True, slots=True)
class CarriedCall:
    """A dead call that is exported: all that is shown of it, and its input as of `Carried`."""

    detail: LetterDetail

    @property
    def id(self) -> bytes:
        """Its id."""
        return self.detail.letter.id.encode("ascii")

    @property
    def destination(self) -> str:
        """Its endpoint."""
        return self.detail.letter.destination


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A dead call that is imported: what was called, and why it had been given up. `status` is the
    protocol's number, as of `CallLetter`. Each run of `history` has as `error` the word for its
    status, or the slug of a failure; None: it went well."""

    endpoint: str
    function: str
    call: CallDetail
    reason: CallReason
    status: int
    detail: str
    attempts: int
    history: Sequence[AttemptView]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message whose record cannot be read: the disk gives back something else than was
    written."""

    id: bytes
    destination: str
    is_dead: bool


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Dead letters with the same destination and cause; of calls, of the same function too."""

    destination: str
    status: int | None
    error: str | None
    reason: str
    count: int
    size_bytes: int
    oldest_us: int
    newest_us: int
    kind: LetterKind = LetterKind.MESSAGE
    function: str | None = None


MOST_GROUPS: Final = 1000
"""Groups that are told, at most: the largest."""


@dataclass(frozen=True, slots=True)
class LetterGroups:
    """The largest groups, the largest first, of `total` ones."""

    items: Sequence[LetterGroup]
    total: int


@dataclass(frozen=True, slots=True)
class LetterPage:
    """A page of dead letters, oldest first. `next_cursor` is None on the last one."""

    items: Sequence[LetterView]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of redriving or purging: how many, the ids that are no dead letters, those of
    letters that stay because they cannot be read, and those of calls that stay because this server
    has no function service."""

    count: int
    not_found: Sequence[str]
    failed: Sequence[str] = ()
    unserved: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `kind` is accepted, attempted, delivered or dead; of a call it is
    `call.` and a step of its timeline. `fields` are the API's, instants as microseconds in
    `*_at`."""

    kind: str
    time_us: int
    id: str
    destination: str
    fields: Mapping[str, object]


class Listener(Protocol):
    """Who is told of events, synchronously and quickly."""

    def __call__(self, event: Event, /) -> None:
        """One event."""


AnyCarried: TypeAlias = Carried | CarriedCall | Unreadable


class Admin(Protocol):
    """Everything the API asks of the queue. Ids are 28 lower-case hexadecimal digits.

    What changes something returns when it is durable, and raises `Refused` (see
    `dispatcher.errors`) when it can't be stored now. Then a part of it may be done: a cancelled
    message is gone, of many letters some are.
    """

    def totals(self) -> Totals:
        """The figures of `/v1/stats`."""

    async def lanes(
        self, order: LaneOrder = LaneOrder.NAME, *, after: str = "", limit: int = MOST_LANES
    ) -> LanePage:
        """Destinations that have messages or are held: by name, those after `after`; or those
        with most messages first."""

    async def message(self, message_id: str) -> MessageView | None:
        """One message, None when it is not known."""

    async def explain(self, message_id: str) -> Explanation | None:
        """Why a message is not delivered yet, None when it is not known."""

    async def cancel(self, message_id: str) -> Cancelled:
        """Forget a message for good."""

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """A page of dead letters; `cursor` 0 is the first page."""

    async def letter_groups(self, which: LetterFilter) -> LetterGroups:
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

    async def hold(self, destination: str) -> str:
        """Send nothing to a destination until `resume`; returns its spelling. ValueError: it is
        none."""

    async def resume(self, destination: str) -> str:
        """Send to it again. As `hold`."""

    def subscribe(self, listener: Listener) -> None:
        """Tell a listener of every event from now on."""

    def unsubscribe(self, listener: Listener) -> None:
        """No more. Idempotent."""


class Carrier(Protocol):
    """Messages out of the queue and into it, for export and import."""

    def waiting(self, destination: str | None) -> AsyncIterator[AnyCarried]:
        """Every message that is not delivered and not dead, in no order; of one destination or of
        all. What comes or ends meanwhile may be among them or not."""

    def dead(self, which: LetterFilter) -> AsyncIterator[AnyCarried]:
        """The dead letters that match, oldest first."""

    def everything(self, destination: str | None) -> AsyncIterator[AnyCarried]:
        """Dead letters and what waits; what dies meanwhile is there once, as one or the other."""

    async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> None:
        """Store a message that was exported, under a new id; with `death` as a dead letter. Returns
        when it is durable.

        Args:
            message: with head, destination, timeout and the size of its body.
            body: pieces of at most `ports.CHUNK_BYTES`; all but the last one are full.
            death: why it had been given up.

        Raises:
            Refused: it is not stored.
        """

    async def take_call(self, call: IncomingCall, body: Sequence[bytes]) -> None:
        """Store a dead call that was exported as a dead letter, under a new id. Returns when it is
        durable. `body` is its input, as of `take`.

        Raises:
            Refused: it is not stored.
        """
