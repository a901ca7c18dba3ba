"""Which dead letters somebody means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.records.either import AnyLetter


class LetterKind(Enum):
    """What died; the value is the API's word."""

    MESSAGE = "message"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters: all that match everything that is not None.

    `error` is as `core.outcome.cause` has it, of a call its status or the word for its error
    (`core.calls`). `before_us` and
    `after_us` are compared with the instant of death, exclusively. The `destination` of a call is
    its endpoint; only calls have a `function`, and only messages a `label`, an `order_key`, a
    `method` and a `target`, of which it is the beginning that is meant.

    The last three are in the record of a letter only, which has to be read for them
    (`needs_record`).
    """

    destination: str | None = None
    status: int | None = None
    error: str | None = None
    before_us: int | None = None
    after_us: int | None = None
    kind: LetterKind | None = None
    function: str | None = None
    label: str | None = None
    reason: str | None = None
    order_key: str | None = None
    method: str | None = None
    target: str | None = None

    @property
    def needs_record(self) -> bool:
        """Whether the index alone does not say which letters match."""
        return any(one is not None for one in (self.order_key, self.method, self.target))

    def fits(self, letter: AnyLetter) -> bool:
        """Whether the record of a letter matches; of what the index has nothing is asked."""
        if not self.needs_record:
            return True
        if isinstance(letter, CallLetter):
            return False
        message = letter.message
        order_key = "" if message.terms is None else message.terms.order_key
        return (
            self.order_key in (None, order_key)
            and self.method in (None, message.method)
            and (self.target is None or message.target.startswith(self.target))
        )
