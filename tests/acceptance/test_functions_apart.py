"""Messages and calls share a process, and nothing that one could take from the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.acceptance.functions import (
    Client,
    Endpoint,
    Http,
    Later,
    Reply,
    Run,
    exits,
    is_first,
    polls,
)
from tests.acceptance.receiver import Gate, Receivers, eventually
from tests.acceptance.running import accept
from tests.acceptance.served import ServerProcess

SETTINGS = {"WORKER": "1", "WORKER_SLOW": "1", "CALL_WORKER": "1", "DRAIN_TIMEOUT": "100"}
HANGS_S = 60.0


def test_calls_run_while_all_workers_of_messages_hang(tmp_path: Path, receivers: Receivers) -> None:
    """Each step of a tree, however many messages wait behind those that hang."""
    gates = [Gate(), Gate()]

    def answer(run: Run) -> Reply:
        if run.request.function == "top" and is_first(run):
            return polls(endpoint.call("child"), endpoint.call("child"))
        return exits()

    with (
        ServerProcess(tmp_path, DEFAULT_TIMEOUT="60000", **SETTINGS) as server,
        receivers.open(default=gates[0]) as one,
        receivers.open(default=gates[1]) as other,
        Endpoint(answer) as endpoint,
    ):
        for _ in range(20):
            accept(server, one)
            accept(server, other)
        eventually(lambda: sum(gate.held for gate in gates))
        client = Client(server)
        (number,) = client.dispatch(endpoint.call("top"))
        client.output(number)
        assert len(endpoint.of("child")) == 2
        stats = client.ask("GET", "/v1/stats").json
        assert stats["delivered_total"] == 0
        assert stats["in_flight"] >= 1
        assert stats["ready"] + stats["in_flight"] == 40


def test_messages_are_delivered_while_all_workers_of_calls_hang(
    tmp_path: Path, receivers: Receivers
) -> None:
    """To the application itself too: the lanes are others."""
    with (
        ServerProcess(tmp_path, CALL_TIMEOUT="60000", **SETTINGS) as server,
        receivers.open() as receiver,
        Endpoint(lambda run: Later(HANGS_S, exits())) as endpoint,
    ):
        client = Client(server)
        client.dispatch(*(endpoint.call("hangs") for _ in range(20)))
        eventually(lambda: endpoint.runs)
        for _ in range(20):
            accept(server, receiver)
        receiver.received(20)
        eventually(lambda: client.ask("GET", "/v1/stats").json["delivered_total"] == 20)
        (lane,) = client.ask("GET", "/v1/stats?lanes_kind=call").json["lanes"]
        assert (lane["in_flight"], lane["ready"]) == (1, 19)
        assert len(endpoint.runs) == 1


def test_lane_of_calls_says_how_its_runs_went(tmp_path: Path) -> None:
    """As a lane of messages does: since when it fails and with what, and how long runs take."""
    replies: Iterator[Reply] = iter([Http(503), exits()])
    with (
        ServerProcess(tmp_path, CALL_TIMEOUT="60000", **SETTINGS) as server,
        Endpoint(lambda run: next(replies, Later(HANGS_S, exits()))) as endpoint,
    ):
        client = Client(server)

        def lane() -> dict[str, Any]:
            (found,) = client.ask("GET", "/v1/stats?lanes_kind=call").json["lanes"]
            return dict(found)

        (number,) = client.dispatch(endpoint.call("first"))
        client.output(number)
        client.dispatch(endpoint.call("hangs"), endpoint.call("waits"))
        eventually(lambda: len(endpoint.runs) == 3)
        seen = lane()
        assert (seen["last_error"], seen["failing_since"]) == ("http_503", None)
        assert seen["last_error_at"] is not None
        assert seen["delivered_per_s"] > 0
        assert 0 < seen["attempt_p50_ms"] <= seen["attempt_p95_ms"]
        assert seen["oldest_at"] is None
