"""Where a session lives, its ports, its guard, and the files that start it anew."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.cli.errors import BadUsage, CommandError
from dispatcher.cli.local import guard, ports, server
from dispatcher.cli.local.reloading import changed, stamps
from dispatcher.cli.local.session import opened
from dispatcher.errors import PortTaken


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_session_with_a_name_keeps_its_key_and_addresses(tmp_path: Path) -> None:
    """Suspended calls name the address of the application. Nobody else may read the key."""
    with opened("shop", None) as first:
        kept = first.facts
    with opened("shop", None) as second:
        assert second.facts == kept
    assert second.directory == tmp_path / "state" / "dispatcher" / "sessions" / "shop"
    assert (second.directory / "session.json").stat().st_mode & 0o77 == 0
    assert second.directory.stat().st_mode & 0o77 == 0


def test_session_without_a_name_is_gone_at_the_end() -> None:
    """Also when the run fails."""
    made = opened(None, None)
    session = made.__enter__()
    assert (session.directory / "session.json").exists()
    assert not made.__exit__(RuntimeError, RuntimeError(), None)
    assert not session.directory.exists()


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "a b", "x" * 65])
def test_session_is_refused_when_its_name_is_none(name: str) -> None:
    """It becomes a directory."""
    with pytest.raises(BadUsage, match="expected a name of at most 64 letters"), opened(name, None):
        pass


def test_session_is_refused_when_its_calls_expect_another_endpoint() -> None:
    """They would never be run."""
    with opened("shop", None) as session:
        kept = session.facts.endpoint
    with pytest.raises(BadUsage) as told, opened("shop", "127.0.0.1:1"):
        pass
    assert str(told.value) == (
        f"--endpoint 127.0.0.1:1: the calls of session shop expect the application at {kept}. "
        "Leave --endpoint out, or take another --session."
    )
    with opened("shop", kept) as session:
        assert session.facts.endpoint == kept


def test_session_is_refused_when_its_endpoint_is_in_use(taken: int) -> None:
    """By whoever: calls would go there."""
    with (
        pytest.raises(PortTaken, match=rf"127.0.0.1:{taken} is in use"),
        opened(None, f"127.0.0.1:{taken}"),
    ):
        pass


def test_session_is_refused_when_its_file_is_damaged(tmp_path: Path) -> None:
    """And what to do is said."""
    with opened("shop", None) as session:
        pass
    (session.directory / "session.json").write_text('{"endpoint": 1')
    with pytest.raises(CommandError, match=f"Remove {session.directory} to begin"):
        opened("shop", None).__enter__()


def test_free_ports_are_none_that_connections_are_given(taken: int) -> None:
    """A session keeps its port; a connection could hold it later."""
    assert not ports.is_free("127.0.0.1", taken)
    port = ports.free_port()
    assert ports.is_free("127.0.0.1", port)
    assert port < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_server_of_a_session_has_no_settings_of_the_shell() -> None:
    """They are another server's; those of function calls count here too."""
    given = {"WORKER": "x", "API_KEYS_FILE": "/a", "DISPATCHER_CONFIG": "/b", "PATH": "/bin"}
    with opened(None, None) as session:
        told = server.environment(session, {**given, "CALL_RETRY_DELAY": "1s"})
    assert given.keys() & told.keys() == {"PATH"}
    assert told["CALL_RETRY_DELAY"] == "1s"
    assert told["API_LISTEN"] == f"127.0.0.1:{session.facts.api_port}"


@pytest.mark.parametrize(
    ("orders", "survives"),
    [("group {0}\n", False), ("group {0}\ndone\n", True), ("group {0}\ngone {0}\n", True)],
)
def test_guard_kills_groups_when_orders_end_without_done(
    tmp_path: Path, orders: str, survives: bool
) -> None:
    """And removes the directory; those that have ended already are left alone."""
    directory = tmp_path / "session"
    directory.mkdir()
    with subprocess.Popen(["sleep", "600"], process_group=0) as process:
        given = f"remove {directory}\n" + orders.format(process.pid)
        threading.Thread(target=process.wait).start()  # as init does where a run is dead
        script = [sys.executable, "-I", "-S", guard.__file__]
        subprocess.run(script, input=given, text=True, check=True, timeout=30)
        if survives:
            assert process.poll() is None
            process.terminate()
        assert process.wait() == (-signal.SIGTERM if survives else -signal.SIGKILL)
    assert directory.exists() is ("done" in orders)


def test_changes_of_python_files_are_seen(tmp_path: Path) -> None:
    """Written, made, removed; not in hidden directories, nor in those of packages."""
    app, inner = tmp_path / "app.py", tmp_path / "shop" / "prices.py"
    inner.parent.mkdir()
    app.write_text("1")
    before = stamps(tmp_path)
    assert list(before) == ["app.py"]
    inner.write_text("1")
    with_inner = stamps(tmp_path)
    assert changed(before, with_inner) == "shop/prices.py"
    os.utime(app, ns=(1, 1))
    assert changed(with_inner, stamps(tmp_path)) == "app.py"
    app.unlink()
    assert changed(with_inner, stamps(tmp_path)) == "app.py"
    now = stamps(tmp_path)
    for left_out in (".venv", "node_modules", "env"):
        (tmp_path / left_out).mkdir()
        (tmp_path / left_out / "a.py").write_text("1")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    (tmp_path / "notes.txt").write_text("1")
    assert changed(now, stamps(tmp_path)) is None
