"""Plans and marks of schedules, as they are in logs: these bytes are read for ever."""

from __future__ import annotations

import pytest

from dispatcher.errors import LogVersionTooNew
from dispatcher.schedules.plans import (
    CatchUp,
    Firing,
    Mark,
    Overlap,
    Plan,
    PlannedCall,
    PlannedMessage,
)
from dispatcher.schedules.records import pack_mark, pack_plan, read_mark, read_plan

CALL = (
    Plan(
        "0 1 * * *",
        "Europe/Berlin",
        PlannedCall("http://a", "f", b"\x00in"),
        Overlap.SKIP,
        CatchUp.ALL,
        True,
    ),
    b'\x01\x00\x00\x00\x92{"kind":"call","cron":"0 1 * * *","timezone":"Europe/Berlin",'
    b'"endpoint":"http://a","function":"f","overlap":"skip","catch_up":"all","paused":true}'
    b"\x00in",
)
MESSAGE = (
    Plan(
        "0 1 * * *",
        "UTC",
        PlannedMessage(
            "http://a/b",
            "PUT",
            "/x?y",
            (("A", "\u00e9"), ("A", "")),
            b"\x00body",
            (("retries", "5"), ("deadline", "1h")),
        ),
    ),
    b'\x02\x00\x00\x00\xf1{"kind":"message","cron":"0 1 * * *","timezone":"UTC",'
    b'"destination":"http://a/b","method":"PUT","target":"/x?y","headers":[["A","\\u00e9"],'
    b'["A",""]],"options":{"retries":"5","deadline":"1h"},"overlap":"queue",'
    b'"catch_up":"last","paused":false}\x00body',
)
MARKS = (
    (
        Mark(7, Firing(5, 1 << 95), None, 3),
        b'\x01{"since_us":7,"fired":[5,39614081257132168796771975168],"run":null,"skipped":3}',
    ),
    (
        Mark(7, Firing(5, 1 << 40, "delivered"), Firing(6, 9)),
        b'\x02{"since_us":7,"fired":[5,1099511627776,"delivered"],"run":[6,9],"skipped":0}',
    ),
    (
        Mark(7, Firing(5, 8), None, 0, (Firing(4, 3, "dead"), Firing(2, 1))),
        b'\x01{"since_us":7,"fired":[5,8],"run":null,"skipped":0,"earlier":[[4,3,"dead"],[2,1]]}',
    ),
)


@pytest.mark.parametrize(("plan", "packed"), [CALL, MESSAGE])
def test_plan_is_read_as_it_was_written(plan: Plan, packed: bytes) -> None:
    """And written so again."""
    assert read_plan(packed) == plan
    assert pack_plan(plan) == packed


@pytest.mark.parametrize(("mark", "packed"), MARKS)
def test_mark_is_read_as_it_was_written(mark: Mark, packed: bytes) -> None:
    """And written so again."""
    assert read_mark(packed) == mark
    assert pack_mark(mark) == packed


def test_what_a_newer_version_wrote_is_refused() -> None:
    """By its version, or by a kind that is not known."""
    with pytest.raises(LogVersionTooNew):
        read_mark(b"\x03{}")
    with pytest.raises(LogVersionTooNew):
        read_plan(b"\x03\x00\x00\x00\x02{}")
    with pytest.raises(LogVersionTooNew):
        read_plan(CALL[1].replace(b'"call"', b'"cell"'))
