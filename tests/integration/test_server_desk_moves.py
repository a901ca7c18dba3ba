"""The desk of a cluster goes from node to node with partition 0, and what it keeps goes along."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from dispatcher.node.desk import Desk
from dispatcher.protocol.messages import Call, DispatchRequest, DispatchResponse
from dispatcher.testing.destination import FakeDestination, Wait, answer
from tests.integration.clustered import Node, Shared, nodes, owned
from tests.integration.partitioned import destinations

PARTITIONS = 4
STATES = ("scheduled", "ready", "running")
"""Of a call that is to be run; where its partition may not act yet, that is in a second."""
DISPATCH = "/dispatch.sdk.v1.DispatchService/Dispatch"
PROTO = {"Content-Type": "application/proto", "Connect-Protocol-Version": "1"}


class Api:
    """The API of the cluster, asked on the node that has the desk."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        self._url = f"http://{node.ready['api_listen']}"
        self._session = session

    async def ask(self, method: str, path: str, **more: Any) -> bytes:
        """What it answers, which is no refusal."""
        async with self._session.request(method, self._url + path, **more) as answered:
            said = await answered.read()
            assert answered.status < 300, (path, answered.status, said)
            return said

    async def get(self, path: str) -> Any:
        """The same, as JSON."""
        return json.loads(await self.ask("GET", path))

    async def dispatch(self, application: FakeDestination) -> str:
        """Make a call; its id."""
        call = Call(endpoint=f"http://{application.authority}", function="f")
        body = DispatchRequest(calls=[call]).SerializeToString()
        said = await self.ask("POST", DISPATCH, data=body, headers=PROTO)
        (found,) = DispatchResponse.FromString(said).dispatch_ids
        return str(found)

    async def listen(self, heard: list[str]) -> None:
        """Add what happens to a list, until the connection ends."""
        async with self._session.get(f"{self._url}/v1/events") as answered:
            async for line in answered.content:
                if line.startswith(b"event: "):
                    heard.append(line[7:].decode().strip())


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  # the server is asked
            await asyncio.sleep(0.02)


def desk_of(among: list[Node]) -> Node:
    """The node that has it."""
    (found,) = [node for node in among if node.server.desk is not None]
    return found


class Life:
    """One desk after the other, and what they have to keep."""

    def __init__(
        self, session: aiohttp.ClientSession, application: FakeDestination, held: FakeDestination
    ) -> None:
        self.session = session
        self.application = application
        self.held = held
        self.calls: list[str] = []
        self.messages: list[str] = []
        self.desks: list[weakref.ref[Desk]] = []

    async def work(self, node: Node, places: list[FakeDestination]) -> asyncio.Task[None]:
        """Have a desk keep more; returns who listens to it."""
        assert node.server.desk is not None
        self.desks.append(weakref.ref(node.server.desk))
        api, heard = Api(node, self.session), list[str]()
        listening = asyncio.create_task(api.listen(heard))
        self.calls.append(await api.dispatch(self.application))
        await until(lambda: _has_runs(node, len(self.calls)))
        plan = {"cron": "0 0 1 1 *", "destination": f"http://{places[1].authority}"}
        await api.ask("PUT", f"/v1/schedules/s{len(self.desks)}", json=plan)
        for place in places:
            self.messages.append(await node.accepted(place, order_key="k", delay="1h"))
        self.messages.append(await node.accepted(self.held, order_key="held"))
        await until(lambda: _is_said(heard, "accepted"))
        return listening

    async def is_whole(self, node: Node) -> None:
        """All of it is there, with the desk of this node."""
        api = Api(node, self.session)
        await until(lambda: _is_whole(api))
        for call in self.calls:
            assert (await api.get(f"/v1/calls/{call}"))["state"] in STATES
        plans = await api.get("/v1/schedules")
        assert len(plans["items"]) == len(self.desks)
        for message in self.messages:
            assert (await api.get(f"/v1/messages/{message}"))["id"] == message
        lanes = (await api.get("/v1/stats"))["lanes"]
        assert [lane["destination"] for lane in lanes if lane["held"]] == [
            f"http://{self.held.authority}"
        ]
        assert not self.held.requests


async def test_what_a_desk_keeps_goes_along_and_nothing_stays(tmp_path: Path) -> None:
    """Over three nodes, of which one stops and one is cut off: calls run on, schedules and holds
    are there, messages are found wherever they are, and who listened has to come again. The node
    that was cut off has nothing of the desk any more."""
    application = FakeDestination(default=[Wait(600)])
    async with (
        aiohttp.ClientSession() as session,
        destinations(PARTITIONS) as places,
        application,
        nodes(tmp_path, "one", "two", "three", shared=Shared(PARTITIONS)) as made,
    ):
        life = Life(session, application, places[3])
        first = desk_of(made)
        await Api(first, session).ask("POST", f"/v1/destinations/{life.held.authority}/hold")
        listening = await life.work(first, places)
        await first.stop()
        made.remove(first)
        await _ends(listening)
        await owned(PARTITIONS, *made)

        second = desk_of(made)
        await life.is_whole(second)
        listening = await life.work(second, places)
        second.link.is_cut = True
        (third,) = [node for node in made if node is not second]
        await owned(PARTITIONS, third)
        second.link.is_cut = False
        await until(lambda: _has_no_desk(second))
        await _ends(listening)

        await life.is_whole(third)
        await owned(PARTITIONS, *made)
        assert third.server.desk is not None
        (await life.work(third, places)).cancel()
        await until(lambda: _are_gone(life.desks[:2]))
        await Api(third, session).ask("POST", f"/v1/destinations/{life.held.authority}/resume")
        await life.held.received(3)


async def test_schedule_knows_what_became_of_a_message_wherever_it_lies(tmp_path: Path) -> None:
    """Delivered, dead, or waiting; also after its partition has moved, and the desk too."""
    async with (
        aiohttp.ClientSession() as session,
        destinations(PARTITIONS) as places,
        nodes(tmp_path, "one", "two", shared=Shared(PARTITIONS)) as made,
    ):
        leaving = desk_of(made)
        (staying,) = [node for node in made if node is not leaving]
        api = Api(leaving, session)
        places[1].default = answer(404)
        places[0].default = [Wait(600)]
        for number, place in enumerate(places):
            plan = {"cron": "0 0 1 1 *", "destination": f"http://{place.authority}"}
            await api.ask("PUT", f"/v1/schedules/s{number}", json=plan)
            await api.ask("POST", f"/v1/schedules/s{number}/run")
        wanted = ["waiting", "dead", "delivered", "delivered"]
        await until(lambda: _are(api, wanted))
        places[0].default = answer(200)
        await leaving.stop()
        made.remove(leaving)
        await owned(PARTITIONS, staying)
        again = Api(staying, session)
        await until(lambda: _are(again, ["delivered", "dead", "delivered", "delivered"]))


async def _are(api: Api, wanted: list[str]) -> bool:
    found = await api.get("/v1/schedules")
    return [one["last_run"] and one["last_run"]["state"] for one in found["items"]] == wanted


async def _ends(listening: asyncio.Task[None]) -> None:
    with suppress(aiohttp.ClientError):
        await asyncio.wait_for(listening, 30)


async def _has_runs(node: Node, count: int) -> bool:
    return node.server.desk is not None and node.server.desk.in_flight == count


async def _is_said(heard: list[str], what: str) -> bool:
    return what in heard


async def _has_no_desk(node: Node) -> bool:
    return node.server.desk is None


async def _is_whole(api: Api) -> bool:
    try:
        return not (await api.get("/v1/stats")).get("incomplete")
    except AssertionError:  # the directory may be a moment behind
        return False


async def _are_gone(desks: list[weakref.ref[Desk]]) -> bool:
    gc.collect()
    return not any(desk() for desk in desks)
