"""What operators see and do, on top of one partition: `surface.Admin` for real.

Everything that may look through many rows does so in slices, so that no caller of the hot path
waits for an operator.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.core.destination import Destination
from dispatcher.queue.admin.acting import Acting
from dispatcher.queue.admin.course import Course
from dispatcher.queue.admin.explaining import Explaining
from dispatcher.queue.admin.finding import Finding
from dispatcher.queue.admin.listing import Listing
from dispatcher.queue.admin.looking import Looking
from dispatcher.queue.admin.message_pages import MessagePages
from dispatcher.queue.admin.operating import Operating
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import (
    EVERY_LANE,
    MOST_LANES,
    Cancelled,
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
from dispatcher.queue.admin.waiting import Waiting


class Administration:
    """Looks at a partition and changes it, on the event loop's thread. `pace` is for everybody who
    works in slices."""

    def __init__(self, parts: Parts) -> None:
        self.pace = parts.pace
        self._watch = parts.watch
        self._looking = Looking(parts, self.pace)
        self._listing = Listing(parts.dead_letters, self.pace)
        waiting = Waiting(parts, self.pace)
        self._explaining = Explaining(parts, self._looking)
        self._pages = MessagePages(parts, waiting, self._looking, self._explaining, self.pace)
        finding = Finding(parts, waiting, self._looking, self.pace)
        self._acting = Acting(parts, waiting, finding, self.pace)
        self._operating = Operating(parts, self._looking, self._listing, self.pace)

    async def totals(self) -> Totals:
        """See `Admin.totals`."""
        return self.totals_now()

    def totals_now(self) -> Totals:
        """The same, without a wait: of a partition that leaves."""
        return self._looking.totals()

    async def lanes(
        self,
        order: LaneOrder = LaneOrder.NAME,
        *,
        which: LaneFilter = EVERY_LANE,
        after: str = "",
        limit: int = MOST_LANES,
    ) -> LanePage:
        """See `Admin.lanes`."""
        return await self._looking.lanes(order, which=which, after=after, limit=limit)

    async def message(self, message_id: str) -> MessageView | None:
        """See `Admin.message`."""
        found = await self._looking.message(message_id)
        return None if found is None else self._explaining.told(found)

    async def message_detail(self, message_id: str) -> MessageDetail | None:
        """See `Admin.message_detail`."""
        found = await self._looking.detail(message_id)
        return None if found is None else found.told(self._explaining.told(found.message))

    async def waiting(self, which: MessageFilter, *, cursor: int, limit: int) -> MessagePage:
        """See `Admin.waiting`."""
        return await self._pages.page(which, cursor=cursor, limit=limit)

    async def explain(self, message_id: str) -> Explanation | None:
        """See `Admin.explain`."""
        return await self._explaining.explain(message_id)

    async def cancel(self, message_id: str) -> Cancelled:
        """See `Admin.cancel`."""
        return await self._operating.cancel(message_id)

    async def give_up(self, message_id: str) -> Cancelled:
        """See `Admin.give_up`."""
        return await self._operating.give_up(message_id)

    async def redirect(self, message_id: str, to: str) -> Cancelled:
        """See `Admin.redirect`."""
        return await self._operating.redirect(message_id, to)

    async def count_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin.count_waiting`."""
        return await self._acting.count(which, course or Course())

    async def cancel_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin.cancel_waiting`."""
        return await self._operating.run(self._acting.cancel(which, course or Course()))

    async def give_up_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin.give_up_waiting`."""
        return await self._operating.run(self._acting.give_up(which, course or Course()))

    async def redirect_waiting(
        self, which: MessageFilter | Sequence[str], to: str, *, course: Course | None = None
    ) -> Touched:
        """See `Admin.redirect_waiting`."""
        place = Destination.parse(to)
        return await self._operating.run(self._acting.redirect(which, place, course or Course()))

    async def retry_waiting(
        self, which: MessageFilter | Sequence[str], *, course: Course | None = None
    ) -> Touched:
        """See `Admin.retry_waiting`."""
        return await self._operating.run(self._acting.retry(which, course or Course()))

    async def retry_destination(
        self, destination: str, *, course: Course | None = None
    ) -> TriedNow:
        """See `Admin.retry_destination`."""
        place = Destination.parse(destination)
        return await self._operating.run(self._acting.try_now(place, course or Course()))

    async def letters(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """See `Admin.letters`."""
        return await self._listing.page(which, cursor=cursor, limit=limit)

    async def letter_groups(self, which: LetterFilter) -> LetterGroups:
        """See `Admin.letter_groups`."""
        return await self._listing.groups(which)

    async def letter(self, message_id: str) -> LetterDetail | None:
        """See `Admin.letter`."""
        return await self._listing.one(message_id)

    async def count_letters(self, which: LetterFilter) -> int:
        """See `Admin.count_letters`."""
        return await self._listing.count(which)

    async def missing_letters(self, ids: Sequence[str]) -> Sequence[str]:
        """See `Admin.missing_letters`."""
        return self._listing.missing(ids)

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """See `Admin.redrive`."""
        return await self._operating.redrive(which, course=course)

    async def redrive_edited(self, message_id: str, edit: LetterEdit) -> Moved:
        """See `Admin.redrive_edited`."""
        return await self._operating.redrive_edited(message_id, edit)

    async def purge(
        self, which: LetterFilter | Sequence[str], *, course: Course | None = None
    ) -> Moved:
        """See `Admin.purge`."""
        return await self._operating.purge(which, course=course)

    async def hold(self, destination: str) -> str:
        """See `Admin.hold`."""
        return await self._operating.hold(destination)

    async def resume(self, destination: str) -> str:
        """See `Admin.resume`."""
        return await self._operating.resume(destination)

    def subscribe(self, listener: Listener) -> None:
        """See `Admin.subscribe`."""
        self._watch.subscribe(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """See `Admin.unsubscribe`."""
        self._watch.unsubscribe(listener)

    async def stop(self) -> None:
        """End what is under way; what it did so far is durable. Idempotent."""
        await self._operating.stop()
