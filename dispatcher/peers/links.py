"""All links of a process: one for each other process, made by the side with the higher number, and
made anew whenever it is lost.

A process that starts again connects anew while its former link may not be known to be lost here:
the new one takes its place, and what was under way on the former is `Broken`.

Processes of one machine are the same as long as it serves. Nodes come and go, and a number may be
another node's later: `Links.are` says who they are now. A link is taken only of who has the number
now, and only from who was meant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from dispatcher.core.clock import Random
from dispatcher.peers.errors import NotConnected
from dispatcher.peers.handshake import HandshakeFailed
from dispatcher.peers.hello import Hello
from dispatcher.peers.link import Link
from dispatcher.peers.peer import Peer
from dispatcher.peers.serving import Table
from dispatcher.telemetry.supervisor import Died, Supervisor

_FIRST_PAUSE_S: Final = 0.05
"""Before a connection is made again; twice that after each try, up to `_LONGEST_PAUSE_S`."""
_LONGEST_PAUSE_S: Final = 1.0
"""For so long at most it goes unnoticed that another process is back."""
_HELLO_TIMEOUT_S: Final = 5.0
"""As long as a whole handshake between nodes may take (`admission.HANDSHAKE_S`)."""

NewLink = Callable[[], Link]


class Wires(Protocol):
    """How connections are made (`wires`)."""

    async def listen(self, process: int, new_link: NewLink) -> None:
        """Have a link made for each connection of another process to this one.

        Raises:
            DispatcherError: nobody can listen there.
        """

    async def connect(self, process: int, new_link: NewLink) -> None:
        """Connect to another process.

        Raises:
            OSError: it is not there.
        """

    async def close(self) -> None:
        """Listen no more. Idempotent."""


class Observer(Protocol):
    """Who is told of connections."""

    def peer_connected(self, process: int) -> None:
        """There is a link with this process."""

    def peer_lost(self, process: int, reason: str) -> None:
        """There is none any more."""

    def peer_misused(self, process: int | None, reason: str) -> None:
        """Somebody sent what no process would; the connection is closed."""


class Links:
    """The links of process `me`, with each of `others` (numbers of processes)."""

    def __init__(
        self,
        me: Hello,
        others: Iterable[int],
        wires: Wires,
        table: Table,
        observer: Observer,
        *,
        supervisor: Supervisor,
        random: Random,
        died: Died,
    ) -> None:
        """`table` says what this process answers; it is complete before `start`."""
        self._me = me
        self._wires = wires
        self._table = table
        self._observer = observer
        self._supervisor = supervisor
        self._random = random
        self._died = died
        self._peers = {one: Peer(one) for one in others if one != me.process}
        self._incarnations: dict[int, int] = {}
        """Those that are wanted of the others; one that is missing: any."""
        self._links: set[Link] = set()
        self._taken: dict[Link, Peer] = {}
        self._meant: dict[Link, int] = {}
        """Of links that this side has made, who was to be at the other end."""
        self._all_lost = asyncio.Event()
        self._lost: dict[int, asyncio.Event] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._changed: list[Callable[[], object]] = []
        self._has_started = self._is_stopped = False
        self.on_stranger: Callable[[], object] = _nothing
        """Is told of one who is not known, or not any more: what `are` said last may be old."""

    def __repr__(self) -> str:
        count = sum(peer.is_connected for peer in self._peers.values())
        return f"<Links of process {self._me.process}: {count} of {len(self._peers)}>"

    @property
    def by_number(self) -> Mapping[int, Peer]:
        """All other processes by their numbers; it is always as it is now."""
        return self._peers

    @property
    def peers(self) -> list[Peer]:
        """All other processes, in order."""
        return [self._peers[number] for number in sorted(self._peers)]

    def to(self, process: int) -> Peer:
        """That process."""
        return self._peers[process]

    def get(self, process: int) -> Peer | None:
        """That process, if it is known."""
        return self._peers.get(process)

    def on_change(self, changed: Callable[[], object]) -> Callable[[], None]:
        """Call this each time that any of them was connected, was lost, or has left. Returns what
        ends that."""
        self._changed.append(changed)
        return partial(self._changed.remove, changed)

    def are(self, others: Mapping[int, int]) -> None:
        """These are all other processes from now on, each with its incarnation. Who is not among
        them has left, and whoever has another incarnation than its link is connected anew."""
        for number in [*self._peers]:
            if number not in others:
                self._leave(number)
        self._incarnations = {**others}
        self._incarnations.pop(self._me.process, None)
        for number, incarnation in self._incarnations.items():
            peer = self._peers.get(number)
            if peer is None:
                self._peers[number] = peer = Peer(number)
                if self._has_started:
                    self._begin(peer)
            elif peer.incarnation != incarnation:
                peer.close("another one has its number now")

    def _leave(self, number: int) -> None:
        peer = self._peers.pop(number)
        peer.has_left = True
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()
        self._lost.pop(number, None)
        peer.close("it has left, or is not heard of")

    async def start(self) -> None:
        """Listen, and connect to the others, which goes on until `stop`; nobody is connected when
        this returns.

        Raises:
            DispatcherError: nobody can listen there.
        """
        await self._wires.listen(self._me.process, self._new_link)
        self._has_started = True
        for peer in self.peers:
            self._begin(peer)

    def _begin(self, peer: Peer) -> None:
        """Connect to it, if that is this side's to do."""
        if peer.process < self._me.process and not self._is_stopped:
            self._lost[peer.process] = asyncio.Event()
            name = f"connecting to process {peer.process}"
            self._tasks[peer.process] = self._supervisor.spawn(name, self._connect(peer))

    async def stop(self) -> None:
        """Close all links. Idempotent."""
        self._is_stopped = True
        for task in self._tasks.values():
            task.cancel()
        await self._wires.close()
        for link in [*self._links]:
            link.close("this process stops")
        if self._links:
            await self._all_lost.wait()

    def _new_link(self, to: int | None = None) -> Link:
        """One that this side makes `to` another process, or one that another has made."""
        me = self._me if to is None else replace(self._me, to=to)
        return Link(me, self._table, self, has_connected=to is not None, died=self._died)

    async def _connect(self, peer: Peer) -> None:
        """Keep a link with a process."""
        lost = self._lost[peer.process]
        loop = asyncio.get_running_loop()
        pause_s = _FIRST_PAUSE_S
        while True:
            lost.clear()
            made: list[Link] = []

            def new_link(made: list[Link] = made) -> Link:
                link = self._new_link(peer.process)
                self._meant[link] = peer.process
                made.append(link)
                return link

            try:
                await self._wires.connect(peer.process, new_link)
                await _connected(peer, lost)
                since_s = loop.time()
                await lost.wait()
                if loop.time() - since_s > _LONGEST_PAUSE_S:  # else it is not wanted over there
                    pause_s = _FIRST_PAUSE_S
            except (OSError, HandshakeFailed):
                pass  # it is not there, or not yet
            except NotConnected as error:
                for link in made:
                    link.close(str(error))
            for link in made:
                self._meant.pop(link, None)
            await asyncio.sleep(self._random.uniform(0.5, 1.0) * pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    # As the owner of links.

    def made(self, link: Link) -> None:
        """See `link.Owner`."""
        self._links.add(link)

    def greeted(self, link: Link, hello: Hello) -> bool:
        """See `link.Owner`."""
        peer = self._peers.get(hello.process)
        if peer is None or self._is_stopped or not self._is_wanted(link, hello):
            self.on_stranger()
            return False
        former = peer.take(link, hello)
        self._taken[link] = peer
        if former is not None:
            former.close("the other process has connected anew")
        self._observer.peer_connected(peer.process)
        self._tell_change()
        return True

    def _is_wanted(self, link: Link, hello: Hello) -> bool:
        """Whether it is the one that has the number now, and who was meant."""
        wanted = self._incarnations.get(hello.process, hello.incarnation)
        return (
            wanted == hello.incarnation
            and self._meant.get(link) in (None, hello.process)
            and hello.to in (None, self._me.process)
        )

    def _tell_change(self) -> None:
        for changed in tuple(self._changed):
            changed()

    def lost(self, link: Link, reason: str) -> None:
        """See `link.Owner`."""
        self._links.discard(link)
        if not self._links and self._is_stopped:
            self._all_lost.set()
        peer = self._taken.pop(link, None)
        if peer is None and link in self._meant:  # it was not the one that was meant
            lost = self._lost.get(self._meant[link])
            if lost is not None:
                lost.set()
        if peer is None or not peer.drop(link):
            return
        if not self._is_stopped:
            self._observer.peer_lost(peer.process, reason)
        self._tell_change()
        if not peer.has_left and peer.process in self._lost:
            self._lost[peer.process].set()

    def misused(self, link: Link, reason: str) -> None:
        """See `link.Owner`."""
        process = None if link.hello is None else link.hello.process
        self._observer.peer_misused(process, reason)


async def _connected(peer: Peer, lost: asyncio.Event) -> None:
    """Wait until it has said who it is, on the link that was made or on another one.

    Raises:
        NotConnected: the link was lost before, or it says nothing.
    """
    waiting = asyncio.ensure_future(peer.connected(_HELLO_TIMEOUT_S))
    losing = asyncio.ensure_future(lost.wait())
    try:
        await asyncio.wait((waiting, losing), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise NotConnected(f"Process {peer.process} is not who it was taken for.")
        waiting.result()
    finally:
        waiting.cancel()
        losing.cancel()


def _nothing() -> None:
    """Nobody wants to know."""
