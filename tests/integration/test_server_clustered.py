"""Nodes of a cluster, over logs and leases in memory: partitions come and go while they serve."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.clustered import Shared, nodes, owned
from tests.integration.partitioned import destinations


async def test_node_that_stops_hands_its_partitions_over(tmp_path: Path) -> None:
    """What waits there is the other one's, and so is the API; nothing is lost."""
    shared = Shared()
    async with destinations(4) as places, nodes(tmp_path, "one", "two", shared=shared) as both:
        leaving, staying = both if 0 in both[0].open else reversed(both)
        assert (await leaving.api("/v1/overview"))[0] == 200
        waiting = [
            await leaving.accepted(places[number], order_key="k", delay="1h")
            for number in leaving.open
            for _ in range(3)
        ]
        await leaving.stop()
        both.remove(leaving)
        assert leaving.open == []
        await owned(4, staying)
        assert staying.server.pending == len(waiting)
        for name in waiting:
            status, told = await staying.api(f"/v1/messages/{name}")
            assert (status, told.get("state")) == (200, "scheduled"), told


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
        assert (await there.api(f"/v1/messages/{name}"))[0] == 200
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


async def test_messages_of_all_partitions_are_delivered(tmp_path: Path) -> None:
    """Any node takes them: one with a key goes where its partition is, one without stays, if the
    node has a partition. One whose log is new waits until the desk has said what operators hold;
    the desk may be on another node."""
    async with destinations(4) as places, nodes(tmp_path, "one", "two") as both:
        for node in both:
            for number, place in enumerate(places):
                name = await node.accepted(place, order_key="k")
                assert int(name[:4], 16) == number, "wherever that is"
                large = await node.accepted(place, order_key="k", body=b"y" * 300_000)
                assert int(large[:4], 16) == number
            name = await node.accepted(places[0])
            assert int(name[:4], 16) in (node.open or range(4))
        for place in places[1:]:
            await place.received(4)
        await places[0].received(6)
