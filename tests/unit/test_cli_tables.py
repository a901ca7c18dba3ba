"""Tables fit the terminal, and say everything where no person looks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli.causes import cause
from dispatcher.cli.dead import _LIST_COLUMNS
from dispatcher.cli.moments import Moment, short_span
from dispatcher.cli.stats import LANE_COLUMNS, lane_state
from dispatcher.cli.tables import Column, fitted, lines
from dispatcher.cli.widths import cut, cut_end, padded, width_of

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
    "orders",
]


def test_dead_letters_fit_eighty_columns() -> None:
    """The id is whole, as it is what the next command needs; what is long is cut."""
    assert shown(_LIST_COLUMNS, LETTER, 80) == {
        "id": LETTER[0],
        "died": "12d",
        "destination": "webhook…ple.com",
        "request": "POST /v…shop=17",
        "last error": "http_503",
    }


def test_everything_is_shown_when_there_is_room() -> None:
    """Nothing is cut and nothing left out."""
    assert list(shown(_LIST_COLUMNS, LETTER, 160).values()) == LETTER


def test_what_one_column_does_not_need_is_left_for_the_other() -> None:
    """Two that can be cut share what there is."""
    row = [LETTER[0], "12d", "http://a.local", *LETTER[3:]]
    found = shown(_LIST_COLUMNS, row, 80)
    assert found["destination"] == "http://a.local"
    assert found["request"] == "POST /v1…shop=17"


def test_column_that_says_nothing_is_left_out_before_another_is_cut() -> None:
    """Where there is room for all, it stands there."""
    row = [*LETTER[:4], "-", *LETTER[5:]]
    titles = [column.title for column in _LIST_COLUMNS]
    widths = [max(map(len, pair)) for pair in zip(titles, row, strict=True)]
    found = shown(_LIST_COLUMNS, row, sum(widths) - widths[4] + 2 * (len(row) - 2))
    assert list(found.values()) == [*LETTER[:4], *LETTER[5:]]
    assert list(shown(_LIST_COLUMNS, row, 200).values()) == row


@given(
    st.lists(st.text(st.characters(codec="ascii"), max_size=60), min_size=8, max_size=8),
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
    if sum(fixed) + 2 * 4 + 4 <= width:
        assert sum(widths.values()) + 2 * (len(widths) - 1) <= width


@pytest.fixture(autouse=True)
def no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are compared as text."""
    monkeypatch.setenv("NO_COLOR", "1")


def test_letter_is_two_lines_where_there_is_no_room_beside_its_id() -> None:
    """The id stays whole, to be copied; what matters most of the rest stands under it."""
    assert lines(_LIST_COLUMNS, [LETTER], 40) == [
        "id",
        "  died  destination           last error",
        LETTER[0],
        "  12d   webhooks.c…ample.com  http_503",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_no_line_is_folded(width: int) -> None:
    """Neither of letters nor of lanes."""
    lane = ("https://webhooks.customer-17.example.com", 12_345, 3, 10, 10, "50/s", "backs off")
    until = Moment("2026-01-31T12:00:27.000000Z")
    rows = [(*lane, until, "message", "http_503", until, 12.3, 18, 1894, until)]
    for columns, those in ((_LIST_COLUMNS, [LETTER]), (LANE_COLUMNS, rows)):
        assert max(map(width_of, lines(columns, those, width, NOW))) <= width


def test_what_says_least_is_left_out_first() -> None:
    """By rank, then from the right."""
    columns = (Column("a"), Column("b", is_extra=True, rank=2), Column("c", is_extra=True, rank=1))
    rows = [["1111", "2222", "3333"]]
    assert lines(columns, rows, 16) == ["a     b     c", "1111  2222  3333"]
    assert lines(columns, rows, 15) == ["a     c", "1111  3333"]
    assert lines(columns, rows, 5) == ["a", "1111"]


def test_numbers_stand_right_with_their_title() -> None:
    """So that they can be compared at a glance."""
    columns = (Column("destination"), Column("ready"), Column("size", is_right=True))
    rows = [("http://a", 5, "1.0 KiB"), ("http://b", 12_345, "18 B")]
    assert lines(columns, rows, 80) == [
        "destination  ready     size",
        "http://a         5  1.0 KiB",
        "http://b     12345     18 B",
    ]


def test_wide_table_has_everything_whole() -> None:
    """Exact instants too, however narrow the terminal is."""
    row = [LETTER[0], Moment("2026-01-31T11:59:15.000000Z"), *LETTER[2:]]
    _, line = lines(_LIST_COLUMNS, [row], None, NOW)
    assert "2026-01-31T11:59:15.000Z" in line
    assert LETTER[2] in line
    assert LETTER[-1] in line


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("https://a.example", 17, "https://a.example"),
        ("https://a.example", 10, "…a.example"),
        ("https://a.example", 9, "a.ex…mple"),
        ("https://a.example", 8, "a.ex…ple"),
        ("http://127.0.0.1:8080", 14, "127.0.0.1:8080"),
        ("http://127.0.0.1:8080", 9, "127.…8080"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("日本語の名前", 7, "日…前"),
    ],
)
def test_text_is_cut_in_its_middle(text: str, width: int, expected: str) -> None:
    """Both ends tell; a wide character takes two cells."""
    assert cut(text, width) == expected
    assert width_of(expected) <= max(width, 0)


def test_sentence_loses_its_end() -> None:
    """What comes first is what it says."""
    assert (cut_end("one two", 7), cut_end("one two", 5), cut_end("x", 0)) == (
        "one two",
        "one …",
        "",
    )


def test_text_is_padded_to_its_cells() -> None:
    """On either side."""
    assert (padded("日", 4), padded("1", 3, is_right=True), padded("long", 2)) == (
        "日  ",
        "  1",
        "long",
    )


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
    assert lines((Column("a"),), [[Moment(spelled)]], 80, NOW)[1].strip() == age


@pytest.mark.parametrize(
    ("spelled", "both"),
    [
        ("2026-01-31T11:59:15.000000Z", "2026-01-31T11:59:15.000Z (45s ago)"),
        ("2026-01-31T12:00:27.000000Z", "2026-01-31T12:00:27.000Z (in 27s)"),
        (None, None),
        ("soon", "soon"),
    ],
)
def test_instant_of_one_thing_has_its_age(spelled: str | None, both: str | None) -> None:
    """There is room for it."""
    assert Moment(spelled).both(NOW) == both


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
