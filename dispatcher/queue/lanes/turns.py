"""Whose turn it is. One for a process: the lanes of all its partitions wait in it.

A lane waits in one of four lines, by what is known of its destination:

    GOOD      its last attempt succeeded; needs a worker, and never waits for what is below
    UNTRIED   no attempt of it has ended yet; needs a worker
    FAILING   its last attempt failed without taking long; needs a worker
    HANGING   its last attempt took long, or takes long now; needs a slow place, and no worker

What hangs is only known afterwards, so lanes of UNTRIED and FAILING, the risky ones, together have
a share of the workers at least, and step by step no more than that while lanes of GOOD wait. They
are served in turn, so that neither is behind the other. When the slow places are full, UNTRIED and
HANGING wait.

Among the good ones, while there are other lanes, a part of the workers is kept for lanes with
nothing in flight (the others wait in CROWDED meanwhile), so that a destination which was well and
then hangs does not take them all. Pure: it is told what starts and ends, and says which lane is
next.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from dispatcher.queue.lanes.lanes import (
    CROWDED,
    FAILING,
    GOOD,
    HANGING,
    NOWHERE,
    RISK,
    SLOW,
    UNTRIED,
    WORKER,
    Home,
    Lane,
)
from dispatcher.queue.lanes.peers import Peers
from dispatcher.queue.lanes.workers import Workers

_FEWEST_TO_SHARE = 4
"""With fewer workers than this no part of them is kept for anybody; turns alternate instead."""


class Turns:
    """The lines of lanes that wait for a turn. `waiting` counts the lanes in all of them."""

    __slots__ = (
        "_crowded",
        "_failing",
        "_good",
        "_hanging",
        "_kept",
        "_least_risk",
        "_most_risk",
        "_peers",
        "_risked_last",
        "_room_for_all",
        "_room_for_good",
        "_step",
        "_untried",
        "_untried_last",
        "waiting",
        "workers",
    )

    def __init__(self, peers: Peers, workers: Workers) -> None:
        self._peers = peers
        self.workers = workers
        most = workers.most
        self._kept = max(1, most // 8) if most >= _FEWEST_TO_SHARE else 0
        self._least_risk = max(1, most // 5)
        self._step = max(1, most // 8)
        self._most_risk = most
        self._room_for_all = most - self._kept
        self._room_for_good = max(1, self._room_for_all - self._least_risk)
        self._good: deque[Lane] = deque()
        # Ordered dictionaries: a lane whose destination recovers is taken out of the middle.
        self._crowded: OrderedDict[Lane, None] = OrderedDict()
        self._untried: OrderedDict[Lane, None] = OrderedDict()
        self._failing: OrderedDict[Lane, None] = OrderedDict()
        self._hanging: OrderedDict[Lane, None] = OrderedDict()
        self._risked_last = False
        self._untried_last = False
        self.waiting = 0

    def __contains__(self, lane: Lane) -> bool:
        return lane in self._good or any(
            lane in line for line in (self._crowded, self._untried, self._failing, self._hanging)
        )

    @property
    def want_worker(self) -> bool:
        """Whether a lane waits that needs a worker: one that hangs does not."""
        return bool(self._good or self._crowded or self._untried or self._failing)

    @property
    def are_free(self) -> bool:
        """Whether no good lane waits for a turn, and any of them could have one."""
        if self._good or self._crowded:
            return False
        workers = self.workers
        room = self._room_for_good if self._untried or self._failing else self._room_for_all
        return len(workers.taken) + workers.reserved < room

    def enter(self, lane: Lane, *, first: bool = False) -> None:
        """Let a lane wait for a turn, if it has something to send, may have more in flight, and its
        rate allows one; `first`: before all others of its line."""
        peer = lane.peer
        if lane.place or not lane.ready or peer.in_flight >= peer.limit.value or peer.spent:
            return
        if lane.loading and not lane.warm:
            return
        self.waiting += 1
        if peer.calm:
            lane.place = GOOD
            if first:
                self._good.appendleft(lane)
            else:
                self._good.append(lane)
            return
        place = lane.place = place_of(lane)
        line = self._line(place)
        line[lane] = None
        if first:
            line.move_to_end(lane, last=False)

    def look_again(self, lane: Lane) -> None:
        """Something was learned of a lane's destination: it may wait in the wrong line."""
        place = lane.place
        if place == CROWDED:
            if lane.peer.calm and lane.peer.in_flight:
                return
            del self._crowded[lane]
        elif place > CROWDED and place != place_of(lane):
            del self._line(place)[lane]
        else:
            return
        lane.place = NOWHERE
        self.waiting -= 1
        self.enter(lane)

    def next(self) -> tuple[Lane, int] | None:
        """Take the lane whose turn it is out of its line, and say what its attempt takes up; None:
        nobody may go."""
        if not self.waiting:
            return None
        workers = self.workers
        free = workers.most - len(workers.taken) - workers.reserved
        if free > 0:
            risky = untried = False
            if self._untried or self._failing:
                untried = bool(self._untried) and workers.may_risk
                risky = untried or bool(self._failing)
                if risky and workers.risk < self._least_risk and self._is_risks_turn():
                    return self._risky(untried=untried)
            if self._good or self._crowded:
                lane = self._next_good(free)
                if lane is not None:
                    self._risked_last = False
                    return lane, WORKER
            if risky and workers.risk < self._most_risk - self._kept:
                return self._risky(untried=untried)
        if self._hanging and workers.may_hang:
            lane, _ = self._hanging.popitem(last=False)
            self._left(lane)
            return lane, SLOW
        return None

    def _left(self, lane: Lane) -> None:
        lane.place = NOWHERE
        self.waiting -= 1

    def _is_risks_turn(self) -> bool:
        """With few workers the turns of good and of risky lanes alternate."""
        return bool(self._kept) or not self._risked_last or not (self._good or self._crowded)

    def _risky(self, *, untried: bool) -> tuple[Lane, int]:
        self._risked_last = True
        self._untried_last = untried and not (self._failing and self._untried_last)
        line = self._untried if self._untried_last else self._failing
        lane, _ = line.popitem(last=False)
        self._left(lane)
        return lane, RISK

    def _next_good(self, free: int) -> Lane | None:
        """The next good lane, with so many workers free, one at least."""
        is_roomy = free > self._kept or len(self._peers) == 1
        if self._crowded and is_roomy:
            lane, _ = self._crowded.popitem(last=False)
            self._left(lane)
            return lane
        good = self._good
        while good:
            lane = good.popleft()
            peer = lane.peer
            if peer.calm and peer.in_flight and not is_roomy:
                lane.place = CROWDED
                self._crowded[lane] = None
                continue
            lane.place = NOWHERE
            self.waiting -= 1
            if peer.calm:
                return lane
            self.enter(lane)  # it failed meanwhile
        return None

    def leave(self, home: Home) -> None:
        """A partition ends: its lanes wait no longer."""
        gone = [lane for lane in self._good if lane.home is home]
        self._good = deque(lane for lane in self._good if lane.home is not home)
        for line in (self._crowded, self._untried, self._failing, self._hanging):
            of_line = [lane for lane in line if lane.home is home]
            for lane in of_line:
                del line[lane]
            gone += of_line
        for lane in gone:
            self._left(lane)

    def relax(self) -> None:
        """Some time has passed: risky lanes may have a few workers less where good ones wait, and
        a few more where none does."""
        if self._good or self._crowded:
            least = self._least_risk + self._kept
            self._most_risk = max(least, self._most_risk - self._step)
        else:
            self._most_risk = min(self.workers.most, self._most_risk + self._step)

    def _line(self, place: int) -> OrderedDict[Lane, None]:
        if place == UNTRIED:
            return self._untried
        return self._failing if place == FAILING else self._hanging


def place_of(lane: Lane) -> int:
    """The line that a lane belongs in."""
    peer = lane.peer
    if peer.calm:
        return GOOD
    if peer.hangs:
        return HANGING
    return FAILING if peer.tried else UNTRIED
