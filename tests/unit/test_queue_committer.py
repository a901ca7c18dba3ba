"""Group commit: order, batches, a full disk, a failed one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from dispatcher.errors import BatchTooLarge, LogFailed, LogFenced, LogUnknown, Refusal
from dispatcher.queue.commit.committer import LAZY_SECONDS, Committer
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import run


class Bench:
    """A committer on a log that misbehaves, and what it said in order."""

    def __init__(self, log: FaultyLog) -> None:
        self.log = log
        self.said: list[str] = []
        self.space: list[bool] = []
        self.errors: list[Exception] = []
        self.settling: list[bytes] = []
        self.committer = Committer(
            log,
            collect=self._collect,
            settled=lambda: self.said.append("settled"),
            failed=self.errors.append,
            space_changed=self.space.append,
            died=lambda name, error: self.said.append(f"{name} died: {error}"),
        )

    def _collect(self) -> None:
        for payload in self.settling:
            self.urgent(payload)
        self.settling.clear()

    def submit(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.committer.submit(payload, _Waiter(self.said, payload))

    def urgent(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.committer.submit_urgent(payload, _Waiter(self.said, payload))

    def copy(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.committer.copies.submit(payload, _Waiter(self.said, payload))

    @property
    def batches(self) -> list[list[bytes]]:
        return self.log.appended


class _Waiter:
    def __init__(self, said: list[str], payload: bytes) -> None:
        self._said = said
        self._name = payload.decode()

    def stored(self, position: int) -> None:
        self._said.append(f"{self._name} stored")

    def refused(self, refusal: Refusal) -> None:
        self._said.append(f"{self._name} {refusal.slug}")


def simulate(
    test: Callable[[Bench], Coroutine[Any, Any, None]],
    *,
    most: int = 10_000,
    append_s: float = 0.01,
) -> Bench:
    """Run a test with a started committer, and stop it."""

    async def main(clock: SimulatedClock) -> Bench:
        log = FaultyLog(max_batch_bytes=most)
        log.append_s = append_s
        bench = Bench(log)
        bench.committer.start()
        await test(bench)
        await asyncio.wait_for(bench.committer.stop(), 10)
        return bench

    return run(main)


def test_callers_who_come_during_a_sync_share_the_next_one() -> None:
    """Group commit: a hundred callers, two syncs or three, told in their order."""

    async def test(bench: Bench) -> None:
        bench.submit(b"first")
        await asyncio.sleep(0.002)
        bench.submit(*[b"%d" % n for n in range(100)])
        await asyncio.sleep(0.1)

    bench = simulate(test)
    assert bench.batches == [[b"first"], [b"%d" % n for n in range(100)]]
    told = [line for line in bench.said if line != "settled"]
    assert told == ["first stored", *[f"{n} stored" for n in range(100)]]
    assert bench.committer.records == 101
    assert bench.committer.batches == 2


def test_batch_is_never_larger_than_the_log_takes() -> None:
    """The rest goes with the next one, in order, urgent records first."""

    async def test(bench: Bench) -> None:
        bench.submit(b"first")
        bench.submit(*[b"n%d" % n + b"." * 50 for n in range(8)])
        bench.urgent(*[b"u%d" % n + b"." * 50 for n in range(4)])
        bench.committer.wake()
        await asyncio.sleep(0.2)

    bench = simulate(test, most=300)
    for batch in bench.batches:
        assert sum(len(payload) + 32 for payload in batch) <= 300
    later = [payload[:2] for batch in bench.batches[1:] for payload in batch]
    assert later == [b"u0", b"u1", b"u2", b"u3", *[b"n%d" % n for n in range(8)]]


def test_record_that_nobody_waits_for_goes_with_the_next_batch_or_after_a_while() -> None:
    """No sync of its own while callers come; at most 25 ms late where none come."""

    async def test(bench: Bench) -> None:
        bench.settling.append(b"done")
        bench.committer.wake_lazily()
        bench.submit(b"caller")
        await asyncio.sleep(0.1)
        bench.settling.append(b"alone")
        bench.committer.wake_lazily()
        await asyncio.sleep(LAZY_SECONDS - 0.001)
        assert len(bench.batches) == 1
        await asyncio.sleep(0.012)

    bench = simulate(test)
    assert bench.batches == [[b"done", b"caller"], [b"alone"]]


def test_lazy_record_that_comes_while_a_batch_is_under_way_is_not_forgotten() -> None:
    """Whatever the moment, it is durable soon."""

    async def test(bench: Bench) -> None:
        for wait in (0.001, 0.009, 0.0099, 0.01, 0.0101):
            bench.submit(b"caller")
            await asyncio.sleep(wait)
            bench.settling.append(b"done")
            bench.committer.wake_lazily()
            await asyncio.sleep(0.2)
            assert not bench.settling
            assert bench.batches[-1] == [b"done"]

    simulate(test)


def test_full_disk_refuses_callers_and_keeps_settling() -> None:
    """One mixed batch without space: callers get `disk_full`, urgent records use the reserve; later
    callers are refused at once; when there is space again it goes on by itself."""

    async def test(bench: Bench) -> None:
        bench.log.space = Space.RESERVE
        bench.submit(b"a", b"b")
        bench.urgent(b"u")
        bench.submit(b"c")
        bench.committer.wake()
        await asyncio.sleep(0.1)
        assert bench.committer.full
        assert bench.space == [True]
        assert [payload for batch in bench.batches for payload in batch] == [b"u"]
        bench.submit(b"d")
        assert bench.said[-1] == "d disk_full"
        bench.urgent(b"v")
        bench.committer.wake()
        await asyncio.sleep(0.5)
        assert bench.batches[-1] == [b"v"]
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(1.1)
        assert bench.space == [True, False]
        assert bench.batches[-1] == [b"v"], "nothing was stored to find that out"
        bench.submit(b"e")
        await asyncio.sleep(0.1)

    bench = simulate(test)
    for line in ("a disk_full", "b disk_full", "c disk_full", "u stored", "v stored", "e stored"):
        assert bench.said.count(line) == 1, line


def test_urgent_records_wait_when_even_the_reserve_is_used_up() -> None:
    """Nothing is lost and nothing changes its order: they are stored when there is space."""

    async def test(bench: Bench) -> None:
        bench.log.space = Space.NOTHING
        bench.urgent(b"u0")
        bench.committer.wake()
        await asyncio.sleep(0.1)
        assert bench.committer.full, "callers must not be left waiting"
        bench.submit(b"a")
        bench.urgent(b"u1")
        bench.settling.append(b"u2")
        bench.committer.wake()
        await asyncio.wait_for(bench.committer.flush(), 1)
        await asyncio.sleep(3)
        assert bench.batches == []
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(1.2)

    bench = simulate(test)
    stored = [payload for batch in bench.batches for payload in batch]
    assert stored == [b"u0", b"u1", b"u2"]
    assert "a disk_full" in bench.said


def test_stop_ends_while_the_disk_is_full() -> None:
    """What finds no space is given up; the next start delivers it again."""

    async def test(bench: Bench) -> None:
        bench.log.space = Space.NOTHING
        bench.urgent(b"u")
        bench.committer.wake()
        await asyncio.sleep(0.1)

    assert simulate(test).batches == []


def test_stop_stores_what_was_submitted_and_refuses_what_comes_after() -> None:
    """A caller is always told something."""

    async def test(bench: Bench) -> None:
        bench.submit(b"a")
        bench.settling.append(b"done")
        await bench.committer.stop()
        bench.submit(b"late")

    bench = simulate(test)
    assert [payload for batch in bench.batches for payload in batch] == [b"a", b"done"]
    assert "a stored" in bench.said
    assert bench.said[-1] == "late shutting_down"


def test_failed_sync_refuses_everybody_once() -> None:
    """The batch under way, what waits behind it, and whoever comes later: each is told."""

    async def test(bench: Bench) -> None:
        bench.log.broken = True
        bench.submit(b"under way")
        bench.submit(b"waiting")
        bench.urgent(b"urgent")
        await asyncio.sleep(0.1)
        bench.submit(b"late")
        bench.urgent(b"late urgent")
        await bench.committer.flush()

    bench = simulate(test)
    assert sorted(bench.said) == sorted(
        f"{name} log_failed" for name in ("under way", "waiting", "urgent", "late", "late urgent")
    )
    assert len(bench.errors) == 1


@pytest.mark.parametrize(
    ("error", "under_way", "others"),
    [
        (LogFenced("another owner"), "moved", "moved"),
        (LogUnknown("no answer for 20 s"), "no_verdict", "moved"),
        (LogFailed("the sync failed"), "log_failed", "log_failed"),
        (RuntimeError("a mistake"), "log_failed", "log_failed"),
    ],
)
def test_what_callers_are_told_says_what_is_known_of_their_records(
    error: Exception, under_way: str, others: str
) -> None:
    """Certainly not stored, perhaps stored, or perhaps stored and the process ends; what was never
    handed to the log certainly is not."""

    async def test(bench: Bench) -> None:
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        bench.log.append = lambda batch, *, urgent=False: done  # type: ignore[method-assign]
        bench.submit(b"under way")
        bench.submit(b"waiting")
        bench.urgent(b"urgent")
        done.set_exception(error)
        await asyncio.sleep(0.1)
        bench.submit(b"late")
        bench.urgent(b"late urgent")

    bench = simulate(test)
    assert bench.said == [
        f"under way {under_way}",
        *(f"{name} {others}" for name in ("urgent", "waiting", "late", "late urgent")),
    ]
    assert bench.errors == [error]


def test_batch_without_a_verdict_has_none_when_its_partition_is_lost() -> None:
    """Nobody waits for a log that another node has: who is in the batch hears nothing, and the
    others that nothing was stored."""

    async def test(bench: Bench) -> None:
        bench.submit(b"under way")
        bench.submit(b"waiting")
        bench.committer.abandon(LogUnknown("the lease is over"))
        bench.submit(b"late")
        assert bench.said == ["under way no_verdict", "waiting moved", "late moved"]
        await asyncio.sleep(0.1)

    simulate(test)


@pytest.mark.parametrize("broken", [False, True])
def test_receipts_keep_the_order_of_submit_when_the_log_is_given_up_under_a_batch(
    broken: bool,
) -> None:
    """The batch under way may still become durable, and its callers are told first: the answers on
    a connection have no other order than this."""

    async def test(bench: Bench) -> None:
        bench.log.broken = broken
        bench.submit(b"under way")
        bench.submit(b"waiting")
        bench.committer.give_up()
        bench.committer.give_up()
        bench.submit(b"late")
        await asyncio.sleep(0.1)
        bench.submit(b"later")

    bench = simulate(test)
    assert [line for line in bench.said if line != "settled"] == [
        "under way log_failed" if broken else "under way stored",
        "waiting log_failed",
        "late log_failed",
        "later log_failed",
    ]
    assert not bench.errors, "who found it says so"


def test_receipts_keep_the_order_of_submit_when_the_log_is_abandoned() -> None:
    """Also when it was given up before: those of the batch under way are told first, and once."""

    async def test(bench: Bench) -> None:
        bench.submit(b"under way")
        bench.submit(b"waiting")
        bench.committer.give_up()
        bench.committer.abandon()
        bench.submit(b"late")  # nothing will answer it later
        assert bench.said == ["under way log_failed", "waiting log_failed", "late log_failed"]
        await asyncio.sleep(0.1)

    bench = simulate(test)
    assert bench.said[3:] == ["settled"]


def test_receipts_keep_the_order_of_submit_when_one_comes_during_a_stop() -> None:
    """A body that was still coming: it is stored, as those before it are."""

    async def test(bench: Bench) -> None:
        bench.submit(b"under way")
        stop = asyncio.create_task(bench.committer.stop())
        await asyncio.sleep(0.005)
        bench.submit(b"during")
        await stop
        bench.submit(b"late")

    bench = simulate(test)
    assert [line for line in bench.said if line != "settled"] == [
        "under way stored",
        "during stored",
        "late shutting_down",
    ]


@pytest.mark.parametrize("urgent", [True, False])
def test_a_record_that_no_batch_can_hold_is_refused_alone(urgent: bool) -> None:
    """Loudly: it is a mistake. Those before it and those behind it are stored, and told in their
    order."""

    async def test(bench: Bench) -> None:
        submit = bench.urgent if urgent else bench.submit
        submit(b"under way")
        bench.committer.wake()
        await asyncio.sleep(0.001)
        submit(b"before it", b"." * 500, b"behind it")
        bench.submit(b"other")
        bench.committer.wake()
        await asyncio.sleep(1)
        bench.submit(b"late")

    bench = simulate(test, most=150)
    said = [line for line in bench.said if line not in ("settled", "other stored")]
    died = said.pop(2)
    assert died.startswith("record died: ")
    assert said == [
        "under way stored",
        "before it stored",
        "." * 500 + " record_too_large",
        "behind it stored",
        "late stored",
    ]
    assert "other stored" in bench.said
    assert not bench.errors


def test_callers_who_came_while_urgent_records_found_no_space_are_refused_at_once() -> None:
    """They would wait for the next look at the disk."""

    async def test(bench: Bench) -> None:
        bench.log.space = Space.NOTHING
        bench.urgent(b"u")
        bench.committer.wake()
        await asyncio.sleep(0.005)
        bench.submit(b"a")
        await asyncio.sleep(0.01)
        assert bench.said == ["a disk_full", "settled"], "and somebody looks for space"
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(1.1)
        assert bench.said[2] == "u stored"
        assert bench.space == [True, False]
        assert not bench.committer.full

    simulate(test)


def test_collect_may_ask_for_another_batch() -> None:
    """Who puts only a part of what waits into a batch wants one more after it: not beside it."""

    async def test(bench: Bench) -> None:
        left = [b"1", b"2", b"3"]

        def collect() -> None:
            if left:
                bench.urgent(left.pop(0))
            if left:
                bench.committer.wake()

        bench.committer._collect = collect
        bench.submit(b"a")  # handed over at once: nothing was under way
        await asyncio.sleep(0.1)
        assert bench.batches == [[b"1", b"a"], [b"2"], [b"3"]]
        assert not bench.errors

    simulate(test)


def test_batches_follow_one_another_when_what_is_collected_wakes_the_committer() -> None:
    """Only one batch is under way at a time, whoever asks for the next one and when."""

    async def test(bench: Bench) -> None:
        collect = bench._collect

        def wakes() -> None:
            collect()
            bench.committer.wake()

        bench.committer._collect = wakes
        for n in range(5):
            bench.settling.append(b"s%d" % n)
            bench.submit(b"n%d" % n)
            await asyncio.sleep(0.004)
        await asyncio.sleep(0.2)
        assert not bench.committer.dead
        bench.committer._collect = collect

    bench = simulate(test)
    assert not bench.errors
    stored = [payload for batch in bench.batches for payload in batch]
    assert sorted(stored) == sorted([b"%s%d" % (k, n) for k in (b"s", b"n") for n in range(5)])


class _UnitWaiter:
    def __init__(self, said: list[str], name: str) -> None:
        self._said = said
        self._name = name

    def stored(self, positions: Sequence[int]) -> None:
        assert list(positions) == sorted(positions)
        self._said.append(f"{self._name} stored {len(positions)}")

    def refused(self, refusal: Refusal) -> None:
        self._said.append(f"{self._name} {refusal.slug}")


@pytest.mark.parametrize("before", range(8))
def test_unit_is_never_split_over_batches(before: int) -> None:
    """However much room the batch has left: a crash leaves all of its records or none."""

    async def test(bench: Bench) -> None:
        bench.submit(b"first")
        bench.urgent(*[b"u%d" % n + b"." * 20 for n in range(before)])
        for name in (b"a", b"b"):
            unit = [name + b"%d" % n + b"." * 20 for n in range(3)]
            bench.committer.submit_unit(unit, _UnitWaiter(bench.said, name.decode()))
        bench.urgent(b"last")
        bench.committer.wake()
        await asyncio.sleep(0.2)

    bench = simulate(test, most=300)
    for name in (b"a", b"b"):
        held = [[p for p in batch if p.startswith(name)] for batch in bench.batches]
        assert [len(portion) for portion in held if portion] == [3]
    stored = [payload.rstrip(b".") for batch in bench.batches for payload in batch]
    assert stored == [
        b"first",
        *[b"u%d" % n for n in range(before)],
        *[b"%s%d" % (name, n) for name in (b"a", b"b") for n in range(3)],
        b"last",
    ]
    assert [line for line in bench.said if line.startswith(("a ", "b "))] == [
        "a stored 3",
        "b stored 3",
    ]


def test_unit_is_refused_once_when_the_log_fails() -> None:
    """One waiter, one answer."""

    async def test(bench: Bench) -> None:
        bench.log.broken = True
        bench.committer.submit_unit([b"a0", b"a1"], _UnitWaiter(bench.said, "a"))
        bench.committer.wake()
        await asyncio.sleep(0.2)
        bench.committer.submit_unit([b"b0", b"b1"], _UnitWaiter(bench.said, "b"))

    bench = simulate(test)
    assert bench.said == ["a log_failed", "b log_failed"]


def test_unit_that_can_be_refused_is_stored_whole_like_any_record() -> None:
    """In its turn among those that can be refused, behind the urgent ones, and never split."""

    async def test(bench: Bench) -> None:
        bench.submit(b"first")  # its batch is under way when the others come
        bench.submit(b"second" + b"." * 100)
        unit = [b"a%d" % n + b"." * 20 for n in range(3)]
        bench.committer.submit_unit(unit, _UnitWaiter(bench.said, "a"), urgent=False)
        bench.submit(b"third")
        await asyncio.sleep(0.2)
        unit = [b"b0", b"b1"]
        bench.committer.submit_unit(unit, _UnitWaiter(bench.said, "b"), urgent=False)
        await asyncio.sleep(0.2)

    bench = simulate(test, most=200)
    stored = [[payload.rstrip(b".") for payload in batch] for batch in bench.batches]
    assert stored == [[b"first"], [b"second"], [b"a0", b"a1", b"a2", b"third"], [b"b0", b"b1"]]
    assert [line for line in bench.said if line.startswith(("a ", "b "))] == [
        "a stored 3",
        "b stored 2",
    ]


@pytest.mark.parametrize("known", [False, True])
def test_unit_that_can_be_refused_is_refused_whole_when_the_disk_is_full(known: bool) -> None:
    """By the log that finds no space for it, or at once when that is known; one waiter, one answer,
    and nothing of it is stored."""

    async def test(bench: Bench) -> None:
        bench.log.space = Space.RESERVE
        if known:
            bench.submit(b"fills")
            await asyncio.sleep(0.1)
        bench.committer.submit_unit([b"a0", b"a1"], _UnitWaiter(bench.said, "a"), urgent=False)
        await asyncio.sleep(0.1)
        assert bench.said.count("a disk_full") == 1
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(5)
        bench.committer.submit_unit([b"b0", b"b1"], _UnitWaiter(bench.said, "b"), urgent=False)
        await asyncio.sleep(0.1)

    bench = simulate(test)
    assert [line for line in bench.said if line.startswith(("a ", "b "))] == [
        "a disk_full",
        "b stored 2",
    ]
    assert not any(payload.startswith(b"a") for batch in bench.batches for payload in batch)


def test_unit_that_can_be_refused_is_told_after_the_batch_under_way_when_the_log_fails() -> None:
    """Those who came before it are told before it."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.1
        bench.submit(b"first")
        await asyncio.sleep(0.05)
        bench.committer.give_up()
        bench.committer.submit_unit([b"a0", b"a1"], _UnitWaiter(bench.said, "a"), urgent=False)
        await asyncio.sleep(0.2)

    bench = simulate(test)
    told = [line for line in bench.said if line != "settled"]
    assert told[-1] == "a log_failed"
    assert len(told) == 2


def test_unit_that_no_batch_holds_is_not_queued() -> None:
    """It would be split, or never be stored."""

    async def test(bench: Bench) -> None:
        with pytest.raises(BatchTooLarge):
            bench.committer.submit_unit([b"." * 100] * 3, _UnitWaiter(bench.said, "a"))
        assert bench.committer.waiting_bytes == 0

    simulate(test, most=300)
