"""Calls as they are heard of, and the rows and lines that show them."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from dispatcher.cli.local.calls import Calls
from dispatcher.cli.local.lines import call_line
from dispatcher.cli.local.screen import drawn
from dispatcher.cli.local.tree import rows, span

NOW_S = 1_769_860_800.0  # 2026-01-31T12:00:00Z
BLANK = dict.fromkeys(
    ("parent_id", "attempt", "duration_ms", "status", "error", "next_at", "count")
)


def instant(after_s: float) -> str:
    """An instant of the API, so long after noon; less than an hour."""
    minutes, seconds = divmod(after_s, 60)
    return f"2026-01-31T12:{int(minutes):02}:{seconds:09.6f}Z"


class Told:
    """Calls, and events that are told of them in turn."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.lines: list[str] = []

    def tell(self, id: str, kind: str, at_s: float = 0.0, **fields: Any) -> None:
        """An event; a call's name is the beginning of its id."""
        name = id.partition("#")[0]
        event: dict[str, Any] = {**BLANK, "id": id, "time": instant(at_s), "root_id": id}
        event |= {"function": name, "destination": "http://a.b", **fields}
        call = self.calls.apply(kind, event)
        self.lines.append(call_line(kind, event, call))

    def picture(self, width: int = 80, room: int = 20, now_s: float = NOW_S + 10) -> list[str]:
        """What a terminal shows."""
        console = Console(file=io.StringIO(), width=width, highlight=False)
        console.print(drawn(rows(self.calls, room=room, now_s=now_s), console))
        assert isinstance(console.file, io.StringIO)
        return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_tree_shows_what_calls_do_and_why_they_failed() -> None:
    """Tries, durations, errors; what has not ended with what it waits for, under it."""
    told = Told()
    told.tell("greet", "created")
    told.tell("greet", "run", 0.012, attempt=1, duration_ms=8, status="ok")
    told.tell("greet", "ended", 0.013, status="succeeded")
    told.tell("wrong", "created", 1)
    told.tell("wrong", "run", 2, attempt=1, duration_ms=8, status="permanent_error", error="V: no")
    told.tell("wrong", "ended", 3, status="failed")
    told.tell("order", "created", 1)
    told.tell("order", "run", 1.1, attempt=1, duration_ms=8, status="ok")
    told.tell("charge", "created", 1.2, parent_id="order")
    told.tell("ask", "created", 1.2, parent_id="order", destination="promise:go", function="")
    told.tell("order", "suspended", 1.2, count=2)
    for attempt, at_s in ((1, 2), (2, 4)):
        again = instant(at_s + 20)
        told.tell(
            "charge", "run", at_s, attempt=attempt, duration_ms=5, error="O: away", next_at=again
        )
    told.tell("nap", "created", 5)
    told.tell("nap", "run", 6, attempt=1, duration_ms=1, status="ok")
    told.tell("nap", "suspended", 6, next_at=instant(70))
    assert told.picture() == [
        "call            attempts  duration",
        "✔ greet                1     13 ms",
        "✗ wrong                1     2.0 s  V: no",
        "• order                1     9.0 s  waits for 2 calls",
        "  • charge             2     8.8 s  O: away, again in 14.0 s",
        "  • promise:go               8.8 s  waits for somebody to complete it",
        "• nap                  1     5.0 s  sleeps for 1m 0s",
    ]


def test_tree_fits_the_terminal_when_there_is_too_much_of_it() -> None:
    """What has not ended comes first; what went well is counted; each line leaves room for ^C."""
    told = Told()
    for number in range(30):
        told.tell(f"old#{number}", "created", number / 10)
        told.tell(f"old#{number}", "ended", number / 10, status="succeeded")
    told.tell("crowd", "created", 5)
    for number in range(40):
        told.tell(f"child#{number}", "created", 5, parent_id="crowd")
        if number != 33:
            told.tell(f"child#{number}", "ended", 6, status="succeeded")
    told.tell("last" + "t" * 60, "created", 7)
    told.tell("last" + "t" * 60, "run", 8, error="e" * 90, next_at=instant(9))
    assert told.picture(room=8, width=60) == [
        "call                            attempts  duration",
        "  … 27 more calls",
        *["✔ old                                         0 ms"] * 3,
        "• crowd                                      5.0 s",
        "  • child                                    5.0 s",
        "    … 39 more calls",
        "• lastttttttttttttttttttttttt…         1     3.0 s  eeee…",
    ]


def test_names_and_errors_cannot_write_to_the_terminal() -> None:
    """They may come from anywhere."""
    told = Told()
    told.tell("a\x1b[2J", "created")
    told.tell("a\x1b[2J", "ended", status="failed", error="")
    assert all("\x1b" not in line for line in (*told.picture(), *told.lines))


def test_lines_say_what_happened_to_which_call() -> None:
    """One event a line, the end with how long it took and why it failed."""
    told = Told()
    told.tell("pay#1", "created")
    told.tell("pay#1", "run", 1, attempt=1, duration_ms=14, status="throttled", next_at=instant(2))
    told.tell("pay#1", "run", 2, attempt=2, duration_ms=14, status="ok")
    told.tell("pay#1", "suspended", 2, count=1)
    told.tell("pay#1", "resumed", 3, count=1)
    told.tell("pay#1", "run", 3, attempt=1, duration_ms=2, status="not_found", error="K: 7")
    told.tell("pay#1", "ended", 4, status="failed")
    assert told.lines == [
        "12:00:00.000Z  created      pay#1  pay",
        "12:00:01.000Z  run          pay#1  pay  attempt 1: throttled in 14 ms, next at "
        "2026-01-31T12:00:02.000Z",
        "12:00:02.000Z  run          pay#1  pay  attempt 2: ok in 14 ms",
        "12:00:02.000Z  suspended    pay#1  pay  waits for 1 call",
        "12:00:03.000Z  resumed      pay#1  pay  with 1 result",
        "12:00:03.000Z  run          pay#1  pay  attempt 1: not_found in 2 ms: K: 7",
        "12:00:04.000Z  ended        pay#1  pay  failed after 4.0 s: K: 7",
    ]


def item(id: str, parent: str | None, **fields: Any) -> dict[str, Any]:
    """A call as the API lists it."""
    listed = {
        "id": id, "function": id, "endpoint": "http://a.b", "parent_id": parent, "depth": 0,
        "state": "suspended", "created_at": instant(0), "ended_at": None, "next_run_at": None,
        "attempts": 0, "steps": 1, "waits_for": 1, "last_error": None,
    }  # fmt: skip
    return listed | fields


def test_calls_of_before_are_learnt_from_the_list() -> None:
    """In whichever order it has them; what was heard already is corrected."""
    told = Told()
    told.tell("b", "created", 1, parent_id="a")
    told = Told()
    told.calls.learn(
        [
            item("b", "a", depth=1, state="scheduled", last_error="http_503", attempts=2, steps=0),
            item("a", None),
        ]
    )
    assert told.picture() == [
        "call          attempts  duration",
        "• a                  1    10.0 s  waits for 1 call",
        "  • b                2    10.0 s  http_503, again at once",
    ]
    told.calls.learn([item("a", None, state="succeeded", ended_at=instant(2))])
    assert told.picture()[1:] == ["✔ a                  1     2.0 s  1 call below"]


def test_memory_of_calls_is_bounded() -> None:
    """The oldest that have ended are forgotten, one that goes on is not."""
    told = Told()
    told.tell("first", "created")
    for number in range(2500):
        told.tell(f"f#{number}", "created")
        told.tell(f"c#{number}", "created", parent_id=f"f#{number}")
        told.tell(f"f#{number}", "ended", status="succeeded")
    assert len(told.calls) <= 2001
    assert told.calls.heard == 5001
    assert told.calls.roots[0].id == "first"
    told = Told()
    told.tell("only", "created")
    for number in range(2500):
        told.tell(f"c#{number}", "created", parent_id="only")
        told.tell(f"c#{number}", "ended", status="succeeded")
    assert len(told.calls) <= 2001


def test_runs_that_find_nobody_are_counted_until_one_is_answered() -> None:
    """So that somebody can be told that the application listens elsewhere."""
    told = Told()
    told.tell("a", "created")
    for _ in range(3):
        refused = "connection refused (127.0.0.1:1)"
        told.tell("a", "run", status="tcp_error", error=refused, next_at=instant(1))
    assert told.calls.refused == 3
    told.tell("a", "run", status="tcp_error", error="ConnectionRefusedError: no", duration_ms=1)
    assert told.calls.refused == 0
    told.tell("a", "run", error=refused)
    told.tell("a", "run", status="ok")
    assert told.calls.refused == 0


def test_spans_are_short() -> None:
    """Two units at most."""
    spans = (0.0004, 0.9994, 0.9996, 59.94, 59.96, 250, 3600, 90_000)
    assert [span(one) for one in spans] == [
        "0 ms", "999 ms", "1.0 s", "59.9 s", "1m 0s", "4m 10s", "1h 0m", "1d 1h",
    ]  # fmt: skip


def test_function_that_goes_on_at_once_is_not_said_to_sleep() -> None:
    """It is suspended for as long as it takes to have its step on record."""
    told = Told()
    told.tell("pay", "created")
    told.tell("pay", "suspended", 2, next_at=instant(1.9))
    told.tell("pay", "suspended", 3, next_at=instant(4))
    assert [line.partition("pay  pay  ")[2] for line in told.lines[1:]] == [
        "has a step on record, and goes on",
        "sleeps until 2026-01-31T12:00:04.000Z",
    ]


def test_line_has_the_first_line_of_an_error_of_several() -> None:
    """The application has printed all of them, and a line is one."""
    told = Told()
    error = "IncompatibleState: no longer fits its record.\n  recorded   await 1: sleep 10 s"
    told.tell("a", "run", attempt=2, duration_ms=3, status="incompatible_state", error=error)
    told.tell("a", "ended", 1, status="failed")
    for line in told.lines:
        assert line.endswith(": IncompatibleState: no longer fits its record. …")
