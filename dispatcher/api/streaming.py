"""Answers that are written bit by bit."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence

from aiohttp import web

from dispatcher.api.routes import JSON


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
    return await send_document(request, _each(pieces), size_bytes=sum(map(len, pieces)))


async def _each(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


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
