"""One server for each file of tests, and a fresh destination for each test.

A file that needs settings has `SETTINGS`, as in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.testing.process import ServerProcess
from tests.acceptance.functions import Client, Endpoint, exits
from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.running import quick


@pytest.fixture(scope="session")
def receivers() -> Iterator[Receivers]:
    """The thread that all destinations run in."""
    made = Receivers()
    yield made
    made.close()


@pytest.fixture
def receiver(receivers: Receivers) -> Iterator[Receiver]:
    """A destination for one test; it answers 200 until told otherwise."""
    with receivers.open() as made:
        yield made


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """The server of this file. It must live through all of its tests, and log no error."""
    directory: Path = tmp_path_factory.mktemp("server")
    settings = quick(**getattr(request.module, "SETTINGS", {}))
    with ServerProcess(directory, **settings) as made:
        yield made
        assert made.stop() == 0
        assert [line for line in made.lines if line["level"] == "error"] == []
        assert made.stderr == ""


@pytest.fixture
def client(server: ServerProcess) -> Client:
    """Whoever dispatches calls to the server of this file."""
    return Client(server)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An application for one test; every run exits until it is told otherwise."""
    with Endpoint(lambda run: exits()) as made:
        yield made
