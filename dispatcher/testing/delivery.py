"""What surrounds delivery in a test: the home of its messages, and their bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.core.destination import Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.tenure import Tenure

WIRE_ID = b"0001" + b"0000002a" + b"0000000100000040"


@dataclass(frozen=True, slots=True)
class Settled:
    """One call of `RecordingHome`: `result` is None for `delivered`, `status` None for `failed`."""

    message: Message
    status: int | None
    result: AttemptResult | None


class RecordingHome:
    """A `core.message.Home` that keeps what it is told. `calls` are in order."""

    def __init__(self, bodies: MemoryBodies | None = None) -> None:
        self._bodies = bodies or MemoryBodies()
        self.tenure = Tenure()
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

    async def read_body(self, positions: list[int]) -> list[bytes]:
        """Read chunks."""
        return await self._bodies.read(positions)

    def outgoing(
        self,
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
        """Make a message of this home that is ready for an attempt, as the queue hands it over."""
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
        message.home = self
        message.wire_id = WIRE_ID
        message.attempt = attempt
        return message

    async def settled(self, count: int, *, timeout_s: float = 60.0) -> list[Settled]:
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
    """Chunk records that are made when they are asked for.

    `reads` counts what was asked for, so that a test sees how far ahead the reader is. A position
    in `failing` raises its error. Each read takes `delay_s`.
    """

    def __init__(self, chunk_bytes: int = 256 * 1024) -> None:
        self.chunk_bytes = chunk_bytes
        self.reads = 0
        self.failing: dict[int, Exception] = {}
        self.delay_s = 0.0

    def chunk(self, position: int) -> bytes:
        """The data stored at a position: different for each."""
        return (b"%08d" % position) * (self.chunk_bytes // 8)

    async def read(self, positions: list[int]) -> list[bytes]:
        """Read chunks, one turn of the event loop later or when `delay_s` have passed."""
        await asyncio.sleep(self.delay_s)
        for position in positions:
            if error := self.failing.get(position):
                raise error
        self.reads += len(positions)
        return [self.chunk(position) for position in positions]
