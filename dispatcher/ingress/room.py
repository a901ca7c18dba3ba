"""Decides who is refused when the memory for unfinished requests is used up: the slowest.

If the newcomer were refused, callers who came first and then send almost nothing would lock
everybody else out. Only requests slower than the newcomer's are refused for it, so that a burst of
callers who are all equally fast does not refuse itself.
"""

from __future__ import annotations

from typing import Final

from dispatcher.ingress.memory import Memory
from dispatcher.ingress.shared import OpenConnection, Shared

_AT_ONCE: Final = 16
"""A sixteenth of the memory is freed at once, so that the next bytes need no new search."""
_LOOK_S: Final = 0.1
"""A search through ten thousand connections takes milliseconds; there is at most one in this
time."""


def make_room(
    shared: Shared,
    memory: Memory,
    wanted_bytes: int,
    *,
    asker: OpenConnection,
    rate: float,
    now_s: float,
) -> None:
    """Refuse the slowest holders of `memory` if `asker` could not hold `wanted_bytes` more; it gets
    `rate` bytes a second. There may be too little room afterwards all the same."""
    if memory.held_bytes + wanted_bytes <= memory.max_bytes or now_s < memory.looked_at_s + _LOOK_S:
        return
    memory.looked_at_s = now_s
    slow = []
    for connection in shared.connections:
        its_rate = None if connection is asker else connection.rate_in(memory, now_s)
        if its_rate is not None and its_rate < rate:
            slow.append((its_rate, connection))
    slow.sort(key=lambda one: one[0])
    most = memory.max_bytes - memory.max_bytes // _AT_ONCE - wanted_bytes
    for _, connection in slow:
        if memory.held_bytes <= most:
            break
        connection.give_way()
