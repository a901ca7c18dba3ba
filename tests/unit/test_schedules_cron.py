"""When schedules fire, over changes of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dispatcher.schedules.cron import Cron

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"


def us(text: str) -> int:
    """An instant, as microseconds since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def shown(at_us: int) -> str:
    """The same, as text."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def firings(cron: Cron, begin: str, end: str) -> list[str]:
    """All between two instants."""
    found: list[str] = []
    at_us: int | None = us(begin)
    while (at_us := cron.after(at_us or 0)) is not None and at_us <= us(end):
        found.append(shown(at_us))
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "begin", "end", "expected"),
    [
        # 2026-03-29 02:00 in Berlin is 03:00: half past two is left out, and fires at three.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00:00", "2026-03-30T12:00:00",
         ["2026-03-29T01:00:00", "2026-03-30T00:30:00"]),
        # 2026-10-25 03:00 in Berlin is 02:00: half past two comes twice, and fires once.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00:00", "2026-10-26T12:00:00",
         ["2026-10-25T00:30:00", "2026-10-26T01:30:00"]),
        ("30 2 * * *", NEW_YORK, "2026-03-07T12:00:00", "2026-03-09T12:00:00",
         ["2026-03-08T07:00:00", "2026-03-09T06:30:00"]),
        ("30 1 * * *", NEW_YORK, "2026-10-31T12:00:00", "2026-11-02T12:00:00",
         ["2026-11-01T05:30:00", "2026-11-02T06:30:00"]),
        # Every hour goes by real time: in both of the hours, and not in the one that is not there.
        ("15 * * * *", BERLIN, "2026-10-24T23:00:00", "2026-10-25T02:59:00",
         ["2026-10-24T23:15:00", "2026-10-25T00:15:00", "2026-10-25T01:15:00",
          "2026-10-25T02:15:00"]),
        ("15 * * * *", BERLIN, "2026-03-28T23:59:00", "2026-03-29T02:00:00",
         ["2026-03-29T00:15:00", "2026-03-29T01:15:00"]),
        ("0 9 * * MON", "UTC", "2026-01-01T00:00:00", "2026-01-13T00:00:00",
         ["2026-01-05T09:00:00", "2026-01-12T09:00:00"]),
    ],
)  # fmt: skip
def test_firings_are_those_of_the_clock_on_the_wall(
    expression: str, zone: str, begin: str, end: str, expected: list[str]
) -> None:
    """Once a day stays once a day, and every hour every hour, when the clocks are moved."""
    assert firings(Cron(expression, zone), begin, end) == expected


CHANGES = {
    BERLIN: ("2026-03-29", "2026-10-25"),
    NEW_YORK: ("2026-03-08", "2026-11-01"),
    "Australia/Lord_Howe": ("2026-04-04", "2026-10-03"),
    "Asia/Beirut": ("2026-03-28", "2026-10-24"),
}


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize(
    "expression",
    ["30 2 * * *", "0,30 1-3 * * *", "*/20 * * * *", "0 * * * *", "45 0,2 * * *", "0 2,3 * * *"],
)
def test_last_firings_are_the_same_as_the_next_ones(expression: str, zone: str) -> None:
    """Looking back finds what looking forward has found, from any instant."""
    cron = Cron(expression, zone)
    for change in CHANGES[zone]:
        start_us = us(f"{change}T00:00:00") - 43_200_000_000
        for step in range(0, 48 * 3600, 2700):
            until_us = start_us + step * 1_000_000
            after_us = until_us - 6 * 3_600_000_000
            forward: list[int] = []
            at_us: int | None = after_us
            while (at_us := cron.after(at_us or 0)) is not None and at_us <= until_us:
                forward.append(at_us)
            assert cron.latest(after_us, until_us, 5) == forward[-5:]
            assert cron.latest(until_us, until_us, 5) == []


@pytest.mark.parametrize("zone", [BERLIN, "Australia/Lord_Howe"])
@pytest.mark.parametrize(
    "expression", ["*/20 2", "0 */3", "45 *", "*/7 3", "30 */2", "*/10 1", "*/30 1,2", "*/15 0,23"]
)
def test_what_goes_by_real_time_fires_whenever_the_clock_shows_it(
    expression: str, zone: str
) -> None:
    """Also where clocks are moved by half an hour, and an hour begins or ends at half past."""
    minutes, hours = expression.split()
    cron = Cron(f"{expression} * * *", zone)
    for change in CHANGES[zone]:
        start = datetime.fromisoformat(change).replace(tzinfo=UTC)
        every = [start + timedelta(minutes=number) for number in range(24 * 60)]
        local = [(moment, moment.astimezone(ZoneInfo(zone))) for moment in every]
        expected = [
            shown(int(moment.timestamp()) * 1_000_000)
            for moment, on_the_wall in local
            if on_the_wall.minute in field(minutes, 60) and on_the_wall.hour in field(hours, 24)
        ]
        begin_us = us(start.strftime("%Y-%m-%dT%H:%M:%S")) - 1
        end_us = begin_us + 24 * 3_600_000_000
        found: list[int] = []
        at_us: int | None = begin_us
        while (at_us := cron.after(at_us or 0)) is not None and at_us <= end_us:
            found.append(at_us)
        assert [shown(one) for one in found] == expected
        assert cron.latest(begin_us, end_us, 1000) == found


def field(text: str, end: int) -> set[int]:
    """The values of a field: `*`, `*/N` or a list."""
    if text.startswith("*"):
        return set(range(0, end, int(text[2:] or 1)))
    return {int(one) for one in text.split(",")}


def test_next_firing_is_always_later() -> None:
    """Also from inside the hour that comes twice."""
    cron = Cron("0,30 2 * * *", BERLIN)
    at = datetime(2026, 10, 24, 22, tzinfo=UTC)
    for _ in range(300):
        at += timedelta(minutes=1)
        now_us = int(at.timestamp()) * 1_000_000
        found = cron.after(now_us)
        assert found is not None
        assert found > now_us
        assert cron.after(now_us + 1) == (found if found > now_us + 1 else cron.after(found))


@pytest.mark.parametrize(
    ("expression", "zone", "says"),
    [
        ("* * * *", "UTC", "five fields"),
        ("* * * * * *", "UTC", "five fields"),
        ("61 * * * *", "UTC", "bad minute"),
        ("* * 31 2 *", "UTC", "bad day-of-month"),
        ("* * * * 1#2/3", "UTC", "bad day-of-week"),
        ("* " * 200, "UTC", "five fields"),
        ("1" * 150 + " * * * *", "UTC", "bad minute"),
        ("* * * * *", "Mars/Base", "no such time zone"),
        ("* * * * *", "../../etc/passwd", "no such time zone"),
        ("* * * * *", "Europe", "no such time zone"),
        ("* * * * *", "", "no such time zone"),
        ("* * * * *", "tzdata.zi", "no such time zone"),
        ("* * * * *", "x" * 10_000, "no such time zone"),
    ],
)
def test_what_is_wrong_is_named(expression: str, zone: str, says: str) -> None:
    """The expression, or the time zone."""
    with pytest.raises(ValueError, match=says):
        Cron(expression, zone)


def test_firing_that_never_comes_is_none() -> None:
    """A fifth Monday that is the first of the month."""
    assert Cron("0 0 */31 * 1#5", "UTC").after(us("2026-01-01T00:00:00")) is None
