"""A stream between two processes: pieces both ways, each side with its end, as fast as whoever
reads takes them.

    open ─▶ pieces … end ─┐
            pieces … end ─┴▶ over       abort by either side, or a link that breaks: over at once

A write is one piece on the other side. Each side may have `CREDIT_BYTES` under way that were not
taken, and a piece more; what is written beyond that waits here, and `untaken_bytes` says how much
that is: whoever writes faster than is taken has to look at it, or `await send`.

Whoever reads gives an `Ear`, which is called back and says itself what it has taken, or iterates.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from dispatcher.errors import DispatcherError, Refusal
from dispatcher.peers.errors import Failed, LinkMisused
from dispatcher.peers.frames import Type
from dispatcher.peers.refusing import encode_failure, encode_refusal, read_refused

CREDIT_BYTES: Final = 1024 * 1024
_CREDIT_STEP_BYTES: Final = CREDIT_BYTES // 8
"""What was taken is told in steps: small pieces would have a frame back for each."""
_ABORTED: Final = "The other side gave it up."

Send = Callable[[Type, int, int, bytes], None]


class Ear(Protocol):
    """Who hears what comes in a stream. Each call is made on the loop, and must not raise."""

    def came(self, data: bytes) -> None:
        """A piece; to be followed, then or later, by `Stream.take`."""

    def ended(self, payload: bytes) -> None:
        """The other side writes nothing more."""

    def went_on(self) -> None:
        """The other side has taken more of what was written."""

    def broken(self, error: DispatcherError) -> None:
        """It is over before its end: `Refused` or `Failed`, as the other side says, or `Broken`.
        Nothing follows."""


class Stream:
    """One end of a stream. `kind` and `payload` are what it was opened with, `process` is who is at
    the other end. `on_lost` is called when it breaks; whoever iterates may set it.

    As a context it is over at its end: given up, where that did not come by itself.
    """

    def __init__(
        self,
        kind: int,
        number: int,
        payload: bytes,
        *,
        process: int,
        send: Send,
        forget: Callable[[int], None],
    ) -> None:
        self.kind = kind
        self.number = number
        self.payload = payload
        self.process = process
        self._send_frame = send
        self._forget = forget
        self.on_lost: Callable[[], object] | None = None
        self._ear: Ear = _Queue(self)
        self._credit = CREDIT_BYTES
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._end: bytes | None = None  # what this side's end says
        self._has_ended = self._is_deaf = self.is_over = False
        self._untaken = 0  # of what came
        self._owed = 0  # of credit that is not told yet

    def __repr__(self) -> str:
        state = "over" if self.is_over else f"{self.untaken_bytes} bytes under way"
        return f"<Stream {self.number} of kind {self.kind} with process {self.process}: {state}>"

    def listen(self, ear: Ear) -> None:
        """Have an ear told what comes: in the turn in which the stream was opened."""
        self._ear = ear

    # Writing.

    @property
    def untaken_bytes(self) -> int:
        """Bytes that were written and that the other side has not taken."""
        return self._waiting_bytes + CREDIT_BYTES - self._credit

    @property
    def has_ended(self) -> bool:
        """Whether the other side may have read this side's end."""
        return self._has_ended

    def write(self, data: bytes) -> None:
        """Write a piece, which may be empty. Nothing happens when the stream is over."""
        assert self._end is None, "the stream was ended"
        if self.is_over:
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._pass_on()

    def end(self, payload: bytes = b"") -> None:
        """Write nothing more; `payload` is the last that is said. Idempotent."""
        if self._end is None and not self.is_over:
            self._end = payload
            self._pass_on()

    def abort(self, refusal: Refusal | None = None) -> None:
        """Give it up for both sides; what waits is dropped, and this side's ear is told nothing.
        Idempotent."""
        if not self.is_over:
            said = encode_failure(_ABORTED) if refusal is None else encode_refusal(refusal)
            self._send_frame(Type.ABORT, 0, self.number, said)
            self._close()

    def give_up(self) -> None:
        """Nobody here writes any more: `abort`, unless this side has ended. Idempotent."""
        if self._end is None:
            self.abort()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()

    async def send(self, data: bytes) -> None:
        """Write a piece, and wait until the other side has room for the next. Of one writer only,
        who does not `listen`.

        Raises:
            DispatcherError: as `Ear.broken`.
        """
        ear = self._ear
        assert isinstance(ear, _Queue)
        self.write(data)
        await ear.room()

    def _pass_on(self) -> None:
        waiting = self._waiting
        while waiting and self._credit > 0:
            piece = waiting.popleft()
            self._waiting_bytes -= len(piece)
            self._credit -= len(piece)
            self._send_frame(Type.DATA, 0, self.number, piece)
        if self._end is not None and not waiting and not self._has_ended:
            self._has_ended = True
            self._send_frame(Type.END, 0, self.number, self._end)
            self._look()

    # Reading.

    def take(self, size_bytes: int) -> None:
        """So many bytes of what came are done with: others may come in their place."""
        self._untaken -= size_bytes
        self._owed += size_bytes
        if self._owed >= _CREDIT_STEP_BYTES and not (self.is_over or self._is_deaf):
            owed, self._owed = self._owed, 0
            self._send_frame(Type.CREDIT, 0, self.number, owed.to_bytes(8, "little"))

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        """The next piece, until the other side has ended; what it said then is `last`.

        Raises:
            DispatcherError: as `Ear.broken`.
        """
        ear = self._ear
        assert isinstance(ear, _Queue)
        piece = await ear.next()
        if piece is None:
            raise StopAsyncIteration
        self.take(len(piece))
        return piece

    @property
    def last(self) -> bytes:
        """What the other side's end said, after the iteration."""
        ear = self._ear
        assert isinstance(ear, _Queue)
        return ear.last

    # As the link has it.

    def on_frame(self, type_: int, payload: bytes) -> None:
        """A frame of this stream came.

        Raises:
            LinkMisused: there should have been none like it.
        """
        if type_ == Type.DATA:
            if self._is_deaf or self._untaken >= CREDIT_BYTES:
                raise LinkMisused("more of a stream than was asked for")
            self._untaken += len(payload)
            self._ear.came(payload)
        elif type_ == Type.CREDIT:
            self._credit += int.from_bytes(payload[:8], "little")
            if self._credit > CREDIT_BYTES:
                raise LinkMisused("more of a stream was taken than was written")
            self._pass_on()
            self._ear.went_on()
        elif type_ == Type.END:
            self._is_deaf = True
            self._look()
            self._ear.ended(payload)
        elif type_ == Type.ABORT:
            self.lose(read_refused(payload))

    def lose(self, error: DispatcherError) -> None:
        """It is over before its end."""
        if not self.is_over:
            self._close()
            self._ear.broken(error)
            if self.on_lost is not None:
                self.on_lost()

    def _look(self) -> None:
        if self._has_ended and self._is_deaf and not self.is_over:
            self._close()

    def _close(self) -> None:
        self.is_over = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._forget(self.number)


class _Queue:
    """The ear of who iterates; what waits in it is bounded by the credit."""

    __slots__ = ("_came", "_error", "_has_ended", "_stream", "_woken", "last")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._came: deque[bytes] = deque()
        self._has_ended = False
        self._error: DispatcherError | None = None
        self._woken = asyncio.Event()
        self.last = b""

    def came(self, data: bytes) -> None:
        """See `Ear`."""
        self._came.append(data)
        self._woken.set()

    def ended(self, payload: bytes) -> None:
        """See `Ear`."""
        self.last = payload
        self._has_ended = True
        self._woken.set()

    def went_on(self) -> None:
        """See `Ear`."""
        self._woken.set()

    def broken(self, error: DispatcherError) -> None:
        """See `Ear`."""
        self._error = error
        self._woken.set()

    async def next(self) -> bytes | None:
        """The next piece; None: there is none after the last."""
        while True:
            if self._came:
                return self._came.popleft()
            if self._has_ended:
                return None
            await self._wait()

    async def room(self) -> None:
        """Wait until something may be written without waiting here."""
        while self._stream.untaken_bytes >= CREDIT_BYTES:
            await self._wait()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        if self._stream.is_over:
            raise Failed("The stream was given up.")
        self._woken.clear()
        await self._woken.wait()
