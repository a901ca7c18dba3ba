"""An application of the SDK as a process of its own: what it prints, and how it ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher.errors import PortTaken

_RUN = "/dispatch.sdk.v1.FunctionService/Run"
_SOURCE = """
import asyncio, sys
from dispatcher.sdk.config import Address, Config
from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.serving.serve import serve

class App:
    config = Config(
        api_url="http://127.0.0.1:8081", address=Address("127.0.0.1", int(sys.argv[1]))
    )

    def describe(self):
        return [
            "greet, app.py:3\\n  plain: it is not async",
            "welcome, app.py:8\\n  durable: it names greet",
        ]

    async def handle(self, method, path, headers, body):
        print("under way", flush=True)
        line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        return Answer(200, (), line.strip().encode())

serve(App())
print("over", flush=True)
"""


class Process:
    """The application, which answers a run with the next line of its input."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.told = [self.line(), *[self.line() for _ in range(4)]]
        self.port = int(self.told[0].partition(",")[0].rpartition(":")[2])

    def line(self) -> str:
        """What it prints next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def says(self, line: str) -> None:
        """Let a run go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def post(self) -> bytes:
        """Ask for a run; b"" where there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", _RUN, body=b"run")
            return connection.getresponse().read()
        except (http.client.HTTPException, OSError):
            return b""
        finally:
            connection.close()

    def has_stopped_listening(self) -> bool:
        """Whether nobody can connect any more."""
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) != 0


@contextmanager
def served(port: int = 0) -> Iterator[Process]:
    """Start it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SOURCE, str(port)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Process(process)
    finally:
        process.kill()
        process.communicate()


def test_application_prints_where_it_listens_and_what_its_functions_are() -> None:
    """One line of its own, and then each function, durable or plain, and why."""
    with served() as app:
        assert app.told == [
            f"Listening at http://127.0.0.1:{app.port}, with 2 functions",
            "  greet, app.py:3",
            "    plain: it is not async",
            "  welcome, app.py:8",
            "    durable: it names greet",
        ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_application_that_is_stopped_lets_runs_end(number: signal.Signals) -> None:
    """It takes no others, says for what it waits, answers that, and ends well."""
    with served() as app:
        answers: list[bytes] = []
        asking = threading.Thread(target=lambda: answers.append(app.post()))
        asking.start()
        assert app.line() == "under way"
        app.process.send_signal(number)
        while not app.has_stopped_listening():
            assert app.process.poll() is None
        app.says("done")
        asking.join(30)
        assert answers == [b"done"]
        assert app.line() == "Waits for 1 run, 25 s at most"
        assert app.line() == "over"
        assert app.process.wait(30) == 0


def test_application_that_is_stopped_twice_waits_for_nothing() -> None:
    """Whoever asks again means it."""
    with served() as app:
        answers: list[bytes] = []
        asking = threading.Thread(target=lambda: answers.append(app.post()))
        asking.start()
        assert app.line() == "under way"
        app.process.send_signal(signal.SIGTERM)
        while not app.has_stopped_listening():
            assert app.process.poll() is None
        app.process.send_signal(signal.SIGTERM)
        assert app.process.wait(30) == -signal.SIGTERM
        asking.join(30)
        assert answers == [b""]


def test_address_that_is_taken_is_told_in_one_line() -> None:
    """And what to do about it; the exit code tells it too."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = subprocess.run(
            [sys.executable, "-c", _SOURCE, str(port)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert process.returncode == PortTaken.exit_code
    assert process.stderr == (
        f"can't listen at 127.0.0.1:{port}: address already in use. "
        "Stop what uses the port, or write another one: DISPATCH_ENDPOINT_ADDR=HOST:PORT, or "
        "Dispatch(address=…).\n"
    )
