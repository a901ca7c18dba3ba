"""What rules decide: how long an attempt may take, and what becomes of a message after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.testing.destination import Request, answer
from tests.acceptance.receiver import Gate, Receiver, eventually
from tests.acceptance.ruled import Ruled
from tests.acceptance.running import accept, dead, failed, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, get, post


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    """It has no rules at first, one retry, and time."""
    directory: Path = tmp_path_factory.mktemp("ruled")
    (directory / "rules.toml").write_bytes(b"")
    settings = quick(
        DISPATCHER_CONFIG="rules.toml",
        RETRYLIMIT="1",
        RETRY_MAX_DELAY="3600000",
        LOG_LEVEL="debug",
    )
    with ServerProcess(directory, **settings) as server:
        yield Ruled(directory, server)
        assert server.stop() == 0
        assert [line for line in server.lines if line["level"] == "error"] == []


def test_timeout_of_a_rule_is_in_place_of_the_settings(ruled: Ruled, receiver: Receiver) -> None:
    """And behind the message's own; with the rule gone, messages have the settings' again."""
    gate = receiver.fake.default = Gate()
    ruled.rule(receiver.authority, 'timeout = "50ms"', "retries = 0")
    first = accept(ruled.server, receiver).id
    assert failed(ruled.server, first)["error"] == "timeout"
    dead(ruled.server, first)
    second = accept(ruled.server, receiver, "X-Dispatcher-Timeout: 1h").id
    eventually(lambda: second in [_id(one) for one in list(receiver.requests)])
    gate.let_through(answer())
    eventually(lambda: get(ruled.server.api, f"/v1/messages/{second}").json["state"] == "delivered")
    receiver.fake.default = answer()
    gate.let_through(answer())


def _id(one: Request) -> str:
    return one.headers["x-dispatcher-message-id"]


def test_retries_of_a_rule_are_in_place_of_the_settings(ruled: Ruled, receiver: Receiver) -> None:
    """More or fewer of them; the message's own win."""
    ruled.rule(receiver.authority, "retries = 3", 'retry_delay = "1ms"')
    receiver.fake.default = answer(500)
    assert dead(ruled.server, accept(ruled.server, receiver).id)["attempts"] == 4
    ruled.rule(receiver.authority, "retries = 0")
    assert dead(ruled.server, accept(ruled.server, receiver).id)["attempts"] == 1
    data = post(receiver.authority, "X-Dispatcher-Retries: 2", "X-Dispatcher-Retry-Delay: 1ms")
    assert dead(ruled.server, ask(ruled.server.listen, data).id)["attempts"] == 3


def test_retry_delay_of_a_rule_is_in_place_of_the_settings(
    ruled: Ruled, receiver: Receiver
) -> None:
    """A retry that waits keeps its time; the next one has the delay that is in force then."""
    ruled.rule(receiver.authority, 'retry_delay = "1h"')
    receiver.script(answer(500))
    number = accept(ruled.server, receiver).id
    failed(ruled.server, number)
    found = get(ruled.server.api, f"/v1/messages/{number}").json
    assert (found["state"], found["attempts"]) == ("scheduled", 1)
    ruled.rule(receiver.authority, 'retry_delay = "1ms"')
    receiver.script(answer(500))
    accept(ruled.server, receiver)
    receiver.received(3)


def test_retry_on_of_a_rule_is_in_place_of_the_settings(ruled: Ruled, receiver: Receiver) -> None:
    """A 404 that is final otherwise is tried again."""
    ruled.rule(receiver.authority, "retry_on = [404]", 'retry_delay = "1ms"')
    receiver.script(answer(404), answer(410))
    event = dead(ruled.server, accept(ruled.server, receiver).id)
    assert (event["attempts"], event["reason"]) == (2, "rejected")


@pytest.mark.parametrize("status", [302, 409, 503])
def test_ack_of_a_rule_counts_as_delivered(ruled: Ruled, receiver: Receiver, status: int) -> None:
    """That status and no other; where a path has a rule of its own, only there."""
    ruled.rule(f"{receiver.authority}/in", f"ack = [{status}]")
    receiver.script(answer(status, b"", ("Retry-After", "3600")), answer(404))
    number = ask(ruled.server.listen, post(receiver.authority, path="/in/x?y")).id
    eventually(lambda: get(ruled.server.api, f"/v1/messages/{number}").json["state"] == "delivered")
    other = ask(ruled.server.listen, post(receiver.authority, path="/inx")).id
    assert dead(ruled.server, other)["reason"] == "rejected"
    assert len(receiver.requests) == 2
