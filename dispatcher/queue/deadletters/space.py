"""The dead-letter log as something that can be compacted (`compaction.source.Source`).

A letter is appended again, with its large body, if it has one; nothing else is ever needed by
itself: a record that removes letters lies behind them.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from functools import partial

from dispatcher.errors import LogTrimmed
from dispatcher.queue.compaction.source import cost_with_wholes
from dispatcher.queue.deadletters.holdings import Holdings
from dispatcher.queue.deadletters.reading import Reading
from dispatcher.queue.deadletters.writing import Body, Writing
from dispatcher.queue.pending.extents import Extent, Extents, Owner
from dispatcher.queue.records.either import AnyLetter, encode_letter
from dispatcher.queue.records.kinds import OVERHEAD_BYTES
from dispatcher.queue.records.letters import UPTIME_BYTES

_SLICE = 10_000
"""Rows that are looked at before others get their turn: a millisecond."""
_ENDING_BYTES = 8
"""What a letter takes in a record that removes many, at most; half of it where many lie close
together."""


class LetterSpace:
    """A `Source`."""

    def __init__(self, holdings: Holdings, reading: Reading, writing: Writing) -> None:
        self._holdings = holdings
        self._letters = holdings.letters
        self._reading = reading
        self._writing = writing

    @property
    def extents(self) -> Extents:
        return self._holdings.extents

    @property
    def live_bytes(self) -> int:
        return self._letters.size_bytes

    @property
    def ending_bytes(self) -> int:
        return _ENDING_BYTES * len(self._letters)

    def cost_bytes(self, extent: Extent, counted: set[Owner]) -> int:
        return cost_with_wholes(
            extent, counted, bytes, lambda key: self._letters.sizes[self._letters.find(key)]
        )

    async def growth_bytes(self, extent: Extent) -> int:
        return UPTIME_BYTES * extent.live  # those of version 0.1 do not have it

    def tidy(self) -> bool:
        return self._letters.tidy()

    async def copy(self, extents: Sequence[Extent]) -> None:
        for message_id in await self._in(extents):
            await self.copy_letter(message_id)

    async def _in(self, extents: Sequence[Extent]) -> list[bytes]:
        """Ids of the letters with a record in these extents, which are the oldest. Looks through
        all rows, in slices: an index by position would cost each letter 8 bytes. Rows keep their
        numbers meanwhile, because nobody else tidies."""
        letters, end = self._letters, self._holdings.extents.before(extents[-1])
        rows = array("I")
        for start in range(0, letters.rows, _SLICE):
            stop = min(start + _SLICE, letters.rows)
            for row, position in enumerate(letters.position[start:stop], start):
                if position < end and letters.is_alive(row):
                    rows.append(row)
            await asyncio.sleep(0)
        found = dict.fromkeys(letters.id(row) for row in rows if letters.is_alive(row))
        for extent in extents:
            found.update((owner, None) for owner in extent.owners if isinstance(owner, bytes))
        return list(found)

    async def copy_letter(self, message_id: bytes) -> None:
        """Append a letter again, at the end of the log; return when it is durable.

        Copies keep their order with the record that removes letters: behind it, a letter would be
        there again. That one is made when the next batch is, so a copy that was submitted before
        the letter was removed lies before it.

        Raises:
            Refused: there is no space for copies now; the letter is where it was.
        """
        for letter in await self._reading.letters([message_id]):
            body = Body(self._writing, is_copy=True)
            try:
                if letter.chunks is not None:
                    read = partial(self._read, message_id)
                    letter = letter.with_chunks(await body.copy(letter.chunks, read))
                if self._holdings.has(letter):
                    await self._append(letter)
            except LogTrimmed:
                if self._holdings.has(letter):
                    raise
            finally:
                body.let_go()

    async def _append(self, letter: AnyLetter) -> None:
        payload = encode_letter(letter)
        position = await self._writing.submit(payload, is_copy=True)
        self._holdings.move(letter, position, len(payload) + OVERHEAD_BYTES)

    async def _read(self, message_id: bytes, number: int, position: int) -> bytes:
        data = await self._reading.chunk(message_id, number)
        if data is None:
            raise LogTrimmed(f"the dead letter of the chunk at {position} is gone")
        return data
