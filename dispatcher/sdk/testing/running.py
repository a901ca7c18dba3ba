"""How an environment runs a call: by the application, or by what the test has put in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.protocol.connect import Code
from dispatcher.sdk import http
from dispatcher.sdk.check import is_due
from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.testing.calls import Record
from dispatcher.sdk.testing.crashes import Crash, Killed
from dispatcher.sdk.testing.doubles import Doubles
from dispatcher.sdk.testing.standing import stand_in

if TYPE_CHECKING:
    from dispatcher.sdk.testing.application import Application

OWN = "bridge://environment"


class NotDeterministic(AssertionError):
    """A durable function did what it can't do again in a replay: it read a clock, did I/O by
    itself, or ended otherwise when it was replayed."""


class Running:
    """Implements `driver.Runs`. The answer that `killed` says is lost by a crash; `crashed_in` says
    in which run. `resumes` has the last resume of each function that needed nothing but its record:
    what it was asked, and what it answered."""

    application: Application

    def __init__(self, doubles: Doubles, *, replays: bool) -> None:
        """`replays`: a suspended body is forgotten where `is_due`, and goes on from its record."""
        self.killed: Killed | None = None
        self.crashed_in = ""
        self.answers = 0
        self.resumes: dict[str, tuple[bytes, bytes]] = {}
        self.complaints: list[str] = []
        """What `Checked` had to say of durable bodies."""
        self._doubles = doubles
        self._replays = replays
        self._replayed: dict[str, int] = {}
        """At which attempt each call was replayed last."""

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
        if self.killed is None or self.killed.answer != self.answers - 1:
            return answer
        self.crashed_in = (
            f"{'a resume' if call.state is not None else 'the first run'} of {call.function}"
        )
        self._crash(self.killed.crash)
        return None

    def _crash(self, crash: Crash) -> None:
        match crash:
            case Crash.APPLICATION:
                self.application.die()
            case Crash.SERVER:  # what it had stored it knows when it is back
                self.application.forget_answers()

    async def _by_application(self, call: Record, request: bytes) -> Answer:
        application = self.application
        steps_before = application.steps.total()
        if self._replays and is_due(call.attempts, self._replayed.get(call.id, 0)):
            self._replayed[call.id] = call.attempts
            application.forget(call.id)
        answer = await application.run(request)
        if self.complaints:
            said = "\n".join(self.complaints)
            self.complaints.clear()
            raise NotDeterministic(said)
        if answer.status == Code.INTERNAL.http_status:  # a server would ask again, for a year
            raise RuntimeError(f"the application answered {answer.body!r}")
        if call.state is not None and application.steps.total() == steps_before:
            self.resumes[call.function] = request, answer.body
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
