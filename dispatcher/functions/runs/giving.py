"""What a run is given: its input, or its state with results; from memory, or read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dispatcher.functions.deciding import appending
from dispatcher.functions.events import Polled
from dispatcher.functions.model import Call
from dispatcher.functions.ports import Store
from dispatcher.functions.runs.asking import Given
from dispatcher.functions.runs.referring import Referring
from dispatcher.functions.spans import Span, length_of


def given_bytes(call: Call, count: int) -> int:
    """How much the next run of a call is given, with `count` results."""
    return sum(map(length_of, _spans(call, count, _FIRST)))


@dataclass(slots=True)
class _Shape:
    """What a run is given as; it may change while the bytes are read."""

    is_resume: bool = False
    has_error: bool = False
    state_ref: int = 0


_FIRST: Final = _Shape()


class Giving:
    """Of one partition. `referring` says which states are left out."""

    __slots__ = ("_store", "referring")

    def __init__(self, store: Store) -> None:
        self._store = store
        self.referring = Referring()

    def at_hand(self, call: Call, count: int) -> Given | None:
        """What the next run of a call is given, with the first `count` of its results, if all of it
        is in memory."""
        shape = self._shape(call)
        blobs = self._store.at_hand(_spans(call, count, shape))
        return None if blobs is None else _given(blobs, count, shape)

    async def given(self, call_of: Callable[[], Call | None], count: int) -> Given | None:
        """The same, read back if it has to be. `call_of` says None once the call has moved on, and
        so does this.

        Raises:
            LogBusy, LogError: as `Store.read`.
        """
        shape = _FIRST

        def pick() -> Sequence[Span] | None:
            nonlocal shape
            call = call_of()
            if call is None:
                return None
            shape = self._shape(call)
            return _spans(call, count, shape)

        blobs = await self._store.read(pick)
        return None if blobs is None else _given(blobs, count, shape)

    def _shape(self, call: Call) -> _Shape:
        if not call.is_resume:
            return _FIRST
        return _Shape(True, call.error is not None, self.referring.nonce(call))

    async def made_one(self, call_of: Callable[[], Call | None], event: Polled) -> Polled | None:
        """A poll that extends the state of its call, with the whole state in it; None once the call
        has moved on.

        Raises:
            LogBusy, LogError: as `Store.read`.
        """
        assert isinstance(event.state, bytes)
        call = call_of()
        if call is None:
            return None
        states = self._store.at_hand(call.states)
        if states is None:
            states = await self._store.read(lambda: _states(call_of))
        if states is None:
            return None
        whole = appending.one(event.arm, [*states, event.state])
        return replace(event, state=whole, is_appended=False)


def _spans(call: Call, count: int, shape: _Shape) -> Sequence[Span]:
    """Input; or states, results and error."""
    if not call.is_resume:
        return (call.input,)
    states = () if shape.state_ref else call.states
    told = (call.error,) if shape.has_error and call.error is not None else ()
    results = call.results
    if not results:
        return states + told
    return (*states, *[result.where for result in results[:count]], *told)


def _given(blobs: list[bytes], count: int, shape: _Shape) -> Given:
    if not shape.is_resume:
        return Given(input=blobs[0])
    error = blobs.pop() if shape.has_error else None
    states = len(blobs) - count
    return Given(
        states=blobs[:states], results=blobs[states:], error=error, state_ref=shape.state_ref
    )


def _states(call_of: Callable[[], Call | None]) -> tuple[Span, ...] | None:
    call = call_of()
    return None if call is None else call.states
