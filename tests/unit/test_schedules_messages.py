"""Schedules of messages on simulated time: what is made, when, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import pytest

from dispatcher.errors import Refused
from dispatcher.functions.ids import call_id
from dispatcher.functions.rules import Rules
from dispatcher.functions.schedules.calls import CallMaker, Environment
from dispatcher.functions.schedules.facts import StoredFacts
from dispatcher.functions.shown import CallState
from dispatcher.schedules.keeper import Keeper
from dispatcher.schedules.messages import MessageMaker, MessageOutcome
from dispatcher.schedules.plans import (
    MOST_EARLIER,
    CatchUp,
    Overlap,
    Plan,
    PlannedCall,
    PlannedMessage,
)
from dispatcher.schedules.surface import FiringView, ScheduleView
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.callstore import CallBench
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.memory_store import DISK_FULL
from dispatcher.testing.planned import MemoryQueue

REPORT = PlannedMessage("http://a.example", "PUT", "/report", (), b"body")
HOURLY = Plan("0 * * * *", "UTC", REPORT)
FIRST_US: Final = 1_704_070_800_000_000  # 2024-01-01T01:00:00Z
HOUR_S: Final = 3600.0


class Server:
    """A store of facts and a queue, with schedules. The store can be crashed; messages that are
    durable stay. It begins at 2024-01-01."""

    keeper: Keeper

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.bench = CallBench(clock)
        self.queue = MemoryQueue()
        self.died: list[BaseException] = []

    async def start(self) -> None:
        """Begin, or go on after a crash."""
        await self.bench.start()
        for watch in (self.bench.queue.stalls, self.bench.queue.dead_stalls):
            watch.stop()  # it looks twice a second, and hours pass here in which no log stalls
        self.supervisor = Supervisor(lambda name, error: self.died.append(error))
        store = self.bench.store
        maker = MessageMaker(self.queue, self.queue.build, self.clock.now_us)
        environment = Environment(
            now_us=self.clock.now_us,
            next_key=self.bench.keys.next,
            id_of=partial(call_id, 0),
            ended_as=_unknown,
            state_of=lambda call: CallState.READY,
        )
        calls = CallMaker(store, store.machine, Rules(), environment)
        self.keeper = Keeper(
            StoredFacts(store, store.machine),
            {PlannedMessage: maker, PlannedCall: calls},
            now_us=self.clock.now_us,
            supervisor=self.supervisor,
        )
        await self.keeper.open()
        self.keeper.start()

    async def crash(self) -> None:
        """Lose all but the disk."""
        self.keeper.stop()
        await self.supervisor.stop()
        await self.bench.crash()
        assert not self.died

    @property
    def keys(self) -> list[str]:
        """Of the messages there are."""
        return [kept.key for kept in self.queue.kept.values()]

    async def view(self, name: str = "hourly") -> ScheduleView:
        """A schedule that is there."""
        found = await self.keeper.get("", name)
        assert found is not None
        return found

    async def last(self) -> FiringView:
        """The last firing of a schedule that has fired."""
        found = (await self.view()).last
        assert found is not None
        return found


async def _unknown(key: int) -> None:
    """Nothing is known of calls that have ended."""


def key(time: str, name: str = "hourly") -> str:
    """The idempotency key of a firing on the first of January."""
    return f"{name}@2024-01-01T{time}:00.000000Z"


def play(main: Callable[[Server], Awaitable[None]]) -> None:
    """Run a test on simulated time, and see that nothing has failed behind it."""

    async def whole(clock: SimulatedClock) -> None:
        server = Server(clock)
        await server.start()
        await main(server)
        await server.crash()

    run(whole)


def test_message_is_made_at_each_time_under_the_key_of_its_firing() -> None:
    """As it is planned; the schedule shows its id, and that it waits, then that it is delivered."""

    async def main(server: Server) -> None:
        view, is_new = await server.keeper.put("", "hourly", HOURLY)
        assert is_new
        assert view.plan.what == REPORT
        await asyncio.sleep(HOUR_S - 1)
        assert not server.keys
        await asyncio.sleep(2)
        assert server.keys == [key("01:00")]
        ((message_id, kept),) = server.queue.kept.items()
        message = kept.message
        assert (str(message.destination), message.method, message.target, message.body) == (
            "http://a.example",
            "PUT",
            "/report",
            b"body",
        )
        assert await server.last() == FiringView(FIRST_US, message_id, "waiting")
        server.queue.end()
        await asyncio.sleep(2)
        assert (await server.last()).state == "delivered"
        await asyncio.sleep(HOUR_S)
        assert server.keys == [key("01:00"), key("02:00")]

    play(main)


def test_name_of_the_api_key_is_part_of_the_idempotency_key() -> None:
    """Schedules of two of them may have one name, and both fire."""

    async def main(server: Server) -> None:
        for application in ("shop", "bank"):
            await server.keeper.put(application, "hourly", HOURLY)
        await asyncio.sleep(HOUR_S + 1)
        assert sorted(server.keys) == [f"bank/{key('01:00')}", f"shop/{key('01:00')}"]

    play(main)


@pytest.mark.parametrize(
    ("zone", "begin", "time"),
    [
        ("Europe/Berlin", "2024-03-30T23:50", "2024-03-31T01:00:00.000000Z"),
        ("Europe/Berlin", "2024-10-26T23:50", "2024-10-27T00:30:00.000000Z"),
        ("America/New_York", "2024-03-10T05:50", "2024-03-10T07:00:00.000000Z"),
        ("America/New_York", "2024-11-03T05:50", "2024-11-03T05:30:00.000000Z"),
    ],
)
def test_daily_message_follows_the_clock_on_the_wall_when_it_is_moved(
    zone: str, begin: str, time: str
) -> None:
    """Half past two, or half past one in autumn there: once, though the hour is not there, or there
    twice. The time in the key is UTC."""

    async def main(server: Server) -> None:
        began = datetime.fromisoformat(begin).replace(tzinfo=UTC)
        server.clock.set_wall_clock(int(began.timestamp()) * 1_000_000 - 1_800_000_000)
        cron = "30 1 * * *" if time.startswith("2024-11") else "30 2 * * *"
        await server.keeper.put("", "nightly", replace(HOURLY, cron=cron, timezone=zone))
        await asyncio.sleep(4 * HOUR_S)
        assert server.keys == [f"nightly@{time}"]

    play(main)


@pytest.mark.parametrize(
    "outcome", [MessageOutcome.DELIVERED, MessageOutcome.DEAD, MessageOutcome.CANCELLED]
)
def test_firing_waits_until_the_message_before_has_ended(outcome: MessageOutcome) -> None:
    """Overlap `queue`: delivered, dead or cancelled; none is lost, one after the other."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(2.5 * HOUR_S)
        assert server.keys == [key("01:00")]
        assert (await server.view()).is_waiting
        server.queue.end(outcome)
        await asyncio.sleep(10)
        assert server.keys == [key("01:00"), key("02:00")]
        assert not (await server.view()).is_waiting

    play(main)


def test_firing_is_left_out_while_the_message_before_waits() -> None:
    """Overlap `skip`: and counted."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", replace(HOURLY, overlap=Overlap.SKIP))
        await asyncio.sleep(2.5 * HOUR_S)
        server.queue.end()
        await asyncio.sleep(HOUR_S)
        assert server.keys == [key("01:00"), key("03:00")]
        assert (await server.view()).skipped == 1

    play(main)


def test_dead_letter_that_is_redriven_is_waited_for_again() -> None:
    """It is pending, as any message."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(HOUR_S + 1)
        server.queue.end(MessageOutcome.DEAD)
        await asyncio.sleep(2)
        assert (await server.last()).state == "dead"
        (kept,) = server.queue.kept.values()
        kept.outcome = MessageOutcome.WAITING
        assert (await server.last()).state == "waiting"
        await asyncio.sleep(HOUR_S)
        assert server.keys == [key("01:00")]
        server.queue.end()
        await asyncio.sleep(10)
        assert server.keys == [key("01:00"), key("02:00")]

    play(main)


@pytest.mark.parametrize(
    ("catch_up", "times"),
    [
        (CatchUp.NONE, ["05:00"]),
        (CatchUp.LAST, ["04:00", "05:00"]),
        (CatchUp.ALL, ["01:00", "02:00", "03:00", "04:00", "05:00"]),
    ],
)
def test_what_came_while_the_server_was_down_is_made_up_for_as_planned(
    catch_up: CatchUp, times: list[str]
) -> None:
    """Four firings are missed; each that is made up for has the key of its own time."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", replace(HOURLY, catch_up=catch_up))
        await server.crash()
        await asyncio.sleep(4.5 * HOUR_S)
        await server.start()
        for _ in range(8):
            await asyncio.sleep(600)
            server.queue.end()
        assert server.keys == [key(time) for time in times]

    play(main)


@pytest.mark.parametrize("catch_up", list(CatchUp))
def test_firing_is_made_once_whenever_the_server_dies(catch_up: CatchUp) -> None:
    """A crash after any turn of the loop around it: the message is there once, and its schedule
    knows it. Where nothing is made up for it may be missing, and is then forgotten."""
    found = set()
    for turns in range(0, 36, 2):

        async def main(server: Server, turns: int = turns) -> None:
            server.clock.set_wall_clock(FIRST_US - 2_000_000)
            every_minute = replace(HOURLY, cron="* * * * *", catch_up=catch_up)
            await server.keeper.put("", "hourly", every_minute)
            await asyncio.sleep(2)
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.crash()
            before = server.keys
            await server.start()
            await asyncio.sleep(20)
            is_marked = (await server.view()).last is not None
            found.add((bool(before), is_marked))
            if before or catch_up is not CatchUp.NONE:
                assert server.keys == [key("01:00")]
                assert await server.last() == FiringView(FIRST_US, f"{1:028x}", "waiting")
            else:
                assert not server.keys
            await server.crash()
            await server.start()
            server.queue.end()
            await asyncio.sleep(60)
            assert server.keys[-1] == key("01:01")
            assert len(set(server.keys)) == len(server.keys)

        play(main)
    assert found == {(False, catch_up is not CatchUp.NONE), (True, True)}


def test_outcome_is_known_after_a_start() -> None:
    """Though nothing is left of the message, and also where it was delivered just before."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(HOUR_S + 1)
        server.queue.end(MessageOutcome.DEAD)
        await asyncio.sleep(2)
        await server.crash()
        for kept in server.queue.kept.values():  # purged
            kept.outcome = None
        await server.start()
        assert (await server.last()).state == "dead"
        await asyncio.sleep(HOUR_S)
        await server.crash()  # the second one waits
        server.queue.end(None)
        await server.start()
        await asyncio.sleep(2)
        assert (await server.last()).state == "delivered"
        await server.crash()
        server.queue.keys.clear()
        await server.start()
        assert (await server.last()).state == "delivered"

    play(main)


def test_outcomes_of_the_last_ten_are_shown() -> None:
    """The newest first, also after a start, and when nothing is left of the messages; one that was
    redriven as it stands now."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        outcomes = [MessageOutcome.DEAD, MessageOutcome.DELIVERED, MessageOutcome.DEAD]
        for outcome in [*outcomes, *[MessageOutcome.DELIVERED] * 8, MessageOutcome.WAITING]:
            await asyncio.sleep(HOUR_S - 10)
            server.queue.end(outcome)
            await asyncio.sleep(10)
        view = await server.view()
        assert view.last is not None
        assert [one.at_us for one in view.earlier] == [
            view.last.at_us - number * 3_600_000_000 for number in range(1, MOST_EARLIER + 1)
        ]
        words = ["delivered"] * 8 + ["dead"]
        assert [one.state for one in view.earlier] == words
        for kept in list(server.queue.kept.values())[:-1]:
            kept.outcome = None
        assert [one.state for one in (await server.view()).earlier] == words
        await server.crash()
        await server.start()
        assert (await server.view()).earlier == view.earlier
        server.queue.kept[view.earlier[-1].id].outcome = MessageOutcome.WAITING
        assert (await server.view()).earlier[-1].state == "waiting"

    play(main)


def test_what_is_known_of_no_message_any_more_is_said() -> None:
    """It ended while the server was down, and its key is gone: cancelled, or long ago."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(HOUR_S + 1)
        await server.crash()
        server.queue.end(None)
        server.queue.keys.clear()
        await server.start()
        await asyncio.sleep(2)
        assert (await server.last()).state is None
        await asyncio.sleep(HOUR_S)
        assert len(server.keys) == 2

    play(main)


def test_messages_that_wait_are_looked_at_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not whenever one is made: there may be a thousand of them, and two messages of each."""

    async def main(server: Server) -> None:
        looked: list[str] = []
        outcome = server.queue.outcome

        def counted(message_id: str) -> MessageOutcome | None:
            looked.append(message_id)
            return outcome(message_id)

        monkeypatch.setattr(server.queue, "outcome", counted)
        for number in range(100):
            await server.keeper.put("", f"s{number}", HOURLY)
            await server.keeper.run("", f"s{number}")
            await asyncio.sleep(0.001)
        assert len(looked) < 500
        await asyncio.sleep(60)
        assert 500 < len(looked) < 100 * (60 / 8 + 10)

    play(main)


def test_run_by_hand_moves_nothing_and_has_a_key_of_its_own() -> None:
    """Twice at once too, and at the moment of a firing; also while it is paused."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await server.keeper.pause("", "hourly", paused=True)
        server.clock.set_wall_clock(FIRST_US)
        firings = [await server.keeper.run("", "hourly") for _ in range(2)]
        assert [None if one is None else one.id for one in firings] == list(server.queue.kept)
        assert len(set(server.keys)) == 2
        assert key("01:00") not in server.keys
        assert (await server.view()).last_run == firings[1]
        await server.crash()
        await server.start()
        assert (await server.view()).last_run == firings[1]
        await server.keeper.pause("", "hourly", paused=False)
        await asyncio.sleep(HOUR_S + 1)
        assert server.keys[2:] == [key("02:00")]
        assert await server.keeper.run("", "unknown") is None

    play(main)


def test_firing_that_cannot_be_stored_comes_when_it_can() -> None:
    """A full disk for ten minutes: the message is made late, for its time, and once."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        server.queue.refusal = DISK_FULL
        with pytest.raises(Refused):
            await server.keeper.run("", "hourly")
        await asyncio.sleep(HOUR_S + 600)
        assert not server.keys
        server.queue.refusal = None
        await asyncio.sleep(10)
        assert server.keys == [key("01:00")]

    play(main)


def test_mark_that_cannot_be_stored_is_stored_when_it_can() -> None:
    """The message is there: it is shown, and no second one is made."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        store, stored = server.bench.store, server.bench.store.stored

        async def refused(*_: object, **__: object) -> None:
            raise Refused(DISK_FULL)

        store.stored = refused  # type: ignore[method-assign]  # a disk that is full
        by_hand = await server.keeper.run("", "hourly")
        assert by_hand is not None
        await asyncio.sleep(1.5 * HOUR_S)
        store.stored = stored  # type: ignore[method-assign]  # a disk that is full
        server.queue.end()
        await asyncio.sleep(10)
        view = await server.view()
        await server.crash()
        server.queue.keys.clear()  # what is known now is known from the mark
        await server.start()
        assert await server.view() == view
        assert view.last is not None
        assert view.last_run == replace(by_hand, state="delivered")
        assert server.keys[1:] == [key("01:00")]

    play(main)


def test_key_that_stands_for_another_message_counts_as_fired() -> None:
    """A schedule of that name fired then, with another body: that is not made twice."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(HOUR_S + 1)
        server.queue.end()
        await server.keeper.delete("", "hourly")
        server.clock.set_wall_clock(FIRST_US - 60_000_000)
        await server.keeper.put("", "hourly", replace(HOURLY, what=replace(REPORT, body=b"new")))
        await asyncio.sleep(70)
        assert len(server.keys) == 1
        assert (await server.last()).id == f"{1:028x}"

    play(main)


def test_schedule_of_another_kind_begins_anew() -> None:
    """Another message is the same kind; a call is not: the message is no more the last firing, and
    is not waited for."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(HOUR_S + 1)
        same = replace(HOURLY, what=replace(REPORT, target="/other"))
        assert (await server.keeper.put("", "hourly", same))[0].last is not None
        call = replace(HOURLY, what=PlannedCall("http://a.example", "f"))
        assert (await server.keeper.put("", "hourly", call))[0].last is None
        await asyncio.sleep(HOUR_S)
        (made,) = server.bench.store.machine.calls.values()
        assert (await server.last()).id == call_id(0, made.key)
        assert (await server.keeper.put("", "hourly", HOURLY))[0].last is None
        await asyncio.sleep(HOUR_S)
        assert server.keys == [key("01:00"), key("03:00")]
        await server.crash()
        await server.start()
        assert (await server.last()).id == f"{2:028x}"

    play(main)


def test_deleted_schedule_leaves_nothing() -> None:
    """Its messages go on."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(HOUR_S + 1)
        assert await server.keeper.delete("", "hourly")
        server.queue.end()
        await asyncio.sleep(2 * HOUR_S)
        assert server.keys == [key("01:00")]
        assert not server.bench.store.machine.facts

    play(main)
