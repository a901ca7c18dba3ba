"""The log: one event a line, as JSON for machines or in columns for people.

A line has `timestamp` (RFC 3339, UTC, microseconds), `level`, `event` and the fields of the event,
in this order. What is below the level costs one call that does nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from dispatcher.core.instants import rfc3339

Level = Literal["debug", "info", "warning", "error"]


def open_log(
    write_line: Callable[[str], None],
    *,
    level: Level,
    format: Literal["json", "console"],
    colors: bool = False,
) -> FilteringBoundLogger:
    """Make a logger that hands finished lines, without their newline, to `write_line`.

    `level` is the least important one that is written. `colors` is only for the console format.
    Nothing global is configured: two servers in one process have two logs.
    """
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(write_line),
        processors=[
            structlog.processors.format_exc_info,
            _add_time_and_level,
            *_rendering(format, colors=colors),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        cache_logger_on_first_use=True,
    )
    return logger


class _Lines:
    """The end of structlog's chain: every level is the same to it."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self.debug = self.info = self.warning = self.error = write_line


def _add_time_and_level(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
    name = event.pop("event")
    now = rfc3339(time.time_ns() // 1000)
    return {"timestamp": now, "level": level, "event": name, **event}


def _rendering(format: str, *, colors: bool) -> Sequence[Callable[..., Any]]:
    if format == "json":
        return [structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
    # Plain tracebacks: structlog's default shows local variables, and with them keys and bodies.
    console = structlog.dev.ConsoleRenderer(
        colors=colors,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_flatten, console]


def _flatten(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
    """Write lists and mappings as people do, and not as Python, and leave out what there is none
    of. All settings in force are for machines; people see which were changed, and `dispatcher
    config check` prints the others."""
    return {
        name: _flat(value)
        for name, value in event.items()
        if value is not None and value != "" and name != "settings"
    }


def _flat(value: object) -> object:
    match value:
        case Mapping():
            return " ".join(f"{name}={_flat(one)}" for name, one in value.items()) or "none"
        case list() | tuple():
            return ",".join(map(str, value)) or "none"
        case bool():
            return str(value).lower()
        case _:
            return value
