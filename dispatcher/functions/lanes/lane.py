"""One lane: the calls that wait for an attempt at one application, and in which order they go.

Resumes go before first runs, in the order in which they became due; while an application is left
alone, every other one that tries it is a first run. First runs take turns between
the root calls that they belong to: each root has a tag, the round in which it is served next, and
the lowest tag is next (start-time fair queueing), so a root with ten thousand calls and one with a
single call are served alike. A function that its application throttles is passed over, with all its
calls, until it may be run again.

Every function keeps its own calls; two heaps of the lane say which function is next. An entry that
has been overtaken is dropped when it comes up. So each step costs the logarithm of the numbers of
functions and roots, however many calls wait.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from heapq import heappop, heappush, heapreplace
from itertools import islice
from typing import Final, Protocol

from dispatcher.core.breaker import Breaker, State
from dispatcher.core.limit import START, Limit
from dispatcher.core.rate import Bucket
from dispatcher.core.trail import Trail
from dispatcher.functions.lanes.line import FAILURES, Standing

SLOW_US: Final = 5_000_000
"""No attempt counts as slow before this, and"""
_TIMES: Final = 4
"""none that has not taken so many times what is usual in its lane."""
_FADING: Final = 8


class Owner(Protocol):
    """Who makes the attempts of calls: one for each partition."""

    def take_turn(self, place: Place) -> None:
        """Make the attempt; `Lanes.finish` is told how it ended, not before this has returned."""


class At(Enum):
    """Where a call stands in its lane."""

    WAITING = auto()
    RUNNING = auto()
    OUT = auto()


class Place:
    """A call that waits in a lane, or whose attempt is under way. `key` is its owner's; `since` its
    number in the order of coming; `tag` the round in which it is next, of a root call that waits
    for its first run; `started_us` when its attempt started, by the clock of the lanes, and
    `had_answered` whether its application was one that answers then."""

    __slots__ = (
        "at",
        "function",
        "had_answered",
        "is_resume",
        "key",
        "lane",
        "owner",
        "root",
        "since",
        "started_us",
        "tag",
    )

    def __init__(
        self, owner: Owner, key: int, lane: Lane, function: Function, *, root: int, since: int
    ) -> None:
        self.owner = owner
        self.key = key
        self.lane = lane
        self.function = function
        self.root = root
        self.since = since
        self.tag = 0
        self.is_resume = False
        self.started_us = 0
        self.had_answered = False
        self.at = At.WAITING

    def __repr__(self) -> str:
        return f"<Place of {self.key:x} in {self.lane.name}: {self.at.name}>"


class Function:
    """The calls of one function in a lane.

    `limit` is there once an answer said that it is asked too much, and until all that there may be
    goes again. `paused_until_us`: it asked for a rest. `waiting` and `in_flight` count calls.
    `offered_since` and `offered_tag` are what its entries in the heaps of the lane say that count;
    None: it has none.

    `own` has root calls, in order: nothing else of such a root waits, so that it needs no tag but
    its own, and a hundred thousand of them take little. (Where one begins anew, what is left below
    it may be served in the same round.) `by_root` has the first runs of each other root, in order.
    Most roots have one: a deque of it would take half a kilobyte.
    """

    __slots__ = (
        "by_root",
        "in_flight",
        "limit",
        "name",
        "offered_since",
        "offered_tag",
        "own",
        "paused_until_us",
        "resumes",
        "tags",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.limit: Limit | None = None
        self.in_flight = 0
        self.paused_until_us = 0
        self.waiting = 0
        self.resumes: deque[Place] = deque()
        self.own: deque[Place] = deque()
        self.by_root: dict[int, Place | deque[Place]] = {}
        self.tags: list[tuple[int, int, int]] = []  # tag, order of coming, root
        self.offered_since: int | None = None
        self.offered_tag: int | None = None

    def __repr__(self) -> str:
        return f"<Function {self.name} waiting={self.waiting} in_flight={self.in_flight}>"

    def admits(self, now_us: int) -> bool:
        """Whether one more of its calls may be run now."""
        if now_us < self.paused_until_us:
            return False
        return self.limit is None or self.in_flight < self.limit.value

    @property
    def is_idle(self) -> bool:
        """Nothing of it waits or runs."""
        return not self.waiting and not self.in_flight

    def clear(self) -> None:
        """Drop what is left of calls that went out."""
        self.resumes.clear()
        self.own.clear()
        self.by_root.clear()
        self.tags.clear()


class Root:
    """A root call with first runs below it that wait: how many, and the round in which it is
    next."""

    __slots__ = ("tag", "waiting")

    def __init__(self, tag: int) -> None:
        self.tag = tag
        self.waiting = 0


class Lane:
    """What waits for one application (`name`: scheme and authority of its endpoints).

    `waiting` and `in_flight` count calls. `bucket` has the tokens of its rate, None: it has none;
    `concurrency` says how many attempts a rule allows at once, 0: as many as it bears. `is_pulled`:
    its calls are fetched (`Lanes.pull`) and not sent. `is_held`: nothing is sent until an operator
    says so. `is_lined_up`: it stands in the line of lanes. `opens_us` is the alarm that is set for
    it, 0: none; `idle_since_us` when it became idle. `failures` its application had in a row, which
    make its `standing`. `running` are the places of its attempts, in the order in which they
    started, and `usual_us` is about how long those take that are answered. `trail` is what they
    came to lately, for operators.
    """

    __slots__ = (
        "_firsts",
        "_number",
        "_probed_first",
        "_resumes",
        "_roots",
        "_round",
        "breaker",
        "bucket",
        "concurrency",
        "failures",
        "functions",
        "idle_since_us",
        "in_flight",
        "is_held",
        "is_lined_up",
        "is_pulled",
        "limit",
        "name",
        "opens_us",
        "paused_until_us",
        "running",
        "standing",
        "trail",
        "usual_us",
        "waiting",
    )

    def __init__(self, name: str, limit: Limit, breaker: Breaker, *, is_pulled: bool) -> None:
        self.name = name
        self.limit = limit
        self.breaker = breaker
        self.is_pulled = is_pulled
        self.bucket: Bucket | None = None
        self.concurrency = 0
        self.is_held = False
        self.is_lined_up = False
        self.standing = Standing.NEW
        self.failures = 0
        self.functions: dict[str, Function] = {}
        self.waiting = 0
        self.in_flight = 0
        self.running: dict[Place, None] = {}
        self.trail = Trail()
        self.usual_us = 0
        self.paused_until_us = 0
        self.opens_us = 0
        self.idle_since_us = 0
        self._roots: dict[int, Root] = {}
        self._probed_first = False
        self._round = 0  # tag of what was served last
        self._number = 0  # keeps entries of the heaps in order
        self._resumes: list[tuple[int, int, Function]] = []
        self._firsts: list[tuple[int, int, Function]] = []

    def __repr__(self) -> str:
        return f"<Lane {self.name} waiting={self.waiting} in_flight={self.in_flight}/{self.most}>"

    @property
    def most(self) -> int:
        """How many attempts may be under way: two at least, so that one call that hangs is not the
        end of all others."""
        return max(self.limit.value, min(START, self.limit.ceiling))

    def room_us(self) -> int:
        """From when on one more attempt may be made, 0: at once. Attempts that are slow may never
        end: they leave room for two that are not, whatever the limit is."""
        if self.in_flight < self.most:
            return 0
        newer = min(START, self.limit.ceiling)
        place = next(islice(reversed(self.running), newer - 1, None))
        return place.started_us + max(SLOW_US, _TIMES * self.usual_us)

    @property
    def is_full(self) -> bool:
        """Whether it has as many attempts under way as a rule allows, slow ones too."""
        return 0 < self.concurrency <= self.in_flight

    def end(self, place: Place) -> None:
        """An attempt has ended."""
        place.at = At.OUT
        del self.running[place]
        self.in_flight -= 1
        place.function.in_flight -= 1

    def took(self, duration_us: int) -> None:
        """An attempt that was answered did; what was longer ago fades."""
        self.usual_us += (duration_us - self.usual_us) // _FADING

    def answered(self) -> None:
        """Its application did."""
        self.failures = 0
        self.standing = Standing.ANSWERS

    def failed(self) -> None:
        """Its application did not answer, or asked for less. Once is an accident."""
        self.failures += 1
        if self.standing is Standing.NEW or self.failures >= FAILURES:
            self.standing = Standing.FAILS

    def put(self, place: Place, *, is_resume: bool) -> None:
        """A call waits."""
        function = place.function
        place.is_resume = is_resume
        self.waiting += 1
        function.waiting += 1
        if is_resume:
            function.resumes.append(place)
        elif place.key == place.root:
            place.tag = self._round
            function.own.append(place)
        else:
            self._put_first(function, place)
        self.offer(function)

    def _put_first(self, function: Function, place: Place) -> None:
        root = self._roots.get(place.root)
        if root is None:
            root = self._roots[place.root] = Root(self._round)
        root.waiting += 1
        queue = function.by_root.get(place.root)
        if queue is None:
            function.by_root[place.root] = place
            heappush(function.tags, (root.tag, place.since, place.root))
        elif isinstance(queue, Place):
            function.by_root[place.root] = deque((queue, place))
        else:
            queue.append(place)

    def take(self, now_us: int) -> Place | None:
        """Take the call that is next; None: none may be run now."""
        if self.breaker.state is not State.CLOSED and not self._probed_first:
            # Resumes may all fail, of code that was changed: others are to show that it is well.
            place = self._take_first(now_us) or self._take_resume(now_us)
            self._probed_first = place is not None
        else:
            place = self._take_resume(now_us) or self._take_first(now_us)
            self._probed_first = False
        if place is not None:
            self._leave(place)
            place.at = At.RUNNING
            place.started_us = now_us
            self.running[place] = None
            place.function.in_flight += 1
            self.in_flight += 1
            self.offer(place.function)
        return place

    def take_out(self, place: Place) -> None:
        """A call that waits does so no more."""
        self._leave(place)
        place.at = At.OUT

    def _leave(self, place: Place) -> None:
        function = place.function
        self.waiting -= 1
        function.waiting -= 1
        if not place.is_resume and place.key != place.root:
            root = self._roots[place.root]
            root.waiting -= 1
            if not root.waiting:
                del self._roots[place.root]
        if not function.waiting:
            function.clear()

    def offer(self, function: Function) -> None:
        """Something has changed about a function: see that the heaps know what it has first."""
        since = _first_resume(function)
        if since is not None and (
            function.offered_since is None or since != function.offered_since
        ):
            function.offered_since = since
            self._number += 1
            heappush(self._resumes, (since, self._number, function))
        tag = self._first_tag(function)
        if tag is not None and (function.offered_tag is None or tag < function.offered_tag):
            function.offered_tag = tag
            self._number += 1
            heappush(self._firsts, (tag, self._number, function))

    def _take_resume(self, now_us: int) -> Place | None:
        heap = self._resumes
        while heap:
            since, _, function = heap[0]
            if since != function.offered_since:
                heappop(heap)
                continue
            first = _first_resume(function)
            if first == since and function.admits(now_us):
                heappop(heap)
                function.offered_since = None
                return function.resumes.popleft()
            heappop(heap)
            function.offered_since = None
            if first is not None and first != since:
                self.offer(function)
        return None

    def _take_first(self, now_us: int) -> Place | None:
        heap = self._firsts
        while heap:
            tag, _, function = heap[0]
            if tag != function.offered_tag:
                heappop(heap)
                continue
            first = self._first_tag(function)
            heappop(heap)
            function.offered_tag = None
            if first is None or not function.admits(now_us):
                continue
            if first != tag:
                self.offer(function)
                continue
            return self._serve(function)
        return None

    def _serve(self, function: Function) -> Place:
        """Take the first call of the root whose turn it is."""
        own = _first_waiting(function.own)
        if own is not None and (not function.tags or (own.tag, own.since) < function.tags[0][:2]):
            self._round = max(self._round, own.tag)
            return function.own.popleft()
        _, _, key = function.tags[0]
        root = self._roots[key]
        self._round = max(self._round, root.tag)
        root.tag = self._round + 1
        queue = function.by_root[key]
        if not isinstance(queue, Place):
            return queue.popleft()
        heappop(function.tags)
        del function.by_root[key]
        return queue

    def _first_tag(self, function: Function) -> int | None:
        """The tag of the root that is next in a function; None: no first run waits in it."""
        below = self._first_tag_below(function)
        own = _first_waiting(function.own)
        if own is None:
            return below
        return own.tag if below is None else min(own.tag, below)

    def _first_tag_below(self, function: Function) -> int | None:
        """The same of those that are below a root."""
        tags = function.tags
        while tags:
            tag, since, key = tags[0]
            if not _has_waiting(function.by_root[key]):
                heappop(tags)
                del function.by_root[key]
                continue
            now = self._roots[key].tag
            if now == tag:
                return tag
            heapreplace(tags, (now, since, key))
        return None


def _has_waiting(queue: Place | deque[Place]) -> bool:
    """Whether a call is first in the queue of a root."""
    if isinstance(queue, Place):
        return queue.at is At.WAITING
    return _first_waiting(queue) is not None


def _first_resume(function: Function) -> int | None:
    """Since when the first resume waits, by its number; None: none does."""
    first = _first_waiting(function.resumes)
    return None if first is None else first.since


def _first_waiting(places: deque[Place]) -> Place | None:
    """The first of these that waits; those that went out are dropped."""
    while places and places[0].at is not At.WAITING:
        places.popleft()
    return places[0] if places else None
