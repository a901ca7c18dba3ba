"""What operators see and do, on top of one partition: `surface.Admin` for real.

Everything that may look through many rows does so in slices, so that no caller of the hot path
waits for an operator.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.queue.admin.explaining import Explaining
from dispatcher.queue.admin.listing import Listing
from dispatcher.queue.admin.looking import Looking
from dispatcher.queue.admin.operating import Operating
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.parts import Parts
from dispatcher.queue.admin.surface import (
    MOST_LANES,
    Cancelled,
    Explanation,
    LaneOrder,
    LanePage,
    LetterDetail,
    LetterFilter,
    LetterGroups,
    LetterPage,
    Listener,
    MessageView,
    Moved,
    Totals,
)


class Administration:
    """Looks at a partition and changes it, on the event loop's thread. `pace` is for everybody who
    works in slices."""

    def __init__(self, parts: Parts) -> None:
        self.pace = Pace()
        self._watch = parts.watch
        self._looking = Looking(parts, self.pace)
        self._listing = Listing(parts.dead_letters, self.pace)
        self._explaining = Explaining(parts, self._looking)
        self._operating = Operating(parts, self._looking, self._listing, self.pace)

    def totals(self) -> Totals:
        """See `Admin.totals`."""
        return self._looking.totals()

    async def lanes(
        self, order: LaneOrder = LaneOrder.NAME, *, after: str = "", limit: int = MOST_LANES
    ) -> LanePage:
        """See `Admin.lanes`."""
        return await self._looking.lanes(order, after=after, limit=limit)

    async def message(self, message_id: str) -> MessageView | None:
        """See `Admin.message`."""
        return await self._looking.message(message_id)

    async def explain(self, message_id: str) -> Explanation | None:
        """See `Admin.explain`."""
        return await self._explaining.explain(message_id)

    async def cancel(self, message_id: str) -> Cancelled:
        """See `Admin.cancel`."""
        return await self._operating.cancel(message_id)

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

    def missing_letters(self, ids: Sequence[str]) -> Sequence[str]:
        """See `Admin.missing_letters`."""
        return self._listing.missing(ids)

    async def redrive(
        self, which: LetterFilter | Sequence[str], *, rate: int | None = None
    ) -> Moved:
        """See `Admin.redrive`."""
        return await self._operating.redrive(which, rate=rate)

    async def purge(self, which: LetterFilter | Sequence[str]) -> Moved:
        """See `Admin.purge`."""
        return await self._operating.purge(which)

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
