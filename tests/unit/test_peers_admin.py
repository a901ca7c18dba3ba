"""What operators see and do in a partition of another process is what they would there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from dispatcher.core.rate import Rate
from dispatcher.errors import LogCorrupt, Refusal, Refused
from dispatcher.peers.answers import FORGOTTEN_S, MOST_BYTES, Answers
from dispatcher.peers.calls import Calls
from dispatcher.peers.errors import Failed
from dispatcher.peers.methods import methods_of
from dispatcher.peers.remote_admin import (
    EVENTS_PER_SECOND,
    Happenings,
    RemoteAdmin,
    Watched,
)
from dispatcher.peers.told_errors import read_error, write_error
from dispatcher.queue.admin.surface import (
    DROPPED,
    Admin,
    Course,
    Event,
    LetterEdit,
    LetterFilter,
    LetterGone,
)
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import DISK_FULL, MOVED, UNANSWERED
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.memory_link import MemoryLink
from dispatcher.testing.queue import Bench, destination, failed
from tests.unit import test_queue_admin
from tests.unit.test_queue_admin import accepted, big, dead

ALL = LetterFilter()
Test = Callable[[Bench, RemoteAdmin, MemoryLink], Coroutine[Any, Any, None]]


def beside(bench: Bench) -> tuple[RemoteAdmin, MemoryLink, Answers]:
    """The partition of a bench, as another process sees it."""

    def died(name: str, error: BaseException) -> None:
        raise AssertionError(name) from error

    answers = Answers(died)
    admin = bench.queue.admin
    answers.serve(Admin, admin, part=bench.config.partition)
    answers.serve(Happenings, Watched(admin), part=bench.config.partition)
    link = MemoryLink(answers)
    return RemoteAdmin(Calls(link), bench.config.partition), link, answers


def across(test: Test, **options: Any) -> None:
    """Run a test with a partition in another process."""

    async def main(clock: SimulatedClock) -> None:
        bench = await Bench(clock, **options).start()
        admin, link, answers = beside(bench)
        await test(bench, admin, link)
        await answers.close()
        await bench.stop()

    run(main)


class _Elsewhere:
    """A queue whose admin is asked over a link."""

    def __init__(self, bench: Bench) -> None:
        self._queue = bench.queue
        self.admin, _, self.answers = beside(bench)

    def is_of(self, bench: Bench) -> bool:
        return self._queue is bench.queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class _BenchElsewhere:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._elsewhere = _Elsewhere(bench)

    @property
    def queue(self) -> _Elsewhere:
        if not self._elsewhere.is_of(self._bench):  # it was started anew
            self._elsewhere = _Elsewhere(self._bench)
        return self._elsewhere

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench, name)


_AT_ONCE = (
    "test_events_are_told_while_somebody_listens",
    "test_a_response_that_counts_as_delivered_is_told_as_that",
)
"""Who listens over a link hears of what happens a moment later: see the tests below."""


def _suite() -> Iterator[tuple[str, dict[str, Any]]]:
    """The tests of a partition's admin, each with the values of its parameters."""
    for name, test in vars(test_queue_admin).items():
        if not name.startswith("test_") or name in _AT_ONCE:
            continue
        cases: list[dict[str, Any]] = [{}]
        for mark in getattr(test, "pytestmark", ()):
            names, values = mark.args
            names = (
                names if isinstance(names, list | tuple) else [*map(str.strip, names.split(","))]
            )
            rows = values if len(names) > 1 else [(value,) for value in values]
            cases = [case | dict(zip(names, row, strict=True)) for case in cases for row in rows]
        yield from ((name, case) for case in cases)


@pytest.mark.parametrize(("name", "case"), [*_suite()])
def test_everything_that_is_promised_of_a_partition_holds_over_a_link(
    name: str, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tests, with a link in between."""

    def simulate(test: Callable[[Any], Coroutine[Any, Any, None]], **options: Any) -> None:
        async def main(clock: SimulatedClock) -> None:
            bench = _BenchElsewhere(await Bench(clock, **options).start())
            await test(bench)
            await bench.queue.answers.close()

        run(main)

    monkeypatch.setattr(test_queue_admin, "simulate", simulate)
    getattr(test_queue_admin, name)(**case)


def test_large_bodies_are_read_piece_by_piece_and_again_and_end_where_the_letter_does() -> None:
    """No answer is larger than a frame may be; the body of a letter that is purged breaks off."""

    async def test(bench: Bench, admin: RemoteAdmin, link: MemoryLink) -> None:
        message_id = await big(bench, chunks=6)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.05)
        letter = await admin.letter(message_id)
        assert letter is not None
        for _ in range(2):
            body = [piece async for piece in letter.body]
            assert b"".join(body) == b"".join(bytes([n]) * CHUNK_BYTES for n in range(6))
        assert link.answer_bytes < 1.5 * MOST_BYTES
        pieces = aiter(letter.body)
        await anext(pieces)
        await bench.queue.admin.purge([message_id])
        with pytest.raises(LetterGone):
            _ = [piece async for piece in pieces]

    across(test)


def test_dead_letter_is_redriven_with_another_large_body() -> None:
    """What does not go with the arguments of a call is sent before it."""

    async def test(bench: Bench, admin: RemoteAdmin, link: MemoryLink) -> None:
        message_id = await dead(bench)
        body = [bytes([n]) * CHUNK_BYTES for n in range(3)] + [b"end"]
        edit = LetterEdit(0, destination("b.example"), b"X-New: 1\r\n", body)
        assert (await admin.redrive_edited(message_id, edit)).count == 1
        detail = await admin.message_detail(message_id)
        assert detail is not None
        assert detail.body is not None
        assert detail.message.destination == "http://b.example"
        assert b"".join([piece async for piece in detail.body]) == b"".join(body)

    across(test)


def test_what_was_begun_says_how_far_it_is_changes_its_rate_and_ends_when_it_is_cancelled() -> None:
    """The course is here, the work is there."""

    async def test(bench: Bench, admin: RemoteAdmin, link: MemoryLink) -> None:
        for _ in range(40):
            await dead(bench)
        course = Course(Rate(2, 1_000_000))
        course.did(5)  # what other partitions did, and its rate is owed for that
        redriving = asyncio.ensure_future(admin.redrive(ALL, course=course))
        await asyncio.sleep(5)
        before = course.done
        assert 9 <= before <= 12
        assert course.total == 45
        course.change_rate(Rate(10, 1_000_000))
        await asyncio.sleep(1)
        assert before + 5 <= course.done <= before + 12
        assert not redriving.done()
        course.cancel()
        moved = await redriving
        assert course.was_cut
        assert moved.count == course.done - 5 < 40
        assert await admin.count_letters(ALL) == 40 - moved.count

    across(test)


def test_who_stops_waiting_ends_the_work_too() -> None:
    """And so does a process of which nobody hears any more."""

    async def test(bench: Bench, admin: RemoteAdmin, link: MemoryLink) -> None:
        for _ in range(30):
            await dead(bench)
        course = Course(Rate(1, 1_000_000))
        redriving = asyncio.ensure_future(admin.redrive(ALL, course=course))
        await asyncio.sleep(3)
        redriving.cancel()
        await asyncio.sleep(2)
        left = await admin.count_letters(ALL)
        assert left >= 26
        await asyncio.sleep(30)
        assert await admin.count_letters(ALL) == left
        redriving = asyncio.ensure_future(admin.redrive(ALL, course=Course(Rate(1, 60_000_000))))
        await asyncio.sleep(1)
        link.cut()
        with pytest.raises(Refused) as caught:
            await redriving
        assert caught.value.refusal is UNANSWERED
        link.is_connected = True
        await asyncio.sleep(3 * FORGOTTEN_S)
        left = await admin.count_letters(ALL)
        await asyncio.sleep(5 * FORGOTTEN_S)
        assert await admin.count_letters(ALL) == left

    across(test)


def test_a_process_that_is_not_there_has_moved_and_one_that_breaks_off_may_have_done_it() -> None:
    """Nothing is ever unknown because of that, and nobody waits for longer than two seconds."""

    async def test(bench: Bench, admin: RemoteAdmin, link: MemoryLink) -> None:
        message_id = await accepted(bench)
        link.is_connected = False
        for asked in (admin.message(message_id), admin.cancel(message_id), admin.totals()):
            with pytest.raises(Refused) as caught:
                await asked
            assert caught.value.refusal is MOVED
        link.is_connected = link.is_mute = True
        began = bench.clock.now_us()
        for asked, refusal in (
            (admin.message(message_id), MOVED),
            (admin.cancel(message_id), UNANSWERED),
        ):
            with pytest.raises(Refused) as caught:
                await asked
            assert caught.value.refusal is refusal
        assert bench.clock.now_us() - began < 4_100_000
        link.is_mute = False
        assert await admin.message(message_id) is not None

    across(test)


def test_who_listens_hears_over_the_link_and_how_much_was_not_told() -> None:
    """Again after the link was cut; and of a thousand at once only the first five hundred."""

    async def test(bench: Bench, admin: RemoteAdmin, link: MemoryLink) -> None:
        heard: list[Event] = []
        admin.subscribe(heard.append)
        await asyncio.sleep(0.1)
        one = await accepted(bench)
        await asyncio.sleep(0.5)
        assert [(event.kind, event.id) for event in heard] == [("accepted", one)]
        link.cut()
        await asyncio.sleep(0.1)
        link.is_connected = True
        await asyncio.sleep(2)
        two = await accepted(bench)
        await asyncio.sleep(0.5)
        assert heard[-1].id == two
        heard.clear()
        for number in range(1000):
            bench.queue.watch.call_happened("begun", f"{number:028x}", "http://a.example", {})
        await asyncio.sleep(2)
        told = [event for event in heard if event.kind != DROPPED]
        dropped = [event.fields["count"] for event in heard if event.kind == DROPPED]
        assert len(told) == EVENTS_PER_SECOND
        assert dropped == [1000 - EVENTS_PER_SECOND]
        admin.unsubscribe(heard.append)
        await asyncio.sleep(2)
        heard.clear()
        await accepted(bench)
        await asyncio.sleep(2 * FORGOTTEN_S)
        assert not heard
        assert not bench.queue.watch.has_listeners

    across(test)


def test_what_gives_many_ends_when_its_partition_leaves_and_goes_on_where_it_comes_back() -> None:
    """Who listens hears the next owner's events; nobody reads of the former one any more."""

    async def main(clock: SimulatedClock) -> None:
        bench = await Bench(clock).start()
        admin, _, answers = beside(bench)
        heard: list[Event] = []
        admin.subscribe(heard.append)
        await asyncio.sleep(0.1)
        await accepted(bench)
        await asyncio.sleep(0.5)
        assert len(heard) == 1
        answers.withdraw(bench.config.partition)
        answers.withdraw(bench.config.partition)
        await asyncio.sleep(0.001)
        assert not bench.queue.watch.has_listeners
        with pytest.raises(Refused) as caught:
            await admin.totals()
        assert caught.value.refusal is MOVED
        answers.serve(Happenings, Watched(bench.queue.admin), part=bench.config.partition)
        await asyncio.sleep(1)
        await accepted(bench)
        await asyncio.sleep(0.5)
        assert len(heard) == 2
        admin.unsubscribe(heard.append)
        await answers.close()
        await bench.stop()

    run(main)


def test_errors_come_back_as_themselves() -> None:
    """Refusals as the very ones that they are compared with; what is not known as a failure."""
    again = read_error(write_error(Refused(DISK_FULL)))
    assert isinstance(again, Refused)
    assert again.refusal is DISK_FULL
    new = read_error(write_error(Refused(Refusal(503, "newer", "Later."))))
    assert isinstance(new, Refused)
    assert new.refusal.slug == "newer"
    damaged = read_error(write_error(LogCorrupt("log", 7, "torn")))
    assert isinstance(damaged, LogCorrupt)
    assert (damaged.path, damaged.offset, damaged.reason) == ("log", 7, "torn")
    assert isinstance(read_error(write_error(LetterGone())), LetterGone)
    assert str(read_error(write_error(ValueError("no destination")))) == "no destination"
    unknown: list[dict[str, Any]] = [{"failed": "KeyError"}, {"refused": 3}, {"newer": 1}]
    for said in (*unknown, {"damaged": []}):
        assert isinstance(read_error(said), Failed)


def test_fields_and_arguments_of_a_newer_program_are_passed_over() -> None:
    """And those of an older one are what they are by default."""
    methods = methods_of(Admin)
    page = methods["Admin.letters"].read(
        b'[{"items":[],"next_cursor":3,"newer":{"x":1}}]', NO_BODIES
    )
    assert (page.next_cursor, page.ordinals) == (3, ())
    lanes = methods["Admin.lanes"]
    assert lanes.read_arguments(b'{"order":"messages","newer":[1]}', NO_BODIES)["order"].value
    given = lanes.read_arguments(b'{"which":{"part":"a","newer":0}}', NO_BODIES)
    assert given["which"].part == "a"
    assert "order" not in given
    assert "limit" not in given


class _NoBodies:
    def keep(self, body: object) -> int:
        raise AssertionError

    def body(self, number: int) -> Any:
        raise AssertionError

    def keep_pieces(self, pieces: object) -> int:
        raise AssertionError

    def pieces(self, number: int) -> Any:
        raise AssertionError


NO_BODIES = _NoBodies()
