"""Dead letters, looked through in slices."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.destination import Destination
from dispatcher.core.terms import Terms
from dispatcher.queue.admin import listing, matching
from dispatcher.queue.admin.surface import LetterFilter
from dispatcher.testing.queue import Bench, failed, message, simulate
from tests.unit.test_queue_admin import dead

EVERYTHING = LetterFilter()


def test_slices_grow_while_they_are_quick_and_shrink_when_they_are_not() -> None:
    """What a row takes depends on the machine and on what is asked; the loop is held as long."""
    assert matching._resized(128, 0.00005) == 256
    assert matching._resized(128, 0.00015) == 128
    assert matching._resized(128, 0.001) == 64
    assert matching._resized(1, 1.0) == 1
    assert matching._resized(8192, 0.0) == 8192


def test_the_largest_groups_are_told_with_the_number_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many there are: putting a hundred thousand in order would hold the loop."""
    monkeypatch.setattr(listing, "MOST_GROUPS", 3)
    monkeypatch.setattr(listing, "_GROUPS", 2)

    async def test(bench: Bench) -> None:
        for number in range(8):
            for _ in range(number + 1):
                await dead(bench, to=f"host{number}.example")
        groups = await bench.queue.admin.letter_groups(EVERYTHING)
        assert [(one.destination, one.count) for one in groups.items] == [
            ("http://host7.example", 8),
            ("http://host6.example", 7),
            ("http://host5.example", 6),
        ]
        assert groups.total == 8

    simulate(test)


def test_pages_are_the_same_however_large_slices_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each letter once, the next page from where the last one ended, with gaps in between."""
    monkeypatch.setattr(matching, "_FIRST_SLICE", 1)

    async def test(bench: Bench) -> None:
        ids = [await dead(bench, f"m{n}") for n in range(30)]
        admin = bench.queue.admin
        assert (await admin.purge(ids[4:9])).count == 5
        left = ids[:4] + ids[9:]
        for most in (1, 2, 7, 100):
            monkeypatch.setattr(matching, "_MOST_ROWS", most)
            for limit in (1, 5, 25, 26):
                found: list[str] = []
                cursor: int | None = 0
                while cursor is not None:
                    page = await admin.letters(EVERYTHING, cursor=cursor, limit=limit)
                    found += [item.id for item in page.items]
                    cursor = page.next_cursor
                assert found == left

    simulate(test)


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (LetterFilter(target="/a/"), [0, 2, 5]),
        (LetterFilter(target="/a/2"), [2]),
        (LetterFilter(method="PUT"), [1, 2]),
        (LetterFilter(order_key="k"), [3, 4]),
        (LetterFilter(order_key="k", target="/b"), [4]),
        (LetterFilter(target="/a/", destination="http://b.example"), [5]),
        (LetterFilter(method="GET"), []),
        (LetterFilter(reason="rejected", method="PUT"), [1, 2]),
        (LetterFilter(reason="expired"), []),
    ],
)
@pytest.mark.parametrize("budget", [1, 1000])
def test_letters_are_found_by_what_is_in_their_records(
    monkeypatch: pytest.MonkeyPatch, which: LetterFilter, found: list[int], budget: int
) -> None:
    """Alone and with what the index knows; a page that had to read too much ends, and the next one
    goes on where it ended."""
    monkeypatch.setattr(listing, "MOST_READ", budget)
    monkeypatch.setattr(matching, "READ_MOST", 2)

    async def test(bench: Bench) -> None:
        ids = [
            await dying(bench, "POST /a/0"),
            await dying(bench, "PUT /b/1"),
            await dying(bench, "PUT /a/2"),
            await dying(bench, "POST /c/3", order_key="k"),
            await dying(bench, "POST /b/4", order_key="k"),
            await dying(bench, "POST /a/5", to="b.example"),
        ]
        admin = bench.queue.admin
        seen: list[str] = []
        cursor: int | None = 0
        while cursor is not None:
            page = await admin.letters(which, cursor=cursor, limit=2)
            seen += [item.id for item in page.items]
            cursor = page.next_cursor
        assert [ids.index(one) for one in seen] == found
        assert await admin.count_letters(which) == len(found)
        assert (await admin.purge(which)).count == len(found)
        assert (await admin.letters(EVERYTHING, cursor=0, limit=9)).items == [
            one.letter for key in ids if (one := await admin.letter(key))
        ]

    simulate(test)


async def dying(bench: Bench, request: str, *, to: str = "a.example", order_key: str = "") -> str:
    """Accept a message that dies at once; returns its id."""
    sent = message(to=Destination.parse(to))
    sent.head = request.encode() + sent.head[sent.head.index(b" HTTP/") :]
    if order_key:
        sent.terms = Terms(order_key=order_key)
    bench.queue.intake.accept(sent, bench.receipts.one())
    await asyncio.sleep(0.01)
    message_id = sent.wire_id.decode()
    flying = next(one for one in bench.deliverer.flying if one.wire_id.decode() == message_id)
    bench.end(flying, failed(404))
    await asyncio.sleep(0.01)
    return message_id


def test_letters_are_purged_in_portions_with_rests_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand at once would hold the loop for several milliseconds."""
    monkeypatch.setattr("dispatcher.queue.admin.operating._PURGED_AT_ONCE", 10)

    async def test(bench: Bench) -> None:
        ids = [await dead(bench, f"m{n}") for n in range(35)]
        sizes: list[int] = []
        redriver = bench.queue.redriver
        purge = redriver.purge

        async def counted(some: list[bytes]) -> list[bytes]:
            sizes.append(len(some))
            return await purge(some)

        monkeypatch.setattr(redriver, "purge", counted)
        purging = asyncio.create_task(bench.queue.admin.purge(ids))
        assert (await purging).count == 35
        assert sizes == [10, 10, 10, 5]

    simulate(test)
