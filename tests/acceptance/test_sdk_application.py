"""An application of the SDK with a real server, and what is left when either is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk.client.blocking import SyncClient
from dispatcher.sdk.exceptions import Cancelled
from tests.acceptance.receiver import eventually
from tests.acceptance.running import quick
from tests.acceptance.served import ServerProcess

pytestmark = pytest.mark.crash

SOURCE = Path(__file__).with_name("sdk_application.py")
ROOT = Path(__file__).parents[2]
SETTINGS = {
    "API_KEYS": "a key",
    "CALL_RETRY_DELAY": "50",
    "CALL_RETRY_MAX_DELAY": "200",
    "DRAIN_TIMEOUT": "300",
}


class Site:
    """A server and an application, both processes, which may be killed and started again. The
    application looks at signatures."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.steps_file = directory / "steps"
        self.steps_file.touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.server = self.start_server()
        self.key = self.verification_key()
        self.application = self.start_application()

    def start_server(self) -> ServerProcess:
        server = ServerProcess(self.directory, **quick(**SETTINGS))
        server.event("server.ready")
        host, port = server.api
        self.api = f"http://{host}:{port}"
        return server

    def start_application(self) -> subprocess.Popen[str]:
        environ = {name: value for name, value in os.environ.items() if "DISPATCH" not in name}
        environ |= {
            "PYTHONPATH": str(ROOT),
            "DISPATCH_API_URL": self.api,
            "DISPATCH_API_KEY": "a key",
            "DISPATCH_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "DISPATCH_ENDPOINT_ADDR": f"127.0.0.1:{self.port}",
            "DISPATCH_VERIFICATION_KEY": self.key,
            "STEPS": str(self.steps_file),
        }
        process = subprocess.Popen(
            [sys.executable, str(SOURCE)],
            env=environ,
            cwd=self.directory,
            text=True,
            stdout=subprocess.PIPE,
            stderr=(self.directory / "application.log").open("a"),
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Listening at ")
        return process

    def verification_key(self) -> str:
        shown = subprocess.run(
            [sys.executable, "-m", "dispatcher", "keys", "show"],
            cwd=self.directory,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        return shown.stdout.strip()

    def client(self) -> SyncClient:
        return SyncClient(api_url=self.api, api_key="a key")

    def call(self, function: str, *args: object) -> dispatch.BuiltCall[Any]:
        """A call of one of its functions, as somebody else makes it."""
        url = f"http://127.0.0.1:{self.port}"
        return dispatch.remote(function, endpoint=url, returns=Any).build_call(*args)

    def kill_application(self) -> None:
        self.application.send_signal(signal.SIGKILL)
        self.application.communicate()

    def kill_server(self) -> None:
        self.server.kill()

    def go(self) -> None:
        """Let what is held end."""
        (self.directory / "go").touch()

    @property
    def steps(self) -> Counter[str]:
        return Counter(self.steps_file.read_text().splitlines())

    def until(self, step: str) -> None:
        eventually(lambda: step in self.steps)

    @property
    def is_quiet(self) -> bool:
        """Whether Python complained of nothing in the application."""
        log = (self.directory / "application.log").read_text()
        return not any(word in log for word in ("never awaited", "destroyed", "never retrieved"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For all tests here: whatever they kill they start again."""
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.kill_application()
    made.kill_server()


@pytest.fixture
def site(running: Site) -> Site:
    """With nothing that may go on."""
    (running.directory / "go").unlink(missing_ok=True)
    return running


def application(site: Site) -> None:
    site.kill_application()
    site.application = site.start_application()


def server(site: Site) -> None:
    site.kill_server()
    site.server = site.start_server()


def both(site: Site) -> None:
    site.kill_application()
    site.kill_server()
    site.server = site.start_server()
    site.application = site.start_application()


def test_functions_call_each_other_and_results_are_told(site: Site) -> None:
    """The example of the documentation; an exception comes back as what it was."""
    with site.client() as client:
        welcome, catches = client.dispatch(
            site.call("welcome", ["Ada", "Alan"]), site.call("catches", "it")
        )
        assert welcome.result(timeout=20) == ["Hello, Ada!", "Hello, Alan!"]
        assert catches.result(timeout=20) == "caught it"


@pytest.mark.parametrize("kill", [application, server, both])
def test_a_pipeline_goes_on_where_it_was_when_processes_are_killed(
    site: Site, kill: Callable[[Site], None]
) -> None:
    """Its steps are not done again: they were stored before what came after them."""
    with site.client() as client:
        (handle,) = client.dispatch(site.call("pipeline", kill.__name__))
        site.until(f"held {kill.__name__}")
        kill(site)
        site.go()
    with site.client() as client:
        found = client.result(handle.id, returns=list[str], timeout=20)
    word = kill.__name__
    assert found == [f"first {word}", f"second {word}", word, f"last {word}"]
    steps = site.steps
    assert [steps[f"{which} {word}"] for which in ("first", "second", "last")] == [1, 1, 1]
    assert site.is_quiet


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_step_that_is_to_run_once_does(site: Site, is_killed: bool) -> None:
    """Also where its application dies in it: then the function is told."""
    word = f"once {is_killed}"
    with site.client() as client:
        (handle,) = client.dispatch(site.call("once", word))
        site.until(f"held {word}")
        if is_killed:
            application(site)
        site.go()
        assert handle.result(timeout=20) == (f"Interrupted: {word}" if is_killed else word)
    assert site.steps[f"held {word}"] == 1


def test_large_results_are_asked_for_by_an_application_that_is_new(site: Site) -> None:
    """The state does not hold them; the server keeps them over its own death, too."""
    with site.client() as client:
        (handle,) = client.dispatch(site.call("reads", 200_000))
        site.until("held reads")
        both(site)
        site.go()
    with site.client() as client:
        assert client.result(handle.id, timeout=20) == [200_000, 5, 200_000]
    assert site.is_quiet


def test_a_call_that_is_cancelled_cleans_up(site: Site) -> None:
    """What it calls in its `finally` is run; who waits for it is told."""
    with site.client() as client:
        (handle,) = client.dispatch(site.call("long"))
        eventually(lambda: client.info(handle.id).state == "suspended")
        handle.cancel()
        with pytest.raises(Cancelled):
            handle.result(timeout=20)
        site.until("greet cleanup")
