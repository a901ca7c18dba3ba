"""Dead letters on their way to the disk: nothing strands one, and no stop waits for large ones."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.message import Message
from dispatcher.queue.admin.surface import AttemptView, Death
from dispatcher.queue.commit.waiters import Awaited, NotedUnit
from dispatcher.queue.deadletters import burial
from dispatcher.queue.deadletters.burial import COPIES_AT_ONCE
from dispatcher.queue.deadletters.selection import LetterFilter
from dispatcher.queue.partition import Partition
from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.ports import CHUNK_BYTES, LogName
from dispatcher.queue.records.letters import DeadLetter, encode_dead
from dispatcher.testing.deadcalls import call_id, call_letter
from dispatcher.testing.log import Space
from dispatcher.testing.queue import Bench, destination, failed, message, simulate


async def _under_way(bench: Bench, count: int, *, large: bool) -> list[Message]:
    """So many messages, each to a destination of its own, whose attempts are under way."""
    for number in range(count):
        sent = message(destination(f"d{number}"), b"" if large else b"hello")
        upload = None
        if large:
            upload = bench.queue.intake.start_upload(lambda: None)
            upload.write(b"c")  # so many find room in one batch
            upload.write(b"d")
            sent.body_size = upload.size_bytes
        bench.queue.intake.accept(sent, bench.receipts.one(), upload)
    await asyncio.sleep(0.1)
    assert len(bench.deliverer.flying) == count
    return list(bench.deliverer.flying)


@pytest.mark.parametrize(
    ("large", "error"),
    [(False, MemoryError()), (True, MemoryError()), (True, RuntimeError("a mistake"))],
)
def test_letter_that_cannot_be_made_strands_no_other(
    large: bool, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where memory was lacking it is made a little later; a mistake is told."""
    left = [error]

    def encode(letter: DeadLetter) -> bytes:
        if left:
            raise left.pop()
        return encode_dead(letter)

    monkeypatch.setattr(burial, "encode_letter", encode)

    async def test(bench: Bench) -> None:
        for sent in await _under_way(bench, COPIES_AT_ONCE + 2, large=large):
            bench.end(sent, failed(404))
        await asyncio.sleep(10)
        missing = 0 if isinstance(error, MemoryError) else 1
        assert len(bench.queue.dead_letters) == COPIES_AT_ONCE + 2 - missing
        assert bench.queue.figures.burying == len(bench.notes.deaths) == missing
        assert bench.queue.dead_letters.waiting_bytes == 0
        assert not bench.notes.errors

    simulate(test)


def test_large_message_that_dies_while_those_who_copy_end_is_copied() -> None:
    """They have looked for more already, and do not see it."""

    async def test(bench: Bench) -> None:
        last, *others = await _under_way(bench, COPIES_AT_ONCE + 1, large=True)
        bench.dead_log.append_s = 0.01
        bench.accept(message(destination("small")))
        await asyncio.sleep(0.1)
        bench.end(bench.deliverer.flying[-1], failed(404))
        for sent in others:  # behind the batch of the small one, so that they go side by side
            bench.end(sent, failed(404))
        copies = bench.queue.dead_letters._burying._copies
        for turn in range(1_000_000):
            if all(task.done() for task in copies):
                break
            await asyncio.sleep(0 if turn % 100 else 0.001)
        assert len(copies) == COPIES_AT_ONCE
        bench.end(last, failed(404))
        await asyncio.sleep(1)
        assert len(bench.queue.dead_letters) == COPIES_AT_ONCE + 2

    simulate(test)


async def _large(bench: Bench, name: str) -> None:
    """Accept a message with a body of ten chunks, to a destination of its own."""
    upload = bench.queue.intake.start_upload(lambda: None)
    for _ in range(10):
        upload.write(b"c" * CHUNK_BYTES)
    sent = message(destination(name), b"", name=name)
    sent.body_size = upload.size_bytes
    bench.queue.intake.accept(sent, bench.receipts.one(), upload)
    await asyncio.sleep(1)


def _extents_of_a_chunk(queue: Partition) -> None:
    queue.dead_letters.holdings.extents.extent_bytes = CHUNK_BYTES


def test_large_letters_that_find_room_only_one_by_one_are_stored_as_each_is_purged() -> None:
    """What was copied in vain is trimmed although nothing more is stored, and those that would be
    copied side by side, none of which would find room, are copied one after the other."""

    async def test(bench: Bench) -> None:
        count = COPIES_AT_ONCE + 1
        for number in range(count):
            await _large(bench, f"d{number}")
        bench.dead_log.capacity_bytes = 20 * CHUNK_BYTES  # three quarters are for letters
        for sent in list(bench.deliverer.flying):
            bench.end(sent, failed(404))
        for stored in range(1, count + 1):
            await asyncio.sleep(20)
            assert len(bench.queue.dead_letters) == 1
            assert bench.queue.figures.burying == count - stored
            await bench.queue.admin.purge(LetterFilter())
        assert not bench.notes.deaths

    simulate(test, prepare=_extents_of_a_chunk)


def test_large_letter_that_finds_no_space_at_its_end_keeps_nothing_of_the_log() -> None:
    """While it waits, its body would keep the only segments that could be free."""

    async def test(bench: Bench) -> None:
        await _large(bench, "a")
        bench.dead_log.append_s = 1.0
        bench.end(bench.deliverer.flying[0], failed(404))
        extents = bench.queue.dead_letters.holdings.extents
        for _ in range(100):
            if sum(extent.live for extent in extents) == 10:
                break
            await asyncio.sleep(0.1)
        bench.dead_log.space = Space.RESERVE
        await asyncio.sleep(2)
        assert bench.notes.space == [(LogName.DEAD_LETTER, True)]
        assert sum(extent.live for extent in extents) == 0
        assert bench.queue.dead_letters.waiting_bytes > 0
        bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(30)
        assert len(bench.queue.dead_letters) == 1
        assert bench.queue.dead_letters.waiting_bytes == 0
        assert not bench.queue.dead_letters.lacks_space

    simulate(test)


def test_stop_does_not_wait_for_large_bodies_that_are_copied_to_the_dead_letters() -> None:
    """Their messages are given up again after the next start."""

    async def test(bench: Bench) -> None:
        await _under_way(bench, 1, large=True)
        bench.dead_log.append_s = 30
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(1)
        began_us = bench.clock.monotonic_us()
        await bench.stop()
        assert bench.clock.monotonic_us() - began_us < 30_000_000, "the batch under way"
        bench.dead_log.append_s = 0
        await bench.start()
        await asyncio.sleep(1)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(1)
        assert len(bench.queue.dead_letters) == 1

    simulate(test)


def test_letter_with_more_attempts_than_there_can_be_keeps_the_last_ones() -> None:
    """With all of them its record would be larger than a batch, and the log would fail."""

    async def test(bench: Bench) -> None:
        attempts = [AttemptView(n, n, 5, 503, None, None) for n in range(1, 40_001)]
        death = Death(0, "rejected", "as told", b"", 40_000, attempts)
        carried = message(body=b"")
        await asyncio.wait_for(bench.queue.carrying.take(carried, [], death), 5)
        letter = await bench.queue.admin.letter(carried.wire_id.decode())
        assert letter is not None
        assert letter.letter.attempts == 40_000
        assert [one.attempt for one in letter.history] == list(range(39_000, 40_001))
        bench.accept(message())
        await asyncio.sleep(1)
        assert [type(one) for one in bench.receipts.accepted] == [Message]
        assert not bench.notes.errors

    simulate(test)


def test_who_awaits_a_record_goes_on_when_what_follows_fails() -> None:
    """The record is durable; the failure is told by whoever called."""

    async def test(bench: Bench) -> None:
        def mistake(position: int) -> None:
            raise RuntimeError("a mistake")

        one = Awaited(mistake)
        with pytest.raises(RuntimeError):
            one.stored(1)
        assert one.done.done()
        unit = NotedUnit(Extents(), [1, 2])
        with pytest.raises(ValueError, match="zip"):
            unit.stored([1])
        assert unit.done.done()

    simulate(test)


def test_large_letter_that_finds_too_little_space_is_seldom_copied_in_vain() -> None:
    """Not each second, for hours: each time its body is written, and the disk is said to be
    full."""

    async def test(bench: Bench) -> None:
        await _large(bench, "a")
        bench.dead_log.capacity_bytes = 10 * CHUNK_BYTES
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(100)
        assert 2 <= bench.notes.space.count((LogName.DEAD_LETTER, True)) <= 12
        bench.dead_log.capacity_bytes = None
        await asyncio.sleep(20)
        assert len(bench.queue.dead_letters) == 1

    simulate(test, prepare=_extents_of_a_chunk)


def test_stop_does_not_wait_for_a_large_letter_that_pauses_after_it_found_too_little_space() -> (
    None
):
    """Its message is given up again after the next start."""

    async def test(bench: Bench) -> None:
        await _large(bench, "a")
        bench.dead_log.capacity_bytes = 10 * CHUNK_BYTES
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(20)
        assert bench.notes.space[-1] == (LogName.DEAD_LETTER, False)
        began_us = bench.clock.monotonic_us()
        await bench.stop(drain_s=10)
        assert bench.clock.monotonic_us() - began_us < 2_000_000

    simulate(test, prepare=_extents_of_a_chunk)


def test_disk_that_is_full_of_bodies_that_were_refused_is_given_back() -> None:
    """Nothing else comes that would have the log look at what is needed no more."""

    async def test(bench: Bench) -> None:
        bench.log.capacity_bytes = 20 * CHUNK_BYTES  # three quarters are for bodies
        uploads = [bench.queue.intake.start_upload(lambda: None) for _ in range(4)]
        for _ in range(10):
            for upload in uploads:
                upload.write(b"c" * CHUNK_BYTES)
            await asyncio.sleep(0.1)
        for upload in uploads:
            assert upload.refusal is not None
            upload.abort()
        await asyncio.sleep(5)
        assert bench.notes.space == [(LogName.TRANSACTION, True), (LogName.TRANSACTION, False)]
        await _large(bench, "next")
        assert len(bench.receipts.accepted) == 1

    simulate(test)


@pytest.mark.parametrize("large", [False, True])
def test_letter_that_no_record_holds_is_told_and_its_message_is_kept_and_left_alone(
    large: bool,
) -> None:
    """It is not sent again, no stop waits for it, and others are buried; after the next start it
    dies again."""

    async def test(bench: Bench) -> None:
        (sent,) = await _under_way(bench, 1, large=large)
        most = bench.dead_log._max_batch_bytes
        bench.dead_log._max_batch_bytes = 120
        bench.end(sent, failed(404))
        await asyncio.sleep(1)
        bench.dead_log._max_batch_bytes = most
        queue = bench.queue
        key, to = sent.wire_id, str(sent.destination).encode()
        assert bench.notes.too_large == [(key, to)]
        assert queue.figures.letters_too_large_total == 1
        assert queue.figures.count_states() == {"ready": 0, "scheduled": 0, "in_flight": 1}
        assert queue.dead_letters.waiting_bytes == 0

        bench.accept(message(destination("other")))
        await asyncio.sleep(0.1)
        bench.end(bench.deliverer.flying[-1], failed(404))
        await asyncio.sleep(2 * 3600)
        assert len(queue.dead_letters) == 1
        assert bench.deliverer.flying == []
        assert len(bench.notes.too_large) == 1
        assert await queue.drain(1)

        await bench.crash()
        await bench.start()
        await asyncio.sleep(1)
        (again,) = bench.deliverer.flying
        assert again.wire_id == key
        bench.end(again, failed(404))
        await asyncio.sleep(1)
        assert key in bench.queue.dead_letters
        assert bench.queue.figures.count_states()["in_flight"] == 0

    simulate(test)


def test_letter_of_a_call_that_no_record_holds_is_told_and_its_call_kept() -> None:
    """Whoever buries it is not told that it is durable."""

    async def test(bench: Bench) -> None:
        most = bench.dead_log._max_batch_bytes
        bench.dead_log._max_batch_bytes = 120
        told: list[str] = []
        bench.queue.dead_letters.bury_call(call_letter(1), lambda: told.append("durable"))
        await asyncio.sleep(1)
        bench.dead_log._max_batch_bytes = most
        assert told == []
        assert bench.notes.too_large == [(call_id(1), b"http://apps.example:8000")]
        assert bench.queue.figures.count_states()["in_flight"] == 0
        bench.queue.dead_letters.bury_call(call_letter(1), lambda: told.append("durable"))
        await asyncio.sleep(1)
        assert told == ["durable"]

    simulate(test)
