"""What a process answers: a table with a handler for each kind of question, stream and note.

A handler is a plain function, called as a frame is read; it answers at once or later. Where it has
to await, `Answering` runs it in a task of a supervisor: one that is cancelled when whoever asked
waits no more, or is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from dispatcher.errors import DispatcherError, Refusal, Refused
from dispatcher.peers.frames import Type
from dispatcher.peers.refusing import encode_failure, encode_refusal
from dispatcher.peers.streams import Send, Stream
from dispatcher.telemetry.supervisor import Supervisor

FAILED: Final = "It failed with an error that its log shows."
_ANSWER: Final = Type.ANSWER
_UNKNOWN: Final = "It does not know this question: it is of another version."
_CUT_OFF: Final = "It stopped while it was at it."


class Question:
    """A question of another process, to be answered once, by `answer`, `refuse` or `fail`: what
    follows is passed over, as it is when whoever asked is gone (`is_over`)."""

    __slots__ = ("_forget", "_send", "is_over", "number", "on_cancel", "payload", "process")

    def __init__(
        self,
        number: int,
        payload: bytes,
        *,
        process: int,
        send: Send,
        forget: Callable[[int], object],
    ) -> None:
        """`on_cancel` may be set: it is called when nobody waits for the answer any more."""
        self.number = number
        self.payload = payload
        self.process = process
        self.on_cancel: Callable[[], object] | None = None
        self.is_over = False
        self._send = send
        self._forget = forget

    def __repr__(self) -> str:
        return f"<Question {self.number} of process {self.process}>"

    def answer(self, payload: bytes) -> None:
        """This is the answer."""
        self._end(_ANSWER, payload)

    def refuse(self, refusal: Refusal) -> None:
        """It can't be done now: `Refused` for whoever asked."""
        self._end(Type.FAILED, encode_refusal(refusal))

    def fail(self, text: str) -> None:
        """It was not done, and nobody is to know more than this text: `Failed` there."""
        self._end(Type.FAILED, encode_failure(text))

    def cancel(self) -> None:
        """Nobody waits for the answer any more. Idempotent."""
        if not self.is_over:
            self.is_over = True
            if self.on_cancel is not None:
                self.on_cancel()

    def lose(self, error: DispatcherError) -> None:
        """Who asked is gone. Idempotent."""
        self.cancel()

    def _end(self, type_: Type, payload: bytes) -> None:
        if not self.is_over:
            self.is_over = True
            self._forget(self.number)
            self._send(type_, 0, self.number, payload)


Answer = Callable[[Question], None]
Accept = Callable[[Stream], None]
Note = Callable[[int, bytes], None]


class Table:
    """Handlers by kind: of questions, of streams, and of what is told (with who tells it)."""

    __slots__ = ("_notes", "_questions", "_streams")

    def __init__(self) -> None:
        self._questions: dict[int, Answer] = {}
        self._streams: dict[int, Accept] = {}
        self._notes: dict[int, Note] = {}

    def on_ask(self, kind: int, answer: Answer) -> None:
        """Questions of this kind are answered so."""
        assert kind not in self._questions
        self._questions[kind] = answer

    def on_open(self, kind: int, accept: Accept) -> None:
        """Streams of this kind are taken so; who takes one listens to it in this very call, or
        iterates later."""
        assert kind not in self._streams
        self._streams[kind] = accept

    def on_tell(self, kind: int, note: Note) -> None:
        """What is told of this kind goes there."""
        assert kind not in self._notes
        self._notes[kind] = note

    def answer(self, kind: int, question: Question) -> None:
        """Have a question answered, now or later."""
        answer = self._questions.get(kind)
        if answer is None:
            question.fail(_UNKNOWN)
        else:
            answer(question)

    def accept(self, stream: Stream) -> None:
        """Have a stream taken; what nobody knows is given up."""
        accept = self._streams.get(stream.kind)
        if accept is None:
            stream.abort()
        else:
            accept(stream)

    def note(self, kind: int, process: int, payload: bytes) -> None:
        """Have somebody told, if anybody wants to know."""
        note = self._notes.get(kind)
        if note is not None:
            note(process, payload)


class Answering:
    """Handlers that await, as those of a `Table`; one task of `supervisor` for each question."""

    __slots__ = ("_supervisor",)

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def asking(self, name: str, work: Callable[[bytes], Awaitable[bytes]]) -> Answer:
        """Answer with what `work` returns for the payload. `Refused` of it is the asker's; any
        other error is told here, as of a task that died, and there that there was one."""

        def answer(question: Question) -> None:
            task = self._supervisor.spawn(name, _answer(question, work))
            question.on_cancel = task.cancel
            task.add_done_callback(lambda _: question.fail(_CUT_OFF))

        return answer

    def streaming(self, name: str, work: Callable[[Stream], Awaitable[None]]) -> Accept:
        """Have `work` read and write a stream, which ends on this side when it returns. Errors as
        with `asking`; when the stream breaks, `work` is cancelled."""

        def accept(stream: Stream) -> None:
            task = self._supervisor.spawn(name, _stream(stream, work))
            stream.on_lost = task.cancel
            task.add_done_callback(lambda _: stream.give_up())

        return accept


async def _answer(question: Question, work: Callable[[bytes], Awaitable[bytes]]) -> None:
    try:
        question.answer(await work(question.payload))
    except Refused as error:
        question.refuse(error.refusal)
    except asyncio.CancelledError:
        raise
    except BaseException:
        question.fail(FAILED)
        raise


async def _stream(stream: Stream, work: Callable[[Stream], Awaitable[None]]) -> None:
    try:
        await work(stream)
        stream.end()
    except Refused as error:
        stream.abort(error.refusal)
    except DispatcherError:
        if not stream.is_over:  # otherwise it is what the stream itself says: no fault of this side
            raise
