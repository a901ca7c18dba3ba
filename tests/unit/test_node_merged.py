"""Operators see several partitions as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from dispatcher.core.clock import SteadyClock
from dispatcher.core.idempotency import place_in_group
from dispatcher.core.placing import partition_of, place_of, place_of_group
from dispatcher.core.rate import Rate
from dispatcher.core.terms import Terms
from dispatcher.errors import Refused
from dispatcher.node.merged.admin import MergedAdmin
from dispatcher.node.merged.carrier import MergedCarrier
from dispatcher.node.merged.parts import LocalPart, Part
from dispatcher.node.router import Router
from dispatcher.peers.answers import Answers
from dispatcher.peers.calls import Calls
from dispatcher.peers.remote_admin import Happenings, RemoteAdmin, Watched
from dispatcher.peers.remote_carrier import RemoteCarrier, RemoteReplayer
from dispatcher.queue.admin.surface import (
    Admin,
    Cancelled,
    Carrier,
    Course,
    Event,
    LaneOrder,
    LetterEdit,
    LetterFilter,
    MessageFilter,
    MessageState,
    PartReplayer,
    Reason,
)
from dispatcher.queue.deadletters.retention import RetentionPolicy, expired
from dispatcher.queue.flow.traffic import Traffic
from dispatcher.queue.refusals import MOVED
from dispatcher.schedules.messages import MessageOutcome
from dispatcher.schedules.partition import PartitionQueue
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.memory_link import MemoryLink
from dispatcher.testing.queue import POLICY, Bench, Notes, destination, message
from tests.unit.test_queue_admin import accepted, dead

ALL = LetterFilter()
UNKNOWN = "00ff" + "0" * 24


@dataclass(frozen=True, slots=True)
class Several:
    """Partitions, and what operators see of them. In `links` are those to the other processes, by
    the number of their partition: there are none where all partitions are in one process."""

    admin: MergedAdmin
    benches: list[Bench]
    links: dict[int, MemoryLink]
    answers: list[Answers]

    def part(self, number: int) -> Part:
        """What speaks for a partition."""
        admin = self.benches[number].queue.admin
        if number not in self.links:
            return LocalPart(number, admin)
        return LocalPart(number, RemoteAdmin(Calls(self.links[number]), number), number)

    def carrier(self, number: int) -> Carrier:
        """What carries messages out of a partition, and into it."""
        if number not in self.links:
            return self.benches[number].queue.carrying
        return RemoteCarrier(Calls(self.links[number]), number)

    def replayer(self, number: int) -> PartReplayer:
        """What sends the history of a partition once more."""
        if number not in self.links:
            return self.benches[number].queue.replaying
        return RemoteReplayer(Calls(self.links[number]), number)

    def hears(self) -> Coroutine[None, None, None]:
        """Wait until what happens elsewhere is told here."""
        return asyncio.sleep(0.5 if self.links else 0)


Test = Callable[[Several], Coroutine[None, None, None]]
Together = Callable[..., None]


def _traffic(clock: SimulatedClock) -> Traffic:
    return Traffic(
        workers=10,
        workers_slow=100,
        pause_max_ms=POLICY.max_delay_ms,
        observer=Notes(),
        clock=SteadyClock(clock),
        warm_bytes=100_000,
    )


def _died(name: str, error: BaseException) -> None:
    raise AssertionError(name) from error


def _serve(several: Several, number: int) -> None:
    queue = several.benches[number].queue
    answers = Answers(_died)
    answers.serve(Admin, queue.admin, part=number)
    answers.serve(Happenings, Watched(queue.admin), part=number)
    answers.serve(Carrier, queue.carrying, part=number)
    answers.serve(PartReplayer, queue.replaying, part=number)
    several.answers.append(answers)
    several.links[number] = MemoryLink(answers)


def in_processes(test: Test, count: int = 3, *, apart: bool, **options: Any) -> None:
    async def main(clock: SimulatedClock) -> None:
        traffic = _traffic(clock)
        several = Several(MergedAdmin(), [], {}, [])
        for number in range(count):
            own = _traffic(clock) if apart else traffic
            bench = await Bench(clock, traffic=own, partition=number, **options).start()
            several.benches.append(bench)
            if apart and number:
                _serve(several, number)
            several.admin.add(several.part(number))
        await test(several)
        for answers in several.answers:
            await answers.close()
        for bench in several.benches:
            await bench.stop()

    run(main)


@pytest.fixture(params=[False, True], ids=["one process", "a process each"])
def together(request: pytest.FixtureRequest) -> Together:
    """Partitions of one process, or each in another one."""
    return partial(in_processes, apart=request.param)


async def _letters(several: Several, limit: int, which: LetterFilter = ALL) -> list[str]:
    """The ids of all dead letters, page by page."""
    found: list[str] = []
    cursor = 0
    while True:
        page = await several.admin.letters(which, cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += [item.id for item in page.items]
        if page.next_cursor is None:
            return found
        assert page.next_cursor > cursor
        cursor = page.next_cursor


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_dead_letters_are_listed_oldest_first_each_once(limit: int, together: Together) -> None:
    """Wherever they lie, also those of one instant, and while others go."""

    async def test(several: Several) -> None:
        one, two, three = several.benches
        expected = []
        for bench in (two, one, one, three, two, two, one):
            expected.append(await dead(bench))
            await asyncio.sleep(1)
        at_once = await asyncio.gather(*(dead(bench) for bench in (three, two, one)))
        found = await _letters(several, limit)
        assert found[:7] == expected
        assert sorted(found[7:]) == sorted(at_once)
        assert await several.admin.count_letters(ALL) == 10
        page = await several.admin.letters(ALL, cursor=0, limit=2)
        await several.admin.purge(expected[1:4])
        assert page.next_cursor is not None
        rest = await several.admin.letters(ALL, cursor=page.next_cursor, limit=3)
        assert [item.id for item in rest.items] == [*expected[4:7]]

    together(test)


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_waiting_messages_are_listed_one_partition_after_another(
    limit: int, together: Together
) -> None:
    """Each once, in the order of the log where it lies."""

    async def test(several: Several) -> None:
        expected = []
        for number, bench in enumerate(several.benches):
            expected += [await accepted(bench, f"{n}") for n in range(4 if number != 1 else 0)]
        found: list[str] = []
        cursor: int | None = 0
        while cursor is not None:
            page = await several.admin.waiting(MessageFilter(), cursor=cursor, limit=limit)
            found += [item.id for item in page.items]
            cursor = page.next_cursor
        assert found == expected

    together(test)


def test_what_belongs_to_a_destination_is_told_once_and_what_waits_is_summed(
    together: Together,
) -> None:
    """Totals, lanes in both orders and groups; of a partition that has left the counters stay."""

    async def test(several: Several) -> None:
        admin = several.admin
        for bench in several.benches:
            for to in ("a.example", "b.example", "b.example"):
                await accepted(bench, to=to)
        for to in ("c.example", "d.example"):
            await accepted(several.benches[1], to=to)
        totals = await admin.totals()
        assert (totals.accepted_total, totals.ready + totals.in_flight) == (11, 11)
        page = await admin.lanes(limit=2)
        a, b = page.items
        assert [a.destination, b.destination] == ["http://a.example", "http://b.example"]
        assert page.next_after == "http://b.example"
        assert a.ready + a.in_flight == 3
        assert b.ready + b.in_flight == 6
        last = await admin.lanes(after="http://b.example", limit=2)
        assert [lane.destination for lane in last.items] == ["http://c.example", "http://d.example"]
        assert (last.next_after, last.total) == (None, 2)
        most = await admin.lanes(LaneOrder.MESSAGES, limit=1)
        assert most.items[0] == b
        admin.leave(1)
        assert (await admin.totals()).accepted_total == 11
        groups = await admin.letter_groups(ALL)
        assert groups.total == 0
        for bench in several.benches:
            await dead(bench, to="x.example")
        (group,) = (await admin.letter_groups(ALL)).items
        assert (group.destination, group.count) == ("http://x.example", 2)

    together(test)


def test_message_is_found_by_its_id_wherever_it_is_and_never_unknown_while_it_moves(
    together: Together,
) -> None:
    """Only of a partition that there is not nothing is known."""

    async def test(several: Several) -> None:
        admin, (_, two, _) = several.admin, several.benches
        message_id = await accepted(two, "m")
        view = await admin.message(message_id)
        assert view is not None
        assert (view.state, view.target) == (MessageState.IN_FLIGHT, "/m")
        explanation = await admin.explain(message_id)
        assert explanation is not None
        assert explanation.reason is Reason.IN_FLIGHT
        assert await admin.cancel(message_id) is Cancelled.IN_FLIGHT
        letter_id = await dead(two, to="dead.example")
        assert await admin.letter(letter_id) is not None
        assert await admin.missing_letters([UNKNOWN, letter_id]) == [UNKNOWN]
        for nothing in (admin.message(UNKNOWN), admin.letter(UNKNOWN), admin.explain(UNKNOWN)):
            assert await nothing is None
        assert await admin.give_up(UNKNOWN) is Cancelled.UNKNOWN
        assert await admin.redirect(UNKNOWN, "b.example") is Cancelled.UNKNOWN
        edited = await admin.redrive_edited(UNKNOWN, LetterEdit(0))
        assert edited.not_found == [UNKNOWN]
        admin.leave(1)
        for asked in (
            admin.message(message_id),
            admin.message_detail(message_id),
            admin.letter(letter_id),
            admin.cancel(message_id),
            admin.redrive([letter_id]),
            admin.missing_letters([letter_id]),
        ):
            with pytest.raises(Refused) as caught:
                await asked
            assert caught.value.refusal is MOVED
        admin.add(several.part(1))
        assert (await admin.redrive([letter_id, UNKNOWN])).count == 1

    together(test)


def test_what_is_chosen_is_done_in_every_partition_at_one_rate(together: Together) -> None:
    """Redriven, purged, retried, cancelled, given up, redirected; counted beforehand."""

    async def test(several: Several) -> None:
        admin = several.admin
        for bench in several.benches:
            for _ in range(4):
                await dead(bench)
        for held in ("a.example", "b.example"):
            await admin.hold(held)
        course = Course(Rate(2, 1_000_000))
        began = several.benches[0].clock.now_us()
        moved = await admin.redrive(ALL, course=course)
        took_s = (several.benches[0].clock.now_us() - began) / 1e6
        assert moved.count == course.done == course.total == 12
        assert 5 <= took_s <= 6.5
        ready = MessageFilter(state=MessageState.READY)
        counted = await admin.count_waiting(MessageFilter())
        assert counted.ready + counted.in_flight == 12
        redirected = await admin.redirect_waiting(ready, "b.example")
        given_up = await admin.give_up_waiting(ready)
        assert redirected.ready >= given_up.ready > 0
        assert (await admin.purge(ALL)).count == given_up.ready
        assert await admin.count_letters(ALL) == 0
        assert (await admin.cancel_waiting([UNKNOWN])).not_found == [UNKNOWN]

    together(test)


def test_destination_is_held_in_every_partition_or_it_is_said_that_one_is_missing(
    together: Together,
) -> None:
    """A partition that moves takes the hold along; asking again is harmless."""

    async def test(several: Several) -> None:
        admin = several.admin
        assert await admin.hold("A.example:80") == "http://a.example"
        for bench in several.benches:
            assert bench.queue.pauses.keys == {b"http://a.example"}
        tried = await admin.retry_destination("a.example")
        assert tried.held
        admin.leave(2)
        with pytest.raises(Refused):
            await admin.resume("a.example")
        admin.add(several.part(2))
        await admin.resume("a.example")
        for bench in several.benches:
            assert not bench.queue.pauses.keys

    together(test)


def test_who_listens_hears_of_every_partition_also_of_those_that_come_later(
    together: Together,
) -> None:
    """And of none that has left."""

    async def test(several: Several) -> None:
        admin, (one, two, _) = several.admin, several.benches
        heard: list[Event] = []
        admin.leave(1)
        admin.subscribe(heard.append)
        first = await accepted(one)
        await accepted(two)
        admin.add(several.part(1))
        await several.hears()
        last = await accepted(two)
        await several.hears()
        admin.unsubscribe(heard.append)
        await several.hears()
        await accepted(two)
        await several.hears()
        assert [event.id for event in heard if event.kind == "accepted"] == [first, last]

    together(test)


def test_export_has_what_every_partition_has_and_an_import_meets_its_keys(
    together: Together,
) -> None:
    """Dead letters oldest first. What was imported before is found again, wherever it comes in."""

    async def test(several: Several) -> None:
        carrier = MergedCarrier(3)
        for number in range(3):
            carrier.add(number, several.carrier(number))
        one, two, three = several.benches
        gone = []
        for bench in (two, one, three, two):
            gone.append(await dead(bench, to="dead.example"))
            await asyncio.sleep(1)
        waiting = [await accepted(bench, f"{n}") for bench in several.benches for n in range(2)]
        dead_ones = [item async for item in carrier.dead(ALL)]
        assert [item.id.decode() for item in dead_ones] == gone
        assert [item.id.decode() async for item in carrier.waiting(None)] == waiting
        everything = {item.id.decode() async for item in carrier.everything(None)}
        assert everything == {*gone, *waiting}
        imported = message(destination("new.example"))
        imported.terms = Terms(copy_of="0" * 28, request_print=7)
        assert await carrier.take(imported, [b"hello"], None)
        again = message(destination("new.example"))
        again.terms = imported.terms
        assert not await carrier.take(again, [b"hello"], None)
        place = partition_of(b"http://new.example", 3)
        page = await several.benches[place].queue.admin.waiting(MessageFilter(), cursor=0, limit=9)
        assert "http://new.example" in {one.destination for one in page.items}
        carrier.remove(place)
        with pytest.raises(Refused):
            await carrier.take(again, [b"hello"], None)

    together(test)


def test_place_of_a_message_is_where_its_keys_meet_others() -> None:
    """Its destination, the one it had first, or its group; one without a key has none."""
    key = b"http://a.example"
    assert place_of(key, None) == place_of(key, Terms(label="x", retries=3)) == b""
    for terms in (Terms(order_key="k"), Terms(flow_key="k"), Terms(idempotency_key="k")):
        assert place_of(key, terms) == key
    moved = Terms(idempotency_key="k", key_place="http://b.example")
    assert place_of(key, moved) == b"http://b.example"
    of_group = Terms(idempotency_key="k", key_place=place_in_group("all", 3))
    assert place_of(key, of_group) == place_of_group("all") == b"group:all"


def test_messages_of_schedules_are_where_other_messages_with_a_key_are(together: Together) -> None:
    """Each is in the partition of its destination, and found there by its key and by its id."""

    async def test(several: Several) -> None:
        router = Router(len(several.benches))
        for number, bench in enumerate(several.benches):
            router.add(number, bench.queue.intake)
        first, *others = [bench.queue for bench in several.benches]
        queue = PartitionQueue([first, *others], router)
        found: set[int] = set()
        for number in range(20):
            to = destination(f"d{number}.example")
            one = message(to)
            one.terms = Terms(idempotency_key="nightly@1", request_print=7)
            ids: list[str] = []
            await queue.accept(one, ids.append)
            assert int(ids[0][:4], 16) == partition_of(to.key, len(several.benches))
            assert queue.with_key(to, "nightly@1") == ids[0]
            assert queue.outcome(ids[0]) is MessageOutcome.WAITING
            found.add(int(ids[0][:4], 16))
        assert found == {*range(len(several.benches))}

    together(test)


def test_oldest_letters_of_all_partitions_go_first_where_they_are_too_many_bytes() -> None:
    """The bound is that of the process: each partition drops its share of the oldest, in whatever
    order they look."""

    async def test(several: Several) -> None:
        one, two = several.benches
        for number, bench in enumerate((one, two, two, one, two)):
            await dead(bench, f"m{number}")
            await asyncio.sleep(1)
        letters = [bench.queue.dead_letters.letters for bench in (one, two)]
        total = sum(each.size_bytes for each in letters)
        policy = RetentionPolicy(max_bytes=total * 2 // 5 + 1)
        for own, other, count in ((letters[1], letters[0], 2), (letters[0], letters[1], 1)):
            ids, why = expired(own, policy, 0, most=10, beside=[other])
            assert (len(ids), why) == (count, "bytes")
        purged = expired(letters[1], policy, 0, most=10, beside=[letters[0]])[0]
        await two.queue.redriver.purge(purged)
        ids, _ = expired(letters[0], policy, 0, most=10, beside=[letters[1]])
        assert len(ids) == 1
        assert not expired(letters[1], policy, 0, most=10, beside=[letters[0]])[0]

    in_processes(test, 2, apart=False)
