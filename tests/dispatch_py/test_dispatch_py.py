"""Applications written with the real SDK, unchanged: what their functions promise holds, whatever
is killed in between."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.process import ServerProcess
from tests.acceptance.receiver import eventually
from tests.dispatch_py.conftest import SETTINGS, verification_key
from tests.dispatch_py.sdk import Application

Both = tuple[ServerProcess, Application]

_ENDS_S = 60.0


def result(server: ServerProcess, number: str) -> dict[str, Any]:
    """Wait for the result of a call.

    Raises:
        AssertionError: it does not end in time.
    """
    status, found = ask(server, f"/v1/calls/{number}/result?wait={int(_ENDS_S)}s")
    assert status == 200, ask(server, f"/v1/calls/{number}/timeline")
    return found


def ask(
    server: ServerProcess, path: str, method: str = "GET", key: str = "an application's"
) -> tuple[int, dict[str, Any]]:
    """Ask the API for something; status and document."""
    host, port = server.api
    request = urllib.request.Request(
        f"http://{host}:{port}{path}", headers={"Authorization": f"Bearer {key}"}, method=method
    )
    with urllib.request.urlopen(request, timeout=_ENDS_S + 5) as answer:
        body = answer.read()
        found: dict[str, Any] = json.loads(body) if body else {}
        return answer.status, found


def output(server: ServerProcess, number: str) -> Any:
    """Wait for what a call returns; it must not fail."""
    found = result(server, number)
    assert found.get("error") is None, found
    return found["output"]


@pytest.mark.parametrize(
    ("function", "arguments", "returned"),
    [
        ("add", (1, 2), 3),
        ("one_after_another", (5,), 10),
        ("at_once", (12,), [float(number + 1) for number in range(12)]),
        ("nested", (6,), 6),
        ("catches", ("luck",), "PermanentError: no luck"),
        ("first_of", ("any",), "any"),
        ("winner", ("race",), "race fast"),
        ("countdown", (4, 0), 10),
        ("throttled", ("throttle", 3), "throttle"),
    ],
)
def test_function_returns_what_it_promises(
    both: Both,
    function: str,
    arguments: tuple[Any, ...],
    returned: Any,
) -> None:
    """Await, gather, recursion, errors that are caught, any, race, tail calls, throttling."""
    server, application = both
    assert output(server, application.dispatch(function, *arguments)) == returned


def test_process_that_awaits_a_call_gets_its_result(both: Both) -> None:
    """As the SDK waits outside of functions: for the run that exits, in the same process."""
    _, application = both
    assert application.ask("/await/add", [20, 22]) == {"result": 42}


def test_error_of_a_root_call_is_its_result_and_a_dead_letter(both: Both) -> None:
    """It is not retried: it is permanent."""
    server, application = both
    number = application.dispatch("broken", "root")
    assert result(server, number)["error"]["type"] == "PermanentError"
    assert application.steps.count("broken root") == 1
    eventually(lambda: number in json.dumps(ask(server, "/v1/dead-letters")[1]))


def test_batch_is_dispatched_whole(both: Both) -> None:
    """Ids in the order of the calls."""
    server, application = both
    ids = application.ask("/batch/add", [[number, 1] for number in range(40)])["ids"]
    assert [output(server, number) for number in ids] == [number + 1 for number in range(40)]


def test_key_that_is_not_known_is_a_permission_error(
    server: ServerProcess, python: Path, tmp_path: Path
) -> None:
    """The SDK says which key is wrong."""
    log = tmp_path / "application.log"
    with Application(python, tmp_path, server, DISPATCH_API_KEY="wrong") as application:
        with pytest.raises(urllib.error.HTTPError):
            application.dispatch("add", 1, 1)
        # It answers, and then writes why.
        end = time.monotonic() + _ENDS_S
        while "check DISPATCH_API_KEY is correct" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)


def test_server_that_is_killed_goes_on(
    server: ServerProcess, application: Application, tmp_path: Path
) -> None:
    """No call is lost, and no step runs again whose result was recorded. The application is started
    anew: its process answers 500 to what it has ended already, and whose answer was lost."""
    numbers = [application.dispatch("pipeline", f"p{one}") for one in range(4)]
    time.sleep(0.5)
    server.kill()
    application.kill()
    with ServerProcess(tmp_path, **SETTINGS) as again:
        application.start()
        found = [output(again, number) for number in numbers]
    assert found == [f"p{one} 1, p{one} 2, p{one} 3" for one in range(4)]
    for one in range(4):
        steps = [step for step in application.steps if step.startswith(f"slow p{one} ")]
        # What was under way when the server was killed comes again.
        assert len(steps) <= 4
        assert set(steps) == {f"slow p{one} {number}" for number in (1, 2, 3)}


def test_application_that_is_killed_goes_on(
    server: ServerProcess, application: Application
) -> None:
    """Its runs are made again when it listens again; what was recorded stays."""
    number = application.dispatch("pipeline", "killed")
    # The second step begins when the result of the first was recorded.
    eventually(lambda: "slow killed 2" in application.steps)
    application.kill()
    time.sleep(0.5)
    application.start()
    assert output(server, number) == "killed 1, killed 2, killed 3"
    assert application.steps.count("slow killed 1") == 1


def test_signature_of_another_key_is_refused(
    server: ServerProcess, python: Path, tmp_path: Path
) -> None:
    """The application answers 403, which is final, and nothing runs."""
    other = tmp_path / "other"
    other.mkdir()
    key = verification_key(other)
    with Application(python, tmp_path, server, DISPATCH_VERIFICATION_KEY=key) as application:
        number = application.dispatch("add", 1, 1)
        assert result(server, number)["error"]["type"] == "PermissionDenied"
        assert application.steps == []
