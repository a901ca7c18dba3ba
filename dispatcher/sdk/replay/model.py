"""What passes between a durable body, the engine that replays it, and who drives the engine.

    body ──Operation──▶ engine ──Outcome──▶ driver ──▶ server, steps
         ◀──result─────        ◀──Event────        ◀──

An operation is what a body waits for and what is recorded of it: a call, a step, a sleep. The
engine gives each the id under which its result comes back, which is the correlation id on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias


class Kind(Enum):
    """What an operation asks for."""

    CALL = "call"  # of a function, or of a promise or channel by its endpoint
    STEP = "step"  # a callable that the driver runs in this process, once
    SLEEP = "sleep"  # time, nothing else
    PATCH = "patch"  # whether the body was here before a change; answered at once


@dataclass(frozen=True, slots=True)
class Value:
    """A protobuf `Any` in parts: the full name of a message (the part of the type URL behind its
    last slash, or the whole URL where it is not type.googleapis.com), and its bytes."""

    type: str
    data: bytes


NOTHING: Final = Value("google.protobuf.Empty", b"")
"""What None is."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that an operation ended with, as `dispatch.sdk.v1.Error` has it."""

    type: str
    message: str
    value: bytes = b""
    traceback: bytes = b""


Result: TypeAlias = Value | Failure


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What a call asks for beyond its function and input. None of it is compared in a replay."""

    expiration_us: int | None = None
    timeout_us: int | None = None
    delay_us: int | None = None
    version: str = ""


NO_OPTIONS = CallOptions()


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """What a body waits for. `kind`, `function`, `endpoint` and `input` are recorded and compared
    in every replay, `input` only where `is_input_checked`; `site` ("app.py:41") is recorded for
    messages. `function` is the name of the called function, of the step, or of the patch;
    `endpoint` is empty for the application's own. `duration_us` is a sleep's.

    `carrier` is what the driver needs to carry out a step; it is never stored.
    """

    kind: Kind
    function: str
    site: str
    input: Value = NOTHING
    endpoint: str = ""
    options: CallOptions = NO_OPTIONS
    duration_us: int = 0
    is_input_checked: bool = True
    carrier: object = None


@dataclass(frozen=True, slots=True, eq=False)
class StepRun:
    """How a step is carried out once: the `carrier` of its operation. To try it again is another
    operation, with a sleep before it; so how often it was tried is on record.

    `call` makes the call: on the application's loop where `is_async`, and there it returns an
    awaitable; else in a thread. `encode` makes what came of it the value that is recorded.
    `timeout_us` is microseconds, None: as long as the run of the call may take.

    A step that is to run once at most is two operations: one with the carrier `INTENT`, whose
    result says which process is about to run it, and is stored before the second; and the step with
    that result as `intent`. Where another process finds it, or the same one again, it ends with a
    Failure of type `Interrupted` in place of running.
    """

    call: Callable[[], object]
    encode: Callable[[object], Value]
    is_async: bool
    timeout_us: int | None = None
    intent: Value | None = None


class Intent(Enum):
    """The carrier of an operation of kind STEP that announces another."""

    INTENT = "intent"


INTENT = Intent.INTENT
INTERRUPTED = "Interrupted"
"""The type of the Failure of a step that may have begun before, and is to run once at most."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A call or a step has ended. `dispatch_id` is the call's, empty for a step. Where it
    `is_kept`, the server keeps the result: the state is to hold `dispatch_id` and not the result,
    and who replays it is given both."""

    id: int
    result: Result
    dispatch_id: str = ""
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The call of this body is to end: its root task is cancelled, and may clean up."""

    reason: str


@dataclass(frozen=True, slots=True)
class PollRefused:
    """None of the calls of the poll before this was made; each of them fails with it. Those that it
    did not have, because they were too many, are still to be made."""

    failure: Failure


Event: TypeAlias = Ended | Cancelled | PollRefused


@dataclass(frozen=True, slots=True)
class Numbered:
    """An operation that was issued, with its id."""

    id: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class Suspended:
    """The body waits. What it wants since the last outcome: `calls` to make, `steps` to run,
    operations to give up (`cancelled`, ids of calls and steps that were told of before). `wake_us`
    is the instant (microseconds since the epoch) at which to advance it even if nothing has come,
    None without a timer. `outstanding` counts calls whose results are missing, `missing` how many
    of them must be there before the body can go on: 1, or more where only a whole gather waits.
    """

    calls: Sequence[Numbered] = ()
    steps: Sequence[Numbered] = ()
    cancelled: Sequence[int] = ()
    wake_us: int | None = None
    outstanding: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Returned:
    """The body is over. `value` is what it returned, not encoded yet."""

    value: object
    cancelled: Sequence[int] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Raised:
    """The body is over: an exception left it. `was_asked`: that with which it was asked to end."""

    error: BaseException
    cancelled: Sequence[int] = ()
    was_asked: bool = False


@dataclass(frozen=True, slots=True)
class Became:
    """The body is over: another call takes its place (a tail call)."""

    operation: Operation
    cancelled: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Contradicted:
    """The body does not do what is on record, or the record can't be read: INCOMPATIBLE_STATE.
    `message` shows both places, as the application's log and the operator see it."""

    message: str


@dataclass(frozen=True, slots=True)
class Faulted:
    """The body did what a durable one must not: I/O, a wait that nothing ends, a loop without end.
    PERMANENT_ERROR; `message` says where and what to write instead."""

    message: str


Outcome: TypeAlias = Suspended | Returned | Raised | Became | Contradicted | Faulted


class TailCall(BaseException):
    """Leaves a body for good: the call of `operation` takes its place. `functions.Reset` is one."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.function)
        self.operation = operation


@dataclass(slots=True)
class Told:
    """What a Run request tells about the call, for `dispatch.current()`; instants in microseconds
    since the epoch. `root_id` is its own id for a call at the top, `parent_id` then empty."""

    id: str
    function: str
    parent_id: str = ""
    root_id: str = ""
    created_us: int = 0
    expires_us: int = 0
    version: str = ""
    features: frozenset[str] = field(default_factory=frozenset)


class Evicted(BaseException):
    """Thrown into a suspended body that is forgotten in this process: it goes on elsewhere, from
    its record. Code that cleans up may run, and can't make calls any more."""
