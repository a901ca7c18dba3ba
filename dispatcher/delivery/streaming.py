"""Reads a large body back from the log, chunk by chunk: to sign it, and to send it."""

from __future__ import annotations

import asyncio
from typing import Final

from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.connection import Connection
from dispatcher.errors import DispatcherError
from dispatcher.protocol.webhooks import Signing
from dispatcher.queue.ports import BodyUnavailable

_READ_AGAIN_S: Final = 0.1
"""How soon a body is read again when this process lacked something: seldom enough not to be a load,
often enough for an attempt of a second."""

_OURS_SHARE: Final = 0.25
"""An attempt whose body was waited for longer than this share of its time and that timed out is not
held against the destination, which had less of it."""


class TenureOver(DispatcherError):
    """Another process may have the partition of the message: what was not sent must not be."""

    slug = "tenure_over"


async def sign(attempt: Attempt, signing: Signing, positions: tuple[int, ...]) -> None:
    """Take the whole body into a signature. The loop has its turn between two chunks; a chunk takes
    it 0.15 ms for each secret.

    Raises:
        BodyUnavailable: a chunk is damaged; nothing was sent.
    """
    reading = _Reading(attempt, "signing the body")
    for position in positions:
        signing.add(await reading.read(position))


async def stream(attempt: Attempt, connection: Connection, positions: tuple[int, ...]) -> None:
    """Write the chunks of a body whose head was sent: one is in the transport's buffer while the
    next is read.

    Raises:
        BodyUnavailable: a chunk is damaged; half a request was sent.
        TenureOver: half a request was sent.
    """
    reading = _Reading(attempt, "sending the body")
    tenure = attempt.message.home.tenure
    for position in positions:
        chunk = await reading.read(position)
        if not tenure.holds():
            raise TenureOver("a body stops at its next chunk")
        connection.sending = position != positions[-1]
        await connection.write(chunk)
    attempt.phase = "waiting for the response"


class _Reading:
    """One walk through the body of an attempt, which is in `phase` meanwhile."""

    def __init__(self, attempt: Attempt, phase: str) -> None:
        self._attempt = attempt
        self._phase = phase
        self._loop = asyncio.get_running_loop()
        self._patience_s = (attempt.deadline_s - attempt.started_s) * _OURS_SHARE

    async def read(self, position: int) -> bytes:
        """Read the next chunk."""
        attempt = self._attempt
        attempt.phase = self._phase
        began_s = self._loop.time()
        late = self._loop.call_later(self._patience_s, _blame_log, attempt)
        try:
            chunk = await _read_back(attempt, position)
        finally:
            late.cancel()
        if attempt.ours:  # for so long as the rest of the request was lacking
            attempt.ours, attempt.late = False, True
        self._patience_s = max(0.0, self._patience_s - (self._loop.time() - began_s))
        return chunk


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
