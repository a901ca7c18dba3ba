"""A server of several partitions is one server for callers and operators: what the API, the metrics
and a backup say is about all of them, and a restart finds all of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatcher.api.places import decode, encode
from dispatcher.cli import log_report
from dispatcher.node.assignment import Assignment
from dispatcher.node.backup.manifest import Manifest
from dispatcher.node.backup.restoring import restore
from dispatcher.testing.destination import FakeDestination, answer
from tests.integration.partitioned import destinations, running, until

COUNT = 2


ALONE = Assignment.alone(COUNT)


@pytest.fixture
async def refusing() -> AsyncIterator[list[FakeDestination]]:
    """A destination for each partition that refuses all it gets for good."""
    async with destinations(COUNT) as found:
        for one in found:
            one.default = answer(404)
        yield found


async def test_operators_see_what_all_partitions_have_and_act_on_it(
    tmp_path: Path, refusing: list[FakeDestination]
) -> None:
    """Lists, totals, metrics and the overview count messages of every partition once; one is found
    by its id; a redrive is of all."""
    async with running(tmp_path, ALONE) as server, FakeDestination() as taking:
        ids = [await server.post(one, key="k") for one in refusing]
        assert {int(one[:4], 16) for one in ids} == {*range(COUNT)}
        await server.post(taking)
        await server.dead(COUNT)
        letters = await server.api("/v1/dead-letters")
        assert {one["id"] for one in letters["items"]} == {*ids}
        for one in ids:
            assert (await server.api(f"/v1/dead-letters/{one}"))["id"] == one
        overview = await server.api("/v1/overview")
        assert overview["dead"]["count"] == COUNT
        assert {one["id"] for one in overview["dead"]["last"]} == {*ids}

        async def is_delivered() -> bool:
            return (await server.metrics())["dispatcher_messages_delivered_total"] == 1

        await until(is_delivered)
        counted = await server.metrics()
        assert counted["dispatcher_messages_accepted_total"] == COUNT + 1
        assert counted['dispatcher_messages{state="dead"}'] == COUNT
        assert counted['dispatcher_attempts_total{outcome="http_4xx"}'] == COUNT
        assert counted["dispatcher_accept_seconds_count"] == COUNT + 1
        assert counted["dispatcher_destinations"] == COUNT + 1
        for to in refusing:
            to.default = answer(200)
        assert (await server.api("/v1/dead-letters/redrive", {"all": True}))["redriven"] == COUNT
        await server.dead(0)


async def test_messages_of_all_partitions_are_there_after_a_restart(
    tmp_path: Path, refusing: list[FakeDestination]
) -> None:
    """Their logs lie in directories of their own in those that the settings name."""
    async with running(tmp_path, ALONE) as server:
        ids = [await server.post(one, key="k") for one in refusing]
        await server.dead(COUNT)
    assert (tmp_path / "transaction.log" / "p1").is_dir()
    assert (tmp_path / "deadletter.log" / f"p{COUNT - 1}").is_dir()
    async with running(tmp_path, ALONE) as server:
        letters = await server.api("/v1/dead-letters")
        assert {one["id"] for one in letters["items"]} == {*ids}
        opened = [line["path"] for line in server.lines if line["event"] == "log.opened"]
        assert len(opened) == COUNT


async def test_backup_has_all_partitions_and_is_restored_as_it_was(
    tmp_path: Path, refusing: list[FakeDestination]
) -> None:
    """Each log is a part of it, at the same moment."""
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    async with running(tmp_path / "first", ALONE) as server:
        ids = [await server.post(one, key="k") for one in refusing]
        await server.dead(COUNT)
        await server.api("/v1/backup", {"directory": str(backup)})

        async def is_made() -> bool:
            said = await server.api("/v1/backup")
            assert said["state"] in ("running", "made"), said
            return bool(said["state"] == "made")

        await until(is_made)
    assert len(Manifest.read(backup).partitions) == COUNT - 1
    restored.mkdir()
    await asyncio.to_thread(
        restore,
        backup,
        restored / "transaction.log",
        restored / "deadletter.log",
        told=lambda *_: None,
    )
    async with running(restored, ALONE) as server:
        letters = await server.api("/v1/dead-letters")
        assert {one["id"] for one in letters["items"]} == {*ids}


async def test_log_commands_are_about_the_logs_of_all_partitions(
    tmp_path: Path,
    refusing: list[FakeDestination],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, or one document, for each; with a path it is that one only."""
    async with running(tmp_path, ALONE) as server:
        for one in refusing:
            await server.post(one, key="k")
        await server.dead(COUNT)
    first = tmp_path / "transaction.log"
    monkeypatch.setenv("TRANSACTION_LOG", str(first))
    capsys.readouterr()
    assert log_report.verify(None, as_json=True) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["log"] for one in found] == [str(first), str(first / "p1")]
    assert all(one["records"] for one in found)
    assert log_report.dump(None, payload=False, as_json=True) == 0
    frames = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["log"] for one in frames} == {str(first), str(first / "p1")}
    assert log_report.verify(first / "p1") == 0
    assert capsys.readouterr().out.count("intact") == 1


async def test_replay_sends_what_was_delivered_from_every_partition(
    tmp_path: Path, refusing: list[FakeDestination]
) -> None:
    """Once each, and what the replay itself sends is not sent again; behind the cursor of a line is
    what is left."""
    for one in refusing:
        one.default = answer(200)
    async with running(tmp_path, ALONE, EVENT_SOURCING="true") as server:
        for _ in range(2):
            for one in refusing:
                await server.post(one, key="k")

        async def are_delivered() -> bool:
            delivered = await server.metrics()
            return delivered["dispatcher_messages_delivered_total"] == 2 * COUNT

        await until(are_delivered)
        told = [
            json.loads(line)
            for line in (await server.api("/v1/replay", {"all": True}, lines=True)).splitlines()
        ]
        assert told[-1]["state"] == "done", told[-1]
        assert told[-1]["messages"] == 2 * COUNT
        assert len(told[-1]["destinations"]) == COUNT
        place = decode(told[-1]["cursor"])
        assert place.partition == COUNT - 1
        again = {"all": True, "dry_run": True, "cursor": encode(place)}
        rest = (await server.api("/v1/replay", again, lines=True)).splitlines()
        assert json.loads(rest[-1])["messages"] == 0
