"""Records are taken in many at a time, and what is pending is what it would be one by one."""

from __future__ import annotations

from array import array
from random import Random

import pytest

from dispatcher.core.clock import QueueUs
from dispatcher.core.message import Message
from dispatcher.queue.pending.extents import Extents
from dispatcher.queue.pending.index import NO_SLOT, State
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.chunks import encode_chunk
from dispatcher.queue.records.messages import encode_message, encode_moved
from dispatcher.queue.records.retry import encode_retry
from dispatcher.queue.records.settled import encode_settled
from dispatcher.queue.recovery.replay import Recovery
from dispatcher.queue.registry.idempotency.keys import Keys
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.lanes import lanes_of
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, destination, message
from dispatcher.txlog import Records

_START = 1 << 32 | 4096
_GAP = 32


class _Log:
    """Records of all kinds, as a queue could have left them."""

    def __init__(self, random: Random) -> None:
        self.data = bytearray()
        self.begins: list[int] = []
        self.ends: list[int] = []
        self._random = random
        self._waiting: list[Message] = []
        self._incarnation = 1

    def write(self, count: int) -> None:
        """Append `count` times something, mostly messages."""
        for _ in range(count):
            kind = self._random.choices(
                ["message", "large", "settled", "retry", "moved", "start", "short"],
                [100, 3, 4, 3, 3, 1, 1],
            )[0]
            getattr(self, f"_{kind}")()

    def _append(self, payload: bytes) -> int:
        self.data += bytes(_GAP)
        self.begins.append(len(self.data))
        self.data += payload
        self.ends.append(len(self.data))
        return _START + self.begins[-1]

    def _new(self) -> Message:
        new = message(destination(f"{self._random.randrange(3)}.example"))
        new.incarnation = self._incarnation
        new.body = self._random.randbytes(self._random.randrange(40))
        new.body_size = len(new.body)
        new.accepted_at = self._random.randrange(1000)
        return new

    def _message(self) -> None:
        new = self._new()
        new.position = self._append(encode_message(new))
        self._waiting.append(new)

    def _large(self) -> None:
        new = self._new()
        new.body, new.body_size = b"", 10
        new.chunks = tuple(self._append(encode_chunk(b"part!")) for _ in range(2))
        new.position = self._append(encode_message(new))
        self._waiting.append(new)

    def _settled(self) -> None:
        self._random.shuffle(self._waiting)
        gone = self._waiting[:9]
        del self._waiting[:9]
        for incarnation in {one.incarnation for one in gone}:
            positions = [one.position for one in gone if one.incarnation == incarnation]
            self._append(encode_settled(incarnation, array("Q", positions)))

    def _retry(self) -> None:
        for one in self._random.sample(self._waiting, min(2, len(self._waiting))):
            one.attempt += 1
            self._append(encode_retry(one, self._random.randrange(2000), "no"))

    def _moved(self) -> None:
        for one in self._random.sample(self._waiting, min(2, len(self._waiting))):
            self._append(encode_moved(one, 0))

    def _start(self) -> None:
        self._incarnation += 1

    def _short(self) -> None:
        self._append(b"\x06")


def _state(recovery: Recovery, pending: Pending) -> object:
    """All that was learned, whichever slots it is in."""
    index, extents = pending.index, pending.extents
    waiting = {
        (index.id_position[slot], index.incarnation_of(slot)): (
            index.position[slot],
            index.retry[slot],
            index.due_at[slot],
            index.size[slot],
            index.lane[slot],
            index.attempts[slot],
            index.state[slot],
            None if pending.ages is None else pending.ages.since[slot],
        )
        for slot in range(index.slots)
        if index.state[slot] != State.FREE
    }
    stretches = [
        (one.start, one.filled, one.live, one.live_bytes, list(one.offsets)) for one in extents
    ]
    figures = (recovery.records, recovery.settled, index.count, index.live_bytes)
    assert index.count == len(waiting)
    assert index.count + _free(pending) == index.slots
    return waiting, stretches, extents.span_bytes, extents.end, figures


def _free(pending: Pending) -> int:
    count, slot = 0, pending.index._free
    while slot != NO_SLOT:
        count, slot = count + 1, pending.index.next[slot]
    return count


def _empty(max_age_ms: int) -> Pending:
    pending = Pending(max_age_ms=max_age_ms)
    pending.extents = Extents(extent_bytes=3000)
    pending.owned._extents = pending.extents
    return pending


@pytest.mark.parametrize("seed", range(20))
def test_records_taken_together_leave_what_they_leave_one_by_one(seed: int) -> None:
    """Messages in runs, among others of other starts, large ones, settled ones and retries."""

    async def main(clock: SimulatedClock) -> None:
        random = Random(seed)
        log = _Log(random)
        log.write(600)
        max_age_ms = 1000 * (seed % 2)
        ones, many = _empty(max_age_ms), _empty(max_age_ms)
        ones_lanes, many_lanes = lanes_of(), lanes_of()
        keys = await _keys(clock)
        one_by_one = Recovery(ones, ones_lanes, None, keys)  # type: ignore[arg-type]  # none is in the log
        together = Recovery(many, many_lanes, None, keys)  # type: ignore[arg-type]  # none is in the log
        data, at = bytes(log.data), 0
        while at < len(log.begins):
            upto = at + random.randrange(1, 120)
            records = Records(data, _START, log.begins[at:upto], log.ends[at:upto])
            for position, payload in records:
                one_by_one.visit(position, payload)
            together.take(records)
            assert _state(together, many) == _state(one_by_one, ones)
            at = upto
        now = QueueUs(1000)
        await one_by_one.finish(now, now)
        await together.finish(now, now)
        assert together.lined_up == one_by_one.lined_up == many.index.count
        for its, same in zip(many_lanes, ones_lanes, strict=True):
            assert (its.ready, its.scheduled) == (same.ready, same.scheduled)
            chains = [
                [pending.index.id_position[slot] for slot in lane.cold_slots(pending.index, 10_000)]
                for lane, pending in ((its, many), (same, ones))
            ]
            assert chains[0] == chains[1] == sorted(chains[0])

    run(main)


async def _keys(clock: SimulatedClock) -> Keys:
    """Idempotency keys of which none is in the log."""
    bench = Bench(clock)
    await bench.open()
    return bench.queue.keys
