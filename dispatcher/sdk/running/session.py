"""A durable call that is suspended here: its run, and what it wants that has not begun."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from dispatcher.sdk.replay.engine import Run as Engine
from dispatcher.sdk.replay.model import (
    Cancelled,
    Ended,
    Event,
    Failure,
    Numbered,
    PollRefused,
    Result,
    Value,
)
from dispatcher.sdk.running.recalling import (
    KEPT_FROM,
    MOST_KEPT,
    MOST_KEPT_BYTES,
)
from dispatcher.sdk.running.requests import Resume, digest_of
from dispatcher.sdk.running.responses import Ending, Passed

CANCELLED = "Cancelled"
"""The type of the error with which the server asks a call to end."""


@dataclass(slots=True)
class Session:
    """`head` is what its state begins with. `nonce` and `digest` are those of the state that the
    server has, 0 while it has none. `steps` are to be carried out, in the order of their ids;
    `calls` did not fit into the last answer, and are to be made.
    `ending` is there when the body is over, and only its answer is missing."""

    engine: Engine
    head: bytes
    nonce: int = 0
    digest: hashlib.blake2b = field(default_factory=lambda: digest_of(b""))
    steps: dict[int, Numbered] = field(default_factory=dict)
    calls: dict[int, Numbered] = field(default_factory=dict)
    ending: Ending | Passed | None = None
    kept: int = 0
    kept_bytes: int = 0

    @property
    def tasks(self) -> int:
        """As many tasks as the body has."""
        return self.engine.tasks

    def is_of(self, resume: Resume) -> bool:
        """Whether the server has the state that this goes on from."""
        if resume.digest:
            return resume.digest == self.digest.digest()
        return resume.nonce != 0 and resume.nonce == self.nonce

    def state(self, *, extends: bool) -> tuple[bytes, int]:
        """The state as it is now, whole, or what of it comes behind the one that the server has;
        and which one that is, 0 for a whole one."""
        before = self.nonce if extends else 0
        engine = self.engine
        return engine.appended() if before else self.head + engine.state(), before

    def hold(self, calls: Sequence[Numbered]) -> None:
        """Have these calls, the last ones, be made later. The state is another one then."""
        self.calls = {one.id: one for one in calls}
        self.engine.hold(calls[0].id)

    def mark(self, state: bytes, *, extends: int) -> None:
        """Say that the server has this state, the last one that was asked for."""
        if not extends:
            self.digest = digest_of(b"")
        self.digest.update(state)
        self.nonce = self.engine.nonce  # a mark begins the next state
        self.engine.mark()

    def close(self) -> None:
        """Evict it: nothing comes of that."""
        self.engine.close()

    def events(self, told: Value | Resume, *, keeps: bool) -> tuple[list[Event], list[str]]:
        """What a resume tells the body, and the ids of the results that the server is to keep;
        without `keeps` there are none. An input tells nothing."""
        events: list[Event] = []
        kept: list[str] = []
        if isinstance(told, Value):
            return events, kept
        for one in told.results:
            is_kept = keeps and bool(one.dispatch_id) and self._keeps(one.result)
            if is_kept:
                kept.append(one.dispatch_id)
            events.append(Ended(one.id, one.result, one.dispatch_id, is_kept))
        if told.error is not None:
            if told.error.type != CANCELLED:
                return [*events, PollRefused(told.error)], kept
            # What was cancelled with the call comes behind: else the body would begin to clean up
            # for that, and be cancelled in the middle of it.
            events.sort(key=_was_cancelled)
            first = sum(not _was_cancelled(event) for event in events)
            events.insert(first, Cancelled(told.error.message))
        return events, kept

    def _keeps(self, result: Result) -> bool:
        if isinstance(result, Failure) or len(result.data) < KEPT_FROM:
            return False
        size = len(result.data)
        if self.kept >= MOST_KEPT or self.kept_bytes + size > MOST_KEPT_BYTES:
            return False
        self.kept += 1
        self.kept_bytes += size
        return True

    def give_up(self, ids: Sequence[int]) -> list[int]:
        """Forget steps that have not begun, and return the ids that are none of these."""
        return [id for id in ids if self.steps.pop(id, None) is None]


def _was_cancelled(event: Event) -> bool:
    result = event.result if isinstance(event, Ended) else None
    return isinstance(result, Failure) and result.type == CANCELLED
