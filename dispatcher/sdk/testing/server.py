"""The server of the testing kit: calls in memory, in a time that is told, with nothing left to
chance. It decides what is run next and what an answer means; who asks it does the running.

It does what the real one does with an application of this SDK: results in the order in which they
came, the same ones again when a run is repeated, a failed child wakes its parent at once, delays
that double. There are no limits, no lanes and no breaker.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dispatcher.protocol.messages import Call, CallResult, Exit, Poll, RunResponse
from dispatcher.protocol.statuses import Status, Then, status_of_wire
from dispatcher.sdk.testing.agenda import MAX_EXPIRATION_US, Agenda
from dispatcher.sdk.testing.asking import MAX_RESULTS, store
from dispatcher.sdk.testing.calls import Record, Wait, ended_with
from dispatcher.sdk.testing.given import Given, is_outside

FEATURES: Final = "append, cancel, delay, timeout, version"
RETRY_DELAY_US: Final = 500_000
MAX_RETRY_DELAY_US: Final = 60_000_000
_RESTARTS: Final = 3


class Server:
    """`now_us` is set by who lets time pass."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us
        self.calls: dict[str, Record] = {}
        self.agenda = Agenda()
        self.given = Given()
        self._keys: dict[str, list[str]] = {}

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
        if not self.given.keep(endpoint, result):
            return False
        for call in list(self.calls.values()):
            if call.endpoint == endpoint and not call.is_over:
                self._receive(call)
        return True

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

    def due(self) -> Record | None:
        """The call that is to be run now, None where there is none."""
        while (at_us := self.agenda.next_us()) is not None and at_us <= self.now_us:
            call = self.agenda.pop()
            if call.expires_us <= at_us:
                self._end(call, Status.TIMEOUT, ended_with("Expired", "its time was over"))
            else:
                call.due_us = None
                return call
        return None

    # What became of it.

    def answered(self, call: Record, response: RunResponse, *, retry_after_us: int = 0) -> None:
        """Take in the answer of a run, which is not tried again before `retry_after_us`."""
        status = status_of_wire(response.status)
        call.attempts += 1
        call.runs += call.state is None
        directive = response.WhichOneof("directive")
        if directive == "exit" and response.exit.HasField("tail_call"):
            self._become(call, response.exit)
        elif directive == "poll" and status is Status.OK:
            self._suspend(call, response.poll)
        else:
            self._follow(call, status, response.exit, retry_after_us)

    def lost(self, call: Record) -> None:
        """No answer came: the same run again, before all others, so that a crash that loses an
        answer changes the order of nothing."""
        self.agenda.put_first(call, self.now_us)

    def _follow(self, call: Record, status: Status, exit: Exit, retry_after_us: int) -> None:
        match status.then:
            case Then.END:
                self._give_up(call, exit.cancel)
                self._end(call, status, exit.result)
            case Then.RETRY:
                call.status = status
                delay_us = min(RETRY_DELAY_US << min(call.failures, 20), MAX_RETRY_DELAY_US)
                self.agenda.put(call, self.now_us + max(delay_us, retry_after_us))
                call.failures += 1
            case Then.RESTART if call.failures >= _RESTARTS:
                self._end(call, status, exit.result)
            case Then.RESTART:
                call.failures += 1
                self._give_up(call, list(call.open))
                self._restart(call)

    def _suspend(self, call: Record, poll: Poll) -> None:
        if poll.extends and (call.state is None or poll.extends != call.nonce):
            self.lost(call)
            return
        store(call, poll)
        self._give_up(call, poll.cancel)
        call.given, call.refused, call.failures = None, None, 0
        has_timer = poll.HasField("max_wait")
        wake_us = self.now_us + poll.max_wait.ToMicroseconds() if has_timer else None
        has_failed = any(result.HasField("error") for result in call.arrived)
        most = poll.max_results or MAX_RESULTS
        call.wait = Wait(max(1, poll.min_results), most, wake_us, has_failed)
        self.agenda.put(call, wake_us)
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
        call.state, call.nonce, call.wait, call.given = None, 0, None, None
        call.arrived, call.open = [], {}
        self.agenda.put(call, self.now_us)

    def _make(self, asked: Call, parent: Record | None) -> Record:
        lasts_us = asked.expiration.ToMicroseconds() or MAX_EXPIRATION_US
        expires_us = min([self.now_us + lasts_us] + ([parent.expires_us] if parent else []))
        id = f"call-{len(self.calls):04}"
        call = Record(id, asked, asked.function, asked.input, self.now_us, expires_us, None, parent)
        self.calls[id] = call
        self.agenda.expect_end(call)
        if parent is not None:
            call.correlation_id = asked.correlation_id
            parent.open[asked.correlation_id] = call
            parent.children.append(call)
        if is_outside(call.endpoint):
            self._receive(call)
        else:
            self.agenda.put(call, self.now_us + asked.delay.ToMicroseconds())
        return call

    def _receive(self, call: Record) -> None:
        result = self.given.take(call.endpoint)
        if result is not None:
            self._end(call, Status.OK, result)

    def _end(self, call: Record, status: Status, result: CallResult) -> None:
        if call.is_ending:  # whatever it has come to
            status, result = Status.PERMANENT_ERROR, _cancelled(call)
        call.status, call.due_us, call.wait = status, None, None
        call.ended_us = self.now_us
        call.result = CallResult(correlation_id=call.correlation_id, dispatch_id=call.id)
        if result.HasField("output"):
            call.result.output.CopyFrom(result.output)
        if result.HasField("error"):
            call.result.error.CopyFrom(result.error)
        parent = call.parent
        if parent is not None and parent.open.get(call.correlation_id) is call:
            del parent.open[call.correlation_id]
            self._arrive(parent, call.result)

    def _arrive(self, parent: Record, result: CallResult) -> None:
        parent.arrived.append(result)
        if parent.wait is not None and result.HasField("error"):
            parent.wait.has_failed = True
        self._wake(parent)

    def _wake(self, call: Record) -> None:
        """Resume it if what it waits for is there, or will not come."""
        if call.wait is None or call.is_over:
            return
        enough = min(call.wait.fewest, len(call.arrived) + len(call.open))
        if call.arrived and (call.wait.has_failed or len(call.arrived) >= enough):
            self.agenda.put(call, self.now_us)

    def _tell_cancelled(self, call: Record) -> None:
        call.refused = _cancelled(call).error
        call.is_cancelled, call.is_ending = False, True
        self.agenda.put(call, self.now_us)

    def _give_up(self, call: Record, ids: Iterable[int]) -> None:
        for id in ids:
            if (child := call.open.pop(id, None)) is not None:
                self.cancel(child)


def _cancelled(call: Record) -> CallResult:
    return ended_with("Cancelled", f"{call.function} was cancelled.")
