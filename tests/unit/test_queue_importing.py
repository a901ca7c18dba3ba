"""What is imported is stored, or refused, and whoever imports is told which."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dispatcher.core.calls import CallReason
from dispatcher.core.verdict import DeadReason
from dispatcher.errors import Refused
from dispatcher.queue.admin.surface import (
    AttemptView,
    CallDetail,
    Death,
    IncomingCall,
    LetterFilter,
)
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.records.ids import is_call
from dispatcher.queue.refusals import LETTERS_FULL
from dispatcher.testing.admin import whole
from dispatcher.testing.deadcalls import MemoryCalls
from dispatcher.testing.log import Space
from dispatcher.testing.queue import Bench, message, simulate

LARGE = [bytes([number]) * CHUNK_BYTES for number in range(3)]
ATTEMPT = AttemptView(1, 1, 5, 503, None, None)


def death(attempts: int = 1) -> Death:
    """Why an imported letter had been given up."""
    return Death(0, DeadReason.REJECTED.value, "why", b"no", attempts, [ATTEMPT] * attempts)


async def take(bench: Bench, body: list[bytes], *, name: str = "x", attempts: int = 1) -> None:
    """Import a letter."""
    sent = message(body=b"", name=name)
    sent.body_size = sum(map(len, body))
    await bench.queue.carrying.take(sent, body, death(attempts))


@pytest.mark.parametrize("body", [[], [b"hello"], LARGE])
def test_letter_that_is_imported_is_there_after_a_crash(body: list[bytes]) -> None:
    """With its body, in the dead-letter log alone, and its history."""

    async def test(bench: Bench) -> None:
        await take(bench, body)
        await bench.crash()
        await bench.start()
        admin = bench.queue.admin
        (letter,) = (await admin.letters(LetterFilter(), cursor=0, limit=10)).items
        detail = await admin.letter(letter.id)
        assert detail is not None
        assert await whole(detail.body) == b"".join(body)
        assert (letter.attempts, detail.detail, len(detail.history)) == (1, "why", 1)
        assert (await admin.redrive([letter.id])).count == 1
        assert bench.deliverer.flying[0].target == "/x"

    simulate(test)


@pytest.mark.parametrize("body", [[b"hello"], LARGE])
@pytest.mark.parametrize("seconds", [0.5, 1.5, 2.5, 3.5])
def test_import_that_fills_the_dead_letter_disk_is_answered(
    body: list[bytes], seconds: float
) -> None:
    """It waits for no space: stored later, a letter would be there twice once somebody went on.
    What of a large body was stored is let go of."""

    async def test(bench: Bench) -> None:
        bench.dead_log.append_s = 1.0
        taking = asyncio.create_task(take(bench, body))
        await asyncio.sleep(seconds)
        bench.dead_log.space = Space.RESERVE
        done, _ = await asyncio.wait([taking], timeout=60)
        assert done
        was_stored = taking.exception() is None
        if not was_stored:
            with pytest.raises(Refused, match="dead-letter log is full"):
                taking.result()
        bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(60)
        queue = bench.queue
        assert len(queue.dead_letters) == was_stored
        if not was_stored:
            assert all(not extent.live for extent in queue.dead_letters.holdings.extents)
        assert not queue.pending.uploads

    simulate(test)


def test_letter_whose_import_is_cancelled_while_its_record_is_on_its_way_keeps_its_body() -> None:
    """Whoever imports has gone; the letter is stored all the same, and whole."""

    async def test(bench: Bench) -> None:
        bench.dead_log.append_s = 1.0
        taking = asyncio.create_task(take(bench, LARGE))
        await asyncio.sleep(len(LARGE) + 0.5)  # all chunks are stored, and the record is not
        extents = bench.queue.dead_letters.holdings.extents
        assert extents.oldest.live == len(LARGE)
        taking.cancel()
        await asyncio.sleep(0)
        assert extents.oldest.live == len(LARGE)
        await asyncio.sleep(2)
        (letter,) = (await bench.queue.admin.letters(LetterFilter(), cursor=0, limit=10)).items
        detail = await bench.queue.admin.letter(letter.id)
        assert detail is not None
        assert await whole(detail.body) == b"".join(LARGE)
        assert extents.oldest.live == len(LARGE) + 1

    simulate(test)


def test_letter_is_refused_while_the_dead_letter_disk_does_not_answer() -> None:
    """It would be stored when somebody has sent it again already."""

    async def test(bench: Bench) -> None:
        bench.dead_log.append_s = 3600.0
        first = asyncio.create_task(take(bench, [b"hello"]))
        await asyncio.sleep(300)
        assert not first.done()
        with pytest.raises(Refused, match="does not answer"):
            await take(bench, [b"hello"])

    simulate(test)


def test_letters_imported_together_are_stored_up_to_one_and_no_further() -> None:
    """However the disks fill up meanwhile: an import goes on behind the last one stored."""
    for at in range(12):

        async def test(bench: Bench, at: int = at) -> None:
            for log in (bench.log, bench.dead_log):
                log.append_s = 0.01
            taken = [
                asyncio.create_task(take(bench, [bytes(100_000)], name=str(number)))
                for number in range(20)
            ]
            await asyncio.sleep(0.005 * at)
            bench.dead_log.space = Space.RESERVE
            await asyncio.sleep(0.02)
            bench.dead_log.space = Space.ENOUGH
            await asyncio.wait(taken)
            stored = [one.exception() is None for one in taken]
            assert stored == sorted(stored, reverse=True)

        simulate(test)


def test_import_into_a_log_that_fails_is_refused() -> None:
    """It is not left waiting."""

    async def test(bench: Bench) -> None:
        bench.dead_log.broken = True
        with pytest.raises(Refused):
            await take(bench, LARGE)

    simulate(test)


def test_letter_with_as_much_as_a_line_may_hold_fits_a_batch() -> None:
    """Else the log would end, and the process with it."""

    async def test(bench: Bench) -> None:
        await take(bench, [bytes(CHUNK_BYTES)], name="x" * 65_000, attempts=1001)
        assert len(bench.queue.dead_letters) == 1

    simulate(test)


@pytest.mark.parametrize("body", [[], [b"in"], LARGE])
def test_dead_call_that_is_imported_is_there_after_a_crash_and_can_be_redriven(
    body: list[bytes],
) -> None:
    """Under a new id, with its history; each time it is imported it is another one."""

    async def test(bench: Bench) -> None:
        service = bench.queue.redriver.calls.reviver = MemoryCalls()
        call = incoming()
        await bench.queue.carrying.take_call(call, body)
        await bench.queue.carrying.take_call(call, body)
        await bench.crash()
        await bench.start()
        bench.queue.redriver.calls.reviver = service
        admin = bench.queue.admin
        letters = (await admin.letters(LetterFilter(), cursor=0, limit=10)).items
        assert len({letter.id for letter in letters}) == 2
        assert all(is_call(letter.id.encode()) for letter in letters)
        detail = await admin.letter(letters[0].id)
        assert detail is not None
        assert await whole(detail.body) == b"".join(body)
        assert detail.call == call.call
        assert detail.detail == call.detail
        assert detail.history == call.history
        assert [letter.last_error for letter in letters] == ["error:ValueError"] * 2
        assert (await admin.redrive([letters[0].id])).count == 1
        (revived,) = service.there.values()
        assert (revived.function, revived.body) == ("charge", b"".join(body))
        assert revived.expiration_us == 86_400_000_000
        assert not bench.notes.deaths

    simulate(test)


@pytest.mark.parametrize("then", ["crash", "redrive", "purge"])
def test_dead_call_is_imported_once(then: str) -> None:
    """By the id that it had: also after a crash, or when it was redriven; not when its letter was
    purged, as nothing is left of it then."""

    async def test(bench: Bench) -> None:
        service = bench.queue.redriver.calls.reviver = MemoryCalls()
        call = replace(incoming(), copy_of="0000deadbeef8000000000000001")
        assert await bench.queue.carrying.take_call(call, [b"in"])
        (letter_id,) = bench.queue.dead_letters.call_ids()
        if then == "redrive":
            await bench.queue.admin.redrive([letter_id.decode()])
        elif then == "purge":
            await bench.queue.admin.purge([letter_id.decode()])
        await bench.crash()
        await bench.start()
        bench.queue.redriver.calls.reviver = service
        assert await bench.queue.carrying.take_call(call, [b"in"]) is (then == "purge")
        assert await bench.queue.carrying.take_call(call, [b"another"])
        assert not bench.notes.deaths

    simulate(test)


def test_dead_call_that_finds_no_space_is_refused() -> None:
    """It is not reported, and not there."""

    async def test(bench: Bench) -> None:
        bench.queue.redriver.calls.reviver = MemoryCalls()
        bench.dead_log.capacity_bytes = 0
        with pytest.raises(Refused) as refused:
            await bench.queue.carrying.take_call(incoming(), [b"in"])
        assert refused.value.refusal is LETTERS_FULL
        assert len(bench.queue.dead_letters) == 0

    simulate(test)


def incoming() -> IncomingCall:
    """A dead call that another server exported."""
    runs = [
        AttemptView(2, 1_704_067_200_000_000, 5, 503, "temporary_error", None),
        AttemptView(3, 1_704_067_200_000_001, 5, None, "unspecified", None),
        AttemptView(4, 1_704_067_200_000_002, 5, None, None, None),
    ]
    return IncomingCall(
        "http://apps.example:8000",
        "charge",
        CallDetail("shop", "v1", 7, 86_400_000, 1500, "ValueError"),
        reason=CallReason.FAILED,
        status=0,
        detail="no such card",
        attempts=4,
        history=runs,
    )
