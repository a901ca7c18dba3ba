"""Messages that wait: moved to the dead letters, or sent to another destination."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import accept, dead, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Answer, ask, request


def call(server: ServerProcess, path: str, body: object = None) -> Answer:
    """POST something to the API."""
    data = b"" if body is None else json.dumps(body).encode()
    return ask(
        server.api,
        request(
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            body=data,
        ),
    )


def hold(server: ServerProcess, *receivers: Receiver, word: str = "hold") -> None:
    for one in receivers:
        path = f"/v1/destinations/{quote(one.authority)}/{word}"
        assert call(server, path).status == 200


def shown(server: ServerProcess, path: str) -> Any:
    answer = ask(server.api, request(f"GET {path} HTTP/1.1", "Host: localhost"))
    assert answer.status == 200, answer
    return answer.json


def test_message_that_waits_becomes_a_dead_letter_and_can_be_redriven(
    server: ServerProcess, receiver: Receiver
) -> None:
    """With reason `operator`, and an event that says who did it."""
    hold(server, receiver)
    message_id = accept(server, receiver, body=b"kept").id
    assert call(server, f"/v1/messages/{message_id}/dead-letter").status == 204
    assert dead(server, message_id)["reason"] == "operator"
    letter = shown(server, f"/v1/dead-letters/{message_id}")
    assert (letter["reason"], letter["attempts"], letter["last_error"]) == ("operator", 0, None)
    told = eventually(lambda: server.events("operator.dead_lettered"))
    assert told[-1]["selection"] == {"id": message_id}
    again = call(server, f"/v1/messages/{message_id}/dead-letter")
    assert (again.status, again.slug) == (409, "message_dead")
    hold(server, receiver, word="resume")
    assert call(server, f"/v1/dead-letters/{message_id}/redrive").status == 202
    (one,) = receiver.received(1)
    assert one.body == b"kept"


def test_message_goes_to_another_destination(
    server: ServerProcess, receivers: Receivers, receiver: Receiver
) -> None:
    """With its id, path, headers and body, and the other one's `Host`."""
    hold(server, receiver)
    message_id = accept(server, receiver, "X-Own: 1", body=b"moved").id
    with receivers.open() as other:
        path = f"/v1/messages/{message_id}/redirect"
        assert call(server, path, {"to": f"http://{other.authority}"}).status == 204
        (one,) = other.received(1)
        assert one.headers["host"] == other.authority
        assert (one.headers["x-own"], bytes(one.body)) == ("1", b"moved")
        assert one.headers["x-dispatcher-message-id"] == message_id
        assert one.headers["x-dispatcher-attempt"] == "1"
        told = eventually(lambda: server.events("operator.redirected"))
        assert told[-1]["selection"] == {"id": message_id, "to": f"http://{other.authority}"}
        hold(server, receiver, word="resume")
        eventually(lambda: shown(server, f"/v1/messages/{message_id}")["state"] == "delivered")
    assert receiver.requests == []


@pytest.mark.parametrize(
    "to", ["", "ftp://a", "https://a/path", "https://u@a", "https://a:0", "group:all", 7, None]
)
def test_destination_that_is_none_is_refused_at_once(
    server: ServerProcess, receiver: Receiver, to: object
) -> None:
    """And the message stays where it is."""
    hold(server, receiver)
    message_id = accept(server, receiver).id
    refused = call(server, f"/v1/messages/{message_id}/redirect", {"to": to})
    assert refused.status == 400, refused
    assert refused.slug in ("destination_invalid", "body_invalid")
    view = shown(server, f"/v1/messages/{message_id}")
    assert view["destination"] == f"http://{receiver.authority}"
    unknown = call(server, f"/v1/messages/{'0' * 28}/redirect", {"to": "https://a.example"})
    assert (unknown.status, unknown.slug) == (404, "message_unknown")


def test_all_that_match_are_moved_as_a_job(
    server: ServerProcess, receivers: Receivers, receiver: Receiver
) -> None:
    """With a dry run that counts, and the same selectors as other calls."""
    hold(server, receiver)
    labels = ("a", "a", "b", "b", "b", "c")
    ids = [accept(server, receiver, f"X-Dispatcher-Label: {one}").id for one in labels]
    whole = {"destination": f"http://{receiver.authority}"}
    dry = call(server, "/v1/messages/dead-letter", {**whole, "label": "a", "dry_run": True})
    assert dry.json == {"dead_lettered": 2, "in_flight": 0, "not_found": []}
    done = call(server, "/v1/messages/dead-letter", {**whole, "label": "a"})
    assert done.json == dry.json
    with receivers.open() as other:
        to = f"http://{other.authority}"
        dry = call(server, "/v1/messages/redirect", {"ids": ids, "to": to, "dry_run": True})
        assert dry.json == {"redirected": 4, "in_flight": 0, "not_found": ids[:2]}
        done = call(server, "/v1/messages/redirect", {**whole, "label": "b", "to": to})
        assert done.json == {"redirected": 3, "in_flight": 0, "not_found": []}
        assert {one.headers["x-dispatcher-message-id"] for one in other.received(3)} == {*ids[2:5]}
    jobs = {one["kind"]: one for one in shown(server, "/v1/jobs")["items"]}
    assert (jobs["redirect"]["done"], jobs["dead_letter"]["done"]) == (3, 2)
    assert jobs["redirect"]["selection"] == {**whole, "label": "b", "to": to}
    told = eventually(lambda: server.events("operator.redirected"))[-1]
    assert (told["count"], told["selection"]["to"]) == (3, to)
    assert shown(server, f"/v1/messages/{ids[5]}")["state"] == "ready"


@pytest.mark.parametrize(
    "body",
    [
        {"to": "https://a.example"},
        {"all": True},
        {"all": True, "to": "a b"},
        {"all": True, "ids": [], "to": "https://a.example"},
        {"ids": ["x"], "to": "https://a.example"},
        {"all": True, "to": "https://a.example/path"},
    ],
)
def test_selection_that_is_not_clear_is_refused(server: ServerProcess, body: object) -> None:
    """Nothing is moved."""
    assert call(server, "/v1/messages/redirect", body).status == 400


def test_egress_rules_count_when_it_is_sent(server: ServerProcess, receiver: Receiver) -> None:
    """It becomes a dead letter then, as any message to that destination."""
    hold(server, receiver)
    message_id = accept(server, receiver).id
    path = f"/v1/messages/{message_id}/redirect"
    assert call(server, path, {"to": "http://169.254.169.254"}).status == 204
    assert dead(server, message_id)["reason"] == "egress_denied"


def test_moved_messages_are_where_they_were_moved_to_after_a_crash(
    tmp_path: Path, receivers: Receivers
) -> None:
    """All that was answered is durable: nothing is lost, and nothing is sent to both."""
    with receivers.open() as old, receivers.open() as new:
        with ServerProcess(tmp_path, **quick()) as server:
            hold(server, old, new)
            ids = [accept(server, old, body=b"%d" % n).id for n in range(6)]
            large = accept(server, old, body=b"x" * 700_000).id
            for message_id in (ids[0], ids[1], large):
                path = f"/v1/messages/{message_id}/redirect"
                assert call(server, path, {"to": new.authority}).status == 204
            for message_id in ids[2:4]:
                assert call(server, f"/v1/messages/{message_id}/dead-letter").status == 204
            server.kill()
        with ServerProcess(tmp_path, **quick()) as server:
            letters = shown(server, "/v1/dead-letters")["items"]
            assert [one["id"] for one in letters] == ids[2:4]
            hold(server, old, new, word="resume")
            assert sorted(len(one.body) for one in new.received(3)) == [1, 1, 700_000]
            assert sorted(one.body for one in old.received(2)) == [b"4", b"5"]
            eventually(lambda: shown(server, "/v1/stats")["delivered_total"] == 5)
            assert server.stop() == 0
        assert (len(new.requests), len(old.requests)) == (3, 2)
