"""Asks the system for the addresses of a name (hosts file, DNS), each question in a thread."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from dispatcher.apart import apart

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Addresses of a host, as text, best first. Raises OSError, UnicodeError or, when no thread can be
started, RuntimeError."""


async def system_lookup(host: str) -> Sequence[str]:
    """Ask the system. The call cannot be interrupted, and a handful of names whose servers do not
    answer must not hold up all others."""
    return await apart(partial(_addresses, host), name="lookup")


def _addresses(host: str) -> Sequence[str]:
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]


def can_ask() -> bool:
    """Say whether there is a descriptor to ask with: the system calls its want of one a failure of
    the name server."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True
