"""A command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

SECONDS = 60.0
INTERRUPT = "\x03"


class Terminal:
    """A command on a pseudo-terminal of its own, 120 columns wide. `shown` is all it wrote."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        root = str(Path(__file__).parents[2])
        kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", *arguments],
            env=kept | {"PYTHONPATH": root, "TERM": "xterm-256color"} | environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # So that Ctrl-C interrupts the command, as a person's does.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def until(self, text: str) -> None:
        """Wait until it has written this after what was waited for before."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown:
            assert self._read(deadline), self.shown

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def wait(self) -> int:
        """Wait for its end. Returns its exit code."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(SECONDS)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self, deadline: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            read = os.read(self._master, 65536)
        except OSError:  # Linux says so when the last one closes the other side
            return False
        self.shown += read.decode("utf-8", "replace")
        return bool(read)
