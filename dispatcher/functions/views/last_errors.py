"""What the last run of each call came to, where it failed: in memory, from the first failure until
nothing of the call is left here."""

from __future__ import annotations

from dispatcher.functions import errors
from dispatcher.functions.deciding.decisions import Decision, RestartAt, RetryAt
from dispatcher.functions.events import Exited
from dispatcher.functions.model import Call, How
from dispatcher.protocol.messages import CallResult


class LastErrors:
    """By key. Of one that goes on it is `Decision.slug`; of one that has ended it is the type of
    its error, as it is where its result is kept then."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def ran(self, call: Call, decision: Decision) -> None:
        """A run has ended."""
        match decision.outcome:
            case RetryAt() | RestartAt():
                self._known[call.key] = decision.slug
            case Exited(how=How.FAILED, result=bytes() as result):
                self.ends(call, result)
            case _:
                self._known.pop(call.key, None)

    def ends(self, call: Call, result: bytes) -> None:
        """It fails with this serialized CallResult."""
        self._known[call.key] = CallResult.FromString(result).error.type or _FAILED

    def of(self, call: Call) -> str | None:
        """That of a call; None: its last run was none that failed, or was made by a process before
        this one."""
        match call.how:
            case How.OK:
                return None
            case How.EXPIRED:
                return errors.EXPIRED
            case How.CANCELLED:
                return errors.CANCELLED
            case How.FAILED:
                return self._known.get(call.key, _FAILED)
        return self._known.get(call.key)

    def forget(self, call: Call) -> None:
        """Nothing of it is left."""
        self._known.pop(call.key, None)


_FAILED = How.FAILED.name.lower()
