"""Sessions of a real server, and clients that behave as the Dispatch command line does."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dispatcher.protocol.messages import Call, DispatchRequest, DispatchResponse, RunResponse
from dispatcher.testing.application import an_any, exits, polls
from dispatcher.testing.bridge import BridgeClient, Taken
from dispatcher.testing.process import ServerProcess

KEY, OTHER = "shop-key", "bank-key"
SETTINGS = {
    "API_KEYS": f"shop:dispatch:{KEY},bank:dispatch:{OTHER}",
    "CALL_RETRY_DELAY": "50",
    "CALL_RETRY_MAX_DELAY": "400",
    "CALL_TIMEOUT": "6000",
    "DRAIN_TIMEOUT": "5000",
}
_ENDS_S = 60
_NAMES = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all: each test has a session of its own."""
    with ServerProcess(tmp_path_factory.mktemp("server"), **SETTINGS) as made:
        yield made


class Bench:
    """A session of a server, as an application and its clients see it."""

    def __init__(self, server: ServerProcess, http: aiohttp.ClientSession) -> None:
        self.api = "http://{}:{}".format(*server.api)
        self.session = f"s{next(_NAMES)}"
        self.url = f"{self.api}/sessions/{self.session}"
        self.http = http

    async def dispatch(self, *functions: str, key: str = KEY) -> list[str]:
        """Dispatch calls to the session; their ids."""
        endpoint = f"bridge://{self.session}"
        calls = [Call(endpoint=endpoint, function=name, input=an_any(b"")) for name in functions]
        async with self.http.post(
            f"{self.api}/dispatch.sdk.v1.DispatchService/Dispatch",
            data=DispatchRequest(calls=calls).SerializeToString(),
            headers={"Content-Type": "application/proto", "Authorization": f"Bearer {key}"},
        ) as answer:
            assert answer.status == 200, await answer.text()
            return list(DispatchResponse.FromString(await answer.read()).dispatch_ids)

    async def get(self, path: str, key: str = KEY) -> Any:
        """A document of the API."""
        async with self.http.get(
            f"{self.api}/v1/calls/{path}", headers={"Authorization": f"Bearer {key}"}
        ) as answer:
            return json.loads(await answer.read())

    async def state(self, number: str) -> str:
        """How a call ends."""
        found = await self.get(f"{number}/result?wait={_ENDS_S}s")
        return str(found.get("state", "not yet"))

    def client(self, script: Callable[[Taken], RunResponse], *, key: str = KEY) -> BridgeClient:
        """A client whose application answers as the script says."""

        async def forward(taken: Taken) -> bytes:
            return response(script(taken))

        return BridgeClient(self.api, key, self.session, forward)


def response(run: RunResponse) -> bytes:
    """As a Go client writes down what it has read from an application."""
    body = run.SerializeToString()
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.fixture
async def bench(server: ServerProcess) -> AsyncIterator[Bench]:
    """A session that nobody has used."""
    async with aiohttp.ClientSession() as http:
        yield Bench(server, http)


@asynccontextmanager
async def running(*clients: BridgeClient) -> AsyncIterator[None]:
    """Clients that poll. At the end their connections break."""
    tasks = [asyncio.ensure_future(client.run()) for client in clients]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(done: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(_ENDS_S):
        while not done():  # noqa: ASYNC110 - anything may be asked
            await asyncio.sleep(0.02)


async def test_two_clients_share_a_session(bench: Bench) -> None:
    """Each call is fetched by one of them."""
    clients = [bench.client(lambda _: exits()) for _ in range(2)]
    async with running(*clients):
        ids = await bench.dispatch(*["f"] * 60)
        assert {await bench.state(number) for number in ids} == {"succeeded"}
    fetched = [taken.run.dispatch_id for client in clients for taken in client.taken]
    assert sorted(fetched) == sorted(ids)
    assert {status for client in clients for status in client.posted} == {202}


async def test_calls_wait_for_a_client(bench: Bench) -> None:
    """Nothing is tried meanwhile."""
    (number,) = await bench.dispatch("f")
    await asyncio.sleep(0.5)
    call = await bench.get(number)
    assert (call["state"], call["attempts"]) == ("ready", 0)
    client = bench.client(lambda _: exits())
    async with running(client):
        assert await bench.state(number) == "succeeded"
    assert [taken.attempt for taken in client.taken] == [1]


async def test_parent_is_fetched_before_its_children(bench: Bench) -> None:
    """And their results come through the same session, the largest too."""

    def script(taken: Taken) -> RunResponse:
        run = taken.run
        if run.function != "parent":
            return exits(bytes(2_000_000))
        if run.WhichOneof("directive") == "input":
            return polls(*["child"] * 5, state=bytes(4_000_000), min_results=5)
        assert len(run.poll_result.typed_coroutine_state.value) == 4_000_000
        return exits(b"%d" % len(run.poll_result.results))

    client = bench.client(script)
    async with running(client):
        (number,) = await bench.dispatch("parent")
        assert await bench.state(number) == "succeeded"
    first, *children, last = (taken.run for taken in client.taken)
    assert first.dispatch_id == last.dispatch_id == number
    assert [child.parent_dispatch_id for child in children] == [number] * 5
    assert len(last.poll_result.results) == 5


async def test_request_of_a_client_that_is_gone_is_tried_again(bench: Bench) -> None:
    """When its time is over: CALL_TIMEOUT."""
    (number,) = await bench.dispatch("f")
    hangs = asyncio.Event()

    async def never(_: Taken) -> bytes:
        await hangs.wait()
        return b""

    gone = BridgeClient(bench.api, KEY, bench.session, never)
    async with running(gone):
        await until(lambda: gone.taken)
    client = bench.client(lambda _: exits())
    async with running(client):
        assert await bench.state(number) == "succeeded"
    assert [taken.attempt for taken in client.taken] == [2]
    call = await bench.get(f"{number}/timeline")
    runs = [entry for entry in call["entries"] if entry["step"] == "run"]
    assert "had not answered" in runs[0]["error"]
    async with bench.http.post(
        bench.url,
        data=response(exits()),
        headers={"Authorization": f"Bearer {KEY}", "X-Request-ID": gone.taken[0].id},
    ) as answer:
        assert answer.status == 404


async def test_client_that_hangs_up_while_it_waits_takes_nothing_with_it(bench: Bench) -> None:
    """The next one fetches the call at once, and it is the first attempt."""
    for _ in range(5):
        host, port = bench.api.removeprefix("http://").rsplit(":", 1)
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"GET /sessions/{bench.session} HTTP/1.1\r\nHost: {host}\r\n"
        writer.write(f"{head}Authorization: Bearer {KEY}\r\n\r\n".encode())
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
    await asyncio.sleep(0.2)
    (number,) = await bench.dispatch("f")
    client = bench.client(lambda _: exits())
    async with running(client):
        assert await bench.state(number) == "succeeded"
    assert [taken.attempt for taken in client.taken] == [1]


async def test_request_that_is_given_up_is_tried_again(bench: Bench) -> None:
    """The application of the client does not listen yet."""
    failures = iter([ConnectionRefusedError, ConnectionRefusedError])

    def script(_: Taken) -> RunResponse:
        for failure in failures:
            raise failure
        return exits()

    client = bench.client(script)
    async with running(client):
        (number,) = await bench.dispatch("f")
        assert await bench.state(number) == "succeeded"
    assert [taken.attempt for taken in client.taken] == [1, 2, 3]
    assert client.posted == [200, 200, 202]


async def test_session_of_another_application_is_another_one(bench: Bench) -> None:
    """Both are named the same."""
    foreign = bench.client(lambda _: exits(), key=OTHER)
    async with running(foreign):
        (number,) = await bench.dispatch("f")
        (theirs,) = await bench.dispatch("g", key=OTHER)
        await until(lambda: foreign.posted)
        assert (await bench.get(number))["state"] == "ready"
        assert [taken.run.dispatch_id for taken in foreign.taken] == [theirs]


async def test_answers_are_still_taken_when_the_server_stops(tmp_path: Path) -> None:
    """And what nobody has fetched is there after the next start."""
    with ServerProcess(tmp_path, **SETTINGS) as server:
        async with aiohttp.ClientSession() as http:
            bench = Bench(server, http)
            may_answer = asyncio.Event()

            async def forward(_: Taken) -> bytes:
                await may_answer.wait()
                return response(exits())

            client = BridgeClient(bench.api, KEY, bench.session, forward)
            async with running(client):
                (number,) = await bench.dispatch("f")
                await until(lambda: client.taken)
                stopping = asyncio.ensure_future(asyncio.to_thread(server.stop))
                await asyncio.sleep(0.3)
                may_answer.set()
                await until(lambda: client.posted)
                assert client.posted == [202]
                assert await stopping == 0
    with ServerProcess(tmp_path, **SETTINGS) as again:
        async with aiohttp.ClientSession() as http:
            assert await Bench(again, http).state(number) == "succeeded"
