"""The call machine: what every event means, as one function of the table of calls.

Pure: no log, no clock, no network. At work an event is applied once it is durable, in the order of
the log; at recovery the same events are applied in the same order. So what is in memory is what a
crash would leave, and what is done next follows from it alone. An event that has been overtaken
(its call is gone, or at another step) means nothing, in both cases alike.

Its listener is told what changed, to act on it; at recovery nobody listens but for the spans.
"""

from __future__ import annotations

from typing import Final, assert_never

from dispatcher.functions.events import (
    CancelAsked,
    Completed,
    Copied,
    Created,
    Dropped,
    Ended,
    Event,
    Exited,
    Forgotten,
    Given,
    Gone,
    Noted,
    Polled,
    Restarted,
    Resuming,
    Retried,
    Sent,
    Stored,
    TailCalled,
)
from dispatcher.functions.machine.copies import Copies
from dispatcher.functions.machine.ending import Ending
from dispatcher.functions.machine.facts import Facts
from dispatcher.functions.machine.going import Going
from dispatcher.functions.machine.outside import Outside
from dispatcher.functions.machine.ports import Holder, Listener
from dispatcher.functions.machine.table import Table
from dispatcher.functions.model import Call, Phase

_ON_ITS_WAY_US: Final = 60_000_000


class Machine:
    """All calls of a partition.

    `calls` by key. `facts` by space and name. `promises` that are completed, and `channels` with
    values nobody has taken, by application and name; `waiting`, the keys of calls that wait for one
    of these (the whole endpoint in the name). `trees` counts the calls ever made under a root,
    where there are any, until the last of them is gone. `gone`, during recovery, are the keys of
    calls that were there once.

    `phases` counts the calls in each phase, by its number.
    """

    def __init__(self, holder: Holder, listener: Listener) -> None:
        self._table = table = Table(holder, listener)
        self._facts = Facts(holder)
        self._ending = Ending(table)
        self._outside = Outside(table, self._ending)
        self._going = Going(table, self._ending, self._outside)
        self._copies = Copies(table)
        self.calls = table.calls
        self.phases = table.phases
        self.waiting = table.waiting
        self.trees = table.trees
        self.facts = self._facts.known
        self.promises = self._outside.promises
        self.channels = self._outside.channels

    @property
    def listener(self) -> Listener:
        """Who is told what changed."""
        return self._table.listener

    @listener.setter
    def listener(self, listener: Listener) -> None:
        self._table.listener = listener

    @property
    def gone(self) -> set[int] | None:
        """See the class; None at work."""
        return self._table.gone

    def apply(self, event: Event) -> None:
        """Change the table as an event that is durable says. Its blobs are spans."""
        match event:
            case Created():
                self._created(event)
            case Polled():
                self._going.polled(event)
            case Exited():
                self._ending.exited(event)
            case Resuming():
                self._going.resuming(event)
            case Retried():
                self._going.retried(event)
            case TailCalled():
                self._going.tail_called(event)
            case Restarted():
                self._going.restarted(event)
            case Ended():
                self._ending.ended(event)
            case CancelAsked():
                self._ending.cancel_asked(event)
            case Dropped():
                self._ending.dropped(event)
            case Completed():
                self._outside.completed(event)
            case Sent():
                self._outside.sent(event)
            case Given():
                self._outside.given(event)
            case Noted():
                self._facts.note(event.facts)
            case Forgotten():
                for key in event.keys:
                    self._ending.forget(key)
            case Gone():
                if (call := self.calls.get(event.key)) is not None:
                    self._table.remove(call)
            case Copied():
                self._copies.copied(event)
            case Stored():
                pass
            case _:
                assert_never(event)

    def _created(self, event: Created) -> None:
        for new in event.calls:
            if new.key not in self.calls:
                self._going.make(new, None, event.application, event.trace)
        self._facts.note(event.facts)

    def take_matches(self) -> list[Given]:
        """Events that follow from what was applied, at work, or from all that was read: who gives
        events to the machine has them stored."""
        matches, self._outside.matches = self._outside.matches, []
        return matches

    # No events: the clock says the same after a crash.

    def time_has_come(self, call: Call) -> None:
        """`poll.due_us` has passed."""
        if call.phase is Phase.SUSPENDED:
            self._table.resume(call)

    def forget_expired(self, now_us: int) -> None:
        """Drop facts and results from outside that nobody needs any more. An event that was made
        before they expired may still be on its way: they are kept for a minute more."""
        self._facts.forget_expired(now_us - _ON_ITS_WAY_US)
        self._outside.forget_expired(now_us - _ON_ITS_WAY_US)

    # Compaction, and the end of recovery.

    def forget_copies(self, root: int) -> None:
        """The calls with this root will be copied, all of them: what was copied before, at work,
        does not count."""
        self._copies.forget(root)

    def first_copy(self, root: int) -> int:
        """From where on the log has the copies of calls with this root that were made so far."""
        return self._copies.first(root)

    def end_recovery(self) -> None:
        """Every event of the log was applied."""
        self._table.gone = None
        self._copies.forget_all()
        self._outside.match_all()
