"""One connection between two processes: questions and answers, streams, both ways.

    connection ─▶ (hello of each side) open ─▶ lost: what was asked is `Broken`, streams break

All frames of a turn of the loop leave in one write. What was asked in the turn in which the link
was lost had not left: that is `NotConnected`, as what is asked afterwards.

Each side says now and then that it lives. One that says nothing for `_SILENT_TURNS` of these turns
hangs, or is cut off; the link is closed then. It is turns of this side's loop that count: who was
stopped itself finds what came meanwhile before it counts on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from dispatcher.errors import DispatcherError
from dispatcher.peers.errors import Broken, LinkMisused, NotConnected
from dispatcher.peers.frames import MOST_BYTES, Frame, Frames, Type, head_of
from dispatcher.peers.hello import Hello, read_hello
from dispatcher.peers.refusing import read_refused
from dispatcher.peers.serving import FAILED, Question, Table
from dispatcher.peers.streams import Stream
from dispatcher.telemetry.supervisor import Died

# A member of an enum that is looked up costs as much as the frame around it.
_ANSWER: Final = Type.ANSWER
_ASK: Final = Type.ASK
_FAILED: Final = Type.FAILED
_CANCEL: Final = Type.CANCEL
_OPEN: Final = Type.OPEN
_TELL: Final = Type.TELL
MOST_UNSENT_BYTES: Final = 64 * 1024 * 1024
"""That the other side has not read. Beyond that nothing more is asked."""
_HIGH_WATER_BYTES: Final = 1024 * 1024
PING_S: Final = 2.0
_SILENT_TURNS: Final = 8
MOST_ASKED: Final = 32768
"""Questions under way at once, of this side: more wait where they are."""
_MOST_QUESTIONS: Final = 2 * MOST_ASKED
"""Under way at once, of the other side: more is no program's doing."""


class Waiter(Protocol):
    """Who asked: one of these is called, once."""

    def answered(self, payload: bytes) -> None:
        """This is the answer."""

    def failed(self, error: DispatcherError) -> None:
        """There is none: `Refused` or `Failed`, as the other side says; `NotConnected`: it was not
        asked; `Broken`: nobody knows."""


class Owner(Protocol):
    """Who made the link."""

    def made(self, link: Link) -> None:
        """There is a connection; `lost` will be called."""

    def greeted(self, link: Link, hello: Hello) -> bool:
        """The other side has said who it is: the link is open, unless this says no."""

    def lost(self, link: Link, reason: str) -> None:
        """The link is closed: what was under way on it has been told. Called once."""

    def misused(self, link: Link, reason: str) -> None:
        """The other side sent what it should not; `lost` follows."""


class Link(asyncio.Protocol):
    """One connection; `hello` is the other side's, None before it came."""

    def __init__(
        self, me: Hello, table: Table, owner: Owner, *, has_connected: bool, died: Died
    ) -> None:
        """`has_connected` on the side that did; `died` is told of handlers that raise."""
        self._me = me
        self._table = table
        self._owner = owner
        self._died = died
        self._next_number = 1 if has_connected else 2
        self.hello: Hello | None = None
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._waiters: dict[int, Waiter] = {}
        self._unsent: list[int] = []  # numbers of questions that have not left
        self._questions: dict[int, Question] = {}
        self._streams: dict[int, Stream] = {}
        self._is_congested = False
        self._silent_turns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""

    def __repr__(self) -> str:
        if self._transport is None:
            return "<Link: closed>"
        who = "unknown" if self.hello is None else f"process {self.hello.process}"
        return f"<Link with {who}: {len(self._waiters)} asked, {len(self._streams)} streams>"

    @property
    def is_open(self) -> bool:
        """Whether the other side is there and has said who it is."""
        return self._transport is not None and self.hello is not None

    # Asking.

    def ask(self, kind: int, payload: bytes, waiter: Waiter) -> int:
        """Ask something; return the number for `cancel`.

        Raises:
            NotConnected: it can't be asked now; the waiter is not told.
            ValueError: the payload is larger than a frame may be.
        """
        number = self._begin(payload)
        self._waiters[number] = waiter
        self._unsent.append(number)
        self.send(_ASK, kind, number, payload)
        return number

    def cancel(self, number: int) -> None:
        """Wait no more; the waiter is told nothing, and what was asked may be done. Idempotent."""
        if self._waiters.pop(number, None) is not None:
            self.send(_CANCEL, 0, number, b"")

    def tell(self, kind: int, payload: bytes) -> None:
        """Say something that nobody answers; where it gets lost nobody knows.

        Raises:
            NotConnected, ValueError: as `ask`.
        """
        self.send(_TELL, kind, self._begin(payload), payload)

    def open(self, kind: int, payload: bytes) -> Stream:
        """Begin a stream.

        Raises:
            NotConnected, ValueError: as `ask`.
        """
        number = self._begin(payload)
        stream = self._stream(kind, number, payload)
        self.send(_OPEN, kind, number, payload)
        return stream

    def _begin(self, payload: bytes) -> int:
        """The number of what is begun on this side."""
        transport = self._transport
        if transport is None or self.hello is None or transport.is_closing():
            raise NotConnected("The other process is not connected.")
        if self._is_congested and transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            raise NotConnected("The other process reads too slowly.")
        if len(self._waiters) + len(self._streams) >= MOST_ASKED:
            raise NotConnected("The other process answers too slowly.")
        if len(payload) > MOST_BYTES:
            raise ValueError(f"a payload of {len(payload)} bytes, and {MOST_BYTES} are the most")
        number = self._next_number
        self._next_number += 2
        return number

    def _stream(self, kind: int, number: int, payload: bytes) -> Stream:
        assert self.hello is not None
        stream = self._streams[number] = Stream(
            kind,
            number,
            payload,
            process=self.hello.process,
            send=self.send,
            forget=self._forget_stream,
        )
        return stream

    def _forget_stream(self, number: int) -> None:
        self._streams.pop(number, None)

    # Writing.

    def send(self, type_: Type, kind: int, number: int, payload: bytes) -> None:
        """Have a frame leave at the end of this turn of the loop; nothing happens when the link is
        closed."""
        out = self._out
        if self._transport is None:
            return
        if not out:
            self._loop.call_soon(self._flush)
        out.append(head_of(type_, kind, number, len(payload)))
        if payload:
            out.append(payload)

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return  # what has not left is told so with the loss
        out, self._out = self._out, []
        if out:
            self._unsent.clear()
            transport.write(b"".join(out))

    def close(self, reason: str) -> None:
        """Close the link; `Owner.lost` follows in a later turn. Idempotent."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._reason = self._reason or reason
            transport.abort()

    # As an asyncio protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins with both hellos."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of its subclasses
        self._transport.set_write_buffer_limits(_HIGH_WATER_BYTES)
        self.send(Type.HELLO, 0, 0, self._me.encode())
        self._timer = self._loop.call_later(PING_S, self._tick)
        self._owner.made(self)

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        self._silent_turns = 0
        try:
            for frame in self._frames.feed(data):
                transport = self._transport
                if transport is None or transport.is_closing():
                    return
                self._take(frame)
        except LinkMisused as error:
            self._owner.misused(self, str(error))
            self.close(str(error))

    def _take(self, frame: Frame) -> None:
        try:
            self._pass_on(frame)
        except LinkMisused:
            raise
        except Exception as error:  # of who was told: the link is all the others' too
            self._died("peer", error)

    def pause_writing(self) -> None:
        """The other side does not read as fast."""
        self._is_congested = True

    def resume_writing(self) -> None:
        """It has."""
        self._is_congested = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all who wait. In one go: what they do then finds no link."""
        reason = self._reason or ("closed by the other side" if exc is None else str(exc))
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._out = []
        unsent, self._unsent = {*self._unsent}, []
        waiters, self._waiters = self._waiters, {}
        questions, self._questions = self._questions, {}
        streams, self._streams = self._streams, {}
        broken = Broken(f"The connection to the other process was lost: {reason}.")
        not_asked = NotConnected(f"The connection to the other process was lost: {reason}.")
        for number, waiter in waiters.items():
            self._tell(waiter.failed, not_asked if number in unsent else broken)
        for question in questions.values():
            self._tell(question.lose, broken)
        for stream in streams.values():
            self._tell(stream.lose, broken)
        self._owner.lost(self, reason)

    def _tell(self, tell: Callable[[DispatcherError], None], error: DispatcherError) -> None:
        try:
            tell(error)
        except Exception as failure:  # of one who waited: the others are told all the same
            self._died("peer", failure)

    # What comes.

    def _pass_on(self, frame: Frame) -> None:
        type_, kind, number, payload = frame
        if self.hello is None:
            self._greet(frame)
        elif type_ == _ANSWER:
            waiter = self._waiters.pop(number, None)
            if waiter is not None:
                waiter.answered(payload)
        elif type_ == _ASK:
            self._asked(kind, number, payload)
        elif type_ == _FAILED:
            waiter = self._waiters.pop(number, None)
            if waiter is not None:
                waiter.failed(read_refused(payload))
        elif type_ == _CANCEL:
            question = self._questions.pop(number, None)
            if question is not None:
                question.cancel()
        elif type_ == _OPEN:
            self._opened(kind, number, payload)
        elif type_ == _TELL:
            self._table.note(kind, self.hello.process, payload)
        else:
            stream = self._streams.get(number)
            if stream is not None:
                stream.on_frame(type_, payload)

    def _greet(self, frame: Frame) -> None:
        type_, _, _, payload = frame
        if type_ != Type.HELLO:
            raise LinkMisused("the first frame is no hello")
        self.hello = read_hello(payload)
        if not self._owner.greeted(self, self.hello):
            self.close("it is not wanted")

    def _asked(self, kind: int, number: int, payload: bytes) -> None:
        if number in self._questions or len(self._questions) >= _MOST_QUESTIONS:
            raise LinkMisused("a question with a number that is taken, or one of too many")
        assert self.hello is not None
        question = self._questions[number] = Question(
            number,
            payload,
            process=self.hello.process,
            send=self.send,
            forget=self._questions.pop,
        )
        try:
            self._table.answer(kind, question)
        except Exception as error:
            self._died("peer", error)
            question.fail(FAILED)

    def _opened(self, kind: int, number: int, payload: bytes) -> None:
        if number in self._streams or len(self._streams) >= _MOST_QUESTIONS:
            raise LinkMisused("a stream with a number that is taken, or one of too many")
        stream = self._stream(kind, number, payload)
        try:
            self._table.accept(stream)
        except Exception as error:
            self._died("peer", error)
            stream.abort()

    def _tick(self) -> None:
        self._silent_turns += 1
        if self._silent_turns > _SILENT_TURNS:
            self.close("it says nothing")
            return
        self.send(Type.PING, 0, 0, b"")
        self._timer = self._loop.call_later(PING_S, self._tick)
