"""Answers that are written bit by bit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Final

from aiohttp import web

from dispatcher.api.routes import JSON

_WRITTEN_BYTES: Final = 64 * 1024


async def send_document(
    request: web.Request, pieces: AsyncIterable[bytes], *, size_bytes: int
) -> web.StreamResponse:
    """Answer with a JSON document, whose pieces have so many bytes together.

    The size is told beforehand, so that a reader knows when it was cut short.
    """
    response = web.StreamResponse()
    response.content_type = JSON
    response.charset = "utf-8"
    response.content_length = size_bytes
    if request.method == "HEAD":
        return response
    async with begun(request, response):
        async for piece in pieces:
            await response.write(piece)
    return response


async def send_pieces(request: web.Request, pieces: Sequence[bytes]) -> web.StreamResponse:
    """Answer with a JSON document that is there already, in pieces."""
    return await send_document(request, _joined(pieces), size_bytes=sum(map(len, pieces)))


async def _joined(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    """The pieces in parts of `_WRITTEN_BYTES` or little more: each write is a call of the system,
    and between two of them others get their turn."""
    part: list[bytes] = []
    size_bytes = 0
    for piece in pieces:
        part.append(piece)
        size_bytes += len(piece)
        if size_bytes >= _WRITTEN_BYTES:
            yield b"".join(part)
            await asyncio.sleep(0)
            part, size_bytes = [], 0
    if part:
        yield b"".join(part)


@contextlib.asynccontextmanager
async def begun(request: web.Request, response: web.StreamResponse) -> AsyncIterator[None]:
    """Send the head of an answer; its body is written by what stands below.

    A reader that goes away ends that, and is no error. Every other one is raised, and the
    connection is cut before: nothing can follow a part of an answer, and its reader would wait.
    """
    try:
        await response.prepare(request)
        yield
    except BaseException as error:
        if request.transport is not None:
            request.transport.abort()
        if not isinstance(error, ConnectionError):
            raise
