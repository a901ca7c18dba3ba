"""A schedule of a real server: it makes its call or message, and is there after a crash."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from dispatcher.testing.application import exits
from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.served import ServerProcess
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
    """What became of what it made by hand."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        _, shown = asked(server, "GET", PATH)
        if shown["last_run"]["state"] in ("succeeded", "delivered", "dead"):
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


def test_schedule_makes_its_message_and_outlives_a_crash(
    tmp_path: Path, receiver: Receiver
) -> None:
    """As it was planned; its idempotency key stands for it, also after the crash, and so is known
    what became of it."""
    plan = {
        "cron": "30 2 29 2 *",
        "destination": f"http://{receiver.authority}/base",
        "method": "PUT",
        "target": "/report?of=all",
        "headers": [["Content-Type", "text/plain"], ["X-Twice", "1"], ["X-Twice", "2"]],
        "body": base64.b64encode(b"hello").decode("ascii"),
        "options": {"retries": 0},
    }
    with ServerProcess(tmp_path) as server:
        assert asked(server, "PUT", PATH, plan)[0] == 201
        status, firing = asked(server, "POST", f"{PATH}/run")
        assert (status, firing["key"]) == (202, f"nightly@{firing['at']}")
        shown = ended(server)
        assert shown["last_run"] == {**firing, "state": "delivered"}
        (sent,) = receiver.requests
        assert (sent.head.split(b"\r\n")[0], bytes(sent.body)) == (
            b"PUT /base/report?of=all HTTP/1.1",
            b"hello",
        )
        assert sent.headers["x-dispatcher-message-id"] == firing["id"]
        assert sent.headers["content-type"] == "text/plain"
        duplicate = ask(
            server.listen,
            request(
                "PUT /report?of=all HTTP/1.1",
                f"Host: {receiver.authority}",
                f"X-Dispatcher-Origin-Host: http://{receiver.authority}/base",
                f"X-Dispatcher-Idempotency-Key: {firing['key']}",
                "Content-Length: 5",
                body=b"hello",
            ),
        )
        assert duplicate.headers["x-dispatcher-duplicate"] == "true"
        assert duplicate.id == firing["id"]
        server.kill()
    with ServerProcess(tmp_path) as server:
        assert ended(server) == shown  # maybe it was delivered once more
        before = len(receiver.requests)
        receiver.script(answer(500))
        _, second = asked(server, "POST", f"{PATH}/run")
        assert second["id"] != firing["id"]
        eventually(lambda: asked(server, "GET", PATH)[1]["last_run"]["state"] == "dead")
        server.kill()
    with ServerProcess(tmp_path) as server:
        assert asked(server, "GET", PATH)[1]["last_run"] == {**second, "state": "dead"}
        assert asked(server, "GET", f"/v1/dead-letters/{second['id']}")[0] == 200
    assert len(receiver.requests) == before + 1
