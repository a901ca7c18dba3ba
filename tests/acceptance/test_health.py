"""Health and metrics, on both listeners."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.testing.destination import Wait, answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import accept, metrics, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, get, post, request

SETTINGS = {"API_KEYS": "one,two", "RETRYLIMIT": "0"}
KEY = "Authorization: Bearer two"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_key(server: ServerProcess, path: str) -> None:
    """On both listeners, and it is JSON."""
    for address in (server.listen, server.api):
        answer_ = get(address, path)
        assert answer_.status == 200
        assert answer_.json


def test_json_ends_with_a_line_end(server: ServerProcess) -> None:
    """On both listeners, refusals too: a prompt stands on a line of its own behind what curl
    prints."""
    key = "Authorization: Bearer two"
    answers = [
        get(server.listen, "/healthz"),
        get(server.listen, "/nothing"),
        *(
            get(server.api, path, key)
            for path in ("/healthz", "/v1/stats", "/v1/overview", "/v1/messages", "/v1/nothing")
        ),
        get(server.api, "/openapi.json", key),
    ]
    for found in answers:
        assert found.json
        assert found.body.endswith(b"}\n")
        assert found.body.count(b"\n") == 1
        assert found.headers["content-length"] == str(len(found.body))


def test_health_does_not_say_what_the_server_is_made_of(server: ServerProcess) -> None:
    """On both listeners."""
    for address in (server.listen, server.api):
        for path in ("/healthz", "/readyz"):
            text = " ".join(get(address, path).lines).lower()
            assert "python" not in text
            assert "aiohttp" not in text


def test_health_on_the_listener_is_without_details(tmp_path: Path, receiver: Receiver) -> None:
    """When nothing is accepted it says so there, and the reason on the API only."""
    receiver.fake.default = [Wait(60)]
    with ServerProcess(tmp_path, **quick(MAX_BACKLOG_BYTES="1000")) as server:
        ready = get(server.listen, "/readyz")
        assert (ready.status, ready.json) == (200, {"status": "ready"})
        accept(server, receiver, body=b"b" * 2000)
        why = get(server.api, "/readyz")
        assert (why.status, why.slug) == (503, "backlog_full")
        refused = get(server.listen, "/readyz")
        assert (refused.status, refused.json) == (503, {"status": "not ready"})
        assert "backlog" not in " ".join(refused.lines).lower()
        assert get(server.listen, "/healthz").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Authorization: Bearer"],
        ["Authorization: Bearer wrong"],
        ["Authorization: Bearer one,two"],
        ["Authorization: Basic two"],
        ["Authorization: two"],
        ["X-Dispatcher-Key: two"],
    ],
)
def test_metrics_need_a_key_where_keys_are_set(server: ServerProcess, headers: list[str]) -> None:
    """Any of them; else 401 in the shape of every error."""
    refused = get(server.api, "/metrics", *headers)
    assert refused.status == 401
    assert refused.slug == "key_invalid"
    assert "bearer" in refused.headers["www-authenticate"].lower()
    for key in ("one", "two"):
        assert get(server.api, "/metrics", f"Authorization: Bearer {key}").status == 200


def test_metrics_are_prometheus_text(server: ServerProcess, receiver: Receiver) -> None:
    """With the names and types that docs/operations.md lists."""
    receiver.script(answer(), answer(400))
    accept(server, receiver)
    accept(server, receiver)
    ask(server.listen, post(""))
    receiver.received(2)
    eventually(lambda: metrics(server, KEY)["dispatcher_messages_dead_total"] >= 1)
    answer_ = get(server.api, "/metrics", KEY)
    assert answer_.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer_.body.decode()
    for name, kind in (
        ("dispatcher_messages_accepted_total", "counter"),
        ("dispatcher_messages_delivered_total", "counter"),
        ("dispatcher_messages_dead_total", "counter"),
        ("dispatcher_requests_refused_total", "counter"),
        ("dispatcher_attempts_total", "counter"),
        ("dispatcher_messages", "gauge"),
    ):
        assert f"# TYPE {name} {kind}\n" in text
        assert f"# HELP {name} " in text
    samples = metrics(server, KEY)
    assert samples["dispatcher_messages_accepted_total"] == 2
    assert samples["dispatcher_messages_delivered_total"] == 1
    assert samples["dispatcher_messages_dead_total"] == 1
    assert samples['dispatcher_requests_refused_total{reason="origin_invalid"}'] == 1
    attempts = [v for k, v in samples.items() if k.startswith("dispatcher_attempts_total{outcome=")]
    assert sum(attempts) == 2
    for state in ("ready", "in_flight", "scheduled"):
        assert samples[f'dispatcher_messages{{state="{state}"}}'] == 0
    assert samples['dispatcher_messages{state="dead"}'] == 1


def test_api_errors_have_the_shape_of_all_errors(server: ServerProcess) -> None:
    """Unknown paths, methods and parameters; strangers see only that a key is needed."""
    assert get(server.api, "/nothing").status == 401
    assert get(server.api, "/nothing", KEY).slug == "not_found"
    assert get(server.api, "/metrics?x=1", KEY).status == 400
    assert get(server.api, "/metrics?x=1", KEY).slug
    data = request("DELETE /metrics HTTP/1.1", "Host: x", KEY)
    refused = ask(server.api, data)
    assert refused.status == 405
    assert refused.slug == "method_not_allowed"
    assert "GET" in refused.headers["allow"]
