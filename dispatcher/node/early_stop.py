"""Being stopped before there is an event loop that could hear of it.

Until then SIGTERM and SIGINT are held back (`cli.main`), and files are read by the main thread: the
TOML file, the layout, the signing key. Where one of them hangs, as on a network file system whose
server is gone, nobody would ever see the signal. So a thread waits for it meanwhile. It leaves it
to the server where that comes to its handlers soon, and else ends the process: nothing was begun.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

STOP: Final = (signal.SIGTERM, signal.SIGINT)
GRACE_S: Final = 3.0
"""How long a start that was told to stop may do nothing before it comes to its handlers."""
_MOST: Final = 10
"""It may take so many times that on a busy machine, as long as it is at work."""
_AT_WORK: Final = 0.02
"""Which is to have so much of a processor. Who waits for a file has none."""
_WAKE: Final = signal.SIGRTMIN
_SAID: Final = b"dispatcher: stopped while it was starting; a file hangs.\n"


def _exit(code: int) -> None:
    os.write(2, _SAID)
    os._exit(code)


class EarlyStop:
    """Waits for a signal from `begin` to `end`."""

    def __init__(self, grace_s: float = GRACE_S, leave: Callable[[int], None] = _exit) -> None:
        self._grace_s = grace_s
        self._leave = leave
        self._caught: signal.Signals | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Wait from now on, where the signals are held back."""
        if set(STOP) <= signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            signal.pthread_sigmask(signal.SIG_BLOCK, (_WAKE,))  # for the thread, before it is there
            self._thread = threading.Thread(target=self._wait, name="early-stop", daemon=True)
            self._thread.start()

    def end(self) -> signal.Signals | None:
        """Leave signals to the caller from now on; returns the one that came. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None and thread.ident is not None:
            signal.pthread_kill(thread.ident, _WAKE)
            thread.join()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (_WAKE,))
        return self._caught

    def _wait(self) -> None:
        number = signal.sigwait((*STOP, _WAKE))
        if number == _WAKE:
            return
        self._caught = signal.Signals(number)
        another = self._next()
        if another is None or another.si_signo != _WAKE:
            self._leave(0 if another is None else 1)

    def _next(self) -> signal.struct_siginfo | None:
        """The next signal; None: the start hangs."""
        for _ in range(_MOST):
            before_s = time.process_time()
            another = signal.sigtimedwait((*STOP, _WAKE), self._grace_s)
            if another is not None:
                return another
            if time.process_time() - before_s < self._grace_s * _AT_WORK:
                break
        return None
