"""Operators see the partitions of several processes as one, also while some are away."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from dispatcher.core.placing import partition_of
from dispatcher.core.rate import Rate
from dispatcher.core.terms import Terms
from dispatcher.errors import Refused
from dispatcher.node.merged.carrier import MergedCarrier
from dispatcher.node.merged.replayer import MergedReplayer
from dispatcher.queue.admin.surface import (
    Carried,
    Course,
    HistoryFilter,
    LaneOrder,
    LetterFilter,
    LetterGone,
    MessageFilter,
    Place,
)
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import MOVED
from dispatcher.testing.queue import destination, failed, message
from tests.unit.test_node_merged import Several, in_processes
from tests.unit.test_queue_admin import accepted, big, dead

ALL = LetterFilter()
apart = partial(in_processes, apart=True)


def _place(message_id: str) -> int:
    return int(message_id[:4], 16)


def test_lists_go_on_without_a_process_that_is_away_and_say_so() -> None:
    """Of each kind, also in the middle of a page; what changes something is done in the others, and
    then it is said that one is missing. Nothing that was counted is lost."""

    async def test(several: Several) -> None:
        admin, (one, two, three) = several.admin, several.benches
        for bench in several.benches:
            for n in range(3):
                await dead(bench, to="dead.example")
                await accepted(bench, f"{n}", to="a.example")
        whole = await admin.totals()
        assert (whole.accepted_total, [*whole.incomplete]) == (18, [])
        first = await admin.letters(ALL, cursor=0, limit=4)
        page = await admin.waiting(MessageFilter(), cursor=0, limit=4)
        assert first.next_cursor
        assert page.next_cursor
        several.links[1].cut()
        totals = await admin.totals()
        assert (totals.accepted_total, totals.dead, totals.incomplete) == (18, 6, [1])
        lanes = await admin.lanes(limit=5)
        assert lanes.incomplete == [1]
        assert sum(lane.ready + lane.in_flight for lane in lanes.items) == 6
        most = await admin.lanes(LaneOrder.MESSAGES, limit=1)
        assert most.incomplete == [1]
        groups = await admin.letter_groups(ALL)
        assert (groups.items[0].count, groups.incomplete) == (6, [1])
        rest = await admin.letters(ALL, cursor=first.next_cursor, limit=9)
        assert rest.incomplete == [1]
        assert {_place(item.id) for item in rest.items} <= {0, 2}
        behind = await admin.waiting(MessageFilter(), cursor=page.next_cursor, limit=9)
        assert [_place(item.id) for item in behind.items] == [2, 2, 2]
        assert behind.incomplete == [1]
        for refused in (
            admin.count_letters(ALL),
            admin.hold("a.example"),
            admin.redrive(ALL),
            admin.count_waiting(MessageFilter()),
        ):
            with pytest.raises(Refused) as caught:
                await refused
            assert caught.value.refusal is MOVED
        assert [bool(bench.queue.pauses.keys) for bench in (one, two, three)] == [True, False, True]
        assert [len(bench.queue.dead_letters) for bench in (one, two, three)] == [0, 3, 0]
        several.links[1].is_connected = True
        assert await admin.count_letters(ALL) == 3
        assert await admin.hold("a.example") == "http://a.example"
        assert two.queue.pauses.keys

    apart(test)


def test_process_that_hangs_holds_nobody_up_for_longer_than_two_seconds() -> None:
    """It is as one that is away."""

    async def test(several: Several) -> None:
        several.links[2].is_mute = True
        began = several.benches[0].clock.now_us()
        assert (await several.admin.totals()).incomplete == [2]
        assert (await several.admin.letters(ALL, cursor=0, limit=3)).incomplete == [2]
        assert several.benches[0].clock.now_us() - began < 4_100_000

    apart(test)


def test_letters_that_die_while_they_are_listed_are_on_a_later_page_and_each_is_told_once() -> None:
    """A cursor is an instant, in each process alike."""

    async def test(several: Several) -> None:
        found: list[str] = []
        died = [await dead(bench) for bench in several.benches for _ in range(3)]
        cursor: int | None = 0
        while cursor is not None:
            page = await several.admin.letters(ALL, cursor=cursor, limit=2)
            found += [item.id for item in page.items]
            cursor = page.next_cursor
            if len(died) < 15:
                died.append(await dead(several.benches[len(died) % 3]))
        assert found == died

    apart(test)


def test_lane_of_several_processes_has_what_they_have_together_and_the_worst_of_them() -> None:
    """Limits and attempts are sums, and one that fails in one process fails."""

    async def test(several: Several) -> None:
        one, two, _ = several.benches
        for bench in (one, two):
            for _ in range(2):
                await accepted(bench, to="a.example")
        two.end(two.deliverer.flying[0], failed(503))
        await asyncio.sleep(0.05)
        (lane,) = (await several.admin.lanes()).items
        (failing,) = (await two.queue.admin.lanes()).items
        (well,) = (await one.queue.admin.lanes()).items
        assert lane.in_flight == well.in_flight + failing.in_flight > 0
        assert lane.limit == (well.limit or 0) + (failing.limit or 0)
        assert lane.failing_since_us == failing.failing_since_us is not None
        assert lane.last_error == failing.last_error is not None
        assert lane.ready == well.ready + failing.ready
        assert lane.scheduled == (well.scheduled or 0) + (failing.scheduled or 0)

    apart(test)


def test_what_was_counted_stays_counted_when_a_process_starts_anew() -> None:
    """It counts from 0 then, and the sum does not fall."""

    async def test(several: Several) -> None:
        for bench in several.benches:
            await accepted(bench)
        assert (await several.admin.totals()).accepted_total == 3
        several.benches[2].queue.figures.accepted_total = 0
        assert (await several.admin.totals()).accepted_total == 3
        await accepted(several.benches[2])
        assert (await several.admin.totals()).accepted_total == 4

    apart(test)


def test_large_bodies_are_exported_in_their_place_and_imported_by_another_process() -> None:
    """Each is read before the next message is asked for; a message that ends meanwhile breaks off
    its body, and nobody else's."""

    async def test(several: Several) -> None:
        _, two, three = several.benches
        first = await big(two)
        await accepted(two, "small")
        last = await big(three, chunks=9)
        carrier = MergedCarrier(3)
        for number in range(3):
            carrier.add(number, several.carrier(number))
        found: dict[str, bytes | None] = {}
        taken: list[Carried] = []
        async for one in carrier.waiting(None):
            assert isinstance(one, Carried)
            taken.append(one)
            pieces = aiter(one.body)
            try:
                read = await anext(pieces)
                if one.id.decode() == last:
                    (sending,) = three.deliverer.flying
                    three.queue.settling.delivered(sending, 200)
                    await asyncio.sleep(0.05)
                async for piece in pieces:
                    read += piece
                found[one.id.decode()] = read
            except LetterGone:
                found[one.id.decode()] = None
        large = b"".join(bytes([number]) * CHUNK_BYTES for number in range(3))
        assert found.pop(first) == large
        assert found.pop(last) is None
        assert [*found.values()] == [b"hello"]
        original = next(one.message for one in taken if one.id.decode() == first)
        assert (original.body_size, original.target) == (len(large), "/big")
        copy = message(destination("a.example"), body=b"")
        copy.body_size = len(large)
        copy.terms = Terms(copy_of=first, request_print=7)
        number = partition_of(copy.destination.key, 3)
        whole = [bytes([number]) * CHUNK_BYTES for number in range(3)]
        assert await carrier.take(copy, whole, None)
        assert not await carrier.take(copy, whole, None)
        stored = (await several.admin.waiting(MessageFilter(), cursor=0, limit=100)).items
        new = next(m.id for m in stored if m.size_bytes == len(large) and m.id != first)
        assert _place(new) == number
        detail = await several.admin.message_detail(new)
        assert detail is not None
        assert detail.body is not None
        assert b"".join([piece async for piece in detail.body]) == large

    apart(test)


@pytest.mark.parametrize("has_processes", [False, True])
def test_history_of_every_partition_is_sent_once_more_at_one_rate(has_processes: bool) -> None:
    """One after another; one that breaks off goes on behind the place that was told."""

    async def test(several: Several) -> None:
        for bench in several.benches:
            for n in range(3):
                await accepted(bench, f"{n}", to=f"{bench.config.partition % 2}.example")
            while bench.queue.figures.delivered_total < 3:
                bench.queue.settling.delivered(bench.deliverer.flying.pop(0), 200)
                await asyncio.sleep(0.1)
        parts = [several.replayer(number) for number in range(3)]
        replayer = MergedReplayer(parts, keeps_history=True)
        dry = [step async for step in replayer.replay(HistoryFilter(), dry_run=True)]
        assert dry[-1].is_done
        assert dry[-1].messages == 9
        assert [tuple(one) for one in dry[-1].destinations] == [
            ("http://0.example", 6, 30),
            ("http://1.example", 3, 15),
        ]
        assert dry[-1].destinations_total == 2
        course = Course(Rate(2, 1_000_000))
        began = several.benches[0].clock.now_us()
        places: list[Place] = []
        async for step in replayer.replay(HistoryFilter(), course=course):
            places.append(step.place)
            if step.messages >= 5:
                course.cancel()
        assert course.was_cut
        took_s = (several.benches[0].clock.now_us() - began) / 1e6
        assert 1.5 <= took_s <= 5
        assert 5 <= course.done < 9
        steps = [step async for step in replayer.replay(HistoryFilter(), after=places[-1])]
        assert steps[-1].is_done
        assert steps[-1].messages == 9 - course.done
        assert sum(bench.queue.figures.accepted_total for bench in several.benches) == 18

    in_processes(test, apart=has_processes, keep_everything=True)
