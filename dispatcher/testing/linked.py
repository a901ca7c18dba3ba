"""Linked processes, all in one loop: each has a table of what it answers, and its links."""

from __future__ import annotations

import random

from dispatcher.peers.hello import Hello
from dispatcher.peers.links import Links, Wires
from dispatcher.peers.serving import Answering, Table
from dispatcher.telemetry.supervisor import Supervisor


class Linked:
    """One process. `told` is what its observer heard, `failures` what died."""

    def __init__(self, process: int, count: int, wires: Wires, incarnation: int = 1) -> None:
        self.told: list[str] = []
        self.failures: list[tuple[str, BaseException]] = []
        self.supervisor = Supervisor(self.died)
        self.table = Table()
        self.answering = Answering(self.supervisor)
        self.links = Links(
            Hello(process, incarnation),
            range(count),
            wires,
            self.table,
            self,
            supervisor=self.supervisor,
            random=random.Random(process),
            died=self.died,
        )

    def died(self, name: str, error: BaseException) -> None:
        """See `supervisor.Died`."""
        self.failures.append((name, error))

    def peer_connected(self, process: int) -> None:
        """See `links.Observer`."""
        self.told.append(f"connected {process}")

    def peer_lost(self, process: int, reason: str) -> None:
        """See `links.Observer`."""
        self.told.append(f"lost {process}")

    def peer_misused(self, process: int | None, reason: str) -> None:
        """See `links.Observer`."""
        self.told.append(f"misused {process}: {reason}")

    async def stop(self) -> None:
        """Close its links and end its tasks."""
        await self.links.stop()
        await self.supervisor.stop()
