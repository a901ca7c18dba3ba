"""Whose turn it is: which call is run next, of all that are due.

Pure: instants come in as microseconds of one clock that never goes back. There is one lane for each
application (`lane`), and lanes take turns (`line`). A lane gets as many attempts at once as its
application bears (`core.limit`), none while it fails (`core.breaker`) or has asked for a rest. What
an answer says about a single function counts for that function only.

An idle lane is kept for a minute, with what was learned, and no more than `_MOST_IDLE` of them are.
Calls for sessions (`bridge://`) have lanes too, but are fetched: such a lane has no limit, no
breaker and no rule, and takes up nothing of what there is for the others. A session is an
application's own: each has its own lane of that name (`pulled_lane`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from dispatcher.core.breaker import LONGEST_PAUSE_MS, Breaker, Signal, State
from dispatcher.core.destination import Destination
from dispatcher.core.limit import Limit
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.rate import bucket_for
from dispatcher.core.rules.table import RulesInForce
from dispatcher.core.trail import Trail
from dispatcher.functions.endpoints import BRIDGE
from dispatcher.functions.lanes.lane import At, Function, Lane, Owner, Place
from dispatcher.functions.lanes.line import Line, Standing

IDLE_US: Final = 60_000_000
_MOST_IDLE: Final = 10_000
_MOST_FUNCTIONS: Final = 1_000
_UNLIMITED: Final = 1 << 30
_KEPT: Final = 8
"""One attempt in so many is kept for applications that answer: the others may all hang."""
_AGAIN_US: Final = 1_000_000
"""Until it is looked again whether slow attempts may have others beside them."""


def pulled_lane(session: str, application: str) -> str:
    """The name of the lane with the calls of a session. No session has a slash in its name, so no
    two have the same."""
    return f"{BRIDGE}{session}/{application}" if application else BRIDGE + session


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an attempt says.

    `signal` is about the application. `throttles`: the answer asks for fewer attempts of this
    function. `rest_us`: nothing is to be sent for so long, to this function with `throttles`, else
    to the application; 0: nothing was said. `is_silent`: the application is well, but how many
    attempts it can take is not said. `failed` is what went wrong, None where a run was answered.
    """

    signal: Signal
    throttles: bool = False
    rest_us: int = 0
    is_silent: bool = False
    failed: AttemptResult | None = None


class Lanes:
    """All lanes of a process. `in_flight` counts attempts, but for those that were fetched;
    `waiting` all calls that are due."""

    def __init__(
        self,
        most: int,
        *,
        longest_pause_ms: int = LONGEST_PAUSE_MS,
        can_be_pulled: Callable[[str], None] | None = None,
        rules: RulesInForce | None = None,
    ) -> None:
        """`most` attempts are under way at once (CALL_WORKER). `rules` say how often and how many
        at once. `can_be_pulled` is told the name of
        a lane each time when there may be one call more to fetch, in the middle of things: it has
        to wait until they are done."""
        if most < 1:
            raise ValueError("at least one attempt has to be made at once")
        self.most = most
        self.in_flight = 0
        self.waiting = 0
        self.can_be_pulled = can_be_pulled
        self._longest_pause_ms = longest_pause_ms
        self._rules = rules or RulesInForce()
        self._lanes: dict[str, Lane] = {}
        self._line: Line[Lane] = Line()
        self._most_unproven = most - most // _KEPT
        self._unproven = 0  # attempts at others than those that answer
        self._alarms: list[tuple[int, int, Lane, Function | None]] = []
        self._idle: dict[Lane, None] = {}  # the longest idle first
        self._held: set[str] = set()
        self._number = 0

    def __repr__(self) -> str:
        return f"<Lanes: {self.in_flight}/{self.most} in flight, {self.waiting} waiting>"

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def __len__(self) -> int:
        return len(self._lanes)

    def find(self, name: str) -> Lane | None:
        """The lane of this name, if there is one."""
        return self._lanes.get(name)

    def hold(self, name: str, *, held: bool) -> None:
        """Let nothing be sent in the lane `name` until it is held no more, also one that comes
        later. Attempts under way go on."""
        (self._held.add if held else self._held.discard)(name)
        lane = self._lanes.get(name)
        if lane is not None:
            lane.is_held = held
            self._line_up(lane)

    def add(
        self, owner: Owner, key: int, name: str, function: str, *, root: int, is_resume: bool
    ) -> Place:
        """A call waits for its turn in the lane `name`. `owner` makes the attempt."""
        lane = self._lane(name)
        self._number += 1
        place = Place(
            owner, key, lane, self._function(lane, function), root=root, since=self._number
        )
        lane.put(place, is_resume=is_resume)
        self.waiting += 1
        self._line_up(lane)
        return place

    def take_out(self, place: Place, now_us: int) -> None:
        """It need not be run any more. Nothing happens unless it waits."""
        if place.at is At.WAITING:
            self.waiting -= 1
            place.lane.take_out(place)
            self._look_if_idle(place.lane, now_us)

    def next_turn(self, now_us: int) -> Place | None:
        """Take the call that is next; None: none may be run now. `finish` has to follow."""
        self._wake(now_us)
        while self.in_flight < self.most:
            lane = self._line.take(that_answer=self._unproven >= self._most_unproven)
            if lane is None:
                return None
            lane.is_lined_up = False
            place = lane.take(now_us) if self._is_open(lane, now_us) else None
            if place is None:
                continue
            lane.breaker.start(now_us)
            if lane.bucket is not None:
                lane.bucket.take(now_us)
            place.had_answered = lane.standing is Standing.ANSWERS
            self._unproven += not place.had_answered
            self.in_flight += 1
            self.waiting -= 1
            self._line_up(lane)
            return place
        return None

    def pull(self, name: str, now_us: int) -> Place | None:
        """Take the next call of a lane whose calls are fetched."""
        lane = self._lanes.get(name)
        if lane is None or not lane.is_pulled:
            return None
        place = lane.take(now_us)
        if place is not None:
            self.waiting -= 1
        return place

    def offer_pulled(self) -> None:
        """Tell of all lanes whose calls can be fetched again."""
        for lane in self._lanes.values():
            if lane.is_pulled and lane.waiting:
                self._line_up(lane)

    def finish(self, place: Place, lesson: Lesson, now_us: int) -> None:
        """Its attempt has ended: learn from it."""
        assert place.at is At.RUNNING
        lane, function = place.lane, place.function
        lane.end(place)
        _note(lane.trail, place, lesson, now_us)
        if lesson.throttles:
            _throttle(function, place, now_us)
            if lesson.rest_us:
                self._rest(lane, function, now_us + lesson.rest_us)
        elif _allows_more(lesson) and function.limit is not None:
            _grow(function)
        if not lane.is_pulled:
            self.in_flight -= 1
            self._unproven -= not place.had_answered
            self._learn(lane, place, lesson, now_us)
        lane.offer(function)
        self._line_up(lane)
        self._look_if_idle(lane, now_us)
        self._forget(now_us)

    def wake_us(self) -> int:
        """When `next_turn` may have something that it has not now, by time alone; 0: never."""
        return self._alarms[0][0] if self._alarms else 0

    # What is learned.

    def _learn(self, lane: Lane, place: Place, lesson: Lesson, now_us: int) -> None:
        signal = lesson.signal
        if signal is Signal.HEALTHY:
            lane.answered()
            lane.took(now_us - place.started_us)
        if _allows_more(lesson):
            lane.limit.success()
        elif signal is Signal.OVERLOAD:
            lane.limit.overload(place.started_us, now_us)
        if signal in (Signal.FAILURE, Signal.OVERLOAD):
            lane.failed()
        lane.breaker.finish(signal, place.started_us, now_us)
        if lesson.rest_us and not lesson.throttles:
            lane.paused_until_us = max(lane.paused_until_us, now_us + lesson.rest_us)

    def _rest(self, lane: Lane, function: Function, until_us: int) -> None:
        if until_us > function.paused_until_us:
            function.paused_until_us = until_us
            self._set_alarm(until_us, lane, function)

    def _is_open(self, lane: Lane, now_us: int) -> bool:
        """Whether one more attempt may be made in a lane; where time alone opens it, it is looked
        at again then."""
        if lane.is_held or lane.is_full:
            return False
        until_us = max(lane.paused_until_us, self._room_us(lane, now_us))
        if lane.bucket is not None:
            opens_us = lane.bucket.opens_at(now_us)
            lane.bucket.is_awaited = opens_us > now_us or lane.bucket.is_awaited
            until_us = max(until_us, opens_us)
        if until_us <= now_us and not lane.breaker.admits(now_us):
            if lane.breaker.state is not State.OPEN:
                return False  # the probe is under way
            until_us = lane.breaker.open_until_us
        if until_us <= now_us:
            return True
        if not lane.opens_us or until_us < lane.opens_us:
            lane.opens_us = until_us
            self._set_alarm(until_us, lane, None)
        return False

    def _room_us(self, lane: Lane, now_us: int) -> int:
        """From when on there may be room in a lane. What it gets beside slow attempts is not taken
        from what is kept for others."""
        room_us = lane.room_us()
        if 0 < room_us <= now_us and self.in_flight >= self._most_unproven:
            return now_us + _AGAIN_US
        return room_us

    def _set_alarm(self, at_us: int, lane: Lane, function: Function | None) -> None:
        self._number += 1
        heappush(self._alarms, (at_us, self._number, lane, function))

    def _wake(self, now_us: int) -> None:
        while self._alarms and self._alarms[0][0] <= now_us:
            _, _, lane, function = heappop(self._alarms)
            if function is not None:
                lane.offer(function)
            else:
                lane.opens_us = 0
            self._line_up(lane)

    # Lanes come and go.

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            is_pulled = name.startswith(BRIDGE)
            limit = Limit(_UNLIMITED if is_pulled else self.most)
            lane = Lane(name, limit, Breaker(self._longest_pause_ms), is_pulled=is_pulled)
            lane.is_held = name in self._held
            self._lanes[name] = lane
            if self._rules.rules is not None:
                self._obey(lane, 0)
        self._idle.pop(lane, None)
        return lane

    def rules_changed(self, now_us: int) -> None:
        """Other rules are in force: every lane gets what they say of it."""
        for lane in self._lanes.values():
            self._obey(lane, now_us)
            self._line_up(lane)

    def _obey(self, lane: Lane, now_us: int) -> None:
        if lane.is_pulled:
            return
        rule = None
        if self._rules.rules is not None and lane.name:  # else its endpoint cannot be read
            rule = self._rules.rules.of_whole(Destination.parse(lane.name))
        most = None if rule is None else rule.concurrency
        lane.concurrency = most or 0
        lane.limit.cap(self.most if most is None else min(most, self.most))
        lane.bucket = bucket_for(None if rule is None else rule.rate, lane.bucket, now_us)

    def _function(self, lane: Lane, name: str) -> Function:
        functions = lane.functions
        function = functions.pop(name, None) or Function(name)
        if len(functions) >= _MOST_FUNCTIONS:  # names are callers': forget the one used least
            oldest = next(iter(functions))
            old = functions.pop(oldest)
            if not old.is_idle:
                functions[oldest] = old
        functions[name] = function
        return function

    def _line_up(self, lane: Lane) -> None:
        if lane.is_pulled:
            if self.can_be_pulled is not None:
                self.can_be_pulled(lane.name)
        elif lane.waiting and not lane.is_lined_up:
            lane.is_lined_up = True
            self._line.append(lane)

    def _look_if_idle(self, lane: Lane, now_us: int) -> None:
        if not lane.waiting and not lane.in_flight:
            lane.idle_since_us = now_us
            self._idle.pop(lane, None)
            self._idle[lane] = None

    def _forget(self, now_us: int) -> None:
        """Forget the two lanes that have been idle for longest: more than can become so at once."""
        for _ in range(2):
            lane = next(iter(self._idle), None)
            if lane is None:
                return
            if lane.bucket is not None and not lane.bucket.is_full(now_us):
                self._look_if_idle(lane, now_us)  # who forgot it would give it another burst
                continue
            is_old = max(lane.idle_since_us + IDLE_US, lane.paused_until_us) <= now_us
            if not is_old and len(self._idle) <= _MOST_IDLE:
                return
            del self._idle[lane]
            del self._lanes[lane.name]


def _note(trail: Trail, place: Place, lesson: Lesson, now_us: int) -> None:
    """Remember for operators how an attempt went. That it failed for a reason on this machine says
    nothing of its application."""
    if lesson.failed is not None:
        if not lesson.failed.ours:
            answered = lesson.signal not in (Signal.FAILURE, Signal.OVERLOAD)
            trail.failed(lesson.failed, now_us - place.started_us, now_us, answered=answered)
    elif lesson.signal is not Signal.NEUTRAL:
        trail.failing_since = 0
        trail.left -= 1
        if not trail.left:
            trail.timed(now_us - place.started_us, now_us)


def _allows_more(lesson: Lesson) -> bool:
    return lesson.signal is Signal.HEALTHY and not lesson.is_silent


def _throttle(function: Function, place: Place, now_us: int) -> None:
    """An answer asked for fewer: half of what was under way when there was no limit yet."""
    if function.limit is None:
        function.limit = Limit(_UNLIMITED)
        function.limit.value = function.in_flight + 1
    function.limit.overload(place.started_us, now_us)


def _grow(function: Function) -> None:
    limit = function.limit
    assert limit is not None
    limit.success()
    if limit.value > 2 * function.in_flight + 2 and not function.waiting:
        function.limit = None  # it holds nobody up
