"""What is seen of calls from outside: views of those that exist, of those that have ended, pages,
trees. Looking through many is done in slices that do not hold the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import nlargest
from typing import Final, Protocol

from dispatcher.functions.ids import number_of
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import NONE, Call, How, Phase
from dispatcher.functions.results.records import StoredResult
from dispatcher.functions.shown import (
    MOST_NODES,
    CallFilter,
    CallPage,
    CallState,
    CallView,
    TreeView,
)
from dispatcher.functions.views.history import History
from dispatcher.functions.views.last_errors import LastErrors
from dispatcher.queue.admin.pace import Pace

_SLICE: Final = 500
STATE_OF: Final = {
    How.OK: CallState.SUCCEEDED,
    How.FAILED: CallState.FAILED,
    How.EXPIRED: CallState.EXPIRED,
    How.CANCELLED: CallState.CANCELLED,
}


def state_of_ended(call: Call) -> CallState:
    """How a call ended; one that was dropped before (with its parent, say) was cancelled."""
    return CallState.CANCELLED if call.how is None else STATE_OF[call.how]


class Runs(Protocol):
    """What is known of runs (`running.Runner`)."""

    def is_running(self, key: int) -> bool:
        """Whether a run of the call is under way."""

    def starts_at_us(self, call: Call) -> int:
        """When the next run may start, by the wall clock; 0: when it has its turn."""


class Looking:
    """Reads the table of calls for people."""

    def __init__(
        self,
        machine: Machine,
        runs: Runs,
        history: History,
        *,
        last_errors: LastErrors,
        id_of: Callable[[int], str],
        now_us: Callable[[], int],
        pace: Pace,
    ) -> None:
        """`pace` is that of all who look at the partition in slices."""
        self._last_errors = last_errors
        self._machine = machine
        self._runs = runs
        self._history = history
        self._id_of = id_of
        self._now_us = now_us
        self._pace = pace

    def view(self, call: Call) -> CallView:
        """One call, as it is now."""
        return self._view(call, self._state(call))

    def last_view(self, call: Call) -> CallView:
        """A call that is in the table no more."""
        return self._view(call, state_of_ended(call))

    def _view(self, call: Call, state: CallState) -> CallView:
        return CallView(
            id=self._id_of(call.key),
            state=state,
            function=call.function,
            endpoint=call.endpoint,
            version=call.version,
            application=call.application,
            parent_id=None if call.parent == NONE else self._id_of(call.parent),
            root_id=self._id_of(call.root),
            depth=call.depth,
            created_at_us=call.created_us,
            expires_at_us=call.expires_us,
            next_run_at_us=self._next_run_us(call, state),
            ended_at_us=self._now_us() if state.has_ended else None,
            attempts=call.attempts,
            steps=call.step,
            restarts=call.restarts,
            waits_for=len(call.children),
            results=len(call.results),
            last_error=self._last_errors.of(call),
        )

    def view_of_result(self, result: StoredResult) -> CallView:
        """A root call of which only its result is kept."""
        number = self._id_of(result.key)
        return CallView(
            id=number,
            state=STATE_OF[result.how],
            function=result.function,
            endpoint=result.endpoint,
            version=result.version,
            application=result.application,
            parent_id=None,
            root_id=number,
            depth=0,
            created_at_us=result.created_us,
            expires_at_us=result.expires_us,
            next_run_at_us=None,
            ended_at_us=result.ended_us,
            attempts=result.attempts,
            steps=result.steps,
            restarts=result.restarts,
            waits_for=0,
            results=0,
            last_error=None if result.how is How.OK else result.status,
        )

    def _state(self, call: Call) -> CallState:
        match call.phase:
            case Phase.ENDED:
                assert call.how is not None
                return STATE_OF[call.how]
            case Phase.SUSPENDED:
                return CallState.SUSPENDED
            case Phase.OUTSIDE:
                return CallState.OUTSIDE
        if self._runs.is_running(call.key):
            return CallState.RUNNING
        is_later = self._runs.starts_at_us(call) > self._now_us()
        return CallState.SCHEDULED if is_later else CallState.READY

    def _next_run_us(self, call: Call, state: CallState) -> int | None:
        if state is CallState.SCHEDULED:
            return self._runs.starts_at_us(call)
        if state is CallState.SUSPENDED and call.poll is not None and call.poll.due_us:
            return call.poll.due_us
        return None

    async def page(
        self, which: CallFilter, *, limit: int, cursor: int | None, only: str | None
    ) -> CallPage:
        """Calls that exist, the newest first."""
        most = (1 << 64) if cursor is None else cursor
        found: list[tuple[int, Call]] = []
        for count, call in enumerate(list(self._machine.calls.values()), 1):
            if not count % _SLICE:
                found = nlargest(limit + 1, found, key=_by_number)
                await self._pace.rest()
            if number_of(call.key) < most and self._fits(call, which, only):
                found.append((number_of(call.key), call))
        found = nlargest(limit + 1, found, key=_by_number)
        items = [self.view(call) for _, call in found[:limit]]
        return CallPage(items, found[limit - 1][0] if len(found) > limit else None)

    def _fits(self, call: Call, which: CallFilter, only: str | None) -> bool:
        return (
            only in (None, call.application)
            and which.function in (None, call.function)
            and which.endpoint in (None, call.endpoint)
            and not (which.roots and call.parent != NONE)
            and (which.state is None or self._state(call) is which.state)
        )

    async def tree(self, top: Call | CallView) -> TreeView:
        """A call and all under it: those that exist, and those that ended a while ago. Of one that
        has ended, the latter only."""
        nodes: list[CallView] = []
        by_state: dict[CallState, int] = {}
        total = 0
        for count, view in enumerate(self._below(top), 1):
            if not count % _SLICE:
                await self._pace.rest()
            total += 1
            by_state[view.state] = by_state.get(view.state, 0) + 1
            if len(nodes) < MOST_NODES:
                nodes.append(view)
        return TreeView(nodes, total, by_state)

    def _below(self, top: Call | CallView) -> Iterator[CallView]:
        """Parents before their children."""
        ended: dict[str, list[CallView]] = {}
        root_id = self._id_of(top.root) if isinstance(top, Call) else top.root_id
        for view in self._history.ended_under(root_id):
            ended.setdefault(view.parent_id or "", []).append(view)
        waiting: list[Call | CallView] = [top]
        while waiting:
            one = waiting.pop()
            view = self.view(one) if isinstance(one, Call) else one
            yield view
            if isinstance(one, Call):
                waiting += self._alive(one)
            waiting += ended.get(view.id, ())

    def _alive(self, call: Call) -> Iterable[Call]:
        for key in (*call.children, *call.strays):
            child = self._machine.calls.get(key)
            if child is not None:
                yield child


def fits(view: CallView, which: CallFilter, only: str | None) -> bool:
    """Whether a call that is not in the table any more is one of these."""
    return (
        only in (None, view.application)
        and which.function in (None, view.function)
        and which.endpoint in (None, view.endpoint)
        and which.state in (None, view.state)
    )


def _by_number(found: tuple[int, Call]) -> int:
    return found[0]
