"""Messages that wait are in memory only as far as there is room, however many lanes there are;
and nothing stays of destinations that nobody needs any more."""

from __future__ import annotations

import asyncio
import re
import tracemalloc
from pathlib import Path

from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.queue.admin.surface import LetterFilter
from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.lanes.warm import WARM_BYTES
from dispatcher.queue.pending.index import Index
from dispatcher.queue.records.letters import LetterFacts
from dispatcher.queue.records.messages import encode_message
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.log import FaultyLog, Space
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

STAYS = "http://stays"
BODY = bytes(200_000)
MIB = 2**20


class _WithBody(dict[int, bytes]):
    """Records that all end with the same body, which is put to each when it is read."""

    def __getitem__(self, position: int) -> bytes:
        return super().__getitem__(position) + BODY


def _log_of(hosts: list[str]) -> FaultyLog:
    """A log with a message of 200 KB for each of these destinations."""
    log = FaultyLog()
    log._payloads = _WithBody()
    for number, host in enumerate(hosts):
        payload = encode_message(message(destination(host), BODY, name=str(number)))
        assert payload.endswith(BODY)
        position = number * 300_000 + 1
        log._positions.append(position)
        log._payloads[position] = payload[: -len(BODY)]
        log._next = position + 300_000
    return log


def _waits_for_room(bench: Bench, peak: list[int]) -> None:
    room = bench.queue.traffic.room
    peak[0] = max(peak[0], room.size_bytes + room.reading_bytes)


def test_thousands_of_destinations_with_large_messages_start_within_the_budget() -> None:
    """400 MB wait in the log. What waits in memory is never above 4 MiB, the process needs a
    fraction of that more for what is under way, and everything is delivered."""
    peak = [0]

    async def main(clock: SimulatedClock) -> None:
        bench = Bench(clock, log=_log_of([f"host{n}" for n in range(2_000)]))
        bench.deliverer.on_start = lambda sent: _waits_for_room(bench, peak)
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        await bench.open()
        tracemalloc.start()
        bench.queue.start(bench.deliverer)
        while bench.queue.pending.index.count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert bench.queue.figures.delivered_total == 2_000
        assert bench.queue.traffic.room.size_bytes == 0
        assert used < 30 * MIB, f"{used / MIB:.1f} MiB"

    run(main)
    assert MIB < peak[0] <= WARM_BYTES


def test_lanes_that_hang_do_not_keep_the_memory_that_others_need() -> None:
    """Half of 400 destinations hang, with more messages behind the one that is under way: all the
    others get theirs, and what waits stays within the budget."""
    peak = [0]
    hosts = [f"{'sick' if n % 2 else 'well'}{n // 2}" for n in range(400)] * 3

    async def main(clock: SimulatedClock) -> None:
        bench = Bench(clock, log=_log_of(hosts))

        def answer(sent: Message) -> None:
            if sent.destination.host.startswith("sick"):
                loop = asyncio.get_running_loop()
                timeout = failed(failure=Failure.TIMEOUT)
                loop.call_later(10, bench.queue.settling.failed, sent, timeout)
            else:
                bench.queue.settling.delivered(sent, 200)

        bench.deliverer.on_start = lambda sent: _waits_for_room(bench, peak)
        bench.deliverer.answer = answer
        await bench.start()
        await asyncio.sleep(9.9)
        assert bench.queue.figures.delivered_total == 600
        await bench.stop()

    run(main)
    assert peak[0] <= WARM_BYTES


def test_messages_that_are_accepted_wait_in_memory_only_where_there_is_room() -> None:
    """A thousand destinations with 200 KB each, none of which answers."""

    async def test(bench: Bench) -> None:
        room = bench.queue.traffic.room
        for number in range(1000):
            bench.accept(message(destination(f"host{number}"), BODY))
            if number % 2:
                await asyncio.sleep(0.05)
            assert room.left_bytes >= 0
        assert room.size_bytes <= WARM_BYTES
        assert len(bench.receipts.accepted) == 1000

    simulate(test)


def test_idle_lanes_are_forgotten_while_dead_letters_of_others_wait_for_space() -> None:
    """The lane of a letter that waits is kept, and forgotten after it."""

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        for number in range(1000):
            bench.accept(message(destination(f"idle{number}")))
        await asyncio.sleep(1)
        bench.deliverer.answer = lambda sent: bench.queue.settling.failed(sent, failed(404))
        bench.dead_log.space = Space.NOTHING
        bench.accept(message(destination("dies")))
        await asyncio.sleep(200)
        assert bench.queue.figures.burying == 1
        assert [str(lane.destination) for lane in bench.queue.lanes] == ["http://dies"]
        bench.dead_log.space = Space.ENOUGH
        await asyncio.sleep(200)
        assert len(bench.queue.dead_letters) == 1
        assert len(bench.queue.lanes) == 0

    simulate(test)


def test_destinations_of_purged_letters_are_forgotten() -> None:
    """Whoever sends chooses them. Those of the letters that stay keep their names."""

    async def test(bench: Bench) -> None:
        letters = bench.queue.dead_letters.letters
        bench.deliverer.answer = lambda sent: bench.queue.settling.failed(sent, failed(404))
        for round_ in range(3):
            for number in range(100):
                bench.accept(message(destination(f"d{round_}-{number}")))
                bench.accept(message(destination("stays")))
            await asyncio.sleep(1)
            which = [
                letters.id(row) for row in letters.alive() if letters.cause_key(row)[0] != STAYS
            ]
            assert (len(which), len(letters.destinations)) == (100, 101)
            await bench.queue.admin.purge([one.decode() for one in which])
            assert len(letters.destinations) == 1
        page = await bench.queue.admin.letters(
            LetterFilter(destination=STAYS), cursor=0, limit=1000
        )
        assert {one.destination for one in page.items} == {STAYS}
        assert len(page.items) == 300

    simulate(test)


def test_memory_that_a_message_and_a_letter_take_is_what_the_documentation_says() -> None:
    """One number for each, rounded up, in the README and where sizing is explained."""
    index, letters = Index(), Letters()
    facts = LetterFacts(bytes(28), 0, 1, 0, 0, 0, b"http://a", 404, 0, "rejected", 9, None, 0)
    many = 20_000
    tracemalloc.start()
    for number in range(many):
        index.add(number * 200, 1, 1, 200)
    waiting = tracemalloc.get_traced_memory()[0] / many
    for number in range(many):
        letters.add(facts._replace(id_position=number * 200), number * 200, 200)
    dead = tracemalloc.get_traced_memory()[0] / many - waiting
    tracemalloc.stop()
    root = Path(__file__).parents[2]
    sizing = (root / "docs/operations.md").read_text("utf-8")
    said = re.search(r"([0-9]+) bytes a waiting message, ([0-9]+) a dead letter", sizing)
    assert said
    assert 0.75 * int(said[1]) <= waiting <= int(said[1])
    assert 0.75 * int(said[2]) <= dead <= 1.1 * int(said[2])
    assert f"{said[1]} bytes each in memory" in (root / "README.md").read_text("utf-8")
