"""What attempts take up: a worker each, or a place among the slow ones. One for a process.

An attempt has a worker at first. One that has run longer than attempts usually take
(`core.usual`) gives it back and has a place among the slow ones, of which there are many more: what
hangs costs a socket and its message, not a worker. Pure: it is told what starts, what ends and what
time it is.
"""

from __future__ import annotations

from dispatcher.core.message import Message
from dispatcher.core.usual import Usual
from dispatcher.queue.lanes.lanes import NOTHING, RISK, SLOW, WORKER, Home, Lane

SLOW_BYTES = 64 * 1024 * 1024
"""Heads and bodies in memory of all slow attempts together; above it they count as full."""
SAMPLE = 8
"""One of so many successes is put into `Usual`: reading the clock for each costs more than it
tells."""


class Workers:
    """Workers and slow places, taken and free.

    `most` workers and `most_slow` slow places there are. `taken` holds the attempts with a worker
    and their lanes, in the order in which they started. `risk` counts the workers that attempts
    have whose destination was never tried, or is in doubt; `hanging` the slow places of attempts
    whose destination was known to hang. `reserved` and `reserved_slow` are kept for attempts whose
    message is being read back, and count as taken.
    """

    __slots__ = (
        "_slow",
        "hanging",
        "most",
        "most_slow",
        "reserved",
        "reserved_slow",
        "risk",
        "slow_bytes",
        "taken",
        "until_sample",
        "usual",
    )

    def __init__(self, most: int, most_slow: int) -> None:
        self.most = most
        self.most_slow = most_slow
        self.usual = Usual()
        self.taken: dict[Message, Lane] = {}
        self.until_sample = 1
        self.reserved = 0
        self.reserved_slow = 0
        self.risk = 0
        self._slow: dict[Message, Lane] = {}
        self.slow_bytes = 0
        self.hanging = 0

    @property
    def busy(self) -> int:
        """Workers that are taken."""
        return len(self.taken) + self.reserved

    @property
    def slow(self) -> int:
        """Slow places that are taken."""
        return len(self._slow)

    @property
    def may_hang(self) -> bool:
        """Whether an attempt of a destination that hangs may start: those have half of the slow
        places, so that others find one too."""
        return self.hanging + self.reserved_slow < max(1, self.most_slow // 2) and self.may_risk

    @property
    def may_risk(self) -> bool:
        """Whether an attempt that may turn out to be slow finds a place then. An eighth of the
        places is kept for destinations that were good."""
        most = self.most_slow - self.most_slow // 8
        return self.slow + self.reserved_slow < most and self.slow_bytes < SLOW_BYTES

    def reserve(self, kind: int) -> None:
        """Keep what an attempt of this kind takes up, until it starts."""
        if kind == SLOW:
            self.reserved_slow += 1
        elif kind != NOTHING:
            self.reserved += 1
            self.risk += kind == RISK

    def release(self, kind: int) -> None:
        """Keep it no longer."""
        if kind == SLOW:
            self.reserved_slow -= 1
        elif kind != NOTHING:
            self.reserved -= 1
            self.risk -= kind == RISK

    def start(self, lane: Lane, message: Message, kind: int) -> None:
        """An attempt starts."""
        message.takes = kind
        if kind == SLOW:
            self._slow_down(lane, message)
            message.hung = True
            self.hanging += 1
            return
        self.taken[message] = lane
        self.risk += kind == RISK

    def end(self, message: Message) -> None:
        """An attempt ended."""
        kind = message.takes
        if kind == WORKER:
            del self.taken[message]
        elif kind == RISK:
            del self.taken[message]
            self.risk -= 1
        elif kind == SLOW:
            del self._slow[message]
            self.slow_bytes -= _size(message)
            if message.hung:
                message.hung = False
                self.hanging -= 1
        message.takes = NOTHING

    def succeeded(self, message: Message, now_us: int) -> None:
        """Learn from an attempt that was answered well how long attempts take. To be called when
        `until_sample`, which every success counts down, has come to 0."""
        self.usual.observe(max(0, now_us - message.started_at))
        self.until_sample = SAMPLE if self.usual.is_known else 1

    def oldest_us(self) -> int | None:
        """When the oldest attempt with a worker started; None: there is none."""
        for message in self.taken:
            return message.started_at
        return None

    def turn_slow(self, now_us: int, slow_after_us: int, risky_after_us: int) -> list[Lane]:
        """Take the workers from attempts that have run so long, as long as there are slow places;
        returns their lanes, one for each attempt. `risky_after_us` is for those of destinations of
        which little is known."""
        left = self.most_slow - self.slow - self.reserved_slow
        left_risky = left - self.most_slow // 8
        left_bytes = SLOW_BYTES - self.slow_bytes
        late: list[Message] = []
        for message in self.taken:
            ran_us = now_us - message.started_at
            if ran_us < risky_after_us or left <= 0 or left_bytes <= 0:
                break
            if left_risky <= 0 if message.takes == RISK else ran_us < slow_after_us:
                continue
            late.append(message)
            left -= 1
            left_risky -= 1
            left_bytes -= _size(message)
        lanes: list[Lane] = []
        for message in late:
            self.risk -= message.takes == RISK
            lane = self.taken.pop(message)
            lanes.append(lane)
            message.takes = SLOW
            self._slow_down(lane, message)
        return lanes

    def leave(self, home: Home) -> list[Lane]:
        """A partition ends: what its attempts took up is free. Returns their lanes, one for each
        attempt; how those end need not be told any more."""
        gone = [
            (message, lane)
            for attempts in (self.taken, self._slow)
            for message, lane in attempts.items()
            if lane.home is home
        ]
        for message, _ in gone:
            self.end(message)
        return [lane for _, lane in gone]

    def _slow_down(self, lane: Lane, message: Message) -> None:
        self._slow[message] = lane
        self.slow_bytes += _size(message)


def _size(message: Message) -> int:
    return len(message.head) + len(message.body)
