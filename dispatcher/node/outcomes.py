"""What became of messages of schedules that lie in other processes, as far as these have told.

Whoever wants to know asks again and again, and gets what was told last; each time it is asked for
anew. Until something was told a message counts as one that waits: for a firing that must not meet
the one before it that is the safe side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dispatcher.errors import DispatcherError, Refused
from dispatcher.peers.errors import NotConnected
from dispatcher.peers.kinds import Kind
from dispatcher.peers.peer import Peer
from dispatcher.peers.serving import Answer, Question
from dispatcher.queue.records.ids import id_parts
from dispatcher.schedules.messages import MessageOutcome

_MOST_KEPT: Final = 10_000

OutcomeOf = Callable[[str], MessageOutcome | None]
PeerOf = Callable[[int], Peer | None]


class Outcomes:
    """Asks the processes that have the partitions; `peer_of` says which that is."""

    def __init__(self, peer_of: PeerOf) -> None:
        self._peer_of = peer_of
        self._told: dict[str, MessageOutcome | None] = {}
        self._asked: set[str] = set()

    def __call__(self, message_id: str) -> MessageOutcome | None:
        """What was told last of a message, and None: nothing is left of it."""
        peer = self._peer_of(id_parts(message_id.encode("ascii"))[0])
        if peer is not None and message_id not in self._asked:
            try:
                waiter = _Waiter(self, message_id)
                peer.begin(Kind.OUTCOME, message_id.encode("ascii"), waiter)
                self._asked.add(message_id)
            except NotConnected:
                pass  # it is asked again
        return self._told.get(message_id, MessageOutcome.WAITING)

    def take(self, message_id: str, outcome: MessageOutcome | None) -> None:
        """This was told."""
        self._asked.discard(message_id)
        if len(self._told) >= _MOST_KEPT:
            self._told.clear()
        self._told[message_id] = outcome

    def give_up(self, message_id: str) -> None:
        """Nothing was: ask again."""
        self._asked.discard(message_id)


class _Waiter:
    """Waits for one answer (`link.Waiter`)."""

    __slots__ = ("_message_id", "_outcomes")

    def __init__(self, outcomes: Outcomes, message_id: str) -> None:
        self._outcomes = outcomes
        self._message_id = message_id

    def answered(self, payload: bytes) -> None:
        """See `link.Waiter`."""
        said = payload.decode("ascii", "replace")
        if not said:
            self._outcomes.take(self._message_id, None)
        elif said in {outcome.value for outcome in MessageOutcome}:
            self._outcomes.take(self._message_id, MessageOutcome(said))
        else:  # of a later version
            self._outcomes.give_up(self._message_id)

    def failed(self, error: DispatcherError) -> None:
        """See `link.Waiter`."""
        self._outcomes.give_up(self._message_id)


def telling(outcome_of: OutcomeOf) -> Answer:
    """Answer such questions of other processes; `outcome_of` raises `Refused` where it is not for
    this one to know."""

    def answer(question: Question) -> None:
        try:
            outcome = outcome_of(question.payload.decode("ascii"))
        except Refused as error:
            question.refuse(error.refusal)
            return
        question.answer(b"" if outcome is None else outcome.value.encode("ascii"))

    return answer
