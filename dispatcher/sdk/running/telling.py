"""What the application's own log says of functions that failed: one line, and where it happened."""

from __future__ import annotations

import logging
from typing import Final

from dispatcher.protocol.statuses import Status, Then
from dispatcher.sdk.errors import of_application
from dispatcher.sdk.errors.portraits import text_of

_log: Final = logging.getLogger("dispatcher.sdk")


def tell(what: str, call_id: str, error: BaseException, *, status: Status | None) -> None:
    """Log an exception that left a function or a step (`what`): an error where the call ends with
    it, a warning where it is tried again, or goes on (None). One that says its own status was
    raised on purpose, and needs no traceback.
    """
    is_tried = status is not None and status.then is Then.RETRY
    is_meant = isinstance(getattr(error, "status", None), Status)
    _log.log(
        logging.WARNING if is_tried or status is None else logging.ERROR,
        "%s failed (call %s)%s: %s: %s",
        what,
        call_id,
        ", and is tried again" if is_tried else "",
        type(error).__name__,
        text_of(error),
        exc_info=None if is_meant else (type(error), error, of_application(error)),
    )
