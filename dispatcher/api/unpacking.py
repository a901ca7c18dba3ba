"""A body's Content-Encoding, undone a small piece at a time.

A megabyte of gzip may hold a gigabyte. Where the HTTP library unpacks bodies it does so for the
rest of a request too that was refused at its beginning, and nobody else has the loop meanwhile. So
it does not, nothing is unpacked that nobody reads, and the loop has its turn after each piece.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from dispatcher.api.errors import ApiError

PIECE_BYTES: Final = 64 * 1024
_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
_ANY: Final = zlib.MAX_WBITS | 32
"""The beginning says whether it is gzip or zlib."""


def coding_of(request: web.Request) -> str:
    """The Content-Encoding of a request, "" where there is none.

    Raises:
        ApiError: it is none of those that are known.
    """
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        return ""
    if coding not in _CODINGS:
        raise ApiError(
            400, "body_invalid", f"Content-Encoding {coding[:40]!r} is not known; send gzip."
        )
    return coding


async def unpacked(packed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What is in gzip or zlib, in pieces of `PIECE_BYTES` at most; streams may follow one another.

    Raises:
        ApiError: it is something else, or was cut short.
    """
    stream = None
    async for data in packed:
        piece = b""
        while data or len(piece) == PIECE_BYTES:  # a full one may have left some inside
            if stream is None or (stream.eof and data):
                stream = zlib.decompressobj(_ANY)
            try:
                piece = stream.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise _malformed() from error
            data = stream.unconsumed_tail or stream.unused_data
            if piece:
                yield piece
            await asyncio.sleep(0)
    if stream is not None and not stream.eof:
        raise _malformed()


def _malformed() -> ApiError:
    return ApiError(
        400, "body_invalid", "The body is not what its Content-Encoding says, or was cut short."
    )
