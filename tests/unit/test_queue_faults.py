"""What raises where nobody foresaw it hurts nothing else, and is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dispatcher.core.answer import Answer
from dispatcher.core.message import Message
from dispatcher.errors import LogBusy, LogError, LogFailed, LogFenced, LogUnknown, Refusal
from dispatcher.queue.admin.surface import Cancelled, MessageState
from dispatcher.queue.ports import BodyUnavailable, LogName
from dispatcher.queue.refusals import MOVED, NO_VERDICT
from dispatcher.testing.queue import Bench, failed, message, simulate
from tests.unit.test_queue_admin import accepted, big, dead


class _Raises:
    """A receipt with a mistake in it."""

    def accepted(self, message: Message) -> None:
        raise RuntimeError("a mistake in one receipt")

    def duplicate(self, message_id: bytes) -> None:
        raise RuntimeError("a mistake in one answer")

    def refused(self, refusal: Refusal) -> None:
        raise RuntimeError("a mistake in one refusal")


def test_callers_of_a_batch_are_answered_when_one_of_them_raises() -> None:
    """Their records are durable; and so is the one of who raised, which is delivered too."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.01
        bench.accept(message(name="first"))
        await asyncio.sleep(0.001)
        bench.queue.intake.accept(message(name="bad"), _Raises())
        receipts = [bench.accept(message(name=f"m{n}")) for n in range(3)]
        await asyncio.sleep(1)
        assert all(isinstance(receipt.answer, Message) for receipt in receipts)
        assert bench.queue.pending.index.count == 5
        assert [str(error) for _, error in bench.notes.deaths] == ["a mistake in one receipt"]
        bench.accept(message(name="later"))
        await asyncio.sleep(1)
        assert bench.queue.pending.index.count == 6
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
            await asyncio.sleep(0.01)
        assert "/bad" in [target for target, _ in bench.deliverer.started]

    simulate(test)


def test_callers_are_refused_when_one_of_them_raises() -> None:
    """Also where nothing is durable."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.01
        bench.accept(message(name="first"))
        bench.log.broken = True
        await asyncio.sleep(0.001)
        bench.queue.intake.accept(message(name="bad"), _Raises())
        receipts = [bench.accept(message(name=f"m{n}")) for n in range(3)]
        await asyncio.sleep(1)
        assert all(isinstance(receipt.answer, Refusal) for receipt in receipts)
        assert [str(error) for _, error in bench.notes.deaths] == ["a mistake in one refusal"]

    simulate(test)


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), MemoryError()])
def test_callers_are_refused_when_append_itself_raises(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of waiting for ever, as all who come after them."""

    async def test(bench: Bench) -> None:
        def append(batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
            raise error

        monkeypatch.setattr(bench.log, "append", append)
        receipt = bench.accept(message())
        assert isinstance(receipt.answer, Refusal)
        assert isinstance(bench.accept(message()).answer, Refusal)
        assert [one for _, one in bench.notes.errors] == [error]
        await asyncio.wait_for(bench.stop(), 5)

    simulate(test)


def test_log_that_lacks_something_for_a_while_is_written_again() -> None:
    """Callers are told so, what settles messages waits, and nothing is called full or failed."""

    async def test(bench: Bench) -> None:
        await accepted(bench)
        real, lacks = bench.log.append, True

        def append(batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
            if not lacks:
                return real(batch, urgent=urgent)
            done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
            done.set_exception(LogBusy("no descriptors"))
            return done

        bench.log.append = append  # type: ignore[method-assign]  # a disk has its moods
        receipt = bench.accept(message())
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(5)
        assert isinstance(receipt.answer, Refusal)
        assert receipt.answer.slug == "log_busy"
        lacks = False
        assert isinstance(await accepted(bench, "later"), str)
        await asyncio.sleep(2)
        assert not bench.notes.space
        assert not bench.notes.errors
        await bench.crash()
        await bench.start()
        assert bench.queue.pending.index.count == 1, "the first was settled after all"

    simulate(test)


@pytest.mark.parametrize("turns", range(12))
def test_stop_ends_when_the_log_is_given_up_while_a_batch_is_under_way(turns: int) -> None:
    """At whatever moment: nothing brings a committer back to life that was given up."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 0.001
        for n in range(3):
            bench.accept(message(name=f"{n}"))
        await asyncio.sleep(0.0005)
        bench.accept(message(name="next"))
        bench.queue.committer.wake()
        asyncio.get_running_loop().call_later(0.0004, bench.queue.committer.give_up)
        for _ in range(turns):
            await asyncio.sleep(0.0001)
        await asyncio.wait_for(bench.queue.stop(), 5)
        assert bench.queue.committer.dead
        assert len(bench.receipts.accepted) + len(bench.receipts.refused) == 4
        await asyncio.sleep(1)
        assert len(bench.log.appended) <= 2

    simulate(test)


def test_lane_is_read_again_when_memory_was_short() -> None:
    """It would wait for ever otherwise, and nobody would know."""

    async def test(bench: Bench) -> None:
        await accepted(bench)
        await bench.crash()
        real, times = bench.log.read, 2

        async def short(positions: Sequence[int]) -> list[bytes]:
            nonlocal times
            times -= 1
            if times >= 0:
                raise MemoryError
            return await real(positions)

        bench.log.read = short  # type: ignore[method-assign]  # a disk has its moods
        await bench.start()
        await asyncio.sleep(5)
        assert len(bench.deliverer.flying) == 1
        assert not bench.notes.errors

    simulate(test)


def test_lane_that_cannot_be_read_ends_the_process_when_nobody_knows_why() -> None:
    """Loudly: while a lane loads for ever its destination gets nothing, and no line says so."""

    async def test(bench: Bench) -> None:
        await accepted(bench)
        await bench.crash()

        async def broken(positions: Sequence[int]) -> list[bytes]:
            raise RuntimeError("a mistake")

        bench.log.read = broken  # type: ignore[method-assign]  # a disk has its moods
        await bench.start()
        await asyncio.sleep(5)
        assert [str(error) for _, error in bench.notes.errors] == ["a mistake"]

    simulate(test)


def test_oldest_age_is_looked_at_again_when_a_look_failed() -> None:
    """The metric does not stand still for ever, and the failure is told."""

    async def test(bench: Bench) -> None:
        await accepted(bench)
        real = bench.log.read

        async def broken(positions: Sequence[int]) -> list[bytes]:
            raise RuntimeError("a mistake")

        bench.log.read = broken  # type: ignore[method-assign]  # a disk has its moods
        bench.queue.oldest.accepted_at = None
        await asyncio.sleep(6)
        assert [name for name, _ in bench.notes.deaths] == ["oldest message"]
        bench.log.read = real  # type: ignore[method-assign]  # as it was
        await asyncio.sleep(12)
        assert bench.queue.oldest.accepted_at is not None

    simulate(test)


def test_redriven_message_is_in_flight_until_its_letter_is_gone() -> None:
    """It is no ready message yet: it is in no lane."""

    async def test(bench: Bench) -> None:
        message_id = await dead(bench)
        await bench.queue.admin.hold("http://a.example")
        bench.dead_log.append_s = 1.0
        redriving = asyncio.create_task(bench.queue.admin.redrive([message_id]))
        await asyncio.sleep(0.5)
        assert bench.queue.figures.count_states() == {"ready": 0, "scheduled": 0, "in_flight": 1}
        assert (await redriving).count == 1
        assert bench.queue.figures.count_states() == {"ready": 1, "scheduled": 0, "in_flight": 0}

    simulate(test)


@pytest.mark.parametrize("wait_ms", [0, 1, 2, 5, 9, 10, 11, 15, 19, 20, 21])
def test_message_is_always_found_when_it_dies_at_that_moment(wait_ms: int) -> None:
    """And when it is redriven: it is in one place or the other, never in none."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        for log in (bench.log, bench.dead_log):
            log.append_s = log.read_s = 0.01
        message_id = await accepted(bench)
        await asyncio.sleep(0.1)

        async def look() -> MessageState:
            view = await admin.message(message_id)
            assert view is not None
            assert await admin.explain(message_id) is not None
            return view.state

        looking = asyncio.create_task(look())
        await asyncio.sleep(wait_ms / 1000)
        bench.end(bench.deliverer.flying[0], failed(404))
        assert await admin.cancel(message_id) in {Cancelled.IN_FLIGHT, Cancelled.DEAD}
        assert await looking in {MessageState.IN_FLIGHT, MessageState.DEAD}
        await asyncio.sleep(0.1)
        looking = asyncio.create_task(look())
        await asyncio.sleep(wait_ms / 1000)
        redriving = asyncio.create_task(admin.redrive([message_id]))
        assert await look() in {MessageState.IN_FLIGHT, MessageState.DEAD, MessageState.READY}
        await looking
        await redriving

    simulate(test)


def test_large_message_is_delivered_when_only_its_copy_lost_a_part() -> None:
    """A damaged log that was repaired: the original is still whole, and is not dropped."""

    async def test(bench: Bench) -> None:
        message_id = await big(bench)
        copied = [position for position, payload in bench.log.records if payload[0] == 2]
        await bench.queue.space.copy([bench.queue.pending.extents.of(bench.log.records[0][0])])
        chunks = [position for position, payload in bench.log.records if payload[0] == 2]
        lost = next(position for position in chunks if position not in copied)
        await bench.crash()
        bench.log._positions.remove(lost)
        del bench.log._payloads[lost]
        await bench.start()
        await asyncio.sleep(0.1)
        assert not bench.notes.lost
        (sent,) = bench.deliverer.flying
        assert sent.wire_id.decode() == message_id
        assert sent.chunks == tuple(copied)

    simulate(test)


@pytest.mark.parametrize("error", [LogFenced("another owner"), LogUnknown("no majority")])
@pytest.mark.parametrize("turns", [0, 1, 5])
def test_partition_that_is_lost_ends_alone(error: LogError, turns: int) -> None:
    """Another node has its log, or nobody reaches it: the process and its other partitions go on.
    What it had not stored is refused, what it had is the next owner's."""
    lost: list[Exception] = []

    async def test(bench: Bench) -> None:
        first = await accepted(bench, "first")
        retried = await accepted(bench, "retried", "b.example")
        bench.end(
            next(m for m in bench.deliverer.flying if m.wire_id.decode() == retried), failed()
        )
        await asyncio.sleep(0.01)
        real = bench.log.append

        def append(batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
            done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.01, done.set_exception, error)
            return done

        bench.log.append = append  # type: ignore[method-assign]  # it is another one's now
        receipt = bench.accept(message(name="second"))
        for _ in range(turns):
            await asyncio.sleep(0.005)
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(60)
        verdict = MOVED if isinstance(error, LogFenced) else NO_VERDICT
        assert receipt.answer is verdict
        assert bench.accept(message(name="third")).answer is MOVED
        assert bench.queue.intake.refusal() is MOVED
        assert not bench.queue.tenure.holds()
        assert lost == [error]
        assert bench.notes.lost_partitions == [(0, error)]
        assert not bench.notes.errors
        assert not bench.deliverer.flying, "no attempt is started of what is another one's"
        bench.log.append = real  # type: ignore[method-assign]  # as it was
        await asyncio.wait_for(bench.queue.stop(), 5)
        await bench.start()
        await asyncio.sleep(60)
        flying = {one.wire_id.decode() for one in bench.deliverer.flying}
        assert flying == {first, retried}

    simulate(test, lost=lost.append)


def test_partition_that_has_nothing_to_store_hears_from_its_log_that_it_is_lost() -> None:
    """Nobody asks it for anything, and it would deliver what is another one's."""
    lost: list[Exception] = []

    async def test(bench: Bench) -> None:
        await accepted(bench, "first")
        error = LogFenced("another node has it")
        assert bench.log.on_lost is not None
        bench.log.on_lost(error)
        assert lost == [error]
        assert bench.notes.lost_partitions == [(0, error)]
        assert bench.accept(message(name="second")).answer is MOVED

    simulate(test, lost=lost.append)


def test_batch_hears_from_its_log_what_became_of_it_when_the_partition_is_lost() -> None:
    """The log says that it is lost before it says so of the batch: nothing is sent from then on,
    and its callers are told that it is not stored, which is more than that nobody knows."""
    lost: list[Exception] = []

    async def test(bench: Bench) -> None:
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        bench.log.append = lambda batch, *, urgent=False: done  # type: ignore[method-assign]
        receipt = bench.accept(message(name="under way"))
        error = LogFenced("another node has it")
        assert bench.log.on_lost is not None
        bench.log.on_lost(error)
        assert not bench.queue.tenure.holds()
        assert (receipt.answer, lost) == (None, [])
        done.set_exception(error)
        await asyncio.sleep(1)
        assert receipt.answer is MOVED
        assert lost == [error]

    simulate(test, lost=lost.append)


def test_callers_who_wait_for_an_end_hear_that_it_is_open_when_the_partition_is_lost() -> None:
    """Their messages are stored, and the next owner delivers them."""
    lost: list[Exception] = []

    async def test(bench: Bench) -> None:
        await accepted(bench)
        (sent,) = bench.deliverer.flying
        waiter = _Waits()
        bench.queue.intake.await_end(sent, waiter)
        bench.queue.fail(LogName.TRANSACTION, LogFenced("another node has it"))
        assert waiter.told == ["undecided"]
        assert not bench.queue.pending.awaited

    simulate(test, lost=lost.append)
    assert len(lost) == 1


@pytest.mark.parametrize("is_handed_over", [False, True])
def test_callers_who_wait_for_an_end_do_not_wait_for_the_next_owners(
    is_handed_over: bool,
) -> None:
    """Whether the partition was taken away or handed over: what becomes of their messages is heard
    of elsewhere."""

    async def test(bench: Bench) -> None:
        await accepted(bench)
        (sent,) = bench.deliverer.flying
        waiter = _Waits()
        bench.queue.intake.await_end(sent, waiter)
        if is_handed_over:
            assert not await bench.queue.drain(0.1)
            await bench.queue.stop()
        else:
            bench.queue.abandon(LogFenced("another node has it"))
        assert waiter.told == ["undecided"]

    simulate(test, lost=lambda error: None)


class _Waits:
    def __init__(self) -> None:
        self.told: list[str] = []

    def ended(self, answer: Answer | None, error: str | None) -> None:
        self.told.append("ended")

    def undecided(self) -> None:
        self.told.append("undecided")


def test_partition_that_is_lost_while_a_body_is_sent_ends_alone() -> None:
    """Delivery may be the first to find out, and then knows the log's own error no more than that
    the body can't be had."""
    lost: list[Exception] = []

    async def test(bench: Bench) -> None:
        error = LogFenced("another node has it")

        async def fenced(positions: list[int]) -> list[bytes]:
            raise error

        bench.log.read = fenced  # type: ignore[assignment,method-assign]  # as the engine says it
        with pytest.raises(BodyUnavailable):
            await bench.queue.settling.read_body([1])
        assert lost == [error]
        assert bench.notes.lost_partitions == [(0, error)]
        assert not bench.notes.errors

    simulate(test, lost=lost.append)


def test_body_that_is_sent_beyond_the_stop_of_its_partition_ends_nothing() -> None:
    """Its log is closed, and there is nothing that could be lost."""

    async def test(bench: Bench) -> None:
        await bench.stop()

        async def closed(positions: list[int]) -> list[bytes]:
            raise LogUnknown("the log is closed")

        bench.log.read = closed  # type: ignore[assignment,method-assign]  # as files do
        with pytest.raises(BodyUnavailable):
            await bench.queue.settling.read_body([1])
        assert not bench.notes.errors

    simulate(test)


def test_process_ends_when_its_own_disk_fails() -> None:
    """Whoever would hear of a lost partition: what is on that disk is not known any more."""
    lost: list[Exception] = []

    async def test(bench: Bench) -> None:
        bench.queue.fail(LogName.TRANSACTION, LogFailed("the sync failed"))
        bench.queue.fail(LogName.DEAD_LETTER, LogFailed("this too"))
        assert [(name, str(error)) for name, error in bench.notes.errors] == [
            (LogName.TRANSACTION, "the sync failed")
        ]
        assert not lost

    simulate(test, lost=lost.append)


def test_parts_show_themselves_when_a_debugger_meets_them() -> None:
    """What one wants to know first, and nothing of what a message holds."""

    async def test(bench: Bench) -> None:
        assert repr(message()) == "<Message not stored POST to http://a.example, attempt 0>"
        message_id = await accepted(bench, "secret")
        (sent,) = bench.deliverer.flying
        assert repr(sent) == f"<Message {message_id} POST to http://a.example, attempt 1>"
        assert repr(bench.queue) == (
            "<Partition 0: 1 pending, 1 in flight, 0 dying, 1 lanes, "
            "<Committer idle, 0 bytes wait, 1 batches>>"
        )

    simulate(test)


@pytest.mark.parametrize("large", [False, True])
def test_message_dies_when_the_dead_letter_log_lacked_something_for_a_while(large: bool) -> None:
    """It waits until its letter is stored, and is neither lost nor tried again meanwhile."""

    async def test(bench: Bench) -> None:
        message_id = await (big(bench) if large else accepted(bench))
        real, lacks = bench.dead_log.append, True

        def append(batch: Sequence[bytes], *, urgent: bool = False) -> asyncio.Future[list[int]]:
            if not lacks:
                return real(batch, urgent=urgent)
            done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
            done.set_exception(LogBusy("no descriptors"))
            return done

        bench.dead_log.append = append  # type: ignore[method-assign]  # a disk has its moods
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(5)
        assert not len(bench.queue.dead_letters)
        lacks = False
        await asyncio.sleep(5)
        assert message_id.encode() in bench.queue.dead_letters
        assert bench.queue.pending.index.count == bench.queue.figures.burying == 0
        assert not bench.notes.errors

    simulate(test)
