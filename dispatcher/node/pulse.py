"""The sign of life: systemd's watchdog is fed while the server can do its work, and told how it is.

The task runs in the event loop, so a loop that hangs sends none. A log that does not answer is the
other way to hang: while the disk of one stands still (`disk_stalled` at `/readyz`), none is sent
either, so that it is not hidden for longer than the watchdog allows. A disk that only takes long
now and then answers before that, and costs nothing. A full disk is no reason: a restart would not
make space, and delivery goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from dispatcher.api.health import Health
from dispatcher.node.systemd import Manager

_STATUS_S: Final = 10.0
"""How often the line for `systemctl status` is made anew."""


@dataclass(frozen=True, slots=True)
class Condition:
    """How the server is.

    `has_answered`  whether no log keeps the server waiting.
    `waiting`       messages that are neither delivered nor dead.
    `dead`          dead letters that are kept.
    """

    health: Health
    has_answered: bool
    waiting: int
    dead: int


class Beating(Protocol):
    """What the pulse is taken of: the server."""

    def condition(self) -> Condition:
        """How it is now."""


class Pulse:
    """One sign after the other, `every_s` seconds apart: at half of what the watchdog allows."""

    def __init__(self, systemd: Manager, server: Beating) -> None:
        self._systemd = systemd
        self._server = server
        watchdog_s = systemd.watchdog_s
        self.every_s = _STATUS_S if watchdog_s is None else min(watchdog_s / 2, _STATUS_S)

    async def beat(self) -> None:
        """Tell how the server is, and that it lives if it does."""
        condition = self._server.condition()
        self._systemd.status(described(condition))
        if condition.has_answered and self._systemd.watchdog_s is not None:
            self._systemd.alive()


def described(condition: Condition) -> str:
    """The line for `systemctl status`."""
    health = condition.health
    state = "Accepting messages" if health.is_ready else f"Not accepting messages ({health.reason})"
    return f"{state}; {condition.waiting} waiting, {condition.dead} dead letters."
