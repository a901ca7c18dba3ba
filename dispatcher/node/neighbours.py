"""The other processes of the node: what this one asks them, and what it answers.

There are none where a process is the whole node. What they are asked is entered in `table` by the
parts that answer, before `start`.
"""

from __future__ import annotations

import random
from typing import Final

from dispatcher.node.assignment import Assignment
from dispatcher.node.outcomes import OutcomeOf, Outcomes, telling
from dispatcher.node.peer_log import PeerLog
from dispatcher.node.router import Router
from dispatcher.peers.answers import Answers
from dispatcher.peers.calls import CALLS
from dispatcher.peers.directory import ByRemainder
from dispatcher.peers.forwarding.elsewhere import Elsewhere
from dispatcher.peers.forwarding.receiving import Receiver
from dispatcher.peers.hello import Hello
from dispatcher.peers.kinds import Kind
from dispatcher.peers.links import Links
from dispatcher.peers.serving import Answering, Table
from dispatcher.peers.wires import UnixWires
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.supervisor import Died, Supervisor

_RUN: Final = "run"
"""The directory of the sockets, in that of the transaction log: who may read the one may ask."""


class Neighbours:
    """Those of one process."""

    def __init__(
        self,
        settings: Settings,
        events: Events,
        assignment: Assignment,
        router: Router,
        *,
        incarnation: int,
        died: Died,
    ) -> None:
        self.table = Table()
        self._answers: Answers | None = None
        self._supervisor = Supervisor(died)
        self.answering = Answering(self._supervisor)
        self.links = Links(
            Hello(assignment.number, incarnation),
            range(assignment.processes),
            UnixWires(settings.transaction_log / _RUN),
            self.table,
            PeerLog(events),
            supervisor=self._supervisor,
            random=random.Random(),
            died=died,
        )
        directory = ByRemainder(assignment.processes)
        router.elsewhere = elsewhere = Elsewhere(assignment.number, directory, self.links)
        self.outcomes = Outcomes(elsewhere.peer_of)
        Receiver(router, died).enter(self.table)

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
