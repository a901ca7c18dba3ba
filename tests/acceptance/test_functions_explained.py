"""`dispatcher explain` and `/v1/calls/{id}/explain`: why a call has not ended yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from dispatcher.protocol.messages import Call, RunResponse
from tests.acceptance.functions import Client, Endpoint, Held, Http, Reply, Run, exits, polls
from tests.acceptance.receiver import eventually
from tests.acceptance.served import ServerProcess

SETTINGS = {
    "CALL_RETRY_DELAY": "3600000",
    "CALL_RETRY_MAX_DELAY": "3600000",
    "CALL_START_DELAY": "0",
    "DRAIN_TIMEOUT": "300",
}


def explained(client: Client, id: str, reason: str) -> Any:
    """What is said of a call, once that is its reason."""

    def asked() -> Any:
        found = client.ask("GET", f"/v1/calls/{id}/explain").json
        return found if found["reason"] == reason else None

    return eventually(asked)


def test_suspended_call_names_what_it_waits_for_and_each_of_those_what_it_does(
    client: Client, endpoint: Endpoint
) -> None:
    """From the call at the top down to the promise that nobody has kept."""
    approval = Call(endpoint="promise:order-7", function="approval")

    def answer(run: Run) -> Reply:
        if run.request.function == "mail":
            return Http(503)
        return polls(approval, endpoint.call("mail"), min_results=2, wait_ms=7_200_000)

    endpoint.answer = answer
    (top,) = client.dispatch(endpoint.call("order"))
    found = explained(client, top, "waits_for_calls")
    assert found["state"] == "suspended"
    assert "2 calls: approval (" in found["message"]
    assert "2 of them have ended" in found["message"]
    assert found["until"] is not None
    assert found["expected_at"] is None
    nodes = client.ask("GET", f"/v1/calls/{top}/tree").json["nodes"]
    ids = {node["function"]: node["id"] for node in nodes}
    assert ids["approval"] in found["message"]
    assert "POST /v1/promises/order-7" in explained(client, ids["approval"], "outside")["message"]
    retried = explained(client, ids["mail"], "scheduled")
    assert retried["message"].startswith("Attempt 1 failed (http_503)")
    assert retried["until"] == retried["expected_at"] is not None


def test_sleeping_call_says_until_when(client: Client, endpoint: Endpoint) -> None:
    """A poll without calls."""
    endpoint.answer = lambda run: polls(wait_ms=3_600_000)
    (id,) = client.dispatch(endpoint.call("nap"))
    found = explained(client, id, "sleeps")
    assert found["until"] == found["expected_at"] is not None


def test_what_holds_an_application_up_is_said_of_its_calls(
    client: Client, endpoint: Endpoint
) -> None:
    """A run under way, the limit that it fills with another, and an operator's hold."""
    may_go: list[bool] = []
    endpoint.answer = lambda run: Held(lambda: may_go, exits())
    ids = client.dispatch(*[endpoint.call("work") for _ in range(3)])
    eventually(lambda: len(endpoint.runs) == 2)
    running = [run.request.dispatch_id for run in endpoint.runs]
    (third,) = set(ids) - set(running)
    under_way = explained(client, running[0], "in_flight")
    assert under_way["message"] == "Attempt 1 is under way."
    assert under_way["until"] is not None
    full = explained(client, third, "limit_reached")
    assert "2 runs in flight" in full["message"]
    path = f"/v1/destinations/{endpoint.url.replace(':', '%3A').replace('/', '%2F')}"
    assert client.ask("POST", f"{path}/hold").status == 200
    held = explained(client, third, "destination_held")
    assert endpoint.url in held["message"]
    assert client.ask("POST", f"{path}/resume").status == 200
    may_go.append(True)
    for id in ids:
        client.output(id)
        assert explained(client, id, "succeeded")["message"] == "It succeeded."


def test_throttled_function_and_session_that_nobody_fetches_are_named(
    client: Client, endpoint: Endpoint
) -> None:
    """A function that asked for a rest holds up its own calls alone."""
    throttled = RunResponse(status=3).SerializeToString()
    headers = ("Content-Type: application/proto", "Retry-After: 3600")
    endpoint.answer = lambda run: Http(200, throttled, headers)
    (first,) = client.dispatch(endpoint.call("work"))
    explained(client, first, "scheduled")
    (second,) = client.dispatch(endpoint.call("work"))
    found = explained(client, second, "throttled")
    assert found["message"].startswith("work asked to be left alone")
    assert found["until"] is not None
    (fetched,) = client.dispatch(Call(endpoint="bridge://laptop", function="work"))
    assert "bridge://laptop" in explained(client, fetched, "not_fetched")["message"]


def test_failed_call_says_what_ended_it_and_what_can_be_done(
    client: Client, endpoint: Endpoint
) -> None:
    """Also when nothing but its result is left."""
    endpoint.answer = lambda run: Http(404)
    (id,) = client.dispatch(endpoint.call("work"))
    client.error(id)
    found = explained(client, id, "failed")
    assert "NotFound" in found["message"]
    assert "redriven" in found["message"]
    assert client.ask("GET", f"/v1/calls/{'0' * 12}8{'0' * 15}/explain").status == 404


def test_command_explains_calls_as_it_does_messages(
    server: ServerProcess, client: Client, endpoint: Endpoint, tmp_path: Path
) -> None:
    """The id says which of them it is."""
    (id,) = client.dispatch(Call(endpoint="promise:order-7", function="approval"))
    host, port = server.api
    said = subprocess.run(
        [sys.executable, "-m", "dispatcher", "explain", id, "--url", f"http://{host}:{port}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=tmp_path,
    ).stdout
    assert said.startswith("It waits for a value from outside, by POST /v1/promises/order-7.\n")
    assert "reason:        outside\n" in said
