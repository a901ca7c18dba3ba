"""`MAX_AGE`: what has waited for too long is given up, whatever it waits for, and at the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.core.retry import RetryPolicy
from dispatcher.queue.admin.surface import LetterFilter, MessageFilter, Touched
from dispatcher.queue.deadletters.burial import Burial
from dispatcher.queue.pending.ages import SURE_SECONDS
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.letters import decode_dead
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

AGE_S = 30


async def _accepted(bench: Bench, name: str, to: str = "a") -> str:
    """Accept a message now; its id."""
    sent = message(destination(to), name=name)
    sent.accepted_at = bench.clock.now_us()
    receipt = bench.accept(sent)
    await asyncio.sleep(0.01)
    assert isinstance(receipt.answer, Message)
    return receipt.answer.wire_id.decode()


def _simulate(test: Callable[[Bench], object], **options: object) -> Bench:
    return simulate(test, max_age_ms=AGE_S * 1000, **options)  # type: ignore[arg-type]  # a coroutine function


def _expired(bench: Bench) -> list[str]:
    return [sent.target for sent, reason in bench.notes.dead if reason == "expired"]


def test_messages_that_wait_for_their_turn_are_given_up_at_their_age() -> None:
    """Behind a destination that is held, and behind an attempt that hangs: a dead letter with
    `expired`, within a second of the time, each with its own; the others stay."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("http://held")
        await _accepted(bench, "held", "held")
        await _accepted(bench, "under-way")
        await asyncio.sleep(5)
        await _accepted(bench, "behind")
        await _accepted(bench, "later", "held")
        await asyncio.sleep(AGE_S - 5.1)
        assert _expired(bench) == []
        await asyncio.sleep(1.1)
        assert _expired(bench) == ["/held"]
        await asyncio.sleep(5)
        assert _expired(bench) == ["/held", "/behind", "/later"]
        assert bench.queue.pending.index.count == bench.queue.figures.in_flight == 1
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.1)
        assert bench.queue.figures.delivered_total == 1
        page = await bench.queue.admin.letters(LetterFilter(), cursor=0, limit=10)
        assert {(one.reason, one.last_error, one.attempts) for one in page.items} == {
            ("expired", "expired", 0)
        }
        groups = await bench.queue.admin.letter_groups(LetterFilter())
        assert {one.error for one in groups.items} == {"expired"}

    _simulate(test)


def test_message_that_waits_for_a_retry_is_given_up_at_its_age() -> None:
    """However long the delay is; its attempts are kept."""

    async def test(bench: Bench) -> None:
        await _accepted(bench, "asked")
        await asyncio.sleep(20)
        bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"20"))
        await asyncio.sleep(9.8)
        assert _expired(bench) == []
        await asyncio.sleep(1.2)
        assert _expired(bench) == ["/asked"]
        assert bench.queue.pending.index.count == 0
        (letter,) = [decode_dead(p) for _, p in bench.dead_log.records if p[0] == Kind.DEAD]
        assert (letter.reason, letter.message.attempt) == ("expired", 1)

    _simulate(test)


def test_no_attempt_starts_after_the_age_although_its_turn_comes() -> None:
    """A lane whose backlog is older than it may be: what is young enough goes on at once."""

    async def test(bench: Bench) -> None:
        for n in range(10):
            await _accepted(bench, f"old{n}")
        await asyncio.sleep(AGE_S - 5)
        for n in range(10):
            await _accepted(bench, f"young{n}")
        ages = bench.queue.pending.ages
        assert ages is not None
        await asyncio.sleep((ages.expires_us(9) - bench.queue.clock.now_us()) / 1_000_000)
        started = len(bench.deliverer.started)
        bench.end(bench.deliverer.flying[0])
        for _ in range(300):
            await asyncio.sleep(0.01)
            for sent in list(bench.deliverer.flying):
                bench.end(sent)
        names = [target for target, _ in bench.deliverer.started[started:]]
        assert names == [f"/young{n}" for n in range(10)]
        assert _expired(bench) == [f"/old{n}" for n in range(1, 10)]

    _simulate(test)


def test_retry_that_would_be_due_too_late_is_not_made() -> None:
    """It becomes ready at its last moment, and is given up then."""

    async def test(bench: Bench) -> None:
        await _accepted(bench, "retried")
        bench.end(bench.deliverer.flying[0], failed(500))
        for _ in range(2):
            await asyncio.sleep(12)
            bench.end(bench.deliverer.flying[0], failed(500, retry_after=b"20"))
        await asyncio.sleep(10)
        assert [attempt for _, attempt in bench.deliverer.started] == [1, 2, 3]
        assert _expired(bench) == ["/retried"]

    _simulate(test, policy=RetryPolicy(retry_limit=30, delay_ms=10_000, max_delay_ms=10_000))


def test_attempt_under_way_may_end_and_is_judged_then() -> None:
    """One that succeeds late is delivered, one that fails late is given up without another try."""

    async def test(bench: Bench) -> None:
        await _accepted(bench, "fails", "a")
        await _accepted(bench, "succeeds", "b")
        await asyncio.sleep(AGE_S + 5)
        fails, succeeds = bench.deliverer.flying
        bench.end(fails, failed(failure=Failure.TIMEOUT))
        bench.end(succeeds)
        await asyncio.sleep(0.1)
        assert _expired(bench) == ["/fails"]
        assert bench.queue.figures.delivered_total == 1
        assert bench.queue.pending.index.count == 0

    _simulate(test)


def test_age_counts_over_a_restart() -> None:
    """From the acceptance; a message that was redriven counts anew."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("http://held")
        await _accepted(bench, "old", "held")
        await asyncio.sleep(20)
        await _accepted(bench, "young", "held")
        await bench.crash()
        await bench.start()
        await asyncio.sleep(9.5)
        assert _expired(bench) == []
        await asyncio.sleep(1.5)
        assert _expired(bench) == ["/old"]
        (letter,) = (await bench.queue.admin.letters(LetterFilter(), cursor=0, limit=1)).items
        assert (await bench.queue.admin.redrive([letter.id])).count == 1
        await asyncio.sleep(20)
        assert _expired(bench) == ["/old", "/young"]
        await bench.stop()
        await bench.start()
        await asyncio.sleep(AGE_S - 1)
        assert bench.queue.pending.index.count == 1
        await asyncio.sleep(2)
        assert _expired(bench) == ["/old", "/young", "/old"]

    _simulate(test)


def test_redriven_message_makes_no_other_younger_at_a_restart() -> None:
    """It keeps its id, which is lower than theirs, and counts from the start."""

    async def test(bench: Bench) -> None:
        await _accepted(bench, "dies")
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.1)
        await bench.queue.admin.hold("http://a")
        await _accepted(bench, "behind")
        (letter,) = (await bench.queue.admin.letters(LetterFilter(), cursor=0, limit=1)).items
        assert (await bench.queue.admin.redrive([letter.id])).count == 1
        for _ in range(2):
            await asyncio.sleep(10)
            await bench.stop()
            await bench.start()
        await asyncio.sleep(AGE_S - 20.5)
        assert _expired(bench) == []
        await asyncio.sleep(1.5)
        assert _expired(bench) == ["/behind"]
        await asyncio.sleep(AGE_S)
        assert _expired(bench) == ["/behind", "/dies"]

    _simulate(test)


def test_message_accepted_by_a_clock_that_was_ahead_makes_no_other_younger_at_a_restart() -> None:
    """It counts from the start itself."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("http://held")
        bench.clock.set_wall_clock(bench.clock.now_us() + 86_400_000_000)
        await _accepted(bench, "ahead", "held")
        bench.clock.set_wall_clock(bench.clock.now_us() - 86_400_000_000)
        await _accepted(bench, "behind", "held")
        await asyncio.sleep(10)
        await bench.stop()
        await bench.start()
        await asyncio.sleep(AGE_S - 9)
        assert _expired(bench) == ["/behind"]

    _simulate(test)


async def _restart(bench: Bench, off_s: int) -> None:
    """Start again after so many seconds, as far as the wall clock says."""
    await bench.stop()
    bench.clock.set_wall_clock(bench.clock.now_us() + off_s * 1_000_000)
    await bench.start()


async def _two_waited(bench: Bench) -> None:
    """One to a destination that is held, one that can be sent."""
    await bench.queue.admin.hold("http://held")
    await _accepted(bench, "held", "held")
    await _accepted(bench, "waits")
    await asyncio.sleep(AGE_S // 2)


def test_start_with_the_clock_ahead_gives_nothing_up() -> None:
    """What is too old then waits until clocks were set, and others are sent meanwhile. By the right
    clock it has its time left: it is sent, or given up at its age."""
    month_s = 31 * 86_400

    async def test(bench: Bench) -> None:
        await _two_waited(bench)
        await _restart(bench, month_s)
        await _accepted(bench, "new", "b")
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(60)
        bench.clock.set_wall_clock(bench.clock.now_us() - month_s * 1_000_000)
        await asyncio.sleep(SURE_SECONDS - 61)
        assert [target for target, _ in bench.deliverer.started] == ["/waits", "/new"]
        await asyncio.sleep(2)
        assert [target for target, _ in bench.deliverer.started] == ["/waits", "/new", "/waits"]
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(3600 - SURE_SECONDS - AGE_S // 2 - 3)
        assert _expired(bench) == []
        await asyncio.sleep(3)
        assert _expired(bench) == ["/held"]

    simulate(test, max_age_ms=3_600_000)


def test_messages_that_became_too_old_while_no_server_ran_are_given_up_unsent() -> None:
    """As soon as that is sure; until then they say what they wait for."""

    async def test(bench: Bench) -> None:
        await _two_waited(bench)
        await _restart(bench, 3600)
        await asyncio.sleep(SURE_SECONDS - 1)
        assert _expired(bench) == []
        admin = bench.queue.admin
        (one,) = (await admin.waiting(MessageFilter("http://a"), cursor=0, limit=9)).items
        why = await admin.explain(one.id)
        assert why is not None
        assert "longer than MAX_AGE" in why.message
        assert why.until_us is not None
        assert 0 < why.until_us - bench.queue.clock.wall_us() <= 1_000_000
        # Not even for an operator, who is not told that it was retried.
        every = MessageFilter("http://a")
        for which in (every, [one.id]):
            assert await admin.retry_waiting(which) == Touched(not_found=[])
        assert (await admin.retry_destination("http://a")).retried == 0
        assert await admin.explain(one.id) == why
        await asyncio.sleep(3)
        assert sorted(_expired(bench)) == ["/held", "/waits"]
        assert len(bench.deliverer.started) == 1
        assert bench.queue.pending.index.count == bench.queue.figures.burying == 0

    _simulate(test)


def test_wall_clock_that_jumps_gives_nothing_up() -> None:
    """Only time that was seen to pass counts while the process lives."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("http://held")
        await _accepted(bench, "waits", "held")
        bench.clock.set_wall_clock(bench.clock.now_us() + 31 * 86_400_000_000)
        await asyncio.sleep(AGE_S - 1)
        assert _expired(bench) == []
        await asyncio.sleep(2)
        assert _expired(bench) == ["/waits"]

    _simulate(test)


def test_messages_that_expire_are_given_up_although_one_of_them_fails() -> None:
    """It fails loudly, and is tried again."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("http://held")
        for number in range(5):
            await _accepted(bench, str(number), "held")
        real, failures = bench.queue.dead_letters.bury, 0

        def bury(burial: Burial, then: Callable[[], None]) -> None:
            nonlocal failures
            if burial.message.target == "/1" and failures < 3:
                failures += 1
                raise RuntimeError("a mistake")
            real(burial, then)

        bench.queue.dead_letters.bury = bury  # type: ignore[method-assign]  # it has a mistake
        await asyncio.sleep(AGE_S + 1)
        assert _expired(bench) == ["/0", "/2", "/3", "/4"]
        await asyncio.sleep(10)
        assert _expired(bench) == ["/0", "/2", "/3", "/4", "/1"]
        assert bench.queue.figures.burying == 0
        assert [str(error) for _, error in bench.notes.deaths] == ["a mistake"] * 3

    _simulate(test)


@pytest.mark.parametrize("count", [1000])
def test_thousands_that_expire_at_once_do_not_fill_the_memory(count: int) -> None:
    """They are read back and buried some at a time."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("http://held")
        for number in range(count):
            bench.accept(message(destination("held"), bytes(20_000), name=str(number)))
        most = 0
        bench.dead_log.append_s = 0.01
        for _ in range(AGE_S * 10 + 300):
            await asyncio.sleep(0.1)
            most = max(most, bench.queue.dead_letters.waiting_bytes)
        assert len(_expired(bench)) == count
        assert 0 < most < 20 * 2**20
        assert bench.queue.figures.burying == bench.queue.pending.index.count == 0

    _simulate(test)
