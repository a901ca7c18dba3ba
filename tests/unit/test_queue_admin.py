"""What operators do to a queue: look, explain, cancel, pause, redrive and purge."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.outcome import Failure
from dispatcher.core.retry import RetryPolicy
from dispatcher.errors import LogTooNew
from dispatcher.queue.admin import (
    Cancelled,
    Event,
    LetterFilter,
    MessageState,
    Reason,
)
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.recent import Recent
from dispatcher.queue.recovery import Recovery
from dispatcher.queue.retention import RetentionPolicy
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

EVERYTHING = LetterFilter()
UNKNOWN = "0" * 28


async def settle_down() -> None:
    await asyncio.sleep(0.02)


async def accepted(bench: Bench, name: str = "x", to: str = "a.example") -> str:
    """Accept a message; returns its id."""
    receipt = bench.accept(message(destination(to), name=name))
    await asyncio.sleep(0.01)
    assert receipt.answer is not None
    return receipt.answer.wire_id.decode()  # type: ignore[union-attr]


async def dead(bench: Bench, name: str = "x", to: str = "a.example", status: int = 404) -> str:
    """Accept a message that dies at once; returns its id."""
    message_id = await accepted(bench, name, to)
    flying = next(one for one in bench.deliverer.flying if one.wire_id.decode() == message_id)
    bench.end(flying, failed(status))
    await asyncio.sleep(0.01)
    return message_id


async def big(bench: Bench, chunks: int = 3) -> str:
    """Accept a message with a large body; returns its id."""
    upload = bench.queue.start_upload(lambda: None)
    for number in range(chunks):
        upload.write(bytes([number]) * CHUNK_BYTES)
    sent = message(name="big", body=b"")
    sent.body_size = chunks * CHUNK_BYTES
    receipt = bench.receipts.one()
    bench.queue.accept(sent, receipt, upload)
    await asyncio.sleep(0.05)
    return sent.wire_id.decode()


def test_a_message_is_found_in_every_state() -> None:
    """Ready, in flight, scheduled, delivered, dead, and never heard of."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        message_id = await accepted(bench)
        view = await admin.message(message_id)
        assert view is not None
        assert (view.state, view.attempts, view.method) == (MessageState.IN_FLIGHT, 1, "POST")
        assert (view.target, view.destination) == ("/x", "http://a.example")
        bench.end(bench.deliverer.flying[0], failed(503))
        await settle_down()
        view = await admin.message(message_id)
        assert view is not None
        assert (view.state, view.attempts, view.last_error) == (
            MessageState.SCHEDULED,
            1,
            "http_503",
        )
        assert view.next_attempt_at_us is not None
        await asyncio.sleep(30)
        bench.end(bench.deliverer.flying[0])
        await settle_down()
        view = await admin.message(message_id)
        assert view is not None
        assert (view.state, view.attempts) == (MessageState.DELIVERED, 2)
        gone = await dead(bench)
        view = await admin.message(gone)
        assert view is not None
        assert (view.state, view.attempts, view.last_error) == (MessageState.DEAD, 1, "http_404")
        assert await admin.message(UNKNOWN) is None
        assert await admin.message(message_id[:8] + "f" + message_id[9:]) is None

    simulate(test)


def test_reason_is_told_why_a_message_is_not_delivered_yet() -> None:
    """One reason at a time, with the instant until which it holds where there is one."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin

        async def reason(message_id: str) -> Reason:
            why = await admin.explain(message_id)
            assert why is not None
            assert why.message.endswith(".")
            return why.reason

        first = await accepted(bench)
        second = await accepted(bench, "second")
        third = await accepted(bench, "third")
        assert await reason(first) is Reason.IN_FLIGHT
        assert await reason(third) is Reason.LIMIT_REACHED
        await admin.pause("a.example")
        assert await reason(third) is Reason.DESTINATION_PAUSED
        bench.end(bench.deliverer.flying[0], failed(500))
        await settle_down()
        assert await reason(first) is Reason.BACKOFF
        await admin.resume("a.example")
        bench.end(bench.deliverer.flying[0])
        await settle_down()
        assert await reason(second) is Reason.DELIVERED
        assert await reason(third) is Reason.IN_FLIGHT
        bench.end(bench.deliverer.flying[0], failed(429, retry_after=b"10"))
        later = await accepted(bench, "later")
        assert await reason(later) is Reason.RETRY_AFTER
        assert await reason(await dead(bench, to="b.example")) is Reason.DEAD
        assert await admin.explain(UNKNOWN) is None

    simulate(test)


def test_a_destination_that_fails_too_often_is_the_reason() -> None:
    """The breaker says until when."""

    async def test(bench: Bench) -> None:
        ids = [await accepted(bench, f"m{n}") for n in range(12)]
        for _ in range(60):
            for flying in list(bench.deliverer.flying):
                bench.end(flying, failed(failure=Failure.CONNECTION))
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
        why = None
        for message_id in ids:
            why = await bench.queue.admin.explain(message_id)
            if why is not None and why.reason is Reason.BREAKER_OPEN:
                break
        assert why is not None
        assert why.reason is Reason.BREAKER_OPEN
        assert why.until_us is not None

    simulate(test)


@pytest.mark.parametrize("restart", [False, True])
def test_a_paused_destination_gets_nothing_until_it_is_resumed(restart: bool) -> None:
    """Others do; and a restart does not forget it."""

    async def test(bench: Bench) -> None:
        assert await bench.queue.admin.pause("http://a.example:80") == "http://a.example"
        await accepted(bench, "held")
        await accepted(bench, "other", to="b.example")
        assert [one.target for one in bench.deliverer.flying] == ["/other"]
        if restart:
            await bench.crash()
            await bench.start()
            await settle_down()
        assert "/held" not in [one.target for one in bench.deliverer.flying]
        (lane,) = [one for one in bench.queue.admin.lanes() if one.paused]
        assert (lane.destination, lane.ready) == ("http://a.example", 1)
        await asyncio.sleep(3600)
        assert "/held" not in [one.target for one in bench.deliverer.flying]
        await bench.queue.admin.resume("a.example")
        await settle_down()
        assert "/held" in [one.target for one in bench.deliverer.flying]
        await bench.crash()
        await bench.start()
        assert not [one for one in bench.queue.admin.lanes() if one.paused]

    simulate(test)


def test_a_destination_that_is_none_is_not_paused() -> None:
    """ValueError says what is wrong."""

    async def test(bench: Bench) -> None:
        for text in ("", "a b", "ftp://a", "a/path", "a:0"):
            with pytest.raises(ValueError, match="it"):
                await bench.queue.admin.pause(text)

    simulate(test)


def test_a_cancelled_message_is_never_delivered() -> None:
    """Neither one that is ready, wherever it stands in its lane, nor one that waits for a retry;
    and not after a crash."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        await admin.pause("a.example")
        ids = [await accepted(bench, f"m{n}") for n in range(6)]
        retried = await accepted(bench, "retried", to="b.example")
        bench.end(bench.deliverer.flying[0], failed(503))
        await settle_down()
        for gone in (ids[0], ids[3], ids[5], retried):
            assert await admin.cancel(gone) is Cancelled.DONE
            assert await admin.message(gone) is None
            assert await admin.cancel(gone) is Cancelled.UNKNOWN
        late = await accepted(bench, "late")
        await bench.crash()
        await bench.start()
        admin = bench.queue.admin
        assert await admin.cancel(ids[2]) is Cancelled.DONE
        await admin.resume("a.example")
        delivered = []
        for _ in range(20):
            await asyncio.sleep(5)
            for flying in list(bench.deliverer.flying):
                delivered.append(flying.wire_id.decode())
                bench.end(flying)
        assert delivered == [ids[1], ids[4], late]
        assert bench.queue.pending.index.count == 0

    simulate(test)


def test_only_what_waits_is_cancelled() -> None:
    """What is in flight, delivered or dead is said so."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        message_id = await accepted(bench)
        assert await admin.cancel(message_id) is Cancelled.IN_FLIGHT
        bench.end(bench.deliverer.flying[0])
        assert await admin.cancel(message_id) is Cancelled.DELIVERED
        assert await admin.cancel(await dead(bench)) is Cancelled.DEAD
        assert await admin.cancel(UNKNOWN) is Cancelled.UNKNOWN

    simulate(test)


def test_dead_letters_are_listed_in_pages_oldest_first_after_a_restart_too() -> None:
    """With every figure of an item; and filters leave the others out."""

    async def test(bench: Bench) -> None:
        ids = []
        for n in range(7):
            to, status = ("b.example", 410) if n % 2 else ("a.example", 404)
            ids.append(await dead(bench, f"m{n}", to=to, status=status))
            await asyncio.sleep(1)
        for _ in range(2):
            admin = bench.queue.admin
            seen: list[str] = []
            cursor: int | None = 0
            while cursor is not None:
                page = await admin.letters(EVERYTHING, cursor=cursor, limit=3)
                seen += [item.id for item in page.items]
                cursor = page.next_cursor
            assert seen == ids
            page = await admin.letters(
                LetterFilter(destination="http://b.example"), cursor=0, limit=9
            )
            assert [item.id for item in page.items] == ids[1::2]
            item = page.items[0]
            assert (item.last_status, item.last_error, item.reason) == (410, None, "rejected")
            assert (item.attempts, item.method, item.target) == (1, "POST", "/m1")
            assert await admin.count_letters(LetterFilter(status=404)) == 4
            assert await admin.count_letters(LetterFilter(error="timeout")) == 0
            cut = item.dead_at_us
            assert await admin.count_letters(LetterFilter(before_us=cut)) == 1
            assert await admin.count_letters(LetterFilter(after_us=cut)) == 5
            groups = await admin.letter_groups(EVERYTHING)
            assert [(one.destination, one.status, one.count) for one in groups] == [
                ("http://a.example", 404, 4),
                ("http://b.example", 410, 3),
            ]
            await bench.crash()
            await bench.start()

    simulate(test)


def test_a_dead_letter_is_shown_with_its_request_and_every_attempt() -> None:
    """Headers, body, times, statuses, and how the last response began."""

    async def test(bench: Bench) -> None:
        message_id = await accepted(bench)
        for status in (503, 500, 502, 500):
            bench.end(bench.deliverer.flying[0], failed(status))
            await settle_down()
            await asyncio.sleep(60)
        detail = await bench.queue.admin.letter(message_id)
        assert detail is not None
        assert detail.headers == [(b"Host", b"h")]
        assert (detail.body, detail.redrives) == (b"hello", 0)
        assert [(one.attempt, one.status) for one in detail.history] == [
            (1, 503),
            (2, 500),
            (3, 502),
            (4, 500),
        ]
        assert [one.response_start for one in detail.history] == [None, None, None, b"body"]
        assert detail.letter.reason == "retries_exhausted"
        assert await bench.queue.admin.letter(UNKNOWN) is None

    simulate(test)


def test_a_redriven_message_begins_again_under_its_id() -> None:
    """Attempts from 1, the body as it was, no letter any more; and it may die again."""

    async def test(bench: Bench) -> None:
        message_id = await dead(bench)
        moved = await bench.queue.admin.redrive([message_id, UNKNOWN, message_id])
        assert (moved.count, moved.not_found) == (1, [UNKNOWN])
        await settle_down()
        (flying,) = bench.deliverer.flying
        assert (flying.wire_id.decode(), flying.attempt, flying.body) == (message_id, 1, b"hello")
        assert len(bench.queue.dead_letters) == 0
        bench.end(flying, failed(404))
        await settle_down()
        detail = await bench.queue.admin.letter(message_id)
        assert detail is not None
        assert (detail.redrives, len(detail.history)) == (1, 1)
        await bench.crash()
        await bench.start()
        assert not bench.deliverer.flying
        assert (await bench.queue.admin.redrive(EVERYTHING)).count == 1
        await settle_down()
        bench.end(bench.deliverer.flying[0])
        await settle_down()
        view = await bench.queue.admin.message(message_id)
        assert view is not None
        assert view.state is MessageState.DELIVERED
        await asyncio.sleep(0.1)  # that it is settled is written when there is time
        await bench.crash()
        await bench.start()
        await settle_down()
        assert not bench.deliverer.flying

    simulate(test)


def test_a_large_body_comes_back_whole() -> None:
    """Its chunks are copied to the dead-letter log and back, and shown in between."""

    async def test(bench: Bench) -> None:
        message_id = await big(bench)
        bench.end(bench.deliverer.flying[0], failed(404))
        await settle_down()
        body = b"".join(bytes([n]) * CHUNK_BYTES for n in range(3))
        detail = await bench.queue.admin.letter(message_id)
        assert detail is not None
        assert detail.body == body
        await bench.queue.admin.redrive([message_id])
        await bench.crash()
        await bench.start()
        await settle_down()
        (flying,) = bench.deliverer.flying
        assert flying.chunks is not None
        assert b"".join(await bench.queue.bodies.read(list(flying.chunks))) == body

    simulate(test)


@pytest.mark.parametrize("kept", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("turns", range(0, 30, 2))
def test_a_crash_while_redriving_neither_loses_nor_doubles(
    turns: int, kept: tuple[bool, bool]
) -> None:
    """Whenever it comes: each message is a letter or pending, and is delivered once."""

    async def test(bench: Bench) -> None:
        ids = [await dead(bench, f"m{n}") for n in range(3)]
        task = asyncio.create_task(bench.queue.admin.redrive(EVERYTHING))
        for _ in range(turns):
            await asyncio.sleep(0)
        await bench.crash(keep_batch=kept[0], keep_dead_batch=kept[1])
        task.cancel()
        await bench.start()
        await settle_down()
        letters = {key.decode() for key, _ in bench.queue.dead_letters}
        pending = bench.queue.pending.index.count
        assert len(letters) + pending == len(ids)
        await bench.queue.admin.redrive(EVERYTHING)
        delivered = []
        for _ in range(10):
            await settle_down()
            for flying in list(bench.deliverer.flying):
                delivered.append(flying.wire_id.decode())
                bench.end(flying)
        assert sorted(delivered) == sorted(ids)
        await bench.crash()
        await bench.start()
        assert len(bench.queue.dead_letters) == bench.queue.pending.index.count == 0

    simulate(test)


@pytest.mark.parametrize("turns", range(0, 20, 2))
def test_a_crash_while_purging_brings_nothing_back_to_the_queue(turns: int) -> None:
    """What was a letter is a letter or gone, and never pending again."""

    async def test(bench: Bench) -> None:
        for n in range(3):
            await dead(bench, f"m{n}")
        task = asyncio.create_task(bench.queue.admin.purge(EVERYTHING))
        for _ in range(turns):
            await asyncio.sleep(0)
        await bench.crash()
        task.cancel()
        await bench.start()
        await settle_down()
        assert bench.queue.pending.index.count == 0
        assert not bench.deliverer.flying

    simulate(test)


def test_purged_letters_are_gone_for_good() -> None:
    """By id or by filter; others stay; a restart does not bring them back."""

    async def test(bench: Bench) -> None:
        ids = [await dead(bench, f"m{n}", to=f"{'ab'[n % 2]}.example") for n in range(6)]
        admin = bench.queue.admin
        moved = await admin.purge([ids[0], UNKNOWN])
        assert (moved.count, moved.not_found) == (1, [UNKNOWN])
        assert (await admin.purge(LetterFilter(destination="http://b.example"))).count == 3
        await bench.crash()
        await bench.start()
        page = await bench.queue.admin.letters(EVERYTHING, cursor=0, limit=10)
        assert [item.id for item in page.items] == [ids[2], ids[4]]

    simulate(test)


def test_events_are_told_while_somebody_listens() -> None:
    """Accepted, attempted, delivered and dead; nothing before and nothing after."""

    async def test(bench: Bench) -> None:
        seen: list[Event] = []
        await accepted(bench)
        bench.queue.admin.subscribe(seen.append)
        bench.end(bench.deliverer.flying[0])
        message_id = await dead(bench)
        bench.queue.admin.unsubscribe(seen.append)
        await accepted(bench)
        assert [event.kind for event in seen] == [
            "attempted",
            "delivered",
            "accepted",
            "attempted",
            "dead",
        ]
        assert seen[-1].id == message_id
        assert seen[-1].fields == {"reason": "rejected", "attempts": 1}
        assert not bench.queue.watch.is_wanted

    simulate(test)


def test_dead_letters_are_dropped_when_they_are_too_old() -> None:
    """The oldest first; it is counted and told."""

    async def test(bench: Bench) -> None:
        await dead(bench, "old")
        await asyncio.sleep(60)
        young = await dead(bench, "young")
        await asyncio.sleep(50)
        page = await bench.queue.admin.letters(EVERYTHING, cursor=0, limit=10)
        assert [item.id for item in page.items] == [young]
        assert bench.notes.dropped == [(1, "age")]
        assert bench.queue.retention.dropped_total == 1

    simulate(test, retention=RetentionPolicy(max_age_ms=100_000))


def test_dead_letters_are_dropped_when_they_take_too_much_space() -> None:
    """As many of the oldest as have to go."""

    async def test(bench: Bench) -> None:
        ids = [await dead(bench, f"m{n}") for n in range(5)]
        await asyncio.sleep(20)
        page = await bench.queue.admin.letters(EVERYTHING, cursor=0, limit=10)
        assert [item.id for item in page.items] == ids[3:]
        assert bench.notes.dropped == [(3, "bytes")]
        await bench.crash()
        await bench.start()
        assert len(bench.queue.dead_letters) == 2

    simulate(test, retention=RetentionPolicy(max_bytes=500))


def test_the_space_of_dead_letters_that_are_gone_is_freed() -> None:
    """The log's beginning is dropped when nothing in it is needed, and what is needed of a mostly
    dead beginning is copied to the end: it survives that, body and all."""

    async def test(bench: Bench) -> None:
        kept = await big(bench)
        bench.end(bench.deliverer.flying[0], failed(404))
        await settle_down()
        for _ in range(5):
            ids = []
            for n in range(50):
                receipt = bench.accept(message(name=f"m{n}", body=bytes(250_000)))
                await asyncio.sleep(0.001)
                assert receipt.answer is not None
                ids.append(receipt.answer.wire_id.decode())  # type: ignore[union-attr]
                bench.end(bench.deliverer.flying[0], failed(404))
                await asyncio.sleep(0.001)
            await settle_down()
            assert (await bench.queue.admin.purge(ids)).count == 50
            await settle_down()
        await asyncio.sleep(1)
        assert bench.dead_log.size_bytes < 40 * 2**20
        for _ in range(2):
            detail = await bench.queue.admin.letter(kept)
            assert detail is not None
            assert detail.body == b"".join(bytes([n]) * CHUNK_BYTES for n in range(3))
            await bench.crash()
            await bench.start()
        assert (await bench.queue.admin.redrive([kept])).count == 1

    simulate(test)


def test_the_age_of_the_oldest_message_is_known() -> None:
    """Of one that waits in a lane or for a retry; 0 when nothing waits."""

    async def test(bench: Bench) -> None:
        assert bench.queue.oldest_age_us() == 0
        await accepted(bench)
        await asyncio.sleep(100)
        await accepted(bench, "young")
        await asyncio.sleep(10)
        assert bench.queue.oldest_age_us() > 100_000_000
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(10)
        assert bench.queue.oldest_age_us() == 0

    simulate(test)


def test_the_last_delivered_messages_are_known_and_older_ones_forgotten() -> None:
    """By the whole id, and a tenth more of them at most."""
    recent = Recent(most=20)
    for position in range(1, 26):
        sent = message(name=f"m{position}")
        sent.position, sent.incarnation, sent.attempt = position * 2**32, 9, position
        recent.add(sent, b"http://a")
        assert recent.find(max(position - 19, 1) * 2**32, 9) is not None
        assert recent.find((position - 22) * 2**32, 9) is None
    assert recent.find(24 * 2**32, 8) is None
    for position in range(6, 26):
        past = recent.find(position * 2**32, 9)
        assert past is not None
        assert (past.request_line, past.attempts) == (b"POST /m%d HTTP/1.1" % position, position)
        assert (past.destination, past.accepted_at) == (b"http://a", 1_704_067_200_000_000)


def test_a_response_that_counts_as_delivered_is_told_as_that() -> None:
    """With ACK_ANY_RESPONSE the status is not 2xx, and everything else is as usual."""

    async def test(bench: Bench) -> None:
        seen: list[Event] = []
        bench.queue.admin.subscribe(seen.append)
        message_id = await accepted(bench)
        bench.end(bench.deliverer.flying[0], failed(500))
        assert [event.kind for event in seen] == ["accepted", "attempted", "delivered"]
        assert seen[-1].fields["status"] == 500
        view = await bench.queue.admin.message(message_id)
        assert view is not None
        assert view.state is MessageState.DELIVERED
        assert sum(bench.queue.delivery_us.counts) == 1

    simulate(test, policy=RetryPolicy(3, 100, 1000, ack_any_response=True))


def test_a_log_of_a_newer_version_is_refused() -> None:
    """A kind of record that is not known may say that a message is over."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        recovery = Recovery(queue.pending, queue.pauses)
        for visit in (recovery.visit, queue.dead_letters.visit):
            visit(1, b"\x06")
            with pytest.raises(LogTooNew, match="kind 99"):
                visit(100, b"\x63new")

    simulate(test)
