"""Asks the system for the addresses of a name (hosts file, DNS), each question in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Addresses of a host, as text, best first. Raises OSError, UnicodeError or, when no thread can be
started, RuntimeError."""


async def system_lookup(host: str) -> Sequence[str]:
    """Ask the system.

    In a thread of its own. Not in a shared pool: a handful of names whose servers do not answer
    would fill it and hold up all others. Nor in one that the interpreter joins at its end: the call
    cannot be interrupted.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(addresses: Sequence[str], error: Exception | None) -> None:
        if found.cancelled():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def work() -> None:
        addresses: list[str] = []
        error: Exception | None = None
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = [str(info[4][0]) for info in infos]
        except (OSError, UnicodeError, MemoryError) as failure:
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, addresses, error)

    threading.Thread(target=work, name="lookup", daemon=True).start()
    return await found


def can_ask() -> bool:
    """Say whether there is a descriptor to ask with: the system calls its want of one a failure of
    the name server."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True
