"""Messages that wait, from outside: found, shown, cancelled, and tried now."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import accept, failed, quick, run
from tests.acceptance.served import NODES, ServerProcess
from tests.acceptance.test_operating import call, ok
from tests.acceptance.wire import ask, get, post

SETTINGS = {"RETRY_DELAY": "1h", "RETRY_MAX_DELAY": "1h"}
LARGE = bytes(range(256)) * 12_000  # in more than one piece


def place(receiver: Receiver) -> str:
    """A destination as the API spells it."""
    return f"http://{receiver.authority}"


def path_of(receiver: Receiver) -> str:
    """The path of a destination."""
    return f"/v1/destinations/{quote(place(receiver), safe='')}"


def listed(server: ServerProcess, receiver: Receiver, **filters: str) -> list[dict[str, Any]]:
    """The items of all pages, three at a time."""
    query = "".join(f"&{name}={value}" for name, value in filters.items())
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        page = get(
            server.api, f"/v1/messages?destination={receiver.authority}&limit=3{query}{more}"
        ).json
        assert len(page["items"]) <= 3
        found += page["items"]
        cursor = page["next"]
    return found


def numbers(server: ServerProcess, receiver: Receiver, **filters: str) -> list[str]:
    """The ids of all pages."""
    return [one["id"] for one in listed(server, receiver, **filters)]


def is_delivered(server: ServerProcess, number: str) -> bool:
    """Whether a message was delivered."""
    return bool(get(server.api, f"/v1/messages/{number}").json["state"] == "delivered")


def fail(server: ServerProcess, receiver: Receiver, status: int = 500) -> str:
    """A message whose first attempt has failed, and whose next one is an hour ahead."""
    receiver.script(answer(status))
    number = accept(server, receiver).id
    failed(server, number)
    return number


def are_listed(found: list[str], expected: list[str]) -> None:
    """The oldest first; in a cluster those of one partition after those of another, and what has a
    key is in another one."""
    assert found == expected if not NODES else sorted(found) == sorted(expected)


def test_what_waits_is_found_page_by_page(server: ServerProcess, receiver: Receiver) -> None:
    """The oldest first, by state, and by what only its record says."""
    ok(server, "POST", f"{path_of(receiver)}/hold")
    sent = []
    for count in range(8):
        headers = [f"X-Dispatcher-Label: {'odd' if count % 2 else 'even'}"]
        if count == 5:
            headers.append("X-Dispatcher-Order-Key: k/1")
        target = f"/hooks/{count}?x=%2F"
        method = "PUT" if count == 6 else "POST"
        data = post(receiver.authority, *headers, path=target, method=method, body=b"12345")
        sent.append(ask(server.listen, data).id)
    later = accept(server, receiver, "X-Dispatcher-Delay: 1h").id
    are_listed(numbers(server, receiver), [*sent, later])
    are_listed(numbers(server, receiver, state="ready"), sent)
    assert numbers(server, receiver, state="scheduled") == [later]
    are_listed(numbers(server, receiver, state="held"), [*sent, later])
    are_listed(numbers(server, receiver, label="odd"), sent[1::2])
    assert numbers(server, receiver, order_key="k/1") == [sent[5]]
    assert numbers(server, receiver, method="PUT") == [sent[6]]
    assert numbers(server, receiver, target="/hooks/7") == [sent[7]]
    assert numbers(server, receiver, label="odd", target="/hooks/4") == []
    assert numbers(server, receiver, older_than="1h") == []
    are_listed(numbers(server, receiver, older_than="0s"), [*sent, later])
    first = one_of(listed(server, receiver), sent[0])
    shown = get(server.api, f"/v1/messages/{sent[0]}").json
    assert (first["target"], first["size_bytes"]) == ("/hooks/0?x=%2F", 5)
    assert {name: shown[name] for name in first} == first


def test_what_waits_says_why(server: ServerProcess, receiver: Receiver) -> None:
    """As its explanation does, also of a message that was never tried: until when, and what went
    wrong there."""
    failing = [fail(server, receiver) for _ in range(10)]
    untried = accept(server, receiver).id
    eventually(lambda: one_of(listed(server, receiver), untried)["reason"] == "breaker_open")
    for number, reason in ((untried, "breaker_open"), (failing[0], "scheduled")):
        found = one_of(listed(server, receiver), number)
        explained = get(server.api, f"/v1/messages/{number}/explain").json
        assert found["reason"] == reason == explained["reason"]
        assert found["destination_error"] == "http_500"
        assert (found["last_error"] is None) == (number == untried)
    ok(server, "POST", f"{path_of(receiver)}/hold")
    accept(server, receiver, "X-Dispatcher-Order-Key: k")
    behind = accept(server, receiver, "X-Dispatcher-Order-Key: k").id
    reasons = {one["id"]: one["reason"] for one in listed(server, receiver)}
    assert reasons[untried] == "destination_held"
    assert reasons[behind] == "order_key"
    assert get(server.api, f"/v1/messages/{untried}").json["reason"] == "destination_held"


def one_of(items: list[dict[str, Any]], number: str) -> dict[str, Any]:
    """The item with an id."""
    return next(one for one in items if one["id"] == number)


@pytest.mark.parametrize("body", [b"<script>\x00\xff", LARGE])
def test_request_is_shown_and_its_body_is_as_it_came(
    server: ServerProcess, receiver: Receiver, body: bytes
) -> None:
    """Secrets masked; what a browser would save and not open."""
    ok(server, "POST", f"{path_of(receiver)}/hold")
    headers = ("Authorization: Bearer s3cret", "X-One: a")
    path = f"/v1/messages/{accept(server, receiver, *headers, body=body).id}"
    shown = get(server.api, path).json["headers"]
    assert ["X-One", "a"] in shown
    assert ["Authorization", "Bearer ***"] in shown
    revealed = get(server.api, f"{path}?reveal=true").json["headers"]
    assert ["Authorization", "Bearer s3cret"] in revealed
    answered = get(server.api, f"{path}/body")
    assert answered.body == body
    assert answered.headers["content-type"] == "application/octet-stream"
    assert answered.headers["x-content-type-options"] == "nosniff"
    assert answered.headers["content-disposition"].startswith("attachment")
    assert get(server.api, f"{path}/body?limit=5").body == body[:5]


def test_what_was_cancelled_is_never_sent(tmp_path: Path, receiver: Receiver) -> None:
    """Also after a crash; a dry run changes nothing, and other messages are delivered."""
    with ServerProcess(tmp_path, **quick()) as server:
        ok(server, "POST", f"{path_of(receiver)}/hold")
        kept = accept(server, receiver, "X-Dispatcher-Label: kept").id
        gone = [accept(server, receiver, "X-Dispatcher-Label: gone").id for _ in range(5)]
        gone.append(accept(server, receiver, "X-Dispatcher-Delay: 1h").id)
        wanted = {"destination": place(receiver), "label": "gone"}
        would = ok(server, "POST", "/v1/messages/cancel", {**wanted, "dry_run": True})
        assert would == {"cancelled": 5, "in_flight": 0, "not_found": []}
        assert len(numbers(server, receiver)) == 7
        assert ok(server, "POST", "/v1/messages/cancel", wanted) == would
        said = ok(server, "POST", "/v1/messages/cancel", {"ids": gone})
        assert said == {"cancelled": 1, "in_flight": 0, "not_found": gone[:5]}
        told = eventually(lambda: server.events("operator.cancelled")[1:])
        assert (told[0]["selection"]["of"], told[0]["count"]) == (6, 1)
        server.kill()
    with ServerProcess(tmp_path, **quick()) as server:
        assert numbers(server, receiver) == [kept]
        assert call(server, "DELETE", f"/v1/messages/{gone[0]}")[0] == 404
        ok(server, "POST", f"{path_of(receiver)}/resume")
        (one,) = receiver.received(1)
        assert one.headers["x-dispatcher-message-id"] == kept
        eventually(partial(is_delivered, server, kept))
        assert len(receiver.requests) == 1


def test_messages_are_tried_now_that_wait_for_a_time(
    server: ServerProcess, receiver: Receiver
) -> None:
    """For their next attempt, or for a delay that their caller asked for."""
    one = fail(server, receiver)
    other = fail(server, receiver)
    later = accept(server, receiver, "X-Dispatcher-Delay: 1h").id
    said = ok(server, "POST", f"/v1/messages/{one}/retry")
    assert said["id"] == one
    eventually(partial(is_delivered, server, one))
    assert numbers(server, receiver) == [other, later]
    wanted = {"destination": place(receiver), "state": "scheduled"}
    said = ok(server, "POST", "/v1/messages/retry", wanted)
    assert said == {"retried": 2, "due": 0, "in_flight": 0, "not_found": []}
    for number in (other, later):
        eventually(partial(is_delivered, server, number))
    status, refused = call(server, "POST", f"/v1/messages/{one}/retry")
    assert (status, refused["error"]) == (409, "message_delivered")


def test_destination_that_failed_is_tried_now(server: ServerProcess, receiver: Receiver) -> None:
    """Its breaker is open, and all its messages wait for an hour: one request succeeds, and
    everything is delivered. A hold is not ended, and the answer says so."""
    sent = [fail(server, receiver) for _ in range(10)]
    ok(server, "POST", f"{path_of(receiver)}/hold")
    said = ok(server, "POST", f"{path_of(receiver)}/retry")
    assert (said["held"], said["retried"], said["waiting"]) == (True, 10, 10)
    assert said["probed"] is False  # nothing is sent, whatever the breaker is
    assert "resumed" in said["message"]
    assert len(receiver.requests) == 10
    ok(server, "POST", f"{path_of(receiver)}/resume")
    said = ok(server, "POST", f"{path_of(receiver)}/retry")
    assert said["held"] is False
    for number in sent:
        eventually(partial(is_delivered, server, number))
    said = ok(server, "POST", f"{path_of(receiver)}/retry")
    assert (said["waiting"], said["probed"]) == (0, False)


def test_commands_do_the_same(server: ServerProcess, receiver: Receiver, tmp_path: Path) -> None:
    """List, show, body, retry and cancel, as a person types them."""
    host, port = server.api

    def command(*arguments: str) -> str:
        ran = run(tmp_path, *arguments, DISPATCHER_API=f"http://{host}:{port}")
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    later = accept(server, receiver, "X-Dispatcher-Delay: 1h", body=b"whole").id
    other = accept(server, receiver, "X-Dispatcher-Delay: 1h", "X-Dispatcher-Label: x").id
    out = command("messages", "list", "--destination", receiver.authority)
    assert out.index(later) < out.index(other)
    assert "scheduled" in command("messages", "show", later)
    assert command("messages", "body", later) == "whole"
    mine = ("--destination", receiver.authority)
    assert "1 message was cancelled." in command("messages", "cancel", *mine, "--label", "x", "-y")
    assert "1 message was retried." in command("messages", "retry", *mine)
    eventually(partial(is_delivered, server, later))
    assert "No message waits" in command("destinations", "retry", receiver.authority)
