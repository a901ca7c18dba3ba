"""The response to a message that wants it whole, or its start (`Message.answer_limit`).

Read as any other, but to its end, and kept: `Message.answer` is set just before the pool is told
that it is complete. A body above the limit is a broken response, and is not read any further. Small
ones are read as they come. A larger one first gets its room (`room`), and the connection is not
read from before that; a timeout that comes of this is not held against the destination.

Where only the start is wanted, what comes of the message does not depend on who wants it: nothing
is waited for, nothing is too large, and no more is read than of a response that nobody wants. A
body that is above the limit, or finds no room, is kept as far as it takes none.
"""

from __future__ import annotations

from typing import Final, Protocol

from dispatcher.core.answer import Answer
from dispatcher.core.message import Message
from dispatcher.core.room import Room, Rooms
from dispatcher.delivery.fields import Fields, members, read_pairs
from dispatcher.delivery.lenient import LenientReader
from dispatcher.delivery.progress import BODY_BYTES, START_BYTES, Progress
from dispatcher.delivery.response import Response

UNCOUNTED_BYTES: Final = 64 * 1024
"""An answer takes so much without asking: what a connection hands over in one piece or two."""

START_ROOMS_BYTES: Final = 64 * 1024 * 1024
"""What answers have together of which the start is wanted. It is not taken of the room of those
that are wanted whole: here callers may be slow to read theirs, and calls of functions would wait.
"""


class Tap(Protocol):
    """Who can stop the bytes from coming: the connection."""

    def pause(self) -> None:
        """Read nothing for now."""

    def resume(self) -> None:
        """Read on."""


class Collecting(Response):
    """The responses on a connection of which one, at least, was wanted whole; the others are read
    as `Response` does."""

    __slots__ = (
        "_begun",
        "_fault",
        "_is_start",
        "_message",
        "_most_bytes",
        "_pieces",
        "_room",
        "_rooms",
        "_size_bytes",
        "_start_rooms",
        "_tap",
    )

    def __init__(self, tap: Tap, rooms: Rooms, start_rooms: Rooms | None = None) -> None:
        self._tap = tap
        self._rooms = rooms
        self._start_rooms = start_rooms or Rooms(START_ROOMS_BYTES)
        self._room: Room | None = None
        self._message: Message | None = None
        super().__init__()

    def expect(self, *, head: bool) -> None:
        """Begin: the next bytes answer a request; see `want`."""
        super().expect(head=head)
        self._message = None
        self._is_start = False
        self._most_bytes = 0
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._begun = False
        self._fault = ""
        self.drop()

    def want(self, message: Message) -> None:
        """Keep the response that is expected, for this message."""
        self._usual = b""  # whose body was not kept
        self._message = message
        self._is_start = message.answer_limit < 0
        self._most_bytes = abs(message.answer_limit)
        message.answer = None

    def feed(self, data: bytes) -> Progress:
        """Take the next bytes."""
        return self._kept(super().feed(data))

    def end(self, *, clean: bool) -> Progress:
        """The connection ended."""
        return self._kept(super().end(clean=clean))

    def drop(self) -> None:
        """Nobody reads on: give the room back, also the one that is waited for."""
        room, self._room = self._room, None
        if room is not None:
            room.release()

    def _kept(self, progress: Progress) -> Progress:
        message = self._message
        if message is None:
            return progress
        if self.status and not self._begun:
            self._begin(self._most_bytes)
        if self._fault:
            self.problem = self._fault
            self._settle(message, is_whole=False)
            return Progress.BROKEN
        if progress is Progress.DONE:
            self._settle(message, is_whole=not self._is_cut)
        elif self._is_start:
            if progress is Progress.BROKEN and self.status:
                self._settle(message, is_whole=False)
        elif progress is Progress.MORE and self._size_bytes > UNCOUNTED_BYTES:
            self._ask_for_room(self._most_bytes)
        return progress

    def _begin(self, most_bytes: int) -> None:
        """The head has come."""
        self._begun = True
        fields = self._answer_fields()
        if self._head or b"content-length" not in fields or b"transfer-encoding" in fields:
            return
        length = members(fields, b"content-length")[0]
        if length.isdigit() and len(length) < 20:
            if self._is_start:
                if self._room is None and UNCOUNTED_BYTES < int(length) <= most_bytes:
                    self._room = self._start_rooms.take(int(length))
            elif int(length) > most_bytes:
                self._refuse(length.decode(), most_bytes)
            elif int(length) > UNCOUNTED_BYTES:
                self._ask_for_room(int(length))

    def _ask_for_room(self, size_bytes: int) -> None:
        if self._room is None:
            self._room = self._rooms.ask(size_bytes, self._tap.resume)
            if not self._room.is_granted:
                self._tap.pause()

    def _settle(self, message: Message, *, is_whole: bool) -> None:
        """Hand the answer over, and its room with it."""
        room, self._room = self._room, None
        if room is not None and not room.is_granted:
            self._tap.resume()  # the rest had come already
        body = b"".join(self._pieces) if is_whole or self._is_start else b""
        self._pieces = []
        fields = self._answer_fields()
        content_type = next(iter(fields.get(b"content-type", [])), b"")
        after = next(iter(fields.get(b"retry-after", [])), None)
        pairs = read_pairs(self._answer_lines()) if self._is_start else ()
        if room is not None and room.is_granted and is_whole:
            answer = Answer(
                self.status, content_type, after, body, is_whole, room.release, fields=pairs
            )
        else:
            answer = Answer(self.status, content_type, after, body, is_whole, fields=pairs)
            if room is not None:
                room.release()
        message.answer = answer
        self._message = None

    def _refuse(self, what: str, most_bytes: int) -> None:
        self._fault = f"the body of the response has {what} bytes, and {most_bytes} are the most"

    def _keep(self, piece: bytes) -> None:
        message = self._message
        if message is None or self._fault:
            return
        before = self._size_bytes
        self._size_bytes += len(piece)
        if self._is_start:
            self._keep_start(piece, before)
        elif self._size_bytes > self._most_bytes:
            self._pieces = []
            self._refuse("more", self._most_bytes)
        elif piece:
            self._pieces.append(piece)

    def _keep_start(self, piece: bytes, before: int) -> None:
        """Keep a piece of which `before` bytes came, where there is room, or as much of it as takes
        none."""
        size, most = self._size_bytes, self._most_bytes
        if self._room is None and before <= UNCOUNTED_BYTES < size <= most:
            self._room = self._start_rooms.take(most)
        room = self._room
        if room is not None and size > most:
            self._room = None
            self._pieces = [b"".join(self._pieces)[:UNCOUNTED_BYTES]]
            room.release()
        elif room is not None:
            self._pieces.append(piece)
        elif before < min(most, UNCOUNTED_BYTES):
            self._pieces.append(piece[: min(most, UNCOUNTED_BYTES) - before])
        if size > BODY_BYTES:
            self._body_bytes = size  # no more is read

    @property
    def _is_cut(self) -> bool:
        """Whether the body is longer than what is kept of it."""
        if not self._is_start:
            return False
        kept = sum(map(len, self._pieces))
        return kept < self._size_bytes or (self._lenient is not None and self._lenient.is_cut)

    # What differs from a response that is only counted.

    def on_body(self, data: bytes) -> None:
        """Keep it."""
        if self._message is None or self._done:
            super().on_body(data)
            return
        self._silent_bytes = 0
        self._keep(data)
        if self.status >= 300:
            self.start += data[: START_BYTES - len(self.start)]

    def _reader(self) -> LenientReader:
        if self._message is None:
            return super()._reader()
        self._pieces = []  # it begins anew, with the first byte
        self._size_bytes = 0
        return LenientReader(head=self._head, collect=self._keep, is_whole=not self._is_start)

    def _answer_lines(self) -> list[bytes]:
        return self._lines() if self._lenient is None else self._lenient.lines

    def _answer_fields(self) -> Fields:
        return self._fields() if self._lenient is None else self._lenient.fields
