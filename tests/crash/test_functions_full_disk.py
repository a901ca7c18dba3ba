"""Function calls on disks that are really full, one log at a time: what was dispatched ends once
there is space again, also after a kill in between."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.protocol.messages import Call, DispatchRequest, DispatchResponse
from dispatcher.testing.process import ServerProcess
from tests.acceptance.functions import (
    Client,
    Endpoint,
    Later,
    Reply,
    Run,
    an_any,
    exits,
    fails,
    polls,
)
from tests.acceptance.receiver import eventually

pytestmark = pytest.mark.crash

_QUICK = {
    "CALL_RETRY_DELAY": "50",
    "CALL_RETRY_MAX_DELAY": "300",
    "CALL_START_DELAY": "0",
    "DRAIN_TIMEOUT": "1000",
}
_CHILDREN = 3
_ENDS_S = 60.0


def answer(run: Run) -> Reply:
    """Parents call children with states that fill disks; some fail."""
    request = run.request
    if request.function == "leaf":
        return Later(0.05, exits(request.input.value))
    if request.function == "doomed":
        return fails(7)
    if request.WhichOneof("directive") == "input":
        children = [Call(function="leaf", input=an_any(b"%d" % one)) for one in range(_CHILDREN)]
        return polls(*children, state=bytes(30_000), min_results=_CHILDREN)
    assert len(request.poll_result.results) == _CHILDREN
    return exits(bytes(3_000))


class Caller:
    """Dispatches batches until it is told to stop; `ids` by function."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.ids: dict[str, str] = {}
        self.refused = 0
        self._endpoint = endpoint
        self._count = 0

    def send(self, client: Client) -> bool:
        """Send one batch; whether it was accepted."""
        self._count += 1
        functions = ["root", "root", "doomed"]
        request = DispatchRequest(
            calls=[self._endpoint.call(name, input=an_any(bytes(2_000))) for name in functions]
        )
        answer = client.post(request, f"Idempotency-Key: {self._count}")
        if answer.status == 200:
            ids = DispatchResponse.FromString(answer.body).dispatch_ids
            self.ids.update(zip(ids, functions, strict=True))
            return True
        assert answer.status == 503, answer
        assert answer.json["code"] == "unavailable"
        self.refused += 1
        return False

    def check(self, client: Client) -> None:
        """All that was accepted ends, as it should."""
        for id, function in self.ids.items():
            result = client.result(id, f"{int(_ENDS_S)}s")
            if function == "doomed":
                assert result.error.type == "ValueError"
            else:
                assert len(result.output.value) == 3_000


def fill(place: Path) -> Path:
    """Take all the space that is left."""
    foreign = place / "foreign"
    with contextlib.suppress(OSError), foreign.open("ab", buffering=0) as file:
        while file.write(bytes(65536)):
            pass
    with contextlib.suppress(OSError), foreign.open("ab", buffering=0) as file:
        while file.write(bytes(512)):
            pass
    return foreign


def in_time(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    eventually(is_so, timeout_s=_ENDS_S)


@pytest.mark.parametrize("is_killed", [False, True], ids=["runs on", "killed"])
@pytest.mark.parametrize("which", ["transaction", "results", "dead letters"])
def test_calls_end_when_a_full_disk_has_space_again(
    tmp_path: Path, small_disk: Path, which: str, *, is_killed: bool
) -> None:
    """Full of somebody else's file, in the middle of calls with children."""
    settings = dict(_QUICK)
    if which == "dead letters":
        settings["DEAD_LETTER"] = str(small_disk / "deadletter.log")
    elif which == "transaction":
        settings["TRANSACTION_LOG"] = str(small_disk / "transaction.log")
        (tmp_path / "results.log").mkdir()
        (small_disk / "results.log").symlink_to(tmp_path / "results.log")
    else:
        (small_disk / "results.log").mkdir()
        (tmp_path / "results.log").symlink_to(small_disk / "results.log")
    with Endpoint(answer) as endpoint:
        caller = Caller(endpoint)
        with ServerProcess(tmp_path, **settings) as server:
            client = Client(server)
            for _ in range(5):
                caller.send(client)
            foreign = fill(small_disk)
            end = time.monotonic() + 4
            while time.monotonic() < end or (which == "transaction" and not caller.refused):
                caller.send(client)
                fill(small_disk)
                time.sleep(0.02)
            if is_killed:
                server.kill()
            else:
                foreign.unlink()
                caller.check(client)
                doomed = sum(function == "doomed" for function in caller.ids.values())
                in_time(lambda: client.ask("GET", "/v1/stats").json["dead"] == doomed)
                in_time(lambda: caller.send(client))
                assert server.stop() == 0
        with ServerProcess(tmp_path, **settings) as server:
            client = Client(server)
            foreign.unlink(missing_ok=True)
            in_time(lambda: caller.send(client))
            caller.check(client)
            doomed = sum(function == "doomed" for function in caller.ids.values())
            in_time(lambda: client.ask("GET", "/v1/stats").json["dead"] == doomed)
            calls = client.ask("GET", "/v1/stats").json["calls"]
            print(len(caller.ids), caller.refused, json.dumps(calls)[:300])
            assert server.stop() == 0
            errors = {line["event"] for line in server.lines if line["level"] == "error"}
            assert errors <= {"log.disk_full"}  # it may have seen the other one's file


def test_server_starts_where_there_was_no_space_for_the_first_result(
    tmp_path: Path, small_disk: Path
) -> None:
    """It was killed while it could not make the log of the results, and the disk is still full:
    what waits is stored when there is space."""
    (small_disk / "results.log").mkdir()
    (tmp_path / "results.log").symlink_to(small_disk / "results.log")
    foreign = fill(small_disk)
    with Endpoint(answer) as endpoint:
        caller = Caller(endpoint)
        with ServerProcess(tmp_path, **_QUICK) as server:
            assert caller.send(Client(server))
            foreign.unlink()
            (small_disk / "foreign").write_bytes(bytes(20_000))  # the span may fit, a segment not
            foreign = fill(small_disk)
            in_time(lambda: (small_disk / "results.log" / "lock").exists())
            server.kill()
        fill(small_disk)
        with ServerProcess(tmp_path, **_QUICK) as server:
            assert caller.send(Client(server))
            foreign.unlink()
            caller.check(Client(server))
            assert server.stop() == 0
