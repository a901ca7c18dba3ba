"""A call, as the table of calls knows it. Bytes are in the log (`spans`), never here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeVar, cast

from dispatcher.functions.spans import Span

T = TypeVar("T")

NONE: Final = 0
"""No call has this key."""
NOT_FROZEN: Final = -1


class Phase(IntEnum):
    """What a call waits for; all of it follows from its events.

    DUE        for a run: the first one (not before `not_before_us`), or a resume.
    SUSPENDED  for results or for time (`poll`).
    OUTSIDE    to be completed from outside: a promise or a channel. It is never run.
    ENDED      a root call whose result is being moved to the results' log.
    """

    DUE = 0
    SUSPENDED = 1
    OUTSIDE = 2
    ENDED = 3


class StateArm(IntEnum):
    """Which field of Poll a state came in, and goes back in."""

    NONE = 0
    LEGACY = 1
    TYPED = 6


class How(IntEnum):
    """How a call ended; the number is stored.

    OK, FAILED  by its own exit (FAILED: a status that is not OK and not retried), or by a server's
                verdict on it.
    EXPIRED, CANCELLED  by the server; its result is an error of that type.
    """

    OK = 1
    FAILED = 2
    EXPIRED = 3
    CANCELLED = 4


@dataclass(frozen=True, slots=True)
class Poll:
    """What a suspended call waits for: `min_results` of what is outstanding, of which `max_results`
    are delivered at most, or `due_us` (0: no timer). Instants are microseconds since the epoch."""

    min_results: int
    max_results: int
    due_us: int


@dataclass(frozen=True, slots=True)
class Result:
    """A result that is durable, and not delivered yet, or kept: a serialized CallResult (output or
    error; `correlation` and the child's id are put in when it is sent)."""

    correlation: int
    child: int
    where: Span
    is_error: bool


Keys = tuple[int, ...] | set[int]
"""A set of keys; few of them are a tuple, which takes a fifth of the memory."""

NO_KEYS: Final[tuple[int, ...]] = ()


class Rare:
    """What few calls have something in; fields as in `Call`."""

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


_SHARED: Final[dict[Any, Any]] = {}
_MOST_SHARED: Final = 10_000


def _shared(value: T) -> T:
    """The same value, as one object for all who ask."""
    if len(_SHARED) >= _MOST_SHARED:
        _SHARED.clear()
    return cast("T", _SHARED.setdefault(value, value))


_US: Final = (1 << 60) - 1
_CRC: Final = (1 << 32) - 1


class Call:
    """One call. Mutable and slotted: there may be hundreds of thousands.

    `key`            names it for ever: `incarnation << 64 | number`, see `ids`.
    `parent`, `root` keys; `parent` is NONE for a root call, whose `root` is its own key.
    `correlation`    the parent's number for it, 64 bits without a sign.
    `parent_generation`  of the parent when it made the call: results of an older one are dropped.
    `endpoint`, `function`, `version`  interned text.
    `application`    name of the API key that its root was dispatched with.
    `created_us`, `expires_us`, `not_before_us`  microseconds since the epoch, by the wall clock.
    `depth`          0 for a root call.
    `timeout_ms`     of one run; 0: the setting.
    `input`          what it is (re)started from: of the last tail call, where there was one.
    `step`           counts directives: an answer counts only for the step it was asked at.
    `generation`     counts restarts and tail calls.
    `began_step`     the step at which this generation began; `reached`, how many steps the one that
                     got furthest had made; `restarts`, how many restarts in a row got no further.
    `arm`, `states`  the last whole state and what was appended to it; () before the first poll.
    `state_crc`      CRC-32 of the last state, 0 without one.
    `poll`           while SUSPENDED, and while DUE to be resumed; None before the first poll.
    `children`       keys of those whose results are outstanding, of this generation; `strays`,
                     those of older ones that still exist.
    `results`        durable and not delivered, in the order in which they became durable.
    `kept`           delivered, and referred to by its state (see `deciding.keeping`).
    `frozen`         how many of `results` the next resume delivers; NOT_FROZEN: as many as fit.
    `error`          serialized Error that is delivered as `poll_result.error`: the poll was
                     refused, or it is asked to clean up.
    `idle`           empty resumes in a row (see `deciding`).
    `cancelling`     it was asked to clean up; `result` is what its parent gets then.
    `how`, `result`, `is_error`  once it has ENDED.
    `attempts`       runs of this step that failed so far, `due_us` when the next may start.
    `base`           the log has to be kept from this position on, so that a crash leaves this call
                     as it is: 0 before `store` knows.
    `poll_due_us`    that of `poll`, 0 without one.
    `alarm_us`       when whoever runs it looks at it again by itself, 0: never. Not stored.

    In memory: what few calls have is in a `Rare`, what many share is shared, and the numbers that
    all have are one. So a call that waits takes less than half of what it would with an attribute
    each. Names are properties of it all the same.
    """

    __slots__ = (
        "_limits",
        "_packed",
        "_rare",
        "_states",
        "_what",
        "arm",
        "base",
        "children",
        "depth",
        "input",
        "key",
        "parent",
        "phase",
        "root",
        "step",
    )

    def __init__(
        self,
        key: int,
        *,
        parent: int,
        root: int,
        correlation: int,
        parent_generation: int,
        endpoint: str,
        function: str,
        version: str,
        application: str,
        created_us: int,
        expires_us: int,
        not_before_us: int,
        depth: int,
        timeout_ms: int,
        input: Span,
    ) -> None:
        assert 0 <= created_us <= _US
        assert 0 <= expires_us <= _US
        self._rare = USUAL
        self._packed = correlation << 272 | expires_us << 60 | created_us
        self.key = key
        self.parent = parent
        self.root = root
        self._what = _shared((endpoint, function, version, application, timeout_ms))
        self.depth = depth
        self.input = input
        self.step = 0
        self.arm = StateArm.NONE
        self._states: Span | tuple[Span, ...] = ()
        self._limits: tuple[int, int] | None = None
        self.children: Keys = NO_KEYS
        self.phase = Phase.DUE
        self.base = 0
        if parent_generation:
            self.parent_generation = parent_generation
        if not_before_us:
            self.not_before_us = not_before_us

    def __copy__(self) -> Call:
        """Another call that is the same."""
        new = Call(
            self.key,
            parent=self.parent,
            root=self.root,
            correlation=0,
            parent_generation=0,
            endpoint=self.endpoint,
            function=self.function,
            version=self.version,
            application=self.application,
            created_us=0,
            expires_us=0,
            not_before_us=0,
            depth=self.depth,
            timeout_ms=self.timeout_ms,
            input=self.input,
        )
        new._packed, new._rare = self._packed, self._rare.copy()
        new.step, new.arm, new.phase, new.base = self.step, self.arm, self.phase, self.base
        new._states, new._limits = self._states, self._limits
        new.children = set(self.children) if isinstance(self.children, set) else self.children
        strays = self._rare.strays
        new._rare.strays = set(strays) if isinstance(strays, set) else strays
        return new

    def _own(self) -> Rare:
        if self._rare is USUAL:
            self._rare = USUAL.copy()
        return self._rare

    def settle(self) -> None:
        """It is going to wait, perhaps for long: give back what is not needed."""
        if self._rare is not USUAL and self._rare.is_usual():
            self._rare = USUAL

    def _pack(self, shift: int, mask: int, value: int) -> None:
        assert 0 <= value <= mask
        packed = self._packed
        self._packed = packed ^ (packed >> shift & mask ^ value) << shift

    @property
    def created_us(self) -> int:
        return self._packed & _US

    @created_us.setter
    def created_us(self, value: int) -> None:
        self._pack(0, _US, value)

    @property
    def expires_us(self) -> int:
        return self._packed >> 60 & _US

    @expires_us.setter
    def expires_us(self, value: int) -> None:
        self._pack(60, _US, value)

    @property
    def alarm_us(self) -> int:
        return self._packed >> 120 & _US

    @alarm_us.setter
    def alarm_us(self, value: int) -> None:
        self._pack(120, _US, value)

    @property
    def poll_due_us(self) -> int:
        return self._packed >> 180 & _US

    @poll_due_us.setter
    def poll_due_us(self, value: int) -> None:
        self._pack(180, _US, value)

    @property
    def state_crc(self) -> int:
        return self._packed >> 240 & _CRC

    @state_crc.setter
    def state_crc(self, value: int) -> None:
        self._pack(240, _CRC, value)

    @property
    def correlation(self) -> int:
        return self._packed >> 272

    @property
    def parent_generation(self) -> int:
        return self._rare.parent_generation

    @parent_generation.setter
    def parent_generation(self, value: int) -> None:
        if value != self._rare.parent_generation:
            self._own().parent_generation = value

    @property
    def not_before_us(self) -> int:
        return self._rare.not_before_us

    @not_before_us.setter
    def not_before_us(self, value: int) -> None:
        if value != self._rare.not_before_us:
            self._own().not_before_us = value

    @property
    def generation(self) -> int:
        return self._rare.generation

    @generation.setter
    def generation(self, value: int) -> None:
        if value != self._rare.generation:
            self._own().generation = value

    @property
    def began_step(self) -> int:
        return self._rare.began_step

    @began_step.setter
    def began_step(self, value: int) -> None:
        if value != self._rare.began_step:
            self._own().began_step = value

    @property
    def reached(self) -> int:
        return self._rare.reached

    @reached.setter
    def reached(self, value: int) -> None:
        if value != self._rare.reached:
            self._own().reached = value

    @property
    def restarts(self) -> int:
        return self._rare.restarts

    @restarts.setter
    def restarts(self, value: int) -> None:
        if value != self._rare.restarts:
            self._own().restarts = value

    @property
    def strays(self) -> Keys:
        return self._rare.strays

    @strays.setter
    def strays(self, value: Keys) -> None:
        if value != self._rare.strays:
            self._own().strays = value

    @property
    def results(self) -> tuple[Result, ...]:
        return self._rare.results

    @results.setter
    def results(self, value: tuple[Result, ...]) -> None:
        if value != self._rare.results:
            self._own().results = value

    @property
    def kept(self) -> tuple[Result, ...]:
        return self._rare.kept

    @kept.setter
    def kept(self, value: tuple[Result, ...]) -> None:
        if value != self._rare.kept:
            self._own().kept = value

    @property
    def frozen(self) -> int:
        return self._rare.frozen

    @frozen.setter
    def frozen(self, value: int) -> None:
        if value != self._rare.frozen:
            self._own().frozen = value

    @property
    def error(self) -> Span | None:
        return self._rare.error

    @error.setter
    def error(self, value: Span | None) -> None:
        if value != self._rare.error:
            self._own().error = value

    @property
    def idle(self) -> int:
        return self._rare.idle

    @idle.setter
    def idle(self, value: int) -> None:
        if value != self._rare.idle:
            self._own().idle = value

    @property
    def cancelling(self) -> bool:
        return self._rare.cancelling

    @cancelling.setter
    def cancelling(self, value: bool) -> None:
        if value != self._rare.cancelling:
            self._own().cancelling = value

    @property
    def how(self) -> How | None:
        return self._rare.how

    @how.setter
    def how(self, value: How | None) -> None:
        if value != self._rare.how:
            self._own().how = value

    @property
    def result(self) -> Span | None:
        return self._rare.result

    @result.setter
    def result(self, value: Span | None) -> None:
        if value != self._rare.result:
            self._own().result = value

    @property
    def is_error(self) -> bool:
        return self._rare.is_error

    @is_error.setter
    def is_error(self, value: bool) -> None:
        if value != self._rare.is_error:
            self._own().is_error = value

    @property
    def attempts(self) -> int:
        return self._rare.attempts

    @attempts.setter
    def attempts(self, value: int) -> None:
        if value != self._rare.attempts:
            self._own().attempts = value

    @property
    def due_us(self) -> int:
        return self._rare.due_us

    @due_us.setter
    def due_us(self, value: int) -> None:
        if value != self._rare.due_us:
            self._own().due_us = value

    @property
    def endpoint(self) -> str:
        return self._what[0]

    @property
    def function(self) -> str:
        return self._what[1]

    @property
    def version(self) -> str:
        return self._what[2]

    @property
    def application(self) -> str:
        return self._what[3]

    @property
    def timeout_ms(self) -> int:
        return self._what[4]

    def become(self, endpoint: str, function: str, version: str) -> None:
        """Be a call of another function."""
        self._what = _shared((endpoint, function, version, self.application, self.timeout_ms))

    @property
    def states(self) -> tuple[Span, ...]:
        found = self._states
        return found if isinstance(found, tuple) else (found,)

    @states.setter
    def states(self, states: tuple[Span, ...]) -> None:
        self._states = states[0] if len(states) == 1 else states

    def wait_for(self, min_results: int, max_results: int, due_us: int) -> None:
        """Set `poll`."""
        self._limits = _shared((min_results, max_results))
        self.poll_due_us = due_us

    @property
    def min_results(self) -> int:
        """That of its poll, which it has."""
        assert self._limits is not None
        return self._limits[0]

    @property
    def poll(self) -> Poll | None:
        limits = self._limits
        return None if limits is None else Poll(*limits, self.poll_due_us)

    @poll.setter
    def poll(self, poll: Poll | None) -> None:
        if poll is None:
            self._limits, self.poll_due_us = None, 0
        else:
            self.wait_for(poll.min_results, poll.max_results, poll.due_us)

    def __repr__(self) -> str:
        return f"<Call {self.key:x} {self.function} {self.phase.name} step={self.step}>"

    @property
    def is_resume(self) -> bool:
        """Whether its next run is given a poll result, not its input."""
        return self._limits is not None

    @property
    def spans(self) -> tuple[Span, ...]:
        """All that it needs in the log."""
        found = [self.input, *self.states]
        found += [result.where for result in self.results]
        found += [one for one in (self.error, self.result) if one is not None]
        found += [result.where for result in self.kept]
        return tuple(found)


_FEW: Final = 8


def with_keys(keys: Keys, more: tuple[int, ...]) -> Keys:
    """Add keys that are not there yet. May change `keys`."""
    if isinstance(keys, set):
        keys.update(more)
        return keys
    return keys + more if len(keys) + len(more) <= _FEW else {*keys, *more}


def without_key(keys: Keys, key: int) -> Keys:
    """Take a key out, if it is there. May change `keys`."""
    if isinstance(keys, set):
        keys.discard(key)
        return keys
    return tuple(one for one in keys if one != key)


FIELDS: Final = (
    "alarm_us",
    "application",
    "arm",
    "attempts",
    "base",
    "began_step",
    "cancelling",
    "children",
    "correlation",
    "created_us",
    "depth",
    "due_us",
    "endpoint",
    "error",
    "expires_us",
    "frozen",
    "function",
    "generation",
    "how",
    "idle",
    "input",
    "is_error",
    "kept",
    "key",
    "not_before_us",
    "parent",
    "parent_generation",
    "phase",
    "poll",
    "reached",
    "restarts",
    "result",
    "results",
    "root",
    "state_crc",
    "states",
    "step",
    "strays",
    "timeout_ms",
    "version",
)
"""Names of all that a call is."""
