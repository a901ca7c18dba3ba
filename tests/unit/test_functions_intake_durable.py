"""Idempotency keys over a real store: known again after a crash."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial

from dispatcher.functions.ids import call_id
from dispatcher.functions.intake import Intake, IntakeConfig
from dispatcher.functions.rules import Rules
from dispatcher.functions.surface import Dispatcher, Token
from dispatcher.protocol.messages import Any, Call, DispatchRequest
from dispatcher.testing.callstore import CallBench
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run

LARGE = bytes(range(256)) * 4 * 700  # 700 KiB: several chunks


def intake(bench: CallBench, clock: SimulatedClock) -> Intake:
    """An intake over the store as it is now."""
    return Intake(
        bench.store,
        bench.store.machine.facts,
        IntakeConfig(Rules(), start_delay_ms=20, retention_ms=60_000),
        next_key=bench.keys.next,
        id_of=partial(call_id, 0),
        now_us=clock.now_us,
    )


def test_same_ids_are_answered_after_a_crash() -> None:
    """The key is in the record of the calls: both are there, or neither."""
    request = DispatchRequest(
        calls=[
            Call(endpoint="http://a.example", function="f", input=Any(value=LARGE)),
            Call(endpoint="http://a.example", function="g"),
        ]
    )
    token = Token("order-17", hashlib.sha256(b"body").digest())
    caller = Dispatcher("shop")

    async def main(clock: SimulatedClock) -> None:
        bench = CallBench(clock)
        await bench.start()
        lost = asyncio.ensure_future(intake(bench, clock).dispatch(request, caller, token))
        await asyncio.sleep(0)
        await bench.crash()
        lost.cancel()
        await asyncio.wait([lost])
        await bench.start()
        assert not bench.store.machine.calls
        first = await intake(bench, clock).dispatch(request, caller, token)
        await bench.crash()
        await bench.start()
        assert list(await intake(bench, clock).dispatch(request, caller, token)) == list(first)
        assert len(bench.store.machine.calls) == 2
        await asyncio.sleep(60)
        later = await intake(bench, clock).dispatch(request, caller, token)
        assert not set(later) & set(first)

    run(main)
