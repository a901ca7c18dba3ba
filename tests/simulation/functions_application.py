"""What callers and applications do while the machine of the function service loses its power, and
what they remember of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.functions.runs.message import RunMessage
from dispatcher.protocol.messages import (
    Any,
    Call,
    CallResult,
    DispatchRequest,
    Error,
    Exit,
    Poll,
    RecallRequest,
    RecallResponse,
    RunRequest,
    RunResponse,
)
from dispatcher.protocol.statuses import Status
from dispatcher.testing.application import ENDPOINT, FakeApplication, Reply, fails
from tests.simulation.engine_log import Power

LARGE: Final = 620_000
"""Bytes of a payload that takes several chunks."""
LOST: Final = AttemptResult(None, Failure.CONNECTION, "reset", 1, was_sent=True)


def value(tag: str, size: int = 0) -> Any:
    """A payload that can be told from every other, of at least `size` bytes."""
    text = tag.encode()
    filled = text + b"|" + hashlib.sha256(text).digest() * (size // 32) if size else text
    return Any(type_url="type.example/T", value=filled)


def tag_of(packed: Any) -> str:
    """What `value` was given."""
    return packed.value.split(b"|", 1)[0].decode()


def requested() -> DispatchRequest:
    """The batch: one of the calls has a large input."""
    return DispatchRequest(
        calls=[
            Call(endpoint=ENDPOINT, function="flow", input=value("flow", LARGE)),
            Call(endpoint=ENDPOINT, function="doomed", input=value("doomed")),
            Call(endpoint=ENDPOINT, function="chain", input=value("3")),
            Call(endpoint=ENDPOINT, function="keeper", input=value("keeper")),
        ]
    )


EXPECTED: Final = (
    CallResult(output=value("after the tail", LARGE)),
    CallResult(error=Error(type="ValueError", message="no")),
    CallResult(output=value("chained")),
    CallResult(output=value("kept")),
)
Recall = Callable[[RecallRequest], Awaitable[RecallResponse]]
"""Asks the server for results that a call keeps."""


@dataclass(slots=True)
class World:
    """`ids` are what the caller was told, `completed` whether it was told that the promise was
    kept. `bodies` are the requests by call and step, `recorded` those of which the outcome was
    durable when the power was cut; `runs` is how many there were, `recalls` how many of them asked
    for what their state refers to."""

    random: Random
    ids: tuple[str, ...] = ()
    completed: bool = False
    sent: bool = False
    runs: int = 0
    recalls: int = 0
    lives: int = 0
    has_ended: bool = False
    bodies: dict[tuple[int, int], bytes] = field(default_factory=dict)
    recorded: set[tuple[int, int]] = field(default_factory=set)
    roots: set[str] = field(default_factory=set)


class Application(FakeApplication):
    """What it answers follows from the request alone. `recall` is there once the server is;
    `failures` are exceptions in what it asks of that."""

    recall: Recall

    def __init__(self, world: World, power: Power) -> None:
        super().__init__(self._run)
        self.failures: list[BaseException] = []
        self._recalling: set[asyncio.Task[None]] = set()
        self._world = world
        self._power = power

    def deliver(self, message: Message) -> None:
        """See `FakeApplication`; nothing runs without power."""
        if self._power.is_cut.is_set():
            return
        assert isinstance(message, RunMessage)
        world, run = self._world, (message.key, message.step)
        assert run not in world.recorded, f"{run} is run again: {self._name(message)}"
        before = world.bodies.setdefault(run, bytes(message.body))
        assert before == message.body, f"{run} is another run now: {self._name(message)}"
        world.runs += 1
        request = RunRequest.FromString(message.body)
        if request.poll_result.permit:
            recalling = asyncio.ensure_future(self._recalled(message, request))
            self._recalling.add(recalling)
            recalling.add_done_callback(self._recalling.discard)
        else:
            super().deliver(message)

    async def _recalled(self, message: Message, request: RunRequest) -> None:
        """Answer a run once it has what its state refers to."""
        names = _kept(request)
        try:
            asked = RecallRequest(
                dispatch_id=request.dispatch_id, permit=request.poll_result.permit, results=names
            )
            answer = await self.recall(asked)
            assert [result.dispatch_id for result in answer.results] == names
            self._world.recalls += bool(names)
            assert all(_said(result).startswith(f"{result.correlation_id}=large of k")
                       for result in answer.results)  # fmt: skip
        except Exception as error:
            if not self._power.is_cut.is_set():
                self.failures.append(error)
        if not self._power.is_cut.is_set():
            super().deliver(message)

    def tell(self, message: Message, reply: Reply) -> None:
        """See `FakeApplication`."""
        if not self._power.is_cut.is_set():
            super().tell(message, reply)

    def _name(self, message: Message) -> str:
        request = RunRequest.FromString(message.body)
        return f"{request.function} {request.WhichOneof('directive')}"

    def _run(self, request: RunRequest) -> Reply:
        if request.root_dispatch_id == request.dispatch_id:
            self._world.roots.add(request.dispatch_id)
        match request.function:
            case "flow":
                return _flow(request)
            case "chain":
                return _chain(request)
            case "keeper":
                return _keeper(request)
            case "large":
                return _exits(value("large of " + tag_of(request.input), LARGE))
            case "flaky":
                return self._flaky(request)
            case "last":
                assert request.input == value("tail", LARGE)
                return _exits(value("after the tail", LARGE))
            case "leaf":
                return _exits(value("leaf of " + tag_of(request.input)))
            case _:
                return fails(Status.PERMANENT_ERROR)

    def _flaky(self, request: RunRequest) -> Reply:
        """Its first run is lost, its second one says that it is to be tried again."""
        count = sum(one.dispatch_id == request.dispatch_id for one in self.requests)
        if count == 1:
            return LOST
        if count == 2:
            return fails(Status.THROTTLED)
        return _exits(value("flaky"))


def _exits(output: Any) -> RunResponse:
    return RunResponse(status=Status.OK.value, exit=Exit(result=CallResult(output=output)))


def _polls(state: Any, *calls: Call, wanted: int, wait_s: int = 0) -> RunResponse:
    poll = Poll(typed_coroutine_state=state, calls=calls, min_results=wanted, max_results=3)
    if wait_s:
        poll.max_wait.seconds = wait_s
    return RunResponse(status=Status.OK.value, poll=poll)


def _call(number: int, function: str, input: Any, endpoint: str = "") -> Call:
    return Call(correlation_id=number, function=function, input=input, endpoint=endpoint)


def _flow(request: RunRequest) -> RunResponse:
    """Children with large inputs, states and results; what comes is put into the state. Then a
    promise and a channel, a sleep, and a tail call."""
    if request.WhichOneof("directive") == "input":
        assert request.input == value("flow", LARGE)
        calls = [
            _call(1, "large", value("1", LARGE)),
            _call(2, "flaky", value("2")),
            _call(3, "broken", value("3")),
            _call(4, "leaf", value("4")),
            _call(5, "large", value("5")),
        ]
        return _polls(value("a:", LARGE), *calls, wanted=2)
    stage, _, known = tag_of(request.poll_result.typed_coroutine_state).partition(":")
    assert request.poll_result.typed_coroutine_state == value(f"{stage}:{known}", LARGE)
    came = [*filter(None, known.split(",")), *map(_said, request.poll_result.results)]
    if stage == "a":
        if len(came) < 5:
            return _polls(value("a:" + ",".join(came), LARGE), wanted=2)
        assert sorted(came) == [
            "1=large of 1", "2=flaky", "3=!ValueError", "4=leaf of 4", "5=large of 5"
        ], came  # fmt: skip
        outside = [
            _call(6, "approved", value(""), "promise:ok"),
            _call(7, "value", value(""), "channel:values"),
        ]
        return _polls(value("b:", LARGE), *outside, wanted=2)
    if stage == "b":
        if len(came) < 2:
            return _polls(value("b:" + ",".join(came), LARGE), wanted=2)
        assert sorted(came) == ["6=yes", "7=told"], came
        return _polls(value("c:", LARGE), wanted=1, wait_s=60)
    assert stage == "c"
    assert not came
    tail = Call(function="last", input=value("tail", LARGE))
    return RunResponse(status=Status.TEMPORARY_ERROR.value, exit=Exit(tail_call=tail))


def _said(result: CallResult) -> str:
    what = "!" + result.error.type if result.HasField("error") else tag_of(result.output)
    size = LARGE if what.startswith("large") else 0
    assert result.HasField("error") or result.output in (value(what), value(what, size)), what
    return f"{result.correlation_id}={what}"


def _chain(request: RunRequest) -> RunResponse:
    """One small child after the other. The state grows by what is left each time; once by so much
    that it is written whole again."""
    poll = request.poll_result
    state = poll.typed_coroutine_state.value
    if request.WhichOneof("directive") == "input":
        left = int(tag_of(request.input))
    else:
        left = int(state.strip(b"|").rsplit(b"|", 1)[-1])
        assert state == b"".join(_piece(number) for number in range(3, left - 1, -1))
        (result,) = poll.results
        assert _said(result) == f"{left}=leaf of {left}"
        left -= 1
    if not left:
        return _exits(value("chained"))
    answer = _polls(Any(value=_piece(left)), _call(left, "leaf", value(str(left))), wanted=1)
    answer.poll.state_nonce = left
    answer.poll.extends = left + 1 if state else 0
    return answer


def _keeper(request: RunRequest) -> RunResponse:
    """Two children with large results, which the state refers to; then a sleep."""
    if request.WhichOneof("directive") == "input":
        calls = [_call(n, "large", value(f"k{n}", LARGE)) for n in (1, 2)]
        return _polls(value("keeps:"), *calls, wanted=1)
    came = [result.dispatch_id for result in request.poll_result.results]
    if len(_kept(request)) == 2:
        assert not came
        return _exits(value("kept"))
    names = _kept(request) + came
    is_all = len(names) == 2
    answer = _polls(value("keeps:" + ",".join(names)), wanted=1, wait_s=60 if is_all else 0)
    answer.poll.keep.extend(names)
    return answer


def _kept(request: RunRequest) -> list[str]:
    """What the state of the keeper refers to."""
    names = tag_of(request.poll_result.typed_coroutine_state).partition(":")[2]
    return names.split(",") if names else []


def _piece(left: int) -> bytes:
    return b"|%d" % left + b"|" * (70_000 if left == 2 else 0)
