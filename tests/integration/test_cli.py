"""The command line: what it prints, what it ends with, and that it never shows a traceback."""

from __future__ import annotations

import fcntl
import http.client
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dispatcher
from dispatcher.build import is_compiled
from dispatcher.testing.ports import KeptPort
from dispatcher.testing.process import ServerProcess


def run(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a directory, with settings in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "dispatcher", *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def get(address: tuple[str, int], path: str) -> tuple[int, bytes]:
    """Status and body of a GET."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def assert_one_line(result: subprocess.CompletedProcess[str], code: int) -> str:
    """It ended with this code and one line on standard error, which is returned."""
    assert result.returncode == code, result.stderr
    assert result.stderr.startswith("dispatcher: error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr + result.stdout
    return result.stderr


# Commands


def command(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `dispatcher`, as it is installed, to its end."""
    program = "import sys; from dispatcher.cli.main import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "LISTEN": "nonsense"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version_prints_the_version(tmp_path: Path) -> None:
    """And nothing else."""
    result = run(tmp_path, "version")
    assert (result.returncode, result.stdout) == (0, f"{dispatcher.__version__}\n")


def test_version_option_says_whether_the_hot_path_is_compiled(tmp_path: Path) -> None:
    """One line."""
    result = run(tmp_path, "--version")
    assert result.returncode == 0
    kind = "compiled" if is_compiled() else "pure"
    assert result.stdout == f"dispatcher {dispatcher.__version__} ({kind})\n"


def test_bare_command_shows_help_and_starts_nothing(tmp_path: Path) -> None:
    """Whoever wants to see what there is gets no server on port 80."""
    result = command(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Usage: dispatcher" in result.stdout
    assert "serve" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_bare_module_starts_the_server(tmp_path: Path) -> None:
    """`python -m dispatcher` is `dispatcher serve`."""
    assert "LISTEN=nonsense" in assert_one_line(run(tmp_path, LISTEN="nonsense"), 2)
    assert "LISTEN=nonsense" in assert_one_line(command(tmp_path, "serve"), 2)


# Output that fails

COMMANDS = [
    ("--version",),
    ("dead", "list", "--help"),
    ("config", "--json"),
    ("log", "verify"),
    ("log", "dump", "--json"),
    ("stats",),
    ("dead", "redrive", "--all", "--yes"),
    ("send", "127.0.0.1:9"),
]
"""One of each that writes in a way of its own."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """The directory of a server, and the environment that leads to it."""
    directory = tmp_path_factory.mktemp("server")
    with ServerProcess(directory) as running:
        yield (
            directory,
            {
                "DISPATCHER_API": "http://{}:{}".format(*running.api),
                "DISPATCHER_LISTENER": "http://{}:{}".format(*running.listen),
            },
        )


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_command_exits_1_with_one_line_when_its_output_has_no_space(
    server: tuple[Path, dict[str, str]], arguments: tuple[str, ...]
) -> None:
    """No traceback, whatever it is that writes."""
    directory, addresses = server
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "dispatcher", *arguments],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | addresses,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1, result.stderr
    assert result.stderr.splitlines()[-1].startswith(
        "dispatcher: error: standard output: No space left on device"
    )
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_command_exits_1_with_one_line_when_its_terminal_is_gone(tmp_path: Path) -> None:
    """Writing there fails with EIO: a window was closed, a connection broke."""
    person, terminal = pty.openpty()
    os.close(person)
    result = subprocess.run(
        [sys.executable, "-m", "dispatcher", "config"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=terminal,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    assert "standard output: Input/output error" in assert_one_line_of(result.stderr)
    assert result.returncode == 1


def assert_one_line_of(text: str) -> str:
    """It is one line; returns it."""
    assert text.count("\n") == 1, text
    return text


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_command_exits_0_without_a_word_when_its_reader_is_gone(
    server: tuple[Path, dict[str, str]], arguments: tuple[str, ...]
) -> None:
    """As in `dispatcher dead list | head`: that is no error."""
    directory, addresses = server
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "dispatcher", *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | addresses,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


def test_command_keeps_its_exit_code_when_nobody_can_be_told(tmp_path: Path) -> None:
    """Standard error has no space."""
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "dispatcher", "stats", "--url", "http://127.0.0.1:9"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.DEVNULL,
            stderr=full,
            timeout=60,
            check=False,
        )
    assert result.returncode == 7


def test_help_lists_the_commands(tmp_path: Path) -> None:
    """`-h` works too."""
    for option in ("--help", "-h"):
        result = run(tmp_path, option)
        assert result.returncode == 0
        for command in ("serve", "version", "config", "log"):
            assert command in result.stdout


def test_unknown_command_or_option_exits_2(tmp_path: Path) -> None:
    """With what is wrong on standard error."""
    for arguments in (["serv"], ["--listen", ":80"], ["serve", "now"]):
        result = run(tmp_path, *arguments)
        assert result.returncode == 2
        assert arguments[-1] in result.stderr or arguments[0] in result.stderr
        assert "Traceback" not in result.stderr


def test_config_check_prints_what_is_in_force(tmp_path: Path) -> None:
    """Secrets hidden."""
    result = run(tmp_path, "config", "check", WORKER="7", API_KEYS="sesame", RETRY_ON="409,404")
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert {"WORKER=7", "API_KEYS=1 hidden", "RETRY_ON=404,409", "EVENT_SOURCING=false"} < set(
        lines
    )
    assert "sesame" not in result.stdout


def test_config_names_what_is_misspelt(tmp_path: Path) -> None:
    """On standard error: a variable that means nothing is no setting in force."""
    result = run(tmp_path, "config", "check", WORKERS="7", LISTEN_KEY="sesame")
    assert result.returncode == 0
    assert "WORKERS has no meaning; did you mean WORKER?" in result.stderr
    assert "LISTEN_KEY has no meaning; did you mean LISTEN_KEYS?" in result.stderr
    assert "sesame" not in result.stdout + result.stderr


def test_config_check_names_a_key_whose_role_is_misspelt(tmp_path: Path) -> None:
    """By its place, without its secret: all of it is in force as a secret of an administrator."""
    result = run(tmp_path, "config", "check", API_KEYS="me:amdin:sesame,shop:write:sesame")
    assert result.returncode == 0
    assert "API_KEYS: key-1 looks like name:role:secret" in result.stderr
    assert "did you mean admin?" in result.stderr
    assert "Roles are admin, read, dispatch." in result.stderr
    assert "sesame" not in result.stdout + result.stderr


def test_config_check_names_a_rule_that_is_never_used(tmp_path: Path) -> None:
    """With the one before it that takes its messages; the rules are in force all the same."""
    file = tmp_path / "dispatcher.toml"
    file.write_text(
        '[[destination]]\nmatch = "*.example"\n[[destination]]\nmatch = "a.example/v1"\n'
    )
    result = run(tmp_path, "config", "check", DISPATCHER_CONFIG=str(file))
    assert result.returncode == 0
    assert "a.example/v1 is never used: *.example, before it" in result.stderr


def test_config_check_exits_2_when_a_setting_is_wrong(tmp_path: Path) -> None:
    """As a start would."""
    line = assert_one_line(run(tmp_path, "config", "check", WORKER="x"), 2)
    assert "WORKER=x" in line


# Starts that fail


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_serve_exits_2_when_a_setting_is_wrong(tmp_path: Path, arguments: list[str]) -> None:
    """One line names all of them, and nothing was made."""
    line = assert_one_line(run(tmp_path, *arguments, WORKER="x", API_LISTEN="0.0.0.0:0"), 2)
    assert "WORKER=x" in line
    assert list(tmp_path.iterdir()) == []


def test_serve_exits_2_when_the_file_is_missing(tmp_path: Path) -> None:
    """The line names the variable and the path."""
    line = assert_one_line(run(tmp_path, DISPATCHER_CONFIG="missing.toml"), 2)
    assert "DISPATCHER_CONFIG=missing.toml" in line


def test_serve_exits_2_when_the_api_is_open_off_loopback(tmp_path: Path) -> None:
    """The line names both settings."""
    line = assert_one_line(run(tmp_path, API_LISTEN=":0"), 2)
    assert "API_LISTEN" in line
    assert "API_KEYS" in line


@pytest.mark.parametrize("name", ["LISTEN", "API_LISTEN"])
def test_serve_exits_3_when_a_port_is_taken(tmp_path: Path, name: str) -> None:
    """The line names the address."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        settings = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0", name: address}
        line = assert_one_line(run(tmp_path, **settings), 3)
    assert address in line


def test_serve_exits_4_when_another_process_has_the_log(tmp_path: Path) -> None:
    """The first one goes on."""
    with ServerProcess(tmp_path) as first:
        result = run(tmp_path, LISTEN="127.0.0.1:0", API_LISTEN="127.0.0.1:0")
        assert f"in use by process {first.pid}" in assert_one_line(result, 4)
        assert get(first.api, "/readyz")[0] == 200


def test_serve_exits_5_when_the_log_is_damaged(tmp_path: Path) -> None:
    """The line names the file and the offset."""
    with ServerProcess(tmp_path) as server:
        connection = http.client.HTTPConnection(*server.listen, timeout=60)
        for _ in range(3):
            connection.request("POST", "/", b"x" * 100, {"X-Dispatcher-Origin-Host": "127.0.0.1:9"})
            assert connection.getresponse().read() == b""
        connection.close()
        server.stop()
    segment = min((tmp_path / "transaction.log").glob("*.seg"))
    content = segment.read_bytes()
    at = content.index(b"x" * 100)
    segment.write_bytes(content[:at] + b"y" + content[at + 1 :])
    line = assert_one_line(run(tmp_path, LISTEN="127.0.0.1:0", API_LISTEN="127.0.0.1:0"), 5)
    assert str(segment.name) in line
    assert "offset" in line


# A start that works


def test_serve_shows_every_setting_in_one_line_with_secrets_hidden(tmp_path: Path) -> None:
    """The first event."""
    with ServerProcess(tmp_path, LISTEN_KEYS="sesame", API_KEYS="sesame2", WORKER="3") as server:
        first = server.lines[0]
        assert first["event"] == "server.starting"
        assert first["version"] == dispatcher.__version__
        assert first["settings"]["WORKER"] == 3
        assert first["settings"]["LISTEN_KEYS"] == "1 hidden"
        assert "sesame" not in str(server.lines)


def test_serve_reads_the_file_and_the_environment(tmp_path: Path) -> None:
    """The environment wins."""
    (tmp_path / "d.toml").write_text("WORKER = 3\nretry_limit = 4\n")
    with ServerProcess(tmp_path, DISPATCHER_CONFIG="d.toml", WORKER="5") as server:
        shown = server.event("server.starting")["settings"]
        assert (shown["WORKER"], shown["RETRYLIMIT"]) == (5, 4)


def test_serve_answers_health_on_both_listeners(tmp_path: Path) -> None:
    """Load balancers see either port."""
    with ServerProcess(tmp_path) as server:
        for address in (server.listen, server.api):
            assert get(address, "/healthz")[0] == 200
            assert get(address, "/readyz")[0] == 200


def test_serve_has_the_promised_metrics(tmp_path: Path) -> None:
    """Also before anything was counted."""
    with ServerProcess(tmp_path) as server:
        status, body = get(server.api, "/metrics")
        assert status == 200
        for name in (
            "dispatcher_messages_accepted_total",
            "dispatcher_messages_delivered_total",
            "dispatcher_messages_dead_total",
            "dispatcher_requests_refused_total",
            "dispatcher_attempts_total",
            "dispatcher_messages",
        ):
            assert f"# TYPE {name} " in body.decode()
        for state in ("ready", "in_flight", "scheduled"):
            assert f'dispatcher_messages{{state="{state}"}} 0.0\n' in body.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_exits_0_when_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    """The last line says so."""
    with ServerProcess(tmp_path) as server:
        server.signal(number)
        assert server.wait() == 0
        assert server.lines[-1]["event"] == "server.stopped"
        assert server.event("server.stopping")["signal"] == number.name
        assert server.stderr == ""


def test_serve_goes_on_when_nobody_reads_its_log(tmp_path: Path) -> None:
    """A pipe that is full must not hold up a single message."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    kept = KeptPort()
    port = kept.number
    process = subprocess.Popen(
        [sys.executable, "-m", "dispatcher"],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(Path(__file__).parents[2]), "LOG_LEVEL": "debug"}
        | {"LISTEN": f"127.0.0.1:{port}", "API_LISTEN": "127.0.0.1:0"},
        stdout=writer,
    )
    os.close(writer)
    try:
        connection = _connect(port)
        for _ in range(200):
            connection.request("POST", "/", b"", {"X-Dispatcher-Origin-Host": "127.0.0.1:9"})
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (202, b"")
        connection.close()
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        kept.let_go()


def _connect(port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.connect()
            return connection
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
