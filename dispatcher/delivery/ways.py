"""Which ways into networks this machine has, so that one it lost is told from one it never had.

"Network is unreachable" means two things. A machine without IPv6 says it of every IPv6 address, for
ever: then it is a failure like others, and the messages end. A machine that lost its network for a
while says it of all its destinations: that is about the machine alone.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection, Sequence
from enum import IntEnum
from itertools import islice
from pathlib import Path
from typing import Final

from dispatcher.core.egress import Address
from dispatcher.delivery.lacking import NO_WAY, OURS, errnos, is_ours

FAMILIES: Final = (4, 6)

_NOTED_AGAIN_S: Final = 60.0
_ROUTES: Final = Path("/proc/self/net/route")
_ROUTES_6: Final = Path("/proc/self/net/ipv6_route")
_MOST_ROUTES: Final = 1000
"""A machine with more of them is a router; reading all would hold up everybody else."""

_UP: Final = 0x0001  # flags of a route, linux/route.h
_REJECTS: Final = 0x0200
_LOCAL: Final = 0x8000_0000
_PORT: Final = 9  # any: nothing is sent


class Reach(IntEnum):
    """How far the routes of one family lead."""

    NOWHERE = 0
    NEAR = 1
    EVERYWHERE = 2  # there is a default route


class Ways:
    """What this machine's routes are, and how far they led at their best since this was made."""

    __slots__ = ("_best", "_has_source", "_look", "_note_at_s")

    def __init__(
        self,
        look: Callable[[int], Reach] | None = None,
        has_source: Callable[[Address], bool] | None = None,
    ) -> None:
        self._look = look or reach
        self._has_source = has_source or _has_source
        self._best = {family: self._look(family) for family in FAMILIES}
        self._note_at_s = 0.0

    def note(self, now_s: float) -> None:
        """A connection was made: once a minute, see whether there are more ways than before."""
        if now_s >= self._note_at_s:
            self._note_at_s = now_s + _NOTED_AGAIN_S
            self._see()

    def is_ours(self, error: BaseException, addresses: Sequence[Address]) -> bool:
        """Say whether connecting to these addresses failed for a reason on this machine (`lacking`)
        alone: it lost its network, or had no descriptor, memory or port."""
        numbers = errnos(error)
        if not numbers or not numbers <= OURS | NO_WAY:
            return is_ours(error)
        if numbers - NO_WAY - {errno.EADDRNOTAVAIL}:
            return True
        if errno.EADDRNOTAVAIL in numbers and any(map(self._has_source, addresses)):
            return True
        return self.are_lost({address.version for address in addresses})

    def are_lost(self, families: Collection[int] = FAMILIES) -> bool:
        """Say whether there is no way into any network, or none of those to these families leads as
        far as one of them did before."""
        now = self._see()
        if not any(now.values()):
            return True
        return max(self._best[family] for family in families) > max(
            now[family] for family in families
        )

    def _see(self) -> dict[int, Reach]:
        now = {family: self._look(family) for family in FAMILIES}
        self._best = {family: max(now[family], self._best[family]) for family in FAMILIES}
        return now


def reach(family: int) -> Reach:
    """Read the kernel's main table of routes. Where it cannot be read, nothing is known to be lost:
    that is EVERYWHERE."""
    path, leads_to = (_ROUTES, _leads_to_4) if family == 4 else (_ROUTES_6, _leads_to_6)
    try:
        with path.open() as lines:
            return max(map(leads_to, islice(lines, _MOST_ROUTES)), default=Reach.NOWHERE)
    except OSError:
        # Only a kernel that does without the family has no such file where others like it are.
        is_without = not path.exists() and path.parent.is_dir()
        return Reach.NOWHERE if is_without else Reach.EVERYWHERE


def _has_source(address: Address) -> bool:
    """Ask the kernel whether it has an address to speak to this one from; sends nothing. Where it
    has none, as with IPv6 switched off, a connection fails with the same number as where all local
    ports are taken."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _PORT))
    except OSError as error:
        return error.errno not in {errno.EADDRNOTAVAIL, *NO_WAY}
    return True


def _leads_to_4(line: str) -> Reach:
    """Read a line of /proc/net/route; its first says what the columns are."""
    device, destination, _, flags, _, _, _, mask, *_ = line.split()
    if device == "Iface" or _is_useless(device, flags):
        return Reach.NOWHERE
    return Reach.EVERYWHERE if destination == mask == "00000000" else Reach.NEAR


def _leads_to_6(line: str) -> Reach:
    """Read a line of /proc/net/ipv6_route."""
    destination, prefix, *_, flags, device = line.split()
    is_link = destination.startswith(("fe8", "fe9", "fea", "feb", "ff"))
    if is_link or _is_useless(device, flags):
        return Reach.NOWHERE
    return Reach.EVERYWHERE if prefix == "00" else Reach.NEAR


def _is_useless(device: str, flags: str) -> bool:
    number = int(flags, 16)
    return device == "lo" or not number & _UP or bool(number & (_REJECTS | _LOCAL))
