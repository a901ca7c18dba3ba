"""The function service's twin: calls in memory, which end when a test says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from dispatcher.errors import Refusal, Refused
from dispatcher.functions.intake import check
from dispatcher.functions.shown import (
    MOST_NODES,
    CallFilter,
    CallLane,
    CallPage,
    CallState,
    CallTotals,
    CallView,
    Entry,
    ExplanationView,
    Step,
    Timeline,
    TreeView,
)
from dispatcher.functions.surface import (
    Cancelled,
    CancelMode,
    Dispatcher,
    NoResult,
    PublicKey,
    ResultView,
    Token,
)
from dispatcher.functions.views.reasons import explained, has_ended, waits_for_turn
from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import (
    CallResult,
    DispatchRequest,
    Error,
    RecallRequest,
    RecallResponse,
)
from dispatcher.queue.admin.surface import (
    EVERY_LANE,
    LaneFilter,
    LaneKind,
    LaneOrder,
    LanePage,
    LaneView,
)
from dispatcher.schedules.plans import Plan, PlannedCall, PlannedMessage
from dispatcher.testing.schedules import MemorySchedules

NOW_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z: when all calls are made, and end."""


def call_id(number: int) -> str:
    """An id as calls have it: its number has the top bit set."""
    return f"{0:04x}{1:08x}{1 << 63 | number:016x}"


class MemoryFunctions:
    """Functions that are never run. What was dispatched is in `requests`, who did it in `callers`;
    `kept` are results by the id of their call, `expired` calls whose results were dropped;
    `refuses` is what everything is refused with;
    `promises` and `channels` by application and name, the last with the values in their order;
    `timelines` by id, where a test says more than that the call was made. Nobody waits longer than
    `patience_s` for a result. `applications` have lanes; `schedules` are beside them."""

    def __init__(self) -> None:
        self.requests: list[DispatchRequest] = []
        self.callers: list[Dispatcher] = []
        self.views: dict[str, CallView] = {}
        self.results: dict[str, ResultView] = {}
        self.kept: dict[str, CallResult] = {}
        self.expired: set[str] = set()
        self.timelines: dict[str, Sequence[Entry]] = {}
        self.promises: dict[tuple[str, str], bytes] = {}
        self.channels: dict[tuple[str, str], list[bytes]] = {}
        self.keys = [PublicKey("00ff", bytes(range(32)))]
        self.cancelled: list[tuple[str, CancelMode]] = []
        self.refuses: Refusal | None = None
        self.fails: Exception | None = None
        self.patience_s = 60.0
        self.waits_s: list[float] = []
        self.applications = ["http://app.example"]
        self.schedules = MemorySchedules()
        self._tokens: dict[tuple[str, str], tuple[bytes, Sequence[str]]] = {}
        self._changed = asyncio.Condition()

    def put(self, view: CallView) -> None:
        """There is one more call."""
        self.views[view.id] = view

    async def end(self, call_id: str, result: CallResult, state: CallState) -> None:
        """A call ends."""
        self.views[call_id] = replace(self.views[call_id], state=state, ended_at_us=NOW_US)
        self.results[call_id] = ResultView(call_id, state, result.SerializeToString(), NOW_US)
        async with self._changed:
            self._changed.notify_all()

    async def dispatch(
        self, request: DispatchRequest, caller: Dispatcher, token: Token | None = None
    ) -> Sequence[str]:
        """Take calls in."""
        self._refuse()
        check(request)
        name = (caller.application, "" if token is None else token.key)
        if token is not None and name in self._tokens:
            digest, ids = self._tokens[name]
            if digest != token.body_sha256:
                raise ConnectError(Code.ALREADY_EXISTS, "Idempotency-Key came with another body.")
            return ids
        self.requests.append(request)
        self.callers.append(caller)
        ids = []
        for call in request.calls:
            ids.append(call_id(len(self.views) + 1))
            self.put(
                view(
                    len(self.views) + 1,
                    function=call.function,
                    endpoint=call.endpoint,
                    application=caller.application,
                )
            )
        if token is not None:
            self._tokens[name] = (token.body_sha256, ids)
        return ids

    async def recall(self, request: RecallRequest) -> RecallResponse:
        """Results that were put into `kept`, all at once; the permit is b"permit"."""
        self._refuse()
        if request.permit != b"permit":
            raise ConnectError(Code.PERMISSION_DENIED, "That is no permit.")
        if not all(name in self.kept for name in request.results):
            raise ConnectError(Code.NOT_FOUND, "It keeps no such result.")
        return RecallResponse(results=[self.kept[name] for name in request.results])

    async def totals(self) -> CallTotals:
        """How many there are, all of them in one lane."""
        self._refuse()
        states = Counter(one.state for one in self.views.values())
        return CallTotals(
            created_total=len(self.views),
            succeeded_total=states[CallState.SUCCEEDED],
            failed_total=states[CallState.FAILED],
            expired_total=states[CallState.EXPIRED],
            cancelled_total=states[CallState.CANCELLED],
            runs_total=0,
            ready=states[CallState.READY],
            scheduled=states[CallState.SCHEDULED],
            running=states[CallState.RUNNING],
            suspended=states[CallState.SUSPENDED],
            outside=states[CallState.OUTSIDE],
            ending=0,
            results=len(self.results),
            results_bytes=sum(len(one.result) for one in self.results.values()),
            waiters=0,
            lanes=[_as_call_lane(lane) for lane in self._lanes()],
            lanes_total=len(self._lanes()),
        )

    async def lanes(
        self, order: LaneOrder, *, which: LaneFilter = EVERY_LANE, after: str, limit: int
    ) -> LanePage:
        """Those of `applications`, with all that is READY in the first of them."""
        self._refuse()
        every = [
            one
            for one in self._lanes()
            if which.fits(one.destination, is_held=one.held, is_failing=one.breaker != "closed")
        ]
        if order is LaneOrder.MESSAGES:
            return LanePage(every[:limit], len(every), None)
        behind = sorted((one for one in every if one.destination > after), key=_name)
        last = behind[limit - 1].destination if len(behind) > limit else None
        return LanePage(behind[:limit], len(every), last)

    def _lanes(self) -> list[LaneView]:
        ready = sum(one.state is CallState.READY for one in self.views.values())
        return [
            LaneView(
                name, 0 if number else ready, None, 0, 10, NOW_US, False, "open", LaneKind.CALL
            )
            for number, name in enumerate(self.applications)
        ]

    async def call(self, call_id: str, *, only: str | None) -> CallView | None:
        """A call, unless it is another application's."""
        self._refuse()
        found = self.views.get(call_id)
        return found if found is not None and only in (None, found.application) else None

    async def explain(self, call_id: str, *, only: str | None) -> ExplanationView | None:
        """Of one that has ended how it did, of another that nothing holds it up."""
        found = await self.call(call_id, only=only)
        if found is None:
            return None
        if found.state.has_ended:
            return explained(found, has_ended(found))
        return explained(found, waits_for_turn(None))

    async def calls(
        self, which: CallFilter, *, limit: int, cursor: int | None, only: str | None
    ) -> CallPage:
        """A page of calls."""
        self._refuse()
        found = [
            one
            for one in sorted(self.views.values(), key=lambda one: one.id, reverse=True)
            if only in (None, one.application)
            and which.state in (None, one.state)
            and which.function in (None, one.function)
            and which.endpoint in (None, one.endpoint)
            and not (which.roots and one.parent_id)
            and (cursor is None or int(one.id[12:], 16) < cursor)
        ]
        page = found[:limit]
        return CallPage(page, int(page[-1].id[12:], 16) if len(found) > limit else None)

    def tree_size(self, call: CallView) -> int:
        """Those whose root it has."""
        return sum(one.root_id == call.root_id for one in self.views.values())

    async def tree(self, call_id: str, *, only: str | None) -> TreeView | None:
        """A call, and those whose root it is."""
        root = await self.call(call_id, only=only)
        if root is None:
            return None
        under = [one for one in self.views.values() if one.root_id == call_id and one is not root]
        nodes = [root, *under]
        by_state = dict(Counter(one.state for one in nodes))
        return TreeView(nodes[:MOST_NODES], len(nodes), by_state)

    async def timeline(self, call_id: str, *, only: str | None) -> Timeline | None:
        """What `timelines` says, else that it was made."""
        found = await self.call(call_id, only=only)
        if found is None:
            return None
        made = [Entry(Step.CREATED, found.created_at_us)]
        return Timeline(self.timelines.get(call_id, made), 0)

    async def result(
        self, call_id: str, *, wait_s: float, only: str | None
    ) -> ResultView | NoResult:
        """The result of a call, which may come while it is waited for."""
        self.waits_s.append(wait_s)
        if await self.call(call_id, only=only) is None:
            return NoResult.UNKNOWN
        if call_id in self.expired:
            return NoResult.EXPIRED
        try:
            async with asyncio.timeout(min(wait_s, self.patience_s)), self._changed:
                await self._changed.wait_for(lambda: call_id in self.results)
        except TimeoutError:
            return self.results.get(call_id, NoResult.NOT_YET)
        return self.results[call_id]

    async def cancel(self, call_id: str, mode: CancelMode, *, only: str | None) -> Cancelled:
        """Remember the wish."""
        found = await self.call(call_id, only=only)
        if found is None:
            return Cancelled.UNKNOWN
        if found.state.has_ended:
            return Cancelled.ENDED
        self.cancelled.append((call_id, mode))
        return Cancelled.DONE

    async def complete(self, application: str, name: str, result: bytes, *, is_error: bool) -> bool:
        """The first one counts."""
        self._refuse()
        assert is_error is CallResult.FromString(result).HasField("error")
        return self.promises.setdefault((application, name), result) is result

    async def send(self, application: str, name: str, result: bytes, *, is_error: bool) -> None:
        """One more value."""
        self._refuse()
        assert is_error is CallResult.FromString(result).HasField("error")
        self.channels.setdefault((application, name), []).append(result)

    async def signing_keys(self) -> Sequence[PublicKey]:
        """All keys."""
        return self.keys

    async def create_signing_key(self) -> PublicKey:
        """A second one."""
        if len(self.keys) > 1:
            raise Refused(Refusal(409, "rotation_unfinished", "There are two keys already."))
        self.keys.append(PublicKey("11ee", bytes(32)))
        return self.keys[-1]

    def _refuse(self) -> None:
        if self.fails is not None:
            raise self.fails
        if self.refuses is not None:
            raise Refused(self.refuses)


def view(
    number: int,
    *,
    state: CallState = CallState.READY,
    function: str = "greet",
    endpoint: str = "http://127.0.0.1:8000",
    application: str = "",
    parent: int | None = None,
) -> CallView:
    """A call, whose parent is its root too where it has one."""
    own_id = call_id(number)
    return CallView(
        id=own_id,
        state=state,
        function=function,
        endpoint=endpoint,
        version="",
        application=application,
        parent_id=None if parent is None else call_id(parent),
        root_id=own_id if parent is None else call_id(parent),
        depth=int(parent is not None),
        created_at_us=NOW_US,
        expires_at_us=NOW_US + 86_400_000_000,
        next_run_at_us=None,
        ended_at_us=NOW_US if state.has_ended else None,
        attempts=0,
        steps=0,
        restarts=0,
        waits_for=0,
        results=0,
        last_error=None,
    )


def _name(lane: LaneView) -> str:
    return lane.destination


def _as_call_lane(lane: LaneView) -> CallLane:
    return CallLane(
        endpoint=lane.destination,
        waiting=lane.ready,
        in_flight=lane.in_flight,
        limit=lane.limit,
        paused_until_us=lane.paused_until_us,
        held=lane.held,
        breaker=lane.breaker,
    )


async def invented() -> MemoryFunctions:
    """Calls in every state, and results, the same each time; nobody waits for long."""
    functions = MemoryFunctions()
    functions.patience_s = 0.01
    plan = Plan("30 2 * * *", "Europe/Berlin", PlannedCall("http://127.0.0.1:8000", "clean_up"))
    await functions.schedules.put("", "nightly", plan)
    await functions.schedules.run("", "nightly")
    message = PlannedMessage("http://127.0.0.1:9000", target="/report", options=(("retries", "5"),))
    await functions.schedules.put("", "report", Plan("0 6 * * *", "UTC", message))
    await functions.schedules.run("", "report")
    states = list(CallState)
    for number in range(1, 101):
        parent = number // 10 * 10 if number % 10 else None
        functions.put(view(number, state=states[number % len(states)], parent=parent or None))
        if states[number % len(states)].has_ended:
            result = CallResult(error=Error(type="ValueError", message="no"))
            await functions.end(call_id(number), result, states[number % len(states)])
    return functions
