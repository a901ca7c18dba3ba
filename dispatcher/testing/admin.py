"""An `Admin` in memory: for tests of the API and of the command line, and to try the dashboard.

Nothing is ever sent. A test puts in what there is to see (`put`, `bury`), tells it what to refuse,
and looks at what is left. `python -m dispatcher.testing.admin PORT` serves the whole API with
invented data on loopback, until SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from random import Random
from typing import TypeAlias

from dispatcher.api.health import Health
from dispatcher.api.server import ApiServer
from dispatcher.core.clock import SystemClock
from dispatcher.core.destination import Destination
from dispatcher.core.keys import Keyring
from dispatcher.core.outcome import Failure, cause
from dispatcher.errors import LogCorrupt, Refusal, Refused
from dispatcher.queue.admin.surface import (
    MOST_GROUPS,
    MOST_LANES,
    AttemptView,
    CallDetail,
    Cancelled,
    Event,
    Explanation,
    InMemory,
    LaneOrder,
    LanePage,
    LaneView,
    LetterDetail,
    LetterFilter,
    LetterGroup,
    LetterGroups,
    LetterKind,
    LetterPage,
    LetterView,
    Listener,
    MessageState,
    MessageView,
    Moved,
    Reason,
    Totals,
)
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.testing import function_service
from dispatcher.testing.backups import MemoryBackups
from dispatcher.testing.carrier import MemoryCarrier
from dispatcher.testing.sessions import MemorySessions

_LIMIT = 10
_Cause: TypeAlias = tuple[str, str | None, int | None, str | None, str]
_SENTENCES = {
    Reason.WAITING_TURN: "Others are before it, or no worker is free.",
    Reason.SCHEDULED: "The last attempt failed; it waits for the next.",
    Reason.DESTINATION_HELD: "An operator holds its destination.",
    Reason.IN_FLIGHT: "An attempt is under way.",
    Reason.DELIVERED: "It was delivered.",
    Reason.DEAD: "It is a dead letter.",
}


class MemoryAdmin:
    """Messages, dead letters and held destinations in dictionaries. `backing_off` are those
    with an open breaker, and until when; 0: until a message is due, with which it is tried.

    `has_functions` says whether dead calls can be redriven. `refusal`, once set,
    is what everything that changes something is refused with. `rates` are the
    rates that `redrive` was asked for.
    """

    def __init__(self, now_us: Callable[[], int] | None = None) -> None:
        """`now_us` is the clock; the machine's when nothing is said."""
        self.messages: dict[str, MessageView] = {}
        self.dead: dict[str, LetterDetail] = {}
        self.held: set[str] = set()
        self.backing_off: dict[str, int] = {}
        self.listeners: list[Listener] = []
        self.refusal: Refusal | None = None
        self.has_functions = True
        self.damaged: set[str] = set()
        self.rates: list[int | None] = []
        self.accepted_total = 0
        self.delivered_total = 0
        self.dead_total = 0
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

    def totals(self) -> Totals:
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
        self, order: LaneOrder = LaneOrder.NAME, *, after: str = "", limit: int = MOST_LANES
    ) -> LanePage:
        """See `Admin`."""
        every = self._lanes()
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
            return _as_message(detail.letter, MessageState.DEAD)
        return self.messages.get(message_id)

    async def explain(self, message_id: str) -> Explanation | None:
        """See `Admin`."""
        message = await self.message(message_id)
        if message is None:
            return None
        reason = self._reason(message)
        due = message.next_attempt_at_us
        until = due if reason is Reason.SCHEDULED else None
        return Explanation(message.id, message.state, reason, _SENTENCES[reason], until, until)

    async def cancel(self, message_id: str) -> Cancelled:
        """See `Admin`."""
        self._refuse()
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
                del self.messages[message_id]
                return Cancelled.DONE

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """See `Admin`. A cursor is the number of the last letter of the page before."""
        later = (one for one in self._matching(which) if self._numbers[one.id] > cursor)
        found = list(islice(later, limit + 1))
        items = found[:limit]
        more = len(found) > limit
        return LetterPage(items, self._numbers[items[-1].id] if more else None)

    async def letter_groups(self, which: LetterFilter) -> LetterGroups:
        """See `Admin`."""
        groups: dict[_Cause, list[LetterView]] = {}
        for one in self._matching(which):
            cause = (one.destination, one.function, one.last_status, one.last_error, one.reason)
            groups.setdefault(cause, []).append(one)
        found = [_group(letters) for letters in groups.values()]
        found.sort(key=lambda group: -group.count)
        return LetterGroups(found[:MOST_GROUPS], len(found))

    async def letter(self, message_id: str) -> LetterDetail | None:
        """See `Admin`."""
        if message_id in self.damaged:
            raise LogCorrupt("deadletter.log", 7, "the checksum is wrong")
        return self.dead.get(message_id)

    async def count_letters(self, which: LetterFilter) -> int:
        """See `Admin`."""
        return sum(1 for _ in self._matching(which))

    def missing_letters(self, ids: Sequence[str]) -> Sequence[str]:
        """See `Admin`."""
        return [one for one in ids if one not in self.dead]

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, rate: int | None = None
    ) -> Moved:
        """See `Admin`. All are ready at once, whatever the rate."""
        self._refuse()
        self.rates.append(rate)
        taken = self._take(which)
        unserved = [one for one in taken if one.call is not None and not self.has_functions]
        self.dead.update((one.letter.id, one) for one in unserved)
        moved = [
            detail
            for detail in taken
            if detail.letter.id not in self.damaged and detail not in unserved
        ]
        for detail in moved:
            if detail.call is not None:
                continue
            self.messages[detail.letter.id] = _as_message(detail.letter, MessageState.READY)
        failed = {one.letter.id: one for one in taken if one.letter.id in self.damaged}
        self.dead.update(failed)
        left = [one.letter.id for one in unserved]
        return Moved(len(moved), self._not_among(which, taken), list(failed), left)

    async def purge(self, which: LetterFilter | Sequence[str]) -> Moved:
        """See `Admin`."""
        self._refuse()
        gone = self._take(which)
        return Moved(len(gone), self._not_among(which, gone))

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
        return LaneView(
            destination=name,
            ready=self._count(MessageState.READY, name),
            scheduled=self._count(MessageState.SCHEDULED, name),
            in_flight=self._count(MessageState.IN_FLIGHT, name),
            limit=_LIMIT,
            paused_until_us=self.backing_off.get(name) or None,
            held=name in self.held,
            breaker="open" if name in self.backing_off else "closed",
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
            case MessageState.READY:
                return Reason.WAITING_TURN

    def _matching(self, which: LetterFilter) -> Iterator[LetterView]:
        return (one.letter for one in self.dead.values() if _matches(one.letter, which))

    def _take(self, which: LetterFilter | Sequence[str]) -> list[LetterDetail]:
        if isinstance(which, LetterFilter):
            ids: Iterable[str] = [one.id for one in self._matching(which)]
        else:
            ids = [one for one in dict.fromkeys(which) if one in self.dead]
        return [self.dead.pop(one) for one in ids]

    def _not_among(
        self, which: LetterFilter | Sequence[str], moved: Sequence[LetterDetail]
    ) -> Sequence[str]:
        if isinstance(which, LetterFilter):
            return []
        found = {detail.letter.id for detail in moved}
        return [one for one in dict.fromkeys(which) if one not in found]


def message(number: int, state: MessageState = MessageState.READY, to: str = "a") -> MessageView:
    """A message with a number in its id, for `https://{to}.example`."""
    is_scheduled = state is MessageState.SCHEDULED
    at_us = _EPOCH_US + number * 1_000_000
    return MessageView(
        id=message_id(number),
        state=state,
        destination=f"https://{to}.example",
        method="POST",
        target=f"/hooks/{number}?x=%2F",
        accepted_at_us=at_us,
        attempts=0 if state is MessageState.READY else 1,
        next_attempt_at_us=at_us + 60_000_000 if is_scheduled else None,
        last_error="http_503" if is_scheduled else None,
    )


def letter(
    number: int,
    *,
    to: str = "a",
    status: int | None = 503,
    error: str | None = None,
    reason: str = "retries_exhausted",
    body: bytes = b'{"hello": "world"}',
) -> LetterDetail:
    """A dead letter with a number in its id, for `https://{to}.example`; it died in that second."""
    dead_at_us = _EPOCH_US + number * 1_000_000
    view = LetterView(
        id=message_id(number),
        destination=f"https://{to}.example",
        method="POST",
        target=f"/hooks/{number}?x=%2F",
        accepted_at_us=dead_at_us - 500_000,
        dead_at_us=dead_at_us,
        attempts=2,
        last_status=status,
        last_error=cause(status, None if error is None else Failure(error)),
        reason=reason,
        size_bytes=len(body),
    )
    start = None if status is None else b"no \xff capacity"
    first = AttemptView(1, dead_at_us - 400_000, 7, 503, None, None)
    last = AttemptView(2, dead_at_us - 9_000, 9, status, error, start)
    headers = [(b"Content-Type", b"application/json"), (b"X-Name", b"J\xfcrgen")]
    because = "the destination answered 503"
    return LetterDetail(view, headers, InMemory(body), because, 0, [first, last])


def dead_call(
    number: int,
    *,
    to: str = "apps",
    function: str = "charge",
    error: str = "permanent_error",
    body: bytes = b"\x0a\x04type\x12\x05hello",
) -> LetterDetail:
    """A dead call with a number in its id, of a function of `http://{to}.example:8000`."""
    dead_at_us = _EPOCH_US + number * 1_000_000
    view = LetterView(
        id=f"{1 << 63 | number:028x}",
        destination=f"http://{to}.example:8000",
        method="",
        target="",
        accepted_at_us=dead_at_us - 500_000,
        dead_at_us=dead_at_us,
        attempts=1,
        last_status=None,
        last_error=error,
        reason="expired" if error == "expired" else "failed",
        size_bytes=len(body),
        kind=LetterKind.CALL,
        function=function,
    )
    run = AttemptView(1, dead_at_us - 400_000, 7, 200, error, None)
    call = CallDetail("shop", "v1", 7, 86_400_000, 0, "ValueError")
    return LetterDetail(view, [], InMemory(body), "no such card", 0, [run], call)


async def whole(body: AsyncIterable[bytes]) -> bytes:
    """A body in one piece."""
    return b"".join([piece async for piece in body])


def message_id(number: int) -> str:
    """The id that ends with a number."""
    return f"{number:028x}"


_EPOCH_US = 1_767_225_600_000_000  # 2026-01-01


def _spelling(destination: str) -> str:
    return str(Destination.parse(destination))


def _as_message(letter: LetterView, state: MessageState) -> MessageView:
    is_dead = state is MessageState.DEAD
    return MessageView(
        id=letter.id,
        state=state,
        destination=letter.destination,
        method=letter.method,
        target=letter.target,
        accepted_at_us=letter.accepted_at_us,
        attempts=letter.attempts if is_dead else 0,
        next_attempt_at_us=None,
        last_error=letter.last_error if is_dead else None,
    )


def _matches(letter: LetterView, which: LetterFilter) -> bool:
    return (
        which.kind in (None, letter.kind)
        and which.destination in (None, letter.destination)
        and which.function in (None, letter.function)
        and which.status in (None, letter.last_status)
        and which.error in (None, letter.last_error)
        and (which.before_us is None or letter.dead_at_us < which.before_us)
        and (which.after_us is None or letter.dead_at_us > which.after_us)
    )


def _group(letters: Sequence[LetterView]) -> LetterGroup:
    first = letters[0]
    return LetterGroup(
        destination=first.destination,
        status=first.last_status,
        error=first.last_error,
        reason=first.reason,
        kind=first.kind,
        function=first.function,
        count=len(letters),
        size_bytes=sum(one.size_bytes for one in letters),
        oldest_us=min(one.dead_at_us for one in letters),
        newest_us=max(one.dead_at_us for one in letters),
    )


# What `python -m dispatcher.testing.admin` shows.

_EVENT_PAUSE_S = 0.2
_PLACES = ("billing", "mail", "stock")
_CAUSES: tuple[tuple[int | None, str | None, str], ...] = (
    (503, None, "retries_exhausted"),
    (404, None, "rejected"),
    (None, "timeout", "retries_exhausted"),
    (None, "egress_denied", "egress_denied"),
)


def invented() -> MemoryAdmin:
    """Some messages in every state and 250 dead letters, the same each time."""
    admin = MemoryAdmin()
    random = Random(1)
    states = [one for one in MessageState if one is not MessageState.DEAD]
    for number in range(1, 101):
        admin.put(message(number, random.choice(states), random.choice(_PLACES)))
    for number in range(1_001, 1_251):
        status, error, reason = random.choice(_CAUSES)
        to = random.choice(_PLACES)
        admin.bury(letter(number, to=to, status=status, error=error, reason=reason))
    return admin


async def _invent_events(admin: MemoryAdmin) -> None:
    """Let messages come and be delivered or die, five a second, and keep the last hundred."""
    random = Random(2)
    for number in count(10_000):
        await asyncio.sleep(_EVENT_PAUSE_S)
        new = message(number, MessageState.READY, random.choice(_PLACES))
        admin.put(new)
        status = random.choice((200, 200, 200, 503))
        admin.emit(
            "attempted", new.id, new.destination,
            attempt=1, status=status, error=None, duration_ms=random.randrange(2, 90),
            next_attempt_at=None,
        )  # fmt: skip
        if status == 200:
            admin.put(replace(new, state=MessageState.DELIVERED, attempts=1))
        else:
            admin.bury(letter(number, to=new.destination.split("/")[-1].split(".")[0]))
        admin.messages.pop(message_id(number - 100), None)
        admin.dead.pop(message_id(number - 100), None)


async def _serve(port: int) -> None:
    """Serve invented data on loopback until a signal."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    admin = invented()
    functions = await function_service.invented()

    async def metrics() -> str:
        return f"dispatcher_messages_accepted_total {admin.accepted_total}\n"

    server = ApiServer(
        "127.0.0.1",
        port,
        Keyring(),
        admin=admin,
        carrier=MemoryCarrier(),
        backups=MemoryBackups(),
        health=Health,
        metrics=metrics,
        events=Events(
            open_log(lambda line: print(line, file=sys.stderr), level="info", format="json")
        ),
        functions=functions,
        schedules=functions.schedules,
        sessions=MemorySessions(is_endless=True),
    )
    await server.start()
    print("http://{}:{}".format(*server.bound[0]), flush=True)
    life = asyncio.create_task(_invent_events(admin))
    await stopping.wait()
    life.cancel()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8081))
