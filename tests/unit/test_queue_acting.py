"""What operators do to many waiting messages: cancel them, and let them be due now."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.outcome import Failure
from dispatcher.core.rate import Rate
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.terms import Terms
from dispatcher.errors import LogBusy, Refused
from dispatcher.queue.admin import acting
from dispatcher.queue.admin.course import Course
from dispatcher.queue.admin.surface import (
    MessageFilter,
    MessageState,
    Reason,
    Touched,
)
from dispatcher.queue.commit.settlements import WAIT_SECONDS
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from tests.unit.test_queue_waiting import held, ids, put

EVERYTHING = MessageFilter()
HOUR_US = 3_600_000_000
SLOW = RetryPolicy(retry_limit=20, delay_ms=1_000_000, max_delay_ms=20_000_000)
HASTY = RetryPolicy(retry_limit=200, delay_ms=10, max_delay_ms=20_000_000)


async def delayed(bench: Bench, count: int, step_us: int, to: str = "a.example") -> list[str]:
    """Accept messages whose callers asked for them later, `step_us` apart, an hour from now on."""
    found = []
    for number in range(count):
        sent = message(destination(to), name=f"later-{number}")
        sent.terms = Terms(not_before_us=bench.clock.now_us() + HOUR_US + number * step_us)
        found.append(await put(bench, sent))
    return found


async def state_of(bench: Bench, message_id: str) -> MessageState | None:
    view = await bench.queue.admin.message(message_id)
    return None if view is None else view.state


def test_cancelling_by_filter_is_durable_and_leaves_what_is_in_flight() -> None:
    """What is counted is gone, also after a restart; the others are delivered."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        flies = await put(bench, message())
        waits = await held(bench, 3)
        later = await delayed(bench, 2, 1)
        others = await held(bench, 2, "b.example")
        which = MessageFilter(destination="http://a.example")
        would = await admin.count_waiting(which)
        assert would == Touched(ready=3, scheduled=2, in_flight=1, not_found=[])
        assert await ids(bench, EVERYTHING) == [flies, *waits, *later, *others]
        assert await admin.cancel_waiting(which) == would
        assert await ids(bench, EVERYTHING) == [flies, *others]
        await bench.crash()
        await bench.start()
        assert await ids(bench, EVERYTHING) == [flies, *others]

    simulate(test)


def test_cancelling_by_ids_names_those_that_do_not_wait() -> None:
    """Unknown, delivered and dead ones; twice the same id counts once."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        delivered = await put(bench, message())
        bench.end(bench.deliverer.flying[0])
        dead = await put(bench, message())
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.05)
        (waits, other) = await held(bench, 2)
        unknown = "0" * 28
        asked = [waits, delivered, dead, unknown, waits]
        would = Touched(ready=1, not_found=[delivered, dead, unknown])
        assert await admin.count_waiting(asked) == would
        assert await admin.cancel_waiting(asked) == would
        assert await ids(bench, EVERYTHING) == [other]

    simulate(test)


def test_messages_that_come_meanwhile_are_not_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter means what waited when it was asked for."""
    monkeypatch.setattr(acting, "_AT_ONCE", 1)

    async def test(bench: Bench) -> None:
        await held(bench, 3)
        cancelling = asyncio.create_task(bench.queue.admin.cancel_waiting(EVERYTHING))
        await asyncio.sleep(0)
        late = bench.accept(message(name="late"))
        assert (await cancelling).ready == 3
        assert late.answer is not None
        assert len(await ids(bench, EVERYTHING)) == 1

    simulate(test)


def test_cancelling_many_of_one_order_key_lets_nobody_start() -> None:
    """Each one that goes lets the next be first, and that is cancelled too before its turn."""

    async def test(bench: Bench) -> None:
        for number in range(6):
            sent = message(name=f"m{number}")
            sent.terms = Terms(order_key="k", not_before_us=bench.clock.now_us() + HOUR_US)
            await put(bench, sent)
        touched = await bench.queue.admin.cancel_waiting(MessageFilter(order_key="k"))
        assert touched == Touched(scheduled=6, not_found=[])
        await asyncio.sleep(7200)
        assert bench.deliverer.started == []

    simulate(test)


@pytest.mark.parametrize("step_us", [0, 5_000, 700_000, 90_000_000])
@pytest.mark.parametrize("at_once", [2, 3, 1000])
def test_what_waits_for_a_time_is_due_now(
    monkeypatch: pytest.MonkeyPatch, step_us: int, at_once: int
) -> None:
    """Whichever buckets they are in, and however few steps are made at once; the others wait on."""
    monkeypatch.setattr(acting, "_PULLED_AT_ONCE", at_once)

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        await admin.hold("a.example")
        await admin.hold("b.example")
        meant = await delayed(bench, 7, step_us)
        others = await delayed(bench, 7, step_us, "b.example")
        touched = await admin.retry_waiting(MessageFilter(destination="http://a.example"))
        assert touched == Touched(scheduled=7, not_found=[])
        ready = MessageFilter(state=MessageState.READY)
        assert await ids(bench, ready) == meant
        assert await ids(bench, MessageFilter(state=MessageState.SCHEDULED)) == others
        first = others[0]
        assert await admin.retry_waiting([first]) == Touched(scheduled=1, not_found=[])
        assert await ids(bench, ready) == [*meant, first]
        await asyncio.sleep(4300)
        assert set(await ids(bench, ready)) == {*meant, *others}
        await admin.resume("a.example")
        await admin.resume("b.example")
        for _ in range(100):
            for flying in list(bench.deliverer.flying):
                bench.end(flying)
            await asyncio.sleep(0.01)
        assert await ids(bench, EVERYTHING) == []
        assert len(bench.deliverer.started) == 14

    simulate(test)


class _Breaking(Course):
    """A course that fails after the first portion."""

    async def turn(self) -> bool:
        """Raise where the second portion would begin."""
        if self.done:
            raise LogBusy("no descriptors")
        return await super().turn()


def test_a_retry_that_fails_has_retried_what_it_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that it came to before are due now; the others wait on, and can be retried."""
    monkeypatch.setattr(acting, "_AT_ONCE", 2)

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        await admin.hold("a.example")
        later = await delayed(bench, 5, 90_000_000)
        with pytest.raises(LogBusy):
            await admin.retry_waiting(EVERYTHING, course=_Breaking())
        ready = MessageFilter(state=MessageState.READY)
        assert await ids(bench, ready) == later[:2]
        await admin.retry_waiting(EVERYTHING)
        assert await ids(bench, ready) == later

    simulate(test)


ACTS = ["cancel", "give_up", "redirect", "retry"]


async def act(bench: Bench, what: str, which: MessageFilter | list[str], course: Course) -> Touched:
    """One of them, by its name."""
    admin = bench.queue.admin
    match what:
        case "cancel":
            return await admin.cancel_waiting(which, course=course)
        case "give_up":
            return await admin.give_up_waiting(which, course=course)
        case "redirect":
            return await admin.redirect_waiting(which, "b.example", course=course)
        case _:
            return await admin.retry_waiting(which, course=course)


@pytest.mark.parametrize("by_ids", [False, True])
@pytest.mark.parametrize("what", ACTS)
def test_messages_are_changed_at_the_rate_of_a_course(what: str, by_ids: bool) -> None:
    """How many there are is known from the first one on; a rate is changed, and work cancelled, in
    between."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("a.example")
        await bench.queue.admin.hold("b.example")
        meant = await delayed(bench, 40, 90_000_000)
        course = Course(Rate(5, 1_000_000))
        which = meant if by_ids else MessageFilter(destination="http://a.example")
        acting = asyncio.create_task(act(bench, what, which, course))
        await asyncio.sleep(2.0)
        assert (9 <= course.done <= 12, course.total) == (True, 40)
        course.change_rate(Rate(20, 1_000_000))
        await asyncio.sleep(0.5)
        assert 18 <= course.done <= 23
        course.change_rate(Rate(1, 3_600_000_000))
        await asyncio.sleep(60)
        course.cancel()
        touched = await acting
        assert course.was_cut
        assert touched == Touched(scheduled=course.done, not_found=[])
        same = MessageFilter(destination="http://a.example", state=MessageState.SCHEDULED)
        assert await ids(bench, same) == meant[course.done :]

    simulate(test)


def test_what_a_paced_retry_came_to_is_sent_before_its_end() -> None:
    """It is due when it is counted, not when everything is done."""

    async def test(bench: Bench) -> None:
        await delayed(bench, 10, 90_000_000)
        course = Course(Rate(2, 1_000_000))
        retrying = asyncio.create_task(act(bench, "retry", EVERYTHING, course))
        await asyncio.sleep(2.1)
        assert not retrying.done()
        still = await ids(bench, MessageFilter(state=MessageState.SCHEDULED))
        assert (len(still), course.done) == (5, 5)
        await retrying

    simulate(test)


def test_what_goes_elsewhere_while_it_waits_for_its_turn_is_left_alone() -> None:
    """A filter by destination does not follow what another operator redirected meanwhile; one that
    was named and has ended is told as not found."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        meant = await held(bench, 4)
        await admin.hold("b.example")
        course = Course(Rate(1, 60_000_000))
        which = MessageFilter(destination="http://a.example")
        cancelling = asyncio.create_task(act(bench, "cancel", which, course))
        await asyncio.sleep(1)
        await admin.redirect(meant[1], "b.example")
        course.change_rate(None)
        assert await cancelling == Touched(ready=3, not_found=[])
        assert (course.done, course.missed, course.total) == (3, 1, 4)
        assert await ids(bench, EVERYTHING) == [meant[1]]
        named = await held(bench, 3)
        course = Course(Rate(1, 60_000_000))
        cancelling = asyncio.create_task(act(bench, "cancel", named, course))
        await asyncio.sleep(1)
        await admin.cancel(named[2])
        course.change_rate(None)
        assert await cancelling == Touched(ready=2, not_found=[named[2]])
        assert (course.done, course.missed, course.total) == (2, 1, 3)

    simulate(test)


@pytest.mark.parametrize("what", ["cancel", "give_up"])
def test_what_is_done_is_counted_where_the_rest_is_refused(what: str) -> None:
    """The messages of a portion whose sync is refused are gone all the same."""

    async def test(bench: Bench) -> None:
        await held(bench, 3)
        bench.log.append_s = bench.dead_log.append_s = 2 * WAIT_SECONDS
        course = Course()
        with pytest.raises(Refused):
            await act(bench, what, EVERYTHING, course)
        assert course.done == 3

    simulate(test)


def test_retries_wait_again_after_a_restart() -> None:
    """A delay that a caller asked for is in the record; that it was ended is not."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("a.example")
        (later,) = await delayed(bench, 1, 0)
        await bench.queue.admin.retry_waiting([later])
        assert await state_of(bench, later) is MessageState.READY
        await bench.crash()
        await bench.start()
        assert await state_of(bench, later) is MessageState.SCHEDULED

    simulate(test)


def test_what_is_due_already_is_counted_apart() -> None:
    """Nothing is done to it: its turn, or its destination, is what it waits for."""

    async def test(bench: Bench) -> None:
        await held(bench, 2)
        await put(bench, message(destination("b.example")))
        touched = await bench.queue.admin.retry_waiting(EVERYTHING)
        assert touched == Touched(ready=2, in_flight=1, not_found=[])

    simulate(test)


def test_a_delay_ends_for_a_message_that_waits_for_its_key_too() -> None:
    """It goes as soon as those before it are done."""

    async def test(bench: Bench) -> None:
        first = message(name="first")
        first.terms = Terms(order_key="k")
        await put(bench, first)
        second = message(name="second")
        second.terms = Terms(order_key="k", not_before_us=bench.clock.now_us() + HOUR_US)
        later = await put(bench, second)
        assert await bench.queue.admin.retry_waiting([later]) == Touched(scheduled=1, not_found=[])
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.1)
        assert [one.target for one in bench.deliverer.flying] == ["/second"]

    simulate(test)


async def broken(bench: Bench, count: int = 12) -> list[str]:
    """Let a destination fail until its breaker opens."""
    sent = [await put(bench, message(name=f"m{number}")) for number in range(count)]
    while bench.queue.lanes.of(destination()).peer.breaker.state.value != "open":
        for flying in list(bench.deliverer.flying):
            bench.end(flying, failed(failure=Failure.CONNECTION))
        await asyncio.sleep(0.02)
    return sent


def test_a_destination_with_an_open_breaker_is_probed_at_once() -> None:
    """By one real message; when that goes well all of them follow, those too that waited for their
    next attempt."""

    async def test(bench: Bench) -> None:
        sent = await broken(bench)
        before = len(bench.deliverer.started)
        tried = await bench.queue.admin.retry_destination("a.example")
        assert (tried.destination, tried.was_open, tried.held) == ("http://a.example", True, False)
        assert tried.waiting == len(sent)
        assert await ids(bench, MessageFilter(state=MessageState.SCHEDULED)) == []
        assert len(bench.deliverer.started) == before + 1
        for _ in range(100):
            for flying in list(bench.deliverer.flying):
                bench.end(flying)
            await asyncio.sleep(0.01)
        assert await ids(bench, EVERYTHING) == []

    simulate(test, policy=SLOW)


def test_a_probe_that_fails_opens_the_breaker_again_for_longer() -> None:
    """Trying a destination by hand does not forget how often it failed."""

    async def test(bench: Bench) -> None:
        await broken(bench)
        admin = bench.queue.admin
        await admin.retry_destination("a.example")
        (flying,) = bench.deliverer.flying
        bench.end(flying, failed(failure=Failure.CONNECTION))
        await asyncio.sleep(0.01)
        breaker = bench.queue.lanes.of(destination()).peer.breaker
        assert breaker.state.value == "open"
        assert breaker.open_until_us - bench.queue.clock.now_us() > 1_900_000
        assert bench.deliverer.flying == []

    simulate(test, policy=HASTY)


def test_a_pause_that_a_destination_asked_for_is_ended() -> None:
    """Its messages are sent at once."""

    async def test(bench: Bench) -> None:
        first = await put(bench, message())
        bench.end(bench.deliverer.flying[0], failed(429, retry_after=b"1000"))
        second = await put(bench, message(name="second"))
        why = await bench.queue.admin.explain(second)
        assert why is not None
        assert why.reason is Reason.RETRY_AFTER
        tried = await bench.queue.admin.retry_destination("http://a.example:80")
        assert (tried.retried, tried.waiting, tried.was_open) == (1, 2, False)
        (flying,) = bench.deliverer.flying
        bench.end(flying)
        await asyncio.sleep(0.01)
        for flying in list(bench.deliverer.flying):
            bench.end(flying)
        await asyncio.sleep(0.01)
        assert await state_of(bench, first) is MessageState.DELIVERED
        assert await state_of(bench, second) is MessageState.DELIVERED

    simulate(test, policy=SLOW)


def test_a_hold_is_not_ended() -> None:
    """The answer says that it holds; nothing is sent before it is resumed."""

    async def test(bench: Bench) -> None:
        await held(bench, 2)
        tried = await bench.queue.admin.retry_destination("a.example")
        assert (tried.held, tried.waiting) == (True, 2)
        await asyncio.sleep(10)
        assert bench.deliverer.started == []
        nothing = await bench.queue.admin.retry_destination("none.example")
        assert (nothing.held, nothing.waiting, nothing.retried) == (False, 0, 0)
        with pytest.raises(ValueError, match="scheme"):
            await bench.queue.admin.retry_destination("ftp://none")

    simulate(test)
