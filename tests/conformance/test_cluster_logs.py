"""A node that joins a cluster of NATS servers, and the logs that it has there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.cluster.nats_store import BUCKET
from dispatcher.errors import ConfigError, LogCorrupt, LogFenced
from dispatcher.node.clustering.config import ClusterConfig
from dispatcher.node.clustering.joining import Joined, join
from dispatcher.node.clustering.streams import Streams
from dispatcher.queue.ports import LogName
from dispatcher.settings import Address
from dispatcher.testing.nats import NatsServers, servers
from dispatcher.testing.ports import KeptPort
from dispatcher.txlog import each
from dispatcher.txlog.nats.access import Access
from dispatcher.txlog.nats.link import Silence
from tests.conformance.conftest import Run

_STREAMS = ("dispatcher-3", "dispatcher-3-dead", "dispatcher-results", "dispatcher-audit", BUCKET)


def config_of(run: NatsServers) -> ClusterConfig:
    """A node's, with these servers."""
    return ClusterConfig(
        servers=run.urls,
        access=Access(),
        monitoring=[f"http://127.0.0.1:{one.monitoring_port}" for one in run.servers],
        partitions=4,
        node="a",
        listen=Address("127.0.0.1", 0),
        advertise="127.0.0.1:8082",
        key=b"0123456789abcdef",
        quota_bytes=32 << 20,
        replicas=run.replicas,
    )


@pytest.fixture
async def joined(run_servers: Run) -> AsyncIterator[Joined]:
    """A node that is connected; what it stores is removed in the end."""
    found = await join(config_of(run_servers(1)), print)
    yield found
    for name in _STREAMS:
        with suppress(Silence):
            await found.link.request(f"$JS.API.STREAM.DELETE.{name}", timeout_s=5)
    await found.link.close()


@pytest.fixture
def logs(joined: Joined, directory: Path) -> Streams:
    """Its logs."""
    return Streams(
        joined.link, directory, quota_bytes=32 << 20, replicas=1, audit_max_bytes=4 << 20
    )


async def test_joining_waits_until_the_servers_are_there(directory: Path) -> None:
    """It says what it waits for; when it returns the bucket can be written."""
    run = servers(directory)
    told = list[str]()
    joining = asyncio.ensure_future(join(config_of(run), told.append))
    async with asyncio.timeout(60):
        while not told:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    run.start()
    try:
        async with asyncio.timeout(60):
            found = await joining
        assert await found.store.put("p.0", b"x", after=0) > 0
        assert not found.unheard
        await found.link.close()
    finally:
        run.stop()
    assert "no NATS server answers" in told[0]


async def test_servers_that_cannot_keep_logs_are_not_joined(
    directory: Path, run_servers: Run
) -> None:
    """Nothing is made there, and the connection is closed."""
    lazy = servers(directory, sync="1m")
    lazy.start()
    before = asyncio.all_tasks()
    try:
        with pytest.raises(ConfigError, match="sync_interval: always"):
            await join(config_of(lazy), print)
        few = replace(config_of(run_servers(1)), replicas=3)
        with pytest.raises(ConfigError, match="3 are needed"):
            await join(few, print)
    finally:
        lazy.stop()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_server_that_does_not_say_how_it_is_configured_is_named(run_servers: Run) -> None:
    """A machine that is away keeps the others from nothing."""
    config = config_of(run_servers(3))
    with KeptPort() as nobody:
        away = f"http://127.0.0.1:{nobody.number}"
        found = await join(replace(config, monitoring=[*config.monitoring[:2], away]), print)
    assert found.unheard == [away]
    with suppress(Silence):
        await found.link.request(f"$JS.API.STREAM.DELETE.{BUCKET}", timeout_s=5)
    await found.link.close()


async def test_logs_of_a_partition_are_found_by_its_next_owner(logs: Streams) -> None:
    """With all that was acknowledged, and who had them before stores nothing more."""
    mine = logs.of(3, {})
    assert mine.names[LogName.TRANSACTION] == "stream dispatcher-3"
    assert mine.names[LogName.DEAD_LETTER] == "stream dispatcher-3-dead"
    for log in (mine.log, mine.dead_log):
        await log.open("a", 1)
    await mine.log.append([b"pending"])
    await mine.dead_log.append([b"dead"])
    ends = {"transaction": mine.log.bounds().end, "dead_letter": mine.dead_log.bounds().end}
    theirs = logs.of(3, ends)
    found = list[bytes]()
    for log in (theirs.dead_log, theirs.log):
        await log.open("b", 2, each(lambda _, payload: found.append(payload)))
    assert found == [b"dead", b"pending"]
    with pytest.raises(LogFenced):
        await mine.log.append([b"late"])
    for log in (mine.log, mine.dead_log, theirs.log, theirs.dead_log):
        await log.close()


@pytest.mark.parametrize("which", ["transaction", "dead_letter"])
async def test_log_that_ends_before_its_lease_says_is_damaged(logs: Streams, which: str) -> None:
    """Opening it fails, and the other log of the partition is opened all the same."""
    ends = {"transaction": 0, "dead_letter": 0} | {which: 9 << 20}
    mine = logs.of(3, ends)
    cut, whole = (mine.log, mine.dead_log) if which == "transaction" else (mine.dead_log, mine.log)
    with pytest.raises(LogCorrupt):
        await cut.open("a", 1)
    await whole.open("a", 1)
    await whole.close()


async def test_logs_of_the_desk_are_streams_of_their_own(logs: Streams) -> None:
    """Each time the desk is made they are made anew, and what an earlier one reached is known."""
    desk = logs.desk({})
    results, audit = desk.make_results(), desk.make_audit()
    assert desk.has_results
    assert desk.has_audit
    await results.open("a", 1)
    await audit.open("a", 1)
    await results.append([b"result"])
    await audit.append([b"entry"])
    end = audit.bounds().end
    await results.close()
    await audit.close()
    found = list[bytes]()
    for log in (logs.desk({}).make_results(), logs.desk({"audit": end}).make_audit()):
        await log.open("b", 2, each(lambda _, payload: found.append(payload)))
        await log.close()
    assert found == [b"result", b"entry"]
    beyond = logs.desk({"audit": end + (9 << 20)})
    with pytest.raises(LogCorrupt):
        await beyond.make_audit().open("c", 3)


async def _without_a_bucket(joined: Joined) -> None:
    await joined.link.request(f"$JS.API.STREAM.DELETE.{BUCKET}", timeout_s=60)


async def test_bucket_that_is_made_anew_gives_epochs_above_those_of_all_logs(
    joined: Joined, logs: Streams, run_servers: Run
) -> None:
    """So owners who have lost it are not refused by their logs. Who joins later finds the same."""
    logs_of_3 = logs.of(3, {})
    await logs_of_3.log.open("a", 700)
    await logs_of_3.dead_log.open("a", 500)
    await logs_of_3.log.close()
    await logs_of_3.dead_log.close()
    await _without_a_bucket(joined)
    for revision in (701, 702):
        again = await join(config_of(run_servers(1)), print)
        try:
            assert await again.store.put(f"p.{revision}", b"", after=0) == revision
        finally:
            await again.link.close()


async def test_number_of_partitions_is_that_of_the_streams_where_the_bucket_is_gone(
    joined: Joined, logs: Streams, run_servers: Run
) -> None:
    """Nothing else knows it, and with another one messages would not be delivered."""
    log = logs.of(3, {}).log
    await log.open("a", 1)
    await log.close()
    await _without_a_bucket(joined)
    with pytest.raises(ConfigError, match="PARTITIONS=3: expected 4: the bucket"):
        await join(replace(config_of(run_servers(1)), partitions=3), print)
