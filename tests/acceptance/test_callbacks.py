"""Callbacks: who is told what became of a message, however the server is killed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.destination import Request, answer
from tests.acceptance.receiver import Gate, Receiver, Receivers, eventually
from tests.acceptance.running import accept, dead, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, get, request

SETTINGS = quick(RETRYLIMIT="1")


@pytest.fixture
def told(receivers: Receivers) -> Iterator[Receiver]:
    """Who is called back."""
    with receivers.open() as one:
        yield one


def callbacks(to: Receiver) -> list[str]:
    """Headers that name it for both outcomes."""
    return [
        f"X-Dispatcher-Callback: http://{to.authority}/done?x=1",
        f"X-Dispatcher-Failure-Callback: http://{to.authority}/failed",
    ]


def said(one: Request) -> dict[str, Any]:
    """What a callback says."""
    assert one.headers["content-type"] == "application/json"
    shown: dict[str, Any] = json.loads(one.body)
    assert shown["id"] == one.headers["x-dispatcher-callback-of"]
    return shown


def all_ended(server: ServerProcess) -> None:
    """Wait until no message is pending."""

    def none_left() -> bool:
        stats = get(server.api, "/v1/stats").json
        return not any(stats[state] for state in ("ready", "scheduled", "in_flight"))

    eventually(none_left)


def test_callback_says_what_the_destination_answered(
    tmp_path: Path, receiver: Receiver, told: Receiver
) -> None:
    """It is a message of its own: a POST of JSON with the id of the other one."""
    receiver.script(answer(201, b"made", ("X-Made", "7"), ("x-made", "8")))
    with ServerProcess(tmp_path, **SETTINGS) as server:
        number = accept(server, receiver, *callbacks(told), body=b"{}").id
        (one,) = told.received(1)
        assert one.head.startswith(b"POST /done?x=1 HTTP/1.1\r\n")
        assert one.headers["x-dispatcher-message-id"] != number
        shown = said(one)
        pairs = shown["headers"]
        assert [pair for pair in pairs if pair[0].lower() == "x-made"] == [
            ["X-Made", "7"],
            ["x-made", "8"],
        ]
        del shown["headers"]
        assert shown == {
            "id": number,
            "outcome": "delivered",
            "destination": f"http://{receiver.authority}",
            "method": "POST",
            "target": "/",
            "attempts": 1,
            "status": 201,
            "body": base64.b64encode(b"made").decode(),
            "error": None,
        }
        first = receiver.received(1)[0]
        assert not any("callback" in name for name in first.headers)
        all_ended(server)
    assert len(told.requests) == 1


def test_callback_has_the_beginning_of_a_large_answer(
    tmp_path: Path, receiver: Receiver, told: Receiver
) -> None:
    """64 KiB of it; the message is delivered as ever."""
    body = bytes(range(256)) * 1024
    receiver.script(answer(200, body))
    with ServerProcess(tmp_path, **SETTINGS) as server:
        accept(server, receiver, *callbacks(told))
        (one,) = told.received(1)
        assert base64.b64decode(said(one)["body"]) == body[: 64 * 1024]


def test_failure_callback_says_why(tmp_path: Path, receiver: Receiver, told: Receiver) -> None:
    """After the last attempt; a message without one is a dead letter and nothing more."""
    receiver.fake.default = answer(503, b"no")
    with ServerProcess(tmp_path, **SETTINGS) as server:
        silent = accept(server, receiver, callbacks(told)[0]).id
        dead(server, silent)
        number = accept(server, receiver, *callbacks(told)).id
        (one,) = told.received(1)
        assert one.head.startswith(b"POST /failed HTTP/1.1\r\n")
        shown = said(one)
        assert (shown["id"], shown["outcome"], shown["attempts"]) == (number, "dead", 2)
        assert (shown["status"], shown["error"]) == (503, "http_503")
        assert base64.b64decode(shown["body"]) == b"no"


def test_redriven_message_calls_back_again(
    tmp_path: Path, receiver: Receiver, told: Receiver
) -> None:
    """Both ends are told."""
    receiver.script(answer(404))
    with ServerProcess(tmp_path, **SETTINGS) as server:
        number = accept(server, receiver, *callbacks(told)).id
        told.received(1)
        redriven = request(
            f"POST /v1/dead-letters/{number}/redrive HTTP/1.1",
            f"Host: {server.api[0]}:{server.api[1]}",
            "Content-Length: 0",
        )
        assert ask(server.api, redriven).status in (200, 202, 204)
        both = [said(one) for one in told.received(2)]
        assert [(one["id"], one["outcome"]) for one in both] == [
            (number, "dead"),
            (number, "delivered"),
        ]


def test_egress_rules_hold_for_callbacks(tmp_path: Path, receiver: Receiver) -> None:
    """A caller can't reach through one what no message may reach: it is a dead letter."""
    with ServerProcess(tmp_path, **SETTINGS, EGRESS_DENY="127.0.0.9") as server:
        accept(server, receiver, "X-Dispatcher-Callback: http://127.0.0.9:1/x")
        found = eventually(lambda: get(server.api, "/v1/dead-letters").json["items"])
        assert [one["reason"] for one in found] == ["egress_denied"]


@pytest.mark.parametrize("outcome", ["delivered", "dead"])
def test_each_end_is_told_once_however_the_server_is_killed(
    tmp_path: Path, receiver: Receiver, told: Receiver, outcome: str
) -> None:
    """Killed while the first attempt is under way, while the callback is, and after both: the
    message may be attempted again, and its callback delivered again, but there is one."""
    gate, told_gate = Gate(), Gate()
    receiver.fake.default, told.fake.default = gate, told_gate
    status = 200 if outcome == "delivered" else 404
    with ServerProcess(tmp_path, **SETTINGS) as server:
        number = accept(server, receiver, *callbacks(told)).id
        eventually(lambda: gate.held)
        server.kill()
    with ServerProcess(tmp_path, **SETTINGS) as server:
        eventually(lambda: gate.gone and gate.held)
        gate.let_through(answer(status))
        eventually(lambda: told_gate.held)
        server.kill()
    with ServerProcess(tmp_path, **SETTINGS) as server:
        eventually(lambda: told_gate.gone and told_gate.held)
        told_gate.let_through(answer(204))
        all_ended(server)
        server.kill()
    told.fake.default = answer(204)
    with ServerProcess(tmp_path, **SETTINGS) as server:
        all_ended(server)
    assert len({one.headers["x-dispatcher-message-id"] for one in told.requests}) == 1
    assert {(said(one)["id"], said(one)["outcome"]) for one in told.requests} == {(number, outcome)}
    assert len(receiver.requests) == 2


def test_callback_that_is_carried_elsewhere_stays_one(
    tmp_path: Path, receiver: Receiver, told: Receiver
) -> None:
    """It says whose it is, and has no callback itself."""
    (tmp_path / "second").mkdir()
    told.script(answer(404))
    with ServerProcess(tmp_path, **SETTINGS) as first:
        number = accept(first, receiver, *callbacks(told)).id
        dead(first, told.received()[0].headers["x-dispatcher-message-id"])
        carry(first, tmp_path, "export", "--state", "dead")
    with ServerProcess(tmp_path / "second", **SETTINGS) as second:
        carry(second, tmp_path, "import")
        (letter,) = get(second.api, "/v1/dead-letters").json["items"]
        shown = get(second.api, f"/v1/dead-letters/{letter['id']}").json
        assert ["X-Dispatcher-Callback-Of", number] in shown["headers"]
        redrive = f"POST /v1/dead-letters/{letter['id']}/redrive HTTP/1.1"
        assert ask(second.api, request(redrive, "Host: api", "Content-Length: 0")).status == 202
        again = told.received(2)[1]
        assert again.headers["x-dispatcher-callback-of"] == number
        assert again.body == told.received(2)[0].body


def carry(server: ServerProcess, directory: Path, *arguments: str) -> None:
    """Export or import a file."""
    host, port = server.api
    ran = run(directory, *arguments, "carried.ndjson", "--url", f"http://{host}:{port}")
    assert ran.returncode == 0, ran.stderr
