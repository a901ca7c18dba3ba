"""What operators do to a queue: look, explain, cancel, pause, redrive and purge."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.api.stats_models import Stats
from dispatcher.core.outcome import Failure
from dispatcher.core.rate import Rate
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.terms import Terms
from dispatcher.errors import LogTooNew, Refused
from dispatcher.queue.admin.surface import (
    Cancelled,
    Course,
    Event,
    LaneView,
    LetterFilter,
    MessageState,
    Reason,
)
from dispatcher.queue.deadletters.retention import RetentionPolicy
from dispatcher.queue.flow.recent import MOST, Recent
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.recovery.replay import Recovery
from dispatcher.testing.admin import whole
from dispatcher.testing.log import Space
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
    upload = bench.queue.intake.start_upload(lambda: None)
    for number in range(chunks):
        upload.write(bytes([number]) * CHUNK_BYTES)
    sent = message(name="big", body=b"")
    sent.body_size = chunks * CHUNK_BYTES
    receipt = bench.receipts.one()
    bench.queue.intake.accept(sent, receipt, upload)
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
        await admin.hold("a.example")
        assert await reason(third) is Reason.DESTINATION_HELD
        bench.end(bench.deliverer.flying[0], failed(500))
        await settle_down()
        assert await reason(first) is Reason.DESTINATION_HELD
        await admin.resume("a.example")
        assert await reason(first) is Reason.SCHEDULED
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


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_delay_that_the_destination_asked_for_is_explained_by_that(status: int) -> None:
    """Whether others have to wait for it too or not; what it does not ask for is not."""

    async def test(bench: Bench) -> None:
        asked = await accepted(bench, "asked")
        bench.end(bench.deliverer.flying[0], failed(status, retry_after=b"600"))
        failing = await accepted(bench, "failing", to="b.example")
        bench.end(bench.deliverer.flying[-1], failed(status))
        await settle_down()
        found = await bench.queue.admin.explain(asked)
        assert found is not None
        assert "http://a.example asked for that, with Retry-After: not before" in found.message
        found = await bench.queue.admin.explain(failing)
        assert found is not None
        assert found.reason is Reason.SCHEDULED
        assert "Retry-After" not in found.message

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


def test_an_attempt_under_way_is_told_until_when_it_may_take() -> None:
    """Its own start and its message's timeout decide, by the wall clock, however that is turned."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin

        async def until(message_id: str) -> int | None:
            why = await admin.explain(message_id)
            assert why is not None
            assert (why.reason, why.expected_at_us) == (Reason.IN_FLIGHT, None)
            return why.until_us

        began = bench.clock.now_us()
        sent = message(timeout_ms=5_000)
        bench.accept(sent)
        await settle_down()
        message_id = sent.wire_id.decode()
        assert await until(message_id) == began + 5_000_000
        await asyncio.sleep(2)
        assert await until(message_id) == began + 5_000_000
        bench.end(bench.deliverer.flying[0], failed(503))
        await settle_down()
        for _ in range(10_000):
            if bench.deliverer.flying:
                break
            await asyncio.sleep(0.001)
        (again,) = bench.deliverer.flying
        assert (again.attempt, again.started_at > began + 2_000_000) == (2, True)
        assert await until(message_id) == again.started_at + 5_000_000
        bench.clock.set_wall_clock(bench.clock.now_us() - 3_600_000_000)
        assert await until(message_id) == again.started_at + 5_000_000 - 3_600_000_000

    simulate(test)


async def lane(bench: Bench) -> LaneView:
    """The one lane there is."""
    (view,) = (await bench.queue.admin.lanes()).items
    return view


def test_a_lane_says_how_its_breaker_is_and_until_when_it_pauses() -> None:
    """Closed, open until an instant of the wall clock, half open while the probe is under way, open
    for twice as long when that failed, and closed again."""

    async def test(bench: Bench) -> None:
        async def seen() -> tuple[str, int | None, bool]:
            view = await lane(bench)
            return view.breaker, view.paused_until_us, view.held

        for n in range(12):
            await accepted(bench, f"m{n}")
        for _ in range(10):
            assert await seen() == ("closed", None, False)
            bench.end(bench.deliverer.flying[0], failed(failure=Failure.CONNECTION))
            await asyncio.sleep(0)
        opened_at = bench.clock.now_us()
        assert await seen() == ("open", opened_at + 1_000_000, False)
        view = await lane(bench)
        assert (view.ready + (view.scheduled or 0), view.in_flight, view.limit) == (12, 0, 1)
        bench.clock.set_wall_clock(opened_at + 3_600_000_000)
        assert await seen() == ("open", opened_at + 3_601_000_000, False)
        await asyncio.sleep(0.999)
        assert not bench.deliverer.flying
        await asyncio.sleep(0.002)
        assert await seen() == ("half_open", None, False)
        assert (await lane(bench)).in_flight == 1
        bench.end(bench.deliverer.flying[0], failed(failure=Failure.CONNECTION))
        assert await seen() == ("open", bench.clock.now_us() + 2_000_000, False)
        await asyncio.sleep(2.001)
        assert await seen() == ("half_open", None, False)
        bench.end(bench.deliverer.flying[0])
        assert await seen() == ("closed", None, False)

    simulate(test)


def test_a_lane_says_who_pauses_it() -> None:
    """A Retry-After of the destination until an instant, an operator until he thinks otherwise;
    both at once; and an empty lane is told of as long as an operator pauses it."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin

        async def seen() -> tuple[int | None, bool, str]:
            view = await lane(bench)
            return view.paused_until_us, view.held, view.breaker

        for n in range(4):
            await accepted(bench, f"m{n}")
        bench.end(bench.deliverer.flying[0])  # from now on two at once
        bench.end(bench.deliverer.flying[0], failed(429, retry_after=b"10"))
        until = bench.clock.now_us() + 10_000_000
        assert await seen() == (until, False, "closed")
        await admin.hold("a.example")
        assert await seen() == (until, True, "closed")
        bench.end(bench.deliverer.flying[0], failed(429, retry_after=b"60"))
        until = bench.clock.now_us() + 20_000_000  # RETRY_MAX_DELAY
        assert await seen() == (until, True, "closed")
        await asyncio.sleep(19.9)
        assert await seen() == (until, True, "closed")
        await asyncio.sleep(0.2)
        assert await seen() == (None, True, "closed")
        assert not bench.deliverer.flying
        await admin.resume("a.example")
        assert await seen() == (None, False, "closed")
        for _ in range(3):
            bench.end(bench.deliverer.flying[0])
            await settle_down()
        await asyncio.sleep(150)  # what it learned is forgotten
        assert not (await admin.lanes()).items
        await admin.hold("a.example")
        assert ((await lane(bench)).ready, await seen()) == (0, (None, True, "closed"))
        await admin.resume("a.example")
        assert not (await admin.lanes()).items

    simulate(test)


def test_stats_spell_the_lanes_as_the_api_does() -> None:
    """By name, each with all of its figures, instants as RFC 3339."""

    async def test(bench: Bench) -> None:
        for n in range(12):
            await accepted(bench, f"m{n}", to="b.example")
        for _ in range(10):
            bench.end(bench.deliverer.flying[0], failed(503))
            await asyncio.sleep(0)
        await bench.queue.admin.hold("a.example")
        page = await bench.queue.admin.lanes()
        stats = Stats.of(await bench.queue.admin.totals(), page, page.items)
        paused, broken = stats.model_dump(mode="json")["lanes"]
        limit = {"ready": 0, "scheduled": 0, "in_flight": 0, "limit": 1, "rate": None}
        assert paused == {"kind": "message", "destination": "http://a.example", **limit} | {
            "paused_until": None,
            "held": True,
            "paused": True,
            "breaker": "closed",
            "last_error": None,
            "last_error_at": None,
            "failing_since": None,
            "delivered_per_s": 0.0,
            "attempt_p50_ms": None,
            "attempt_p95_ms": None,
            "oldest_at": None,
        }
        assert broken["last_error"] == "http_503"
        assert broken["failing_since"] <= broken["last_error_at"]
        assert broken["oldest_at"] <= broken["failing_since"]
        assert broken["paused_until"] == "2024-01-01T00:00:01.120000Z"
        assert (broken["breaker"], broken["held"], broken["limit"]) == ("open", False, 1)
        assert broken["ready"] + broken["scheduled"] == 12
        await asyncio.sleep(1.001)
        page = await bench.queue.admin.lanes()
        stats = Stats.of(await bench.queue.admin.totals(), page, page.items)
        probed = stats.model_dump(mode="json")["lanes"][1]
        assert (probed["breaker"], probed["paused_until"]) == ("half_open", None)
        assert probed["in_flight"] == stats.in_flight == 1

    simulate(test)


@pytest.mark.parametrize("restart", [False, True])
def test_a_paused_destination_gets_nothing_until_it_is_resumed(restart: bool) -> None:
    """Others do; and a restart does not forget it."""

    async def test(bench: Bench) -> None:
        assert await bench.queue.admin.hold("http://a.example:80") == "http://a.example"
        await accepted(bench, "held")
        await accepted(bench, "other", to="b.example")
        assert [one.target for one in bench.deliverer.flying] == ["/other"]
        if restart:
            await bench.crash()
            await bench.start()
            await settle_down()
        assert "/held" not in [one.target for one in bench.deliverer.flying]
        (lane,) = [one for one in (await bench.queue.admin.lanes()).items if one.held]
        assert (lane.destination, lane.ready) == ("http://a.example", 1)
        await asyncio.sleep(3600)
        assert "/held" not in [one.target for one in bench.deliverer.flying]
        await bench.queue.admin.resume("a.example")
        await settle_down()
        assert "/held" in [one.target for one in bench.deliverer.flying]
        await bench.crash()
        await bench.start()
        assert not [one for one in (await bench.queue.admin.lanes()).items if one.held]

    simulate(test)


def test_destination_that_has_filled_the_disk_while_it_was_held_can_be_resumed() -> None:
    """Else its messages had to be cancelled to make room for that. Another one cannot be held then,
    and where nothing is left at all the operator is told."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        await admin.hold("a.example")
        await accepted(bench, "held")
        bench.log.space = Space.RESERVE
        bench.accept(message(name="refused"))
        await asyncio.sleep(0.1)
        assert bench.queue.committer.full
        with pytest.raises(Refused):
            await admin.hold("b.example")
        await admin.resume("a.example")
        await settle_down()
        assert [one.target for one in bench.deliverer.flying] == ["/held"]
        bench.log.space = Space.NOTHING
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(1)
        assert bench.queue.committer.is_stuck
        with pytest.raises(Refused):
            await admin.resume("a.example")
        bench.log.space = Space.ENOUGH
        await bench.crash()
        await bench.start()
        assert not [one for one in (await bench.queue.admin.lanes()).items if one.held]

    simulate(test)


def test_a_destination_that_is_none_is_not_paused() -> None:
    """ValueError says what is wrong."""

    async def test(bench: Bench) -> None:
        for text in ("", "a b", "ftp://a", "a/path", "a:0"):
            with pytest.raises(ValueError, match="it"):
                await bench.queue.admin.hold(text)

    simulate(test)


def test_a_cancelled_message_is_never_delivered() -> None:
    """Neither one that is ready, wherever it stands in its lane, nor one that waits for a retry;
    and not after a crash."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        await admin.hold("a.example")
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
            assert (item.last_status, item.last_error, item.reason) == (410, "http_410", "rejected")
            assert (item.attempts, item.method, item.target) == (1, "POST", "/m1")
            assert await admin.count_letters(LetterFilter(status=404)) == 4
            assert await admin.count_letters(LetterFilter(error="timeout")) == 0
            cut = item.dead_at_us
            assert await admin.count_letters(LetterFilter(before_us=cut)) == 1
            assert await admin.count_letters(LetterFilter(after_us=cut)) == 5
            groups = await admin.letter_groups(EVERYTHING)
            assert [(one.destination, one.status, one.count) for one in groups.items] == [
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
        assert (await whole(detail.body), detail.redrives) == (b"hello", 0)
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


def test_a_message_is_looked_up_where_it_is_when_it_was_redriven() -> None:
    """Dead, on its way again, dead again, waiting for a retry, delivered: the last of these counts,
    and what it was before is not seen any more."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        message_id = await dead(bench)

        async def seen() -> tuple[MessageState, int, str | None, Reason]:
            view, why = await admin.message(message_id), await admin.explain(message_id)
            assert view is not None
            assert why is not None
            assert why.state is view.state
            return view.state, view.attempts, view.last_error, why.reason

        assert await seen() == (MessageState.DEAD, 1, "http_404", Reason.DEAD)
        await admin.redrive([message_id])
        await settle_down()
        assert await seen() == (MessageState.IN_FLIGHT, 1, None, Reason.IN_FLIGHT)
        bench.end(bench.deliverer.flying[0], failed(410))
        await settle_down()
        assert await seen() == (MessageState.DEAD, 1, "http_410", Reason.DEAD)
        await admin.hold("a.example")
        await admin.redrive([message_id])
        assert await seen() == (MessageState.READY, 0, None, Reason.DESTINATION_HELD)
        await admin.resume("a.example")
        await settle_down()
        bench.end(bench.deliverer.flying[0], failed(500))
        await settle_down()
        assert await seen() == (MessageState.SCHEDULED, 1, "http_500", Reason.SCHEDULED)
        await asyncio.sleep(1)
        bench.end(bench.deliverer.flying[0])
        assert await seen() == (MessageState.DELIVERED, 2, None, Reason.DELIVERED)
        await settle_down()
        assert await seen() == (MessageState.DELIVERED, 2, None, Reason.DELIVERED)
        assert await admin.letter(message_id) is None
        assert (await admin.redrive([message_id])).not_found == [message_id]

    simulate(test)


@pytest.mark.parametrize("by", ["filter", "ids"])
@pytest.mark.parametrize(("rate", "count"), [(1, 4), (7, 30), (50, 230), (1000, 2500)])
def test_letters_are_redriven_at_the_rate_that_was_asked_for(
    rate: int, count: int, by: str
) -> None:
    """Between any two moments not more than that, beside one portion of a tenth of a second; not
    less either; and the answer comes when the last one is back."""

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = lambda sent: bench.queue.settling.failed(sent, failed(404))
        receipts = [bench.accept(message(name=f"m{n}")) for n in range(count)]
        await asyncio.sleep(5)
        ids = [receipt.answer.wire_id.decode() for receipt in receipts]  # type: ignore[union-attr]
        assert len(bench.queue.dead_letters) == count
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)

        which = EVERYTHING if by == "filter" else [*ids, UNKNOWN]
        redriving = asyncio.create_task(
            bench.queue.admin.redrive(which, course=Course(Rate(rate, 1_000_000)))
        )
        back: list[int] = []
        while not redriving.done():
            back.append(bench.queue.redriver.redriven_total)
            await asyncio.sleep(0.01)
        moved = redriving.result()
        assert (moved.count, moved.not_found) == (count, [] if by == "filter" else [UNKNOWN])

        portion = max(1, rate // 10)
        late_s = 0.02  # the look before, and what one portion takes
        # The letters are looked through first, in slices of real time, each with a rest.
        found = next(place for place, now in enumerate(back) if now)
        assert found * 0.01 <= max(1.0, 1.5 / rate)
        for place, now in enumerate(back):
            least = min(count, rate * (0.01 * (place - found) - late_s))
            assert now >= least, f"{place} looks"
            for earlier in range(place):
                most = rate * (0.01 * (place - earlier) + late_s) + portion
                assert now - back[earlier] <= most, f"between looks {earlier} and {place}"
        back.append(bench.queue.redriver.redriven_total)
        assert back[-1] == count
        assert back.count(count) * 0.01 <= portion / rate + late_s

    simulate(test)


def test_a_redrive_with_a_rate_does_not_make_up_for_a_slow_disk_in_a_burst() -> None:
    """Nor for looking through the letters, which takes seconds where there are very many."""
    count, rate = 100, 50

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = lambda sent: bench.queue.settling.failed(sent, failed(404))
        for n in range(count):
            bench.accept(message(name=f"m{n}"))
        await asyncio.sleep(5)
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        bench.log.append_s = 1.0
        redriving = asyncio.create_task(
            bench.queue.admin.redrive(EVERYTHING, course=Course(Rate(rate, 1_000_000)))
        )
        await asyncio.sleep(0.5)
        bench.log.append_s = 0.0
        redriver = bench.queue.redriver
        while not redriver.redriven_total:  # noqa: ASYNC110  # it is a plain counter
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert rate * 0.4 <= redriver.redriven_total <= rate * 0.52 + 2 * rate // 10
        assert (await redriving).count == count

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
        assert await whole(detail.body) == body
        await bench.queue.admin.redrive([message_id])
        await bench.crash()
        await bench.start()
        await settle_down()
        (flying,) = bench.deliverer.flying
        assert flying.chunks is not None
        assert b"".join(await bench.queue.settling.read_body(list(flying.chunks))) == body

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
            assert await whole(detail.body) == b"".join(bytes([n]) * CHUNK_BYTES for n in range(3))
            await bench.crash()
            await bench.start()
        assert (await bench.queue.admin.redrive([kept])).count == 1

    simulate(test)


def test_the_age_of_the_oldest_message_is_known() -> None:
    """Of one that waits in a lane or for a retry; 0 when nothing waits."""

    async def test(bench: Bench) -> None:
        assert bench.queue.oldest.age_us() == 0
        await accepted(bench)
        await asyncio.sleep(100)
        await accepted(bench, "young")
        await asyncio.sleep(10)
        assert bench.queue.oldest.age_us() > 100_000_000
        while bench.deliverer.flying:
            bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(10)
        assert bench.queue.oldest.age_us() == 0

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


def test_terms_of_delivered_messages_are_known_as_long_as_they_are() -> None:
    """Of those that have any."""
    recent = Recent(most=20)
    for position in range(1, 51):
        sent = message()
        sent.position, sent.incarnation = position * 2**32, 9
        sent.terms = Terms(label=f"l{position}", retries=position) if position % 3 else None
        recent.add(sent, b"http://a")
        past = recent.find(sent.position, 9)
        assert past is not None
        assert past.terms == sent.terms
        assert recent.find((position - 22) * 2**32, 9) is None


def test_a_hundred_thousand_delivered_messages_are_known() -> None:
    """As the documentation of the API says; some of those before them too, but not all."""
    recent = Recent()
    sent = message()
    sent.incarnation, sent.attempt = 9, 1
    last = 2 * MOST + 1
    for position in range(1, last + 1):
        sent.position = position
        recent.add(sent, b"http://a")
    assert MOST == 100_000
    assert all(recent.find(last - before, 9) for before in range(0, MOST, 7))
    assert recent.find(last - MOST + 1, 9) is not None
    assert recent.find(last - MOST - MOST // 10 - 1, 9) is None


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
        assert sum(bench.queue.figures.delivery_us.counts) == 1

    simulate(test, policy=RetryPolicy(3, 100, 1000, ack_any_response=True))


def test_a_log_of_a_newer_version_is_refused() -> None:
    """A kind of record that is not known may say that a message is over."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        recovery = Recovery(queue.pending, queue.lanes, queue.pauses, queue.keys)
        for visit in (recovery.visit, queue.dead_letters.visit):
            visit(1, b"\x06")
            with pytest.raises(LogTooNew, match="kind 99"):
                visit(100, b"\x63new")

    simulate(test)
