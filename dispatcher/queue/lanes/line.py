"""One line: the messages of one destination that have the same order key, flow key or rule.

What waits in it is chained from `head` to `tail` (`lanes.chains`). Lines decide here, from what
they count and the time; `lanes.lines` does what follows.
"""

from __future__ import annotations

from typing import Final

from dispatcher.core.flow import NO_FLOW
from dispatcher.core.rate import Bucket
from dispatcher.queue.pending.index import NO_SLOT

Name = tuple[bytes, str]
"""A destination's key (`scheme://host[:port]`) and one of its order or flow keys, or `RULE` and a
match."""
RULE: Final = " "
"""Begins the names of rules' lines; no key begins with it."""
_MOST_READY: Final = 10_000


class Line:
    """What waits with one key. `members` counts all its messages, those that do not wait too."""

    __slots__ = ("head", "members", "name", "number", "tail")

    def __init__(self, name: Name, number: int) -> None:
        self.name = name
        self.number = number
        self.members = 0
        self.head = NO_SLOT
        self.tail = NO_SLOT

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name[1]!r} members={self.members}>"


class OrderLine(Line):
    """The messages of an order key. `first` is the one that was let through; `blocked` counts what
    keeps the next one from it; beside `redriven` the place of the next letter is looked for."""

    __slots__ = ("blocked", "first", "redriven")

    def __init__(self, name: Name, number: int) -> None:
        super().__init__(name, number)
        self.first = NO_SLOT
        self.blocked = 0
        self.redriven = NO_SLOT

    def leads(self, slot: int) -> bool:
        """Whether a message is the first of its line, or becomes it now."""
        if self.first == NO_SLOT and self.head == NO_SLOT and not self.blocked:
            self.first = slot
        return self.first == slot


class FlowLine(Line):
    """The messages of a flow key or a rule. `ready` are those in the lane, `running` those with
    delivery. `flow` was said last, by the message at the position `told_at`; `due` is when its next
    token is looked for, in microseconds by the queue's clock (0: never)."""

    __slots__ = ("bucket", "due", "flow", "ready", "running", "told_at")

    def __init__(self, name: Name, number: int) -> None:
        super().__init__(name, number)
        self.flow = NO_FLOW
        self.bucket: Bucket | None = None
        self.ready: dict[int, None] = {}
        self.running = 0
        self.due = 0
        self.told_at = -1

    @property
    def is_full(self) -> bool:
        """Whether no more of its messages may be on their way than there are."""
        most = self.flow.parallelism
        return most is not None and self.running + len(self.ready) >= most

    def may_pass(self, now_us: int) -> bool:
        """Whether its next message may go to its lane."""
        if self.is_full:
            return False
        return self.bucket is None or (not self.ready and self.bucket.opens_at(now_us) <= now_us)

    def most_ready(self, now_us: int) -> int:
        """How many of its messages may be in the lane."""
        most = _MOST_READY
        if self.flow.parallelism is not None:
            most = max(0, self.flow.parallelism - self.running)
        if self.bucket is not None:
            most = min(most, 1 if self.bucket.opens_at(now_us) <= now_us else 0)
        return most
