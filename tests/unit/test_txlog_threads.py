"""What logs in files share: threads."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path

import pytest

from dispatcher.errors import LogBusy, LogUnknown
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.segment import Sizes
from dispatcher.txlog.files.threads import Share, Threads

SIZES = Sizes(smallest=256 << 10, largest=1 << 20, batch=128 << 10, chunk=256 << 10)


def named() -> Counter[str]:
    """How many threads there are of each kind of the log's."""
    names = (thread.name.split("_")[0] for thread in threading.enumerate())
    return Counter(name for name in names if name.startswith("txlog-"))


async def test_many_logs_of_a_process_have_three_threads_and_one_writer_each(
    tmp_path: Path,
) -> None:
    """What one of them does is not mixed up with what another does."""
    logs = [FileLog(tmp_path / str(number), sizes=SIZES) for number in range(16)]
    before = named()["txlog-writer"]
    await asyncio.gather(*(log.open("test", 1) for log in logs))
    payloads = [[b"%d-%d" % (number, part) * 500 for part in range(20)] for number in range(16)]
    positions = await asyncio.gather(
        *(log.append(payloads[number]) for number, log in enumerate(logs))
    )
    found = await asyncio.gather(*(log.read(positions[number]) for number, log in enumerate(logs)))
    assert found == payloads
    there = named()
    assert there["txlog-housekeeper"] == 1
    assert there["txlog-reader"] == 2
    assert there["txlog-writer"] == before + 16
    await logs[0].close()
    with pytest.raises(LogUnknown):
        await logs[0].read(positions[0])
    assert await logs[1].read(positions[1]) == payloads[1], "others go on"
    for log in logs[1:]:
        await log.close()
    assert named()["txlog-writer"] == before


async def test_log_that_takes_long_to_open_holds_up_no_other(tmp_path: Path) -> None:
    """Neither its segments nor its reading: opening has a thread of its own."""
    slow = FileLog(tmp_path / "slow", sizes=SIZES)
    await slow.open("test", 1)
    await slow.append([b"a"])
    await slow.close()
    go_on = threading.Event()
    again = FileLog(tmp_path / "slow", sizes=SIZES)
    opening = asyncio.ensure_future(again.open("test", 2, each(lambda *_: go_on.wait(60))))
    other = FileLog(tmp_path / "other", sizes=SIZES)
    await other.open("test", 1)
    positions = [(await other.append([bytes(100_000)]))[0] for _ in range(40)]
    await other.trim(positions[-1])
    assert await other.read(positions[-1:]) == [bytes(100_000)]
    assert not opening.done()
    go_on.set()
    await opening
    await other.close()
    await again.close()


def test_share_is_waited_for_and_no_other(tmp_path: Path) -> None:
    """A log that is closed waits for what it has under way, and for nobody else."""
    threads = Threads("test", 2)
    threads.start()
    threads.start()
    mine, others = Share(threads), Share(threads)
    go_on = threading.Event()
    done: list[int] = []
    held = others.submit(go_on.wait, 60)
    mine.submit(done.append, 1)
    mine.join()
    assert done == [1]
    assert not held.done()
    go_on.set()
    others.join()
    assert held.done()


async def test_threads_that_cannot_be_started_are_lacking_for_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is opened when they can."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    log = FileLog(tmp_path / "log", sizes=SIZES)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        loop = asyncio.get_running_loop()
        with pytest.raises(LogBusy):
            await log.open("test", 1)
        assert loop.is_running()
    await log.open("test", 1)
    await log.close()
