"""A server with a key for the application, signed and unsigned."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.testing.process import ServerProcess
from tests.dispatch_py.environment import CAN_BE_MADE, environment
from tests.dispatch_py.sdk import Application

SETTINGS = {
    "API_KEYS": "an application's,reader:read:a reader's",
    "CALL_RETRY_DELAY": "50",
    "CALL_RETRY_MAX_DELAY": "400",
    "CALL_TIMEOUT": "20000",
    "DRAIN_TIMEOUT": "300",
}


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python that has the SDK."""
    if not CAN_BE_MADE:
        pytest.skip("dispatch-py 0.8.0 has wheels for Python 3.12 and older only")
    return environment()


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with its logs in `tmp_path`, and other settings where a test says so."""
    settings: dict[str, str] = getattr(request, "param", SETTINGS)
    with ServerProcess(tmp_path, **settings) as made:
        yield made


@pytest.fixture
def application(python: Path, tmp_path: Path, server: ServerProcess) -> Iterator[Application]:
    """The application, which looks at signatures."""
    key = verification_key(tmp_path)
    with Application(python, tmp_path, server, DISPATCH_VERIFICATION_KEY=key) as made:
        yield made


@pytest.fixture(scope="module", params=["unsigned", "signed"])
def both(
    request: pytest.FixtureRequest, python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServerProcess, Application]]:
    """A server and an application, which looks at signatures or does not, for tests that kill
    neither: to start them takes longer than the tests."""
    directory = tmp_path_factory.mktemp(request.param)
    with ServerProcess(directory, **SETTINGS) as server:
        more = {"DISPATCH_VERIFICATION_KEY": verification_key(directory)}
        signed = more if request.param == "signed" else {}
        with Application(python, directory, server, **signed) as application:
            yield server, application


def verification_key(directory: Path) -> str:
    """What `dispatcher keys show` prints for the server in this directory."""
    shown = subprocess.run(
        [sys.executable, "-m", "dispatcher", "keys", "show"],
        cwd=directory,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return shown.stdout.strip()
