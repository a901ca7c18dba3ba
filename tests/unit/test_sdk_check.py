"""What a durable body must not do is found in tests, and under `dispatcher run --check`."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio.to_thread
import pytest
import requests

import dispatcher.sdk as dispatch
from dispatcher.protocol.messages import RunRequest, RunResponse
from dispatcher.protocol.signing import RUN_PATH
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.app import Dispatch
from dispatcher.sdk.check import Checked
from dispatcher.sdk.replay.model import Returned, Suspended, Told
from dispatcher.sdk.testing import Environment, NotDeterministic
from dispatcher.sdk.wire import any_of
from dispatcher.testing.durable import advance, call, ended

CALLS = 0


@dispatch.function
async def double(number: int) -> int:
    """Something to wait for."""
    return 2 * number


def _careless(what: Callable[[], object]) -> dispatch.Function[[int], int]:
    @dispatch.function(name="careless", durable=True)
    async def careless(number: int) -> int:
        await double(number)
        what()
        return number

    return careless


def _said_of(what: Callable[[], object]) -> str:
    careless = _careless(what)
    with Environment(careless, double) as env, pytest.raises(NotDeterministic) as error:
        env.run(careless, 1)
    return str(error.value)


@pytest.mark.parametrize(
    ("what", "does", "instead"),
    [
        (time.time, "reads the clock", "Write dispatch.now()"),
        (lambda: time.monotonic(), "reads the clock", "Write dispatch.now()"),
        (lambda: datetime.now(), "reads the clock", "Write dispatch.now()"),
        (lambda: random.random(), "draws a random number", "Write dispatch.random()"),
        (lambda: random.randint(1, 6), "draws a random number", "Write dispatch.random()"),
        (lambda: uuid.uuid4(), "draws a random number", "Write dispatch.random()"),
        (lambda: secrets.token_hex(), "draws a random number", "Write dispatch.random()"),
        (lambda: time.sleep(0), "blocks", "Write `await dispatch.sleep(seconds)`"),
        (lambda: Path(os.devnull).read_text(), "opens a file", "`await dispatch.step(fn, …)`"),
        (lambda: os.listdir("/"), "reads a directory", "`await dispatch.step(fn, …)`"),
        (lambda: subprocess.run(["true"]), "starts a process", "`await dispatch.step(fn, …)`"),
    ],
)
def test_code_that_is_not_the_same_each_time_is_named_with_its_line(
    what: Callable[[], object], does: str, instead: str
) -> None:
    """And what to write in its place."""
    said = _said_of(what)
    assert said.startswith("careless (call "), said
    assert f") {does}, at tests/unit/test_sdk_check.py:" in said
    assert instead in said


def test_connection_of_a_blocking_library_is_named() -> None:
    """No loop is asked for it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def connect() -> None:
            socket.create_connection(listening.getsockname()).close()

        said = _said_of(connect)
    assert "looks up the address of a host, at tests/unit/test_sdk_check.py:" in said


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _answering() -> Iterator[str]:
    """A server that keeps connections, in threads."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("is_pooled", [False, True])
def test_request_of_a_blocking_client_is_named_with_the_library(is_pooled: bool) -> None:
    """requests asks no loop either; and a connection that it has in its pool is not opened."""
    with _answering() as url, requests.Session() as session:
        session.trust_env = False  # else the first thing that it does is to read ~/.netrc
        if is_pooled:
            session.get(url).close()
        said = _said_of(lambda: session.get(url))
    does = "sends a request" if is_pooled else "looks up the address of a host"
    assert f") {does}, at tests/unit/test_sdk_check.py:" in said, said
    assert ", by requests. Every replay does it again" in said
    assert "reads the clock" not in said, "which it does for itself, on its way to the request"


def test_thread_that_a_library_starts_is_named_when_a_call_is_under_way_beside_it() -> None:
    """On its first run: without `check` it is told once the thread wakes the body."""
    held = threading.Event()

    async def waits() -> None:
        await anyio.to_thread.run_sync(held.wait)

    @dispatch.function(durable=True)
    async def careless(number: int) -> int:
        doubled, _ = await asyncio.gather(double(number), waits())
        return doubled

    try:
        with Environment(careless, double) as env, pytest.raises(NotDeterministic) as error:
            env.run(careless, 1)
    finally:
        held.set()
    assert ") starts a thread, at tests/unit/test_sdk_check.py:" in str(error.value)


def test_all_that_is_careless_is_told_at_once_when_a_test_runs_it() -> None:
    """In the order in which it comes by; and told once."""

    def what() -> None:
        time.time()
        os.listdir("/")

    careless = _careless(what)
    with Environment(careless, double) as env:
        with pytest.raises(NotDeterministic) as error:
            env.run(careless, 1)
        clock, directory = str(error.value).splitlines()
        assert env.run(double, 1) == 2
    assert "reads a directory" in directory
    assert "reads the clock" in clock


def test_replay_that_returns_something_else_is_told_with_both_values() -> None:
    """What reaches no operation is on no record: only the value shows it."""

    def count() -> None:
        global CALLS
        CALLS += 1

    @dispatch.function(durable=True)
    async def counting(number: int) -> int:
        await double(number)
        count()
        return CALLS

    with Environment(counting, double) as env, pytest.raises(NotDeterministic) as error:
        env.run(counting, 1)
    assert "was replayed at once, to check it, and went another way: first it returned " in str(
        error.value
    )


def test_replay_that_does_not_fit_is_told_once() -> None:
    """However often the call waits afterwards; and nobody has edited it."""
    drawn = iter(range(100))

    async def clock() -> int:
        first = await call("double", next(drawn))
        return await call("double", first) + first

    said: list[str] = []
    run = Checked(clock, Told("1", "clock"), None, report=said.append)
    assert isinstance(advance(run), Suspended)
    assert isinstance(advance(run, ended(0, 7)), Suspended)
    assert advance(run, ended(1, 8)) == Returned(15, [])
    (one,) = said
    lines = one.splitlines()
    assert (
        lines[0] == "clock (call 1) did something else when it was replayed at once, to check it."
    )
    assert lines[1].startswith("  recorded   await 1: double, called at ")
    assert lines[2].startswith("  now        await 1: double with another input, called at ")
    assert lines[3].startswith("Look for sets, globals, time, random or I/O at ")
    assert len(lines) == 4


@dispatch.function
async def careful(number: int) -> list[object]:
    """Everything in the ways that are meant for it."""
    import json

    own = random.Random(number)
    started = dispatch.now()
    logging.getLogger("test").warning("a line has a time")
    dispatch.log.warning("this too")
    first = await double(own.randint(1, 6))
    await dispatch.sleep(5)
    later = await dispatch.step(time.time)
    return [
        first,
        json.dumps(str(dispatch.now() - started)),
        dispatch.random(),
        str(dispatch.uuid4()),
        later,
    ]


def test_code_that_is_the_same_each_time_is_left_in_peace() -> None:
    """Clocks and randomness of this package, a generator of its own, logging, imports and steps."""
    with Environment(careful, double) as env:
        assert len(env.run(careful, 3)) == 5


async def test_application_under_check_says_it_in_its_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the call goes on."""
    monkeypatch.setenv("DISPATCH_CHECK", "1")

    @dispatch.function(durable=True)
    async def careless(number: int) -> int:
        return number if time.time() else 0

    app = Dispatch(careless)
    input = any_of(careless.build_call(17).input)
    sent = RunRequest(function=careless.name, dispatch_id="1", input=input).SerializeToString()
    answer = await app.handle("POST", RUN_PATH, {"Content-Type": "application/proto"}, sent)
    assert RunResponse.FromString(answer.body).status == Status.OK
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "(call 1) reads the clock, at tests/unit/test_sdk_check.py:" in caplog.text
