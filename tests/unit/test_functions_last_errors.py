"""What a call shows as its last error, while something of it is in the table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from dispatcher.core.breaker import Signal
from dispatcher.functions import errors
from dispatcher.functions.deciding.decisions import Decision, Outcome, RestartAt, RetryAt
from dispatcher.functions.events import Exited
from dispatcher.functions.model import Call, How
from dispatcher.functions.views.last_errors import LastErrors
from dispatcher.protocol.messages import CallResult
from dispatcher.protocol.statuses import Concurrency, Status

OUTPUT = CallResult()
OUTPUT.output.value = b"done"


def call(how: How | None = None) -> Call:
    """A call, as far as it matters here."""
    return cast(Call, SimpleNamespace(key=7, how=how))


def ran(outcome: Outcome, status: Status, http_status: int | None = None) -> Decision:
    """What a run came to."""
    return Decision(outcome, status, Signal.HEALTHY, Concurrency.NONE, http_status=http_status)


def exited(how: How, result: bytes) -> Exited:
    """It has ended."""
    return Exited(7, 0, how, result, is_error=how is not How.OK, at_us=9)


def test_it_is_that_of_the_last_run_and_goes_with_one_that_goes_well() -> None:
    """Also of a run after which it begins anew."""
    last = LastErrors()
    assert last.of(call()) is None
    last.ran(call(), ran(RetryAt(5, 1), Status.TEMPORARY_ERROR, 503))
    assert last.of(call()) == "http_503"
    last.ran(call(), ran(RestartAt(5), Status.INCOMPATIBLE_STATE))
    assert last.of(call()) == "incompatible_state"
    last.ran(call(), ran(exited(How.OK, OUTPUT.SerializeToString()), Status.OK))
    assert last.of(call()) is None


@pytest.mark.parametrize(
    ("how", "shown"),
    [
        (How.FAILED, "ValueError"),
        (How.EXPIRED, "Expired"),
        (How.CANCELLED, "Cancelled"),
        (How.OK, None),
    ],
)
def test_one_that_has_ended_shows_the_type_of_its_error(how: How, shown: str | None) -> None:
    """As its result does, once it has moved; until nothing of it is left."""
    last = LastErrors()
    last.ran(call(), ran(exited(How.FAILED, errors.failed("ValueError", "no")), Status.UNSPECIFIED))
    assert last.of(call()) == "ValueError"
    assert last.of(call(how)) == shown
    last.forget(call())
    assert last.of(call()) is None


def test_failure_without_an_error_or_of_a_former_process_is_one_all_the_same() -> None:
    """`failed`, as its result says."""
    last = LastErrors()
    assert last.of(call(How.FAILED)) == "failed"
    last.ends(call(), OUTPUT.SerializeToString())
    assert last.of(call(How.FAILED)) == "failed"
    last.ends(call(), errors.failed("InvalidArgument", "no such endpoint"))
    assert last.of(call(How.FAILED)) == "InvalidArgument"
