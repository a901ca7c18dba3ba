"""Connections between processes without sockets, all in one loop: they can be cut in the middle of
a byte stream, held up, and cut into any pieces (the twin of `peers.wires`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dispatcher.peers.link import Link
from dispatcher.peers.links import NewLink

Cut = Callable[[bytes], Sequence[bytes]]


class Network:
    """Between any number of processes. `is_down`: nobody can connect. `pieces` cuts what is written
    into what is read at once."""

    def __init__(self) -> None:
        self.listening: dict[int, NewLink] = {}
        self.pairs: list[Pair] = []
        self.is_down = False
        self.pieces: Cut = lambda data: [data]

    def wires(self) -> FakeWires:
        """For one process."""
        return FakeWires(self)

    def cut(self) -> None:
        """Break all connections that there are."""
        for pair in [*self.pairs]:
            pair.cut()


class FakeWires:
    """Implements `links.Wires`."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._process: int | None = None

    async def listen(self, process: int, new_link: NewLink) -> None:
        """See `links.Wires`."""
        self._process = process
        self._network.listening[process] = new_link

    async def connect(self, process: int, new_link: NewLink) -> None:
        """See `links.Wires`."""
        new_other = self._network.listening.get(process)
        if new_other is None or self._network.is_down:
            raise ConnectionRefusedError
        pair = Pair(self._network, new_link(), new_other())
        self._network.pairs.append(pair)
        pair.begin()

    async def close(self) -> None:
        """See `links.Wires`."""
        if self._process is not None:
            self._network.listening.pop(self._process, None)


class Pair:
    """One connection: `ends[0]` is of the side that connected."""

    def __init__(self, network: Network, first: Link, second: Link) -> None:
        self.network = network
        self.ends = (End(self, first), End(self, second))
        self.is_cut = False

    def begin(self) -> None:
        """Tell both sides that they are connected."""
        for end in self.ends:
            end.link.connection_made(end)

    def other(self, end: End) -> End:
        """The end that is not this one."""
        return self.ends[end is self.ends[0]]

    def cut(self) -> None:
        """Break it: what was not read yet is lost. Both sides hear of it soon. Idempotent."""
        if self.is_cut:
            return
        self.is_cut = True
        self.network.pairs.remove(self)
        for end in self.ends:
            asyncio.get_running_loop().call_soon(end.link.connection_lost, None)


class End(asyncio.Transport):
    """One side's transport. What it writes stays here while `is_held`. `passes`: so many bytes more
    get to the other side, then the connection breaks; None: all do."""

    def __init__(self, pair: Pair, link: Link) -> None:
        super().__init__()
        self._pair = pair
        self.link = link
        self.is_held = False
        self.passes: int | None = None
        self.written: list[bytes] = []
        self._is_paused = False
        self._high = 64 * 1024

    @property
    def _waiting_bytes(self) -> int:
        return sum(map(len, self.written))

    def release(self) -> None:
        """Hold up no longer."""
        self.is_held = False
        self._carry()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """What the link writes."""
        assert not self._pair.is_cut, "uvloop warns of writing to a connection that is closed"
        self.written.append(bytes(data))
        asyncio.get_running_loop().call_soon(self._carry)
        if not self._is_paused and self._waiting_bytes > self._high:
            self._is_paused = True
            self.link.pause_writing()

    def _carry(self) -> None:
        while self.written and not self.is_held and not self._pair.is_cut:
            data = self.written.pop(0)
            if self.passes is not None:
                self.passes, data = self.passes - len(data), data[: max(0, self.passes)]
            for piece in self._pair.network.pieces(data):
                if piece and not self._pair.is_cut:
                    self._pair.other(self).link.data_received(piece)
            if self.passes is not None and self.passes <= 0:
                self._pair.cut()
        if self._is_paused and not self.written and not self._pair.is_cut:
            self._is_paused = False
            self.link.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """From how many waiting bytes on the link is told."""
        self._high = high or 0

    def get_write_buffer_size(self) -> int:
        """Bytes that the other side has not read."""
        return self._waiting_bytes

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self._pair.is_cut

    def abort(self) -> None:
        """Close it, for both sides."""
        self._pair.cut()

    def close(self) -> None:
        """Close it, for both sides."""
        self._pair.cut()
