"""The other processes of a node, or the other nodes of a cluster, as its desk has them: their
partitions are parts of what operators see, and their figures belong to those of the whole.

Which partitions they have is asked of each as it is met, where that is for as long as it runs;
where partitions move, a directory says it. Whoever was met once stays a part: while it is away its
part is missing, which is said, and it is met again when it is connected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from dispatcher.cluster.directory import Directory
from dispatcher.errors import DispatcherError
from dispatcher.node.backup.elsewhere import RemoteCopying
from dispatcher.node.figures import Figures, Sight, sums_of
from dispatcher.node.holds import Held, HoldOnly, Holds, HoldsHere, Owned
from dispatcher.node.merged.following import Following
from dispatcher.node.merged.whole import Merged
from dispatcher.node.notifying.conditions import Over
from dispatcher.node.notifying.failing import first_of
from dispatcher.node.problems import Ailing
from dispatcher.node.process_face import ProcessFace, RemoteProcess
from dispatcher.node.standing import Standing
from dispatcher.node.sums import Processes
from dispatcher.peers.calls import Calls, OverLink
from dispatcher.peers.links import Links
from dispatcher.peers.peer import Peer
from dispatcher.queue.partition import Partition
from dispatcher.telemetry.supervisor import Supervisor

_LOOK_S: Final = 1.0
A = TypeVar("A")


class _Other:
    """Another process or node, and what it told last."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.calls = Calls(OverLink(peer))
        self.face: ProcessFace = RemoteProcess(self.calls)
        self.is_ready = self.was_connected = False
        self.partitions: frozenset[int] | None = None  # as long as it was not met
        self.last: tuple[int, Figures] | None = None
        self.failing: Sequence[Ailing] = ()


class Others:
    """All other processes or nodes, as `links` has them."""

    def __init__(
        self,
        process: int,
        links: Links,
        merged: Merged,
        supervisor: Supervisor,
        *,
        held: Held,
        directory: Directory | None = None,
        hold_here: HoldOnly | None = None,
    ) -> None:
        """`process` is this one's number; `held` are the destinations that operators hold.

        Without a `directory` each process has the same partitions for as long as it runs. With one
        `hold_here` is told what is held in the partitions of this process, as the others are for
        theirs."""
        self._process = process
        self._links = links
        self._merged = merged
        self._supervisor = supervisor
        self._directory = directory
        self._holds = Holds(held)
        self._holds_here = None if hold_here is None else HoldsHere(self._holds, hold_here)
        self.epoch = 0
        """That of partition 0, as soon as it is open."""
        self._others: dict[Peer, _Other] = {}
        self._processes = Processes()
        self._gone: Figures | None = None
        self._following: Following | None = None
        self._ending = [links.on_change(self._look_at_links)]
        if directory is not None:
            number = len(directory.partitions)
            self._following = Following(merged, number, directory, self._calls_of)
            self._ending.append(directory.on_change(self._look_at_links))
        else:
            merged.is_complete(False)
        self._look_at_links()

    @property
    def copying(self) -> list[RemoteCopying]:
        """Those that copy their logs for a backup of the node."""
        return [RemoteCopying(other.calls) for other in self._others.values()]

    def start(self) -> None:
        """Look at them, and tell them what is held, from now on: partition 0 is open."""
        self._holds.begin()
        self._supervisor.forever("others", self._look, every_s=_LOOK_S)

    def stop(self) -> None:
        """Hear no more of them, and tell them nothing. Idempotent."""
        self._holds.end()
        while self._ending:
            self._ending.pop()()

    @property
    def accept(self) -> bool:
        """Whether one of them accepts messages."""
        return any(other.is_ready for other in self._others.values())

    # Partitions of this process that come and go (`partitions.Members`).

    def add(self, part: Partition) -> None:
        """One is here from now on."""
        if self._following is not None:
            self._following.add(part)
            if self._holds_here is not None:
                self._holds_here.add(part.config.partition)
            self._supervisor.spawn("holds of a partition", self._tell_holds_here())

    def remove(self, part: Partition) -> None:
        """One is not here any more. Idempotent."""
        if self._following is not None:
            self._following.remove(part)
            if self._holds_here is not None:
                self._holds_here.remove(part.config.partition)

    # What they say.

    @property
    def away(self) -> frozenset[int]:
        """The numbers of those that are not connected."""
        return frozenset(peer.process for peer in self._others if not peer.is_connected)

    def on_change(self, changed: Callable[[], object]) -> None:
        """Call this each time that one was connected or lost, or the directory says something else,
        until `stop`."""
        self._ending.append(self._links.on_change(changed))
        if self._directory is not None:
            self._ending.append(self._directory.on_change(changed))

    async def standings(self) -> dict[int, Sequence[Standing] | None]:
        """How the partitions of each process stand; None: it is away, or does not answer."""
        answers = await self._all(lambda face: face.standings())
        return {other.peer.process: told for other, told in answers}

    async def figures(self) -> list[Figures]:
        """What they count. Of one that is away, and of one that has started anew, it is in this
        what it had counted before."""
        answers = await self._all(lambda face: face.figures())
        found: list[Figures] = []
        for other, told in answers:
            if other.peer not in self._others:
                continue  # it has left meanwhile
            if told is None:
                if other.last is not None:
                    found.append(other.last[1].counted)
                continue
            if other.last is not None and other.last[0] != told.incarnation:
                self._count_gone(other.last[1])
            other.last = told.incarnation, told.figures
            found.append(told.figures)
        return found if self._gone is None else [*found, self._gone]

    def _count_gone(self, last: Figures) -> None:
        counted = last.counted
        self._gone = counted if self._gone is None else sums_of([self._gone, counted])

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
        return [one for other in self._others.values() for one in other.failing]

    async def why_over(self, destinations: Sequence[str]) -> list[Over | None]:
        """Why these do not fail in any of them any more; None: one does. One that is of an older
        version says nothing."""
        answers = await self._all(lambda face: _whys(face, destinations))
        told = [whys for _, whys in answers if whys is not None]
        return (
            [first_of(reasons) for reasons in zip(*told, strict=True)]
            if told
            else [Over.IDLE for _ in destinations]
        )

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
        others = list(self._others.values())
        told = await asyncio.gather(*(_said(ask, other.face) for other in others))
        return list(zip(others, told, strict=True))

    async def _look(self) -> None:
        await self._tell_holds_here()
        for other, health in await self._all(lambda face: face.health()):
            other.is_ready = health is not None and health.is_ready
            if other.is_ready:
                await self._tell_holds(other)

    # Who they are.

    def _calls_of(self, process: int) -> Calls | None:
        peer = self._links.get(process)
        return None if peer is None else self._others[peer].calls

    def _look_at_links(self) -> None:
        """One came or left, was connected or lost; or the directory says something else."""
        peers = self._links.peers
        for peer in self._others.keys() - set(peers):
            other = self._others.pop(peer)
            self._holds.forget(other)
            if other.last is not None:
                self._count_gone(other.last[1])
        for peer in peers:
            other = self._others.setdefault(peer, _Other(peer))
            if peer.is_connected is not other.was_connected:
                other.was_connected = peer.is_connected
                self._changed(other)
        if self._following is not None:
            self._following.look()

    def _changed(self, other: _Other) -> None:
        if other.was_connected:
            name = f"meeting process {other.peer.process}"
            self._supervisor.spawn(name, self._meet(other))
        else:
            other.is_ready = False
            self._holds.forget(other)

    async def _meet(self, other: _Other) -> None:
        """Find out which partitions it has, each time that it is connected, and tell it what is
        held."""
        try:
            if self._directory is None:
                self._has(other, frozenset((await other.face.about()).partitions))
            health = await other.face.health()
        except DispatcherError:
            return  # it is gone again, and will be connected anew
        other.is_ready = health.is_ready
        await self._tell_holds(other)

    def _has(self, other: _Other, now: frozenset[int]) -> None:
        before = other.partitions or frozenset()
        for number in sorted(before - now):
            self._merged.forget(number)
        for number in sorted(now - before):
            self._merged.add_remote(number, other.calls, other.peer.process)
        other.partitions = now
        if all(one.partitions is not None for one in self._others.values()):
            self._merged.is_complete(True)

    async def _tell_holds(self, other: _Other) -> None:
        hold_only = partial(other.face.hold_only, epoch=self.epoch)
        await self._holds.tell(other, hold_only, self._owned_by(other))

    async def _tell_holds_here(self) -> None:
        if self._holds_here is not None:
            await self._holds_here.tell()

    def _owned_by(self, other: _Other) -> Owned:
        """The partitions that it has: where it has other ones, it has to be told anew."""
        if self._directory is None:
            return frozenset()
        return frozenset(
            (number, facts.epoch)
            for number, facts in enumerate(self._directory.partitions)
            if facts.owner == other.peer.process
        )


async def _whys(face: ProcessFace, destinations: Sequence[str]) -> list[Over | None] | None:
    try:
        told = await face.why_over(destinations)
    except ValueError:  # nobody knows there what is asked
        return None
    return [Over.__members__.get(name, Over.IDLE) if name else None for name in told]


async def _said(ask: Callable[[ProcessFace], Awaitable[A]], face: ProcessFace) -> A | None:
    try:
        return await ask(face)
    except DispatcherError:
        return None
