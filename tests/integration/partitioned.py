"""A server of any assignment in the process of the tests, and destinations by their partition."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from dispatcher.core.destination import Origin
from dispatcher.core.placing import partition_of
from dispatcher.listening.given import GivenSockets
from dispatcher.node.assignment import Assignment
from dispatcher.node.layout import Layout
from dispatcher.node.server import Server
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.testing.destination import FakeDestination


class Running:
    """A server in this process, and a session with it."""

    def __init__(
        self,
        directory: Path,
        session: aiohttp.ClientSession,
        assignment: Assignment,
        given: GivenSockets | None = None,
        layout: Layout | None = None,
        **more: str,
    ) -> None:
        self.lines: list[dict[str, Any]] = []
        self.session = session
        settings = {
            "LISTEN": "127.0.0.1:0",
            "API_LISTEN": "127.0.0.1:0",
            "TRANSACTION_LOG": str(directory / "transaction.log"),
            "DEAD_LETTER": str(directory / "deadletter.log"),
            "RETRY_LIMIT": "1",
            "RETRY_DELAY": "10m",
            **more,
        }
        log = open_log(
            lambda line: self.lines.append(json.loads(line)), level="info", format="json"
        )
        self.server = Server(
            Settings.load(settings),
            Events(log),
            assignment=assignment,
            layout=layout,
            given=given,
        )

    @property
    def ready(self) -> dict[str, Any]:
        """What it said when it was."""
        return next(line for line in self.lines if line["event"] == "server.ready")

    async def ask(self, to: FakeDestination, **options: str) -> aiohttp.ClientResponse:
        """Send a message with these options (`order_key` is `X-Dispatcher-Order-Key`), and return
        the answer, read."""
        headers = {
            f"X-Dispatcher-{name.replace('_', '-').title()}": value
            for name, value in {"origin_host": to.authority, **options}.items()
        }
        url = f"http://{self.ready['listen'][0]}/"
        async with self.session.post(url, headers=headers, data=b"x") as answered:
            await answered.read()
            return answered

    async def post(self, to: FakeDestination, *, key: str | None = None) -> str:
        """Send a message; its id. With a key it lies in the partition of its destination."""
        answered = await self.ask(to, **({} if key is None else {"order_key": key}))
        assert answered.status == 202, await answered.text()
        return answered.headers["X-Dispatcher-Message-Id"]

    async def api(self, path: str, body: object = None, *, lines: bool = False) -> Any:
        """Ask the API, and return what it says."""
        url = f"http://{self.ready['api_listen']}{path}"
        asked = self.session.get(url) if body is None else self.session.post(url, json=body)
        async with asked as answered:
            text = await answered.text()
            assert answered.status < 300, text
            return json.loads(text) if text[:1] in "{[" and not lines else text

    async def metrics(self) -> dict[str, float]:
        """All samples, by name and labels."""
        lines = (await self.api("/metrics")).splitlines()
        samples = (line.rpartition(" ") for line in lines if line[:1] != "#")
        return {name: float(value) for name, _, value in samples}

    async def is_idle(self) -> bool:
        """Whether no message waits or is under way."""
        return self.server.pending == 0

    async def dead(self, count: int) -> None:
        """Wait until there are so many dead letters."""

        async def are_dead() -> bool:
            return bool((await self.api("/v1/overview"))["dead"]["count"] == count)

        await until(are_dead)


@asynccontextmanager
async def running(
    directory: Path,
    assignment: Assignment,
    given: GivenSockets | None = None,
    layout: Layout | None = None,
    **more: str,
) -> AsyncIterator[Running]:
    """A server that is started, and stopped at the end."""
    async with aiohttp.ClientSession() as session:
        server = Running(directory, session, assignment, given, layout, **more)
        await server.server.start()
        try:
            yield server
        finally:
            assert await server.server.stop(0) == 0
            assert not [line for line in server.lines if line["event"] == "task.died"]


@asynccontextmanager
async def destinations(spread: int) -> AsyncIterator[list[FakeDestination]]:
    """One for each partition of so many: what has a key and goes there lies in that one."""
    async with AsyncExitStack() as stack:
        found: dict[int, FakeDestination] = {}
        while len(found) < spread:
            destination = await stack.enter_async_context(FakeDestination())
            found.setdefault(partition_of(place_of(destination), spread), destination)
        yield [found[number] for number in range(spread)]


def place_of(destination: FakeDestination) -> bytes:
    """Where its messages meet (`core.placing`)."""
    return Origin.parse(destination.authority.encode()).destination.key


async def until(condition: Callable[[], Coroutine[None, None, bool]]) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(240):
        while not await condition():  # noqa: ASYNC110  # the server is asked
            await asyncio.sleep(0.02)
