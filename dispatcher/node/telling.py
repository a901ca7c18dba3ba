"""What this process tells the desk of itself, which is in another process or on another node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from dispatcher.api.health import Health
from dispatcher.errors import Refused
from dispatcher.node.ailing import ailing, find_ailing
from dispatcher.node.backup.elsewhere import Copying, CopyingHere
from dispatcher.node.disks import Disks
from dispatcher.node.figures import (
    Sight,
    figures_of,
    sight_of,
    used_descriptors,
)
from dispatcher.node.holds import hold_only
from dispatcher.node.merged.whole import Served
from dispatcher.node.message_service import MessageService
from dispatcher.node.metrics import Metrics
from dispatcher.node.neighbours import Neighbours
from dispatcher.node.notifying.failing import why_over
from dispatcher.node.problems import Ailing
from dispatcher.node.process_face import About, CountedFigures, ProcessFace, Scrape
from dispatcher.node.standing import Standing, standings_of
from dispatcher.peers.answers import Answers
from dispatcher.queue.refusals import MOVED

MOST_FAILING: Final = 1000
"""Destinations that fail, of this process, that are told at most."""


class ThisProcess:
    """Answers for this process (`ProcessFace`)."""

    def __init__(
        self,
        messages: MessageService,
        health: Callable[[], Health],
        metrics: Callable[[], Awaitable[str]],
    ) -> None:
        self._messages = messages
        self._health = health
        self._metrics = metrics
        self._pace = messages.whole.pace.another()
        self._epoch = 0

    async def about(self) -> About:
        """See `ProcessFace`."""
        return About(self._messages.incarnation, self._messages.assignment.partitions)

    async def health(self) -> Health:
        """See `ProcessFace`."""
        return self._health()

    async def metrics(self) -> Scrape:
        """See `ProcessFace`."""
        return Scrape(self._messages.incarnation, await self._metrics())

    async def figures(self) -> CountedFigures:
        """See `ProcessFace`."""
        figures = figures_of(self._messages.whole, self._messages.listener)
        return CountedFigures(self._messages.incarnation, figures)

    async def sight(self) -> Sight:
        """See `ProcessFace`."""
        used = await asyncio.to_thread(used_descriptors)
        return await sight_of(self._messages.whole, self._pace, used, self._health())

    async def failing(self) -> Sequence[Ailing]:
        """See `ProcessFace`."""
        whole = self._messages.whole
        found = await find_ailing(whole.destinations, whole.clock, self._pace, most=MOST_FAILING)
        return [ailing(lane, whole.clock) for lane in found.failing]

    async def why_over(self, destinations: Sequence[str]) -> Sequence[str]:
        """See `ProcessFace`."""
        lanes = self._messages.whole.destinations
        found = [why_over(lanes, name) for name in destinations]
        return ["" if why is None else why.name for why in found]

    async def standings(self) -> Sequence[Standing]:
        """See `ProcessFace`."""
        return standings_of(self._messages.whole)

    async def hold_only(self, destinations: Sequence[str], *, epoch: int = 0) -> None:
        """See `ProcessFace`."""
        if epoch < self._epoch:
            raise Refused(MOVED)
        self._epoch = epoch
        await hold_here(self._messages, destinations)


async def hold_here(messages: MessageService, destinations: Sequence[str]) -> None:
    """Hold these destinations and no others in this process's partitions, but in partition 0, and
    send what was waiting for that.

    Raises:
        Refused: it cannot be stored now.
    """
    parts = tuple(messages.queues)  # one that comes meanwhile is told anew
    await hold_only(parts, destinations)
    messages.holds_are_known(parts)


def tell(messages: MessageService, neighbours: Neighbours, health: Callable[[], Health]) -> None:
    """Let the desk, in another process, ask for all that belongs to this one, and for its
    partitions as they come and go."""
    metrics = Metrics(
        messages.whole,
        messages.pool,
        messages.listener,
        operators=dict,
        certificates=messages.certificates,
        disks=Disks({}),
    )
    answers = Answers(messages.observer.died)
    messages.partitions.members.append(Served(answers))
    if messages.on_disk:
        logs = {one.number: (one.log, one.dead_log) for one in messages.on_disk}
        answers.serve(Copying, CopyingHere(logs))
    answers.serve(ProcessFace, ThisProcess(messages, health, metrics.text_of_process))
    neighbours.answer(answers)
