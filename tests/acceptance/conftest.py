"""One server for each file of tests, and a fresh destination for each test.

A file that needs settings has `SETTINGS`, as in the environment. With ACCEPTANCE_NODES all servers
are clusters (`served`, `clustered`), and what is about one server alone is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance import clustered
from tests.acceptance.functions import Client, Endpoint, exits
from tests.acceptance.of_one_server import why_not
from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.running import quick
from tests.acceptance.served import NODES, ServerProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what a cluster does not promise."""
    for item in items if NODES else ():
        if item.path.parent == Path(__file__).parent:
            reason = why_not(item.path.stem, item.name.partition("[")[0])
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True, scope="session")
def _nats_of_clusters() -> Iterator[None]:
    """NATS, where there are clusters, ends after all tests."""
    yield
    clustered.end()


@pytest.fixture(autouse=True, scope="module")
def _clusters_of_a_file() -> Iterator[None]:
    """What clusters have stored goes with the file of tests."""
    yield
    clustered.forget()


@pytest.fixture(autouse=True)
def _clusters_of_a_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """And that of a test's own clusters with the test."""
    is_needed = NODES and "tmp_path" in request.fixturenames
    place: Path | None = request.getfixturevalue("tmp_path") if is_needed else None
    yield
    if place is not None:
        clustered.forget(place)


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
