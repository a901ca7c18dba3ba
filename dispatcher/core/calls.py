"""How a function call comes to its end, as far as the queue and the API have to know: why one is
given up, and the words for the statuses of the Dispatch protocol.
"""

from __future__ import annotations

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
