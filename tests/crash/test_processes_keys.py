"""Keys mean the same in all processes of a server while these are killed one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from dispatcher.testing.destination import FakeDestination
from dispatcher.testing.many import ManyProcesses
from tests.crash.load import read_answer, until

pytestmark = pytest.mark.crash

PROCESSES = 3
CALLERS = 12
EACH = 15
LONG_S = 240.0


@contextlib.asynccontextmanager
async def ready(directory: Path) -> AsyncIterator[ManyProcesses]:
    """A server of several processes."""
    server = ManyProcesses(
        directory, PROCESSES, RETRY_DELAY="60", RETRY_MAX_DELAY="400", RETRYLIMIT="1000"
    )
    try:
        await asyncio.to_thread(server.event, "server.ready")
        yield server
    finally:
        await asyncio.to_thread(server.kill)


async def ask(server: ManyProcesses, to: FakeDestination, key: str, number: int) -> str | None:
    """Send a message on a connection of its own, which any process may take; its id, None where
    there is no answer or one that says to come again."""
    head = [
        "POST /x HTTP/1.1",
        "Host: a",
        f"X-Dispatcher-Origin-Host: {to.authority}",
        f"X-Dispatcher-Order-Key: {key}",
        f"X-Dispatcher-Idempotency-Key: {key}-{number}",
    ]
    body = f"{key} {number}".encode()
    writer = None
    try:
        reader, writer = await asyncio.open_connection(*server.listen)
        writer.write("\r\n".join((*head, f"Content-Length: {len(body)}", "", "")).encode() + body)
        answer = await read_answer(reader)
    except (OSError, asyncio.IncompleteReadError):
        return None
    finally:
        if writer is not None:
            writer.transport.abort()
    if answer.status == 503:
        return None
    assert answer.status == 202
    return answer.id


async def call(server: ManyProcesses, to: FakeDestination, key: str, ids: dict[str, str]) -> None:
    """Send messages in order, each again until it is accepted."""
    for number in range(EACH):
        while True:
            found = await ask(server, to, key, number)
            if found is not None:
                break
            await asyncio.sleep(0.05)
        ids[f"{key} {number}"] = found


async def test_keys_make_one_message_each_in_order_while_processes_are_killed(
    tmp_path: Path,
) -> None:
    """Each caller sends again what was not answered, to whichever process takes it: every message
    is accepted once, and delivered under one id, after the one before it."""
    ids: dict[str, str] = {}
    async with contextlib.AsyncExitStack() as stack:
        places = [await stack.enter_async_context(FakeDestination()) for _ in range(4)]
        server = await stack.enter_async_context(ready(tmp_path))
        calling = [
            asyncio.ensure_future(call(server, places[number % 4], f"k{number}", ids))
            for number in range(CALLERS)
        ]
        for times, process in enumerate((1, 2, 0, 1)):
            await until(
                partial(_are_accepted, ids, (times + 1) * CALLERS * EACH // 6), timeout_s=LONG_S
            )
            started = len(server.of("process.ready", process))
            os.kill(server.pid_of(process), signal.SIGKILL)
            await until(partial(_is_ready, server, process, started + 1), timeout_s=LONG_S)
        await asyncio.gather(*calling)
        await until(lambda: set(_delivered(places)) >= set(ids), timeout_s=LONG_S)
    delivered = _delivered(places)
    assert {body: {ids[body]} for body in ids} == delivered
    order = [body for place in places for body in dict.fromkeys(_bodies(place))]
    for number in range(CALLERS):
        mine = [body for body in order if body.startswith(f"k{number} ")]
        assert mine == [f"k{number} {each}" for each in range(EACH)]


def _are_accepted(ids: dict[str, str], count: int) -> bool:
    return len(ids) >= count


def _is_ready(server: ManyProcesses, process: int, times: int) -> bool:
    return len(server.of("process.ready", process)) >= times


def _bodies(place: FakeDestination) -> list[str]:
    return [one.body.decode() for one in place.requests]


def _delivered(places: list[FakeDestination]) -> dict[str, set[str]]:
    """Under which ids each message came."""
    found: dict[str, set[str]] = {}
    for one in (one for place in places for one in place.requests):
        found.setdefault(one.body.decode(), set()).add(one.headers["x-dispatcher-message-id"])
    return found
