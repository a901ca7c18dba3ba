"""What becomes of connections and attempts that ended: the two tables."""

from __future__ import annotations

import pytest

from dispatcher.delivery.endings import STALE_S, Ending, Parting, ending, parting
from dispatcher.delivery.progress import Progress
from dispatcher.delivery.response import Response


def answered(data: bytes) -> Response:
    response = Response()
    assert response.feed(data) is Progress.DONE
    return response


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n", Parting.KEEP),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", Parting.KEEP),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", Parting.LEAVE),
        (b"HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\n", Parting.LEAVE),
        (b"HTTP/1.0 200 OK\r\n", Parting.LEAVE),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", Parting.KEEP),
        (b"HTTP/1.1 200 OK\r\nX: \x01\r\n", Parting.RESET),
        (b"HTTP/1.1 200 OK\r\nX: \x01\r\nConnection: close\r\n", Parting.LEAVE),
        (b"HTTP/1.0 200 OK\r\nX: \x01\r\n", Parting.LEAVE),
    ],
)
def test_connection_is_left_to_who_said_that_he_closes_it(head: bytes, expected: Parting) -> None:
    """Whoever closes first keeps a port busy for a minute; a reset keeps none. Where the
    destination has closed, or a part of the request is unsent, there is nothing to wait for."""
    response = answered(head + b"Content-Length: 0\r\n\r\n")
    assert parting(response, written=True, over=False) is expected
    assert parting(response, written=False, over=False) is Parting.ABORT
    assert parting(response, written=True, over=True) is Parting.ABORT


@pytest.mark.parametrize(
    ("untouched", "carried", "resent", "age_s", "expected"),
    [
        (True, 1, False, 0.0, Ending.RESEND),
        (True, 7, False, STALE_S, Ending.RESEND),
        (True, 1, False, STALE_S + 0.001, Ending.FAILED),
        (True, 0, False, 0.0, Ending.FAILED),
        (True, 1, True, 0.0, Ending.FAILED),
        (False, 1, False, 0.0, Ending.ANSWERED),
        (False, 0, True, 9.0, Ending.ANSWERED),
    ],
)
def test_only_what_was_closed_as_we_wrote_is_sent_again(
    untouched: bool, carried: int, resent: bool, age_s: float, expected: Ending
) -> None:
    """On a connection that was used before, without a byte of an answer, once, and within a second:
    a destination that worked on it for longer may have acted on it."""
    assert ending(untouched=untouched, carried=carried, resent=resent, age_s=age_s) is expected
