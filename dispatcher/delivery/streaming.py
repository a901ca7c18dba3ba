"""Sends a large body: read back from the log chunk by chunk, written as it is taken."""

from __future__ import annotations

import asyncio
from typing import Final

from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.connection import Connection
from dispatcher.queue.ports import BodyUnavailable

_READ_AGAIN_S: Final = 0.1
"""How soon a body is read again when this process lacked something: seldom enough not to be a load,
often enough for an attempt of a second."""

_OURS_SHARE: Final = 0.25
"""An attempt whose body was waited for longer than this share of its time and that timed out is not
held against the destination, which had less of it."""


async def stream(attempt: Attempt, connection: Connection, positions: tuple[int, ...]) -> None:
    """Write the chunks of a body whose head was sent: one is in the transport's buffer while the
    next is read.

    Raises:
        BodyUnavailable: a chunk is damaged; half a request was sent.
    """
    loop = asyncio.get_running_loop()
    patience_s = (attempt.deadline_s - attempt.started_s) * _OURS_SHARE
    for position in positions:
        attempt.phase = "sending the body"
        began_s = loop.time()
        late = loop.call_later(patience_s, _blame_log, attempt)
        try:
            chunk = await _read_back(attempt, position)
        finally:
            late.cancel()
        if attempt.ours:  # for so long as the rest of the request was lacking
            attempt.ours, attempt.late = False, True
        patience_s = max(0.0, patience_s - (loop.time() - began_s))
        connection.sending = position != positions[-1]
        await connection.write(chunk)
    attempt.phase = "waiting for the response"


def _blame_log(attempt: Attempt) -> None:
    """The log's reader is busy with others, or the disk stands still."""
    attempt.ours = True
    attempt.phase = "the body was read back from the log"


async def _read_back(attempt: Attempt, position: int) -> bytes:
    """Read one chunk.

    What this process lacks passes: it is read again until it is there or the attempt's deadline has
    come, which is a timeout then and is marked as ours. The connection is kept meanwhile: the rest
    of a request can go nowhere else.
    """
    while True:
        try:
            (chunk,) = await attempt.message.home.read_body([position])
            return chunk
        except BodyUnavailable as error:
            attempt.ours = True
            if not error.passing:
                raise
            attempt.phase = f"the body could not be read back: {error}"
        await asyncio.sleep(_READ_AGAIN_S)
