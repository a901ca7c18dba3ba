"""One server for each file of tests, and a fresh destination for each test.

A file that needs settings has `SETTINGS`, as in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from dispatcher.testing.process import ServerProcess
from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.running import quick
from tests.acceptance.slow import SLOW


@pytest.fixture(scope="session")
def receivers() -> Iterator[Receivers]:
    """The thread that all destinations run in."""
    made = Receivers()
    yield made
    made.close()


@pytest.fixture(scope="session", autouse=True)
def slow(
    request: pytest.FixtureRequest, receivers: Receivers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """The scenarios of `slow.py` that were asked for, under way from the start."""
    names = {item.name for item in request.session.items}
    with ThreadPoolExecutor(len(SLOW)) as pool:
        yield {
            one.__name__: pool.submit(one, tmp_path_factory.mktemp(one.__name__), receivers)
            for one in SLOW
            if f"test_slow[{one.__name__}]" in names
        }


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
