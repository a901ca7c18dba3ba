"""Ports of loopback that nobody uses.

They are looked for below those that the system gives to connections: a session keeps its port, and
any connection of another program could hold one of those when the session goes on.
"""

from __future__ import annotations

import errno
import random
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
_LOWEST: Final = 20_000
_TRIES: Final = 100
_GIVEN_TO_CONNECTIONS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUALLY_FROM: Final = 32_768


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens now."""
    chance = random.SystemRandom()
    highest = _first_given() - 1
    for _ in range(_TRIES if highest > _LOWEST else 0):
        port = chance.randint(_LOWEST, highest)
        if is_free(HOST, port):
            return port
    with socket.socket() as any_port:
        any_port.bind((HOST, 0))
        found: int = any_port.getsockname()[1]
        return found


def is_free(host: str, port: int) -> bool:
    """Say whether a server could listen there.

    Raises:
        OSError: the host is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)  # a port that is bound and not listened on can be bound twice
        except OSError as error:
            if isinstance(error, PermissionError) or error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def _first_given() -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(_GIVEN_TO_CONNECTIONS.read_text("ascii").split()[0])
    return _USUALLY_FROM
