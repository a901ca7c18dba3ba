"""Where log lines go: a file descriptor, without ever holding up the event loop.

Lines are written at once, by the thread that logs, so that they are there when the process dies. A
pipe whose reader is slow is the one thing that could stop us. A pipe that polls as writable takes
`PIPE_BUF` bytes without blocking (pipe(7)), so lines are written in pieces of that size, and what
does not fit waits for the next line or for `close`. The queue is bounded; beyond it lines are
counted and dropped: deliveries matter more than lines.

Several processes that write to one descriptor take `Turns`, or the line of one would come between
the pieces of another's. Who does not get one at once lets its lines wait; `flush`, called every now
and then, is for those after which none follows.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import time
from collections import deque
from typing import Final, Protocol

MAX_WAITING_LINES = 10_000
_TRIES: Final = 20
_PAUSE_S: Final = 0.001


class Turns(Protocol):
    """Who of several processes writes. `is_within`, which all of them share: what was written last
    is a part of a line. Who takes a turn and finds that has to end it: whoever began it is dead."""

    is_within: bool

    def take(self) -> bool:
        """Say whether it is ours now. Never waits for long."""

    def leave(self) -> None:
        """Let others have it."""


class FileTurns:
    """Turns by a lock on a file that all of these processes have open for writing. They may have it
    by inheritance: such a lock (fcntl(2)) is a process's, and ends with it. The first byte of the
    file is theirs to write: 0 at the beginning."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._shared = mmap.mmap(file, 1)

    @property
    def is_within(self) -> bool:
        """As `Turns`."""
        return self._shared[0] != 0

    @is_within.setter
    def is_within(self, value: bool) -> None:
        self._shared[0] = value

    def take(self) -> bool:
        """As `Turns`: others have it for microseconds, unless their reader is slow."""
        for _ in range(_TRIES):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0)
            else:
                return True
        return False

    def leave(self) -> None:
        """As `Turns`."""
        fcntl.lockf(self._file, fcntl.LOCK_UN)


class LineOutput:
    """Writes lines to a file descriptor. `lost` counts those that were dropped."""

    def __init__(self, descriptor: int, turns: Turns | None = None) -> None:
        """`turns`: other processes write there too."""
        self.lost = 0
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._turns = turns
        self._has_turn = turns is None
        self._is_within = False
        """Whether what waits begins with the rest of a line."""

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
            if not self.flush(int(left_s * 1000) + 1):
                time.sleep(_PAUSE_S)
        self.lost += len(self._waiting)
        self._waiting.clear()
        self._is_within = False
        self._leave()

    def flush(self, wait_ms: int = 0) -> bool:
        """Write what waits, as far as the reader takes it; wait up to `wait_ms` for each piece.
        Returns False when it is another process's turn."""
        if not self._waiting:
            return True
        if not self._has_turn:
            assert self._turns is not None, "without turns it is always ours"
            self._has_turn = self._turns.take()
            if not self._has_turn:
                return False
            if self._turns.is_within:
                self._waiting.appendleft(b"\n")
        self._write_waiting(wait_ms)
        if not self._is_within:
            self._leave()
        return True

    def _leave(self) -> None:
        if self._turns is not None and self._has_turn:
            self._has_turn = False
            self._turns.leave()

    def _write_waiting(self, wait_ms: int) -> None:
        while self._waiting and self._poll.poll(wait_ms):
            line = self._waiting.popleft()
            try:
                written = os.write(self._descriptor, line[: select.PIPE_BUF])
            except BlockingIOError:
                self._waiting.appendleft(line)  # somebody made the descriptor non-blocking
                return
            except OSError:
                self.lost += 1  # the reader is gone, or the disk the lines go to is full
                self._is_within = False
                continue
            self._set_within(written < len(line))
            if self._is_within:
                self._waiting.appendleft(line[written:])

    def _set_within(self, value: bool) -> None:
        self._is_within = value
        if self._turns is not None and self._turns.is_within is not value:
            self._turns.is_within = value
