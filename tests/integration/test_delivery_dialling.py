"""Opening connections: names, addresses that are allowed, more than one address, TLS.

No name is ever really looked up and nothing but loopback is connected to: the lookup and, where an
address is not loopback, the connector are fakes that keep what they were asked.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from dispatcher.core.destination import Destination
from dispatcher.core.egress import EgressPolicy
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.connection import Connection
from dispatcher.delivery.dial import AddrInfo, Dialer, Unreachable, happy_eyeballs
from dispatcher.delivery.lacking import OURS
from dispatcher.delivery.pool import Pool
from dispatcher.delivery.resolver import Resolver
from dispatcher.testing.delivery import MemoryBodies, RecordingHome
from dispatcher.testing.destination import Close, FakeDestination, Step, Wait, answer


class Names:
    """A name server: a dict. Counts what it is asked."""

    def __init__(self, **names: Sequence[str]) -> None:
        self.names = {name.replace("_", "."): addresses for name, addresses in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]


class Recorder:
    """A connector that keeps what it is asked, and connects only to loopback."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, addr_infos: Sequence[AddrInfo]) -> socket.socket:
        self.asked += [str(info[4][0]) for info in addr_infos]
        loopback = [info for info in addr_infos if info[4][0] in ("127.0.0.1", "::1")]
        if not loopback:
            raise ConnectionRefusedError(111, "refused")
        return await happy_eyeballs(loopback)


MakePool = Callable[..., Pool]


@pytest.fixture
def home() -> RecordingHome:
    return RecordingHome()


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def make_pool(
    home: RecordingHome, names: Names, recorder: Recorder
) -> AsyncIterator[MakePool]:
    pools: list[Pool] = []

    def make(
        mode: str = "any",
        allow: Sequence[str] = (),
        deny: Sequence[str] = (),
        timeout_ms: int = 3000,
    ) -> Pool:
        config = DeliveryConfig(
            default_timeout_ms=timeout_ms, egress=EgressPolicy.parse(mode, allow, deny)
        )
        pool = Pool(config, resolver=Resolver(names), connector=recorder)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        await pool.close()


async def failure_of(pool: Pool, home: RecordingHome, origin: str) -> AttemptResult:
    """Deliver one message that fails."""
    pool.deliver(home.outgoing(origin))
    result = (await home.settled(1))[0].result
    assert result is not None
    return result


async def test_name_is_looked_up_once_for_many_messages(
    make_pool: MakePool, home: RecordingHome, names: Names
) -> None:
    """Also when they come before the first answer does."""
    names.names["a.test"] = ["127.0.0.1"]
    pool = make_pool()
    async with FakeDestination() as destination:
        for _ in range(5):
            pool.deliver(home.outgoing(f"a.test:{destination.port}"))
        await home.settled(5)
        assert destination.requests[0].headers["host"] == f"a.test:{destination.port}"
    assert names.asked == ["a.test"]


async def test_name_that_does_not_exist_fails(
    make_pool: MakePool, home: RecordingHome, recorder: Recorder
) -> None:
    """With the resolver's words."""
    result = await failure_of(make_pool(), home, "nowhere.test")
    assert result.failure is Failure.DNS
    assert result.detail == "nowhere.test: Name or service not known"
    assert recorder.asked == []


async def test_slow_lookup_times_out_and_is_there_for_the_next_message(
    make_pool: MakePool, home: RecordingHome, names: Names
) -> None:
    """The deadline covers the lookup; its answer is not thrown away."""
    asked = 0
    go = asyncio.Event()

    async def slow(_: str) -> Sequence[str]:
        nonlocal asked
        asked += 1
        await go.wait()
        return ["127.0.0.1"]

    pool = Pool(DeliveryConfig(), resolver=Resolver(slow))
    async with FakeDestination() as destination:
        origin = f"slow.test:{destination.port}"
        pool.deliver(home.outgoing(origin, timeout_ms=500))
        result = (await home.settled(1))[0].result
        assert result is not None
        assert result.failure is Failure.TIMEOUT
        assert result.detail == "500 ms passed while looking up slow.test"
        pool.deliver(home.outgoing(origin))
        go.set()
        assert (await home.settled(2))[1].status == 200
    assert asked == 1
    await pool.close()


async def test_refused_connection_fails(make_pool: MakePool, home: RecordingHome) -> None:
    """With the address in the text; nothing was sent."""
    async with FakeDestination() as destination:
        port = destination.port
    result = await failure_of(make_pool(), home, f"127.0.0.1:{port}")
    assert result.failure is Failure.CONNECTION
    assert not result.was_sent
    assert result.detail == f"connection refused (127.0.0.1:{port})"


async def test_refused_connections_leave_nothing_to_the_garbage_collector() -> None:
    """A message would stay in memory until it comes by, and it holds the loop for longer."""
    async with FakeDestination() as destination:
        closed = Destination("http", "127.0.0.1", destination.port)
    dialer = Dialer(EgressPolicy(), Resolver(Names()))

    async def dial() -> None:
        opened = await dialer.open(closed, never, on_phase=lambda phase, ours: None)
        assert isinstance(opened, Unreachable)

    await dial()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await dial()
        await asyncio.sleep(0)
        assert gc.collect() < 20
    finally:
        gc.enable()


@pytest.mark.parametrize("number", sorted(OURS))
async def test_connection_that_this_machine_cannot_make_is_ours(
    home: RecordingHome, names: Names, number: int
) -> None:
    """For want of descriptors, memory or ports; the name's answer is kept: it is not the
    addresses that were wrong."""

    async def lacking(_: object) -> socket.socket:
        raise OSError(number, os.strerror(number))

    names.names["a.test"] = ["127.0.0.1"]
    pool = Pool(DeliveryConfig(), resolver=Resolver(names), connector=lacking)
    for count in (1, 2):
        pool.deliver(home.outgoing("a.test:1"))
        result = (await home.settled(count))[-1].result
        assert result is not None
        assert (result.failure, result.ours) == (Failure.CONNECTION, True)
        assert result.detail == f"{os.strerror(number).lower()} (127.0.0.1:1)"
    assert names.asked == ["a.test"]
    await pool.close()


async def test_real_lack_of_descriptors_is_ours(make_pool: MakePool, home: RecordingHome) -> None:
    """With every descriptor taken; once they are there, it is delivered."""
    pool = make_pool()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[socket.socket] = []
    async with FakeDestination() as destination:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
            with suppress(OSError):
                while True:
                    taken.append(socket.socket())
            result = await failure_of(pool, home, destination.authority)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for one in taken:
                one.close()
        assert (result.failure, result.ours) == (Failure.CONNECTION, True)
        assert "too many open files" in result.detail
        pool.deliver(home.outgoing(destination.authority))
        assert (await home.settled(2))[1].status == 200


def never() -> Connection:
    """What makes connections where none may be made."""
    raise AssertionError("nothing was connected")


async def test_idle_connection_gives_its_descriptor_to_a_new_one(
    home: RecordingHome,
) -> None:
    """Where they are lacking; delivered, and no attempt is spent."""
    lacking = False

    async def connector(addr_infos: Sequence[AddrInfo]) -> socket.socket:
        if lacking and pool.open_connections:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await happy_eyeballs(addr_infos)

    pool = Pool(DeliveryConfig(), connector=connector)
    async with FakeDestination() as one, FakeDestination() as other:
        pool.deliver(home.outgoing(one.authority))
        await home.settled(1)
        lacking = True
        pool.deliver(home.outgoing(other.authority))
        assert (await home.settled(2))[1].status == 200
    await pool.close()


async def test_unforeseen_failure_is_told_and_its_attempt_ends(home: RecordingHome) -> None:
    """Once, by name; the deadline settles the attempt."""

    async def connector(_: object) -> socket.socket:
        raise ValueError("a mistake in this program")

    told: list[tuple[str, str]] = []
    pool = Pool(
        DeliveryConfig(default_timeout_ms=300),
        died=lambda name, error: told.append((name, str(error))),
        connector=connector,
    )
    result = await failure_of(pool, home, "127.0.0.1:1")
    assert result.failure is Failure.TIMEOUT
    assert told == [("connecting", "a mistake in this program")]
    await pool.close()


async def test_lack_of_memory_is_ours(home: RecordingHome) -> None:
    """Not a fault of the destination, and not an attempt that nobody ends."""

    async def connector(_: object) -> socket.socket:
        raise MemoryError

    pool = Pool(DeliveryConfig(), connector=connector)
    result = await failure_of(pool, home, "127.0.0.1:1")
    assert (result.failure, result.ours) == (Failure.CONNECTION, True)
    assert result.detail == "out of memory"
    await pool.close()


async def test_address_that_may_be_our_own_is_not_connected_to(recorder: Recorder) -> None:
    """When the kernel cannot be asked whether it is, the attempt fails, and as ours."""

    def fail(_: object) -> bool:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    listeners = frozenset({(ipaddress.ip_address("::"), 80)})
    dialer = Dialer(EgressPolicy(own_listeners=listeners), Resolver(), recorder, is_local=fail)
    opened = await dialer.open(
        Destination("http", "192.0.2.7", 80), never, on_phase=lambda phase, ours: None
    )
    assert isinstance(opened, Unreachable)
    assert (opened.failure, opened.ours) == (Failure.CONNECTION, True)
    assert recorder.asked == []


async def test_addresses_are_looked_up_anew_after_a_refusal(
    make_pool: MakePool, home: RecordingHome, names: Names
) -> None:
    """A destination that moved is found at its next attempt, not when the memory runs out."""
    pool = make_pool()
    async with FakeDestination() as destination:
        names.names["moved.test"] = ["127.0.0.3"]
        origin = f"moved.test:{destination.port}"
        assert (await failure_of(pool, home, origin)).failure is Failure.CONNECTION
        names.names["moved.test"] = ["127.0.0.1"]
        pool.deliver(home.outgoing(origin))
        assert (await home.settled(2))[1].status == 200


async def test_second_address_is_used_when_the_first_refuses(
    make_pool: MakePool, home: RecordingHome, names: Names, recorder: Recorder
) -> None:
    """::1 is closed, 127.0.0.1 open: delivered, and quickly."""
    names.names["both.test"] = ["::1", "127.0.0.1"]
    async with FakeDestination() as destination:
        pool = make_pool(timeout_ms=60_000)
        pool.deliver(home.outgoing(f"both.test:{destination.port}"))
        assert (await home.settled(1))[0].status == 200
    assert recorder.asked == ["::1", "127.0.0.1"]


async def test_silent_first_address_delays_by_a_quarter_of_a_second(
    home: RecordingHome,
) -> None:
    """RFC 8305: the next address is tried while the first is still silent (its backlog is full)."""
    loop = asyncio.get_running_loop()
    async with FakeDestination() as destination:
        full = socket.socket()
        full.bind(("127.0.0.2", destination.port))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        names = Names(two_test=["127.0.0.2", "127.0.0.1"])
        pool = Pool(DeliveryConfig(), resolver=Resolver(names))
        started = loop.time()
        pool.deliver(home.outgoing(f"two.test:{destination.port}"))
        assert (await home.settled(1))[0].status == 200
        assert 0.2 < loop.time() - started < 2.0
        await pool.close()
        for sock in (full, *fillers):
            sock.close()


async def test_ipv6_literal_is_delivered_to(make_pool: MakePool, home: RecordingHome) -> None:
    """Brackets stand in `Host`, not in the address."""
    async with FakeDestination(host="::1") as destination:
        make_pool().deliver(home.outgoing(destination.authority))
        assert (await home.settled(1))[0].status == 200
        assert destination.requests[0].headers["host"] == f"[::1]:{destination.port}"


@pytest.mark.parametrize(
    "origin",
    [
        "169.254.169.254",
        "[fe80::1]",
        "0.0.0.0",
        "[::]",
        "224.0.0.1",
        "255.255.255.255",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "metadata.test",
    ],
)
async def test_forbidden_address_is_never_connected_to(
    make_pool: MakePool, home: RecordingHome, names: Names, recorder: Recorder, origin: str
) -> None:
    """No packet leaves, whatever EGRESS_ALLOW says."""
    names.names["metadata.test"] = ["169.254.169.254"]
    result = await failure_of(make_pool(allow=["*", "0.0.0.0/0", "::/0"]), home, origin)
    assert result.failure is Failure.EGRESS
    assert result.status is None
    assert recorder.asked == []


async def test_only_allowed_addresses_of_a_name_are_connected_to(
    make_pool: MakePool, home: RecordingHome, names: Names, recorder: Recorder
) -> None:
    """A forbidden one among them is left out, and there is no second lookup."""
    names.names["mixed.test"] = ["169.254.169.254", "127.0.0.1", "::ffff:0.0.0.0"]
    async with FakeDestination() as destination:
        make_pool().deliver(home.outgoing(f"mixed.test:{destination.port}"))
        assert (await home.settled(1))[0].status == 200
    assert recorder.asked == ["127.0.0.1"]
    assert names.asked == ["mixed.test"]


async def test_denied_name_is_not_even_looked_up(
    make_pool: MakePool, home: RecordingHome, names: Names, recorder: Recorder
) -> None:
    """It is a dead letter at once, also when the name does not exist."""
    result = await failure_of(make_pool(deny=["*.inside.test"]), home, "db.inside.test")
    assert (result.failure, result.detail) == (
        Failure.EGRESS,
        "db.inside.test is in EGRESS_DENY",
    )
    assert names.asked == recorder.asked == []


async def test_denied_name_is_looked_up_where_its_address_may_be_allowed(
    make_pool: MakePool, home: RecordingHome, names: Names
) -> None:
    """Allow comes first, and may name a network."""
    names.names["db.inside.test"] = ["127.0.0.1"]
    async with FakeDestination() as destination:
        pool = make_pool(allow=["127.0.0.0/8"], deny=["*.inside.test"])
        pool.deliver(home.outgoing(f"db.inside.test:{destination.port}"))
        assert (await home.settled(1))[0].status == 200


async def test_public_mode_refuses_loopback_unless_allowed(
    make_pool: MakePool, home: RecordingHome
) -> None:
    """EGRESS=public; EGRESS_ALLOW opens one host."""
    async with FakeDestination() as destination:
        result = await failure_of(make_pool("public"), home, destination.authority)
        assert result.failure is Failure.EGRESS
        make_pool("public", allow=["127.0.0.1"]).deliver(home.outgoing(destination.authority))
        assert (await home.settled(2))[1].status == 200


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::", ""])
async def test_own_listener_is_never_connected_to(
    make_pool: MakePool, home: RecordingHome, recorder: Recorder, bound: str
) -> None:
    """A message to ourselves would come back as a message to ourselves."""
    pool = make_pool(allow=["*"])
    async with FakeDestination() as destination:
        pool.set_own_listeners([(bound, destination.port)])
        result = await failure_of(pool, home, destination.authority)
        assert result.failure is Failure.EGRESS
        assert "listener of the dispatcher" in result.detail
        assert destination.connections == 0
    assert recorder.asked == []


async def test_proxy_variables_are_ignored(
    make_pool: MakePool, home: RecordingHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of the server does not redirect messages."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with FakeDestination() as destination:
        make_pool().deliver(home.outgoing(destination.authority))
        assert (await home.settled(1))[0].status == 200


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the system trust the authority, the way an operator does."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def server_context(authority: trustme.CA, *identities: str) -> ssl.SSLContext:
    """The TLS side of a destination with a certificate for these names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(*identities).configure_cert(context)
    return context


@pytest.mark.usefixtures("trusted")
async def test_tls_destination_is_delivered_to_over_one_kept_connection(
    make_pool: MakePool, home: RecordingHome, names: Names, authority: trustme.CA
) -> None:
    """By name, with SNI and HTTP/1.1 agreed on, a trailing dot included; large bodies too."""
    names.names["secure.test."] = ["127.0.0.1"]
    seen: list[str | None] = []
    context = server_context(authority, "secure.test")
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    pool = make_pool()
    async with FakeDestination(tls=context) as destination:
        origin = f"https://secure.test.:{destination.port}"
        for count in (1, 2):
            pool.deliver(home.outgoing(origin, b"hello"))
            assert (await home.settled(count))[-1].status == 200
        size = 8 * MemoryBodies().chunk_bytes
        pool.deliver(home.outgoing(origin, chunks=tuple(range(8)), body_size=size))
        assert (await home.settled(3))[-1].status == 200
        assert destination.connections == 1
        assert destination.requests[2].body_bytes == size
    assert seen == ["secure.test"]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("end", [[Close()], []])
async def test_tls_connection_is_parted_with_as_any_other(
    make_pool: MakePool, home: RecordingHome, authority: trustme.CA, end: list[Step]
) -> None:
    """Its destination said that it closes it, and does, or is not waited for longer than a
    second."""
    pool = make_pool()
    async with FakeDestination(tls=server_context(authority, "127.0.0.1")) as destination:
        destination.default = [*answer(200, b"ok", ("Connection", "close")), *end]
        for count in (1, 2, 3):
            pool.deliver(home.outgoing(f"https://{destination.authority}"))
            assert (await home.settled(count))[-1].status == 200
        assert destination.connections == 3
        async with asyncio.timeout(60):
            while pool.open_connections:  # noqa: ASYNC110  # it is a plain counter
                await asyncio.sleep(0.01)


async def test_trust_that_could_not_be_read_is_read_again(
    make_pool: MakePool,
    home: RecordingHome,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenSSL does not say that it could not open the file: whoever trusts nobody asks anew."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "late.pem"))
    pool = make_pool()
    async with FakeDestination(tls=server_context(authority, "127.0.0.1")) as destination:
        result = await failure_of(pool, home, f"https://{destination.authority}")
        assert result.failure is Failure.TLS
        authority.cert_pem.write_to_path(str(tmp_path / "late.pem"))
        pool.deliver(home.outgoing(f"https://{destination.authority}"))
        assert (await home.settled(2))[1].status == 200


@pytest.mark.usefixtures("trusted")
async def test_tls_works_for_an_address_literal(
    make_pool: MakePool, home: RecordingHome, authority: trustme.CA
) -> None:
    """The certificate has to name the address."""
    async with FakeDestination(tls=server_context(authority, "127.0.0.1")) as destination:
        make_pool().deliver(home.outgoing(f"https://{destination.authority}"))
        assert (await home.settled(1))[0].status == 200


@pytest.mark.usefixtures("trusted")
async def test_tls_body_until_the_close_is_complete(
    make_pool: MakePool, home: RecordingHome, authority: trustme.CA
) -> None:
    """An orderly end of the TLS stream ends a body without a length."""
    context = server_context(authority, "127.0.0.1")
    async with FakeDestination(tls=context) as destination:
        destination.script([*answer(200, b"all of it", length=False), Close()])
        make_pool().deliver(home.outgoing(f"https://{destination.authority}"))
        assert (await home.settled(1))[0].status == 200


@pytest.mark.usefixtures("trusted")
async def test_stale_tls_connection_is_replaced(
    make_pool: MakePool, home: RecordingHome, authority: trustme.CA
) -> None:
    """As without TLS."""
    pool = make_pool()
    async with FakeDestination(tls=server_context(authority, "127.0.0.1")) as destination:
        destination.script(answer(), [Close()])
        for count in (1, 2):
            pool.deliver(home.outgoing(f"https://{destination.authority}"))
            assert (await home.settled(count))[-1].status == 200
    assert pool.stale_retries == 1


@pytest.mark.usefixtures("trusted")
async def test_certificate_for_another_name_is_refused(
    make_pool: MakePool, home: RecordingHome, names: Names, authority: trustme.CA
) -> None:
    """Nothing of the message is sent."""
    names.names["secure.test"] = ["127.0.0.1"]
    async with FakeDestination(tls=server_context(authority, "other.test")) as destination:
        result = await failure_of(make_pool(), home, f"https://secure.test:{destination.port}")
        assert destination.requests == []
    assert result.failure is Failure.TLS
    assert "Hostname mismatch" in result.detail


async def test_certificate_of_an_unknown_authority_is_refused(
    make_pool: MakePool, home: RecordingHome, authority: trustme.CA
) -> None:
    """Trust comes from the system's store, or from SSL_CERT_FILE and SSL_CERT_DIR."""
    async with FakeDestination(tls=server_context(authority, "127.0.0.1")) as destination:
        result = await failure_of(make_pool(), home, f"https://{destination.authority}")
        assert destination.requests == []
    assert result.failure is Failure.TLS
    assert "certificate not accepted" in result.detail


async def test_destination_without_tls_fails_the_handshake(
    make_pool: MakePool, home: RecordingHome
) -> None:
    """A plain server answers, or hangs up: either way it is a TLS failure."""
    async with FakeDestination() as destination:
        destination.on_accept = answer(400)
        result = await failure_of(make_pool(), home, f"https://{destination.authority}")
        assert result.failure is Failure.TLS
    async with FakeDestination() as destination:
        destination.on_accept = [Close()]
        make_pool().deliver(home.outgoing(f"https://{destination.authority}"))
        second = (await home.settled(2))[1].result
    assert second is not None
    assert second.failure is Failure.TLS
    assert second.detail


async def test_deadline_covers_the_handshake(make_pool: MakePool, home: RecordingHome) -> None:
    """A server that accepts and says nothing holds a slot until the timeout."""
    async with FakeDestination() as destination:
        destination.on_accept = [Wait(600)]
        pool = make_pool(timeout_ms=800)
        result = await failure_of(pool, home, f"https://{destination.authority}")
        assert result.failure is Failure.TIMEOUT
        assert result.detail == "800 ms passed while shaking hands (TLS)"
        assert (pool.open_connections, pool.in_flight) == (0, 0)
