"""Applications of dispatch-py and of this SDK on one server: each calls functions of the other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk.client.blocking import SyncClient
from dispatcher.testing.process import ServerProcess
from tests.dispatch_py.conftest import SETTINGS, verification_key
from tests.dispatch_py.sdk import Application
from tests.dispatch_py.test_dispatch_py import output, result


@dataclass(frozen=True, slots=True)
class Three:
    """A server, and both applications, which look at signatures."""

    server: ServerProcess
    theirs: Application
    ours: Application
    client: SyncClient

    def call(self, function: str, value: Any, returns: Any = None) -> Any:
        """Call one of ours with a plain value, as anybody does, and wait for its result."""
        built = dispatch.remote(function, endpoint=self.ours.url, returns=returns).build_call(value)
        (handle,) = self.client.dispatch(built)
        return handle.result(timeout=30)

    def call_theirs(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call one of theirs in its own form."""
        remote = dispatch.remote(function, endpoint=self.theirs.url, style="dispatch-py")
        (handle,) = self.client.dispatch(remote.build_call(*args, **kwargs))
        return handle.result(timeout=30)


@pytest.fixture(scope="module")
def three(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """All of them, for all tests here: none is killed."""
    directory = tmp_path_factory.mktemp("three")
    with ServerProcess(directory, **SETTINGS) as server:
        key = {"DISPATCH_VERIFICATION_KEY": verification_key(directory)}
        host, port = server.api
        with (
            Application(python, directory, server, **key) as theirs,
            our_application(directory, server, theirs, **key) as ours,
            SyncClient(api_url=f"http://{host}:{port}", api_key="an application's") as client,
        ):
            yield Three(server, theirs, ours, client)


def our_application(
    directory: Path, server: ServerProcess, theirs: Application, **more: str
) -> Application:
    """The one of `ours.py`."""
    made = Application(Path(sys.executable), directory, server, THEIRS=theirs.url, **more)
    made.source = Path(__file__).with_name("ours.py")
    return made


@pytest.mark.parametrize(
    ("function", "value", "returned"),
    [
        ("sum_of", [1, 2, 3], 6),
        ("doubled", [1, 2, 3], [2, 4, 6]),
        ("counted", 4, [1, 2, 3, 4]),
        ("caught", "luck", "PermanentError: no luck"),
        ("there_and_back", 41, 42),
    ],
)
def test_ours_calls_theirs(three: Three, function: str, value: Any, returned: Any) -> None:
    """Await, gather, and an error that is caught: by the type that it has over there."""
    found = three.call(function, value)
    assert found == returned
    assert type(found) is type(returned)


def test_their_function_takes_arguments_of_ours(three: Three) -> None:
    """By their places, or names."""
    assert three.call_theirs("add", 20, 22) == 42
    assert three.call_theirs("add", a=20, b=22) == 42
    assert three.call_theirs("slow", "Ada", seconds=0.0) == "Ada"
    with pytest.raises(dispatch.CallError, match="PermanentError: no luck"):
        three.call_theirs("broken", "luck")


@pytest.mark.parametrize(
    ("value", "returned"),
    [
        (7, 7),
        (2**60, 2**60),
        ("text", "text"),
        (1.5, 1.5),
        (True, True),
        (None, None),
        ([1, "two", None], [1.0, "two", None]),
        ({"a": {"b": [1.5]}}, {"a": {"b": [1.5]}}),
    ],
)
def test_theirs_calls_ours_with_a_plain_value(three: Three, value: Any, returned: Any) -> None:
    """It is the argument of a function that has one. What comes back is read by their SDK, which
    knows floating-point numbers alone in lists."""
    number = three.theirs.dispatch("calls", "same", three.ours.url, value)
    assert output(three.server, number) == returned


def test_theirs_calls_ours_that_calls_theirs(three: Three) -> None:
    """A durable function of ours, suspended while theirs run."""
    number = three.theirs.dispatch("calls", "sum_of", three.ours.url, [1, 2, 3])
    assert output(three.server, number) == 6


def test_theirs_catches_an_error_of_ours(three: Three) -> None:
    """Their SDK unpickles what an error carries, and dies of what is no pickle: ours is read as
    nothing, so that it makes an error of the message."""
    number = three.theirs.dispatch("catches_of", "wrong", three.ours.url, "luck")
    assert output(three.server, number) == "RuntimeError: no luck"
    found = result(three.server, three.theirs.dispatch("calls", "wrong", three.ours.url, "it"))
    assert (found["error"]["type"], found["error"]["message"]) == ("RuntimeError", "no it")


def test_instants_are_instants_on_both_sides(three: Three) -> None:
    """The protocol has a type for them."""
    text = "2026-03-04T05:06:07+00:00"
    remote = dispatch.remote("instant", endpoint=three.ours.url, returns=datetime)
    (handle,) = three.client.dispatch(remote.build_call(text))
    assert handle.result(timeout=30) == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    number = three.theirs.dispatch("catches_of", "instant", three.ours.url, text)
    assert output(three.server, number) == "nothing"


def test_both_are_killed_half_way_and_go_on(
    python: Path, server: ServerProcess, tmp_path: Path
) -> None:
    """What was recorded is not run again, on either side."""
    key = {"DISPATCH_VERIFICATION_KEY": verification_key(tmp_path)}
    host, port = server.api
    with (
        Application(python, tmp_path, server, **key) as theirs,
        our_application(tmp_path, server, theirs, **key) as ours,
        SyncClient(api_url=f"http://{host}:{port}", api_key="an application's") as client,
    ):
        built = dispatch.remote("sum_of", endpoint=ours.url).build_call(list(range(1, 60)))
        (handle,) = client.dispatch(built)
        while theirs.steps.count("add 1 2") == 0:
            assert not handle.info().has_ended
        ours.kill()
        theirs.kill()
        theirs.start()
        ours.start()
        assert handle.result(timeout=60) == 59 * 30
        added = [step for step in theirs.steps if step.startswith("add ")]
        assert len(added) <= 59 + 2  # those that were under way
        assert ours.steps.count("sum_of") >= 2
