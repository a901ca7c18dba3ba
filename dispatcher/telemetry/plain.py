"""The lines of `log` in JSON, without its library: for a process that has to stay small.

Only what is simple: nothing can be bound to it.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from typing import Final

from dispatcher.core.instants import rfc3339

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class PlainLog:
    """Hands finished lines to `write_line`, from the level `level` on."""

    def __init__(self, write_line: Callable[[str], None], *, level: str) -> None:
        self._write_line = write_line
        self._least = _LEVELS[level]

    def is_enabled_for(self, level: int) -> bool:
        """Whether lines of this level (a number of `logging`'s) are written."""
        return level >= self._least

    def debug(self, event: str, **fields: object) -> None:
        """Log an event."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log an event."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log an event."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log an event."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if _LEVELS[level] < self._least:
            return
        if isinstance(error := fields.pop("exc_info", None), BaseException):
            fields["exception"] = "".join(traceback.format_exception(error)).rstrip("\n")
        now = rfc3339(time.time_ns() // 1000)
        line = {"timestamp": now, "level": level, "event": event, **fields}
        self._write_line(json.dumps(line, default=str, ensure_ascii=False))
