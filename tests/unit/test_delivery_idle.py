"""The connections that wait for their next message: which is handed out, and which give way."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

import pytest

from dispatcher.core.destination import Destination
from dispatcher.core.room import Rooms
from dispatcher.delivery.attempt import Attempt
from dispatcher.delivery.connection import Connection
from dispatcher.delivery.idle import IdleConnections
from dispatcher.delivery.progress import Progress


class Wire(asyncio.Transport):
    """A transport to nowhere, which notes that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True


class Nobody:
    """An owner who listens to nothing."""

    rooms = start_rooms = Rooms()

    def opened(self, connection: Connection) -> None:
        pass

    def answered(self, connection: Connection, attempt: Attempt, progress: Progress) -> None:
        pass

    def ended(self, connection: Connection, attempt: Attempt, error: Exception | None) -> None:
        pass

    def useless(self, connection: Connection) -> None:
        pass

    def closed(self, connection: Connection) -> None:
        pass


def connect(destination: Destination) -> Connection:
    """Open a connection at the time at which `Loop` begins."""
    connection = Connection(destination, Nobody())
    connection.connection_made(Wire())
    connection.opened_s = 100.0
    return connection


class Loop:
    """Stands in for the event loop: its clock and one timer."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.loop = asyncio.new_event_loop()
        self.timer: asyncio.TimerHandle | None = None

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: object) -> asyncio.TimerHandle:
        assert callable(callback)
        self.timer = asyncio.TimerHandle(when, callback, (), self.loop)
        return self.timer

    def call_later(self, delay: float, callback: object) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay, callback)

    def advance(self, seconds: float) -> None:
        """Let time pass, and fire the timer as often as it is due."""
        until_s = self.now_s + seconds
        while (timer := self.timer) and not timer.cancelled() and timer.when() <= until_s:
            self.now_s = timer.when()
            self.timer = None
            timer._run()
        self.now_s = until_s


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.loop.close()


def idle_of(loop: Loop, *, each: int = 100, total: int = 100) -> IdleConnections:
    """Keep so many, for ten seconds, and use each for a minute."""
    return IdleConnections(
        loop,  # type: ignore[arg-type]  # what it uses
        timeout_ms=10_000,
        max_age_ms=60_000,
        max_each=each,
        max_total=total,
    )


def destination(number: int) -> Destination:
    return Destination("http", f"h{number}", 80)


def park(idle: IdleConnections, loop: Loop, *numbers: int) -> list[Connection]:
    """Park a connection to each of these destinations, one a second."""
    parked = []
    for number in numbers:
        loop.now_s += 1
        parked.append(connect(destination(number)))
        idle.park(parked[-1])
    return parked


def closed(connections: list[Connection]) -> list[int]:
    """Which of them were closed, by their index."""
    return [index for index, connection in enumerate(connections) if connection.closing]


def test_connection_used_last_is_taken_first(loop: Loop) -> None:
    """Per destination; there is none for another one."""
    idle = idle_of(loop)
    first, other, second = park(idle, loop, 1, 2, 1)
    assert idle.count == 3
    assert [idle.take(destination(1).key, loop.now_s) for _ in range(3)] == [second, first, None]
    assert idle.take(destination(3).key, loop.now_s) is None
    assert idle.take(destination(2).key, loop.now_s) is other
    assert idle.count == 0


def test_connection_older_than_the_maximum_is_never_handed_out(loop: Loop) -> None:
    """However busy it is: closed when it comes back, and when it is asked for."""
    idle = idle_of(loop)
    old, young = connect(destination(1)), connect(destination(1))
    loop.now_s = young.opened_s = 155.0
    idle.park(old)
    assert idle.take(destination(1).key, 159.9) is old
    idle.park(young)
    idle.park(old)
    assert idle.take(destination(1).key, 160.0) is young
    assert old.closing
    loop.now_s = 215.0
    idle.park(young)
    assert young.closing
    assert idle.take(destination(1).key, loop.now_s) is None
    assert idle.count == 0


def test_those_that_waited_longest_give_way_when_descriptors_are_lacking(loop: Loop) -> None:
    """As many as are asked for, or as there are."""
    idle = idle_of(loop)
    parked = park(idle, loop, 1, 2, 1)
    assert idle.give_way(2)
    assert closed(parked) == [0, 1]
    assert idle.give_way(2)
    assert closed(parked) == [0, 1, 2]
    assert not idle.give_way(2)


def test_oldest_of_a_destination_gives_way_when_it_has_too_many(loop: Loop) -> None:
    """Those of others do not, however old."""
    idle = idle_of(loop, each=2)
    assert closed(park(idle, loop, 2, 1, 1, 1, 1)) == [1, 2]
    assert idle.count == 3


def test_oldest_of_all_gives_way_when_there_are_too_many(loop: Loop) -> None:
    """Whichever destination it is of, and as old as it is since it was parked last."""
    idle = idle_of(loop, total=3)
    first, second, third = parked = park(idle, loop, 1, 2, 3)
    assert idle.take(destination(1).key, loop.now_s) is first
    loop.now_s += 1
    idle.park(first)
    parked += park(idle, loop, 4)
    assert closed(parked) == [1]
    parked += park(idle, loop, 3)
    assert closed(parked) == [1, 2]
    assert (second.closing, third.closing, idle.count) == (True, True, 3)


def test_none_is_kept_when_none_may_be(loop: Loop) -> None:
    """A limit of 0 is a limit."""
    for each, total in ((0, 9), (9, 0), (0, 0)):
        idle = idle_of(loop, each=each, total=total)
        assert closed(park(idle, loop, 1, 1)) == [0, 1]
        assert idle.count == 0


def test_each_is_closed_when_it_has_waited_long_enough(loop: Loop) -> None:
    """By one timer, which ends with the last of them and begins again with the next."""
    idle = idle_of(loop)
    parked = park(idle, loop, 1, 2, 1)
    loop.advance(7.5)
    assert closed(parked) == []
    loop.advance(1)
    assert closed(parked) == [0]
    loop.advance(1)
    assert closed(parked) == [0, 1]
    loop.advance(1)
    assert (closed(parked), idle.count, loop.timer) == ([0, 1, 2], 0, None)
    parked = park(idle, loop, 1)
    loop.advance(10)
    assert closed(parked) == [0]


def test_sweep_goes_on_after_a_connection_that_fails_to_close(loop: Loop) -> None:
    """The others are closed in their turn, and those that are parked later too."""

    class Broken(Wire):
        def close(self) -> None:
            raise ValueError("a mistake in this program")

    idle = idle_of(loop)
    loop.loop.set_exception_handler(lambda *_: None)
    broken = connect(destination(1))
    broken.connection_made(Broken())
    idle.park(broken)
    parked = park(idle, loop, 2)
    loop.advance(12.0)
    assert [connection.closing for connection in parked] == [True]
    parked = park(idle, loop, 3)
    loop.advance(10.0)
    assert [connection.closing for connection in parked] == [True]


def test_removed_connection_is_not_handed_out(loop: Loop) -> None:
    """Nor closed; twice is harmless, and so is one that was never parked."""
    idle = idle_of(loop)
    first, second = park(idle, loop, 1, 1)
    for _ in range(2):
        idle.remove(second)
    idle.remove(connect(destination(1)))
    assert (idle.count, closed([first, second])) == (1, [])
    assert idle.take(destination(1).key, loop.now_s) is first


def test_closing_closes_all_and_stops_the_timer(loop: Loop) -> None:
    """Twice is harmless."""
    idle = idle_of(loop)
    parked = park(idle, loop, 1, 2, 1)
    timer = loop.timer
    for _ in range(2):
        idle.close()
    assert (closed(parked), idle.count) == ([0, 1, 2], 0)
    assert timer is not None
    assert timer.cancelled()


def test_destinations_are_forgotten_with_their_last_connection(loop: Loop) -> None:
    """Whether it gave way, waited too long, or was lost while it carried a message."""
    idle = idle_of(loop, total=5)
    park(idle, loop, *range(50))
    assert len(idle._stacks) == 5
    taken = [idle.take(destination(number).key, loop.now_s) for number in (45, 46)]
    for connection in taken:
        assert connection is not None
        idle.remove(connection)
    assert len(idle._stacks) == 3
    loop.advance(20)
    assert (idle.count, len(idle._stacks)) == (0, 0)


def test_parking_costs_the_same_however_many_destinations_there_are(loop: Loop) -> None:
    """Where each makes another one give way. It was a hundred times as much for a hundred times as
    many."""
    costs = []
    for total in (100, 10_000):
        idle = idle_of(loop, total=total)
        parked = [connect(destination(number)) for number in range(total + 500)]
        for connection in parked[:total]:
            idle.park(connection)
        took_ns = []
        for connection in parked[total:]:
            began = time.perf_counter_ns()
            idle.park(connection)
            took_ns.append(time.perf_counter_ns() - began)
        assert len(closed(parked)) == 500
        costs.append(statistics.median(took_ns))
    assert costs[1] < 20 * costs[0]
