"""One of several processes of a server dies or hangs under load: what was answered 202 is
delivered, callers of the other process notice nothing, and the process is back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from dispatcher.testing.many import ManyProcesses
from dispatcher.testing.process import ServerProcess
from tests.crash.load import Account, Destination, Load, delivered, read_answer, request_of, until
from tests.effort import thorough

pytestmark = pytest.mark.crash


@contextlib.asynccontextmanager
async def ready(
    directory: Path, processes: int = 2, timings: Mapping[str, float] | None = None
) -> AsyncIterator[ManyProcesses]:
    """A server of several processes. Destinations are on this loop: nothing here holds it up."""
    server = ManyProcesses(
        directory,
        processes,
        timings=timings,
        RETRY_DELAY="60",
        RETRY_MAX_DELAY="400",
        RETRYLIMIT="1000",
        WORKER="16",
    )
    try:
        await asyncio.to_thread(server.event, "server.ready")
        yield server
    finally:
        await asyncio.to_thread(server.kill)


async def times_ready(server: ManyProcesses, process: int, times: int) -> None:
    """Wait until a process was ready so many times."""
    await until(lambda: len(server.of("process.ready", process)) >= times)


class Caller:
    """A caller that keeps its connection."""

    def __init__(self, account: Account, origin: str) -> None:
        self._account = account
        self._origin = origin

    async def connect(self, server: ServerProcess) -> None:
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection(*server.listen)

    async def send(self) -> bool:
        """Send a message; say whether there was an answer: there is none where the connection is
        lost, and then it was accepted or not."""
        target = self._account.begin(100)
        try:
            self.writer.write(request_of(self._origin, target, self._account.body(target)))
            answer = await read_answer(self.reader)
        except (OSError, asyncio.IncompleteReadError):
            return False
        self._account.note(target, answer)
        return answer.status == 202

    def close(self) -> None:
        """Close the connection."""
        self.writer.transport.abort()


async def connected(
    server: ServerProcess, account: Account, origin: str, stack: contextlib.AsyncExitStack
) -> list[Caller]:
    """Callers on connections of their own, enough for both processes."""
    callers = [Caller(account, origin) for _ in range(24)]
    for caller in callers:
        await caller.connect(server)
        stack.callback(caller.close)
        assert await caller.send()
    return callers


async def test_process_that_is_killed_takes_no_202_and_no_other_caller_with_it(
    tmp_path: Path,
) -> None:
    """Its callers see their connections end, the others' messages are accepted all the while, and
    it takes its share again."""
    account = Account()
    async with contextlib.AsyncExitStack() as stack:
        destination = await stack.enter_async_context(Destination(account))
        server = await stack.enter_async_context(ready(tmp_path))
        callers = await connected(server, account, destination.origin, stack)
        await stack.enter_async_context(Load(account, server.listen, [destination], most=3000))
        for _ in range(20):
            for caller in callers:
                assert await caller.send()
        os.kill(server.pid_of(1), signal.SIGKILL)
        await times_ready(server, 1, 2)
        alive = [caller for caller in callers if await caller.send()]
        assert 0 < len(alive) < len(callers), "all of them had one process"
        for _ in range(20):
            for caller in alive:
                assert await caller.send()
        account.check(await delivered(account, [destination]))
        assert server.of("process.ended", 0) == []


async def test_messages_of_a_process_that_is_killed_are_delivered_by_the_next_one(
    tmp_path: Path,
) -> None:
    """They lie in its partition, which nobody else has; and it is the one with the API too."""
    account = Account()
    async with contextlib.AsyncExitStack() as stack:
        destination = await stack.enter_async_context(Destination(account))
        await destination.stop()
        server = await stack.enter_async_context(ready(tmp_path))
        callers = await connected(server, account, destination.origin, stack)
        for number in (0, 1):
            os.kill(server.pid_of(number), signal.SIGKILL)
            await times_ready(server, number, 2)
        assert not [caller for caller in callers if await caller.send()]
        await destination.start()
        account.check(await delivered(account, [destination]), every=False)
        assert len(account.accepted) == len(callers)


async def test_process_is_ready_again_within_3_seconds_of_its_death(tmp_path: Path) -> None:
    """Or, on a machine that takes longer for that, not much longer than a first start took."""
    async with ready(tmp_path) as server:
        first_s = server.event("server.ready")["took_ms"] / 1000
        died_s = time.monotonic()
        os.kill(server.pid_of(1), signal.SIGKILL)
        await times_ready(server, 1, 2)
        assert time.monotonic() - died_s < max(3, 3 * first_s)
        (ended,) = server.of("process.ended", 1)
        assert ended["restart_in_ms"] == 100


async def test_process_that_stands_still_is_replaced_and_loses_nothing(tmp_path: Path) -> None:
    """It is killed, which its callers see by the end of their connections; the other one takes
    messages all the while, and what lies in the partition of the first is delivered."""
    account = Account()
    patience = {"silence_s": 4.0, "abort_s": 0.2}
    async with contextlib.AsyncExitStack() as stack:
        destination = await stack.enter_async_context(Destination(account))
        server = await stack.enter_async_context(ready(tmp_path, timings=patience))
        callers = await connected(server, account, destination.origin, stack)
        of = [int(message_id[:4], 16) for message_id in account.accepted.values()]
        assert set(of) == {0, 1}, "all of them had one process"
        stopped = [caller for caller, process in zip(callers, of, strict=True) if process]
        others = [caller for caller, process in zip(callers, of, strict=True) if not process]
        os.kill(server.pid_of(1), signal.SIGSTOP)
        waiting = [asyncio.ensure_future(caller.send()) for caller in stopped]
        async with asyncio.timeout(60):
            while not server.of("process.hung", 1):
                for caller in others:
                    assert await caller.send()
                await asyncio.sleep(0.05)
        assert await asyncio.gather(*waiting) == [False] * len(stopped)
        await times_ready(server, 1, 2)
        for caller in others:
            assert await caller.send()
        assert [line["signal"] for line in server.of("process.hung", 1)] == ["SIGABRT", "SIGKILL"]
        assert server.of("process.hung", 0) == []
        await connected(server, account, destination.origin, stack)
        account.check(await delivered(account, [destination]))


async def test_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    """Both drain, the server ends with 0, and the next one delivers what was left."""
    account = Account()
    async with contextlib.AsyncExitStack() as stack:
        destination = await stack.enter_async_context(Destination(account))
        server = await stack.enter_async_context(ready(tmp_path))
        async with Load(account, server.listen, [destination], most=2000):
            await until(lambda: len(account.accepted) >= 200)
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait) == 0
        assert server.torn == []
        assert server.stderr == ""
        await stack.enter_async_context(ready(tmp_path))
        account.check(await delivered(account, [destination]))


async def test_processes_end_when_the_parent_is_killed_and_the_next_server_goes_on(
    tmp_path: Path,
) -> None:
    """They drain; their logs are free then."""
    account = Account()
    async with contextlib.AsyncExitStack() as stack:
        destination = await stack.enter_async_context(Destination(account))
        server = await stack.enter_async_context(ready(tmp_path))
        async with Load(account, server.listen, [destination], most=2000):
            await until(lambda: len(account.accepted) >= 200)
            os.kill(server.pid, signal.SIGKILL)
            assert await asyncio.to_thread(server.wait) == -signal.SIGKILL
        stopped = {line["process"]: line["exit_code"] for line in server.events("process.stopped")}
        assert stopped == {0: 0, 1: 0}
        await stack.enter_async_context(ready(tmp_path))
        account.check(await delivered(account, [destination]))


@thorough
async def test_number_of_processes_may_change_from_start_to_start(tmp_path: Path) -> None:
    """Messages of processes that there are no more are delivered by those that there are."""
    account = Account()
    async with contextlib.AsyncExitStack() as stack:
        destination = await stack.enter_async_context(Destination(account))
        await destination.stop()
        for processes in (3, 2, 1):
            async with ready(tmp_path, processes) as server, contextlib.AsyncExitStack() as callers:
                await connected(server, account, destination.origin, callers)
                server.signal(signal.SIGTERM)
                assert await asyncio.to_thread(server.wait) == 0
        await stack.enter_async_context(ready(tmp_path))
        await destination.start()
        account.check(await delivered(account, [destination]), every=False)
        assert len(account.accepted) == 3 * 24


async def test_key_means_the_same_in_all_processes(tmp_path: Path) -> None:
    """Whichever of them takes the connection of a caller who repeats a message."""
    async with contextlib.AsyncExitStack() as stack:
        account = Account()
        destination = await stack.enter_async_context(Destination(account))
        server = await stack.enter_async_context(ready(tmp_path))
        request = (
            f"POST / HTTP/1.1\r\nHost: dispatcher\r\nContent-Length: 0\r\n"
            f"X-Dispatcher-Origin-Host: {destination.origin}\r\n"
            f"X-Dispatcher-Idempotency-Key: once\r\n\r\n"
        )
        ids = set()
        for _ in range(24):
            reader, writer = await asyncio.open_connection(*server.listen)
            stack.callback(writer.transport.abort)
            writer.write(request.encode())
            answer = await read_answer(reader)
            assert answer.status == 202
            ids.add(answer.id)
        assert len(ids) == 1
