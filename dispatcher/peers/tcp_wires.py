"""Connections between nodes: through the gate of each, to the address that the other one is known
to have."""

from __future__ import annotations

from dispatcher.peers.gate import Gate, Lookup
from dispatcher.peers.handshake import Purpose
from dispatcher.peers.links import NewLink


class TcpWires:
    """Implements `links.Wires`; the gate listens already, and lets links in from `listen` on."""

    def __init__(self, gate: Gate, address_of: Lookup) -> None:
        """`address_of` is asked each time that a connection is made: an address may change."""
        self._gate = gate
        self._address_of = address_of

    def __repr__(self) -> str:
        return f"<TcpWires through {self._gate!r}>"

    async def listen(self, process: int, new_link: NewLink) -> None:
        """See `links.Wires`."""
        self._gate.on(Purpose.LINK, new_link)

    async def connect(self, process: int, new_link: NewLink) -> None:
        """See `links.Wires`."""
        address = self._address_of(process)
        if address is None:
            raise ConnectionError(f"nobody knows where member {process} is")
        await self._gate.connect(address, Purpose.LINK, new_link())

    async def close(self) -> None:
        """See `links.Wires`. The gate stays open for what else it lets in."""
        self._gate.off(Purpose.LINK)
