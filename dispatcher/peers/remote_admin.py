"""What operators see and do in a partition of another process (`queue.admin.surface.Admin`).

Events come as a stream while somebody listens. What is lost of them, because they come faster than
they are read or because the link broke, is told as an event too (`DROPPED`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dispatcher.errors import DispatcherError
from dispatcher.peers.calls import Asking, Calls
from dispatcher.queue.admin.surface import (
    DROPPED,
    EVERY_LANE,
    MOST_LANES,
    Admin,
    Cancelled,
    Course,
    Event,
    Explanation,
    LaneFilter,
    LaneOrder,
    LanePage,
    LetterDetail,
    LetterEdit,
    LetterFilter,
    LetterGroups,
    LetterPage,
    Listener,
    MessageDetail,
    MessageFilter,
    MessagePage,
    MessageView,
    Moved,
    Totals,
    Touched,
    TriedNow,
)

EVENTS_PER_SECOND: Final = 500
"""Of a partition. What comes faster is only counted."""
_AGAIN_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Happened:
    """What comes over the link: an event, or how many were lost before the next one."""

    event: Event | None = None
    dropped: int = 0


class Happenings(Protocol):
    """The events of a partition, for another process."""

    def happened(self) -> AsyncIterator[Happened]:
        """Every event from now on, and now and then how many were dropped."""


class Watched:
    """Gives away the events of a partition of this process (`Happenings`)."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    async def happened(self) -> AsyncIterator[Happened]:
        """See `Happenings`."""
        buffer = _Buffer()
        self._admin.subscribe(buffer.put)
        try:
            while True:
                yield await buffer.take()
        finally:
            self._admin.unsubscribe(buffer.put)


class _Buffer:
    """At most `EVENTS_PER_SECOND` events, and as many in a second."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._dropped = 0
        self._second = 0
        self._taken = 0
        self._news = asyncio.Event()

    def put(self, event: Event) -> None:
        """Keep an event, or count it."""
        second = event.time_us // 1_000_000
        if second != self._second:
            self._second, self._taken = second, 0
        if self._taken < EVENTS_PER_SECOND and len(self._events) < EVENTS_PER_SECOND:
            self._taken += 1
            self._events.append(event)
        else:
            self._dropped += 1
        self._news.set()

    async def take(self) -> Happened:
        """The next one; what was dropped is said first."""
        while not self._events and not self._dropped:
            self._news.clear()
            await self._news.wait()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return Happened(None, dropped)
        return Happened(self._events.popleft())


class RemoteAdmin:
    """What operators see and do in one partition of another process, by its number (`Admin`)."""

    def __init__(self, calls: Calls, partition: int) -> None:
        self._asking = Asking(Admin, calls, partition)
        self._events = Asking(Happenings, calls, partition)
        self._listeners: list[Listener] = []
        self._listening: asyncio.Task[None] | None = None

    async def totals(self) -> Totals:
        """See `Admin.totals`."""
        return await self._asking.look(Admin.totals)

    async def lanes(
        self,
        order: LaneOrder = LaneOrder.NAME,
        *,
        which: LaneFilter = EVERY_LANE,
        after: str = "",
        limit: int = MOST_LANES,
    ) -> LanePage:
        """See `Admin.lanes`."""
        look = self._asking.look
        return await look(Admin.lanes, order, which=which, after=after, limit=limit)

    async def message(self, message_id: str) -> MessageView | None:
        """See `Admin.message`."""
        return await self._asking.look(Admin.message, message_id)

    async def message_detail(self, message_id: str) -> MessageDetail | None:
        """See `Admin.message_detail`."""
        return await self._asking.look(Admin.message_detail, message_id)

    async def waiting(self, which: MessageFilter, *, cursor: int, limit: int) -> MessagePage:
        """See `Admin.waiting`."""
        return await self._asking.look(Admin.waiting, which, cursor=cursor, limit=limit)

    async def explain(self, message_id: str) -> Explanation | None:
        """See `Admin.explain`."""
        return await self._asking.look(Admin.explain, message_id)

    async def cancel(self, message_id: str) -> Cancelled:
        """See `Admin.cancel`."""
        return await self._asking.change(Admin.cancel, message_id)

    async def give_up(self, message_id: str) -> Cancelled:
        """See `Admin.give_up`."""
        return await self._asking.change(Admin.give_up, message_id)

    async def redirect(self, message_id: str, to: str) -> Cancelled:
        """See `Admin.redirect`."""
        return await self._asking.change(Admin.redirect, message_id, to)

    async def count_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin.count_waiting`."""
        return await self._asking.look(Admin.count_waiting, which, course=course)

    async def cancel_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin.cancel_waiting`."""
        return await self._asking.change(Admin.cancel_waiting, which, course=course)

    async def give_up_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin.give_up_waiting`."""
        return await self._asking.change(Admin.give_up_waiting, which, course=course)

    async def redirect_waiting(
        self, which: MessageFilter | Sequence[str], to: str, *, course: Course | None = None
    ) -> Touched:
        """See `Admin.redirect_waiting`."""
        return await self._asking.change(Admin.redirect_waiting, which, to, course=course)

    async def retry_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin.retry_waiting`."""
        return await self._asking.change(Admin.retry_waiting, which, course=course)

    async def retry_destination(
        self, destination: str, *, course: Course | None = None
    ) -> TriedNow:
        """See `Admin.retry_destination`."""
        return await self._asking.change(Admin.retry_destination, destination, course=course)

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """See `Admin.letters`."""
        return await self._asking.look(Admin.letters, which, cursor=cursor, limit=limit)

    async def letter_groups(self, which: LetterFilter) -> LetterGroups:
        """See `Admin.letter_groups`."""
        return await self._asking.look(Admin.letter_groups, which)

    async def letter(self, message_id: str) -> LetterDetail | None:
        """See `Admin.letter`."""
        return await self._asking.look(Admin.letter, message_id)

    async def count_letters(self, which: LetterFilter) -> int:
        """See `Admin.count_letters`."""
        return await self._asking.look(Admin.count_letters, which)

    async def missing_letters(self, ids: Sequence[str]) -> Sequence[str]:
        """See `Admin.missing_letters`."""
        return await self._asking.look(Admin.missing_letters, ids)

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """See `Admin.redrive`."""
        return await self._asking.change(Admin.redrive, which, course=course)

    async def redrive_edited(self, message_id: str, edit: LetterEdit) -> Moved:
        """See `Admin.redrive_edited`."""
        return await self._asking.change(Admin.redrive_edited, message_id, edit)

    async def purge(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """See `Admin.purge`."""
        return await self._asking.change(Admin.purge, which, course=course)

    async def hold(self, destination: str) -> str:
        """See `Admin.hold`."""
        return await self._asking.change(Admin.hold, destination)

    async def resume(self, destination: str) -> str:
        """See `Admin.resume`."""
        return await self._asking.change(Admin.resume, destination)

    def subscribe(self, listener: Listener) -> None:
        """See `Admin.subscribe`."""
        self._listeners.append(listener)
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_task(self._listen())

    def unsubscribe(self, listener: Listener) -> None:
        """See `Admin.unsubscribe`."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners and self._listening is not None:
            self._listening.cancel()
            self._listening = None

    async def _listen(self) -> None:
        """Tell events as long as somebody listens, whatever becomes of the link meanwhile."""
        while True:
            happened = self._events.many(Happenings.happened)
            try:
                async for one in happened:
                    self._tell(one)
            except DispatcherError:  # not there at the moment
                await asyncio.sleep(_AGAIN_S)
            finally:
                await happened.aclose()

    def _tell(self, one: Happened) -> None:
        event = one.event
        if event is None:
            event = Event(DROPPED, 0, "", "", {"count": one.dropped})
        for listener in tuple(self._listeners):
            listener(event)
