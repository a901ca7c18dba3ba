"""All of a dead letter as an answer, its body written slice by slice."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable, AsyncIterator

from aiohttp import web

from dispatcher.api.letter_models import FullLetter
from dispatcher.api.portions import cut
from dispatcher.api.streaming import send_document
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import LetterDetail, LetterGone


async def send_letter(
    request: web.Request, detail: LetterDetail, headers: list[tuple[str, str]], pace: Pace
) -> web.StreamResponse:
    """Answer with a dead letter and these headers, as they are shown; `pace` says when a slice of
    its body may be made."""
    before, after = cut(FullLetter.of(detail, headers), '"body":"')
    size_bytes = len(before) + (detail.letter.size_bytes + 2) // 3 * 4 + len(after)
    pieces = _around(before, detail.body, after, pace)
    return await send_document(request, pieces, size_bytes=size_bytes)


async def _around(
    before: bytes, body: AsyncIterable[bytes], after: bytes, pace: Pace
) -> AsyncIterator[bytes]:
    yield before
    left = b""
    try:
        async for piece in body:  # a fraction of a millisecond each
            data = left + piece
            # Of a multiple of 3 bytes: then the parts, one after the other, are the same as all.
            size = len(data) // 3 * 3
            yield base64.b64encode(data[:size])
            left = data[size:]
            await pace.rest(part=0.5)
    except LetterGone as error:  # its reader sees that, as the length was told before
        raise ConnectionAbortedError("the letter is gone") from error
    yield base64.b64encode(left) + after
