"""The receiver behind a real dispatcher that signs: whatever is killed, a message is handled once.
And what docs/receiving.md shows, run as it stands."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError

import pytest

from dispatcher.receiver import (
    AsgiReceiver,
    MessageRunning,
    SignatureRefused,
    StoreUnavailable,
    WsgiReceiver,
    sign,
)
from dispatcher.receiver.rules import RequestRefused
from dispatcher.testing.ports import KeptPort
from tests.acceptance.receiver import eventually
from tests.acceptance.running import ROOT, metrics, quick, settled
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, post

SECRET = "whsec_bm90IGEgc2VjcmV0IGFueSBtb3Jl"
PAGE = (ROOT / "docs" / "receiving.md").read_text()


class Application:
    """A program that serves an application, in a process of its own; `text` is what it prints."""

    def __init__(self, directory: Path, port: int, *command: str, **environ: str) -> None:
        self._directory = directory
        self._port = port
        self._command = [sys.executable, "-m", *command]
        self._environ = os.environ | {"PYTHONPATH": f"{ROOT}:{directory}"} | environ
        self._output = directory / "output"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def text(self) -> str:
        return self._output.read_text()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environ,
                stdout=output,
                stderr=output,
            )
        eventually(self._answers)

    def kill(self) -> None:
        """End it at once, as a crash does. Idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.text
        try:
            self.ask({}, b"")
        except HTTPError:
            return True
        except OSError:
            return False
        return True

    def ask(self, headers: Mapping[str, str], body: bytes, path: str = "/orders") -> Message:
        """Send it a request, and return the headers of the answer.

        Raises:
            HTTPError: it is not 2xx.
        """
        url = f"http://127.0.0.1:{self._port}{path}"
        request = urllib.request.Request(url, body, dict(headers), method="POST")
        with urllib.request.urlopen(request, timeout=60) as found:
            answered: Message = found.headers
            return answered

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


@pytest.fixture
def port() -> Iterator[int]:
    """Of the application, also while it is down."""
    with KeptPort() as kept:
        yield kept.number


def dispatcher(directory: Path, port: int, **settings: str) -> ServerProcess:
    """A dispatcher with the rule that the page shows; in another directory than the application."""
    place = directory / "server"
    place.mkdir(exist_ok=True)
    (rule,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)
    (place / "rules.toml").write_text(rule.replace("localhost:9000", f"127.0.0.1:{port}"))
    settings = {"DISPATCHER_CONFIG": "rules.toml", "WEBHOOK_SECRET": SECRET} | settings
    return ServerProcess(place, **quick(RETRYLIMIT="1000", **settings))


def deliver(server: ServerProcess, port: int, body: bytes, *headers: str) -> None:
    """Have a message accepted."""
    assert ask(server.listen, post(f"127.0.0.1:{port}", *headers, path="/orders", body=body)).id


# --- Crashes --------------------------------------------------------------------------------------


class Handling:
    """An application of one kind that runs: its handlers wait for the file `go`."""

    def __init__(self, directory: Path, port: int, kind: str, *, lease_s: float = 300) -> None:
        self._directory = directory
        self.application = Application(
            directory,
            port,
            "tests.acceptance.receiving_application",
            kind,
            str(port),
            STEPS=str(directory / "steps"),
            WEBHOOK_SECRET=SECRET,
            LEASE_S=str(lease_s),
        )

    @property
    def steps(self) -> list[str]:
        """What they have done."""
        path = self._directory / "steps"
        return path.read_text().splitlines() if path.exists() else []

    def until(self, *steps: str) -> None:
        """Wait until they have done this, and nothing else."""
        eventually(lambda: len(self.steps) >= len(steps))
        assert self.steps == [*steps]

    def make(self, name: str) -> None:
        """Make a file."""
        (self._directory / name).touch()

    def remove(self, name: str) -> None:
        """Remove it."""
        (self._directory / name).unlink()

    def __enter__(self) -> Self:
        self.application.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.application.kill()


def tried(server: ServerProcess, status: int) -> bool:
    """Whether an attempt has ended so."""
    ended = server.events("attempt.finished")
    return any(line.get("status") == status for line in ended)


KINDS = pytest.mark.parametrize("kind", ["asgi", "wsgi"])


@KINDS
def test_message_is_handled_once_when_the_dispatcher_is_killed(
    kind: str, tmp_path: Path, port: int
) -> None:
    """Its handler is at work and nobody waits for the answer; the dispatcher that starts next sends
    the message again, is told to wait, and then that it was handled."""
    with Handling(tmp_path, port, kind) as handling:
        with dispatcher(tmp_path, port) as server:
            deliver(server, port, b"a")
            handling.until("began a")
            server.kill()
        with dispatcher(tmp_path, port) as server:
            eventually(lambda: tried(server, 425))
            handling.make("go")
            settled(server, 1)
        assert handling.steps == ["began a", "ended a"]


@KINDS
def test_message_is_handled_once_when_its_handler_takes_too_long(
    kind: str, tmp_path: Path, port: int
) -> None:
    """The dispatcher has given up the attempt; it is not told 200 before the handler has ended."""
    with Handling(tmp_path, port, kind) as handling, dispatcher(tmp_path, port) as server:
        deliver(server, port, b"a", "X-Dispatcher-Timeout: 200ms")
        eventually(lambda: tried(server, 425))
        assert metrics(server)["dispatcher_messages_delivered_total"] == 0
        handling.make("go")
        settled(server, 1)
        assert handling.steps == ["began a", "ended a"]


@KINDS
def test_message_is_handled_again_when_its_handler_fails(
    kind: str, tmp_path: Path, port: int
) -> None:
    """As often as it does."""
    with Handling(tmp_path, port, kind) as handling, dispatcher(tmp_path, port) as server:
        handling.make("fail")
        handling.make("go")
        deliver(server, port, b"a")
        eventually(lambda: len(handling.steps) >= 2)
        handling.remove("fail")
        settled(server, 1)
        *failures, last = handling.steps
        assert set(failures) == {"began a"}
        assert last == "ended a"


@KINDS
def test_message_is_handled_again_when_the_application_is_killed(
    kind: str, tmp_path: Path, port: int
) -> None:
    """Its handler never ended. The one that runs next starts after the lease."""
    with Handling(tmp_path, port, kind, lease_s=2) as handling:
        with dispatcher(tmp_path, port) as server:
            deliver(server, port, b"a")
            handling.until("began a")
            handling.application.kill()
            handling.make("go")
            handling.application.start()
            settled(server, 1)
        assert handling.steps == ["began a", "began a", "ended a"]


# --- The page -------------------------------------------------------------------------------------


def snippets() -> Iterator[tuple[str, str, str]]:
    """Each program of the page, the heading it stands under, and what it prints."""
    shown = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)
    for found in shown.finditer(PAGE):
        heading = re.findall(r"^## (.*)$", PAGE[: found.start()], re.M)[-1]
        yield heading, found[1], found[2] or ""


def commands(heading: str, port: int) -> list[str]:
    """The command that starts a program of the page, for another port."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    command = re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)[-1]
    assert "9000" in command
    return str(command).replace("9000", str(port)).split()


@pytest.mark.parametrize("heading", ["FastAPI", "Flask"])
def test_application_of_the_page_takes_each_message_once(
    heading: str, tmp_path: Path, port: int
) -> None:
    """Started, and sent to, as the page says."""
    (source,) = (source for found, source, _ in snippets() if found == heading)
    (tmp_path / "app.py").write_text(source)
    command = commands(heading, port)
    with (
        Application(tmp_path, port, *command, WEBHOOK_SECRET=SECRET) as application,
        dispatcher(tmp_path, port) as server,
    ):
        for body in (b'{"id": 7}', b'{"id": 8}'):
            deliver(server, port, body, "Content-Type: application/json")
        settled(server, 2)
        assert sorted(re.findall("order [0-9]+", application.text)) == ["order 7", "order 8"]
        body = b'{"id": 9}'
        headers = {"Content-Type": "application/json"} | sign(SECRET, "another", body)
        assert application.ask(headers, body)["X-Dispatcher-Duplicate"] is None
        assert application.ask(headers, body)["X-Dispatcher-Duplicate"] == "true"
        assert len(re.findall("order 9", application.text)) == 1
        with pytest.raises(HTTPError, match="401"):
            application.ask(headers, b'{"id": 10}')
        with pytest.raises(HTTPError, match="404"):
            application.ask(headers, body, path="/elsewhere")


@pytest.mark.parametrize(
    ("source", "printed"),
    [pytest.param(source, text, id=heading) for heading, source, text in snippets() if text],
)
def test_snippet_prints_what_the_page_says(source: str, printed: str, tmp_path: Path) -> None:
    """Run as a program."""
    (tmp_path / "app.py").write_text(source)
    ended = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, printed), ended.stderr


def test_every_program_of_the_page_is_run() -> None:
    """The patterns find them: two applications, two that print something."""
    found = list(snippets())
    assert PAGE.count("\n```python\n") == len(found) == 4
    assert [heading for heading, _, text in found if not text] == ["FastAPI", "Flask"]


def test_every_error_is_on_the_page() -> None:
    """With its status, and none that is gone."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", PAGE, re.M)
    assert sorted(rows) == sorted(
        [(each.slug, "401") for each in SignatureRefused.__subclasses__()]
        + [(each.slug, str(each.status)) for each in RequestRefused.__subclasses__()]
        + [(MessageRunning.slug, "425"), (StoreUnavailable.slug, "503")]
    )


def test_every_option_is_on_the_page_with_its_default() -> None:
    """The same of both middlewares, but for the application and the clock, which tests set."""
    shown = dict(re.findall(r"^\| `([a-z_]+)` \| .* \| (.*) \|$", PAGE, re.M))
    for made in (AsgiReceiver, WsgiReceiver):
        options = dict(inspect.signature(made).parameters)
        del options["app"], options["clock"]
        assert {name: each for name, each in shown.items() if name in options}.keys() == (
            options.keys()
        )
        for name, option in options.items():
            is_given = option.default is not option.empty
            default = str(option.default) if name != "paths" else '["/"]'
            assert default in shown[name] if is_given else shown[name] == "must be said"
