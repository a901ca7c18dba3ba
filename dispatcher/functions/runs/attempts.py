"""The runs of calls that have their turn: asked, answered, and what follows stored.

begin ─▶ sending ─▶ delivery ─▶ delivered, failed ─▶ decide ─▶ following ─▶ over
                            └─▶ taken_back: nobody fetched it ───────────────▶ over
"""

from __future__ import annotations

from typing import Final, cast

from dispatcher.core.answer import Answer
from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.room import Rooms
from dispatcher.core.tenure import Tenure
from dispatcher.functions.deciding.judging import Judging, overtaken
from dispatcher.functions.lanes.lane import Place
from dispatcher.functions.lanes.turns import Turns
from dispatcher.functions.machine import Machine
from dispatcher.functions.model import Call
from dispatcher.functions.ports import Sender, Store
from dispatcher.functions.runs.abandoning import Abandoning
from dispatcher.functions.runs.asking import Targets
from dispatcher.functions.runs.config import RunnerConfig
from dispatcher.functions.runs.following import Following
from dispatcher.functions.runs.giving import Giving
from dispatcher.functions.runs.message import RunMessage
from dispatcher.functions.runs.sending import Sending
from dispatcher.functions.runs.under_way import Desk, Run, UnderWay
from dispatcher.functions.runs.watching import Watcher
from dispatcher.queue.ports import Deliverer

_REFUSES_KEY: Final = (401, 403)
"""What an application answers when a signature is of a key that it does not know."""
_LEAVES_OPEN: Final = (None, *_REFUSES_KEY)
"""What does not say that it knows the key."""


class Attempts:
    """Makes the runs of a partition (`message.RunHome`)."""

    __slots__ = (
        "_abandoning",
        "_clock",
        "_following",
        "_judging",
        "_sending",
        "_targets",
        "_turns",
        "_under_way",
        "_watcher",
        "tenure",
    )

    def __init__(
        self,
        under_way: UnderWay,
        machine: Machine,
        store: Store,
        desk: Desk,
        *,
        turns: Turns,
        targets: Targets,
        deliverer: Sender,
        fetched: Deliverer | None,
        judging: Judging,
        rooms: Rooms,
        config: RunnerConfig,
        clock: SteadyClock,
        watcher: Watcher,
        tenure: Tenure,
    ) -> None:
        """Arguments as for `running.Runner`; `desk` sees to calls that are not under way."""
        giving = Giving(store)
        self.tenure = tenure
        self._under_way = under_way
        self._turns = turns
        self._targets = targets
        self._judging = judging
        self._clock = clock
        self._watcher = watcher
        self._abandoning = Abandoning(under_way, deliverer)
        self._sending = Sending(
            under_way,
            store,
            desk,
            self,
            targets=targets,
            deliverer=deliverer,
            fetched=fetched,
            giving=giving,
            rooms=rooms,
            config=config,
            clock=clock,
            watcher=watcher,
        )
        self._following = Following(
            under_way, machine.calls, store, turns=turns, giving=giving, clock=clock
        )

    def begin(self, call: Call, place: Place) -> None:
        """Run a call that has its turn."""
        self._sending.begin(call, place)

    def ended(self, call: Call) -> None:
        """A call has ended, or is gone: nobody waits for its run, if there is one."""
        self._abandoning.ended(call)

    def abandon(self) -> None:
        """Nobody waits for any of the runs."""
        self._abandoning.every()

    # What delivery tells (`core.message.Home`).

    def delivered(self, message: Message, status: int) -> None:
        """A complete 2xx."""
        message = cast(RunMessage, message)
        assert message.answer is not None
        self._answered(message, message.answer, message.answer)

    def failed(self, message: Message, result: AttemptResult) -> None:
        """Anything else; a 2xx that is too large is an answer all the same."""
        message = cast(RunMessage, message)
        answer = message.answer
        is_too_large = answer is not None and not answer.is_whole and 200 <= answer.status < 300
        if answer is not None and is_too_large:
            self._answered(message, answer, answer)
        elif result.status not in _REFUSES_KEY or not self._sign_anew(message, answer):
            self._answered(message, result, answer)

    def taken_back(self, message: Message) -> None:
        """Nobody fetched it: the call waits for its turn again, and no attempt is spent."""
        message = cast(RunMessage, message)
        run = self._under_way.runs.get(message.key)
        if run is not None and run.place is message.place and not self._under_way.is_stopped:
            self._under_way.over(run)

    async def read_body(self, positions: list[int]) -> list[bytes]:
        """Never asked: the body of a run is in memory."""
        raise AssertionError("a run has no chunks")

    def _run_of(self, message: RunMessage) -> Run | None:
        """The run that a message was sent for, if that is still under way."""
        run = self._under_way.runs.get(message.key)
        if run is None or run.step != message.step or self._under_way.is_stopped:
            return None
        return run

    def _sign_anew(self, message: RunMessage, answer: Answer | None) -> bool:
        """Send a run that was refused once more, signed with the second key, if there are two: the
        application may have that one already. Returns whether it is sent."""
        other = message.where.with_other_key()
        run = self._run_of(message)
        if other is None or run is None or self._under_way.call_of(run) is None:
            return False
        if answer is not None:
            answer.release()
        self._sending.send_again(run, message, other)
        return True

    def _answered(
        self, message: RunMessage, came: Answer | AttemptResult, answer: Answer | None
    ) -> None:
        run = self._run_of(message)
        if run is None:
            if answer is not None:
                answer.release()
            return
        run.message, run.answer = None, answer
        call = self._under_way.call_of(run)
        if call is None:
            self._turns.finish(run.place, overtaken(came))
            self._under_way.over(run)
            return
        if message.where.is_other and came.status not in _LEAVES_OPEN:
            self._targets.takes_other_key(call.endpoint, message.where)
        decision = self._judging.decide(call, message.asked, came)
        if self._watcher.is_wanted and not decision.has_missed:
            self._watcher.run_ended(call, decision, run.started_us, self._clock.wall_us())
        if decision.warning is not None:
            self._watcher.warned(call, decision.warning)
        self._turns.finish(run.place, self._judging.lesson(decision, came))
        self._following.follow(run, call, decision)
