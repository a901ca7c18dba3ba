"""What a status means, and which one an answer or a failure has."""

from __future__ import annotations

import pytest

from dispatcher.core.outcome import Failure
from dispatcher.protocol.messages import POOL, RunResponse
from dispatcher.protocol.statuses import (
    MEANINGS,
    Concurrency,
    Status,
    Then,
    status_of_failure,
    status_of_http,
    status_of_wire,
)

RETRIED = {
    Status.TIMEOUT,
    Status.THROTTLED,
    Status.TEMPORARY_ERROR,
    Status.DNS_ERROR,
    Status.TCP_ERROR,
    Status.TLS_ERROR,
    Status.HTTP_ERROR,
}


def test_statuses_are_those_of_the_messages() -> None:
    """Names and numbers of the .proto file."""
    values = POOL.FindEnumTypeByName("dispatch.sdk.v1.Status").values_by_name
    assert {name: value.number for name, value in values.items()} == {
        f"STATUS_{status.name}": status.value for status in Status
    }
    assert RunResponse(status=Status.NOT_FOUND).SerializeToString() == b"\x08\x0f"


@pytest.mark.parametrize("status", Status)
def test_status_is_retried_and_lowers_the_limit_when_it_is_of_overload_or_transport(
    status: Status,
) -> None:
    """The seven of the protocol's table, and no other."""
    assert (status.then is Then.RETRY) == (status in RETRIED)
    assert (status.concurrency is Concurrency.DECREASE) == (status in RETRIED)
    assert status in MEANINGS


def test_statuses_that_say_nothing_about_the_endpoint_leave_the_limit() -> None:
    """A restart is not a retry; UNSPECIFIED ends the call."""
    assert Status.INCOMPATIBLE_STATE.then is Then.RESTART
    assert Status.UNSPECIFIED.then is Then.END
    still = {status for status in Status if status.concurrency is Concurrency.NONE}
    assert still == {Status.INCOMPATIBLE_STATE, Status.UNSPECIFIED}


@pytest.mark.parametrize("status", [Status.OK, Status.PERMANENT_ERROR, Status.NOT_FOUND])
def test_function_that_ran_shows_a_healthy_endpoint(status: Status) -> None:
    """Also where it failed for good."""
    assert status.then is Then.END
    assert status.concurrency is Concurrency.INCREASE


def test_number_that_is_not_known_is_unspecified() -> None:
    """The enum is open: a newer SDK may send 16."""
    response = RunResponse.FromString(b"\x08\x10")
    assert status_of_wire(response.status) is Status.UNSPECIFIED
    assert status_of_wire(15) is Status.NOT_FOUND
    assert status_of_wire(-1) is Status.UNSPECIFIED


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (200, Status.OK),
        (100, Status.INVALID_RESPONSE),
        (201, Status.INVALID_RESPONSE),
        (204, Status.INVALID_RESPONSE),
        (302, Status.INVALID_RESPONSE),
        (400, Status.INVALID_ARGUMENT),
        (401, Status.UNAUTHENTICATED),
        (402, Status.PERMANENT_ERROR),
        (403, Status.PERMISSION_DENIED),
        (404, Status.NOT_FOUND),
        (408, Status.TIMEOUT),
        (413, Status.PERMANENT_ERROR),
        (415, Status.PERMANENT_ERROR),
        (429, Status.THROTTLED),
        (499, Status.PERMANENT_ERROR),
        (500, Status.TEMPORARY_ERROR),
        (501, Status.PERMANENT_ERROR),
        (502, Status.TEMPORARY_ERROR),
        (503, Status.TEMPORARY_ERROR),
        (504, Status.TIMEOUT),
        (599, Status.TEMPORARY_ERROR),
        (600, Status.INVALID_RESPONSE),
    ],
)
def test_http_status_has_its_status(code: int, status: Status) -> None:
    """The rule of the protocol: 4xx ends but for 408 and 429, 5xx is retried but for 501."""
    assert status_of_http(code) is status


def test_http_status_is_retried_as_the_command_line_of_the_protocol_says() -> None:
    """408, 429 and 5xx without 501."""
    retried = {code for code in range(100, 700) if status_of_http(code).then is Then.RETRY}
    assert retried == {408, 429, *range(500, 600)} - {501}


@pytest.mark.parametrize("failure", [f for f in Failure if f is not Failure.EXPIRED])
def test_every_failure_of_an_attempt_has_a_status(failure: Failure) -> None:
    """All are retried but an address that may not be connected to."""
    is_retried = status_of_failure(failure.value).then is Then.RETRY
    assert is_retried == (failure is not Failure.EGRESS)


def test_failures_have_the_status_named_for_them() -> None:
    """A response cut short is HTTP_ERROR, which is retried."""
    assert status_of_failure("connection_failed") is Status.TCP_ERROR
    assert status_of_failure("dns_failed") is Status.DNS_ERROR
    assert status_of_failure("tls_failed") is Status.TLS_ERROR
    assert status_of_failure("timeout") is Status.TIMEOUT
    assert status_of_failure("broken_response") is Status.HTTP_ERROR
    with pytest.raises(KeyError):
        status_of_failure("expired")
