"""Replay from history: what was delivered arrives once more, byte for byte, beside real work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import accept, dead, lines_of, quick, run, settled
from tests.acceptance.served import ServerProcess
from tests.acceptance.test_carrying import commanded
from tests.acceptance.test_durability import segments
from tests.acceptance.test_operating import ok
from tests.effort import thorough

KEEP = quick(EVENT_SOURCING="true")
_LARGE = bytes(range(256)) * 3000
"""In chunks: above 256 KiB."""


def replayed(
    server: ServerProcess, directory: Path, *arguments: str, code: int = 0
) -> dict[str, Any]:
    """What a replay prints as JSON."""
    text = commanded(server, directory, "replay", *arguments, "--json", code=code)
    found: dict[str, Any] = json.loads(text.splitlines()[0])
    return found


def _but_for_its_own(one: Any) -> list[bytes]:
    """The header lines of a request without those that differ by message."""
    return [line for line in lines_of(one) if not line.lower().startswith(b"host:")]


def test_what_was_delivered_arrives_again_as_it_was(
    tmp_path: Path, receivers: Receivers, receiver: Receiver
) -> None:
    """Small and large, odd headers and bodies, under new ids; also after a restart, and at another
    host; a dead letter, and what waits, stay where they are."""
    odd = ("X-Odd: \xff\xfe", "x-spelling:  two blanks ", "X-Dispatcher-Timeout: 5s")
    bodies = [b"", b"\0\xff", _LARGE]
    with ServerProcess(tmp_path, **KEEP) as server:
        for body in bodies:
            accept(server, receiver, *odd, body=body)
        first = receiver.received(3)
        receiver.script(answer(404))
        lost = accept(server, receiver, body=b"rejected").id
        dead(server, lost)
        commanded(server, tmp_path, "hold", receiver.authority)
        waits = accept(server, receiver, body=b"waits").id
        would = replayed(server, tmp_path, "--all", "--dry-run")
        assert (would["messages"], would["size_bytes"]) == (3, 2 + len(_LARGE))
        assert would["destinations"][0]["destination"] == f"http://{receiver.authority}"
        assert server.stop() == 0
    with receivers.open() as other, ServerProcess(tmp_path, **KEEP) as server:
        told = replayed(server, tmp_path, "--since", "1h", "--to", other.authority)
        assert (told["messages"], told["unreadable"]) == (3, 0)
        again = other.received(3)
        by_body = {bytes(one.body): one for one in again}
        ids = {one.headers["x-dispatcher-message-id"] for one in (*first, *again)}
        assert len(ids) == 6
        for one in first:
            copy = by_body[bytes(one.body)]
            assert copy.head.split(b"\r\n")[0] == one.head.split(b"\r\n")[0]
            assert _but_for_its_own(copy) == _but_for_its_own(one)
            assert copy.headers["host"] == other.authority
        assert [one.body for one in receiver.requests][3:] == [b"rejected"]
        assert waits in commanded(server, tmp_path, "message", waits)
        event = server.event("operator.replayed")
        assert (event["count"], event["error"]) == (3, None)
        assert server.stop() == 0
    assert run(tmp_path, "log", "verify").returncode == 0


def test_replay_is_narrowed_and_never_sends_its_own_copies(
    tmp_path: Path, receivers: Receivers, receiver: Receiver
) -> None:
    """By destination and time of acceptance; a later replay has the copies, unless it ends before
    them."""
    with receivers.open() as other, ServerProcess(tmp_path, **KEEP) as server:
        for number in range(5):
            accept(server, receiver, body=b"%d" % number)
            accept(server, other, body=b"other")
        settled(server, 10)
        time.sleep(0.01)
        until = _now()
        mine = ("--destination", receiver.authority)
        assert replayed(server, tmp_path, *mine)["messages"] == 5
        assert len(receiver.received(10)) == 10
        settled(server, 15)
        assert replayed(server, tmp_path, *mine, "--until", until, "--dry-run")["messages"] == 5
        assert replayed(server, tmp_path, *mine, "--dry-run")["messages"] == 10
        assert replayed(server, tmp_path, *mine, "--since", until, "--dry-run")["messages"] == 5
        assert len(other.requests) == 5


def _now() -> str:
    return datetime.now(UTC).isoformat()


def test_without_event_sourcing_replay_says_what_to_set(tmp_path: Path) -> None:
    """And that only what comes after is kept."""
    with ServerProcess(tmp_path, **quick()) as server:
        said = commanded(server, tmp_path, "replay", "--all", code=9)
        assert "EVENT_SOURCING=true" in said
        assert "history_not_kept" in said


def test_history_begins_when_it_is_kept_and_is_given_back_when_it_is_not(
    tmp_path: Path, receiver: Receiver
) -> None:
    """What was delivered before is not in it, what waited is; without the setting the log keeps
    what waits alone."""
    with ServerProcess(tmp_path, **quick()) as server:
        accept(server, receiver, body=b"before")
        settled(server, 1)
        commanded(server, tmp_path, "hold", receiver.authority)
        accept(server, receiver, body=b"waited")
        assert server.stop() == 0
    with ServerProcess(tmp_path, **KEEP) as server:
        commanded(server, tmp_path, "resume", receiver.authority)
        for _ in range(8):
            accept(server, receiver, body=bytes(1_000_000))
        settled(server, 9)
        assert replayed(server, tmp_path, "--all", "--dry-run")["messages"] == 9
        first = segments(tmp_path)[0].name
        assert server.stop() == 0
    with ServerProcess(tmp_path, **quick()) as server:
        accept(server, receiver, body=b"after")
        eventually(lambda: segments(tmp_path)[0].name != first)


def test_history_of_a_backup_is_replayed_from_a_restored_copy(
    tmp_path: Path, receivers: Receivers, receiver: Receiver
) -> None:
    """A backup of a log that is kept has all of it."""
    copy = tmp_path / "copy"
    copy.mkdir()
    with ServerProcess(tmp_path, **KEEP) as server:
        accept(server, receiver, body=b"small")
        accept(server, receiver, body=_LARGE)
        settled(server, 2)
        commanded(server, tmp_path, "backup", str(tmp_path / "backup"))
    assert run(copy, "restore", str(tmp_path / "backup")).returncode == 0
    with receivers.open() as other, ServerProcess(copy, **KEEP) as server:
        assert replayed(server, copy, "--all", "--to", other.authority)["messages"] == 2
        assert {bytes(one.body) for one in other.received(2)} == {b"small", _LARGE}


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=thorough)])
def test_replay_goes_on_after_the_server_was_killed(
    tmp_path: Path, receivers: Receivers, kills: int
) -> None:
    """kill -9 in the middle: with the cursor of the last line nothing is left out, and hardly
    anything is sent twice."""
    count = 1200
    with receivers.open() as first, receivers.open() as other:
        with ServerProcess(tmp_path, **KEEP) as server:
            for number in range(count):
                accept(server, first, body=b"%d" % number)
            settled(server, count)
            server.stop()
        cursor: list[str] = []
        reported = 0
        for _ in range(kills):
            with ServerProcess(tmp_path, **KEEP) as server:
                told = _killed_in_the_middle(server, tmp_path, other, cursor)
                reported += told["messages"]
                cursor = ["--cursor", told["cursor"]]
        with ServerProcess(tmp_path, **KEEP) as server:
            told = replayed(server, tmp_path, "--all", "--to", other.authority, *cursor)
            assert reported + told["messages"] == count
            eventually(lambda: len({bytes(one.body) for one in other.requests}) == count)
            by_id = {
                one.headers["x-dispatcher-message-id"]: bytes(one.body) for one in other.requests
            }
        assert set(by_id.values()) == {b"%d" % number for number in range(count)}
        assert len(by_id) <= count + kills * 64


def _killed_in_the_middle(
    server: ServerProcess, directory: Path, other: Receiver, cursor: list[str]
) -> dict[str, Any]:
    """Begin a replay, kill the server when some was sent; returns the last line that came."""
    host, port = server.api
    wanted = {"all": True, "to": other.authority, "rate": "500/s"}
    wanted |= {"cursor": cursor[1]} if cursor else {}
    script = (
        "import http.client, sys\n"
        "connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]))\n"
        "connection.request('POST', '/v1/replay', sys.argv[3],"
        " {'Content-Type': 'application/json'})\n"
        "answer = connection.getresponse()\n"
        "try:\n"
        "    while line := answer.readline():\n"
        "        sys.stdout.write(line.decode()); sys.stdout.flush()\n"
        "except (OSError, http.client.HTTPException):\n"
        "    pass\n"
    )
    asking = subprocess.Popen(
        [sys.executable, "-c", script, host, str(port), json.dumps(wanted)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert asking.stdout is not None
    last: dict[str, Any] = {}
    for line in asking.stdout:
        last = json.loads(line)
        if last["messages"] >= 150:
            server.kill()
            break
    for line in asking.stdout:  # what was on its way
        last = json.loads(line)
    asking.wait()
    assert last["state"] == "running"
    return last


def test_replay_goes_on_when_the_command_is_killed(tmp_path: Path, receiver: Receiver) -> None:
    """It is a job of the server, which is found and hurried."""
    with ServerProcess(tmp_path, **KEEP) as server:
        for number in range(20):
            accept(server, receiver, body=b"%d" % number)
        settled(server, 20)
        command = [sys.executable, "-m", "dispatcher", "replay", "--all", "--rate", "2/1m"]
        api = f"http://{server.api[0]}:{server.api[1]}"
        asking = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "DISPATCHER_API": api})
        try:
            receiver.received(21)
        finally:
            asking.kill()
            asking.wait()
        (job,) = ok(server, "GET", "/v1/jobs?state=running")["items"]
        assert (job["kind"], job["rate"], job["done"]) == ("replay", "2/m", 1)
        ok(server, "PATCH", f"/v1/jobs/{job['id']}", {"rate": "none"})
        receiver.received(40)
        eventually(lambda: ok(server, "GET", f"/v1/jobs/{job['id']}")["state"] == "done")
