"""For how long a process acts for a partition: where an attempt begins, and what its end means."""

from __future__ import annotations

import asyncio
import math
import time

from dispatcher.core.tenure import Tenure
from dispatcher.testing.queue import Bench, destination, message, simulate


def test_tenure_holds_until_its_instant_and_never_again_after_its_end() -> None:
    """For good, until then, lapsed, moved on, ended: nothing brings it back."""
    now_s = [10.0]
    tenure = Tenure(lambda: now_s[0])
    assert tenure.is_for_good
    assert tenure.holds()
    tenure.bound(12.0)
    assert not tenure.is_for_good
    assert tenure.holds()
    now_s[0] = 12.0
    assert not tenure.holds()
    tenure.bound(14.0)
    assert tenure.holds()
    assert not tenure.is_for_good
    tenure.bound(math.inf)
    assert tenure.is_for_good
    tenure.end()
    tenure.end()
    for until_s in (20.0, math.inf):
        tenure.bound(until_s)
        assert not tenure.holds()
    assert repr(Tenure()) == "<Tenure for good>"
    assert repr(tenure) == "<Tenure over>"


def test_no_attempt_begins_while_it_is_unsure_whose_the_partition_is() -> None:
    """What comes is stored all the same, also what is to be tried again; once it is sure everything
    goes out, and no attempt was spent."""

    async def test(bench: Bench) -> None:
        bench.queue.may_act_until(0.0)
        receipts = [bench.accept(message(destination(name), name=name)) for name in "abcdefgh"]
        await asyncio.sleep(60)
        assert all(one.answer in bench.receipts.accepted for one in receipts)
        assert not bench.deliverer.flying
        bench.queue.may_act_until(time.monotonic() + 1000)
        await asyncio.sleep(0.1)
        assert sorted(bench.deliverer.started) == [(f"/{name}", 1) for name in "abcdefgh"]

    simulate(test)
