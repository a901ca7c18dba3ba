"""The queue and its attempts: turns, limits, pauses, retries."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.core.retry import RetryPolicy
from dispatcher.queue.records.history import decode_history
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.letters import decode_dead
from dispatcher.queue.records.settled import decode_settled
from dispatcher.testing.log import Space
from dispatcher.testing.queue import Bench, destination, failed, message, simulate


def _always(bench: Bench, status: int = 200) -> None:
    """Let every attempt end at once."""

    def answer(sent: Message) -> None:
        if status == 200:
            bench.queue.settling.delivered(sent, 200)
        else:
            bench.queue.settling.failed(sent, failed(status or None))

    bench.deliverer.answer = answer


def test_message_is_named_before_it_is_answered_and_delivered_after() -> None:
    """The receipt has the id; the attempt is number 1."""

    async def test(bench: Bench) -> None:
        receipt = bench.accept(message(name="one"))
        await asyncio.sleep(0.01)
        assert isinstance(receipt.answer, Message)
        assert len(receipt.answer.wire_id) == 28
        (sent,) = bench.deliverer.flying
        assert (sent.target, sent.attempt, sent.wire_id) == ("/one", 1, receipt.answer.wire_id)
        bench.end(sent)
        await asyncio.sleep(0.1)
        assert bench.queue.pending.index.count == 0
        assert bench.queue.figures.delivered_total == 1

    bench = simulate(test)
    kinds = [payload[0] for _, payload in bench.log.records]
    assert kinds == [Kind.MESSAGE, Kind.SETTLED]


def _named(bench: Bench) -> dict[int, list[str]]:
    """Ids that records of each of these kinds name."""
    found: dict[int, list[str]] = {Kind.SETTLED: [], Kind.SETTLED_PACKED: [], Kind.DELIVERED: []}
    for _, payload in bench.log.records:
        if payload[0] in found:
            incarnation, positions = decode_settled(payload)
            assert incarnation is not None
            found[payload[0]] += [wire_id(0, incarnation, one).decode() for one in positions]
    return found


def test_history_tells_what_was_delivered_from_what_was_not() -> None:
    """With EVENT_SOURCING: dead and cancelled messages ended too, and are never taken for
    delivered ones; a letter that was redriven and delivered is one."""

    async def test(bench: Bench) -> None:
        ids = []
        for name in ("delivered", "dead", "redriven", "cancelled"):
            receipt = bench.accept(message(destination(f"{name}.example"), name=name))
            await asyncio.sleep(0.01)
            assert isinstance(receipt.answer, Message)
            ids.append(receipt.answer.wire_id.decode())
        delivered, dead, redriven, cancelled = ids
        by_name = {one.target[1:]: one for one in bench.deliverer.flying}
        bench.end(by_name["delivered"])
        bench.end(by_name["dead"], failed(404))
        bench.end(by_name["redriven"], failed(404))
        bench.end(by_name["cancelled"], failed(503))
        await asyncio.sleep(0.05)
        await bench.queue.admin.cancel(cancelled)
        await bench.queue.admin.redrive([redriven])
        await asyncio.sleep(0.05)
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.1)
        named = _named(bench)
        assert named[Kind.DELIVERED] == [delivered, redriven]
        assert sorted(named[Kind.SETTLED]) == sorted([dead, redriven, cancelled])
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 0, "both kinds end messages"

    simulate(test, keep_everything=True)


def test_history_is_told_on_a_full_disk_too() -> None:
    """Names of delivered messages are written in the space that is kept back, a few at a time."""

    async def test(bench: Bench) -> None:
        _always(bench, 200)
        for number in range(9000):
            bench.accept(message(name=str(number)))
        bench.deliverer.answer = None
        await asyncio.sleep(1)
        bench.log.space = Space.RESERVE
        refused = bench.accept(message(name="refused"))
        await asyncio.sleep(1)
        assert not isinstance(refused.answer, Message)
        _always(bench, 200)
        for one in list(bench.deliverer.flying):
            bench.end(one)
        await asyncio.sleep(60)
        named = _named(bench)
        assert bench.queue.pending.index.count == 0
        assert len(set(named[Kind.DELIVERED])) == len(named[Kind.DELIVERED]) == 9000
        assert not named[Kind.SETTLED] + named[Kind.SETTLED_PACKED]

    simulate(test, keep_everything=True)


def test_limit_is_obeyed_by_a_lane_that_was_waiting_when_it_was_halved() -> None:
    """An overload between a lane's turn being queued and coming must count."""

    async def test(bench: Bench) -> None:
        bench.queue.traffic.turns._kept = 0  # for others, so that the lane waits for a worker
        a, b = destination("a"), destination("b")
        for name, count in ((a, 3), (b, 1)):
            for n in range(count):
                bench.accept(message(name, name=f"warm{n}"))
            for _ in range(count):
                await asyncio.sleep(0.01)
                bench.end(bench.deliverer.flying[0])
        lane = bench.queue.lanes.of(a)
        assert lane.peer.limit.value == 4
        bench.accept(message(b, name="b"))
        for n in range(8):
            bench.accept(message(a, name=f"a{n}"))
        await asyncio.sleep(0.01)
        assert lane.peer.in_flight == 3
        assert lane.place, "it waits for a worker"
        bench.end(bench.deliverer.flying[1], failed(failure=Failure.TIMEOUT))
        assert lane.peer.limit.value == 2
        assert lane.peer.in_flight <= 2
        _always(bench)
        for sent in list(bench.deliverer.flying):
            bench.end(sent)
        await asyncio.sleep(5)
        assert bench.queue.pending.index.count == 0

    simulate(test, workers=4)


def test_attempts_are_counted_although_their_records_are_not_durable_yet() -> None:
    """A retry that is due before its record is on disk (a slow disk, RETRY_DELAY=0) is the next
    attempt, with the whole history, and the limit holds."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 2.0
        bench.accept(message())
        _always(bench, 500)
        await asyncio.sleep(20)

    bench = simulate(test, policy=RetryPolicy(retry_limit=3, delay_ms=0, max_delay_ms=1000))
    assert [attempt for _, attempt in bench.deliverer.started] == [1, 2, 3, 4]
    (letter,) = [decode_dead(p) for _, p in bench.dead_log.records if p[0] == Kind.DEAD]
    assert len(decode_history(letter.message.history)) == 4


def test_attempts_are_counted_while_the_disk_is_full_and_written_down_afterwards() -> None:
    """The space that is kept back is not used for retries; nothing is forgotten all the same."""

    async def test(bench: Bench) -> None:
        bench.accept(message(name="tried"))
        await asyncio.sleep(0.01)
        bench.log.space = Space.RESERVE
        bench.accept(message(name="refused"))
        await asyncio.sleep(0.1)
        assert bench.queue.committer.full
        for attempt in (1, 2):
            (sent,) = bench.deliverer.flying
            assert sent.attempt == attempt
            bench.end(sent, failed(500))
            await asyncio.sleep(1.5)
        kinds = [payload[0] for _, payload in bench.log.records]
        assert Kind.RETRY not in kinds
        assert [sent.attempt for sent in bench.deliverer.flying] == [3]
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(2)
        assert not bench.queue.pending.unwritten
        await bench.stop()
        await bench.start()
        await asyncio.sleep(0.1)
        (again,) = bench.deliverer.flying
        assert again.attempt == 3
        assert len(decode_history(again.history)) == 2

    simulate(test)


def test_lane_that_is_paused_while_it_is_read_back_keeps_its_order() -> None:
    """What was read for a lane that was left alone meanwhile is not taken for its beginning."""

    async def test(bench: Bench) -> None:
        for n in range(300):
            bench.accept(message(name=f"{n}"))
        await asyncio.sleep(0.01)
        await bench.crash()
        await bench.start()
        bench.log.read_s = 1.0
        await asyncio.sleep(1.5)
        lane = bench.queue.lanes.of(destination())
        while not lane.loading:
            bench.end(bench.deliverer.flying[0])
            await asyncio.sleep(0)
        assert lane.warm
        bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"2"))
        for sent in list(bench.deliverer.flying):
            bench.end(sent)
        assert not lane.warm
        await asyncio.sleep(1.1)
        assert not bench.deliverer.flying
        started = len(bench.deliverer.started)
        _always(bench)
        await asyncio.sleep(60)
        assert bench.queue.pending.index.count == 0
        assert bench.queue.traffic.room.size_bytes == 0
        assert len(bench.queue.warm) == 0
        order = [int(target[1:]) for target, _ in bench.deliverer.started[started:]]
        retried = order.index(min(order))
        del order[retried]
        assert order == sorted(order)

    simulate(test)


def test_paused_lane_has_one_alarm_however_many_messages_come() -> None:
    """An hour of Retry-After with a busy caller must not fill the memory with alarms."""

    async def test(bench: Bench) -> None:
        bench.accept(message())
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0], failed(429, retry_after=b"15"))
        for _ in range(100):
            bench.accept(message())
            await asyncio.sleep(0.01)
        assert len(bench.queue.traffic.learning) <= 2
        assert not bench.deliverer.flying
        _always(bench)
        await asyncio.sleep(20)
        assert bench.queue.pending.index.count == 0

    simulate(test)


def test_breaker_parks_messages_without_spending_their_attempts() -> None:
    """Ten failures in a row, then one probe at a time: 1, 2, 4 s apart; then everything goes, each
    message with its first attempt."""

    async def test(bench: Bench) -> None:
        for n in range(40):
            bench.accept(message(name=f"{n}"))
        tried = Counter[str]()

        def fail(sent: Message) -> None:
            tried[sent.target] += 1
            bench.queue.settling.failed(sent, failed())

        bench.deliverer.answer = fail
        await asyncio.sleep(0.09)
        assert sum(tried.values()) == 10
        assert [why for _, _, why in bench.notes.paused] == ["breaker"]
        await asyncio.sleep(0.5)
        assert sum(tried.values()) == 10
        await asyncio.sleep(0.6)
        assert sum(tried.values()) == 11, "one probe"
        await asyncio.sleep(2.2)
        assert sum(tried.values()) == 12
        bench.deliverer.started.clear()
        _always(bench)
        await asyncio.sleep(60)
        assert bench.notes.resumed == ["http://a.example"]
        assert bench.queue.pending.index.count == 0
        untouched = [attempt for target, attempt in bench.deliverer.started if not tried[target]]
        assert untouched == [1] * 28

    simulate(test, policy=RetryPolicy(retry_limit=10, delay_ms=10_000, max_delay_ms=60_000))


@pytest.mark.parametrize(
    "end",
    [200, failed(404), failed(500), failed(408), failed(failure=Failure.EGRESS), failed()],
    ids=["200", "404", "500", "408", "egress", "connection"],
)
def test_lane_goes_on_whatever_a_probe_comes_to(end: Any) -> None:
    """No end of a probe leaves the lane shut for ever."""

    async def test(bench: Bench) -> None:
        for n in range(30):
            bench.accept(message(name=f"{n}"))
        _always(bench, 500)
        await asyncio.sleep(0.05)
        bench.deliverer.answer = None
        await asyncio.sleep(1.2)
        (probe,) = bench.deliverer.flying
        bench.end(probe, end)
        _always(bench)
        for sent in list(bench.deliverer.flying):
            bench.end(sent)
        await asyncio.sleep(120)
        assert bench.queue.pending.index.count == 0

    simulate(test)


def test_failures_are_counted_in_a_row_also_after_a_pause() -> None:
    """A success after a Retry-After pause starts the count anew."""

    async def test(bench: Bench) -> None:
        async def one(result: Any) -> None:
            bench.accept(message())
            await asyncio.sleep(0.01)
            bench.end(bench.deliverer.flying[-1], result)
            bench.deliverer.flying.clear()

        for _ in range(6):
            await one(failed(500))
        await one(failed(429, retry_after=b"2"))
        await asyncio.sleep(0.5)
        bench.deliverer.flying.clear()
        await asyncio.sleep(3)
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
            await asyncio.sleep(0.01)
        assert bench.queue.pending.index.count == 0
        for _ in range(9):
            await one(failed(501))
        assert not [why for _, _, why in bench.notes.paused if why == "breaker"]

    simulate(test, policy=RetryPolicy(retry_limit=5, delay_ms=1000, max_delay_ms=1000))


def test_dead_destination_does_not_hold_up_another() -> None:
    """All that fail at once, and one that answers: the latter empties."""

    async def test(bench: Bench) -> None:
        for n in range(500):
            for host in ("dead", "alive"):
                bench.accept(message(destination(host), name=f"{host}{n}"))

        def answer(sent: Message) -> None:
            if sent.target.startswith("/dead"):
                bench.queue.settling.failed(sent, failed())
            else:
                bench.queue.settling.delivered(sent, 200)

        bench.deliverer.answer = answer
        await asyncio.sleep(1)
        assert bench.queue.figures.delivered_total == 500
        assert sum(target.startswith("/dead") for target, _ in bench.deliverer.started) <= 12

    simulate(test)


def test_crowd_that_is_due_at_one_moment_is_delivered() -> None:
    """More timers than one step handles; nobody has to nudge the queue."""

    async def test(bench: Bench) -> None:
        for n in range(5000):
            bench.accept(message(name=f"{n}"))
        _always(bench, 408)
        await asyncio.sleep(0.09)
        assert bench.queue.pending.timers.count == 5000
        _always(bench)
        await asyncio.sleep(30)
        assert bench.queue.pending.index.count == 0

    simulate(test)


def test_retry_after_date_is_measured_by_the_wall_clock() -> None:
    """Somebody sets the clock: dates are the wall clock's, waiting is not disturbed."""

    async def test(bench: Bench) -> None:
        bench.clock.set_wall_clock(bench.clock.now_us() + 7_200_000_000)
        bench.accept(message())
        await asyncio.sleep(0.01)
        # 2024-01-01 02:00:10, ten seconds from now
        bench.end(
            bench.deliverer.flying[0], failed(503, retry_after=b"Mon, 01 Jan 2024 02:00:10 GMT")
        )
        await asyncio.sleep(9.9)
        assert not bench.deliverer.flying
        await asyncio.sleep(2.2)
        assert len(bench.deliverer.flying) == 1

    simulate(test)


def test_retry_does_not_wait_for_a_clock_that_was_wrong() -> None:
    """A machine whose clock was a year ahead when it wrote down a retry: it waits RETRY_MAX_DELAY
    at most after the restart."""

    async def test(bench: Bench) -> None:
        bench.accept(message())
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0], failed(500))
        await asyncio.sleep(0.05)
        await bench.crash()
        bench.clock.set_wall_clock(bench.clock.now_us() - 365 * 86_400_000_000)
        await bench.start()
        await asyncio.sleep(21)
        assert len(bench.deliverer.flying) == 1

    simulate(test)


def test_no_attempt_starts_while_too_many_dead_letters_wait_and_then_they_do() -> None:
    """Memory is bounded while the disk of the dead letters is full; delivery resumes by itself."""

    async def test(bench: Bench) -> None:
        bench.queue.dead_letters.most_waiting_bytes = 1000
        bench.dead_log.space = Space.NOTHING
        _always(bench, 404)
        for n in range(200):
            bench.accept(message(name=f"{n}"))
        await asyncio.sleep(3)
        assert bench.queue.dead_letters.full
        assert bench.queue.figures.burying < 30
        assert bench.queue.pending.index.count == 200
        bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(3)
        assert bench.queue.figures.dead_total == 200
        assert bench.queue.pending.index.count == 0

    simulate(test)


def test_many_lanes_that_are_read_back_at_once_keep_within_memory() -> None:
    """After a restart every lane has messages in the log: those whose turn comes are read, and no
    more than there is room for."""

    async def test(bench: Bench) -> None:
        for lane in range(100):
            for n in range(20):
                bench.accept(message(destination(f"h{lane}"), b"b" * 500, name=f"{lane}-{n}"))
        await asyncio.sleep(0.1)
        await bench.crash()
        await bench.start()
        await asyncio.sleep(0.1)
        room = bench.queue.traffic.room
        assert room.left_bytes >= 0
        assert room.reading_bytes == 0
        _always(bench)
        for sent in list(bench.deliverer.flying):
            bench.end(sent)
        await asyncio.sleep(5)
        assert bench.queue.pending.index.count == 0
        assert room.size_bytes == 0

    simulate(test, warm_bytes=20_000)


def test_dead_letter_is_durable_before_its_message_is_settled() -> None:
    """At no moment is a given-up message in neither log."""

    async def test(bench: Bench) -> None:
        bench.dead_log.append_s = 1.0
        bench.accept(message())
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.5)
        assert [p[0] for _, p in bench.log.records] == [Kind.MESSAGE]
        assert bench.queue.pending.index.count == 1
        assert not bench.notes.dead
        await asyncio.sleep(1)
        assert [p[0] for _, p in bench.log.records] == [Kind.MESSAGE, Kind.SETTLED]
        assert [reason for _, reason in bench.notes.dead] == ["rejected"]

    simulate(test)


@pytest.mark.parametrize("keep", [False, True])
def test_given_up_message_has_one_dead_letter_when_the_process_ends_in_between(keep: bool) -> None:
    """Power fails while the dead letter is being written: it is written or tried again, never
    both."""

    async def test(bench: Bench) -> None:
        bench.dead_log.append_s = 1.0
        bench.accept(message())
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.5)
        await bench.crash(keep_dead_batch=keep)
        await bench.start()
        _always(bench, 404)
        await asyncio.sleep(0.2)
        assert len(bench.deliverer.started) == (1 if keep else 2)
        assert bench.queue.pending.index.count == 0
        assert [p[0] for _, p in bench.dead_log.records] == [Kind.DEAD]
        settled = [decode_settled(p) for _, p in bench.log.records if p[0] == Kind.SETTLED]
        assert len(settled) == 1
        await bench.stop()

    simulate(test)


def test_drain_waits_for_what_is_in_flight_and_starts_nothing() -> None:
    """A stop that was asked for: what finishes is settled, the rest is delivered after the next
    start."""

    async def test(bench: Bench) -> None:
        for n in range(6):
            bench.accept(message(name=f"{n - 1}"))
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0])
        first, second = bench.deliverer.flying
        drained = asyncio.ensure_future(bench.queue.drain(5))
        await asyncio.sleep(1)
        bench.end(first)
        bench.end(second, failed(404))
        assert await drained
        await bench.queue.stop()
        await bench.queue.stop()
        assert len(bench.deliverer.started) == 3
        late = bench.accept(message())
        assert late.answer is not None
        _always(bench)
        await bench.start()
        await asyncio.sleep(1)
        names = [target for target, _ in bench.deliverer.started[3:]]
        assert names == ["/2", "/3", "/4"]

    simulate(test)


def test_drain_does_not_wait_for_space_for_dead_letters() -> None:
    """The disk of the dead letters turns out to be full while the process stops."""

    async def test(bench: Bench) -> None:
        bench.dead_log.append_s = 1.0
        bench.dead_log.space = Space.NOTHING
        bench.accept(message())
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0], failed(404))
        before = bench.clock.monotonic_us()
        assert await bench.queue.drain(60)
        assert bench.clock.monotonic_us() - before < 2_000_000
        await bench.queue.stop()

    simulate(test)


def test_drain_gives_up_in_time() -> None:
    """A destination that never answers does not keep the process."""

    async def test(bench: Bench) -> None:
        bench.accept(message())
        await asyncio.sleep(0.01)
        assert not await bench.queue.drain(3)
        await bench.queue.stop()

    simulate(test)
