"""What the log says of function calls."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from dispatcher.node.call_log import told_lost
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log


def test_call_that_lost_something_is_an_error_with_the_log_that_lost_it() -> None:
    """A person has to tell who dispatched it."""
    lines: list[str] = []
    events = Events(open_log(lines.append, level="info", format="json"))
    partial(told_lost, events.call_lost, Path("transaction.log"))("00ff")
    partial(told_lost, events.call_result_lost, Path("results.log"))("00fe")
    lost, result_lost = map(json.loads, lines)
    assert (lost["level"], lost["event"], lost["path"], lost["id"]) == (
        "error",
        "call.lost",
        "transaction.log",
        "00ff",
    )
    assert (result_lost["event"], result_lost["path"]) == ("call.result_lost", "results.log")
