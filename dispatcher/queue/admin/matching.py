"""Looking through the dead letters for those that somebody means.

Most of what can be asked for is in their index; for the rest their records are read, a few at a
time (`Run.read` says how many, so that who answers a request ends in time).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final

from dispatcher.errors import LogCorrupt
from dispatcher.queue.admin.pace import SLICE_US, Pace
from dispatcher.queue.admin.surface import LetterFilter
from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.records.either import AnyLetter
from dispatcher.queue.records.kinds import RecordError

_SLICE_SECONDS: Final = SLICE_US / 1_000_000
_FIRST_SLICE = 128
_MOST_ROWS: Final = 8192
"""Rows are looked at in slices of about that long; how many those are is found out."""
READ_BYTES: Final = 256 * 1024
READ_MOST: Final = 16
"""Records that are read at once, and looked at before others get their turn."""
_READ_PART: Final = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """Some of the letters that match, oldest first, and maybe none.

    `ids`       and `ordinals` of those that match.
    `end`       the ordinal behind which to go on.
    `read`, `read_bytes`  how many records were read for them, and what those take.
    """

    ids: list[bytes]
    ordinals: list[int]
    end: int
    read: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """What stays of a row when rows change."""

    id: bytes
    ordinal: int
    size_bytes: int


async def matching(
    dead_letters: DeadLetters, which: LetterFilter, pace: Pace, after: int = 0
) -> AsyncIterator[Run]:
    """Everything that matches, with ordinals above `after`. A letter that cannot be read is none of
    those that its record would have to be read for."""
    letters = dead_letters.letters
    async for rows in matching_rows(letters, which, pace.rest, after):
        if not which.needs_record:
            ordinals = [letters.ordinal[row] for row in rows]
            yield Run([*map(letters.id, rows)], ordinals, ordinals[-1] if ordinals else after)
            continue
        found = [_Row(letters.id(row), letters.ordinal[row], letters.sizes[row]) for row in rows]
        for some in _portions(found):
            read = await _read(dead_letters, [one.id for one in some])
            fitting = {letter.id for letter in read if which.fits(letter)}
            kept = [one for one in some if one.id in fitting]
            yield Run(
                [one.id for one in kept],
                [one.ordinal for one in kept],
                some[-1].ordinal,
                len(some),
                sum(one.size_bytes for one in some),
            )
            await pace.rest(part=_READ_PART)


def _portions(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Rows whose records are read together."""
    portion: list[_Row] = []
    size_bytes = 0
    for row in rows:
        size = min(row.size_bytes, READ_BYTES)  # of a large body the record has nothing
        if portion and (len(portion) == READ_MOST or size_bytes + size > READ_BYTES):
            yield portion
            portion, size_bytes = [], 0
        portion.append(row)
        size_bytes += size
    if portion:
        yield portion


async def _read(dead_letters: DeadLetters, ids: list[bytes]) -> list[AnyLetter]:
    """Those of these letters that are there and can be read."""
    try:
        return await dead_letters.read(ids)
    except (LogCorrupt, RecordError):
        if len(ids) == 1:
            return []
        return [letter for one in ids for letter in await _read(dead_letters, [one])]


async def matching_rows(
    letters: Letters,
    which: LetterFilter,
    rest: Callable[[], Coroutine[Any, Any, None]],
    after: int = 0,
    *,
    at_once: int | None = None,
) -> AsyncIterator[list[int]]:
    """The rows of letters that match, oldest first, a slice at a time; they are good until the
    reader awaits something. Others may add and remove letters meanwhile. `rest` is awaited between
    slices, which are of `at_once` rows; without that, as large as what is done for them permits.
    """
    ordinal = after
    size = at_once or _FIRST_SLICE
    matches_all = which == LetterFilter()
    while True:
        began = time.perf_counter()
        start = letters.first_after(ordinal)
        rows = range(start, min(start + size, letters.rows))
        if not rows:
            return
        ordinal = letters.ordinal[rows[-1]]
        alive = list(compress(rows, letters.are_alive(rows)))
        yield alive if matches_all else [row for row in alive if letters.fits(row, which)]
        if at_once is None:
            size = _resized(size, time.perf_counter() - began)
        await rest()


def _resized(size: int, took_s: float) -> int:
    """How many rows to look at next, where so many took so long."""
    if took_s > _SLICE_SECONDS:
        return max(size // 2, 1)
    return min(size * 2, _MOST_ROWS) if took_s < _SLICE_SECONDS / 2 else size
