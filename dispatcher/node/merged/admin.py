"""`surface.Admin` over several parts. How answers are merged is in `adding`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias, TypeVar

from dispatcher.core.destination import Destination
from dispatcher.node.merged import adding
from dispatcher.node.merged.parts import Part, Parts
from dispatcher.queue.admin.surface import (
    EVERY_LANE,
    MOST_LANES,
    Admin,
    Cancelled,
    Course,
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

A = TypeVar("A")
_Which: TypeAlias = MessageFilter | Sequence[str]
_Letters: TypeAlias = LetterFilter | Sequence[str]


class MergedAdmin:
    """Looks at all partitions and changes them. Of what needs all of them, `moved` is raised while
    one is not here; what was done until then is done."""

    def __init__(self) -> None:
        self._parts = Parts()
        self._gone = adding.NO_TOTALS
        self._listeners: list[Listener] = []

    def expect(self, numbers: frozenset[int]) -> None:
        """So many partitions there are, whether they can be asked already or not."""
        self._parts.expected = numbers

    def add(self, part: Part) -> None:
        """A partition is open."""
        self._parts.add(part)
        for listener in self._listeners:
            part.admin.subscribe(listener)

    async def remove(self, number: int) -> None:
        """A partition has left, and is expected back. What it counted stays counted."""
        part = self._parts.remove(number)
        if part is not None:
            self._gone = adding.totals_of([self._gone, adding.gone(await part.admin.totals())])
            for listener in self._listeners:
                part.admin.unsubscribe(listener)

    # What concerns all of them.

    async def totals(self) -> Totals:
        """See `Admin.totals`."""
        return adding.totals_of([self._gone, *[await one.admin.totals() for one in self._parts]])

    async def lanes(
        self,
        order: LaneOrder = LaneOrder.NAME,
        *,
        which: LaneFilter = EVERY_LANE,
        after: str = "",
        limit: int = MOST_LANES,
    ) -> LanePage:
        """See `Admin.lanes`. Of those with most messages it is those that are among the first in
        one of the parts."""
        pages = [
            await part.admin.lanes(order, which=which, after=after, limit=limit)
            for part in self._parts
        ]
        if order is LaneOrder.NAME:
            return adding.lane_pages(pages, limit)
        names = frozenset(lane.destination for page in pages for lane in page.items)
        among = replace(which, among=names)
        whole = [await part.admin.lanes(which=among, limit=len(names)) for part in self._parts]
        lanes = sorted(adding.merged_lanes(whole), key=adding.by_messages)
        total = adding.lane_pages(pages, limit).total
        return LanePage(lanes[:limit], total, None)

    async def waiting(self, which: MessageFilter, *, cursor: int, limit: int) -> MessagePage:
        """See `Admin.waiting`: the messages of one part after those of another."""
        items: list[MessageView] = []
        begin, first = cursor >> adding.NUMBER_BITS, cursor & ((1 << adding.NUMBER_BITS) - 1)
        parts = [part for part in self._parts if part.number >= first]
        for at, part in enumerate(parts):
            own = begin if part.number == first else 0
            page = await part.admin.waiting(which, cursor=own, limit=limit - len(items))
            items += page.items
            if page.next_cursor is not None:
                return MessagePage(items, page.next_cursor << adding.NUMBER_BITS | part.number)
            if len(items) >= limit and at + 1 < len(parts):
                # From its beginning: 0 alone would be the first page of the first one.
                return MessagePage(items, 1 << adding.NUMBER_BITS | parts[at + 1].number)
        return MessagePage(items, None)

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """See `Admin.letters`."""
        pages = []
        for part in self._parts:
            begin = adding.begins_at(cursor, part.number)
            page = await part.admin.letters(which, cursor=begin, limit=limit)
            pages.append((part.number, page))
        return adding.letter_pages(pages, limit)

    async def letter_groups(self, which: LetterFilter) -> LetterGroups:
        """See `Admin.letter_groups`."""
        return adding.groups_of([await one.admin.letter_groups(which) for one in self._parts])

    async def count_letters(self, which: LetterFilter) -> int:
        """See `Admin.count_letters`."""
        return sum([await one.admin.count_letters(which) for one in self._parts])

    async def hold(self, destination: str) -> str:
        """See `Admin.hold`."""
        return (await self._everywhere(lambda admin: admin.hold(destination)))[0]

    async def resume(self, destination: str) -> str:
        """See `Admin.resume`."""
        return (await self._everywhere(lambda admin: admin.resume(destination)))[0]

    async def retry_destination(
        self, destination: str, *, course: Course | None = None
    ) -> TriedNow:
        """See `Admin.retry_destination`."""
        course = course or Course()
        retry = partial(_retry, destination=destination, course=course)
        return adding.tried_of(await self._everywhere(retry))

    def subscribe(self, listener: Listener) -> None:
        """See `Admin.subscribe`."""
        self._listeners.append(listener)
        for part in self._parts:
            part.admin.subscribe(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """See `Admin.unsubscribe`."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        for part in self._parts:
            part.admin.unsubscribe(listener)

    # What has an id.

    async def message(self, message_id: str) -> MessageView | None:
        """See `Admin.message`."""
        part = self._parts.of(message_id)
        return None if part is None else await part.admin.message(message_id)

    async def message_detail(self, message_id: str) -> MessageDetail | None:
        """See `Admin.message_detail`."""
        part = self._parts.of(message_id)
        return None if part is None else await part.admin.message_detail(message_id)

    async def explain(self, message_id: str) -> Explanation | None:
        """See `Admin.explain`."""
        part = self._parts.of(message_id)
        return None if part is None else await part.admin.explain(message_id)

    async def cancel(self, message_id: str) -> Cancelled:
        """See `Admin.cancel`."""
        part = self._parts.of(message_id)
        return Cancelled.UNKNOWN if part is None else await part.admin.cancel(message_id)

    async def give_up(self, message_id: str) -> Cancelled:
        """See `Admin.give_up`."""
        part = self._parts.of(message_id)
        return Cancelled.UNKNOWN if part is None else await part.admin.give_up(message_id)

    async def redirect(self, message_id: str, to: str) -> Cancelled:
        """See `Admin.redirect`."""
        part = self._parts.of(message_id)
        return Cancelled.UNKNOWN if part is None else await part.admin.redirect(message_id, to)

    async def letter(self, message_id: str) -> LetterDetail | None:
        """See `Admin.letter`."""
        part = self._parts.of(message_id)
        return None if part is None else await part.admin.letter(message_id)

    async def redrive_edited(self, message_id: str, edit: LetterEdit) -> Moved:
        """See `Admin.redrive_edited`."""
        part = self._parts.of(message_id)
        return (
            Moved(0, [message_id])
            if part is None
            else await part.admin.redrive_edited(message_id, edit)
        )

    async def missing_letters(self, ids: Sequence[str]) -> Sequence[str]:
        """See `Admin.missing_letters`."""
        shares, unknown = self._parts.share(ids)
        missing = set(unknown)
        for part in self._parts:
            missing |= {*await part.admin.missing_letters(shares.get(part.number, []))}
        return [one for one in ids if one in missing]

    # What is chosen, or has one of several ids.

    async def count_waiting(self, which: _Which, *, course: Course | None = None) -> Touched:
        """See `Admin.count_waiting`."""
        course = course or Course()
        return await self._touch(which, lambda a, some: a.count_waiting(some, course=course))

    async def cancel_waiting(self, which: _Which, *, course: Course | None = None) -> Touched:
        """See `Admin.cancel_waiting`."""
        course = course or Course()
        return await self._touch(which, lambda a, some: a.cancel_waiting(some, course=course))

    async def give_up_waiting(self, which: _Which, *, course: Course | None = None) -> Touched:
        """See `Admin.give_up_waiting`."""
        course = course or Course()
        return await self._touch(which, lambda a, some: a.give_up_waiting(some, course=course))

    async def redirect_waiting(
        self, which: _Which, to: str, *, course: Course | None = None
    ) -> Touched:
        """See `Admin.redirect_waiting`."""
        Destination.parse(to)  # before anything is done, and where there is no part
        course = course or Course()
        return await self._touch(which, lambda a, some: a.redirect_waiting(some, to, course=course))

    async def retry_waiting(self, which: _Which, *, course: Course | None = None) -> Touched:
        """See `Admin.retry_waiting`."""
        course = course or Course()
        return await self._touch(which, lambda a, some: a.retry_waiting(some, course=course))

    async def redrive(self, which: _Letters, *, course: Course | None = None) -> Moved:
        """See `Admin.redrive`."""
        course = course or Course()
        return await self._move(which, lambda a, some: a.redrive(some, course=course))

    async def purge(self, which: _Letters, *, course: Course | None = None) -> Moved:
        """See `Admin.purge`."""
        course = course or Course()
        return await self._move(which, lambda a, some: a.purge(some, course=course))

    async def _touch(
        self, which: _Which, act: Callable[[Admin, _Which], Awaitable[Touched]]
    ) -> Touched:
        if isinstance(which, MessageFilter):
            return adding.touched_of(await self._everywhere(lambda a: act(a, which)), ())
        return adding.touched_of(*await self._shared(which, act))

    async def _move(
        self, which: _Letters, act: Callable[[Admin, _Letters], Awaitable[Moved]]
    ) -> Moved:
        if isinstance(which, LetterFilter):
            return adding.moved_of(await self._everywhere(lambda a: act(a, which)), ())
        return adding.moved_of(*await self._shared(which, act))

    async def _shared(
        self, ids: Sequence[str], act: Callable[[Admin, Sequence[str]], Awaitable[A]]
    ) -> tuple[list[A], list[str]]:
        """What each part says of its own ids, and those that none knows."""
        shares, unknown = self._parts.share(ids)
        answers = [
            await act(part.admin, shares[part.number])
            for part in self._parts
            if part.number in shares
        ]
        return answers, unknown

    async def _everywhere(self, act: Callable[[Admin], Awaitable[A]]) -> list[A]:
        """What each part says, one after another; then all have to have been there."""
        answers = [await act(part.admin) for part in self._parts]
        self._parts.check_all()
        return answers


async def _retry(admin: Admin, *, destination: str, course: Course) -> TriedNow:
    return await admin.retry_destination(destination, course=course)
