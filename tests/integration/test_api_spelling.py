"""How instants and cursors are spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.api import cursor, instants
from dispatcher.core.instants import rfc3339

YEAR_9999_US = 253_402_300_799_999_999


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31 12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00.1Z", "2026-01-31T12:00:00.100000Z"),
        ("2026-01-31T12:00:00.1234569Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00.000000Z"),
        ("2026-01-31T12:00:00 02:00", "2026-01-31T10:00:00.000000Z"),
        ("2026-01-31T12:00:00-00:30", "2026-01-31T12:30:00.000000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_instant_is_read_with_any_offset_and_spelled_in_utc(written: str, spelled: str) -> None:
    """RFC 3339, 5.6; digits beyond the microsecond are dropped."""
    assert rfc3339(instants.parse(written)) == spelled


@pytest.mark.parametrize(
    "written",
    ["", "now", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31T12:00Z", "20260131T120000Z",
     "2026-02-30T12:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T12:00:61Z",
     "2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+0200", "2026-01-31T12:00:00Z\n",
     "٢٠٢٦-01-31T12:00:00Z", "0000-01-01T00:00:00Z", "2026-01-31T12:00:00.Z"],
)  # fmt: skip
def test_instant_is_refused_when_it_is_not_rfc_3339(written: str) -> None:
    """What other readers would guess about is not guessed about."""
    with pytest.raises(ValueError):  # noqa: PT011 - each has a text of its own
        instants.parse(written)


@given(st.integers(0, YEAR_9999_US))
def test_instant_survives_its_spelling(instant_us: int) -> None:
    """To the microsecond."""
    assert instants.parse(rfc3339(instant_us)) == instant_us


@given(st.integers(1, 2**64 - 1))
def test_cursor_survives_its_spelling(number: int) -> None:
    """And says nothing of the number."""
    spelled = cursor.encode(number)
    assert cursor.decode(spelled) == number
    assert spelled == spelled.lower()
    assert len(spelled) == 16


@given(st.integers(1, 2**64 - 1), st.integers(0, 15))
def test_cursor_is_refused_when_it_was_changed(number: int, place: int) -> None:
    """A letter more, less or in upper case."""
    spelled = cursor.encode(number)
    changed = {spelled[:place], spelled + "a", spelled[:place] + "=" + spelled[place + 1 :]}
    if spelled != spelled.upper():
        changed.add(spelled.upper())
    for one in changed:
        with pytest.raises(ValueError, match="`next` of a page"):
            cursor.decode(one)


@pytest.mark.parametrize("number", [0, -1, 2**64])
def test_cursor_is_not_made_of_what_is_none(number: int) -> None:
    """0 is the first page, which needs none."""
    with pytest.raises(ValueError, match="no cursor"):
        cursor.encode(number)
