"""What rules bound: how often attempts start at a destination, and how many there are at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.functions import Client, Endpoint
from tests.acceptance.receiver import Gate, Receiver, eventually
from tests.acceptance.ruled import Ruled
from tests.acceptance.running import accept, metrics, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, get, post


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    """It has no rules at first."""
    directory: Path = tmp_path_factory.mktemp("ruled")
    (directory / "rules.toml").write_bytes(b"")
    with ServerProcess(directory, **quick(DISPATCHER_CONFIG="rules.toml")) as server:
        yield Ruled(directory, server)
        assert server.stop() == 0
        assert [line for line in server.lines if line["level"] == "error"] == []


def test_rate_holds_messages_until_it_allows_them(ruled: Ruled, receiver: Receiver) -> None:
    """They wait without spending an attempt, and say for what; a rule that is gone lets them go."""
    server = ruled.server
    ruled.rule(receiver.authority, 'rate = "2/1h"', "burst = 2")
    ids = [accept(server, receiver).id for _ in range(5)]
    sent = {one.headers["x-dispatcher-message-id"] for one in receiver.received(2)}
    last = next(number for number in ids if number not in sent)
    explained = get(server.api, f"/v1/messages/{last}/explain").json
    assert explained["reason"] == "rate_reached"
    assert f"http://{receiver.authority} gets 2/h at most by its rule" in explained["message"]
    assert explained["until"] is not None
    assert get(server.api, f"/v1/messages/{last}").json["attempts"] == 0
    name = f"http://{receiver.authority}"
    lanes = {lane["destination"]: lane for lane in get(server.api, "/v1/stats").json["lanes"]}
    assert (lanes[name]["rate"], lanes[name]["ready"]) == ("2/h", 3)
    assert metrics(server)[f'dispatcher_lane_rate_reached{{destination="{name}"}}'] == 1
    assert len(receiver.requests) == 2
    ruled.write("rules.toml", b"")
    assert ruled.reload("settings.reloaded")["replaced"] == ["destination"]
    receiver.received(5)


def test_rate_is_kept_over_some_seconds(ruled: Ruled, receiver: Receiver) -> None:
    """One at first and then one each tenth of a second: thirty take 2.9 seconds at least."""
    ruled.rule(receiver.authority, 'rate = "10/s"', "burst = 1")
    for _ in range(30):
        accept(ruled.server, receiver)
    arrived = [one.arrived_s for one in receiver.received(30)]
    assert arrived[-1] - arrived[0] > 2.5


def test_concurrency_bounds_attempts_in_flight(ruled: Ruled, receiver: Receiver) -> None:
    """However many wait and however well it goes; and a higher one is in force at once."""
    ruled.rule(receiver.authority, "concurrency = 2")
    gate = Gate()
    for _ in range(4):
        accept(ruled.server, receiver)
    receiver.received(4)  # its limit has grown as far as it may
    receiver.fake.default = gate
    for _ in range(40):
        accept(ruled.server, receiver)
    most = 0
    while len(receiver.requests) < 20:
        eventually(lambda: gate.held)
        most = max(most, gate.held)
        gate.let_through(answer())
    assert most <= 2
    ruled.rule(receiver.authority, "concurrency = 6")
    most = 0
    while len(receiver.requests) < 44:
        eventually(lambda: gate.held)
        most = max(most, gate.held)
        gate.let_through(answer())
    receiver.fake.default = answer()
    gate.let_through(answer())
    assert 2 < most <= 6


def test_rate_of_a_path_bounds_its_messages_alone(ruled: Ruled, receiver: Receiver) -> None:
    """Others of the destination run on; another rate counts for those that wait, and a rule that is
    gone lets them go."""
    server = ruled.server
    ruled.rule(f"{receiver.authority}/slow", 'rate = "1/1h"')
    slow = [_accept_at(server, receiver, f"/slow/{n}") for n in range(6)]
    for n in range(4):
        _accept_at(server, receiver, f"/slower/{n}")
    receiver.received(5)
    sent = {one.headers["x-dispatcher-message-id"] for one in receiver.requests}
    waits = [number for number in slow if number not in sent]
    assert len(waits) == 5
    explained = eventually(lambda: _bound(server, waits[-1]))
    assert explained["reason"] == "rate_reached"
    assert f"Its rule for {receiver.authority}/slow lets 1/h start" in explained["message"]
    assert get(server.api, f"/v1/messages/{waits[-1]}").json["attempts"] == 0
    ruled.rule(f"{receiver.authority}/slow", 'rate = "20/s"', "burst = 1")
    receiver.received(10)
    ruled.rule(f"{receiver.authority}/slow", 'rate = "1/1h"', "burst = 1")
    for n in range(3):
        _accept_at(server, receiver, f"/slow/again/{n}")
    ruled.write("rules.toml", b"")
    ruled.reload("settings.reloaded")
    receiver.received(13)


def _accept_at(server: ServerProcess, receiver: Receiver, path: str) -> str:
    return ask(server.listen, post(receiver.authority, path=path)).id


def _bound(server: ServerProcess, number: str) -> dict[str, Any]:
    found: dict[str, Any] = get(server.api, f"/v1/messages/{number}/explain").json
    return found if found["reason"] == "rate_reached" else {}


def test_a_mistake_keeps_the_rules_that_are_in_force(ruled: Ruled, receiver: Receiver) -> None:
    """It is told, with what was meant."""
    ruled.rule(receiver.authority, 'rate = "1/1h"')
    accept(ruled.server, receiver)
    receiver.received(1)
    text = f'[[destination]]\nmatch = "{receiver.authority}"\nrtae = "5/s"\n'
    ruled.write("rules.toml", text.encode())
    assert "rtae: no such key; did you mean rate?" in ruled.reload("settings.kept")["reason"]
    number = accept(ruled.server, receiver).id
    found = get(ruled.server.api, f"/v1/messages/{number}/explain").json
    assert found["reason"] == "rate_reached"
    ruled.write("rules.toml", b"")
    ruled.reload("settings.reloaded")
    receiver.received(2)


def test_rules_hold_for_the_runs_of_functions(ruled: Ruled, endpoint: Endpoint) -> None:
    """Rate, concurrency and timeout, for an application as for any destination; calls that wait go
    on when the rule is gone."""
    authority = endpoint.url.removeprefix("http://")
    ruled.rule(authority, 'rate = "2/1h"', "burst = 2", 'timeout = "7s"')
    client = Client(ruled.server)
    ids = client.dispatch(*(endpoint.call("f") for _ in range(4)))
    runs = eventually(lambda: len(endpoint.of("f")) >= 2 and endpoint.of("f"))
    assert runs
    assert {run.headers["connect-timeout-ms"] for run in runs} == {"7000"}
    lanes = {lane["destination"]: lane for lane in get(ruled.server.api, "/v1/stats").json["lanes"]}
    lane = eventually(lambda: lanes.get(f"http://{authority}"))
    assert lane is not None
    assert (lane["kind"], lane["rate"], lane["ready"]) == ("call", "2/h", 2)
    assert len(endpoint.of("f")) == 2
    ruled.write("rules.toml", b"")
    ruled.reload("settings.reloaded")
    assert [client.output(id) for id in ids] == [b"done"] * 4
    assert endpoint.of("f")[-1].headers["connect-timeout-ms"] == "60000"
