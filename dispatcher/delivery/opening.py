"""Opens a connection for an attempt that found none, and says on the attempt what it waits for."""

from __future__ import annotations

import asyncio
from typing import Final

from dispatcher.core.outcome import Failure
from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.connection import Connection, Owner
from dispatcher.delivery.dial import Dialer, Unreachable
from dispatcher.delivery.idle import IdleConnections

_GIVING_WAY: Final = 8
"""So many idle connections are closed when descriptors are lacking for a new one."""


async def open_for(
    attempt: Attempt, dialer: Dialer, idle: IdleConnections, owner: Owner
) -> Connection | Unreachable:
    """Open a connection to where the attempt goes; where descriptors are lacking, in place of some
    that are idle. What was lacking is noted as ours."""
    destination = attempt.message.destination
    was_ours = attempt.ours

    def on_phase(phase: str, ours: bool) -> None:
        attempt.phase = phase
        attempt.ours = was_ours or ours

    made: list[Connection] = []

    def make() -> Connection:
        made.append(Connection(destination, owner, attempt.place))
        return made[-1]

    while True:
        try:
            opened = await dialer.open(destination, make, on_phase=on_phase, trust=attempt.trust)
        except asyncio.CancelledError:
            # In the very turn in which it was made uvloop closes it without telling anybody.
            for connection in made:
                owner.closed(connection)
            raise
        except MemoryError:
            opened = Unreachable(Failure.CONNECTION, "out of memory", ours=True)
        if not isinstance(opened, Unreachable):
            return opened
        if not opened.lacks_descriptors or not idle.give_way(_GIVING_WAY):
            attempt.ours = attempt.ours or opened.ours
            return opened
        await asyncio.sleep(0)  # now they are closed
