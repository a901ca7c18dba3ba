"""One child as a process: started with what it inherits, heard, told, signalled, and reaped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from dispatcher.node.processes.life import Act
from dispatcher.node.processes.line import Heard

_SIGNALS: Final = {
    Act.TERMINATE: signal.SIGTERM,
    Act.ABORT: signal.SIGABRT,
    Act.KILL: signal.SIGKILL,
}
_AT_ONCE: Final = 1 << 16


class Child:
    """A process that was started. `line` is the parent's end of what they talk over; it ends before
    the process does, or with it."""

    def __init__(
        self,
        command: Sequence[str],
        inherited: Sequence[int],
        environ: Mapping[str, str],
    ) -> None:
        """Start it; the descriptor of its end of the line is added to the command.

        Raises:
            OSError: the system does not let us, for now.
        """
        self.line, its = socket.socketpair()
        self._heard = Heard()
        with its:
            try:
                self.line.setblocking(False)
                self._process = subprocess.Popen(
                    [*command, str(its.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[*inherited, its.fileno()],
                    env=environ,
                )
            except BaseException:
                self.line.close()
                raise
        self.pid = self._process.pid
        self.refused: Mapping[str, Any] | None = None
        """Why it cannot start, once it has said so."""
        self.taken: int | None = None
        """The descriptor of settings that it has put into force; who takes it closes it."""
        self.is_silent = False
        """Whether it has closed its end: nothing comes any more."""

    def hear(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield what it has said since."""
        while True:
            try:
                data, files, _, _ = socket.recv_fds(self.line, _AT_ONCE, 1)
            except BlockingIOError:
                return
            except OSError:  # its end is gone, and bytes of ours with it
                data, files = b"", []
            for file in files:
                self._take(file)
            if not data:
                self.is_silent = True
                return
            yield from self._heard.feed(data)

    def _take(self, file: int | None) -> None:
        if self.taken is not None:
            os.close(self.taken)
        self.taken = file

    def tell(self, line: bytes) -> None:
        """Say something. Nothing is said to one that does not listen."""
        with suppress(OSError):
            self.line.send(line)

    def carry_out(self, act: Act) -> signal.Signals:
        """Send the signal that an act stands for; none when it has ended. Returns which."""
        number = _SIGNALS[act]
        self.signal(number)
        return number

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; none when it has ended."""
        self._process.send_signal(number)

    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """Let go of the line, and of what was not taken."""
        self.line.close()
        self._take(None)


def without_manager(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child gets of the environment: only the parent talks to systemd."""
    return {name: value for name, value in environ.items() if name not in _OF_SYSTEMD}


_OF_SYSTEMD: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")


def write_stacks() -> None:
    """Write where this process is to standard error, as its children do on the same signal."""
    import faulthandler
    import sys

    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            faulthandler.dump_traceback(sys.stderr)


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors; those that are closed already are passed over."""
    for one in descriptors:
        with suppress(OSError):
            os.close(one)
