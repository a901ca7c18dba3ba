"""How an environment runs a call: by the application, or by what the test has put in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.protocol.messages import RunResponse
from dispatcher.sdk import http
from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.testing.calls import Record
from dispatcher.sdk.testing.doubles import Doubles
from dispatcher.sdk.testing.standing import stand_in

if TYPE_CHECKING:
    from dispatcher.sdk.testing.application import Application

OWN = "bridge://environment"


class NotDeterministic(AssertionError):
    """A durable function that was replayed ended otherwise than before."""


class Running:
    """Implements `driver.Runs`. The process dies once there were `dies_before` answers, before the
    next one is given; `died_in` says in which run. `resumes` has the last resume of each function
    that needed nothing but its record: what it was asked, and what it answered."""

    application: Application

    def __init__(self, doubles: Doubles, *, is_checked: bool) -> None:
        self.dies_before: int | None = None
        self.died_in = ""
        self.answers = 0
        self.resumes: dict[str, tuple[bytes, bytes]] = {}
        self._doubles = doubles
        self._is_checked = is_checked

    async def __call__(self, call: Record, request: bytes) -> Answer | None:
        code = self._doubles.of(call.function) if call.state is None else None
        is_own = call.endpoint in ("", OWN)
        if code is not None:
            served = self.application.served.get(call.function) if is_own else None
            answer = await stand_in(call, code, served)
        elif is_own and call.function != http.send.name:
            answer = await self._by_application(call, request)
        else:
            raise LookupError(_not_here(call, is_own=is_own))
        self.answers += 1
        if self.dies_before != self.answers - 1:
            return answer
        self.died_in = (
            f"{'a resume' if call.state is not None else 'the first run'} of {call.function}"
        )
        self.application.die()
        return None

    async def _by_application(self, call: Record, request: bytes) -> Answer:
        application = self.application
        steps_before = application.steps.total()
        answer = await application.run(request)
        if call.state is not None and application.steps.total() == steps_before:
            self.resumes[call.function] = request, answer.body
            if self._is_checked:
                _check_same(call, answer, await application.run(request))
        return answer


def _not_here(call: Record, *, is_own: bool) -> str:
    if is_own:
        return (
            "A function makes an HTTP request, and tests make none: write env.stub("
            "dispatch.http.send, lambda request: dispatch.http.Response(200, body=b'…')) before."
        )
    return (
        f"{call.function} at {call.endpoint} is not here: write "
        f"env.stub({call.function}, lambda value: …) before."
    )


def _check_same(call: Record, one: Answer, other: Answer) -> None:
    """Raises NotDeterministic."""
    if one == other:
        return
    first, second = _shown(one), _shown(other)
    raise NotDeterministic(
        f"{call.function} was replayed from its record, and did something else.\n"
        f"  first  {first}\n  then   {second}\n"
        "Look for time, randomness, sets, I/O or globals in it: take dispatch.now(), "
        "dispatch.random(), or dispatch.step(…)."
    )


def _shown(answer: Answer) -> str:
    if answer.status != 200:
        return f"HTTP {answer.status}"
    response = RunResponse.FromString(answer.body)
    if response.HasField("poll"):
        return f"waits for {', '.join(call.function for call in response.poll.calls)}"
    return str(response.exit.result).replace("\n", " ")
