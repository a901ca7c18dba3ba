"""Who waits for what becomes of a message: told once, by whatever way it ends."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.answer import MOST_WAITED_BYTES, Answer
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal
from dispatcher.queue.admin.surface import Cancelled
from dispatcher.testing.log import Space
from dispatcher.testing.queue import Bench, failed, message, simulate

ONCE = RetryPolicy(retry_limit=0, delay_ms=100, max_delay_ms=20_000)


class Caller:
    """A connection that waits: the receipt of a message, and its waiter."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.told: list[tuple[int | None, str | None] | str] = []
        self.answer: Answer | None = None
        self.id = b""

    def accepted(self, sent: Message) -> None:
        self.id = sent.wire_id
        self._bench.queue.intake.await_end(sent, self)

    def duplicate(self, message_id: bytes) -> None:
        raise AssertionError("it has no key")

    def refused(self, refusal: Refusal) -> None:
        raise AssertionError(refusal)

    def ended(self, answer: Answer | None, error: str | None) -> None:
        self.answer = answer
        self.told.append((None if answer is None else answer.status, error))

    def undecided(self) -> None:
        self.told.append("undecided")


class Counted:
    """How often the memory of an answer was given back."""

    def __init__(self) -> None:
        self.released = 0

    def of(self, status: int) -> Answer:
        return Answer(status, b"", None, b"said", True, self.release)

    def release(self) -> None:
        self.released += 1


def waits(bench: Bench, sent: Message | None = None) -> Caller:
    """Hand in a message whose caller waits."""
    sent = sent or message()
    sent.want_start(MOST_WAITED_BYTES)
    caller = Caller(bench)
    bench.queue.intake.accept(sent, caller)
    return caller


def end(bench: Bench, sent: Message, result: AttemptResult | int = 200) -> Counted:
    """Let an attempt end as delivery has it end."""
    counted = Counted()
    status = result if isinstance(result, int) else result.status
    if status is not None and sent.answer_limit:
        sent.answer = counted.of(status)
    bench.end(sent, result)
    return counted


async def only(bench: Bench) -> Message:
    await asyncio.sleep(2)
    (sent,) = bench.deliverer.flying
    return sent


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (200, (200, None)),
        (failed(404), (404, "http_404")),
        (failed(503), (503, "http_503")),
        (failed(failure=Failure.TIMEOUT), (None, "timeout")),
        (failed(404, Failure.BROKEN), (None, "broken_response")),
    ],
)
def test_end_is_told_with_the_answer(
    result: AttemptResult | int, told: tuple[int | None, str | None]
) -> None:
    """Whoever gets it gives its memory back; half an answer is none, and goes at once."""

    async def test(bench: Bench) -> None:
        caller = waits(bench)
        counted = end(bench, await only(bench), result)
        await asyncio.sleep(2)
        assert caller.told == [told]
        assert (caller.answer is None) is (told[0] is None)
        is_half = not isinstance(result, int) and result.failure is Failure.BROKEN
        assert counted.released == is_half
        assert not bench.queue.pending.awaited
        assert not bench.queue.pending.index.count

    simulate(test, policy=ONCE)


def test_death_is_told_when_the_letter_is_durable() -> None:
    """Before that it might be delivered after all."""

    async def test(bench: Bench) -> None:
        caller = waits(bench)
        sent = await only(bench)
        bench.dead_log.space = Space.NOTHING
        end(bench, sent, failed(404))
        await asyncio.sleep(5)
        assert caller.told == []
        bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(5)
        assert caller.told == [(404, "http_404")]

    simulate(test)


@pytest.mark.parametrize("is_ours", [False, True])
def test_retry_is_told_at_once_and_nothing_after_it(is_ours: bool) -> None:
    """Also of an attempt that failed for a reason on this machine; the memory of its answer is
    given back."""

    async def test(bench: Bench) -> None:
        caller = waits(bench)
        result = AttemptResult(503, None, "as told", 5, ours=is_ours)
        counted = end(bench, await only(bench), result)
        assert caller.told == ["undecided"]
        assert counted.released == 1
        counted = end(bench, await only(bench))
        await asyncio.sleep(1)
        assert caller.told == ["undecided"]
        assert counted.released == 0, "it was read back, and nobody waits"

    simulate(test)


def test_message_that_is_read_back_is_still_awaited() -> None:
    """It waited behind others, and was not in memory any more."""

    async def test(bench: Bench) -> None:
        first = bench.accept(message())
        await asyncio.sleep(1)
        caller = waits(bench)
        await asyncio.sleep(1)
        (sent,) = bench.deliverer.flying
        assert first.answer is sent
        bench.queue.warm.chill(bench.queue.lanes.of(sent.destination))
        end(bench, sent)
        again = await only(bench)
        assert again.answer_limit == -MOST_WAITED_BYTES
        end(bench, again, 201)
        assert caller.told == [(201, None)]

    simulate(test, workers=1)


def test_message_that_expires_is_told() -> None:
    """Without an attempt there is no answer."""

    async def test(bench: Bench) -> None:
        bench.queue.starting.close()
        sent = message()
        sent.terms = Terms(deadline_us=bench.clock.now_us() + 2_000_000)
        caller = waits(bench, sent)
        await asyncio.sleep(5)
        assert caller.told == [(None, "expired")]

    simulate(test)


def test_nobody_is_told_who_left() -> None:
    """The memory of an answer is given back then by who has it."""

    async def test(bench: Bench) -> None:
        caller = waits(bench)
        sent = await only(bench)
        bench.queue.intake.forget(caller.id)
        bench.queue.intake.forget(caller.id)
        counted = end(bench, sent)
        assert (caller.told, counted.released) == ([], 1)

    simulate(test)


def test_caller_of_a_message_that_is_cancelled_waits_no_longer() -> None:
    """It never ends, and who waits is told at once that it has not."""

    async def test(bench: Bench) -> None:
        bench.queue.starting.close()
        caller = waits(bench)
        await asyncio.sleep(1)
        assert await bench.queue.admin.cancel(caller.id.decode()) is Cancelled.DONE
        assert caller.told == ["undecided"]
        assert not bench.queue.pending.awaited

    simulate(test)


def test_caller_and_callback_get_the_same_answer() -> None:
    """The callback has how the body starts; the caller is told as soon as it is known."""

    async def test(bench: Bench) -> None:
        sent = message()
        sent.terms = Terms(callback="http://told.example/")
        caller = waits(bench, sent)
        first = await only(bench)
        assert first.answer_limit == -MOST_WAITED_BYTES
        bench.log.append_s = 5.0
        end(bench, first)
        assert caller.told == [(200, None)]
        await asyncio.sleep(6)
        callback = await only(bench)
        assert b'"body":"c2FpZA=="' in callback.body

    simulate(test)
