"""Dead letters, looked through in slices."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.queue.admin import listing
from dispatcher.queue.admin.surface import LetterFilter
from dispatcher.testing.queue import Bench, simulate
from tests.unit.test_queue_admin import dead

EVERYTHING = LetterFilter()


def test_slices_grow_while_they_are_quick_and_shrink_when_they_are_not() -> None:
    """What a row takes depends on the machine and on what is asked; the loop is held as long."""
    assert listing._resized(128, 0.0001) == 256
    assert listing._resized(128, 0.0004) == 128
    assert listing._resized(128, 0.002) == 64
    assert listing._resized(1, 1.0) == 1
    assert listing._resized(8192, 0.0) == 8192


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
    monkeypatch.setattr(listing, "_FIRST_SLICE", 1)

    async def test(bench: Bench) -> None:
        ids = [await dead(bench, f"m{n}") for n in range(30)]
        admin = bench.queue.admin
        assert (await admin.purge(ids[4:9])).count == 5
        left = ids[:4] + ids[9:]
        for most in (1, 2, 7, 100):
            monkeypatch.setattr(listing, "_MOST_ROWS", most)
            for limit in (1, 5, 25, 26):
                found: list[str] = []
                cursor: int | None = 0
                while cursor is not None:
                    page = await admin.letters(EVERYTHING, cursor=cursor, limit=limit)
                    found += [item.id for item in page.items]
                    cursor = page.next_cursor
                assert found == left

    simulate(test)


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
