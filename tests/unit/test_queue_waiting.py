"""Messages that wait, looked through in slices and shown in pages."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.queue.admin import message_pages, waiting
from dispatcher.queue.admin.pace import QUIET_REST_SECONDS, REST_SECONDS, SLICE_US, Pace
from dispatcher.queue.admin.surface import (
    LetterGone,
    MessageFilter,
    MessageState,
    MessageView,
    Touched,
)
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.pending.index import State
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records import messages
from dispatcher.testing.admin import whole
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from tests.unit.test_queue_admin import big

EVERYTHING = MessageFilter()


async def put(bench: Bench, sent: Message) -> str:
    """Accept a message; returns its id."""
    receipt = bench.accept(sent)
    await asyncio.sleep(0.001)
    assert receipt.answer is sent
    return sent.wire_id.decode()


async def held(bench: Bench, count: int, to: str = "a.example") -> list[str]:
    """Accept messages for a destination that is held."""
    await bench.queue.admin.hold(to)
    return [await put(bench, message(destination(to), name=f"{to}-{n}")) for n in range(count)]


async def every(bench: Bench, which: MessageFilter, limit: int = 10) -> list[MessageView]:
    """The items of all pages."""
    found: list[MessageView] = []
    cursor: int | None = 0
    while cursor is not None:
        page = await bench.queue.admin.waiting(which, cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.next_cursor
    return found


async def ids(bench: Bench, which: MessageFilter, limit: int = 10) -> list[str]:
    return [one.id for one in await every(bench, which, limit)]


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_every_message_is_listed_once_the_oldest_first(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """However large slices and pages are, and with gaps where others were delivered."""
    monkeypatch.setattr(waiting, "SLICE", most)

    async def test(bench: Bench) -> None:
        sent = await held(bench, 12)
        for one in sent[3:6]:
            await bench.queue.admin.cancel(one)
        left = sent[:3] + sent[6:]
        for limit in (1, 4, 8, 9, 100):
            assert await ids(bench, EVERYTHING, limit) == left

    simulate(test)


def test_messages_are_found_by_destination_and_state() -> None:
    """The index knows both: what is shown is all that is read."""

    async def test(bench: Bench) -> None:
        of_a = await held(bench, 3)
        of_b = await held(bench, 2, "b.example")
        flies = await put(bench, message(destination("c.example")))
        fails = await put(bench, message(destination("d.example")))
        bench.end(bench.deliverer.flying[1], failed(503))
        await asyncio.sleep(0.01)
        assert await ids(bench, MessageFilter(destination="http://a.example")) == of_a
        assert await ids(bench, MessageFilter(destination="http://none.example")) == []
        assert await ids(bench, MessageFilter(state=MessageState.READY)) == of_a + of_b
        assert await ids(bench, MessageFilter(state=MessageState.IN_FLIGHT)) == [flies]
        (later,) = await every(bench, MessageFilter(state=MessageState.SCHEDULED))
        assert (later.id, later.attempts, later.last_error) == (fails, 1, "http_503")
        assert later.next_attempt_at_us is not None
        assert later.size_bytes == len(b"hello")

    simulate(test)


def test_messages_of_held_destinations_are_found() -> None:
    """As long as they wait and their destination is held: whatever they wait for, and not those
    that are under way. Who acts on them finds the same."""

    async def test(bench: Bench) -> None:
        flies = await put(bench, message(destination("a.example")))
        of_a = await held(bench, 2)
        of_b = await held(bench, 2, "b.example")
        fails = await put(bench, message(destination("c.example")))
        bench.end(bench.deliverer.flying[1], failed(503))
        await asyncio.sleep(0.01)
        admin = bench.queue.admin
        await admin.hold("c.example")
        which = MessageFilter(held=True)
        assert await ids(bench, which) == [*of_a, *of_b, fails]
        assert await ids(bench, MessageFilter("http://b.example", held=True)) == of_b
        assert flies in await ids(bench, MessageFilter("http://a.example"))
        await admin.resume("a.example")
        assert await ids(bench, which) == [*of_b, fails]
        assert await admin.count_waiting(which) == Touched(ready=2, scheduled=1, not_found=[])
        assert await admin.cancel_waiting(which) == Touched(ready=2, scheduled=1, not_found=[])
        assert await ids(bench, EVERYTHING) == [flies, *of_a]

    simulate(test)


def test_messages_are_found_by_what_is_in_their_record() -> None:
    """Label, order key, method, and how the target begins; all that is said has to match."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("a.example")
        one = message(name="orders/1")
        one.terms = Terms(label="red", order_key="k1")
        two = message(name="orders/2")
        two.terms = Terms(label="red")
        three = message(name="other")
        three.head = three.head.replace(b"POST", b"PUT")
        first, second, third = [await put(bench, sent) for sent in (one, two, three)]
        assert await ids(bench, MessageFilter(label="red")) == [first, second]
        assert await ids(bench, MessageFilter(order_key="k1")) == [first]
        assert await ids(bench, MessageFilter(method="PUT")) == [third]
        assert await ids(bench, MessageFilter(target="/orders/")) == [first, second]
        assert await ids(bench, MessageFilter(label="red", target="/orders/2")) == [second]
        assert await ids(bench, MessageFilter(label="none")) == []

    simulate(test)


@pytest.mark.parametrize("most", [1, 4, 1000])
def test_messages_are_found_by_their_age_with_few_reads(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Where the border lies in a slice is found by halving; behind it nothing is read at all."""
    monkeypatch.setattr(waiting, "SLICE", most)

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("a.example")
        sent: list[str] = []
        first_us = bench.clock.now_us()
        for number in range(40):
            one = message(name=f"m{number}")
            one.accepted_at = bench.clock.now_us()
            sent.append(await put(bench, one))
            await asyncio.sleep(1)
        read = bench.log.read
        reads = 0

        async def counted(positions: list[int]) -> list[bytes]:
            nonlocal reads
            reads += 1
            return await read(positions)

        monkeypatch.setattr(bench.log, "read", counted)
        for count in (0, 2, 20, 35, 40):
            border_us = first_us + count * 1_001_000 - 500_000
            which = MessageFilter(older_than_us=bench.clock.now_us() - border_us)
            reads = 0
            page = await bench.queue.admin.waiting(which, cursor=0, limit=1)
            assert [one.id for one in page.items] == sent[: min(count, 1)]
            assert reads <= 8
            assert await ids(bench, which) == sent[:count]

    simulate(test)


def test_a_page_ends_when_enough_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cursor and fewer items than were asked for, maybe none; nothing is passed over."""
    monkeypatch.setattr(message_pages, "MOST_READ", 4)
    monkeypatch.setattr(waiting, "READ_MOST", 2)

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("a.example")
        for number in range(11):
            one = message(name=f"m{number}")
            one.terms = Terms(label="red" if number == 9 else "blue")
            await put(bench, one)
        which = MessageFilter(label="red")
        page = await bench.queue.admin.waiting(which, cursor=0, limit=5)
        assert page.items == []
        assert page.next_cursor is not None
        (found,) = await every(bench, which)
        assert found.target == "/m9"

    simulate(test)


def test_page_is_shown_in_slices_without_what_ends_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is made of a message takes longer than to read it: others have the loop in between."""

    async def test(bench: Bench) -> None:
        sent = await held(bench, 12)
        admin, steps = bench.queue.admin, []
        now_us = itertools.count(0, SLICE_US // 3)
        rest, shown = Pace.rest, message_pages.MessagePages._shown

        async def rested(pace: Pace, **how: float) -> None:
            steps.append("rest")
            await rest(pace, **how)
            if steps.count("rest") == 2:
                await admin.cancel(sent[-1])

        def counted(pages: message_pages.MessagePages, slot: int, one: Message) -> MessageView:
            steps.append("shown")
            return shown(pages, slot, one)

        monkeypatch.setattr(Pace, "rest", rested)
        monkeypatch.setattr(message_pages.MessagePages, "_shown", counted)
        monkeypatch.setattr(admin.pace, "_now_us", lambda: next(now_us))
        page = await admin.waiting(EVERYTHING, cursor=0, limit=12)
        assert [one.id for one in page.items] == sent[:-1]
        slices = "".join(step[0] for step in steps).split("r")
        assert max(map(len, slices)) <= 4

    simulate(test)


def test_copies_forward_hide_no_message() -> None:
    """What compaction copies while pages are turned is found where it is then."""

    async def test(bench: Bench) -> None:
        sent = await held(bench, 6)
        admin = bench.queue.admin
        page = await admin.waiting(EVERYTHING, cursor=0, limit=2)
        pending = bench.queue.pending
        pending.extents.cut()
        await bench.queue.space.copy([pending.extents.oldest])
        assert page.next_cursor is not None
        rest = await admin.waiting(EVERYTHING, cursor=page.next_cursor, limit=100)
        assert {one.id for one in (*page.items, *rest.items)} == set(sent)
        assert await ids(bench, EVERYTHING) == sent

    simulate(test)


def test_no_more_than_a_slice_is_looked_at_between_two_turns_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many messages wait; whoever lists them leaves the loop to others after each slice."""

    async def test(bench: Bench) -> None:
        pending = bench.queue.pending
        lane = bench.queue.lanes.of(destination())
        count = 100_000
        positions = list(range(100, 100 + count))
        slots = pending.add_all(positions, 1, [lane.number] * count, [200] * count)
        assert len(slots) == count
        turn = 0
        looked: dict[int, int] = {}

        def tick() -> None:
            nonlocal turn
            turn += 1
            loop.call_later(0.0001, tick)

        slice_of = waiting.Waiting._slice

        def counted(self: waiting.Waiting, search: waiting._Search, start: int) -> Any:
            before = search.work.looked
            found = slice_of(self, search, start)
            looked[turn] = looked.get(turn, 0) + search.work.looked - before
            return found

        monkeypatch.setattr(waiting.Waiting, "_slice", counted)
        monkeypatch.setattr(message_pages, "MOST_LOOKED", 25_000)
        loop = asyncio.get_running_loop()
        tick()
        which = MessageFilter(state=MessageState.SCHEDULED)
        cursor: int | None = 0
        pages = 0
        while cursor is not None:
            page = await bench.queue.admin.waiting(which, cursor=cursor, limit=100)
            cursor, pages = page.next_cursor, pages + 1
            assert not page.items
        assert sum(looked.values()) == count
        assert max(looked.values()) <= waiting.SLICE
        assert pages >= count // message_pages.MOST_LOOKED
        for slot in slots:  # nothing of it is in the log
            pending.index.state[slot] = 0

    simulate(test)


def test_a_message_is_shown_with_its_request() -> None:
    """Waiting or dead; of one that was delivered nothing is kept."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        one = await put(bench, message(body=b"whole"))
        found = await admin.message_detail(one)
        assert found is not None
        assert found.headers == [(b"Host", b"h")]
        assert found.body is not None
        assert await whole(found.body) == b"whole"
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.05)
        dead = await admin.message_detail(one)
        assert dead is not None
        assert dead.body is not None
        assert dead.message.state is MessageState.DEAD
        assert (dead.headers, await whole(dead.body)) == ([(b"Host", b"h")], b"whole")
        other = await put(bench, message())
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.05)
        delivered = await admin.message_detail(other)
        assert delivered is not None
        assert (delivered.headers, delivered.body) == (None, None)
        assert await admin.message_detail("0" * 28) is None

    simulate(test)


def test_a_large_body_is_read_while_it_is_copied_and_ends_with_its_message() -> None:
    """Nothing is held for who reads it: it is read wherever it is by then."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        await admin.hold("a.example")
        one = await big(bench)
        found = await admin.message_detail(one)
        assert found is not None
        assert found.body is not None
        pieces: list[bytes] = []
        async for piece in found.body:
            pieces.append(piece)
            bench.queue.pending.extents.cut()
            await bench.queue.space.copy(list(bench.queue.pending.extents)[:1])
        assert b"".join(pieces) == b"".join(bytes([n]) * CHUNK_BYTES for n in range(3))
        reader = aiter(found.body)
        await anext(reader)
        await admin.cancel(one)
        with pytest.raises(LetterGone):
            await anext(reader)

    simulate(test)


def test_a_page_is_made_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many messages it shows: few are named at once, and fewer are read."""
    monkeypatch.setattr(message_pages, "_AT_ONCE", 8)
    monkeypatch.setattr(message_pages, "READ_MOST", 4)

    async def test(bench: Bench) -> None:
        sent = await held(bench, 50)
        made = named = most_made = most_named = 0
        view, name = bench.queue.admin._looking.pending_view, message_pages.MessagePages._name
        rest = bench.queue.admin.pace.rest

        def viewed(slot: int, found: Message) -> MessageView:
            nonlocal made
            made += 1
            return view(slot, found)

        def noted(self: message_pages.MessagePages, slot: int) -> tuple[int, int]:
            nonlocal named
            named += 1
            return name(self, slot)

        async def rested(*, part: float = 1.0) -> None:
            nonlocal made, named, most_made, most_named
            most_made, most_named = max(most_made, made), max(most_named, named)
            await rest(part=part)
            made = named = 0

        monkeypatch.setattr(bench.queue.admin._looking, "pending_view", viewed)
        monkeypatch.setattr(message_pages.MessagePages, "_name", noted)
        monkeypatch.setattr(Pace, "rest", lambda _, **how: rested(**how))
        page = await bench.queue.admin.waiting(EVERYTHING, cursor=0, limit=1000)
        assert [one.id for one in page.items] == sent
        assert (most_made, most_named) == (4, 8)

    simulate(test)


def test_lists_rest_briefly_while_nothing_is_stored() -> None:
    """And wholly as soon as a message is, or anything of a call."""

    async def test(bench: Bench) -> None:
        pace, now = bench.queue.admin.pace, asyncio.get_running_loop().time

        async def rested_s() -> float:
            began = now()
            await pace.rest()
            return now() - began

        await asyncio.sleep(1)
        assert await rested_s() == pytest.approx(QUIET_REST_SECONDS)
        await put(bench, message())
        assert await rested_s() == pytest.approx(REST_SECONDS)
        await asyncio.sleep(1)
        assert await rested_s() == pytest.approx(QUIET_REST_SECONDS)

    simulate(test)


def test_messages_read_back_go_to_the_destination_that_their_lane_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With more destinations than any table of recent ones holds, reading where a message goes
    took as long as all the rest of it: lists, and what is copied forward, waited for that."""

    async def test(bench: Bench) -> None:
        await held(bench, 3)
        await held(bench, 2, "b.example")
        pending = bench.queue.pending
        index = pending.index
        slots = [slot for slot in range(index.slots) if index.state[slot] != State.FREE]
        monkeypatch.setattr(messages, "_destination", None)
        found = await read_messages(bench.log, pending, slots, partition=0)
        assert found is not None
        known = {id(lane.destination) for lane in bench.queue.lanes}
        assert {id(one.destination) for one in found} == known
        assert len(known) == 2

    simulate(test)
