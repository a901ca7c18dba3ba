"""An `Admin` in memory: the twin of `queue.admin.administration`, for tests of the API and of the
command line.

Nothing is ever sent. A test puts in what there is to see (`put`, `bury`), tells it what to refuse,
and looks at what is left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

from dispatcher.core.clock import SystemClock
from dispatcher.core.destination import Destination
from dispatcher.errors import LogCorrupt, Refusal, Refused
from dispatcher.queue.admin.message_filter import WAITING
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import (
    EVERY_LANE,
    MOST_LANES,
    Cancelled,
    Course,
    Event,
    Explanation,
    InMemory,
    LaneFilter,
    LaneOrder,
    LanePage,
    LaneView,
    LetterDetail,
    LetterEdit,
    LetterFilter,
    LetterGroups,
    LetterPage,
    LetterView,
    Listener,
    MessageDetail,
    MessageFilter,
    MessagePage,
    MessageState,
    MessageView,
    Moved,
    Reason,
    Totals,
    Touched,
    TriedNow,
)
from dispatcher.testing.memory_letters import as_message, given_up, groups, matches

_LIMIT = 10
_BODY = b'{"hello": "world"}'
_HEADERS = ((b"Host", b"a.example"), (b"Content-Type", b"application/json"))
_AT_ONCE = 100
_SENTENCES = {
    Reason.WAITING_TURN: "Others are before it, or no worker is free.",
    Reason.SCHEDULED: "The last attempt failed; it waits for the next.",
    Reason.BREAKER_OPEN: "Its destination failed too often.",
    Reason.DESTINATION_HELD: "An operator holds its destination.",
    Reason.IN_FLIGHT: "An attempt is under way.",
    Reason.DELIVERED: "It was delivered.",
    Reason.DEAD: "It is a dead letter.",
}


@dataclass(frozen=True, slots=True)
class Lately:
    """How the attempts of a destination went lately."""

    last_error: str | None = None
    last_error_at_us: int | None = None
    failing_since_us: int | None = None
    delivered_per_s: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None


class MemoryAdmin:
    """Messages, dead letters and held destinations in dictionaries. `requests` are the headers and
    bodies of messages that do not have the usual ones. `backing_off` are those
    with an open breaker, and until when; 0: until a message is due, with which it is tried.

    `courses` says how the attempts of some destinations went lately; of others nothing is known.

    `has_functions` says whether dead calls can be redriven. `refusal`, once set,
    is what everything that changes something is refused with. `rates` are the
    rates that redriving, and changing waiting messages, were asked for.
    """

    def __init__(self, now_us: Callable[[], int] | None = None) -> None:
        """`now_us` is the clock; the machine's when nothing is said."""
        self.messages: dict[str, MessageView] = {}
        self.requests: dict[str, tuple[Sequence[tuple[bytes, bytes]], bytes]] = {}
        self.dead: dict[str, LetterDetail] = {}
        self.held: set[str] = set()
        self.backing_off: dict[str, int] = {}
        self.courses: dict[str, Lately] = {}
        self.listeners: list[Listener] = []
        self.refusal: Refusal | None = None
        self.has_functions = True
        self.damaged: set[str] = set()
        self.rates: list[int | None] = []
        self.edits: list[LetterEdit] = []
        self.accepted_total = 0
        self.delivered_total = 0
        self.dead_total = 0
        self._pace = Pace(0.0)
        self._now_us = now_us or SystemClock().now_us
        self._numbers: dict[str, int] = {}  # what cursors count, by id of a dead letter
        self._next_number = count(1)

    def put(self, message: MessageView) -> None:
        """Let there be a message, or another state of one, and tell who listens."""
        if message.id not in self.messages:
            self.accepted_total += 1
            self.emit(
                "accepted", message.id, message.destination,
                method=message.method, target=message.target, size_bytes=18,
            )  # fmt: skip
        self.messages[message.id] = message
        if message.state is MessageState.DELIVERED:
            self.delivered_total += 1
            self.emit(
                "delivered", message.id, message.destination,
                attempt=message.attempts, status=200, duration_ms=12,
            )  # fmt: skip

    def bury(self, detail: LetterDetail) -> None:
        """Let there be a dead letter, the youngest, and tell who listens."""
        letter = detail.letter
        self.messages.pop(letter.id, None)
        self.dead[letter.id] = detail
        self.dead_total += 1
        self._numbers[letter.id] = next(self._next_number)
        self.emit(
            "dead", letter.id, letter.destination,
            reason=letter.reason, attempts=letter.attempts,
            kind=letter.kind, function=letter.function,
        )  # fmt: skip

    def emit(self, kind: str, message_id: str, destination: str, /, **fields: object) -> None:
        """Tell who listens of an event."""
        event = Event(kind, self._now_us(), message_id, destination, fields)
        for listener in tuple(self.listeners):
            listener(event)

    async def totals(self) -> Totals:
        """See `Admin`."""
        return Totals(
            accepted_total=self.accepted_total,
            delivered_total=self.delivered_total,
            dead_total=self.dead_total,
            ready=self._count(MessageState.READY),
            scheduled=self._count(MessageState.SCHEDULED),
            in_flight=self._count(MessageState.IN_FLIGHT),
            dead=len(self.dead),
            log_bytes=1024 * (self.accepted_total + len(self.dead)),
            log_live_bytes=1024 * (len(self.messages) + len(self.dead)),
        )

    async def lanes(
        self,
        order: LaneOrder = LaneOrder.NAME,
        *,
        which: LaneFilter = EVERY_LANE,
        after: str = "",
        limit: int = MOST_LANES,
    ) -> LanePage:
        """See `Admin`."""
        every = [one for one in self._lanes() if _lane_fits(one, which)]
        if order is LaneOrder.MESSAGES:
            every.sort(key=lambda lane: -(lane.ready + (lane.scheduled or 0)))
            return LanePage(every[:limit], len(every), None)
        wanted = [lane for lane in every if lane.destination > after]
        last = wanted[limit - 1].destination if len(wanted) > limit else None
        return LanePage(wanted[:limit], len(every), last)

    def _lanes(self) -> list[LaneView]:
        waiting = {
            one.destination
            for one in self.messages.values()
            if one.state is not MessageState.DELIVERED
        }
        return [self._lane(name) for name in sorted(waiting | self.held)]

    async def message(self, message_id: str) -> MessageView | None:
        """See `Admin`."""
        if (detail := self.dead.get(message_id)) is not None and detail.call is None:
            return as_message(detail.letter, MessageState.DEAD)
        return self.messages.get(message_id)

    async def message_detail(self, message_id: str) -> MessageDetail | None:
        """See `Admin`."""
        found = await self.message(message_id)
        if found is None or found.state is MessageState.DELIVERED:
            return None if found is None else MessageDetail(found)
        found = self._told(found)
        letter = self.dead.get(message_id)
        if letter is not None:
            return MessageDetail(found, letter.headers, letter.body)
        headers, body = self.requests.get(message_id, (_HEADERS, _BODY))
        return MessageDetail(replace(found, size_bytes=len(body)), headers, InMemory(body))

    async def waiting(self, which: MessageFilter, *, cursor: int, limit: int) -> MessagePage:
        """See `Admin`. A cursor is the number of messages before it."""
        found = [one for one in self.messages.values() if self._waits(one, which)]
        more = len(found) > cursor + limit
        page = [self._told(one) for one in found[cursor : cursor + limit]]
        return MessagePage(page, cursor + limit if more else None)

    def _told(self, message: MessageView) -> MessageView:
        """With why it waits."""
        if message.state not in (MessageState.READY, MessageState.SCHEDULED):
            return message
        reason = self._reason(message)
        course = self.courses.get(message.destination, Lately())
        failing = course.last_error if course.failing_since_us else None
        until_us = self._until_us(message, reason)
        return replace(message, reason=reason, until_us=until_us, destination_error=failing)

    def _until_us(self, message: MessageView, reason: Reason) -> int | None:
        if reason is Reason.BREAKER_OPEN:
            return self.backing_off[message.destination] or None
        return message.next_attempt_at_us if reason is Reason.SCHEDULED else None

    def _waits(self, message: MessageView, which: MessageFilter) -> bool:
        age_us = self._now_us() - message.accepted_at_us
        wanted = WAITING if which.state is None else (which.state,)
        is_held = message.destination in self.held and message.state is not MessageState.IN_FLIGHT
        return (
            message.state in wanted
            and (is_held or not which.held)
            and which.destination in (None, message.destination)
            and which.label in (None, message.label)
            and which.order_key in (None, message.options.get("order_key"))
            and which.method in (None, message.method)
            and message.target.startswith(which.target or "")
            and (which.older_than_us is None or age_us > which.older_than_us)
        )

    async def explain(self, message_id: str) -> Explanation | None:
        """See `Admin`."""
        message = await self.message(message_id)
        if message is None:
            return None
        reason = self._reason(message)
        until = self._until_us(message, reason)
        return Explanation(message.id, message.state, reason, _SENTENCES[reason], until, until)

    async def cancel(self, message_id: str) -> Cancelled:
        """See `Admin`."""
        self._refuse()
        too_late = self._too_late(message_id)
        if too_late is None:
            del self.messages[message_id]
        return too_late or Cancelled.DONE

    async def give_up(self, message_id: str) -> Cancelled:
        """See `Admin`."""
        self._refuse()
        too_late = self._too_late(message_id)
        if too_late is None:
            self.bury(given_up(self.messages[message_id], self._now_us()))
        return too_late or Cancelled.DONE

    async def redirect(self, message_id: str, to: str) -> Cancelled:
        """See `Admin`."""
        self._refuse()
        spelling = _spelling(to)
        too_late = self._too_late(message_id)
        if too_late is None:
            self.messages[message_id] = replace(
                self.messages[message_id],
                destination=spelling,
                state=MessageState.READY,
                attempts=0,
                next_attempt_at_us=None,
                last_error=None,
            )
        return too_late or Cancelled.DONE

    def _too_late(self, message_id: str) -> Cancelled | None:
        if message_id in self.dead and self.dead[message_id].call is None:
            return Cancelled.DEAD
        match self.messages.get(message_id):
            case None:
                return Cancelled.UNKNOWN
            case MessageView(state=MessageState.IN_FLIGHT):
                return Cancelled.IN_FLIGHT
            case MessageView(state=MessageState.DELIVERED):
                return Cancelled.DELIVERED
            case _:
                return None

    async def count_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin`."""
        found, touched = self._touched(which)
        if course is not None:
            course.did(len(found))
        return touched

    async def cancel_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin`."""
        found, touched = self._begin(which, course)
        for one in found:
            if one.state is not MessageState.IN_FLIGHT:
                del self.messages[one.id]
        if course is not None:
            course.did(touched.ready + touched.scheduled)
        return touched

    async def give_up_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin`."""
        found, touched = self._begin(which, course)
        for one in found:
            await self.give_up(one.id)
        if course is not None:
            course.did(touched.ready + touched.scheduled, missed=touched.in_flight)
        return touched

    async def redirect_waiting(
        self, which: MessageFilter | Sequence[str], to: str, *, course: Course | None = None
    ) -> Touched:
        """See `Admin`."""
        found, touched = self._begin(which, course)
        for one in found:
            await self.redirect(one.id, to)
        if course is not None:
            course.did(touched.ready + touched.scheduled, missed=touched.in_flight)
        return touched

    async def retry_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin`."""
        found, touched = self._begin(which, course)
        for one in found:
            if one.state is MessageState.SCHEDULED:
                self.messages[one.id] = replace(
                    one, state=MessageState.READY, next_attempt_at_us=None
                )
        if course is not None:
            course.did(touched.scheduled)
        return touched

    async def retry_destination(
        self, destination: str, *, course: Course | None = None
    ) -> TriedNow:
        """See `Admin`."""
        spelling = _spelling(destination)
        was_open = self.backing_off.pop(spelling, None) is not None
        waiting = self._count(MessageState.READY, spelling)
        waiting += self._count(MessageState.SCHEDULED, spelling)
        touched = await self.retry_waiting(
            MessageFilter(destination=spelling, state=MessageState.SCHEDULED), course=course
        )
        if course is not None and was_open and not touched.scheduled:
            course.did(1)
        return TriedNow(
            destination=spelling,
            retried=touched.scheduled,
            waiting=waiting,
            held=spelling in self.held,
            was_open=was_open,
        )

    def _begin(
        self, which: MessageFilter | Sequence[str], course: Course | None
    ) -> tuple[list[MessageView], Touched]:
        self._refuse()
        self._asked_for(course)
        return self._touched(which)

    def _touched(self, which: MessageFilter | Sequence[str]) -> tuple[list[MessageView], Touched]:
        if isinstance(which, MessageFilter):
            not_found: list[str] = []
            found = [one for one in self.messages.values() if self._waits(one, which)]
        else:
            every = MessageFilter()
            ids = list(dict.fromkeys(which))
            known = [self.messages[one] for one in ids if one in self.messages]
            found = [one for one in known if self._waits(one, every)]
            not_found = [one for one in ids if one not in {one.id for one in found}]
        states = [one.state for one in found]
        return found, Touched(
            ready=states.count(MessageState.READY),
            scheduled=states.count(MessageState.SCHEDULED),
            in_flight=states.count(MessageState.IN_FLIGHT),
            not_found=not_found,
        )

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """See `Admin`. A cursor is the number of the last letter of the page before."""
        later = (one for one in self._matching(which) if self._numbers[one.id] > cursor)
        found = list(islice(later, limit + 1))
        items = found[:limit]
        more = len(found) > limit
        return LetterPage(items, self._numbers[items[-1].id] if more else None)

    async def letter_groups(self, which: LetterFilter) -> LetterGroups:
        """See `Admin`."""
        return groups(self._matching(which))

    async def letter(self, message_id: str) -> LetterDetail | None:
        """See `Admin`."""
        if message_id in self.damaged:
            raise LogCorrupt("deadletter.log", 7, "the checksum is wrong")
        return self.dead.get(message_id)

    async def count_letters(self, which: LetterFilter) -> int:
        """See `Admin`."""
        return sum(1 for _ in self._matching(which))

    async def missing_letters(self, ids: Sequence[str]) -> Sequence[str]:
        """See `Admin`."""
        return [one for one in ids if one not in self.dead]

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """See `Admin`."""
        self._refuse()
        course = course or Course()
        self._asked_for(course)
        found = self._selected(which)
        failed: list[str] = []
        left: list[str] = []
        async for some in course.portions(found, most=_AT_ONCE, pace=self._pace):
            here = [one for one in some if one in self.dead]
            damaged = [one for one in here if one in self.damaged]
            unserved = [one for one in here if self._is_unserved(one)]
            done = [one for one in here if one not in {*damaged, *unserved}]
            for one in done:
                detail = self.dead.pop(one)
                if detail.call is None:
                    self.messages[one] = as_message(detail.letter, MessageState.READY)
            failed += damaged
            left += unserved
            course.did(len(done), missed=len(some) - len(done))
        return Moved(course.done, self._not_among(which, found), failed, left)

    def _asked_for(self, course: Course | None) -> None:
        rate = None if course is None else course.rate
        self.rates.append(None if rate is None else rate.of_a_second)

    def _is_unserved(self, message_id: str) -> bool:
        return self.dead[message_id].call is not None and not self.has_functions

    async def redrive_edited(self, message_id: str, edit: LetterEdit) -> Moved:
        """See `Admin`. What it was changed to is in `edits`."""
        self._refuse()
        detail = self.dead.get(message_id)
        if detail is None or detail.redrives != edit.redrives:
            return Moved(0, [message_id])
        self.edits.append(edit)
        moved = await self.redrive([message_id])
        if edit.destination is not None and moved.count:
            message = replace(self.messages[message_id], destination=str(edit.destination))
            self.messages[message_id] = message
        return moved

    async def purge(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """See `Admin`."""
        self._refuse()
        course = course or Course()
        found = self._selected(which)
        async for some in course.portions(found, most=_AT_ONCE, pace=self._pace):
            gone = [one for one in some if self.dead.pop(one, None) is not None]
            course.did(len(gone), missed=len(some) - len(gone))
        return Moved(course.done, self._not_among(which, found))

    async def hold(self, destination: str) -> str:
        """See `Admin`."""
        self._refuse()
        spelling = _spelling(destination)
        self.held.add(spelling)
        return spelling

    async def resume(self, destination: str) -> str:
        """See `Admin`."""
        self._refuse()
        spelling = _spelling(destination)
        self.held.discard(spelling)
        return spelling

    def subscribe(self, listener: Listener) -> None:
        """See `Admin`."""
        self.listeners.append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """See `Admin`."""
        with contextlib.suppress(ValueError):
            self.listeners.remove(listener)

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise Refused(self.refusal)

    def _count(self, state: MessageState, destination: str | None = None) -> int:
        return sum(
            one.state is state and destination in (None, one.destination)
            for one in self.messages.values()
        )

    def _lane(self, name: str) -> LaneView:
        course = self.courses.get(name, Lately())
        waiting = [
            one.accepted_at_us
            for one in self.messages.values()
            if one.destination == name and one.state in (MessageState.READY, MessageState.SCHEDULED)
        ]
        return LaneView(
            destination=name,
            ready=self._count(MessageState.READY, name),
            scheduled=self._count(MessageState.SCHEDULED, name),
            in_flight=self._count(MessageState.IN_FLIGHT, name),
            limit=_LIMIT,
            paused_until_us=self.backing_off.get(name) or None,
            held=name in self.held,
            breaker="open" if name in self.backing_off else "closed",
            last_error=course.last_error,
            last_error_at_us=course.last_error_at_us,
            failing_since_us=course.failing_since_us,
            delivered_per_s=course.delivered_per_s,
            attempt_p50_ms=course.p50_ms,
            attempt_p95_ms=course.p95_ms,
            oldest_at_us=min(waiting, default=None),
        )

    def _reason(self, message: MessageView) -> Reason:
        match message.state:
            case MessageState.DEAD:
                return Reason.DEAD
            case MessageState.DELIVERED:
                return Reason.DELIVERED
            case MessageState.IN_FLIGHT:
                return Reason.IN_FLIGHT
            case _ if message.destination in self.held:
                return Reason.DESTINATION_HELD
            case MessageState.SCHEDULED:
                return Reason.SCHEDULED
            case MessageState.READY if message.destination in self.backing_off:
                return Reason.BREAKER_OPEN
            case MessageState.READY:
                return Reason.WAITING_TURN

    def _matching(self, which: LetterFilter) -> Iterator[LetterView]:
        return (one.letter for one in self.dead.values() if matches(one.letter, which))

    def _selected(self, which: LetterFilter | Sequence[str]) -> list[str]:
        if isinstance(which, LetterFilter):
            return [one.id for one in self._matching(which)]
        return [one for one in dict.fromkeys(which) if one in self.dead]

    def _not_among(
        self, which: LetterFilter | Sequence[str], selected: Sequence[str]
    ) -> Sequence[str]:
        if isinstance(which, LetterFilter):
            return []
        found = set(selected)
        return [one for one in dict.fromkeys(which) if one not in found]


def _lane_fits(lane: LaneView, which: LaneFilter) -> bool:
    is_failing = lane.breaker != "closed" or lane.failing_since_us is not None
    return which.fits(lane.destination, is_held=lane.held, is_failing=is_failing)


def _spelling(destination: str) -> str:
    return str(Destination.parse(destination))
