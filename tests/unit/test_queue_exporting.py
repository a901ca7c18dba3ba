"""What is exported while messages are delivered, die and are copied forward, and from a disk on
which something cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from dispatcher.api.written import write_line
from dispatcher.errors import LogBusy, LogCorrupt
from dispatcher.queue.admin.surface import AnyCarried, Carried, LetterFilter, LetterGone, Unreadable
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.admin import whole
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.queue import Bench, destination, failed, message, simulate
from tests.unit.test_queue_admin import accepted, big, dead

BODY = b"".join(bytes([n]) * CHUNK_BYTES for n in range(3))
EVERYTHING = LetterFilter()


class DamagedLog(FaultyLog):
    """A log of which the records in `damaged` cannot be read; nothing can in the next `busy`
    reads."""

    def __init__(self) -> None:
        super().__init__()
        self.damaged: set[int] = set()
        self.busy = 0

    async def read(self, positions: Sequence[int]) -> list[bytes]:
        """See the seam."""
        if self.busy:
            self.busy -= 1
            raise LogBusy("no descriptors")
        if self.damaged.intersection(positions):
            raise LogCorrupt("a segment", 7, "the checksum is wrong")
        return await super().read(positions)

    def damage(self, wanted: Callable[[bytes], bool]) -> None:
        """Damage the records with such a payload."""
        self.damaged = {position for position, payload in self.records if wanted(payload)}


def shown(one: AnyCarried) -> str:
    """What a message is called in these tests."""
    return one.message.target if isinstance(one, Carried) else "unreadable"


def test_slot_used_again_is_not_exported_for_another_destination() -> None:
    """A message that ends before it is read leaves its slot to whoever comes."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("b.example")
        await accepted(bench, "mine")
        exporting = bench.queue.carrying.waiting("http://a.example")
        bench.log.read_s = 0.01
        first = asyncio.ensure_future(anext(exporting, None))
        await asyncio.sleep(0)
        bench.end(bench.deliverer.flying[0])
        await accepted(bench, "other", "b.example")
        found = await first
        assert found is None or found.destination == "http://a.example"
        assert [one async for one in exporting] == []

    simulate(test)


def test_message_that_dies_during_an_export_is_in_it_once() -> None:
    """As a message or as a letter, whenever it dies."""
    for dies_after in range(6):

        async def test(bench: Bench, dies_after: int = dies_after) -> None:
            await dead(bench, "old")
            for name in ("a", "b", "c"):
                await accepted(bench, name)
            found: list[str] = []
            async for one in bench.queue.carrying.everything(None):
                found.append(shown(one))
                if len(found) == dies_after:
                    for flying in list(bench.deliverer.flying):
                        bench.end(flying, failed(404))
                    await asyncio.sleep(0.1)
            assert sorted(found) == ["/a", "/b", "/c", "/old"]

        simulate(test)


def test_large_message_that_dies_while_it_is_exported_is_there_as_a_letter() -> None:
    """The line that was begun is none that an import takes."""

    async def test(bench: Bench) -> None:
        await big(bench)
        bodies: list[bytes | None] = []
        async for one in bench.queue.carrying.everything(None):
            assert isinstance(one, Carried)
            if one.death is None:
                pieces = aiter(one.body)
                await anext(pieces)
                bench.end(bench.deliverer.flying[0], failed(404))
                await asyncio.sleep(1)
                with pytest.raises(LetterGone):
                    await anext(pieces)
            else:
                bodies.append(await whole(one.body))
        assert bodies == [BODY]

    simulate(test)


def test_slow_export_lets_the_log_be_trimmed() -> None:
    """Whoever reads a large body for days holds nothing; it is copied forward under him."""

    async def test(bench: Bench) -> None:
        queue = bench.queue
        await queue.admin.hold("a.example")
        await big(bench)
        live = sum(extent.live for extent in queue.pending.extents)
        exporting = queue.carrying.waiting(None)
        one = await anext(exporting)
        assert isinstance(one, Carried)
        pieces = aiter(one.body)
        got = [await anext(pieces)]
        assert sum(extent.live for extent in queue.pending.extents) == live
        queue.pending.extents.cut()
        await queue.space.copy([queue.pending.extents.oldest])
        await bench.log.trim(queue.pending.extents.current.start)
        got += [piece async for piece in pieces]
        assert b"".join(got) == BODY

    simulate(test)


def test_export_names_what_cannot_be_read_and_passes_over_it() -> None:
    """What lies behind it is exported."""

    async def test(bench: Bench) -> None:
        for name in ("a", "b", "c"):
            await dead(bench, name)
        await bench.queue.admin.hold("b.example")
        for name in ("d", "e", "f"):
            await accepted(bench, name, "b.example")
        assert isinstance(bench.log, DamagedLog)
        assert isinstance(bench.dead_log, DamagedLog)
        bench.log.damage(lambda payload: b"POST /e " in payload)
        bench.dead_log.damage(lambda payload: b"POST /b " in payload)
        found = [one async for one in bench.queue.carrying.everything(None)]
        assert [shown(one) for one in found] == ["/a", "unreadable", "/c", "/d", "unreadable", "/f"]
        (letter, waiting) = [one for one in found if isinstance(one, Unreadable)]
        assert (letter.is_dead, letter.destination) == (True, "http://a.example")
        assert (waiting.is_dead, waiting.destination) == (False, "http://b.example")
        line = b"".join([piece async for piece in write_line(letter)])
        assert letter.id in line
        assert line.endswith(b'"incomplete": true}\n')

    simulate(test, log=DamagedLog(), dead_log=DamagedLog())


def test_body_that_cannot_be_read_to_its_end_leaves_a_line_that_no_import_takes() -> None:
    """And the next letter has its own."""

    async def test(bench: Bench) -> None:
        await big(bench)
        bench.end(bench.deliverer.flying[0], failed(404))
        await asyncio.sleep(0.1)
        await dead(bench, "small")
        assert isinstance(bench.dead_log, DamagedLog)
        bench.dead_log.damage(lambda payload: payload.endswith(b"\1" * 100))
        lines = []
        async for one in bench.queue.carrying.dead(EVERYTHING):
            lines.append(b"".join([piece async for piece in write_line(one)]))
        assert [line.endswith(b'"incomplete": true}\n') for line in lines] == [True, False]

    simulate(test, dead_log=DamagedLog())


def test_export_waits_while_a_log_cannot_be_read_for_the_moment() -> None:
    """Descriptors that are lacking are there again a moment later."""

    async def test(bench: Bench) -> None:
        await dead(bench, "a")
        await bench.queue.admin.hold("b.example")
        bench.accept(message(destination("b.example"), name="b"))
        await asyncio.sleep(0.1)
        for log in (bench.log, bench.dead_log):
            assert isinstance(log, DamagedLog)
            log.busy = 3
        found = [shown(one) async for one in bench.queue.carrying.everything(None)]
        assert found == ["/a", "/b"]

    simulate(test, log=DamagedLog(), dead_log=DamagedLog())
