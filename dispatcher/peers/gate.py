"""Where the nodes of a cluster meet: one TCP port, on which every connection begins with a
handshake (`handshake`), with TLS under it where that is asked for.

Connections that are not known yet are bounded: above `MOST_UNKNOWN` the eldest is closed, so that
who only opens connections keeps nobody out who knows the key and says so at once.

Whoever fails a handshake is told to the observer, which may be anybody's doing any number of times:
of one reason it hears once in `QUIET_S`, with the number of those that it did not hear of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from dispatcher.core.authority import authority
from dispatcher.listening.sockets import listening_sockets
from dispatcher.peers.admission import HANDSHAKE_S, Accepted, Connected, Make
from dispatcher.peers.handshake import TEXTS, HandshakeFailed, Purpose, Reason
from dispatcher.peers.tls import Mutual

MOST_UNKNOWN: Final = 256
QUIET_S: Final = 10.0


class Address(NamedTuple):
    """Where another node is."""

    host: str
    port: int

    def __str__(self) -> str:
        return authority(self.host, self.port)


class GateObserver(Protocol):
    """Who is told of handshakes that failed."""

    def handshake_failed(self, address: str, reason: Reason, detail: str, unheard: int) -> None:
        """With the node at this address; so many others, for the same reason, were not told."""


class Gate:
    """The port of one node, and the connections to those of others."""

    def __init__(self, key: bytes, observer: GateObserver, tls: Mutual | None = None) -> None:
        """`key` is the same for all nodes, and not empty."""
        assert key
        self._key = key
        self._tls = tls
        self._serves: dict[Purpose, Make] = {}
        self._unknown: dict[Accepted, None] = {}
        self._servers: list[asyncio.Server] = []
        self._warnings = _Seldom(observer)
        if tls is not None:
            tls.told = self._tls_failed
        self.port = 0
        """The one that is listened on."""

    def __repr__(self) -> str:
        return f"<Gate on port {self.port}: {len(self._unknown)} not known yet>"

    def on(self, purpose: Purpose, make: Make) -> None:
        """Let connections for this purpose in from now on: each gets a protocol made for it."""
        self._serves[purpose] = make

    def off(self, purpose: Purpose) -> None:
        """Let none in any more; those that there are go on. Idempotent."""
        self._serves.pop(purpose, None)

    async def listen(self, host: str, port: int) -> None:
        """Listen; "" is every interface, port 0 any that is free.

        Raises:
            ConfigError, PortTaken: as `listening_sockets`.
        """
        loop = asyncio.get_running_loop()
        sockets = await listening_sockets(host, port, setting="CLUSTER_LISTEN")
        self.port = sockets[0].getsockname()[1]
        for sock in sockets:
            self._servers.append(await loop.create_server(self._accept, sock=sock))

    async def connect(self, address: Address, purpose: Purpose, inner: asyncio.Protocol) -> None:
        """Connect to another node; `inner` has the connection from then on.

        Raises:
            OSError, HandshakeFailed: it is not there, or not one of this cluster. `inner` has heard
                nothing.
        """
        made = Connected(self._key, purpose, inner)

        def outer() -> asyncio.BaseProtocol:
            if self._tls is None:
                return made
            return self._tls.connecting.secure(made, server=address.host, reads_on=True)

        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await loop.create_connection(outer, *address)
        except TimeoutError as error:
            raise ConnectionError(f"{address} did not answer in time") from error
        try:
            await made.over()
        except HandshakeFailed as error:
            self._warnings.tell(str(address), error.reason)
            raise

    async def close(self) -> None:
        """Listen no more, and close connections that are not known yet. Idempotent."""
        self._serves.clear()
        for server in self._servers:
            server.close()
        for one in [*self._unknown]:
            one.drop()

    def _accept(self) -> asyncio.BaseProtocol:
        if len(self._unknown) >= MOST_UNKNOWN:
            eldest = next(iter(self._unknown))
            del self._unknown[eldest]
            eldest.drop()
        one = Accepted(self._key, self._serves, over=self._known, failed=self._failed)
        self._unknown[one] = None
        return one if self._tls is None else self._tls.accepting.secure(one, reads_on=True)

    def _known(self, one: Accepted) -> None:
        self._unknown.pop(one, None)

    def _tls_failed(self, reason: str, detail: str, address: str) -> None:
        self._warnings.tell(address, Reason.TLS, f"{TEXTS[Reason.TLS]} ({reason}: {detail})")

    def _failed(self, one: Accepted, error: HandshakeFailed) -> None:
        self._unknown.pop(one, None)
        if error.reason is not Reason.CLOSED:  # mostly a look at whether anybody listens
            self._warnings.tell(one.address, error.reason)


class _Seldom:
    """Tells the observer once in a while, for each reason."""

    def __init__(self, observer: GateObserver) -> None:
        self._observer = observer
        self._told_s: dict[Reason, float] = {}
        self._unheard: dict[Reason, int] = {}

    def tell(self, address: str, reason: Reason, detail: str = "") -> None:
        """One failed."""
        now = asyncio.get_running_loop().time()
        if reason in self._told_s and now < self._told_s[reason] + QUIET_S:
            self._unheard[reason] = self._unheard.get(reason, 0) + 1
            return
        self._told_s[reason] = now
        unheard = self._unheard.pop(reason, 0)
        self._observer.handshake_failed(address, reason, detail or TEXTS[reason], unheard)


def read_address(text: str) -> Address | None:
    """Of `host:port`, as members tell where they are; None: it is something else."""
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port)) if port.isdecimal() else None


Lookup = Callable[[int], Address | None]
"""Where the member with a number is; None: nobody knows."""
