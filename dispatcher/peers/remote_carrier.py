"""Export from a partition of another process, import into it, and its history
(`queue.admin.surface.Carrier`, `node.merged.replayer`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from dispatcher.core.message import Message
from dispatcher.peers.calls import Asking, Calls
from dispatcher.queue.admin.surface import (
    AnyCarried,
    Carrier,
    Course,
    Death,
    Extent,
    HistoryFilter,
    IncomingCall,
    LetterFilter,
    PartReplayer,
    Place,
    Replayed,
)


class RemoteCarrier:
    """Export from one partition of another process, and import into it (`Carrier`)."""

    def __init__(self, calls: Calls, partition: int) -> None:
        self._asking = Asking(Carrier, calls, partition)

    def waiting(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[AnyCarried]:
        """See `Carrier.waiting`."""
        return self._asking.many(Carrier.waiting, destination, label=label)

    def dead(self, which: LetterFilter) -> AsyncIterator[AnyCarried]:
        """See `Carrier.dead`."""
        return self._asking.many(Carrier.dead, which)

    def everything(
        self, destination: str | None, *, label: str | None = None
    ) -> AsyncIterator[AnyCarried]:
        """See `Carrier.everything`."""
        return self._asking.many(Carrier.everything, destination, label=label)

    async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> bool:
        """See `Carrier.take`."""
        return await self._asking.change(Carrier.take, message, body, death)

    async def take_call(self, call: IncomingCall, body: Sequence[bytes]) -> bool:
        """See `Carrier.take_call`."""
        return await self._asking.change(Carrier.take_call, call, body)


class RemoteReplayer:
    """The history of one partition of another process (`PartReplayer`)."""

    def __init__(self, calls: Calls, partition: int) -> None:
        self.partition = partition
        self._asking = Asking(PartReplayer, calls, partition)

    async def extent(self) -> Extent:
        """See `PartReplayer.extent`."""
        return await self._asking.look(PartReplayer.extent)

    def replay(
        self,
        which: HistoryFilter,
        *,
        to: str | None = None,
        dry_run: bool = False,
        after: Place | None = None,
        course: Course | None = None,
    ) -> AsyncGenerator[Replayed, None]:
        """See `PartReplayer.replay`."""
        return self._asking.many(
            PartReplayer.replay, which, to=to, dry_run=dry_run, after=after, course=course
        )
