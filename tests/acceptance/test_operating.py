"""Sections 4 and 7 from outside: dead letters, messages, destinations and figures, over HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import accept, dead, failed, quick
from tests.acceptance.served import ServerProcess

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_UNKNOWN = "0" * 28


def call(
    server: ServerProcess, method: str, path: str, body: object = None, key: str = ""
) -> tuple[int, Any]:
    """Ask the API: status, and what the answer says."""
    connection = http.client.HTTPConnection(*server.api, timeout=60)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    data = None
    if body is not None:
        data = json.dumps(body)
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, path, data, headers)
        answered = connection.getresponse()
        text = answered.read()
    finally:
        connection.close()
    return answered.status, json.loads(text) if text else None


def ok(server: ServerProcess, method: str, path: str, body: object = None) -> Any:
    """Ask for something that must succeed."""
    status, said = call(server, method, path, body)
    assert status in (200, 202, 204), said
    return said


def die(server: ServerProcess, receiver: Receiver, status: int = 404, body: bytes = b"x") -> str:
    """Have a message die, and return its id."""
    receiver.script(answer(status, body=b"why not"))
    number = accept(server, receiver, body=body).id
    dead(server, number)
    return number


def instant(text: str) -> datetime:
    """A time as the API writes it."""
    assert _INSTANT.fullmatch(text), text
    return datetime.fromisoformat(text)


def test_a_dead_letter_is_listed_and_shown_whole(server: ServerProcess, receiver: Receiver) -> None:
    """With the message, every attempt, and the start of the last response."""
    number = die(server, receiver, body=b"\x00\xffbody")
    page = ok(server, "GET", f"/v1/dead-letters?destination=http://{receiver.authority}")
    assert page["next"] is None
    (item,) = page["items"]
    assert (item["id"], item["destination"]) == (number, f"http://{receiver.authority}")
    assert (item["method"], item["attempts"]) == ("POST", 1)
    assert (item["last_status"], item["last_error"]) == (404, "http_404")
    assert instant(item["accepted_at"]) <= instant(item["dead_at"])
    shown = ok(server, "GET", f"/v1/dead-letters/{number}")
    assert base64.b64decode(shown["body"]) == b"\x00\xffbody"
    assert ["Host", receiver.authority] in shown["headers"]
    (attempt,) = shown["history"]
    assert (attempt["attempt"], attempt["status"], attempt["error"]) == (1, 404, None)
    assert attempt["response_start"] == "why not"
    # `http_404` says it all, here and in the log: it is not said twice.
    assert (shown["detail"], failed(server, number)["detail"]) == ("", "")
    instant(attempt["started_at"])
    said = ok(server, "GET", f"/v1/messages/{number}")
    assert (said["state"], said["attempts"], said["next_attempt_at"]) == ("dead", 1, None)


def test_dead_letters_come_in_pages_oldest_first(server: ServerProcess, receiver: Receiver) -> None:
    """Every one once."""
    numbers = [die(server, receiver) for _ in range(5)]
    seen: list[str] = []
    where = f"/v1/dead-letters?destination=http://{receiver.authority}&limit=2"
    page = ok(server, "GET", where)
    while True:
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        page = ok(server, "GET", f"{where}&cursor={page['next']}")
    assert seen == numbers


def test_a_redriven_message_comes_again_under_its_id(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Byte for byte, attempts from 1; a second redrive finds nothing."""
    number = die(server, receiver, body=b"again")
    assert call(server, "POST", f"/v1/dead-letters/{number}/redrive")[0] == 202
    first, second = receiver.received(2)
    assert second.head == first.head
    assert second.body == b"again"
    assert second.headers["x-dispatcher-message-id"] == number
    assert second.headers["x-dispatcher-attempt"] == "1"
    eventually(lambda: ok(server, "GET", f"/v1/messages/{number}")["state"] == "delivered")
    status, said = call(server, "POST", f"/v1/dead-letters/{number}/redrive")
    assert (status, said["error"]) == (404, "dead_letter_unknown")


def test_dead_letters_are_selected_by_id_destination_or_all(
    server: ServerProcess, receiver: Receiver
) -> None:
    """And what is not there is named."""
    numbers = [die(server, receiver) for _ in range(3)]
    said = ok(server, "POST", "/v1/dead-letters/redrive", {"ids": [numbers[0], _UNKNOWN]})
    assert said == {"redriven": 1, "not_found": [_UNKNOWN]}
    here = {"destination": f"http://{receiver.authority}"}
    said = ok(server, "POST", "/v1/dead-letters/redrive", {**here, "dry_run": True})
    assert said == {"redriven": 2, "not_found": []}
    said = ok(server, "POST", "/v1/dead-letters/purge", here)
    assert said == {"purged": 2, "not_found": []}
    eventually(lambda: len(receiver.requests) == 4)
    everything = ok(server, "GET", "/v1/stats")["dead"]
    said = ok(server, "POST", "/v1/dead-letters/purge", {"all": True})
    assert said["purged"] == everything
    assert ok(server, "GET", "/v1/stats")["dead"] == 0


def test_a_purged_letter_is_gone_for_good(server: ServerProcess, receiver: Receiver) -> None:
    """204, then 404 everywhere."""
    number = die(server, receiver)
    assert call(server, "DELETE", f"/v1/dead-letters/{number}") == (204, None)
    assert call(server, "DELETE", f"/v1/dead-letters/{number}")[0] == 404
    assert call(server, "GET", f"/v1/dead-letters/{number}")[0] == 404
    assert call(server, "GET", f"/v1/messages/{number}")[0] == 404


def test_what_operators_did_survives_a_crash(tmp_path: Path, receiver: Receiver) -> None:
    """Redriven, purged, cancelled and paused: all of it is durable when it is answered."""
    settings = quick(RETRYLIMIT="0")
    with ServerProcess(tmp_path, **settings) as server:
        kept, purged, redriven = (die(server, receiver) for _ in range(3))
        ok(server, "POST", f"/v1/destinations/{receiver.authority}/pause")
        cancelled, waiting = (accept(server, receiver).id for _ in range(2))
        assert call(server, "DELETE", f"/v1/messages/{cancelled}") == (204, None)
        ok(server, "DELETE", f"/v1/dead-letters/{purged}")
        ok(server, "POST", f"/v1/dead-letters/{redriven}/redrive")
        server.kill()
    with ServerProcess(tmp_path, **settings) as server:
        page = ok(server, "GET", "/v1/dead-letters")
        assert [item["id"] for item in page["items"]] == [kept]
        (lane,) = ok(server, "GET", "/v1/stats")["lanes"]
        assert (lane["paused"], lane["ready"]) == (True, 2)
        time.sleep(0.3)
        assert len(receiver.requests) == 3
        ok(server, "POST", f"/v1/destinations/{receiver.authority}/resume")
        came = [one.headers["x-dispatcher-message-id"] for one in receiver.received(5)[3:]]
        assert sorted(came) == sorted([waiting, redriven])
        assert call(server, "GET", f"/v1/messages/{cancelled}")[0] == 404


def test_the_reason_why_a_message_waits_is_told(server: ServerProcess, receiver: Receiver) -> None:
    """Paused, then delivered."""
    ok(server, "POST", f"/v1/destinations/{receiver.authority}/pause")
    number = accept(server, receiver).id
    said = ok(server, "GET", f"/v1/messages/{number}/explain")
    assert (said["state"], said["reason"]) == ("ready", "destination_held")
    ok(server, "POST", f"/v1/destinations/{receiver.authority}/resume")
    receiver.received(1)
    eventually(lambda: ok(server, "GET", f"/v1/messages/{number}/explain")["reason"] == "delivered")


def test_stats_have_every_figure(server: ServerProcess, receiver: Receiver) -> None:
    """Those of docs/api.md, and lanes with theirs."""
    ok(server, "POST", f"/v1/destinations/{receiver.authority}/pause")
    accept(server, receiver)
    stats = ok(server, "GET", "/v1/stats")
    for name in (
        *("accepted_total", "delivered_total", "dead_total", "ready", "scheduled", "in_flight"),
        *("dead", "log_bytes", "log_live_bytes"),
    ):
        assert isinstance(stats[name], int)
    (lane,) = [x for x in stats["lanes"] if x["destination"] == f"http://{receiver.authority}"]
    assert (lane["ready"], lane["scheduled"], lane["in_flight"]) == (1, 0, 0)
    assert lane["limit"] >= 1
    assert lane["paused_until"] is None
    ok(server, "POST", f"/v1/destinations/{receiver.authority}/resume")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/dead-letters?limi=1", None, 400),
        ("GET", "/v1/dead-letters?limit=0", None, 400),
        ("GET", "/v1/dead-letters?cursor=nonsense", None, 400),
        ("POST", "/v1/dead-letters/redrive", {"id": [_UNKNOWN]}, 400),
        ("POST", "/v1/dead-letters/redrive", {}, 400),
        ("POST", "/v1/dead-letters/redrive", {"all": True, "ids": []}, 400),
        ("POST", "/v1/dead-letters/purge", {"all": False}, 400),
        ("GET", f"/v1/dead-letters/{_UNKNOWN}", None, 404),
        ("GET", f"/v1/messages/{_UNKNOWN}", None, 404),
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/stats", None, 405),
    ],
)
def test_what_the_api_cannot_do_is_an_error_in_the_usual_shape(
    server: ServerProcess, method: str, path: str, body: object, status: int
) -> None:
    """Unknown fields and parameters are errors, not ignored."""
    answered, said = call(server, method, path, body)
    assert answered == status
    assert set(said) == {"error", "message"}


def test_calls_need_a_key_where_keys_are_set(tmp_path: Path) -> None:
    """401 without, or with another one."""
    with ServerProcess(tmp_path, **quick(API_KEYS="right,other")) as server:
        for path in ("/v1/stats", "/v1/dead-letters", "/openapi.json"):
            assert call(server, "GET", path)[0] == 401
            assert call(server, "GET", path, key="wrong")[0] == 401
            assert call(server, "GET", path, key="other")[0] == 200


def test_dead_letters_are_dropped_when_their_time_is_over(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Logged, and counted."""
    with ServerProcess(tmp_path, **quick(DEAD_LETTER_RETENTION="1")) as server:
        die(server, receiver)
    with ServerProcess(tmp_path, **quick(DEAD_LETTER_RETENTION="1")) as server:
        event = server.event("dead_letters.dropped")
        assert (event["count"], event["reason"]) == (1, "age")
        assert ok(server, "GET", "/v1/stats")["dead"] == 0
