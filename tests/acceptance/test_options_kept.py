"""Messages with options in logs and files that leave their server: copies, exports, backups."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.acceptance.receiver import Receiver
from tests.acceptance.running import accept, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import get

OPTIONS = (
    "X-Dispatcher-Delay: 1h",
    "X-Dispatcher-Deadline: 2h",
    "X-Dispatcher-Retries: 3",
    "X-Dispatcher-Retry-Delay: 5s",
    "X-Dispatcher-Retry-Max-Delay: 1m",
    "X-Dispatcher-Label: kept",
)
SETTINGS = quick(LOG_LEVEL="debug")


def commanded(server: ServerProcess, directory: Path, *arguments: str) -> str:
    """What a command prints that speaks to a server."""
    host, port = server.api
    ended = run(directory, *arguments, "--url", f"http://{host}:{port}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def kept(server: ServerProcess, number: str) -> dict[str, object]:
    """What the API says of the options of a message, which waits for its time."""
    shown = get(server.api, f"/v1/messages/{number}").json
    assert shown["state"] == "scheduled"
    due = datetime.fromisoformat(str(shown["next_attempt_at"]))
    assert timedelta(minutes=55) < due - datetime.now(UTC) < timedelta(minutes=61)
    why = get(server.api, f"/v1/messages/{number}/explain").json
    assert why["reason"] == "scheduled"
    return {key: value for key, value in shown.items() if key in ("options", "label")}


def test_delayed_message_is_verified_exported_imported_backed_up_and_restored(
    tmp_path: Path, receiver: Receiver
) -> None:
    """With all that was asked for, and the time that it had; a cancelled one is gone."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for directory in (first, second, third):
        directory.mkdir()
    with ServerProcess(first, **SETTINGS) as server:
        number = accept(server, receiver, *OPTIONS).id
        gone = accept(server, receiver, *OPTIONS).id
        commanded(server, first, "cancel", gone)
        options = kept(server, number)
        commanded(server, first, "export", "--state", "waiting", str(first / "all.ndjson"))
        commanded(server, first, "backup", str(first / "backup"))
        assert server.stop() == 0
    (line,) = [
        json.loads(line)
        for line in (first / "all.ndjson").read_text().splitlines()
        if "destination" in line
    ]
    assert line["id"] == number
    verified = run(first, "log", "verify", **SETTINGS)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    dumped = run(first, "log", "dump", **SETTINGS).stdout
    assert "unreadable" not in dumped
    assert dumped.count("label=kept") == 2
    with ServerProcess(second, **SETTINGS) as server:
        commanded(server, second, "import", str(first / "all.ndjson"))
        listed = get(server.api, "/v1/stats").json
        assert listed["scheduled"] == 1
    ended = run(third, "restore", str(first / "backup"), **SETTINGS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with ServerProcess(third, **SETTINGS) as server:
        assert kept(server, number) == options
        assert get(server.api, f"/v1/messages/{gone}").status == 404
        assert not receiver.requests
