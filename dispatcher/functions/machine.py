"""The call machine: what every event means, as one function of the table of calls.

Pure: no log, no clock, no network. At work an event is applied once it is durable, in the order of
the log; at recovery the same events are applied in the same order. So what is in memory is what a
crash would leave, and what is done next follows from it alone. An event that has been overtaken
(its call is gone, or at another step) means nothing, in both cases alike.

Its listener is told what changed, to act on it; at recovery nobody listens but for the spans.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from dispatcher.functions.events import (
    CancelAsked,
    Completed,
    Copied,
    Created,
    Dropped,
    Ended,
    Event,
    Exited,
    Fact,
    Forgotten,
    Given,
    Gone,
    NewCall,
    Noted,
    Polled,
    Restarted,
    Resuming,
    Retried,
    Sent,
    Stored,
    TailCalled,
)
from dispatcher.functions.ids import number_of
from dispatcher.functions.model import (
    NO_KEYS,
    NONE,
    NOT_FROZEN,
    Call,
    How,
    Phase,
    Result,
    StateArm,
    with_keys,
    without_key,
)
from dispatcher.functions.spans import Span

PROMISE: Final = "promise:"
CHANNEL: Final = "channel:"
OUTSIDE: Final = (PROMISE, CHANNEL)
"""Beginnings of endpoints that are no applications: such calls are completed from outside."""

_ON_ITS_WAY_US: Final = 60_000_000
_ASKED: Final = (Phase.DUE, Phase.SUSPENDED)

Owner = object
"""Whose spans are held: a Call, a KnownFact, a Kept."""


class Holder(Protocol):
    """Who keeps what is needed in the log."""

    def enter(self, call: Call, parent: Call | None) -> None:
        """It is in the table from now on. What brought it there is the event that is being applied,
        and, where it has a parent, all that the parent came from."""

    def leave(self, call: Call) -> None:
        """It is in the table no more."""

    def copied(self, calls: Sequence[Call], base: int) -> None:
        """All calls with the same root are copied: what they came from is not needed any more, but
        the log from `base` on."""

    def hold(self, owner: Owner, where: Span) -> None:
        """The bytes there are needed by `owner`; it may say so more than once."""

    def release(self, owner: Owner, where: Span) -> None:
        """It does not need them any more."""


class Listener(Protocol):
    """Who acts on what events have changed. Called in the middle of `apply`: it only takes note."""

    def is_due(self, call: Call) -> None:
        """It is to be run: the first time, or resumed, not before its times."""

    def waits(self, call: Call) -> None:
        """It is suspended, or waits for somebody outside: until `poll.due_us` and `expires_us`."""

    def is_asked_to_end(self, call: Call) -> None:
        """Somebody wants it to end: at once, or when it has cleaned up. It goes on to be what it
        was until the next of these tells more."""

    def has_ended(self, call: Call) -> None:
        """A root call has ended; its result has to go where results are kept."""

    def is_gone(self, call: Call) -> None:
        """It is in the table no more. For a child that is its end (`how`), for a root call the
        moment when nothing of it is in this log any more."""


@dataclass(slots=True, eq=False)
class KnownFact:
    """A fact that is in force."""

    space: str
    name: str
    where: Span
    expires_us: int


@dataclass(slots=True, eq=False)
class Kept:
    """A result from outside that is kept: of a promise, or a value of a channel, which has a
    `number`."""

    application: str
    name: str
    where: Span
    is_error: bool
    expires_us: int
    number: int = 0


_Copy = tuple[int, int, Copied | None]
"""A copy that was read: base and key of the call, and where that is not in the table, the copy."""


class Machine:
    """All calls of a partition.

    `calls` by key. `facts` by space and name. `promises` that are completed, and `channels` with
    values nobody has taken, by application and name; `waiting`, the keys of calls that wait for one
    of these (the whole endpoint in the name). `trees` counts the calls ever made under a root,
    where there are any, until the last of them is gone. `gone`, during recovery, are the keys of
    calls that were there once.

    `phases` counts the calls in each phase, by its number.

    `matches` are events that follow from what was applied, at work, or from all that was read: who
    gives events to the machine takes them out, and has them stored.
    """

    def __init__(self, holder: Holder, listener: Listener) -> None:
        self._holder = holder
        self.listener = listener
        self.calls: dict[int, Call] = {}
        self.phases = [0] * len(Phase)
        self.facts: dict[tuple[str, str], KnownFact] = {}
        self.promises: dict[tuple[str, str], Kept] = {}
        self.channels: dict[tuple[str, str], deque[Kept]] = {}
        self.waiting: dict[tuple[str, str], deque[int]] = {}
        self.trees: dict[int, int] = {}
        self._below: Counter[int] = Counter()
        self.gone: set[int] | None = set()
        self.matches: list[Given] = []
        self._on_the_way: dict[int, Kept] = {}
        self._copies: dict[int, list[_Copy]] = {}

    def apply(self, event: Event) -> None:
        """Change the table as an event that is durable says. Its blobs are spans."""
        match event:
            case Created():
                self._created(event)
            case Polled():
                self._polled(event)
            case Exited():
                self._exited(event)
            case Resuming():
                if (call := self._at_step(event.key, event.step)) is not None:
                    call.frozen = min(event.count, len(call.results))
            case Retried():
                if (call := self._at_step(event.key, event.step)) is not None:
                    call.attempts, call.due_us = event.attempts, event.due_us
                    if call.cancelling and call.poll is None:
                        self._end_cancelled(call)  # it had begun nothing that it could clean up
            case TailCalled():
                self._tail_called(event)
            case Restarted():
                self._restarted(event)
            case Ended():
                self._ended(event)
            case CancelAsked():
                call = self.calls.get(event.key)
                if call is not None:
                    self._cancel(call, event)
            case Dropped():
                self._dropped(event)
            case Completed():
                self._completed(event)
            case Sent():
                self._sent(event)
            case Given():
                self._given(event)
            case Noted():
                self._note(event.facts)
            case Forgotten():
                for key in event.keys:
                    self._forget(key)
            case Gone():
                if (call := self.calls.get(event.key)) is not None:
                    self._remove(call)
            case Copied():
                self._copied(event)
            case Stored():
                pass
            case _:
                assert_never(event)

    def _at_step(self, key: int, step: int) -> Call | None:
        """The call that an answer is for, if it still waits for one. At recovery it may be
        SUSPENDED: that time has resumed it is nowhere written down."""
        call = self.calls.get(key)
        if call is None or call.step != step or call.phase not in _ASKED:
            return None
        return call

    # Calls begin.

    def _created(self, event: Created) -> None:
        for new in event.calls:
            if new.key not in self.calls:
                self._make(new, None, event.application)
        self._note(event.facts)

    def _make(self, new: NewCall, parent: Call | None, application: str) -> None:
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
        )
        self.calls[call.key] = call
        self.phases[call.phase] += 1
        self._holder.enter(call, parent)
        self._holder.hold(call, call.input)
        if parent is not None:
            self.trees[call.root] = self.trees.get(call.root, 1) + 1
            self._below[call.root] += 1
        if call.endpoint.startswith(OUTSIDE):
            self._wait_outside(call)
        else:
            self.listener.is_due(call)

    def _wait_outside(self, call: Call) -> None:
        self._change(call, Phase.OUTSIDE)
        name = (call.application, call.endpoint)
        self._line_up(name, call.key)
        self.listener.waits(call)
        self._match(name)

    def _line_up(self, name: tuple[str, str], key: int) -> None:
        """The call waits outside, behind those that are older: in the order of their copies they
        would be others' turn after a crash."""
        keys = self.waiting.setdefault(name, deque())
        keys.append(key)
        if len(keys) > 1 and number_of(keys[-2]) > number_of(key):
            self.waiting[name] = deque(sorted(keys, key=number_of))

    # Calls go on.

    def _polled(self, event: Polled) -> None:
        call = self._at_step(event.key, event.step)
        if call is None:
            return
        assert not isinstance(event.state, bytes)
        assert not isinstance(event.error, bytes)
        self._drop_results(call, event.delivered, frozenset(event.keep))
        if event.was_told:
            self._set_error(call, None)
        if event.error is not None and call.error is None:  # not told yet: it is to clean up
            self._set_error(call, event.error)
        self._holder.hold(call, event.state)
        if event.is_appended:
            call.states += (event.state,)
        else:
            self._drop_states(call)
            call.states = (event.state,)
        call.arm = event.arm
        call.state_crc = event.state_crc
        call.wait_for(event.min_results, event.max_results, event.due_us)
        call.idle = event.idle
        self._next_step(call)
        self._change(call, Phase.SUSPENDED)
        # One that is to clean up, and was not told, has what it waits for: the error.
        calls = () if call.cancelling and call.error is not None else event.calls
        call.children = with_keys(call.children, tuple(new.key for new in calls))
        for new in calls:
            self._make(new, call, call.application)
        if call.phase is Phase.SUSPENDED and not self._wake(call, call.results):
            call.settle()
            self.listener.waits(call)

    def _next_step(self, call: Call) -> None:
        call.step += 1
        call.attempts = call.due_us = 0
        call.frozen = NOT_FROZEN

    def _wake(self, call: Call, new: tuple[Result, ...]) -> bool:
        """Resume a suspended call if it has what it waits for, now that it has these results too;
        whether it has. One that failed wakes it early."""
        results = call.results
        outstanding = len(call.children)
        if results:
            enough = len(results) >= min(call.min_results, len(results) + outstanding)
            is_ready = enough or any(result.is_error for result in new)
        else:
            is_ready = not outstanding and not call.poll_due_us  # there is nothing to wait for
        if is_ready or call.error is not None:
            self._resume(call)
            return True
        return False

    def _change(self, call: Call, phase: Phase) -> None:
        self.phases[call.phase] -= 1
        self.phases[phase] += 1
        call.phase = phase

    def _resume(self, call: Call) -> None:
        self._change(call, Phase.DUE)
        self.listener.is_due(call)

    def time_has_come(self, call: Call) -> None:
        """`poll.due_us` has passed. No event: the clock says the same after a crash."""
        if call.phase is Phase.SUSPENDED:
            self._resume(call)

    def _tail_called(self, event: TailCalled) -> None:
        call = self._at_step(event.key, event.step)
        if call is None:
            return
        if call.cancelling:
            self._end_cancelled(call)
            return
        assert not isinstance(event.input, bytes)
        self._begin_anew(call)
        call.restarts = call.reached = 0
        self._holder.hold(call, event.input)
        self._holder.release(call, call.input)
        call.input = event.input
        call.become(event.endpoint, event.function, event.version)
        if call.endpoint.startswith(OUTSIDE):
            self._wait_outside(call)
        else:
            self._resume(call)

    def _restarted(self, event: Restarted) -> None:
        call = self._at_step(event.key, event.step)
        if call is None:
            return
        if call.cancelling:
            self._end_cancelled(call)
            return
        made = call.step - call.began_step
        call.restarts = 1 if made > call.reached else call.restarts + 1
        call.reached = max(call.reached, made)
        self._begin_anew(call)
        for key in tuple(call.strays):
            child = self.calls.get(key)
            if child is not None and not child.step:
                call.strays = without_key(call.strays, key)
                self._remove(child)
        self._resume(call)

    def _begin_anew(self, call: Call) -> None:
        """A new generation: nothing is left but the call itself, and who called it."""
        self._drop_results(call, len(call.results))
        self._drop_kept(call)
        self._drop_states(call)
        self._set_error(call, None)
        call.arm = StateArm.NONE
        call.state_crc = 0
        call.poll = None
        call.idle = 0
        call.generation += 1
        call.strays = with_keys(call.strays, tuple(call.children))
        call.children = NO_KEYS
        self._next_step(call)
        call.began_step = call.step

    # Calls end.

    def _exited(self, event: Exited) -> None:
        call = self._at_step(event.key, event.step)
        if call is None:
            return
        if call.cancelling:
            self._end_cancelled(call)
            return
        assert not isinstance(event.result, bytes)
        self._end(call, event.how, event.result, is_error=event.is_error)

    def _end_cancelled(self, call: Call) -> None:
        assert call.result is not None
        self._end(call, How.CANCELLED, call.result, is_error=True)

    def _ended(self, event: Ended) -> None:
        call = self.calls.get(event.key)
        if call is None or call.phase is Phase.ENDED:
            return
        assert not isinstance(event.result, bytes)
        if event.with_children:
            self._kill_below(call)
        if call.cancelling and event.how is not How.FAILED:
            self._end_cancelled(call)
        else:
            self._end(call, event.how, event.result, is_error=True)

    def _kill_below(self, call: Call) -> None:
        below = [*call.children, *call.strays]
        while below:
            child = self.calls.get(below.pop())
            if child is not None:
                below += [*child.children, *child.strays]
                self._remove(child)
        call.children = call.strays = NO_KEYS

    def _end(self, call: Call, how: How, result: Span, *, is_error: bool) -> None:
        call.how = how
        call.is_error = is_error
        parent = self.calls.get(call.parent)
        if call.parent == NONE:
            if call.phase is Phase.OUTSIDE:
                self._wait_no_more(call)
            self._holder.hold(call, result)
            self._drop_all(call, but_input=True)
            call.result = result
            self._change(call, Phase.ENDED)
            self.listener.has_ended(call)
        elif parent is None or parent.phase is Phase.ENDED:
            self._remove(call)
        elif call.key not in parent.children:  # of an older generation, or of a former life of it
            parent.strays = without_key(parent.strays, call.key)
            self._remove(call)
        else:
            self._holder.hold(parent, result)
            new = (Result(call.correlation, call.key, result, is_error),)
            parent.results += new
            parent.children = without_key(parent.children, call.key)
            self._remove(call)
            if parent.phase is Phase.SUSPENDED:
                self._wake(parent, new)

    def _remove(self, call: Call) -> None:
        """Take a call out of the table. What it called goes on, and its results are dropped."""
        if call.phase is Phase.OUTSIDE:
            self._wait_no_more(call)
        self._drop_all(call, but_input=False)
        self._holder.leave(call)
        del self.calls[call.key]
        self.phases[call.phase] -= 1
        if call.parent != NONE:
            self._below[call.root] -= 1
        if not self._below.get(call.root) and call.root not in self.calls:
            self._below.pop(call.root, None)
            self.trees.pop(call.root, None)
        if self.gone is not None:
            self.gone.add(call.key)
        self.listener.is_gone(call)

    def _wait_no_more(self, call: Call) -> None:
        name = (call.application, call.endpoint)
        keys = self.waiting.get(name)
        if keys is not None and call.key in keys:
            keys.remove(call.key)
            if not keys:
                del self.waiting[name]

    def _forget(self, key: int) -> None:
        call = self.calls.get(key)
        if call is not None and call.phase is Phase.ENDED:
            self._remove(call)

    def _dropped(self, event: Dropped) -> None:
        call = self.calls.get(event.key)
        for key in event.children:
            child = self.calls.get(key)
            if child is None:
                continue
            if call is not None and key in call.children:
                call.children = without_key(call.children, key)
                call.strays = with_keys(call.strays, (key,))
            self._cancel(child, event)
        if call is not None and call.phase is Phase.SUSPENDED:
            self._wake(call, ())  # it may wait for nothing else

    def _cancel(self, call: Call, event: CancelAsked | Dropped) -> None:
        """Ask a call, and all that it called, to end. What waits for its first run, also after a
        restart, has nothing to clean up and ends at once."""
        if call.phase is Phase.ENDED or call.cancelling:
            return
        assert not isinstance(event.error, bytes)
        assert not isinstance(event.result, bytes)
        self.listener.is_asked_to_end(call)
        for key in (*call.children, *call.strays):
            child = self.calls.get(key)
            if child is not None:
                self._cancel(child, event)
        is_running = call.key in event.running
        if (call.poll is None and not is_running) or call.phase is Phase.OUTSIDE:
            self._end(call, How.CANCELLED, event.result, is_error=True)
            return
        call.cancelling = True
        call.expires_us = min(call.expires_us, event.until_us)
        self._holder.hold(call, event.result)
        call.result = event.result
        self._set_error(call, event.error)
        if call.phase is Phase.SUSPENDED:
            self._resume(call)
        else:
            call.due_us = 0
            self.listener.waits(call)  # it expires earlier now

    # From outside.

    def _completed(self, event: Completed) -> None:
        name = (event.application, PROMISE + event.name)
        assert not isinstance(event.result, bytes)
        old = self.promises.get(name)
        if old is not None and old.expires_us > event.at_us and not event.is_copy:
            return
        kept = Kept(*name, event.result, event.is_error, event.expires_us)
        self.promises[name] = kept
        self._holder.hold(kept, kept.where)
        if old is not None:
            self._holder.release(old, old.where)
        if not event.is_copy:
            self._match(name)

    def _sent(self, event: Sent) -> None:
        name = (event.application, CHANNEL + event.name)
        assert not isinstance(event.result, bytes)
        for value in self.channels.get(name, ()):
            if value.number == event.number:  # a copy
                self._holder.hold(value, event.result)
                self._holder.release(value, value.where)
                value.where = event.result
                return
        kept = Kept(*name, event.result, event.is_error, event.expires_us, event.number)
        self._holder.hold(kept, kept.where)
        queue = self.channels.setdefault(name, deque())
        queue.append(kept)
        if len(queue) > 1 and number_of(queue[-2].number) > number_of(kept.number):
            # A copy: the values before it were sent later.
            self.channels[name] = deque(sorted(queue, key=lambda value: number_of(value.number)))
        self._match(name)

    def _match(self, name: tuple[str, str]) -> None:
        """Find who gets what is kept, at work: `matches` says it, and `Given` does it."""
        keys = self.waiting.get(name)
        if not keys or self.gone is not None:
            return
        if (kept := self.promises.get(name)) is not None:
            early = [key for key in keys if self.calls[key].created_us < kept.expires_us]
            for key in early:
                keys.remove(key)
            if early:
                self._matched(kept, tuple(early))
        values = self.channels.get(name)
        while keys and values:
            since_us = self.calls[keys[0]].created_us
            kept = next((value for value in values if value.expires_us > since_us), None)
            if kept is None:  # what has expired is forgotten later
                break
            values.remove(kept)
            self._on_the_way[kept.number] = kept
            self._matched(kept, (keys.popleft(),))
        if not keys:
            del self.waiting[name]
        if values is not None and not values:
            del self.channels[name]

    def _matched(self, kept: Kept, keys: tuple[int, ...]) -> None:
        self.matches.append(
            Given(kept.application, kept.name, kept.number, keys, kept.where, kept.is_error)
        )

    def _given(self, event: Given) -> None:
        name = (event.application, event.endpoint)
        kept = self._on_the_way.pop(event.number, None)
        if kept is None and event.number:  # at recovery
            values = self.channels.get(name, deque())
            kept = next((one for one in values if one.number == event.number), None)
            if kept is not None:
                values.remove(kept)
                if not values:
                    del self.channels[name]
        # It may have been copied since, or be unknown at recovery: then nothing of it is needed any
        # more, or it is where it was.
        now = self.promises.get(name) if kept is None else kept
        where = event.where if now is None else now.where
        for key in event.keys:
            call = self.calls.get(key)
            if call is not None and call.phase is Phase.OUTSIDE:
                self._end(call, How.OK, where, is_error=event.is_error)
        if kept is not None:
            self._holder.release(kept, kept.where)

    def _note(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            known = self.facts.pop((fact.space, fact.name), None)
            if fact.value is not None:
                assert not isinstance(fact.value, bytes)
                now = KnownFact(fact.space, fact.name, fact.value, fact.expires_us)
                self._holder.hold(now, now.where)
                self.facts[fact.space, fact.name] = now
            if known is not None:
                self._holder.release(known, known.where)

    def forget_expired(self, now_us: int) -> None:
        """Drop facts and results from outside that nobody needs any more. No event: the clock says
        the same after a crash. An event that was made before they expired may still be on its way:
        they are kept for a minute more."""
        now_us -= _ON_ITS_WAY_US
        for name, known in list(self.facts.items()):
            if known.expires_us and known.expires_us <= now_us:
                del self.facts[name]
                self._holder.release(known, known.where)
        for key, kept in list(self.promises.items()):
            if kept.expires_us <= now_us:
                del self.promises[key]
                self._holder.release(kept, kept.where)
        for key, values in list(self.channels.items()):
            while values and values[0].expires_us <= now_us:
                old = values.popleft()
                self._holder.release(old, old.where)
            if not values:
                del self.channels[key]

    # Compaction. What becomes of a call depends on those with the same root, and on nothing else
    # that can be trimmed: so these are copied together, at a moment between two events. At recovery
    # they are either all there, and lie elsewhere now; or none is, and when the last copy has come,
    # all are restored. Where a copy is missing before the last one, its record was trimmed: then
    # they are gone, or were copied again, and this one means nothing.

    def _copied(self, event: Copied) -> None:
        """A call lies elsewhere now. Nothing else of it can have changed: see `store`."""
        copy = event.call
        old = self.calls.get(copy.key)
        if old is not None:
            self._moved(old, copy)
        elif self.gone is None or copy.key in self.gone:
            return
        copies = self._copies.setdefault(copy.root, [])
        copies.append((copy.base, copy.key, None if old is not None else event))
        if event.count:
            self._all_copied(event, event.first or copy.base)

    def _all_copied(self, last: Copied, base: int) -> None:
        copies = [
            one
            for one in self._copies.pop(last.call.root)
            if one[0] >= base  # not of those that came before, which were given up
        ]
        if len(copies) != last.count:
            return
        for _, key, event in copies:
            if event is not None and key not in self.calls:
                self._restore(event.call)
                if last.made:
                    self.trees[event.call.root] = last.made
        self._holder.copied([self.calls[key] for _, key, _ in copies], base)

    def forget_copies(self, root: int) -> None:
        """The calls with this root will be copied, all of them: what was copied before, at work,
        does not count."""
        self._copies.pop(root, None)

    def first_copy(self, root: int) -> int:
        """From where on the log has the copies of calls with this root that were made so far."""
        return min(base for base, _, _ in self._copies[root])

    def _moved(self, old: Call, copy: Call) -> None:
        for where in copy.spans:
            self._holder.hold(old, where)
        for where in old.spans:
            self._holder.release(old, where)
        old.input = copy.input
        old.states = copy.states
        old.results = copy.results
        old.error = copy.error
        old.result = copy.result
        old.kept = copy.kept

    def _restore(self, call: Call) -> None:
        """The records that it was copied from are trimmed."""
        self.calls[call.key] = call
        self.phases[call.phase] += 1
        if call.parent != NONE:
            self._below[call.root] += 1
        self._holder.enter(call, None)
        for where in call.spans:
            self._holder.hold(call, where)
        if call.phase is Phase.OUTSIDE:
            self._line_up((call.application, call.endpoint), call.key)

    def end_recovery(self) -> None:
        """Every event of the log was applied."""
        self.gone = None
        self._copies.clear()
        for name in list(self.waiting):
            self._match(name)

    # What calls hold.

    def _drop_results(self, call: Call, count: int, keep: frozenset[int] = frozenset()) -> None:
        """The first results are needed no more, but those of the children to `keep`."""
        kept = []
        for result in call.results[:count]:
            if result.child in keep:
                kept.append(result)
            else:
                self._holder.release(call, result.where)
        call.results = call.results[count:]
        if kept:
            call.kept += tuple(kept)

    def _drop_kept(self, call: Call) -> None:
        for result in call.kept:
            self._holder.release(call, result.where)
        call.kept = ()

    def _drop_states(self, call: Call) -> None:
        for where in call.states:
            self._holder.release(call, where)
        call.states = ()

    def _set_error(self, call: Call, error: Span | None) -> None:
        if error is not None:
            self._holder.hold(call, error)
        if call.error is not None:
            self._holder.release(call, call.error)
        call.error = error

    def _drop_all(self, call: Call, *, but_input: bool) -> None:
        """Release all that a call holds; a dead letter is made from its input."""
        self._drop_results(call, len(call.results))
        self._drop_kept(call)
        self._drop_states(call)
        self._set_error(call, None)
        if call.result is not None:
            self._holder.release(call, call.result)
            call.result = None
        if not but_input:
            self._holder.release(call, call.input)
