"""A command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

SECONDS = 60.0
INTERRUPT = "\x03"


ENTERED = "\x1b[?1049h"
LEFT = "\x1b[?1049l"
"""What a program writes that takes the whole terminal, and gives it back."""


class Terminal:
    """A command on a pseudo-terminal of its own, 120 columns wide unless `SIZE` says otherwise
    (`80x24`). `shown` is all it wrote."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", "dispatcher", *arguments]
        self._begin(command, environment)

    @classmethod
    def of_shell(cls, *arguments: str, **environment: str) -> Terminal:
        """Begin the command as a job of a shell, which says `stopped` when it stops, and continues
        it when Enter is pressed."""
        found = cls.__new__(cls)
        lines = 'set -m; "$@"; echo stopped; read -r line; fg >/dev/null'
        command = ["bash", "-c", lines, "bash", sys.executable, "-m", "dispatcher", *arguments]
        found._begin(command, environment)
        return found

    def _begin(self, command: list[str], environment: dict[str, str]) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        columns, _, lines = environment.pop("SIZE", "120x40").partition("x")
        self.resize(int(columns), int(lines), slave)
        self.modes = termios.tcgetattr(slave)
        root = str(Path(__file__).parents[2])
        unwanted = ("NO_COLOR", "COLUMNS", "LINES")
        kept = {name: value for name, value in os.environ.items() if name not in unwanted}
        self.process = subprocess.Popen(
            command,
            env=kept | {"PYTHONPATH": root, "TERM": "xterm-256color"} | environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # So that Ctrl-C interrupts the command, as a person's does.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._slave = slave

    @property
    def modes_now(self) -> list[object]:
        """The modes of the terminal, to be compared with `modes`, which it began with."""
        return termios.tcgetattr(self._slave)

    def resize(self, columns: int, lines: int, at: int | None = None) -> None:
        """Give it another size; the command is told."""
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master if at is None else at, termios.TIOCSWINSZ, size)

    def screen(self) -> list[str]:
        """The lines of the last whole drawing, as a person sees them, without colours."""
        last = self.shown.rpartition("\x1b[1;1H")[2].partition("\x1b[J")[0]
        lines = re.split(r"\x1b\[[0-9]+;1H", last)
        return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in lines]

    def drawn(self, wanted: Callable[[list[str]], bool]) -> list[str]:
        """Wait for a drawing of which that is so, and return it."""
        deadline = time.monotonic() + SECONDS
        while not (self.shown.endswith("\x1b[J") and wanted(self.screen())):
            assert self._read(deadline), "\n".join(self.screen())
        return self.screen()

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
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.01)[0]:
                self._read(deadline)
        code = self.process.wait(SECONDS)
        while select.select([self._master], [], [], 0)[0] and self._read(deadline):
            pass  # what it wrote last
        return code

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
        os.close(self._slave)

    def _read(self, deadline: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            read = os.read(self._master, 65536)
        except OSError:  # Linux says so when the last one closes the other side
            return False
        self.shown += read.decode("utf-8", "replace")
        return bool(read)
