"""What is known of a function and of a step before they run. Who runs them reads it here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from dispatcher.protocol.statuses import Status


class OnChange(Enum):
    """What becomes of a suspended call whose function no longer fits its record."""

    RESTART = "restart"  # it begins anew from its input
    WAIT = "wait"  # it is tried again later: the code that fits may come back
    FAIL = "fail"  # it fails, and its parent is told


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is defined: the whole path of the file, and the line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file.rpartition('/')[2].rpartition(chr(92))[2]}:{self.line}"


@dataclass(frozen=True, slots=True)
class Spec:
    """A function as it was written. `durable` is what its author said, None for nothing.

    `returns` is the type hint of the result, `inspect.Signature.empty` where there is none.
    `timeout_us` and `expiration_us` are what its calls have where they say nothing themselves.
    """

    name: str
    body: Callable[..., object]
    is_async: bool
    signature: inspect.Signature
    returns: object
    place: Place
    durable: bool | None = None
    timeout_us: int | None = None
    expiration_us: int | None = None
    errors: Mapping[type[BaseException], Status] = field(default_factory=dict)
    on_change: OnChange = OnChange.RESTART
    is_input_checked: bool = True


@dataclass(frozen=True, slots=True)
class StepTask:
    """What the driver runs for an operation of kind STEP: its `carrier`.

    `retries` is how often it is tried again after an error (0: never), `timeout_s` bounds one try.
    `at_most_once`: an intent is stored before it begins, and a step that was begun and whose result
    is not known fails instead of running again.
    """

    function: Callable[..., object]
    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    returns: object
    retries: int = 0
    timeout_s: float | None = None
    at_most_once: bool = False
