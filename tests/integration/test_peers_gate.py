"""Nodes over real TCP connections, on asyncio's own loop and on uvloop, with and without TLS: who
knows the key comes in, everybody else is cut off soon and told to the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from dispatcher.errors import ConfigError, PortTaken
from dispatcher.peers import admission
from dispatcher.peers import gate as gate_module
from dispatcher.peers.gate import MOST_UNKNOWN, Address, Gate
from dispatcher.peers.handshake import NONCE_BYTES, Connecting, HandshakeFailed, Purpose, Reason
from dispatcher.peers.streams import Stream
from dispatcher.peers.tcp_wires import TcpWires
from dispatcher.peers.tls import Mutual
from dispatcher.testing.linked import Linked

KEY = b"the key"
HOST = "127.0.0.1"
ECHO, SUM = 1, 2
Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Loop:
    return request.param  # type: ignore[no-any-return]


def run(loop: Loop, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


class Told:
    """See `GateObserver`."""

    def __init__(self) -> None:
        self.reasons: list[Reason] = []
        self.details: list[str] = []
        self.unheard = 0

    def handshake_failed(self, address: str, reason: Reason, detail: str, unheard: int) -> None:
        assert address.startswith(HOST)
        self.reasons.append(reason)
        self.details.append(detail)
        self.unheard += unheard


class Ear(asyncio.Protocol):
    """An inner protocol: echoes, and keeps what came."""

    def __init__(self, *, echoes: bool = False) -> None:
        self.came = b""
        self.is_lost = asyncio.Event()
        self.transport: Any = None
        self._echoes = echoes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data
        if self._echoes:
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost.set()


class Node:
    """One gate. What it lets in for the API echoes, and is in `made`."""

    def __init__(self, key: bytes = KEY, tls: Mutual | None = None) -> None:
        self.told = Told()
        self.gate = Gate(key, self.told, tls)
        self.made: list[Ear] = []
        self.gate.on(Purpose.API, self._make)

    def _make(self) -> Ear:
        self.made.append(Ear(echoes=True))
        return self.made[-1]

    @property
    def address(self) -> Address:
        return Address(HOST, self.gate.port)


@asynccontextmanager
async def node(key: bytes = KEY, tls: Mutual | None = None) -> AsyncIterator[Node]:
    one = Node(key, tls)
    await one.gate.listen(HOST, 0)
    try:
        yield one
    finally:
        await one.gate.close()
        for ear in one.made:
            ear.transport.abort()


async def _soon(wanted: Callable[[], object]) -> None:
    """Wait for something, a minute at most."""
    async with asyncio.timeout(60):
        while not wanted():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Stranger:
    """Somebody who has connected without being a node."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, one: Node) -> Stranger:
        return cls(*await asyncio.open_connection(*one.address))

    async def end(self) -> bytes:
        """All that is said to him, until he is cut off."""
        said = b""
        async with asyncio.timeout(60):
            try:
                while data := await self.reader.read(65536):
                    said += data
            except ConnectionError:
                pass
        self.writer.close()
        return said


def _mutual(
    directory: Path, name: str, authority: trustme.CA, host: str = HOST, *, at: str = HOST
) -> Mutual:
    made = authority.issue_cert(host)
    cert, key, ca = (directory / f"{name}.{part}" for part in ("cert", "key", "ca"))
    made.cert_chain_pems[0].write_to_path(str(cert))
    made.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    return Mutual(ca, cert, key, host=at)


@pytest.mark.parametrize("is_secured", [False, True])
def test_nodes_are_linked_through_their_gates(tmp_path: Path, loop: Loop, is_secured: bool) -> None:
    """Each asks each other one, and streams; as over unix sockets."""
    authority = trustme.CA() if is_secured else None

    def process(number: int, gates: list[Node]) -> Linked:
        wires = TcpWires(gates[number].gate, lambda other: gates[other].address)
        one = Linked(number, 3, wires)
        one.table.on_ask(ECHO, lambda question: question.answer(question.payload))
        one.table.on_open(SUM, one.answering.streaming("sum", _sum))
        return one

    async def main() -> None:
        gates = [
            Node(tls=None if authority is None else _mutual(tmp_path, str(number), authority))
            for number in range(3)
        ]
        for one in gates:
            await one.gate.listen(HOST, 0)
        processes = [process(number, gates) for number in range(3)]
        for linked in processes:
            await linked.links.start()
        for linked in processes:
            for peer in linked.links.peers:
                await peer.connected(60)
                asked = [peer.ask(ECHO, b"%d" % one) for one in range(50)]
                assert await asyncio.gather(*asked) == [b"%d" % one for one in range(50)]
                stream = peer.open(SUM)
                for _ in range(20):
                    await stream.send(bytes(100_000))
                stream.end()
                assert [piece async for piece in stream] == []
                assert stream.last == b"2000000"
        for linked in processes:
            await linked.stop()
            assert not linked.failures
        for one in gates:
            await one.gate.close()
            assert not one.told.reasons

    run(loop, main)


async def _sum(stream: Stream) -> None:
    total = 0
    async for piece in stream:
        total += len(piece)
    stream.end(b"%d" % total)


def test_another_key_is_told_on_both_sides_and_nothing_is_let_in(loop: Loop) -> None:
    """Each says which address, and what to do; hundreds of tries are one line each."""

    async def main() -> None:
        async with node() as one, node(b"another") as other:
            for _ in range(20):
                with pytest.raises(HandshakeFailed) as failed:
                    await other.gate.connect(one.address, Purpose.API, Ear())
                assert failed.value.reason is Reason.WRONG_KEY
            assert one.told.reasons == other.told.reasons == [Reason.WRONG_KEY]
            assert "CLUSTER_KEY" in one.told.details[0]
            assert not one.made

    run(loop, main)


def test_what_was_not_heard_is_counted_with_the_next_that_is(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to guess how many there were."""
    monkeypatch.setattr(gate_module, "QUIET_S", 0.5)

    async def main() -> None:
        async with node() as one:
            for _ in range(4):
                stranger = await Stranger.at(one)
                stranger.writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert await stranger.end() == b""
            heard = len(one.told.reasons)
            await asyncio.sleep(0.6)
            stranger = await Stranger.at(one)
            stranger.writer.write(b"?")
            await stranger.end()
            assert one.told.reasons == [Reason.NOT_UNDERSTOOD] * (heard + 1)
            assert one.told.unheard == 4 - heard

    run(loop, main)


def test_who_says_something_else_is_cut_off_at_once_and_told_nothing(loop: Loop) -> None:
    """A browser, a port scanner, megabytes of anything: none of it is kept or looked at."""

    async def main() -> None:
        async with node() as one:
            for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", bytes(4 * 1024 * 1024)):
                stranger = await Stranger.at(one)
                stranger.writer.write(said)
                assert await stranger.end() == b""
            opening = Connecting(KEY, Purpose.LINK, bytes(NONCE_BYTES)).opening
            stranger = await Stranger.at(one)
            stranger.writer.write(opening + bytes(1024 * 1024))
            assert await stranger.end() == b""
            assert not one.made

    run(loop, main)


def test_what_was_heard_of_a_node_opens_nothing(loop: Loop) -> None:
    """Its very bytes, sent again."""

    async def main() -> None:
        async with node() as one:
            sent: list[bytes] = []
            connecting = Connecting(KEY, Purpose.API, bytes(NONCE_BYTES))
            stranger = await Stranger.at(one)
            answer = connecting.opening
            while not connecting.is_over:
                sent.append(answer)
                stranger.writer.write(answer)
                answer = connecting.receive(await stranger.reader.read(1024))
            stranger.writer.write(b"hello")
            assert await stranger.reader.read(100) == b"hello"
            stranger.writer.close()
            stranger = await Stranger.at(one)
            for piece in sent:
                stranger.writer.write(piece)
                await stranger.writer.drain()
                await asyncio.sleep(0.05)
            said = await stranger.end()
            assert said.endswith(b"\x01" + bytes(32))
            assert len(one.made) == 1
            assert one.told.reasons == [Reason.WRONG_KEY]

    run(loop, main)


@pytest.mark.parametrize("said", [b"", b"dispat", "opening", "slow"])
def test_who_does_not_come_to_an_end_is_cut_off(
    loop: Loop, said: bytes | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Says nothing, half of it, all but the proof, or a byte now and then: the time counts from the
    connection on."""
    monkeypatch.setattr(admission, "HANDSHAKE_S", 0.3)
    opening = Connecting(KEY, Purpose.LINK, bytes(NONCE_BYTES)).opening

    async def main() -> None:
        async with node() as one:
            stranger = await Stranger.at(one)
            began = asyncio.get_running_loop().time()
            if said == "slow":
                for at in range(len(opening)):
                    stranger.writer.write(opening[at : at + 1])
                    await asyncio.sleep(0.05)
                    if one.told.reasons:
                        break
            else:
                stranger.writer.write(opening if said == "opening" else bytes(said))  # type: ignore[arg-type]
            await stranger.end()
            assert asyncio.get_running_loop().time() - began > 0.29
            assert one.told.reasons == [Reason.LATE]
            assert "0 not known yet" in repr(one.gate)

    run(loop, main)


def test_who_only_opens_connections_keeps_no_node_out(loop: Loop) -> None:
    """The eldest that is not known makes room for the next one."""

    async def main() -> None:
        async with node() as one, node() as other:
            strangers = [await Stranger.at(one) for _ in range(MOST_UNKNOWN + 20)]
            ear = Ear()
            await other.gate.connect(one.address, Purpose.API, ear)
            ear.transport.write(b"here")
            await _soon(lambda: ear.came == b"here")
            assert f"{MOST_UNKNOWN - 1} not known" in repr(one.gate)
            ear.transport.abort()
            for stranger in strangers:
                stranger.writer.transport.abort()
            await _soon(lambda: "0 not known" in repr(one.gate))

    run(loop, main)


def test_the_side_that_connects_gives_up_on_what_is_no_node(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody there, somebody who says nothing, somebody who says something else, or who goes."""
    over = admission.Connected.over
    monkeypatch.setattr(admission.Connected, "over", lambda self: over(self, 0.3))

    async def main() -> None:
        said = [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None]
        held: list[asyncio.StreamWriter] = []

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)
            what = said.pop(0)
            if what is None:
                writer.close()
            else:
                writer.write(what)

        server = await asyncio.start_server(answer, HOST, 0)
        address = Address(HOST, server.sockets[0].getsockname()[1])
        async with node() as one:
            for reason in (Reason.LATE, Reason.NOT_UNDERSTOOD, Reason.CLOSED):
                ear = Ear()
                with pytest.raises(HandshakeFailed) as failed:
                    await one.gate.connect(address, Purpose.API, ear)
                assert failed.value.reason is reason
                assert ear.transport is None
            for writer in held:
                writer.close()
            server.close()
            await server.wait_closed()
            with pytest.raises(OSError, match=r".*"):
                await one.gate.connect(address, Purpose.API, Ear())

    run(loop, main)


def test_what_nobody_serves_is_closed_and_the_address_is_taken(loop: Loop) -> None:
    """Links are let in once this process is there for the others; another server on the port is
    found out at the start."""

    async def main() -> None:
        async with node() as one, node() as other:
            with pytest.raises(HandshakeFailed) as failed:
                await other.gate.connect(one.address, Purpose.LINK, Ear())
            assert failed.value.reason is Reason.NOT_SERVED
            with pytest.raises(PortTaken, match="CLUSTER_LISTEN"):
                await other.gate.listen(*one.address)

    run(loop, main)


def test_with_tls_both_sides_show_a_certificate_of_the_authority(
    tmp_path: Path, loop: Loop
) -> None:
    """Of another authority, for another host, or none at all: refused, and told as TLS's fault. Who
    may send and who may not is the key's business all the same."""
    authority, another = trustme.CA(), trustme.CA()

    async def main() -> None:
        good = _mutual(tmp_path, "good", authority)
        async with node(tls=good) as one:
            again = _mutual(tmp_path, "again", authority)
            async with node(tls=again) as other:
                ear = Ear()
                await other.gate.connect(one.address, Purpose.API, ear)
                ear.transport.write(b"x" * 100_000)
                await _soon(lambda: len(ear.came) == 100_000)
                ear.transport.abort()
            for tls in (_mutual(tmp_path, "foreign", another), None):
                async with node(tls=tls) as other:
                    with pytest.raises((HandshakeFailed, OSError)):
                        await other.gate.connect(one.address, Purpose.API, Ear())
            await _soon(lambda: Reason.TLS in one.told.reasons)
            async with node(b"wrong", tls=_mutual(tmp_path, "third", authority)) as other:
                with pytest.raises(HandshakeFailed) as failed:
                    await other.gate.connect(one.address, Purpose.API, Ear())
                assert failed.value.reason is Reason.WRONG_KEY
            assert len(one.made) == 1
        elsewhere = _mutual(tmp_path, "elsewhere", authority, "node7.example", at="node7.example")
        async with node(tls=elsewhere) as one, node(tls=good) as other:
            with pytest.raises((HandshakeFailed, OSError)):
                await other.gate.connect(one.address, Purpose.API, Ear())
            assert other.told.reasons[0] is Reason.TLS
            assert not one.made

    run(loop, main)


def test_files_of_tls_are_read_again(tmp_path: Path) -> None:
    """What changed is shown from then on; what cannot be read is named, and the old one stays."""
    authority = trustme.CA()
    mutual = _mutual(tmp_path, "one", authority)
    before = mutual.certificate
    assert not mutual.load()
    (tmp_path / "one.ca").write_text("nothing")
    with pytest.raises(ConfigError, match="CLUSTER_TLS_CA"):
        mutual.load()
    (tmp_path / "one.cert").write_text("nothing")
    with pytest.raises(ConfigError, match="CLUSTER_TLS_CERT"):
        mutual.load()
    assert mutual.certificate is before
    _mutual(tmp_path, "one", authority)
    assert mutual.load()
    assert mutual.certificate is not before


def test_certificate_that_others_would_refuse_is_refused_as_it_is_read(tmp_path: Path) -> None:
    """Of an authority that is not named, or for another host; at a start and with SIGHUP, where the
    one before stays. One that has expired is not: its node works for itself."""
    authority, another = trustme.CA(), trustme.CA()
    with pytest.raises(ConfigError, match=r"would refuse it .*expected a certificate for 127"):
        _mutual(tmp_path, "host", authority, "node7.example")
    mutual = _mutual(tmp_path, "one", authority)
    foreign = another.issue_cert(HOST)
    foreign.cert_chain_pems[0].write_to_path(str(tmp_path / "one.cert"))
    foreign.private_key_pem.write_to_path(str(tmp_path / "one.key"))
    before = mutual.certificate
    with pytest.raises(ConfigError, match=r"would refuse it .*CLUSTER_TLS_CA=.*one\.ca"):
        mutual.load()
    assert mutual.certificate is before
    another.cert_pem.write_to_path(str(tmp_path / "one.ca"), append=True)
    assert mutual.load()
    old = authority.issue_cert(HOST, not_after=datetime.now(UTC) - timedelta(days=1))
    old.cert_chain_pems[0].write_to_path(str(tmp_path / "one.cert"))
    old.private_key_pem.write_to_path(str(tmp_path / "one.key"))
    assert mutual.load()
