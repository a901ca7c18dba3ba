"""Applications written with the real SDK that are deployed while their functions are suspended."""

from __future__ import annotations

import http.server
import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dispatcher.protocol.messages import Call, RunRequest
from dispatcher.testing.process import ServerProcess
from tests.acceptance.functions import Client, exits
from tests.dispatch_py.conftest import SETTINGS, verification_key
from tests.dispatch_py.sdk import Application
from tests.dispatch_py.test_dispatch_py import ask, output, result

_DEPLOY_S = 8.0
_SUSPECT_MS = 1500
_QUICK = {**SETTINGS, "CALL_STATE_SUSPECT_AFTER": str(_SUSPECT_MS)}
_ENDS_S = 60.0
_JSON = "Content-Type: application/json"

pytestmark = pytest.mark.parametrize("server", [_QUICK], indirect=True)


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + _ENDS_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def steps_of(server: ServerProcess, number: str) -> list[str]:
    """What the timeline of a call tells, a word each."""
    return [entry["step"] for entry in _entries(server, number)]


def _entries(server: ServerProcess, number: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = ask(server, f"/v1/calls/{number}/timeline")[1]["entries"]
    return entries


@contextmanager
def deploying(port: int) -> Iterator[list[int]]:
    """What stands in front of an application that is not there: answers 502, 503, 502, … at its
    port, and lists what it answered. One function, `well`, is served by others."""
    answered: list[int] = []
    statuses = itertools.cycle((502, 503))

    class Front(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            run = RunRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            body = b""
            if run.function == "well":
                body = exits().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/proto")
            else:
                answered.append(next(statuses))
                self.send_response(answered[-1])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Front) as front:
        front.daemon_threads = True
        serving = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield answered
        finally:
            front.shutdown()
            serving.join()


def test_deploy_of_eight_seconds_restarts_nothing(
    server: ServerProcess, application: Application
) -> None:
    """502 and 503 for much longer than CALL_STATE_SUSPECT_AFTER, while functions wait and run and
    others of the application succeed: each goes on where it was. What was under way comes again,
    what was recorded does not."""
    numbers = [application.dispatch("pipeline", f"d{one}") for one in range(4)]
    many = application.dispatch("at_once", 12)
    waits = application.dispatch("approved", "plan")
    until(lambda: sum(step.endswith(" 2") for step in application.steps) >= 4)
    until(lambda: ask(server, f"/v1/calls/{waits}")[1]["state"] == "suspended")
    application.kill()
    before = len(application.steps)
    caller = Client(server, "an application's")
    with deploying(application.port) as answered:
        said = caller.ask("POST", "/v1/promises/plan", _JSON, body=b'"yes"')
        assert said.status == 204, said
        end = time.monotonic() + _DEPLOY_S
        while time.monotonic() < end:
            (well,) = caller.dispatch(Call(endpoint=application.url, function="well"))
            assert caller.output(well) == b"done"
            time.sleep(0.1)
        states = {ask(server, f"/v1/calls/{number}")[1]["state"] for number in numbers}
        # On a busy machine one may have ended before.
        assert states <= {"suspended", "ready", "scheduled", "running", "succeeded"}, states
    assert {502, 503} == set(answered)
    assert len(application.steps) == before
    application.start()
    for one, number in enumerate(numbers):
        assert output(server, number) == f"d{one} 1, d{one} 2, d{one} 3"
        ran = [step for step in application.steps if step.startswith(f"slow d{one} ")]
        assert ran.count(f"slow d{one} 1") == 1
        assert len(ran) <= 4  # the one that was under way
        assert "restarted" not in steps_of(server, number)
    assert output(server, many) == [float(number + 1) for number in range(12)]
    assert output(server, waits) == "plan: yes"
    assert application.steps.count("approved plan") == 1
    for number in (many, waits):
        assert "restarted" not in steps_of(server, number)
    assert not server.events("call.warned")


def test_changed_code_begins_anew_and_drops_what_the_old_one_called(
    python: Path, server: ServerProcess, tmp_path: Path
) -> None:
    """The SDK answers HTTP 500 to each resume, for it does not find its place any more. Others of
    the application succeed, so the call is restarted from its input, with a warning; the old
    code's child that still waits runs no more."""
    source = tmp_path / "application.py"
    with Application(python, tmp_path, server) as application:
        application.kill()
        application.source = source
        shutil.copy(Path(__file__).with_name("application.py"), source)
        application.start()
        number = application.dispatch("published", "paper")
        until(lambda: "throttled paper waits" in application.steps)
        application.kill()
        code = source.read_text()
        gathers = (
            '    await dispatch.gather(slow(f"{name} 2", 0.5), throttled(f"{name} waits", 1000))\n'
        )
        assert gathers in code
        new = code.replace(gathers, '    more = await slow(f"{name} new", 0.0)\n    del more\n')
        source.write_text(new.replace('f"{name}, as it was"', 'f"{name}, as it is"'))
        application.start()
        end = time.monotonic() + _ENDS_S
        while "restarted" not in steps_of(server, number):
            assert time.monotonic() < end, _entries(server, number)
            assert output(server, application.dispatch("add", 1, 1)) == 2
        assert output(server, number) == "paper, as it is"
        waited = application.steps.count("throttled paper waits")
        assert application.steps.count("published paper") == 2
        assert steps_of(server, number).count("restarted") == 1
        assert [line["function"] for line in server.events("call.warned")] == ["published"]
        failed = [entry for entry in _entries(server, number) if "500" in (entry["error"] or "")]
        assert len(failed) >= 5
        time.sleep(1.0)  # it was tried every 0.4 s
        assert application.steps.count("throttled paper waits") == waited


def test_state_of_another_interpreter_begins_anew_at_once(
    server: ServerProcess, application: Application
) -> None:
    """The SDK says INCOMPATIBLE_STATE itself: nothing is suspected, and nobody warned."""
    number = application.dispatch("published", "book")
    until(lambda: "throttled book waits" in application.steps)
    application.kill()
    application.start(BUILD=" of tomorrow")
    until(lambda: application.steps.count("published book") == 2)
    assert steps_of(server, number).count("restarted") == 1
    assert not server.events("call.warned")
    ask(server, f"/v1/calls/{number}?mode=kill", "DELETE")


def test_states_that_never_fit_end_in_a_dead_letter(
    server: ServerProcess, python: Path, tmp_path: Path
) -> None:
    """Three restarts that got no further than the one before; then it can be redriven to an
    application that is whole."""
    key = {"DISPATCH_VERIFICATION_KEY": verification_key(tmp_path)}
    with Application(python, tmp_path, server, **key) as application:
        application.kill()
        application.start(STATES=" of another one")
        number = application.dispatch("pipeline", "never")
        assert result(server, number)["error"]["type"] == "IncompatibleStateError"
        assert application.steps == ["slow never 1"] * 4
        assert steps_of(server, number).count("restarted") == 3
        until(lambda: ask(server, "/v1/stats")[1]["dead"] == 1)
        letter = ask(server, f"/v1/dead-letters/{number}")[1]
        assert (letter["kind"], letter["function"]) == ("call", "pipeline")
        application.kill()
        application.start()
        assert ask(server, f"/v1/dead-letters/{number}/redrive", "POST")[0] == 202
        assert output(server, number) == "never 1, never 2, never 3"


def test_call_that_is_redriven_to_the_process_it_ended_in_is_dead_again(
    server: ServerProcess, application: Application
) -> None:
    """The SDK answers 500 to a call that its process has ended, however often it is asked: after
    five of them it says what to do, and is not run until it expires."""
    number = application.dispatch("broken", "twice")
    until(lambda: ask(server, "/v1/stats")[1]["dead"] == 1)
    assert ask(server, f"/v1/dead-letters/{number}/redrive", "POST")[0] == 202
    until(lambda: ask(server, "/v1/stats")[1]["dead"] == 1)
    error = result(server, number)["error"]
    assert error["type"] == "InvalidResponse"
    assert "Restart the application" in error["message"]
    assert application.steps.count("broken twice") == 6
