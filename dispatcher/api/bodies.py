"""A body as it is: bytes, of which a reader may want the first ones only.

It is a stranger's, and a browser must not take it for a page of ours: its type is never told.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated, Final

from aiohttp import web
from pydantic import BeforeValidator, Field

from dispatcher.api.fields import digits
from dispatcher.api.models import Input
from dispatcher.api.streaming import begun
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import LetterGone

BYTES: Final = "application/octet-stream"


class BodyQuery(Input):
    """How much of a body."""

    limit: Annotated[int, Field(ge=0, le=2**53), BeforeValidator(digits)] | None = Field(
        None, description="Its first bytes, so many at most; all of it without."
    )


async def send_body(
    request: web.Request,
    body: AsyncIterable[bytes],
    asked: BodyQuery,
    pace: Pace,
    *,
    of: str,
    size_bytes: int,
) -> web.StreamResponse:
    """Answer with a body of `size_bytes`, that of the message with the id `of`, or with its
    beginning; `pace` says when the next piece may be read. One that goes while it is read is cut
    short, which its reader sees, as the length is told before."""
    length = size_bytes if asked.limit is None else min(asked.limit, size_bytes)
    answer = web.StreamResponse(
        headers={"Content-Type": BYTES, "Content-Disposition": f'attachment; filename="{of}.bin"'}
    )
    answer.content_length = length
    if request.method == "HEAD":
        return answer
    async with begun(request, answer):
        try:
            async for piece in _first(body, length):
                await answer.write(piece)
                await pace.rest(part=0.5)
        except LetterGone as error:
            raise ConnectionAbortedError("the body is gone") from error
    return answer


async def _first(body: AsyncIterable[bytes], length: int) -> AsyncIterator[bytes]:
    """The first bytes of a body: nothing after them is read."""
    if not length:
        return
    async for piece in body:
        yield piece[:length]
        length -= len(piece)
        if length <= 0:
            return
