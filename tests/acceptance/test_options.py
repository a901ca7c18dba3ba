"""Options of a message: when it is sent, how often, and until when."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from dispatcher.testing.destination import Wait, answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import accept, dead, failed, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Caller, ask, get, post, request

SETTINGS = quick(RETRYLIMIT="3", LOG_LEVEL="debug")


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    """Made here, and started by the test: some tests kill it."""
    return ServerProcess(tmp_path, **SETTINGS)


def later(**of: float) -> str:
    """An instant that is so far away, as callers write it."""
    return (datetime.now(UTC) + timedelta(**of)).isoformat()


def state_of(server: ServerProcess, number: str) -> dict[str, object]:
    """What the API says of a message."""
    return get(server.api, f"/v1/messages/{number}").json


def test_delayed_message_is_scheduled_and_sent_after_its_time(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Not before, and it spends no attempt while it waits; others are not held up."""
    with server:
        before_s = time.monotonic()
        number = accept(server, receiver, "X-Dispatcher-Delay: 700ms").id
        shown = state_of(server, number)
        assert (shown["state"], shown["attempts"]) == ("scheduled", 0)
        other = accept(server, receiver).id
        first, second = receiver.received(2)
        assert time.monotonic() - before_s >= 0.7
        assert first.headers["x-dispatcher-message-id"] == other
        assert second.headers["x-dispatcher-message-id"] == number
        assert second.headers["x-dispatcher-attempt"] == "1"
        assert not any(name.startswith("x-dispatcher-delay") for name in second.headers)


def test_delayed_message_waits_for_its_time_through_a_crash(
    server: ServerProcess, tmp_path: Path, receiver: Receiver
) -> None:
    """Whatever RETRY_MAX_DELAY says, which bounds retries only."""
    with server:
        hour = accept(server, receiver, f"X-Dispatcher-Not-Before: {later(hours=1)}").id
        soon = accept(server, receiver, "X-Dispatcher-Delay: 3s").id
        server.kill()
    with ServerProcess(tmp_path, **SETTINGS) as again:
        assert state_of(again, soon)["state"] in ("scheduled", "ready", "in_flight", "delivered")
        (one,) = receiver.received(1)
        assert one.headers["x-dispatcher-message-id"] == soon
        shown = state_of(again, hour)
        assert shown["state"] == "scheduled"
        due = datetime.fromisoformat(str(shown["next_attempt_at"]))
        assert timedelta(minutes=50) < due - datetime.now(UTC) < timedelta(minutes=61)


def test_next_attempt_is_shown_at_the_instant_that_was_asked_for(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Not some microseconds before it, as the clock that is waited by has it."""
    with server:
        for _ in range(20):
            wanted = datetime.now(UTC) + timedelta(hours=1)
            header = f"X-Dispatcher-Not-Before: {wanted.isoformat()}"
            shown = state_of(server, accept(server, receiver, header).id)
            assert datetime.fromisoformat(str(shown["next_attempt_at"])) >= wanted


@pytest.mark.parametrize("value", ["0", "2001-01-01T00:00:00Z", "978307200"])
def test_time_that_has_passed_is_now(server: ServerProcess, receiver: Receiver, value: str) -> None:
    """A delay of nothing, and an instant in the past."""
    name = "Delay" if value == "0" else "Not-Before"
    with server:
        number = accept(server, receiver, f"X-Dispatcher-{name}: {value}").id
        assert receiver.received(1)[0].headers["x-dispatcher-message-id"] == number


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["Delay: 366d"], "Delay"),
        (["Delay: 1s", "Not-Before: 2001-01-01T00:00:00Z"], "Delay"),
        ([f"Not-Before: {later(days=366)}"], "Not-Before"),
        (["Deadline: 2001-01-01T00:00:00Z"], "Deadline"),
        (["Delay: 10s", "Deadline: 5s"], "Deadline"),
        (["Retries: 1.5"], "Retries"),
        (["Retries: 5", "Retries: 5"], "Retries"),
        (["Retry-Delay: soon"], "Retry-Delay"),
        (["Retry-Max-Delay: 0"], "Retry-Max-Delay"),
        (["Label: two words"], "Label"),
    ],
)
def test_bad_value_is_400_and_names_the_header(
    server: ServerProcess, receiver: Receiver, lines: list[str], name: str
) -> None:
    """Nothing is accepted."""
    with server:
        refused = ask(
            server.listen, post(receiver.authority, *(f"X-Dispatcher-{line}" for line in lines))
        )
        assert (refused.status, refused.slug) == (400, f"{name.lower().replace('-', '_')}_invalid")
        assert f"X-Dispatcher-{name}" in refused.json["message"]


def test_message_is_given_up_when_its_deadline_has_passed(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Also one that waits behind others, or for its next attempt; the reason is `expired`."""
    receiver.fake.default = answer(503)
    with server:
        number = accept(
            server,
            receiver,
            "X-Dispatcher-Deadline: 1s",
            "X-Dispatcher-Retry-Delay: 1h",
            "X-Dispatcher-Retry-Max-Delay: 1h",
        ).id
        assert failed(server, number)["status"] == 503
        event = dead(server, number)
        assert (event["reason"], event["attempts"]) == ("expired", 1)
        letter = get(server.api, f"/v1/dead-letters/{number}").json
        assert letter["last_error"] == "expired"
        assert "deadline" in letter["detail"]
        shown = state_of(server, number)
        assert (shown["state"], shown["last_error"]) == ("dead", "expired")


def test_deadline_of_a_message_in_a_held_lane_is_kept(
    server: ServerProcess, receiver: Receiver
) -> None:
    """It is not looked at only when its turn comes: no turn comes."""
    with server:
        destination = quote(f"http://{receiver.authority}", safe="")
        held = ask(
            server.api,
            request(
                f"POST /v1/destinations/{destination}/hold HTTP/1.1",
                "Host: api",
                "Content-Length: 0",
            ),
        )
        assert held.status == 200
        number = accept(server, receiver, "X-Dispatcher-Deadline: 500ms").id
        assert dead(server, number)["reason"] == "expired"
        assert not receiver.requests


def test_deadline_passes_while_the_server_is_down(
    server: ServerProcess, tmp_path: Path, receiver: Receiver
) -> None:
    """It is an instant, whoever looks."""
    receiver.fake.default = [Wait(60)]
    with server:
        number = accept(server, receiver, "X-Dispatcher-Deadline: 300ms").id
        server.kill()
    receiver.fake.default = answer()
    time.sleep(0.4)
    with ServerProcess(tmp_path, **SETTINGS) as again:
        assert dead(again, number)["reason"] == "expired"


def test_retries_are_those_of_the_message(server: ServerProcess, receiver: Receiver) -> None:
    """In place of RETRYLIMIT; none at all is possible."""
    receiver.fake.default = answer(503)
    with server:
        none = accept(server, receiver, "X-Dispatcher-Retries: 0").id
        assert dead(server, none)["attempts"] == 1
        two = accept(server, receiver, "X-Dispatcher-Retries: 2").id
        assert dead(server, two)["attempts"] == 3


def test_retry_delay_is_that_of_the_message_through_a_crash(
    server: ServerProcess, tmp_path: Path, receiver: Receiver
) -> None:
    """Also where it is longer than RETRY_MAX_DELAY."""
    receiver.fake.default = answer(503)
    with server:
        number = accept(
            server,
            receiver,
            "X-Dispatcher-Retry-Delay: 1h",
            "X-Dispatcher-Retry-Max-Delay: 2h",
        ).id
        failed(server, number)
        eventually(lambda: state_of(server, number)["state"] == "scheduled")
        accept(server, receiver, "X-Dispatcher-Delay: 1h")  # what came before is durable with it
        server.kill()
    with ServerProcess(tmp_path, **SETTINGS) as again:
        shown = state_of(again, number)
        assert shown["state"] == "scheduled"
        due = datetime.fromisoformat(str(shown["next_attempt_at"]))
        assert timedelta(minutes=40) < due - datetime.now(UTC) < timedelta(minutes=73)


def test_retry_max_delay_bounds_what_the_destination_asks_for(
    server: ServerProcess, receiver: Receiver
) -> None:
    """`Retry-After` too."""
    receiver.script(answer(503, b"", ("Retry-After", "3600")))
    with server:
        accept(server, receiver, "X-Dispatcher-Retry-Max-Delay: 50ms")
        receiver.received(2)


def test_same_request_later_is_looked_at_again(server: ServerProcess, receiver: Receiver) -> None:
    """On one connection: the head is the same, and its instant has passed meanwhile."""
    with server, Caller(server.listen) as caller:
        deadline = later(seconds=5)
        data = post(receiver.authority, f"X-Dispatcher-Deadline: {deadline}")
        caller.send(data)
        assert caller.answer().status == 202
        eventually(lambda: later() > deadline)
        caller.send(data)
        refused = caller.answer()
        assert (refused.status, refused.slug) == (400, "deadline_invalid")
