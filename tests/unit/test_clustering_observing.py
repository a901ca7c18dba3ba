"""What becomes of a member, written down."""

from __future__ import annotations

import json

import pytest

from dispatcher.errors import LogBusy
from dispatcher.node.clustering.observing import MemberEvents
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "NATS has not answered in time"),
        (LogBusy("no NATS server answers"), "no NATS server answers"),
        (OSError(), "OSError()"),
    ],
)
def test_store_that_is_away_is_told_with_a_reason_in_words(error: Exception, reason: str) -> None:
    """Where a time ran out the exception has none."""
    lines: list[str] = []
    told = MemberEvents(Events(open_log(lines.append, level="info", format="json")), lambda: None)
    told.store_away(error)
    (line,) = map(json.loads, lines)
    assert (line["event"], line["reason"]) == ("cluster.store_away", reason)
