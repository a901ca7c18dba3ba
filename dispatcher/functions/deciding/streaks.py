"""HTTP 500s of one step in a row, and what they may mean.

dispatch-py catches what a function raises. An HTTP 500 of it means that it did not get so far, and
there are two cases in which asking again never helps:

*The call has ended there.* The process in which a call has ended answers 500 for ever, when a run
whose response was lost is sent again, and when the call died and is redriven. That is so when a
response was lost (the request was sent, and nothing came) or the call was redriven, and only 500s
have come since then, five or more. Anything else in between, a refused connection, a 502 or 503, an
answer, shows another process, or a call that goes on.

*The state cannot be read any more.* Its code was changed. That is so when a resume gets five or
more for longer than CALL_STATE_SUSPECT_AFTER, and nothing else. The state of our own SDK is never
suspected: it says so itself.

In both cases an application may just be broken for a while, and then all of its runs are. So a
state is suspected only where other runs of the endpoint have succeeded since the first of the 500s.
Of a call, that it has ended there is believed unless another one is answered 500 too and none has
succeeded; then it is after CALL_STATE_SUSPECT_AFTER. At a start of the server every call that was
due may have lost a response, and the application may be starting as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from dispatcher.core.answer import Answer
from dispatcher.core.outcome import AttemptResult

ENOUGH: Final = 5


@dataclass(frozen=True, slots=True)
class Others:
    """Of the runs of an endpoint: `healthy_us`, when one last came to a RunResponse, and `failing`,
    the last two calls that got HTTP 500: key, and when. Microseconds since the epoch, 0: never."""

    healthy_us: int = 0
    failing: tuple[tuple[int, int], ...] = ()

    def failed(self, key: int, now_us: int) -> Others:
        """The same after a run of a call was answered with HTTP 500."""
        before = [one for one in self.failing if one[0] != key]
        return replace(self, failing=((key, now_us), *before[:1]))

    def failing_us(self, key: int) -> int:
        """When another call than this one last got HTTP 500."""
        return max((at_us for other, at_us in self.failing if other != key), default=0)


@dataclass(frozen=True, slots=True)
class Streak:
    """What the runs of a step came to lately; kept in memory while it is tried again.

    `count` 500s in a row came, the first at `since_us` (microseconds since the epoch). `is_lost`:
    before them a response of this step was lost, or may have been: a call that was due when the
    server ended, or is redriven, begins with `Streak(is_lost=True)`.
    """

    count: int = 0
    since_us: int = 0
    is_lost: bool = False

    def after(self, answer: Answer | AttemptResult, now_us: int) -> Streak:
        """The same after one more run, which has just ended."""
        if isinstance(answer, Answer):
            return NO_STREAK
        if answer.ours:
            return replace(self, is_lost=self.is_lost or answer.was_sent)
        if answer.status == 500:
            return Streak(self.count + 1, self.since_us or now_us, self.is_lost)
        # A head that said 200 was the answer to this run, although the rest of it is missing.
        is_lost = answer.was_sent and answer.failure is not None and answer.status in (None, 200)
        return LOST if is_lost else NO_STREAK

    def has_ended_there(self, key: int, now_us: int, others: Others, suspect_after_ms: int) -> bool:
        """Whether the call, of this key, has ended in the process that answers 500."""
        if not self.is_lost or self.count < ENOUGH:
            return False
        is_broken = others.failing_us(key) >= self.since_us > others.healthy_us
        return not is_broken or self._is_old(now_us, suspect_after_ms)

    def is_state_suspect(self, now_us: int, healthy_us: int, suspect_after_ms: int) -> bool:
        """Whether a state that was sent each time is what cannot be read. `healthy_us` is when
        another run of the endpoint succeeded last, 0: never."""
        is_old = self._is_old(now_us, suspect_after_ms)
        return self.count >= ENOUGH and is_old and healthy_us > self.since_us

    def _is_old(self, now_us: int, suspect_after_ms: int) -> bool:
        return suspect_after_ms > 0 and now_us - self.since_us >= suspect_after_ms * 1000


NO_OTHERS: Final = Others()
NO_STREAK: Final = Streak()
LOST: Final = Streak(is_lost=True)
