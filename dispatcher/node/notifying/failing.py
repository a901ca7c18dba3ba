"""Looks for destinations that fail, and for those that do not any more, among all lanes and without
holding the loop.

When the network is down every destination fails: a hundred thousand are looked at, compared with
what was told, and worded for whoever is told. So all of that is done lane by lane, in slices.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeAlias

from dispatcher.core.clock import QueueUs, SteadyClock
from dispatcher.core.destination import Destination
from dispatcher.node.ailing import waiting
from dispatcher.node.notifying.conditions import Conditions, Failing, Over
from dispatcher.node.notifying.happening import Happening
from dispatcher.node.problems import Ailing
from dispatcher.node.whole import AnyLane, Destinations
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.lanes.peers import Peer

LANES_AT_ONCE: Final = 16
"""Lanes after which it is asked whether the slice is over: a tenth of a millisecond where each has
something to be told."""

Tell = Callable[[Conditions, Happening], None]
WhyOver: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[Over | None]]]
"""Says of destinations why they do not fail any more; None: they do."""


async def look_at_lanes(
    lanes: Destinations,
    clock: SteadyClock,
    pace: Pace,
    tables: Sequence[Conditions],
    tell: Tell,
    elsewhere: Sequence[Ailing] = (),
    why_elsewhere: WhyOver | None = None,
) -> None:
    """Tell which destinations fail by now, here or in another process (`elsewhere`), and which of
    those told do not any more: why, `why_elsewhere` says of those that nothing waits for here.
    Lanes may come and go meanwhile."""
    tables = [table for table in tables if table.has_destinations]
    if not tables:
        return
    for some in lanes.in_parts(LANES_AT_ONCE):
        if pace.is_over:
            await pace.rest()
        for lane in filter(_fails, some):
            _tell_of(lane, clock, tables, tell)
    failing_elsewhere = {one.destination: one for one in elsewhere if one.since_us is not None}
    for one in failing_elsewhere.values():
        if pace.is_over:
            await pace.rest()
        _tell_of_other(one, clock, tables, tell)
    for table in tables:
        over: dict[str, Over] = {}
        for number, name in enumerate(table.told):
            if name in failing_elsewhere:
                continue
            if not number % LANES_AT_ONCE and pace.is_over:
                await pace.rest()
            if (why := why_over(lanes, name)) is not None:
                over[name] = why
        idle = [name for name, why in over.items() if why is Over.IDLE]
        if idle and why_elsewhere is not None:
            for name, there in zip(idle, await why_elsewhere(idle), strict=True):
                if there is None:
                    del over[name]
                else:
                    over[name] = there
        for number, (name, why) in enumerate(over.items()):
            if not number % LANES_AT_ONCE and pace.is_over:
                await pace.rest()
            if (happening := table.is_over(name, why, clock.wall_us())) is not None:
                tell(table, happening)


def why_over(lanes: Destinations, name: str) -> Over | None:
    """Why a destination does not fail any more, as far as is known here; None: it does."""
    found = lanes.find(name.encode("ascii"))
    if found is None:
        return Over.IDLE
    return None if _fails(found) else _why_over(found.peer)


def first_of(reasons: Iterable[Over | None]) -> Over | None:
    """The reason that counts, of what several processes say of one destination."""
    said = list(reasons)
    if None in said:
        return None
    return next((one for one in (Over.HELD, Over.ANSWERS) if one in said), Over.IDLE)


def _fails(lane: AnyLane) -> bool:
    peer = lane.peer
    return bool(peer.trail.failing_since and not peer.held and waiting(lane))


def _tell_of(lane: AnyLane, clock: SteadyClock, tables: Sequence[Conditions], tell: Tell) -> None:
    name, failing = str(lane.destination), _failing(lane, clock)
    for table in tables:
        if table.is_about(lane.destination):
            happening = table.fails(name, failing, clock.wall_us())
            if happening is not None:
                tell(table, happening)


def _tell_of_other(
    one: Ailing, clock: SteadyClock, tables: Sequence[Conditions], tell: Tell
) -> None:
    now_us, since_us = clock.wall_us(), one.since_us or 0
    failing = Failing(since_us, max(0, now_us - since_us), one.waiting, one.last_error)
    destination = Destination.parse(one.destination)
    for table in tables:
        if table.is_about(destination):
            happening = table.fails(one.destination, failing, now_us)
            if happening is not None:
                tell(table, happening)


def _why_over(peer: Peer) -> Over:
    if peer.held:
        return Over.HELD
    return Over.IDLE if peer.trail.failing_since else Over.ANSWERS


def _failing(lane: AnyLane, clock: SteadyClock) -> Failing:
    trail = lane.peer.trail
    since = QueueUs(trail.failing_since)
    return Failing(clock.to_wall(since), clock.now_us() - since, waiting(lane), trail.last_error)
