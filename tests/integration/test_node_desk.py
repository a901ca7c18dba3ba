"""A desk comes and goes with partition 0, while its process runs: nothing of it stays."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from dispatcher.api.health import Health
from dispatcher.cluster.directory import Directory
from dispatcher.core.clock import SystemClock
from dispatcher.errors import LogFenced, LogUnknown
from dispatcher.listening.given import GivenSockets
from dispatcher.node.assignment import Assignment
from dispatcher.node.desk import Desk
from dispatcher.node.desk_logs import DeskLogs
from dispatcher.node.message_service import MessageService
from dispatcher.node.notifying.notifier import Notifier
from dispatcher.node.outlook import Addresses
from dispatcher.node.public import PUBLIC_READY
from dispatcher.protocol.messages import Call as WireCall
from dispatcher.protocol.messages import DispatchRequest, DispatchResponse
from dispatcher.queue.partition import Partition
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.testing.destination import FakeDestination, Wait
from dispatcher.testing.jetstream import Streams, StreamsLink
from dispatcher.testing.queue import Notes
from dispatcher.txlog import TransactionLog
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.memory import MemoryLog, MemoryStore
from dispatcher.txlog.nats.log import NatsLog

DISPATCH = "/dispatch.sdk.v1.DispatchService/Dispatch"
PROTO = {"Content-Type": "application/proto", "Connect-Protocol-Version": "1"}
LIVES = 2


class Logs:
    """The logs of partition 0 and of the desk, which outlive both."""

    def __init__(self, keeps: str, directory: Path) -> None:
        """In "files" of a directory, in "memory", or in "streams"."""
        self._keeps = keeps
        self._directory = directory
        directory.mkdir()
        self._stores: dict[str, MemoryStore] = {}
        self._streams: dict[str, Streams] = {}
        self.made: dict[str, TransactionLog] = {}

    def log(self, name: str) -> TransactionLog:
        """One of them, not open yet."""
        if self._keeps == "files":
            made: TransactionLog = FileLog(self._directory / name)
        elif self._keeps == "streams":
            link = StreamsLink(self._streams.setdefault(name, Streams()))
            made = NatsLog(link, name, self._directory)
        else:
            made = MemoryLog(self._stores.setdefault(name, MemoryStore()))
        self.made[name] = made
        return made

    async def lose(self, name: str, error: Exception, epoch: int) -> None:
        """One of them is another owner's from now on, with this epoch."""
        log = self.made[name]
        if self._keeps == "streams" and isinstance(error, LogFenced):
            another = self.log(name)
            await another.open("another", epoch)
            await another.close()
        else:
            assert log.on_lost is not None
            log.on_lost(error)  # type: ignore[arg-type]

    @property
    def of_desk(self) -> DeskLogs:
        """As the desk has them."""
        return DeskLogs(
            make_results=lambda: self.log("results"),
            has_results=True,
            results_place="results",
            make_audit=lambda: self.log("audit"),
            has_audit=True,
            audit_max_bytes=1 << 20,
            disks={},
            check_free=lambda: None,
        )


class Node:
    """A process that has partition 1, and partition 0 with the desk now and then."""

    def __init__(self, directory: Path, logs: Logs, session: aiohttp.ClientSession) -> None:
        self.logs = logs
        self.notes = Notes()
        self.session = session
        settings = Settings.load(
            {
                "LISTEN": "127.0.0.1:0",
                "API_LISTEN": "127.0.0.1:0",
                "TRANSACTION_LOG": str(directory / "transaction.log"),
                "DEAD_LETTER": str(directory / "deadletter.log"),
            }
        )
        self.lines: list[str] = []
        self.messages = MessageService(
            settings,
            Events(open_log(self.lines.append, level="info", format="json")),
            Assignment(1, (1,), 2, 2),
            given=GivenSockets(),
            health=lambda: PUBLIC_READY,
            log_failed=lambda: pytest.fail("the process would end"),
        )
        messages = self.messages
        self.notifier = Notifier(messages.whole, messages.acceptor, messages.supervisor)
        self.directory = Directory(1, 2)
        self.lost: list[Exception] = []
        self.epoch = 0

    def make(self) -> tuple[Partition, Desk]:
        """Partition 0 and its desk."""
        messages = self.messages
        first = Partition(
            self.logs.log("transaction"),
            self.logs.log("dead_letter"),
            replace(messages.first.config, partition=0),
            self.notes,
            clock=SystemClock(),
            random=random.Random(),
            incarnation=messages.incarnation + self.epoch,
            traffic=messages.traffic,
            pace=messages.whole.pace,
            lost=self.lost.append,
        )
        messages.whole.add(first)
        desk = Desk(
            messages,
            first,
            self.logs.of_desk,
            self.notifier,
            sockets=(),
            health=Health,
            addresses=lambda: Addresses((), ()),
            directory=self.directory,
        )
        return first, desk

    async def open(self, first: Partition, desk: Desk) -> None:
        """They work from then on."""
        self.epoch += 1
        await desk.listen()
        await first.open("test", self.epoch)
        for member in self.messages.partitions.members:
            member.add(first)
        await desk.open("test", self.epoch)
        first.start(self.messages.pool)
        await desk.start()

    def abandon(self, first: Partition, desk: Desk) -> None:
        """What is done at once when partition 0 is lost."""
        self.messages.pool.abandon_all_of(first.settling)
        desk.abandon()
        first.abandon(self.lost[-1])

    async def stop(self, first: Partition, desk: Desk) -> None:
        """The rest of it."""
        await desk.leave()
        await desk.stop()
        await first.stop()
        assert not self.messages.partitions.members
        self.messages.whole.remove(first)

    async def api(self, desk: Desk, method: str, path: str, **more: Any) -> bytes:
        """Ask the desk."""
        host, port = desk.api.bound[0]
        url = f"http://{host}:{port}{path}"
        async with self.session.request(method, url, **more) as answered:
            found = await answered.read()
            assert answered.status < 300, found
            return found


@asynccontextmanager
async def node(directory: Path, logs: Logs) -> AsyncIterator[Node]:
    """One that runs."""
    async with aiohttp.ClientSession() as session:
        made = Node(directory, logs, session)
        await made.messages.open()
        made.messages.begin()
        made.notifier.start()
        try:
            yield made
        finally:
            await made.messages.pool.close()
            await made.messages.stop_queues()
    assert not made.notes.deaths
    assert not [line for line in made.lines if "task.died" in line]


def tasks() -> Counter[str]:
    """The names of what runs, as far as a task of the test's own has none."""
    return Counter(
        task.get_name() if not task.get_name().startswith("Task-") else repr(task.get_coro())
        for task in asyncio.all_tasks()
        if not task.done() and task is not asyncio.current_task()
    )


async def until(condition: Callable[[], object]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # no part says when it is
            await asyncio.sleep(0.005)


async def listens(url: str) -> int:
    """Read events until the connection ends; how many bytes came."""
    size = 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(None)) as session:
        try:
            async with session.get(url) as answered:
                async for piece in answered.content.iter_any():
                    size += len(piece)
        except aiohttp.ClientError:
            pass
    return size


def run(test: Coroutine[None, None, None]) -> None:
    """In a loop as the server's, which keeps nothing of a timer that was cancelled."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test)


class Life:
    """One desk, from the calls and schedules that those before it have left."""

    def __init__(self, one: Node, application: FakeDestination, number: int) -> None:
        self.one = one
        self.application = application
        self.number = number
        self.first, self.desk = one.make()

    async def work(self, calls: list[str]) -> asyncio.Future[int]:
        """All runs are under way, one call and one schedule more than before; returns who reads
        events."""
        one, desk, count = self.one, self.desk, self.number + 1
        call = WireCall(endpoint=f"http://{self.application.authority}", function="f")
        body = DispatchRequest(calls=[call]).SerializeToString()
        told = await one.api(desk, "POST", DISPATCH, data=body, headers=PROTO)
        calls += DispatchResponse.FromString(told).dispatch_ids
        plan = {"cron": "0 0 1 1 *", "call": {"endpoint": "http://127.0.0.1:9", "function": "g"}}
        await one.api(desk, "PUT", f"/v1/schedules/s{self.number}", json=plan)
        host, port = desk.api.bound[0]
        reading = asyncio.ensure_future(listens(f"http://{host}:{port}/v1/events"))
        await until(lambda: desk.in_flight == count)
        sent = sum(range(1, count + 1))  # each makes the runs of those before it anew
        await until(lambda: len(self.application.requests) == sent)
        assert b"dispatcher_workers" in await one.api(desk, "GET", "/metrics")
        shown = await one.api(desk, "GET", "/v1/schedules")
        assert shown.count(b'"cron"') == count
        for call_id in calls:
            assert b'"running"' in await one.api(desk, "GET", f"/v1/calls/{call_id}")
        return reading

    async def end(self, error: Exception | None) -> None:
        """It is lost, or handed over where there is no error."""
        one, first, desk = self.one, self.first, self.desk
        if error is None:
            assert not await desk.drain(0.1)
            await first.drain(0.1)
        else:
            losses = len(one.lost)
            one.epoch += 1
            await one.logs.lose("transaction", error, one.epoch)
            await until(lambda: len(one.lost) > losses)
            one.abandon(first, desk)
            assert not one.messages.pool.in_flight
        await one.stop(first, desk)
        one.messages.pool.abandon_all_of(first.settling)


@pytest.mark.parametrize("keeps", ["files", "memory", "streams"])
@pytest.mark.parametrize("error", [LogFenced("another"), LogUnknown("nobody answers"), None])
def test_desk_is_lost_and_made_again_and_nothing_of_it_stays(
    tmp_path: Path, keeps: str, error: Exception | None
) -> None:
    """With runs under way, a schedule and a reader of events: the next desk has the calls and the
    schedules, the runs are made again, and of the former one no task and no object is left. The
    same where it is handed over."""

    async def test() -> None:
        logs = Logs(keeps, tmp_path / "desk")
        application = FakeDestination(default=[Wait(600)])
        async with application, node(tmp_path, logs) as one:
            before = tasks()
            calls: list[str] = []
            for number in range(LIVES):
                life = Life(one, application, number)
                await one.open(life.first, life.desk)
                reading = await life.work(calls)
                await life.end(error)
                assert await asyncio.wait_for(reading, 10) > 0
                await until(lambda: tasks() == before)
                gone: list[weakref.ref[object]] = [weakref.ref(life.desk), weakref.ref(life.first)]
                gone.append(weakref.ref(life.desk.functions))
                del life
                gc.collect()
                assert [ref() for ref in gone] == [None, None, None]

    run(test())


def test_desk_that_could_not_be_opened_leaves_nothing(tmp_path: Path) -> None:
    """Where a log of it is another owner's by then; the next one has all there is."""

    async def test() -> None:
        logs = Logs("memory", tmp_path / "desk")
        async with node(tmp_path, logs) as one:
            before = tasks()
            first, desk = one.make()
            await logs.log("results").open("another", 7)
            await desk.listen()
            await first.open("test", 1)
            with pytest.raises(LogFenced):
                await desk.open("test", 1)
            desk.abandon()
            await one.stop(first, desk)
            await until(lambda: tasks() == before)
            gone: list[weakref.ref[object]] = [weakref.ref(desk), weakref.ref(first)]
            del desk, first
            gc.collect()
            assert [ref() for ref in gone] == [None, None]
            one.epoch = 7
            first, desk = one.make()
            await one.open(first, desk)
            assert b"items" in await one.api(desk, "GET", "/v1/schedules")
            await one.stop(first, desk)

    run(test())
