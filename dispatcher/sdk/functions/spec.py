"""What is known of a function before it runs. Who runs it reads it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from dispatcher.sdk.errors import Errors
from dispatcher.sdk.replay import where
from dispatcher.sdk.values import Signature


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
        return where.site(self.file, self.line)


@dataclass(frozen=True)
class Spec:
    """A function as it was written. `durable` is what its author said, None for nothing.

    `timeout_us` and `expiration_us` are what its calls have where they say nothing themselves.
    """

    name: str
    body: Callable[..., object]
    is_async: bool
    place: Place
    durable: bool | None = None
    timeout_us: int | None = None
    expiration_us: int | None = None
    errors: Errors = field(default_factory=dict)
    on_change: OnChange = OnChange.RESTART
    is_input_checked: bool = True

    @cached_property
    def signature(self) -> Signature:
        """Its parameters and its result with their type hints."""
        return Signature(self.body, self.name)
