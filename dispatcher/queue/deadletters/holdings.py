"""What is in the dead-letter log: rows, chunk records and extents, kept in step.

Every change of it goes through here; nothing here does I/O or decides anything.
"""

from __future__ import annotations

from array import array
from typing import Protocol

from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.pending.owned import owned_sizes
from dispatcher.queue.records.either import AnyLetter
from dispatcher.queue.records.letters import LetterFacts

Chunk = tuple[int, int]
"""Position and size of a chunk record."""


class Blocks(Protocol):
    """Whom letters with an order key keep waiting (`lanes.lines`)."""

    def block(self, letter_id: bytes, place: bytes, order_key: str) -> None:
        """There is a letter of an order key."""

    def unblock(self, letter_id: bytes) -> None:
        """A letter is gone."""


class Holdings:
    """`letters` are the rows, `chunks` the chunk records of large bodies by the letter's id."""

    __slots__ = ("_blocks", "chunks", "extents", "letters")

    def __init__(self, blocks: Blocks | None = None) -> None:
        """`blocks` is told of letters with an order key; None: nobody waits for them."""
        self._blocks = blocks
        self.letters = Letters()
        self.extents = Extents()
        self.chunks: dict[bytes, list[Chunk]] = {}

    def enter(self, letter: LetterFacts, position: int, size: int) -> None:
        """A dead letter's record of `size` bytes, noted before, is at `position`. One with the same
        id goes: it was copied forward, or is dead again after a redrive."""
        self._leave(letter.message_id)
        if self._blocks is not None and letter.order_key:
            self._blocks.block(letter.message_id, letter.destination, letter.order_key)
        self.extents.hold(position, size)
        if letter.chunks is not None:
            size += self._hold_chunks(letter.message_id, letter.chunks, letter.body_size)
        self.letters.add(letter, position, size)

    def forget(self, message_id: bytes) -> None:
        """A letter is not needed any more. Nothing happens when there is none."""
        self._leave(message_id)
        if self._blocks is not None:
            self._blocks.unblock(message_id)

    def _leave(self, message_id: bytes) -> None:
        row = self.letters.remove(message_id)
        if row >= 0:
            self._release(message_id, row)

    def has(self, letter: AnyLetter) -> bool:
        """Whether a letter is there: this one, and not that of a later death."""
        row = self.letters.find(letter.id)
        return row >= 0 and self.letters.redrives(row) == letter.redrives

    def move(self, letter: AnyLetter, position: int, size: int) -> None:
        """The record of a letter was copied to `position`, where it is held already; nothing
        happens, but that it is held no more, when the letter was removed meanwhile."""
        if not self.has(letter):
            self.extents.release(position, size)
            return
        row = self.letters.find(letter.id)
        self._release(letter.id, row)
        if letter.chunks is not None:
            self._hold_chunks(letter.id, array("Q", letter.chunks), letter.body_size)
        self.letters.moved(row, position)

    def _hold_chunks(self, message_id: bytes, positions: array[int], body_size: int) -> int:
        chunks = owned_sizes(positions, body_size)
        self.chunks[message_id] = chunks
        for position, size in chunks:
            self.extents.hold(position, size, message_id)
        return sum(size for _, size in chunks)

    def _release(self, message_id: bytes, row: int) -> None:
        size = self.letters.sizes[row]
        for position, chunk_bytes in self.chunks.pop(message_id, ()):
            self.extents.release(position, chunk_bytes, message_id)
            size -= chunk_bytes
        self.extents.release(self.letters.position[row], size)
