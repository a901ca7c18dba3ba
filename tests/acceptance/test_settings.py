"""The settings, how they are read, and how the process ends when one is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.ports import KeptPort
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import ROOT, accept, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.test_tls_listening import held_open
from tests.acceptance.wire import ask, get, post

LOOPBACK = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0"}


def ends(directory: Path, code: int, **settings: str) -> str:
    """The server ends with this code, one line on standard error and no traceback; returns the
    line."""
    result = run(directory, **LOOPBACK | settings)
    assert result.returncode == code, (settings, result.returncode, result.stderr, result.stdout)
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    return result.stderr


def in_force(directory: Path, **settings: str) -> dict[str, Any]:
    """Every setting in force, as the line at the start shows them."""
    server = ServerProcess(directory, **settings)
    try:
        shown: dict[str, Any] = server.event("server.starting")["settings"]
        return shown
    finally:
        server.kill()


# Wrong values

NUMBERS = {
    "WORKER": ("0", "-1", "many", "1.5", "10 20"),
    "PROCESSES": ("-1", "65", "all"),
    "RETRYLIMIT": ("-1", "1001", "ten"),
    "RETRY_LIMIT": ("-1", "1001", "x"),
    "DEFAULT_TIMEOUT": ("0", "3600001", "61m"),
    "RETRY_DELAY": ("-1", "2y"),
    "RETRY_MAX_DELAY": ("-1", "hour"),
    "MAX_BODY": ("-1", "64M"),
    "MAX_BACKLOG_BYTES": ("-1", "0x10"),
    "DEAD_LETTER_RETENTION": ("-1", "30D"),
    "DEAD_LETTER_MAX_BYTES": ("-1", "1G"),
    "WORKER_SLOW": ("0", "-1", "some"),
    "MAX_AGE": ("-1", "old"),
    "IDLE_TIMEOUT": ("0", "-1", "idle"),
    "DRAIN_NOTICE": ("-1", "soon"),
    "DRAIN_TIMEOUT": ("-1", "soon"),
}
OTHERS = {
    "EVENT_SOURCING": ("maybe", "2", "tru", "-1", "yes!"),
    "ACK_ANY_RESPONSE": ("nope", "10"),
    "RETRY_ON": ("abc", "99", "207", "600", "404;409", "404,,409", "4xx"),
    "EGRESS": ("all", "private", "true"),
    "EGRESS_ALLOW": ("10.0.0.0/33", "http://host", "a b", "10.0.0.1/8"),
    "EGRESS_DENY": ("[::1]:80", "host:80", "::/200"),
    "LISTEN": ("80", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:x", "::1:80", "http://a:80", "a:b"),
    "API_LISTEN": ("8081", "127.0.0.1:-1", "[::1:80", "300.0.0.1:80"),
    "MASK_HEADERS": ("X-Key:", "a b", "X-Key,,X-Other"),
    "LOG_LEVEL": ("loud", "0", "inf"),
    "LOG_FORMAT": ("xml", "text"),
    "TRACING": ("on", "jaeger"),
}
BAD = NUMBERS | OTHERS


@pytest.mark.parametrize("turn", range(max(map(len, BAD.values()))))
def test_bad_value_ends_with_2_and_says_what_is_expected(tmp_path: Path, turn: int) -> None:
    """For every setting its name, the value and what is expected, all in one line; nothing is
    made."""
    given = {name: values[turn] for name, values in BAD.items() if turn < len(values)}
    if turn % 2:
        given.pop("RETRYLIMIT", None)
    else:
        given.pop("RETRY_LIMIT", None)
    line = ends(tmp_path, 2, **given)
    for name, value in given.items():
        assert f"{name.replace('RETRY_LIMIT', 'RETRYLIMIT')}={value}" in line
    assert line.count("expected") >= len(given)
    assert list(tmp_path.iterdir()) == []


def test_one_bad_value_is_enough(tmp_path: Path) -> None:
    """It ends with 2 and names this setting only."""
    line = ends(tmp_path, 2, WORKER="a b")
    assert "WORKER=a b" in line
    assert line.count("expected") == 1


def test_secret_value_is_not_shown_even_when_it_is_wrong(tmp_path: Path) -> None:
    """Only its name, and what is expected."""
    line = ends(tmp_path, 2, LISTEN_KEYS="topsecret,,other", API_KEYS="topsecret,\xe4")
    for name in ("LISTEN_KEYS", "API_KEYS"):
        assert name in line
    assert line.count("expected") == 2
    assert "topsecret" not in line


def test_two_names_that_disagree_end_with_2(tmp_path: Path) -> None:
    """Both are named, with both values; equal ones are no problem."""
    line = ends(tmp_path, 2, RETRYLIMIT="3", RETRY_LIMIT="4")
    for part in ("RETRYLIMIT", "RETRY_LIMIT", "3", "4"):
        assert part in line
    assert in_force(tmp_path, RETRYLIMIT="3", RETRY_LIMIT="3")["RETRYLIMIT"] == 3


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (
            "WROKER = 5\nunknown = 1\nWORKER = 'many'\nEVENT_SOURCING = 'maybe'\n[section]\nX = 1",
            ["WROKER", "unknown", "WORKER=many", "EVENT_SOURCING=maybe", "section"],
        ),
        ("WORKER = true\nDEFAULT_TIMEOUT = 1.5\nRETRY_ON = [99]", ["WORKER", "1.5", "RETRY_ON"]),
        ("RETRYLIMIT = 1\nRETRY_LIMIT = 2", ["RETRYLIMIT=1", "RETRY_LIMIT=2"]),
        ("WORKER = ", ["settings.toml", "DISPATCHER_CONFIG"]),
        ("WORKER = 1\nWORKER = 2", ["settings.toml"]),
    ],
)
def test_bad_toml_file_ends_with_2(tmp_path: Path, content: str, parts: list[str]) -> None:
    """An unknown key, a wrong value, two names that disagree, no TOML at all."""
    (tmp_path / "settings.toml").write_text(content)
    line = ends(tmp_path, 2, DISPATCHER_CONFIG="settings.toml")
    for part in parts:
        assert part in line


def test_missing_toml_file_ends_with_2(tmp_path: Path) -> None:
    """With its name and that of the variable."""
    line = ends(tmp_path, 2, DISPATCHER_CONFIG="nowhere.toml")
    assert "DISPATCHER_CONFIG=nowhere.toml" in line


@pytest.mark.parametrize("address", [":0", "192.0.2.1:8081"])
def test_api_without_keys_only_starts_on_loopback(tmp_path: Path, address: str) -> None:
    """Off loopback it ends with 2, and says that keys are needed."""
    line = ends(tmp_path, 2, API_LISTEN=address)
    assert "API_LISTEN" in line
    assert "API_KEYS" in line


@pytest.mark.parametrize("address", ["[::1]:0", "localhost:0"])
def test_api_without_keys_starts_on_any_loopback_address(tmp_path: Path, address: str) -> None:
    """And answers there."""
    with ServerProcess(tmp_path, API_LISTEN=address) as server:
        assert get(server.api, "/healthz").status == 200


def test_api_with_keys_starts_anywhere(tmp_path: Path) -> None:
    """Keys are asked for then."""
    with (
        KeptPort("0.0.0.0") as port,
        ServerProcess(tmp_path, API_LISTEN=f":{port.number}", API_KEYS="k1"),
    ):
        address = ("127.0.0.1", port.number)
        assert get(address, "/metrics").status == 401
        assert get(address, "/metrics", "Authorization: Bearer k1").status == 200


# Other ends


@pytest.mark.parametrize("name", ["LISTEN", "API_LISTEN"])
def test_taken_port_ends_with_3(tmp_path: Path, name: str) -> None:
    """With a line that names the setting and the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = ends(tmp_path, 3, **{name: address})
    assert name in line
    assert address in line


def test_log_in_use_ends_with_4(tmp_path: Path) -> None:
    """Either of the two; the first process goes on unharmed."""
    other = tmp_path / "other"
    other.mkdir()
    mine = {"TRANSACTION_LOG": str(tmp_path / "t"), "DEAD_LETTER": str(tmp_path / "d")}
    with ServerProcess(tmp_path, **mine) as server:
        for name, path in mine.items():
            assert path in ends(other, 4, **{name: path})
        assert get(server.listen, "/readyz").status == 200
        assert server.stop() == 0


def test_log_that_cannot_be_made_ends_with_1_or_2(tmp_path: Path) -> None:
    """A file is in its place: one line, no traceback."""
    (tmp_path / "file").write_text("x")
    result = run(tmp_path, **LOOPBACK, TRANSACTION_LOG="file")
    assert result.returncode in {1, 2}
    assert "Traceback" not in result.stderr
    assert "file" in result.stderr


def test_log_directories_are_made_where_missing(tmp_path: Path) -> None:
    """With those above them."""
    places = {"TRANSACTION_LOG": "a/b/log", "DEAD_LETTER": str(tmp_path / "c" / "dead")}
    with ServerProcess(tmp_path, **places):
        assert (tmp_path / "a/b/log").is_dir()
        assert (tmp_path / "c/dead").is_dir()


def test_lock_of_a_process_that_died_is_none(tmp_path: Path) -> None:
    """Killed, and started again: no file has to be deleted by hand. Both logs are directories,
    under the names that they have by default."""
    for _ in range(2):
        with ServerProcess(tmp_path) as server:
            assert (tmp_path / "transaction.log").is_dir()
            assert (tmp_path / "deadletter.log").is_dir()
            server.kill()


# Right values


@pytest.mark.parametrize(
    ("yes", "no"),
    [("1", "0"), ("t", "F"), ("TRUE", "false"), ("Yes", " nO "), (" oN", "Off")],
)
def test_booleans_are_read_in_every_spelling(tmp_path: Path, yes: str, no: str) -> None:
    """In any case, in the environment and in the file."""
    file = tmp_path / "settings.toml"
    file.write_text(f'ACK_ANY_RESPONSE = "{no}"')
    shown = in_force(tmp_path, DISPATCHER_CONFIG=str(file), EVENT_SOURCING=yes)
    assert (shown["EVENT_SOURCING"], shown["ACK_ANY_RESPONSE"]) == (True, False)


def test_defaults_are_in_force_when_nothing_is_set(tmp_path: Path) -> None:
    """Every setting is shown at the start, secrets as nothing where there are none."""
    shown = in_force(tmp_path, LISTEN="", API_LISTEN="127.0.0.1:0", LOG_LEVEL="")
    expected = {
        "TRANSACTION_LOG": "transaction.log",
        "DEAD_LETTER": "deadletter.log",
        "WORKER": 10,
        "RETRYLIMIT": 10,
        "DEFAULT_TIMEOUT": 10_000,
        "EVENT_SOURCING": False,
        "RETRY_DELAY": 2000,
        "RETRY_MAX_DELAY": 3_600_000,
        "RETRY_ON": [],
        "ACK_ANY_RESPONSE": False,
        "EGRESS": "any",
        "EGRESS_ALLOW": [],
        "EGRESS_DENY": [],
        "MAX_BODY": 67_108_864,
        "MAX_BACKLOG_BYTES": 0,
        "DEAD_LETTER_RETENTION": 2_592_000_000,
        "DEAD_LETTER_MAX_BYTES": 1_073_741_824,
        "MAX_AGE": 0,
        "IDLE_TIMEOUT": 75_000,
        "DRAIN_NOTICE": 0,
        "DRAIN_TIMEOUT": 10_000,
        "LISTEN": ":80",
        "LISTEN_KEYS": [],
        "API_KEYS": [],
        "MASK_HEADERS": [],
        "LOG_LEVEL": "info",
        "TRACING": "off",
    }
    assert {name: shown[name] for name in expected} == expected


def test_limits_of_ranges_are_in_range(tmp_path: Path) -> None:
    """Both ends, and 0 where it means something."""
    ends_ = {"RETRYLIMIT": "1000", "DEFAULT_TIMEOUT": "3600000", "WORKER": "1", "RETRY_DELAY": "0"}
    shown = in_force(tmp_path, **ends_, RETRY_ON="404, 409", MAX_BODY="0", DRAIN_TIMEOUT="0")
    assert {name: str(shown[name]) for name in ends_} == ends_
    assert shown["RETRY_ON"] == [404, 409]


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Key by key; with the second name of a setting too."""
    file = tmp_path / "settings.toml"
    file.write_text("WORKER = 3\nRETRYLIMIT = 4\nRETRY_DELAY = 5\nretry_on = [404]\n")
    shown = in_force(tmp_path, DISPATCHER_CONFIG=str(file), WORKER="30", RETRY_LIMIT="40")
    assert shown["WORKER"] == 30
    assert shown["RETRYLIMIT"] == 40
    assert shown["RETRY_DELAY"] == 5
    assert shown["RETRY_ON"] == [404]


def test_secrets_are_in_no_line(tmp_path: Path, receiver: Receiver) -> None:
    """Neither keys nor bodies nor credentials of messages, at the most talkative level."""
    settings = {
        "LISTEN_KEYS": "listen-secret",
        "API_KEYS": "api-secret,api-other",
        "LOG_LEVEL": "debug",
        "RETRYLIMIT": "0",
    }
    with ServerProcess(tmp_path, **settings) as server:
        key = "X-Dispatcher-Key: listen-secret"
        hidden = ("Authorization: Bearer hidden-1", "Cookie: hidden-2")
        accept(server, receiver, key, *hidden, body=b"hidden-3")
        receiver.received(1)
        ask(server.listen, post("u:hidden-4@h", key))
        ask(server.listen, post(receiver.authority, "X-Dispatcher-Key: hidden-5"))
        get(server.api, "/metrics", "Authorization: Bearer hidden-6")
        receiver.run(receiver.fake.stop())
        accept(server, receiver, key, *hidden)
        server.event("message.dead_lettered")
        assert server.stop() == 0
        text = json.dumps(server.lines) + server.stderr
    shown = server.event("server.starting")["settings"]
    assert shown["LISTEN_KEYS"]
    assert "API_KEYS" in shown
    assert not re.search("listen-secret|api-secret|api-other|hidden-[0-9]", text)


# The log of events


def test_log_level_is_the_least_important_that_is_logged(
    tmp_path: Path, receiver: Receiver
) -> None:
    """`error` is silent while all is well; every line has its level and its time."""
    port = KeptPort()
    silent = {"LOG_LEVEL": "error", "LISTEN": f"127.0.0.1:{port.number}"}
    server = ServerProcess(tmp_path, **silent)
    try:
        address = ("127.0.0.1", port.number)
        eventually(lambda: _listens(address))
        assert ask(address, post(receiver.authority)).id
        receiver.received(1)
        assert server.stop() == 0
        assert server.lines == []
    finally:
        server.kill()
    with ServerProcess(tmp_path, LOG_LEVEL="debug") as server:
        accept(server, receiver)
        assert server.event("message.accepted")["level"] == "debug"
        assert server.event("message.delivered")["level"] == "debug"
        for line in server.lines:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])


def test_log_level_of_an_event_says_who_must_act(tmp_path: Path, receiver: Receiver) -> None:
    """What goes well is not logged by default; a failed attempt is `info`, a dead letter
    `warning`."""
    with ServerProcess(tmp_path, RETRYLIMIT="0") as server:
        accept(server, receiver)
        receiver.received(1)
        receiver.run(receiver.fake.stop())
        accept(server, receiver)
        assert server.event("message.dead_lettered")["level"] == "warning"
        assert server.event("attempt.finished")["level"] == "info"
        names = {line["event"] for line in server.lines}
    assert not names & {"message.accepted", "message.delivered"}


def test_console_format_is_for_people(tmp_path: Path) -> None:
    """Lines that are no JSON; without a terminal JSON is the default."""
    taken = {"LISTEN": "127.0.0.1:1", "API_LISTEN": "192.0.2.1:9", "API_KEYS": "k"}
    text = run(tmp_path, **taken, LOG_FORMAT="console").stdout
    assert "server.starting" in text
    assert not text.startswith("{")
    text = run(tmp_path, **taken, LOG_FORMAT="").stdout
    assert json.loads(text.splitlines()[0])["event"] == "server.starting"


@pytest.mark.parametrize(("given", "is_console"), [("", True), ("json", False)])
def test_console_format_is_the_default_on_a_terminal(
    tmp_path: Path, given: str, is_console: bool
) -> None:
    """Time, level and event in columns, then the fields; `LOG_FORMAT` says otherwise."""
    lines = shown_on_a_terminal(tmp_path, LOG_FORMAT=given)
    if is_console:
        column = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]{15}Z \[info +\] ([a-z]+\.[a-z]+) +\w+=")
        events = [found[1] for line in lines if (found := column.match(line))]
        assert len(events) == len(lines), lines
    else:
        events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "server.starting"
    assert events[-1] == "server.stopped"


def shown_on_a_terminal(directory: Path, **settings: str) -> list[str]:
    """The lines of a server that is stopped when it is ready, without their colours."""
    person, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dispatcher"],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | LOOPBACK | settings,
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    hanging = threading.Timer(20, process.kill)
    hanging.start()
    try:
        shown = _read(person, until=b"server.ready")
        process.terminate()
        shown += _read(person)
        assert process.wait() == 0, shown
    finally:
        process.kill()
        hanging.cancel()
        os.close(person)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()


def _read(terminal: int, *, until: bytes | None = None) -> bytes:
    shown = b""
    # On Linux reading from a terminal fails once nobody can write to it any more.
    with contextlib.suppress(OSError):
        while until is None or until not in shown:
            shown += os.read(terminal, 65536)
    return shown


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


@pytest.mark.parametrize("name", ["transaction.log/partitions.json", "signing.pem", "rules.toml"])
def test_server_that_hangs_at_its_start_is_stopped(tmp_path: Path, name: str) -> None:
    """Within its drain timeout, while a file hangs as on a network file system whose server is
    gone, and before it can read its log."""
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    os.mkfifo(place)
    process = subprocess.Popen(
        [sys.executable, "-m", "dispatcher"],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "DISPATCHER_CONFIG": name if name == "rules.toml" else ""}
        | LOOPBACK,
        stderr=subprocess.PIPE,
    )
    try:
        with held_open(place):  # it has come to it, and waits
            process.terminate()
            assert process.wait(60) == 0
        assert process.stderr is not None
        assert b"a file hangs" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
