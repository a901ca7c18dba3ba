"""Applications written with the real SDK that nobody can connect to: a client fetches their runs,
as the Dispatch command line does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.process import ServerProcess
from tests.dispatch_py.conftest import SETTINGS
from tests.dispatch_py.sdk import Application
from tests.dispatch_py.test_dispatch_py import output

_STARTS_S = 60.0
_QUICK = {**SETTINGS, "CALL_TIMEOUT": "2000"}


class Client:
    """The client, as a process."""

    def __init__(self, directory: Path, server: ServerProcess, application: Application) -> None:
        host, port = server.api
        self._file = directory / "client"
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "dispatcher.testing.bridge",
                f"http://{host}:{port}",
                "an application's",
                "s1",
                application.url.removeprefix("http://"),
            ],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=self._file.open("ab"),
        )

    @property
    def seen(self) -> list[dict[str, Any]]:
        """What was fetched, in order, by this client and those before it."""
        return [json.loads(line) for line in self._file.read_text().splitlines()]

    def until(self, count: int) -> None:
        """Wait until so many requests were fetched."""
        end = time.monotonic() + _STARTS_S
        while len(self.seen) < count:
            assert time.monotonic() < end, self.seen
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash does. Idempotent."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@pytest.fixture
def application(python: Path, tmp_path: Path, server: ServerProcess) -> Iterator[Application]:
    """The application, which only says which session it is served in."""
    with Application(python, tmp_path, server, DISPATCH_ENDPOINT_URL="bridge://s1") as made:
        yield made


def test_functions_are_run_through_a_session(
    server: ServerProcess, application: Application, tmp_path: Path
) -> None:
    """A parent always before its children: the command line shows them as a tree."""
    with Client(tmp_path, server, application) as client:
        for function, arguments, returned in (
            ("add", (1, 2), 3),
            ("at_once", (12,), [float(number + 1) for number in range(12)]),
            ("nested", (4,), 4),
            ("catches", ("luck",), "PermanentError: no luck"),
            ("countdown", (3, 0), 6),
            ("throttled", ("throttle", 2), "throttle"),
        ):
            assert output(server, application.dispatch(function, *arguments)) == returned
        known = {""}
        for request in client.seen:
            assert request["parent"] in known, request
            known.add(request["id"])
        attempts = [one["attempt"] for one in client.seen if one["function"] == "throttled"]
        assert attempts == [1, 2, 3]


@pytest.mark.parametrize("server", [_QUICK], indirect=True)
def test_client_that_is_killed_with_a_request_costs_an_attempt(
    server: ServerProcess, application: Application, tmp_path: Path
) -> None:
    """Calls wait until there is another one, which goes on with the session. As the command line
    does, it starts the application anew: its process answers 500 to what it has ended already."""
    with Client(tmp_path, server, application) as client:
        number = application.dispatch("pipeline", "left")
        client.until(2)
    application.kill()
    application.start()
    with Client(tmp_path, server, application) as client:
        assert output(server, number) == "left 1, left 2, left 3"
        again = [one for one in client.seen if one["id"] == client.seen[1]["id"]]
        assert [one["attempt"] for one in again][:2] == [1, 2]


def test_application_that_does_not_listen_is_asked_again(
    server: ServerProcess, application: Application, tmp_path: Path
) -> None:
    """The client gives its requests up."""
    number = application.dispatch("add", 40, 2)
    application.kill()
    with Client(tmp_path, server, application) as client:
        client.until(2)
        application.start()
        assert output(server, number) == 42


def test_server_that_is_killed_goes_on_with_its_sessions(
    server: ServerProcess, application: Application, tmp_path: Path
) -> None:
    """What was out is fetched again."""
    with Client(tmp_path, server, application) as client:
        number = application.dispatch("pipeline", "kept")
        client.until(2)
        host, port = server.api
        server.kill()
        application.kill()
        application.start()
        with ServerProcess(tmp_path, **{**SETTINGS, "API_LISTEN": f"{host}:{port}"}) as again:
            assert output(again, number) == "kept 1, kept 2, kept 3"
