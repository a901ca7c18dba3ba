"""Links over real unix sockets, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from dispatcher.peers.errors import NotConnected
from dispatcher.peers.streams import Stream
from dispatcher.peers.wires import UnixWires
from dispatcher.testing.linked import Linked

ECHO, SUM = 1, 2
Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Loop:
    return request.param  # type: ignore[no-any-return]


async def _sum(stream: Stream) -> None:
    total = 0
    async for piece in stream:
        total += len(piece)
    stream.end(b"%d" % total)


def _process(number: int, directory: Path, incarnation: int = 1) -> Linked:
    process = Linked(number, 3, UnixWires(directory), incarnation)
    process.table.on_ask(ECHO, lambda question: question.answer(b"%d:" % number + question.payload))
    process.table.on_open(SUM, process.answering.streaming("sum", _sum))
    return process


def test_each_process_asks_each_other_one(tmp_path: Path, loop: Loop) -> None:
    """One connection for a pair, whichever side asks; small questions and large streams. Nobody
    else may enter the directory, however long its path is."""
    directory = tmp_path / ("long" * 30) / "run"
    directory.parent.mkdir()

    async def main() -> None:
        processes = [_process(number, directory) for number in range(3)]
        for process in processes:
            await process.links.start()
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for number, process in enumerate(processes):
            for peer in process.links.peers:
                await peer.connected(60)
                asked = [peer.ask(ECHO, b"%d" % one) for one in range(50)]
                answers = await asyncio.gather(*asked)
                assert answers == [b"%d:%d" % (peer.process, one) for one in range(50)]
                stream = peer.open(SUM)
                for _ in range(40):
                    await stream.send(bytes(100_000))
                stream.end()
                assert [piece async for piece in stream] == []
                assert stream.last == b"4000000"
            assert process.told.count(f"connected {(number + 1) % 3}") == 1
        for process in processes:
            await process.stop()
            assert not process.failures
        assert not list(directory.iterdir())

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_a_process_that_was_killed_is_connected_when_it_starts_again(
    tmp_path: Path, loop: Loop
) -> None:
    """The file that it left behind is not in the way, whichever side had connected."""

    async def main() -> None:
        one, two = _process(1, tmp_path), _process(2, tmp_path)
        await one.links.start()
        await two.links.start()
        await one.links.to(2).connected(60)
        (tmp_path / "1.sock").rename(tmp_path / "left")
        await one.stop()
        (tmp_path / "left").rename(tmp_path / "1.sock")
        while two.links.to(1).is_connected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with pytest.raises(NotConnected):
            await two.links.to(1).ask(ECHO)
        again = _process(1, tmp_path, incarnation=2)
        await again.links.start()
        await two.links.to(1).connected(60)
        assert two.links.to(1).incarnation == 2
        assert await two.links.to(1).ask(ECHO, b"x") == b"1:x"
        assert await again.links.to(2).ask(ECHO, b"x") == b"2:x"
        await again.stop()
        await two.stop()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
