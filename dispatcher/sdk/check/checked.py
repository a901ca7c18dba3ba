"""Runs that are watched, and those that are replayed once more after each of their outcomes too."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from dispatcher.sdk.check.watching import BLOCKS, CLOCK, RANDOM, watching
from dispatcher.sdk.exceptions import EncodeError
from dispatcher.sdk.replay.contradictions import without_edits
from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.replay.model import (
    Became,
    Contradicted,
    Ended,
    Event,
    Faulted,
    Outcome,
    Raised,
    Returned,
    Suspended,
    Told,
    Value,
)
from dispatcher.sdk.replay.where import Spot
from dispatcher.sdk.values import encode

_INSTEAD: Final = {
    CLOCK: "A replay reads another time. Write dispatch.now(), or read it in a step.",
    RANDOM: "A replay draws another one. Write dispatch.random() or dispatch.uuid4().",
    BLOCKS: "Nothing else runs meanwhile. Write `await dispatch.sleep(seconds)`.",
}
_SHOWN_CHARS: Final = 200
_IO: Final = (
    "Every replay does it again, and nothing else runs meanwhile. Make it a step, "
    "`await dispatch.step(fn, …)`."
)


def is_due(done: int, last: int) -> bool:
    """Whether a body that has done so much, and had done `last` when it was replayed, is to be
    replayed again: at first each time, later once a sixteenth has come to it. Replayed after each
    of 5 000 awaits it would pass 12 million. What differs is on record, and is found later, too."""
    return done - last >= max(1, done // 16)


class Watched(Run):
    """`Run`, and `report` is told in a sentence what its body must not do, once for each place.

    `seen` are the places that were told of, which runs may share.
    """

    def __init__(
        self,
        body: Callable[[], Coroutine[Any, Any, object]],
        told: Told,
        state: bytes | None,
        *,
        kept: Mapping[str, Value] | None = None,
        judged: str = "",
        report: Callable[[str], None],
        seen: set[tuple[str, str]] | None = None,
    ) -> None:
        super().__init__(body, told, state, kept=kept, judged=judged)
        self._report = report
        self._name = f"{told.function} (call {told.id})"
        self._seen = set() if seen is None else seen
        self._sites: set[str] = set()
        """Lines at which something was found."""
        self._aside: list[tuple[str, Spot]] = []
        """Clocks that a library reads: it does so before each request, which is what to tell of."""

    def _advance(self, events: Sequence[Event], now_us: int) -> Outcome:
        """What is replayed was watched when it first ran: watching it again takes long."""
        if self._record is not None and self._body.root is None and self._body.loop.fault is None:
            self._begin(now_us)
        self._aside.clear()
        with watching(self._found):
            outcome = super()._advance(events, now_us)
        for what, at in self._aside:
            if not isinstance(outcome, Faulted) and at.site not in self._sites:
                self._tell(what, at)
        return outcome

    def _found(self, what: str, at: Spot) -> None:
        if what == CLOCK and at.library:
            self._aside.append((what, at))
            return
        self._sites.add(at.site)
        self._tell(what, at)

    def _tell(self, what: str, at: Spot) -> None:
        if (what, at.site) in self._seen:
            return
        self._seen.add((what, at.site))
        by = f", by {at.library}" if at.library else ""
        instead = _INSTEAD.get(what, _IO)
        self._report(f"{self._name} {what}, at {at.site} in {at.function}{by}. {instead}")


class Checked(Watched):
    """`Watched`, and `report` is told, too, in which way a replay of it ends otherwise."""

    def __init__(
        self,
        body: Callable[[], Coroutine[Any, Any, object]],
        told: Told,
        state: bytes | None,
        *,
        kept: Mapping[str, Value] | None = None,
        judged: str = "",
        report: Callable[[str], None],
    ) -> None:
        super().__init__(body, told, state, kept=kept, judged=judged, report=report)
        self._call = body, told
        self._kept: dict[str, Value] = dict(kept or {})
        self._fits = True
        self._compared = -1
        """How many events there were when it was replayed last."""

    def advance(self, events: Sequence[Event], now_us: int) -> Outcome:
        """Run it as `Run` does; then replay it from what is on record now, where `is_due`, and when
        it has ended, and compare."""
        for event in events:
            if isinstance(event, Ended) and event.is_kept and isinstance(event.result, Value):
                self._kept[event.dispatch_id] = event.result
        outcome = super().advance(events, now_us)
        if self._fits and self._is_to_be_compared(outcome):
            self._compared = self._body.issuing.events
            self._compare(outcome, self._again(now_us))
        return outcome

    def _is_to_be_compared(self, outcome: Outcome) -> bool:
        if isinstance(outcome, Returned | Raised | Became):
            return True
        return self._is_waiting(outcome) and is_due(self._body.issuing.events, self._compared)

    def _is_waiting(self, outcome: Outcome) -> bool:
        """Whether the body waits. One that made calls as it ended is suspended too, until they are
        made, and a replay of it has ended."""
        return isinstance(outcome, Suspended) and not self._body.is_done

    def _again(self, now_us: int) -> Outcome:
        shadow = Run(*self._call, self.state(), kept=self._kept)
        try:
            return shadow.advance((), now_us)
        finally:
            shadow.close()

    def _compare(self, first: Outcome, again: Outcome) -> None:
        if isinstance(again, Contradicted):
            self._fits = False  # nor will it later, at the same place
            self._report(
                f"{self._name} did something else when it was replayed at once, to check it.\n"
                f"{without_edits(again.message)}"
            )
        elif not _is_same(first, again):
            self._report(
                f"{self._name} was replayed at once, to check it, and went another way: first it "
                f"{_shown(first)}, then it {_shown(again)}. Look for sets, time, randomness, I/O "
                "or globals in it."
            )


def _is_same(first: Outcome, again: Outcome) -> bool:
    """Whether a replay of all that is on record came to the same. What a suspended body has asked
    for is on record, so the replay asks for nothing but steps, which may have to be run again."""
    match first, again:
        case Suspended(), Suspended():
            asks = again.calls or again.cancelled
            waits = (first.outstanding, first.wake_us) == (again.outstanding, again.wake_us)
            return waits and not asks
        case Returned(), Returned():
            return _is_same_value(first.value, again.value)
        case Raised(), Raised():
            return _shown(first) == _shown(again)
        case Became(), Became():
            one, other = first.operation, again.operation
            return (one.function, one.input) == (other.function, other.input)
        case _:
            return False


def _is_same_value(one: object, other: object) -> bool:
    """By comparison, or as they are sent: not all objects know when they are equal."""
    if one == other:
        return True
    try:
        return encode(one) == encode(other)
    except EncodeError:
        return True  # it can't be returned at all: that is said elsewhere


def _shown(outcome: Outcome) -> str:
    match outcome:
        case Suspended():
            asked = [f"the call of {one.operation.function}" for one in outcome.calls]
            asked += [f"the step {one.operation.function}" for one in outcome.steps]
            return f"waited for {', '.join(asked) or 'nothing new'}"
        case Returned():
            return f"returned {_cut(repr(outcome.value))}"
        case Raised():
            return f"raised {type(outcome.error).__name__}: {_cut(str(outcome.error))}"
        case Became():
            return f"became a call of {outcome.operation.function}"
        case _:
            return f"ended: {_cut(outcome.message)}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
