"""LISTEN and API_LISTEN on unix sockets."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.receiver import Receiver
from tests.acceptance.running import ROOT, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import post


class Connection(http.client.HTTPConnection):
    """HTTP to a socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


def get(path: Path, target: str) -> int:
    """Status of a GET."""
    connection = Connection(path)
    connection.request("GET", target)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Both on sockets."""
    return {
        "LISTEN": f"unix:{tmp_path}/listen.sock",
        "API_LISTEN": f"unix:{tmp_path}/api.sock",
    }


def test_server_is_reached_over_both_and_takes_their_files_away(
    tmp_path: Path, settings: dict[str, str], receiver: Receiver
) -> None:
    """The API needs no keys there. The files are for owner and group, the first line names them,
    and the command line finds both by the settings or by their addresses."""
    listen, api = tmp_path / "listen.sock", tmp_path / "api.sock"
    with ServerProcess(tmp_path, **quick(**settings)) as server:
        ready = server.event("server.ready")
        assert (ready["listen"], ready["send_to"]) == ([settings["LISTEN"]], settings["LISTEN"])
        assert (ready["api_listen"], ready["dashboard"]) == (settings["API_LISTEN"],) * 2
        for path in (listen, api):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert get(path, "/readyz") == 200
        assert get(api, "/v1/stats") == 200
        overview = Connection(api)
        overview.request("GET", "/v1/overview")
        said = json.loads(overview.getresponse().read())
        assert said["listen"] == [settings["LISTEN"]]
        assert said["api_listen"] == [settings["API_LISTEN"]]
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(60)
            caller.connect(str(listen))
            caller.sendall(post(receiver.authority, body=b"x"))
            assert caller.recv(4096).startswith(b"HTTP/1.1 202 ")
        target = f"http://{receiver.authority}/x"
        by_settings = run(tmp_path, "send", target, "--wait", **settings)
        assert by_settings.returncode == 0, by_settings.stderr
        addressed = ("--listener", settings["LISTEN"], "--url", settings["API_LISTEN"])
        by_options = run(tmp_path, "send", target, "--wait", *addressed)
        assert by_options.returncode == 0, by_options.stderr
        assert len(receiver.received(3)) == 3
        assert server.stop() == 0
    assert not listen.exists()
    assert not api.exists()
    gone = run(tmp_path, "stats", **settings)
    assert gone.returncode == 7
    assert str(api) in gone.stderr


def test_keys_are_asked_for_where_they_are_set(tmp_path: Path, settings: dict[str, str]) -> None:
    """Whoever may open the file needs one all the same; the command line takes that of the
    settings."""
    keys = {"API_KEYS": "secret", "SOCKET_MODE": "600"}
    with ServerProcess(tmp_path, **quick(**settings, **keys)):
        assert stat.S_IMODE((tmp_path / "api.sock").stat().st_mode) == 0o600
        assert get(tmp_path / "api.sock", "/v1/stats") == 401
        assert run(tmp_path, "stats", **settings, **keys).returncode == 0
        assert run(tmp_path, "stats", "--url", settings["API_LISTEN"]).returncode == 8


def test_file_of_a_server_that_was_killed_is_replaced(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """Nobody listens on it any more."""
    with ServerProcess(tmp_path, **quick(**settings)) as server:
        server.kill()
    assert (tmp_path / "listen.sock").exists()
    with ServerProcess(tmp_path, **quick(**settings)) as server:
        assert get(tmp_path / "listen.sock", "/readyz") == 200
        assert server.stop() == 0


def test_socket_that_is_in_use_is_left_alone(tmp_path: Path, settings: dict[str, str]) -> None:
    """Exit code 3, for either; who listens there goes on, however long its backlog is."""
    for name in ("listen.sock", "api.sock"):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(tmp_path / name))
            other.listen(0)
            for _ in range(2):
                ended = run(tmp_path, "serve", **settings)
                assert ended.returncode == 3, ended.stderr
                assert name in ended.stderr
            assert (tmp_path / name).exists()
        os.unlink(tmp_path / name)
        assert [one.name for one in tmp_path.iterdir() if one.suffix == ".sock"] == []


def test_another_servers_file_is_not_taken_away(tmp_path: Path, settings: dict[str, str]) -> None:
    """Whoever has put one there meanwhile."""
    with ServerProcess(tmp_path, **quick(**settings)) as server:
        os.rename(tmp_path / "api.sock", tmp_path / "away.sock")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(tmp_path / "api.sock"))
            assert server.stop() == 0
            assert (tmp_path / "api.sock").exists()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"LISTEN": "unix:relative"}, "LISTEN=unix:relative: expected unix:/path"),
        ({"API_LISTEN": f"unix:/{'x' * 107}"}, "at most 107 bytes"),
        ({"LISTEN": "unix:/nowhere/at/all.sock"}, "LISTEN=unix:/nowhere/at/all.sock: No such"),
        ({"API_LISTEN": "unix:/nowhere/at/all.sock"}, "API_LISTEN=unix:/nowhere/at/all.sock: No"),
        ({"API_LISTEN": "unix:TMP/d.toml"}, "something that is no socket"),
        ({"API_LISTEN": "unix:TMP/listen.sock"}, "expected another path than LISTEN"),
        ({"LISTEN_TLS_CERT": "c", "LISTEN_TLS_KEY": "k"}, "a unix socket"),
        ({"PROXY_LISTEN": "unix:TMP/p.sock"}, "PROXY_LISTEN="),
        ({"SOCKET_MODE": "rw"}, "SOCKET_MODE=rw: expected the mode"),
    ],
)
def test_place_that_cannot_be_is_said_in_a_line(
    tmp_path: Path, settings: dict[str, str], changed: dict[str, str], expected: str
) -> None:
    """Exit code 2, and what is there stays."""
    file = tmp_path / "d.toml"
    file.write_text("WORKER = 1")
    given = {name: value.replace("TMP", str(tmp_path)) for name, value in changed.items()}
    ended = run(tmp_path, "serve", **(settings | given))
    assert ended.returncode == 2, ended.stderr
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr
    assert file.read_text() == "WORKER = 1"
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".sock"] == []


def test_health_check_of_the_image_finds_the_socket(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """As `LISTEN` says."""
    script = ROOT / "config" / "container" / "healthcheck.py"
    command = [sys.executable, "-I", "-S", str(script)]
    with ServerProcess(tmp_path, **quick(**settings)):
        assert subprocess.run(command, env=settings, timeout=60, check=False).returncode == 0
    (tmp_path / "listen.sock").unlink(missing_ok=True)
    assert subprocess.run(command, env=settings, timeout=60, check=False).returncode == 1
