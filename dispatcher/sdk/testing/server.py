"""The server of the testing kit: calls in memory, in a time that is told, with nothing left to
chance. It decides what is run next and what an answer means; who asks it does the running.

It does what the real one does with an application of this SDK: results in the order in which they
came, the same ones again when a run is repeated, a failed child wakes its parent at once, delays
that double. There are no limits, no lanes and no breaker.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Final

from dispatcher.protocol.messages import (
    Call,
    CallResult,
    Exit,
    Poll,
    PollResult,
    RunRequest,
    RunResponse,
)
from dispatcher.protocol.statuses import Status, Then, status_of_wire
from dispatcher.sdk.testing.calls import Record, Wait, ended_with

FEATURES: Final = "append, cancel, delay, timeout, version"
RETRY_DELAY_US: Final = 500_000
MAX_RETRY_DELAY_US: Final = 60_000_000
MAX_EXPIRATION_US: Final = 365 * 86_400_000_000
_MAX_RESULTS: Final = 1_000
_RESTARTS: Final = 3


class Server:
    """`now_us` is set by who lets time pass."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us
        self.calls: dict[str, Record] = {}
        self._agenda: list[tuple[int, int, Record]] = []  # when something may be due, and of what
        self._numbers = itertools.count()
        self._claimed: set[str] = set()
        self._keys: dict[str, list[str]] = {}
        self._completed: dict[str, CallResult] = {}
        self._queued: defaultdict[str, deque[CallResult]] = defaultdict(deque)

    # What is asked of it.

    def dispatch(self, calls: Iterable[Call], *, key: str | None = None) -> list[str]:
        """Make calls at the top, and return their ids. The same key again makes none."""
        if key is not None and key in self._keys:
            return self._keys[key]
        ids = [self._make(call, None).id for call in calls]
        if key is not None:
            self._keys[key] = ids
        return ids

    def complete(self, endpoint: str, result: CallResult) -> bool:
        """Give a value or an error to `promise:NAME`, or one to `channel:NAME`. False where the
        promise has one, which counts."""
        waiting = [c for c in self.calls.values() if c.endpoint == endpoint and not c.is_over]
        if endpoint.startswith("channel:"):
            if waiting:
                self._end(waiting[0], Status.OK, result)
            else:
                self._queued[endpoint].append(result)
            return True
        if endpoint in self._completed:
            return False
        self._completed[endpoint] = result
        for call in waiting:
            self._end(call, Status.OK, result)
        return True

    async def claim(self, word: str) -> bool:
        """Whether nobody has claimed this word before."""
        is_free = word not in self._claimed
        self._claimed.add(word)
        return is_free

    def take(self, other: Server) -> None:
        """Have the same promises and values in channels that nobody has received as `other`."""
        self.now_us = other.now_us
        self._completed = dict(other._completed)
        for name, values in other._queued.items():
            self._queued[name] = values.copy()

    def cancel(self, call: Record, *, kill: bool = False) -> None:
        """Ask a call to end, and all that it called. One that is suspended is resumed for it, to
        clean up; with `kill` nothing of it runs any more."""
        if call.is_over:
            return
        for child in list(call.open.values()):
            self.cancel(child, kill=kill)
        call.is_cancelled = True
        if call.state is None or kill:
            self._end(call, Status.PERMANENT_ERROR, _cancelled(call))
        elif call.wait is not None:
            self._tell_cancelled(call)

    # What is to be run.

    def due(self) -> Record | None:
        """The call that is to be run now, None where there is none."""
        while (at_us := self.next_us()) is not None and at_us <= self.now_us:
            _, _, call = heapq.heappop(self._agenda)
            if call.expires_us <= at_us:
                self._end(call, Status.TIMEOUT, ended_with("Expired", "its time was over"))
            else:
                call.due_us = None
                return call
        return None

    def next_us(self, *, patient: bool = True) -> int | None:
        """When something is due next, None: not before somebody asks for something. Who is not
        `patient` does not wait a year for calls to expire that were given no time of their own."""
        while self._agenda:
            at_us, _, call = self._agenda[0]
            if not call.is_over and at_us in (call.due_us, call.expires_us):
                is_late = at_us != call.due_us and at_us - call.created_us >= MAX_EXPIRATION_US
                return at_us if patient or not is_late else None
            heapq.heappop(self._agenda)
        return None

    def request(self, call: Record) -> RunRequest:
        """What a run of a call that is due is sent; the same again until it is answered."""
        request = RunRequest(
            function=call.function,
            dispatch_id=call.id,
            parent_dispatch_id=call.parent.id if call.parent else "",
            root_dispatch_id=call.root.id,
            version=call.asked.version,
        )
        request.creation_time.FromMicroseconds(call.created_us)
        request.expiration_time.FromMicroseconds(call.expires_us)
        if call.state is None:
            request.input.CopyFrom(call.input)
        else:
            request.poll_result.CopyFrom(_poll_result(call))
        return request

    # What became of it.

    def answered(self, call: Record, response: RunResponse) -> None:
        """Take in the answer of a run."""
        status = status_of_wire(response.status)
        call.attempts += 1
        call.runs += call.state is None
        directive = response.WhichOneof("directive")
        if directive == "exit" and response.exit.HasField("tail_call"):
            self._become(call, response.exit)
        elif directive == "poll" and status is Status.OK:
            self._suspend(call, response.poll)
        else:
            self._follow(call, status, response.exit)

    def lost(self, call: Record) -> None:
        """No answer came: the same run again, before all others, so that a crash that loses an
        answer changes the order of nothing."""
        call.due_us = self.now_us
        heapq.heappush(self._agenda, (self.now_us, -next(self._numbers), call))

    def _follow(self, call: Record, status: Status, exit: Exit) -> None:
        match status.then:
            case Then.END:
                self._give_up(call, exit.cancel)
                self._end(call, status, exit.result)
            case Then.RETRY:
                call.status = status
                self._schedule(call, self.now_us + _delay_us(call.failures))
                call.failures += 1
            case Then.RESTART if call.failures >= _RESTARTS:
                self._end(call, status, exit.result)
            case Then.RESTART:
                call.failures += 1
                self._restart(call)

    def _suspend(self, call: Record, poll: Poll) -> None:
        if poll.extends and (call.state is None or poll.extends != call.nonce):
            self.lost(call)
            return
        _store(call, poll)
        self._give_up(call, poll.cancel)
        call.given, call.refused, call.failures = None, None, 0
        wake_us = (
            self.now_us + poll.max_wait.ToMicroseconds() if poll.HasField("max_wait") else None
        )
        call.wait = Wait(max(1, poll.min_results), poll.max_results or _MAX_RESULTS, wake_us)
        self._schedule(call, wake_us)
        for made in poll.calls:
            self._make(made, call)
        self._wake(call)
        if call.is_cancelled:
            self._tell_cancelled(call)

    def _become(self, call: Record, exit: Exit) -> None:
        self._give_up(call, exit.cancel)
        call.function, call.failures = exit.tail_call.function, 0
        call.input.CopyFrom(exit.tail_call.input)
        self._restart(call)

    def _restart(self, call: Record) -> None:
        for child in call.open.values():
            child.parent = None
        call.state, call.nonce, call.wait, call.given = None, 0, None, None
        call.arrived, call.open = [], {}
        self._schedule(call, self.now_us)

    def _make(self, asked: Call, parent: Record | None) -> Record:
        number = len(self.calls)
        lasts_us = asked.expiration.ToMicroseconds() or MAX_EXPIRATION_US
        expires_us = min([self.now_us + lasts_us] + ([parent.expires_us] if parent else []))
        call = Record(
            f"call-{number:04}", asked, asked.function, asked.input, self.now_us, expires_us, None
        )
        self.calls[call.id] = call
        heapq.heappush(self._agenda, (expires_us, next(self._numbers), call))
        if parent is not None:
            call.parent, call.correlation_id = parent, asked.correlation_id
            parent.open[asked.correlation_id] = call
            parent.children.append(call)
        self._begin(call)
        return call

    def _begin(self, call: Record) -> None:
        endpoint = call.endpoint
        if endpoint in self._completed:
            self._end(call, Status.OK, self._completed[endpoint])
        elif self._queued[endpoint] if endpoint.startswith("channel:") else False:
            self._end(call, Status.OK, self._queued[endpoint].popleft())
        elif not endpoint.startswith(("promise:", "channel:")):
            self._schedule(call, self.now_us + call.asked.delay.ToMicroseconds())

    def _end(self, call: Record, status: Status, result: CallResult) -> None:
        call.status, call.due_us, call.wait = status, None, None
        call.ended_us = self.now_us
        call.result = CallResult(correlation_id=call.correlation_id, dispatch_id=call.id)
        if result.HasField("output"):
            call.result.output.CopyFrom(result.output)
        if result.HasField("error"):
            call.result.error.CopyFrom(result.error)
        parent = call.parent
        if parent is not None and parent.open.pop(call.correlation_id, None) is call:
            parent.arrived.append(call.result)
            self._wake(parent)

    def _wake(self, call: Record) -> None:
        """Resume it if what it waits for is there, or will not come."""
        if call.wait is None or call.is_over:
            return
        enough = min(call.wait.fewest, len(call.arrived) + len(call.open))
        has_failed = any(result.HasField("error") for result in call.arrived)
        if call.arrived and (has_failed or len(call.arrived) >= enough):
            self._schedule(call, self.now_us)

    def _tell_cancelled(self, call: Record) -> None:
        call.refused = _cancelled(call).error
        call.is_cancelled = False
        self._schedule(call, self.now_us)

    def _give_up(self, call: Record, ids: Iterable[int]) -> None:
        for id in ids:
            if (child := call.open.pop(id, None)) is not None:
                self.cancel(child)

    def _schedule(self, call: Record, at_us: int | None) -> None:
        call.due_us = at_us
        if at_us is not None:
            heapq.heappush(self._agenda, (at_us, next(self._numbers), call))


def _poll_result(call: Record) -> PollResult:
    """The results that are given are the same ones until the run is answered."""
    if call.given is None:
        most = call.wait.most if call.wait else _MAX_RESULTS
        call.given, call.arrived = call.arrived[:most], call.arrived[most:]
    call.wait = None  # nothing wakes it while it runs
    result = PollResult(typed_coroutine_state=call.state, results=call.given)
    if call.refused is not None:
        result.error.CopyFrom(call.refused)
    return result


def _store(call: Record, poll: Poll) -> None:
    assert poll.HasField("typed_coroutine_state"), "the SDK has a state of its own type"
    if poll.extends and call.state is not None:
        call.state.value += poll.typed_coroutine_state.value
    else:
        call.state = poll.typed_coroutine_state
    call.nonce = poll.state_nonce


def _cancelled(call: Record) -> CallResult:
    return ended_with("Cancelled", f"{call.function} was cancelled.")


def _delay_us(failures: int) -> int:
    return min(RETRY_DELAY_US << min(failures, 20), MAX_RETRY_DELAY_US)
