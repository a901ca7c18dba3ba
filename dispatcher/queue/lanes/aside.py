"""Setting messages aside that wait: they are not sent meanwhile, and can go back to where they
were."""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.core.clock import SteadyClock
from dispatcher.queue.lanes.lanes import Lane, Lanes
from dispatcher.queue.lanes.lines import Lines
from dispatcher.queue.lanes.lineup import Lineup
from dispatcher.queue.lanes.taking_out import TakingOut
from dispatcher.queue.pending.index import State
from dispatcher.queue.pending.pending import Pending


class Aside:
    """Messages that are MOVING."""

    __slots__ = (
        "_clock",
        "_in_chain",
        "_lanes",
        "_lines",
        "_lineup",
        "_look_at",
        "_pending",
        "_taking_out",
    )

    def __init__(
        self,
        pending: Pending,
        lanes: Lanes,
        *,
        lineup: Lineup,
        lines: Lines,
        taking_out: TakingOut,
        clock: SteadyClock,
        look_at: Callable[[Lane], None],
    ) -> None:
        """`look_at` is told a lane that has one message more, and must not give turns at once."""
        self._pending = pending
        self._lanes = lanes
        self._lineup = lineup
        self._lines = lines
        self._taking_out = taking_out
        self._clock = clock
        self._look_at = look_at
        self._in_chain: set[int] = set()  # those that stay in the chain of their order keys

    def take(self, slot: int) -> None:
        """Set a message aside that waits (`TakingOut.waits`). Its age and its deadline count on,
        and it is not given up for them meanwhile."""
        self._taking_out.out_of_lane(slot)
        if self._pending.has_lines and self._lines.set_aside(slot):
            self._in_chain.add(slot)
        self._pending.index.state[slot] = State.MOVING
        self._lineup.leaves(slot)

    def let_go(self, slot: int) -> None:
        """A message that was set aside is done: it may be removed."""
        self._lineup.buried(slot)
        if slot in self._in_chain:
            self._in_chain.remove(slot)
            self._lines.comes_back(slot)

    def put_back(self, slot: int) -> None:
        """Let a message that was set aside wait again: where it did in the order of its key, or for
        its time; else at the end."""
        pending, now_us = self._pending, self._clock.now_us()
        self._lineup.buried(slot)
        pending.deadlines.again(slot, now_us)
        if slot in self._in_chain:
            self._in_chain.remove(slot)
            self._lines.comes_back(slot)
            self._lines.go_on(slot)
        elif pending.timers.lower(slot):
            pending.index.state[slot] = State.SCHEDULED
            self._lanes.by_number[pending.index.lane[slot]].scheduled += 1
        else:
            if pending.ages is not None and slot not in pending.ages:  # its time has come
                pending.ages.add(slot, now_us)
            if not pending.has_lines or self._lines.passes(slot):
                self._look_at(self._lineup.line_up(slot))
