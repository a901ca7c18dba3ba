"""What operators see of dead letters: pages, groups, one of them."""

from __future__ import annotations

import heapq
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Final

from dispatcher.errors import LogCorrupt
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import (
    MOST_GROUPS,
    InMemory,
    LetterDetail,
    LetterFilter,
    LetterGone,
    LetterGroup,
    LetterGroups,
    LetterPage,
    LetterView,
)
from dispatcher.queue.admin.views import letter_detail, letter_view
from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.records.kinds import RecordError

_SLICE_SECONDS: Final = 0.0005
_FIRST_SLICE = 128
_MOST_ROWS: Final = 8192
"""Rows are looked at in slices of about half a millisecond; how many those are is found out."""
_GROUPS = 500
"""Groups that are put in order before others get their turn."""
_READ_BYTES = 1024 * 1024
_READ_MOST = 4
"""What is read of dead letters at once, and thrown away but for what a list shows."""
_READ_PART: Final = 0.5


class Listing:
    """Looks at the dead letters of one partition, and changes nothing."""

    def __init__(self, dead_letters: DeadLetters, pace: Pace) -> None:
        self._dead_letters = dead_letters
        self._pace = pace

    async def page(self, which: LetterFilter, *, cursor: int, limit: int) -> LetterPage:
        """See `Admin.letters`."""
        letters = self._dead_letters.letters
        ids: list[bytes] = []
        ordinal = cursor
        async for rows in self._slices(which, cursor):
            room = limit - len(ids)
            for row in rows[:room]:
                ids.append(letters.id(row))
                ordinal = letters.ordinal[row]
            if len(rows) > room:
                return LetterPage(await self._read(ids), ordinal)
        return LetterPage(await self._read(ids), None)

    async def groups(self, which: LetterFilter) -> LetterGroups:
        """See `Admin.letter_groups`."""
        letters = self._dead_letters.letters
        found: dict[tuple[str, int, int, int], list[int]] = {}
        async for rows in self._slices(which):
            for row in rows:
                dead_at = letters.dead_at[row]
                group = found.get(key := letters.cause_key(row))
                if group is None:
                    group = found[key] = [0, 0, dead_at, dead_at]
                group[0] += 1
                group[1] += letters.body_sizes[row]
                group[3] = dead_at
        every = list(found.items())
        largest: list[tuple[tuple[str, int, int, int], list[int]]] = []
        for start in range(0, len(every), _GROUPS):
            if start:
                await self._pace.rest()
            some = [*largest, *every[start : start + _GROUPS]]
            largest = heapq.nlargest(MOST_GROUPS, some, key=lambda one: one[1][0])
        groups = []
        for key, figures in largest:
            cause = letters.cause(key)
            groups.append(
                LetterGroup(
                    cause.destination,
                    cause.status,
                    cause.error,
                    cause.reason,
                    count=figures[0],
                    size_bytes=figures[1],
                    oldest_us=figures[2],
                    newest_us=figures[3],
                    kind=cause.kind,
                    function=cause.function,
                )
            )
        return LetterGroups(groups, len(every))

    async def one(self, message_id: str) -> LetterDetail | None:
        """See `Admin.letter`."""
        dead_letters = self._dead_letters
        key = message_id.encode("ascii")
        for letter in await dead_letters.read([key]):
            if letter.chunks is None:
                return letter_detail(letter, InMemory(letter.body))
            return letter_detail(letter, LetterBody(dead_letters, key, len(letter.chunks)))
        return None

    async def count(self, which: LetterFilter) -> int:
        """See `Admin.count_letters`."""
        count = 0
        async for rows in self._slices(which):
            count += len(rows)
        return count

    async def ids(self, which: LetterFilter) -> list[bytes]:
        """The ids of all that match."""
        letters = self._dead_letters.letters
        found: list[bytes] = []
        async for rows in self._slices(which):
            found += map(letters.id, rows)
        return found

    def missing(self, ids: Sequence[str]) -> Sequence[str]:
        """See `Admin.missing_letters`."""
        dead_letters = self._dead_letters
        return [one for one in ids if one.encode("ascii") not in dead_letters]

    def _slices(self, which: LetterFilter, after: int = 0) -> AsyncIterator[list[int]]:
        return matching_rows(self._dead_letters.letters, which, self._pace.rest, after)

    async def _read(self, ids: list[bytes]) -> list[LetterView]:
        """What is shown of letters, read a few at a time: their bodies are read too."""
        letters = self._dead_letters.letters
        found: list[LetterView] = []
        portion: list[bytes] = []
        portion_bytes = 0
        for message_id in ids:
            row = letters.find(message_id)  # now: others remove letters during a read, rows change
            size = letters.sizes[row] if row >= 0 else 0
            if len(portion) == _READ_MOST or (portion and portion_bytes + size > _READ_BYTES):
                found += await self._views(portion)
                await self._pace.rest(part=_READ_PART)
                portion, portion_bytes = [], 0
            portion.append(message_id)
            portion_bytes += size
        return found + await self._views(portion)

    async def _views(self, ids: list[bytes]) -> list[LetterView]:
        """These letters; of one that cannot be read, what the index knows."""
        try:
            return [letter_view(letter) for letter in await self._dead_letters.read(ids)]
        except (LogCorrupt, RecordError):
            if len(ids) > 1:
                return [view for one in ids for view in await self._views([one])]
        letters = self._dead_letters.letters
        row = letters.find(ids[0])
        return [_indexed(letters, row)] if row >= 0 else []


def _indexed(letters: Letters, row: int) -> LetterView:
    cause, dead_at = letters.cause(letters.cause_key(row)), letters.dead_at[row]
    return LetterView(
        id=letters.id(row).decode("ascii"),
        destination=cause.destination,
        method="",
        target="",
        accepted_at_us=dead_at,
        dead_at_us=dead_at,
        attempts=0,
        last_status=cause.status,
        last_error=cause.error,
        reason=cause.reason,
        size_bytes=letters.body_sizes[row],
        kind=cause.kind,
        function=cause.function,
    )


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


@dataclass(frozen=True, slots=True)
class LetterBody:
    """A large body, of which each piece is read when it is asked for, wherever it is by then."""

    dead_letters: DeadLetters
    key: bytes
    count: int

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(self.count):
            chunk = await self.dead_letters.read_chunk(self.key, number)
            if chunk is None:
                raise LetterGone
            yield chunk
