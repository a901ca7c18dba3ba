"""A call on the server of the testing kit: where it stands, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.protocol.messages import Any, Call, CallResult, Error
from dispatcher.protocol.statuses import Status


@dataclass(slots=True)
class Wait:
    """What a suspended call wants before it is resumed. `has_failed`: an error has arrived, and it
    is resumed at once."""

    fewest: int
    most: int
    wake_us: int | None
    has_failed: bool


@dataclass(slots=True, eq=False)
class Record:
    """A call. Instants are microseconds since the epoch.

    `due_us` is when it is run next, None while it waits for results, for a promise, or is over.
    `arrived` are results that no run was given yet, `given` those of the run that is due: it is
    repeated with the same ones. `is_cancelled` until it was told, `is_ending` from then on. `open`
    are its children that have not ended, by correlation id.
    """

    id: str
    asked: Call
    function: str
    input: Any
    created_us: int
    expires_us: int
    due_us: int | None
    parent: Record | None = None
    correlation_id: int = 0
    wait: Wait | None = None
    state: Any | None = None
    nonce: int = 0
    arrived: list[CallResult] = field(default_factory=list)
    given: list[CallResult] | None = None
    refused: Error | None = None
    open: dict[int, Record] = field(default_factory=dict)
    children: list[Record] = field(default_factory=list)
    is_cancelled: bool = False
    is_ending: bool = False
    runs: int = 0
    attempts: int = 0
    failures: int = 0
    status: Status = Status.UNSPECIFIED
    result: CallResult | None = None
    ended_us: int | None = None

    @property
    def is_over(self) -> bool:
        return self.result is not None

    @property
    def endpoint(self) -> str:
        return self.asked.endpoint

    @property
    def root(self) -> Record:
        return self if self.parent is None else self.parent.root

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth + 1


def ended_with(kind: str, message: str) -> CallResult:
    """The result of a call that the server ended."""
    return CallResult(error=Error(type=kind, message=message))
