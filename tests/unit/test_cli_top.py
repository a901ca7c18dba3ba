"""What `top` decides: what keys mean, which lanes come first, and that everything fits."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dispatcher.cli.top.drawing import drawn
from dispatcher.cli.top.figures import ORDERS, Look, in_order
from dispatcher.cli.top.keys import pressed
from dispatcher.cli.top.pressing import Fetch, Quit, press
from dispatcher.cli.top.sparks import spark
from dispatcher.cli.top.state import Deed, Opened, Page, State
from dispatcher.cli.top.windows import windowed
from dispatcher.cli.widths import width_of

ID = "0000018f3c5a7e2b9d4c6f8a1b2c"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def lane(name: str, **fields: Any) -> dict[str, Any]:
    """A lane as the API has it."""
    return {
        "kind": "message", "destination": f"https://{name}", "ready": 0, "scheduled": 0,
        "in_flight": 0, "limit": 10, "rate": None, "paused_until": None, "held": False,
        "breaker": "closed", "last_error": None, "last_error_at": None, "failing_since": None,
        "delivered_per_s": 0.0, "attempt_p50_ms": None, "attempt_p95_ms": None, "oldest_at": None,
    } | fields  # fmt: skip


def state(*lanes: dict[str, Any]) -> State:
    """What is known after the first look."""
    figures = {"ready": 3, "scheduled": 1, "in_flight": 2, "dead": 5, "lanes": list(lanes)}
    return State("http://127.0.0.1:8081", Look(1.0, figures | {"lanes_total": len(lanes)}))


MESSAGE = {
    "id": ID, "state": "scheduled", "accepted_at": "2026-01-31T12:00:00.000000Z", "attempts": 2,
    "next_attempt_at": None, "last_error": "http_503", "method": "POST", "target": "/hooks",
}  # fmt: skip
LETTER = {
    "id": ID[::-1], "kind": "message", "dead_at": "2026-01-31T12:00:00.000000Z", "attempts": 11,
    "last_status": 503, "last_error": None, "method": "POST", "target": "/hooks",
}  # fmt: skip


def opened(*, letters: bool = False) -> State:
    """A lane that was opened, with a message, or a letter."""
    found = state(lane("a"))
    found.opened = Opened("https://a", "message", [MESSAGE], [])
    if letters:
        found.opened = Opened("https://a", "message", [], [LETTER])
    found.page = Page.LANE
    return found


# Keys


def test_keys_are_told_by_what_a_terminal_sends() -> None:
    """Arrows in both modes, a key alone, several at once; what is none of ours is left out."""
    sent = b"j\x1b[A\x1bOB\x1b[5~\r\x7f\x1b[15~\x1b[1;5C\x01/"
    assert list(pressed(sent)) == ["j", "up", "down", "page up", "enter", "erase", "/"]
    assert list(pressed(b"\x1b")) == ["escape"]


def test_hold_asks_first() -> None:
    """Only y does it; any other key says that nothing was done."""
    held = state(lane("a"), lane("b"))
    press(held, "down")
    assert press(held, "h") is None
    assert held.question is not None
    assert held.question.subject == "https://b"
    press(held, "n")
    for answer, deed in (("y", True), ("n", False), ("q", False), ("enter", False)):
        press(held, "h")
        found = press(held, answer)
        assert isinstance(found, Deed) == deed
        assert held.question is None
        assert deed or (held.notice is not None and held.notice.text == "Nothing was done.")


def test_resume_is_of_what_is_held() -> None:
    """Else it is said what to press instead."""
    found = state(lane("a"))
    assert press(found, "r") is None
    assert found.notice is not None
    assert "t tries it now" in found.notice.text
    assert press(state(lane("a", held=True)), "r") == Deed("resume", "https://a")
    assert press(state(lane("a", held=True)), "h") is None


def test_retry_is_of_the_destination_or_of_the_message_that_is_selected() -> None:
    """A letter is not retried: it is said how it is redriven."""
    assert press(state(lane("a")), "t") == Deed("retry", "https://a")
    assert press(opened(), "t") == Deed("retry message", ID)
    dead = opened(letters=True)
    assert press(dead, "t") is None
    assert dead.notice is not None
    assert "dead redrive" in dead.notice.text


def test_enter_opens_a_lane_then_a_message_and_escape_goes_back() -> None:
    """Each is fetched when it is opened."""
    found = state(lane("a"))
    assert press(found, "enter") == Fetch(Page.LANE)
    assert found.opened is not None
    found.opened.messages, found.opened.letters = [MESSAGE], [LETTER]
    press(found, "down")
    press(found, "down")
    assert press(found, "o") == Fetch(Page.ONE)
    assert found.one_id == LETTER["id"]
    pages = [found.page]
    for _ in range(2):
        press(found, "escape")
        pages.append(found.page)
    assert pages == [Page.ONE, Page.LANE, Page.LANES]


def test_filter_is_typed_and_dropped() -> None:
    """Letters are no commands meanwhile."""
    found = state(lane("shop"), lane("mail"))
    for key in ("/", "q", "erase", "M", "a"):
        assert press(found, key) is None
    assert [one["destination"] for one in found.lanes()] == ["https://mail"]
    press(found, "enter")
    assert not found.is_typing
    press(found, "escape")
    assert len(found.lanes()) == 2


def test_selected_lane_stays_selected_when_lanes_change_places() -> None:
    """A key is about what is seen."""
    found = state(lane("a", ready=2), lane("b", ready=1))
    found.pin()
    found.now = Look(2.0, {"lanes": [lane("a", ready=2), lane("b", ready=9)]})
    chosen = found.lane()
    assert chosen is not None
    assert chosen["destination"] == "https://a"


def test_help_is_left_by_any_key_and_q_quits_everywhere() -> None:
    """Help goes back to the page it was asked on."""
    found = opened()
    pages = []
    for key in ("?", "x"):
        press(found, key)
        pages.append(found.page)
    assert pages == [Page.HELP, Page.LANE]
    assert isinstance(press(found, "q"), Quit)


def test_sorting_goes_round() -> None:
    """Each order once; then the first again."""
    found = state(lane("a"))
    seen = []
    for _ in ORDERS:
        seen.append(found.order)
        press(found, "s")
    assert seen == list(ORDERS)
    assert found.order == seen[0]


# Figures


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("waiting", ["c", "b", "a", "d"]),
        ("state", ["b", "a", "d", "c"]),
        ("p95", ["c", "a", "b", "d"]),
        ("oldest", ["b", "a", "c", "d"]),
        ("name", ["a", "b", "c", "d"]),
    ],
)
def test_lanes_are_sorted(order: str, names: list[str]) -> None:
    """By what was asked for, then by name; what nobody knows comes last."""
    lanes = [
        lane("d", failing_since="x"),
        lane("c", ready=5, scheduled=1, attempt_p95_ms=3.0),
        lane("a", paused_until="x", breaker="open"),
        lane("b", ready=2, held=True, oldest_at="2026-01-01T00:00:00.000000Z"),
    ]
    assert [one["destination"][8:] for one in in_order(lanes, order, "")] == names


def test_spark_is_as_wide_as_asked_and_shows_gaps() -> None:
    """The highest is full; what is unknown is blank; a little is more than nothing."""
    assert spark([0, 1, 100, None, 50], 5) == "▁▂█ ▅"
    assert spark([1.0, 2.0], 4) == "  ▅█"
    assert spark([], 3) == "   "
    assert spark([0, 0], 2) == "▁▁"
    assert spark([1, 2, 3], 0) == ""


# Drawing


@pytest.mark.parametrize("page", list(Page))
@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (200, 60), (20, 5), (120, 18)])
def test_screen_fits_the_terminal(page: Page, width: int, height: int) -> None:
    """Every page, in every size: no line is longer, none is missing, none is too many."""
    lanes = [lane(f"webhooks.customer-{n}.example.com", ready=n, last_error="http_503",
                  attempt_p50_ms=8.0, attempt_p95_ms=12_345.0) for n in range(50)]  # fmt: skip
    found = state(*lanes)
    found.overview = {
        "version": "0.4.0", "instance": "app", "started_at": "2026-01-31T12:00:00.000000Z",
        "problems": [{"severity": "error", "message": "https://a has been failing " * 5}] * 3,
        "waiting": {"oldest_at": "2026-01-31T12:00:00.000000Z"}, "lanes": {"failing": 1, "held": 2},
    }  # fmt: skip
    found.history = {"series": {"accepted": [1.0] * 360, "attempt_p50_ms": [None, 2.0]}}
    found.opened = Opened("https://a", "message", [MESSAGE] * 40, [LETTER] * 40)
    found.page, found.one_id = page, ID
    found.one = {"letter": LETTER | {"history": [], "destination": "https://a"}}
    lines = [_ESCAPES.sub("", line) for line in drawn(found, width, height)]
    assert len(lines) == height
    assert max(map(width_of, lines)) <= width


def test_selected_row_is_seen_and_marked_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """However far down it is."""
    monkeypatch.setenv("NO_COLOR", "1")
    table = ["title", *(f"row {n}" for n in range(100))]
    for place in (0, 3, 50, 99):
        lines = windowed(table, place, 10, 20)
        assert len(lines) == 10
        assert [line.strip() for line in lines if line.startswith("> ")] == [f"> row {place}"]


def test_screen_says_what_is_wrong_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how many more there are; and that nobody answers, when nobody does."""
    monkeypatch.setenv("NO_COLOR", "1")
    found = state(lane("a"))
    found.overview = {"problems": [{"severity": "error", "message": "The disk is full."}] * 2}
    assert "The disk is full. (+1 more)" in drawn(found, 80, 24)
    found.overview = {"problems": []}
    assert "Nothing is wrong." in drawn(found, 80, 24)
    found.trouble = "Connection refused"
    assert "Connection refused" in drawn(found, 80, 24)
