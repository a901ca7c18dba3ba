"""A live server of several partitions: listener, router, pool and logs in memory. One of them is
lost, and the others go on."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from dispatcher.cluster.holder import Ends
from dispatcher.core.clock import SteadyClock, SystemClock
from dispatcher.core.destination import Origin
from dispatcher.core.placing import partition_of
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.errors import LogError, LogFenced, LogUnknown
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.listener import Listener
from dispatcher.node.partitions import Lost, Partitions
from dispatcher.node.public import PUBLIC_READY
from dispatcher.node.router import Router
from dispatcher.node.whole import Whole
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.partition import Partition, PartitionConfig
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.destination import FakeDestination, Wait, answer
from dispatcher.testing.queue import POLICY, Notes
from dispatcher.txlog.memory import MemoryLog, MemoryStore

COUNT = 2


class Logs:
    """The logs of all partitions, which outlive the servers."""

    def __init__(self) -> None:
        self.stores = [(MemoryStore(), MemoryStore()) for _ in range(COUNT)]


class Live:
    """A server without its process."""

    def __init__(self, logs: Logs, epoch: int = 1) -> None:
        self.stores = logs.stores
        self.epoch = epoch
        self.logs: dict[int, MemoryLog] = {}
        self.notes = Notes()
        self.lost: list[tuple[int, Exception]] = []
        self.pool = Pool(DeliveryConfig(default_timeout_ms=60_000))
        clock = SystemClock()
        self.traffic = Traffic(
            workers=20,
            workers_slow=20,
            pause_max_ms=POLICY.max_delay_ms,
            observer=self.notes,
            clock=SteadyClock(clock),
            warm_bytes=1 << 20,
        )
        self.router = Router(COUNT)
        self.partitions = Partitions(
            self._make,
            router=self.router,
            pool=self.pool,
            lost=lambda number, error: self.lost.append((number, error)),
            died=self.notes.died,
        )
        self.listener = Listener(self.router, IngressConfig("127.0.0.1", 0), lambda: PUBLIC_READY)

    def _make(self, number: int, lost: Lost, ends: Ends) -> Partition:
        transactions, letters = self.stores[number]
        self.logs[number] = MemoryLog(transactions)
        return Partition(
            self.logs[number],
            MemoryLog(letters),
            replace(PartitionConfig(POLICY, 20), partition=number),
            self.notes,
            clock=SystemClock(),
            random=random.Random(),
            incarnation=self.epoch,
            traffic=self.traffic,
            lost=lost,
        )

    async def start(self, *numbers: int) -> None:
        await self.partitions.open_all(numbers or range(COUNT), "live", self.epoch)
        await self.listener.start()
        self.partitions.begin()

    async def stop(self) -> None:
        await self.partitions.drain(0)
        await self.listener.close()
        await self.pool.close()
        await self.partitions.stop()
        assert not self.notes.deaths

    async def post(self, to: str, *lines: str, body: bytes = b"x") -> Reply:
        """Send one request on a connection of its own, and read what comes."""
        port = self.listener.bound[0][1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = ["POST /x HTTP/1.1", "Host: a", f"X-Dispatcher-Origin-Host: {to}", *lines]
        writer.write("\r\n".join((*head, f"Content-Length: {len(body)}", "", "")).encode())
        writer.write(body)
        try:
            answer = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return Reply(0, "")
        finally:
            writer.close()
        return Reply(int(answer.split(b" ")[1]), answer.decode("latin-1"))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; the status is 0 where the connection ended without one."""

    status: int
    head: str


@asynccontextmanager
async def live(logs: Logs | None = None, *, epoch: int = 1) -> AsyncIterator[Live]:
    server = Live(logs or Logs(), epoch)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def places() -> AsyncIterator[list[FakeDestination]]:
    """A destination for each partition: what has a key and goes there lies in it."""
    found: dict[int, FakeDestination] = {}
    made = []
    while len(found) < COUNT:
        destination = await FakeDestination().__aenter__()
        made.append(destination)
        key = Origin.parse(destination.authority.encode()).destination.key
        found.setdefault(partition_of(key, COUNT), destination)
    yield [found[number] for number in range(COUNT)]
    for destination in made:
        await destination.__aexit__(None, None, None)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # what it looks at are plain counters
            await asyncio.sleep(0.01)


def _partitions_in_memory() -> int:
    """Counted, because compiled ones cannot be referred to weakly."""
    gc.collect()
    return sum(type(one) is Partition for one in gc.get_objects())


async def test_messages_with_a_key_lie_in_the_partition_of_their_destination(
    places: list[FakeDestination],
) -> None:
    """Those without lie in the process's own, wherever they go; the id says where. Large bodies
    too, and all are delivered as they came."""
    async with live() as server:
        large = b"y" * (CHUNK_BYTES * 2 + 1)
        for number, place in enumerate(places):
            for key in ("Order-Key", "Flow-Key", "Idempotency-Key"):
                for body in (b"x", large):
                    line = f"X-Dispatcher-{key}: {number}-{len(body)}"
                    reply = await server.post(place.authority, line, body=body)
                    assert f"Message-Id: {number:04x}" in reply.head
            for body in (b"x", large):
                reply = await server.post(place.authority, body=body)
                assert "Message-Id: 0000" in reply.head
        await until(lambda: all(len(place.requests) == 8 for place in places))
        assert {len(one.body) for one in places[1].requests} == {1, len(large)}
        again = await server.post(places[1].authority, "X-Dispatcher-Idempotency-Key: 1-1")
        assert "X-Dispatcher-Duplicate: true" in again.head


async def test_others_go_on_when_a_partition_is_lost(places: list[FakeDestination]) -> None:
    """Another owner has opened its log. Nothing of it is sent from then on, those who come for it
    are told to come again, who waits for an end is told that it is open, and all that it held in
    memory is gone. What it had accepted is delivered by its next owner."""
    logs = Logs()
    async with live(logs) as server:
        here, there = places
        there.script([Wait(60)])
        keyed = "X-Dispatcher-Order-Key: k"
        waits = asyncio.ensure_future(server.post(there.authority, keyed, "X-Dispatcher-Wait: 50s"))
        await there.received(1)
        for _ in range(5):
            assert (await server.post(there.authority, keyed)).status == 202
        in_memory = _partitions_in_memory()

        other = MemoryLog(logs.stores[1][0])
        await other.open("another", 9)
        refused = await server.post(there.authority, keyed)
        assert refused.status == 503
        assert "Retry-After: 1\r\n" in refused.head
        assert (await waits).status == 202
        ((number, error),) = server.lost
        assert number == 1
        assert isinstance(error, LogFenced)
        assert server.listener.refused == {"moved": 1}
        assert server.notes.lost_partitions == [(1, error)]

        assert (await server.post(there.authority, keyed)).status == 503
        assert (await server.post(there.authority, "X-Dispatcher-Idempotency-Key: i")).status == 503
        large = b"y" * (CHUNK_BYTES * 3)
        assert (await server.post(there.authority, keyed, body=large)).status == 503
        assert server.pool.in_flight == 0
        for _ in range(20):
            assert (await server.post(here.authority, keyed)).status == 202
        await until(lambda: len(here.requests) == 20)
        assert len(there.requests) == 1
        assert (await server.post(there.authority)).status == 202  # without a key it lies elsewhere
        await there.received(2)

        server.lost.clear()
        server.notes.lost_partitions.clear()
        del error
        await until(lambda: _partitions_in_memory() == in_memory - 1)
    async with live(logs, epoch=10) as server:
        await until(lambda: len(there.requests) == 8)
        ids = [one.headers["x-dispatcher-message-id"] for one in there.requests]
        assert len(set(ids)) == 7, "the one that hung comes again, and the others once"


async def test_idle_partition_is_lost_as_soon_as_its_log_says_so(
    places: list[FakeDestination],
) -> None:
    """Nobody appends anything; the others go on, and it is told once."""
    async with live(Logs()) as server:
        error = LogFenced("another has opened the log")
        server.logs[1].lose(error)
        await until(lambda: bool(server.lost))
        assert server.lost == [(1, error)]
        assert server.notes.lost_partitions == [(1, error)]
        here, there = places
        keyed = "X-Dispatcher-Order-Key: k"
        assert (await server.post(there.authority, keyed)).status == 503
        assert (await server.post(here.authority, keyed)).status == 202
        await here.received(1)
        assert server.lost == [(1, error)]


async def test_caller_hears_nothing_when_nobody_knows_whether_its_message_is_stored(
    places: list[FakeDestination],
) -> None:
    """Its batch was with the log when the partition was lost. Who waited behind it was not handed
    over, and may send again."""
    async with live() as server:
        there = places[1]
        log = server.logs[1]
        log.gate.clear()
        keyed = "X-Dispatcher-Order-Key: k"
        under_way = asyncio.ensure_future(server.post(there.authority, keyed))
        partition = server.partitions.get(1)
        assert partition is not None
        await until(lambda: partition.intake.owes)
        behind = asyncio.ensure_future(server.post(there.authority, keyed))
        await until(lambda: partition.committer.waiting_bytes > 0)
        log.failure = LogUnknown("no majority")
        log.gate.set()
        assert (await under_way).status == 0
        assert (await behind).status == 503
        assert (await server.post(there.authority)).status == 202
        assert len(server.partitions) == 1


async def test_another_partition_takes_what_the_own_one_refuses(
    places: list[FakeDestination],
) -> None:
    """As soon as nobody waits for the own one: callers of one connection are answered in order."""
    async with live() as server:
        assert "Message-Id: 0000" in (await server.post(places[0].authority)).head
        server.logs[0].full = True
        assert (await server.post(places[0].authority)).status == 503
        for _ in range(3):
            assert "Message-Id: 0001" in (await server.post(places[0].authority)).head
        own = server.partitions.get(1)
        assert own is not None
        server.logs[0].full = False
        server.logs[1].gate.clear()
        owed = asyncio.ensure_future(server.post(places[0].authority))
        await until(lambda: own.intake.owes)
        own.committer.stalled = True
        assert (await server.post(places[0].authority)).status == 503
        server.logs[1].gate.set()
        assert "Message-Id: 0001" in (await owed).head


async def test_answers_of_one_connection_keep_their_order_when_the_own_partition_is_handed_over(
    places: list[FakeDestination],
) -> None:
    """What is still owed is told first; until then others are told to come again."""
    async with live() as server:
        server.logs[0].gate.clear()
        own = server.partitions.get(0)
        assert own is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.bound[0][1])
        request = (
            f"POST /x HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {places[0].authority}\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode()
        writer.write(request)
        await until(lambda: own.intake.owes)
        closing = asyncio.ensure_future(server.partitions.close(0, 60))
        await asyncio.sleep(0)
        writer.write(request)
        await until(lambda: bool(server.listener.refused))
        server.logs[0].gate.set()
        await closing
        first = await reader.readuntil(b"\r\n\r\n")
        assert b"Message-Id: 0000" in first
        second = await reader.readuntil(b"\r\n\r\n")
        assert second.startswith(b"HTTP/1.1 503 ")
        writer.close()
        assert "Message-Id: 0001" in (await server.post(places[0].authority)).head


async def test_partition_is_opened_and_handed_over_while_the_others_go_on(
    places: list[FakeDestination],
) -> None:
    """What is in flight there ends first; then its messages are refused here, and taken again once
    it is back."""
    logs = Logs()
    server = Live(logs)
    await server.start(0)
    here, there = places
    keyed = "X-Dispatcher-Order-Key: k"
    assert (await server.post(there.authority, keyed)).status == 503
    await server.partitions.open(1, "live", 1)
    there.script([Wait(0.2), *answer()])
    assert (await server.post(there.authority, keyed)).status == 202
    await there.received(1)
    closing = asyncio.ensure_future(server.partitions.close(1, 60))
    while not closing.done():
        assert (await server.post(here.authority, keyed)).status == 202
    await closing
    assert (await server.post(there.authority, keyed)).status == 503
    await server.partitions.open(1, "live", 1)
    assert (await server.post(there.authority, keyed)).status == 202
    await there.received(2)
    await server.stop()


async def test_others_are_opened_and_go_on_when_a_log_is_another_owners(
    places: list[FakeDestination],
) -> None:
    """It says so to who opened it, and may be opened again."""
    logs = Logs()
    await MemoryLog(logs.stores[1][0]).open("another", 9)
    server = Live(logs)
    await server.start(0)
    with pytest.raises(LogFenced):
        await server.partitions.open(1, "live", 1)
    assert len(server.partitions) == 1
    keyed = "X-Dispatcher-Order-Key: k"
    assert (await server.post(places[0].authority, keyed)).status == 202
    assert (await server.post(places[1].authority, keyed)).status == 503
    await server.partitions.open(1, "live", 9)
    assert (await server.post(places[1].authority, keyed)).status == 202
    assert not server.lost
    await server.stop()


class Beside:
    """A companion that notes what happens to it, and whether its partition was still there."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.happened: list[str] = []
        self.fails: LogError | None = None
        self.starting = asyncio.Event()
        self.starting.set()

    async def open(self, owner: str, epoch: int) -> None:
        self.happened.append(f"open {owner} {epoch}")
        assert await self.partition.log.read([]) == [], "it is open"
        if self.fails is not None:
            raise self.fails

    async def start(self) -> None:
        assert self.partition.starting is not None
        self.happened.append("start")
        await self.starting.wait()

    async def drain(self, timeout_s: float) -> bool:
        self.happened.append("drain")
        return True

    def abandon(self) -> None:
        self.happened.append("abandon")

    async def stop(self) -> None:
        assert await self.partition.log.read([]) == [], "the partition is stopped after it"
        self.happened.append("stop")


async def test_companion_lives_within_its_partition(places: list[FakeDestination]) -> None:
    """It begins after it, drains beside it, and ends before its logs are closed: where it is handed
    over, where it is lost, and where either can't be opened. Members hear of the partition once
    when it is open, and once when it is not here any more."""
    server = Live(Logs())
    made: list[Beside] = []
    failing: list[LogError | None] = [None]

    def beside(number: int, partition: Partition, ends: Ends) -> Beside | None:
        if number:
            return None
        made.append(Beside(partition))
        made[-1].fails = failing[0]
        return made[-1]

    members = Whole(server.traffic)
    server.partitions = Partitions(
        server._make,
        beside=beside,
        members=[members],
        router=server.router,
        pool=server.pool,
        lost=lambda number, error: server.lost.append((number, error)),
        died=server.notes.died,
    )
    await server.listener.start()
    server.partitions.begin()

    async def accepted() -> bool:
        return (await server.post(places[0].authority)).status == 202

    assert not await accepted()
    await server.partitions.open(0, "live", 1)
    await server.partitions.open(1, "live", 1)
    assert [one.config.partition for one in members.parts] == [0, 1]
    assert await accepted()
    await server.partitions.close(0, 5)
    assert made[0].happened == ["open live 1", "start", "drain", "stop"]
    assert [one.config.partition for one in members.parts] == [1]

    failing[0] = LogFenced("another has the log of results")
    with pytest.raises(LogFenced):
        await server.partitions.open(0, "live", 2)
    assert made[1].happened == ["open live 2", "stop"]
    assert server.partitions.get(0) is None

    failing[0] = None
    await server.partitions.open(0, "live", 2)
    error = LogFenced("another has opened the log")
    server.logs[0].lose(error)
    await until(lambda: bool(server.lost))
    assert made[2].happened[:3] == ["open live 2", "start", "abandon"]
    await server.partitions.open(0, "live", 3)
    assert made[2].happened == ["open live 2", "start", "abandon", "stop"], "before the next opens"
    assert made[3].happened == ["open live 3", "start"]
    server.partitions.abandon(0, error)
    server.partitions.abandon(0, error)
    assert made[3].happened[2:] == ["abandon"]
    assert server.lost == [(0, error)], "who says so knows it"
    assert await accepted()
    assert server.partitions.get(0) is None
    await server.stop()


async def test_partition_that_is_lost_while_its_companion_begins_is_not_open() -> None:
    """Whoever opens it hears why; the next one may open it."""
    server = Live(Logs())
    made: list[Beside] = []

    def beside(number: int, partition: Partition, ends: Ends) -> Beside:
        made.append(Beside(partition))
        made[-1].starting.clear()
        return made[-1]

    server.partitions._beside = beside
    await server.listener.start()
    server.partitions.begin()
    opening = asyncio.ensure_future(server.partitions.open(0, "live", 1))
    await until(lambda: bool(made) and "start" in made[0].happened)
    error = LogUnknown("no majority")
    server.logs[0].lose(error)
    await until(lambda: bool(server.lost))
    made[0].starting.set()
    with pytest.raises(LogUnknown):
        await opening
    assert server.router.refusal() is not None
    again = asyncio.ensure_future(server.partitions.open(0, "live", 2))
    await until(lambda: len(made) == 2)
    made[1].starting.set()
    await again
    assert server.router.refusal() is None
    await server.stop()


def test_partition_of_a_place_never_changes() -> None:
    """It is a format: where keys lie was decided with it."""
    place = b"https://example.com"
    assert [partition_of(place, count) for count in (1, 2, 3, 4, 16, 64)] == [0, 1, 0, 1, 1, 33]
    assert partition_of(b"group:all", 16) == 14
