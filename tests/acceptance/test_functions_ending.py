"""What stays of calls: results, dead letters, lists; and servers that stop in the middle of
runs."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any as Anything

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dispatcher.protocol.connect import ConnectError
from dispatcher.protocol.messages import Call, DispatchRequest, RunResponse
from dispatcher.protocol.statuses import Status
from dispatcher.protocol.verifying import Verifier
from tests.acceptance.functions import (
    Client,
    Endpoint,
    Held,
    Http,
    Later,
    Reply,
    Run,
    an_any,
    exits,
    fails,
    is_first,
    polls,
)
from tests.acceptance.receiver import eventually
from tests.acceptance.running import run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Caller

SETTINGS = {
    "CALL_RETRY_DELAY": "30",
    "CALL_RETRY_MAX_DELAY": "200",
    "CALL_START_DELAY": "0",
    "DRAIN_TIMEOUT": "3000",
}


def test_dead_call_is_redriven_under_its_id(client: Client, endpoint: Endpoint) -> None:
    """From its input; its result is to come (202) until it has ended again."""
    endpoint.answer = lambda run: fails(7)
    (id,) = client.dispatch(endpoint.call("f", input=an_any(b"in")))
    assert client.error(id).type == "ValueError"
    eventually(lambda: client.ask("GET", f"/v1/dead-letters/{id}").status == 200)
    letter = client.ask("GET", f"/v1/dead-letters/{id}")
    assert letter.json["kind"] == "call"
    assert letter.json["function"] == "f"
    endpoint.answer = lambda run: Later(0.6, exits(b"at last"))
    assert client.ask("POST", f"/v1/dead-letters/{id}/redrive").status == 202
    eventually(lambda: len(endpoint.runs) == 2)
    assert client.ask("GET", f"/v1/calls/{id}/result").status == 202
    assert client.output(id) == b"at last"
    first, second = endpoint.runs
    assert second.request.input == first.request.input
    assert second.request.dispatch_id == id
    assert client.ask("GET", f"/v1/dead-letters/{id}").status == 404


def test_letter_of_a_call_says_what_ended_it_and_what_its_runs_came_to(
    client: Client, endpoint: Endpoint
) -> None:
    """The type of the application's error, told apart from what the server found; in lists, groups
    and filters, with the runs of its last life."""
    replies: list[Reply] = [Http(503), fails(6), fails(7, "KeyError")]

    def answer(run: Run) -> Reply:
        match run.request.function:
            case "theirs":
                return fails(15, "NotFound")
            case "ours":
                return RunResponse(status=Status.NOT_FOUND.value)
        return replies.pop(0) if replies else fails(7, "KeyError")

    endpoint.answer = answer
    ids = client.dispatch(*map(endpoint.call, ("theirs", "ours", "fails")))
    letters = [f"/v1/dead-letters/{id}" for id in ids]
    for path in letters:
        eventually(lambda path=path: client.ask("GET", path).status == 200)  # type: ignore[misc]  # bound at once
    found = [client.ask("GET", path).json for path in letters]
    words = ["error:NotFound", "not_found", "error:KeyError"]
    assert [letter["last_error"] for letter in found] == words
    listed = client.ask("GET", f"/v1/dead-letters?destination={endpoint.url}").json["items"]
    assert sorted(letter["last_error"] for letter in listed) == sorted(words)
    groups = client.ask("GET", f"/v1/dead-letters/groups?destination={endpoint.url}").json["items"]
    assert sorted((one["function"], one["error"]) for one in groups) == [
        ("fails", "error:KeyError"),
        ("ours", "not_found"),
        ("theirs", "error:NotFound"),
    ]
    only = client.ask("GET", "/v1/dead-letters?error=error:KeyError").json["items"]
    assert [letter["id"] for letter in only] == ids[2:]

    runs = found[2]["history"]
    assert found[2]["attempts"] == 3
    assert [(run["attempt"], run["status"], run["error"]) for run in runs] == [
        (1, 503, "temporary_error"),
        (2, None, "temporary_error"),
        (3, None, "permanent_error"),
    ]
    started = [run["started_at"] for run in runs]
    assert found[2]["accepted_at"] < started[0] < started[1] < started[2] < found[2]["dead_at"]

    assert client.ask("POST", f"{letters[2]}/redrive").status == 202
    eventually(lambda: client.ask("GET", letters[2]).status == 200)
    again = client.ask("GET", letters[2]).json["history"]
    assert [(run["attempt"], run["error"]) for run in again] == [(1, "permanent_error")]


def test_call_that_failed_says_why_also_before_its_end_is_told(
    client: Client, endpoint: Endpoint
) -> None:
    """In the list and in the tree: between attempts, and once it has failed under a parent that
    goes on; and a failed call at the top the same before and after its result has moved."""
    replies = [fails(3), fails(7, "KeyError")]

    def answer(run: Run) -> Reply:
        match run.request.function:
            case "parent":
                if is_first(run):
                    return polls(endpoint.call("child"))
                return polls(state=b"more", wait_ms=60_000)
            case "child":
                return replies.pop(0) if len(replies) > 1 or may_end else fails(3)
        return fails(7, "ValueError")

    may_end = False
    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("parent"))

    def child() -> Anything:
        nodes = client.ask("GET", f"/v1/calls/{id}/tree").json["nodes"]
        return next((one for one in nodes if one["function"] == "child"), None)

    eventually(lambda: (child() or {}).get("attempts", 0) > 0)
    assert child()["last_error"] == "throttled"
    (listed,) = client.ask("GET", "/v1/calls?function=child").json["items"]
    assert listed["last_error"] == "throttled"
    may_end = True
    eventually(lambda: child()["state"] == "failed")
    assert child()["last_error"] == "KeyError"
    assert client.ask("GET", f"/v1/calls/{child()['id']}").json["last_error"] == "KeyError"
    assert client.ask("DELETE", f"/v1/calls/{id}?mode=kill").status == 202

    seen = set()
    for (number,) in [client.dispatch(endpoint.call("top")) for _ in range(20)]:
        while (shown := client.ask("GET", f"/v1/calls/{number}").json)["state"] != "failed":
            pass
        seen.add(shown["last_error"])
    assert seen == {"ValueError"}


def test_result_is_to_come_there_or_unknown(client: Client, endpoint: Endpoint) -> None:
    """202, 200 and 404, with and without waiting for it."""
    may_end = threading.Event()
    endpoint.answer = lambda run: Held(may_end.is_set, exits())
    (id,) = client.dispatch(endpoint.call("f"))
    assert client.ask("GET", f"/v1/calls/{id}/result").status == 202
    assert client.ask("GET", f"/v1/calls/{id}/result?wait=100ms").status == 202
    may_end.set()
    assert client.output(id) == b"done"
    unknown = f"{int(id, 16) + 1:028x}"
    assert client.ask("GET", f"/v1/calls/{unknown}/result").status == 404
    assert client.ask("GET", "/v1/calls/no-id/result").status in (400, 404)
    waited = client.ask("POST", "/dispatch.sdk.v1.DispatchService/Wait", body=unknown.encode())
    assert waited.status == 404
    assert waited.json["code"] == "not_found"


@pytest.mark.parametrize(
    "asks",
    [
        "GET /v1/calls/{id}/result?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /dispatch.sdk.v1.DispatchService/Wait HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: {length}\r\n\r\n{id}",
    ],
    ids=["API", "Wait"],
)
def test_who_waits_for_a_result_and_hangs_up_waits_no_longer(
    server: ServerProcess, client: Client, asks: str
) -> None:
    """However many: nothing is kept for them. Who stays gets it."""

    def waiters() -> int:
        return int(client.ask("GET", "/v1/stats").json["calls"]["waiters"])

    promise = f"of {len(asks)}"
    (id,) = client.dispatch(Call(endpoint=f"promise:{promise}", function="f"))
    asked = asks.format(id=id, length=len(id)).encode()
    with Caller(server.api) as stays:
        stays.send(asked)
        callers = [Caller(server.api) for _ in range(100)]
        for caller in callers:
            caller.send(asked)
        eventually(lambda: waiters() == 101)
        for caller in callers:
            caller.reset()
        eventually(lambda: waiters() == 1)
        path = f"/v1/promises/{promise.replace(' ', '%20')}"
        assert client.ask("POST", path, "Content-Type: application/json", body=b"1").status == 204
        assert stays.answer().status == 200


def test_result_of_a_child_goes_to_its_caller(client: Client, endpoint: Endpoint) -> None:
    """Who waits for it hears at once that it has ended: 410, and never that there was none."""

    may_end = threading.Event()

    def answer(run: Run) -> Reply:
        if run.request.function == "child":
            return Held(may_end.is_set, exits())
        return polls(Call(function="child")) if is_first(run) else exits()

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("parent"))
    eventually(lambda: len(endpoint.of("child")) == 1)
    child = endpoint.of("child")[0].request.dispatch_id
    assert client.ask("GET", f"/v1/calls/{child}/result").status == 202
    threading.Timer(0.3, may_end.set).start()  # while the first one waits
    for path in ("result?wait=60s", "result"):
        gone = client.ask("GET", f"/v1/calls/{child}/{path}", timeout_s=50)
        assert (gone.status, gone.json["error"]) == (410, "result_expired")
    client.result(id)


def test_result_expires(tmp_path: Path, endpoint: Endpoint) -> None:
    """410 from then on: it is known that there was one."""
    with ServerProcess(tmp_path, **SETTINGS, RESULT_RETENTION="1500") as server:
        client = Client(server)
        (id,) = client.dispatch(endpoint.call("f"))
        assert client.output(id) == b"done"
        path = f"/v1/calls/{id}/result"
        eventually(lambda: client.ask("GET", path).status == 410)
        assert client.ask("GET", path).slug == "result_expired"
        assert server.stop() == 0
    with ServerProcess(tmp_path, **SETTINGS, RESULT_RETENTION="1500") as server:
        assert Client(server).ask("GET", path).status == 410


def test_calls_are_listed_page_by_page(client: Client, endpoint: Endpoint) -> None:
    """The newest first, each once, those that go on and those that have ended."""

    def answer(run: Run) -> Reply:
        return polls(state=b"s", wait_ms=60_000) if run.request.function == "waits" else exits()

    endpoint.answer = answer
    names = ["waits" if number % 3 else "ends" for number in range(25)]
    ids = client.dispatch(*map(endpoint.call, names))
    for id, name in zip(ids, names, strict=True):
        client.until(id, "suspended" if name == "waits" else "succeeded")
    query = f"/v1/calls?limit=4&endpoint={endpoint.url}"
    assert pages(client, query) == set(ids)
    waiting = {id for id, name in zip(ids, names, strict=True) if name == "waits"}
    assert pages(client, f"{query}&state=suspended") == waiting
    assert pages(client, f"{query}&state=succeeded") == set(ids) - waiting
    assert pages(client, f"{query}&function=waits&roots=true") == waiting
    assert pages(client, f"{query}&function=none") == set()
    for id in waiting:
        assert client.ask("DELETE", f"/v1/calls/{id}?mode=kill").status == 202


def pages(client: Client, query: str) -> set[str]:
    """The ids on all pages; each is there once."""
    found: list[str] = []
    cursor = ""
    while True:
        page = client.ask("GET", query + cursor).json
        found += [call["id"] for call in page["items"]]
        if page["next"] is None:
            assert len(found) == len(set(found))
            return set(found)
        cursor = f"&cursor={page['next']}"


def test_call_that_is_killed_gives_its_place_back(tmp_path: Path, endpoint: Endpoint) -> None:
    """Its run may hang until CALL_TIMEOUT: it takes up the only place no more."""
    with ServerProcess(tmp_path, **SETTINGS, CALL_WORKER="1") as server:
        client = Client(server)
        endpoint.answer = lambda run: Held(lambda: False, exits())
        (hangs,) = client.dispatch(endpoint.call("hangs"))
        eventually(lambda: len(endpoint.runs) == 1)
        endpoint.answer = lambda run: exits(b"well")
        (well,) = client.dispatch(endpoint.call("well"))
        assert client.ask("DELETE", f"/v1/calls/{hangs}?mode=kill").status == 202
        assert client.output(well, "20s") == b"well"


def test_runs_in_flight_end_when_the_server_is_stopped(tmp_path: Path, endpoint: Endpoint) -> None:
    """SIGTERM: what is answered within DRAIN_TIMEOUT counts, and is not run again."""
    may_end = threading.Event()
    endpoint.answer = lambda run: Held(may_end.is_set, exits())
    with ServerProcess(tmp_path, **{**SETTINGS, "DRAIN_TIMEOUT": "50000"}) as server:
        ids = Client(server).dispatch(*[endpoint.call("f")] * 2)
        eventually(lambda: len(endpoint.runs) == 2)
        server.signal(signal.SIGTERM)
        server.event("server.stopping")
        may_end.set()
        assert server.wait() == 0
        assert not [line for line in server.lines if line["level"] == "error"]
    with ServerProcess(tmp_path, **SETTINGS) as server:
        for id in ids:
            assert Client(server).output(id) == b"done"
    assert len(endpoint.runs) == 2


def test_run_that_takes_longer_than_the_drain_is_made_again(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    """The same, byte for byte, after the next start."""

    def answer(run: Run) -> Reply:
        if is_first(run):
            return polls(state=b"s", wait_ms=0)
        return Held(lambda: False, exits()) if len(endpoint.runs) == 2 else exits()

    endpoint.answer = answer
    with ServerProcess(tmp_path, **{**SETTINGS, "DRAIN_TIMEOUT": "200"}) as server:
        (id,) = Client(server).dispatch(endpoint.call("f"))
        eventually(lambda: len(endpoint.runs) == 2)
        assert server.stop() == 0
    with ServerProcess(tmp_path, **SETTINGS) as server:
        assert Client(server).output(id) == b"done"
    _, second, third = endpoint.runs
    assert second.body == third.body


def test_idempotency_key_outlives_a_kill(tmp_path: Path, endpoint: Endpoint) -> None:
    """The client did not hear the answer, and asks again."""
    message = DispatchRequest(calls=[endpoint.call("f")] * 3)
    with ServerProcess(tmp_path, **SETTINGS) as server:
        first = Client(server).post(message, "Idempotency-Key: k")
        server.kill()
    with ServerProcess(tmp_path, **SETTINGS) as server:
        again = Client(server).post(message, "Idempotency-Key: k")
        assert (again.status, again.body) == (200, first.body)
        other = Client(server).post(DispatchRequest(), "Idempotency-Key: k")
        assert other.status in (200, 409)  # an empty batch is nothing to remember


def test_applications_change_their_key_one_after_the_other(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    """During a rotation those with the old key and those with the new one are served."""
    other = Endpoint(lambda run: exits())
    with ServerProcess(tmp_path, **SETTINGS) as server, other:
        client = Client(server)
        shown = run(tmp_path, "keys", "rotate")
        assert shown.returncode == 0, shown.stderr
        server.signal(signal.SIGHUP)
        server.event("settings.reloaded")
        text = (tmp_path / "signing.pem").read_bytes()
        blocks = text.split(b"-----END PRIVATE KEY-----\n")
        first, second = (
            load_pem_private_key(block + b"-----END PRIVATE KEY-----\n", None)
            for block in blocks[:2]
        )
        for key, application in ((first, endpoint), (second, other)):
            assert isinstance(key, Ed25519PrivateKey)
            application.answer = verifying(key)
        for _ in range(2):
            for application in (endpoint, other):
                (id,) = client.dispatch(application.call("f"))
                assert client.output(id) == b"done"
        assert len(endpoint.runs) == 2
        assert len(other.runs) == 3  # the first was refused once


def verifying(key: Ed25519PrivateKey) -> Callable[[Run], Reply]:
    """Answers what is signed with this key."""
    verifier = Verifier([key.public_key()])

    def answer(run: Run) -> Reply:
        try:
            verifier.verify(
                method="POST",
                target="/dispatch.sdk.v1.FunctionService/Run",
                host=run.headers["host"],
                headers=run.headers.items(),
                body=run.body,
                now_s=time.time(),
            )
        except ConnectError:
            return Http(403)
        return exits()

    return answer
