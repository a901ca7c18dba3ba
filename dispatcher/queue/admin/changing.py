"""What operators change of messages that wait and of destinations."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from dispatcher.core.breaker import State as Breaking
from dispatcher.core.clock import SteadyClock
from dispatcher.core.destination import Destination
from dispatcher.errors import Refused
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.settlements import Settlements
from dispatcher.queue.flow.starting import Starting
from dispatcher.queue.lanes.lanes import Lane, Lanes
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.warm import Warm
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.refusals import NOT_DURABLE_FULL
from dispatcher.queue.registry.idempotency.keys import Keys
from dispatcher.queue.registry.pauses import Pauses


class Changing:
    """Cancels messages, hastens them, and holds destinations, on the event loop's thread."""

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
        keys: Keys,
        starting: Starting,
        clock: SteadyClock,
    ) -> None:
        self._pending = pending
        self._lanes = lanes
        self._lineup = lineup
        self._warm = warm
        self._committer = committer
        self._settlements = settlements
        self._pauses = pauses
        self._keys = keys
        self._starting = starting
        self._clock = clock
        self.also: Callable[[str, bool], None] = _nobody
        """Who sends to destinations too is told their names, and whether they are held."""

    def cancel(self, slots: Sequence[int]) -> Coroutine[Any, Any, None]:
        """Forget messages that are READY or SCHEDULED, at once: one turn of the loop later they may
        be on their way, and a copy that is made of one would lie behind the record that settles it.
        What is returned waits until that is durable, see `Settlements.durable`.

        Raises:
            Refused: there is no space for that record, and the messages are still there. What is
                returned raises it too, and then they are gone.
        """
        if self._committer.is_stuck:
            raise Refused(NOT_DURABLE_FULL)
        for slot in slots:
            self._forget(slot)
        return self._settlements.durable()

    def _forget(self, slot: int) -> None:
        pending = self._pending
        lane = self._lanes.by_number[pending.index.lane[slot]]
        warm = slot in self._warm
        self._lineup.take_out(slot, warm=warm)
        if warm:
            self._warm.drop(lane, slot)
        index = pending.index
        self._keys.settle(index.id_position[slot], index.incarnation_of(slot))
        pending.remove(slot)

    def hasten(self, slot: int) -> list[int]:
        """Let a message be due now that waits for a time. Returns the timers' buckets in one of
        which it is, to be `pulled` out of it; until then it is as it was."""
        index = self._pending.index
        if index.state[slot] != State.SCHEDULED:  # it waits for its key too
            self._pending.lines.hasten(slot)
            return []
        buckets = self._pending.timers.buckets_of(index.due_at[slot])
        index.due_at[slot] = self._clock.now_us()
        return buckets

    def pull(self, bucket: int, after: int, budget: int) -> tuple[int, int]:
        """Let messages that are due by now, and still in a bucket of later ones, wait for a turn,
        as `Timers.pull` finds them. Returns behind which slot to go on, and what is left of the
        budget."""
        slots, after, budget = self._pending.timers.pull(bucket, after, budget)
        if slots:
            self._starting.due(slots)
        return after, budget

    def try_now(self, destination: Destination) -> bool:
        """Send one message to a destination at once, whatever it asked for and however it failed
        before, unless an operator holds it. Whether its breaker was open."""
        lane = self._lanes.find(destination.key)
        if lane is None:
            return False
        was_open = lane.peer.breaker.state is not Breaking.CLOSED
        self._starting.try_now(lane)
        return was_open

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
