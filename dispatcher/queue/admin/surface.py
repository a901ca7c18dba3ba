"""What operators can see and do: the surface that the management API stands on.

Plain values; instants are integer microseconds since the epoch. `Admin` is implemented by
`queue.admin.administration` and has a twin for tests in `dispatcher.testing.memory_admin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dispatcher.core.lifecycle import MessageState as MessageState
from dispatcher.queue.admin.carried import AnyCarried as AnyCarried
from dispatcher.queue.admin.carried import Carried as Carried
from dispatcher.queue.admin.carried import CarriedCall as CarriedCall
from dispatcher.queue.admin.carried import Carrier as Carrier
from dispatcher.queue.admin.carried import Death as Death
from dispatcher.queue.admin.carried import IncomingCall as IncomingCall
from dispatcher.queue.admin.carried import Unreadable as Unreadable
from dispatcher.queue.admin.course import Course as Course
from dispatcher.queue.admin.lane_filter import EVERY_LANE as EVERY_LANE
from dispatcher.queue.admin.lane_filter import LaneFilter as LaneFilter
from dispatcher.queue.admin.lane_filter import LaneTrouble as LaneTrouble
from dispatcher.queue.admin.message_filter import MessageFilter as MessageFilter
from dispatcher.queue.admin.replayed import MOST_DESTINATIONS as MOST_DESTINATIONS
from dispatcher.queue.admin.replayed import Extent as Extent
from dispatcher.queue.admin.replayed import HistoryFilter as HistoryFilter
from dispatcher.queue.admin.replayed import PartReplayer as PartReplayer
from dispatcher.queue.admin.replayed import Place as Place
from dispatcher.queue.admin.replayed import Replayed as Replayed
from dispatcher.queue.admin.replayed import Replayer as Replayer
from dispatcher.queue.admin.shown_lanes import MOST_LANES as MOST_LANES
from dispatcher.queue.admin.shown_lanes import LaneKind as LaneKind
from dispatcher.queue.admin.shown_lanes import LaneOrder as LaneOrder
from dispatcher.queue.admin.shown_lanes import LanePage as LanePage
from dispatcher.queue.admin.shown_lanes import LaneView as LaneView
from dispatcher.queue.admin.shown_letters import MOST_GROUPS as MOST_GROUPS
from dispatcher.queue.admin.shown_letters import AttemptView as AttemptView
from dispatcher.queue.admin.shown_letters import CallDetail as CallDetail
from dispatcher.queue.admin.shown_letters import InMemory as InMemory
from dispatcher.queue.admin.shown_letters import LetterDetail as LetterDetail
from dispatcher.queue.admin.shown_letters import LetterGone as LetterGone
from dispatcher.queue.admin.shown_letters import LetterGroup as LetterGroup
from dispatcher.queue.admin.shown_letters import LetterGroups as LetterGroups
from dispatcher.queue.admin.shown_letters import LetterPage as LetterPage
from dispatcher.queue.admin.shown_letters import LetterView as LetterView
from dispatcher.queue.admin.shown_letters import Moved as Moved
from dispatcher.queue.admin.shown_messages import Cancelled as Cancelled
from dispatcher.queue.admin.shown_messages import Explanation as Explanation
from dispatcher.queue.admin.shown_messages import MessageDetail as MessageDetail
from dispatcher.queue.admin.shown_messages import MessagePage as MessagePage
from dispatcher.queue.admin.shown_messages import MessageView as MessageView
from dispatcher.queue.admin.shown_messages import Reason as Reason
from dispatcher.queue.admin.shown_messages import Touched as Touched
from dispatcher.queue.admin.shown_messages import TriedNow as TriedNow
from dispatcher.queue.deadletters.editing import LetterEdit as LetterEdit
from dispatcher.queue.deadletters.selection import LetterFilter as LetterFilter
from dispatcher.queue.deadletters.selection import LetterKind as LetterKind


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the start of the process (`_total`), and now. `incomplete` are the partitions that do
    not answer, and of which there is nothing in this but what they had counted before; so it is
    with the pages and groups of this surface."""

    accepted_total: int
    delivered_total: int
    dead_total: int
    ready: int
    scheduled: int
    in_flight: int
    dead: int
    log_bytes: int
    log_live_bytes: int
    incomplete: Sequence[int] = ()


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


DROPPED: Final = "dropped"
"""The `kind` of an event that stands for those that were not told: `count` of them."""


class Listener(Protocol):
    """Who is told of events, synchronously and quickly."""

    def __call__(self, event: Event, /) -> None:
        """One event."""


class Admin(Protocol):
    """Everything the API asks of the queue. Ids are 28 lower-case hexadecimal digits.

    What changes something returns when it is durable, and raises `Refused` (see
    `dispatcher.errors`) when it can't be stored now. Then a part of it may be done: a cancelled
    message is gone, of many letters some are.
    """

    async def totals(self) -> Totals:
        """The figures of `/v1/stats`."""

    async def lanes(
        self,
        order: LaneOrder = LaneOrder.NAME,
        *,
        which: LaneFilter = EVERY_LANE,
        after: str = "",
        limit: int = MOST_LANES,
    ) -> LanePage:
        """Destinations that have messages or are held: by name, those after `after`; or those
        with most messages first."""

    async def message(self, message_id: str) -> MessageView | None:
        """One message, None when it is not known."""

    async def message_detail(self, message_id: str) -> MessageDetail | None:
        """One message with its request, None when it is not known."""

    async def waiting(self, which: MessageFilter, *, cursor: int, limit: int) -> MessagePage:
        """A page of the messages that wait; `cursor` 0 is the first page."""

    async def explain(self, message_id: str) -> Explanation | None:
        """Why a message is not delivered yet, None when it is not known."""

    async def cancel(self, message_id: str) -> Cancelled:
        """Forget a message for good."""

    async def give_up(self, message_id: str) -> Cancelled:
        """Make a dead letter of a message that waits."""

    async def redirect(self, message_id: str, to: str) -> Cancelled:
        """Send a message that waits to another destination, with fresh attempts. ValueError: `to`
        is none."""

    async def count_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """The waiting messages that match, or have these ids. `course` as of `redrive`."""

    async def cancel_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """Forget for good those that match and waited when this began, or have these ids. `course`
        as of `redrive`."""

    async def give_up_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """Make dead letters of those that match and waited when this began, or have these ids."""

    async def redirect_waiting(
        self, which: MessageFilter | Sequence[str], to: str, *, course: Course | None = None
    ) -> Touched:
        """Send those elsewhere, the oldest first, as `redirect`. ValueError: `to` is no
        destination."""

    async def retry_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """Let those be due now that wait for a time, and match or have these ids. That is not
        durable: after a restart they wait as before, unless an attempt was made."""

    async def retry_destination(
        self, destination: str, *, course: Course | None = None
    ) -> TriedNow:
        """Try a destination at once: end the pause that it asked for and that of its breaker, and
        let all its messages be due. Not durable either. ValueError: it is none."""

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """A page of dead letters; `cursor` 0 is the first page."""

    async def letter_groups(self, which: LetterFilter) -> LetterGroups:
        """Dead letters by destination and cause, the largest group first."""

    async def letter(self, message_id: str) -> LetterDetail | None:
        """One dead letter, None when there is none with this id."""

    async def count_letters(self, which: LetterFilter) -> int:
        """How many dead letters match."""

    async def missing_letters(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of the ids that are no dead letters."""

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """Make dead letters ready again. `course` says how far it is and how fast it may go; what
        is returned once that was cancelled is what was done until then."""

    async def redrive_edited(self, message_id: str, edit: LetterEdit) -> Moved:
        """Make one dead letter of a message ready again, changed. It is not found where it is not
        the letter any more that was looked at."""

    async def purge(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """Remove dead letters for good. `course` as of `redrive`."""

    async def hold(self, destination: str) -> str:
        """Send nothing to a destination until `resume`; returns its spelling. ValueError: it is
        none."""

    async def resume(self, destination: str) -> str:
        """Send to it again. As `hold`."""

    def subscribe(self, listener: Listener) -> None:
        """Tell a listener of every event from now on."""

    def unsubscribe(self, listener: Listener) -> None:
        """No more. Idempotent."""
