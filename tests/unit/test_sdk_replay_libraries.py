"""I/O that a durable body does through the libraries that people use: never done, never silent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import httpx
import pytest

from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.model import Faulted, Outcome, Suspended
from dispatcher.testing.durable import advance, body_of, close_all, ended, start, suspended

URL = "http://127.0.0.1:1/"
STEP = "Make it a step, `await dispatch.step(fn, …)`, or move it to a function of its own."
THREAD = "`await dispatch.step(fn, …)` runs `fn` in a thread, and records its result."

ORDERS = {
    "first": """
        await io()
        await call("after")
""",
    "after a durable await": """
        await call("before")
        await io()
""",
    "beside a call that is made before it": """
        await asyncio.gather(call("before"), io())
""",
    "beside a call that is made after it": """
        await asyncio.gather(io(), call("after"))
""",
    "caught": """
        try:
            await io()
        except BaseException:
            pass
        await call("after")
""",
    "caught, after a durable await": """
        await call("before")
        try:
            await io()
        except Exception:
            raise ValueError("no page") from None
        finally:
            await call("clean up")
""",
}

UNSHARED = {
    "httpx": (
        f"async with httpx.AsyncClient() as client: await client.get({URL!r})",
        "httpx opens a connection",
    ),
    "aiohttp": (
        f"async with aiohttp.ClientSession() as client: await client.get({URL!r})",
        "aiohttp opens a connection",
    ),
    "to_thread": ("await asyncio.to_thread(print)", "asyncio runs something in a thread"),
    "subprocess": ("await asyncio.create_subprocess_exec('true')", "asyncio starts a process"),
    "shell": ("await asyncio.create_subprocess_shell('true')", "asyncio starts a process"),
    "anyio's connection": ("await anyio.connect_tcp('127.0.0.1', 1)", "anyio opens a connection"),
    "anyio's process": ("await anyio.run_process(['true'])", "anyio starts a process"),
}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def _run(io: str, order: str, **names: object) -> Run:
    """A body whose helper `io` does it on line 2 of app.py."""
    body = body_of(f"""
    async def io():
        {io}

    async def pipeline():{ORDERS[order]}
""")
    body.__globals__.update({"aiohttp": aiohttp, "anyio": anyio, "httpx": httpx}, **names)
    return start(body)


def _outcome(run: Run) -> Outcome:
    """What comes of it once the call that the body makes first has ended, where it makes one."""
    outcome = advance(run)
    return advance(run, ended(0, 1)) if isinstance(outcome, Suspended) else outcome


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("library", UNSHARED)
def test_io_is_named_with_library_and_line_wherever_it_stands(library: str, order: str) -> None:
    """On the first run, before or after or beside what is durable, and caught or not."""
    io, what = UNSHARED[library]
    run = _run(io, order)
    if "after a durable await" in order:
        suspended(run)
        outcome = advance(run, ended(0, 1))
    else:
        outcome = advance(run)
    assert outcome == Faulted(
        f"pipeline (call 01f3) is durable, and does I/O by itself: {what}, called at app.py:2 in "
        "io. A durable function is replayed, and would do it again each time. "
        + (THREAD if "thread" in what else STEP)
    )


class _Server(asyncio.Protocol):
    """Answers each request at once, and keeps its connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()


SHARED = {"httpx": "await client.get(url)", "aiohttp": "await client.get(url)"}


async def _pooled(library: str, url: str) -> Any:
    """A client of the application, with a connection that waits in its pool."""
    if library == "httpx":
        client = httpx.AsyncClient()
        await client.get(url)
        return client
    session = aiohttp.ClientSession()
    async with session.get(url) as response:
        await response.read()
    return session


async def _close(client: Any) -> None:
    await (client.aclose() if isinstance(client, httpx.AsyncClient) else client.close())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("library", SHARED)
async def test_client_that_is_shared_is_told_of_when_it_has_a_connection_in_its_pool(
    library: str, order: str, url: str
) -> None:
    """The loop is asked for nothing then: what the connection waits with belongs to another one.
    Whoever catches that error goes no further either: the request would be sent in each replay."""
    client = await _pooled(library, url)
    outcome = _outcome(_run(SHARED[library], order, client=client, url=url))
    await _close(client)
    assert isinstance(outcome, Faulted), outcome
    assert outcome.message.startswith(
        "pipeline (call 01f3) is durable, and uses something that belongs to another event loop, "
        "such as a client, a connection or a lock that is shared, called at app.py:2 in io: "
    )
    assert outcome.message.endswith(
        ". Use it in a step, `await dispatch.step(fn, …)`, or in a function of its own; a lock has "
        "to be made in the function that uses it."
    )


async def test_client_that_is_shared_still_serves_its_application_when_a_body_has_used_it(
    url: str,
) -> None:
    """A body that is refused breaks nothing for the others."""
    client = await _pooled("httpx", url)
    assert isinstance(
        _outcome(_run("await client.get(url)", "first", client=client, url=url)), Faulted
    )
    async with asyncio.timeout(60):
        assert (await client.get(url)).status_code == 200
    await client.aclose()


@pytest.mark.parametrize("order", ORDERS)
async def test_client_that_is_shared_is_named_with_the_line_when_it_has_no_connection_yet(
    order: str,
) -> None:
    """Then it is I/O as any other."""
    async with httpx.AsyncClient() as client:
        outcome = _outcome(_run(f"await client.get({URL!r})", order, client=client))
    assert isinstance(outcome, Faulted), outcome
    assert "I/O by itself: httpx opens a connection, called at app.py:2 in io." in outcome.message


THREADS = {
    "to_thread": "await anyio.to_thread.run_sync(held.wait)",
    "open_file": "await anyio.open_file(Held())",
}


class _Held:
    """A path whose name is asked for in the thread that opens it, and which waits there."""

    def __init__(self, held: threading.Event) -> None:
        self._held = held

    def __fspath__(self) -> str:
        self._held.wait()
        return "/dev/null"


@pytest.mark.parametrize("order", ["first", "caught"])
@pytest.mark.parametrize("how", THREADS)
def test_thread_of_anyio_ends_the_call_with_the_line_when_nothing_else_is_under_way(
    how: str, order: str
) -> None:
    """anyio starts threads of its own, and asks no loop for them."""
    held = threading.Event()
    try:
        outcome = advance(_run(THREADS[how], order, held=held, Held=lambda: _Held(held)))
    finally:
        close_all()
        held.set()
    assert outcome == Faulted(
        "pipeline (call 01f3) waits for something that nothing durable will bring: the body waits "
        "at app.py:2 in io. A result from outside is awaited with dispatch.promise(…), what runs "
        "in a thread with `await dispatch.step(fn, …)`."
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_of_anyio_ends_the_call_when_it_wakes_a_body_that_waits_for_a_call() -> None:
    """Who waits in a library has no line of the user's: it is where it was called from."""
    body = body_of("""
    async def pipeline():
        await asyncio.gather(call("beside"), anyio.to_thread.run_sync(held.wait))
""")
    held = threading.Event()
    body.__globals__.update(anyio=anyio, held=held)
    run = start(body)
    before = set(threading.enumerate())
    try:
        suspended(run)
    finally:
        held.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    outcome = advance(run, ended(0, 1))
    assert isinstance(outcome, Faulted)
    assert (
        "(the body waits at app.py:2 in pipeline; task 1 waits at app.py:2 for beside; task 2 "
        "waits in anyio, called at app.py:2 in pipeline)"
    ) in outcome.message
