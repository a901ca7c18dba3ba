"""Which results the next resume of a call delivers."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.functions import limits
from dispatcher.functions.model import NOT_FROZEN, Call
from dispatcher.functions.spans import length_of


@dataclass(frozen=True, slots=True)
class Plan:
    """The next resume delivers the first `count` results. With `must_be_stored` a Resuming has to
    be durable before it is sent: more results may come, and sent again it has to be the same."""

    count: int
    must_be_stored: bool


def plan_resume(call: Call) -> Plan | str:
    """Say what a resume of a call that is due delivers: its results in their order, as many as its
    poll wants and as fit beside its state, and one in any case.

    Returns:
        A string, which says why, where state and first result do not fit in one request: the call
        cannot be resumed any more, and ends with InvalidResponse.
    """
    if call.frozen != NOT_FROZEN:
        return Plan(call.frozen, must_be_stored=False)
    assert call.poll is not None
    size_bytes = sum(map(length_of, call.states))
    if call.error is not None:
        size_bytes += length_of(call.error)
    count = 0
    for result in call.results[: call.poll.max_results]:
        size_bytes += length_of(result.where) + limits.RESULT_BYTES
        if count and size_bytes > limits.RESUME_BYTES:
            break
        if size_bytes > limits.MOST_PAYLOAD_BYTES:
            return (
                f"the state and the next result have {size_bytes} bytes, and "
                f"{limits.MOST_PAYLOAD_BYTES} is the most that can be sent in one request"
            )
        count += 1
    # With no child outstanding, what there is is all there will be, and the same is chosen again.
    is_all = not call.children and count == len(call.results)
    return Plan(count, must_be_stored=not is_all)
