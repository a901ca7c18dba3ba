"""Calls end: by their own exit, by the server, or because nobody needs them any more."""

from __future__ import annotations

from dispatcher.functions.events import CancelAsked, Dropped, Ended, Exited
from dispatcher.functions.machine.table import Table
from dispatcher.functions.model import (
    NO_KEYS,
    NONE,
    Call,
    How,
    Phase,
    Result,
    with_keys,
    without_key,
)
from dispatcher.functions.spans import Span


class Ending:
    """What events mean that end calls."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def exited(self, event: Exited) -> None:
        """A run ended the call."""
        call = self._table.at_step(event.key, event.step)
        if call is None:
            return
        if call.cancelling:
            self.end_cancelled(call)
            return
        assert not isinstance(event.result, bytes)
        self.end(call, event.how, event.result, is_error=event.is_error)

    def ended(self, event: Ended) -> None:
        """The server ended it."""
        call = self._table.calls.get(event.key)
        if call is None or call.phase is Phase.ENDED:
            return
        assert not isinstance(event.result, bytes)
        if event.with_children:
            self._kill_below(call)
        if call.cancelling and event.how is not How.FAILED:
            self.end_cancelled(call)
        else:
            self.end(call, event.how, event.result, is_error=True)

    def _kill_below(self, call: Call) -> None:
        calls = self._table.calls
        below = [*call.children, *call.strays]
        while below:
            child = calls.get(below.pop())
            if child is not None:
                below += [*child.children, *child.strays]
                self._table.remove(child)
        call.children = call.strays = NO_KEYS

    def end_cancelled(self, call: Call) -> None:
        """A call that was asked to clean up has done so."""
        assert call.result is not None
        self.end(call, How.CANCELLED, call.result, is_error=True)

    def end(self, call: Call, how: How, result: Span, *, is_error: bool) -> None:
        """It has this result: its parent's, or one that has to move to the results' log."""
        table = self._table
        call.how = how
        call.is_error = is_error
        parent = table.calls.get(call.parent)
        if call.parent == NONE:
            table.wait_no_more(call)
            table.holder.hold(call, result)
            table.drop_all(call, but_input=True)
            call.result = result
            table.change(call, Phase.ENDED)
            table.listener.has_ended(call)
        elif parent is None or parent.phase is Phase.ENDED:
            table.remove(call)
        elif call.key not in parent.children:  # of an older generation, or of a former life of it
            parent.strays = without_key(parent.strays, call.key)
            table.remove(call)
        else:
            table.holder.hold(parent, result)
            new = (Result(call.correlation, call.key, result, is_error),)
            parent.results += new
            parent.children = without_key(parent.children, call.key)
            table.remove(call)
            if parent.phase is Phase.SUSPENDED:
                table.wake(parent, new)

    def forget(self, key: int) -> None:
        """The result of a root call is where results are kept."""
        call = self._table.calls.get(key)
        if call is not None and call.phase is Phase.ENDED:
            self._table.remove(call)

    # Asked to end.

    def cancel_asked(self, event: CancelAsked) -> None:
        """Somebody wants a call to end."""
        call = self._table.calls.get(event.key)
        if call is not None:
            self._cancel(call, event)

    def dropped(self, event: Dropped) -> None:
        """A call does not need these children any more."""
        calls = self._table.calls
        call = calls.get(event.key)
        for key in event.children:
            child = calls.get(key)
            if child is None:
                continue
            if call is not None and key in call.children:
                call.children = without_key(call.children, key)
                call.strays = with_keys(call.strays, (key,))
            self._cancel(child, event)
        if call is not None and call.phase is Phase.SUSPENDED:
            self._table.wake(call, ())  # it may wait for nothing else

    def _cancel(self, call: Call, event: CancelAsked | Dropped) -> None:
        """Ask a call, and all that it called, to end. What waits for its first run, also after a
        restart, has nothing to clean up and ends at once."""
        table = self._table
        if call.phase is Phase.ENDED or call.cancelling:
            return
        assert not isinstance(event.error, bytes)
        assert not isinstance(event.result, bytes)
        table.listener.is_asked_to_end(call)
        for key in (*call.children, *call.strays):
            child = table.calls.get(key)
            if child is not None:
                self._cancel(child, event)
        is_running = call.key in event.running
        if (call.poll is None and not is_running) or call.phase is Phase.OUTSIDE:
            self.end(call, How.CANCELLED, event.result, is_error=True)
            return
        call.cancelling = True
        call.expires_us = min(call.expires_us, event.until_us)
        table.holder.hold(call, event.result)
        call.result = event.result
        table.set_error(call, event.error)
        if call.phase is Phase.SUSPENDED:
            table.resume(call)
        else:
            call.due_us = 0
            table.listener.waits(call)  # it expires earlier now
