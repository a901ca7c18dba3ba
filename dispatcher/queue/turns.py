"""Whose turn it is: lanes wait in a ring, and none may take all workers from the others.

A destination that never answers holds each worker for a whole timeout, and what it holds is known
only afterwards. So two shares are kept:

- lanes that are in doubt (their last attempt failed, or they are probed) have at most half of the
  workers together, however many they are;
- while there are other lanes, an eighth of the workers is kept for lanes with nothing in flight,
  so that a destination which was well and then hangs does not hold them all.

A lane that may not go now is held aside and comes back when its share allows it. Pure: it is told
what starts and ends, and says which lane is next.
"""

from __future__ import annotations

from dispatcher.core.message import Message
from dispatcher.queue.lanes import Lane, Lanes

_FEWEST_TO_KEEP = 4


class Turns:
    """The turns of all lanes. `doubtful` attempts are in flight that started while in doubt."""

    __slots__ = (
        "_crowded",
        "_doubted",
        "_kept",
        "_lanes",
        "_most_doubtful",
        "_workers",
        "doubtful",
    )

    def __init__(self, lanes: Lanes, workers: int) -> None:
        self._lanes = lanes
        self._workers = workers
        self._most_doubtful = max(1, workers // 2)
        self._kept = max(1, workers // 8) if workers >= _FEWEST_TO_KEEP else 0
        # Dicts for their order and because a lane can be taken out of the middle.
        self._doubted: dict[Lane, None] = {}
        self._crowded: dict[Lane, None] = {}
        self.doubtful = 0

    def __contains__(self, lane: Lane) -> bool:
        return lane in self._lanes.ring or lane in self._doubted or lane in self._crowded

    @property
    def are_wanted(self) -> bool:
        """Whether a lane waits for its turn, or is held aside."""
        return bool(self._lanes.ring or self._crowded or self._doubted)

    def are_free(self, in_flight: int) -> bool:
        """Whether nobody waits for a turn, and any lane that is not in doubt could have one."""
        return not self._lanes.ring and not self._crowded and in_flight < self._workers - self._kept

    def next(self, in_flight: int) -> Lane | None:
        """Take the lane whose turn it is, with this many attempts in flight; None: nobody may
        go."""
        if in_flight >= self._workers:
            return None
        crowd = len(self._lanes) == 1 or in_flight < self._workers - self._kept
        if self._crowded and crowd:
            return _first(self._crowded)
        doubt = self.doubtful < self._most_doubtful
        if self._doubted and doubt:
            return _first(self._doubted)
        ring = self._lanes.ring
        while ring:
            lane = ring.popleft()
            if not (doubt or lane.calm):
                self._doubted[lane] = None
            elif lane.in_flight and not crowd:
                self._crowded[lane] = None
            else:
                lane.queued = False
                return lane
        return None

    def doubt(self, message: Message) -> None:
        """An attempt starts while its lane is in doubt."""
        message.doubtful = True
        self.doubtful += 1

    def ended(self, lane: Lane, message: Message) -> None:
        """An attempt of the lane ended, and the lane has learned from it.

        Need not be called for one that started without doubt, of a lane that waits for no turn.
        """
        self.doubtful -= message.doubtful
        if lane.queued and (
            (not lane.in_flight and _took(self._crowded, lane))
            or (lane.calm and _took(self._doubted, lane))
        ):
            self._lanes.ring.append(lane)


def _first(held: dict[Lane, None]) -> Lane:
    lane = next(iter(held))
    del held[lane]
    lane.queued = False
    return lane


def _took(held: dict[Lane, None], lane: Lane) -> bool:
    if lane not in held:
        return False
    del held[lane]
    return True
