"""What was stored lately is in memory: up to a budget, and as it is in the log."""

from __future__ import annotations

from dispatcher.functions.store.recent import Recent
from dispatcher.testing.callstore import CallBench, created, new
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run


def test_oldest_go_first_when_there_is_no_more_room() -> None:
    """And one that is larger than all the room is not kept."""
    recent = Recent(1000)
    for position in range(10):
        recent.put(position, b"x" * 100)
    kept = [position for position in range(10) if recent.get(position) is not None]
    assert kept == [7, 8, 9]
    recent.put(10, b"x" * 1001)
    assert len(recent) == 0
    recent.put(11, b"x")
    assert recent.get(11) == b"x"


def test_what_is_at_hand_is_what_would_be_read() -> None:
    """Also the bytes of one of several calls in a record; after a crash nothing is at hand."""

    async def main(clock: SimulatedClock) -> None:
        bench = CallBench(clock)
        await bench.start()
        first, second, empty = (bench.keys.next() + n for n in range(3))
        await bench.store.stored(
            created(new(first, b"one"), new(second, b"another"), new(empty, b""))
        )
        spans = [bench.store.machine.calls[key].input for key in (second, empty, first)]
        assert bench.store.at_hand(spans) == [b"another", b"", b"one"]
        assert bench.store.at_hand(spans) == await bench.bytes_of(*spans)
        await bench.crash()
        await bench.start()
        assert bench.store.at_hand(spans) is None
        assert await bench.bytes_of(*spans) == [b"another", b"", b"one"]
        await bench.crash()

    run(main)
