"""The partitions of other processes."""

from __future__ import annotations

from functools import partial

from dispatcher.peers.directory import Directory
from dispatcher.peers.forwarding.remote import Remote
from dispatcher.peers.forwarding.waiting import Verdicts
from dispatcher.peers.links import Links, Peer


class Elsewhere:
    """What the router has of them, each made when it is asked for. `verdicts` are of messages of
    all of them that callers of this process wait for, wherever they went on to.
    """

    def __init__(self, me: int, directory: Directory, links: Links) -> None:
        """`me` is the number of this process."""
        self._me = me
        self._directory = directory
        self._peers = {peer.process: peer for peer in links.peers}
        self._remotes: dict[int, Remote] = {}
        self.verdicts = Verdicts()
        for peer in links.peers:
            peer.on_change(self.go_on)

    def __repr__(self) -> str:
        return f"<Elsewhere {[*self._remotes.values()]}>"

    def of(self, partition: int) -> Remote | None:
        """That partition; None: it should be here."""
        remote = self._remotes.get(partition)
        if remote is None and self._directory.process_of(partition) != self._me:
            remote = self._remotes[partition] = Remote(
                partition, partial(self.peer_of, partition), self.verdicts
            )
        return remote

    def go_on(self) -> None:
        """A process came or went, or has other partitions: what is held may be sent now."""
        for remote in self._remotes.values():
            remote.go_on()

    def peer_of(self, partition: int) -> Peer | None:
        """The process that has a partition; None: nobody knows, or this one."""
        process = self._directory.process_of(partition)
        return None if process is None else self._peers.get(process)
