"""A log that was damaged and repaired: where a part of a large body was, there is nothing."""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.queue.compaction.source import ReclaimPolicy
from dispatcher.queue.ports import LogName
from dispatcher.queue.records.kinds import Kind
from dispatcher.testing import queue as testing
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.queue import Bench, failed, simulate
from tests.unit.test_queue_admin import accepted, big


@pytest.fixture(autouse=True)
def greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy forward as soon as there is anything dead: all that is kept is read."""
    monkeypatch.setattr(testing, "RECLAIM", ReclaimPolicy(slack_bytes=1_000, dead_end_bytes=1_000))


def _damage(log: FaultyLog) -> None:
    """Take away the second chunk record, as a repair does that puts a hole in its place."""
    position = [position for position, payload in log.records if payload[0] == Kind.CHUNK][1]
    log._positions.remove(position)
    del log._payloads[position]


async def _goes_on(bench: Bench) -> None:
    """Messages come and go, and old records are copied."""
    for n in range(30):
        await accepted(bench, f"n{n}")
        bench.end(bench.deliverer.flying[-1])
    await asyncio.sleep(2)
    assert not bench.notes.errors


def test_a_message_without_a_part_of_its_body_is_told_and_passed_over() -> None:
    """It is neither tried again and again nor the end of the process; the others are delivered."""

    async def test(bench: Bench) -> None:
        whole = await accepted(bench, "whole")
        lost = await big(bench)
        await asyncio.sleep(0.5)
        await bench.crash()
        _damage(bench.log)
        await bench.start()
        await asyncio.sleep(0.1)
        assert bench.notes.lost == [(LogName.TRANSACTION, lost.encode())]
        assert [sent.wire_id.decode() for sent in bench.deliverer.flying] == [whole]
        assert await bench.queue.admin.message(lost) is None
        await _goes_on(bench)

    simulate(test)


def test_a_message_whose_body_was_copied_before_is_not_told() -> None:
    """What was settled, or lies elsewhere now, is not lost."""

    async def test(bench: Bench) -> None:
        await big(bench)
        await asyncio.sleep(0.5)
        bench.end(bench.deliverer.flying[0])
        await asyncio.sleep(0.5)
        await bench.crash()
        if len([1 for _, payload in bench.log.records if payload[0] == Kind.CHUNK]) > 1:
            _damage(bench.log)
        await bench.start()
        assert not bench.notes.lost
        await _goes_on(bench)

    simulate(test, keep_everything=True)


def test_a_dead_letter_without_a_part_of_its_body_is_told_and_passed_over() -> None:
    """As in the other log; and it does not come back as a message."""

    async def test(bench: Bench) -> None:
        lost = await big(bench)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(1)
        assert len(bench.queue.dead_letters) == 1
        await bench.crash()
        _damage(bench.dead_log)
        await bench.start()
        await asyncio.sleep(0.1)
        assert bench.notes.lost == [(LogName.DEAD_LETTER, lost.encode())]
        assert len(bench.queue.dead_letters) == 0
        assert not bench.deliverer.flying
        await _goes_on(bench)

    simulate(test)
