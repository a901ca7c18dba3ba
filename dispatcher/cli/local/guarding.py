"""The run's side of its guard (`guard`)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from dispatcher.cli.local import guard

_WAIT_S: Final = 10.0


class Guard:
    """A process that ends what it was told of if this process ends without `close`."""

    def __init__(self, held: Sequence[int] = ()) -> None:
        """`held` are descriptors that stay open until everything has ended."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=held,
            cwd="/",
            start_new_session=True,
            text=True,
        )

    def add(self, group: int) -> None:
        """Let a process group end with this process."""
        self._order(f"group {group}")

    def forget(self, group: int) -> None:
        """It has ended; its number may become another's."""
        self._order(f"gone {group}")

    def remove(self, directory: Path) -> None:
        """Let a directory be removed then."""
        self._order(f"remove {directory}")

    def close(self) -> None:
        """Everything has ended in the orderly way. Idempotent."""
        self._order("done")
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.wait(_WAIT_S)

    def _order(self, text: str) -> None:
        if self._process.stdin is None or self._process.stdin.closed:
            return
        with suppress(BrokenPipeError):  # somebody has killed it: then there is none
            self._process.stdin.write(f"{text}\n")
            self._process.stdin.flush()
