"""`surface.Admin` over several parts. How answers are merged is in `adding`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias, TypeVar

from dispatcher.core.destination import Destination
from dispatcher.errors import Refused
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
from dispatcher.queue.refusals import MOVED, UNANSWERED

A = TypeVar("A")
_Which: TypeAlias = MessageFilter | Sequence[str]
_Letters: TypeAlias = LetterFilter | Sequence[str]


class MergedAdmin:
    """Looks at all partitions and changes them. What looks at all of them says which ones did not
    answer (`incomplete`); of what needs all of them `moved` is raised while one is not here, when
    it is done in the others."""

    def __init__(self) -> None:
        self._parts = Parts()
        self._counted = adding.Counted()
        self._listeners: list[Listener] = []

    def expect(self, numbers: frozenset[int]) -> None:
        """So many partitions there are, whether they can be asked already or not."""
        self._parts.expected = numbers

    def knows_all(self, known: bool) -> None:
        """Whether those are all that there are. Until then an id of another one has moved."""
        self._parts.knows_all = known

    def forget(self, number: int) -> None:
        """A partition is no more. What it counted stays counted."""
        self._gone(number, self._parts.forget(number))

    def add(self, part: Part) -> None:
        """A partition can be asked, in place of what spoke for it before. One of another process
        may be here while that is not."""
        self.leave(part.number)
        self._parts.add(part)
        for listener in self._listeners:
            part.admin.subscribe(listener)

    def leave(self, number: int, last: Totals | None = None) -> None:
        """A partition can't be asked any more, and is expected back. What it counted stays counted:
        `last`, or what it told last. Idempotent."""
        part = self._parts.remove(number)
        if part is not None and last is not None:
            self._counted.told(number, last)
        self._gone(number, part)

    def _gone(self, number: int, part: Part | None) -> None:
        self._counted.left(number)
        if part is not None:
            for listener in self._listeners:
                part.admin.unsubscribe(listener)

    # What concerns all of them.

    async def totals(self) -> Totals:
        """See `Admin.totals`."""
        answers, incomplete = await self._all(lambda part: part.admin.totals())
        for part, totals in answers:
            if self._parts.get(part.number) is part:  # else it has left, and that was counted
                self._counted.told(part.number, totals)
        return self._counted.totals(incomplete)

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
        pages, incomplete = await self._lanes(order, which, after, limit)
        if order is LaneOrder.NAME:
            return replace(adding.lane_pages(pages, limit), incomplete=incomplete)
        names = frozenset(lane.destination for _, page in pages for lane in page.items)
        among = replace(which, among=names)
        whole, missing = await self._lanes(LaneOrder.NAME, among, "", len(names))
        lanes = sorted(adding.merged_lanes(whole), key=adding.by_messages)
        total = adding.lane_pages(pages, limit).total
        return LanePage(lanes[:limit], total, None, sorted({*incomplete, *missing}))

    async def _lanes(
        self, order: LaneOrder, which: LaneFilter, after: str, limit: int
    ) -> tuple[list[tuple[int, LanePage]], list[int]]:
        """A page of each part, with its process."""
        answers, incomplete = await self._all(
            lambda part: part.admin.lanes(order, which=which, after=after, limit=limit)
        )
        return [(part.process, page) for part, page in answers], incomplete

    async def waiting(self, which: MessageFilter, *, cursor: int, limit: int) -> MessagePage:
        """See `Admin.waiting`: the messages of one part after those of another."""
        items: list[MessageView] = []
        begin, first = cursor >> adding.NUMBER_BITS, cursor & ((1 << adding.NUMBER_BITS) - 1)
        incomplete = [number for number in self._parts.missing if number >= first]
        parts = [part for part in self._parts if part.number >= first]
        for at, part in enumerate(parts):
            own = begin if part.number == first else 0
            try:
                page = await part.admin.waiting(which, cursor=own, limit=limit - len(items))
            except Refused as error:
                _check_away(error)
                incomplete = sorted({*incomplete, part.number})
                continue
            items += page.items
            if page.next_cursor is not None:
                following = page.next_cursor << adding.NUMBER_BITS | part.number
                return MessagePage(items, following, incomplete)
            if len(items) >= limit and at + 1 < len(parts):
                # From its beginning: 0 alone would be the first page of the first one.
                following = 1 << adding.NUMBER_BITS | parts[at + 1].number
                return MessagePage(items, following, incomplete)
        return MessagePage(items, None, incomplete)

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """See `Admin.letters`."""
        answers, incomplete = await self._all(
            lambda part: part.admin.letters(
                which, cursor=adding.begins_at(cursor, part.number), limit=limit
            )
        )
        page = adding.letter_pages([(part.number, page) for part, page in answers], limit)
        return replace(page, incomplete=incomplete)

    async def letter_groups(self, which: LetterFilter) -> LetterGroups:
        """See `Admin.letter_groups`."""
        answers, incomplete = await self._all(lambda part: part.admin.letter_groups(which))
        groups = adding.groups_of([found for _, found in answers])
        return replace(groups, incomplete=incomplete)

    async def count_letters(self, which: LetterFilter) -> int:
        """See `Admin.count_letters`: of all of them, as something is done to those next."""
        return sum(await self._everywhere(lambda admin: admin.count_letters(which)))

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
        answers, unknown = await self._shared(ids, lambda a, some: a.missing_letters(some))
        missing = {*unknown, *(one for some in answers for one in some)}
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
        """What each part says, one after another; then all have to have been there. That one is
        not, or breaks off, keeps it from none of the others."""
        answers: list[A] = []
        away: Refused | None = None
        for part in self._parts:
            try:
                answers.append(await act(part.admin))
            except Refused as error:
                _check_away(error)
                away = error
        if away is not None:
            raise away
        self._parts.check_all()
        return answers

    async def _all(
        self, ask: Callable[[Part], Awaitable[A]]
    ) -> tuple[list[tuple[Part, A]], list[int]]:
        """What each part says, all asked at once, and the numbers of those that said nothing."""
        parts = list(self._parts)
        if len(parts) == 1:
            found: list[A | BaseException] = [await _said(ask(parts[0]))]
        else:
            found = list(await asyncio.gather(*(_said(ask(part)) for part in parts)))
        answers: list[tuple[Part, A]] = []
        missing = [*self._parts.missing]
        for part, said in zip(parts, found, strict=True):
            if isinstance(said, Refused):
                _check_away(said)
                missing.append(part.number)
            elif isinstance(said, BaseException):
                raise said
            else:
                answers.append((part, said))
        return answers, sorted(missing)


async def _said(asked: Awaitable[A]) -> A | BaseException:
    """What comes of it; no part's failure leaves the others to themselves."""
    try:
        return await asked
    except Exception as error:  # raised again by who asked
        return error


def _check_away(error: Refused) -> None:
    """Raise what is a refusal of the part's own, and not that it is not there."""
    if error.refusal not in _AWAY:
        raise error


_AWAY: Final = (MOVED, UNANSWERED)


async def _retry(admin: Admin, *, destination: str, course: Course) -> TriedNow:
    return await admin.retry_destination(destination, course=course)
