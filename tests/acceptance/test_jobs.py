"""Long work of operators from outside: seen, hurried, cancelled; it goes on without its caller."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import accept, dead, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.test_operating import call, ok

LETTERS = 50
JSON = "application/json"


@pytest.fixture
def letters(server: ServerProcess, receiver: Receiver) -> list[str]:
    """Fifty of them, for a destination that takes everything from then on."""
    receiver.script(*(answer(404) for _ in range(LETTERS)))
    numbers = [accept(server, receiver).id for _ in range(LETTERS)]
    for number in numbers:
        dead(server, number)
    return numbers


def redrive(
    server: ServerProcess, receiver: Receiver, *, prefer: str
) -> http.client.HTTPConnection:
    """Ask for all of them at 5 a second; whoever asked has not read the answer."""
    connection = http.client.HTTPConnection(*server.api, timeout=60)
    body = json.dumps({"destination": f"http://{receiver.authority}", "rate": 5})
    headers = {"Content-Type": JSON, **({"Prefer": prefer} if prefer else {})}
    connection.request("POST", "/v1/dead-letters/redrive", body, headers)
    return connection


def left(server: ServerProcess, receiver: Receiver) -> int:
    """Dead letters that are left."""
    where = f"/v1/dead-letters?destination=http://{receiver.authority}"
    return len(ok(server, "GET", where)["items"])


def running(server: ServerProcess) -> dict[str, Any]:
    """The one job that runs, once there is one."""

    def found() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = ok(server, "GET", "/v1/jobs?state=running")["items"]
        return items

    (job,) = eventually(found)
    return job


def test_a_paced_redrive_is_seen_hurried_and_cancelled(
    server: ServerProcess, receiver: Receiver, letters: list[str]
) -> None:
    """What it did until then is done, and counted."""
    asking = redrive(server, receiver, prefer="respond-async")
    answered = asking.getresponse()
    job = json.load(answered)
    asking.close()
    path = f"/v1/jobs/{job['id']}"
    assert (answered.status, answered.getheader("Location")) == (202, path)
    assert (job["kind"], job["state"], job["rate"]) == ("redrive", "running", "5/s")
    assert job["survives_restart"] is False

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = ok(server, "GET", path)
        return found

    eventually(lambda: shown()["done"] >= 2)
    seen = shown()
    assert (seen["state"], seen["total"]) == ("running", LETTERS)
    assert seen["done"] < LETTERS / 2
    assert ok(server, "PATCH", path, {"rate": 30})["rate"] == "30/s"
    eventually(lambda: shown()["done"] >= 12)
    assert ok(server, "PATCH", path, {"rate": "1/1m"})["rate"] == "1/m"
    ended = ok(server, "DELETE", path)
    assert ended["state"] == "cancelled"
    assert 12 <= ended["done"] < LETTERS
    assert left(server, receiver) == LETTERS - ended["done"]
    receiver.received(LETTERS + ended["done"])
    assert call(server, "PATCH", path, {"rate": 1})[0] == 409


def test_a_job_goes_on_when_its_client_is_gone(
    server: ServerProcess, receiver: Receiver, letters: list[str]
) -> None:
    """Cut off in the middle, and found again by who lists."""
    asking = redrive(server, receiver, prefer="")
    job = running(server)
    asking.close()
    ok(server, "PATCH", f"/v1/jobs/{job['id']}", {"rate": "none"})
    eventually(lambda: ok(server, "GET", f"/v1/jobs/{job['id']}")["state"] == "done")
    ended = ok(server, "GET", f"/v1/jobs/{job['id']}")
    assert ended["result"] == {"redriven": LETTERS, "not_found": []}
    assert ended["selection"] == {"destination": f"http://{receiver.authority}", "rate": 5}
    assert left(server, receiver) == 0
    assert sorted(letters) == sorted(
        one.headers["x-dispatcher-message-id"] for one in receiver.received(2 * LETTERS)[LETTERS:]
    )


def test_who_waits_is_answered_as_ever(
    server: ServerProcess, receiver: Receiver, letters: list[str]
) -> None:
    """When the last one is done."""
    body = {"destination": f"http://{receiver.authority}"}
    answered = call(server, "POST", "/v1/dead-letters/purge", body)
    assert answered == (200, {"purged": LETTERS, "not_found": []})


def test_a_stop_names_the_jobs_that_it_ends(receiver: Receiver, tmp_path: Path) -> None:
    """At once, within the drain; after the next start what is left is there."""
    with ServerProcess(tmp_path, **quick()) as server:
        receiver.script(*(answer(404) for _ in range(3)))
        for number in [accept(server, receiver).id for _ in range(3)]:
            dead(server, number)
        slow = {"all": True, "rate": 1}
        asking = http.client.HTTPConnection(*server.api, timeout=60)
        asking.request("POST", "/v1/dead-letters/redrive", json.dumps(slow), {"Content-Type": JSON})
        eventually(lambda: left(server, receiver) == 2)
        assert server.stop() == 0
        asking.close()
        (told,) = server.events("job.broken_off")
        assert (told["kind"], told["done"], told["total"]) == ("redrive", 1, 3)
    with ServerProcess(tmp_path, **quick()) as server:
        assert left(server, receiver) == 2
        assert ok(server, "GET", "/v1/jobs") == {"items": []}


@pytest.mark.parametrize(
    ("what", "kind"), [("cancel", "cancel"), ("dead-letter", "dead_letter"), ("retry", "retry")]
)
def test_waiting_messages_are_changed_at_a_rate(
    server: ServerProcess, receiver: Receiver, what: str, kind: str
) -> None:
    """How many there are is known while it runs; the rate is changed, and what is left when it is
    cancelled waits as before."""
    for _ in range(30):
        accept(server, receiver, "X-Dispatcher-Delay: 1h")
    asked = {"destination": f"http://{receiver.authority}", "rate": "1/1m"}
    connection = http.client.HTTPConnection(*server.api, timeout=60)
    headers = {"Content-Type": JSON, "Prefer": "respond-async"}
    connection.request("POST", f"/v1/messages/{what}", json.dumps(asked), headers)
    answered = connection.getresponse()
    job = json.load(answered)
    connection.close()
    path = f"/v1/jobs/{job['id']}"
    assert (answered.status, job["kind"], job["has_rate"]) == (202, kind, True)

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = ok(server, "GET", path)
        return found

    eventually(lambda: shown()["done"] == 1)
    assert (shown()["total"], shown()["rate"], shown()["state"]) == (30, "1/m", "running")
    assert ok(server, "PATCH", path, {"rate": 20})["rate"] == "20/s"
    eventually(lambda: shown()["done"] >= 4)
    ended = ok(server, "DELETE", path)
    assert ended["state"] == "cancelled"
    assert 4 <= ended["done"] < 30
    where = f"/v1/messages?destination=http://{receiver.authority}&state=scheduled"
    assert len(ok(server, "GET", where)["items"]) == 30 - ended["done"]
