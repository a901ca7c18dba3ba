"""The traceback of an exception as text, and how it is shown where the exception comes back."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Final

from dispatcher.sdk.exceptions import DispatchError
from dispatcher.sdk.replay.where import is_of_sdk

_MOST_CHARS: Final = 32_000


class RemoteTraceback(Exception):
    """The traceback of an exception that came from another process: it stands as the cause of the
    exception, so that Python prints it above the local one. `text` is it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        """As `concurrent.futures` shows those of its processes."""
        return f'\n"""\n{self.text.rstrip()}\n"""'


def text_of(error: BaseException) -> str:
    """The traceback as Python prints it, from the application's first line on; of a very long one
    the end, where the error is."""
    first = of_application(error)
    lines = traceback.TracebackException(type(error), error, first, compact=True).format()
    text = "".join(lines)
    return text if len(text) <= _MOST_CHARS else f"…\n{text[-_MOST_CHARS:]}"


def of_application(error: BaseException) -> TracebackType | None:
    """The traceback from the application's first line on. An error that the SDK raises by itself,
    as of arguments that do not fit, has none; of a mistake in the SDK all of it is shown."""
    entry = error.__traceback__
    while entry is not None and is_of_sdk(entry.tb_frame.f_code.co_filename):
        entry = entry.tb_next
    return entry if entry is not None or isinstance(error, DispatchError) else error.__traceback__


def hang(error: BaseException, text: str) -> None:
    """Put a remote traceback behind the last of the causes of an exception."""
    seen = {id(error)}
    while error.__cause__ is not None and id(error.__cause__) not in seen:
        error = error.__cause__
        seen.add(id(error))
    error.__cause__ = RemoteTraceback(text)


def taken_off(error: BaseException) -> BaseException | None:
    """The cause of an exception, None where that is a remote traceback."""
    cause = error.__cause__
    return None if isinstance(cause, RemoteTraceback) else cause
