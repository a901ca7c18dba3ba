"""Order keys and flow keys, seen from outside, with kill -9 between the steps."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Gate, Receiver, eventually
from tests.acceptance.running import accept, dead, failed, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, get, post, request

SETTINGS = quick(LOG_LEVEL="debug")
KEY = "X-Dispatcher-Order-Key: customer-17"
FLOW_KEY = "X-Dispatcher-Flow-Key: tenant-3"


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    """Made here, and started by the test: some tests kill it."""
    return ServerProcess(tmp_path, **SETTINGS)


def ids(receiver: Receiver) -> list[str]:
    """What came, by the messages' ids."""
    return [one.headers["x-dispatcher-message-id"] for one in receiver.requests]


def state_of(server: ServerProcess, number: str) -> object:
    """What the API says of a message."""
    return get(server.api, f"/v1/messages/{number}").json["state"]


def wait_for(server: ServerProcess, number: str, state: str) -> None:
    """Wait until the API says so."""
    eventually(lambda: state_of(server, number) == state)


def reason_of(server: ServerProcess, number: str) -> object:
    """Why it is not delivered yet."""
    return get(server.api, f"/v1/messages/{number}/explain").json["reason"]


def operate(server: ServerProcess, line: str) -> None:
    """Ask the API for something, which must succeed."""
    done = ask(server.api, request(f"{line} HTTP/1.1", "Host: api", "Content-Length: 0"))
    assert done.status in (200, 202, 204), done.json


def test_order_is_kept_when_the_process_is_killed_between_every_two_steps(
    server: ServerProcess, tmp_path: Path, receiver: Receiver
) -> None:
    """One at a time, in the order of the 202s; a message without a key is not held up."""
    gate = Gate()
    receiver.fake.default = gate
    with server:
        numbers = [accept(server, receiver, KEY).id for _ in range(4)]
        eventually(lambda: gate.held == 1)
        server.kill()
    for at, number in enumerate(numbers):
        eventually(lambda: not gate.held)
        with ServerProcess(tmp_path, **SETTINGS) as again:
            eventually(lambda: gate.held == 1)
            assert ids(receiver)[-1] == number
            waiting = numbers[at + 1 :]
            assert all(reason_of(again, one) == "order_key" for one in waiting)
            gate.let_through(answer())
            wait_for(again, number, "delivered")
            accept(again, receiver, "X-Dispatcher-Delay: 1h")  # what came before is durable with it
            if waiting:
                eventually(lambda: gate.held == 1)
                assert ids(receiver)[-1] == waiting[0]
            again.kill()
    # Each was sent twice: what was in flight at a crash is sent again.
    assert ids(receiver) == [one for one in numbers for _ in range(2)]


def test_retry_and_delay_hold_up_their_key_through_a_crash(
    server: ServerProcess, tmp_path: Path, receiver: Receiver
) -> None:
    """And nothing else."""
    receiver.fake.default = answer(503)
    with server:
        first = accept(server, receiver, KEY, "X-Dispatcher-Retry-Delay: 2s").id
        failed(server, first)
        second = accept(server, receiver, KEY, "X-Dispatcher-Delay: 100ms").id
        third = accept(server, receiver, KEY).id
        server.kill()
    receiver.fake.default = answer()
    with ServerProcess(tmp_path, **SETTINGS) as again:
        other = accept(again, receiver).id
        wait_for(again, third, "delivered")
        wait_for(again, other, "delivered")
    ordered = [one for one in ids(receiver) if one != other]
    assert sorted(ordered, key=[first, second, third].index) == ordered
    assert set(ids(receiver)) == {first, second, third, other}


@pytest.mark.parametrize("how", ["redrive", "purge"])
def test_key_is_held_by_its_dead_letter_until_that_is_gone(
    tmp_path: Path, receiver: Receiver, how: str
) -> None:
    """With kill -9 after the death, and after the letter has gone."""
    settings = {**SETTINGS, "ORDER_ON_DEAD": "hold"}
    receiver.script(answer(404))
    with ServerProcess(tmp_path, **settings) as server:
        first = accept(server, receiver, KEY).id
        assert dead(server, first)
        server.kill()
    with ServerProcess(tmp_path, **settings) as server:
        second = accept(server, receiver, KEY).id
        other = accept(server, receiver, "X-Dispatcher-Order-Key: other").id
        wait_for(server, other, "delivered")
        assert reason_of(server, second) == "order_key"
        said = get(server.api, f"/v1/messages/{second}/explain").json["message"]
        assert f"a dead letter of it ({first})" in said
        assert state_of(server, second) == "ready"
        if how == "redrive":
            operate(server, f"POST /v1/dead-letters/{first}/redrive")
        else:
            operate(server, f"DELETE /v1/dead-letters/{first}")
        server.kill()
    with ServerProcess(tmp_path, **settings):  # unless it was delivered just before the kill
        eventually(lambda: second in ids(receiver))
    came = ids(receiver)
    assert came[0] == first
    assert (came.count(first) > 1) is (how == "redrive")
    if how == "redrive":
        assert came.index(second) > came.index(first, 1)


def test_key_goes_on_when_one_of_its_messages_is_given_up(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Unless it is told otherwise."""
    receiver.script(answer(404))
    with server:
        numbers = [accept(server, receiver, KEY).id for _ in range(3)]
        receiver.received(3)
        assert ids(receiver) == numbers
        assert state_of(server, numbers[0]) == "dead"


def test_flow_key_has_so_many_attempts_at_once(
    server: ServerProcess, tmp_path: Path, receiver: Receiver
) -> None:
    """After a crash too, where only those that wait have said nothing of it."""
    gate = Gate()
    receiver.fake.default = gate
    with server:
        first = accept(server, receiver, FLOW_KEY, "X-Dispatcher-Flow: parallelism=1").id
        waits = accept(server, receiver, FLOW_KEY).id
        eventually(lambda: gate.held == 1)
        gate.let_through(answer())
        eventually(lambda: gate.held == 1 and ids(receiver)[-1] == waits)
        wait_for(server, first, "delivered")  # durable with what comes now
        behind = [accept(server, receiver, FLOW_KEY).id for _ in range(2)]
        server.kill()
    eventually(lambda: not gate.held)
    before = len(receiver.requests)
    with ServerProcess(tmp_path, **SETTINGS) as again:
        free = accept(again, receiver).id
        left, at = [waits, *behind], before
        while left or state_of(again, free) != "delivered":
            receiver.received(at + 1)
            eventually(lambda: gate.held)
            if (number := ids(receiver)[at]) != free:
                assert number == left.pop(0)
                assert state_of(again, number) == "in_flight"
                assert all(reason_of(again, one) == "flow_key" for one in left)
            gate.let_through(answer(), 1)
            wait_for(again, number, "delivered")
            at += 1


def test_attempts_of_a_flow_key_start_no_oftener_than_it_says(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Evenly spread; others of the destination run on, and it is explained."""
    with server:
        began_s = time.monotonic()
        flow = "X-Dispatcher-Flow: rate=5/2s"
        numbers = [accept(server, receiver, FLOW_KEY, flow).id for _ in range(5)]
        said = get(server.api, f"/v1/messages/{numbers[-1]}/explain").json
        assert said["reason"] in ("flow_key", "in_flight", "delivered")
        wait_for(server, numbers[-1], "delivered")
        assert time.monotonic() - began_s >= 1.6
        assert ids(receiver) == numbers


@pytest.mark.parametrize(
    ("lines", "slug"),
    [
        (["Order-Key: two words"], "order_key_invalid"),
        (["Order-Key: k", "Order-Key: k"], "order_key_invalid"),
        (["Flow-Key: " + "x" * 256], "flow_key_invalid"),
        (["Flow: rate=10/1m"], "flow_invalid"),
        (["Flow-Key: k", "Flow: rate=often"], "flow_invalid"),
        (["Flow-Key: k", "Flow: burst=2"], "flow_invalid"),
    ],
)
def test_bad_value_is_400_and_names_the_header(
    server: ServerProcess, receiver: Receiver, lines: list[str], slug: str
) -> None:
    """Nothing is accepted."""
    with server:
        refused = ask(
            server.listen, post(receiver.authority, *(f"X-Dispatcher-{line}" for line in lines))
        )
        assert (refused.status, refused.slug) == (400, slug)
        assert f"X-Dispatcher-{lines[-1].split(':')[0]}" in refused.json["message"]
