"""Messages with a delay, a deadline or retries of their own, in a queue: through restarts, beside
`MAX_AGE`, and where two of these meet."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.queue.pending.ages import SURE_SECONDS
from dispatcher.queue.records.messages import encode_moved
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

S = 1_000_000
LACKING = replace(failed(), ours=True)
"""The result of an attempt that failed for a reason on this machine."""


async def _accepted(bench: Bench, terms: Terms | None, to: str = "a", name: str = "x") -> Message:
    """Accept a message now."""
    sent = message(destination(to), name=name)
    sent.accepted_at = bench.clock.now_us()
    sent.terms = terms
    receipt = bench.accept(sent)
    await asyncio.sleep(0.01)
    assert isinstance(receipt.answer, Message)
    return receipt.answer


def _in(bench: Bench, seconds: float) -> int:
    return bench.clock.now_us() + int(seconds * S)


def _dead(bench: Bench) -> list[str]:
    return [f"{sent.target} {reason}" for sent, reason in bench.notes.dead]


def test_deadline_is_kept_where_it_comes_before_the_first_attempt() -> None:
    """Nobody looks at that in a file that is imported: the message is given up at its deadline, and
    does not wait for its time first."""

    async def test(bench: Bench) -> None:
        terms = Terms(not_before_us=_in(bench, 3600), deadline_us=_in(bench, 5))
        await _accepted(bench, terms)
        await asyncio.sleep(4.9)
        assert _dead(bench) == []
        await asyncio.sleep(1)
        assert _dead(bench) == ["/x expired"]
        assert bench.deliverer.started == []

    simulate(test)


@pytest.mark.parametrize("held", [False, True])
def test_deadline_is_kept_while_it_is_not_sure_that_a_message_is_too_old(held: bool) -> None:
    """After a start with a clock that may be ahead, what is older than MAX_AGE is neither sent nor
    given up for minutes; its deadline does not wait for that."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("http://a")
        await _accepted(bench, Terms(deadline_us=_in(bench, 7210)))
        await bench.stop()
        bench.clock.set_wall_clock(_in(bench, 7200))
        await bench.start()
        if not held:
            await bench.queue.admin.resume("http://a")
        await asyncio.sleep(9.5)
        assert _dead(bench) == []
        await asyncio.sleep(1.5)
        assert _dead(bench) == ["/x expired"]
        assert bench.deliverer.started == []
        await asyncio.sleep(SURE_SECONDS)
        assert bench.queue.pending.index.count == 0

    simulate(test, max_age_ms=3_600_000)


def test_deadline_is_kept_of_a_message_that_rests() -> None:
    """Its attempt failed for a reason on this machine, and its destination is held meanwhile."""

    async def test(bench: Bench) -> None:
        await _accepted(bench, Terms(deadline_us=_in(bench, 5)))
        await asyncio.sleep(4.8)
        bench.end(bench.deliverer.flying[0], LACKING)
        await bench.queue.admin.hold("http://a")
        await asyncio.sleep(1.1)
        assert _dead(bench) == ["/x expired"]

    simulate(test)


def test_attempt_under_way_at_the_deadline_may_end() -> None:
    """Well, or not; what fails is not tried again."""

    async def test(bench: Bench) -> None:
        await _accepted(bench, Terms(deadline_us=_in(bench, 2)), name="well")
        await _accepted(bench, Terms(deadline_us=_in(bench, 2)), "b", name="badly")
        await _accepted(bench, Terms(deadline_us=_in(bench, 2)), "c", name="lacking")
        await asyncio.sleep(60)
        assert _dead(bench) == []
        well, badly, lacking = bench.deliverer.flying
        bench.end(well)
        bench.end(badly, failed(503))
        bench.end(lacking, LACKING)
        await asyncio.sleep(0.1)
        assert sorted(_dead(bench)) == ["/badly expired", "/lacking expired"]
        assert bench.queue.figures.delivered_total == 1

    simulate(test)


def test_very_many_deadlines_at_once_are_all_kept() -> None:
    """Also behind attempts that are under way longer than theirs."""

    async def test(bench: Bench) -> None:
        deadline_us = _in(bench, 10)
        for number in range(400):
            sent = message(destination(f"{number % 200}"), name=str(number))
            sent.terms = Terms(deadline_us=deadline_us)
            bench.accept(sent)
        await asyncio.sleep(9.9)
        flying = len(bench.deliverer.flying)
        assert flying >= 100
        await asyncio.sleep(1.1)
        assert len(_dead(bench)) == 400 - flying
        assert len(bench.deliverer.flying) == flying

    simulate(test, workers=150)


def test_retry_after_a_restart_waits_for_its_own_time() -> None:
    """And not for that of a message that is over, which had a bound of its own and the same place
    in the index."""

    async def test(bench: Bench) -> None:
        await _accepted(bench, Terms(retry_max_delay_ms=1), name="quick")
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(1)
        await _accepted(bench, None, name="slow")
        bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"20"))
        await asyncio.sleep(1)
        await bench.stop()
        bench.deliverer.started.clear()
        await bench.start()
        await asyncio.sleep(15)
        assert bench.deliverer.started == []
        await asyncio.sleep(5)
        assert bench.deliverer.started == [("/slow", 2)]

    simulate(test)


def test_message_that_may_wait_for_long_makes_no_other_wait() -> None:
    """Its own retries are as far apart as it wants; its destination is left alone for
    RETRY_MAX_DELAY at most."""

    async def test(bench: Bench) -> None:
        hour_ms = 3_600_000
        await _accepted(bench, Terms(retry_max_delay_ms=hour_ms), name="patient")
        bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"3600"))
        await _accepted(bench, None, name="other")
        await asyncio.sleep(19)
        assert bench.deliverer.started == [("/patient", 1)]
        await asyncio.sleep(1.5)
        assert bench.deliverer.started == [("/patient", 1), ("/other", 1)]
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(3570)
        assert len(bench.deliverer.started) == 2
        await asyncio.sleep(10)
        assert bench.deliverer.started[2:] == [("/patient", 2)]

    simulate(test)


def test_copy_of_a_delayed_message_waits_for_the_instant_that_was_chosen() -> None:
    """Also where the clock was set between its acceptance and the copy."""

    async def test(bench: Bench) -> None:
        at_us = _in(bench, 600)
        sent = await _accepted(bench, Terms(not_before_us=at_us))
        bench.queue.committer.copies.submit(encode_moved(sent, at_us + 3600 * S), _Nobody())
        bench.queue.committer.wake()
        await asyncio.sleep(1)
        await bench.stop()
        await bench.start()
        await asyncio.sleep(598)
        assert bench.deliverer.started == []
        await asyncio.sleep(2)
        assert bench.deliverer.started == [("/x", 1)]

    simulate(test)


def test_copy_of_a_message_that_rested_is_sent_at_once_after_a_start() -> None:
    """However far the clock was ahead when it was copied: a rest is not a delay that its caller
    chose, and it keeps its age."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("http://a")
        sent = await _accepted(bench, None)
        year_us = 365 * 86_400 * S
        bench.queue.committer.copies.submit(
            encode_moved(sent, bench.clock.now_us() + year_us), _Nobody()
        )
        bench.queue.committer.wake()
        await asyncio.sleep(10)
        await bench.stop()
        await bench.start()
        await asyncio.sleep(19)
        assert _dead(bench) == []
        await asyncio.sleep(2)
        assert _dead(bench) == ["/x expired"]

    simulate(test, max_age_ms=30_000)


class _Nobody:
    """Waits for nothing."""

    def stored(self, position: int) -> None:
        """It is durable."""

    def refused(self, refusal: object) -> None:
        """It is not."""
