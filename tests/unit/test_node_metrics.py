"""What `/metrics` says is what happened: the values, of the real queue on simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.node.disks import Disks
from dispatcher.node.lane_metrics import MOST_LANES
from dispatcher.node.lease_metrics import LeaseFigures
from dispatcher.node.metrics import Metrics
from dispatcher.node.whole import Whole
from dispatcher.queue.admin.pace import QUIET_REST_SECONDS, Pace
from dispatcher.queue.admin.surface import LetterFilter
from dispatcher.queue.deadletters.retention import RetentionPolicy
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

Test = Callable[[Bench], Coroutine[Any, Any, None]]


async def scrape(
    bench: Bench, whole: Whole | None = None, leases: LeaseFigures | None = None
) -> dict[str, dict[str, float]]:
    """Samples by name and by the value of their label, "" without one, as Prometheus reads them."""
    sides = SimpleNamespace(open_connections=0, refused={})
    text = await Metrics(
        whole or Whole(bench.queue.traffic, bench.queue),
        *cast("tuple[Any, ...]", (sides, sides)),
        operators=lambda: {"purged": 3},
        disks=Disks({}),
        leases=leases,
    ).text()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("dispatcher_")
            found.setdefault(name, {})[next(iter(sample.labels.values()), "")] = sample.value
    return found


async def accept(bench: Bench, count: int, to: str = "a.example") -> None:
    """Let messages be accepted now."""
    for number in range(count):
        sent = message(destination(to), name=f"m{number}")
        sent.accepted_at = bench.clock.now_us()
        bench.accept(sent)
    await asyncio.sleep(0.001)


async def bury(bench: Bench, count: int) -> None:
    """Let messages die, one after the other."""
    for _ in range(count):
        await accept(bench, 1)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.1)


def test_node_of_a_cluster_tells_what_it_owns_and_others_do_not() -> None:
    """A sample for each partition that it has at that moment."""

    async def test(bench: Bench) -> None:
        owned = [0, 3]
        leases = LeaseFigures(lambda: owned, lambda: 2, lambda: 0.75)
        found = await scrape(bench, leases=leases)
        assert found["partition_owned"] == {"0": 1, "3": 1}
        assert found["takeovers_total"] == {"": 2}
        assert found["lease_late_seconds"] == {"": 0.75}
        owned.clear()
        assert "partition_owned" not in await scrape(bench, leases=leases)
        assert not {"partition_owned", "takeovers_total"} & (await scrape(bench)).keys()

    simulate(test)


def test_time_to_delivery_is_that_from_accepting_to_the_success() -> None:
    """Whatever was tried in between; what was not delivered is not among them."""

    async def test(bench: Bench) -> None:
        await accept(bench, 1)
        await asyncio.sleep(0.002)
        bench.end(bench.deliverer.flying[0])
        await accept(bench, 1)
        bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"15"))
        await asyncio.sleep(19.999)
        bench.end(bench.deliverer.flying[0])
        await bury(bench, 1)
        await accept(bench, 1)
        seen = await scrape(bench)
        assert seen["delivery_seconds_count"] == {"": 2}
        assert seen["delivery_seconds_sum"][""] == pytest.approx(20.003)
        buckets = seen["delivery_seconds_bucket"]
        assert [buckets[bound] for bound in ("0.0025", "0.005", "10.0", "30.0", "+Inf")] == [
            0,
            1,
            1,
            2,
            2,
        ]
        assert seen["messages_delivered_total"] == {"": 2}
        assert seen["operator_actions_total"] == {"purged": 3}
        assert seen["attempts_total"] == {"delivered": 2, "http_5xx": 1, "http_4xx": 1}

    simulate(test)


def test_batches_are_counted_with_their_records() -> None:
    """As many as the log was given, each with its size."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.05
        await accept(bench, 1)
        await accept(bench, 70)
        await asyncio.sleep(1)
        sizes = [len(batch) for batch in bench.log.appended]
        assert sizes == [1, 70]
        seen = await scrape(bench)
        assert seen["log_batch_records_count"] == seen["log_batches_total"] == {"": 2}
        assert seen["log_batch_records_sum"] == seen["log_records_total"] == {"": 71}
        buckets = seen["log_batch_records_bucket"]
        assert [buckets[bound] for bound in ("1.0", "64.0", "128.0", "+Inf")] == [1, 1, 2, 2]

    simulate(test)


def test_lanes_say_what_waits_how_much_they_may_and_why_nothing_is_sent() -> None:
    """An operator, a Retry-After or the breaker; 0 as soon as that is over."""

    async def test(bench: Bench) -> None:
        await accept(bench, 2, "held.example")
        await accept(bench, 4, "asked.example")
        await accept(bench, 12, "broken.example")
        await accept(bench, 5, "fine.example")
        await bench.queue.admin.hold("held.example")
        asked = next(m for m in bench.deliverer.flying if m.destination.host == "asked.example")
        bench.end(asked, failed(429, retry_after=b"10"))
        for _ in range(10):
            sent = next(m for m in bench.deliverer.flying if m.destination.host == "broken.example")
            bench.end(sent, failed(503))
            await asyncio.sleep(0)
        fine = [m for m in bench.deliverer.flying if m.destination.host == "fine.example"]
        for sent in fine:
            bench.end(sent)
        await asyncio.sleep(0)
        seen = await scrape(bench)
        assert seen["lane_held"] == {
            "http://held.example": 1,
            "http://asked.example": 0,
            "http://broken.example": 0,
            "http://fine.example": 0,
        }
        assert seen["lane_backing_off"] == {
            "http://held.example": 0,
            "http://asked.example": 1,
            "http://broken.example": 1,
            "http://fine.example": 0,
        }
        assert seen["lane_limit"] == {
            "http://held.example": 1,
            "http://asked.example": 1,
            "http://broken.example": 1,
            "http://fine.example": 2,
        }
        assert seen["lane_ready"]["http://held.example"] == 1
        assert seen["lane_ready"]["http://asked.example"] == 3
        assert seen["lane_ready"]["http://fine.example"] == 2
        assert seen["destinations"] == {"": 4}
        await asyncio.sleep(2)  # the breaker's pause is over, and a probe under way
        assert (await scrape(bench))["lane_backing_off"] == {
            "http://held.example": 0,
            "http://asked.example": 1,
            "http://broken.example": 0,
            "http://fine.example": 0,
        }
        await asyncio.sleep(9)
        await bench.queue.admin.resume("held.example")
        assert set((await scrape(bench))["lane_held"].values()) == {0}

    simulate(test)


def test_destination_that_is_down_says_since_when_and_why_nothing_is_sent() -> None:
    """And all destinations are counted by why nothing is sent to them; 0 as soon as it is over."""

    async def test(bench: Bench) -> None:
        await accept(bench, 2, "held.example")
        await bench.queue.admin.hold("held.example")
        await accept(bench, 12, "down.example")
        await accept(bench, 1, "fine.example")
        for sent in [m for m in bench.deliverer.flying if m.destination.host != "down.example"]:
            bench.end(sent)
        seen = await scrape(bench)
        assert set(seen["lane_failing_seconds"].values()) == {0}
        for _ in range(10):
            sent = next(m for m in bench.deliverer.flying if m.destination.host == "down.example")
            bench.end(sent, failed(503))
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        seen = await scrape(bench)
        assert seen["lane_failing_seconds"]["http://down.example"] == pytest.approx(0.5, abs=0.1)
        assert seen["lane_failing_seconds"]["http://held.example"] == 0
        waiting = [seen[f"lane_{state}"] for state in ("ready", "scheduled", "in_flight")]
        assert sum(one["http://down.example"] for one in waiting) == 12
        assert seen["lane_delivered_total"]["http://held.example"] == 1
        assert seen["destinations_failing"] == {"": 1}
        assert seen["held_messages"] == {"": 1}
        shut = {reason: count for reason, count in seen["destinations_shut"].items() if count}
        assert shut == {"destination_held": 1, "breaker_open": 1}
        assert set(seen["lane_shut"]) == {"http://down.example", "http://held.example"}
        await bench.queue.admin.resume("held.example")
        seen = await scrape(bench)
        assert (seen["held_messages"], seen["destinations_shut"]["destination_held"]) == (
            {"": 0},
            0,
        )

    simulate(test)


def test_small_destination_that_is_down_is_told_among_many_large_ones() -> None:
    """The hundred that are told are not only those with most messages."""

    async def test(bench: Bench) -> None:
        await accept(bench, 3, "down.example")
        for sent in list(bench.deliverer.flying):
            bench.end(sent, failed(503))
        for number in range(120):
            await accept(bench, 9, f"busy{number}.example")
        await asyncio.sleep(70)
        for sent in [m for m in bench.deliverer.flying if m.destination.host == "down.example"]:
            bench.end(sent, failed(503))
        seen = await scrape(bench)
        assert len(seen["lane_ready"]) == MOST_LANES
        assert seen["lane_failing_seconds"]["http://down.example"] >= 70

    simulate(test)


def test_attempts_are_timed_whatever_they_come_to() -> None:
    """And so is what it takes until a message is durable: of a batch the first and the last one
    stand for all of it."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.04
        await accept(bench, 1)
        await asyncio.sleep(0.2)
        bench.end(bench.deliverer.flying[0])
        await accept(bench, 5)
        await asyncio.sleep(0.3)
        bench.end(bench.deliverer.flying[0], failed(404))
        seen = await scrape(bench)
        assert seen["attempt_seconds_count"] == {"delivered": 1, "failed": 1}
        assert seen["attempt_seconds_sum"]["delivered"] == pytest.approx(0.16, abs=0.02)
        assert seen["attempt_seconds_sum"]["failed"] == pytest.approx(0.26, abs=0.02)
        assert seen["accept_seconds_count"] == {"": 6}
        # Four of the five waited for the batch of the first one.
        assert seen["accept_seconds_sum"][""] == pytest.approx((2 + 4 * 2) * 0.04, rel=0.05)

    simulate(test)


def test_a_hundred_lanes_are_told_those_with_most_messages() -> None:
    """Waiting for their turn or for a retry; how many there are is told all the same."""

    async def test(bench: Bench) -> None:
        await accept(bench, 150, "retrying.example")
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0], failed(408, retry_after=b"15"))
            await asyncio.sleep(0)
        waiting = {f"lane{number:03}.example": number for number in range(1, 140)}
        for to, count in waiting.items():
            await bench.queue.admin.hold(to)
            await accept(bench, count, to)
        seen = await scrape(bench)
        most = sorted(waiting, key=lambda to: -waiting[to])[: MOST_LANES - 1]
        told = {f"http://{to}": float(waiting[to]) for to in most}
        assert seen["lane_ready"] == told | {"http://retrying.example": 0}
        assert len(seen["lane_ready"]) == MOST_LANES == 100
        assert seen["lane_held"].keys() == seen["lane_limit"].keys() == seen["lane_ready"].keys()
        assert seen["destinations"] == {"": 140}
        assert seen["messages"]["scheduled"] == 150

    simulate(test)


def test_metrics_rest_whenever_a_slice_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for the largest of a hundred thousand destinations takes tens of milliseconds."""

    async def test(bench: Bench) -> None:
        for number in range(MOST_LANES + 50):
            bench.accept(message(destination(f"{number:04}.example"), name="x"))
        await asyncio.sleep(0.1)
        monkeypatch.setattr(Pace, "is_over", property(lambda _: True))
        began = asyncio.get_running_loop().time()
        seen = await scrape(bench)
        rested = (asyncio.get_running_loop().time() - began) / QUIET_REST_SECONDS
        assert len(seen["lane_ready"]) == MOST_LANES
        looked = (MOST_LANES + 50) / 50  # of which it is asked
        assert rested > looked

    simulate(test)


def test_age_of_the_oldest_message_is_in_seconds() -> None:
    """Of one that waits, as of a few seconds ago; 0 when none does."""

    async def test(bench: Bench) -> None:
        assert (await scrape(bench))["oldest_message_age_seconds"] == {"": 0}
        await accept(bench, 1)
        await asyncio.sleep(29.999)
        await accept(bench, 3)
        await asyncio.sleep(10)
        seen = await scrape(bench)
        assert seen["oldest_message_age_seconds"][""] == pytest.approx(40.001, abs=0.01)
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(6)
        seen = await scrape(bench)
        assert seen["oldest_message_age_seconds"][""] == pytest.approx(16.001, abs=0.01)

    simulate(test)


def test_dead_letters_are_counted_in_bytes_and_what_becomes_of_them() -> None:
    """Redriven ones, purged ones and those that became too old."""

    async def test(bench: Bench) -> None:
        await bury(bench, 6)
        stored = [payload for batch in bench.dead_log.appended for payload in batch]
        assert len(stored) == 6
        each = len(stored[0]) + OVERHEAD_BYTES
        assert {len(payload) + OVERHEAD_BYTES for payload in stored} == {each}

        async def seen() -> list[float]:
            found = await scrape(bench)
            names = ("dead_letter_bytes", "dead_letters_redriven_total")
            return [found[name][""] for name in (*names, "dead_letters_dropped_total")] + [
                found["messages"]["dead"]
            ]

        assert await seen() == [6 * each, 0, 0, 6]
        page = await bench.queue.admin.letters(LetterFilter(), cursor=0, limit=3)
        ids = [item.id for item in page.items]
        await bench.queue.admin.redrive(ids[:2])
        assert await seen() == [4 * each, 2, 0, 4]
        await bench.queue.admin.purge(ids[2:])
        assert await seen() == [3 * each, 2, 0, 3]
        await asyncio.sleep(120)
        assert await seen() == [0, 2, 3, 0]

    simulate(test, retention=RetentionPolicy(max_age_ms=100_000))


def test_what_a_partition_counted_counts_on_when_it_has_left() -> None:
    """No counter falls. What there is now of its messages is its next owner's to tell. Without any
    partition everything is told too, and one that comes is added to what was."""

    async def test(bench: Bench) -> None:
        whole = Whole(bench.queue.traffic)
        assert (await scrape(bench, whole))["messages_accepted_total"] == {"": 0}
        whole.add(bench.queue)
        await bury(bench, 2)
        await accept(bench, 1)
        before = await scrape(bench, whole)
        assert before["messages_accepted_total"][""] == 3
        assert before["accept_seconds_count"][""] == 3
        whole.remove(bench.queue)
        whole.remove(bench.queue)
        left = await scrape(bench, whole)
        for name, samples in before.items():
            is_of_lanes = name.startswith("lane_")  # which come and go in any case
            if name.endswith(("_total", "_count", "_sum", "_bucket")) and not is_of_lanes:
                assert left[name] == samples, name
        assert set(left["messages"].values()) == {0}
        whole.add(bench.queue)
        again = await scrape(bench, whole)
        assert again["messages_accepted_total"][""] == 6
        assert again["attempt_seconds_count"] == {"delivered": 0, "failed": 4}

    simulate(test)
