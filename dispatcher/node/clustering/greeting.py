"""Before a node is a member: whether those that are know the same CLUSTER_KEY.

A node with another one would be given its share of partitions, and no other node could pass on
anything to it: what has a key of theirs would be refused everywhere else.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from dispatcher.cluster.records import MemberRecord
from dispatcher.cluster.sight import Sight
from dispatcher.cluster.store import LeaseStore
from dispatcher.errors import ConfigError
from dispatcher.peers.gate import Gate, read_address
from dispatcher.peers.handshake import HandshakeFailed, Purpose, Reason

_PATIENCE_S: Final = 2.0
"""With one that does not answer."""


async def greet(store: LeaseStore, gate: Gate, *, node: str) -> None:
    """Begin a connection to every other member and end it. One that cannot be reached proves
    nothing: it may be away for long. `node` is this one's name.

    Raises:
        ConfigError: one is there, and knows another key.
        LogBusy: nobody says who there is.
    """
    sight = Sight(_PATIENCE_S)
    while not sight.looked(await store.look(sight.keys()), now_s=0.0):
        pass  # there are more than were known
    records = [one.record for one in sight.members.values()]
    others = [one for one in records if one is not None and one.state.is_there and one.node != node]
    await asyncio.gather(*(_greet(gate, one) for one in others))


async def _greet(gate: Gate, other: MemberRecord) -> None:
    address = read_address(other.address)
    if address is None:
        return
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await gate.connect(address, Purpose.LINK, _Goodbye())
    except HandshakeFailed as error:
        if error.reason is Reason.WRONG_KEY:
            raise ConfigError(
                f"CLUSTER_KEY: expected that of the other nodes; {other.node} at {address} has "
                "another one. Copy it from there; to replace it stop all nodes first"
            ) from error
    except OSError:
        return


class _Goodbye(asyncio.Protocol):
    """Who hears that the other side knows the key, and has nothing to say."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        cast(asyncio.WriteTransport, transport).abort()  # uvloop's is none of its subclasses
