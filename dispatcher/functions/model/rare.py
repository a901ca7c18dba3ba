"""What few calls have something in."""

from __future__ import annotations

from typing import Final

from dispatcher.functions.model.keys import NO_KEYS, Keys
from dispatcher.functions.model.values import NOT_FROZEN, How, Result
from dispatcher.functions.spans import Span


class Rare:
    """What few calls have something in.

    `not_before_us`  its first run comes no earlier, by the wall clock.
    `generation`     counts restarts and tail calls; `parent_generation`, that of the parent when it
                     made the call: results of an older one are dropped.
    `began_step`     the step at which this generation began; `reached`, how many steps the one that
                     got furthest had made; `restarts`, how many restarts in a row got no further.
    `strays`         keys of children of older generations that still exist.
    `results`        durable and not delivered, in the order in which they became durable.
    `kept`           delivered, and referred to by its state (see `deciding.keeping`).
    `frozen`         how many of `results` the next resume delivers; NOT_FROZEN: as many as fit.
    `error`          serialized Error that is delivered as `poll_result.error`: the poll was
                     refused, or it is asked to clean up.
    `idle`           empty resumes in a row (see `deciding`).
    `cancelling`     it was asked to clean up; `result` is what its parent gets then.
    `how`, `result`, `is_error`  once it has ENDED.
    `attempts`       runs of this step that failed so far, `due_us` when the next may start.
    """

    __slots__ = (
        "attempts",
        "began_step",
        "cancelling",
        "due_us",
        "error",
        "frozen",
        "generation",
        "how",
        "idle",
        "is_error",
        "kept",
        "not_before_us",
        "parent_generation",
        "reached",
        "restarts",
        "result",
        "results",
        "strays",
    )

    def __init__(self) -> None:
        self.parent_generation: int = 0
        self.not_before_us: int = 0
        self.generation: int = 0
        self.began_step: int = 0
        self.reached: int = 0
        self.restarts: int = 0
        self.strays: Keys = NO_KEYS
        self.results: tuple[Result, ...] = ()
        self.kept: tuple[Result, ...] = ()
        self.frozen: int = NOT_FROZEN
        self.error: Span | None = None
        self.idle: int = 0
        self.cancelling: bool = False
        self.how: How | None = None
        self.result: Span | None = None
        self.is_error: bool = False
        self.attempts: int = 0
        self.due_us: int = 0

    def copy(self) -> Rare:
        """The same, to be changed."""
        new = Rare()
        new.parent_generation = self.parent_generation
        new.not_before_us = self.not_before_us
        new.generation = self.generation
        new.began_step = self.began_step
        new.reached = self.reached
        new.restarts = self.restarts
        new.strays = self.strays
        new.results = self.results
        new.kept = self.kept
        new.frozen = self.frozen
        new.error = self.error
        new.idle = self.idle
        new.cancelling = self.cancelling
        new.how = self.how
        new.result = self.result
        new.is_error = self.is_error
        new.attempts = self.attempts
        new.due_us = self.due_us
        return new

    def is_usual(self) -> bool:
        """Whether there is nothing in it."""
        return self._values() == USUAL._values()

    def _values(self) -> tuple[object, ...]:
        return (
            self.parent_generation,
            self.not_before_us,
            self.generation,
            self.began_step,
            self.reached,
            self.restarts,
            self.strays,
            self.results,
            self.kept,
            self.frozen,
            self.error,
            self.idle,
            self.cancelling,
            self.how,
            self.result,
            self.is_error,
            self.attempts,
            self.due_us,
        )


USUAL: Final = Rare()
"""What most calls have: nobody changes it."""
