"""What operators do while something else happens to the same message, letter or destination."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.message import Message
from dispatcher.errors import LogCorrupt, Refused
from dispatcher.queue.admin.surface import (
    Cancelled,
    LetterEdit,
    LetterFilter,
    MessageState,
    Moved,
)
from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.ids import id_parts
from dispatcher.queue.records.letters import DeadLetter, LetterFacts, encode_dead, letter_facts
from dispatcher.testing.admin import whole
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from tests.unit.test_queue_admin import accepted, big, dead
from tests.unit.test_queue_exporting import DamagedLog

EVERYTHING = LetterFilter()
BODY = b"".join(bytes([n]) * CHUNK_BYTES for n in range(3))


async def big_letter(bench: Bench) -> bytes:
    """A dead letter with a large body; returns its id."""
    message_id = await big(bench)
    bench.end(bench.deliverer.flying[0], failed(404))
    await asyncio.sleep(0.1)
    assert len(bench.queue.dead_letters) == 1
    return message_id.encode()


def test_a_message_cancelled_while_it_is_copied_forward_does_not_come_back() -> None:
    """A copy that is made after the record that settles it would revive it at the next start."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        await queue.admin.hold("a.example")
        message_id = await accepted(bench)
        bench.log.append_s = 0.01
        cancelling = asyncio.create_task(queue.admin.cancel(message_id))
        await asyncio.sleep(0.005)
        await queue.space.copy([queue.pending.extents.oldest])
        assert await cancelling is Cancelled.DONE
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 0

    simulate(test)


def test_cancel_that_is_refused_late_has_cancelled() -> None:
    """The space ran out while its record was on its way: looked at again, the message is gone."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        await queue.admin.hold("a.example")
        message_id = await accepted(bench)
        bench.log.space = Space.NOTHING
        with pytest.raises(Refused):
            await queue.admin.cancel(message_id)
        assert await queue.admin.message(message_id) is None
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(5)
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 0

    simulate(test)


@pytest.mark.parametrize("turns", range(8))
def test_a_message_is_cancelled_or_sent_when_its_turn_comes_at_that_moment(turns: int) -> None:
    """One of the two, and the operator is told which."""

    async def test(bench: Bench) -> None:
        await accepted(bench, "first")
        second = await accepted(bench, "second")
        cancelling = asyncio.create_task(bench.queue.admin.cancel(second))
        for _ in range(turns):
            await asyncio.sleep(0)
        bench.end(bench.deliverer.flying[0])
        result = await cancelling
        targets = [one.target for one in bench.deliverer.flying]
        assert (result, targets) in [
            (Cancelled.DONE, []),
            (Cancelled.IN_FLIGHT, ["/second"]),
        ]

    simulate(test, workers=1)


def test_destinations_that_are_paused_at_the_same_time_are_all_remembered() -> None:
    """Also while the record of those before them is copied forward."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        await queue.admin.hold("a.example")
        await asyncio.gather(
            queue.admin.hold("b.example"),
            queue.pauses.move_from(queue.pending.extents.oldest),
            queue.admin.hold("c.example"),
        )
        await bench.crash()
        await bench.start()
        paused = [lane.destination for lane in (await bench.queue.admin.lanes()).items if lane.held]
        assert paused == ["http://a.example", "http://b.example", "http://c.example"]

    simulate(test)


def test_a_letter_purged_while_it_is_copied_forward_does_not_come_back() -> None:
    """A copy behind the record that removes it would be a letter at the next start."""

    async def test(bench: Bench) -> None:
        message_id = await dead(bench)
        bench.dead_log.append_s = 0.01
        bench.dead_log.read_s = 0.005
        copying = asyncio.create_task(
            bench.queue.dead_letters.space.copy_letter(message_id.encode())
        )
        assert (await bench.queue.admin.purge([message_id])).count == 1
        await copying
        await bench.crash()
        await bench.start()
        assert len(bench.queue.dead_letters) == 0

    simulate(test)


def test_a_letter_of_which_nothing_but_chunks_is_stored_yet_is_not_trimmed_away() -> None:
    """The log's space is looked at after each batch, before the copying of a body goes on."""

    async def test(bench: Bench) -> None:
        message_id = await big_letter(bench)
        detail = await bench.queue.admin.letter(message_id.decode())
        assert detail is not None
        assert await whole(detail.body) == BODY

    simulate(test, reclaim=ReclaimPolicy(dead_end_bytes=1))


def test_a_message_redriven_around_a_crash_and_delivered_is_no_letter_after_another() -> None:
    """Its letter is gone for good before it is sent."""

    async def test(bench: Bench) -> None:
        message_id = await dead(bench)
        bench.dead_log.append_s = 10
        redriving = asyncio.create_task(bench.queue.admin.redrive([message_id]))
        await asyncio.sleep(0.1)
        await bench.crash()
        redriving.cancel()
        bench.dead_log.append_s = 0.2
        await bench.start()
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.1)
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 0
        assert len(bench.queue.dead_letters) == 0

    simulate(test)


def test_a_letter_that_died_again_is_redriven_by_one_only() -> None:
    """Also while the redrive before, in which it was one of several, has not ended yet."""

    async def test(bench: Bench) -> None:
        queue, flying = bench.queue, bench.deliverer.flying
        large = await big_letter(bench)
        small = await dead(bench)
        bench.log.append_s = 0.05
        first = asyncio.create_task(queue.admin.redrive([small, large.decode()]))
        await asyncio.sleep(0.12)
        bench.end(flying[0], failed(404))
        await asyncio.sleep(0.01)
        assert small.encode() in queue.dead_letters
        edit = LetterEdit(1, body=[bytes(CHUNK_BYTES)] * 10)
        second = asyncio.create_task(queue.admin.redrive_edited(small, edit))
        assert (await first).count == 2
        assert not second.done()
        assert await queue.admin.redrive([small]) == Moved(0, [small])
        assert await queue.admin.purge([small]) == Moved(0, [small])
        assert (await second).count == 1
        await asyncio.sleep(1)
        assert sorted(one.wire_id for one in flying) == sorted([small.encode(), large])

    simulate(test)


def test_letters_redriven_together_with_one_that_cannot_be_read_are_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The operator is told of the failure, and no other letter is stuck or there twice."""

    async def test(bench: Bench) -> None:
        small = await dead(bench)
        large = await big_letter_after(bench)
        queue = bench.queue

        async def broken(message_id: bytes, number: int) -> bytes:
            raise LogCorrupt("deadletter.log", 7, "the checksum is wrong")

        monkeypatch.setattr(queue.dead_letters, "read_chunk", broken)
        assert await queue.admin.redrive(EVERYTHING) == Moved(1, [], (large,))
        assert [one.wire_id.decode() for one in bench.deliverer.flying] == [small]
        assert len(queue.dead_letters) == 1
        assert queue.pending.uploading_bytes == 0
        bench.end(bench.deliverer.flying[0])
        assert queue.pending.index.count == 0

    simulate(test)


async def big_letter_after(bench: Bench) -> str:
    message_id = await big(bench)
    bench.end(bench.deliverer.flying[0], failed(404))
    await asyncio.sleep(0.1)
    return message_id


@pytest.mark.parametrize("by", ["filter", "ids"])
def test_redrive_of_all_passes_over_a_letter_that_cannot_be_read(by: str) -> None:
    """It is named, and stays; those behind it are sent."""

    async def test(bench: Bench) -> None:
        ids = [await dead(bench, name) for name in ("a", "b", "c")]
        assert isinstance(bench.dead_log, DamagedLog)
        bench.dead_log.damage(lambda payload: b"POST /b " in payload)
        admin = bench.queue.admin
        moved = await admin.redrive(EVERYTHING if by == "filter" else ids)
        assert moved == Moved(2, [], (ids[1],))
        assert [one.target for one in bench.deliverer.flying] == ["/a", "/c"]
        assert not bench.queue.redriver.is_busy
        assert (await admin.purge([ids[1]])).count == 1

    simulate(test, dead_log=DamagedLog())


def test_list_of_letters_has_one_that_cannot_be_read() -> None:
    """What is known of it without its record; else nobody could list, redrive or purge its page."""

    async def test(bench: Bench) -> None:
        ids = [await dead(bench, name) for name in ("a", "b", "c")]
        assert isinstance(bench.dead_log, DamagedLog)
        bench.dead_log.damage(lambda payload: b"POST /b " in payload)
        page = await bench.queue.admin.letters(EVERYTHING, cursor=0, limit=10)
        assert [(one.id, one.target) for one in page.items] == [
            (ids[0], "/a"),
            (ids[1], ""),
            (ids[2], "/c"),
        ]
        damaged = page.items[1]
        assert (damaged.destination, damaged.last_status) == ("http://a.example", 404)

    simulate(test, dead_log=DamagedLog())


def test_a_message_is_shown_while_it_is_copied_forward() -> None:
    """It lies somewhere else when the record is read: it is read there."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        await queue.admin.hold("a.example")
        message_id = await accepted(bench)
        bench.log.read_s = 0.01
        looking = asyncio.create_task(queue.admin.message(message_id))
        await asyncio.sleep(0.005)
        bench.log.read_s = 0.0
        await queue.space.copy([queue.pending.extents.oldest])
        _, incarnation, position = id_parts(message_id.encode())
        slot = queue.pending.find(position, incarnation)
        await bench.log.trim(queue.pending.index.position[slot])
        view = await looking
        assert view is not None
        assert view.state is MessageState.READY

    simulate(test)


def test_a_message_whose_attempt_ends_while_it_is_read_is_shown_with_it() -> None:
    """It never waits for its next attempt after none."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench)
        bench.log.read_s = 0.01
        looking = asyncio.create_task(bench.queue.admin.message(message_id))
        await asyncio.sleep(0.005)
        bench.end(bench.deliverer.flying[0], failed(503))
        view = await looking
        assert view is not None
        found = (view.state, view.attempts, view.last_error)
        assert found == (MessageState.SCHEDULED, 1, "http_503")

    simulate(test)


async def shown(bench: Bench, message_id: str) -> bool:
    """Whether all of the body is there."""
    detail = await bench.queue.admin.letter(message_id)
    return detail is not None and await whole(detail.body) == BODY


@pytest.mark.parametrize("what", ["shown", "redriven"])
def test_a_large_letter_is_shown_and_redriven_while_it_is_copied_forward(what: str) -> None:
    """Each piece is read from where it is by then."""

    async def test(bench: Bench) -> None:
        message_id = (await big_letter(bench)).decode()
        queue = bench.queue
        bench.dead_log.read_s = 0.01
        if what == "shown":
            using: asyncio.Task[object] = asyncio.create_task(shown(bench, message_id))
        else:
            using = asyncio.create_task(queue.admin.redrive([message_id]))
        await asyncio.sleep(0.011)
        bench.dead_log.read_s = 0.0
        await queue.dead_letters.space.copy_letter(message_id.encode())
        row = queue.dead_letters.letters.find(message_id.encode())
        await bench.dead_log.trim(queue.dead_letters.holdings.chunks[message_id.encode()][0][0])
        assert row >= 0
        assert await using
        if what == "redriven":
            await asyncio.sleep(0.1)
            (sent,) = bench.deliverer.flying
            assert b"".join(await queue.settling.read_body(list(sent.chunks or ()))) == BODY

    simulate(test)


def test_letters_are_listed_while_rows_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row's number is not remembered while others are read."""
    monkeypatch.setattr("dispatcher.queue.deadletters.letters._REWRITE_ABOVE", 4)
    monkeypatch.setattr("dispatcher.queue.admin.listing._READ_BYTES", 1)

    async def test(bench: Bench) -> None:
        ids = [await dead(bench, f"m{n}") for n in range(10)]
        admin = bench.queue.admin
        admin.pace._rest_s = 0.001
        bench.dead_log.read_s = 0.01
        listing = asyncio.create_task(admin.letters(EVERYTHING, cursor=0, limit=10))
        await asyncio.sleep(0.035)
        assert (await admin.purge(ids[:9])).count == 9
        assert bench.queue.dead_letters.letters.rows < 10
        page = await listing
        assert [item.id for item in page.items] == [*ids[:4], ids[9]]

    simulate(test)


def test_a_letter_older_than_the_log_is_not_mixed_up_with_a_message_in_its_place() -> None:
    """The transaction log was deleted and begins anew, so positions come again; names don't."""

    async def test(bench: Bench) -> None:
        early, late = await dead(bench, "early"), await dead(bench, "late")
        await bench.crash()
        bench.log = FaultyLog()
        await bench.start()
        new = await accepted(bench, "new")
        assert new[12:] == early[12:]
        moved = await bench.queue.admin.redrive([early, late])
        assert (moved.count, moved.not_found) == (2, [])
        (first,) = [one for one in bench.deliverer.flying if one.wire_id.decode() == new]
        bench.end(first)
        await bench.stop()
        await bench.start()
        await asyncio.sleep(0.01)
        for _ in range(2):  # one at a time, to a destination that was not tried
            back = bench.deliverer.flying[-1]
            assert back.wire_id.decode() in (early, late)
            bench.end(back)
            await asyncio.sleep(0.01)
        assert bench.queue.figures.delivered_total == 2

    simulate(test)


def test_redriving_on_a_full_disk_is_refused_and_can_be_repeated() -> None:
    """Nothing has changed then, a large body included."""

    async def test(bench: Bench) -> None:
        small = await dead(bench)
        await big_letter_after(bench)
        queue = bench.queue
        bench.log.space = Space.NOTHING
        with pytest.raises(Refused):
            await asyncio.wait_for(queue.admin.redrive(EVERYTHING), 60)
        assert len(queue.dead_letters) == 2
        assert queue.pending.index.count == queue.pending.uploading_bytes == 0
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(5)
        assert (await queue.admin.redrive([small])).count == 1
        assert (await queue.admin.redrive(EVERYTHING)).count == 1
        await asyncio.sleep(0.1)
        assert len(bench.deliverer.flying) == 2
        assert len(queue.dead_letters) == 0

    simulate(test)


def letter(position: int, *, incarnation: int = 1, dead_at: int = 1_000) -> LetterFacts:
    """A dead letter of a message at this position."""
    sent: Message = message(destination())
    sent.position, sent.incarnation = position, incarnation
    return letter_facts(encode_dead(DeadLetter(0, sent, dead_at, "rejected", "", b"")))


def test_letters_of_two_logs_with_one_position_are_kept_apart() -> None:
    """Ids differ in more than that: the transaction log may have been deleted between them."""
    letters = Letters()
    first, second = letter(7), letter(7, incarnation=2)
    for at, one in enumerate((first, second)):
        letters.add(one, at, 10)
    assert letters.find(first.message_id) == 0
    assert letters.find(second.message_id) == 1
    assert letters.remove(first.message_id) == 0
    assert letters.find(first.message_id) == -1
    assert letters.find(second.message_id) == 1


def test_letters_keep_their_ordinals_when_rows_are_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cursor is an ordinal: nothing behind it may be passed over."""
    monkeypatch.setattr("dispatcher.queue.deadletters.letters._REWRITE_ABOVE", 4)
    letters = Letters()
    all_ = [letter(position) for position in range(10)]  # all died in one microsecond
    for at, one in enumerate(all_):
        letters.add(one, at, 10)
    cursor = letters.ordinal[7]
    for one in all_[:7]:
        letters.remove(one.message_id)
    letters.tidy()
    assert letters.rows == 3
    rest = range(letters.first_after(cursor), letters.rows)
    assert [letters.id(row) for row in rest] == [one.message_id for one in all_[8:]]
