"""Every command of the documentation does what the page says, as it stands there.

Each one (see `documented`) is run by a shell beside a real server, or beside the logs of one that
was stopped; only documented hosts, ports and ids are replaced by those of the test. It must
succeed, or fail with the very line that the page shows. Those that only look at something must show
what the page does, but for ids, times and numbers. What a test can't run is named with the reason:
a new command that is neither fails here.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dispatcher.errors import ConfigError
from dispatcher.testing.destination import Wait, answer
from tests.acceptance.documented import (
    BY_CI,
    COMMANDS,
    ELSEWHERE,
    PAGES,
    SESSIONS,
    Command,
    all_of,
    commands_in,
    is_harmless,
    looking,
    read,
    shape,
)
from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.running import ROOT, accept, dead, failed
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, post, request

_TIMEOUT_S = 120
_NOBODY_ELSE = {"EGRESS_ALLOW": "127.0.0.1", "EGRESS_DENY": "*"}
"""Whatever a page names, nothing is sent beyond this machine, nor looked up."""


# --- What the pages say ---------------------------------------------------------------------------


def test_commands_are_found_with_what_is_shown_under_them() -> None:
    """Continued lines are one command; comments are none; `echo $?` belongs to what is before."""
    text = "```sh\n# why\na \\\n   b\n\nc\n```\n```console\n$ d\none\n$ echo $?\n7\n$ e\n```\n"
    assert commands_in("p", text) == [
        Command("p", "a b"),
        Command("p", "c"),
        Command("p", "d", "one", 7),
        Command("p", "e"),
    ]


def test_no_command_hides_in_a_block_of_another_language() -> None:
    """A prompt means a session, and a session is looked at."""
    for page in PAGES:
        for language, block in re.findall(r"^```(\S*)\n(.*?)^```$", read(page), re.M | re.S):
            assert language in SESSIONS or not re.search(r"^\$ ", block, re.M), (page, block)


def test_every_command_is_run_or_is_known_to_run_elsewhere() -> None:
    """A new one is made of programs that are harmless, or gets a reason."""
    assert [one for one in COMMANDS if one.text not in ELSEWHERE and not is_harmless(one)] == []


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("A=1 B='x y' dispatcher stats --json | jq -r .a | sort", True),
        ("mkdir a && tar -xf b -C a", True),
        ("curl -d '{\"a\": 1} | x' http://localhost:8080/", True),
        ("pip install dispatcher", False),
        ("dispatcher stats; rm -r a", False),
        ("dispatcher stats | sh", False),
        ("dispatcher stats|sh", False),
        ("dispatcher stats || sh", False),
        ("dispatcher stats & sh", False),
        ("dispatcher stats > /etc/passwd", False),
        ("dispatcher cancel $(a)", False),
        ("curl https://example.org/", False),
        ("http_proxy=http://localhost:3128 curl http://shop.example.com/a", True),
        ("http_proxy=http://localhost:3128 curl https://shop.example.com/a", False),
        ("http_proxy=http://localhost:3128 curl http://example.org/", False),
        ("http_proxy=http://localhost:3128 curl ftp.example.org", False),
        ("http_proxy=http://example.org:3128 curl http://shop.example.com/", False),
        ("curl http://shop.example.com/", False),
        ("dispatcher stats && curl example.org", False),
        (".venv/bin/python -m pip install a", False),
    ],
)
def test_commands_are_harmless_when_all_their_programs_are(text: str, harmless: bool) -> None:
    """Before anything is run: a page that somebody adds must not change the machine."""
    assert is_harmless(Command("p", text)) == harmless


def test_outputs_that_are_compared_are_found() -> None:
    """Of all commands that only look at something, where a page shows what they print."""
    words = {" ".join(one.text.split()[1:3]) for one in looking()}
    assert words >= {"stats", "dead list", "dead groups", "log verify"}
    assert {word.partition(" ")[0] for word in words} >= {"explain"}


def test_what_is_run_elsewhere_is_documented() -> None:
    """The list of exceptions has nothing that is gone."""
    assert ELSEWHERE.keys() - {command.text for command in COMMANDS} == set()


def test_what_ci_is_said_to_run_it_runs() -> None:
    """Each part of those commands is a line, or part of one, of .ci/run."""
    ci = read(".ci/run")
    for text, reason in ELSEWHERE.items():
        assert reason is not BY_CI or all(part in ci for part in text.split(" && ")), text


# --- Where they run -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A working directory with logs, the environment of a shell in it, and what documented names
    stand for."""

    directory: Path
    environment: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)
    waiting: str = ""
    letter: str = ""
    call: str = ""

    def put_in(self, text: str) -> str:
        """Replace documented names (regular expressions) and ids by what stands for them here."""
        for documented, here in self.names.items():
            text = re.sub(documented, here, text)
        number = self.letter if re.search(r"\bdead\b", text) else self.waiting
        if re.search(r"\bcalls\b", text):
            number = self.call
        return re.sub(r"\b[0-9a-f]{28}\b", number, text)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PATH: `dispatcher` is this tree's, and curl takes 4xx and 5xx for failures,
    as a reader does."""
    tools = tmp_path_factory.mktemp("tools")
    _tool(tools / "dispatcher", f'exec {sys.executable} -m dispatcher "$@"')
    if curl := shutil.which("curl"):
        _tool(tools / "curl", f'exec {curl} --fail-with-body --silent --show-error "$@"')
    return tools


def _tool(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ServerProcess]]:
    """A server that gives messages up at once, and the directory with its logs."""
    directory = tmp_path_factory.mktemp("running")
    settings = {"RETRYLIMIT": "0", "PROXY_LISTEN": "127.0.0.1:0", **_NOBODY_ELSE}
    with ServerProcess(directory, **settings) as server:
        yield directory, server
        assert [line for line in server.lines if line["level"] == "error"] == []


@pytest.fixture(scope="module")
def unused() -> Iterator[str]:
    """An address nobody listens at, and nobody can as long as we have it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def waiting(running: tuple[Path, ServerProcess], unused: str) -> str:
    """The id of a message that waits because its destination is paused."""
    _, server = running
    paused = request(f"POST /v1/destinations/{unused}/pause HTTP/1.1", f"Host: {_at(server.api)}")
    assert ask(server.api, paused).status == 200
    return ask(server.listen, post(unused)).id


@pytest.fixture
def beside(
    running: tuple[Path, ServerProcess],
    receiver: Receiver,
    tools: Path,
    waiting: str,
    unused: str,
) -> Place:
    """Beside a server with one message and one call that wait, and a dead letter of each cause."""
    directory, server = running
    letter = _dead_letters(server, receiver)
    _schedule(server, unused)
    listen, api = _at(server.listen), _at(server.api)
    (directory / "photo.jpg").write_bytes(bytes(range(256)))
    names = {
        r"https?://([a-z-]+\.)*example(\.com)?\b": f"http://{receiver.authority}",
        r"\b(localhost|127\.0\.0\.1):8081\b": api,
        r"\b(?:localhost|127\.0\.0\.1):8080\b|(?<=http://)localhost(?=/)": listen,
        r"\blocalhost:9000\b": receiver.authority,
        r"\blocalhost:3128\b": _at(server.proxy),
    }
    environment = {
        **_environment(tools),
        "DISPATCHER_API": f"http://{api}",
        "DISPATCHER_LISTENER": f"http://{listen}",
    }
    return Place(directory, environment, names, waiting, letter, _call(server, unused))


def _call(server: ServerProcess, nobody: str) -> str:
    """A call of a function that nobody serves. Returns its id."""
    body = json.dumps({"calls": [{"endpoint": f"http://{nobody}", "function": "order"}]}).encode()
    dispatch = request(
        "POST /dispatch.sdk.v1.DispatchService/Dispatch HTTP/1.1",
        f"Host: {_at(server.api)}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        body=body,
    )
    answered = ask(server.api, dispatch)
    assert answered.status == 200, answered
    number: str = json.loads(answered.body)["dispatchIds"][0]
    return number


def _schedule(server: ServerProcess, nobody: str) -> None:
    """A schedule of such calls, as documented."""
    plan = {"cron": "30 2 * * *", "call": {"endpoint": f"http://{nobody}", "function": "clean_up"}}
    body = json.dumps(plan).encode()
    put = request(
        "PUT /v1/schedules/nightly HTTP/1.1",
        f"Host: {_at(server.api)}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        body=body,
    )
    assert ask(server.api, put).status in (200, 201)


def _dead_letters(server: ServerProcess, receiver: Receiver) -> str:
    """One rejected, one after a 503, one after a timeout. Returns the id of the first."""
    receiver.script(answer(404), answer(503), [Wait(_TIMEOUT_S)])
    ids = []
    for header in ("X-A: a", "X-A: a", "X-Dispatcher-Timeout: 50"):
        ids.append(accept(server, receiver, header).id)
        dead(server, ids[-1])
    return ids[0]


@pytest.fixture(scope="module")
def shown(
    tmp_path_factory: pytest.TempPathFactory, receivers: Receivers, tools: Path
) -> Iterator[Place]:
    """Beside a server with what the pages show: a message that waits for its second attempt, three
    dead letters that were rejected at one destination, and at another one after a 503 and one after
    a timeout."""
    directory = tmp_path_factory.mktemp("shown")
    settings = {"RETRYLIMIT": "1", "RETRY_DELAY": "20", **_NOBODY_ELSE}
    with (
        receivers.open() as example,
        receivers.open() as stock,
        receivers.open() as mail,
        ServerProcess(directory, **settings) as server,
    ):
        example.script(answer(500, b"", ("Retry-After", "3600")))
        waiting = accept(server, example).id
        failed(server, waiting)
        stock.script(*[answer(404, b"no such hook")] * 3)
        letters = [accept(server, stock, "X-A: a", body=b'{"a": 1}').id for _ in range(3)]
        for number in letters:
            dead(server, number)
        mail.script(answer(503), answer(503), [Wait(_TIMEOUT_S)], [Wait(_TIMEOUT_S)])
        for header in ("X-A: a", "X-Dispatcher-Timeout: 50"):
            dead(server, accept(server, mail, header).id)
        names = {
            r"https://example\.com\b": f"http://{example.authority}",
            r"https://stock\.example\b": f"http://{stock.authority}",
            r"https://mail\.example\b": f"http://{mail.authority}",
        }
        environment = _environment(tools) | {"DISPATCHER_API": f"http://{_at(server.api)}"}
        yield Place(directory, environment, names, waiting, letters[0])


@pytest.fixture
def after_stop(tmp_path: Path, receiver: Receiver, tools: Path) -> Place:
    """Beside the logs of a server that was stopped."""
    with ServerProcess(tmp_path, RETRYLIMIT="0") as server:
        receiver.script(answer(404))
        dead(server, accept(server, receiver).id)
        assert server.stop() == 0
    return Place(tmp_path, _environment(tools))


@pytest.fixture
def checkout(tmp_path: Path, tools: Path) -> Place:
    """A checkout with a virtual environment in it, as far as one can be had without installing."""
    for name in ("dispatcher", "tests", "config", "docs", "pyproject.toml", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    _tool(tmp_path / ".venv/bin/python", f'exec {sys.executable} "$@"')
    one_file = {r"\btests/unit(?= )": "tests/unit/test_core_breaker.py"}  # to read all takes long
    return Place(tmp_path, _environment(tools), one_file)


def _environment(tools: Path) -> dict[str, str]:
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "TERM": "dumb"}


def _at(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


# --- Running them ---------------------------------------------------------------------------------


def _name(command: Command) -> str:
    return f"{Path(command.page).stem}: {command.text[:50]}"


@contextmanager
def _shell(command: Command, place: Place) -> Iterator[subprocess.Popen[str]]:
    """Start a command; it is gone afterwards. Where the page shows an answer to a question, there
    is a terminal that gives it."""
    for program in ("curl", "jq"):
        if re.search(rf"\b{program} ", command.text) and shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    person, terminal = pty.openpty()
    os.write(person, b"y\n")
    with subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", place.put_in(command.text)],
        cwd=place.directory,
        env=place.environment,
        stdin=terminal if "[y/N] y" in command.output else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a signal goes to all of it, as from a terminal
    ) as shell:
        hanging = threading.Timer(_TIMEOUT_S, os.killpg, (shell.pid, signal.SIGKILL))
        hanging.start()
        try:
            yield shell
        finally:
            hanging.cancel()
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
            os.close(person)
            os.close(terminal)


def _run(command: Command, place: Place) -> tuple[int, str, str]:
    """Run a command to its end. Returns its exit code, output and errors."""
    with _shell(command, place) as shell:
        output, errors = shell.communicate(timeout=_TIMEOUT_S)
        return shell.returncode, output, errors


@pytest.mark.parametrize("command", all_of("beside"), ids=_name)
def test_command_succeeds_beside_a_running_server(command: Command, beside: Place) -> None:
    """Or ends with the exit code that the page shows."""
    code, output, errors = _run(command, beside)
    assert code == (command.exit_code or 0), output + errors


@pytest.mark.parametrize("command", looking(), ids=_name)
def test_command_shows_what_the_page_shows(command: Command, shown: Place) -> None:
    """But for ids, times, numbers, and how many rows a table has."""
    code, output, errors = _run(command, shown)
    assert code == 0, errors
    assert shape(output + errors) == shape(command.output)


def test_dead_show_shows_request_body_and_every_attempt(shown: Place) -> None:
    """As docs/cli.md says; with `--body` the body alone, byte for byte."""
    show = Command("docs/cli.md", f"dispatcher dead show {shown.letter}")
    code, output, errors = _run(show, shown)
    assert code == 0, errors
    for part in (shown.letter, "POST /", "X-A: a", '{"a": 1}', "404", "no such hook"):
        assert part in output
    body = Command("docs/cli.md", f"{show.text} --body")
    assert _run(body, shown) == (0, '{"a": 1}', "")


def test_config_shows_the_settings_the_page_shows(tmp_path: Path, tools: Path) -> None:
    """Where each comes from; the page leaves most of them out."""
    (command,) = [one for one in COMMANDS if one.text == "dispatcher config" and one.output]
    code, output, errors = _run(command, _place_with_settings(tmp_path, tools))
    assert code == 0, errors
    documented = shape(command.output)
    assert [line for line in shape(output) if line in documented] == documented


def test_config_check_prints_lines_with_name_and_value(tmp_path: Path, tools: Path) -> None:
    """As docs/cli.md says: of every setting, secrets hidden; and it ends with 2 when one is
    wrong."""
    check = Command("docs/cli.md", "dispatcher config check")
    place = _place_with_settings(tmp_path, tools)
    code, output, errors = _run(check, place)
    assert (code, errors) == (0, "")
    found = dict(line.split("=", 1) for line in output.splitlines())
    assert all(re.fullmatch("[A-Z_]+", name) for name in found)
    assert (found["LISTEN"], found["WORKER"], found["RETRYLIMIT"]) == (":8080", "50", "10")
    assert "secret" not in output
    wrong = replace(place, environment={**place.environment, "WORKER": "many"})
    code, output, errors = _run(check, wrong)
    assert (code, output) == (2, "")
    assert "WORKER=many" in errors


def _place_with_settings(directory: Path, tools: Path) -> Place:
    file = directory / "settings.toml"
    file.write_text("WORKER = 50\n", encoding="utf-8")
    given = {"LISTEN": ":8080", "API_KEYS": "secret", "DISPATCHER_CONFIG": str(file)}
    return Place(directory, _environment(tools) | given)


@pytest.mark.parametrize("command", all_of("after_stop"), ids=_name)
def test_command_succeeds_after_the_server_was_stopped(command: Command, after_stop: Place) -> None:
    """With the logs that it left, and what the commands before it on the page have made."""
    before = [one for one in all_of("after_stop") if one.page == command.page]
    for one in before[: before.index(command) + 1]:
        code, output, errors = _run(one, after_stop)
        assert code == 0, output + errors


@pytest.mark.parametrize("command", all_of("checkout"), ids=_name)
def test_command_succeeds_in_a_checkout(command: Command, checkout: Place) -> None:
    """As a developer types it."""
    code, output, errors = _run(command, checkout)
    assert code == 0, output + errors


@pytest.mark.parametrize("command", all_of("serving"), ids=_name)
def test_command_serves_until_it_is_stopped(
    command: Command, tmp_path: Path, tools: Path, unused: str
) -> None:
    """On free ports; what it should talk to besides is not there."""
    ports = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0", "LOG_FORMAT": "json"}
    names = {r"(?<=://)[a-z.]+:\d+": unused, r"(?<=LISTEN=)127\.0\.0\.1:\d+": "127.0.0.1:0"}
    with _shell(command, Place(tmp_path, _environment(tools) | ports, names)) as shell:
        assert shell.stdout is not None  # it was asked for
        assert any('"server.ready"' in line for line in shell.stdout), shell.communicate()
        os.killpg(shell.pid, signal.SIGTERM)
        output, errors = shell.communicate(timeout=_TIMEOUT_S)
    assert shell.returncode == 0, output + errors


@pytest.mark.parametrize("command", all_of("refused"), ids=_name)
def test_command_fails_as_documented(
    command: Command, tmp_path: Path, tools: Path, unused: str
) -> None:
    """With the exit code and the line that the page shows; no server is there."""
    api = {"DISPATCHER_API": f"http://{unused}"}
    place = Place(tmp_path, _environment(tools) | api, {r"\b127\.0\.0\.1:8081\b": unused})
    code, output, errors = _run(command, place)
    assert code == (command.exit_code or ConfigError.exit_code)
    assert (output, errors.strip()) == ("", place.put_in(command.output))


@pytest.mark.parametrize("command", all_of("endless"), ids=_name)
def test_command_prints_until_it_is_interrupted(
    command: Command,
    beside: Place,
    running: tuple[Path, ServerProcess],
    receiver: Receiver,
) -> None:
    """Ctrl-C is how it is meant to end."""
    _, server = running
    end_s = time.monotonic() + _TIMEOUT_S
    with _shell(command, beside) as shell:
        assert shell.stdout is not None  # it was asked for
        while not select.select([shell.stdout], [], [], 0.05)[0]:
            assert time.monotonic() < end_s
            accept(server, receiver)
        os.killpg(shell.pid, signal.SIGINT)
        output, errors = shell.communicate(timeout=_TIMEOUT_S)
    assert shell.returncode == 0, errors
    # What is looked at again and again need not be about these messages.
    assert "--watch" in command.text or receiver.authority in output
    assert not command.output or {*shape(output)} <= {*shape(command.output)}
