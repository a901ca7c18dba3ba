"""A call, as the table of calls knows it. Bytes are in the log (`spans`), never here."""

from __future__ import annotations

from typing import Final

from dispatcher.functions.model.keys import NO_KEYS, Keys
from dispatcher.functions.model.rare import USUAL, Rare
from dispatcher.functions.model.shared import Callee, Limits, callee, limits
from dispatcher.functions.model.values import How, Phase, Poll, Result, StateArm
from dispatcher.functions.spans import Span

_US: Final = (1 << 60) - 1
_CRC: Final = (1 << 32) - 1
_ARM: Final = 7
_ARMS: Final = {int(arm): arm for arm in StateArm}
_DEPTH: Final = (1 << 16) - 1


class Call:
    """One call. Mutable and slotted: there may be hundreds of thousands.

    `key`            names it for ever: `incarnation << 64 | number`, see `ids`.
    `parent`, `root` keys; `parent` is NONE for a root call, whose `root` is its own key.
    `correlation`    the parent's number for it, 64 bits without a sign.
    `endpoint`, `function`, `version`  interned text.
    `application`    name of the API key that its root was dispatched with.
    `created_us`, `expires_us`  microseconds since the epoch, by the wall clock.
    `depth`          0 for a root call.
    `timeout_ms`     of one run; 0: the setting.
    `trace`          header lines of the trace that its root was dispatched in (see `tracing`).
    `input`          what it is (re)started from: of the last tail call, where there was one.
    `step`           counts directives: an answer counts only for the step it was asked at.
    `arm`, `states`  the last whole state and what was appended to it; () before the first poll.
    `state_crc`      CRC-32 of the last state, 0 without one.
    `poll`           while SUSPENDED, and while DUE to be resumed; None before the first poll.
    `children`       keys of those whose results are outstanding, of this generation.
    `base`           the log has to be kept from this position on, so that a crash leaves this call
                     as it is: 0 before `store` knows.
    `poll_due_us`    that of `poll`, 0 without one.
    `alarm_us`       when whoever runs it looks at it again by itself, 0: never. Not stored.

    In memory: what few calls have is in a `Rare`, which says what it means; what many share is
    shared, and the numbers that all have are one. So a call that waits takes less than half of what
    it would with an attribute each. Names are properties of it all the same.
    """

    __slots__ = (
        "_callee",
        "_limits",
        "_packed",
        "_rare",
        "_states",
        "base",
        "children",
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
        trace: str = "",
    ) -> None:
        assert 0 <= created_us <= _US
        assert 0 <= expires_us <= _US
        self._rare = USUAL
        assert 0 <= depth <= _DEPTH
        self._packed = (correlation << 19 | depth << 3) << 272 | expires_us << 60 | created_us
        self.key = key
        self.parent = parent
        self.root = root
        self._callee: Callee = callee(endpoint, function, version, application, timeout_ms, trace)
        self.input = input
        self.step = 0
        self._states: Span | tuple[Span, ...] = ()
        self._limits: Limits | None = None
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
            trace=self.trace,
        )
        new._packed, new._rare = self._packed, self._rare.copy()
        new.step, new.phase, new.base = self.step, self.phase, self.base
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
        return self._packed >> 291

    @property
    def depth(self) -> int:
        return self._packed >> 275 & _DEPTH

    @property
    def arm(self) -> StateArm:
        return _ARMS[self._packed >> 272 & _ARM]

    @arm.setter
    def arm(self, value: StateArm) -> None:
        self._pack(272, _ARM, value)

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
        return self._callee.endpoint

    @property
    def function(self) -> str:
        return self._callee.function

    @property
    def version(self) -> str:
        return self._callee.version

    @property
    def application(self) -> str:
        return self._callee.application

    @property
    def timeout_ms(self) -> int:
        return self._callee.timeout_ms

    @property
    def trace(self) -> str:
        return self._callee.trace

    @trace.setter
    def trace(self, value: str) -> None:
        now = self._callee
        self._callee = callee(
            now.endpoint, now.function, now.version, now.application, now.timeout_ms, value
        )

    def become(self, endpoint: str, function: str, version: str) -> None:
        """Be a call of another function."""
        now = self._callee
        self._callee = callee(
            endpoint, function, version, now.application, now.timeout_ms, now.trace
        )

    @property
    def states(self) -> tuple[Span, ...]:
        found = self._states
        return found if isinstance(found, tuple) else (found,)

    @states.setter
    def states(self, states: tuple[Span, ...]) -> None:
        self._states = states[0] if len(states) == 1 else states

    def wait_for(self, min_results: int, max_results: int, due_us: int) -> None:
        """Set `poll`."""
        self._limits = limits(min_results, max_results)
        self.poll_due_us = due_us

    @property
    def min_results(self) -> int:
        """That of its poll, which it has."""
        assert self._limits is not None
        return self._limits.min_results

    @property
    def poll(self) -> Poll | None:
        found = self._limits
        if found is None:
            return None
        return Poll(found.min_results, found.max_results, self.poll_due_us)

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
