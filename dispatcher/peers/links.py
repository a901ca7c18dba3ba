"""All links of a process: one for each other process, made by the side with the higher number, and
made anew whenever it is lost.

`Peer` is what other parts have of it: the other process, whether it is connected or not. A process
that starts again connects anew while its former link may not be known to be lost here: the new one
takes its place, and what was under way on the former is `Broken`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Protocol

from dispatcher.core.clock import Random
from dispatcher.errors import DispatcherError
from dispatcher.peers.errors import Broken, NotConnected
from dispatcher.peers.hello import Hello
from dispatcher.peers.link import Link, Waiter
from dispatcher.peers.serving import Table
from dispatcher.peers.streams import Stream
from dispatcher.telemetry.supervisor import Died, Supervisor

ASK_TIMEOUT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_HELLO_TIMEOUT_S: Final = 5.0

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


class Peer:
    """Another process of the server. `incarnation` is another one after each of its starts; None
    before it was connected at all."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.incarnation: int | None = None
        self._link: Link | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._changed: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Peer {self.process}: {'connected' if self.is_connected else 'away'}>"

    @property
    def is_connected(self) -> bool:
        """Whether it can be asked now."""
        return self._link is not None

    def on_change(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call this each time that it was connected or lost. Returns what ends that."""
        self._changed.append(changed)
        return partial(self._changed.remove, changed)

    def begin(self, kind: int, payload: bytes, waiter: Waiter) -> None:
        """Ask something; `waiter` hears the answer, however long that takes while it is connected.

        Raises:
            NotConnected: it can't be asked now, and `waiter` hears nothing.
            ValueError: the payload is larger than a frame may be.
        """
        self._connected().ask(kind, payload, waiter)

    async def ask(
        self, kind: int, payload: bytes = b"", *, timeout_s: float = ASK_TIMEOUT_S
    ) -> bytes:
        """Ask something, and return its answer. A caller that is cancelled waits no more, and what
        was asked may be done.

        Raises:
            NotConnected: it can't be asked now.
            Broken: its answer will never come, or did not in time: it may have been done.
            Failed: it says that it failed.
            Refused: it says that it can't be done now, and why.
            ValueError: the payload is larger than a frame may be.
        """
        link = self._connected()
        answer = _Answer()
        number = link.ask(kind, payload, answer)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer.future
        except TimeoutError:
            raise Broken(f"The other process did not answer within {timeout_s:g} s.") from None
        finally:
            link.cancel(number)

    def tell(self, kind: int, payload: bytes) -> None:
        """Say something that nobody answers.

        Raises:
            NotConnected, ValueError: as `ask`.
        """
        self._connected().tell(kind, payload)

    def open(self, kind: int, payload: bytes = b"") -> Stream:
        """Begin a stream; it breaks when the link is lost.

        Raises:
            NotConnected, ValueError: as `ask`.
        """
        return self._connected().open(kind, payload)

    async def connected(self, within_s: float) -> None:
        """Wait until it can be asked.

        Raises:
            NotConnected: it could not be in this time.
        """
        if self._link is not None:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(within_s):
                await waiting
        except TimeoutError:
            raise NotConnected(
                f"Process {self.process} was not connected within {within_s:g} s."
            ) from None
        finally:
            self._waiting.remove(waiting)

    def _connected(self) -> Link:
        if self._link is None:
            raise NotConnected(f"Process {self.process} is not connected.")
        return self._link

    # As `Links` has it.

    def take(self, link: Link, hello: Hello) -> Link | None:
        """This is its link from now on; return the former one."""
        former, self._link = self._link, link
        self.incarnation = hello.incarnation
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._tell_change()
        return former

    def drop(self, link: Link) -> bool:
        """This link is lost; return whether it was the one in use."""
        if link is not self._link:
            return False
        self._link = None
        self._tell_change()
        return True

    def _tell_change(self) -> None:
        for changed in tuple(self._changed):
            changed()


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
        self._links: set[Link] = set()
        self._all_lost = asyncio.Event()
        self._lost: dict[int, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopped = False

    def __repr__(self) -> str:
        count = sum(peer.is_connected for peer in self._peers.values())
        return f"<Links of process {self._me.process}: {count} of {len(self._peers)}>"

    @property
    def peers(self) -> list[Peer]:
        """All other processes, in order."""
        return [self._peers[number] for number in sorted(self._peers)]

    def to(self, process: int) -> Peer:
        """That process."""
        return self._peers[process]

    async def start(self) -> None:
        """Listen, and connect to the others, which goes on until `stop`; nobody is connected when
        this returns.

        Raises:
            DispatcherError: nobody can listen there.
        """
        await self._wires.listen(self._me.process, lambda: self._new_link(has_connected=False))
        for peer in self.peers:
            if peer.process < self._me.process:
                self._lost[peer.process] = asyncio.Event()
                name = f"connecting to process {peer.process}"
                self._tasks.append(self._supervisor.spawn(name, self._connect(peer)))

    async def stop(self) -> None:
        """Close all links. Idempotent."""
        self._is_stopped = True
        for task in self._tasks:
            task.cancel()
        await self._wires.close()
        for link in [*self._links]:
            link.close("this process stops")
        if self._links:
            await self._all_lost.wait()

    def _new_link(self, *, has_connected: bool) -> Link:
        return Link(self._me, self._table, self, has_connected=has_connected, died=self._died)

    async def _connect(self, peer: Peer) -> None:
        """Keep a link with a process."""
        lost = self._lost[peer.process]
        pause_s = _FIRST_PAUSE_S
        while True:
            lost.clear()
            made: list[Link] = []

            def new_link(made: list[Link] = made) -> Link:
                made.append(self._new_link(has_connected=True))
                return made[-1]

            try:
                await self._wires.connect(peer.process, new_link)
                await peer.connected(_HELLO_TIMEOUT_S)
                pause_s = _FIRST_PAUSE_S
                await lost.wait()
            except OSError:
                pass  # it is not there, or not yet
            except NotConnected as error:
                for link in made:
                    link.close(str(error))
            await asyncio.sleep(self._random.uniform(0.5, 1.0) * pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    # As the owner of links.

    def made(self, link: Link) -> None:
        """See `link.Owner`."""
        self._links.add(link)

    def greeted(self, link: Link, hello: Hello) -> bool:
        """See `link.Owner`."""
        peer = self._peers.get(hello.process)
        if peer is None or self._is_stopped:
            return False
        former = peer.take(link, hello)
        if former is not None:
            former.close("the other process has connected anew")
        self._observer.peer_connected(peer.process)
        return True

    def lost(self, link: Link, reason: str) -> None:
        """See `link.Owner`."""
        self._links.discard(link)
        if not self._links and self._is_stopped:
            self._all_lost.set()
        peer = None if link.hello is None else self._peers.get(link.hello.process)
        if peer is None or not peer.drop(link):
            return
        if not self._is_stopped:
            self._observer.peer_lost(peer.process, reason)
        if peer.process in self._lost:
            self._lost[peer.process].set()

    def misused(self, link: Link, reason: str) -> None:
        """See `link.Owner`."""
        process = None if link.hello is None else link.hello.process
        self._observer.peer_misused(process, reason)


class _Answer:
    """Who awaits an answer (`Waiter`)."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answered(self, payload: bytes) -> None:
        """See `Waiter`."""
        if not self.future.done():
            self.future.set_result(payload)

    def failed(self, error: DispatcherError) -> None:
        """See `Waiter`."""
        if not self.future.done():
            self.future.set_exception(error)
