"""Connections to the API from a node that does not have it: over real sockets, on asyncio's own
loop and on uvloop, with and without TLS between the nodes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from dispatcher.errors import DispatcherError
from dispatcher.peers.gate import Address, Gate
from dispatcher.peers.handshake import HandshakeFailed, Purpose, Reason
from dispatcher.peers.tls import Mutual
from dispatcher.peers.tunnel import Tunnel
from dispatcher.telemetry.supervisor import Supervisor

HOST = "127.0.0.1"
LARGE = 8 * 1024 * 1024
Loop = Callable[[], asyncio.AbstractEventLoop]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Loop:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def is_secured(request: pytest.FixtureRequest) -> bool:
    return request.param  # type: ignore[no-any-return]


class Silent:
    """See `GateObserver`."""

    def handshake_failed(self, address: str, reason: Reason, detail: str, unheard: int) -> None:
        """Nobody wants to know."""


class Node:
    """A gate and a tunnel. The API is where `nodes.owner` says, behind `serve`."""

    def __init__(self, nodes: Nodes, number: int) -> None:
        self.number = number
        self.deaths: list[str] = []
        self.supervisor = Supervisor(lambda name, error: self.deaths.append(f"{name}: {error!r}"))
        self.gate = Gate(b"key", Silent(), nodes.tls(number))
        self.path = str(nodes.directory / f"{number}.sock")
        self.served = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.tunnel = Tunnel(
            number,
            self.gate,
            owner=lambda: nodes.owner,
            address_of=nodes.address_of,
            path=self.path,
            supervisor=self.supervisor,
        )

    async def serve(self, serve: Serve) -> None:
        """Have the API here."""

        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.served += 1
            self._writers.append(writer)
            with suppress(ConnectionError):
                await serve(reader, writer)

        self._server = await asyncio.start_unix_server(served, self.path)

    async def end(self) -> None:
        """Let nothing be open."""
        self.tunnel.stop()
        await self.gate.close()
        await self.supervisor.stop()
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        assert not self.deaths


class Nodes:
    """Several, and where the API is."""

    def __init__(self, directory: Path, *, is_secured: bool) -> None:
        self.directory = directory
        self.owner: int | None = 0
        self._authority = trustme.CA() if is_secured else None
        self.all = [Node(self, number) for number in range(3)]

    def tls(self, number: int) -> Mutual | None:
        if self._authority is None:
            return None
        made = self._authority.issue_cert(HOST)
        cert, key, ca = (self.directory / f"{number}.{part}" for part in ("cert", "key", "ca"))
        made.cert_chain_pems[0].write_to_path(str(cert))
        made.private_key_pem.write_to_path(str(key))
        self._authority.cert_pem.write_to_path(str(ca))
        return Mutual(ca, cert, key, host=HOST)

    def address_of(self, number: int) -> Address | None:
        port = self.all[number].gate.port
        return Address(HOST, port) if port else None

    def move(self, owner: int | None) -> None:
        """The API is there now, and all nodes know it."""
        self.owner = owner
        for node in self.all:
            node.tunnel.go_on()


@asynccontextmanager
async def nodes(directory: Path, serve: Serve, *, is_secured: bool = False) -> AsyncIterator[Nodes]:
    made = Nodes(directory, is_secured=is_secured)
    for node in made.all[:2]:
        await node.gate.listen(HOST, 0)
        await node.serve(serve)
        node.tunnel.start()
    try:
        yield made
    finally:
        for node in made.all:
            await node.end()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say it again until the other side ends, then the number of bytes."""
    count = 0
    while data := await reader.read(65536):
        count += len(data)
        writer.write(data)
        await writer.drain()
    writer.write(b"!%d" % count)
    writer.close()


def run(loop: Loop, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


@pytest.mark.parametrize("number", range(3))
def test_any_node_has_a_way_to_the_api(
    tmp_path: Path, loop: Loop, is_secured: bool, number: int
) -> None:
    """Its own, or through the tunnel: large bodies both ways at once, and each side ends by
    itself."""

    async def main() -> None:
        async with nodes(tmp_path, echo, is_secured=is_secured) as made:
            connected = [await made.all[number].tunnel.connect() for _ in range(5)]
            for at, (reader, writer) in enumerate(connected):
                writer.write(b"%d" % at)
                assert await reader.readexactly(1) == b"%d" % at
            reader, writer = connected[0]

            async def send() -> None:
                for _ in range(LARGE // 65536):
                    writer.write(bytes(65536))
                    await writer.drain()
                writer.write_eof()

            sending = asyncio.ensure_future(send())
            said = await reader.read()
            await sending
            assert said == bytes(LARGE) + b"!%d" % (LARGE + 1)
            for reader, writer in connected[1:]:
                writer.close()
                assert await reader.read() == b""
            assert made.all[0].served == 5

    run(loop, main)


def test_who_reads_slowly_slows_down_who_writes(
    tmp_path: Path, loop: Loop, is_secured: bool
) -> None:
    """In both directions: what is kept on the way is little, however much there is to say."""
    written = 0
    read_now = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.transport.set_write_buffer_limits(65536)
        await reader.readexactly(1)
        while written < 10 * LARGE:
            writer.write(bytes(65536))
            written += 65536
            await writer.drain()
        writer.close()

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_now.wait()
        await echo(reader, writer)

    async def main() -> None:
        async with nodes(tmp_path, pour, is_secured=is_secured) as made:
            reader, writer = await made.all[1].tunnel.connect()
            writer.write(b"?")
            before = -1
            while before != written or not written:
                before = written
                await asyncio.sleep(0.2)
            assert written < 10 * LARGE
            count = 0
            while data := await reader.read(1 << 20):
                count += len(data)
            assert count == written == 10 * LARGE
        other = tmp_path / "other"
        os.mkdir(other)
        async with nodes(other, sink, is_secured=is_secured) as made:
            reader, writer = await made.all[1].tunnel.connect()
            sent = 0
            with suppress(TimeoutError):
                while sent < 10 * LARGE:
                    writer.write(bytes(65536))
                    sent += 65536
                    async with asyncio.timeout(1):
                        await writer.drain()
            assert sent < 10 * LARGE
            read_now.set()

            async def end() -> None:
                await writer.drain()
                writer.write_eof()

            ending = asyncio.ensure_future(end())
            said = await reader.read()
            await ending
            assert said == bytes(sent) + b"!%d" % sent

    run(loop, main)


def test_connections_are_cut_when_the_api_moves(
    tmp_path: Path, loop: Loop, is_secured: bool
) -> None:
    """To the node that had it, whether that knows it or not; the next one goes to the new one."""

    async def main() -> None:
        async with nodes(tmp_path, echo, is_secured=is_secured) as made:
            for number, (old, new) in ((2, (0, 1)), (1, (1, 0)), (2, (0, None))):
                made.owner = old
                reader, writer = await made.all[number].tunnel.connect()
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                made.owner = new
                made.all[number].tunnel.go_on()
                with pytest.raises(ConnectionError):
                    await reader.read()
                writer.close()
            with pytest.raises(DispatcherError):
                await made.all[2].tunnel.connect()
            made.move(1)
            served = made.all[1].served
            reader, writer = await made.all[2].tunnel.connect()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            assert made.all[1].served == served + 1
            writer.close()

    run(loop, main)


def test_a_node_that_has_lost_the_api_cuts_off_other_nodes(
    tmp_path: Path, loop: Loop, is_secured: bool
) -> None:
    """Also those that do not know it yet; and it lets none in for it."""

    async def main() -> None:
        async with nodes(tmp_path, echo, is_secured=is_secured) as made:
            reader, writer = await made.all[2].tunnel.connect()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            made.owner = 1
            made.all[0].tunnel.go_on()
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            tunnel = made.all[2].tunnel
            tunnel._owner = lambda: 0  # it does not know yet
            with suppress(ConnectionError, DispatcherError):
                reader, writer = await tunnel.connect()
                assert await reader.read() == b""
                writer.close()
            assert made.all[0].served == 1

    run(loop, main)


def test_who_cannot_be_reached_is_an_error_and_not_a_wait(
    tmp_path: Path, loop: Loop, is_secured: bool
) -> None:
    """Nobody knows the address, nobody listens there, or the API is not there behind it."""

    async def main() -> None:
        async with nodes(tmp_path, echo, is_secured=is_secured) as made:
            made.owner = 2
            with pytest.raises(DispatcherError):
                await made.all[0].tunnel.connect()
            with pytest.raises(OSError, match=r".*"):
                await made.all[2].tunnel.connect()
            made.owner = 0
            os.unlink(made.all[0].path)
            with suppress(ConnectionError):
                reader, _ = await made.all[1].tunnel.connect()
                assert await reader.read() == b""
            made.all[0].tunnel.stop()
            with pytest.raises(HandshakeFailed) as failed:
                await made.all[1].gate.connect(
                    made.all[2].tunnel._address_of(0),  # type: ignore[arg-type]  # it is known
                    Purpose.API,
                    asyncio.Protocol(),
                )
            assert failed.value.reason is Reason.NOT_SERVED

    run(loop, main)
