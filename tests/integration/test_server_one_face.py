"""Two servers that are the processes of one node: the API of the first one speaks for both."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from dispatcher.core.rate import Rate
from dispatcher.core.rules.notify import Below, Format, Kind, Notify
from dispatcher.core.rules.rule import Secret
from dispatcher.core.rules.table import Rules
from dispatcher.node.assignment import Assignment
from dispatcher.node.backup.restoring import restore
from dispatcher.node.layout import Former, Layout, read_layout, write_layout
from dispatcher.testing.destination import FakeDestination, answer
from tests.integration.partitioned import Running, destinations, running, until
from tests.integration.test_server_neighbours import id_of, node, part, post


async def _met(first: Running) -> None:
    """Wait until the desk knows all partitions."""

    async def is_whole() -> bool:
        return "incomplete" not in await first.api("/v1/stats")

    await until(is_whole)


async def _spread(servers: list[Running], to: FakeDestination, count: int) -> list[str]:
    """Send messages without a key to both processes, in turns; their ids."""
    return [id_of(await post(servers[turn % 2], to, b"%d" % turn)) for turn in range(count)]


async def test_lists_figures_and_metrics_are_those_of_the_node(tmp_path: Path) -> None:
    """Whichever process accepted a message: found by its id, listed, counted, and summed under the
    names and labels that one server has."""
    async with FakeDestination() as to, node(tmp_path) as servers:
        first = servers[0]
        await _met(first)
        to.script(*[answer(404)] * 6)
        ids = await _spread(servers, to, 6)
        await first.dead(6)
        assert {one[:4] for one in ids} == {"0000", "0001"}
        page = await first.api("/v1/dead-letters?limit=4")
        rest = await first.api(f"/v1/dead-letters?limit=4&cursor={page['next']}")
        assert sorted(one["id"] for one in (*page["items"], *rest["items"])) == sorted(ids)
        for one in ids:
            assert (await first.api(f"/v1/dead-letters/{one}"))["id"] == one
        stats = await first.api("/v1/stats")
        assert (stats["accepted_total"], stats["dead_total"], stats["dead"]) == (6, 6, 6)
        metrics = await first.metrics()
        assert metrics["dispatcher_messages_accepted_total"] == 6
        assert metrics["dispatcher_messages_dead_total"] == 6
        assert metrics['dispatcher_messages{state="dead"}'] == 6
        assert metrics["dispatcher_accept_seconds_count"] == 6
        assert {metrics[f'dispatcher_process_up{{process="{n}"}}'] for n in (0, 1)} == {1.0}
        assert metrics['process_cpu_seconds_total{process="1"}'] > 0
        assert "process_cpu_seconds_total" not in metrics
        overview = await first.api("/v1/overview")
        assert overview["dead"]["count"] == 6
        (problem,) = [one for one in overview["problems"] if one["slug"] == "dead_letters"]
        assert problem["count"] == 6

        async def is_remembered() -> bool:
            history = await first.api("/v1/history")
            return bool(history["series"]["dead_letters"][-1:] == [6])

        await until(is_remembered)


async def test_what_operators_do_is_done_in_every_process(tmp_path: Path) -> None:
    """Held and resumed, redriven with a rate, cancelled; events come from all of them."""
    async with FakeDestination() as to, node(tmp_path) as servers:
        first = servers[0]
        await _met(first)
        heard: list[dict[str, Any]] = []
        url = f"http://{first.ready['api_listen']}/v1/events"

        async def listen() -> None:
            async with first.session.get(url, timeout=None) as stream:
                async for line in stream.content:
                    if line.startswith(b"data: "):
                        heard.append(json.loads(line[6:]))

        listening = asyncio.create_task(listen())
        watches = [server.server.messages.queues[0].watch for server in servers]

        async def is_heard() -> bool:
            return all(watch.has_listeners for watch in watches)

        await until(is_heard)
        held = f"http://{to.authority}"
        await first.api(f"/v1/destinations/{to.authority}/hold", {})
        ids = await _spread(servers, to, 6)
        for server in servers:
            assert server.server.messages.queues[0].pauses.keys == {held.encode()}
        waiting = await first.api("/v1/messages?limit=100")
        assert sorted(one["id"] for one in waiting["items"]) == sorted(ids)
        for one in ids[:2]:
            explained = await first.api(f"/v1/messages/{one}/explain")
            assert explained["reason"] == "destination_held"
        done = await first.api("/v1/messages/cancel", {"ids": ids[:2]})
        assert done["cancelled"] == 2
        await first.api(f"/v1/destinations/{to.authority}/resume", {})
        await to.received(4)

        async def are_told() -> bool:
            return {one["id"] for one in heard} == {*ids}

        await until(are_told)
        listening.cancel()
        await first.api(f"/v1/destinations/{to.authority}/hold", {})
        last = await _spread(servers, to, 2)
        lines = (await first.api("/v1/export?state=waiting", lines=True)).splitlines()
        assert sorted(json.loads(line)["id"] for line in lines) == sorted(last)


async def test_process_with_a_new_log_sends_nothing_before_it_knows_what_is_held(
    tmp_path: Path,
) -> None:
    """The number of processes was raised: what an operator had held stays held in all of them."""
    async with FakeDestination() as to, FakeDestination() as other:
        async with running(tmp_path, Assignment()) as alone:
            await alone.api(f"/v1/destinations/{to.authority}/hold", {})
        async with running(tmp_path, part(1)) as second:
            held = id_of(await post(second, to))
            await post(second, other)
            await asyncio.sleep(0)
            async with running(tmp_path, part(0)) as first:
                await other.received(1)
                assert not to.requests
                explained = await first.api(f"/v1/messages/{held}/explain")
                assert explained["reason"] == "destination_held"
                await first.api(f"/v1/destinations/{to.authority}/resume", {})
                await to.received(1)


async def test_process_that_was_away_learns_what_was_held_and_resumed(tmp_path: Path) -> None:
    """The operator was told that it was not there."""
    async with (
        FakeDestination() as to,
        FakeDestination() as other,
        running(tmp_path, part(0)) as first,
    ):
        async with running(tmp_path, part(1)) as second:
            await _met(first)
            await first.api(f"/v1/destinations/{other.authority}/hold", {})
            id_of(await post(second, other))
        for changed in (f"{to.authority}/hold", f"{other.authority}/resume"):
            url = f"http://{first.ready['api_listen']}/v1/destinations/{changed}"
            async with first.session.post(url) as answered:
                assert answered.status == 503
        async with running(tmp_path, part(1)) as second:
            await other.received(1)
            pauses = second.server.messages.queues[0].pauses

            async def is_told() -> bool:
                return bool(pauses.keys == {f"http://{to.authority}".encode()})

            await until(is_told)


async def test_process_that_is_away_is_said_to_be_missing_and_never_unknown(
    tmp_path: Path,
) -> None:
    """Its messages are 503, lists go on; and nothing that it had counted is lost."""
    async with FakeDestination() as to, node(tmp_path) as servers:
        first, second = servers
        await _met(first)
        to.script(*[answer(404)] * 4)
        ids = await _spread(servers, to, 4)
        await first.dead(4)
        await first.metrics()
        assert (await first.api("/v1/stats"))["accepted_total"] == 4
        neighbours = second.server.messages.neighbours
        assert neighbours is not None
        await neighbours.stop()

        async def is_missing() -> bool:
            return bool((await first.api("/v1/stats")).get("incomplete") == [1])

        await until(is_missing)
        stats = await first.api("/v1/stats")
        assert (stats["accepted_total"], stats["dead"]) == (4, 2)
        page = await first.api("/v1/dead-letters")
        assert page["incomplete"] == [1]
        assert [one["id"][:4] for one in page["items"]] == ["0000", "0000"]
        url = f"http://{first.ready['api_listen']}/v1/dead-letters/{ids[1]}"
        async with first.session.get(url) as answered:
            assert answered.status == 503
            assert (await answered.json())["error"] == "moved"
            assert answered.headers["Retry-After"]
        metrics = await first.metrics()
        assert metrics["dispatcher_messages_accepted_total"] == 4
        assert metrics['dispatcher_process_up{process="1"}'] == 0
        assert metrics['dispatcher_messages{state="dead"}'] == 2
        async with first.session.get(f"http://{first.ready['api_listen']}/readyz") as answered:
            assert answered.status == 200


async def test_processes_and_their_partitions_are_shown_and_one_that_is_away_is_a_problem(
    tmp_path: Path,
) -> None:
    """Which process has what, how far its log is, and since when; what waits is named."""
    async with FakeDestination() as to, node(tmp_path) as servers:
        first, second = servers
        await _met(first)
        before = await first.api("/v1/cluster")
        await _spread(servers, to, 4)
        await to.received(4)
        found = await first.api("/v1/cluster")
        assert found["cluster"] is False
        assert [(one["number"], one["state"]) for one in found["members"]] == [
            (0, "live"),
            (1, "live"),
        ]
        assert [one["has_api"] for one in found["members"]] == [True, False]
        assert [one["partitions"] for one in found["members"]] == [[0], [1]]
        for one, earlier in zip(found["partitions"], before["partitions"], strict=True):
            assert (one["owner"], one["state"], one["epoch"]) == (one["number"], "open", None)
            assert one["position"] > earlier["position"]
            assert one["late_ms"] < 60_000
            assert one["since"] is not None
        assert _away(await first.api("/v1/overview")) == []
        neighbours = second.server.messages.neighbours
        assert neighbours is not None
        await neighbours.stop()

        async def is_away() -> bool:
            return bool(_away(await first.api("/v1/overview")))

        await until(is_away)
        (problem,) = _away(await first.api("/v1/overview"))
        assert problem["severity"] == "error"
        assert problem["message"].startswith("Process 1 has not answered for ")
        assert "until then what partition 1 has waits" in problem["message"]
        found = await first.api("/v1/cluster")
        assert [one["state"] for one in found["members"]] == ["live", "away"]
        assert [one["state"] for one in found["partitions"]] == ["open", "away"]
        assert found["members"][1]["since"] == problem["since"]
        assert found["partitions"][1]["position"] is None


def _away(overview: Any) -> list[Any]:
    return [one for one in overview["problems"] if one["slug"] == "process_away"]


async def test_node_is_ready_while_one_of_its_processes_accepts(tmp_path: Path) -> None:
    """Its own process may have a full disk; that is in the overview."""
    async with destinations(2), node(tmp_path) as servers:
        first = servers[0]
        await _met(first)
        url = f"http://{first.ready['api_listen']}/readyz"
        first.server.messages.queues[0].dead_letters.committer.full = True

        async def is_ready() -> bool:
            async with first.session.get(url) as answered:
                return answered.status == 200

        await until(is_ready)
        overview = await first.api("/v1/overview")
        assert "disk_full" in [one["slug"] for one in overview["problems"]]
        for server in servers:
            server.server.messages.queues[0].dead_letters.committer.full = True

        async def is_not() -> bool:
            return not await is_ready()

        await until(is_not)
        for server in servers:
            server.server.messages.queues[0].dead_letters.committer.full = False


async def test_dead_letters_of_every_process_are_told(tmp_path: Path) -> None:
    """Each tells its own, under the rules that both have."""
    async with FakeDestination() as to, FakeDestination() as hook, node(tmp_path) as servers:
        notify = Notify(
            on=(Kind.DEAD_LETTER,),
            url=Secret(f"http://{hook.authority}/told".encode(), "hook"),
            format=Format.JSON,
            at_most=Rate(10, 3_600_000_000),
            match=None,
            for_ms=60_000,
            below=Below("10%", part=0.1),
            headers=(),
        )
        for server in servers:
            server.server.prepare_rules(Rules(notify=[notify]))()
        to.script(*[answer(404)] * 2)
        ids = await _spread(servers, to, 2)
        await hook.received(2)
        await until(lambda: _are_whole(hook, 2))
        told = {one for one in ids for request in hook.requests if one.encode() in request.body}
        assert told == {*ids}


async def _are_whole(hook: FakeDestination, count: int) -> bool:
    return sum(bool(one.body) for one in hook.requests) == count


async def test_backup_has_the_partitions_of_every_process(tmp_path: Path) -> None:
    """Copied by the process that has them, into one directory; it is restored as one node."""
    async with FakeDestination() as to, node(tmp_path) as servers:
        first = servers[0]
        await _met(first)
        to.script(*[answer(404)] * 4)
        ids = await _spread(servers, to, 4)
        await first.dead(4)
        backup = tmp_path / "backup"
        layout = Layout(2, (Former(1, 5),))
        write_layout(tmp_path / "transaction.log", layout)
        await first.api("/v1/backup", {"directory": str(backup)})

        async def is_made() -> bool:
            said = await first.api("/v1/backup")
            assert said["state"] in ("running", "made"), said
            return bool(said["state"] == "made")

        await until(is_made)
        assert not list(backup.glob("copying-*"))
        neighbours = servers[1].server.messages.neighbours
        assert neighbours is not None
        await neighbours.stop()
        url = f"http://{first.ready['api_listen']}/v1/backup"

        async def is_refused() -> bool:
            other = str(tmp_path / "other")
            async with first.session.post(url, json={"directory": other}) as answered:
                return answered.status == 503

        await until(is_refused)
    again = tmp_path / "again"
    manifest = restore(backup, again / "transaction.log", again / "deadletter.log", told=_ignore)
    assert len(manifest.partitions) == 1
    assert read_layout(again / "transaction.log") == layout
    async with node(again) as servers:
        await _met(servers[0])
        page = await servers[0].api("/v1/dead-letters")
        assert sorted(one["id"] for one in page["items"]) == sorted(ids)


def _ignore(done: int, total: int) -> None:
    """Nobody waits."""


async def test_partitions_of_a_process_that_was_not_met_yet_are_missing(tmp_path: Path) -> None:
    """Those above the number of processes too: their messages are never unknown."""
    assignment = replace(part(0), every=(0, 1, 3))
    async with running(tmp_path, assignment) as first:
        assert (await first.api("/v1/stats"))["incomplete"] == [1, 3]
        for number in (1, 3):
            url = f"http://{first.ready['api_listen']}/v1/messages/{number:04x}{'0' * 24}"
            async with first.session.get(url) as answered:
                assert answered.status == 503
        url = f"http://{first.ready['api_listen']}/v1/destinations/a.example/hold"
        async with first.session.post(url) as answered:
            assert answered.status == 503
