"""The extensions over HTTP, with a real server that is killed in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from inspect import isawaitable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import (
    Call,
    CallResult,
    DispatchRequest,
    DispatchResponse,
    Duration,
    RecallRequest,
    RecallResponse,
    RunRequest,
    RunResponse,
)
from dispatcher.testing.application import exits, polls
from dispatcher.testing.keeping import KeepingApplication
from dispatcher.testing.process import ServerProcess

Answer = RunResponse | None
Answers = Callable[[RunRequest], Answer | Awaitable[Answer]]
PROTO = {"Content-Type": "application/proto"}
KEY = {"Authorization": "Bearer secret"}
SETTINGS = {"API_KEYS": "app:dispatch:secret", "DRAIN_TIMEOUT": "300", "CALL_RETRY_DELAY": "20"}


class Endpoint:
    """An application over HTTP; `answers` says what, None is that it lacks the state. `features`
    are the words it was told last; `received` counts bytes."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.features = ""
        self.received = 0
        self.url = ""

    async def run(self, request: web.Request) -> web.Response:
        """Answer a run."""
        self.features = request.headers.get("X-Dispatcher-Features", "")
        body = await request.read()
        self.received += len(body)
        answer = self.answers(RunRequest.FromString(body))
        if isawaitable(answer):
            answer = await answer
        if answer is None:
            lacking = ConnectError(Code.FAILED_PRECONDITION, "this process has no such state")
            return web.Response(
                status=lacking.http_status, body=lacking.body(), content_type="application/json"
            )
        return web.Response(body=answer.SerializeToString(), headers=PROTO)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(lambda request: exits())
    app = web.Application(client_max_size=16_000_000)
    app.router.add_post("/dispatch.sdk.v1.FunctionService/Run", endpoint.run)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    endpoint.url = f"http://127.0.0.1:{port}"
    yield endpoint
    await runner.cleanup()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server"), **SETTINGS) as made:
        yield made
        made.kill()


async def dispatched(server: ServerProcess, *calls: Call) -> list[str]:
    """Dispatch calls; their ids."""
    host, port = server.api
    async with aiohttp.ClientSession(headers=KEY | PROTO) as client:
        answer = await client.post(
            f"http://{host}:{port}/dispatch.sdk.v1.DispatchService/Dispatch",
            data=DispatchRequest(calls=calls).SerializeToString(),
        )
        assert answer.status == 200, await answer.text()
        return list(DispatchResponse.FromString(await answer.read()).dispatch_ids)


async def result(server: ServerProcess, call_id: str) -> bytes:
    """The output of a call, once it has ended."""
    host, port = server.api
    async with aiohttp.ClientSession(headers=KEY) as client:
        for _ in range(10):
            answer = await client.get(
                f"http://{host}:{port}/v1/calls/{call_id}/result?wait=10s",
                headers={"Accept": "application/proto"},
            )
            if answer.status == 200:
                return CallResult.FromString(await answer.read()).output.value
    raise TimeoutError(call_id)


async def started(directory: Path) -> ServerProcess:
    """A server that is ready."""
    server = ServerProcess(directory, **SETTINGS)
    await asyncio.to_thread(server.event, "server.ready")
    return server


async def test_states_grow_and_stay_where_they_are_over_a_kill(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    """Before and after it what is new goes over the wire; after it the state is sent whole once."""
    steps = 300
    process = KeepingApplication(steps, piece_bytes=200)
    half = asyncio.Event()

    def answers(request: RunRequest) -> RunResponse | None:
        if process.hits + process.wholes >= steps // 2:
            half.set()
        return process.answer(request)

    endpoint.answers = answers
    server = await started(tmp_path)
    try:
        (call_id,) = await dispatched(server, Call(endpoint=endpoint.url, function="f"))
        await asyncio.wait_for(half.wait(), 60)
        wholes = process.wholes
        server.kill()
        server = await started(tmp_path)
        assert await result(server, call_id) == b"%d" % steps
        assert endpoint.features == "append, cancel, delay, keep, state-ref, timeout, version"
        assert wholes <= process.wholes <= wholes + 2
        assert process.hits > steps - 20
        assert not process.misses
        assert endpoint.received < steps * 500
    finally:
        await asyncio.to_thread(server.kill)


async def test_process_that_lacks_a_state_gets_it(
    server: ServerProcess, endpoint: Endpoint
) -> None:
    """Two processes that get requests in turn come to an end too."""
    processes = [KeepingApplication(60, piece_bytes=500, process=name) for name in "ab"]
    count = 0

    def answers(request: RunRequest) -> RunResponse | None:
        nonlocal count
        count += 1
        return processes[count % 2].answer(request)

    endpoint.answers = answers
    calls = [Call(endpoint=endpoint.url, function="f") for _ in range(5)]
    for call_id in await dispatched(server, *calls):
        assert await result(server, call_id) == b"60"
    assert sum(process.misses for process in processes) > 1


async def test_race_ends_those_that_lost(server: ServerProcess, endpoint: Endpoint) -> None:
    """The one that lost is asked to end, and its parent has ended long before."""
    told = asyncio.Event()

    def answers(request: RunRequest) -> RunResponse | None:
        error = request.poll_result.error.type
        match request.function:
            case "race" if request.HasField("input"):
                first = polls("slow", "quick")
                first.poll.calls[1].delay.CopyFrom(Duration(nanos=200_000_000))
                return first
            case "race":
                (won,) = request.poll_result.results
                last = exits(b"%d" % won.correlation_id)
                last.exit.cancel.append(1)
                return last
            case "slow":
                if error == "Cancelled":
                    told.set()
                    return exits()
                return polls(wait_s=3000)
            case _:
                return exits()

    endpoint.answers = answers
    (call_id,) = await dispatched(server, Call(endpoint=endpoint.url, function="race"))
    assert await result(server, call_id) == b"2"
    await asyncio.wait_for(told.wait(), 60)


class Gathering:
    """An application whose function `f` calls `count` others, one after the other, and exits with
    the number of bytes of all results. Its state has their ids alone; `values` are what this
    process has of them, and what it has not it asks for. Others exit with `size` bytes."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self.server: ServerProcess | None = None
        self.values: dict[str, int] = {}
        self.recalled = 0
        self.largest = 0
        self.half = asyncio.Event()

    async def answer(self, request: RunRequest) -> RunResponse:
        """Answer a run."""
        if request.function != "f":
            return exits(bytes(self.size))
        poll = request.poll_result
        names = poll.typed_coroutine_state.value.decode().split()
        self.largest = max(self.largest, request.ByteSize())
        missing = [name for name in names if name not in self.values]
        while missing:
            await self._recall(request, missing)
            missing = [name for name in missing if name not in self.values]
        self.values |= {one.dispatch_id: len(one.output.value) for one in poll.results}
        names += [one.dispatch_id for one in poll.results]
        if len(names) == self.count:
            return exits(b"%d" % sum(self.values[name] for name in names))
        if len(names) == self.count // 2:
            self.half.set()
            await asyncio.sleep(0.2)  # it is killed in the middle of a run, or just after it
        again = polls("g", state=" ".join(names).encode())
        again.poll.calls[0].correlation_id = len(names)
        again.poll.keep.extend(one.dispatch_id for one in poll.results)
        return again

    async def _recall(self, request: RunRequest, missing: list[str]) -> None:
        assert self.server is not None
        host, port = self.server.api
        asked = RecallRequest(
            dispatch_id=request.dispatch_id, permit=request.poll_result.permit, results=missing
        )
        async with aiohttp.ClientSession(headers=KEY | PROTO) as client:
            answer = await client.post(
                f"http://{host}:{port}/dispatch.sdk.v1.DispatchService/Recall",
                data=asked.SerializeToString(),
            )
            assert answer.status == 200, await answer.text()
            found = RecallResponse.FromString(await answer.read()).results
        self.values |= {one.dispatch_id: len(one.output.value) for one in found}
        self.recalled += len(found)


async def test_results_by_reference_are_told_to_a_process_that_lacks_them(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    """Server and application are killed half-way. Together the results have more than a request
    may, and no request has more than one of them."""
    application = Gathering(30, 700_000)
    endpoint.answers = application.answer
    server = application.server = await started(tmp_path)
    try:
        (call_id,) = await dispatched(server, Call(endpoint=endpoint.url, function="f"))
        await asyncio.wait_for(application.half.wait(), 60)
        assert not application.recalled
        server.kill()
        application.values.clear()
        server = application.server = await started(tmp_path)
        assert await result(server, call_id) == b"21000000"
        assert 14 <= application.recalled <= 16
        assert application.largest < 750_000
    finally:
        await asyncio.to_thread(server.kill)
