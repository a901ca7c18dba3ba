"""Who may be connected to the API, and for how long without doing anything."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from aiohttp import web

from dispatcher.api.connections import FIRST_SECONDS, WRITE_SECONDS, Connection, Connections


class Wire(asyncio.Transport):
    """A transport whose other side takes nothing until a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cut = False
        self.unwritten = 0

    def abort(self) -> None:
        self.is_cut = True

    def get_write_buffer_size(self) -> int:
        return self.unwritten


class House:
    """Connections by a clock that the test moves."""

    def __init__(self, most: int) -> None:
        self.now = 1000.0
        self.connections = Connections(most, lambda: self.now)

    def come(self) -> tuple[Connection, Wire]:
        """One more connection."""
        wire = Wire()
        connection = Connection(asyncio.Protocol(), self.connections)
        connection.connection_made(wire)
        return connection, wire

    def wait(self, seconds: float) -> None:
        """Let time pass, a second at a time, as the server looks."""
        for _ in range(round(seconds)):
            self.now += 1
            self.connections.look()

    def know(self, wire: Wire) -> None:
        """A request with a right key came."""
        self.connections.know(_request(wire))


def _request(wire: Wire) -> web.Request:
    return cast(web.Request, SimpleNamespace(transport=wire))


def test_strangers_are_cut_off_when_they_ask_nothing_for_a_while() -> None:
    """A connection without a request takes a descriptor, and anybody can open it."""
    house = House(10)
    _, stranger = house.come()
    _, known = house.come()
    house.know(known)
    house.wait(FIRST_SECONDS - 1)
    assert not stranger.is_cut
    house.wait(1)
    assert (stranger.is_cut, known.is_cut) == (True, False)
    assert len(house.connections) == 1


async def test_connection_that_fails_when_it_is_looked_at_does_not_keep_the_others() -> None:
    """It is reported and counted no more; the others have their time-outs."""

    class Broken(Wire):
        def abort(self) -> None:
            raise ValueError("a mistake in this program")

    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reported.append(str(context["exception"]))
    )
    house = House(10)
    Connection(asyncio.Protocol(), house.connections).connection_made(Broken())
    _, stranger = house.come()
    house.wait(FIRST_SECONDS + 1)
    assert stranger.is_cut
    assert len(house.connections) == 0
    assert reported == ["a mistake in this program"]


def test_late_look_closes_nobody() -> None:
    """The process stood still, and what was sent meanwhile is still to be read; who has sent
    nothing is closed by the next look."""
    house = House(10)
    _, stranger = house.come()
    _, deaf = house.come()
    house.know(deaf)
    deaf.unwritten = 70_000
    house.wait(1)
    house.now += 1000
    house.connections.look()
    assert (stranger.is_cut, deaf.is_cut) == (False, False)
    house.wait(1)
    assert (stranger.is_cut, deaf.is_cut) == (True, True)


def test_stranger_that_asks_is_given_its_time_anew() -> None:
    """A probe of `/readyz` that keeps its connection shows no key."""
    house = House(10)
    connection, wire = house.come()
    for _ in range(5):
        house.wait(FIRST_SECONDS - 1)
        connection.requests += 1
        house.wait(FIRST_SECONDS)  # an answer that takes long is not its fault
        connection.requests -= 1
        connection.idle_since = house.now
    assert not wire.is_cut


def test_newcomer_takes_the_place_of_the_stranger_that_was_idle_longest() -> None:
    """Whoever opens connections and asks nothing does not keep operators out."""
    house = House(3)
    _, operator = house.come()
    house.know(operator)
    wires = []
    for _ in range(5):
        house.now += 0.1
        wires.append(house.come()[1])
    assert [wire.is_cut for wire in wires] == [True, True, True, False, False]
    assert not operator.is_cut
    assert len(house.connections) == 3


def test_newcomer_takes_the_place_of_a_stranger_whose_request_is_under_way() -> None:
    """A stranger that asks in a loop has one under way at all times."""
    house = House(2)
    operator, known = house.come()
    house.know(known)
    operator.requests = 1
    stranger, wire = house.come()
    stranger.requests = 1
    _, late = house.come()
    assert (known.is_cut, wire.is_cut, late.is_cut) == (False, True, False)


def test_newcomer_is_cut_off_when_all_others_are_in_use() -> None:
    """Nobody is interrupted for somebody else, and the number is not exceeded."""
    house = House(2)
    for _ in range(2):
        connection, wire = house.come()
        house.know(wire)
        connection.requests = 1
    _, late = house.come()
    assert late.is_cut
    assert len(house.connections) == 2


def test_known_connection_that_is_idle_makes_room_when_there_is_no_stranger() -> None:
    """A client that forgets its connections open does not keep others out."""
    house = House(2)
    _, first = house.come()
    house.know(first)
    house.now += 1
    _, wire = house.come()
    house.know(wire)
    house.come()
    assert (first.is_cut, wire.is_cut) == (True, False)


def test_reader_that_takes_nothing_is_cut_off_and_one_that_is_slow_is_not() -> None:
    """What is written and not read is kept in memory, and its connection open for ever."""
    house = House(3)
    (_, deaf), (_, slow), (flowing, flows) = house.come(), house.come(), house.come()
    for wire in (deaf, slow, flows):
        house.know(wire)
        wire.unwritten = 70_000
    for _ in range(2 * round(WRITE_SECONDS)):
        slow.unwritten -= 1
        flowing.resume_writing()  # it was read, and as much was written again
        house.wait(1)
    assert (deaf.is_cut, slow.is_cut, flows.is_cut) == (True, False, False)
