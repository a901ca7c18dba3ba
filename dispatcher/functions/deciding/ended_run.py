"""A run that has just ended, and what can follow from it: what `decide` was given, in one value.

`responses` and `failures` say which of these ways it goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.core.clock import Random
from dispatcher.core.retry import RetryPolicy, delay_ms, parse_retry_after
from dispatcher.functions import errors, limits
from dispatcher.functions.deciding.decisions import Context, RestartAt, RetryAt
from dispatcher.functions.events import Exited
from dispatcher.functions.model import Call, How
from dispatcher.functions.rules import Asked, Rules
from dispatcher.protocol.messages import CallResult, Error
from dispatcher.protocol.statuses import Status


@dataclass(frozen=True, slots=True)
class EndedRun:
    """Fields as the arguments of `deciding.decide`."""

    call: Call
    asked: Asked
    context: Context
    now_us: int
    random: Random
    rules: Rules
    next_key: Callable[[], int]

    @property
    def policy(self) -> RetryPolicy:
        """Delays that double, without a bound for how often."""
        return RetryPolicy(0, self.rules.retry_delay_ms, self.rules.retry_max_delay_ms)

    def in_time(self, due_us: int) -> int:
        """Not before now, and not after its expiration: it is looked at then."""
        return max(self.now_us, min(due_us, self.call.expires_us))

    def retry(self, retry_after: bytes | None) -> RetryAt:
        """The same again, later. `retry_after` is the value of that header."""
        attempts = self.call.attempts + 1
        asked_ms = 0
        if retry_after is not None:
            asked_ms = parse_retry_after(retry_after, self.now_us) or 0
        policy = self.policy
        if asked_ms > policy.max_delay_ms:
            wait_ms = int(self.random.uniform(asked_ms, asked_ms * 1.2))
        else:
            wait_ms = delay_ms(attempts, policy, self.random, at_least_ms=asked_ms)
        return RetryAt(self.in_time(self.now_us + wait_ms * 1000), attempts)

    def with_whole_state(self) -> RetryAt:
        """The same again with the whole state, at once."""
        return RetryAt(self.now_us, self.call.attempts, is_spent=False)

    def restart(self, status: Status, why: str, error: Error | None) -> RestartAt | Exited:
        """Anew from its input, later; failed, with the error or for this reason, where that did not
        get any further several times."""
        call = self.call
        if call.step - call.began_step > call.reached:
            return self._restart(1)
        if call.restarts < limits.MOST_RESTARTS:
            return self._restart(call.restarts + 1)
        if error is not None:
            result = CallResult(error=error).SerializeToString()
            return self.exit(How.FAILED, result, is_error=True)
        return self.fail(status, f"{why}; {call.restarts} restarts did not get any further")

    def _restart(self, in_row: int) -> RestartAt:
        wait_ms = delay_ms(in_row, self.policy, self.random)
        return RestartAt(self.in_time(self.now_us + wait_ms * 1000))

    def fail(self, status: Status, why: str) -> Exited:
        """It ends with an error of the server's making."""
        result = errors.failed(errors.type_of(status), f"{self.call.function}: {why}.")
        return self.exit(How.FAILED, result, is_error=True)

    def exit(self, how: How, result: bytes, *, is_error: bool) -> Exited:
        """It ends with this serialized CallResult."""
        return Exited(self.call.key, self.asked.step, how, result, is_error, self.now_us)
