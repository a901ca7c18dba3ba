"""Where in the user's source something is called: `app.py:41`, in records and messages."""

from __future__ import annotations

import sys
from types import FrameType

from dispatcher.sdk.functions.spec import Place
from dispatcher.sdk.replay.where import is_of_sdk, is_of_user


def caller() -> Place:
    """Return the innermost line of the user's code that has led here; where there is none, as in a
    library that calls functions, the innermost outside of the SDK."""
    outside: FrameType | None = None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if is_of_user(file):
            return Place(file, frame.f_lineno)
        if outside is None and not is_of_sdk(file):
            outside = frame
        frame = frame.f_back
    if outside is None:
        return Place("<unknown>", 0)
    return Place(outside.f_code.co_filename, outside.f_lineno)
