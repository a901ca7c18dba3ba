"""What becomes of a connection, and of the attempt on it, when one of them has ended.

Pure: decides, and `pool` does it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from dispatcher.delivery.response import Response

STALE_S: Final = 1.0
"""A request on a kept connection that ends within this time was not looked at: the connection was
closed as we wrote. Later than that somebody may have worked on it."""


class Parting(Enum):
    """What is done with a connection after a response."""

    KEEP = auto()
    """It waits for the next message."""

    LEAVE = auto()
    """The destination said that it closes it. Whoever closes first remembers the connection for a
    minute (TIME_WAIT), and with it one of the ports that there are towards a destination: so it is
    let to."""

    RESET = auto()
    """We close it although the destination may not; with a reset, which nobody remembers. All we
    had to say was said."""

    ABORT = auto()
    """We close it: the destination did already, or a part of the request is unsent."""


def parting(response: Response, *, written: bool, over: bool) -> Parting:
    """Say what is done with a connection whose response is complete. `written`: the whole request
    has left; `over`: the destination has closed."""
    if over or not written:
        return Parting.ABORT
    if response.reusable:
        return Parting.KEEP
    return Parting.LEAVE if response.says_close else Parting.RESET


class Ending(Enum):
    """What an attempt comes to whose connection ended."""

    ANSWERED = auto()
    """What was read of a response counts, as far as it goes."""

    RESEND = auto()
    """The connection was stale: nothing was tried, and the request goes out again."""

    FAILED = auto()
    """There is no response."""


def ending(*, untouched: bool, carried: int, resent: bool, age_s: float) -> Ending:
    """Say what follows for an attempt.

    Args:
        untouched: not a byte of a response came.
        carried: complete exchanges on this connection before; 0: it was made for this attempt.
        resent: it was already sent again once.
        age_s: seconds since it was written.
    """
    if not untouched:
        return Ending.ANSWERED
    if carried and not resent and age_s <= STALE_S:
        return Ending.RESEND
    return Ending.FAILED
