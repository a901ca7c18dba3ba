"""What the desk asks of another process of its node, or of another node, beside what it asks of the
partitions there: as a Protocol, and as one that asks over a link. Who answers is in `telling`.

Processes of two versions may ask each other: the names of the methods are what is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dispatcher.api.health import Health
from dispatcher.node.figures import Figures, Sight
from dispatcher.node.problems import Ailing
from dispatcher.node.standing import Standing
from dispatcher.peers.calls import Asking, Calls


@dataclass(frozen=True, slots=True)
class About:
    """Which partitions a process has. `incarnation` is another number after each of its starts."""

    incarnation: int
    partitions: Sequence[int]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The metrics of a process, in the text format."""

    incarnation: int
    text: str


@dataclass(frozen=True, slots=True)
class CountedFigures:
    """The figures of a process."""

    incarnation: int
    figures: Figures


class ProcessFace(Protocol):
    """One process of a node, without the desk."""

    async def about(self) -> About:
        """What it has."""

    async def health(self) -> Health:
        """Whether it accepts messages."""

    async def metrics(self) -> Scrape:
        """Its metrics now."""

    async def figures(self) -> CountedFigures:
        """What it counts."""

    async def sight(self) -> Sight:
        """What an overview looks at."""

    async def failing(self) -> Sequence[Ailing]:
        """Destinations that fail, with messages waiting: those with most of them."""

    async def why_over(self, destinations: Sequence[str]) -> Sequence[str]:
        """Why destinations do not fail there any more, each as the name of an `Over`; empty: it
        does."""

    async def standings(self) -> Sequence[Standing]:
        """How its partitions stand."""

    async def hold_only(self, destinations: Sequence[str], *, epoch: int = 0) -> None:
        """Hold these destinations and no others; what was waiting for that is sent. `epoch` is that
        of partition 0 where it moves: one with a lower one than another is refused."""


class RemoteProcess:
    """Asks another process (`ProcessFace`)."""

    def __init__(self, calls: Calls) -> None:
        self._asking = Asking(ProcessFace, calls)

    async def about(self) -> About:
        """See `ProcessFace`."""
        return await self._asking.look(ProcessFace.about)

    async def health(self) -> Health:
        """See `ProcessFace`."""
        return await self._asking.look(ProcessFace.health)

    async def metrics(self) -> Scrape:
        """See `ProcessFace`."""
        return await self._asking.look(ProcessFace.metrics)

    async def figures(self) -> CountedFigures:
        """See `ProcessFace`."""
        return await self._asking.look(ProcessFace.figures)

    async def sight(self) -> Sight:
        """See `ProcessFace`."""
        return await self._asking.look(ProcessFace.sight)

    async def failing(self) -> Sequence[Ailing]:
        """See `ProcessFace`."""
        return await self._asking.look(ProcessFace.failing)

    async def why_over(self, destinations: Sequence[str]) -> Sequence[str]:
        """See `ProcessFace`."""
        return await self._asking.look(ProcessFace.why_over, destinations)

    async def standings(self) -> Sequence[Standing]:
        """See `ProcessFace`."""
        return await self._asking.look(ProcessFace.standings)

    async def hold_only(self, destinations: Sequence[str], *, epoch: int = 0) -> None:
        """See `ProcessFace`."""
        await self._asking.change(ProcessFace.hold_only, destinations, epoch=epoch)
