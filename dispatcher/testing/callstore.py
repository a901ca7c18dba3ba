"""A queue with a store of calls in it, which can be crashed and started again."""

from __future__ import annotations

from typing import Any

from dispatcher.functions.events import Created, Exited, NewCall, Polled
from dispatcher.functions.ids import Keys
from dispatcher.functions.model import Call, How, StateArm
from dispatcher.functions.spans import Span
from dispatcher.functions.store.store import Store
from dispatcher.queue.partition import Partition
from dispatcher.testing.call_fields import FIELDS
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.queue import Bench

BEGAN_US = 1_704_067_200_000_000
_PLACES = frozenset({"input", "states", "results", "error", "result", "base", "alarm_us", "kept"})
"""Fields that compaction, or nobody but this process, changes."""


class CallBench(Bench):
    """A `Bench` whose queue hosts `store`."""

    store: Store

    def __init__(self, clock: SimulatedClock, **options: Any) -> None:
        self._extent_bytes = options.pop("extent_bytes", 0)
        super().__init__(clock, prepare=self._host, **options)

    def _host(self, queue: Partition) -> None:
        if self._extent_bytes:
            queue.pending.extents.extent_bytes = self._extent_bytes
        self.store = Store(queue.room)
        queue.host(self.store)

    @property
    def keys(self) -> Keys:
        """Makes keys for new calls; ask once after each start."""
        return Keys(self._starts, self.store.log_end)

    async def bytes_of(self, *spans: Span) -> list[bytes]:
        """What these spans name."""
        found = await self.store.read(lambda: spans)
        assert found is not None
        return found

    async def dump(self) -> dict[str, Any]:
        """All that the machine knows, with bytes in the place of spans."""
        return await dump(self.store)


async def dump(store: Store) -> dict[str, Any]:
    """All that a machine knows, with bytes in the place of spans: what a crash must not change."""
    machine = store.machine
    return {
        "calls": {key: await _call(store, call) for key, call in sorted(machine.calls.items())},
        "facts": {
            name: (await _bytes(store, known.where), known.expires_us)
            for name, known in sorted(machine.facts.items())
        },
        "promises": {
            name: (await _bytes(store, kept.where), kept.is_error, kept.expires_us)
            for name, kept in sorted(machine.promises.items())
        },
        "channels": {
            name: [(await _bytes(store, kept.where), kept.number) for kept in values]
            for name, values in sorted(machine.channels.items())
        },
        "waiting": {name: list(keys) for name, keys in sorted(machine.waiting.items())},
        "trees": dict(sorted(machine.trees.items())),
    }


async def _bytes(store: Store, where: Span) -> bytes:
    found = await store.read(lambda: [where])
    assert found is not None
    return found[0]


async def _call(store: Store, call: Call) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(call, name) for name in FIELDS if name not in _PLACES}
    found["children"], found["strays"] = sorted(call.children), sorted(call.strays)
    found["bytes"] = await store.read(lambda: call.spans)
    found["results"] = [(one.correlation, one.child, one.is_error) for one in call.results]
    found["states"] = len(call.states)
    if call.trace:
        found["trace"] = call.trace
    if call.kept:
        found["kept"] = [(one.correlation, one.child, one.is_error) for one in call.kept]
    return found


def new(key: int, input: bytes = b"in", *, endpoint: str = "http://app", n: int = 0) -> NewCall:
    """A call that is to exist."""
    return NewCall(key, n, endpoint, "f", "v1", BEGAN_US, BEGAN_US + 3_600_000_000, input)


def created(*calls: NewCall) -> Created:
    """Root calls."""
    return Created("app", calls)


def polled(
    call: Call, state: bytes = b"state", *calls: NewCall, delivered: int = 0, **more: Any
) -> Polled:
    """A run of a call that ends with a poll."""
    fields: dict[str, Any] = {
        "key": call.key,
        "step": call.step,
        "delivered": delivered,
        "was_told": call.error is not None,
        "arm": StateArm.TYPED,
        "state": state,
        "state_crc": 1,
        "is_appended": False,
        "calls": calls,
        "min_results": 1,
        "max_results": 10,
        "due_us": BEGAN_US + 60_000_000,
    }
    return Polled(**(fields | more))


def exited(call: Call, result: bytes = b"out") -> Exited:
    """A run of a call that ends it."""
    return Exited(call.key, call.step, How.OK, result, False, BEGAN_US)
