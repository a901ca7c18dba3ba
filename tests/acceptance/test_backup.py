"""Backups of a server that runs, and what is started from them."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import accept, dead, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.test_operating import call, ok
from tests.acceptance.wire import ask, get, post, request

_HELD = "127.0.0.1:9"
_SETTINGS = quick(RETRYLIMIT="0")


@pytest.fixture
def place() -> Iterator[Path]:
    """Not where temporary files are, which may be in memory."""
    with tempfile.TemporaryDirectory(prefix="backup-", dir="/var/tmp") as directory:
        yield Path(directory)


def commanded(server: ServerProcess, directory: Path, *arguments: str, code: int = 0) -> str:
    """What a command prints that speaks to a server."""
    host, port = server.api
    ended = run(directory, *arguments, "--url", f"http://{host}:{port}")
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def state_of(server: ServerProcess, message_id: str) -> str:
    """The state of a message, or the slug of what the API says instead."""
    found = get(server.api, f"/v1/messages/{message_id}").json
    return str(found.get("state", found.get("error")))


def begin(server: ServerProcess, directory: Path) -> None:
    """Begin a backup, and do not wait for its end."""
    body = b'{"directory": "%s"}' % str(directory).encode()
    head = ("Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}")
    assert ask(server.api, request("POST /v1/backup HTTP/1.1", *head, body=body)).status == 202


def wait_there(server: ServerProcess) -> str:
    """Accept a message for a destination that is held; returns its id."""
    return ask(server.listen, post(_HELD, body=b"w" * 20_000)).id


def first_segment(log: Path) -> str:
    """The name of the oldest segment."""
    return min(path.name for path in log.glob("*.seg"))


@contextmanager
def load(server: ServerProcess, receiver: Receiver, letters: list[str]) -> Iterator[list[str]]:
    """Accept and deliver, and redrive dead letters that die again, until the block is left. Yields
    the ids of what waits, as they are accepted."""
    waiting: list[str] = []
    leaving = threading.Event()

    def accept_all() -> None:
        while not leaving.is_set():
            accept(server, receiver, body=b"d" * 400_000)
            receiver.fake.requests.clear()
            waiting.append(wait_there(server))

    def redrive_all() -> None:
        while not leaving.is_set():
            for one in letters:
                path = f"/v1/dead-letters/{one}/redrive"
                ask(server.api, request(f"POST {path} HTTP/1.1", "Host: x", "Content-Length: 0"))

    threads = [threading.Thread(target=work) for work in (accept_all, redrive_all)]
    for thread in threads:
        thread.start()
    try:
        yield waiting
    finally:
        leaving.set()
        for thread in threads:
            thread.join(30)


def test_backup_under_load_holds_all_that_was_accepted_and_not_delivered(
    place: Path, receivers: Receivers
) -> None:
    """While messages are accepted, delivered, die and are redriven, and the log is compacted: what
    waited is there, what went from one log to the other is in at least one of them, and nothing
    that is new is called by the same id. Started beside the original."""
    backup, other = place / "backup", place / "other"
    other.mkdir()
    with (
        receivers.open() as good,
        receivers.open() as bad,
        ServerProcess(place, **_SETTINGS) as server,
    ):
        bad.fake.default = answer(404)
        commanded(server, place, "hold", _HELD)
        letters = [accept(server, bad).id for _ in range(20)]
        for one in letters:
            dead(server, one)
        with load(server, good, letters) as waiting:
            eventually(lambda: len(waiting) >= 30, timeout_s=60)
            known = list(waiting)
            said = commanded(server, place, "backup", str(backup))
            assert f"{backup}: a backup of the logs" in said
            log = place / "transaction.log"
            eventually(
                lambda: first_segment(log) > first_segment(backup / "transaction.log"),
                timeout_s=60,
            )
        assert run(other, "restore", str(backup)).returncode == 0
        with ServerProcess(other, **_SETTINGS) as second:
            assert {state_of(second, one) for one in known} == {"ready"}
            for one in letters:
                eventually(lambda one=one: state_of(second, one) == "dead")  # type: ignore[misc]  # bound at once
            ids = [accept(one, good).id for one in (server, second) for _ in range(20)]
            assert len({*ids, *waiting, *letters}) == 40 + len(waiting) + 20
            assert not [line for line in second.lines if line["level"] == "error"]


def test_backup_that_a_kill_broke_off_is_not_restored(place: Path, receiver: Receiver) -> None:
    """What is left of it has no manifest; and it is refused as the place of another one."""
    backup, other = place / "backup", place / "other"
    other.mkdir()
    with ServerProcess(place, **_SETTINGS) as server:
        accept(server, receiver, body=b"d" * 100_000)
        begin(server, backup)
        eventually((backup / "transaction.log").exists)
        server.kill()
    # Where the machine stood still for as long as a backup takes, it is whole.
    is_whole = (backup / "backup.json").exists()
    ended = run(other, "restore", str(backup))
    assert ended.returncode == (0 if is_whole else 2)
    assert is_whole or "not a whole backup" in ended.stderr
    assert is_whole or list(other.iterdir()) == []
    with ServerProcess(place, **_SETTINGS) as server:
        assert "not empty" in commanded(server, place, "backup", str(backup), code=2)
        commanded(server, place, "backup", str(place / "again"))
    assert run(place, "restore", str(place / "again")).returncode == 2, "there are logs"


def test_stop_of_the_server_ends_a_backup_and_leaves_nothing(place: Path) -> None:
    """A backup holds up no stop."""
    with ServerProcess(place, **_SETTINGS) as server:
        begin(server, place / "backup")
        assert server.stop() == 0
    assert not (place / "backup").exists() or (place / "backup" / "backup.json").exists()


def test_backup_is_a_job_that_is_seen_slowed_down_and_cancelled(place: Path) -> None:
    """Among the others, with how many bytes are copied of how many; what there was of a cancelled
    one is removed, and another one is made."""
    with ServerProcess(place, **_SETTINGS) as server:
        commanded(server, place, "hold", _HELD)
        for _ in range(3):
            assert ask(server.listen, post(_HELD, body=b"w" * 30_000_000)).id
        for number in range(20):  # it may be whole before it is slowed down
            directory = place / f"backup-{number}"
            begin(server, directory)
            job = get(server.api, "/v1/backup").json["job"]
            path = f"/v1/jobs/{job}"
            slowed = call(server, "PATCH", path, {"rate": "1/1m"})[0] == 200
            seen = ok(server, "GET", path)
            if slowed and seen["done"] < seen["total"]:  # else its copy is being checked
                break
            eventually(lambda: ok(server, "GET", "/v1/backup")["state"] == "made")
        (listed,) = ok(server, "GET", "/v1/jobs?state=running&kind=backup")["items"]
        assert listed["id"] == job
        assert (seen["state"], seen["unit"], seen["rate"]) == ("running", "bytes", "1/m")
        assert seen["selection"] == {"directory": str(directory)}
        assert 0 <= seen["done"] < seen["total"]
        assert seen["total"] > 90_000_000
        assert job[-6:] in commanded(server, place, "jobs", "list", "--state", "running")
        assert f"{directory}" in commanded(server, place, "jobs", "show", job)
        commanded(server, place, "jobs", "cancel", job)
        assert ok(server, "GET", path)["state"] == "cancelled"
        assert ok(server, "GET", "/v1/backup")["state"] == "stopped"
        assert not directory.exists()
        commanded(server, place, "backup", str(place / "whole"))
        path = f"/v1/jobs/{ok(server, 'GET', '/v1/backup')['job']}"
        eventually(lambda: ok(server, "GET", path)["state"] == "done")  # it looks now and then
        made = ok(server, "GET", path)
        assert made["done"] == made["total"]
        assert (place / "whole" / "backup.json").exists()
