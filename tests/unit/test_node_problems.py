"""What is wrong, from the facts: which problems there are, how grave, and in which order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher import api
from dispatcher.api.outlook import Severity
from dispatcher.core.outcome import Failure, in_words
from dispatcher.node.history import Forecast
from dispatcher.node.problems import Ailing, Facts, Oldest, problems

SECOND = 1_000_000
HOUR = 3600
NOW = 1_700_000_000 * SECOND
WELL = Facts(NOW)
DASHBOARD = Path(api.__file__).parent / "dashboard"


def slugs(facts: Facts) -> list[str]:
    """The slugs of what is wrong, in order."""
    return [one.slug for one in problems(facts)]


def ailing(number: int, waiting: int = 3) -> Ailing:
    """A destination that has failed for two minutes."""
    return Ailing(f"http://d{number}.example", waiting, NOW - 120 * SECOND, "http_503")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (7200, "2 hours")],
)
def test_spans_are_told_in_one_unit(seconds: int, words: str) -> None:
    """And one of it is one."""
    failing = Ailing("http://d", 3, NOW - seconds * SECOND, "http_503")
    (found,) = problems(replace(WELL, failing=[failing], failing_total=1))
    assert f"has been failing for {words} (HTTP 503)" in found.message


def test_nothing_is_wrong_when_all_is_well() -> None:
    """Nor while figures are below what matters."""
    calm = replace(
        WELL,
        forecast=Forecast(25.0 * HOUR, HOUR),
        descriptors_part=0.89,
        oldest=Oldest("http://a.example", NOW - 599 * SECOND, True),
        letters_dropped_in_s=25.0 * HOUR,
        letters_part=0.89,
    )
    assert problems(WELL) == problems(calm) == []


def test_what_stops_everything_comes_first() -> None:
    """Then what stops one destination, then what wants a look."""
    facts = Facts(
        NOW,
        not_ready=("disk_full", "There is no space."),
        is_slow=True,
        forecast=Forecast(60, HOUR),
        failing=[ailing(1)],
        failing_total=1,
        held=[Ailing("http://h.example", 1, None)],
        held_total=1,
        lacking_since_us=NOW - SECOND,
        descriptors_part=1.0,
        oldest=Oldest("http://a.example", NOW - 3 * HOUR * SECOND, True),
        dead_lately=2,
        letters_dropped_in_s=0,
        audit_unkept="audit.log: damaged",
    )
    found = problems(facts)
    assert [one.slug for one in found] == [
        "disk_full",
        "disk_filling",
        "disk_slow",
        "destination_failing",
        "destination_held",
        "machine_lacking",
        "descriptors_short",
        "messages_waiting_long",
        "dead_letters",
        "letters_dropping",
        "audit_unkept",
    ]
    assert all(one.message.endswith(".") for one in found)


def test_destination_that_fails_is_named_with_what_waits_and_why() -> None:
    """And since when."""
    (found,) = problems(replace(WELL, failing=[ailing(1)], failing_total=1))
    assert found.severity is Severity.ERROR
    assert (found.destination, found.count) == ("http://d1.example", 3)
    assert found.since_us == NOW - 120 * SECOND
    assert found.message == (
        "http://d1.example has been failing for 2 minutes (HTTP 503); 3 messages wait for it."
    )


@pytest.mark.parametrize("failure", Failure)
def test_why_a_destination_fails_is_told_in_the_words_of_the_dashboard(failure: Failure) -> None:
    """Its tables say it in the same ones; the slug is for programs."""
    failing = [Ailing("http://d", 3, None, failure.value)]
    (found,) = problems(replace(WELL, failing=failing, failing_total=1))
    words = in_words(failure.value)
    assert found.message == f"http://d has been failing ({words}); 3 messages wait for it."
    assert f'{failure.value}: "{words}",' in DASHBOARD.joinpath("format.js").read_text()


@pytest.mark.parametrize(("total", "more"), [(5, 0), (6, 1), (1000, 995)])
def test_five_are_named_and_the_others_counted(total: int, more: int) -> None:
    """However many destinations are down, the list stays short."""
    worst = [ailing(number) for number in range(min(total, 5))]
    found = problems(replace(WELL, failing=worst, failing_total=total))
    assert [one.slug for one in found[:5]] == ["destination_failing"] * 5
    assert [one.count for one in found[5:]] == ([more] if more else [])


@pytest.mark.parametrize(
    ("in_s", "severity"), [(3 * HOUR, Severity.ERROR), (5 * HOUR, Severity.WARNING)]
)
def test_disk_that_fills_is_graver_the_sooner(in_s: float, severity: Severity) -> None:
    """An error within four hours."""
    (found,) = problems(replace(WELL, forecast=Forecast(in_s, HOUR)))
    assert (found.slug, found.severity) == ("disk_filling", severity)
    assert f"{in_s // HOUR} hours, if it goes on as in the last hour." in found.message


def test_disk_that_fills_is_told_with_the_time_that_says_so() -> None:
    """An hour is not yet known soon after a start."""
    (found,) = problems(replace(WELL, forecast=Forecast(HOUR, 12 * 60)))
    assert "full in 1 hour, if it goes on as in the last 12 minutes." in found.message


def test_application_that_fails_is_told_with_its_calls() -> None:
    """By its endpoint; those too many are counted."""
    down = [Ailing(f"http://app{number}.example", 1, None) for number in range(5)]
    found = problems(replace(WELL, applications=down, applications_total=6))
    assert [one.slug for one in found] == ["application_failing"] * 5 + ["applications_failing"]
    assert found[0].message == "Runs at http://app0.example fail in a row; 1 call waits for it."


def test_old_message_of_a_destination_that_is_not_well_is_told_once() -> None:
    """As a destination that fails, and not as a message that waits."""
    oldest = Oldest("http://d1.example", NOW - HOUR * SECOND, False)
    assert slugs(replace(WELL, oldest=oldest)) == []
    assert slugs(replace(WELL, oldest=replace(oldest, is_well=True))) == ["messages_waiting_long"]


def test_letters_are_told_before_they_are_dropped() -> None:
    """For their age or for their bytes."""
    assert slugs(replace(WELL, letters_dropped_in_s=HOUR)) == ["letters_dropping"]
    assert slugs(replace(WELL, letters_part=0.95)) == ["letters_dropping"]
