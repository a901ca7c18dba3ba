"""Which destinations fail or are held, and why destinations are left alone: found among hundreds of
thousands without holding the loop."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.node.problems import Ailing
from dispatcher.node.whole import AnyLane, Destinations
from dispatcher.queue.admin.lane_filter import is_down
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import Reason
from dispatcher.queue.lanes.gates import Gate, first_shut
from dispatcher.queue.lanes.peers import Peer

_AT_ONCE: Final = 20
"""Lanes that are looked at before it is asked whether the slice is over: less than a tenth of a
millisecond where their gates have to be asked."""
_REASONS: Final = {
    Gate.HOLD: Reason.DESTINATION_HELD,
    Gate.PAUSE: Reason.RETRY_AFTER,
    Gate.LACKING: Reason.LACKING,
    Gate.BREAKER: Reason.BREAKER_OPEN,
    Gate.RATE: Reason.RATE_REACHED,
}
SHUT_REASONS: Final = tuple(reason.value for reason in _REASONS.values())
"""Why nothing is sent to a destination for now, as `explain` says it."""


_Ranked = tuple[int, int, AnyLane]
"""By messages that wait, and lanes with as many by when they were looked at, the first first."""


@dataclass(slots=True)
class Ailments:
    """`lanes` counts those with messages, or held. `failing` and `held` are those with messages
    waiting, the ones with most first and not more than was asked for; `…_waiting_total` says how
    many those are, `…_total` counts those without messages too. `held_messages` are those that are
    ready, but for the hold. `shut` counts destinations by the first reason why nothing is sent."""

    lanes: int = 0
    failing_total: int = 0
    failing_waiting_total: int = 0
    held_total: int = 0
    held_waiting_total: int = 0
    held_messages: int = 0
    lacking_since: int | None = None
    shut: Counter[str] = field(default_factory=Counter)
    failing: list[AnyLane] = field(default_factory=list)
    held: list[AnyLane] = field(default_factory=list)


async def find_ailing(
    lanes: Destinations, clock: SteadyClock, pace: Pace, *, most: int
) -> Ailments:
    """Look at every lane once. Lanes may come and go meanwhile."""
    found = Ailments()
    failing: list[_Ranked] = []
    held: list[_Ranked] = []
    now_us = clock.now_us()
    for some in lanes.in_parts(_AT_ONCE):
        if pace.is_over:
            await pace.rest()
            now_us = clock.now_us()
        for lane in some:
            waits = _count(found, lane, now_us)
            if waits:
                _keep(held if lane.peer.held else failing, (waits, -found.lanes, lane), most)
    found.failing = [lane for _, _, lane in sorted(failing, reverse=True)]
    found.held = [lane for _, _, lane in sorted(held, reverse=True)]
    return found


def _keep(worst: list[_Ranked], ranked: _Ranked, most: int) -> None:
    """Keep a lane while it is among those with most messages. When the network is down all of them
    fail, and to choose among all at the end would hold the loop."""
    if len(worst) < most:
        heapq.heappush(worst, ranked)
    else:
        heapq.heappushpop(worst, ranked)


def _count(found: Ailments, lane: AnyLane, now_us: int) -> int:
    """Count a lane; return how many messages wait for a destination that fails or is held, of
    others 0."""
    peer, waits = lane.peer, waiting(lane)
    found.lanes += bool(waits or peer.in_flight or peer.held)
    if peer.calm:
        if peer.spent:
            found.shut[Reason.RATE_REACHED.value] += 1
        return 0
    if peer.lacking_since:
        found.lacking_since = min(found.lacking_since or peer.lacking_since, peer.lacking_since)
    if (reason := shut_reason(peer, now_us)) is not None:
        found.shut[reason] += 1
    if peer.held:
        found.held_total += 1
        found.held_messages += lane.ready + lane.behind
        found.held_waiting_total += bool(waits)
        return waits
    if is_down(peer.breaker, peer.trail, now_us):
        found.failing_total += 1
        found.failing_waiting_total += bool(waits)
        return waits
    return 0


def waiting(lane: AnyLane) -> int:
    """Messages of a lane that wait for their turn, for a time or for others."""
    return lane.ready + lane.behind + lane.scheduled


def shut_reason(peer: Peer, now_us: int) -> str | None:
    """The first reason why nothing is sent to a destination for now, one of `SHUT_REASONS`; None:
    there is none, or all that it may have is under way."""
    closed = first_shut(peer, now_us)
    reason = None if closed is None else _REASONS.get(closed.gate)
    return None if reason is None else reason.value


def ailing(lane: AnyLane, clock: SteadyClock) -> Ailing:
    """A destination that ails, as it is told."""
    trail = lane.peer.trail
    since = trail.failing_since
    return Ailing(
        destination=str(lane.destination),
        waiting=waiting(lane),
        since_us=clock.to_wall(QueueUs(since)) if since and not lane.peer.held else None,
        last_error=trail.last_error,
    )
