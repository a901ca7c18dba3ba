"""A schedule of a real server: it makes its call, and is there after a crash."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from dispatcher.testing.application import exits
from dispatcher.testing.destination import answer
from dispatcher.testing.process import ServerProcess
from tests.acceptance.receiver import Receiver
from tests.acceptance.wire import ask, request

SECONDS = 60.0
PATH = "/v1/schedules/nightly"


def asked(server: ServerProcess, method: str, path: str, send: Any = None) -> tuple[int, Any]:
    """Ask the API; status and document."""
    body = b"" if send is None else json.dumps(send).encode()
    host, port = server.api
    answered = ask(
        server.api,
        request(
            f"{method} {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            body=body,
        ),
    )
    return answered.status, json.loads(answered.body)


def ended(server: ServerProcess) -> dict[str, Any]:
    """What its last call by hand came to."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        _, shown = asked(server, "GET", PATH)
        if shown["last_run"]["state"] == "succeeded":
            found: dict[str, Any] = shown
            return found
        time.sleep(0.02)
    raise TimeoutError(shown)


def test_schedule_makes_its_call_and_outlives_a_crash(tmp_path: Path, receiver: Receiver) -> None:
    """With what its call came to; the call reaches the application with its input."""
    response = exits().SerializeToString()
    receiver.script(answer(200, response, ("Content-Type", "application/proto")))
    plan = {
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "call": {
            "endpoint": f"http://{receiver.authority}",
            "function": "clean_up",
            "input": "seven days",
        },
        "overlap": "skip",
    }
    with ServerProcess(tmp_path) as server:
        assert asked(server, "PUT", PATH, plan)[0] == 201
        status, firing = asked(server, "POST", f"{PATH}/run")
        assert status == 202
        shown = ended(server)
        assert shown["last_run"]["id"] == firing["id"]
        server.kill()
    with ServerProcess(tmp_path) as server:
        assert ended(server) == shown
        _, listed = asked(server, "GET", "/v1/schedules")
        assert [one["name"] for one in listed["items"]] == ["nightly"]
        assert asked(server, "GET", f"/v1/calls/{firing['id']}")[1]["state"] == "succeeded"
    (run,) = receiver.requests
    assert b"seven days" in run.body
