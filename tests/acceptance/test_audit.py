"""What operators did, from outside: kept through a kill, and nobody else's trouble."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import accept, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.test_operating import call

KEY = "a-key-that-is-long-enough"
KEYS = {"API_KEYS": f"alice:admin:{KEY}"}


def audit(directory: Path, server: ServerProcess, *options: str) -> list[Any]:
    """What the command prints."""
    done = run(
        directory,
        *("audit", "--json", *options),
        DISPATCHER_API=f"http://{server.api[0]}:{server.api[1]}",
        DISPATCHER_KEY=KEY,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_audit_survives_a_kill_and_is_shown(tmp_path: Path) -> None:
    """Each entry from the moment of its answer; a key that was refused too."""
    with ServerProcess(tmp_path, **quick(**KEYS)) as server:
        for name in ("a", "b"):
            assert call(server, "POST", f"/v1/destinations/{name}.example/hold", key=KEY)[0] == 200
        assert call(server, "POST", "/v1/destinations/c.example/hold", key="guessed")[0] == 401
        assert call(server, "POST", "/v1/destinations/a.example/resume", key=KEY)[0] == 200
        server.kill()
    with ServerProcess(tmp_path, **quick(**KEYS)) as server:
        assert call(server, "POST", "/v1/destinations/b.example/resume", key=KEY)[0] == 200
        found = audit(tmp_path, server)
        assert [(one["action"], one["key"], one["count"]) for one in found] == [
            ("resumed", "alice", 1),
            ("resumed", "alice", 1),
            ("key_refused", None, None),
            ("held", "alice", 1),
            ("held", "alice", 1),
        ]
        assert found[0]["selection"] == {"destination": "http://b.example"}
        assert found[2]["selection"]["path"] == "/v1/destinations/c.example/hold"
        assert [one["action"] for one in audit(tmp_path, server, "--action", "held")] == [
            "held"
        ] * 2
        assert server.stop() == 0
    dumped = run(tmp_path, "log", "dump", "--json", "--path", str(tmp_path / "audit.log"))
    records = [json.loads(line).get("record") for line in dumped.stdout.splitlines()]
    assert [one["action"] for one in records if one][-1] == "resumed"
    assert dumped.returncode == 0


def test_nobody_who_does_nothing_has_an_audit(tmp_path: Path, receiver: Receiver) -> None:
    """It is made with the first entry."""
    with ServerProcess(tmp_path, **quick()) as server:
        accept(server, receiver)
        receiver.received(1)
        assert call(server, "GET", "/v1/audit") == (
            200,
            {"items": [], "next": None, "unkept": None},
        )
        assert server.stop() == 0
    assert not (tmp_path / "audit.log").exists()


def test_damaged_audit_harms_nothing_and_is_told(tmp_path: Path, receiver: Receiver) -> None:
    """Messages are taken and delivered, operators are answered, and it is left as it is."""
    with ServerProcess(tmp_path, **quick()) as server:
        for _ in range(3):
            call(server, "POST", "/v1/destinations/a.example/hold")
        assert server.stop() == 0
    (segment,) = sorted((tmp_path / "audit.log").glob("*.seg"))[:1]
    data = bytearray(segment.read_bytes())
    place = data.index(b"held")
    data[place] ^= 0xFF
    segment.write_bytes(data)
    with ServerProcess(tmp_path, **quick()) as server:
        (told,) = server.events("audit.unkept")
        assert told["level"] == "error"
        accept(server, receiver)
        receiver.received(1)
        assert call(server, "POST", "/v1/destinations/b.example/hold")[0] == 200
        page = call(server, "GET", "/v1/audit")[1]
        assert [one["action"] for one in page["items"]] == ["held"]
        assert "damaged" in page["unkept"]
        assert server.stop() == 0
    assert segment.read_bytes() == data


def test_audit_that_the_disk_cannot_read_harms_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """The server starts and works, and says what is wrong where operators look first."""
    with ServerProcess(tmp_path, **quick()) as server:
        call(server, "POST", "/v1/destinations/a.example/hold")
        assert server.stop() == 0
    (segment,) = sorted((tmp_path / "audit.log").glob("*.seg"))[:1]
    segment.unlink()
    segment.mkdir()  # to open it works, and each read fails, as on a bad sector
    with ServerProcess(tmp_path, **quick()) as server:
        accept(server, receiver)
        receiver.received(1)
        assert call(server, "POST", "/v1/destinations/b.example/hold")[0] == 200
        (problem,) = call(server, "GET", "/v1/overview")[1]["problems"]
        assert (problem["slug"], problem["severity"]) == ("audit_unkept", "warning")
        assert "cannot be read" in problem["message"]
        assert server.stop() == 0


def test_audit_with_a_pipe_for_a_file_holds_up_no_start(tmp_path: Path) -> None:
    """Nobody writes to it, and nobody waits until somebody does."""
    with ServerProcess(tmp_path, **quick()) as server:
        call(server, "POST", "/v1/destinations/a.example/hold")
        assert server.stop() == 0
    (segment,) = sorted((tmp_path / "audit.log").glob("*.seg"))[:1]
    segment.unlink()
    os.mkfifo(segment)
    with ServerProcess(tmp_path, **quick()) as server:
        (told,) = server.events("audit.unkept")
        assert segment.name in told["reason"]
        assert server.stop() == 0


def test_backup_has_the_audit_and_a_restore_puts_it_back(tmp_path: Path) -> None:
    """Beside the transaction log."""
    old, new, target = tmp_path / "old", tmp_path / "new", tmp_path / "backup"
    old.mkdir()
    new.mkdir()
    with ServerProcess(old, **quick()) as server:
        call(server, "POST", "/v1/destinations/a.example/hold")
        assert call(server, "POST", "/v1/backup", {"directory": str(target)})[0] == 202
        eventually(lambda: call(server, "GET", "/v1/backup")[1]["state"] == "made")
    done = run(new, "restore", str(target), "--json")
    assert done.returncode == 0, done.stderr
    with ServerProcess(new, **quick()) as server:
        items = call(server, "GET", "/v1/audit")[1]["items"]
        assert [one["action"] for one in items] == ["held"]
