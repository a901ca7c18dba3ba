"""Metrics, figures and what an overview looks at, of several processes as those of one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.node.disks import Disks
from dispatcher.node.figures import Figures, Sight, seen_together, sums_of
from dispatcher.node.history import Counts
from dispatcher.node.metrics import Metrics
from dispatcher.node.problems import Ailing, Oldest
from dispatcher.node.sums import JOINED, Processes, read_families
from dispatcher.node.whole import Whole
from dispatcher.testing.queue import Bench, simulate

ONE = """# HELP dispatcher_messages_accepted_total Messages.
# TYPE dispatcher_messages_accepted_total counter
dispatcher_messages_accepted_total 5.0
# HELP dispatcher_messages Messages now.
# TYPE dispatcher_messages gauge
dispatcher_messages{state="ready"} 3.0
# HELP dispatcher_oldest_message_age_seconds Age.
# TYPE dispatcher_oldest_message_age_seconds gauge
dispatcher_oldest_message_age_seconds 7.5
# HELP dispatcher_disk_free_bytes Free.
# TYPE dispatcher_disk_free_bytes gauge
dispatcher_disk_free_bytes{log="transaction"} 100.0
# HELP dispatcher_accept_seconds Time.
# TYPE dispatcher_accept_seconds histogram
dispatcher_accept_seconds_bucket{le="0.1"} 4.0
dispatcher_accept_seconds_bucket{le="+Inf"} 5.0
dispatcher_accept_seconds_count 5.0
dispatcher_accept_seconds_sum 0.75
# HELP process_open_fds Open.
# TYPE process_open_fds gauge
process_open_fds 12.0
"""
OTHER = (
    ONE.replace(" 5.0\n# HELP dispatcher_messages Mess", " 2.0\n# HELP dispatcher_messages Mess")
    .replace("7.5", "9.0")
    .replace("100.0", "90.0")
    .replace('state="ready"} 3.0', 'state="dead"} 1.0')
)


def _samples(processes: Processes, *away: int) -> dict[str, float]:
    text = "".join(processes.pieces(frozenset(away)))
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):  # it is well-formed, with one head each
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            assert f"{sample.name}{{{labels}}}" not in found
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_metrics_of_two_processes_are_summed_under_their_names_and_labels() -> None:
    """Unless the most or the least is meant; those of the operating system's process are told for
    each."""
    processes = Processes()
    processes.told(0, 11, ONE)
    processes.told(1, 12, OTHER)
    found = _samples(processes)
    assert found == {
        "dispatcher_messages_accepted_total{}": 7,
        "dispatcher_messages{state=ready}": 3,
        "dispatcher_messages{state=dead}": 1,
        "dispatcher_oldest_message_age_seconds{}": 9,
        "dispatcher_disk_free_bytes{log=transaction}": 90,
        "dispatcher_accept_seconds_bucket{le=0.1}": 8,
        "dispatcher_accept_seconds_bucket{le=+Inf}": 10,
        "dispatcher_accept_seconds_count{}": 10,
        "dispatcher_accept_seconds_sum{}": 1.5,
        "process_open_fds{process=0}": 12,
        "process_open_fds{process=1}": 12,
        "dispatcher_process_up{process=0}": 1,
        "dispatcher_process_up{process=1}": 1,
    }


def test_no_counter_falls_when_a_process_is_away_or_starts_anew() -> None:
    """What it had counted stays; what it has now does not."""
    processes = Processes()
    processes.told(0, 11, ONE)
    processes.told(1, 12, OTHER)
    away = _samples(processes, 1)
    assert away["dispatcher_messages_accepted_total{}"] == 7
    assert away["dispatcher_accept_seconds_count{}"] == 10
    assert away["dispatcher_oldest_message_age_seconds{}"] == 7.5
    assert "dispatcher_messages{state=dead}" not in away
    assert "process_open_fds{process=1}" not in away
    assert away["dispatcher_process_up{process=1}"] == 0
    for start in (13, 14):
        processes.told(1, start, OTHER.replace(" 2.0", " 1.0"))
    again = _samples(processes)
    assert again["dispatcher_messages_accepted_total{}"] == 5 + 2 + 1 + 1
    assert again["dispatcher_accept_seconds_count{}"] == 20
    assert again["dispatcher_process_up{process=1}"] == 1
    never_met = _samples(processes, 2)
    assert never_met["dispatcher_process_up{process=2}"] == 0


def test_it_is_decided_of_every_gauge_how_it_is_joined() -> None:
    """A sum is not what every number means."""

    async def test(bench: Bench) -> None:
        sides = SimpleNamespace(open_connections=0, refused={})
        text = await Metrics(
            Whole(bench.queue.traffic, bench.queue),
            *cast("tuple[Any, ...]", (sides, sides)),
            operators=dict,
            disks=Disks({}),
        ).text()
        gauges = {one.name for one in read_families(text).values() if one.kind == "gauge"}
        assert gauges
        assert gauges <= JOINED.keys()

    simulate(test)


_COUNTS = Counts((10, 20), (1, 2, 3), 90)
_FIGURES = Figures(
    accepted_total=5,
    delivered_total=4,
    dead_total=1,
    attempts_failed=2,
    refused=1,
    states={"ready": 1, "scheduled": 2, "in_flight": 3},
    dead=1,
    pending=6,
    log_bytes=100,
    live_bytes=50,
    accept=_COUNTS,
    attempt=_COUNTS,
)


def test_figures_of_processes_are_summed_and_one_that_left_has_only_counted() -> None:
    """Its states are nobody's any more."""
    both = sums_of([_FIGURES, _FIGURES, _FIGURES.counted])
    assert (both.accepted_total, both.refused, both.pending, both.dead) == (15, 3, 12, 2)
    assert both.states == {"ready": 2, "scheduled": 4, "in_flight": 6}
    assert both.accept == Counts((10, 20), (3, 6, 9), 270)
    assert sums_of([_FIGURES]) == _FIGURES


_SIGHT = Sight(
    lanes=3,
    failing=[Ailing("http://a", 2, 50, "timeout"), Ailing("http://b", 1, 60)],
    failing_total=2,
    failing_waiting_total=2,
    held=[],
    held_total=0,
    held_waiting_total=0,
    lacking_since_us=None,
    is_slow=False,
    oldest_accepted_at_us=40,
    oldest=Oldest("http://a", 40, is_well=False),
    dead_lately=1,
    letters_bytes=10,
    letters_age_s=3.0,
    last_letters=[],
    descriptors_part=0.1,
    not_ready=None,
)


@pytest.mark.parametrize("order", [1, -1])
def test_destination_that_fails_in_two_processes_is_named_once(order: int) -> None:
    """With what waits for it in both, since the earlier instant; the worst and the oldest first."""
    other = replace(
        _SIGHT,
        failing=[Ailing("http://c", 9, 70), Ailing("http://a", 4, 45)],
        oldest_accepted_at_us=30,
        oldest=None,
        letters_age_s=None,
        descriptors_part=0.95,
        not_ready=("disk_full", "No space."),
    )
    both = seen_together([_SIGHT, other][::order])
    named = [(one.destination, one.waiting, one.since_us) for one in both.failing]
    assert named == [("http://c", 9, 70), ("http://a", 6, 45), ("http://b", 1, 60)]
    assert both.failing_waiting_total == 3
    assert (both.oldest_accepted_at_us, both.oldest) == (30, None)
    assert (both.dead_lately, both.letters_bytes, both.letters_age_s) == (2, 20, 3.0)
    assert (both.descriptors_part, both.not_ready) == (0.95, ("disk_full", "No space."))
    assert seen_together([_SIGHT]).failing == [
        Ailing("http://a", 2, 50, "timeout"),
        Ailing("http://b", 1, 60),
    ]
