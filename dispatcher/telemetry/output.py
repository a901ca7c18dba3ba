"""Where log lines go: a file descriptor, without ever holding up the event loop.

Lines are written at once, by the thread that logs, so that they are there when the process dies. A
pipe whose reader is slow is the one thing that could stop us. A pipe that polls as writable takes
`PIPE_BUF` bytes without blocking (pipe(7)), so lines are written in pieces of that size, and what
does not fit waits for the next line or for `close`. The queue is bounded; beyond it lines are
counted and dropped: deliveries matter more than lines.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque

MAX_WAITING_LINES = 10_000


class LineOutput:
    """Writes lines to a file descriptor. `lost` counts those that were dropped."""

    def __init__(self, descriptor: int) -> None:
        self.lost = 0
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, line: str) -> None:
        """Write a line, or keep it until the reader takes more. Never raises."""
        if len(self._waiting) < MAX_WAITING_LINES:
            self._waiting.append(line.encode("utf-8", "backslashreplace") + b"\n")
        else:
            self.lost += 1
        self.flush(0)

    def close(self, timeout_ms: int = 1000) -> None:
        """Wait for the reader to take what is left; what it does not take in time is lost."""
        deadline = time.monotonic() + timeout_ms / 1000
        while self._waiting and (left_s := deadline - time.monotonic()) > 0:
            self.flush(int(left_s * 1000) + 1)
        self.lost += len(self._waiting)
        self._waiting.clear()

    def flush(self, wait_ms: int = 0) -> None:
        """Write what waits, as far as the reader takes it; wait up to `wait_ms` for each piece."""
        while self._waiting and self._poll.poll(wait_ms):
            line = self._waiting.popleft()
            try:
                written = os.write(self._descriptor, line[: select.PIPE_BUF])
            except BlockingIOError:
                self._waiting.appendleft(line)  # somebody made the descriptor non-blocking
                return
            except OSError:
                self.lost += 1  # the reader is gone, or the disk the lines go to is full
                continue
            if written < len(line):
                self._waiting.appendleft(line[written:])
