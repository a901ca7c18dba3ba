"""Time-outs of connections are looked after for as long as the listener lives."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dispatcher.ingress.memory import Memory
from dispatcher.ingress.sweep import Sweep, every_s
from tests.unit.test_ingress_connection import Caller, request


class Broken:
    """A connection with a mistake in it, among those that are looked after."""

    def __init__(self) -> None:
        self.is_aborted = False

    def __repr__(self) -> str:
        return "<Broken>"

    def forget_heads(self) -> None:
        """There was none."""

    def end_soon(self) -> None:
        """There is no answer to come."""

    def retire(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is written."""

    def abort(self) -> None:
        self.is_aborted = True

    def rate_in(self, memory: Memory, now_s: float) -> float | None:
        return None

    def give_way(self) -> None:
        """It holds nothing."""

    def check(self, now_s: float) -> None:
        raise RuntimeError("a mistake")


@pytest.mark.parametrize(
    ("timeouts_s", "seconds"),
    [((10, 30, 75), 1.0), ((10, 30, 1), 0.25), ((10, 30, 0.001), 0.05), ((0.4, 30, 75), 0.1)],
)
def test_sweeps_are_as_often_as_time_outs_need(
    timeouts_s: tuple[float, ...], seconds: float
) -> None:
    """An `IDLE_TIMEOUT` of a millisecond does not make the listener do nothing else."""
    assert every_s(*timeouts_s) == seconds


@pytest.mark.parametrize("count", [1, 3])
async def test_sweep_goes_on_when_one_connection_fails(count: int) -> None:
    """In that sweep and in all later ones: the others' time-outs are not its business. The mistake
    is reported, and its connection ends."""
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["message"]))
    caller = Caller()
    broken = [Broken() for _ in range(count)]
    caller.shared.connections.update(broken)
    caller.connection.data_received(b"POST / HT")
    sweep = Sweep(loop, caller.shared, 0.001)
    sweep.start()
    for _ in range(3):
        await asyncio.sleep(0)
    assert reported == ["looking after <Broken> failed"] * count
    assert all(one.is_aborted for one in broken)
    assert caller.statuses() == []
    caller.now_s += 10.1
    for _ in range(1000):
        if caller.is_over:
            break
        await asyncio.sleep(0.002)
    sweep.stop()
    assert caller.statuses() == [408]


async def test_late_sweep_judges_only_after_the_sockets_were_read() -> None:
    """The process stood still: the rest of the head came in time, and was not looked at."""
    loop = asyncio.get_running_loop()
    caller = Caller()
    ours, theirs = socket.socketpair()
    loop.add_reader(ours, lambda: caller.connection.data_received(ours.recv(1024)))
    whole = request(b"body")
    caller.send(whole[:20])
    theirs.send(whole[20:])
    caller.now_s += 1000
    sweep = Sweep(loop, caller.shared, 60)
    sweep.start()
    for _ in range(5):
        await asyncio.sleep(0)
    sweep.stop()
    loop.remove_reader(ours)
    ours.close()
    theirs.close()
    assert caller.queue.bodies == [b"body"]
    assert not caller.is_over
