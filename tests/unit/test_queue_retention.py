"""How long dead letters are kept: by time that was seen to pass, whatever the wall clock says."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.deadletters.retention import RetentionPolicy, expired
from dispatcher.queue.deadletters.uptime import NOTE_SECONDS
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.letters import _DEAD_V1, decode_dead, letter_facts
from dispatcher.testing.queue import Bench, simulate
from tests.unit.test_queue_admin import EVERYTHING, dead

DAY_US = 86_400_000_000
HOUR = RetentionPolicy(max_age_ms=3_600_000)


async def _kept(bench: Bench) -> list[str]:
    page = await bench.queue.admin.letters(EVERYTHING, cursor=0, limit=100)
    return [item.target[1:] for item in page.items]


def _turn(bench: Bench, days: int) -> None:
    bench.clock.set_wall_clock(bench.clock.now_us() + days * DAY_US)


@pytest.mark.parametrize("restarts", [False, True])
def test_letter_that_died_while_the_clock_was_ahead_holds_up_no_other(restarts: bool) -> None:
    """It is dropped when its time has passed, and so are those that died after it."""

    async def test(bench: Bench) -> None:
        await dead(bench, "before")
        _turn(bench, 365)
        await dead(bench, "ahead")
        _turn(bench, -365)
        await dead(bench, "after")
        if restarts:
            await bench.stop()
            await bench.start()
        await asyncio.sleep(1800)
        await dead(bench, "young")
        assert len(await _kept(bench)) == 4
        await asyncio.sleep(1900)
        assert await _kept(bench) == ["young"]
        await asyncio.sleep(1900)
        assert await _kept(bench) == []

    simulate(test, retention=HOUR)


@pytest.mark.parametrize("seconds", [12, 3000])
def test_letters_are_kept_when_the_clock_jumps_a_month_ahead(seconds: int) -> None:
    """However long it stays there: that cannot be undone."""

    async def test(bench: Bench) -> None:
        await dead(bench, "kept")
        _turn(bench, 31)
        await asyncio.sleep(seconds)
        assert await _kept(bench) == ["kept"]
        _turn(bench, -31)
        await bench.stop()
        _turn(bench, 31)
        await bench.start()
        await asyncio.sleep(500)
        assert await _kept(bench) == ["kept"]

    simulate(test, retention=HOUR)


@pytest.mark.parametrize("ends", ["stopped", "crashed"])
def test_letters_do_not_age_while_nothing_runs_and_go_on_where_they_were(ends: str) -> None:
    """A machine that was off for a month drops nothing at its start. What a crash forgets of the
    time that passed is a minute."""

    async def test(bench: Bench) -> None:
        await dead(bench, "kept")
        for _ in range(4):
            await asyncio.sleep(800)
            await (bench.stop() if ends == "stopped" else bench.crash())
            _turn(bench, 31)
            await bench.start()
        assert await _kept(bench) == ["kept"]
        await asyncio.sleep(3600 - 4 * 800 + (20 if ends == "stopped" else 4 * NOTE_SECONDS + 60))
        assert await _kept(bench) == []

    simulate(test, retention=HOUR)


def test_letter_is_not_dropped_a_moment_too_early() -> None:
    """Ages are whole seconds: rounded so that it is kept for all of its time."""

    async def test(bench: Bench) -> None:
        await asyncio.sleep(0.55)
        await dead(bench, "one")
        died = asyncio.get_running_loop().time()
        while await _kept(bench):
            await asyncio.sleep(0.05)
            await bench.queue.retention.drop()
        assert 2.0 <= asyncio.get_running_loop().time() - died < 3.2

    simulate(test, retention=RetentionPolicy(max_age_ms=2_000))


def test_uptime_is_not_written_down_when_there_is_nothing_that_it_matters_to() -> None:
    """An idle server without dead letters, or without a retention time, leaves its disk alone."""

    async def test(bench: Bench) -> None:
        await asyncio.sleep(1000)
        assert not bench.dead_log.appended

    simulate(test, retention=HOUR)


def test_letter_of_version_1_died_at_uptime_0() -> None:
    """Its record does not know better; it is read for ever."""

    async def test(bench: Bench) -> None:
        await dead(bench, "one")
        (payload,) = [one for _, one in bench.dead_log.records if one[0] == Kind.DEAD]
        size = _DEAD_V1.size
        old = bytes([Kind.DEAD_V1]) + payload[1:size] + payload[size + 4 :]
        new = decode_dead(payload)
        read = decode_dead(old)
        assert (read.message.wire_id, read.message.head) == (new.message.wire_id, new.message.head)
        assert (read.reason, read.uptime_s) == (new.reason, 0)
        letters = Letters()
        letters.add(letter_facts(old), 1, 100)
        policy = RetentionPolicy(max_age_ms=5_000)
        assert expired(letters, policy, 4, most=10) == ([], "bytes")
        assert expired(letters, policy, 5, most=10) == ([new.message.wire_id], "age")

    simulate(test)
