"""A disk that stands still is seen, and neither new callers nor a stop wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.queue.commit.committer import Committer
from dispatcher.queue.commit.stalls import Pace, StallWatch, next_look_s, pace_of
from dispatcher.queue.partition import LATE_STREAM
from dispatcher.queue.ports import LogName
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.disk import SimulatedDisk
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, failed, message, simulate
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog

TRANSACTION = LogName.TRANSACTION


@pytest.mark.parametrize(
    ("waiting_s", "pace", "look_s"),
    [
        (0.0, Pace.FINE, 0.5),
        (0.3, Pace.FINE, 0.5),
        (0.875, Pace.FINE, 0.125),
        (1.0, Pace.SLOW, 0.5),
        (4.75, Pace.SLOW, 0.25),
        (5.0, Pace.STALLED, 0.5),
        (80.0, Pace.STALLED, 0.5),
    ],
)
def test_steps_are_seen_when_they_are_reached(waiting_s: float, pace: Pace, look_s: float) -> None:
    """A second is slow, five are a stall; the next look is at the next step."""
    assert pace_of(waiting_s) is pace
    assert next_look_s(waiting_s) == look_s


class Watched:
    """A batch that is with a log since `began_s`, by the loop's clock."""

    def __init__(self) -> None:
        self.stalled = False
        self.began_s: float | None = None
        self.said: list[tuple[Pace, Pace]] = []
        self.watch = StallWatch(self, lambda before, pace, _: self.said.append((before, pace)))

    def waiting_s(self) -> float:
        return 0.0 if self.began_s is None else asyncio.get_running_loop().time() - self.began_s


def watched(test: Callable[[Watched, SimulatedClock], Coroutine[Any, Any, None]]) -> Watched:
    async def main(clock: SimulatedClock) -> Watched:
        one = Watched()
        one.watch.start()
        await test(one, clock)
        one.watch.stop()
        return one

    return run(main)


def test_disk_that_is_slow_all_the_time_is_one_warning() -> None:
    """A second a sync for a minute, and once more after it was quick for a while."""

    async def test(one: Watched, clock: SimulatedClock) -> None:
        for _ in range(50):
            one.began_s = asyncio.get_running_loop().time()
            await asyncio.sleep(1.2)
        one.began_s = None
        assert one.said == [(Pace.FINE, Pace.SLOW)]
        await asyncio.sleep(11)
        assert one.said == [(Pace.FINE, Pace.SLOW), (Pace.SLOW, Pace.FINE)]
        one.began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(1.2)

    one = watched(test)
    assert one.said[2:] == [(Pace.FINE, Pace.SLOW)]
    assert one.watch.stalls == 0


def test_process_that_was_stopped_itself_sees_no_stall() -> None:
    """Its timer is late, and so is what the log has answered: the log is heard first."""

    async def test(one: Watched, clock: SimulatedClock) -> None:
        loop = asyncio.get_running_loop()
        one.began_s = loop.time()
        await asyncio.sleep(0.1)
        clock.advance(ms=60_000)
        loop.call_later(0.01, setattr, one, "began_s", None)  # the answer, in the loop's next turn
        await asyncio.sleep(2)

    assert watched(test).said == []


def test_stall_is_told_and_new_callers_are_refused() -> None:
    """After a second a warning, after five `disk_stalled` for those who come; who waits gets its
    202 when the disk moves again, and then everybody is taken as before."""

    async def test(bench: Bench) -> None:
        first = bench.accept(message(name="first"))
        await asyncio.sleep(1)
        assert isinstance(first.answer, Message)
        bench.log.append_s = 30.0
        waiting = bench.accept(message(name="waiting"))
        await asyncio.sleep(0.9)
        assert bench.notes.stalls == []
        await asyncio.sleep(0.2)
        assert bench.notes.stalls == [(TRANSACTION, "slow")]
        assert bench.queue.intake.refusal() is None
        late = bench.accept(message(name="late"))
        await asyncio.sleep(3.8)
        assert bench.queue.intake.refusal() is None
        await asyncio.sleep(0.2)
        refusal = bench.queue.intake.refusal()
        assert refusal is not None
        assert (refusal.status, refusal.slug) == (503, "disk_stalled")
        assert refusal.retry_after_s
        assert bench.notes.stalls[1:] == [(TRANSACTION, "stalled")]
        assert bench.queue.stalls.stalls == 1
        bench.log.append_s = 0.01
        await asyncio.sleep(26)
        assert bench.queue.intake.refusal() is None
        assert isinstance(waiting.answer, Message)
        assert isinstance(late.answer, Message)
        assert bench.notes.stalls[2:] == [(TRANSACTION, "moves")]
        assert bench.notes.errors == []

    simulate(test)


def test_callers_are_refused_while_the_servers_of_a_log_do_not_answer() -> None:
    """After two seconds, with `log_late`, and so are those who came before and are not with the
    log; what is with it is answered with the verdict."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 4.0
        waiting = bench.accept(message(name="with the log"))
        behind = [bench.accept(message(name=f"behind {number}")) for number in range(2)]
        await asyncio.sleep(1.9)
        assert bench.queue.intake.refusal() is None
        assert [one.answer for one in behind] == [None, None]
        await asyncio.sleep(0.2)
        refusal = bench.queue.intake.refusal()
        assert refusal is not None
        assert (refusal.status, refusal.slug, refusal.retry_after_s) == (503, "log_late", 1)
        assert [one.answer for one in behind] == [refusal, refusal]
        await asyncio.sleep(3)
        assert isinstance(waiting.answer, Message)
        assert bench.queue.intake.refusal() is None
        assert bench.queue.pending.index.count == 1, "what was refused is not stored"

    simulate(test, late=LATE_STREAM)


class _Connection:
    """A caller who has sent several messages, and is told in their order (`ports.Receipt`)."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def accepted(self, message: Message) -> None:
        self.told.append("accepted")

    def duplicate(self, message_id: bytes) -> None:
        raise AssertionError("they have no keys")

    def refused(self, refusal: Refusal) -> None:
        self.told.append(refusal.slug)


class _PassedOn(_Connection):
    """One that stands for another."""

    def __init__(self, receipt: _Connection) -> None:
        self.receipt = receipt
        self.told = receipt.told


def test_who_is_told_in_order_is_not_refused_before_what_is_with_the_log() -> None:
    """The first of a connection may be stored: its answer must not be the second one's."""

    async def test(bench: Bench) -> None:
        bench.log.append_s = 4.0
        both, second = _Connection(), _Connection()
        accept = bench.queue.intake.accept
        accept(message(name="first"), both)
        accept(message(name="behind it"), both)
        accept(message(name="passed on"), _PassedOn(both))
        accept(message(name="another's"), second)
        accept(message(name="its next"), second)
        await asyncio.sleep(2.1)
        assert (both.told, second.told) == ([], ["log_late", "log_late"])
        await asyncio.sleep(8)
        assert both.told == ["accepted"] * 3

    simulate(test, late=LATE_STREAM)


def test_stalled_dead_letter_log_refuses_nobody() -> None:
    """Messages are accepted and delivered; only what is given up waits. It is told all the same."""

    async def test(bench: Bench) -> None:
        bench.dead_log.append_s = 30.0
        bench.accept(message(name="first"))
        await asyncio.sleep(0.1)
        (one,) = bench.deliverer.flying
        bench.end(one, failed(410))
        await asyncio.sleep(6)
        assert [what for log, what in bench.notes.stalls] == ["slow", "stalled"]
        assert {log for log, _ in bench.notes.stalls} == {LogName.DEAD_LETTER}
        assert bench.queue.intake.refusal() is None
        assert bench.queue.dead_letters.committer.stalled

    simulate(test)


class Told:
    """A waiter that may be told once."""

    def __init__(self) -> None:
        self.what = ""

    def stored(self, position: int) -> None:
        assert not self.what
        self.what = "stored"

    def refused(self, refusal: Refusal) -> None:
        assert not self.what
        self.what = refusal.slug


@pytest.mark.parametrize("returns", [False, True])
def test_those_who_wait_are_told_when_the_process_ends_without_the_log(*, returns: bool) -> None:
    """The thread hangs in its sync. Who waits hears once that nobody knows, and nothing more when
    the sync returns after all; what was stored before is there at the next start."""
    disk, go = SimulatedDisk(), threading.Event()

    async def main(clock: SimulatedClock) -> None:
        errors: list[object] = []
        log = FileLog(Path("/log"), disk)
        committer = Committer(
            log,
            collect=lambda: None,
            settled=lambda: None,
            failed=errors.append,
            space_changed=errors.append,
            died=lambda name, error: errors.append(error),
        )
        await log.open("test", 1)
        committer.start()
        watch = StallWatch(committer, lambda before, pace, waited_s: None)
        watch.start()
        first, second, third = Told(), Told(), Told()
        committer.submit(b"first", first)
        await committer.flush()
        assert first.what == "stored"
        disk.before_sync = lambda: go.wait(20)
        committer.submit(b"second", second)
        committer.submit(b"third", third)
        await asyncio.sleep(6)
        assert committer.stalled
        if returns:
            go.set()
            await committer.flush()
            assert (second.what, third.what) == ("stored", "stored")
            await asyncio.sleep(1)
            assert not committer.stalled
        else:
            committer.abandon()
            committer.abandon()
            assert (second.what, third.what) == ("log_failed", "log_failed")
            go.set()
        watch.stop()
        await committer.stop()
        await log.close()
        await asyncio.sleep(0.1)
        assert errors == []
        found: list[bytes] = []
        again = FileLog(Path("/log"), disk)
        await again.open("test", 2, each(lambda position, payload: found.append(payload)))
        await again.close()
        assert found[0] == b"first"

    run(main)
