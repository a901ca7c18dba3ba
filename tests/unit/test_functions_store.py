"""The store: events become durable, are applied, and come back after a crash."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dispatcher.errors import LogTooNew, Refusal, Refused
from dispatcher.functions.events import Created, Fact, Forgotten, Noted, Retried
from dispatcher.functions.ids import Keys, call_id, number_of, parse_id
from dispatcher.functions.model import Call, Phase
from dispatcher.functions.spans import position_of
from dispatcher.functions.store.store import Silent
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.refusals import DISK_FULL, RECORD_TOO_LARGE
from dispatcher.testing.callstore import CallBench, created, exited, new, polled
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import Space
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench

KB = 1024
LARGE = bytes(range(256)) * 4 * 700  # 700 KiB: three chunks


def simulate(test: Callable[[CallBench], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run a test with a started queue that has a store."""

    async def main(clock: SimulatedClock) -> None:
        bench = CallBench(clock, **options)
        await bench.start()
        await test(bench)
        assert not bench.notes.deaths
        assert not bench.notes.errors

    run(main)


async def again(bench: CallBench, **options: Any) -> None:
    """Crash and start, and see that all is as it was."""
    before = await bench.dump()
    live = bench.store.live_bytes
    await bench.crash(**options)
    await bench.start()
    assert await bench.dump() == before
    assert bench.store.live_bytes == live


def test_event_is_applied_once_durable_and_again_after_a_crash() -> None:
    """A call that was created, suspended and given a result is there with its bytes."""

    async def test(bench: CallBench) -> None:
        store = bench.store
        keys = bench.keys
        root = keys.next()
        await store.stored(created(new(root, b"input of root")))
        call = store.machine.calls[root]
        assert call.phase is Phase.DUE
        child = keys.next()
        await store.stored(polled(call, b"state of root", new(child, b"of child"), min_results=2))
        await store.stored(exited(store.machine.calls[child], b"result"))
        assert child not in store.machine.calls
        spans = call.spans
        assert await bench.bytes_of(*spans) == [b"input of root", b"state of root", b"result"]
        await again(bench)
        assert bench.store is not store

    simulate(test)


def test_large_event_is_whole_or_not_there() -> None:
    """Blobs of 700 KiB go to chunks; each span reads only the chunks that have its bytes."""

    async def test(bench: CallBench) -> None:
        store, keys = bench.store, bench.keys
        some = [new(keys.next(), LARGE), new(keys.next(), b"small"), new(keys.next(), LARGE[::-1])]
        await store.stored(created(*some))
        found = await bench.bytes_of(*(store.machine.calls[one.key].input for one in some))
        assert found == [LARGE, b"small", LARGE[::-1]]
        asked: list[int] = []
        read = bench.log.read

        async def spy(positions: Any) -> list[bytes]:
            asked.extend(positions)
            return await read(positions)

        bench.log.read = spy  # type: ignore[method-assign]  # counted here
        await bench.bytes_of(store.machine.calls[some[1].key].input)
        assert len(asked) == 1
        await bench.bytes_of(*(store.machine.calls[one.key].input for one in some))
        assert len(asked) == 1 + 6
        await again(bench)

    simulate(test)


def test_crash_between_chunks_leaves_dead_bytes_and_nothing_else() -> None:
    """Whenever it comes: before the last record is durable nothing is there, afterwards all."""

    async def life(clock: SimulatedClock, crash_s: float, keep: bool) -> int:
        bench = CallBench(clock)
        bench.log.append_s = 0.01
        await bench.start()
        key = bench.keys.next()
        told: list[Refusal | None] = []
        bench.store.submit(created(new(key, LARGE)), told.append)
        await asyncio.sleep(crash_s)
        await bench.crash(keep_batch=keep)
        await bench.start()
        there = key in bench.store.machine.calls
        if there:
            assert await bench.bytes_of(bench.store.machine.calls[key].input) == [LARGE]
        else:
            assert not told
            assert not bench.store.live_bytes
        assert not told or told == [None]
        return there

    found = [
        run(lambda clock, s=step * 0.005, k=keep: life(clock, s, k))  # type: ignore[misc]  # a default binds the loop's variable
        for step in range(12)
        for keep in (False, True)
    ]
    assert set(found) == {False, True}


def test_events_of_a_call_wait_behind_a_large_one_and_keep_their_order() -> None:
    """The exit that is submitted behind a poll with a large state comes after it; an event of
    another call does not wait."""

    async def test(bench: CallBench) -> None:
        bench.log.append_s = 0.01
        store, keys = bench.store, bench.keys
        one, other = keys.next(), keys.next()
        await store.stored(created(new(one), new(other)))
        call = store.machine.calls[one]
        order: list[str] = []
        store.submit(polled(call, LARGE), lambda refusal: order.append("poll"))
        after = exited(call)
        after = type(after)(call.key, 1, after.how, after.result, False, after.at_us)
        store.submit(after, lambda refusal: order.append("exit"), urgent=True)
        store.submit(
            exited(store.machine.calls[other]), lambda refusal: order.append("other"), urgent=True
        )
        await asyncio.sleep(1)
        assert order == ["other", "poll", "exit"]
        assert call.phase is Phase.ENDED
        await again(bench)

    simulate(test)


def test_event_that_does_not_fit_in_the_log_is_refused() -> None:
    """A header that no batch can hold: nothing of it is stored."""

    async def test(bench: CallBench) -> None:
        text = random.Random(1)
        facts = tuple(
            Fact("s", text.randbytes(100).hex() + chr(0x4E00 + n), b"") for n in range(6_000)
        )
        with pytest.raises(Refused) as error:
            await bench.store.stored(Created("app", (), facts))
        assert error.value.refusal is RECORD_TOO_LARGE
        assert not bench.store.machine.facts

    simulate(test)


def test_full_disk_refuses_what_is_not_urgent_and_stores_what_ends() -> None:
    """Nothing of a refused event is applied, large or not; what ends a call uses the reserve."""

    async def test(bench: CallBench) -> None:
        store, keys = bench.store, bench.keys
        key = keys.next()
        await store.stored(created(new(key)))
        bench.log.space = Space.RESERVE
        for data in (b"small", LARGE):
            with pytest.raises(Refused) as error:
                await store.stored(created(new(keys.next(), data)))
            assert error.value.refusal is DISK_FULL
        await store.stored(exited(store.machine.calls[key], LARGE), urgent=True)
        assert store.machine.calls[key].phase is Phase.ENDED
        assert list(store.machine.calls) == [key]
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(3)
        await again(bench)

    simulate(test)


def test_what_is_needed_is_counted_and_nothing_is_left_when_all_is_over() -> None:
    """Live bytes and holds go back to nothing, and the log can be trimmed."""

    async def test(bench: CallBench) -> None:
        store, keys = bench.store, bench.keys
        roots = [keys.next() for _ in range(20)]
        await store.stored(created(*(new(key, LARGE[: 50_000 * (key % 3)]) for key in roots)))
        await store.stored(Noted((Fact("s", "n", b"value", 5), Fact("s", "m", LARGE, 0))))
        assert store.live_bytes > 500_000
        assert store.ending_bytes > 0
        for key in roots:
            await store.stored(exited(store.machine.calls[key], LARGE))
        await again(bench)
        store = bench.store
        await store.stored(Forgotten(tuple(roots)), urgent=True)
        await store.stored(Noted((Fact("s", "m", None),)))
        store.machine.forget_expired(10 + 60_000_000)  # a minute later
        assert not store.machine.calls
        assert not store.live_bytes
        assert not store._holds.larges
        assert not any(extent.live for extent in bench.queue.pending.extents)

    simulate(test)


def test_retries_wait_for_company_and_are_kept() -> None:
    """Nobody waits for the record of a retry; a crash after it knows it."""

    async def test(bench: CallBench) -> None:
        store = bench.store
        key = bench.keys.next()
        await store.stored(created(new(key)))
        batches = bench.queue.committer.batches
        store.submit(Retried(key, 0, 3, 77))
        await asyncio.sleep(0.001)
        assert bench.queue.committer.batches == batches
        await asyncio.sleep(1)
        assert store.machine.calls[key].attempts == 3
        await again(bench)

    simulate(test)


def test_partition_without_a_store_refuses_the_log() -> None:
    """Passing over calls would lose them."""

    async def test(bench: CallBench) -> None:
        await bench.store.stored(created(new(bench.keys.next())))
        await bench.crash()
        with pytest.raises(LogTooNew):
            await Bench(bench.clock, log=bench.log).open()

    simulate(test)


def test_exception_in_applying_is_not_lost() -> None:
    """The observer is told, and who waits goes on: the event is durable."""

    async def main(clock: SimulatedClock) -> None:
        bench = CallBench(clock)
        await bench.start()

        class Failing(Silent):
            def is_due(self, call: Call) -> None:
                raise ValueError("no")

        bench.store.machine.listener = Failing()  # a mistake in what is told
        await bench.store.stored(created(new(bench.keys.next())))
        assert [name for name, _ in bench.notes.deaths] == ["stored"]

    run(main)


def test_live_bytes_of_calls_count_for_the_backlog() -> None:
    """A backlog of calls refuses messages as one of messages does."""

    async def test(bench: CallBench) -> None:
        assert bench.queue.intake.refusal() is None
        await bench.store.stored(created(new(bench.keys.next(), bytes(200_000))))
        refusal = bench.queue.intake.refusal()
        assert refusal is not None
        assert refusal.slug == "backlog_full"

    simulate(test, max_backlog_bytes=100_000)


def test_reading_asks_again_when_what_it_read_is_gone() -> None:
    """`pick` is asked once more; None from it ends that."""

    async def test(bench: CallBench) -> None:
        store = bench.store
        key = bench.keys.next()
        await store.stored(created(new(key)))
        call = store.machine.calls[key]
        gone = call.input
        picks = [[gone], None]
        await bench.log.trim(position_of(gone) + OVERHEAD_BYTES)
        assert await store.read(lambda: picks.pop(0)) is None
        assert not picks

    simulate(test)


def test_ids_name_keys_and_no_message() -> None:
    """28 hexadecimal digits, of which the number has its top bit."""
    keys = Keys(7, 4096)
    one, two = keys.next(), keys.next()
    assert number_of(two) == number_of(one) + 1
    assert call_id(3, one) == "0003" + "00000007" + "8000000000001001"
    assert parse_id(call_id(3, one)) == one
    assert parse_id("0003" + "00000007" + "0000000000001001") is None
    assert parse_id("0003") is None
    assert parse_id("g" * 28) is None
