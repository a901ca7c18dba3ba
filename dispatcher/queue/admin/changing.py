"""What operators change of messages that wait and of destinations."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from dispatcher.core.destination import Destination
from dispatcher.errors import Refused
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.settlements import Settlements
from dispatcher.queue.flow.starting import Starting
from dispatcher.queue.lanes.lanes import Lane, Lanes
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.warm import Warm
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.refusals import NOT_DURABLE_FULL
from dispatcher.queue.registry.pauses import Pauses


class Changing:
    """Cancels messages and holds destinations, on the event loop's thread."""

    def __init__(
        self,
        pending: Pending,
        lanes: Lanes,
        *,
        lineup: Lineup,
        warm: Warm,
        committer: Committer,
        settlements: Settlements,
        pauses: Pauses,
        starting: Starting,
    ) -> None:
        self._pending = pending
        self._lanes = lanes
        self._lineup = lineup
        self._warm = warm
        self._committer = committer
        self._settlements = settlements
        self._pauses = pauses
        self._starting = starting
        self.also: Callable[[str, bool], None] = _nobody
        """Who sends to destinations too is told their names, and whether they are held."""

    def cancel(self, slot: int) -> Coroutine[Any, Any, None]:
        """Forget a message that is READY or SCHEDULED, at once: one turn of the loop later it may
        be on its way, and a copy that is made of it would lie behind the record that settles it.
        What is returned waits until that is durable, see `Settlements.durable`.

        Raises:
            Refused: there is no space for that record, and the message is still there. What is
                returned raises it too, and then it is gone.
        """
        if self._committer.is_stuck:
            raise Refused(NOT_DURABLE_FULL)
        pending = self._pending
        lane = self._lanes.by_number[pending.index.lane[slot]]
        warm = slot in self._warm
        self._lineup.take_out(slot, warm=warm)
        if warm:
            self._warm.drop(lane, slot)
        index = pending.index
        self._settlements.add(index.incarnation_of(slot), index.id_position[slot])
        pending.remove(slot)
        return self._settlements.durable()

    async def hold(self, destination: Destination, *, held: bool) -> None:
        """Hold a destination, or resume it; returns when that is durable.

        Raises:
            Refused: there is no space to write it down.
        """
        await self._pauses.change(destination.key, held=held)
        lane = self._lanes.of(destination)
        self._hold(lane, held=held)
        self._starting.look_at(lane)

    def restore_holds(self) -> None:
        """Hold what was held when the log was closed."""
        for key in self._pauses.keys:
            self._hold(self._lanes.by_key(key), held=True)

    def _hold(self, lane: Lane, *, held: bool) -> None:
        lane.peer.held = held
        self.also(str(lane.destination), held)
        if held:
            lane.peer.calm = False
            self._warm.chill(lane)


def _nobody(destination: str, held: bool, /) -> None:
    """Nobody else sends there."""
