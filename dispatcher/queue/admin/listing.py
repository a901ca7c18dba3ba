"""What operators see of dead letters: pages, groups, one of them."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.errors import LogCorrupt
from dispatcher.queue.admin.matching import matching, matching_rows
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
from dispatcher.queue.records.either import AnyLetter
from dispatcher.queue.records.kinds import RecordError

_GROUPS = 500
"""Groups that are put in order before others get their turn."""
MOST_READ: Final = 4096
MOST_READ_BYTES: Final = 32 * 1024 * 1024
"""Records that are read to find what is on one page, about, and their bytes: then it ends early."""
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
        ids: list[bytes] = []
        ordinals: list[int] = []
        read = read_bytes = 0
        async for run in matching(self._dead_letters, which, self._pace, cursor):
            room = limit - len(ids)
            ids += run.ids[:room]
            ordinals += run.ordinals[:room]
            if len(run.ids) > room:
                return await self._page(ids, ordinals, ordinals[-1])
            read, read_bytes = read + run.read, read_bytes + run.read_bytes
            if read >= MOST_READ or read_bytes >= MOST_READ_BYTES:
                return await self._page(ids, ordinals, run.end)
        return await self._page(ids, ordinals, None)

    async def _page(
        self, ids: list[bytes], ordinals: list[int], next_cursor: int | None
    ) -> LetterPage:
        """What is still there of these."""
        items = await self._read(ids)
        known = dict(zip(ids, ordinals, strict=True))
        found = [known[item.id.encode("ascii")] for item in items]
        return LetterPage(items, next_cursor, found)

    async def groups(self, which: LetterFilter) -> LetterGroups:
        """See `Admin.letter_groups`: of what is in records only nothing is asked."""
        letters = self._dead_letters.letters
        found: dict[tuple[str, int, int, int], list[int]] = {}
        async for rows in matching_rows(letters, which, self._pace.rest):
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
            return letter_detail(letter, letter_body(dead_letters, letter))
        return None

    async def count(self, which: LetterFilter) -> int:
        """See `Admin.count_letters`."""
        count = 0
        if not which.needs_record:  # of a million ids are not made
            async for rows in matching_rows(self._dead_letters.letters, which, self._pace.rest):
                count += len(rows)
            return count
        async for run in matching(self._dead_letters, which, self._pace):
            count += len(run.ids)
        return count

    async def ids(self, which: LetterFilter) -> list[bytes]:
        """The ids of all that match."""
        found: list[bytes] = []
        async for run in matching(self._dead_letters, which, self._pace):
            found += run.ids
        return found

    def missing(self, ids: Sequence[str]) -> Sequence[str]:
        """See `Admin.missing_letters`."""
        dead_letters = self._dead_letters
        return [one for one in ids if one.encode("ascii") not in dead_letters]

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
        label=letters.label(row),
    )


def letter_body(dead_letters: DeadLetters, letter: AnyLetter) -> InMemory | LetterBody:
    """The body of a letter that was just read."""
    if letter.chunks is None:
        return InMemory(letter.body)
    return LetterBody(dead_letters, letter.id, len(letter.chunks))


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
