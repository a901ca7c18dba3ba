"""Signals as bytes that a selector waits for: none comes between a look and the wait after it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Wakeup:
    """Catches signals from when it is made; there may be one of these in a process."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = frozenset(numbers)
        self.reader, self._writer = socket.socketpair()
        for one in (self.reader, self._writer):
            one.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in self._numbers:
            signal.signal(number, lambda *_: None)  # or its usual action would be taken
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)

    def caught(self) -> list[signal.Signals]:
        """Those that have come since, in their order."""
        try:
            return [signal.Signals(number) for number in self.reader.recv(4096)]
        except BlockingIOError:
            return []

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this lasts they wait; and in what is started meanwhile, until it takes them: it
        would die of one that comes before it has handlers. None dies of SIGCHLD."""
        held = self._numbers - {signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, held)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
