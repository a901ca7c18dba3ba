"""Logging that says each thing once: silent while a durable function is replayed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from dispatcher.sdk.functions import context, durable

_OWN: Final = ("exc_info", "stack_info", "stacklevel", "extra")
"""Keyword arguments that are logging's; the others are fields of the line."""


class Log:
    """`dispatch.log`: a logger of the standard library for the code of functions.

        dispatch.log.info("charged %s", customer, amount=12)

    While a durable function repeats what it did before, it says nothing. Keyword arguments are
    fields: they stand behind the message, and in the record's `dispatch`, with the `call` and the
    `function`. Its logger is named "dispatch"; `dispatch.log.of(logger)` does the same for yours.
    """

    def __init__(self, logger: logging.Logger, fields: Mapping[str, object] | None = None) -> None:
        self.logger = logger
        self._fields = dict(fields or {})

    def of(self, logger: logging.Logger) -> Log:
        """Return the same for a logger of your own."""
        return Log(logger, self._fields)

    def bind(self, **fields: object) -> Log:
        """Return the same with fields that each line has."""
        return Log(self.logger, {**self._fields, **fields})

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  logging's name
        """Whether a line of this level is written here and now."""
        return not _is_silent() and self.logger.isEnabledFor(level)

    # The message comes first and has no name, so that fields may be called `msg` and `level`.

    def debug(self, msg: object, /, *args: object, **kwargs: Any) -> None:
        """Write a line of level DEBUG."""
        self._write(logging.DEBUG, msg, args, kwargs)

    def info(self, msg: object, /, *args: object, **kwargs: Any) -> None:
        """Write a line of level INFO."""
        self._write(logging.INFO, msg, args, kwargs)

    def warning(self, msg: object, /, *args: object, **kwargs: Any) -> None:
        """Write a line of level WARNING."""
        self._write(logging.WARNING, msg, args, kwargs)

    def error(self, msg: object, /, *args: object, **kwargs: Any) -> None:
        """Write a line of level ERROR."""
        self._write(logging.ERROR, msg, args, kwargs)

    def exception(self, msg: object, /, *args: object, **kwargs: Any) -> None:
        """Write a line of level ERROR with the traceback of the exception that is handled."""
        self._write(logging.ERROR, msg, args, {"exc_info": True, **kwargs})

    def critical(self, msg: object, /, *args: object, **kwargs: Any) -> None:
        """Write a line of level CRITICAL."""
        self._write(logging.CRITICAL, msg, args, kwargs)

    def log(self, level: int, msg: object, /, *args: object, **kwargs: Any) -> None:
        """Write a line of a level: `msg % args`, and the fields."""
        self._write(level, msg, args, kwargs)

    def _write(
        self, level: int, msg: object, args: tuple[object, ...], kwargs: dict[str, Any]
    ) -> None:
        if not self.isEnabledFor(level):
            return
        fields = {**self._fields, **{key: kwargs[key] for key in kwargs if key not in _OWN}}
        left = {key: kwargs[key] for key in kwargs if key in _OWN}
        left["extra"] = {**(left.get("extra") or {}), "dispatch": {**_call(), **fields}}
        # The caller is two frames further up.
        left["stacklevel"] = left.get("stacklevel", 1) + 2
        text = f"{msg}{_shown(fields, is_formatted=bool(args))}" if fields else msg
        self.logger.log(level, text, *args, **left)

    def __repr__(self) -> str:
        return f"<log of dispatch to {self.logger.name!r}>"


log: Final = Log(logging.getLogger("dispatch"))


def _shown(fields: Mapping[str, object], *, is_formatted: bool) -> str:
    """Fields as text behind a message, in which logging still puts its arguments in or not."""
    text = "".join(f" {key}={value!r}" for key, value in fields.items())
    return text.replace("%", "%%") if is_formatted else text


def _is_silent() -> bool:
    return durable.is_silent(durable.running())


def _call() -> dict[str, object]:
    loop, here = durable.running(), context.inside.get()
    told = loop.told if loop is not None else here.told if here is not None else None
    return {} if told is None else {"call": told.id, "function": told.function}
