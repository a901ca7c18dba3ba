"""What a process answers to those that ask for its parts: see `calls` for the other side.

    call     a method of what is served here (`serve`), with its arguments
    read     a body that did not go with its value
    put      pieces that are too many for the arguments of a call, one by one, before it
    go_on    more of what one of the first two gives, or its end; with the course's rate
    drop     nobody waits any more

No answer waits longer than `PATIENCE_S` for what was asked for: then it says that this goes on. So
who hears nothing for longer knows that the process does not answer, however long a call takes.
What nobody asks about any more ends after `FORGOTTEN_S`.

Of what gives many values only one is looked for ahead of what was asked for, and none behind one
with a body that is still to be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from dispatcher.errors import Refused
from dispatcher.peers.envelopes import Items, unwrap, wrap
from dispatcher.peers.methods import Body, Method, Pieces, methods_of
from dispatcher.peers.steering import read_rate, written_progress
from dispatcher.peers.told_errors import EXPECTED, write_error
from dispatcher.queue.admin.surface import Course
from dispatcher.queue.refusals import MOVED
from dispatcher.telemetry.supervisor import Died

PATIENCE_S: Final = 0.3
FORGOTTEN_S: Final = 60.0
MOST_BYTES: Final = 1024 * 1024
"""Of an answer's data."""
_LINGER_S: Final = 0.002
"""How long an answer that has something waits for more."""
_MOST_UPLOADED: Final = 256 * 1024 * 1024
"""Bytes of pieces that wait for their call."""


class Answers:
    """Answers all calls that other processes make to this one."""

    def __init__(self, died: Died) -> None:
        """`died` is told of mistakes."""
        self._died = died
        self._methods: dict[str, Method] = {}
        self._served: dict[tuple[str, int | None], object] = {}
        self._kept = _Kept()
        self._going: dict[int, _Going] = {}
        self._ending: set[asyncio.Future[None]] = set()
        self._last = 0
        self._sweep: asyncio.TimerHandle | None = None

    def serve(self, face: type, what: object, *, part: int | None = None) -> None:
        """Let the methods of a Protocol be asked for: of a partition by its number, or of the
        process."""
        self._methods |= methods_of(face)
        self._served[face.__name__, part] = what

    def withdraw(self, part: int) -> None:
        """A partition has left. What gives many values ends here, and who asked is told that the
        partition has moved; what gives one ends by itself, as the partition tells it. Idempotent.
        """
        for key in [key for key in self._served if key[1] == part]:
            del self._served[key]
        for number, going in [*self._going.items()]:
            if going.part == part and going.gives_many:
                del self._going[number]
                going.withdraw()
                self._end(going)

    async def answer(self, question: bytes) -> bytes:
        """Answer one question.

        Raises:
            LinkMisused: it cannot be read.
        """
        head, data = unwrap(question)
        self._look_later()
        match head.get("do"):
            case "call":
                return await self._begin(lambda going: self._call(head, data, going))
            case "read":
                return await self._begin(lambda _: self._read(int(head["body"])))
            case "put":
                return wrap({"of": self._kept.put(head.get("of"), data)})
            case "go_on":
                return await self._go_on(head)
            case "drop":
                going = self._going.pop(int(head["of"]), None)
                if going is not None:
                    await going.close()
                return wrap({})
        return wrap({"error": {"failed": f"nobody knows how to {head.get('do')}"}})

    async def close(self) -> None:
        """End all that is under way."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._going:
            _, going = self._going.popitem()
            await going.close()
        if self._ending:
            await asyncio.wait(self._ending)

    def _end(self, going: _Going) -> None:
        """End it, whenever it ends."""
        ending = asyncio.ensure_future(going.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    # What is asked for.

    def _call(
        self, head: Mapping[str, Any], data: bytes, going: _Going
    ) -> AsyncGenerator[bytes, None]:
        method = self._methods.get(str(head.get("method")))
        if method is None:
            raise ValueError(f"no {head.get('method')} can be asked for")
        face, _, _ = method.name.partition(".")
        going.part, going.gives_many = head.get("part"), method.streams
        what = self._served.get((face, going.part))
        if what is None:
            raise Refused(MOVED)
        beside = _Beside(self._kept, head.get("uploads", ()), going)
        given = method.read_arguments(data, beside)
        if method.course:
            going.course = given["course"] = Course(read_rate(head.get("rate")))
        asked = getattr(what, method.attribute)
        return (
            _many(method, asked, given, beside)
            if method.streams
            else _one(method, asked, given, beside)
        )

    def _read(self, number: int) -> AsyncGenerator[bytes, None]:
        return _pieces_of(self._kept.body(number))

    async def _begin(self, make: Callable[[_Going], AsyncGenerator[bytes, None]]) -> bytes:
        going = _Going()
        try:
            going.items = make(going)
        except (Refused, ValueError, KeyError) as error:
            return wrap({"error": write_error(error)})
        self._last += 1
        self._going[self._last] = going
        return await self._step(self._last, going)

    async def _go_on(self, head: Mapping[str, Any]) -> bytes:
        number = int(head["of"])
        going = self._going.get(number)
        if going is None:
            return wrap({"error": write_error(Refused(MOVED))})
        going.steer(head)
        return await self._step(number, going)

    async def _step(self, number: int, going: _Going) -> bytes:
        said: dict[str, Any] = {"of": number}
        try:
            data = await going.step()
        except EXPECTED as error:
            said, data = {"error": write_error(error)}, b""
        except Exception as error:  # a mistake: who asked is told that there was one
            self._died(f"answering {going!r}", error)
            said, data = {"error": write_error(error)}, b""
        if going.has_ended or "error" in said:
            said.pop("of", None)
            self._going.pop(number, None)
        return wrap({**said, **written_progress(going.course)}, data)

    def _look_later(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(FORGOTTEN_S / 4, self._look)

    def _look(self) -> None:
        """Forget what nobody asks about."""
        self._sweep = None
        since = asyncio.get_running_loop().time() - FORGOTTEN_S
        self._kept.forget(since)
        for number in [key for key, going in self._going.items() if going.asked_at < since]:
            self._end(self._going.pop(number))
        if self._going or self._kept:
            self._look_later()


class _Going:
    """One call that goes on."""

    items: AsyncGenerator[bytes, None]

    def __init__(self) -> None:
        self.course: Course | None = None
        self.part: int | None = None
        self.gives_many = False
        self.has_ended = False
        self.rests = False
        self.asked_at = asyncio.get_running_loop().time()
        self._row = bytearray()
        self._is_over = self._is_withdrawn = False
        self._next: asyncio.Future[bytes | None] | None = None

    def __repr__(self) -> str:
        return f"<{getattr(self, 'items', 'nothing')}>"

    def steer(self, head: Mapping[str, Any]) -> None:
        """Go on at another rate, or come to an end."""
        if self.course is not None:
            rate = read_rate(head.get("rate"))
            if rate != self.course.rate:
                self.course.change_rate(rate)
            if head.get("cancelled"):
                self.course.cancel()

    async def step(self) -> bytes:
        """What there is by now of the row of items; at once where there is something.

        Raises:
            whatever the call raises, when all before it was told.
        """
        loop = asyncio.get_running_loop()
        self.asked_at = loop.time()
        self.rests = False
        until = loop.time() + PATIENCE_S
        while len(self._row) < MOST_BYTES and not self._is_over and not self.rests:
            if self._next is None:
                self._next = asyncio.ensure_future(_next_of(self.items))
            if not self._next.done():
                left_s = _LINGER_S if self._row else until - loop.time()
                await asyncio.wait([self._next], timeout=max(0.0, left_s))
                if self._is_withdrawn:
                    raise Refused(MOVED)
            if not self._next.done():
                break
            if self._row and self._next.exception() is not None:
                break  # with the next answer
            found, self._next = self._next, None
            item = found.result()
            if item is None:
                self._is_over = True
            else:
                self._row += Items.written(item)
        told = bytes(self._row[:MOST_BYTES])
        del self._row[:MOST_BYTES]
        self.has_ended = self._is_over and not self._row
        return told

    def withdraw(self) -> None:
        """Who waits for a step hears that what was asked has moved; `close` follows."""
        self._is_withdrawn = True

    async def close(self) -> None:
        """End it: nobody is there any more who could."""
        if self.course is not None:
            self.course.cancel()
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
            if not self._next.cancelled():
                self._next.exception()
        with suppress(Exception):  # nobody waits for what it says
            await self.items.aclose()


class _Kept:
    """Bodies to be read, and pieces for a call, by number."""

    def __init__(self) -> None:
        self._last = 0
        self._bodies: dict[int, tuple[float, Body]] = {}
        self._pieces: dict[int, tuple[float, list[bytes]]] = {}

    def __bool__(self) -> bool:
        return bool(self._bodies or self._pieces)

    def keep(self, body: Body) -> int:
        """Keep a body for a while; returns its number."""
        self._last += 1
        self._bodies[self._last] = (asyncio.get_running_loop().time(), body)
        return self._last

    def body(self, number: int) -> Body:
        """The one with this number, which may be read again.

        Raises:
            Refused: it is not there any more.
        """
        if number not in self._bodies:
            raise Refused(MOVED)
        _, body = self._bodies[number]
        self._bodies[number] = (asyncio.get_running_loop().time(), body)
        return body

    def put(self, number: int | None, piece: bytes) -> int:
        """Add a piece to those with a number, or to new ones; returns their number.

        Raises:
            Refused: more wait for their call than may.
        """
        if number is None or number not in self._pieces:
            self._last = number = self._last + 1
        _, before = self._pieces.get(number, (0.0, []))
        if sum(map(len, before)) + len(piece) > _MOST_UPLOADED:
            raise Refused(MOVED)
        before.append(piece)
        self._pieces[number] = (asyncio.get_running_loop().time(), before)
        return number

    def take(self, number: int) -> Pieces:
        """The pieces with a number, which are forgotten."""
        if number not in self._pieces:
            raise Refused(MOVED)
        return self._pieces.pop(number)[1]

    def forget(self, since: float) -> None:
        """Those of which nobody has asked since then."""
        for number in [key for key, (at, _) in self._bodies.items() if at < since]:
            del self._bodies[number]
        for number in [key for key, (at, _) in self._pieces.items() if at < since]:
            del self._pieces[number]


class _Beside:
    """`methods.Beside` of one call."""

    def __init__(self, kept: _Kept, uploads: object, going: _Going) -> None:
        self._kept = kept
        self._uploads = [int(one) for one in uploads] if isinstance(uploads, list) else []
        self._going = going

    def keep(self, body: Body) -> int:
        """See `Beside`: nothing behind it is told before it was read."""
        self._going.rests = True
        return self._kept.keep(body)

    def body(self, number: int) -> Body:
        """See `Beside`."""
        raise ValueError("no argument is a body")

    def keep_pieces(self, pieces: Pieces) -> int:
        """See `Beside`."""
        raise ValueError("no result has pieces")

    def pieces(self, number: int) -> Pieces:
        """See `Beside`."""
        return self._kept.take(self._uploads[number])


async def _next_of(items: AsyncGenerator[bytes, None]) -> bytes | None:
    """The next one; None: there is none. (`anext` with a default loses a cancellation.)"""
    try:
        return await anext(items)
    except StopAsyncIteration:
        return None


async def _one(
    method: Method, asked: Callable[..., Awaitable[Any]], given: dict[str, Any], beside: _Beside
) -> AsyncGenerator[bytes, None]:
    yield method.write(await asked(**given), beside)


async def _many(
    method: Method, asked: Callable[..., Any], given: dict[str, Any], beside: _Beside
) -> AsyncGenerator[bytes, None]:
    values = asked(**given)
    try:
        async for value in values:
            yield method.write(value, beside)
    finally:
        if isinstance(values, AsyncGenerator):
            await values.aclose()


async def _pieces_of(body: Body) -> AsyncGenerator[bytes, None]:
    async for piece in body:
        yield piece
