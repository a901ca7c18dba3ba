"""What surrounds delivery in a test: the queue it reports to, and the log it reads bodies from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.core.destination import Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult

WIRE_ID = b"0001" + b"0000002a" + b"0000000100000040"


def outgoing(
    origin: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    target: str = "/",
    timeout_ms: int = 0,
    attempt: int = 1,
    headers: Sequence[tuple[str, str]] = (),
    chunks: tuple[int, ...] | None = None,
    body_size: int | None = None,
) -> Message:
    """Make a message that is ready for an attempt, as the queue hands it over."""
    parsed = Origin.parse(origin.encode())
    size = len(body) if body_size is None else body_size
    lines = [f"{name}: {value}\r\n".encode("latin-1") for name, value in headers]
    if size or method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d\r\n" % size)
    head = b"".join((f"{method} {target} HTTP/1.1\r\n".encode(), parsed.host_line, *lines))
    message = Message(
        parsed.destination,
        head,
        body,
        timeout_ms=timeout_ms,
        accepted_at=0,
        chunks=chunks,
        body_size=body_size,
    )
    message.wire_id = WIRE_ID
    message.attempt = attempt
    return message


@dataclass(frozen=True, slots=True)
class Settled:
    """One call of the settler: `result` is None for `delivered`, `status` None for `failed`."""

    message: Message
    status: int | None
    result: AttemptResult | None


class RecordingSettler:
    """Keeps what it is told. `calls` are in order."""

    def __init__(self) -> None:
        self.calls: list[Settled] = []
        self._changed = asyncio.Event()

    def delivered(self, message: Message, status: int) -> None:
        """Keep it."""
        self.calls.append(Settled(message, status, None))
        self._changed.set()

    def failed(self, message: Message, result: AttemptResult) -> None:
        """Keep it."""
        self.calls.append(Settled(message, None, result))
        self._changed.set()

    async def settled(self, count: int, *, timeout_s: float = 5.0) -> list[Settled]:
        """Wait until there were this many calls.

        Raises:
            TimeoutError: when they do not come in time.
        """
        async with asyncio.timeout(timeout_s):
            while len(self.calls) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.calls


class MemoryBodies:
    """A body source whose chunks are made when they are asked for.

    `reads` counts what was asked for, so that a test sees how far ahead the reader is. A position
    in `failing` raises its error.
    """

    def __init__(self, chunk_bytes: int = 256 * 1024) -> None:
        self.chunk_bytes = chunk_bytes
        self.reads = 0
        self.failing: dict[int, Exception] = {}

    def chunk(self, position: int) -> bytes:
        """The data stored at a position: different for each."""
        return (b"%08d" % position) * (self.chunk_bytes // 8)

    async def read(self, positions: list[int]) -> list[bytes]:
        """Read chunks, one turn of the event loop later."""
        await asyncio.sleep(0)
        for position in positions:
            if error := self.failing.get(position):
                raise error
        self.reads += len(positions)
        return [self.chunk(position) for position in positions]
