"""Operators see a partition of another process over a real unix socket."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from dispatcher.core.clock import SystemClock
from dispatcher.core.rate import Rate
from dispatcher.errors import Refused
from dispatcher.node.merged.admin import MergedAdmin
from dispatcher.node.merged.parts import LocalPart
from dispatcher.peers.answers import Answers
from dispatcher.peers.calls import CALLS, Calls, OverLink
from dispatcher.peers.remote_admin import Happenings, RemoteAdmin, Watched
from dispatcher.peers.wires import UnixWires
from dispatcher.queue.admin.surface import Admin, Course, Event, LetterFilter, MessageFilter
from dispatcher.testing.admin import letter, message, message_id
from dispatcher.testing.linked import Linked
from dispatcher.testing.memory_admin import MemoryAdmin

FIRST, SECOND = 0, 1


def _partition_of(number: int, at: int) -> str:
    """An id of a partition."""
    return f"{number:04x}{message_id(at)[4:]}"


async def _until(holds: object) -> None:
    assert callable(holds)
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_two_processes_are_seen_as_one_over_a_unix_socket(loop: object, tmp_path: Path) -> None:
    """Lists, changes at a rate, events; and while one is away its part is said to be missing."""

    async def main() -> None:
        clock = SystemClock()
        here, there = MemoryAdmin(clock.now_us), MemoryAdmin(clock.now_us)
        one, two = (Linked(number, 2, UnixWires(tmp_path)) for number in (FIRST, SECOND))
        answers = Answers(two.died)
        answers.serve(Admin, there, part=SECOND)
        answers.serve(Happenings, Watched(there), part=SECOND)
        two.table.on_ask(CALLS, two.answering.asking("calls", answers.answer))
        for process in (one, two):
            await process.links.start()
        await one.links.to(SECOND).connected(60)
        remote = RemoteAdmin(Calls(OverLink(one.links.to(SECOND)), answer_s=30), SECOND)
        admin = MergedAdmin()
        admin.add(LocalPart(FIRST, here))
        admin.add(LocalPart(SECOND, remote, SECOND))
        heard: list[Event] = []
        admin.subscribe(heard.append)
        await _until(lambda: there.listeners)
        ids = [_partition_of(SECOND, at) for at in range(3)]
        for at in range(3):
            there.put(replace(message(at), id=ids[at]))
        await _until(lambda: len(heard) == 3)
        page = await admin.waiting(MessageFilter(), cursor=0, limit=100)
        assert [item.id for item in page.items] == ids
        dead = [_partition_of(SECOND, at) for at in range(10, 50)]
        for at, one_id in enumerate(dead):
            detail = letter(at)
            there.bury(replace(detail, letter=replace(detail.letter, id=one_id)))
        assert await admin.count_letters(LetterFilter()) == len(dead)
        course = Course(Rate(1000, 1_000_000))
        moved = await admin.redrive(dead[:30], course=course)
        assert moved.count == 30
        await two.links.stop()
        await _until(lambda: not one.links.to(SECOND).is_connected)
        totals = await admin.totals()
        assert totals.incomplete == [SECOND]
        with pytest.raises(Refused):
            await admin.message(ids[0])
        admin.unsubscribe(heard.append)
        await answers.close()
        for process in (two, one):
            await process.stop()
            assert not process.failures

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(main())
