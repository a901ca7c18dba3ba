"""What rules add, over real sockets: headers, signatures of bodies of every size, certificates."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Header, PemFile, Rule, Secret, Sign
from dispatcher.core.rules.table import Rules
from dispatcher.delivery.adding import Additions
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.protocol import webhooks
from dispatcher.queue.ports import BodyUnavailable
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.delivery import WIRE_ID, MemoryBodies, RecordingHome
from dispatcher.testing.destination import Close, FakeDestination, Request, answer

NOW_S = 1_700_000_000
KEYS = (b"the new key", b"the old key")
RULE = Rule(Match("127.0.0.1"))
SIGNED = replace(RULE, sign=Sign(tuple(Secret(key, "hidden") for key in KEYS)))


def token(value: bytes) -> Rule:
    return replace(RULE, headers=(Header("Token", Secret(value, "hidden")),))


def load(pool: Pool, *rules: Rule) -> None:
    """Put rules into force."""
    pool.add(Additions.load(Rules(rules)))


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NOW_S * 1_000_000)


@pytest.fixture
async def pool(clock: SimulatedClock) -> AsyncIterator[Pool]:
    pool = Pool(DeliveryConfig(default_timeout_ms=60_000), clock=clock)
    yield pool
    await pool.close()


@pytest.fixture
def bodies() -> MemoryBodies:
    return MemoryBodies()


@pytest.fixture
def home(bodies: MemoryBodies) -> RecordingHome:
    return RecordingHome(bodies)


@pytest.fixture
async def destination() -> AsyncIterator[FakeDestination]:
    async with FakeDestination() as destination:
        yield destination


def large(home: RecordingHome, destination: FakeDestination, count: int) -> Message:
    """A message whose body is in chunk records."""
    chunk_bytes = MemoryBodies().chunk_bytes
    return home.outgoing(
        destination.authority, chunks=tuple(range(count)), body_size=count * chunk_bytes
    )


def check_signed(one: Request, body: bytes, *, at_s: int = NOW_S) -> None:
    """Check the body, and its signature with each of the keys."""
    assert bytes(one.body) == body
    assert one.headers["webhook-timestamp"] == str(at_s)
    for key in KEYS:
        found = webhooks.verify(
            [webhooks.Secret(key)], one.headers.items(), body, now_s=at_s, tolerance_s=0
        )
        assert found == WIRE_ID.decode()


async def test_a_change_of_rules_holds_for_the_next_attempt(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """With a rule, with another one, and with none again; over one connection."""
    message = home.outgoing(destination.authority, headers=[("TOKEN", "theirs"), ("a", "1")])
    for number, rules in enumerate([(), (token(b"first"),), (token(b"second"),), ()], start=1):
        load(pool, *rules)
        pool.deliver(message)
        await home.settled(number)
    lines = [one.head.split(b"\r\n") for one in destination.requests]
    tokens = [[line for line in each if line.lower().startswith(b"token")] for each in lines]
    assert tokens == [[b"TOKEN: theirs"], [b"Token: first"], [b"Token: second"], [b"TOKEN: theirs"]]
    assert all(b"a: 1" in each for each in lines)
    assert destination.connections == 1


@pytest.mark.parametrize("body", [b"", b"small", bytes(range(256)) * 1000])
async def test_body_that_is_held_is_signed(
    pool: Pool, home: RecordingHome, destination: FakeDestination, body: bytes
) -> None:
    """An empty one too."""
    load(pool, SIGNED)
    pool.deliver(home.outgoing(destination.authority, body))
    await home.settled(1)
    check_signed(destination.requests[0], body)


async def test_large_body_is_signed_without_being_held(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """It is read twice, one chunk at a time, and the event loop runs on between two."""
    most: list[int] = []
    read = bodies.read

    async def watch(positions: list[int]) -> list[bytes]:
        most.append(len(positions))
        return await read(positions)

    bodies.read = watch  # type: ignore[method-assign]  # to look on
    load(pool, SIGNED)
    pool.deliver(large(home, destination, 12))
    await home.settled(1)
    check_signed(destination.requests[0], b"".join(map(bodies.chunk, range(12))))
    assert most == [1] * 24


async def test_every_attempt_is_signed_anew(
    pool: Pool, home: RecordingHome, destination: FakeDestination, clock: SimulatedClock
) -> None:
    """A receiver refuses what was signed long ago, and the dispatcher may try for days."""
    load(pool, SIGNED)
    message = home.outgoing(destination.authority, b"body")
    for number in (1, 2):
        pool.deliver(message)
        await home.settled(number)
        clock.advance(ms=3_600_000)
    for number, one in enumerate(destination.requests):
        check_signed(one, b"body", at_s=NOW_S + number * 3600)


async def test_request_that_met_a_stale_connection_is_sent_again_as_it_was(
    pool: Pool, home: RecordingHome, destination: FakeDestination
) -> None:
    """It is the same attempt."""
    load(pool, SIGNED)
    destination.script(answer(200, b""), [Close()])
    for number in (1, 2):
        pool.deliver(large(home, destination, 2))
        await home.settled(number)
    assert pool.stale_retries == 1
    _, first, again = destination.requests
    assert first.head == again.head
    body = b"".join(map(MemoryBodies().chunk, range(2)))
    check_signed(again, body)


async def test_damaged_body_fails_before_anything_is_sent(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """No signature can be made of it, and it is our fault."""
    bodies.failing[1] = BodyUnavailable("damaged", passing=False)
    load(pool, SIGNED)
    pool.deliver(large(home, destination, 3))
    result = (await home.settled(1))[0].result
    assert result is not None
    assert (result.failure, result.ours) == (Failure.BROKEN, True)
    assert result.detail == "the body cannot be read back: damaged"
    assert (destination.connections, pool.in_flight) == (0, 0)


async def test_body_that_is_read_too_slowly_to_be_signed_is_our_lack(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """The destination has not even been asked."""
    bodies.delay_s = 3600
    load(pool, SIGNED)
    message = large(home, destination, 2)
    message.timeout_ms = 100
    pool.deliver(message)
    result = (await home.settled(1))[0].result
    assert result is not None
    assert (result.failure, result.ours) == (Failure.TIMEOUT, True)
    assert result.detail == "100 ms passed while the body was read back from the log"
    assert destination.connections == 0


async def test_attempt_that_is_abandoned_while_it_is_signed_sends_nothing(
    pool: Pool, home: RecordingHome, destination: FakeDestination, bodies: MemoryBodies
) -> None:
    """Its task ends with it."""
    bodies.delay_s = 0.01
    load(pool, SIGNED)
    message = large(home, destination, 2)
    pool.deliver(message)
    pool.abandon({message})
    assert pool.in_flight == 0
    load(pool)
    bodies.delay_s = 0.0
    pool.deliver(home.outgoing(destination.authority))
    await home.settled(1)
    assert len(destination.requests) == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def demanding(authority: trustme.CA) -> AsyncIterator[FakeDestination]:
    """A destination that demands a client certificate of the authority that issued its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    async with FakeDestination(tls=context) as destination:
        yield destination


def pem(path: Path, content: bytes) -> PemFile:
    path.write_bytes(content)
    return PemFile(str(path), content)


@pytest.fixture
def certified(authority: trustme.CA, tmp_path: Path) -> Rule:
    """A rule with the authority, and a certificate and its key in one file."""
    client = authority.issue_cert("client.example").private_key_and_cert_chain_pem
    return replace(
        RULE,
        ca=pem(tmp_path / "ca.pem", authority.cert_pem.bytes()),
        cert=pem(tmp_path / "client.pem", client.bytes()),
    )


async def failure(pool: Pool, home: RecordingHome, destination: FakeDestination) -> AttemptResult:
    """Deliver one message, which has to fail for its certificates."""
    before = len(home.calls)
    pool.deliver(home.outgoing(f"https://{destination.authority}"))
    result = (await home.settled(before + 1))[before].result
    assert result is not None
    return result


async def test_client_certificate_is_shown_to_who_demands_it(
    pool: Pool, home: RecordingHome, demanding: FakeDestination, certified: Rule
) -> None:
    """Without the rule its authority is not trusted, with that alone we are not let in."""
    assert "certificate not accepted" in (await failure(pool, home, demanding)).detail
    load(pool, replace(certified, cert=None))
    # By then our side has shaken hands; some say why they close the connection, some do not.
    assert (await failure(pool, home, demanding)).failure in (Failure.TLS, Failure.CONNECTION)
    assert demanding.requests == []
    load(pool, certified)
    for number in (3, 4):
        pool.deliver(home.outgoing(f"https://{demanding.authority}"))
        await home.settled(number)
    assert [call.status for call in home.calls[2:]] == [200, 200]
    assert demanding.connections == 1  # that let us in


async def test_connections_are_kept_apart_where_their_certificates_differ(
    pool: Pool, home: RecordingHome, authority: trustme.CA, certified: Rule, tmp_path: Path
) -> None:
    """A message must not go over a connection that was opened as somebody else; the same contents
    in a rule that is otherwise new are the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    other = authority.issue_cert("other.example").private_key_and_cert_chain_pem
    changed = replace(certified, cert=pem(tmp_path / "other.pem", other.bytes()))
    async with FakeDestination(tls=context) as destination:
        used: list[int] = []
        for rule in (certified, changed, certified, replace(certified, retries=1)):
            load(pool, rule)
            pool.deliver(home.outgoing(f"https://{destination.authority}"))
            await home.settled(len(used) + 1)
            used.append(destination.requests[-1].connection)
    assert used == [0, 1, 0, 0]


async def test_certificates_do_not_matter_without_tls(
    pool: Pool, home: RecordingHome, destination: FakeDestination, certified: Rule
) -> None:
    """`http` goes over the connections that there are."""
    for rules in ((), (certified,)):
        load(pool, *rules)
        pool.deliver(home.outgoing(destination.authority))
        await home.settled(len(destination.requests) + 1)
    assert destination.connections == 1


async def test_systems_certificates_are_followed_also_with_a_client_certificate(
    pool: Pool,
    home: RecordingHome,
    demanding: FakeDestination,
    certified: Rule,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rule with no `ca` trusts whom the machine trusts now, and shows what it has read, even
    while the file of its certificate is being replaced."""
    bundle = tmp_path / "system.pem"
    bundle.write_bytes(trustme.CA().cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    load(pool, replace(certified, ca=None))
    assert "certificate not accepted" in (await failure(pool, home, demanding)).detail
    new = tmp_path / "new.pem"
    new.write_bytes(authority.cert_pem.bytes())
    new.replace(bundle)
    pool.deliver(home.outgoing(f"https://{demanding.authority}"))
    assert (await home.settled(2))[1].status == 200
    await demanding.disconnect()
    (tmp_path / "client.pem").unlink()
    bundle.write_bytes(authority.cert_pem.bytes() + trustme.CA().cert_pem.bytes())
    pool.deliver(home.outgoing(f"https://{demanding.authority}"))
    assert (await home.settled(3))[2].status == 200
