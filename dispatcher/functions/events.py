"""What happens to calls: every event is one record of the transaction log.

An event is made with the bytes that belong to it (inputs, a state, a result) and comes back from
the log, at work and at recovery alike, with spans in their place. Instants are microseconds since
the epoch. What an event means is `machine.Machine.apply`'s to say.

An answer of an application is for the step that it was asked at (`step`): where the call has moved
on meanwhile, or is gone, the event means nothing.

Nobody changes an event. Those of every call are not frozen: that would take three times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dispatcher.functions.model import Call, How, StateArm
from dispatcher.functions.spans import Span

Blob: TypeAlias = bytes | Span
"""Bytes on their way into the log, and where they are once they are there."""


@dataclass(slots=True)
class NewCall:
    """A call that begins to exist; fields as in `model.Call`. What it has of its parent (root,
    generation, depth, application) is not stored with it."""

    key: int
    correlation: int
    endpoint: str
    function: str
    version: str
    created_us: int
    expires_us: int
    input: Blob
    not_before_us: int = 0
    timeout_ms: int = 0


@dataclass(frozen=True, slots=True)
class Fact:
    """A small named thing that outlives calls: what is known of an idempotency key, a schedule.
    `value` None forgets it. It is forgotten by itself at `expires_us` (0: never)."""

    space: str
    name: str
    value: Blob | None
    expires_us: int = 0


@dataclass(slots=True)
class Created:
    """Root calls, dispatched together, of the application with this name; and `facts` that are
    stored with them. `trace` is theirs, and that of all that they call."""

    application: str
    calls: tuple[NewCall, ...]
    facts: tuple[Fact, ...] = ()
    trace: str = ""


@dataclass(slots=True)
class Polled:
    """A run ended with a poll: its results were delivered, its children exist, and it waits.

    `delivered` is how many of its results the run was given, and `was_told` that it was given
    `Call.error`. `state` replaces the states before it, or with `is_appended` comes after them.
    `due_us` is when it is resumed at the latest, 0: never by time alone. `error` says that the poll
    was refused (serialized Error): it has no children then, and is resumed with it at once. `idle`
    counts empty resumes in a row. `keep` are the children whose results, delivered to this run, the
    state refers to: they stay.
    """

    key: int
    step: int
    delivered: int
    was_told: bool
    arm: StateArm
    state: Blob
    state_crc: int
    is_appended: bool
    calls: tuple[NewCall, ...]
    min_results: int
    max_results: int
    due_us: int
    error: Blob | None = None
    idle: int = 0
    keep: tuple[int, ...] = ()


@dataclass(slots=True)
class Exited:
    """A run ended the call. `result` is a serialized CallResult with output, error or both."""

    key: int
    step: int
    how: How
    result: Blob
    is_error: bool
    at_us: int


@dataclass(frozen=True, slots=True)
class TailCalled:
    """A run ended with a call that takes the place of this one."""

    key: int
    step: int
    endpoint: str
    function: str
    version: str
    input: Blob


@dataclass(frozen=True, slots=True)
class Restarted:
    """A state cannot be used any more: the call begins anew, from its input."""

    key: int
    step: int


@dataclass(frozen=True, slots=True)
class Resuming:
    """The next resume delivers the first `count` results, however often it is sent."""

    key: int
    step: int
    count: int


@dataclass(frozen=True, slots=True)
class Retried:
    """A run of this step failed; the next one may start at `due_us`. Nobody waits for it to be
    durable."""

    key: int
    step: int
    attempts: int
    due_us: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The server ended the call, whatever its step: it expired, was killed, or cannot go on.
    `result` is a serialized CallResult with an error. `with_children`: and all that it called."""

    key: int
    how: How
    result: Blob
    at_us: int
    with_children: bool = False


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody wants the call to end. It may clean up until `until_us`; with `error` (serialized
    Error) as its poll's result. `result` is what its parent gets. All that it called is asked too;
    what waits for its first run, and is not among those `running`, ends at once."""

    key: int
    error: Blob
    result: Blob
    until_us: int
    running: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A call, which may have ended, does not need these children any more: their results will not
    be delivered. They, and all that they called, are asked to end as by `CancelAsked`."""

    key: int
    children: tuple[int, ...]
    error: Blob
    result: Blob
    until_us: int
    running: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Completed:
    """A promise has its result (serialized CallResult), also for who waits for it until
    `expires_us`. The first one counts. `is_copy`: it is the one that counted, copied forward."""

    application: str
    name: str
    result: Blob
    is_error: bool
    at_us: int
    expires_us: int
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A channel has one more value (serialized CallResult), until `expires_us`. `number` is unique
    for ever, as that of a key, and grows: a copy of the event means the same value."""

    application: str
    name: str
    result: Blob
    is_error: bool
    expires_us: int
    number: int


@dataclass(frozen=True, slots=True)
class Given:
    """Calls that wait outside got what is kept: of a promise, or the value with this `number` of a
    channel, which one call takes. `endpoint` is the whole one. Written by the store: who gets what
    depends on what was kept then, and must not on what is known after a crash. `where` is what it
    was; a call that is gone by then has taken it with it."""

    application: str
    endpoint: str
    number: int
    keys: tuple[int, ...]
    where: Span
    is_error: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """Facts were set, or forgotten."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Root calls that have ended, and whose results are in the results' log."""

    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gone:
    """A call was copied although it had ended: the copy means nothing."""

    key: int


@dataclass(frozen=True, slots=True)
class Copied:
    """A call was copied forward: all that it is, and the bytes of all its spans, in the order of
    `Call.spans`, are in this record, or in `Stored` before it. On the way in `call` has the old
    spans and `blobs` the bytes, or their new spans; from the log it comes with its new spans, and
    `blobs` is empty.

    Calls with the same root are copied together, and nothing happens to them until all are. `count`
    is 0 but in the last of the copies, where it says how many they are, and `first` the position of
    the first (0: this one). `made`, in the last one, is the count in `Machine.trees`.
    """

    call: Call
    blobs: tuple[Blob, ...] = ()
    made: int = 0
    count: int = 0
    first: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes of a call that has too many for one record: the copy behind it has their spans."""

    blobs: tuple[Blob, ...]


Event: TypeAlias = (
    Created
    | Polled
    | Exited
    | TailCalled
    | Restarted
    | Resuming
    | Retried
    | Ended
    | CancelAsked
    | Dropped
    | Completed
    | Sent
    | Given
    | Noted
    | Forgotten
    | Gone
    | Copied
    | Stored
)
