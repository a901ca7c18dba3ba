"""All partitions of a node, or of a cluster, as the desk has them: those of its own process, and
those of the others where there are any.
"""

from __future__ import annotations

from functools import partial

from dispatcher.cluster.directory import Directory
from dispatcher.node.merged.whole import Merged, faces
from dispatcher.node.message_service import MessageService
from dispatcher.node.others import Others
from dispatcher.node.telling import hold_here
from dispatcher.queue.admin.surface import Admin, Carrier, Replayer
from dispatcher.queue.partition import Partition
from dispatcher.telemetry.supervisor import Supervisor


class AllPartitions:
    """`admin`, `carrier` and `replayer` are what operators see and do; `others` are the other
    processes or nodes, None where there can be none.

    Life: `open` with partition 0, `start`, `leave`.
    """

    admin: Admin
    carrier: Carrier
    replayer: Replayer
    others: Others | None = None

    def __init__(
        self,
        messages: MessageService,
        first: Partition,
        supervisor: Supervisor,
        directory: Directory | None,
    ) -> None:
        """`first` is partition 0, which knows what is held. `directory` says where partitions are
        that move; None: none does."""
        self._members = messages.partitions.members
        assignment, neighbours = messages.assignment, messages.neighbours
        if neighbours is None:
            self.admin, self.carrier, self.replayer = faces(
                messages.queues, assignment.spread, messages.meeting
            )
            return
        merged = Merged(
            messages.queues if directory is None else (),
            assignment.spread,
            assignment.number,
            {*assignment.every, *range(assignment.spread)},
            messages.meeting,
            keeps_history=messages.settings.event_sourcing,
        )
        self.admin, self.carrier, self.replayer = merged.admin, merged.carrier, merged.replayer
        self.others = others = Others(
            assignment.number,
            neighbours.links,
            merged,
            supervisor,
            held=lambda: [key.decode("ascii") for key in first.pauses.keys],
            directory=directory,
            hold_here=partial(hold_here, messages),
        )
        if directory is not None:
            self._members.append(others)
            for part in messages.queues:
                others.add(part)

    def open(self, epoch: int) -> None:
        """Partition 0 is open, with this epoch."""
        if self.others is not None:
            self.others.epoch = epoch

    def start(self) -> None:
        """Look at the others, and tell them what is held: partition 0 was started."""
        if self.others is not None:
            self.others.start()

    def leave(self) -> None:
        """Hear no more of them, and leave nothing behind in the process. Idempotent."""
        if self.others is None:
            return
        self.others.stop()
        if self.others in self._members:
            self._members.remove(self.others)

    @property
    def accept_elsewhere(self) -> bool:
        """Whether one of the others accepts messages."""
        return self.others is not None and self.others.accept
