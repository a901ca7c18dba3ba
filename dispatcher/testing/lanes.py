"""Lanes without the partition they are of."""

from __future__ import annotations

from dispatcher.queue.lanes.lanes import Lane, Lanes
from dispatcher.queue.lanes.peers import Peer, Peers
from dispatcher.queue.lanes.turns import Turns
from dispatcher.queue.lanes.workers import Workers


class NobodysHome:
    """A partition that does nothing with a turn but write it down."""

    def __init__(self) -> None:
        self.turns: list[tuple[Lane, int]] = []
        self.chilled: list[Lane] = []

    def take_turn(self, lane: Lane, kind: int) -> bool:
        """See `lanes.Home`."""
        self.turns.append((lane, kind))
        return True

    def chill(self, lane: Lane) -> None:
        """See `lanes.Home`."""
        self.chilled.append(lane)

    def lane_of(self, peer: Peer) -> Lane | None:
        """See `lanes.Home`."""
        return None

    def rules_changed(self) -> None:
        """See `lanes.Home`."""


def lanes_of(peers: Peers | None = None, *, limit: int = 10) -> Lanes:
    """The lanes of a partition that is not there."""
    home = NobodysHome()
    return Lanes(peers or Peers(limit_max=limit, pause_max_ms=1000), lambda: home)


def lanes_and_turns(*, workers: int = 10, slow: int = 1000) -> tuple[Lanes, Turns]:
    """Lanes, and the lines they wait in."""
    peers = Peers(limit_max=workers, pause_max_ms=1000)
    return lanes_of(peers), Turns(peers, Workers(workers, slow))
