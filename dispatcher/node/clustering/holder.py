"""Opens, keeps and hands over the partitions that are this node's: what `cluster.member` decides,
done."""

from __future__ import annotations

from typing import Final

from dispatcher.cluster.holder import Ends
from dispatcher.core.placing import FIRST
from dispatcher.errors import LogFenced
from dispatcher.node.log_names import DEAD_LETTER, TRANSACTION
from dispatcher.node.partitions import OWNER
from dispatcher.node.server import Server

_MOVE_S: Final = 2.0
"""How long attempts of a partition may go on that moves from one node to another while both live:
nothing is accepted for it meanwhile. What is cut off is attempted again."""


class NodeHolder:
    """Implements `cluster.holder.Holder` over a server. It is made before that: the member needs
    it, and the server needs the member's number. Until `serve` nothing is asked of it."""

    _server: Server

    def serve(self, server: Server) -> None:
        """These are the partitions."""
        self._server = server

    async def open(self, partition: int, epoch: int, ends: Ends) -> None:
        """See `Holder`."""
        await self._server.messages.partitions.open(partition, OWNER, epoch, ends)

    def may_act_until(self, partition: int, until_s: float) -> None:
        """See `Holder`."""
        messages = self._server.messages
        found = messages.partitions.get(partition)
        if found is not None:
            messages.tenures.may_act_until(found, until_s)

    def ends(self, partition: int) -> Ends:
        """See `Holder`."""
        found = self._server.messages.partitions.get(partition)
        if found is None:
            return {}
        ends = {
            TRANSACTION: found.log.bounds().end,
            DEAD_LETTER: found.dead_log.bounds().end,
        }
        in_cluster = self._server.in_cluster
        if partition == FIRST and in_cluster is not None:
            ends |= in_cluster.desk_ends
        return ends

    def abandon(self, partition: int) -> None:
        """See `Holder`."""
        error = LogFenced(f"partition {partition} is another node's now")
        self._server.messages.partitions.abandon(partition, error)

    async def hand_over(self, partition: int) -> None:
        """See `Holder`."""
        drain_s = self._server.drain_s
        await self._server.messages.partitions.close(
            partition, _MOVE_S if drain_s is None else drain_s
        )
