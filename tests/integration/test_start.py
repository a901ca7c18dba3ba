"""The first second of a start, and signals that come in it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dispatcher.node.server import Server
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.testing.ports import KeptPort
from dispatcher.testing.process import ServerProcess
from tests.integration.test_cli import assert_one_line, get, run

ROOT = Path(__file__).parents[2]
LOOPBACK = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0"}

SIGNAL_WHILE_LOADING = """
import os, signal, sys
import dispatcher.cli.main as command

def told(event, arguments):
    if event == "import" and arguments[0] == "dispatcher.cli.serve":
        os.kill(os.getpid(), signal.{name})

sys.addaudithook(told)
command.main(["serve"])
"""
"""A server that gets a signal before one line of it has run."""

SIGNAL_WHILE_RECOVERING = """
import asyncio, os, signal
import dispatcher.cli.main as command
from dispatcher.node.server import Server

async def recover(self):
    os.kill(os.getpid(), signal.{name})
    await asyncio.sleep(3600)

Server._recover = recover
command.main(["serve"])
"""
"""A server that gets a signal while it reads a log that has no end."""


def python(
    directory: Path, program: str, *prefix: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, which has to come soon."""
    return subprocess.run(
        [*prefix, sys.executable, "-c", program],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT), "LOG_FORMAT": "json"} | LOOPBACK | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def lines(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What was logged."""
    return [json.loads(line) for line in result.stdout.splitlines()]


AS_PROCESS_1 = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


def can_be_process_1() -> bool:
    """Whether this machine lets us make a process number 1."""
    try:
        return subprocess.run([*AS_PROCESS_1, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("program", [SIGNAL_WHILE_LOADING, SIGNAL_WHILE_RECOVERING])
@pytest.mark.parametrize("prefix", [(), AS_PROCESS_1])
def test_signal_stops_a_server_when_it_comes_while_it_starts(
    tmp_path: Path, name: str, program: str, prefix: tuple[str, ...]
) -> None:
    """It is neither lost, as for process 1 of a container, nor the death of the process."""
    if prefix and not can_be_process_1():
        prefix = ()
    result = python(tmp_path, program.format(name=name), *prefix)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    said = lines(result)
    assert [line["event"] for line in said[-2:]] == ["server.stopping", "server.stopped"]
    assert said[-2]["signal"] == name


def test_api_answers_from_the_first_second_of_a_start(tmp_path: Path) -> None:
    """`/healthz` 200, `/readyz` 503 `recovering` with progress, everything else 503 as well; then
    all of it answers."""

    async def main() -> None:
        settings = Settings.load(
            LOOPBACK
            | {"TRANSACTION_LOG": str(tmp_path / "t"), "DEAD_LETTER": str(tmp_path / "d")}
            | {"API_KEYS": "sesame"}
        )
        server = Server(settings, Events(open_log(lambda line: None, level="error", format="json")))
        recover = server._recover
        is_recovering, go_on = asyncio.Event(), asyncio.Event()

        async def recover_slowly() -> None:
            is_recovering.set()
            await go_on.wait()
            await recover()

        server._recover = recover_slowly  # type: ignore[method-assign] # a log that takes a while
        starting = asyncio.ensure_future(server.start())
        try:
            await asyncio.wait_for(is_recovering.wait(), 60)
            assert server.desk is not None
            address = server.desk.api.bound[0]
            assert (await ask(address, "/healthz"))[0] == 200
            status, body = await ask(address, "/readyz")
            assert (status, body["error"]) == (503, "recovering")
            assert "0 records so far" in body["message"]
            assert (await ask(address, "/v1/stats"))[0] == 401
            for path in ("/v1/stats", "/metrics", "/v1/dead-letters", "/v1/events"):
                status, body = await ask(address, path, "sesame")
                assert (status, body["error"]) == (503, "recovering")
            go_on.set()
            await asyncio.wait_for(starting, 60)
            assert (await ask(address, "/readyz"))[0] == 200
            assert (await ask(address, "/v1/stats", "sesame"))[0] == 200
        finally:
            await server.abort()

    asyncio.run(main())


async def ask(address: tuple[str, int], path: str, key: str = "") -> tuple[int, dict[str, Any]]:
    """The status and the document of a GET."""
    reader, writer = await asyncio.open_connection(*address)
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Authorization: Bearer {key}\r\n" if key else ""
    writer.write(f"{head}\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    top, _, body = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)


def test_second_server_with_the_same_settings_exits_4(tmp_path: Path) -> None:
    """Its port is taken too, but that is not what is wrong."""
    port = KeptPort()
    api = f"127.0.0.1:{port.number}"
    with port, ServerProcess(tmp_path, API_LISTEN=api) as first:
        assert "in use by process" in assert_one_line(
            run(tmp_path, "serve", LISTEN="127.0.0.1:0", API_LISTEN=api), 4
        )
        assert get(first.api, "/readyz")[0] == 200


@pytest.mark.parametrize("name", ["TRANSACTION_LOG", "DEAD_LETTER"])
def test_file_of_the_first_dispatcher_exits_2_and_says_how_to_import_it(
    tmp_path: Path, name: str
) -> None:
    """Nothing is made, and nothing is changed."""
    (tmp_path / "old").write_bytes(b"gob")
    line = assert_one_line(run(tmp_path, "serve", **LOOPBACK, **{name: "old"}), 2)
    assert f"{name}=old" in line
    assert "dispatcher import old.old" in line
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"gob"


def test_misspelt_variable_is_warned_of_at_the_start(tmp_path: Path) -> None:
    """With what was meant, and not its value; the server starts."""
    with ServerProcess(tmp_path, LISTEN_KEY="sesame", EGRES="public") as server:
        said = {line["variable"]: line["meant"] for line in server.events("setting.misspelt")}
        assert said == {"LISTEN_KEY": "LISTEN_KEYS", "EGRES": "EGRESS"}
        assert all(line["level"] == "warning" for line in server.events("setting.misspelt"))
        assert "sesame" not in json.dumps(server.lines)


def test_key_with_a_misspelt_role_is_warned_of_at_the_start_without_its_secret(
    tmp_path: Path,
) -> None:
    """By its place in the list, with the role that was meant; it is a secret of an administrator,
    whole, as the settings say."""
    keys = "me:admin:sesame,shop:dispach:rosebud,a:b:c:d,shop2:writer:rosebud2"
    with ServerProcess(tmp_path, API_KEYS=keys, LISTEN_KEYS="me:amdin:rosebud3") as server:
        told = {
            (line["setting"], line["key"]): line["meant"]
            for line in server.events("key.role_misspelt")
        }
        assert told == {
            ("API_KEYS", "key-2"): "dispatch",
            ("API_KEYS", "key-4"): None,
            ("LISTEN_KEYS", "key-1"): "admin",
        }
        assert all(line["level"] == "warning" for line in server.events("key.role_misspelt"))
        assert "rosebud" not in json.dumps(server.lines)


def test_rule_that_no_message_has_is_warned_of_at_the_start(tmp_path: Path) -> None:
    """With the one that takes its messages."""
    file = tmp_path / "dispatcher.toml"
    file.write_text('[[destination]]\nmatch = "*"\n[[destination]]\nmatch = "a.example"\n')
    with ServerProcess(tmp_path, DISPATCHER_CONFIG=str(file)) as server:
        (line,) = server.events("rule.unreached")
        assert (line["match"], line["before"]) == ("a.example", "*")


def test_setting_beyond_the_means_of_the_process_is_warned_of(tmp_path: Path) -> None:
    """`WORKER=500` with 256 open files: some are left for callers, and the line says which limit to
    raise; what nobody asked for is not warned of."""
    few = ("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh")
    with ServerProcess(tmp_path, few, WORKER="500") as server:
        (line,) = server.events("setting.reduced")
        assert (line["level"], line["setting"], line["value"]) == ("warning", "WORKER", 500)
        assert line["in_force"] < 256 == line["descriptors"]
        assert get(server.listen, "/readyz")[0] == 200


def test_first_lines_say_what_was_changed_and_where_to_go(tmp_path: Path) -> None:
    """Two addresses that work as they stand."""
    with ServerProcess(tmp_path, WORKER="5", LISTEN="0.0.0.0:0", API_LISTEN="[::1]:0") as server:
        starting, ready = server.event("server.starting"), server.event("server.ready")
        assert starting["changed"]["WORKER"] == 5
        assert "RETRYLIMIT" not in starting["changed"]
        assert ready["send_to"] == f"http://127.0.0.1:{server.listen[1]}"
        assert ready["dashboard"] == f"http://[::1]:{server.api[1]}/"


def test_stacks_are_written_to_standard_error_on_sigusr1(tmp_path: Path) -> None:
    """Of every thread; the server goes on."""
    with ServerProcess(tmp_path) as server:
        server.signal(signal.SIGUSR1)
        assert get(server.api, "/healthz")[0] == 200
        assert server.stop() == 0
        assert "Current thread" in server.stderr


# SIGHUP


def of_listener(connection: http.client.HTTPConnection, key: str) -> int:
    """What the listener says to a message with a key, on a connection that is kept."""
    headers = {"X-Dispatcher-Origin-Host": "127.0.0.1:9", "X-Dispatcher-Key": key}
    connection.request("POST", "/", b"", headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def of_api(server: ServerProcess, key: str) -> int:
    """What the API says to a key."""
    connection = http.client.HTTPConnection(*server.api, timeout=60)
    connection.request("GET", "/v1/stats", headers={"Authorization": f"Bearer {key}"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_keys_are_read_again_on_sighup(tmp_path: Path) -> None:
    """Old ones end at once, also on connections that are kept; a mistake keeps them; what else has
    changed is named."""
    (tmp_path / "listen").write_text("old")
    (tmp_path / "api").write_text("old")
    (tmp_path / "d.toml").write_text("WORKER = 5")
    files = {"LISTEN_KEYS_FILE": "listen", "API_KEYS_FILE": "api", "DISPATCHER_CONFIG": "d.toml"}
    with ServerProcess(tmp_path, **files) as server:
        caller = http.client.HTTPConnection(*server.listen, timeout=60)
        assert [of_listener(caller, "old") for _ in range(3)] == [202, 202, 202]

        (tmp_path / "listen").write_text("")
        server.signal(signal.SIGHUP)
        assert "LISTEN_KEYS_FILE" in server.event("settings.kept")["reason"]
        assert of_listener(caller, "old") == 202
        assert of_api(server, "old") == 200

        (tmp_path / "listen").write_text("shop:dispatch:new")
        (tmp_path / "api").write_text("ops:admin:new")
        (tmp_path / "d.toml").write_text("WORKER = 6")
        server.signal(signal.SIGHUP)
        assert server.event("settings.need_restart")["settings"] == ["WORKER"]
        assert server.event("settings.reloaded")["replaced"] == ["API_KEYS", "LISTEN_KEYS"]
        assert of_listener(caller, "old") == 401
        assert of_listener(caller, "new") == 202
        assert (of_api(server, "old"), of_api(server, "new")) == (401, 200)
        caller.close()
        assert server.stop() == 0


def test_stream_of_events_ends_with_its_key(tmp_path: Path) -> None:
    """It could go on for hours; that of a key that stays does."""
    (tmp_path / "api").write_text("gone\nstays")
    with ServerProcess(tmp_path, API_KEYS_FILE="api") as server:
        streams = {}
        for key in ("gone", "stays"):
            connection = http.client.HTTPConnection(*server.api, timeout=60)
            connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {key}"})
            assert connection.getresponse().status == 200
            assert connection.sock is not None
            streams[key] = connection.sock
        (tmp_path / "api").write_text("new\nstays")
        server.signal(signal.SIGHUP)
        assert server.event("settings.reloaded")["replaced"] == ["API_KEYS"]
        assert ends(streams["gone"])
        assert [of_api(server, key) for key in ("gone", "stays", "new")] == [401, 200, 200]
        streams["stays"].setblocking(False)
        assert not ends(streams["stays"])


def ends(stream: socket.socket) -> bool:
    """Read what is there; whether that was the end."""
    try:
        while stream.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


def test_sighup_without_a_file_says_so(tmp_path: Path) -> None:
    """And changes nothing."""
    with ServerProcess(tmp_path) as server:
        server.signal(signal.SIGHUP)
        assert "DISPATCHER_CONFIG" in server.event("settings.kept")["reason"]
        assert get(server.api, "/readyz")[0] == 200


# What systemd is told


class FakeSystemd:
    """Listens where NOTIFY_SOCKET says. `told` are the assignments so far, in their order."""

    def __init__(self, name: str) -> None:
        self.told: list[str] = []
        self._looked_at = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self._socket.settimeout(60)

    def until(self, assignment: str) -> list[str]:
        """Wait until this is told; return what was told before it, and after that of the last
        call."""
        start = self._looked_at
        while assignment not in self.told[start:]:
            self.told += self._socket.recv(4096).decode().split("\n")
        at = self.told.index(assignment, start)
        self._looked_at = at + 1
        return self.told[start:at]

    def __enter__(self) -> FakeSystemd:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.mark.parametrize("is_abstract", [False, True])
def test_systemd_is_told_when_the_server_is_ready_and_when_it_stops(
    tmp_path: Path, is_abstract: bool
) -> None:
    """`READY=1` not before messages are accepted, `STOPPING=1` when a signal came. Without a
    watchdog there is no sign of life."""
    name = f"{'@' if is_abstract else ''}{tmp_path}/notify"
    with (
        FakeSystemd(name) as systemd,
        ServerProcess(tmp_path, NOTIFY_SOCKET=name) as server,
    ):
        assert systemd.until("READY=1") == []
        assert get(server.api, "/readyz")[0] == 200
        assert systemd.until("STATUS=Accepting messages; 0 waiting, 0 dead letters.") == []
        assert server.stop() == 0
        systemd.until("STOPPING=1")
        assert "WATCHDOG=1" not in systemd.told


def test_systemd_is_told_of_a_reload_and_that_the_server_lives(tmp_path: Path) -> None:
    """A reload begins with the instant of the monotonic clock and ends with `READY=1`, also one
    that changes nothing; signs of life go on all the time."""
    name = str(tmp_path / "notify")
    with (
        FakeSystemd(name) as systemd,
        ServerProcess(tmp_path, NOTIFY_SOCKET=name, WATCHDOG_USEC="100000") as server,
    ):
        systemd.until("READY=1")
        for _ in range(3):
            systemd.until("WATCHDOG=1")
        began_us = time.monotonic_ns() // 1000
        server.signal(signal.SIGHUP)
        systemd.until("RELOADING=1")
        told = systemd.until("READY=1")
        (at,) = [one for one in told if one.startswith("MONOTONIC_USEC=")]
        assert began_us <= int(at.partition("=")[2]) <= time.monotonic_ns() // 1000
        systemd.until("WATCHDOG=1")
        assert server.stop() == 0


def test_watchdog_of_another_process_is_not_fed(tmp_path: Path) -> None:
    """`WATCHDOG_PID` says whose it is."""
    name = str(tmp_path / "notify")
    settings = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    with FakeSystemd(name) as systemd, ServerProcess(tmp_path, **settings) as server:
        systemd.until("STATUS=Accepting messages; 0 waiting, 0 dead letters.")
        assert server.stop() == 0
        systemd.until("STOPPING=1")
        assert "WATCHDOG=1" not in systemd.told


def test_server_starts_when_systemd_does_not_listen(tmp_path: Path) -> None:
    """The address leads nowhere: nobody needs to know."""
    with ServerProcess(tmp_path, NOTIFY_SOCKET=str(tmp_path / "nobody")) as server:
        assert server.stop() == 0


# DRAIN_NOTICE


def test_stop_is_announced_before_it_begins(tmp_path: Path) -> None:
    """For `DRAIN_NOTICE` `/readyz` says 503 and answers end their connections, and everything is
    accepted."""
    with ServerProcess(tmp_path, DRAIN_NOTICE="1h") as server:
        server.signal(signal.SIGTERM)
        server.event("server.stopping")
        assert get(server.api, "/readyz")[0] == 503
        assert get(server.listen, "/readyz")[0] == 503
        with socket.create_connection(server.listen, timeout=60) as caller:
            caller.sendall(
                b"POST / HTTP/1.1\r\nHost: d\r\nX-Dispatcher-Origin-Host: 127.0.0.1:9\r\n"
                b"Content-Length: 0\r\n\r\n"
            )
            answer = b""
            while data := caller.recv(4096):  # until it is closed
                answer += data
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert b"connection: close" in answer.lower()


def test_stop_begins_when_the_notice_is_over(tmp_path: Path) -> None:
    """By itself, and in the orderly way."""
    with ServerProcess(tmp_path, DRAIN_NOTICE="50ms") as server:
        assert server.stop() == 0
        assert server.lines[-1]["event"] == "server.stopped"


def test_second_signal_ends_the_notice(tmp_path: Path) -> None:
    """Whoever cannot wait sends another."""
    with ServerProcess(tmp_path, DRAIN_NOTICE="1h") as server:
        server.signal(signal.SIGTERM)
        server.event("server.stopping")
        server.signal(signal.SIGTERM)
        assert server.wait() == 1
