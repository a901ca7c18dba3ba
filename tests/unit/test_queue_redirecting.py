"""Messages that wait and are sent to another destination, because an operator says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from dispatcher.core.flow import parse_flow
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.errors import Refused
from dispatcher.queue.admin.course import Course
from dispatcher.queue.admin.surface import (
    Cancelled,
    LetterFilter,
    MessageFilter,
    MessageState,
    Touched,
)
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.partition import Partition
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from tests.unit.test_queue_admin import accepted, big

OLD, NEW = "a.example", "https://b.example:8443"


def _held(test: Callable[[Bench], Coroutine[None, None, None]], **options: object) -> Bench:
    """With both destinations held."""

    async def main(bench: Bench) -> None:
        for place in (OLD, NEW):
            await bench.queue.admin.hold(place)
        await test(bench)

    return simulate(main, **options)


async def _with_terms(bench: Bench, name: str, terms: Terms, to: str = OLD) -> str:
    sent = message(destination(to), name=name)
    sent.terms = terms
    sent.accepted_at = bench.clock.now_us()
    receipt = bench.accept(sent)
    await asyncio.sleep(0.01)
    assert isinstance(receipt.answer, Message)
    return receipt.answer.wire_id.decode()


async def _resume(bench: Bench) -> None:
    for place in (OLD, NEW):
        await bench.queue.admin.resume(place)
    await asyncio.sleep(0.01)


def _flying(bench: Bench) -> list[tuple[str, str, int]]:
    return [(one.target, str(one.destination), one.attempt) for one in bench.deliverer.flying]


async def _restart(bench: Bench, *, keep: bool = False) -> None:
    await bench.crash(keep_batch=keep)
    await bench.start()


def _is_tidy(bench: Bench) -> bool:
    """Whether nothing is left of what was moved."""
    queue = bench.queue
    index = queue.pending.index
    return (
        index.count == index.live_bytes == queue.pending.timers.count == 0
        and not queue.pending.timers.lifted
        and all(lane.idle for lane in queue.lanes)
    )


@pytest.mark.parametrize("crashes", [False, True])
def test_message_that_waits_goes_to_another_destination_under_its_id(*, crashes: bool) -> None:
    """With its `Host`, and with fresh attempts; also after a crash."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench, "one")
        assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        view = await bench.queue.admin.message(message_id)
        assert view is not None
        assert (view.state, view.destination) == (MessageState.READY, NEW)
        if crashes:
            await _restart(bench)
        await _resume(bench)
        assert _flying(bench) == [("/one", NEW, 1)]
        (sent,) = bench.deliverer.flying
        assert sent.wire_id.decode() == message_id
        assert sent.head == b"POST /one HTTP/1.1\r\nHost: b.example:8443\r\n"
        assert sent.body == b"hello"
        bench.end(sent)
        assert _is_tidy(bench)
        await asyncio.sleep(1)
        await _restart(bench)
        assert bench.queue.pending.index.count == 0

    _held(test)


@pytest.mark.parametrize("keep", [False, True])
def test_crash_while_it_is_redirected_leaves_it_at_one_of_the_two(*, keep: bool) -> None:
    """Whether the batch under way got there or not."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench, "one")
        bench.log.append_s = 1.0
        redirecting = asyncio.create_task(bench.queue.admin.redirect(message_id, NEW))
        await asyncio.sleep(1.5)
        assert not redirecting.done()
        await _restart(bench, keep=keep)
        await _resume(bench)
        await asyncio.sleep(5)
        assert [(where, n) for _, where, n in _flying(bench)] == [
            (NEW if keep else "http://a.example", 1)
        ]

    _held(test)


@pytest.mark.parametrize("ms", [0, 50, 300])
@pytest.mark.parametrize("crashes", [False, True])
def test_message_that_waits_for_a_retry_is_sent_elsewhere_at_once(
    ms: int, *, crashes: bool
) -> None:
    """Its attempts are over, and its timer starts nothing, whenever that comes."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench, "tried")
        bench.end(bench.deliverer.flying[0], failed(503))
        bench.log.append_s = ms / 1000
        assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        bench.log.append_s = 0.0
        await asyncio.sleep(0.05)
        if crashes:
            await _restart(bench)
            await asyncio.sleep(0.1)
        assert _flying(bench) == [("/tried", NEW, 1)]
        assert not bench.deliverer.flying[0].history
        await asyncio.sleep(10)
        assert len(bench.deliverer.flying) == 1
        bench.end(bench.deliverer.flying[0], failed(503))
        await asyncio.sleep(10)
        assert _flying(bench) == [("/tried", NEW, 2)]
        bench.end(bench.deliverer.flying[0])
        assert _is_tidy(bench)

    simulate(test)


def test_attempts_that_are_not_written_yet_do_not_follow_it() -> None:
    """On a full disk what is known of attempts waits to be written; that is of the old one."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench, "tried")
        bench.log.space = Space.RESERVE
        other = bench.accept(message(name="refused"))
        await asyncio.sleep(0.1)
        assert other.answer is not None
        bench.end(bench.deliverer.flying[0], failed(503, retry_after=b"15"))
        assert bench.queue.pending.unwritten
        with pytest.raises(Refused):
            await bench.queue.admin.redirect(message_id, NEW)
        assert bench.queue.pending.unwritten
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(3)
        assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        await asyncio.sleep(1)
        await _restart(bench)
        await asyncio.sleep(0.1)
        assert _flying(bench) == [("/tried", NEW, 1)]

    simulate(test)


def test_time_that_its_caller_chose_is_kept() -> None:
    """It waits for that, and is sent to the other one then, also after a crash."""

    async def test(bench: Bench) -> None:
        later = Terms(not_before_us=bench.clock.now_us() + 60_000_000)
        ids = [await _with_terms(bench, f"n{n}", later) for n in range(2)]
        for message_id in ids:
            assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        view = await bench.queue.admin.message(ids[0])
        assert view is not None
        assert view.state is MessageState.SCHEDULED
        await asyncio.sleep(58)
        assert not bench.deliverer.flying
        await _restart(bench)
        await asyncio.sleep(0.1)
        assert not bench.deliverer.flying
        await asyncio.sleep(3)
        assert len(_flying(bench)) == 1
        assert _flying(bench)[0] in [("/n0", NEW, 1), ("/n1", NEW, 1)]

    simulate(test)


def test_deadline_is_kept() -> None:
    """It expires where it is then."""

    async def test(bench: Bench) -> None:
        terms = Terms(deadline_us=bench.clock.now_us() + 30_000_000)
        message_id = await _with_terms(bench, "one", terms)
        assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        await asyncio.sleep(31)
        page = await bench.queue.admin.letters(LetterFilter(), cursor=0, limit=10)
        assert [(one.reason, one.destination) for one in page.items] == [("expired", NEW)]

    _held(test)


def test_age_is_kept() -> None:
    """MAX_AGE counts from acceptance, in the order of ages."""

    async def test(bench: Bench) -> None:
        first = await accepted(bench, "first")
        await asyncio.sleep(10)
        second = await accepted(bench, "second")
        await asyncio.sleep(10)
        await accepted(bench, "third")
        for message_id in (second, first):
            assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        dead: list[str] = []
        for _ in range(3):
            dead.append(" ".join(sorted(one.target for one, _ in bench.notes.dead)))
            await asyncio.sleep(10.5)
        assert dead == ["", "/first", "/first /second"]

    _held(test, max_age_ms=30_000)


def test_large_body_stays_where_it_is() -> None:
    """It is not written again; it is there afterwards, and after the log is compacted too."""

    async def test(bench: Bench) -> None:
        message_id = await big(bench)
        before = bench.log.size_bytes
        assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        assert bench.log.size_bytes < before + CHUNK_BYTES
        await bench.queue.space.copy(list(bench.queue.pending.extents))
        await _restart(bench)
        await _resume(bench)
        (sent,) = bench.deliverer.flying
        assert sent.chunks is not None
        body = await bench.queue.settling.read_body(list(sent.chunks))
        assert [len(piece) for piece in body] == [CHUNK_BYTES] * 3
        bench.end(sent)
        assert _is_tidy(bench)

    _held(test)


@pytest.mark.parametrize("ms", range(0, 100, 17))
@pytest.mark.parametrize("is_big", [False, True])
def test_message_that_is_copied_forward_meanwhile_stays_redirected(
    ms: int, *, is_big: bool
) -> None:
    """A copy of what it was, behind the record that moves it, would bring it back."""

    async def test(bench: Bench) -> None:
        message_id = await (big(bench) if is_big else accepted(bench))
        bench.log.append_s, bench.log.read_s = 0.01, 0.02
        copying = asyncio.create_task(bench.queue.space.copy([bench.queue.pending.extents.oldest]))
        await asyncio.sleep(ms / 1000)
        assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        await copying
        await asyncio.sleep(1)
        bench.log.append_s = bench.log.read_s = 0.0
        await _restart(bench)
        await _resume(bench)
        assert [where for _, where, _ in _flying(bench)] == [NEW]
        (sent,) = bench.deliverer.flying
        if is_big:
            assert sent.chunks is not None
            await bench.queue.settling.read_body(list(sent.chunks))

    _held(test, reclaim=ReclaimPolicy(dead_end_bytes=1))


def test_idempotency_key_stays_at_the_old_destination() -> None:
    """There its caller sends the same again; the new one does not know it. So it is after a crash,
    after compaction, and once it is delivered, until the window is over."""

    async def test(bench: Bench) -> None:
        terms = Terms(idempotency_key="k")
        message_id = await _with_terms(bench, "one", terms)
        assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE

        async def again(to: str) -> object:
            sent = message(destination(to), name="one")
            sent.terms = terms
            sent.accepted_at = bench.clock.now_us()
            receipt = bench.accept(sent)
            await asyncio.sleep(0.1)
            return receipt.answer

        assert await again(OLD) == message_id.encode()
        other = await again(NEW)
        assert isinstance(other, Message)
        for _ in range(2):
            await bench.queue.space.copy(list(bench.queue.pending.extents))
            await _restart(bench)
            assert await again(OLD) == message_id.encode()
            assert await again(NEW) == other.wire_id
        await _resume(bench)
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.1)
        await _restart(bench)
        assert await again(OLD) == message_id.encode()

    _held(test, prepare=_small_extents)


def _small_extents(queue: Partition) -> None:
    """What is copied out of the newest one, and into it, is copied until it is full."""
    queue.pending.extents.extent_bytes = 1000


def test_order_key_goes_along_and_lines_up_behind_those_that_are_there() -> None:
    """One at a time, in the order in which they came; also after a crash."""

    async def main(bench: Bench, *, crashes: bool) -> list[str]:
        keyed = Terms(order_key="k")
        ids = [await _with_terms(bench, f"old{n}", keyed) for n in range(3)]
        await _with_terms(bench, "new0", keyed, NEW)
        for message_id in ids[:2]:
            assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        await _with_terms(bench, "new1", keyed, NEW)
        if crashes:
            await _restart(bench)
        await _resume(bench)
        sent: list[str] = []
        while bench.deliverer.flying:
            assert len([one for one in bench.deliverer.flying if "b" in str(one.destination)]) < 2
            for one in list(bench.deliverer.flying):
                sent.append(one.target)
                bench.end(one)
            await asyncio.sleep(0.01)
        assert _is_tidy(bench)
        assert not len(bench.queue.lines)
        return [one for one in sent if one != "/old2"]

    for crashes in (False, True):
        sent: list[str] = []

        async def test(bench: Bench, crashes: bool = crashes, sent: list[str] = sent) -> None:
            sent.extend(await main(bench, crashes=crashes))

        _held(test)
        assert sent == ["/new0", "/old0", "/old1", "/new1"]


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (0, 1, 2), (1, 2), (0, 2)])
@pytest.mark.parametrize("is_refused", [False, True])
@pytest.mark.parametrize("holds", [False, True])
def test_those_left_of_an_order_key_keep_their_order(
    which: Sequence[int], *, is_refused: bool, holds: bool
) -> None:
    """Nobody overtakes one that is moved before it is sure to be moved: when that is refused, it is
    where it was."""

    async def test(bench: Bench) -> None:
        ids = [await _with_terms(bench, f"n{n}", Terms(order_key="k")) for n in range(4)]
        bench.log.append_s = 0.1
        bench.end(bench.deliverer.flying[0], failed(503))  # the first one waits for a retry
        if is_refused:
            bench.log.space = Space.RESERVE
        wanted = [ids[n].encode() for n in which]
        redirecting = asyncio.create_task(
            bench.queue.redirecting.redirect(wanted, destination(NEW))
        )
        await asyncio.sleep(2)
        bench.log.space = Space.ENOUGH
        try:
            assert await redirecting == wanted
        except Refused:
            assert is_refused
        await asyncio.sleep(15)
        sent: list[tuple[str, str]] = []
        while bench.deliverer.flying:
            for one in list(bench.deliverer.flying):
                sent.append((one.target, str(one.destination)))
                bench.end(one)
            await asyncio.sleep(1)
        for place in (NEW, "http://a.example"):
            there = [target for target, where in sent if where == place]
            assert there == sorted(there)
        moved = [] if is_refused else [f"/n{n}" for n in which]
        assert sorted(target for target, where in sent if where == NEW) == moved
        assert len(sent) == 4
        await asyncio.sleep(1)
        assert _is_tidy(bench)

    simulate(test, order_holds=holds)


@pytest.mark.parametrize("is_refused", [False, True])
def test_flow_key_goes_along(*, is_refused: bool) -> None:
    """It takes no place of it at the old destination any more, and waits for one at the new."""

    async def test(bench: Bench) -> None:
        terms = Terms(flow_key="f", flow=parse_flow("parallelism=1"))
        ids = [await _with_terms(bench, f"n{n}", terms) for n in range(3)]
        if is_refused:
            bench.log.space = Space.RESERVE
        for message_id in ids[:2]:
            try:
                assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
            except Refused:
                assert is_refused
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(5)
        await _resume(bench)
        flying = {one.target: str(one.destination) for one in bench.deliverer.flying}
        assert len(flying) == (1 if is_refused else 2)
        count = 0
        while bench.deliverer.flying:
            count += 1
            bench.end(bench.deliverer.flying[0])
            await asyncio.sleep(0.1)
        assert count == 3
        assert _is_tidy(bench)

    _held(test)


def test_message_in_flight_delivered_dead_or_unknown_is_not_redirected() -> None:
    """An attempt that is under way may reach the old destination."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        message_id = await accepted(bench)
        assert await admin.redirect(message_id, NEW) is Cancelled.IN_FLIGHT
        bench.end(bench.deliverer.flying[0])
        assert await admin.redirect(message_id, NEW) is Cancelled.DELIVERED
        assert await admin.redirect("0" * 28, NEW) is Cancelled.UNKNOWN
        with pytest.raises(ValueError, match="scheme"):
            await admin.redirect(message_id, "ftp://b.example")

    simulate(test)


@pytest.mark.parametrize("turns", range(12))
def test_message_is_redirected_or_sent_when_its_turn_comes_at_that_moment(turns: int) -> None:
    """One of the two, and the operator is told which."""

    async def test(bench: Bench) -> None:
        await accepted(bench, "first")
        second = await accepted(bench, "second")
        redirecting = asyncio.create_task(bench.queue.admin.redirect(second, NEW))
        for _ in range(turns):
            await asyncio.sleep(0)
        bench.end(bench.deliverer.flying[0])
        result = await redirecting
        await asyncio.sleep(0.1)
        assert (result, _flying(bench)) in [
            (Cancelled.DONE, [("/second", NEW, 1)]),
            (Cancelled.IN_FLIGHT, [("/second", "http://a.example", 1)]),
        ]

    simulate(test, workers=1)


def test_messages_are_redirected_a_few_at_once_when_there_are_many() -> None:
    """Each in a unit of its own."""

    async def test(bench: Bench) -> None:
        ids = [(await accepted(bench, f"n{n}")).encode() for n in range(300)]
        batches = bench.queue.batches
        assert await bench.queue.redirecting.redirect(ids, destination(NEW)) == ids
        assert bench.queue.batches - batches < 20
        await _restart(bench)
        (lane,) = [one for one in bench.queue.lanes if one.ready]
        assert (str(lane.destination), lane.ready) == (NEW, 300)

    _held(test)


def test_copy_forward_is_what_it_was_redirected_to_when_the_beginning_is_trimmed() -> None:
    """Also where nothing else of the message is left."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench, "one")
        assert await bench.queue.admin.redirect(message_id, NEW) is Cancelled.DONE
        await bench.queue.space.copy(list(bench.queue.pending.extents))
        slot = bench.queue.pending.index.position
        await bench.log.trim(max(slot))
        await _restart(bench)
        await _resume(bench)
        assert _flying(bench) == [("/one", NEW, 1)]

    _held(test, log=FaultyLog(segment_bytes=1))


async def _all_elsewhere(bench: Bench, **which: Any) -> Touched:
    return await bench.queue.admin.redirect_waiting(MessageFilter(**which), NEW)


def test_all_that_match_are_redirected_and_no_others() -> None:
    """Those in flight are counted; those that go there already stay as they are; ids of none are
    named."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        await admin.hold(NEW)
        await accepted(bench, "flies")
        ids = [await accepted(bench, f"n{n}") for n in range(5)]
        await accepted(bench, "other", "c.example")
        found = await _all_elsewhere(bench, destination="http://a.example")
        assert (found.ready, found.scheduled, found.in_flight) == (5, 0, 1)
        before = bench.log.size_bytes
        assert (await _all_elsewhere(bench, destination=NEW)).ready == 5
        assert bench.log.size_bytes == before
        found = await admin.redirect_waiting([*ids[:2], "0" * 28], "c.example")
        assert (found.ready, found.not_found) == (2, ["0" * 28])
        lanes = {one.destination: one.ready for one in (await admin.lanes()).items}
        assert (lanes[NEW], lanes["http://c.example"]) == (3, 2)
        assert (await admin.give_up_waiting(MessageFilter(destination=NEW))).ready == 3
        assert len(bench.queue.dead_letters) == 3

    simulate(test)


def test_order_of_a_key_is_that_of_acceptance_when_all_are_redirected() -> None:
    """Also where older ones were copied forward in the log, so that they lie behind younger
    ones."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        queue.pending.extents.extent_bytes = 200
        for n in range(6):
            await _with_terms(bench, f"n{n}", Terms(order_key="k"))
        await queue.space.copy(list(queue.pending.extents)[:2])
        await _with_terms(bench, "n6", Terms(order_key="k"))
        assert (await _all_elsewhere(bench, order_key="k")).ready == 7
        for crashes in (False, True):
            if crashes:
                await _restart(bench)
            await _resume(bench)
            for n in range(3 * crashes, 3 + 4 * crashes):
                assert _flying(bench) == [(f"/n{n}", NEW, 1)]
                bench.end(bench.deliverer.flying[0])
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)

    _held(test)


def test_course_counts_and_ends_a_redirect() -> None:
    """What was done until then stays done."""

    async def test(bench: Bench) -> None:
        for n in range(450):
            await accepted(bench, f"n{n}")
        course = Course()
        work = bench.queue.admin.redirect_waiting(MessageFilter(), NEW, course=course)
        moving = asyncio.create_task(work)
        bench.log.append_s = 0.1
        await asyncio.sleep(0.35)
        assert course.total == 450
        course.cancel()
        found = await moving
        assert 0 < found.ready == course.done < 450
        assert course.was_cut

    _held(test)
