"""What systemd is told: that the server is ready, and that it stops (sd_notify(3)).

One datagram a message, to the socket that `NOTIFY_SOCKET` names. Without it nothing is told, and
what goes wrong with it is nobody's concern: the server runs all the same.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

VARIABLE: Final = "NOTIFY_SOCKET"
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


class Systemd:
    """Tells systemd, where it listens."""

    __slots__ = ("_address",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get(VARIABLE, "")
        # "@" stands for the NUL byte in front of an abstract name; other forms are not ours.
        self._address = (
            f"\0{address[1:]}" if address.startswith("@") else address if address[:1] == "/" else ""
        )

    def tell(self, *assignments: str) -> None:
        """Send some assignments such as `READY`. Never waits and never raises."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(assignments).encode(), self._address)

    def status(self, text: str) -> None:
        """Say in one line how it is, for `systemctl status`."""
        self.tell(f"STATUS={text}")
