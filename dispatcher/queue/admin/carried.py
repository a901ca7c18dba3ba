"""Messages that are exported and imported: what is carried, and who does it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from dispatcher.core.calls import CallReason
from dispatcher.core.message import Message
from dispatcher.queue.admin.shown_letters import AttemptView, CallDetail, LetterDetail
from dispatcher.queue.deadletters.selection import LetterFilter


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
    status, or the slug of a failure; None: it went well. `copy_of` is the id that it had where it
    was exported; "": none."""

    endpoint: str
    function: str
    call: CallDetail
    reason: CallReason
    status: int
    detail: str
    attempts: int
    history: Sequence[AttemptView]
    copy_of: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message whose record cannot be read: the disk gives back something else than was
    written."""

    id: bytes
    destination: str
    is_dead: bool


AnyCarried: TypeAlias = Carried | CarriedCall | Unreadable


class Carrier(Protocol):
    """Messages out of the queue and into it, for export and import."""

    def waiting(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[AnyCarried]:
        """Every message that is not delivered and not dead, in no order; of one destination or of
        all, of one label or of all. What comes or ends meanwhile may be among them or not."""

    def dead(self, which: LetterFilter) -> AsyncIterator[AnyCarried]:
        """The dead letters that match, oldest first."""

    def everything(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[AnyCarried]:
        """Dead letters and what waits; what dies meanwhile is there once, as one or the other."""

    async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> bool:
        """Store a message that was exported, under a new id; with `death` as a dead letter. Returns
        when it is durable; False: it was imported before, or its idempotency key stands for the
        same request here, and nothing was stored.

        Args:
            message: with head, destination, timeout and the size of its body.
            body: pieces of at most `ports.CHUNK_BYTES`; all but the last one are full.
            death: why it had been given up.

        Raises:
            Refused: it is not stored; or its idempotency key stands for another request here.
        """

    async def take_call(self, call: IncomingCall, body: Sequence[bytes]) -> bool:
        """Store a dead call that was exported as a dead letter, under a new id. Returns when it is
        durable; False: it was imported before. `body` is its input, as of `take`.

        Raises:
            Refused: it is not stored.
        """
