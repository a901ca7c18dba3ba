"""The command of a run: a process group, and what it prints.

It has no terminal to read from: as a group in the background it would be stopped by the first try.
A standard input that is none is passed on.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from dispatcher.cli.errors import BadUsage
from dispatcher.cli.local.happenings import CommandEnded, Happenings, OutputEnded, Printed

_PYTHON: Final = re.compile(r"python[0-9.]*|pypy[0-9.]*")
_LONGEST_LINE: Final = 64 * 1024
_MOST_LINES: Final = 1000
"""In the queue at once: a command that prints faster than it can be shown waits."""


def name_of(words: Sequence[str]) -> str:
    """Return what stands before its lines: the program, of Python the script or the module."""
    program = Path(words[0]).name
    if _PYTHON.fullmatch(program):
        for place, word in enumerate(words[1:-1], start=1):
            if word == "-m":
                return words[place + 1]
        script = next((word for word in words[1:] if word.endswith(".py")), None)
        if script is not None:
            return Path(script).name
    return program


def check(words: Sequence[str]) -> None:
    """Look whether there is such a program, before anything is started for it.

    Raises:
        BadUsage: there is none, or it could not import the SDK.
    """
    for word in words:
        if Path(word).name == "dispatcher.py":
            raise BadUsage(
                f"{word}: a program of this name hides the package `dispatcher` from itself. Call "
                "it otherwise, such as app.py"
            )
    if shutil.which(words[0]) is None:
        raise BadUsage(
            f"{words[0]}: there is no such program. After -- comes the command that starts your "
            "application: dispatcher run -- python app.py"
        )


class Command:
    """A command that was started. It puts what it prints, and its end, into the queue."""

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], happenings: Happenings
    ) -> None:
        """Start it. Threads tell what becomes of it.

        Raises:
            BadUsage: it cannot be started.
        """
        self._happenings = happenings
        try:
            self._process = subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.DEVNULL if sys.stdin is None or sys.stdin.isatty() else None,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except OSError as error:
            raise BadUsage(f"{words[0]} cannot be started: {error.strerror}") from error
        self.group = self._process.pid
        self._room = threading.Semaphore(_MOST_LINES)
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, is_error), daemon=True)
            for pipe, is_error in ((self._process.stdout, False), (self._process.stderr, True))
        ]
        for reader in self._readers:
            reader.start()
        for told in (self._tell_end, self._tell_silence):
            threading.Thread(target=told, daemon=True).start()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.group, number)

    def has_been_shown(self) -> None:
        """One of its lines is out of the queue."""
        self._room.release()

    def reap(self) -> None:
        """Let nothing of it live on, after it has ended. Its number may be another's then."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        for reader in self._readers:
            reader.join(1.0)  # of a child that left the group the pipe may stay open

    def _tell_end(self) -> None:
        # Without reaping it: as long as it is there its group is nobody else's.
        ended = os.waitid(os.P_PID, self.group, os.WEXITED | os.WNOWAIT)
        assert ended is not None  # without WNOHANG there is always one
        is_exit = ended.si_code == os.CLD_EXITED
        code = ended.si_status if is_exit else -ended.si_status
        self._happenings.put(CommandEnded(self.group, code))

    def _tell_silence(self) -> None:
        for reader in self._readers:
            reader.join()
        self._happenings.put(OutputEnded(self.group))

    def _read(self, pipe: IO[bytes], is_error: bool) -> None:
        with pipe:
            while line := pipe.readline(_LONGEST_LINE):
                self._room.acquire()
                self._happenings.put(Printed(self.group, line.rstrip(b"\r\n"), is_error))
