"""The API of a whole server while that stops: it answers as long as there is something to say."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from dispatcher.node.server import Server
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.testing.destination import FakeDestination, Wait, answer
from dispatcher.txlog.files import FileLog

CLOSING_S = 0.1
IN_FLIGHT_S = 0.4

Call = tuple[str, str, Any]
Seen = tuple[float, str, int]
CALLS: list[Call] = [
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/metrics", None),
    ("GET", "/v1/stats", None),
    ("GET", "/v1/dead-letters", None),
    ("GET", "/v1/dead-letters/groups", None),
    ("GET", "/v1/dead-letters/ID", None),
    ("GET", "/v1/messages/ID", None),
    ("GET", "/v1/messages/ID/explain", None),
    ("POST", "/v1/dead-letters/redrive", {"ids": []}),
    ("POST", "/v1/dead-letters/redrive", {"all": True, "status": 599}),
    ("POST", "/v1/dead-letters/purge", {"all": True, "dry_run": True}),
    ("POST", "/v1/destinations/a.example/pause", {}),
    ("POST", "/v1/destinations/a.example/resume", {}),
]
"""Everything that is read, and what changes nothing here, so that it can be asked for ever."""


class Running:
    """A server in this process, with what it logged."""

    def __init__(self, directory: Path, lines: list[str]) -> None:
        self.lines = lines
        settings = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0"}
        logs = {
            "TRANSACTION_LOG": str(directory / "transaction.log"),
            "DEAD_LETTER": str(directory / "deadletter.log"),
        }
        log = open_log(lines.append, level="info", format="json")
        self.server = Server(Settings.load(settings | logs), Events(log))

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://{self._ready()['api_listen']}"

    @property
    def listener(self) -> str:
        """Where messages are accepted."""
        return f"http://{self._ready()['listen'][0]}"

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of that name that were logged so far."""
        return [line for line in map(json.loads, self.lines) if line["event"] == name]

    def _ready(self) -> dict[str, Any]:
        (ready,) = self.events("server.ready")
        return ready


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[Running, str]]:
    """A server with a dead letter and a message that is being sent; the id of the dead letter."""
    server = Running(directory, [])
    await server.server.start()
    async with (
        FakeDestination(default=[Wait(IN_FLIGHT_S), *answer()]) as slow,
        FakeDestination(default=answer(404)) as refusing,
        aiohttp.ClientSession() as session,
    ):
        dead = await _send(session, server, refusing)
        async with asyncio.timeout(60):
            while not server.events("message.dead_lettered"):  # noqa: ASYNC110  # the log tells it
                await asyncio.sleep(0.01)
        await _send(session, server, slow)
        try:
            yield server, dead
        finally:
            await server.server.abort()


async def _send(session: aiohttp.ClientSession, server: Running, to: FakeDestination) -> str:
    headers = {"X-Dispatcher-Origin-Host": to.authority}
    async with session.post(f"{server.listener}/", headers=headers, data=b"x" * 10) as answered:
        assert answered.status == 202
        return answered.headers["X-Dispatcher-Message-Id"]


async def _ask_for_ever(url: str, call: Call, seen: list[Seen], *, keep: bool) -> None:
    """Ask until the server does not answer any more."""
    method, path, body = call
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=not keep)
    ) as session:
        while True:
            try:
                async with session.request(method, url + path, json=body) as answered:
                    await answered.read()
            except aiohttp.ClientConnectorError:
                return
            except aiohttp.ClientError:
                continue  # cut off, or closed just as we wrote
            seen.append((time.monotonic(), path, answered.status))


def on_uvloop(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on the loop that the server runs on. The standard one forgets connections that
    come in the moment it stops to listen: nobody answers or closes them."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test)


def test_no_call_is_answered_500_while_the_server_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the logs take their time: it is answered as always, or not at all."""
    close = FileLog.close

    async def closes_slowly(log: FileLog) -> None:
        await close(log)
        await asyncio.sleep(CLOSING_S)

    monkeypatch.setattr(FileLog, "close", closes_slowly)

    async def test() -> None:
        seen: list[Seen] = []
        async with running(tmp_path) as (server, dead):
            asking = [
                asyncio.create_task(
                    _ask_for_ever(server.url, (m, path.replace("ID", dead), body), seen, keep=keep)
                )
                for m, path, body in CALLS
                for keep in (True, False)
            ]
            await asyncio.sleep(0.1)
            began = time.monotonic()
            assert await server.server.stop(10) == 0
            async with asyncio.timeout(60):
                await asyncio.gather(*asking)
        assert [(path, status) for _, path, status in seen if status == 500] == []
        assert server.events("api.failed") == []
        later = {(path, status) for at, path, status in seen if at > began}
        assert ("/healthz", 200) in later
        assert ("/readyz", 503) in later
        assert ("/metrics", 200) in later
        assert (f"/v1/dead-letters/{dead}", 200) in later

    on_uvloop(test())


def test_stop_does_not_wait_for_readers_of_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for one that reads, who is told of the last deliveries, nor for one that does not."""
    monkeypatch.setattr("dispatcher.api.listening.STOP_SECONDS", 60.0)

    async def test() -> None:
        async with running(tmp_path) as (server, _), aiohttp.ClientSession() as session:
            host, _, port = server.url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b": listening")
            async with session.get(f"{server.url}/v1/events") as listening:
                async with asyncio.timeout(20):
                    assert await server.server.stop(10) == 0
                told = re.findall(r"^event: (\w+)$", await listening.text(), re.MULTILINE)
                assert told[-1] == "delivered"
            writer.close()

    on_uvloop(test())
