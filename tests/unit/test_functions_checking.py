"""Calls that are well-formed, and what is said of those that are not."""

from __future__ import annotations

import pytest

from dispatcher.functions import limits
from dispatcher.functions.checking import first_problem, validate_call
from dispatcher.protocol.messages import Any, Call, Duration


def problem_of(*, caller: str = "", **fields: object) -> str:
    """What is wrong with a call that is right but for these fields, "" for nothing."""
    call = Call(function="f", endpoint="http://a.example")
    for name, value in fields.items():
        setattr(call, name, value)
    problem = validate_call(call, "calls[2]", caller=caller)
    return "" if problem is None else str(problem)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://a.example",
        "https://a.example:8443/base/path",
        "http://127.0.0.1:8000",
        "http://[::1]:8000/",
        "bridge://0Ab9",
        "bridge://my-session_1.x",
        "promise:order-1/paid",
        "channel:ordres payés",
    ],
)
def test_endpoint_may_be(endpoint: str) -> None:
    """URLs, sessions of the bridge, and what is completed from outside."""
    assert problem_of(endpoint=endpoint) == ""


@pytest.mark.parametrize(
    "endpoint",
    [
        "a.example",
        "ftp://a.example",
        "HTTP://a.example",
        "http://",
        "http:///path",
        "http://a.example:0",
        "http://a.example:65536",
        "http://user:secret@a.example",
        "http://a.example/?q=1",
        "http://a.example/#f",
        "http://a b",
        "http://ä.example",
        "bridge://",
        "bridge://a/b",
        "promise:",
        "channel:\n",
        "promise:" + "x" * 256,
        "http://a.example/" + "x" * 2000,
    ],
)
def test_endpoint_may_not_be(endpoint: str) -> None:
    """And the error names it."""
    assert problem_of(endpoint=endpoint).startswith("calls[2].endpoint ")


def test_endpoint_may_be_missing_where_the_caller_has_one() -> None:
    """In a poll; not in a Dispatch."""
    assert problem_of(endpoint="", caller="http://a.example") == ""
    assert problem_of(endpoint="").startswith("calls[2].endpoint is missing")


def test_lambda_function_is_not_implemented() -> None:
    """Which is another error than an invalid one."""
    call = Call(function="f", endpoint="arn:aws:lambda:eu-west-1:1:function:f")
    problem = validate_call(call, "calls[0]")
    assert problem is not None
    assert problem.is_unimplemented
    missing = validate_call(Call(), "x")
    assert missing is not None
    assert not missing.is_unimplemented


@pytest.mark.parametrize("function", ["f", "_f", "a.b.<locals>.c", "F9"])
def test_function_may_be(function: str) -> None:
    """Names as Python and Go have them."""
    assert problem_of(function=function) == ""


@pytest.mark.parametrize("function", ["", "9f", "a b", "a-b", "é", "f\n", ".f", "x" * 1001])
def test_function_may_not_be(function: str) -> None:
    """The end of the line counts too."""
    assert problem_of(function=function).startswith("calls[2].function ")


def test_promise_needs_no_function() -> None:
    """Nothing is run for it; a name that is there is checked."""
    assert problem_of(endpoint="promise:p", function="") == ""
    assert problem_of(endpoint="promise:p", function="a b") != ""


def test_version_may_not_be_too_long() -> None:
    """255 characters."""
    assert problem_of(version="v" * 255) == ""
    assert problem_of(version="v" * 256).startswith("calls[2].version ")


def test_expiration_may_not_be_negative() -> None:
    """Nor by its nanoseconds; none at all, and 0, are the default."""
    for seconds, nanos in ((-1, 0), (0, -1000)):
        call = Call(
            function="f",
            endpoint="http://a.example",
            expiration=Duration(seconds=seconds, nanos=nanos),
        )
        assert str(validate_call(call, "calls[2]")).startswith("calls[2].expiration ")
    zero = Call(function="f", endpoint="http://a.example", expiration=Duration())
    assert validate_call(zero, "calls[2]") is None


def test_input_has_to_fit_into_a_run() -> None:
    """One byte less goes."""
    around = Any(type_url="t", value=bytes(10_000_000)).ByteSize() - 10_000_000
    for extra in (0, 1):
        value = bytes(limits.MOST_PAYLOAD_BYTES - around + extra)
        call = Call(function="f", endpoint="http://a.example", input=Any(type_url="t", value=value))
        assert (validate_call(call, "calls[0]") is None) == (not extra)


def test_first_problem_of_a_batch_names_its_call() -> None:
    """By its place."""
    good = Call(function="f", endpoint="http://a.example")
    assert first_problem([good, good]) is None
    problem = first_problem([good, Call(endpoint="http://a.example"), Call()])
    assert problem is not None
    assert problem.where == "calls[1].function"


def test_long_name_is_shown_in_part() -> None:
    """Errors stay short."""
    assert len(problem_of(function="-" * 900)) < 200


@pytest.mark.parametrize(
    ("fields", "is_good"),
    [
        ({"timeout": Duration(nanos=1_000_000)}, True),
        ({"timeout": Duration(nanos=1000)}, True),  # counts as a millisecond
        ({"timeout": Duration(seconds=86_400)}, True),
        ({"timeout": Duration()}, False),
        ({"timeout": Duration(seconds=-1)}, False),
        ({"timeout": Duration(seconds=86_400, nanos=1_000_000)}, False),
        ({"delay": Duration()}, True),
        ({"delay": Duration(seconds=5)}, True),
        ({"delay": Duration(seconds=5), "expiration": Duration(seconds=6)}, True),
        ({"delay": Duration(seconds=5), "expiration": Duration(seconds=5)}, False),
        ({"delay": Duration(nanos=-1000)}, False),
    ],
)
def test_timeout_and_delay_have_bounds(fields: dict[str, Duration], is_good: bool) -> None:
    """And the error names the field."""
    call = Call(function="f", endpoint="http://a.example", **fields)  # type: ignore[arg-type]  # fields of several types
    problem = validate_call(call, "calls[2]")
    assert (problem is None) is is_good
    if problem is not None:
        assert problem.where == f"calls[2].{next(iter(fields))}"
