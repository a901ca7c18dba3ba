"""What operators see first: what is wrong, how the last hour was, and how each destination does."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path
from typing import Any

from dispatcher import __version__
from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import accept, dead
from tests.acceptance.served import ServerProcess
from tests.acceptance.test_operating import instant, ok

SETTINGS = {"RETRYLIMIT": "1000"}


def overview(server: ServerProcess) -> Any:
    """What `/v1/overview` says."""
    return ok(server, "GET", "/v1/overview")


def lane(server: ServerProcess, receiver: Receiver) -> Any:
    """What `/v1/stats` says of one destination."""
    lanes = ok(server, "GET", "/v1/stats")["lanes"]
    return next((x for x in lanes if x["destination"] == f"http://{receiver.authority}"), None)


def metric(server: ServerProcess, name: str) -> float:
    """The value of one time series, without the beginning of its name."""
    connection = http.client.HTTPConnection(*server.api, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    (line,) = [x for x in text.splitlines() if x.startswith(f"dispatcher_{name} ")]
    return float(line.rpartition(" ")[2])


def test_overview_of_a_server_with_nothing_to_do_says_who_it_is(server: ServerProcess) -> None:
    """And that nothing is wrong; of a cluster, which of its nodes it is that answers."""
    said = overview(server)
    assert (said["version"], said["instance"]) == (__version__, socket.gethostname())
    assert (said["pid"], said["problems"]) == (server.desk.pid, [])
    assert said["listen"] == ["{}:{}".format(*server.desk.listen)]
    assert said["api_listen"] == ["{}:{}".format(*server.desk.api)]
    assert said["waiting"] == {"count": 0, "oldest_at": None}
    assert said["dead"] == {"count": 0, "last": []}
    disk = os.statvfs("/tmp")
    assert 0 < said["disk"]["free_bytes"] <= said["disk"]["total_bytes"]
    assert disk.f_blocks
    assert said["disk"]["log_bytes"] > 0
    assert said["calls"]["ready"] == 0
    instant(said["started_at"])


def test_destination_that_is_down_is_the_first_problem(
    server: ServerProcess, receiver: Receiver, receivers: Receivers
) -> None:
    """By name, with what waits for it and why; its lane says the same, and another one that is well
    says how fast it is. Once it answers, that is over."""
    receiver.fake.default = answer(503)
    with receivers.open() as well:
        for _ in range(20):
            accept(server, receiver)
            accept(server, well)
        name = f"http://{receiver.authority}"

        def opened() -> Any:
            found = [x for x in overview(server)["problems"] if x["destination"] == name]
            return found and found[0]

        problem = eventually(opened)
        assert (problem["slug"], problem["severity"]) == ("destination_failing", "error")
        assert problem["count"] > 0
        assert "HTTP 503" in problem["message"]
        instant(problem["since"])
        assert overview(server)["problems"][0]["destination"] == name
        assert overview(server)["lanes"]["failing"] == 1
        failing = lane(server, receiver)
        assert failing["last_error"] == "http_503"
        assert instant(failing["failing_since"]) <= instant(failing["last_error_at"])
        assert failing["delivered_per_s"] == 0
        assert 0 < failing["attempt_p50_ms"] <= failing["attempt_p95_ms"]
        assert instant(failing["oldest_at"]) <= instant(failing["failing_since"])
        assert metric(server, f'lane_failing_seconds{{destination="{name}"}}') > 0
        assert metric(server, "destinations_failing") == 1
        assert metric(server, 'attempt_seconds_count{outcome="failed"}') >= 10
        (opening,) = server.events("destination.breaker_opened")
        assert (opening["level"], opening["destination"]) == ("warning", name)
        assert well.received(20)
        # A destination is in the list while it has messages, or is held.
        ok(server, "POST", f"/v1/destinations/{well.authority}/hold")
        eventually(lambda: lane(server, well)["delivered_per_s"] > 0)
        good = lane(server, well)
        assert (good["last_error"], good["failing_since"], good["oldest_at"]) == (None,) * 3
        assert good["attempt_p50_ms"] > 0
        ok(server, "POST", f"/v1/destinations/{well.authority}/resume")
    receiver.fake.default = answer(200)
    eventually(lambda: overview(server)["problems"] == [])
    eventually(lambda: overview(server)["waiting"]["count"] == 0)


def test_history_has_what_was_accepted_and_delivered(
    server: ServerProcess, receiver: Receiver
) -> None:
    """In steps of ten seconds of an hour, the last ones of which this server ran."""
    receiver.script(answer(404))
    dead(server, accept(server, receiver).id)
    for _ in range(3):
        accept(server, receiver)
    receiver.received(4)

    def told() -> Any:
        said = ok(server, "GET", "/v1/history")
        series = said["series"]
        is_there = sum(filter(None, series["delivered"])) >= 3 and sum(filter(None, series["dead"]))
        return said if is_there else None

    said = eventually(told)
    assert said["step_s"] == 10
    instant(said["ends_at"])
    series = said["series"]
    assert {len(points) for points in series.values()} == {360}
    assert series["accepted"][0] is None
    assert sum(filter(None, series["accepted"])) >= 4
    assert sum(filter(None, series["attempts_failed"])) >= 1
    assert series["dead_letters"][-1] == 1
    assert any(one is not None for one in series["accept_p95_ms"])
    assert any(one is not None for one in series["attempt_p50_ms"])
    assert series["log_bytes"][-1] > 0
    assert series["disk_free_bytes"][-1] > 0
    letters = overview(server)["dead"]
    assert letters["count"] == 1
    (last,) = letters["last"]
    assert (last["destination"], last["last_error"]) == (f"http://{receiver.authority}", "http_404")
    instant(last["dead_at"])


def test_dead_letters_of_the_last_hour_are_a_problem_after_a_restart_too(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Until they are redriven or purged."""
    receiver.script(answer(404))
    with ServerProcess(tmp_path) as server:
        dead(server, accept(server, receiver).id)
        server.kill()
    with ServerProcess(tmp_path) as server:
        (problem,) = overview(server)["problems"]
        assert (problem["slug"], problem["count"]) == ("dead_letters", 1)
        assert problem["message"].startswith("1 message became a dead letter within the last hour.")
        ok(server, "POST", "/v1/dead-letters/purge", {"all": True})
        assert overview(server)["problems"] == []
