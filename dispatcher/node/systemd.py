"""What systemd is told: that the server is ready, reads its settings again, lives, and stops
(sd_notify(3)).

One datagram a message, to the socket that `NOTIFY_SOCKET` names. Without it nothing is told, and
what goes wrong with it is nobody's concern: the server runs all the same.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol

VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE: Final = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE: Final = "WATCHDOG_PID"


class Manager(Protocol):
    """Who started the server, and is told how it does: systemd, or the parent of several processes.

    `is_listening`: whether it wants to hear at all that the server lives, and how; at least every
    `watchdog_s` seconds, or None.
    """

    watchdog_s: float | None

    @property
    def is_listening(self) -> bool: ...

    def ready(self) -> None: ...

    def reloading(self) -> None: ...

    def reloaded(self) -> None: ...

    def alive(self) -> None: ...

    def stopping(self) -> None: ...

    def status(self, text: str) -> None: ...


class Systemd:
    """Tells systemd, where it listens.

    `watchdog_s` is how long it waits for a sign of life before it ends the process; None: it does
    not, or that is meant for another process.
    """

    __slots__ = ("_address", "_is_ready", "_status", "watchdog_s")

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get(VARIABLE, "")
        # "@" stands for the NUL byte in front of an abstract name; other forms are not ours.
        self._address = (
            f"\0{address[1:]}" if address.startswith("@") else address if address[:1] == "/" else ""
        )
        self._is_ready = False
        self._status = ""
        self.watchdog_s = _watchdog_s(environ)

    @property
    def is_listening(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def ready(self) -> None:
        """The start is over."""
        self._is_ready = True
        self._tell("READY=1")

    def reloading(self) -> None:
        """Settings are read again; `reloaded` follows. During the start nothing is told: what ends
        a reload would end the start too."""
        if self._is_ready:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """That is over, however it went."""
        if self._is_ready:
            self._tell("READY=1")

    def alive(self) -> None:
        """All is as it should be."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """The stop has begun; no reload that is under way says otherwise."""
        self._is_ready = False
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in one line how it is, for `systemctl status`; told only when it has changed."""
        if text != self._status and self._tell(f"STATUS={text}"):
            self._status = text

    def _tell(self, *assignments: str) -> bool:
        """Send assignments, and say whether they have left. Never waits and never raises."""
        if not self._address:
            return False
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(assignments).encode(), self._address)
            return True
        return False


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """As sd_watchdog_enabled(3)."""
    given, pid = environ.get(WATCHDOG_VARIABLE, ""), environ.get(WATCHDOG_PID_VARIABLE, "")
    if not (given.isascii() and given.isdigit() and int(given)):
        return None
    return None if pid and pid != str(os.getpid()) else int(given) / 1_000_000
