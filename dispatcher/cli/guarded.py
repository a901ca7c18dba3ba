"""Standard output whose failures are told apart from all other errors of the system.

What a command prints may go to a full disk, to a terminal that is gone, or to a reader that has
seen enough. Python raises `OSError` for each of them, from any `print`, and again when it flushes
at exit, where nobody can catch it. Here they become two exceptions of our own, raised once:
afterwards everything that is written goes nowhere.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any

from dispatcher.errors import DispatcherError


class OutputFailed(DispatcherError):
    """What was printed could not be written."""

    slug = "output_failed"


class ReaderGone(Exception):
    """Whoever read the output has stopped reading."""


class _Guarded(io.FileIO):
    """The file under standard output."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            silence(self.fileno())
            raise ReaderGone from None
        except OSError as error:
            silence(self.fileno())
            raise OutputFailed(
                f"standard output: {error.strerror}. What was asked for is done, but not all of "
                "its result could be written."
            ) from None


def guard_stdout() -> None:
    """Let writing to standard output raise `OutputFailed` and `ReaderGone`, and show characters
    that the locale does not have as numbers."""
    stream = sys.__stdout__
    # Tests put other objects in its place; without a standard output it is None.
    if stream is None or stream is not sys.stdout:
        return
    stream.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Guarded(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.isatty(),
    )


def silence(descriptor: int) -> None:
    """Send what is still written there nowhere: it would fail again, at exit, with a traceback."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
