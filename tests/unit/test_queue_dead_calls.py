"""Function calls as dead letters: buried once, listed beside messages, and brought back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dispatcher.api.written import write_line
from dispatcher.core.calls import CallReason
from dispatcher.errors import LogBusy, Refused
from dispatcher.queue.admin.surface import Cancelled, Carried, CarriedCall, LetterKind, Moved
from dispatcher.queue.deadletters.causes import MOST_ERROR_TYPES
from dispatcher.queue.deadletters.retention import RetentionPolicy
from dispatcher.queue.deadletters.selection import LetterFilter
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.dead_calls import CallLetter, decode_call
from dispatcher.queue.records.ids import is_call
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.letters import DeadLetter
from dispatcher.queue.recovery.reconcile import reconcile_calls
from dispatcher.queue.refusals import CALL_NOT_REVIVED, DISK_FULL
from dispatcher.testing.admin import whole
from dispatcher.testing.deadcalls import MemoryCalls, call_id, call_letter
from dispatcher.testing.log import Space
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

LARGE = bytes(range(256)) * (CHUNK_BYTES // 256) * 2 + b"end"
EVERYTHING = LetterFilter()


async def buried(bench: Bench, *letters: CallLetter) -> None:
    """Bury calls, and wait until they are durable."""
    told: list[CallLetter] = []
    for letter in letters:
        bench.queue.dead_letters.bury_call(letter, lambda letter=letter: told.append(letter))  # type: ignore[misc]  # a default
    await asyncio.sleep(1)
    assert sorted(one.id for one in told) == sorted(one.id for one in letters)


async def dead_message(bench: Bench, to: str = "a.example") -> str:
    """Give a message up; returns its id."""
    bench.accept(message(destination(to)))
    await asyncio.sleep(0.1)
    sent = bench.deliverer.flying[-1]
    bench.end(sent, failed(404))
    await asyncio.sleep(0.1)
    return sent.wire_id.decode()


def name(number: int) -> str:
    """The id of a call, as the API has it."""
    return call_id(number).decode()


def ids_on_disk(bench: Bench) -> list[bytes]:
    """Of the DEAD_CALL records."""
    return [decode_call(p).id for _, p in bench.dead_log.records if p[0] == Kind.DEAD_CALL]


def test_call_is_kept_with_all_that_is_known_of_it() -> None:
    """Also after a crash; who watches is told once."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1))
        for _ in range(2):
            (kept,) = await bench.queue.dead_letters.read([call_id(1)])
            assert kept == replace(call_letter(1), uptime_s=kept.uptime_s)
            await bench.crash()
            await bench.start()
        assert bench.notes.dead_calls == [
            (call_id(1), "http://apps.example:8000", "charge", 1, "failed", "permanent_error")
        ]

    simulate(test)


@pytest.mark.parametrize("size", [0, CHUNK_BYTES, CHUNK_BYTES + 1, len(LARGE)])
def test_input_of_any_size_is_shown_and_comes_back(size: int) -> None:
    """Large ones lie in chunk records, as bodies do, and are copied forward like them."""

    async def test(bench: Bench) -> None:
        data = LARGE[:size]
        await buried(bench, call_letter(1, body=data))
        await bench.queue.dead_letters.space.copy_letter(call_id(1))
        await bench.crash()
        await bench.start()
        detail = await bench.queue.admin.letter(name(1))
        assert detail is not None
        assert detail.letter.size_bytes == size
        assert await whole(detail.body) == data
        service = bench.queue.redriver.calls.reviver = MemoryCalls()
        assert await bench.queue.admin.redrive([name(1)]) == Moved(1, [])
        assert service.there[call_id(1)].body == data
        assert service.there[call_id(1)].chunks is None
        assert not bench.queue.dead_letters.holdings.chunks

    simulate(test)


def test_input_is_read_when_its_turn_comes_and_again_where_that_failed() -> None:
    """It stays where it is as long as there is no space for the letter."""

    async def test(bench: Bench) -> None:
        reads: list[str] = []
        told: list[str] = []

        async def read() -> bytes:
            reads.append("read")
            if len(reads) == 1:
                raise LogBusy("no descriptors")
            return LARGE

        letter = call_letter(1, body=b"", body_size=len(LARGE))
        bench.queue.dead_letters.bury_call(letter, lambda: told.append("durable"), read)
        assert bench.queue.dead_letters.waiting_bytes < len(LARGE)
        assert len(reads) == 0
        await asyncio.sleep(5)
        assert told == ["durable"]
        assert len(reads) == 2
        detail = await bench.queue.admin.letter(name(1))
        assert detail is not None
        assert await whole(detail.body) == LARGE

    simulate(test)


def test_call_that_is_buried_again_is_told_at_once_and_stored_once() -> None:
    """The function service does so after a crash; never inside of the call."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1))
        told: list[str] = []
        bench.queue.dead_letters.bury_call(call_letter(1), lambda: told.append("again"))
        assert len(told) == 0
        await asyncio.sleep(0)
        assert told == ["again"]
        await asyncio.sleep(1)
        assert ids_on_disk(bench) == [call_id(1)]
        assert len(bench.notes.dead_calls) == 1

    simulate(test)


def test_letter_of_a_later_death_replaces_the_one_before() -> None:
    """Where whoever buries it knows that it was redriven more often."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1))
        await buried(bench, call_letter(1, redrives=1, detail="again"))
        await bench.crash()
        await bench.start()
        (kept,) = await bench.queue.dead_letters.read([call_id(1)])
        assert isinstance(kept, CallLetter)
        assert kept.detail == "again"
        assert len(bench.queue.dead_letters) == 1

    simulate(test)


def test_calls_and_messages_are_listed_grouped_and_filtered_together() -> None:
    """By kind, endpoint and function."""

    async def test(bench: Bench) -> None:
        admin = bench.queue.admin
        sent = await dead_message(bench, "http://apps.example:8000")
        await buried(
            bench,
            call_letter(1),
            call_letter(2),
            call_letter(3, function="refund", reason=CallReason.EXPIRED, status=0),
            call_letter(4, endpoint="bridge://shop/apps"),
        )
        page = await admin.letters(EVERYTHING, cursor=0, limit=10)
        assert sorted(one.id for one in page.items) == sorted([sent, *map(name, range(1, 5))])
        view = next(one for one in page.items if one.id == name(1))
        assert (view.kind, view.function, view.destination) == (
            LetterKind.CALL, "charge", "http://apps.example:8000",
        )  # fmt: skip
        assert (view.method, view.target, view.last_status) == ("", "", None)
        assert (view.last_error, view.reason) == ("permanent_error", "failed")

        groups = (await admin.letter_groups(EVERYTHING)).items
        assert sorted(
            (one.kind.value, one.destination, one.function or "", one.error, one.reason, one.count)
            for one in groups
        ) == [
            ("call", "bridge://shop/apps", "charge", "permanent_error", "failed", 1),
            ("call", "http://apps.example:8000", "charge", "permanent_error", "failed", 2),
            ("call", "http://apps.example:8000", "refund", "expired", "expired", 1),
            ("message", "http://apps.example:8000", "", "http_404", "rejected", 1),
        ]

        async def count(**which: object) -> int:
            return await admin.count_letters(LetterFilter(**which))  # type: ignore[arg-type]

        assert await count(kind=LetterKind.CALL) == 4
        assert await count(kind=LetterKind.MESSAGE) == 1
        assert await count(destination="http://apps.example:8000") == 4
        assert await count(destination="http://apps.example:8000", kind=LetterKind.CALL) == 3
        assert await count(function="charge") == 3
        assert await count(function="charge", destination="http://apps.example:8000") == 2
        assert await count(function="charge", kind=LetterKind.MESSAGE) == 0
        assert await count(error="permanent_error") == 3
        assert await count(error="expired", function="refund") == 1
        await buried(bench, call_letter(5, endpoint="HTTPS://Apps.example:443/base/"))
        assert await count(destination="https://apps.example/base") == 1
        assert await count(destination="https://apps.example") == 0

    simulate(test)


def test_error_of_an_application_is_told_by_its_type_and_groups_stay_few() -> None:
    """Of the type only what looks like a name, and so many of them; also after a start."""

    async def test(bench: Bench) -> None:
        types = ["ValueError", "ValueError: order 17", "NotFound", "\x1b[31m", ""]
        letters = [
            call_letter(number, status=0, error_type=kind) for number, kind in enumerate(types, 1)
        ]
        await buried(bench, *letters, call_letter(9, status=15))
        for _ in range(2):
            admin = bench.queue.admin
            groups = (await admin.letter_groups(EVERYTHING)).items
            assert sorted((str(one.error), one.count) for one in groups) == [
                ("error", 2),
                ("error:NotFound", 1),
                ("error:ValueError", 2),
                ("not_found", 1),
            ]
            assert {one.destination for one in groups} == {"http://apps.example:8000"}
            assert {one.function for one in groups} == {"charge"}
            for error, count in (("error:ValueError", 2), ("not_found", 1), ("error", 2)):
                which = LetterFilter(error=error, function="charge")
                assert await admin.count_letters(which) == count
            page = await admin.letters(LetterFilter(error="error"), cursor=0, limit=10)
            assert [one.last_error for one in page.items] == ["error", "error"]
            await bench.crash()
            await bench.start()
        many = [
            call_letter(10 + number, status=0, error_type=f"E{number}")
            for number in range(2 * MOST_ERROR_TYPES)
        ]
        await buried(bench, *many)
        admin = bench.queue.admin
        assert (await admin.letter_groups(EVERYTHING)).total <= MOST_ERROR_TYPES + 3
        assert await admin.count_letters(LetterFilter(error="error:other")) >= MOST_ERROR_TYPES
        assert await admin.count_letters(LetterFilter(error="error:ValueError")) == 2

    simulate(test)


def test_all_of_a_call_is_shown() -> None:
    """Its last error, its runs with what each came to, and what the queue does not know."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1, attempts=5))
        detail = await bench.queue.admin.letter(name(1))
        assert detail is not None
        assert detail.detail == "no such card"
        assert [(one.attempt, one.status, one.error) for one in detail.history] == [
            (5, 200, "permanent_error")
        ]
        assert detail.call is not None
        assert (detail.call.application, detail.call.version) == ("shop", "v1")
        assert (detail.call.error_type, detail.call.correlation) == ("ValueError", 7)
        assert (detail.call.expiration_ms, detail.call.timeout_ms) == (86_400_000, 1500)

    simulate(test)


def test_dead_call_is_no_message() -> None:
    """`/v1/messages` knows nothing of it."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1))
        admin = bench.queue.admin
        assert await admin.message(name(1)) is None
        assert await admin.explain(name(1)) is None
        assert await admin.cancel(name(1)) is Cancelled.UNKNOWN
        assert list(bench.queue.dead_letters.call_ids()) == [call_id(1)]

    simulate(test)


def test_redrive_brings_calls_back_beside_messages() -> None:
    """Each its own way; the letters of both are gone, also after a crash."""

    async def test(bench: Bench) -> None:
        sent = await dead_message(bench)
        await buried(bench, call_letter(1), call_letter(2))
        service = bench.queue.redriver.calls.reviver = MemoryCalls()
        assert await bench.queue.admin.redrive([name(1), sent, name(9)]) == Moved(2, [name(9)])
        await asyncio.sleep(0.1)
        assert [one.wire_id.decode() for one in bench.deliverer.flying] == [sent]
        assert service.there.keys() == {call_id(1)}
        assert service.there[call_id(1)].body == b"input of 1"
        assert bench.queue.redriver.redriven_total == 2
        await bench.crash()
        await bench.start()
        assert [one for one, _ in bench.queue.dead_letters] == [call_id(2)]

    simulate(test)


def test_redrive_without_a_function_service_leaves_calls_and_names_them() -> None:
    """Messages that were meant too go all the same."""

    async def test(bench: Bench) -> None:
        await dead_message(bench)
        await buried(bench, call_letter(1))
        assert await bench.queue.admin.redrive(EVERYTHING) == Moved(1, [], (), (name(1),))
        assert await bench.queue.admin.redrive([name(1)]) == Moved(0, [], (), (name(1),))
        assert call_id(1) in bench.queue.dead_letters
        assert not bench.queue.redriver.is_busy

    simulate(test)


def test_call_that_cannot_be_revived_stays() -> None:
    """Refused, or by a mistake that is told; the next try may do it."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1), call_letter(2))
        service = bench.queue.redriver.calls.reviver = MemoryCalls()
        service.refusal = DISK_FULL
        with pytest.raises(Refused) as refused:
            await bench.queue.admin.redrive([name(1)])
        assert refused.value.refusal is DISK_FULL
        service.refusal = None
        service.error = RuntimeError("a mistake")
        with pytest.raises(Refused) as refused:
            await bench.queue.admin.redrive([name(1)])
        assert refused.value.refusal is CALL_NOT_REVIVED
        assert [task for task, _ in bench.notes.deaths] == ["redriven calls"]
        assert len(bench.queue.dead_letters) == 2
        service.error = None
        assert await bench.queue.admin.redrive(EVERYTHING) == Moved(2, [])
        assert not bench.queue.redriver.is_busy

    simulate(test)


def test_call_is_taken_away_by_one_at_a_time() -> None:
    """A purge that comes while it is being revived finds nothing to do."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1))
        service = bench.queue.redriver.calls.reviver = MemoryCalls()
        service.takes_s = 2
        redriving = asyncio.create_task(bench.queue.admin.redrive([name(1)]))
        await asyncio.sleep(1)
        assert await bench.queue.admin.purge([name(1)]) == Moved(0, [name(1)])
        assert await redriving == Moved(1, [])
        assert service.asked == [call_id(1)]

    simulate(test)


def test_call_that_dies_again_at_once_has_a_letter_again() -> None:
    """Also where that is before the record that removes the first letter is durable, which would
    take the second one too."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1))
        told: list[str] = []

        class FailsAtOnce(MemoryCalls):
            async def revive(self, letter: CallLetter) -> None:
                await super().revive(letter)
                bench.queue.dead_letters.bury_call(
                    call_letter(1, detail="again"), lambda: told.append("durable")
                )

        bench.queue.redriver.calls.reviver = FailsAtOnce()
        assert await bench.queue.admin.redrive([name(1)]) == Moved(1, [])
        await asyncio.sleep(1)
        assert told == ["durable"]
        await bench.crash()
        await bench.start()
        (kept,) = await bench.queue.dead_letters.read([call_id(1)])
        assert isinstance(kept, CallLetter)
        assert kept.detail == "again"

    simulate(test)


def test_letter_of_a_call_that_was_being_redriven_is_dropped_at_the_next_start() -> None:
    """The call exists; without this it would be there twice."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1), call_letter(2))
        await bench.crash()
        await bench.open()
        await reconcile_calls(bench.queue.dead_letters, lambda one: one == call_id(1))
        bench.queue.start(bench.deliverer)
        assert [one for one, _ in bench.queue.dead_letters] == [call_id(2)]
        await asyncio.sleep(1)
        await bench.crash()
        await bench.start()
        assert [one for one, _ in bench.queue.dead_letters] == [call_id(2)]

    simulate(test)


def test_calls_are_purged_and_dropped_by_retention() -> None:
    """As messages are; of a call nothing is written to the transaction log."""

    async def test(bench: Bench) -> None:
        await buried(bench, call_letter(1), call_letter(2))
        before = len(bench.log.records)
        assert await bench.queue.admin.purge([name(1)]) == Moved(1, [])
        assert len(bench.log.records) == before
        await asyncio.sleep(3_700)
        assert not len(bench.queue.dead_letters)
        assert bench.notes.dropped == [(1, "age")]
        await bench.crash()
        await bench.start()
        assert not len(bench.queue.dead_letters)

    simulate(test, retention=RetentionPolicy(max_age_ms=3_600_000))


def test_call_waits_for_space_and_is_told_then() -> None:
    """It is not lost, and its input is not kept in memory meanwhile."""

    async def test(bench: Bench) -> None:
        bench.dead_log.space = Space.RESERVE
        told: list[str] = []
        for number in range(1, 4):
            letter = call_letter(number, body=LARGE)
            bench.queue.dead_letters.bury_call(letter, lambda: told.append("durable"))
        await asyncio.sleep(20)
        assert not told
        bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(60)
        assert len(told) == 3
        assert len(bench.queue.dead_letters) == 3

    simulate(test)


def test_dead_calls_are_exported_and_no_import_takes_them() -> None:
    """A line with the input; `test_api_carried` has the import."""

    async def test(bench: Bench) -> None:
        sent = await dead_message(bench)
        await buried(bench, call_letter(1, body=LARGE))
        found = [one async for one in bench.queue.carrying.everything(None)]
        assert [type(one) for one in found] == [Carried, CarriedCall]
        assert [one.id.decode() for one in found] == [sent, name(1)]
        line = b"".join([piece async for piece in write_line(found[1])])
        assert line.startswith(b'{"kind": "call", "state": "dead"')

    simulate(test)


def test_ids_say_what_they_are_of() -> None:
    """The top bit of the number, which is the first of its 16 digits."""
    assert all(is_call(call_id(number)) for number in (0, 1, 1 << 62, (1 << 63) - 1))
    assert not is_call(b"ffffffffffff7fffffffffffffff")
    assert is_call(b"0000000000008000000000000000")


def test_kinds_of_letters_are_told_apart() -> None:
    """What is read back is of the type that was written."""

    async def test(bench: Bench) -> None:
        sent = await dead_message(bench)
        await buried(bench, call_letter(1))
        found = await bench.queue.dead_letters.read([sent.encode(), call_id(1)])
        assert [type(one) for one in found] == [DeadLetter, CallLetter]

    simulate(test)
