"""The partitions of other processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dispatcher.peers.directory import Directory
from dispatcher.peers.forwarding.anywhere import Anywhere
from dispatcher.peers.forwarding.remote import Remote
from dispatcher.peers.forwarding.waiting import Verdicts
from dispatcher.peers.links import Links
from dispatcher.peers.peer import Peer
from dispatcher.queue.ports import Acceptor


class Elsewhere:
    """The partitions of other processes, as the router has them: each `Remote` is made when it is
    first asked for. `verdicts` are of the messages that callers of this process wait for, wherever
    these went on to."""

    def __init__(
        self,
        me: int,
        directory: Directory,
        links: Links,
        *,
        again: Callable[[], object] | None = None,
        spread: int = 0,
    ) -> None:
        """`me` is the number of this process.

        Where partitions move, `again` has the directory read again, soon, and there are `spread`
        partitions; whoever gives these calls `go_on` each time that the directory has changed.
        Without them each process has the same partitions as long as it serves, and one at least.
        """
        self._me = me
        self._directory = directory
        self._again = again
        self._peers = links.by_number
        self._remotes: dict[int, Remote] = {}
        self.verdicts = Verdicts()
        self.anywhere: Anywhere | None = None
        """Some partition, where this process may have none."""
        if again is not None:
            self.anywhere = Anywhere(spread, me, self.peer_of, self.verdicts, again)
        links.on_change(self.go_on)

    def __repr__(self) -> str:
        return f"<Elsewhere {[*self._remotes.values()]}>"

    def of(self, partition: int) -> Remote | None:
        """That partition, while it is not here; None: it should be here."""
        remote = self._remotes.get(partition)
        if remote is None and (
            self._again is not None or self._directory.process_of(partition) != self._me
        ):
            remote = self._remotes[partition] = Remote(
                partition, partial(self.peer_of, partition), self.verdicts, self._again
            )
        return remote

    def here(self, partition: int, intake: Acceptor | None) -> None:
        """This process accepts messages for a partition, or (None) does not any more. What is held
        for it is taken now."""
        remote = self._remotes.get(partition)
        if remote is not None:
            remote.here(intake)

    def go_on(self) -> None:
        """A process came or went, or has other partitions: what is held may be sent now."""
        for remote in self._remotes.values():
            remote.go_on()
        if self.anywhere is not None:
            self.anywhere.go_on()

    def peer_of(self, partition: int) -> Peer | None:
        """The process that has a partition; None: nobody knows, or this one."""
        process = self._directory.process_of(partition)
        return None if process is None else self._peers.get(process)
