"""Callbacks: what is told, to whom, in the record that settles the message, and only once."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from dispatcher.core.answer import Answer
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.terms import Terms
from dispatcher.errors import LogBusy
from dispatcher.queue.records.kinds import Kind
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

TOLD = "http://told.example:81/hook?x=1"
FAILED = "https://failed.example/"
PAIRS = ((b"X-One", b"1"), (b"x-one", b"\xe9"))


def calling(
    name: str = "x", *, callback: str = TOLD, failure_callback: str = FAILED, **terms: Any
) -> Message:
    """A message whose caller wants to be told."""
    sent = message(name=name)
    sent.terms = Terms(callback=callback, failure_callback=failure_callback, **terms)
    return sent


def end(bench: Bench, sent: Message, result: AttemptResult | int = 200) -> None:
    """Let an attempt end as delivery has it end: with the answer, where one came."""
    status = result if isinstance(result, int) else result.status
    if sent.answer_limit and status is not None:
        sent.answer = Answer(status, b"", None, b"said", fields=PAIRS)
    bench.end(sent, result)


async def only(bench: Bench) -> Message:
    """The one attempt that is under way."""
    await asyncio.sleep(2)
    (sent,) = bench.deliverer.flying
    return sent


def told(callback: Message) -> dict[str, Any]:
    """What a callback says."""
    shown: dict[str, Any] = json.loads(callback.body)
    return shown


def is_callback(sent: Message) -> bool:
    return b"\r\nX-Dispatcher-Callback-Of: " in sent.head


def test_delivered_message_calls_back_once() -> None:
    """With what the destination answered; the callback is a message of its own, and nobody is told
    of its end."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        number = first.wire_id.decode()
        end(bench, first, 201)
        callback = await only(bench)
        assert callback.wire_id != first.wire_id
        assert str(callback.destination) == "http://told.example:81"
        assert callback.head == (
            b"POST /hook?x=1 HTTP/1.1\r\nHost: told.example:81\r\n"
            b"Content-Type: application/json\r\nX-Dispatcher-Callback-Of: %b\r\n"
            b"Content-Length: %d\r\n" % (first.wire_id, len(callback.body))
        )
        assert told(callback) == {
            "id": number,
            "outcome": "delivered",
            "destination": "http://a.example",
            "method": "POST",
            "target": "/x",
            "attempts": 1,
            "status": 201,
            "headers": [["X-One", "1"], ["x-one", "é"]],
            "body": base64.b64encode(b"said").decode(),
            "error": None,
        }
        end(bench, callback)
        await asyncio.sleep(5)
        assert not bench.deliverer.flying
        assert not bench.queue.pending.index.count
        assert not bench.queue.figures.burying
        assert (bench.queue.figures.accepted_total, bench.queue.figures.delivered_total) == (2, 2)

    simulate(test)


def test_callback_is_stored_with_the_record_that_settles_its_message() -> None:
    """In one batch, so both or neither. A message without callbacks is settled as ever."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        end(bench, await only(bench))
        await only(bench)
        assert [[record[0] for record in batch] for batch in bench.log.appended] == [
            [Kind.MESSAGE_TERMS],
            [Kind.SETTLED, Kind.MESSAGE],
        ]

    simulate(test)


def test_history_tells_that_a_message_with_a_callback_was_delivered() -> None:
    """Where the log is kept."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        end(bench, await only(bench))
        await only(bench)
        assert [record[0] for record in bench.log.appended[-1]] == [Kind.DELIVERED, Kind.MESSAGE]

    simulate(test, keep_everything=True)


@pytest.mark.parametrize(
    ("result", "status", "error", "fields"),
    [
        (failed(404), 404, "http_404", [["X-One", "1"], ["x-one", "é"]]),
        (failed(failure=Failure.EGRESS), None, "egress_denied", []),
    ],
)
def test_message_that_is_given_up_calls_the_failure_callback(
    result: AttemptResult, status: int | None, error: str, fields: list[list[str]]
) -> None:
    """With why. Its callback is stored as it is settled, when its dead letter is durable."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        end(bench, first, result)
        callback = await only(bench)
        assert str(callback.destination) == "https://failed.example"
        shown = told(callback)
        assert (shown["id"], shown["outcome"]) == (first.wire_id.decode(), "dead")
        assert (shown["status"], shown["error"], shown["headers"]) == (status, error, fields)
        assert first.wire_id in bench.queue.dead_letters
        assert [record[0] for record in bench.log.appended[-1]] == [Kind.SETTLED, Kind.MESSAGE]

    simulate(test)


def test_message_with_a_key_that_is_given_up_says_so_in_the_record_that_settles_it() -> None:
    """Its key is free with the dead letter, callback or not."""

    async def test(bench: Bench) -> None:
        bench.accept(calling(idempotency_key="k"))
        first = await only(bench)
        end(bench, first, failed(404))
        end(bench, await only(bench))
        assert [record[0] for record in bench.log.appended[-1]] == [Kind.UNDELIVERED, Kind.MESSAGE]
        await bench.queue.redriver.purge([first.wire_id])
        await bench.stop()
        await bench.start()
        bench.accept(calling(idempotency_key="k"))
        assert (await only(bench)).wire_id != first.wire_id

    simulate(test)


def test_message_that_expires_calls_back() -> None:
    """Also one that was never attempted."""

    async def test(bench: Bench) -> None:
        bench.queue.starting.close()
        now_us = bench.clock.now_us()
        bench.accept(calling(deadline_us=now_us + 2_000_000))
        await asyncio.sleep(4)
        assert len(bench.queue.dead_letters) == 1
        await bench.stop()
        await bench.start()
        callback = await only(bench)
        shown = told(callback)
        assert (shown["outcome"], shown["error"], shown["attempts"]) == ("dead", "expired", 0)

    simulate(test)


@pytest.mark.parametrize("result", [200, failed(404)])
def test_nobody_is_told_of_the_other_outcome(result: AttemptResult | int) -> None:
    """Without a failure callback nothing is sent when a message is given up, nor without a callback
    when it is delivered."""

    async def test(bench: Bench) -> None:
        if isinstance(result, int):
            bench.accept(calling(callback=""))
        else:
            bench.accept(calling(failure_callback=""))
        end(bench, await only(bench), result)
        await asyncio.sleep(5)
        assert not bench.deliverer.flying
        assert not bench.queue.pending.index.count

    simulate(test)


def test_callback_that_is_given_up_is_a_dead_letter_and_calls_nobody() -> None:
    """Callbacks of callbacks: none."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        end(bench, await only(bench))
        callback = await only(bench)
        end(bench, callback, failed(410))
        await asyncio.sleep(5)
        assert not bench.deliverer.flying
        assert callback.wire_id in bench.queue.dead_letters

    simulate(test)


def test_cancelled_message_calls_nobody() -> None:
    """Nor does a letter that is purged, again."""

    async def test(bench: Bench) -> None:
        bench.queue.starting.close()
        receipt = bench.accept(calling())
        await asyncio.sleep(1)
        assert isinstance(receipt.answer, Message)
        await bench.queue.changing.cancel([receipt.answer.slot])
        await bench.stop()
        await bench.start()
        bench.accept(calling())
        first = await only(bench)
        end(bench, first, failed(404))
        callback = await only(bench)
        end(bench, callback)
        await bench.queue.redriver.purge([first.wire_id])
        await asyncio.sleep(5)
        assert not bench.deliverer.flying

    simulate(test)


def test_redriven_message_calls_back_again() -> None:
    """Its callbacks are kept, and each end is told."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        end(bench, first, failed(404))
        end(bench, await only(bench))
        await bench.queue.redriver.redrive([first.wire_id])
        again = await only(bench)
        assert (again.wire_id, again.answer_limit) == (first.wire_id, -64 * 1024)
        end(bench, again)
        callback = await only(bench)
        assert told(callback)["outcome"] == "delivered"
        assert told(callback)["id"] == first.wire_id.decode()

    simulate(test)


def test_message_that_is_read_back_wants_its_answer_too() -> None:
    """After a restart, and at a retry."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        end(bench, await only(bench), failed(503))
        retried = await only(bench)
        assert (retried.attempt, retried.answer_limit) == (2, -64 * 1024)
        await bench.crash()
        await bench.start()
        end(bench, await only(bench))
        assert told(await only(bench))["attempts"] == 2

    simulate(test)


# A full disk.


def test_end_waits_for_space_and_then_comes_once() -> None:
    """The message is not settled without its callback, nor attempted again; others end as ever."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        bench.accept(message(destination("other.example"), name="other"))
        await asyncio.sleep(1)
        first, other = bench.deliverer.flying
        bench.log.space = Space.NOTHING
        end(bench, first)
        end(bench, other)
        await asyncio.sleep(10)
        assert not bench.deliverer.flying
        assert bench.queue.pending.index.count == 1
        assert bench.queue.endings.are_waiting
        bench.log.space = Space.ENOUGH
        callback = await only(bench)
        assert is_callback(callback)
        assert not bench.queue.endings.are_waiting
        end(bench, callback)
        await asyncio.sleep(5)
        assert [name for name, _ in bench.deliverer.started] == ["/x", "/other", "/hook?x=1"]

    simulate(test)


def test_end_takes_of_the_space_that_is_kept_back_what_the_others_leave() -> None:
    """So a full disk becomes empty again by itself, also where all that waits calls back."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        bench.log.space = Space.RESERVE
        bench.accept(message(name="refused"))
        await asyncio.sleep(0.1)
        assert bench.queue.committer.full
        end(bench, first)
        await asyncio.sleep(0.5)
        (callback,) = bench.deliverer.flying
        assert is_callback(callback)
        assert bench.queue.committer.full

    simulate(test)


def test_end_that_would_take_too_much_leaves_the_rest_to_others() -> None:
    """What is kept back stays for records that settle."""

    async def test(bench: Bench) -> None:
        bench.queue.reclaimer.room_bytes = lambda: 100  # type: ignore[method-assign]
        bench.accept(calling())
        first = await only(bench)
        bench.log.space = Space.RESERVE
        bench.accept(message(name="refused"))
        await asyncio.sleep(0.1)
        end(bench, first)
        await asyncio.sleep(10)
        assert not bench.deliverer.flying
        bench.log.space = Space.ENOUGH
        assert is_callback(await only(bench))

    simulate(test)


def test_attempts_that_call_back_wait_while_an_end_does() -> None:
    """What is lined up behind: a message that calls back waits, one that does not is sent."""

    async def test(bench: Bench) -> None:
        for name in ("one", "two"):
            bench.accept(calling(name))
        bench.accept(message(name="plain"))
        await asyncio.sleep(1)
        (one,) = bench.deliverer.flying
        bench.log.space = Space.NOTHING
        bench.accept(message(name="refused"))  # so that it is known
        await asyncio.sleep(1)
        end(bench, one)
        await asyncio.sleep(10)
        (plain,) = bench.deliverer.flying
        assert plain.target == "/plain"
        end(bench, plain)
        bench.log.space = Space.ENOUGH
        await asyncio.sleep(5)
        assert {sent.target for sent in bench.deliverer.flying} == {"/two", "/hook?x=1"}

    simulate(test, workers=1)


def test_stop_does_not_wait_for_space() -> None:
    """The end that waits is not written down: the message is attempted again, then calls back."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        bench.log.space = Space.NOTHING
        end(bench, first)
        await asyncio.sleep(1)
        bench.queue.close_intake()
        before = bench.clock.now_us()
        await bench.queue.drain(60)
        assert bench.clock.now_us() - before < 5_000_000
        await bench.crash()
        await bench.start()
        again = await only(bench)
        assert (again.wire_id, again.attempt) == (first.wire_id, 1)
        end(bench, again)
        assert is_callback(await only(bench))

    simulate(test)


# Crashes, and what else is under way.


@pytest.mark.parametrize("keep_batch", [True, False])
def test_crash_between_the_letter_and_the_settlement_makes_one_callback(keep_batch: bool) -> None:
    """The message is in both logs then, and its callback is made as it is settled; from what the
    letter says."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        bench.log.append_s = 100.0
        end(bench, first, failed(404))
        await asyncio.sleep(1)
        assert first.wire_id in bench.queue.dead_letters
        assert bench.log.is_busy
        await bench.crash(keep_batch=keep_batch)
        await bench.start()
        callback = await only(bench)
        shown = told(callback)
        assert (shown["outcome"], shown["error"], shown["attempts"]) == ("dead", "http_404", 1)
        assert base64.b64decode(shown["body"]) == (b"said" if keep_batch else b"body")
        end(bench, callback)
        await asyncio.sleep(1)
        await bench.crash()
        await bench.start()
        await asyncio.sleep(5)
        assert not bench.deliverer.flying
        assert not bench.queue.pending.index.count

    simulate(test)


def test_lane_is_not_forgotten_while_a_start_still_settles_a_message_of_it() -> None:
    """Its number would be that of another destination, and the message be shown there."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        bench.log.append_s = 1000.0
        end(bench, first, failed(404))
        await asyncio.sleep(1)
        await bench.crash()
        bench.log.append_s = 200.0
        await bench.start()
        await asyncio.sleep(100)
        assert bench.queue.pending.index.count == 1
        (lane,) = bench.queue.lanes
        assert str(lane.destination) == "http://a.example"
        await asyncio.sleep(200)
        assert lane.away == 0

    simulate(test)


@pytest.mark.parametrize("result", [200, failed(404)])
@pytest.mark.parametrize("crashes", [False, True])
def test_message_with_an_order_key_lets_the_next_one_go_when_it_has_ended(
    result: AttemptResult | int, crashes: bool
) -> None:
    """Also where a crash comes before its end is written down; nothing of a key waits for ever."""

    async def test(bench: Bench) -> None:
        for name in ("one", "two"):
            bench.accept(calling(name, callback=TOLD, failure_callback=TOLD, order_key="k"))
        one = await only(bench)
        bench.log.append_s = 100.0 if crashes else 1.0
        end(bench, one, result)
        await asyncio.sleep(1)
        if crashes:
            await bench.crash()
            bench.log.append_s = 0.0
            await bench.start()
        for _ in range(6):
            await asyncio.sleep(3)
            for sent in list(bench.deliverer.flying):
                end(bench, sent)
        assert not bench.deliverer.flying
        assert not bench.queue.pending.index.count
        names = [name for name, _ in bench.deliverer.started]
        again = crashes and isinstance(result, int)
        assert [name for name in names if name != "/hook?x=1"] == ["/one"] * (1 + again) + ["/two"]
        assert names.count("/hook?x=1") == 2

    simulate(test)


def test_letter_of_which_the_end_is_not_durable_is_redriven_and_purged_after_it() -> None:
    """So that no callback is lost, and none comes for a message that was sent again before."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        bench.log.append_s = 3.0
        end(bench, first, failed(404))
        await asyncio.sleep(1)
        await bench.queue.redriver.redrive([first.wire_id])
        await asyncio.sleep(10)
        kinds = [record[0] for batch in bench.log.appended for record in batch]
        assert kinds.index(Kind.SETTLED) < kinds.index(Kind.MOVED_TERMS)
        callback, again = sorted(bench.deliverer.flying, key=lambda sent: not is_callback(sent))
        assert told(callback)["outcome"] == "dead"
        assert again.wire_id == first.wire_id

    simulate(test)


def test_copy_does_not_bring_back_a_message_that_is_about_to_end() -> None:
    """The record that ends it is with the log: a copy would lie behind it."""

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        bench.log.append_s = 2.0
        end(bench, first)
        await asyncio.sleep(0.5)
        assert bench.log.is_busy
        (read,) = await bench.queue.space._messages.read([first.slot]) or []
        place = bench.queue.pending.index.position[first.slot]
        assert bench.queue.space._messages.submit(read, place) is None
        await bench.crash(keep_batch=True)
        await bench.start()
        assert is_callback(await only(bench))

    simulate(test)


def test_log_that_lacks_something_for_a_while_takes_the_end_later() -> None:
    """Descriptors, or memory: nobody says when that is over."""

    class Lacking(FaultyLog):
        lacks = 0

        def append(self, batch: Any, *, urgent: bool = False) -> asyncio.Future[list[int]]:
            if not self.lacks:
                return super().append(batch, urgent=urgent)
            self.lacks -= 1
            done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
            done.set_exception(LogBusy("too many open files"))
            return done

    log = Lacking()

    async def test(bench: Bench) -> None:
        bench.accept(calling())
        first = await only(bench)
        log.lacks = 2
        end(bench, first)
        await asyncio.sleep(5)
        assert is_callback(await only(bench))

    simulate(test, log=log)
