"""Warnings of asyncio and aiohttp, which log with the standard library."""

from __future__ import annotations

import logging

from dispatcher.telemetry.events import Events


class ToEvents(logging.Handler):
    """Turns records of the standard library's logging into events.

    The root logger is the process's, so only the process's entry point may install one:
    `logging.getLogger().addHandler(ToEvents(events))`.
    """

    def __init__(self, events: Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record. asyncio reports a task whose exception nobody took in this way."""
        error = record.exc_info[1] if record.exc_info else None
        self._events.library_warned(logger=record.name, text=record.getMessage(), exc_info=error)
