"""What this machine lacks: failures that say nothing about the destination. Pure.

Descriptors, memory, local ports. An attempt that met one of these is `ours` (`core.outcome.
AttemptResult`): it is not the destination that has to be asked less. Of a network that cannot be
reached more has to be known: `delivery.ways`.
"""

from __future__ import annotations

import errno
import re
import socket
from typing import Final

OURS: Final = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,  # all local ports towards this address are taken
    }
)
NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.ENETDOWN})
"""No route leads there; EHOSTUNREACH is what others say of the host."""

DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
_NUMBERS = re.compile(r"\[Errno (\d+)\]")


def is_ours(error: BaseException) -> bool:
    """Say whether an error is only about this machine. Of a connection that was tried to several
    addresses every failure has to be: one address that refused is an answer."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_MEMORY
    numbers = errnos(error)
    return bool(numbers) and numbers <= OURS


def is_of_descriptors(error: BaseException) -> bool:
    """Say whether it would help to close a connection that is not needed."""
    return bool(errnos(error) & DESCRIPTORS)


def errnos(error: BaseException) -> frozenset[int]:
    """Read the numbers of an OSError, or of those that aiohappyeyeballs puts together in one
    text."""
    if not isinstance(error, OSError):
        return frozenset()
    if error.errno is not None:
        return frozenset({error.errno})
    return frozenset(int(number) for number in _NUMBERS.findall(str(error)))
