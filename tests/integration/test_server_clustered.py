"""Nodes of a cluster, over logs and leases in memory: partitions come and go while they serve."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dispatcher.errors import LogUnknown
from dispatcher.node import in_cluster
from dispatcher.node.desk import Desk
from dispatcher.queue.partition import Partition
from dispatcher.testing.destination import Wait
from dispatcher.txlog.memory import MemoryLog
from tests.integration.clustered import Node, Shared, nodes, owned
from tests.integration.partitioned import destinations


async def test_node_that_stops_hands_its_partitions_over(tmp_path: Path) -> None:
    """What waits there is the other one's, and so is the API; nothing is lost. It says that it is
    not ready any more, although the other one would take what comes to it."""
    shared = Shared()
    async with destinations(4) as places, nodes(tmp_path, "one", "two", shared=shared) as both:
        leaving, staying = both if 0 in both[0].open else reversed(both)
        assert (await leaving.api("/v1/overview"))[0] == 200
        waiting = [
            await leaving.accepted(places[number], order_key="k", delay="1h")
            for number in leaving.open
            for _ in range(3)
        ]
        stopping = asyncio.ensure_future(leaving.stop())
        while leaving.open:  # noqa: ASYNC110  # what it looks at changes
            await asyncio.sleep(0)
        assert leaving.server.health().reason == "shutting_down"
        await stopping
        both.remove(leaving)
        await owned(4, staying)
        assert staying.server.pending == len(waiting)
        for name in waiting:
            await _found(staying, name)


async def test_node_that_is_cut_off_loses_its_partitions(tmp_path: Path) -> None:
    """The other one opens their logs when its leases have run out; what comes for them to the one
    before is refused from then on at the latest, and nothing is stored twice."""
    shared = Shared()
    async with destinations(4) as places, nodes(tmp_path, "one", "two", shared=shared) as both:
        away, there = both if {*both[0].open} - {0} else reversed(both)
        number = max(away.open)
        name = await away.accepted(places[number], order_key="k", delay="1h")
        away.link.is_cut = True
        async with asyncio.timeout(20):
            while len(there.open) < 4:  # noqa: ASYNC110  # what it looks at changes
                await asyncio.sleep(0.02)
        await _found(there, name)
        figures = (await there.api("/metrics"))[1]
        assert 'dispatcher_partition_owned{partition="3"} 1.0' in figures
        assert f"dispatcher_takeovers_total {there.member.takeovers_total}.0" in figures
        refused = await away.post(places[number], order_key="k")
        assert refused.status == 503
        assert number not in away.open, "its log has said so"
        assert there.server.pending == 1
        away.link.is_cut = False
        async with asyncio.timeout(20):
            while away.open:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert ("lost", number, there.name) in away.happened.told
        assert (await there.api("/readyz"))[0] == 200


async def test_caller_hears_nothing_where_a_stop_does_not_wait_for_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch may be stored, whatever becomes of the node; 503 would say that it is not."""
    monkeypatch.setattr(in_cluster, "_HAND_OVER_S", -29.5)  # of 30
    async with (
        destinations(1) as (place,),
        nodes(tmp_path, "one", shared=Shared(partitions=1)) as made,
    ):
        one = made.pop()
        log, (queue,) = one.logs.made["t0"], one.server.messages.queues
        place.script([Wait(60)])
        await one.accepted(place)
        await place.received(1)
        log.gate.clear()
        sending = asyncio.ensure_future(one.post(place))
        async with asyncio.timeout(20):
            while not queue.committer.is_appending:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await one.server.stop(30)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await sending
        log.gate.set()
        await one.member.stop()


async def test_idle_node_that_is_cut_off_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message has to find it out first; the other one is, and so is this one afterwards."""
    monkeypatch.setattr(in_cluster, "CUT_OFF_S", 2.5)
    async with nodes(tmp_path, "one", "two") as (away, there):
        away.link.is_cut = True
        status, said = await _ready(away, 503)
        assert (status, said["error"]) == (503, "log_late")
        assert (await there.api("/readyz"))[0] == 200
        away.link.is_cut = False
        await _ready(away, 200)


async def test_api_of_a_node_that_is_cut_off_does_not_say_that_something_is_not_there(
    tmp_path: Path,
) -> None:
    """The other one has accepted it since. What was there before is still shown."""
    shared = Shared()
    async with destinations(4) as places, nodes(tmp_path, "one", "two", shared=shared) as both:
        away, there = both if 0 in both[0].open else reversed(both)
        before = await away.accepted(places[0], order_key="k", delay="1h")
        away.link.is_cut = True
        async with asyncio.timeout(20):
            while len(there.open) < 4:  # noqa: ASYNC110  # what it looks at changes
                await asyncio.sleep(0.02)
        since = await there.accepted(places[0], order_key="k", delay="1h")
        assert 0 in away.open, "it does not know better"
        for path in (f"/v1/messages/{since}", f"/v1/dead-letters/{since}", "/v1/schedules/daily"):
            status, said = await away.api(path)
            assert (status, said["error"]) == (503, "moved")
        assert (await away.api(f"/v1/messages/{before}"))[0] == 200
        wanted = {"ids": [since]}
        for method, path, body in (
            ("DELETE", f"/v1/messages/{since}", None),
            ("POST", "/v1/dead-letters/redrive", wanted),
        ):
            status, said = await away.api(path, method, body)
            assert (status, said["error"]) == (503, "moved")
        assert (await away.api("/v1/nothing"))[0] == 404
        assert (await there.api("/v1/schedules/daily"))[0] == 404
        away.link.is_cut = False
        await _found(away, since)


async def test_messages_of_all_partitions_are_delivered(tmp_path: Path) -> None:
    """Any node takes them: one with a key goes where its partition is, one without stays, if the
    node has a partition. One whose log is new waits until the desk has said what operators hold;
    the desk may be on another node."""
    async with destinations(4) as places, nodes(tmp_path, "one", "two") as both:
        for node in both:
            for number, place in enumerate(places):
                name = await node.accepted(place, order_key="k")
                assert int(name[:4], 16) == number, "wherever that is"
                await _found(node, name)
                large = await node.accepted(place, order_key="k", body=b"y" * 300_000)
                assert int(large[:4], 16) == number
            name = await node.accepted(places[0])
            assert int(name[:4], 16) in (node.open or range(4))
        for place in places[1:]:
            await place.received(4)
        await places[0].received(6)


async def test_partition_whose_log_gives_no_verdict_is_opened_anew(tmp_path: Path) -> None:
    """By the same node, which still has its lease: also partition 0, and the desk with it. What
    came before is there, and nothing of what ended stays in memory."""
    gc.collect()
    gc.freeze()  # what tests before have left is neither looked at again and again nor counted
    shared = Shared(partitions=2)
    async with destinations(2) as places, nodes(tmp_path, "one", shared=shared) as (one,):
        names = [await one.accepted(place, order_key="k", delay="1h") for place in places]
        before = await _in_memory(one)
        for log_name in ("t0", "t1", "d1", "t0"):
            one.happened.told.clear()
            one.logs.made[log_name].lose(LogUnknown("no majority"))
            number = int(log_name[1:])
            await _told(one, ("in doubt", number, LogUnknown))
            await _told(one, ("opened", number))
            for name in names:
                await _found(one, name)
        assert await _in_memory(one) == before
        assert one.server.pending == 2
        await one.accepted(places[0], order_key="l")
        await places[0].received(1)


async def test_node_without_a_partition_takes_messages_for_others(tmp_path: Path) -> None:
    """It is ready, and gives them to a node that has one."""
    async with (
        destinations(1) as (place,),
        nodes(tmp_path, "one", "two", shared=Shared(partitions=1)) as both,
    ):
        _, without = both if both[0].open else reversed(both)
        assert without.open == []
        assert (await without.api("/readyz"))[0] == 200
        assert (await without.accepted(place))[:4] == "0000"
        await place.received(1)


async def test_cluster_whose_nodes_were_all_stopped_goes_on(tmp_path: Path) -> None:
    """What waited is there."""
    shared = Shared()
    async with destinations(4) as places:
        async with nodes(tmp_path / "first", "one", "two", shared=shared) as (one, _):
            for place in places:
                await one.accepted(place, order_key="k", delay="2s")
        async with nodes(tmp_path / "second", "one", "two", shared=shared):
            for place in places:
                await place.received(1)


async def _found(node: Node, name: str) -> None:
    """A message is found: 503 while its partition moves, never 404."""
    async with asyncio.timeout(30):
        while (status := (await node.api(f"/v1/messages/{name}"))[0]) != 200:
            assert status == 503
            await asyncio.sleep(0.02)


async def _ready(node: Node, wanted: int) -> tuple[int, Any]:
    """What `/readyz` says as soon as it is this."""
    async with asyncio.timeout(30):
        while (answer := await node.api("/readyz"))[0] != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return answer


async def _told(node: Node, happened: tuple[object, ...]) -> None:
    for _ in range(3000):
        if happened in node.happened.told:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{happened} was not told: {node.happened.told}")


async def _in_memory(node: Node) -> tuple[int, ...]:
    """How many partitions, desks and logs there are: what ended may be closing for a moment."""
    found: tuple[int, ...] = ()
    for _ in range(50):
        gc.collect()
        kinds = [type(one) for one in gc.get_objects()]
        found = tuple(kinds.count(kind) for kind in (Partition, Desk, MemoryLog))
        if found[0] == len(node.open):
            break
        await asyncio.sleep(0.1)
    return found
