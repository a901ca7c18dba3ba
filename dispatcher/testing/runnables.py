"""Functions as their runner sees them, and one who asks for runs of them as a server does.

Bodies take and return what the SDK's values can hold; what they wait for is made with
`dispatcher.testing.durable`, or with `waits` where the body may be a plain one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispatcher.protocol.messages import CallResult, Error, PollResult, RunRequest, RunResponse
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.errors.portraits import text_of
from dispatcher.sdk.functions import context
from dispatcher.sdk.functions.spec import OnChange, Place, Spec
from dispatcher.sdk.replay.loop import running
from dispatcher.sdk.replay.model import (
    Failure,
    Kind,
    Operation,
    Result,
    StepRun,
    Value,
)
from dispatcher.sdk.running.intents import Claim
from dispatcher.sdk.running.recalling import Recall
from dispatcher.sdk.running.requests import read_run
from dispatcher.sdk.running.runner import Runner
from dispatcher.sdk.values import Signature, decode, decode_arguments, encode, encode_arguments
from dispatcher.sdk.wire import any_of, error_of, value_of

ALL = frozenset({"append", "cancel", "delay", "keep", "state-ref", "timeout", "version"})
NOW_US = 1_700_000_000_000_000


def failure_of(error: BaseException) -> Failure:
    """What is recorded of an exception."""
    return Failure(type(error).__name__, text_of(error))


class FakeRunnable:
    """A function. Its exceptions are of the status that they have, else PERMANENT_ERROR."""

    def __init__(
        self,
        body: Callable[..., object],
        *,
        durable: bool | None = None,
        is_durable: bool | None = None,
        timeout_us: int | None = None,
        on_change: OnChange = OnChange.RESTART,
    ) -> None:
        """`durable` is what its author said, `is_durable` what it was judged to be."""
        is_async = inspect.iscoroutinefunction(body)
        self.spec = Spec(
            name=body.__name__,
            body=body,
            is_async=is_async,
            place=Place(__file__, 1),
            durable=durable,
            timeout_us=timeout_us,
            on_change=on_change,
        )
        self.is_durable = bool(durable if is_durable is None else is_durable)

    @property
    def judged(self) -> str:
        return ""

    def bind(self, input: Value) -> inspect.BoundArguments:
        return decode_arguments(input, self.spec.signature)

    def encode(self, value: object) -> Value:
        return encode(value, where=f"the result of {self.spec.name}")

    def failure(self, error: BaseException) -> tuple[Status, Failure]:
        status = getattr(error, "status", Status.PERMANENT_ERROR)
        return status, failure_of(error)

    def retry_after_s(self, error: BaseException) -> float | None:
        return getattr(error, "retry_after", None)


class Waits:
    """What is awaited for an operation, in a durable body or in one that was taken for plain."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation

    def __await__(self) -> Generator[Any, Any, object]:
        loop, here = running(), context.inside.get()
        if loop is not None:
            result: Result = yield from loop.perform(self.operation)
        else:
            assert here is not None
            assert here.net is not None
            result = yield from here.net.met(self.operation)
        if isinstance(result, Failure):
            raise RuntimeError(f"{result.type}: {result.message}")
        return decode(result)


def calls(function: str, *args: object, endpoint: str = "") -> Waits:
    """Call a function."""
    input = encode(args[0] if args else None)
    return Waits(Operation(Kind.CALL, function, "app.py:1", input=input, endpoint=endpoint))


def sleeps(seconds: float) -> Waits:
    """Sleep."""
    return Waits(Operation(Kind.SLEEP, "sleep", "app.py:2", duration_us=round(seconds * 1e6)))


def does(call: Callable[[], object], *, timeout_us: int | None = None, **more: Any) -> Waits:
    """Have a step done."""
    name = getattr(call, "__name__", "step")
    is_async = inspect.iscoroutinefunction(call)
    run = StepRun(call, encode, is_async, timeout_us, **more)
    return Waits(Operation(Kind.STEP, name, "app.py:3", carrier=run))


@dataclass(slots=True)
class Asking:
    """Asks a runner, as a server asks for the runs of one call. `state` is what it has."""

    runner: Runner
    function: str
    features: frozenset[str] = ALL
    timeout_ms: int | None = None
    id: str = "01f3"
    state: bytes = b""
    nonce: int = 0
    response: RunResponse = field(default_factory=RunResponse)
    request: RunRequest = field(default_factory=RunRequest)

    async def first(self, *args: object, **kwargs: object) -> RunResponse:
        """Run it from its input."""
        body = self.runner.body(self.function)
        input = encode_arguments(Signature(body), args, kwargs)
        request = RunRequest(function=self.function, dispatch_id=self.id, root_dispatch_id=self.id)
        request.input.CopyFrom(any_of(input))
        self.state, self.nonce = b"", 0
        return await self.ask(request)

    async def resume(
        self,
        results: Mapping[int, object] | None = None,
        *,
        error: Failure | None = None,
        by_nonce: bool = False,
        ids: Mapping[int, str] | None = None,
    ) -> RunResponse:
        """Go on with these results, by correlation; `Failure` for errors. `by_nonce`: without the
        state."""
        poll = PollResult(permit=b"permit")
        if by_nonce:
            poll.state_ref = self.nonce
        else:
            poll.typed_coroutine_state.CopyFrom(self._typed())
        for id, value in (results or {}).items():
            poll.results.append(_result(id, value, (ids or {}).get(id, f"child-{id}")))
        if error is not None:
            poll.error.CopyFrom(error_of(error))
        request = RunRequest(function=self.function, dispatch_id=self.id, root_dispatch_id=self.id)
        request.poll_result.CopyFrom(poll)
        return await self.ask(request)

    async def ask(self, request: RunRequest) -> RunResponse:
        """Send a request, and take over what the answer says of the state."""
        self.request = request
        self.response = await self.again()
        if self.response.HasField("poll"):
            self.take(self.response)
        return self.response

    async def again(self) -> RunResponse:
        """Send the last request another time, and take nothing over."""
        run = read_run(
            self.request.SerializeToString(), features=self.features, timeout_ms=self.timeout_ms
        )
        return RunResponse.FromString((await self.runner.answer(run)).body)

    def take(self, response: RunResponse) -> None:
        """Store the state of a poll."""
        poll = response.poll
        new = poll.typed_coroutine_state.value
        if poll.extends:
            assert poll.extends == self.nonce
        self.state = self.state + new if poll.extends else new
        self.nonce = poll.state_nonce

    def _typed(self) -> Any:
        from dispatcher.protocol.messages import Any as Packed
        from dispatcher.protocol.states import OWN_STATE_TYPE

        return Packed(type_url=OWN_STATE_TYPE, value=self.state)


def _result(id: int, value: object, dispatch_id: str) -> CallResult:
    result = CallResult(correlation_id=id, dispatch_id=dispatch_id)
    if isinstance(value, Failure):
        result.error.CopyFrom(error_of(value))
    else:
        result.output.CopyFrom(any_of(encode(value)))
    return result


def returned(response: RunResponse) -> object:
    """What the function returned."""
    assert response.status == Status.OK, response
    assert response.exit.result.HasField("output"), response
    return decode(value_of(response.exit.result.output))


def failed(response: RunResponse) -> tuple[Status, str, str]:
    """How it failed: status, type and message."""
    error: Error = response.exit.result.error
    return Status(response.status), error.type, error.message


def runner(
    *functions: FakeRunnable,
    warm: int = 100,
    now_us: Callable[[], int] = lambda: NOW_US,
    recall: Recall | None = None,
    claim: Claim | None = None,
) -> Runner:
    """A runner of these functions."""
    return Runner(
        {one.spec.name: one for one in functions},
        warm=warm,
        recall=recall,
        claim=claim,
        failure_of=failure_of,
        now_us=now_us,
    )
