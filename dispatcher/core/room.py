"""Room for the bodies of answers: how much of them a process holds at once.

Whoever reads an answer asks for all the room that it will take, once, and reads on when it has it.
So an answer that was begun can always be ended, and answers never wait for one another in a circle.
Room is given in the order in which it was asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

MOST_BYTES: Final = 256 * 1024 * 1024
"""Sixteen of the largest answers."""


class Room:
    """Bytes that one answer has, or waits for. `is_granted`: it has them."""

    __slots__ = ("_granted", "_rooms", "is_granted", "size_bytes")

    def __init__(self, rooms: Rooms, size_bytes: int, granted: Callable[[], None]) -> None:
        self._rooms: Rooms | None = rooms
        self._granted = granted
        self.size_bytes = size_bytes
        self.is_granted = False

    def grant(self) -> None:
        """Let its owner go on."""
        self.is_granted = True
        self._granted()

    def release(self) -> None:
        """Give it back, or wait for it no more. Idempotent."""
        rooms, self._rooms = self._rooms, None
        if rooms is not None:
            rooms.take_back(self)


class Rooms:
    """All the room there is: `free_bytes` of it are not given to anybody."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        if most_bytes < 1:
            raise ValueError("there must be room for one byte at least")
        self.most_bytes = self.free_bytes = most_bytes
        self._waiting: deque[Room] = deque()

    def __repr__(self) -> str:
        return f"<Rooms: {self.free_bytes} of {self.most_bytes} bytes free>"

    def ask(self, size_bytes: int, granted: Callable[[], None]) -> Room:
        """Ask for so many bytes. Where they are there at once, the room is granted already;
        `granted` is called otherwise, later. More than there ever is counts as all of it."""
        room = Room(self, min(size_bytes, self.most_bytes), granted)
        if not self._waiting and room.size_bytes <= self.free_bytes:
            self.free_bytes -= room.size_bytes
            room.is_granted = True
        else:
            self._waiting.append(room)
        return room

    def take(self, size_bytes: int) -> Room | None:
        """So many bytes at once, or None: they are not there, or others wait for some."""
        if self._waiting or size_bytes > self.free_bytes:
            return None
        return self.ask(size_bytes, _nothing)

    def take_back(self, room: Room) -> None:
        """Somebody has ended, or gave up waiting."""
        if room.is_granted:
            self.free_bytes += room.size_bytes
        else:
            self._waiting.remove(room)
        while self._waiting and self._waiting[0].size_bytes <= self.free_bytes:
            first = self._waiting.popleft()
            self.free_bytes -= first.size_bytes
            first.grant()


def _nothing() -> None:
    """Nobody waits for it."""
