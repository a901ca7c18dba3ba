"""What a node of one process does before its server is made: its layout, and which partitions it
has."""

from __future__ import annotations

from dispatcher.node.assignment import Assignment
from dispatcher.node.layout import Layout, lay_out, write_layout
from dispatcher.node.surplus import remove_empty
from dispatcher.settings import Settings


async def prepare(
    settings: Settings, now_us: int, *, partitions: int = 1
) -> tuple[Layout, Assignment]:
    """Decide for one process which has all partitions, new messages in so many of them.

    Raises:
        LogLocked: another server has the logs.
        LogError, ConfigError: as `lay_out`.
    """
    layout, every = lay_out(settings, partitions, now_us)
    surplus = [number for number in every if number >= layout.spread]
    if surplus:
        removed = await remove_empty(settings, surplus)
        every = tuple(number for number in every if number not in removed)
        cleared = layout.cleared(every)
        if cleared != layout:
            write_layout(settings.transaction_log, cleared)
            layout = cleared
    former = tuple(one.spread for one in layout.former)
    return layout, Assignment(0, every, layout.spread, former=former, every=every)
