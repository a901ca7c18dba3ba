"""The machine of calls against a small model: everything that can happen, in any order.

The model knows calls by what a person would say of them: who called whom, what is outstanding, what
was delivered. A crash may come at any time: a machine is made from the log of events, whole or
without what nothing needs any more, and has to be the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import Phase as HypothesisPhase
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

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
    NewCall,
    Noted,
    Polled,
    Restarted,
    Resuming,
    Retried,
    Sent,
    TailCalled,
)
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import NONE, Call, How, Phase, StateArm
from dispatcher.functions.runs.resuming import plan_resume
from dispatcher.testing.machine import Bench, a_new, clone, picture
from tests.effort import times

APP = "http://app.example"
ENDPOINTS = st.sampled_from([APP, APP, APP, "promise:p", "promise:q", "channel:c"])
ENDS = ("poll",) * 6 + ("exit", "lose") * 2 + ("fail", "anew", "reset")
RETENTION_US = 50_000_000_000


@dataclass
class Known:
    """What the model knows of a call that has not ended. `pending` are the results it was not
    given yet, `delivered` what it was given in this generation, `kept` what of that its state
    refers to: keys of children."""

    parent: int
    outstanding: set[int] = field(default_factory=set)
    pending: list[int] = field(default_factory=list)
    delivered: set[int] = field(default_factory=set)
    kept: list[int] = field(default_factory=list)
    has_run: bool = False
    is_cancelled: bool = False


@dataclass
class Run:
    """A run under way: what was asked."""

    key: int
    step: int
    given: tuple[int, ...]
    was_told: bool
    was_cancelled: bool


class FunctionMachine(RuleBasedStateMachine):
    """Rules are what an application, a caller or the clock may do."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.now_us = 1000
        self.next_key = 1
        self.known: dict[int, Known] = {}
        self.ended: set[int] = set()  # root calls that are not forgotten
        self.runs: dict[int, Run] = {}
        self.answers: list[Event] = []  # to be repeated, late
        self.last_given: dict[tuple[int, int], tuple[int, ...]] = {}
        self.values = 0
        self.first = 1  # position that the log begins at

    @property
    def machine(self) -> Machine:
        return self.bench.machine

    # What happens.

    def key(self) -> int:
        self.next_key += 1
        return self.next_key

    def apply(self, event: Event) -> None:
        self.bench.apply(event)
        self.fire()

    def fire(self) -> None:
        """Let the timers that are over resume their calls."""
        _fire(self.machine, self.now_us)

    def pick(self, data: st.DataObject, keys: list[int]) -> Call:
        return self.bench.call(data.draw(st.sampled_from(keys)))

    def due(self) -> list[int]:
        return [
            key
            for key, call in self.machine.calls.items()
            if call.phase is Phase.DUE and key not in self.runs
        ]

    def new_calls(self, data: st.DataObject, most: int) -> tuple[NewCall, ...]:
        endpoints = data.draw(st.lists(ENDPOINTS, max_size=most))
        return tuple(self.new_call(endpoint) for endpoint in endpoints)

    def new_call(self, endpoint: str) -> NewCall:
        key = self.key()
        new = a_new(key, key * 7, endpoint=endpoint)
        # Its instants are on the machine's clock.
        return NewCall(
            key, new.correlation, endpoint, "f", "", self.now_us, self.now_us + 10**10, b"input"
        )

    @initialize()
    def begin(self) -> None:
        """There are two root calls of an application."""
        calls = (self.new_call(APP), self.new_call(APP))
        self.known |= {new.key: Known(NONE) for new in calls}
        self.apply(Created("app", calls))

    @rule(data=st.data())
    def dispatch(self, data: st.DataObject) -> None:
        """A batch of root calls, with a fact."""
        calls = self.new_calls(data, 3)
        for new in calls:
            self.known[new.key] = Known(NONE)
        fact = Fact("keys", f"k{self.next_key % 3}", b"ids", self.now_us + RETENTION_US)
        self.apply(Created("app", calls, (fact,)))
        self.take_note()

    @precondition(lambda self: self.due())
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        """A call that is due is asked, and answers later."""
        self.ask(self.pick(data, self.due()))

    def ask(self, call: Call) -> Run:
        """What it is given is the same as the last time."""
        known = self.known[call.key]
        given: tuple[int, ...] = ()
        if call.is_resume:
            plan = plan_resume(call)
            assert not isinstance(plan, str)
            if plan.must_be_stored:
                self.apply(Resuming(call.key, call.step, plan.count))
            given = tuple(known.pending[: plan.count])
            assert given == tuple(result.child for result in call.results[: plan.count])
            assert not known.delivered & set(given), "delivered twice in one generation"
            assert call.poll is not None
            if (call.key, call.step) not in self.last_given:
                assert len(given) == min(len(known.pending), call.poll.max_results)
            before = self.last_given.setdefault((call.key, call.step), given)
            assert given == before, "a resume that was sent again delivers something else"
        known.has_run = True
        run = Run(call.key, call.step, given, call.error is not None, known.is_cancelled)
        self.runs[call.key] = run
        return run

    def go_on(self, data: st.DataObject) -> None:
        """A run ends; most of them call something."""
        keys = sorted({*self.due(), *self.runs})
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        run = self.runs.get(key) or self.ask(self.bench.call(key))
        match data.draw(st.sampled_from(ENDS)):
            case "poll":
                self.poll(run, data)
            case "anew":
                self.restart(run)
            case "lose":
                del self.runs[key]
            case "reset":
                self.tail_call(run)
            case how:
                self.exit(run, is_error=how == "fail")

    @rule(data=st.data())
    def application(self, data: st.DataObject) -> None:
        """What an application does."""
        self.go_on(data)

    @rule(data=st.data())
    def same_application(self, data: st.DataObject) -> None:
        """More often than all the rest."""
        self.go_on(data)
        self.go_on(data)

    @rule(data=st.data())
    def busy_application(self, data: st.DataObject) -> None:
        """Much more often."""
        for _ in range(5):
            self.go_on(data)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A run breaks off, and is tried again."""
        run = self.runs.pop(data.draw(st.sampled_from(sorted(self.runs))))
        if data.draw(st.booleans()):
            attempts = self.bench.call(run.key).attempts + 1
            self.apply(Retried(run.key, run.step, attempts, self.now_us + 5))
            self.take_note()  # one that was cancelled has begun nothing that it could clean up

    def answer(self, run: Run, event: Event) -> None:
        del self.runs[run.key]
        self.answers.append(event)
        self.apply(event)

    def poll(self, run: Run, data: st.DataObject) -> None:
        """A run ends with a poll."""
        is_refused = data.draw(st.integers(0, 9)) == 9
        at_least, at_most = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
        wait_us = data.draw(st.sampled_from([None, None, 0, 10, 10**6]))
        is_appended = data.draw(st.booleans())
        children = () if is_refused else self.new_calls(data, 4)
        known = self.known[run.key]
        known.pending = known.pending[len(run.given) :]
        known.delivered |= set(run.given)
        # Who is to clean up, and was not told yet, is told next: nothing is called before that.
        is_told = not known.is_cancelled or run.was_cancelled or run.was_told
        for new in children if is_told else ():
            self.known[new.key] = Known(run.key)
            known.outstanding.add(new.key)
        keep = data.draw(st.sets(st.sampled_from(run.given))) if run.given else set()
        known.kept += [child for child in run.given if child in keep]
        due_us = 0 if wait_us is None else self.now_us + wait_us
        arm, state = StateArm.TYPED, b"state %d" % self.next_key
        self.answer(
            run,
            Polled(
                run.key, run.step, len(run.given), run.was_told, arm, state, self.next_key,
                is_appended, children, at_least, at_most, due_us,
                b"refused" if is_refused else None, keep=tuple(keep),
            ),
        )  # fmt: skip
        if not is_refused and known.is_cancelled == run.was_cancelled:
            assert self.bench.call(run.key).error is None, "it would be told again"
        self.take_note()

    def exit(self, run: Run, *, is_error: bool) -> None:
        """A run ends its call."""
        how = How.FAILED if is_error else How.OK
        self.answer(run, Exited(run.key, run.step, how, b"result", is_error, self.now_us))
        self.take_note()

    def tail_call(self, run: Run) -> None:
        """A run ends with a call in its place."""
        self.begin_anew(run.key)
        self.answer(run, TailCalled(run.key, run.step, APP, "g", "2", b"other input"))
        self.take_note()

    def restart(self, run: Run) -> None:
        """A state cannot be used: children that never ran are taken back."""
        is_cancelled = self.known[run.key].is_cancelled
        unrun = {
            key
            for key, known in self.known.items()
            if known.parent == run.key and not self.bench.call(key).step
        }
        self.begin_anew(run.key)
        self.answer(run, Restarted(run.key, run.step))
        if not is_cancelled:
            assert not unrun & set(self.machine.calls), "it would run for a dead generation"
            for key in unrun:
                del self.known[key]
                self.runs.pop(key, None)
        self.take_note()

    def begin_anew(self, key: int) -> None:
        known = self.known[key]
        known.outstanding.clear()
        known.pending.clear()
        known.delivered.clear()
        known.kept.clear()

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """An answer comes again, late: it means nothing."""
        before = picture(self.machine)
        self.bench.apply(data.draw(st.sampled_from(self.answers)))
        assert picture(self.machine) == before

    # From the server and from outside.

    @precondition(lambda self: self.known)
    @rule(data=st.data(), is_kill=st.booleans())
    def end(self, data: st.DataObject, is_kill: bool) -> None:
        """A call expires, or is killed with all below."""
        key = data.draw(st.sampled_from(sorted(self.known)))
        how = How.CANCELLED if is_kill else How.EXPIRED
        below = self.below(key) if is_kill else set()
        self.apply(Ended(key, how, b"ended", self.now_us, with_children=is_kill))
        assert not below & set(self.machine.calls)
        for one in below:
            del self.known[one]
            self.runs.pop(one, None)
        self.take_note()

    def below(self, key: int) -> set[int]:
        found: set[int] = set()
        for child, known in self.known.items():
            if known.parent == key:
                found |= {child} | self.below(child)
        return found

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A call and what it called are asked to end; what waits for its first run ends at once."""
        key = data.draw(st.sampled_from(sorted(self.known)))
        asked = self.asked_with(key)
        running = tuple(sorted(asked & set(self.runs)))
        self.apply(CancelAsked(key, b"clean up", b"cancelled", self.now_us + 30, running))
        for one in asked & set(self.machine.calls):
            call = self.bench.call(one)
            assert call.cancelling or call.phase is Phase.ENDED
            assert one in self.runs or call.is_resume or call.phase is Phase.ENDED
        self.take_note()
        for one in asked & set(self.known):
            self.known[one].is_cancelled = True

    @precondition(lambda self: any(known.parent != NONE for known in self.known.values()))
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """A call, which may have ended, needs some of its children no more: they are asked to end,
        and no result of them comes."""
        parents = {known.parent for known in self.known.values() if known.parent != NONE}
        key = data.draw(st.sampled_from(sorted(parents)))
        children = sorted(child for child, known in self.known.items() if known.parent == key)
        dropped = data.draw(st.sets(st.sampled_from(children), min_size=1))
        asked = set().union(*map(self.asked_with, dropped))
        if key in self.known:
            self.known[key].outstanding -= dropped
        running = tuple(sorted(asked & set(self.runs)))
        self.apply(Dropped(key, tuple(dropped), b"e", b"r", self.now_us + 30, running))
        self.take_note()
        for one in asked & set(self.known):
            assert self.bench.call(one).cancelling
            self.known[one].is_cancelled = True

    def asked_with(self, key: int) -> set[int]:
        """Who is asked to end with a call. Whoever was asked before may call others to clean up."""
        if self.known[key].is_cancelled:
            return set()
        children = [child for child, known in self.known.items() if known.parent == key]
        return {key}.union(*map(self.asked_with, children))

    @rule(
        what=st.sampled_from(["complete", "send", "note"]),
        name=st.sampled_from("pq"),
        is_odd=st.booleans(),
    )
    def somebody(self, what: str, name: str, is_odd: bool) -> None:
        """Somebody outside does something."""
        if what == "complete":
            self.complete(name, is_odd)
        elif what == "send":
            self.send(5 if is_odd else RETENTION_US)
        else:
            self.note(b"v" if is_odd else None)

    def complete(self, name: str, is_error: bool) -> None:
        """A promise is completed, early or late; the second time is refused before the log."""
        kept = self.machine.promises.get(("app", f"promise:{name}"))
        if kept is not None and kept.expires_us > self.now_us:
            return
        expires_us = self.now_us + RETENTION_US
        self.apply(Completed("app", name, b"done", is_error, self.now_us, expires_us))
        assert ("app", f"promise:{name}") not in self.machine.waiting
        self.take_note()

    def send(self, lasts_us: int) -> None:
        """A value comes into a channel."""
        self.values += 1
        number = self.key()
        value = b"value %d" % number
        self.apply(Sent("app", "c", value, False, self.now_us + lasts_us, number))
        self.take_note()

    @rule(ms=st.sampled_from([0, 1, 70_000_000]))
    def time_passes(self, ms: int) -> None:
        """Timers, and what is kept for a time."""
        self.now_us += ms * 1000 + 10
        self.fire()
        self.machine.forget_expired(self.now_us)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """Results of root calls have been moved to their own log."""
        keys = data.draw(st.sets(st.sampled_from(sorted(self.ended)), min_size=1))
        self.apply(Forgotten(tuple(keys)))
        self.ended -= keys

    def note(self, value: bytes | None) -> None:
        """A fact is set or forgotten."""
        self.apply(Noted((Fact("keys", "k1", value, self.now_us + 1),)))

    # Compaction and crashes.

    @precondition(lambda self: self.machine.calls)
    @rule(data=st.data(), is_given_up=st.sampled_from([False, False, True]))
    def copy(self, data: st.DataObject, is_given_up: bool) -> None:
        """All calls with one root are copied forward, or only some of them."""
        root = data.draw(st.sampled_from(sorted({c.root for c in self.machine.calls.values()})))
        calls = [call for call in self.machine.calls.values() if call.root == root]
        before = _bytes(self.bench)
        first = len(self.bench.log) + 1
        if is_given_up:
            calls = calls[:-1]
        for number, call in enumerate(calls, 1):
            is_last = number == len(calls) and not is_given_up
            position = len(self.bench.log) + 1
            self.bench.apply(
                Copied(
                    clone(call),
                    tuple(self.bench.bytes_at[where] for where in call.spans),
                    made=self.machine.trees.get(root, 0) if is_last else 0,
                    count=len(calls) if is_last else 0,
                    first=first if is_last and first != position else 0,
                )
            )
        assert _bytes(self.bench) == before

    @rule(is_trimmed=st.booleans(), goes_on=st.booleans())
    def crash(self, is_trimmed: bool, goes_on: bool) -> None:
        """A machine that is made from the log is the same."""
        if is_trimmed:
            needed = self.bench.tally.first_needed(self.machine)
            self.first = len(self.bench.log) + 1 if needed is None else needed
        machine, tally = self.bench.rebuilt(self.first)
        machine.forget_expired(self.now_us)
        _fire(machine, self.now_us)
        self.machine.forget_expired(self.now_us)
        expected, found = picture(self.machine), picture(machine)
        for one in (expected, found):
            trees = one.pop("trees")
            assert isinstance(trees, dict)
            one["trees"] = {key: made for key, made in trees.items() if key in machine.calls}
        assert found == expected
        if goes_on:
            self.bench.machine, self.bench.tally = machine, tally
            self.runs.clear()

    # The model follows.

    def take_note(self) -> None:
        """Calls that are in the table no more, or ENDED, have ended: who waits has their result."""
        over = [
            key
            for key in self.known
            if key not in self.machine.calls or self.machine.calls[key].phase is Phase.ENDED
        ]
        for key in over:
            known = self.known.pop(key)
            self.runs.pop(key, None)
            if known.parent == NONE:
                self.ended.add(key)
        parents = Counter(result.child for call in self.machine.calls.values()
                          for result in call.results)  # fmt: skip
        for key, known in self.known.items():
            ended = [child for child in known.outstanding if child not in self.known]
            for child in ended:
                assert parents[child] == 1, f"the result of {child} is lost, or there twice"
                known.outstanding.remove(child)
            known.pending += [
                result.child
                for result in self.bench.call(key).results[len(known.pending) :]
                if result.child in ended
            ]

    @invariant()
    def same_calls(self) -> None:
        """No call is lost, none comes back."""
        assert set(self.machine.calls) == set(self.known) | self.ended

    @invariant()
    def phases_are_counted(self) -> None:
        """As a walk over all calls would count them."""
        counts = Counter(call.phase for call in self.machine.calls.values())
        assert self.machine.phases == [counts[phase] for phase in Phase]

    @invariant()
    def same_results(self) -> None:
        """What is outstanding and what is there is what the model says."""
        for key, known in self.known.items():
            call = self.bench.call(key)
            assert set(call.children) == known.outstanding
            assert [result.child for result in call.results] == known.pending
            correlations = [result.correlation for result in call.results]
            assert correlations == [child * 7 for child in known.pending]

    @invariant()
    def same_kept_results(self) -> None:
        """What states refer to is there, until their call begins anew or ends."""
        for key, known in self.known.items():
            kept = self.bench.call(key).kept
            assert [(result.child, result.correlation) for result in kept] == [
                (child, child * 7) for child in known.kept
            ]
        for key in self.ended:
            assert not self.bench.call(key).kept

    @invariant()
    def nobody_sleeps_who_has_all(self) -> None:
        """A suspended call waits for something that can come."""
        for call in self.machine.calls.values():
            if call.phase is not Phase.SUSPENDED:
                continue
            assert call.poll is not None
            assert call.error is None
            assert call.children or call.poll.due_us > self.now_us
            assert not any(result.is_error for result in call.results)
            outstanding = len(call.children)
            assert len(call.results) < call.poll.min_results
            assert not call.results or outstanding

    @invariant()
    def spans_are_exact(self) -> None:
        """Nothing leaks, nothing is released twice, and all that is held is there to be read."""
        self.bench.tally.check(self.machine)
        for call in self.machine.calls.values():
            for where in call.spans:
                assert where in self.bench.bytes_at
        needed = self.bench.tally.first_needed(self.machine)
        assert needed is None or needed >= self.first

    @invariant()
    def who_waits_outside_is_lined_up(self) -> None:
        """Each call that waits for a name stands there once, and nothing else does."""
        waiting = Counter(key for keys in self.machine.waiting.values() for key in keys)
        outside = [c.key for c in self.machine.calls.values() if c.phase is Phase.OUTSIDE]
        assert waiting == Counter(outside)
        for name, values in self.machine.channels.items():
            assert values
            since = [self.bench.call(key).created_us for key in self.machine.waiting.get(name, ())]
            assert not any(value.expires_us > min(since) for value in values if since)


def _fire(machine: Machine, now_us: int) -> None:
    for call in list(machine.calls.values()):
        poll = call.poll
        if call.phase is Phase.SUSPENDED and poll is not None and 0 < poll.due_us <= now_us:
            machine.time_has_come(call)


def _bytes(bench: Bench) -> dict[int, list[bytes]]:
    return {
        key: [bench.bytes_at[where] for where in call.spans]
        for key, call in bench.machine.calls.items()
    }


TestFunctionMachine = FunctionMachine.TestCase
TestFunctionMachine.settings = settings(
    max_examples=times(35),
    stateful_step_count=60,
    deadline=None,
    phases=(HypothesisPhase.explicit, HypothesisPhase.reuse, HypothesisPhase.generate),
)
