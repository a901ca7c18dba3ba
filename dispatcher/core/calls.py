"""How a function call comes to its end, as far as the queue and the API have to know: why one is
given up, and the words for the statuses of the Dispatch protocol, and for applications' errors.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from dispatcher.protocol.statuses import Status


class CallReason(Enum):
    """Why a root call is given up. The value is the stable slug of the API and the log."""

    EXPIRED = "expired"
    FAILED = "failed"


STATUS_WORDS: Final = tuple(status.name.lower() for status in Status)
"""By the number that the protocol gives a status."""


def status_word(number: int) -> str:
    """The word for a status, as operators are shown it; `status_99` where none is known."""
    return STATUS_WORDS[number] if number < len(STATUS_WORDS) else f"status_{number}"


MOST_TYPE_CHARS: Final = 64
"""Of the type of an error, in the word for it."""
ERROR_TYPE: Final = f"[A-Za-z0-9_.*<>/$-]{{1,{MOST_TYPE_CHARS}}}"
"""What of an error's type is in the word for it: the beginning that looks like a name. Applications
may put anything there, and what differs from error to error would make every one a cause."""
OTHER_TYPE: Final = "other"
_ERROR: Final = "error"
_TYPE: Final = re.compile(ERROR_TYPE)


def type_word(error_type: str) -> str:
    """What of an error's type is in the word for it, "" where it does not begin like a name."""
    found = _TYPE.match(error_type)
    return found[0] if found else ""


def error_word(error_type: str) -> str:
    """The word for an error that an application made: `error:ValueError`, and `error` where its
    type is no name. It is never a word for what the server found: those have no colon."""
    kind = type_word(error_type)
    return f"{_ERROR}:{kind}" if kind else _ERROR
