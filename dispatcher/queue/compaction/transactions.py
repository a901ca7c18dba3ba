"""The transaction log as something that can be compacted (`Source`): small messages, large bodies,
bodies that are still coming, idempotency keys, and what is known of destinations."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.queue.bodies.upload import ChunkUpload
from dispatcher.queue.compaction.large import LargeBodies
from dispatcher.queue.compaction.messages import Messages
from dispatcher.queue.compaction.source import cost_with_wholes
from dispatcher.queue.pending.extents import Extent, Extents, Owner
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.registry.idempotency.space import KeySpace
from dispatcher.queue.registry.pauses import Pauses

_ENDING_BYTES = 8
"""What a message takes in a record that settles many, at most; half of it where many lie close
together."""


class Transactions:
    """A `Source`."""

    def __init__(
        self,
        pending: Pending,
        messages: Messages,
        large: LargeBodies,
        pauses: Pauses,
        keys: KeySpace,
    ) -> None:
        self._pending = pending
        self._messages = messages
        self._large = large
        self._pauses = pauses
        self._keys = keys

    @property
    def copied_total(self) -> int:
        """Copies of messages that were made."""
        return self._messages.copied_total

    @property
    def extents(self) -> Extents:
        return self._pending.extents

    @property
    def live_bytes(self) -> int:
        return self._pending.live_bytes + self._keys.live_bytes

    @property
    def ending_bytes(self) -> int:
        return _ENDING_BYTES * self._pending.index.count + self._pending.guest.ending_bytes

    def cost_bytes(self, extent: Extent, counted: set[Owner]) -> int:
        return cost_with_wholes(extent, counted, int, self._large.cost_bytes)

    async def growth_bytes(self, extent: Extent) -> int:
        growth = await self._messages.growth_bytes(extent)
        growth += self._keys.growth_bytes(extent)
        return growth + await self._pending.guest.growth_bytes(extent)

    def give_way(self, extents: Sequence[Extent]) -> bool:
        """See `Reclaimer`. Keys of messages that are done are forgotten where nothing else keeps
        these extents: without that the server would accept nothing until their window is over."""
        if any(extent.live != self._keys.live_in(extent) for extent in extents):
            return False
        for extent in extents:
            self._keys.drop(extent)
        return True

    def tidy(self) -> bool:
        self._pending.shrink()
        return False

    async def copy(self, extents: Sequence[Extent]) -> None:
        for extent in extents:
            large = dict.fromkeys(await self._messages.copy(extent))
            await self._pauses.move_from(extent)
            await self._keys.move_from(extent)
            owners = list(extent.owners)
            large.update((owner, None) for owner in owners if isinstance(owner, int))
            for slot in large:
                await self._large.copy(slot)
            for owner in owners:
                if isinstance(owner, ChunkUpload):
                    await self._large.copy_coming(owner, extent)
        await self._pending.guest.copy(extents)
