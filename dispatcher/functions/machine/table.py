"""The table: all calls of a partition, what they hold in the log, and whom a change is told."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from dispatcher.functions.ids import number_of
from dispatcher.functions.machine.ports import Holder, Listener
from dispatcher.functions.model import NONE, Call, Phase, Result
from dispatcher.functions.spans import Span

_ASKED: Final = (Phase.DUE, Phase.SUSPENDED)


class Table:
    """What `Machine` says of `calls`, `phases`, `waiting`, `trees` and `gone`."""

    def __init__(self, holder: Holder, listener: Listener) -> None:
        self.holder = holder
        self.listener = listener
        self.calls: dict[int, Call] = {}
        self.phases = [0] * len(Phase)
        self.waiting: dict[tuple[str, str], deque[int]] = {}
        self.trees: dict[int, int] = {}
        self.gone: set[int] | None = set()
        self._below: Counter[int] = Counter()

    def at_step(self, key: int, step: int) -> Call | None:
        """The call that an answer is for, if it still waits for one. At recovery it may be
        SUSPENDED: that time has resumed it is nowhere written down."""
        call = self.calls.get(key)
        if call is None or call.step != step or call.phase not in _ASKED:
            return None
        return call

    # Calls come, change and go.

    def add(self, call: Call, parent: Call | None) -> None:
        """A call that has just been made."""
        self._enter(call, parent)
        self.holder.hold(call, call.input)
        if parent is not None:
            self.trees[call.root] = self.trees.get(call.root, 1) + 1

    def restore(self, call: Call) -> None:
        """A call that was copied; the records that it was copied from are trimmed."""
        self._enter(call, None)
        for where in call.spans:
            self.holder.hold(call, where)
        if call.phase is Phase.OUTSIDE:
            self.line_up(call)

    def _enter(self, call: Call, parent: Call | None) -> None:
        self.calls[call.key] = call
        self.phases[call.phase] += 1
        if call.parent != NONE:
            self._below[call.root] += 1
        self.holder.enter(call, parent)

    def change(self, call: Call, phase: Phase) -> None:
        """It waits for something else now."""
        self.phases[call.phase] -= 1
        self.phases[phase] += 1
        call.phase = phase

    def resume(self, call: Call) -> None:
        """It is to be run."""
        self.change(call, Phase.DUE)
        self.listener.is_due(call)

    def wake(self, call: Call, new: tuple[Result, ...]) -> bool:
        """Resume a suspended call if it has what it waits for, now that it has these results too;
        whether it has. One that failed wakes it early; an error that it was told before, and got
        again, does not."""
        results = call.results
        outstanding = len(call.children)
        if results:
            enough = len(results) >= min(call.min_results, len(results) + outstanding)
            is_ready = enough or any(result.is_error for result in new)
        else:
            is_ready = not outstanding and not call.poll_due_us  # there is nothing to wait for
        if is_ready or (call.error is not None and not call.idle):
            self.resume(call)
            return True
        return False

    def remove(self, call: Call) -> None:
        """Take a call out. What it called goes on, and its results are dropped."""
        self.wait_no_more(call)
        self.drop_all(call, but_input=False)
        self.holder.leave(call)
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

    # Lines of those that wait outside.

    def line_up(self, call: Call) -> None:
        """A call waits outside, behind those that are older: in the order of their copies they
        would be others' turn after a crash."""
        name = (call.application, call.endpoint)
        keys = self.waiting.setdefault(name, deque())
        keys.append(call.key)
        if len(keys) > 1 and number_of(keys[-2]) > number_of(call.key):
            self.waiting[name] = deque(sorted(keys, key=number_of))

    def wait_no_more(self, call: Call) -> None:
        """It does not wait outside any more, if it did."""
        if call.phase is not Phase.OUTSIDE:
            return
        name = (call.application, call.endpoint)
        keys = self.waiting.get(name)
        if keys is not None and call.key in keys:
            keys.remove(call.key)
            if not keys:
                del self.waiting[name]

    # What calls hold.

    def drop_results(self, call: Call, count: int, keep: frozenset[int] = frozenset()) -> None:
        """Its first results are needed no more, but those of the children to `keep`."""
        kept = []
        for result in call.results[:count]:
            if result.child in keep:
                kept.append(result)
            else:
                self.holder.release(call, result.where)
        call.results = call.results[count:]
        if kept:
            call.kept += tuple(kept)

    def drop_kept(self, call: Call) -> None:
        """Nor are those that it kept."""
        for result in call.kept:
            self.holder.release(call, result.where)
        call.kept = ()

    def drop_states(self, call: Call) -> None:
        """Nor is its state."""
        for where in call.states:
            self.holder.release(call, where)
        call.states = ()

    def set_error(self, call: Call, error: Span | None) -> None:
        """What its next resume is told, in place of what it was to be told."""
        if error is not None:
            self.holder.hold(call, error)
        if call.error is not None:
            self.holder.release(call, call.error)
        call.error = error

    def drop_all(self, call: Call, *, but_input: bool) -> None:
        """Release all that it holds; a dead letter is made from its input."""
        if call.results:
            self.drop_results(call, len(call.results))
        if call.kept:
            self.drop_kept(call)
        if call.states:
            self.drop_states(call)
        if call.error is not None:
            self.set_error(call, None)
        if call.result is not None:
            self.holder.release(call, call.result)
            call.result = None
        if not but_input:
            self.holder.release(call, call.input)
