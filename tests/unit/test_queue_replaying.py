"""Replay from history: what was delivered is sent once more, and nothing else."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import pytest

from dispatcher.core.message import Message
from dispatcher.core.rate import parse_rate
from dispatcher.core.terms import Terms
from dispatcher.errors import Refused
from dispatcher.queue.admin.history import MOST_AT_ONCE, RECORDS_AT_ONCE, Looking
from dispatcher.queue.admin.surface import Course, HistoryFilter, Place, Replayed
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.chunks import decode_chunk
from dispatcher.queue.records.messages import encode_message
from dispatcher.queue.refusals import BACKLOG_FULL, SHUTTING_DOWN
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from dispatcher.txlog.records import records_of

EVERYTHING: Final = HistoryFilter()
T0: Final = 1_704_067_200_000_000
"""When messages of the bench are accepted, unless a test says otherwise."""


def kept(test: Any, **options: Any) -> Bench:
    """Run a test where the log is kept."""
    return simulate(test, keep_everything=True, **options)


def deliver_all(bench: Bench) -> list[Message]:
    """Let every attempt be delivered from now on; returns what was sent, as it comes."""
    sent: list[Message] = []

    def answer(one: Message) -> None:
        sent.append(one)
        bench.queue.settling.delivered(one, 200)

    bench.deliverer.answer = answer
    for one in list(bench.deliverer.flying):
        bench.deliverer.flying.remove(one)
        answer(one)
    return sent


async def deliver(
    bench: Bench,
    *names: str,
    to: str = "a.example",
    accepted_at: int = T0,
    terms: Terms | None = None,
    **fields: Any,
) -> None:
    """Accept messages, and deliver them in this order."""
    for name in names:
        one = message(destination(to), name=name, **fields)
        one.accepted_at = accepted_at
        one.terms = terms
        bench.accept(one)
        await asyncio.sleep(0.1)
        end(bench, name)
        await asyncio.sleep(0.1)


def end(bench: Bench, name: str, status: int = 200) -> None:
    """End the attempt of a message that is under way."""
    (one,) = [one for one in bench.deliverer.flying if one.target == f"/{name}"]
    bench.end(one, 200 if status == 200 else failed(status))


async def replay(bench: Bench, which: HistoryFilter = EVERYTHING, **how: Any) -> Replayed:
    """Replay to the end; returns what was told last."""
    async with aclosing(bench.queue.replaying.replay(which, **how)) as steps:
        told = [one async for one in steps]
    assert [one.is_done for one in told] == [False] * (len(told) - 1) + [True]
    return told[-1]


async def replayed(bench: Bench, which: HistoryFilter = EVERYTHING, **how: Any) -> list[str]:
    """Replay to the end; returns the targets of what arrived."""
    sent = deliver_all(bench)
    told = await replay(bench, which, **how)
    await asyncio.sleep(5)
    assert told.messages == len(sent)
    return [one.target for one in sent]


def test_what_was_delivered_is_sent_again_as_new_messages() -> None:
    """In the order of delivery, byte for byte, under new ids, attempts from 1."""

    async def test(bench: Bench) -> None:
        first = message(name="a", body=b"\x00\xff", timeout_ms=1234)
        first.head += b"X-Odd:  two blanks \r\nX-Odd: \xe4\r\n"
        second = message(destination("b.example"), name="b", body=b"")
        for one in (first, second):
            bench.accept(one)
        await asyncio.sleep(0.1)
        end(bench, "a", 503)
        end(bench, "b")
        await asyncio.sleep(10)
        end(bench, "a")
        await asyncio.sleep(0.1)
        sent = deliver_all(bench)
        told = await replay(bench)
        await asyncio.sleep(1)
        assert [(one.head, one.body, one.timeout_ms, one.attempt) for one in sent] == [
            (second.head, b"", 0, 1),
            (first.head, b"\x00\xff", 1234, 1),
        ]
        ids = {one.wire_id for one in sent}
        assert len(ids | {first.wire_id, second.wire_id}) == 4
        assert (told.messages, told.size_bytes, told.unreadable) == (2, 2, 0)
        assert [one.destination for one in sent] == [second.destination, first.destination]

    kept(test)


def test_only_what_was_delivered_is_sent_again() -> None:
    """Not what waits, was cancelled or died, also where its letter was purged; a letter that was
    redriven and delivered once."""

    async def test(bench: Bench) -> None:
        ids: dict[str, str] = {}
        for name in ("dead", "purged", "redriven", "cancelled", "waits", "delivered"):
            one = message(destination(f"{name}.example"), name=name)
            bench.accept(one)
            await asyncio.sleep(0.01)
            ids[name] = one.wire_id.decode()
        by_name = {one.target[1:]: one for one in bench.deliverer.flying}
        for name in ("dead", "purged", "redriven"):
            bench.end(by_name[name], failed(404))
        bench.end(by_name["cancelled"], failed(503))
        bench.end(by_name["delivered"])
        await asyncio.sleep(0.05)
        admin = bench.queue.admin
        await admin.cancel(ids["cancelled"])
        await admin.purge([ids["purged"]])
        await admin.redrive([ids["redriven"]])
        await asyncio.sleep(0.05)
        (again,) = [one for one in bench.deliverer.flying if one.target == "/redriven"]
        bench.end(again)
        await asyncio.sleep(0.05)
        await admin.hold("http://waits.example")
        bench.end(by_name["waits"], failed(503))
        assert await replayed(bench) == ["/delivered", "/redriven"]

    kept(test)


def test_what_was_delivered_before_a_restart_is_sent_again() -> None:
    """History outlives processes; a message whose end was lost in a crash is there once."""

    async def test(bench: Bench) -> None:
        await deliver(bench, "a", "b")
        await bench.crash()
        await bench.start()
        await deliver(bench, "c")
        bench.accept(message(name="d"))
        await asyncio.sleep(0.1)
        bench.log.append_s = 60.0
        end(bench, "d")
        await bench.crash()  # that it was delivered is not written down
        await bench.start()
        await asyncio.sleep(0.1)
        end(bench, "d")
        await asyncio.sleep(0.1)
        assert await replayed(bench) == ["/a", "/b", "/c", "/d"]

    kept(test)


def test_what_was_delivered_a_moment_ago_is_sent_again() -> None:
    """Also when the record of it is not written yet."""

    async def test(bench: Bench) -> None:
        one = message(name="a")
        bench.accept(one)
        await asyncio.sleep(0.01)
        bench.end(one)
        assert await replayed(bench) == ["/a"]

    kept(test)


def test_message_that_was_copied_forward_before_the_log_was_kept_is_sent_again() -> None:
    """EVENT_SOURCING may be set while messages wait whose first records are trimmed away. What was
    delivered before that is no history."""

    async def test(bench: Bench) -> None:
        await deliver(bench, "before")
        bench.accept(message(name="waits", body=b"w" * 1000))
        await asyncio.sleep(0.1)
        bench.queue.pending.extents.cut()
        await bench.queue.space.copy([bench.queue.pending.extents.oldest])
        (moved,) = [position for position, payload in bench.log.records if payload[0] == 5]
        await bench.log.trim(moved)
        await bench.crash()
        bench.config = replace(bench.config, keep_everything=True)
        await bench.start()
        await asyncio.sleep(0.1)
        end(bench, "waits")
        await asyncio.sleep(0.1)
        assert await replayed(bench) == ["/waits"]

    simulate(test)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (HistoryFilter(destination="http://b.example"), ["/b2"]),
        (HistoryFilter(since_us=T0 + 2), ["/b2", "/a3"]),
        (HistoryFilter(until_us=T0 + 2), ["/a1"]),
        (HistoryFilter(since_us=T0 + 2, until_us=T0 + 3), ["/b2"]),
        (HistoryFilter("http://a.example", since_us=T0 + 2), ["/a3"]),
        (HistoryFilter(since_us=T0 + 4), []),
        (HistoryFilter("http://c.example"), []),
        (HistoryFilter(label="blue"), ["/b2", "/a3"]),
        (HistoryFilter("http://a.example", label="blue"), ["/a3"]),
        (HistoryFilter(label="red"), []),
    ],
)
def test_replay_is_narrowed_by_destination_time_of_acceptance_and_label(
    which: HistoryFilter, expected: list[str]
) -> None:
    """From `since` on, and before `until`."""

    async def test(bench: Bench) -> None:
        for number, name in enumerate(("a1", "b2", "a3"), 1):
            terms = Terms(label="blue") if number > 1 else None
            to = f"{name[0]}.example"
            await deliver(bench, name, to=to, accepted_at=T0 + number, terms=terms)
        assert await replayed(bench, which) == expected

    kept(test)


def test_callbacks_are_not_sent_again() -> None:
    """They told somebody of what became of the first message, who did not ask about copies."""

    async def test(bench: Bench) -> None:
        terms = Terms(callback="http://a.example/told")
        await deliver(bench, "a1", to="a.example", terms=terms)
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.01)
        assert await replayed(bench, HistoryFilter("http://a.example")) == ["/a1"]

    kept(test)


def test_redriven_message_is_found_by_when_it_was_accepted() -> None:
    """Where it lies now, and when it died, does not matter."""

    async def test(bench: Bench) -> None:
        old = message(name="old")
        bench.accept(old)
        await asyncio.sleep(0.01)
        bench.end(old, failed(404))
        await asyncio.sleep(0.01)
        await bench.queue.admin.redrive([old.wire_id.decode()])
        await asyncio.sleep(0.01)
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.01)
        assert await replayed(bench, HistoryFilter(since_us=T0 + 1)) == []
        assert await replayed(bench, HistoryFilter(until_us=T0 + 1)) == ["/old"]

    kept(test)


def test_replay_goes_to_another_destination() -> None:
    """With its own `Host`, and else the same bytes."""

    async def test(bench: Bench) -> None:
        one = message(destination("https://a.example"), name="a")
        one.head = b"POST /a HTTP/1.1\r\nX: 1\r\nhost: a.example\r\nX-Host: h\r\n"
        bench.accept(one)
        await asyncio.sleep(0.01)
        bench.end(one)
        sent = deliver_all(bench)
        await replay(bench, to="http://127.0.0.1:99")
        await asyncio.sleep(0.1)
        (copy,) = sent
        assert str(copy.destination) == "http://127.0.0.1:99"
        assert copy.head == (b"POST /a HTTP/1.1\r\nX: 1\r\nHost: 127.0.0.1:99\r\nX-Host: h\r\n")

    kept(test)


def test_copy_keeps_of_the_terms_what_still_makes_sense() -> None:
    """Label and retries, as a redrive does: its delay has passed, and its deadline may have."""

    async def test(bench: Bench) -> None:
        now = bench.queue.clock.wall_us()
        full = Terms(now - 1, now + 60_000_000, 3, 1000, 2000, "blue")
        await deliver(bench, "a", terms=full)
        await deliver(bench, "b", terms=Terms(deadline_us=now + 60_000_000))
        await asyncio.sleep(120)
        sent = deliver_all(bench)
        assert (await replay(bench)).messages == 2
        await asyncio.sleep(1)
        assert [one.terms for one in sent] == [Terms(0, 0, 3, 1000, 2000, "blue"), None]

    kept(test)


async def deliver_large(bench: Bench, *, size: int = 2 * CHUNK_BYTES + 1) -> bytes:
    """Deliver a message with a body in chunks; returns that."""
    body = bytes(number * 7 % 251 for number in range(size))
    upload = bench.queue.intake.start_upload(lambda: None)
    for start in range(0, size, CHUNK_BYTES):
        upload.write(body[start : start + CHUNK_BYTES])
    large = message(name="large", body=b"")
    large.body_size = size
    bench.queue.intake.accept(large, bench.receipts.one(), upload)
    await asyncio.sleep(0.1)
    bench.end(large)
    await asyncio.sleep(0.1)
    return body


def test_large_body_is_sent_again_whole() -> None:
    """It is copied a chunk at a time."""

    async def test(bench: Bench) -> None:
        body = await deliver_large(bench)
        sent = deliver_all(bench)
        told = await replay(bench)
        await asyncio.sleep(1)
        assert told.size_bytes == len(body)
        (copy,) = sent
        assert copy.chunks is not None
        pieces = [decode_chunk(one) for one in await bench.log.read(list(copy.chunks))]
        assert b"".join(pieces) == body
        assert not bench.queue.pending.uploading_bytes

    kept(test)


def test_dry_run_counts_and_sends_nothing() -> None:
    """Messages, bytes, destinations, and when the first and the last were accepted."""

    async def test(bench: Bench) -> None:
        for number, name in enumerate(("a1", "b2", "b3")):
            body = b"x" * (number + 1)
            to = f"{name[0]}.example"
            await deliver(bench, name, to=to, accepted_at=T0 + number, body=body)
        before = bench.queue.figures.accepted_total
        told = await replay(bench, dry_run=True)
        assert (told.messages, told.size_bytes) == (3, 6)
        assert (told.first_us, told.last_us) == (T0, T0 + 2)
        assert list(told.destinations) == [("http://b.example", 2, 5), ("http://a.example", 1, 1)]
        assert told.destinations_total == 2
        assert told.read_bytes
        assert bench.queue.figures.accepted_total == before

    kept(test)


def test_replay_does_not_send_its_own_copies() -> None:
    """What it reads ends where the log ended when it began; a later one has them, unless it is
    told until when."""

    async def test(bench: Bench) -> None:
        await deliver(bench, *"abcdefgh")
        assert len(await replayed(bench)) == 8
        until = bench.queue.clock.wall_us()
        assert len(await replayed(bench)) == 16
        assert len(await replayed(bench, HistoryFilter(until_us=T0 + 1))) == 8
        assert until > T0

    kept(test)


def test_rate_bounds_what_is_sent() -> None:
    """So many a second, evenly, and no burst at the beginning."""

    async def test(bench: Bench) -> None:
        await deliver(bench, *(str(number) for number in range(100)))
        loop = asyncio.get_running_loop()
        began = loop.time()
        at: list[float] = []
        bench.deliverer.on_start = lambda one: at.append(loop.time() - began)
        deliver_all(bench)
        await replay(bench, course=Course(parse_rate("20/s")))
        await asyncio.sleep(0.1)
        assert len(at) == 100
        for second in range(6):
            assert len([one for one in at if second <= one < second + 1]) <= 22
        assert at[-1] >= 4.8

    kept(test)


@pytest.mark.parametrize("dry_run", [True, False])
def test_cancelled_replay_ends_with_what_it_sent(dry_run: bool) -> None:
    """Not even the wait for its rate holds it up; nothing says that it is done."""

    async def test(bench: Bench) -> None:
        await deliver(bench, *(str(number) for number in range(300)))
        sent = deliver_all(bench)
        course = Course(parse_rate("10/s"))
        steps = bench.queue.replaying.replay(EVERYTHING, dry_run=dry_run, course=course)
        last = None
        async for last in steps:
            if last.messages >= 5:
                course.cancel()
        await asyncio.sleep(1)
        assert last is not None
        assert not last.is_done
        assert course.was_cut
        if not dry_run:
            assert len(sent) == course.done == last.messages < 20

    kept(test)


def test_replay_waits_while_nothing_is_accepted() -> None:
    """It says why, and goes on; nothing is sent twice and nothing is left out."""

    async def test(bench: Bench) -> None:
        await deliver(bench, *(str(number) for number in range(50)), body=b"x" * 1000)
        await bench.queue.admin.hold("http://a.example")
        steps = bench.queue.replaying.replay(EVERYTHING)
        waiting = None
        async for told in steps:
            if told.waiting is not None:
                waiting = told
                break
        assert waiting is not None
        assert waiting.waiting is BACKLOG_FULL
        assert 0 < waiting.messages < 50
        sent = deliver_all(bench)
        await bench.queue.admin.resume("http://a.example")
        async for told in steps:
            waiting = told
        await asyncio.sleep(1)
        assert waiting.messages == 50
        assert sorted(one.target for one in sent) == sorted(f"/{n}" for n in range(50))

    kept(test, max_backlog_bytes=20_000)


def test_replay_ends_when_the_server_stops() -> None:
    """What was told is durable; the rest is not sent."""

    async def test(bench: Bench) -> None:
        await deliver(bench, *(str(number) for number in range(200)))
        steps = bench.queue.replaying.replay(EVERYTHING)
        async for told in steps:
            if told.messages:
                break
        bench.queue.close_intake()
        with pytest.raises(Refused) as caught:
            async for _ in steps:
                pass
        assert caught.value.refusal is SHUTTING_DOWN

    kept(test)


@pytest.mark.parametrize("steps_before", [1, 2, 3, 4])
def test_replay_goes_on_behind_the_place_that_was_told_last(steps_before: int) -> None:
    """After a crash in the middle: nothing is left out, nothing is sent twice that was told, and
    copies are no history of the replay that made them."""

    async def test(bench: Bench) -> None:
        names = [str(number) for number in range(300)]
        await deliver(bench, *names)
        sent = deliver_all(bench)
        place: Place | None = None
        messages = 0
        steps = bench.queue.replaying.replay(EVERYTHING)
        async for told in steps:
            place, messages = told.place, told.messages
            if messages >= 40 * steps_before:
                break
        await steps.aclose()
        await asyncio.sleep(1)
        await bench.crash()
        await bench.start()
        sent += deliver_all(bench)
        before = len({one.wire_id for one in sent})
        assert messages == before
        again = deliver_all(bench)
        told = await replay(bench, after=place)
        await asyncio.sleep(5)
        assert messages + told.messages == 300
        targets = [one.target for one in {one.wire_id: one for one in [*sent, *again]}.values()]
        assert sorted(targets) == sorted(f"/{name}" for name in names)

    kept(test)


def test_message_that_cannot_be_read_is_counted_and_the_others_are_sent() -> None:
    """Damage of one keeps nobody from the others; of a large body too."""

    async def test(bench: Bench) -> None:
        await deliver(bench, "a", "b", "c")
        positions = [position for position, payload in bench.log.records if b"/b " in payload]
        await deliver_large(bench)
        chunks = [position for position, payload in bench.log.records if payload[0] == 2]
        read = bench.log.read
        lost = {positions[0], chunks[1]}

        async def damaged(wanted: list[int]) -> list[bytes]:
            found = await read(wanted)
            return [b"\x06" if p in lost else one for p, one in zip(wanted, found, strict=True)]

        bench.log.read = damaged  # type: ignore[method-assign, assignment]  # a disk that lies
        sent = deliver_all(bench)
        told = await replay(bench)
        await asyncio.sleep(1)
        assert [one.target for one in sent] == ["/a", "/c"]
        assert (told.messages, told.unreadable) == (2, 2)
        assert not bench.queue.pending.uploading_bytes

    kept(test)


def test_without_event_sourcing_there_is_no_history() -> None:
    """Nobody has to look for it: it is said."""

    async def test(bench: Bench) -> None:
        assert not bench.queue.replaying.keeps_history

    simulate(test)


def test_messages_are_read_a_few_at_a_time() -> None:
    """However many there are: others have their turn in between."""

    async def test(bench: Bench) -> None:
        deliver_all(bench)
        for number in range(1000):
            bench.accept(message(name=str(number)))
        await asyncio.sleep(5)
        sizes: list[int] = []
        turns = 0
        read = bench.log.read

        async def counted(wanted: list[int]) -> list[bytes]:
            sizes.append(len(wanted))
            return await read(wanted)

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.004)

        bench.log.read = counted  # type: ignore[method-assign, assignment]  # counts
        task = asyncio.ensure_future(others())
        told = await replay(bench, dry_run=True)
        task.cancel()
        assert told.messages == 1000
        assert max(sizes) <= MOST_AT_ONCE
        assert turns >= 1000 // MOST_AT_ONCE

    kept(test)


def test_looking_through_records_gives_others_their_turn() -> None:
    """Where nothing is found too."""
    payload = encode_message(message())
    records = records_of([(number * 1000, payload) for number in range(5 * RECORDS_AT_ONCE)])
    looking = Looking(EVERYTHING)
    found = list(looking.look(records, before=1 << 60))
    assert len(found) == 5
    assert not any(named for _, named in found)
