"""One import: lines are read ahead of the disk, so far as memory allows, and stored a few at once.

What is stored is always what is told. Lines that are stored together are small and go into the same
log, in order: where one finds no space, none after it does, so that all before `stopped_at` have
ended and none after it has begun.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final

from pydantic import Field

from dispatcher.api.body_field import most_line_bytes
from dispatcher.api.carried import Incoming, IncomingLetter, read_line
from dispatcher.api.errors import ApiError
from dispatcher.api.lines import BadLine
from dispatcher.api.models import Output
from dispatcher.api.pieces import Content, pieces
from dispatcher.errors import Refused
from dispatcher.queue.admin.surface import Carrier, Course
from dispatcher.queue.refusals import IDEMPOTENCY_CONFLICT

_TOGETHER: Final = 64
_TOGETHER_BYTES: Final = 4 * 1024 * 1024
_MOST_REFUSED: Final = 100
_SLICE_SECONDS: Final = 0.001
_REST_SECONDS: Final = 0.001
"""Half of the time is for others: an import is a thing of minutes, and there is one at a time."""


class RefusedLine(Output):
    """A line that is not imported."""

    line: Annotated[int, Field(description="Its number in the body, from 1.")]
    message: str


class Imported(Output):
    """What came of an import. All lines before `stopped_at` are stored, duplicates or refused."""

    imported: int = Field(description="How many are durable now, under new ids.")
    duplicates: int = Field(
        description="How many were there already: imported before, or sent with the same "
        "idempotency key."
    )
    refused: list[RefusedLine] = Field(description="Lines that are no messages, 100 at most.")
    refused_count: int
    stopped_at: int | None = Field(
        description="The number of the first line that is not stored, nor any after it; null: the "
        "body was read to its end."
    )
    error: str | None = Field(description="Why it stopped there, as a slug.")
    message: str | None


class Import:
    """The import of one body. `failed` is told of what nobody foresaw, once: that line is refused,
    and the others go on."""

    def __init__(
        self,
        carrier: Carrier,
        *,
        max_body: int,
        failed: Callable[[Exception], None],
        course: Course | None = None,
    ) -> None:
        self._carrier = carrier
        self._max_body = max_body
        self._failed = failed
        self._course = course or Course()
        self._has_failed = False
        self._together: list[tuple[int, Incoming | IncomingLetter]] = []
        self._size_bytes = 0
        self._imported = 0
        self._duplicates = 0
        self._refused: list[RefusedLine] = []
        self._refused_count = 0
        self._stopped_at: int | None = None
        self._why: tuple[str, str] | None = None
        self._slice_began = time.perf_counter()

    async def run(self, content: Content, coding: str = "") -> Imported:
        """Store the lines of a body; also one that ends too early is answered with what was."""
        most = most_line_bytes(self._max_body)
        number = 0
        try:
            async for number, line in read_lines(content, most, coding):
                await self._let_others()
                if not await self._course.turn():
                    raise ApiError(409, "job_cancelled", "The import was cancelled.")
                if line is None:
                    self._refuse(number, f"it has more than {most} bytes")
                elif not await self._take(number, line):
                    return self._result()
        except ApiError as error:
            if await self._store():
                is_taken = error.slug != "job_cancelled"
                self._stop(number + is_taken, error.slug, error.message)
        else:
            await self._store()
        return self._result()

    async def _let_others(self) -> None:
        if time.perf_counter() - self._slice_began > _SLICE_SECONDS:
            await asyncio.sleep(_REST_SECONDS)
            self._slice_began = time.perf_counter()

    async def _take(self, number: int, line: bytearray) -> bool:
        """Read a line, to be stored together with others; False when one before it could not be."""
        if not line or line.isspace():
            return True
        try:
            incoming = await read_line(line, self._max_body)
        except BadLine as error:
            self._refuse(number, str(error))
            return True
        except Exception as error:  # others have to be imported, and counted
            self._fail(number, error)
            return True
        if not self._fits(incoming) and not await self._store():
            return False
        self._together.append((number, incoming))
        self._size_bytes += len(line)
        # A large body does not wait in memory for the next line.
        return not incoming.is_large or await self._store()

    def _fits(self, incoming: Incoming | IncomingLetter) -> bool:
        """Whether a line is stored together with those before it."""
        if not self._together:
            return True
        _, first = self._together[0]
        return (
            len(self._together) < self._course.portion(_TOGETHER)
            and self._size_bytes < _TOGETHER_BYTES
            and first.is_dead is incoming.is_dead
            and not first.is_large
            and not incoming.is_large
        )

    async def _store(self) -> bool:
        """Store what was read so far; False when one of them could not be."""
        together, self._together, self._size_bytes = self._together, [], 0
        results = await asyncio.gather(
            *(one.store(self._carrier) for _, one in together),
            return_exceptions=True,
        )
        for (number, _), result in zip(together, results, strict=True):
            if isinstance(result, Refused) and result.refusal is IDEMPOTENCY_CONFLICT:
                self._refuse(number, result.refusal.message)
            elif isinstance(result, Refused):
                self._stop(number, result.refusal.slug, result.refusal.message)
            elif isinstance(result, Exception):
                self._fail(number, result)
            elif isinstance(result, BaseException):
                raise result  # the import is cancelled
            elif result:
                self._imported += 1
                self._course.did(1)
            else:
                self._duplicates += 1
                self._course.did(0, missed=1)
        return self._stopped_at is None

    def _stop(self, number: int, slug: str, message: str) -> None:
        if self._stopped_at is None:
            self._stopped_at, self._why = number, (slug, message)

    def _refuse(self, number: int, message: str) -> None:
        self._refused_count += 1
        self._course.did(0, missed=1)
        if len(self._refused) < _MOST_REFUSED:
            self._refused.append(RefusedLine(line=number, message=message))

    def _fail(self, number: int, error: Exception) -> None:
        self._refuse(number, "the server failed on it; its log says how")
        if not self._has_failed:
            self._has_failed = True
            self._failed(error)

    def _result(self) -> Imported:
        slug, message = self._why or (None, None)
        return Imported(
            imported=self._imported,
            duplicates=self._duplicates,
            refused=self._refused,
            refused_count=self._refused_count,
            stopped_at=self._stopped_at,
            error=slug,
            message=message,
        )


async def read_lines(
    content: Content, most: int, coding: str = ""
) -> AsyncIterator[tuple[int, bytearray | None]]:
    """The lines of a body with their numbers, from 1, without line ends; None for one that has more
    than `most` bytes.

    Raises:
        ApiError: the body stopped arriving, or was cut short.
    """
    number = 1
    line = bytearray()
    async for data in pieces(content, coding):
        *whole, rest = data.split(b"\n")
        for end in whole:
            line += end
            yield number, line if len(line) <= most else None
            number, line = number + 1, bytearray()
        line += rest
        del line[most + 1 :]  # one byte too many is enough to know
    if line:
        yield number, line if len(line) <= most else None
