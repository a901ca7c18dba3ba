"""What one process knows of each destination, whichever partition's messages go there.

A lane is a partition's; what it may send is its destination's to say, and that is one for the whole
process: how many attempts at once (`Limit`), whether any at all (`Breaker`, a pause, a hold).
"""

from __future__ import annotations

from dispatcher.core.breaker import Breaker, State
from dispatcher.core.destination import Destination
from dispatcher.core.limit import Limit


class Peer:
    """One destination.

    `in_flight` counts attempts under way, slow ones too. `paused_until` (Retry-After) is in
    microseconds by the queue's clock. `lacking_since` is when this machine began to lack something
    for its attempts (0: it does not), `rests_until` until when they rest for that. `held`: an
    operator stopped it. `calm` says that its last answer was good, the breaker is closed with no
    failure counted, and there is neither pause nor rest nor hold: the hot path asks nothing else.
    `tried`: an attempt has ended. `hangs`: the last one that ended, or one that is under way, took
    longer than attempts usually take, and none has succeeded since. `alarm` is when its lanes are
    looked at again after a pause (0: never), `probed_at` when the breaker's last probe started.
    `told`: it was said that the destination is left alone. `lanes` counts the partitions that have
    a lane for it.
    """

    __slots__ = (
        "alarm",
        "breaker",
        "calm",
        "destination",
        "hangs",
        "held",
        "in_flight",
        "lacking_since",
        "lanes",
        "limit",
        "paused_until",
        "probed_at",
        "rests_until",
        "told",
        "tried",
    )

    def __init__(self, destination: Destination, limit: Limit, breaker: Breaker) -> None:
        self.destination = destination
        self.limit = limit
        self.breaker = breaker
        self.in_flight = 0
        self.paused_until = 0
        self.lacking_since = 0
        self.rests_until = 0
        self.held = False
        self.calm = False
        self.tried = False
        self.hangs = False
        self.alarm = 0
        self.probed_at = 0
        self.told = False
        self.lanes = 0

    def __repr__(self) -> str:
        return (
            f"<Peer {self.destination} in_flight={self.in_flight}/{self.limit.value} "
            f"breaker={self.breaker.state.value}>"
        )

    def start(self, now_us: int) -> None:
        """Note that an attempt starts. Not needed while `calm`."""
        if self.breaker.state is State.OPEN:
            self.probed_at = now_us
        self.breaker.start(now_us)


class Peers:
    """All destinations that a lane of this process is for."""

    __slots__ = ("_by_key", "_limit_max", "_pause_max_ms")

    def __init__(self, *, limit_max: int, pause_max_ms: int) -> None:
        self._by_key: dict[bytes, Peer] = {}
        self._limit_max = limit_max
        self._pause_max_ms = pause_max_ms

    def __len__(self) -> int:
        return len(self._by_key)

    def join(self, destination: Destination) -> Peer:
        """What is known of a destination, for one more lane of it."""
        peer = self._by_key.get(destination.key)
        if peer is None:
            peer = Peer(destination, Limit(self._limit_max), Breaker(self._pause_max_ms))
            self._by_key[destination.key] = peer
        peer.lanes += 1
        return peer

    def leave(self, peer: Peer) -> None:
        """A lane of it is gone; with the last one, what was learned goes too."""
        peer.lanes -= 1
        if not peer.lanes:
            del self._by_key[peer.destination.key]
