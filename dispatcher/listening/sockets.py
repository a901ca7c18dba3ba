"""Binds the sockets of a listener, or says which address cannot be had and what to do about it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Final

from dispatcher.core.authority import authority
from dispatcher.errors import ConfigError, PortTaken

Address = tuple[str, int]
_ADVICE: Final = {
    errno.EADDRINUSE: "another program listens there: stop it, or set {} to another port",
    errno.EACCES: "this user may not use that port: set {} to one above 1023, or grant "
    "CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine does not have that address: set {} to one it has",
}
_MISSING_FAMILY: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_TRIES: Final = 10


async def listening_sockets(
    host: str, port: int, *, setting: str = "LISTEN"
) -> list[socket.socket]:
    """Bind every address of `host`; "" is every interface, IPv4 and IPv6.

    With port 0 all of them get the same free port. The order is IPv4 first. A name's address of a
    family that this machine lacks is left out, if another one works. `setting` is named where
    something is wrong.

    Raises:
        ConfigError: `host` is not known.
        PortTaken: an address cannot be bound. None is then.
    """
    addresses = await _resolve(host, port, setting)
    for _ in range(_TRIES - 1):
        try:
            return _bind_all(addresses, port, setting)
        except PortTaken:
            if port:
                raise
    return _bind_all(addresses, port, setting)


async def _resolve(host: str, port: int, setting: str) -> list[tuple[socket.AddressFamily, str]]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise ConfigError(
            f"{setting}: the host {host!r} is not known ({error.strerror}); expected is an address "
            "of this machine, a name of one, or nothing for all of them."
        ) from error
    unique = {(family, str(address[0])): None for family, _, _, _, address in found}
    return sorted(unique, key=lambda item: item[0] is not socket.AF_INET)


def _bind_all(
    addresses: list[tuple[socket.AddressFamily, str]], port: int, setting: str
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    has_v4 = any(family == socket.AF_INET for family, _ in addresses)
    missing: PortTaken | None = None
    try:
        for family, host in addresses:
            try:
                sock = _bind(family, (host, port), v6_only=has_v4)
            except OSError as error:
                missing = _explain(error, (host, port), setting)
                if error.errno not in _MISSING_FAMILY:
                    raise missing from error
                continue
            sockets.append(sock)
            port = port or sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise missing or PortTaken(f"{setting}: there is no address to listen on; set another one.")
    return sockets


def _bind(family: socket.AddressFamily, address: Address, *, v6_only: bool) -> socket.socket:
    """Bind one address; without `v6_only`, `::` takes IPv4 callers too."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6_only))
        sock.bind(address)
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def _explain(error: OSError, address: Address, setting: str) -> PortTaken:
    host, port = address
    shown = authority(host, port)
    advice = _ADVICE.get(error.errno or 0, "set {} to another address").format(setting)
    return PortTaken(f"Cannot listen on {shown}: {os.strerror(error.errno or 0)}; {advice}.")
