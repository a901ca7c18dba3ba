"""The other processes of a node, as its desk has them: their partitions are parts of what operators
see, and their figures belong to those of the node.

Whoever was met once stays a part: while it is away its part is missing, which is said, and it is
met again when it is connected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from dispatcher.errors import DispatcherError
from dispatcher.node.backup.elsewhere import RemoteCopying
from dispatcher.node.figures import Figures, Sight
from dispatcher.node.merged.whole import Merged
from dispatcher.node.problems import Ailing
from dispatcher.node.sums import Processes
from dispatcher.node.telling import ProcessFace, RemoteProcess
from dispatcher.peers.calls import Calls, OverLink
from dispatcher.peers.links import Peer
from dispatcher.telemetry.supervisor import Supervisor

_LOOK_S: Final = 1.0
A = TypeVar("A")


class _Other:
    """One of them."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.calls = Calls(OverLink(peer))
        self.face: ProcessFace = RemoteProcess(self.calls)
        self.is_ready = self.knows_holds = False
        self.partitions: frozenset[int] | None = None  # as long as it was not met
        self.last: tuple[int, Figures] | None = None
        self.failing: Sequence[Ailing] = ()


class Others:
    """All of them."""

    def __init__(
        self,
        process: int,
        peers: Sequence[Peer],
        merged: Merged,
        supervisor: Supervisor,
        held: Callable[[], Sequence[str]],
    ) -> None:
        """`process` is this one's number; `held` are the destinations that operators hold."""
        self._process = process
        self._held = held
        self._merged = merged
        self._supervisor = supervisor
        self._others = [_Other(peer) for peer in peers]
        self._processes = Processes()
        self._gone: list[Figures] = []
        merged.is_complete(False)
        self._ending = [
            other.peer.on_change(partial(self._changed, other)) for other in self._others
        ]

    @property
    def copying(self) -> list[RemoteCopying]:
        """Those that copy their logs for a backup of the node."""
        return [RemoteCopying(other.calls) for other in self._others]

    def start(self) -> None:
        """Look at them from now on."""
        self._supervisor.forever("others", self._look, every_s=_LOOK_S)

    def stop(self) -> None:
        """Hear no more of them. Idempotent."""
        while self._ending:
            self._ending.pop()()

    @property
    def accept(self) -> bool:
        """Whether one of them accepts messages."""
        return any(other.is_ready for other in self._others)

    async def figures(self) -> list[Figures]:
        """What they count. Of one that is away, and of one that has started anew, it is in this
        what it had counted before."""
        answers = await self._all(lambda face: face.figures())
        found: list[Figures] = []
        for other, told in answers:
            if told is None:
                if other.last is not None:
                    found.append(other.last[1].counted)
                continue
            if other.last is not None and other.last[0] != told.incarnation:
                self._gone.append(other.last[1].counted)
            other.last = told.incarnation, told.figures
            found.append(told.figures)
        return [*found, *self._gone]

    async def sights(self) -> list[Sight]:
        """What an overview looks at in those that are there."""
        answers = await self._all(lambda face: face.sight())
        return [told for _, told in answers if told is not None]

    async def failing(self) -> list[Ailing]:
        """Destinations that fail in them, with messages waiting. Of one that is away those that it
        told last: nobody knows that they answer again."""
        answers = await self._all(lambda face: face.failing())
        for other, told in answers:
            if told is not None:
                other.failing = told
        return [one for other in self._others for one in other.failing]

    async def metrics(self, own: str, incarnation: int) -> str:
        """The metrics of all processes, with those of this one, as those of one server."""
        answers = await self._all(lambda face: face.metrics())
        self._processes.told(self._process, incarnation, own)
        away: set[int] = set()
        for other, told in answers:
            await asyncio.sleep(0)  # hundreds of lines each
            if told is None:
                away.add(other.peer.process)
            else:
                self._processes.told(other.peer.process, told.incarnation, told.text)
        written: list[str] = []
        for number, piece in enumerate(self._processes.pieces(frozenset(away))):
            written.append(piece)
            if not number % 16:
                await asyncio.sleep(0)
        return "".join(written)

    async def _all(
        self, ask: Callable[[ProcessFace], Awaitable[A]]
    ) -> list[tuple[_Other, A | None]]:
        """What each says, all asked at once; None: nothing."""
        told = await asyncio.gather(*(_said(ask(other.face)) for other in self._others))
        return list(zip(self._others, told, strict=True))

    async def _look(self) -> None:
        for other, health in await self._all(lambda face: face.health()):
            other.is_ready = health is not None and health.is_ready
            if other.is_ready and not other.knows_holds:
                await self._tell_holds(other)

    def _changed(self, other: _Other) -> None:
        if other.peer.is_connected:
            name = f"meeting process {other.peer.process}"
            self._supervisor.spawn(name, self._meet(other))
        else:
            other.is_ready = other.knows_holds = False

    async def _tell_holds(self, other: _Other) -> None:
        """Tell one what is held: it may have been away as that changed, or have a partition that is
        new. Where its disk is full it is told again."""
        with suppress(DispatcherError):
            await other.face.hold_only(self._held())
            other.knows_holds = True

    async def _meet(self, other: _Other) -> None:
        """Find out which partitions it has, each time that it is connected, and tell it what is
        held."""
        try:
            about = await other.face.about()
            health = await other.face.health()
        except DispatcherError:
            return  # it is gone again, and will be connected anew
        now, before = frozenset(about.partitions), other.partitions or frozenset()
        for number in sorted(before - now):
            self._merged.forget(number)
        for number in sorted(now - before):
            self._merged.add_remote(number, other.calls, other.peer.process)
        other.partitions = now
        other.is_ready = health.is_ready
        await self._tell_holds(other)
        if all(one.partitions is not None for one in self._others):
            self._merged.is_complete(True)


async def _said(asked: Awaitable[A]) -> A | None:
    try:
        return await asked
    except DispatcherError:
        return None
