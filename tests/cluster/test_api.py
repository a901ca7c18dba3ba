"""The API of a cluster, asked on any node, while the node that has it is killed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.cluster.ledger import Ledger
from tests.cluster.load import Caller, send_until_accepted
from tests.cluster.promises import PROCESS_S
from tests.cluster.sink import Sink
from tests.cluster.site import PARTITIONS, Node, Site, delivered, until

pytestmark = [pytest.mark.crash, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Who asks."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


async def get(http: aiohttp.ClientSession, node: Node, path: str) -> Any:
    """What a node answers, asked again while the API moves."""
    for _ in range(100):
        async with http.get(_url(node, path)) as answer:
            if answer.status == 200:
                return await answer.json()
            said = await answer.text()
            assert answer.status == 503, (node.name, path, said, node.told())
        await asyncio.sleep(0.1)
    raise AssertionError((node.name, path, said, node.told()))


async def owned(http: aiohttp.ClientSession, node: Node) -> set[int]:
    """The partitions that a node says in its own metrics that it has."""
    async with http.get(_url(node, "/metrics")) as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    prefix = 'dispatcher_partition_owned{partition="'
    return {int(line.removeprefix(prefix).split('"')[0]) for line in lines if prefix in line}


def _url(node: Node, path: str) -> str:
    return "http://{}:{}{}".format(*node.api, path)


async def open_everywhere(http: aiohttp.ClientSession, made: Site) -> None:
    """Wait until all partitions are open, and all nodes live."""

    async def is_well() -> bool:
        views = [await get(http, node, "/v1/cluster") for node in made.nodes]
        parts = [one for view in views for one in (*view["members"], *view["partitions"])]
        return {one["state"] for one in parts} == {"live", "open"}

    await until(is_well, "all partitions are open", made.told)


async def test_every_node_answers_for_all(
    made: Site, ledger: Ledger, sink: Sink, http: aiohttp.ClientSession
) -> None:
    """Who has what; messages of all partitions, listed, found by their ids and held; and events,
    whichever node accepted a message."""
    await open_everywhere(http, made)
    views = [await get(http, node, "/v1/cluster") for node in made.nodes]
    for view in views:
        assert view["cluster"] is True
        assert [one["node"] for one in view["members"] if one["has_api"]] == [
            one["node"] for one in views[0]["members"] if one["has_api"]
        ]
        assert [one["owner"] for one in view["partitions"]].count(None) == 0
        assert all(one["epoch"] > 0 and one["position"] > 0 for one in view["partitions"])
    assert {one["node"] for one in views[0]["members"]} == {node.name for node in made.nodes}
    each = [await owned(http, node) for node in made.nodes]
    assert sum(map(len, each)) == PARTITIONS
    assert set.union(*each) == set(range(PARTITIONS))

    first, second, third = made.nodes
    for origin in sink.origins:
        async with http.post(_url(first, f"/v1/destinations/{origin}/hold")) as answer:
            assert answer.status == 200, await answer.text()
    async with listening(http, third) as heard:
        sent = []
        caller = Caller([second.listen], 0)
        for origin in sink.origins:
            one = ledger.begin(100, is_keyed=True)
            await send_until_accepted(ledger, caller, one, origin)
            sent.append(one.id)
        caller.close()

        async def are_heard() -> bool:
            return {one["id"] for name, one in heard if name == "accepted"} >= set(sent)

        await until(are_heard, "the events of all are heard", made.told)
    assert len({one[:4] for one in sent}) == PARTITIONS
    for node in made.nodes:
        page = await get(http, node, "/v1/messages?limit=100")
        assert sorted(one["id"] for one in page["items"]) == sorted(sent)
        for number in sent:
            explained = await get(http, node, f"/v1/messages/{number}/explain")
            assert explained["reason"] == "destination_held"
    for origin in sink.origins:
        async with http.post(_url(third, f"/v1/destinations/{origin}/resume")) as answer:
            assert answer.status == 200, await answer.text()
    await delivered(ledger, made.told)


async def test_api_goes_on_when_the_node_that_has_it_is_killed(
    made: Site, ledger: Ledger, sink: Sink, http: aiohttp.ClientSession
) -> None:
    """Another one has it within six seconds; until then it is said to be moving. The others are
    ready all the time, and say who is away."""
    await open_everywhere(http, made)
    view = await get(http, made.nodes[0], "/v1/cluster")
    (name,) = [one["node"] for one in view["members"] if one["has_api"]]
    victim = next(one for one in made.nodes if one.name == name)
    others = [one for one in made.nodes if one is not victim]
    victim.kill()
    began_s = time.monotonic()
    refused: set[tuple[int, str]] = set()
    found = None
    while found is None:
        for node in others:
            assert await asyncio.to_thread(node.status, "/readyz") == 200
            async with http.get(_url(node, "/v1/cluster")) as answer:
                if answer.status == 200:
                    found = await answer.json()
                    break
                refused.add((answer.status, (await answer.json())["error"]))
                assert answer.headers["Retry-After"]
        assert time.monotonic() - began_s < PROCESS_S, made.told()
        await asyncio.sleep(0.05)
    assert refused <= {(503, "moved"), (503, "starting"), (503, "recovering")}
    (now,) = [one for one in found["members"] if one["has_api"]]
    assert now["node"] != name

    async def is_shown() -> bool:
        view = await get(http, others[0], "/v1/cluster")
        overview = await get(http, others[1], "/v1/overview")
        states = {one["node"]: one["state"] for one in view["members"]}
        slugs = {one["slug"] for one in overview["problems"]}
        return states[name] == "away" and "node_away" in slugs and "partition_free" not in slugs

    await until(is_shown, "the node is said to be away, and no partition is", made.told)

    async def are_owned() -> bool:
        each = [await owned(http, node) for node in others]
        return set.union(*each) == set(range(PARTITIONS))

    await until(are_owned, "the others have all partitions", made.told)


@asynccontextmanager
async def listening(
    http: aiohttp.ClientSession, node: Node
) -> AsyncIterator[list[tuple[str, Any]]]:
    """Events, as a node tells them."""
    heard: list[tuple[str, Any]] = []
    begun = asyncio.Event()

    async def listen() -> None:
        name = ""
        async with http.get(_url(node, "/v1/events"), timeout=None) as stream:
            async for line in stream.content:
                begun.set()
                if line.startswith(b"event: "):
                    name = line[7:].decode().strip()
                elif line.startswith(b"data: "):
                    heard.append((name, json.loads(line[6:])))

    task = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(20):
            await begun.wait()
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
