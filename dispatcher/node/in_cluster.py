"""What a server has as a node of a cluster, beside its partitions: a way to the desk for operators,
wherever that is, and the desk itself while partition 0 is here.

    listen ─▶ begin (its member claims partitions) ─▶ leave (hands them over) ─▶ leave_api ─▶ stop
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from socket import socket
from typing import Final

from dispatcher.api.front.server import Front
from dispatcher.api.health import Health
from dispatcher.cluster.holder import Ends
from dispatcher.core.keys import Key, Keyring
from dispatcher.core.placing import FIRST
from dispatcher.node import certificates, configs
from dispatcher.node.beside import ApiPlace, DeskBeside
from dispatcher.node.clustered import Clustered
from dispatcher.node.desk import Desk
from dispatcher.node.disks import Disks
from dispatcher.node.log_names import AUDIT, RESULTS, TRANSACTION
from dispatcher.node.message_service import MessageService
from dispatcher.node.metrics import Metrics
from dispatcher.node.neighbours import RUN
from dispatcher.node.notifying.notifier import Notifier
from dispatcher.node.outlook import Addresses
from dispatcher.peers.tunnel import Tunnel
from dispatcher.queue.partition import Partition

_HAND_OVER_S: Final = 10.0
"""How long handing over partitions may take beyond the end of their attempts."""
CUT_OFF_S: Final = 10.0
"""NATS may take nine seconds to elect a leader; who is not heard for longer is cut off."""


class InCluster:
    """What one node of a cluster has beside its partitions. `desk` is None while another node has
    it."""

    def __init__(
        self,
        cluster: Clustered,
        messages: MessageService,
        notifier: Notifier,
        *,
        sockets: Sequence[socket],
        health: Callable[[], Health],
        addresses: Callable[[], Addresses],
    ) -> None:
        """The front listens on `sockets`, where there are some; `health` and `addresses` are as
        `Desk` has them.

        Raises:
            ConfigError: there is no place for the socket of the desk's API.
        """
        self.desk: Desk | None = None
        self._cluster = cluster
        self._messages = messages
        self._notifier = notifier
        self._health = health
        self._addresses = addresses
        self._keys: Collection[Key] = messages.settings.api_keys
        self._place = ApiPlace(messages.settings.transaction_log / RUN)
        self._tunnel = self._make_tunnel()
        self._front = self._make_front(sockets)

    def __repr__(self) -> str:
        where = "elsewhere" if self.desk is None else "here"
        return f"<InCluster: member {self._cluster.number}, the desk is {where}>"

    @property
    def bound(self) -> list[tuple[str, int]]:
        """Where operators find this node."""
        return self._front.bound

    @property
    def is_cut_off(self) -> bool:
        """Whether NATS takes nothing of this node, for so long that messages are better sent to
        another one, if any is better off."""
        return self._cluster.member.silent_s() >= CUT_OFF_S

    @property
    def desk_ends(self) -> dict[str, int]:
        """How far the logs of the desk reach that is here (`cluster.holder.Ends`)."""
        if self.desk is None:
            return {}
        logs = {RESULTS: self.desk.functions.results.log, AUDIT: self.desk.trail.log}
        return {name: log.bounds().end for name, log in logs.items() if log is not None}

    def beside(self, number: int, partition: Partition, ends: Ends) -> DeskBeside | None:
        """See `partitions.Beside`: partition 0 has the desk."""
        if number != FIRST:
            return None
        cluster = self._cluster
        desk = Desk(
            self._messages,
            partition,
            cluster.logs.desk(ends),
            self._notifier,
            sockets=(),
            health=self._health,
            addresses=self._addresses,
            directory=cluster.directory,
            behind=self._place.unix,
        )
        if self._keys:
            desk.api.replace_keys(self._keys)
        return DeskBeside(desk, self._desk_is)

    def _desk_is(self, desk: Desk | None) -> None:
        self.desk = desk

    def replace_keys(self, keys: Collection[Key]) -> None:
        """Let these operators in from now on; also where the desk comes here later.

        Raises:
            ValueError: as `Keyring.replace`; nothing has changed.
        """
        self._front.replace_keys(keys)
        self._keys = keys

    # Its life.

    async def listen(self) -> None:
        """Be there for operators, and for those of other nodes.

        Raises:
            PortTaken, ConfigError: as `Front.start`.
        """
        self._tunnel.start()
        self._cluster.directory.on_change(self._tunnel.go_on)
        await self._front.start()

    def begin(self) -> None:
        """Take partitions that nobody has, from now on: messages are accepted for them."""
        self._cluster.member.begin()

    async def leave(self, drain_timeout_s: float) -> bool:
        """Hand all partitions over, each as soon as its attempts have ended: others accept for it
        while this node still closes. False: that took too long, and the rest is taken over."""
        try:
            async with asyncio.timeout(drain_timeout_s + _HAND_OVER_S):
                await self._cluster.member.leave()
        except TimeoutError:
            return False
        return True

    async def leave_api(self) -> None:
        """Answer operators no more. Idempotent."""
        await self._front.stop()
        self._tunnel.stop()

    async def stop(self) -> None:
        """Let no other node in any more: after what they ask has ended. Idempotent."""
        await self._cluster.gate.close()
        self._place.close()

    # How it is put together.

    def _make_tunnel(self) -> Tunnel:
        """The way to the desk, here or on another node."""
        cluster = self._cluster
        return Tunnel(
            cluster.number,
            cluster.gate,
            owner=lambda: cluster.directory.process_of(FIRST),
            address_of=cluster.address_of,
            path=self._place.path,
            supervisor=self._messages.supervisor,
        )

    def _make_front(self, sockets: Sequence[socket]) -> Front:
        settings, messages = self._messages.settings, self._messages
        self._disks = Disks({TRANSACTION: settings.transaction_log})
        self._metrics = Metrics(
            messages.whole,
            messages.pool,
            messages.listener,
            operators=dict,
            certificates=messages.certificates,
            disks=self._disks,
            leases=self._cluster.leases,
        )
        return Front(
            *configs.host_and_port(settings.api_listen),
            Keyring(settings.api_keys),
            upstream=self._tunnel,
            health=self._health,
            metrics=self._metrics_text,
            events=messages.events,
            max_connections=messages.connections.operators,
            tls=messages.certificates.of(certificates.API),
            unix=configs.unix_place(settings, settings.api_listen),
            sockets=sockets,
        )

    async def _metrics_text(self) -> str:
        """Those of this node, and of the desk where that is here."""
        if self.desk is not None:
            return await self.desk.metrics_text()
        await self._disks.look()
        return await self._metrics.text_of_process()
