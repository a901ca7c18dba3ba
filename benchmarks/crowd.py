"""Thousands of destinations in one process: `python -m benchmarks.crowd PORT HANGING BROKEN FILE`.

One socket listens on all addresses of the loopback network, and each of them is a destination:
number n is 127.(1 + n / 65 536).(n / 256 mod 256).(n mod 256). The first HANGING never answer; of
the requests to others the share BROKEN is answered 503. When it is asked to end, what came is in
FILE: a row for each request that was answered, `number status sent arrived attempt`, with instants
in nanoseconds; when it was sent is in its header `X-Sent`.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

_SENT = re.compile(rb"\r\nX-Sent: ([0-9]+)\r\n.*\r\nX-Dispatcher-Attempt: ([0-9]+)\r\n", re.DOTALL)
_ANSWERS = {
    200: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    503: b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
}


def address(number: int) -> str:
    """The address of a destination."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Crowd:
    """What all connections share."""

    def __init__(self, hanging: int, broken: float) -> None:
        self.hanging = hanging
        self.broken = broken
        self.rows: list[tuple[int, int, int, int, int]] = []
        self.random = random.Random(1)


class _Connection(asyncio.Protocol):
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._number = 0
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        high, middle, low = transport.get_extra_info("sockname")[0].split(".")[1:]
        self._number = (int(high) - 1 << 16) + (int(middle) << 8) + int(low)

    def data_received(self, data: bytes) -> None:
        if self._number < self._crowd.hanging:
            return
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head, self._data = self._data[: end + 2], self._data[end + 4 :]
            match = _SENT.search(head)
            assert match is not None, head
            status = 503 if self._crowd.random.random() < self._crowd.broken else 200
            now = time.time_ns()
            row = (self._number, status, int(match[1]), now, int(match[2]))
            self._crowd.rows.append(row)
            assert self._transport is not None
            self._transport.write(_ANSWERS[status])


def main() -> None:
    """Serve until the process is asked to end."""
    port, hanging, broken, file = sys.argv[1:]
    crowd = Crowd(int(hanging), float(broken))
    uvloop.run(_serve(crowd, int(port)))
    Path(file).write_text("".join(" ".join(map(str, row)) + "\n" for row in crowd.rows))


async def _serve(crowd: Crowd, port: int) -> None:
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("0.0.0.0", port), backlog=4096)
    server = await loop.create_server(lambda: _Connection(crowd), sock=listener, backlog=4096)
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    main()
