"""The real server process, and what an outsider can ask of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dispatcher.testing.destination import Request
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.served import NODES, Line, ServerProcess
from tests.acceptance.wire import Answer, ask, get, post

ROOT = Path(__file__).parents[2]


def quick(**settings: str) -> Mapping[str, str]:
    """Settings with which nothing takes long; `settings` win."""
    return {"RETRY_DELAY": "20", "RETRY_MAX_DELAY": "100", "DRAIN_TIMEOUT": "300"} | settings


def run(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a directory, with settings in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "dispatcher", *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT), "LOG_FORMAT": "json"} | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def forwarded(server: ServerProcess, receiver: Receiver, data: bytes) -> Request:
    """Send a request, which must be accepted, and return what came of it at the destination."""
    before = len(receiver.requests)
    number = ask(server.listen, data, to_head=data.startswith(b"HEAD")).id
    one = receiver.received(before + 1)[before]
    assert number == one.headers["x-dispatcher-message-id"]
    return one


def lines_of(one: Request) -> list[bytes]:
    """Header lines as they came, without the two that are always added at the end."""
    *lines, number, attempt = one.head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
    assert number.startswith(b"X-Dispatcher-Message-Id: ")
    assert attempt.startswith(b"X-Dispatcher-Attempt: ")
    return lines


def accept(server: ServerProcess, receiver: Receiver, *headers: str, body: bytes = b"") -> Answer:
    """Send an ordinary message, which must be accepted."""
    accepted = ask(server.listen, post(receiver.authority, *headers, body=body))
    assert accepted.id
    return accepted


def dead(server: ServerProcess, number: str, *, timeout_s: float = 60.0) -> Line:
    """Wait for a message to become a dead letter; return the event."""
    return _event(server, "message.dead_lettered", number, timeout_s)


def failed(server: ServerProcess, number: str, *, timeout_s: float = 60.0) -> Line:
    """Wait for an attempt to deliver a message to fail; return the event of the first."""
    return _event(server, "attempt.finished", number, timeout_s)


def _event(server: ServerProcess, name: str, number: str, timeout_s: float) -> Line:
    def find() -> Line | None:
        lines = list(server.lines)
        return next((x for x in lines if x["event"] == name and x["id"] == number), None)

    found = eventually(find, timeout_s=timeout_s)
    assert found is not None
    return found


def metrics(server: ServerProcess, *headers: str) -> dict[str, float]:
    """Every sample of `/metrics`, by name and labels; of several nodes the sum."""
    samples: dict[str, float] = {}
    for api in server.apis:
        answer = get(api, "/metrics", *headers)
        assert answer.status == 200
        for line in answer.body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = samples.get(name, 0) + float(value)
    return samples


def pending_at_start(server: ServerProcess) -> int:
    """How many messages its start has found. Nodes find theirs one partition after the other, once
    they are ready: then it is what waits, and what became of the rest since."""
    if not NODES:
        found: int = server.event("server.ready")["pending"]
        return found
    stats = get(server.api, "/v1/stats").json
    waiting: int = sum(stats[name] for name in ("ready", "scheduled", "in_flight"))
    ended: int = stats["delivered_total"] + stats["dead_total"]
    return waiting + ended


def settled(server: ServerProcess, count: int) -> None:
    """Wait until this many messages were delivered since the start."""
    eventually(lambda: metrics(server)["dispatcher_messages_delivered_total"] >= count)
