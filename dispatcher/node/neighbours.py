"""The other processes of the node: what this one asks them, and what it answers.

There are none where a process is the whole node. What they are asked is entered in `table` by the
parts that answer, before `start`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Self

from dispatcher.node.assignment import Assignment
from dispatcher.node.outcomes import OutcomeOf, Outcomes, telling
from dispatcher.node.peer_log import PeerLog
from dispatcher.node.router import Router
from dispatcher.peers.answers import Answers
from dispatcher.peers.calls import CALLS
from dispatcher.peers.directory import ByRemainder, Directory
from dispatcher.peers.forwarding.elsewhere import Elsewhere
from dispatcher.peers.forwarding.receiving import Receiver
from dispatcher.peers.hello import Hello
from dispatcher.peers.kinds import Kind
from dispatcher.peers.links import Links, Wires
from dispatcher.peers.serving import Answering, Table
from dispatcher.peers.wires import UnixWires
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.supervisor import Died, Supervisor

if TYPE_CHECKING:  # it is there only where it is asked for
    from dispatcher.node.clustered import Clustered

RUN: Final = "run"
"""The directory of the sockets, in that of the transaction log: who may read the one may ask."""


class Neighbours:
    """The neighbours of one process: the others on its machine, or the other nodes of a
    cluster."""

    @classmethod
    def of_node(
        cls,
        settings: Settings,
        events: Events,
        assignment: Assignment,
        router: Router,
        *,
        incarnation: int,
        died: Died,
    ) -> Self:
        """The other processes of a node, which are there as long as it is."""
        return cls(
            events,
            router,
            Hello(assignment.number, incarnation),
            range(assignment.processes),
            UnixWires(settings.transaction_log / RUN),
            ByRemainder(assignment.processes),
            died=died,
        )

    @classmethod
    def of_cluster(cls, cluster: Clustered, events: Events, router: Router, *, died: Died) -> Self:
        """The other nodes of a cluster, as its directory has them."""
        from dispatcher.peers.tcp_wires import TcpWires

        directory = cluster.directory
        wires = TcpWires(cluster.gate, cluster.address_of)
        me = Hello(cluster.number, cluster.nonce)
        found = cls(
            events,
            router,
            me,
            (),
            wires,
            directory,
            again=directory.look_again,
            spread=cluster.spread,
            died=died,
        )

        def changed() -> None:
            found.links.are({number: one.nonce for number, one in cluster.others().items()})
            found.elsewhere.go_on()

        found.links.on_stranger = directory.look_again
        directory.on_change(changed)
        changed()
        return found

    def __init__(
        self,
        events: Events,
        router: Router,
        me: Hello,
        others: Iterable[int],
        wires: Wires,
        directory: Directory,
        *,
        again: Callable[[], object] | None = None,
        spread: int = 0,
        died: Died,
    ) -> None:
        """`again` and `spread` as `Elsewhere` has them."""
        self.table = Table()
        self._answers: Answers | None = None
        self._supervisor = Supervisor(died)
        self.answering = Answering(self._supervisor)
        self.links = Links(
            me,
            others,
            wires,
            self.table,
            PeerLog(events),
            supervisor=self._supervisor,
            random=random.Random(),
            died=died,
        )
        router.elsewhere = self.elsewhere = Elsewhere(
            me.process, directory, self.links, again=again, spread=spread
        )
        self.outcomes = Outcomes(self.elsewhere.peer_of)
        Receiver(router, died).enter(self.table)

    @property
    def count(self) -> int:
        """How many there are now, whether they are connected or not."""
        return len(self.links.by_number)

    def tell_outcomes(self, outcome_of: OutcomeOf) -> None:
        """Let the others ask what became of messages of this process's partitions."""
        self.table.on_ask(Kind.OUTCOME, telling(outcome_of))

    def answer(self, answers: Answers) -> None:
        """Let the others ask for what is served there."""
        self._answers = answers
        self.table.on_ask(CALLS, self.answering.asking("calls", answers.answer))

    async def start(self) -> None:
        """Be there for the others, and connect to them: once this process's partitions accept.

        Raises:
            DispatcherError, OSError: nobody can listen there.
        """
        await self.links.start()

    async def stop(self) -> None:
        """Ask and answer nothing more. Idempotent."""
        await self.links.stop()
        if self._answers is not None:
            await self._answers.close()
        await self._supervisor.stop()
