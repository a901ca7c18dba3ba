"""What operators see of all partitions of a node: of one alone, what it says itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dispatcher.node.meeting import Meeting
from dispatcher.node.merged.admin import MergedAdmin
from dispatcher.node.merged.carrier import MergedCarrier
from dispatcher.node.merged.parts import LocalPart
from dispatcher.node.merged.replayer import MergedReplayer
from dispatcher.peers.answers import Answers
from dispatcher.peers.calls import Calls
from dispatcher.peers.remote_admin import Happenings, RemoteAdmin, Watched
from dispatcher.peers.remote_carrier import RemoteCarrier, RemoteReplayer
from dispatcher.queue.admin.surface import Admin, Carrier, PartReplayer, Replayer, Totals
from dispatcher.queue.partition import Partition


class Merged:
    """All partitions of a node as one: those of this process, and those of others as these are
    met."""

    def __init__(
        self,
        parts: Sequence[Partition],
        spread: int,
        process: int,
        every: Iterable[int],
        meeting: Meeting | None = None,
        *,
        keeps_history: bool,
    ) -> None:
        """`parts` are those of this process, which has the number `process`; `every` are the
        numbers of all partitions of the node. Places are spread over so many (`spread`, see
        `core.placing`), and were over others before where there is a `meeting`. `keeps_history`
        says whether their logs keep what was delivered."""
        self.admin = MergedAdmin()
        self.carrier = MergedCarrier(spread, meeting)
        self.replayer = MergedReplayer(keeps_history=keeps_history)
        self.admin.expect(frozenset(every))
        self.carrier.expected = frozenset(every)
        self._process = process
        self._here: dict[int, Partition] = {}
        for part in parts:
            self.add(part)

    def add(self, part: Partition) -> None:
        """A partition is in this process from now on."""
        number = part.config.partition
        self._here[number] = part
        self.admin.add(LocalPart(number, part.admin, self._process, part.tenure.holds))
        self.carrier.add(number, part.carrying)
        self.replayer.add(part.replaying)

    def remove(self, part: Partition) -> None:
        """A partition has left this process, and is expected back. Idempotent."""
        number = part.config.partition
        if self._here.get(number) is part:
            del self._here[number]
            self._leave(number, part.admin.totals_now())

    def has_here(self, number: int) -> bool:
        """Whether a partition is in this process."""
        return number in self._here

    def is_complete(self, known: bool) -> None:
        """Whether it is known by now which partitions there are: until then an id of one that is
        not known has moved."""
        self.admin.knows_all(known)

    def add_remote(self, number: int, calls: Calls, process: int) -> None:
        """A partition of another process can be asked."""
        self.admin.add(LocalPart(number, RemoteAdmin(calls, number), process))
        self.carrier.add(number, RemoteCarrier(calls, number))
        self.replayer.add(RemoteReplayer(calls, number))

    def leave(self, number: int) -> None:
        """A partition of another process can't be asked any more, and is expected back.
        Idempotent."""
        self._leave(number, None)

    def _leave(self, number: int, last: Totals | None) -> None:
        self.admin.leave(number, last)
        self.carrier.remove(number)
        self.replayer.remove(number)

    def forget(self, number: int) -> None:
        """There is no such partition any more."""
        self.admin.forget(number)
        self.carrier.remove(number)
        self.replayer.remove(number)


def faces(
    parts: Sequence[Partition], spread: int, meeting: Meeting | None = None
) -> tuple[Admin, Carrier, Replayer]:
    """What operators see of a process that is a node."""
    if len(parts) == 1:
        return parts[0].admin, parts[0].carrying, parts[0].replaying
    every = [part.config.partition for part in parts]
    keeps_history = all(part.replaying.keeps_history for part in parts)
    merged = Merged(parts, spread, 0, every, meeting, keeps_history=keeps_history)
    return merged.admin, merged.carrier, merged.replayer


class Served:
    """The partitions of this process that another one may ask, as they come and go."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def add(self, part: Partition) -> None:
        """It can be asked from now on."""
        number, answers = part.config.partition, self._answers
        answers.serve(Admin, part.admin, part=number)
        answers.serve(Happenings, Watched(part.admin), part=number)
        answers.serve(Carrier, part.carrying, part=number)
        answers.serve(PartReplayer, part.replaying, part=number)

    def remove(self, part: Partition) -> None:
        """It has left. Idempotent."""
        self._answers.withdraw(part.config.partition)
