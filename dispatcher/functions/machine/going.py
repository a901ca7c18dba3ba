"""Calls begin and go on: they poll, are resumed, make tail calls, are restarted."""

from __future__ import annotations

from dispatcher.functions.endpoints import OUTSIDE
from dispatcher.functions.events import (
    NewCall,
    Polled,
    Restarted,
    Resuming,
    Retried,
    TailCalled,
)
from dispatcher.functions.machine.ending import Ending
from dispatcher.functions.machine.outside import Outside
from dispatcher.functions.machine.table import Table
from dispatcher.functions.model import (
    NO_KEYS,
    NONE,
    NOT_FROZEN,
    Call,
    Phase,
    StateArm,
    with_keys,
    without_key,
)


class Going:
    """What events mean that make calls, or let them go on."""

    def __init__(self, table: Table, ending: Ending, outside: Outside) -> None:
        self._table = table
        self._ending = ending
        self._outside = outside

    def make(self, new: NewCall, parent: Call | None, application: str, trace: str) -> None:
        """A call begins to exist."""
        assert not isinstance(new.input, bytes)
        call = Call(
            new.key,
            parent=NONE if parent is None else parent.key,
            root=new.key if parent is None else parent.root,
            correlation=new.correlation,
            parent_generation=0 if parent is None else parent.generation,
            endpoint=new.endpoint,
            function=new.function,
            version=new.version,
            application=application,
            created_us=new.created_us,
            expires_us=new.expires_us,
            not_before_us=new.not_before_us,
            depth=0 if parent is None else parent.depth + 1,
            timeout_ms=new.timeout_ms,
            input=new.input,
            trace=trace,
        )
        self._table.add(call, parent)
        if call.endpoint.startswith(OUTSIDE):
            self._outside.wait(call)
        else:
            self._table.listener.is_due(call)

    def polled(self, event: Polled) -> None:
        """A run ended with a poll."""
        table = self._table
        call = table.at_step(event.key, event.step)
        if call is None:
            return
        assert not isinstance(event.state, bytes)
        assert not isinstance(event.error, bytes)
        table.drop_results(call, event.delivered, frozenset(event.keep))
        if event.was_told:
            table.set_error(call, None)
        if event.error is not None and call.error is None:  # not told yet: it is to clean up
            table.set_error(call, event.error)
        table.holder.hold(call, event.state)
        if event.is_appended:
            call.states += (event.state,)
        else:
            table.drop_states(call)
            call.states = (event.state,)
        call.arm = event.arm
        call.state_crc = event.state_crc
        call.wait_for(event.min_results, event.max_results, event.due_us)
        call.idle = event.idle
        _next_step(call)
        table.change(call, Phase.SUSPENDED)
        # One that is to clean up, and was not told, has what it waits for: the error.
        calls = () if call.cancelling and call.error is not None else event.calls
        call.children = with_keys(call.children, tuple([new.key for new in calls]))
        for new in calls:
            self.make(new, call, call.application, call.trace)
        if call.phase is Phase.SUSPENDED and not table.wake(call, call.results):
            call.settle()
            table.listener.waits(call)

    def resuming(self, event: Resuming) -> None:
        """The next resume delivers so many results."""
        call = self._table.at_step(event.key, event.step)
        if call is not None:
            call.frozen = min(event.count, len(call.results))

    def retried(self, event: Retried) -> None:
        """A run of this step failed."""
        call = self._table.at_step(event.key, event.step)
        if call is None:
            return
        call.attempts, call.due_us = event.attempts, event.due_us
        if call.cancelling and call.poll is None:
            self._ending.end_cancelled(call)  # it had begun nothing that it could clean up

    def tail_called(self, event: TailCalled) -> None:
        """Another function takes its place."""
        call = self._table.at_step(event.key, event.step)
        if call is None:
            return
        if call.cancelling:
            self._ending.end_cancelled(call)
            return
        assert not isinstance(event.input, bytes)
        self._begin_anew(call)
        call.restarts = call.reached = 0
        self._table.holder.hold(call, event.input)
        self._table.holder.release(call, call.input)
        call.input = event.input
        call.become(event.endpoint, event.function, event.version)
        if call.endpoint.startswith(OUTSIDE):
            self._outside.wait(call)
        else:
            self._table.resume(call)

    def restarted(self, event: Restarted) -> None:
        """It begins anew, from its input."""
        table = self._table
        call = table.at_step(event.key, event.step)
        if call is None:
            return
        if call.cancelling:
            self._ending.end_cancelled(call)
            return
        made = call.step - call.began_step
        call.restarts = 1 if made > call.reached else call.restarts + 1
        call.reached = max(call.reached, made)
        self._begin_anew(call)
        for key in tuple(call.strays):
            child = table.calls.get(key)
            if child is not None and not child.step:
                call.strays = without_key(call.strays, key)
                table.remove(child)
        table.resume(call)

    def _begin_anew(self, call: Call) -> None:
        """A new generation: nothing is left but the call itself, and who called it."""
        table = self._table
        table.drop_results(call, len(call.results))
        table.drop_kept(call)
        table.drop_states(call)
        table.set_error(call, None)
        call.arm = StateArm.NONE
        call.state_crc = 0
        call.poll = None
        call.idle = 0
        call.generation += 1
        call.strays = with_keys(call.strays, tuple(call.children))
        call.children = NO_KEYS
        _next_step(call)
        call.began_step = call.step


def _next_step(call: Call) -> None:
    call.step += 1
    call.attempts = call.due_us = 0
    call.frozen = NOT_FROZEN
