"""A server whose number of partitions changes from start to start: nothing is lost, keys go on
meeting, and what is of no use any more goes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from dispatcher.cli import log_report
from dispatcher.core.placing import partition_of
from dispatcher.errors import ConfigError, LogCorrupt
from dispatcher.node.backup.restoring import restore
from dispatcher.node.layout import NAME, Former, Layout, lay_out, read_layout
from dispatcher.node.preparing import prepare
from dispatcher.protocol.messages import (
    Call,
    CallResult,
    DispatchRequest,
    DispatchResponse,
    Exit,
    RunResponse,
)
from dispatcher.protocol.statuses import Status
from dispatcher.settings import Settings
from dispatcher.testing.destination import FakeDestination, Wait, answer
from dispatcher.testing.piece import program_of_all
from dispatcher.testing.process import ServerProcess
from tests.integration.partitioned import Running, place_of, running, until

NOTHING: dict[str, str] = {}
PATIENT = {"RETRY_DELAY": "50ms", "RETRY_MAX_DELAY": "100ms", "RETRY_LIMIT": "1000"}


@pytest.fixture
async def moving() -> AsyncIterator[FakeDestination]:
    """A destination that has another partition for each number of them."""
    made: list[FakeDestination] = []
    while True:
        one = await FakeDestination().__aenter__()
        made.append(one)
        if partition_of(place_of(one), 3) == 2 and partition_of(place_of(one), 2) == 1:
            break
    yield one
    for each in made:
        await each.__aexit__(None, None, None)


def logs_in(directory: Path) -> dict[str, str]:
    return {
        "TRANSACTION_LOG": str(directory / "transaction.log"),
        "DEAD_LETTER": str(directory / "deadletter.log"),
    }


@asynccontextmanager
async def node(
    directory: Path, partitions: int, more: Mapping[str, str] = NOTHING, *, at_us: int | None = None
) -> AsyncIterator[Running]:
    """A node of one process, with so many partitions."""
    settings = Settings.load({**logs_in(directory), **more})
    now_us = time.time_ns() // 1000 if at_us is None else at_us
    layout, assignment = await prepare(settings, now_us, partitions=partitions)
    async with running(directory, assignment, None, layout, **more) as server:
        yield server


def partitions_in(directory: Path) -> list[str]:
    found = set(os.listdir(directory / "transaction.log"))
    assert {one for one in os.listdir(directory / "deadletter.log") if one[:1] == "p"} <= found
    return sorted(one for one in found if re.fullmatch("p[0-9]+", one))


def post(server: ServerProcess, to: FakeDestination, **options: str) -> tuple[str, bool]:
    """Send a message; its id, and whether it is a duplicate."""
    connection = http.client.HTTPConnection(*server.listen, timeout=60)
    headers = {f"X-Dispatcher-{name.replace('_', '-')}": value for name, value in options.items()}
    connection.request("POST", "/", b"x", {"X-Dispatcher-Origin-Host": to.authority, **headers})
    answered = connection.getresponse()
    assert answered.status == 202, answered.read()
    connection.close()
    found = answered.headers["X-Dispatcher-Message-Id"]
    return found, "X-Dispatcher-Duplicate" in answered.headers


def came_to(destination: FakeDestination) -> list[str]:
    """The ids of messages, in the order in which they came first."""
    every = (one.headers["x-dispatcher-message-id"] for one in destination.requests)
    return list(dict.fromkeys(every))


async def test_nothing_is_lost_and_keys_meet_when_a_server_is_killed_and_has_other_partitions_then(
    tmp_path: Path, moving: FakeDestination
) -> None:
    """One, three, two, one: messages of an order key follow those that lie in a partition of
    before, those of a new key lie in the partition of its time, and an idempotency key stands for
    its message wherever that is."""
    moving.default = answer(503)
    ids: dict[str, list[str]] = {}
    once: dict[str, str] = {}
    for partitions in (1, 3, 2, 1):
        program, before = program_of_all(partitions), len(moving.requests)
        with ServerProcess(tmp_path, (), 120.0, program, **logs_in(tmp_path), **PATIENT) as server:
            for key, first in once.items():
                assert post(server, moving, Idempotency_Key=key) == (first, True)
            key = f"of{partitions}"
            for other in (*ids, key):
                for _ in range(2):
                    found, _ = post(server, moving, Order_Key=other)
                    ids.setdefault(other, []).append(found)
            once[key], _ = post(server, moving, Idempotency_Key=key)
            await moving.received(before + 1)
            server.kill()
            server.wait()
    assert {key: {one[:4] for one in found} for key, found in ids.items()} == {
        "of1": {"0000"},
        "of3": {"0002"},
        "of2": {"0001"},
    }
    await moving.disconnect()
    moving.requests.clear()
    moving.default = answer(200)
    with ServerProcess(tmp_path, (), 120.0, program, **logs_in(tmp_path), **PATIENT):
        every = [*(one for found in ids.values() for one in found), *once.values()]
        while len(came := came_to(moving)) < len(every):  # some may come twice
            await moving.received(len(moving.requests) + 1, timeout_s=120)
    assert sorted(came) == sorted(every)
    for of_key in ids.values():
        assert [one for one in came if one in of_key] == of_key


async def test_dead_letters_of_every_number_of_partitions_are_there_and_come_back(
    tmp_path: Path, moving: FakeDestination
) -> None:
    """In whichever partition they died."""
    moving.default = answer(404)
    ids: list[str] = []
    for partitions in (1, 3, 2, 1):
        async with node(tmp_path, partitions) as server:
            ids.append(await server.post(moving, key=f"k{partitions}"))
            await server.dead(len(ids))
    async with node(tmp_path, 1) as server:
        letters = await server.api("/v1/dead-letters")
        assert sorted(one["id"] for one in letters["items"]) == sorted(ids)
        assert [one[:4] for one in ids] == ["0000", "0002", "0001", "0000"]
        moving.requests.clear()
        moving.default = answer(200)
        assert (await server.api("/v1/dead-letters/redrive", {"all": True}))["redriven"] == 4
        await moving.received(4)
        await server.dead(0)


async def test_surplus_partition_is_removed_at_a_start_when_it_is_empty_and_never_before(
    tmp_path: Path, moving: FakeDestination
) -> None:
    """Neither with a message that waits, nor with a dead letter, nor with a key in its window."""
    moving.default = answer(404)
    window = {**PATIENT, "IDEMPOTENCY_WINDOW": "1h"}
    async with node(tmp_path, 3, window) as server:
        await server.post(moving, key="k")
        await server.dead(1)
    assert partitions_in(tmp_path) == ["p1", "p2"]
    async with node(tmp_path, 1, window) as server:
        assert partitions_in(tmp_path) == ["p2"], "there is a dead letter"
        moving.default = [Wait(600)]
        await server.api("/v1/dead-letters/redrive", {"all": True})
        await server.dead(0)
    async with node(tmp_path, 1, window) as server:
        assert partitions_in(tmp_path) == ["p2"], "a message waits"
        moving.default = answer(200)
        await moving.disconnect()
        await until(server.is_idle)
        assert (await server.ask(moving, idempotency_key="i")).status == 202
        await until(server.is_idle)
    (former,) = read_layout(tmp_path / "transaction.log").former
    assert former.spread == 3
    async with node(tmp_path, 1, window) as server:
        assert partitions_in(tmp_path) == []
        assert (await server.ask(moving, idempotency_key="i")).headers["X-Dispatcher-Duplicate"]
    assert read_layout(tmp_path / "transaction.log") == Layout(1), "there is nobody to ask"


async def test_surplus_partition_with_a_key_in_its_window_stays(
    tmp_path: Path, moving: FakeDestination
) -> None:
    """Until it is over: then another message may have the key."""
    async with node(tmp_path, 3) as server:
        first = (await server.ask(moving, idempotency_key="i")).headers["X-Dispatcher-Message-Id"]
        await until(server.is_idle)
    async with node(tmp_path, 1) as server:
        assert partitions_in(tmp_path) == ["p2"]
        again = await server.ask(moving, idempotency_key="i")
        assert again.headers["X-Dispatcher-Message-Id"] == first
    async with node(tmp_path, 1, {"IDEMPOTENCY_WINDOW": "1ms"}) as server:
        assert partitions_in(tmp_path) == []


async def test_surplus_partition_stays_where_there_are_files_of_somebody_else(
    tmp_path: Path,
) -> None:
    """The copy that a repair has made, say."""
    async with node(tmp_path, 2):
        pass
    copy = tmp_path / "transaction.log" / "p1" / "copy.seg.torn"
    copy.write_bytes(b"x")
    async with node(tmp_path, 1):
        assert copy.read_bytes() == b"x"
    copy.unlink()
    for directory in ("transaction.log", "deadletter.log"):  # what a crash has left
        (tmp_path / directory / "gone-p7").mkdir()
        (tmp_path / directory / "gone-p7" / "1.seg").write_bytes(b"")
    async with node(tmp_path, 1):
        assert partitions_in(tmp_path) == []
        assert not [one for one in os.listdir(tmp_path / "transaction.log") if "gone" in one]


async def test_partition_that_is_made_again_after_it_was_removed_is_a_new_one(
    tmp_path: Path, moving: FakeDestination
) -> None:
    """Also where only one of its logs was removed before a crash."""
    async with node(tmp_path, 3) as server:
        await server.post(moving, key="k")
        await until(server.is_idle)
    (tmp_path / "deadletter.log" / "p2").rename(tmp_path / "deadletter.log" / "gone-p2")
    async with node(tmp_path, 1):
        assert partitions_in(tmp_path) == []
    async with node(tmp_path, 3) as server:
        assert (await server.post(moving, key="k"))[:4] == "0002"
        await moving.received(2)


async def test_former_number_is_forgotten_when_nothing_of_it_is_left(
    tmp_path: Path, moving: FakeDestination
) -> None:
    """Not before the longest window is over, and while nothing waits where it put it."""
    moving.default = answer(503)
    async with node(tmp_path, 1, PATIENT) as server:
        await server.post(moving, key="k")
    log = tmp_path / "transaction.log"
    async with node(tmp_path, 3, {**PATIENT, "IDEMPOTENCY_WINDOW": "100d"}, at_us=1) as server:
        messages = server.server.messages
        assert messages.meeting is not None
        assert messages.former is not None
        await messages.former.look()
        assert list(messages.meeting.former) == [1], "a message waits in a partition of before"
        await moving.disconnect()
        moving.default = answer(200)
        await until(server.is_idle)
        await messages.former.look()
        assert not messages.meeting.former
        assert read_layout(log) == Layout(3)
    await moving.disconnect()
    moving.default = answer(503)
    now_us = time.time_ns() // 1000
    async with node(tmp_path, 2, PATIENT, at_us=now_us) as server:
        messages = server.server.messages
        assert messages.former is not None
        await messages.former.look()
        assert read_layout(log) == Layout(2, (Former(3, now_us),)), "its window is not over"


async def test_several_logs_without_the_file_are_opened_by_the_server_itself(
    tmp_path: Path, moving: FakeDestination
) -> None:
    """`dispatcher serve` delivers what is in all of them, and has one partition from then on."""
    moving.default = answer(503)
    async with node(tmp_path, 3, PATIENT) as server:
        ids = [await server.post(moving, key="k"), await server.post(moving)]
    (tmp_path / "transaction.log" / NAME).unlink()
    await moving.disconnect()
    moving.requests.clear()
    moving.default = answer(200)
    with ServerProcess(tmp_path, **logs_in(tmp_path), **PATIENT):
        while len(came_to(moving)) < len(ids):
            await moving.received(len(moving.requests) + 1, timeout_s=120)
    assert sorted(came_to(moving)) == sorted(ids)
    (former,) = read_layout(tmp_path / "transaction.log").former
    assert former.spread == 3


async def test_backup_has_the_layout_and_partitions_with_any_numbers(
    tmp_path: Path, moving: FakeDestination
) -> None:
    """What is restored is found where its keys lie."""
    moving.default = answer(404)
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    async with node(tmp_path, 3) as server:
        first = await server.post(moving, key="k")
        await server.dead(1)
    async with node(tmp_path, 1) as server:
        assert partitions_in(tmp_path) == ["p2"]
        await server.api("/v1/backup", {"directory": str(backup)})

        async def is_made() -> bool:
            said = await server.api("/v1/backup")
            assert said["state"] in ("running", "made"), said
            return bool(said["state"] == "made")

        await until(is_made)
    layout = read_layout(tmp_path / "transaction.log")
    assert len(layout.former) == 1
    restored.mkdir()
    places = (restored / "transaction.log", restored / "deadletter.log")
    await asyncio.to_thread(restore, backup, *places, told=lambda *_: None)
    assert read_layout(places[0]) == layout
    with pytest.raises(ConfigError, match="something already"):
        await asyncio.to_thread(restore, backup, *places, told=lambda *_: None)
    async with node(restored, 1) as server:
        letters = await server.api("/v1/dead-letters")
        assert [one["id"] for one in letters["items"]] == [first]


async def test_log_verify_reads_the_layout_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its damage is one of the log."""
    async with node(tmp_path, 2):
        pass
    log = tmp_path / "transaction.log"
    monkeypatch.setenv("TRANSACTION_LOG", str(log))
    assert log_report.verify(None) == 0
    assert f"{log / NAME}: intact, 2 partitions" in capsys.readouterr().out
    assert log_report.verify(None, as_json=True) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["file"], told["intact"], told["spread"]) == (str(log / NAME), True, 2)
    (log / NAME).write_text("{")
    assert log_report.verify(None) == LogCorrupt.exit_code
    assert str(log / NAME) in capsys.readouterr().out
    with pytest.raises(LogCorrupt):
        await prepare(Settings.load(logs_in(tmp_path)), 0)


async def test_former_number_is_forgotten_by_all_processes_when_nothing_of_it_is_left_in_any(
    tmp_path: Path, moving: FakeDestination
) -> None:
    """The first one asks the others, and tells them; while one is away it is not forgotten."""
    moving.default = answer(503)
    async with node(tmp_path, 2, PATIENT) as server:
        assert (await server.post(moving, key="k"))[:4] == "0001"
    settings = Settings.load({**logs_in(tmp_path), **PATIENT})
    layout, every = lay_out(settings, 3, 1)
    more = {**PATIENT, "IDEMPOTENCY_WINDOW": "1ms"}
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                running(tmp_path, layout.assignment(number, every), None, layout, **more)
            )
            for number in range(3)
        ]
        all_messages = [one.server.messages for one in servers]
        for one in all_messages[1:]:
            assert one.neighbours is not None
            await one.neighbours.links.to(0).connected(60)
        former, meeting = all_messages[0].former, all_messages[1].meeting
        assert former is not None
        assert meeting is not None
        await former.look()
        assert list(meeting.former) == [2], "a message waits in a partition of before"
        await moving.disconnect()
        moving.default = answer(200)
        await until(servers[1].is_idle)
        await former.look()

        async def is_forgotten() -> bool:
            return not meeting.former

        await until(is_forgotten)
        assert read_layout(settings.transaction_log) == Layout(3)


async def test_calls_that_wait_run_whatever_the_number_of_partitions(tmp_path: Path) -> None:
    """They are kept in the first one, which there always is."""
    asked = Call(function="work")
    done = RunResponse(status=Status.OK, exit=Exit(result=CallResult()))
    settings = {"CALL_RETRY_DELAY": "50ms", "CALL_RETRY_MAX_DELAY": "100ms"}
    async with FakeDestination(default=answer(503)) as application:
        asked.endpoint = f"http://{application.authority}"
        ids: list[str] = []
        for partitions in (1, 3, 2, 1):
            async with node(tmp_path, partitions, settings) as server:
                url = (
                    f"http://{server.ready['api_listen']}/dispatch.sdk.v1.DispatchService/Dispatch"
                )
                body = DispatchRequest(calls=[asked]).SerializeToString()
                headers = {"Content-Type": "application/proto"}
                async with server.session.post(url, data=body, headers=headers) as answered:
                    ids += DispatchResponse.FromString(await answered.read()).dispatch_ids
                await application.received(len(application.requests) + 1)
        await application.disconnect()
        application.default = answer(
            200, done.SerializeToString(), ("Content-Type", "application/proto")
        )
        async with node(tmp_path, 1, settings) as server:
            for one in ids:
                found = await server.api(f"/v1/calls/{one}/result?wait=60s")
                assert found["id"] == one


async def test_one_partition_is_not_routed_to(tmp_path: Path) -> None:
    """What callers send goes to it as it comes, and nobody is asked for keys."""
    async with node(tmp_path, 1) as server:
        messages = server.server.messages
        assert messages.acceptor is messages.first.intake
        assert messages.meeting is None
