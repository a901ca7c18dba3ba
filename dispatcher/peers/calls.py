"""Asks another process for the methods of what it serves (`answers`), as if it were here.

A call takes as long as it takes: while it goes on the other process says so. One that does not say
anything for `ANSWER_S` is not there. Of what only looks that is `moved`, as of a partition that
nobody has at the moment; of what changes something nobody knows whether it was done, unless there
was no connection at all.

A course goes along: its rate and its end are told within `answers.PATIENCE_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from dispatcher.errors import DispatcherError, Refusal, Refused
from dispatcher.peers.envelopes import Items, unwrap, wrap
from dispatcher.peers.errors import Broken, LinkError, NotConnected
from dispatcher.peers.methods import Body, Method, Pieces, method
from dispatcher.peers.peer import Peer
from dispatcher.peers.steering import Follower, written_course
from dispatcher.peers.told_errors import read_error
from dispatcher.queue.admin.surface import Course
from dispatcher.queue.refusals import MOVED, UNANSWERED

CALLS: Final = 100
"""The kind of question that `answers.Answers` answers."""
ANSWER_S: Final = 2.0
"""Several times `answers.PATIENCE_S`, within which every answer says at least that it goes on."""
_PIECE_BYTES: Final = 1024 * 1024

F = TypeVar("F")
P = ParamSpec("P")
R = TypeVar("R")


class Asks(Protocol):
    """The link to the other process."""

    async def ask(self, question: bytes) -> bytes:
        """Have a question answered (`Answers.answer`).

        Raises:
            NotConnected: nobody was asked.
            Broken: nobody knows what became of it.
            Failed: it could not be answered.
        """


@dataclass(frozen=True, slots=True)
class OverLink:
    """The link to another process (`Asks`)."""

    peer: Peer

    async def ask(self, question: bytes) -> bytes:
        """See `Asks`."""
        return await self.peer.ask(CALLS, question)


class Calls:
    """The calls to one other process."""

    def __init__(self, link: Asks, *, answer_s: float = ANSWER_S) -> None:
        self._link = link
        self._answer_s = answer_s
        self._dropping: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        which: Method,
        given: Mapping[str, Any],
        *,
        part: int | None,
        course: Course | None = None,
        changes: bool = False,
    ) -> Any:
        """Ask for one value.

        Raises:
            Refused: `moved` or `no_answer`, see above; or as the method does.
        """
        items = self._begin(which, given, part=part, course=course, changes=changes)
        try:
            async for item in items:
                return which.read(item, _Beside(self))
        finally:
            await items.aclose()
        raise LinkError(f"{which.name} gave nothing")

    async def many(
        self,
        which: Method,
        given: Mapping[str, Any],
        *,
        part: int | None,
        course: Course | None = None,
        changes: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """Ask for many values, of which only a few are at hand at a time. As `ask`."""
        items = self._begin(which, given, part=part, course=course, changes=changes)
        try:
            async for item in items:
                yield which.read(item, _Beside(self))
        finally:
            await items.aclose()

    async def _begin(
        self,
        which: Method,
        given: Mapping[str, Any],
        *,
        part: int | None,
        course: Course | None,
        changes: bool,
    ) -> AsyncGenerator[bytes, None]:
        beside = _Beside(self)
        data = which.write_arguments(given, beside)
        uploads = [await self._upload(pieces) for pieces in beside.uploads]
        head = {"do": "call", "method": which.name, "part": part, "uploads": uploads}
        items = self._items(head, data, course, changes=changes)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    async def read(self, number: int) -> AsyncGenerator[bytes, None]:
        """A body, from its beginning."""
        items = self._items({"do": "read", "body": number}, b"", None, changes=False)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    async def _items(
        self, head: Mapping[str, Any], data: bytes, course: Course | None, *, changes: bool
    ) -> AsyncGenerator[bytes, None]:
        """What a call gives. Once nobody takes it any more the call is dropped."""
        row, follower = Items(), Follower(course)
        lost = UNANSWERED if changes else MOVED
        number: int | None = None
        try:
            if course is not None:
                await course.turn()  # what others did at its rate counts
            said, more = await self._send({**head, **written_course(course)}, data, lost)
            while True:
                number = said.get("of")
                follower.follow(said)
                for item in row.feed(more):
                    yield item
                if "error" in said:
                    raise read_error(said["error"])
                if number is None:
                    return
                asked = {"do": "go_on", "of": number, **written_course(course)}
                said, more = await self._send(asked, b"", lost)
        finally:
            if number is not None:
                self._drop(number)

    async def _upload(self, pieces: Pieces) -> int:
        """Send pieces before the call that they are for; returns their number."""
        said: dict[str, Any] = {}
        for piece in pieces:
            said, _ = await self._send({"do": "put", "of": said.get("of")}, piece, MOVED)
            if "error" in said:
                raise read_error(said["error"])
        return int(said["of"])

    async def _send(
        self, head: Mapping[str, Any], data: bytes, lost: Refusal
    ) -> tuple[dict[str, Any], bytes]:
        try:
            async with asyncio.timeout(self._answer_s):
                return unwrap(await self._link.ask(wrap(head, data)))
        except NotConnected as error:
            raise Refused(MOVED if head["do"] != "go_on" else lost) from error
        except (Broken, TimeoutError) as error:
            raise Refused(lost) from error

    def _drop(self, number: int) -> None:
        task = asyncio.ensure_future(self._dropped(number))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    async def _dropped(self, number: int) -> None:
        with suppress(DispatcherError):  # it is forgotten there in any case
            await self._send({"do": "drop", "of": number}, b"", MOVED)


class _Beside:
    """`methods.Beside` of one call: what it has beside its arguments, and where bodies are."""

    def __init__(self, calls: Calls) -> None:
        self.uploads: list[Pieces] = []
        self._calls = calls

    def keep(self, body: Body) -> int:
        """See `Beside`."""
        raise TypeError(f"{body!r} cannot be an argument of a method of another process")

    def body(self, number: int) -> Body:
        """See `Beside`."""
        return _RemoteBody(self._calls, number)

    def keep_pieces(self, pieces: Pieces) -> int:
        """See `Beside`."""
        self.uploads.append(pieces)
        return len(self.uploads) - 1

    def pieces(self, number: int) -> Pieces:
        """See `Beside`."""
        raise ValueError("no result has pieces")


@dataclass(frozen=True, slots=True)
class _RemoteBody:
    """A body that is read where it is, from its beginning each time it is gone through."""

    calls: Calls
    number: int

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self.calls.read(self.number)
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()


class Asking:
    """One thing that another process serves, by the Protocol that it has there.

    A class that stands for it here has a typed method for each of the Protocol's, which asks with
    that very method: so mypy compares arguments and result of both.
    """

    def __init__(self, face: type, calls: Calls, part: int | None = None) -> None:
        self._face = face
        self._calls = calls
        self._part = part

    async def look(
        self,
        which: Callable[Concatenate[F, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Ask for something that changes nothing."""
        answer: R = await self._ask(which, args, kwargs, changes=False)
        return answer

    async def change(
        self,
        which: Callable[Concatenate[F, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Ask for something that changes something."""
        answer: R = await self._ask(which, args, kwargs, changes=True)
        return answer

    async def _ask(
        self,
        which: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        changes: bool,
    ) -> Any:
        found, given, course = self._bound(which, args, kwargs)
        return await self._calls.ask(found, given, part=self._part, course=course, changes=changes)

    def many(
        self,
        which: Callable[Concatenate[F, P], AsyncIterator[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncGenerator[R, None]:
        """Ask for many values, of which only a few are at hand at a time."""
        found, given, course = self._bound(which, args, kwargs)
        return self._calls.many(found, given, part=self._part, course=course)

    def _bound(
        self, which: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Method, dict[str, Any], Course | None]:
        found = method(self._face, which.__name__)
        given = found.signature.bind(None, *args, **kwargs).arguments
        del given["self"]
        course: Course | None = given.pop("course", None)
        return found, given, course
