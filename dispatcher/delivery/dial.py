"""Opens a connection: look the name up, check every address, connect, shake hands.

Failing is expected and comes back as a value. A task that runs `Dialer.open` may be cancelled at
any point: no socket stays behind.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

import aiohappyeyeballs

from dispatcher.core.destination import Destination
from dispatcher.core.egress import Address, EgressPolicy
from dispatcher.core.outcome import Failure
from dispatcher.delivery.connection import Connection
from dispatcher.delivery.lacking import is_of_descriptors, is_ours
from dispatcher.delivery.local import is_local
from dispatcher.delivery.resolver import Resolver
from dispatcher.delivery.trust import Trust
from dispatcher.delivery.ways import Ways

AddrInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""As `socket.getaddrinfo` returns it."""

Connector = Callable[[Sequence[AddrInfo]], Awaitable[socket.socket]]
"""Connects to the first of these addresses that answers. Raises OSError."""

_NEXT_ADDRESS_S = 0.25  # RFC 8305 §5, recommended connection attempt delay


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why there is no connection. `ours`: for a reason on this machine (`lacking`).
    `lacks_descriptors`: closing a connection that is not needed would help."""

    failure: Failure
    detail: str
    ours: bool = False
    lacks_descriptors: bool = False


class Dialer:
    """Opens connections. `policy` may be replaced while it is in use."""

    def __init__(
        self,
        policy: EgressPolicy,
        resolver: Resolver,
        connector: Connector | None = None,
        *,
        is_local: Callable[[Address], bool] = is_local,
        ways: Ways | None = None,
    ) -> None:
        self.policy = policy
        self._ways = ways or Ways()
        self._resolver = resolver
        self._connector = connector or happy_eyeballs
        self._is_local = is_local
        self._trust = Trust()

    async def open(
        self,
        destination: Destination,
        make: Callable[[], Connection],
        *,
        on_phase: Callable[[str, bool], None],
        trust: Trust | None = None,
    ) -> Connection | Unreachable:
        """Open one connection; `on_phase` hears what is being waited for, in words, and whether
        that is on this machine. `trust`: what secures it, where that is not the system's."""
        host, port = destination.host, destination.port
        if denied := self.policy.check_name(host):
            return Unreachable(Failure.EGRESS, denied)
        answer = await self._resolver.resolve(host, on_phase)
        if not answer.addresses:
            return Unreachable(Failure.DNS, f"{host}: {answer.problem}", answer.ours)
        try:
            allowed, reasons = self._check(host, port, answer.addresses)
        except OSError as error:  # it is not known whether this is our own listener
            return _unreachable(error, Failure.CONNECTION, f"{host}:{port}")
        if not allowed:
            return Unreachable(Failure.EGRESS, "; ".join(reasons))
        on_phase("connecting to " + _names(allowed, port), False)
        try:
            sock = await self._connector([_addr_info(address, port) for address in allowed])
        except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError for some of them
            ours = self._ways.is_ours(error, allowed)
            if not ours:
                self._resolver.forget(host)
            return _unreachable(error, Failure.CONNECTION, _names(allowed, port), ours=ours)
        self._ways.note(asyncio.get_running_loop().time())
        on_phase("shaking hands (TLS)", False)
        return await self._attach(destination, sock, make, trust or self._trust)

    def _check(
        self, host: str, port: int, addresses: Sequence[Address]
    ) -> tuple[list[Address], list[str]]:
        allowed: list[Address] = []
        reasons: list[str] = []
        for address in addresses:
            denied = self.policy.check(host, port, address, is_local=self._is_local)
            if denied is None:
                allowed.append(address)
            else:
                reasons.append(denied)
        return allowed, reasons

    async def _attach(
        self,
        destination: Destination,
        sock: socket.socket,
        make: Callable[[], Connection],
        trust: Trust,
    ) -> Connection | Unreachable:
        loop = asyncio.get_running_loop()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # What typeshed asks for is a subclass; event loops only call the methods.
            factory = cast("Callable[[], asyncio.Protocol]", make)
            if destination.scheme == "http":
                _, connection = await loop.create_connection(factory, sock=sock)
                return cast(Connection, connection)
            _, connection = await loop.create_connection(
                factory,
                sock=sock,
                ssl=await trust.context(),
                server_hostname=destination.host.removesuffix("."),
                # Longer than any attempt may take: the attempt's deadline is the one that counts.
                ssl_handshake_timeout=2 * 3600,
                ssl_shutdown_timeout=1,
            )
            return cast(Connection, connection)
        except (OSError, ValueError, RuntimeError) as error:
            sock.close()
            failure = Failure.TLS if destination.scheme == "https" else Failure.CONNECTION
            return _unreachable(error, failure, destination.authority)
        except (asyncio.CancelledError, MemoryError):
            sock.close()
            raise


async def happy_eyeballs(addr_infos: Sequence[AddrInfo]) -> socket.socket:
    """Connect as RFC 8305 says: families in turn, the next one after 250 ms without an answer."""
    return await aiohappyeyeballs.start_connection(
        addr_infos, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
    )


def reason(error: Exception) -> str:
    """Put an error of the system or of OpenSSL into words, without the noise."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def _unreachable(
    error: Exception, failure: Failure, where: str, *, ours: bool | None = None
) -> Unreachable:
    ours = is_ours(error) if ours is None else ours
    # Frames that it came through have it among their variables, and the message: all of that would
    # stay until the garbage collector finds it.
    error.__traceback__ = None
    return Unreachable(
        Failure.CONNECTION if ours else failure,
        f"{reason(error)} ({where})",
        ours,
        is_of_descriptors(error),
    )


def _addr_info(address: Address, port: int) -> AddrInfo:
    if address.version == 4:
        return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port))
    sockaddr = (str(address), port, 0, 0)
    return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr)


def _names(addresses: Sequence[Address], port: int) -> str:
    return ", ".join(f"[{a}]:{port}" if a.version == 6 else f"{a}:{port}" for a in addresses)
