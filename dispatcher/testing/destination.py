"""A destination on loopback that does what a test tells it, and keeps every byte it was sent.

```
async with FakeDestination() as destination:          # answers 200 until told otherwise
    destination.script([Send(b"HTTP/1.1 200 OK\\r\\nContent-Le"), Reset()])
    ...                                               # one script for each request, in order
    assert destination.requests[0].raw == b"POST / HTTP/1.1\\r\\n..."
```

A script is a list of steps, run once a request is complete (or, with `at_head`, once its head is),
on the connection it came in on. After it the connection is kept alive, unless a step ended it.
It speaks HTTP/1.1 only as far as needed to find the end of a request: by `Content-Length`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import assert_never, cast

from dispatcher.core.authority import authority
from dispatcher.testing.ports import KeptPort

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+) *\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for this long, or until the dispatcher closes the connection."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection in an orderly way (FIN) once everything is written."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Throw the connection away (RST)."""


Step = Send | Wait | Close | Reset
Script = Sequence[Step]


def answer(
    status: int = 200, body: bytes = b"", *headers: tuple[str, str], length: bool = True
) -> list[Step]:
    """Make the script of a plain answer, with `Content-Length` unless `length` is false."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers)]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return [Send("\r\n".join((*lines, "", "")).encode("latin-1") + body)]


@dataclass(slots=True)
class Request:
    """One request as it came. `connection` counts the connections from 0; `arrived_s` is when its
    head was complete, on the monotonic clock."""

    connection: int
    head: bytes = b""
    body_bytes: int = 0
    body: bytearray = field(default_factory=bytearray)
    arrived_s: float = field(default_factory=time.monotonic)

    @property
    def raw(self) -> bytes:
        """Every byte of it."""
        return self.head + bytes(self.body)

    @property
    def headers(self) -> dict[str, str]:
        """Its headers, names in lower case; of duplicates the last."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


class FakeDestination:
    """The server. Use it as an async context manager.

    `requests`     what came, in order of the end of their heads.
    `connections`  how many were accepted.
    `on_accept`    steps run on every new connection before anything is read.
    `at_head`      run the script when the head is complete, without waiting for the body.
    `keep_bodies`  store the bodies; otherwise they are only counted.
    `reading`      when cleared, nothing more is read from any connection.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        default: Script | None = None,
        at_head: bool = False,
        keep_bodies: bool = True,
        on_accept: Script = (),
    ) -> None:
        self.host = host
        self.port = port
        self.requests: list[Request] = []
        self.connections = 0
        self.default: Script = answer() if default is None else default
        self.at_head = at_head
        self.keep_bodies = keep_bodies
        self.on_accept = on_accept
        self.reading = asyncio.Event()
        self.reading.set()
        self._tls = tls
        self._scripts: deque[Script] = deque()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._kept: KeptPort | None = None

    @property
    def authority(self) -> str:
        """`host:port`, as a caller would write it."""
        return authority(self.host, self.port)

    def script(self, *scripts: Script) -> None:
        """Say what the next requests are answered with, one script each; then `default` again."""
        self._scripts.extend(scripts)

    async def received(self, count: int, *, timeout_s: float = 60.0) -> list[Request]:
        """Wait until this many requests have come (their heads), and return them.

        Raises:
            TimeoutError: when they do not come in time.
        """
        async with asyncio.timeout(timeout_s):
            while len(self.requests) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.requests[:count]

    async def disconnect(self) -> None:
        """Close every connection in an orderly way, and wait until that is done."""
        for writer in list(self._writers):
            writer.close()
        while self._writers:
            self._changed.clear()
            await self._changed.wait()

    async def start(self) -> None:
        """Listen; `port` says where, from here on and after a restart."""
        if self._kept is None:
            self._kept = KeptPort(self.host, self.port)
            self.port = self._kept.number
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, ssl=self._tls, limit=1 << 20
        )

    async def stop(self) -> None:
        """Stop listening and drop every connection; the port is kept. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop for good. Idempotent."""
        await self.stop()
        if self._kept is not None:
            self._kept.let_go()

    async def __aenter__(self) -> FakeDestination:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        self._writers.add(writer)
        number = self.connections
        self.connections += 1
        try:
            await self._converse(number, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()
            self._tasks.discard(task)
            self._writers.discard(writer)
            self._changed.set()

    async def _converse(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        open_ = await _run(self.on_accept, reader, writer)
        while open_:
            await self.reading.wait()
            request = Request(number, await reader.readuntil(b"\r\n\r\n"))
            self.requests.append(request)
            self._changed.set()
            script = self._scripts.popleft() if self._scripts else self.default
            if self.at_head:
                open_ = await _run(script, reader, writer)
                await self._read_body(request, reader)
            else:
                await self._read_body(request, reader)
                open_ = await _run(script, reader, writer)

    async def _read_body(self, request: Request, reader: asyncio.StreamReader) -> None:
        match = _LENGTH.search(request.head)
        left = int(match[1]) if match else 0
        while left:
            await self.reading.wait()
            data = await reader.read(min(left, 65536))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            request.body_bytes += len(data)
            if self.keep_bodies:
                request.body += data


async def _run(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Run the steps; return whether the connection is still open for another request."""
    for step in script:
        match step:
            case Send(data):
                writer.write(data)
                await writer.drain()
            case Wait(seconds):
                if await _closed_within(seconds, reader):
                    return False
            case Close():
                writer.close()
                await writer.wait_closed()
                return False
            case Reset():
                sock = writer.get_extra_info("socket")
                sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return False
            case _:
                assert_never(step)
    return not reader.at_eof()


async def _closed_within(seconds: float, reader: asyncio.StreamReader) -> bool:
    """Streams tell the end only to a reader, and reading would take the next request: so ask."""
    end_s = asyncio.get_running_loop().time() + seconds
    while not (closed := reader.at_eof() or reader.exception() is not None):
        left_s = end_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            break
        await asyncio.sleep(min(left_s, 0.005))
    return closed
