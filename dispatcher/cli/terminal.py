"""A terminal that is drawn on as a whole: a screen of its own, keys as they are pressed.

However it ends, the terminal is as it was: by an exception, Ctrl-C, SIGTERM or SIGHUP, and while it
is stopped by Ctrl-Z. Signals wake who waits: a terminal of another size is drawn on anew.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, TextIO

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
"""The other screen, without a cursor; lines that are too long are not folded."""
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_READ_BYTES: Final = 1024


class Terminal:
    """The terminal behind a stream, and its keyboard where one is given and is a terminal too."""

    def __init__(self, stream: TextIO, keyboard: TextIO | None = None) -> None:
        self._stream = stream
        self._keyboard = keyboard.fileno() if keyboard is not None and keyboard.isatty() else None
        self._before: Any = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._woken, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        os.set_blocking(self._woken, False)
        self._old_wakeup = -1
        self._drawn: tuple[int, int] | None = None

    def __repr__(self) -> str:
        columns, lines = self.size
        return f"<Terminal {columns}x{lines}>"

    def __enter__(self) -> Terminal:
        for number in _ENDING:
            self._handle(number, _end)
        self._handle(signal.SIGTSTP, self._stop)
        self._handle(signal.SIGWINCH, lambda *_: None)  # it wakes, which is all
        self._old_wakeup = signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        self._stream.flush()  # what was printed before is to stay before
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._end()
        finally:
            signal.set_wakeup_fd(self._old_wakeup)
            for number, before in self._handlers.items():
                signal.signal(number, before)
            os.close(self._woken)
            os.close(self._waking)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, now."""
        try:
            found = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            found = shutil.get_terminal_size()
        # A terminal that does not know its size says 0.
        return found.columns or 80, found.lines or 24

    @property
    def needs_drawing(self) -> bool:
        """Whether what was drawn is not what is seen: the size is another, or the program was
        stopped meanwhile."""
        return self._drawn != self.size

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, and nothing else; those that there is no room for are left out."""
        self._drawn = self.size
        room = self._drawn[1]
        # Erased before it is written: after a line that fills the terminal its end would be erased.
        shown = enumerate(lines[:room], 1)
        body = "".join(f"\x1b[{place};1H\x1b[2K{line}" for place, line in shown)
        self._write(f"{body}\x1b[J")

    def wait(self, seconds: float) -> bytes | None:
        """Wait for keys, a signal, or `wake`.

        Returns what was pressed; nothing where the time has passed, or something else woke us; None
        where the keyboard is gone.
        """
        watched = [self._woken] if self._keyboard is None else [self._woken, self._keyboard]
        ready = select.select(watched, [], [], max(seconds, 0.0))[0]
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, _READ_BYTES)
        if self._keyboard is None or self._keyboard not in ready:
            return b""
        return os.read(self._keyboard, _READ_BYTES) or None

    def wake(self) -> None:
        """End a wait; from any thread."""
        with suppress(BlockingIOError, OSError):
            os.write(self._waking, b"\0")

    def _handle(self, number: signal.Signals, handler: Any) -> None:
        self._handlers[number] = signal.signal(number, handler)

    def _begin(self) -> None:
        if self._keyboard is not None:
            self._before = termios.tcgetattr(self._keyboard)
            tty.setcbreak(self._keyboard)
        self._drawn = None
        self._write(_ENTER)

    def _end(self) -> None:
        self._write(_LEAVE)
        if self._keyboard is not None and self._before is not None:
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._before)

    def _write(self, text: str) -> None:
        """Write past the stream's buffer: a signal may come within a write, and its handler writes
        too, which the buffer refuses."""
        left = text.encode(self._stream.encoding, "replace")
        while left:
            left = left[os.write(self._stream.fileno(), left) :]

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Give the terminal back, stop as asked, and take it again when the shell goes on."""
        self._end()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this thread: another one may be told later, when the terminal is taken again.
        signal.raise_signal(signal.SIGTSTP)
        # Here it stands still, until SIGCONT.
        signal.signal(signal.SIGTSTP, self._stop)
        self._begin()
        self.wake()


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
