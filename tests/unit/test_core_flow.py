"""What is said of a flow key, as callers write it."""

from __future__ import annotations

import pytest

from dispatcher.core.flow import Flow, parse_flow
from dispatcher.core.rate import Rate

MINUTE = 60_000_000


@pytest.mark.parametrize(
    ("text", "flow"),
    [
        ("rate=10/1m", Flow(Rate(10, MINUTE))),
        ("rate=10/m,burst=5", Flow(Rate(10, MINUTE, 5))),
        ("parallelism=2", Flow(None, 2)),
        (" parallelism=2 ,\trate=1/2h ", Flow(Rate(1, 120 * MINUTE), 2)),
        ("burst=3, rate=1/s, parallelism=1000", Flow(Rate(1, 1_000_000, 3), 1000)),
    ],
)
def test_flow_is_read_and_written(text: str, flow: Flow) -> None:
    """In any order, with blanks around the commas; what is written is read as the same."""
    assert parse_flow(text) == flow
    assert parse_flow(str(flow)) == flow


@pytest.mark.parametrize(
    "text",
    ["", " ", "rate", "rate=", "rate=0/s", "rate=1/x", "rate=1/s,", "rate=1/s;burst=2",
     "rate=1/s, rate=2/s", "burst=2", "parallelism=2, burst=2", "parallelism=0", "parallelism=1001",
     "parallelism=2, parallelism=2", "parallelism=+2", "parallelism=1.5", "rate=1/s, burst=0",
     "rate=1/s, burst=1000001", "Rate=1/s", "rate = 1/s", "parallelism=²", "speed=1/s"],
)  # fmt: skip
def test_what_is_no_flow_is_refused(text: str) -> None:
    """Also a burst without a rate, and a name that comes twice."""
    assert parse_flow(text) is None
