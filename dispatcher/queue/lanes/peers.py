"""What one process knows of each destination, whichever partition's messages go there.

A lane is a partition's; what it may send is its destination's to say, and that is one for the whole
process: how many attempts at once (`Limit`), how often (`Bucket`), whether any at all (`Breaker`, a
pause, a hold). What a rule says of it is put into its limit and its bucket, here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dispatcher.core.breaker import Breaker, State
from dispatcher.core.destination import Destination
from dispatcher.core.limit import Limit
from dispatcher.core.rate import Bucket, bucket_for
from dispatcher.core.rules.table import RulesInForce
from dispatcher.core.trail import Trail

UNTOLD: Final = 0
TOLD_OF_WISH: Final = 1
TOLD_OF_BREAKER: Final = 2
"""What observers were told of a destination (`Peer.told`): that it asked for a rest, and that its
breaker has opened. The first may be followed by the second."""


class Peer:
    """One destination.

    `in_flight` counts attempts under way, slow ones too. `paused_until` (Retry-After) is in
    microseconds by the queue's clock; `asked_until` is when it asked to be asked again at the
    soonest, which may be longer. `lacking_since` is when this machine began to lack something
    for its attempts (0: it does not), `rests_until` until when they rest for that. `held`: an
    operator stopped it. `calm` says that its last answer was good, the breaker is closed with no
    failure counted, and there is neither pause nor rest nor hold: the hot path asks nothing else.
    `tried`: an attempt has ended. `hangs`: the last one that ended, or one that is under way, took
    longer than attempts usually take, and none has succeeded since. `alarm` is when its lanes are
    looked at again after a pause (0: never), `probed_at` when the breaker's last probe started.
    `told` is what was said of why the destination is left alone. `lanes` counts the partitions that
    have a lane for it.

    `bucket` has the tokens of its rate, None where it has none. `spent`: there is none left, and no
    lane of it waits for a turn until its alarm has gone off, which each time puts another lane
    first (`first`). A destination that is well stays calm meanwhile.

    `trail` is what its attempts came to lately, for those who look.
    """

    __slots__ = (
        "alarm",
        "asked_until",
        "breaker",
        "bucket",
        "calm",
        "destination",
        "first",
        "hangs",
        "held",
        "in_flight",
        "lacking_since",
        "lanes",
        "limit",
        "paused_until",
        "probed_at",
        "rests_until",
        "spent",
        "told",
        "trail",
        "tried",
    )

    def __init__(self, destination: Destination, limit: Limit, breaker: Breaker) -> None:
        self.destination = destination
        self.limit = limit
        self.breaker = breaker
        self.in_flight = 0
        self.paused_until = 0
        self.asked_until = 0
        self.lacking_since = 0
        self.rests_until = 0
        self.held = False
        self.calm = False
        self.tried = False
        self.hangs = False
        self.alarm = 0
        self.probed_at = 0
        self.told = UNTOLD
        self.lanes = 0
        self.bucket: Bucket | None = None
        self.spent = False
        self.first = 0
        self.trail = Trail()

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

    def is_refilled(self, now_us: int) -> bool:
        """Whether a token is there again, as its alarm has gone off."""
        bucket = self.bucket
        self.spent = bucket is not None and bucket.opens_at(now_us) > now_us
        if not self.spent:
            self.first += 1
            if bucket is not None:
                bucket.is_awaited = True
        return not self.spent

    def owes(self, now_us: int) -> bool:
        """Whether tokens are missing: who forgets the destination forgets that too."""
        return self.bucket is not None and not self.bucket.is_full(now_us)


class Peers:
    """All destinations that a lane of this process is for."""

    __slots__ = ("_by_key", "_limit_max", "_pause_max_ms", "_rules")

    def __init__(
        self, *, limit_max: int, pause_max_ms: int, rules: RulesInForce | None = None
    ) -> None:
        self._by_key: dict[bytes, Peer] = {}
        self._limit_max = limit_max
        self._pause_max_ms = pause_max_ms
        self._rules = rules or RulesInForce()

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._by_key.values())

    def join(self, destination: Destination) -> Peer:
        """What is known of a destination, for one more lane of it."""
        peer = self._by_key.get(destination.key)
        if peer is None:
            peer = Peer(destination, Limit(self._limit_max), Breaker(self._pause_max_ms))
            self._by_key[destination.key] = peer
            if self._rules.rules is not None:
                self.obey(peer, 0)
        peer.lanes += 1
        return peer

    def obey(self, peer: Peer, now_us: int) -> None:
        """Give a destination the concurrency and the rate of the rule that is in force for it."""
        rules = self._rules.rules
        rule = None if rules is None else rules.of_whole(peer.destination)
        most = None if rule is None else rule.concurrency
        peer.limit.cap(self._limit_max if most is None else min(most, self._limit_max))
        peer.bucket = bucket_for(None if rule is None else rule.rate, peer.bucket, now_us)
        peer.spent = peer.spent and peer.bucket is not None

    def leave(self, peer: Peer) -> None:
        """A lane of it is gone; with the last one, what was learned goes too."""
        peer.lanes -= 1
        if not peer.lanes:
            del self._by_key[peer.destination.key]
