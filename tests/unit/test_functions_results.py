"""The results' log: what is stored is found, until it expires, and across every crash."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace
from random import Random

import pytest

from dispatcher.errors import LogBusy, LogCorrupt, LogLocked, LogTooNew, LogUnavailable, Refusal
from dispatcher.functions.model import How
from dispatcher.functions.results.holdings import Holdings
from dispatcher.functions.results.reading import Standing
from dispatcher.functions.results.records import (
    StoredResult,
    encode_forgotten,
    encode_known,
    encode_result,
    key_of,
    result_facts,
)
from dispatcher.functions.results.retention import ResultPolicy
from dispatcher.queue.commit.stalls import Pace
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import run
from dispatcher.testing.results import FIRST, ResultsBench, simulate

DAY_MS = 24 * 3_600_000
MIB = 1024 * 1024
SMALL = ResultPolicy(DAY_MS, MIB)


def test_result_is_read_back_as_it_was_stored() -> None:
    """Everything about it, and who waits is told once it is durable."""

    async def main(bench: ResultsBench) -> None:
        result = bench.store(1, how=How.FAILED, status="Expired: ü", is_error=True, attempts=9)
        assert bench.results.find(result.key) is Standing.UNKNOWN
        assert bench.told == {}
        await asyncio.sleep(0.1)
        assert bench.told == {1: None}
        assert bench.stored == [1]
        assert bench.results.find(result.key) is Standing.HERE
        assert await bench.results.read(result.key) == result
        assert await bench.results.read(bench.key(2)) is None
        assert bench.results.waiting_bytes == 0

    simulate(main)


def test_log_is_made_when_the_first_result_comes() -> None:
    """A server without functions writes nothing, and answers that it knows nothing."""

    async def main(bench: ResultsBench) -> None:
        await asyncio.sleep(3600)
        assert bench.log is None
        assert bench.results.find(bench.key(1)) is Standing.UNKNOWN
        assert await bench.results.read(bench.key(1)) is None
        bench.forget(1)
        assert bench.forgotten == [1]
        assert bench.log is None
        for number in range(5):
            bench.store(number)
        await asyncio.sleep(0.1)
        assert bench.log is not None
        assert bench.stored == [0, 1, 2, 3, 4]

    simulate(main)


@pytest.mark.parametrize(
    ("error", "deaths"),
    [(LogUnavailable("no space"), 0), (LogLocked("another one"), 3), (OSError("mistake"), 3)],
)
def test_results_wait_while_their_log_cannot_be_made(error: Exception, deaths: int) -> None:
    """The server goes on, and they are stored as soon as it can."""

    class Reluctant(FaultyLog):
        tries = 0

        async def open(self, *args, **options):  # type: ignore[no-untyped-def]  # as what it stands for
            Reluctant.tries += 1
            if Reluctant.tries <= 3:
                raise error
            return await super().open(*args, **options)

    async def main(bench: ResultsBench) -> None:
        bench.store(1)
        bench.store(2, b"x" * 300_000)
        await asyncio.sleep(6.5)
        assert bench.told == {}
        bench.store(3)
        await asyncio.sleep(1)
        assert bench.stored == [1, 3, 2]
        assert len(bench.deaths) == deaths
        bench.deaths.clear()

    simulate(main, make_log=Reluctant)


def test_newer_result_takes_the_place_of_the_older_one() -> None:
    """Also after a restart: a call that was moved twice, or ran again."""

    async def main(bench: ResultsBench) -> None:
        bench.store(1, b"first")
        await asyncio.sleep(0.1)
        second = bench.store(1, b"second")
        await asyncio.sleep(0.1)
        for _ in range(2):
            assert await bench.results.read(second.key) == second
            assert len(bench.results) == 1
            await bench.crash()
            await bench.start()

    simulate(main)


@pytest.mark.parametrize("keep_batch", [False, True])
def test_results_survive_a_crash_once_they_were_told_of(keep_batch: bool) -> None:
    """What nobody was told of may be there or not; the rest is."""

    async def main(bench: ResultsBench) -> None:
        done = [bench.store(number) for number in range(3)]
        await asyncio.sleep(0.1)
        assert bench.log is not None
        bench.log.append_s = 1.0
        late = bench.store(3)
        await asyncio.sleep(0.5)
        await bench.crash(keep_batch=keep_batch)
        await bench.start()
        for one in done:
            assert await bench.results.read(one.key) == one
        expected = late if keep_batch else None
        assert await bench.results.read(late.key) == expected
        assert 3 not in bench.told

    simulate(main)


def test_large_result_is_stored_in_chunks_and_read_back() -> None:
    """16 MB, while small ones go past it; also after a crash."""

    async def main(bench: ResultsBench) -> None:
        large = bench.store(1, bytes(range(256)) * (62_500))
        small = bench.store(2)
        await asyncio.sleep(1)
        assert bench.stored == [2, 1]
        for _ in range(2):
            assert await bench.results.read(large.key) == large
            assert await bench.results.read(small.key) == small
            assert bench.results.size_bytes > 16_000_000
            await bench.crash()
            await bench.start()
        bench.forget(1, incarnation=1)
        await asyncio.sleep(0.1)
        assert bench.results.size_bytes < 1000

    simulate(main)


def test_large_result_that_was_not_finished_is_dead_bytes_after_a_crash() -> None:
    """It is not there, and holds nothing up: its stretch of the log goes with the others."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(0.1)
        assert bench.log is not None
        bench.log.append_s = 0.1
        late = bench.store(1, b"x" * 2_000_000)
        await asyncio.sleep(0.35)
        await bench.crash()
        await bench.start()
        assert bench.results.find(late.key) is Standing.UNKNOWN
        assert bench.log.size_bytes > 500_000
        bench.clock.advance(ms=DAY_MS - 300_000)  # in one step
        await asyncio.sleep(320)
        assert bench.log.size_bytes < 1000

    simulate(main, policy=SMALL)


def test_result_expires_at_its_time_and_is_known_to_have_been_there() -> None:
    """410 and not 404, also when its records are gone and after restarts."""

    async def main(bench: ResultsBench) -> None:
        one = bench.store(5)
        await asyncio.sleep(0.1)
        bench.clock.advance(ms=DAY_MS - 60_000)  # in one step
        await asyncio.sleep(58)
        assert bench.results.find(one.key) is Standing.HERE
        await asyncio.sleep(4)
        assert bench.results.find(one.key) is Standing.EXPIRED
        assert await bench.results.read(one.key) is None
        await asyncio.sleep(20)
        assert len(bench.results) == 0
        assert bench.results.expired_total == 1
        for _ in range(3):
            assert bench.results.find(one.key) is Standing.EXPIRED
            assert bench.results.find(one.key + 1) is Standing.UNKNOWN
            await bench.crash()
            await bench.start()

    simulate(main)


def test_log_is_given_back_when_results_expire_by_time() -> None:
    """The oldest stretches go as wholes, nothing is copied, and what is left can be read."""

    async def main(bench: ResultsBench) -> None:
        for number in range(40):
            bench.store(number, b"x" * 10_000)
            await asyncio.sleep(1)
            bench.clock.advance(ms=3_300_000)  # in one step
            await asyncio.sleep(299)
        assert bench.log is not None
        late = [
            number for number in range(40) if bench.results.find(bench.key(number)) is Standing.HERE
        ]
        assert late == list(range(16, 40)) or late == list(range(17, 40))
        assert bench.log.size_bytes < 32 * 10_200
        assert await bench.results.read(bench.key(late[0])) is not None
        written = sum(len(batch) for batch in bench.log.appended)
        assert written < 40 + 10  # and a few records of what is known
        assert bench.results.find(bench.key(0)) is Standing.EXPIRED
        await bench.crash()
        await bench.start()
        assert bench.results.find(bench.key(0, 1)) is Standing.EXPIRED
        assert await bench.results.read(bench.key(39, 1)) is not None

    simulate(main, policy=SMALL)


def test_oldest_results_go_when_there_are_too_many_bytes() -> None:
    """The log stays below RESULT_MAX_BYTES, and a stretch of it."""

    async def main(bench: ResultsBench) -> None:
        for number in range(300):
            bench.store(number, b"x" * 10_000)
            await asyncio.sleep(0.01)
            if bench.log is not None:
                assert bench.log.size_bytes < MIB + 100_000
        assert bench.results.find(bench.key(299)) is Standing.HERE
        assert bench.results.find(bench.key(0)) is Standing.EXPIRED
        here = sum(bench.results.find(bench.key(number)) is Standing.HERE for number in range(300))
        assert here == len(bench.results)
        assert 85 <= here <= 105
        assert bench.results.expired_total == 300 - here

    simulate(main, policy=SMALL)


def test_large_results_go_with_the_stretches_their_chunks_are_in() -> None:
    """A result of which a part is gone is gone, and the newest one stays however large it is."""

    async def main(bench: ResultsBench) -> None:
        for number in range(6):
            bench.store(number, bytes([number]) * 700_000)
            await asyncio.sleep(1)
        found = [await bench.results.read(bench.key(number)) for number in range(6)]
        assert found[5] is not None
        assert found[5].result == bytes([5]) * 700_000
        assert found[0] is None
        assert len(bench.results.holdings.chunks) == len(bench.results)
        await bench.crash()
        await bench.start()
        assert await bench.results.read(bench.key(5, 1)) == found[5]
        assert bench.results.find(bench.key(0, 1)) is Standing.EXPIRED
        assert not bench.results.holdings.lost

    simulate(main, policy=SMALL)


def test_no_limit_keeps_everything() -> None:
    """0 means that nothing expires."""

    async def main(bench: ResultsBench) -> None:
        bench.store(1)
        await asyncio.sleep(10 * 365 * DAY_MS / 1000)
        assert bench.results.find(bench.key(1)) is Standing.HERE

    async def short(clock: SimulatedClock) -> None:
        bench = await ResultsBench(clock, policy=ResultPolicy(0, 0)).start()
        bench.store(1)
        await asyncio.sleep(100)
        clock.set_wall_clock(clock.now_us() * 2)
        await asyncio.sleep(100)
        assert bench.results.find(bench.key(1)) is Standing.HERE
        await bench.results.stop()

    run(short)


def test_forgotten_result_is_gone_for_good() -> None:
    """Also after a crash once it was told, and a new one with its key counts."""

    async def main(bench: ResultsBench) -> None:
        for number in range(3):
            bench.store(number)
        await asyncio.sleep(0.1)
        bench.forget(0)
        bench.forget(1)
        assert bench.results.find(bench.key(1)) is not Standing.HERE
        assert bench.forgotten == []
        await asyncio.sleep(0.1)
        assert bench.forgotten == [0, 1]
        assert bench.log is not None
        assert [payload[0] for payload in bench.log.appended[-1]] == [65], "one record for both"
        again = bench.store(1, b"again")
        await asyncio.sleep(0.1)
        await bench.crash()
        await bench.start()
        assert await bench.results.read(again.key) == again
        assert await bench.results.read(bench.key(0, 1)) is None
        assert await bench.results.read(bench.key(2, 1)) is not None

    simulate(main)


def test_stalled_disk_is_told_and_results_come_when_it_moves_again() -> None:
    """After a second slow, after five stalled; nothing is refused, nothing is lost."""

    async def test(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(1)
        assert bench.stored == [0]
        assert bench.log is not None
        bench.log.append_s = 30.0
        bench.store(1)
        await asyncio.sleep(0.9)
        assert bench.paces == []
        await asyncio.sleep(0.2)
        assert bench.paces == [Pace.SLOW]
        await asyncio.sleep(4)
        assert bench.paces == [Pace.SLOW, Pace.STALLED]
        assert (bench.results.pace, bench.results.stalls_total) == (Pace.STALLED, 1)
        bench.store(2)
        bench.log.append_s = 0.01
        await asyncio.sleep(26)
        assert bench.stored == [0, 1, 2]
        assert bench.results.pace is not Pace.STALLED
        assert bench.told == {0: None, 1: None, 2: None}

    simulate(test)


def test_results_wait_in_order_while_the_disk_is_full() -> None:
    """Nobody is told anything until there is space; then all are stored as they came."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(0.1)
        assert bench.log is not None
        bench.log.space = Space.RESERVE
        for number in range(1, 10):
            bench.store(number)
            await asyncio.sleep(0.3)
        assert bench.results.full
        assert bench.told == {0: None}
        bench.forget(0)
        await asyncio.sleep(1)
        assert bench.forgotten == [0], "what is kept back is for this"
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(1.5)
        assert bench.stored == list(range(10))
        assert bench.space == [True, False]
        assert bench.results.waiting_bytes == 0

    simulate(main)


def test_more_is_refused_when_too_much_waits() -> None:
    """The bound in memory; what was refused can be stored later."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(0.1)
        assert bench.log is not None
        bench.log.space = Space.NOTHING
        for number in range(1, 6):
            bench.store(number, b"x" * 10_000_000)
            await asyncio.sleep(0.5)
        assert bench.results.is_behind
        assert bench.told == {0: None, 5: "disk_full"}
        bench.store(6)
        assert bench.told[6] == "disk_full"
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(40)
        bench.store(6)
        await asyncio.sleep(1)
        assert bench.stored == [0, 1, 2, 3, 4, 6]
        assert not bench.results.is_behind

    simulate(main)


def test_large_result_goes_on_where_space_ran_out() -> None:
    """No chunk is written twice: in vain it would take space until its neighbours expire."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(0.1)
        assert bench.log is not None
        bench.log.capacity_bytes = 4 * MIB
        large = bench.store(1, bytes(range(256)) * 20_480)
        await asyncio.sleep(30)
        bench.store(2)
        await asyncio.sleep(5)
        assert bench.told == {0: None}
        bench.log.capacity_bytes = None
        await asyncio.sleep(5)
        assert bench.stored == [0, 2, 1]
        assert await bench.results.read(large.key) == large
        chunks = [payload for _, payload in bench.log.records if payload[0] == 2]
        assert len(chunks) == 20

    simulate(main)


def test_result_is_tried_again_when_something_is_lacking_for_a_while() -> None:
    """Without descriptors or memory nothing is lost."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(0.1)
        log = bench.log
        assert log is not None
        append = log.append

        def lacking(batch, *, urgent=False):  # type: ignore[no-untyped-def]  # as what it stands for
            done = asyncio.get_running_loop().create_future()
            done.set_exception(LogBusy("no descriptors"))
            return done

        log.append = lacking  # type: ignore[method-assign]  # a fault is put in its place
        bench.store(1)
        bench.store(2, b"x" * 600_000)
        await asyncio.sleep(3)
        assert bench.stored == [0]
        log.append = append  # type: ignore[method-assign]  # a fault is put in its place
        await asyncio.sleep(3)
        assert sorted(bench.stored) == [0, 1, 2]

    simulate(main)


def test_process_ends_when_the_log_fails_once_it_is_open() -> None:
    """Whoever waits is told, and nothing is stored any more."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(0.1)
        assert bench.log is not None
        bench.log.broken = True
        bench.store(1)
        bench.store(2, b"x" * 600_000)
        await asyncio.sleep(1)
        assert bench.told == {0: None, 1: "log_failed"}
        bench.store(3)
        assert bench.told[3] == "log_failed"
        assert len(bench.failures) == 1
        bench.failures.clear()

    simulate(main)


def test_damaged_record_ends_the_process_when_it_is_read() -> None:
    """A disk that gives back something else is told of once, and to who asked."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(0.1)
        assert bench.log is not None

        async def damaged(positions):  # type: ignore[no-untyped-def]  # as what it stands for
            raise LogCorrupt("there", 5, "the checksum does not fit")

        bench.log.read = damaged  # type: ignore[method-assign]  # a fault is put in its place
        for _ in range(2):
            with pytest.raises(LogCorrupt):
                await bench.results.read(bench.key(0))
        assert len(bench.failures) == 1
        bench.failures.clear()

    simulate(main)


def test_result_that_expires_while_it_is_read_is_none() -> None:
    """No error: it is not there any more."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(0.1)
        assert bench.log is not None
        bench.log.read_s = 1.0
        reading = asyncio.ensure_future(bench.results.read(bench.key(0)))
        await asyncio.sleep(0.5)
        bench.forget(0)
        await asyncio.sleep(0.1)
        await bench.log.trim(1 << 60)
        assert await reading is None

    simulate(main)


def test_result_with_a_lost_chunk_is_told_of_after_a_repair() -> None:
    """Where a repair left a part out it is lost; where a part was trimmed it had expired."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        bench.store(1, b"x" * 600_000)
        bench.store(2, b"y" * 600_000)
        await asyncio.sleep(1)
        assert bench.log is not None
        (large,) = [
            p for _, p in bench.log.records if p[0] == 64 and result_facts(p).number == FIRST + 1
        ]
        chunks = result_facts(large).chunks
        assert chunks is not None
        await bench.crash()
        bench.log._positions.remove(chunks[1])
        await bench.start()
        assert bench.results.holdings.lost == {bench.key(1, 1)}
        assert bench.results.find(bench.key(1, 1)) is Standing.EXPIRED
        assert await bench.results.read(bench.key(2, 1)) is not None
        await bench.crash()
        await bench.log.trim(chunks[1] + 1)
        await bench.start()
        assert not bench.results.holdings.lost

    simulate(main)


def test_log_of_a_newer_version_is_refused() -> None:
    """A kind of record that is not known may change what others mean."""

    async def main(clock: SimulatedClock) -> None:
        log = FaultyLog()
        await log.open("x", 0)
        await log.append([b"\x7f"])
        with pytest.raises(LogTooNew):
            await ResultsBench(clock, log=log).start()

    run(main)


def test_order_of_ends_does_not_matter_where_calls_ended_long_before() -> None:
    """A result that is stored late, with an old end, expires by its end."""

    async def main(bench: ResultsBench) -> None:
        now = bench.clock.now_us()
        bench.store(1, ended_us=now - (DAY_MS - 60_000) * 1000)
        bench.store(2)
        await asyncio.sleep(0.1)
        assert bench.results.find(bench.key(1)) is Standing.HERE
        await asyncio.sleep(70)
        assert bench.results.find(bench.key(1)) is Standing.EXPIRED
        assert bench.results.find(bench.key(2)) is Standing.HERE

    simulate(main)


def test_stop_stores_what_came_and_leaves_the_rest_for_the_next_start() -> None:
    """Idempotent; what waits for space is told nothing."""

    async def main(bench: ResultsBench) -> None:
        bench.store(0)
        await asyncio.sleep(0.1)
        bench.store(1)
        await bench.results.stop()
        assert bench.told == {0: None, 1: None}
        await bench.results.stop()
        bench.store(2)
        assert bench.told[2] == "shutting_down"
        await bench.start()
        assert bench.log is not None
        bench.log.space = Space.NOTHING
        bench.store(3)
        bench.store(4, b"x" * 600_000)
        await asyncio.sleep(0.5)
        await bench.results.stop()
        assert 3 not in bench.told
        assert 4 not in bench.told

    simulate(main)


def test_ranges_of_what_was_known_are_bounded() -> None:
    """A process that is restarted for ever does not fill the log with them."""

    async def main(clock: SimulatedClock) -> None:
        log = FaultyLog()
        await log.open("x", 0)
        await log.append([encode_known([(number, 1, 2)]) for number in range(300)])  # type: ignore[list-item]  # a plain tuple will do
        await log.append([encode_forgotten([7])])
        bench = await ResultsBench(clock, log=log).start()
        assert len(bench.results.holdings.known) == 256
        assert bench.results.holdings.known.has(299, 1)
        assert not bench.results.holdings.known.has(3, 1)
        await bench.results.stop()

    run(main)


def test_pages_have_every_result_once_the_last_stored_first() -> None:
    """Also while others come and go."""

    async def main(bench: ResultsBench) -> None:
        assert await bench.results.page(None, 10) == []
        expected = []
        for number in range(25):
            expected.append(bench.store(number, b"x" * 20_000))
            await asyncio.sleep(0.02)
        expected.append(bench.store(30, b"l" * 300_000))
        await asyncio.sleep(0.1)
        bench.forget(20)
        found = []
        before = None
        while page := await bench.results.page(before, 7):
            assert len(page) <= 7
            found += [one for _, one in page]
            before = page[-1][0]
            assert before < FIRST
            bench.store(40 + len(found))
            await asyncio.sleep(0.02)
        expected[25] = replace(expected[25], result=b"")
        del expected[20]
        assert found == expected[::-1]

    simulate(main, policy=SMALL)


@pytest.mark.parametrize("seed", range(12))
def test_log_has_what_a_model_has_whatever_happens(seed: int) -> None:
    """Results come, are replaced and forgotten, time passes, the disk fills up, power fails: what
    was told to be durable is there as long as it may be kept, and nothing else is."""
    random = Random(seed)
    policy = ResultPolicy(600_000, 0)

    async def main(bench: ResultsBench) -> None:
        told: dict[int, StoredResult] = {}
        unsure: dict[int, list[StoredResult | None]] = {}

        def store(number: int) -> None:
            body = random.randbytes(random.choice((5, 900, 40_000, 270_000, 530_000)))
            result = bench.result(number, body, key=bench.key(number, 1))
            unsure.setdefault(number, [told.get(number)]).append(result)

            def then(refusal: Refusal | None) -> None:
                if refusal is None:
                    told[number] = result
                    del unsure[number]

            bench.results.store(result, then)

        def forget(number: int) -> None:
            key = bench.key(number, 1)
            unsure[number] = [told.get(number), None]

            def then(refusal: Refusal | None) -> None:
                if refusal is None:
                    told.pop(number, None)
                    del unsure[number]

            bench.results.forget(key, then)

        for _ in range(60):
            number = random.randrange(20)
            act = random.random()
            if act < 0.6 and number not in unsure:
                store(number)
            elif act < 0.75 and number not in unsure:
                forget(number)
            elif act < 0.8 and bench.log is not None:
                bench.log.space = random.choice(list(Space))
            elif act < 0.85 and bench.log is not None:
                bench.log.space = Space.ENOUGH
                bench.log.append_s = random.choice((0, 0.01))
            elif act < 0.92:
                await bench.crash(keep_batch=random.random() < 0.5)
                await bench.start()
                await _settle(bench, told, unsure)
            await asyncio.sleep(random.choice((0, 0.001, 0.1, 3, 30)))
            await _compare(bench, told, unsure)
        if bench.log is not None:
            bench.log.space = Space.ENOUGH
        await asyncio.sleep(20)
        assert not unsure
        await _compare(bench, told, unsure)
        await asyncio.sleep(700)
        assert not len(bench.results)
        assert bench.results.size_bytes == 0
        assert not bench.results.holdings.chunks
        assert not any(extent.live for extent in bench.results.holdings.extents)

    simulate(main, policy=policy)


Unsure = dict[int, list[StoredResult | None]]


async def _settle(bench: ResultsBench, told: dict[int, StoredResult], unsure: Unsure) -> None:
    """After a crash: of what nobody was told, one of the things that may be is."""
    for number, may_be in unsure.items():
        found = await bench.results.read(bench.key(number, 1))
        alive = [one if one is not None and _is_kept(bench, one) else None for one in may_be]
        assert found in alive
        told.pop(number, None)
        if found is not None:
            told[number] = found
    unsure.clear()


async def _compare(bench: ResultsBench, told: dict[int, StoredResult], unsure: Unsure) -> None:
    for number in range(20):
        if number in unsure:
            continue
        found = await bench.results.read(bench.key(number, 1))
        expected = told.get(number)
        if expected is not None and not _is_kept(bench, expected):
            expected = None
        assert found == expected


def _is_kept(bench: ResultsBench, result: StoredResult) -> bool:
    now_s = (bench.clock.now_us() - 600_000_000) // 1_000_000
    return result.ended_us // 1_000_000 > now_s


def test_results_take_little_memory() -> None:
    """60 bytes each, about: a million are 60 MB."""
    payloads = [
        encode_result(
            StoredResult(
                key_of(7, FIRST + number),
                *("f", "http://a", "", "app", 0, 0, 1_704_067_200_000_000, How.OK, "ok"),
                is_error=False,
                attempts=0,
                steps=0,
                restarts=0,
                result=b"x" * 60,
            )
        )
        for number in range(8_000)
    ]
    tracemalloc.start()
    holdings = Holdings(ResultPolicy(DAY_MS, 0))
    position = 4096
    for payload in payloads:
        holdings.visit(position, payload)
        position += len(payload) + 32
    size, _ = tracemalloc.get_traced_memory()
    assert size < 60 * len(payloads)
    for _ in holdings.expire(1_704_067_200_000_000 + 2 * DAY_MS * 1000):
        pass
    assert holdings.droppable(is_full=False) is not None
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 100_000, "and it is given back with the last of them"
