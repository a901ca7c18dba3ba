"""Tables fit the terminal, and say everything where no person looks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli.causes import cause
from dispatcher.cli.dead import _LIST_COLUMNS
from dispatcher.cli.stats import LANE_COLUMNS, lane_state
from dispatcher.cli.tables import Column, Moment, cut, fitted, short_span

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def shown(columns: tuple[Column, ...], row: list[str], width: int) -> dict[str, str]:
    """What is left of a row, by the titles of its columns."""
    return {
        columns[index].title: cut(row[index], room)
        for index, room in fitted(columns, [row], width).items()
    }


LETTER = [
    "0000018f3c5a7e2b9d4c6f8a1b2c",
    "12d",
    "https://webhooks.customer-17.example.com",
    "POST /v1/hooks/orders?shop=17",
    "11",
    "http_503",
    "64.0 KiB",
]


def test_dead_letters_fit_eighty_columns() -> None:
    """The id is whole, as it is what the next command needs; what is long is cut."""
    assert shown(_LIST_COLUMNS, LETTER, 80) == {
        "id": LETTER[0],
        "died": "12d",
        "destination": "https://webhook…",
        "request": "POST /v1/hooks/…",
        "cause": "http_503",
    }


def test_everything_is_shown_when_there_is_room() -> None:
    """Nothing is cut and nothing left out."""
    assert list(shown(_LIST_COLUMNS, LETTER, 160).values()) == LETTER


def test_what_one_column_does_not_need_is_left_for_the_other() -> None:
    """Two that can be cut share what there is."""
    row = [LETTER[0], "12d", "http://a.local", *LETTER[3:]]
    found = shown(_LIST_COLUMNS, row, 80)
    assert found["destination"] == "http://a.local"
    assert found["request"] == "POST /v1/hooks/or…"


@given(
    st.lists(st.text(st.characters(codec="ascii"), max_size=60), min_size=7, max_size=7),
    st.integers(60, 200),
)
def test_row_is_never_wider_than_the_terminal_when_what_cannot_be_cut_fits(
    row: list[str], width: int
) -> None:
    """Whatever is in it."""
    fixed = [
        max(len(text), len(column.title))
        for text, column in zip(row, _LIST_COLUMNS, strict=True)
        if not (column.is_cut or column.is_extra)
    ]
    widths = fitted(_LIST_COLUMNS, [row], width)
    if sum(fixed) + 2 * 4 + 2 * 4 <= width:
        assert sum(widths.values()) + 2 * (len(widths) - 1) <= width


@pytest.mark.parametrize(
    ("spelled", "age"),
    [
        ("2026-01-31T11:59:15.000000Z", "45s"),
        ("2026-01-31T11:01:00.000000Z", "59m"),
        ("2026-01-31T03:30:00.000000Z", "8h"),
        ("2026-01-01T12:00:00.000000Z", "30d"),
        ("2026-01-31T12:00:00.200000Z", "now"),
        ("2026-01-31T12:00:27.000000Z", "in 27s"),
        (None, "-"),
        ("soon\x1b[0m", "soon\\x1b[0m"),
    ],
)
def test_instant_is_an_age_for_people(spelled: str | None, age: str) -> None:
    """Short, and never what a server could do to a terminal."""
    assert Moment(spelled).age(NOW) == age


def test_span_is_told_in_its_largest_unit() -> None:
    """As people say it."""
    assert [short_span(s) for s in (0, 59, 60, 5400, 86_399, 172_800)] == [
        "0s", "59s", "1m", "1h", "23h", "2d",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (503, None, "http_503"),
        (None, "timeout", "timeout"),
        (200, "broken_response", "broken_response"),
        (None, None, None),
    ],
)
def test_cause_is_one_word(status: int | None, error: str | None, expected: str | None) -> None:
    """The same that `last_error` of a message has."""
    assert cause(status, error) == expected


@pytest.mark.parametrize(
    ("lane", "state"),
    [
        ({"held": True, "paused_until": "x", "breaker": "open"}, "held"),
        ({"held": False, "paused_until": "x", "breaker": "open"}, "backs off"),
        ({"held": False, "paused_until": "x", "breaker": "closed"}, "backs off"),
        ({"held": False, "paused_until": None, "breaker": "half_open"}, "probing"),
        ({"held": False, "paused_until": None, "breaker": "closed"}, None),
    ],
)
def test_state_of_a_lane_is_one_word(lane: dict[str, object], state: str | None) -> None:
    """An operator's hold before what the destination itself brought about."""
    assert lane_state(lane) == state
    assert {"state", "until"} <= {column.title for column in LANE_COLUMNS}
