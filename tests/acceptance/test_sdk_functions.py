"""What functions are written with, against a real server: the application runs in the test."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk.functions import apps
from dispatcher.sdk.serving.serve import serving
from tests.acceptance.running import quick
from tests.acceptance.served import ServerProcess

pytestmark = pytest.mark.crash

tried: list[int] = []


@dataclass
class Order:
    id: str
    at: datetime
    lines: dict[str, int]


@dispatch.function
async def double(x: int) -> int:
    return x * 2


@dispatch.function
def in_a_thread(x: int) -> int:
    return x + 1


@dispatch.function
async def fails(x: int) -> int:
    raise KeyError(x)


@dispatch.function
async def ship(order: Order, *, fast: bool = False) -> Order:
    return Order(order.id, order.at + timedelta(days=1 if fast else 3), order.lines)


def flaky(url: str) -> str:
    tried.append(1)
    if len(tried) < 2:
        raise ConnectionError("down")
    return url.upper()


async def fetch(url: str) -> int:
    await asyncio.sleep(0)
    return len(url)


@dispatch.function
async def everything(x: int) -> dict[str, Any]:
    began = dispatch.now()
    await dispatch.sleep(0.05)
    first, second = await dispatch.gather(double(x), in_a_thread(x))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(double(first))
    with_limit = await double.gather(range(5), limit=2)
    winner = await dispatch.race(double(1), dispatch.sleep(60, -1))
    survivor = await dispatch.any(fails(1), double(3))
    try:
        await fails(7)
    except KeyError as error:
        caught = str(error)
    async with asyncio.timeout(60):
        length = await dispatch.step(fetch, "abc")
    retried = await dispatch.step.options(retries=3, at_most_once=True)(flaky, "url")
    return {
        "gather": [first, second],
        "task": task.result(),
        "limit": with_limit,
        "race": winner,
        "any": survivor,
        "caught": caught,
        "steps": [length, retried],
        "slept": dispatch.now() - began >= timedelta(seconds=0.05),
        "patched": dispatch.patched("new"),
        "function": dispatch.current().function,
    }


@dispatch.function
async def counts_down(n: int, log: list[int]) -> list[int]:
    if n > 0:
        counts_down.reset(n - 1, [*log, await double(n)])
    return log


@dispatch.function
async def asks(name: str) -> list[Any]:
    approved = await dispatch.promise(name, bool)
    orders = dispatch.channel(f"{name}-orders", int)
    return [approved, await orders.receive(), await orders]


@dispatch.function
async def answers(name: str) -> str:
    await dispatch.promise(name, bool).resolve(True)
    for number in (1, 2):
        await dispatch.channel(f"{name}-orders", int).send(number)
    handle = await double.dispatch(21)
    return handle.id


@dispatch.function
async def hides_it(name: str) -> int:
    function = getattr(sys.modules[__name__], name)
    async with asyncio.timeout(30):
        return int(await function(4))


@dispatch.function
async def weighs(load: bytes) -> int:
    return len(load)


@dispatch.function
async def weighs_all(count: int) -> int:
    return sum(await weighs.gather([bytes(1_000_000)] * count))


FUNCTIONS = (
    double,
    in_a_thread,
    fails,
    ship,
    everything,
    counts_down,
    asks,
    answers,
    hides_it,
    weighs,
    weighs_all,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("server"), **quick(API_KEYS="a key"))
    server.event("server.ready")
    yield server
    server.kill()


@pytest.fixture
async def app(server: ServerProcess) -> AsyncIterator[dispatch.Dispatch]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    host, port = server.api
    app = dispatch.Dispatch(
        *FUNCTIONS,
        api_url=f"http://{host}:{port}",
        api_key="a key",
        endpoint_url=f"http://{address}",
        address=address,
    )
    async with serving(app):
        yield app
    app.close()
    apps.gone(app)
    for function in FUNCTIONS:
        function.give_to(None)


@pytest.mark.usefixtures("app")
async def test_everything_that_a_function_waits_for_comes() -> None:
    """Calls, tasks, sleeps, races, steps with retries, errors of children."""
    tried.clear()
    assert await everything(5) == {
        "gather": [10, 6],
        "task": 20,
        "limit": [0, 2, 4, 6, 8],
        "race": 2,
        "any": 6,
        "caught": "7",
        "steps": [3, "URL"],
        "slept": True,
        "patched": True,
        "function": "everything",
    }
    assert len(tried) == 2


@pytest.mark.usefixtures("app")
async def test_values_are_what_their_hints_say() -> None:
    """A dataclass there and back."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    shipped = await ship(Order("a", at, {"nails": 100}), fast=True)
    assert shipped == Order("a", at + timedelta(days=1), {"nails": 100})


@pytest.mark.usefixtures("app")
async def test_error_is_raised_outside_in_its_own_class() -> None:
    """Where it is awaited."""
    with pytest.raises(KeyError, match="3"):
        await fails(3)


@pytest.mark.usefixtures("app")
async def test_tail_calls_go_on_with_an_empty_record() -> None:
    """Who waits gets the last one's result."""
    assert await counts_down(3, []) == [6, 4, 2]


async def test_promises_channels_and_dispatch_work_between_functions(
    app: dispatch.Dispatch,
) -> None:
    """Whoever comes first."""
    handle = await asks.dispatch("a")
    id = await answers("a")
    assert await handle.result(timeout=30) == [True, 1, 2]
    assert await app.client.result(id, returns=int, timeout=30) == 42


@pytest.mark.usefixtures("app")
async def test_function_that_hides_what_it_waits_for_is_run_anew() -> None:
    """Its first wait is on something durable, inside of a timeout."""
    assert await hides_it("double") == 8


@pytest.mark.usefixtures("app")
async def test_key_makes_one_call_of_two_dispatches() -> None:
    """Also from code that is not async."""
    keyed = double.with_options(key="once", expiration=60, timeout=5, delay=0.01)
    first = await keyed.dispatch(4)
    second = await asyncio.to_thread(keyed.dispatch_sync, 4)
    assert first.id == second.id
    assert await first.result(timeout=30) == 8
    assert await double.with_options(key="many").gather(range(3)) == [0, 2, 4]


@pytest.mark.usefixtures("app")
async def test_calls_that_are_too_large_for_one_answer_are_all_made() -> None:
    """In several; a server reads 16 MB."""
    assert await weighs_all(20) == 20_000_000
