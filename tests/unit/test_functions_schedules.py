"""Schedules on simulated time, over a store that crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from dispatcher.errors import Refused
from dispatcher.functions.events import Exited
from dispatcher.functions.ids import call_id
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.rules import Rules
from dispatcher.functions.schedules.calls import CallMaker, Environment, check_call
from dispatcher.functions.schedules.facts import StoredFacts
from dispatcher.functions.shown import CallState
from dispatcher.functions.store.store import Silent
from dispatcher.schedules import keeper
from dispatcher.schedules.keeper import Keeper
from dispatcher.schedules.plans import CatchUp, Overlap, Plan, PlannedCall
from dispatcher.schedules.surface import MOST_SCHEDULES, ScheduleInvalid, check
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.callstore import CallBench
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run
from dispatcher.testing.memory_store import DISK_FULL

CALL = PlannedCall("http://a.example", "f", b"in")
HOURLY = Plan("0 * * * *", "UTC", CALL)
FIRST_US = 1_704_070_800_000_000  # 2024-01-01T01:00:00Z
HOUR_S = 3600.0


class Listening(Silent):
    """Tells the maker of calls what has ended."""

    def __init__(self, calls: CallMaker) -> None:
        self.calls = calls

    def has_ended(self, call: Call) -> None:
        self.calls.has_ended(call)


class Server:
    """A store with schedules, which can be crashed and started again. It begins at 2024-01-01."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.bench = CallBench(clock)
        self.died: list[BaseException] = []
        self.ended: dict[int, CallState] = {}

    async def start(self) -> Keeper:
        """Begin, or go on after a crash."""
        await self.bench.start()
        for watch in (self.bench.queue.stalls, self.bench.queue.dead_stalls):
            watch.stop()  # it looks twice a second, and hours pass here in which no log stalls
        self.supervisor = Supervisor(lambda name, error: self.died.append(error))
        store = self.bench.store
        environment = Environment(
            now_us=self.clock.now_us,
            next_key=self.bench.keys.next,
            id_of=partial(call_id, 0),
            ended_as=self._ended_as,
            state_of=lambda call: CallState.SUSPENDED,
        )
        calls = CallMaker(store, store.machine, Rules(), environment)
        self.keeper = Keeper(
            StoredFacts(store, store.machine),
            {PlannedCall: calls},
            now_us=self.clock.now_us,
            supervisor=self.supervisor,
        )
        await self.keeper.open()
        store.machine.listener = Listening(calls)
        self.keeper.start()
        return self.keeper

    async def _ended_as(self, key: int) -> CallState | None:
        return self.ended.get(key)

    async def crash(self) -> None:
        """Lose all but the disk."""
        self.keeper.stop()
        await self.supervisor.stop()
        await self.bench.crash()
        assert not self.died

    @property
    def calls(self) -> list[Call]:
        """Those that exist."""
        return list(self.bench.store.machine.calls.values())

    def times(self) -> list[str]:
        """When they were made."""
        return [shown(call.created_us) for call in self.calls]

    async def end(self, call: Call) -> None:
        """A call ends."""
        await self.bench.store.stored(
            Exited(call.key, call.step, How.OK, b"out", False, self.clock.now_us())
        )


def shown(at_us: int) -> str:
    """An instant, as text."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%d %H:%M")


def play(main: Callable[[Server], Awaitable[None]]) -> None:
    """Run a test on simulated time, and see that nothing has failed behind it."""

    async def whole(clock: SimulatedClock) -> None:
        server = Server(clock)
        await server.start()
        await main(server)
        await server.crash()

    run(whole)


def test_call_is_made_at_each_time() -> None:
    """With its application, function and input; the schedule shows the last one."""

    async def main(server: Server) -> None:
        view, is_new = await server.keeper.put("shop", "hourly", HOURLY)
        assert is_new
        assert view.next_at_us is not None
        assert shown(view.next_at_us) == "01 01:00"
        await asyncio.sleep(HOUR_S - 1)
        assert not server.calls
        await asyncio.sleep(2)
        (call,) = server.calls
        assert (call.application, call.endpoint, call.function) == (
            "shop",
            "http://a.example",
            "f",
        )
        assert await server.bench.bytes_of(call.input) == [b"in"]
        assert call.expires_us == call.created_us + 86_400_000_000
        found = await server.keeper.get("shop", "hourly")
        assert found is not None
        assert found.last is not None
        assert found.next_at_us is not None
        assert (shown(found.last.at_us), shown(found.next_at_us)) == ("01 01:00", "01 02:00")
        assert found.last.id == call_id(0, call.key)
        assert found.last.state == "suspended"
        await server.end(call)
        await asyncio.sleep(HOUR_S)
        assert server.times() == ["01 01:00", "01 02:00"]

    play(main)


@pytest.mark.parametrize(
    ("zone", "begin", "time"),
    [
        ("Europe/Berlin", "2024-03-30T23:50", "31 01:00"),
        ("Europe/Berlin", "2024-10-26T23:50", "27 00:30"),
        ("America/New_York", "2024-03-10T05:50", "10 07:00"),
        ("America/New_York", "2024-11-03T05:50", "03 07:30"),
    ],
)
def test_daily_schedule_follows_the_clock_on_the_wall_when_it_is_moved(
    zone: str, begin: str, time: str
) -> None:
    """Half past two, in the night when there is none, and in the one with two: once."""

    async def main(server: Server) -> None:
        began = datetime.fromisoformat(begin).replace(tzinfo=UTC)
        server.clock.set_wall_clock(int(began.timestamp()) * 1_000_000)
        await server.keeper.put("", "nightly", replace(HOURLY, cron="30 2 * * *", timezone=zone))
        await asyncio.sleep(1)
        for _ in range(6):
            await asyncio.sleep(HOUR_S / 2)
            for call in server.calls:
                if call.phase is not Phase.ENDED:
                    await server.end(call)
        assert server.times() == [time]

    play(main)


def test_firing_waits_for_the_call_before() -> None:
    """Overlap `queue`: one after the other, none is lost, each as soon as the last has ended."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(3.5 * HOUR_S)
        assert server.times() == ["01 01:00"]
        view = await server.keeper.get("", "hourly")
        assert view is not None
        assert view.is_waiting
        for expected in (2, 3):
            await server.end(server.calls[-1])
            await asyncio.sleep(1)
            assert len(server.calls) == expected
        await server.end(server.calls[-1])
        await asyncio.sleep(HOUR_S)
        assert server.times() == ["01 01:00", "01 03:30", "01 03:30", "01 04:00"]
        view = await server.keeper.get("", "hourly")
        assert view is not None
        assert view.last is not None
        assert shown(view.last.at_us) == "01 04:00"

    play(main)


def test_at_most_a_hundred_firings_wait() -> None:
    """Of more, the last ones."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "minutely", replace(HOURLY, cron="* * * * *"))
        await asyncio.sleep(5 * HOUR_S + 30)
        for _ in range(100):
            await server.end(server.calls[-1])
            await asyncio.sleep(0.01)
        assert len(server.calls) == 101
        view = await server.keeper.get("", "minutely")
        assert view is not None
        assert view.last is not None
        assert shown(view.last.at_us) == "01 05:00"

    play(main)


def test_firing_is_left_out_while_the_call_before_runs() -> None:
    """Overlap `skip`: and counted; the next one that finds nothing running is made."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", replace(HOURLY, overlap=Overlap.SKIP))
        await asyncio.sleep(3.5 * HOUR_S)
        await server.end(server.calls[0])
        await asyncio.sleep(HOUR_S)
        assert server.times() == ["01 01:00", "01 04:00"]
        view = await server.keeper.get("", "hourly")
        assert view is not None
        assert view.skipped == 2
        await server.crash()
        await server.start()
        view = await server.keeper.get("", "hourly")
        assert view is not None
        assert view.skipped == 2

    play(main)


@pytest.mark.parametrize(
    ("catch_up", "times"),
    [
        (CatchUp.NONE, ["01 05:00"]),
        (CatchUp.LAST, ["01 04:00", "01 05:00"]),
        (CatchUp.ALL, ["01 01:00", "01 02:00", "01 03:00", "01 04:00", "01 05:00"]),
    ],
)
def test_what_came_while_the_server_was_down_is_made_up_for_as_planned(
    catch_up: CatchUp, times: list[str]
) -> None:
    """Four firings are missed; each that is made up for is for its own time."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", replace(HOURLY, catch_up=catch_up))
        await server.crash()
        await asyncio.sleep(4.5 * HOUR_S)
        await server.start()
        found: list[str] = []
        for _ in range(8):
            await asyncio.sleep(600)
            view = await server.keeper.get("", "hourly")
            assert view is not None
            if view.last is not None and shown(view.last.at_us) not in found:
                found.append(shown(view.last.at_us))
                await server.end(server.calls[-1])
        assert found == times

    play(main)


def test_a_year_of_missed_firings_is_a_hundred() -> None:
    """The last ones; and that is found out at once."""

    async def main(server: Server) -> None:
        plan = replace(HOURLY, cron="* * * * *", catch_up=CatchUp.ALL)
        await server.keeper.put("", "minutely", plan)
        await server.crash()
        server.clock.set_wall_clock(server.clock.now_us() + 365 * 86_400_000_000)
        await server.start()
        for _ in range(100):
            await asyncio.sleep(0.01)
            await server.end(server.calls[-1])
        await asyncio.sleep(0.1)
        assert len(server.calls) == 100

    play(main)


def test_machine_that_slept_has_missed_what_came_meanwhile() -> None:
    """The clock jumps by five hours: what is made up for is as planned, one call by default."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(600)
        server.clock.set_wall_clock(server.clock.now_us() + 5 * 3_600_000_000)
        await asyncio.sleep(120)
        view = await server.keeper.get("", "hourly")
        assert view is not None
        assert view.last is not None
        assert shown(view.last.at_us) == "01 05:00"
        assert len(server.calls) == 1

    play(main)


def test_firing_is_made_once_whenever_the_server_dies() -> None:
    """A crash after any moment around it: the call and the mark are there, or neither is."""
    outcomes = set()
    for moments in range(0, 60, 3):

        async def main(server: Server, moments: int = moments) -> None:
            server.clock.set_wall_clock(FIRST_US - 2_000_000)
            await server.keeper.put("", "hourly", HOURLY)
            await asyncio.sleep((FIRST_US - server.clock.now_us()) / 1e6)
            for _ in range(moments):
                await asyncio.sleep(0)
            await server.crash()
            await server.start()
            outcomes.add(len(server.calls))
            await asyncio.sleep(60)
            assert len(server.calls) == 1
            view = await server.keeper.get("", "hourly")
            assert view is not None
            assert view.last is not None
            assert view.last.id == call_id(0, server.calls[0].key)
            assert shown(view.last.at_us) == "01 01:00"

        play(main)
    assert outcomes == {0, 1}


def test_clock_that_goes_back_fires_nothing_again() -> None:
    """What was fired stays fired."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(1.5 * HOUR_S)
        await server.end(server.calls[0])
        server.clock.set_wall_clock(server.clock.now_us() - 3_600_000_000)
        await asyncio.sleep(HOUR_S)
        assert len(server.calls) == 1
        await asyncio.sleep(HOUR_S)
        assert len(server.calls) == 2

    play(main)


def test_paused_schedule_rests_and_makes_up_for_nothing() -> None:
    """Also over a start; what is run by hand is run all the same."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", replace(HOURLY, catch_up=CatchUp.ALL))
        view = await server.keeper.pause("", "hourly", paused=True)
        assert view is not None
        assert view.next_at_us is None
        assert view.plan.what == CALL
        await asyncio.sleep(2.5 * HOUR_S)
        await server.crash()
        await server.start()
        await asyncio.sleep(2 * HOUR_S)
        assert not server.calls
        firing = await server.keeper.run("", "hourly")
        assert firing is not None
        assert [call_id(0, call.key) for call in server.calls] == [firing.id]
        await server.keeper.pause("", "hourly", paused=False)
        await asyncio.sleep(HOUR_S)
        assert server.times() == ["01 04:30", "01 05:00"]

    play(main)


def test_run_by_hand_moves_nothing() -> None:
    """It waits for no other call, the times stay, and it is shown beside the last firing."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(1.25 * HOUR_S)
        firing = await server.keeper.run("", "hourly")
        assert firing is not None
        view = await server.keeper.get("", "hourly")
        assert view is not None
        assert view.last is not None
        assert view.last_run is not None
        assert view.last_run.id == firing.id != view.last.id
        await server.end(server.calls[0])
        await asyncio.sleep(HOUR_S)
        assert server.times() == ["01 01:00", "01 01:15", "01 02:00"]
        assert await server.keeper.run("", "unknown") is None

    play(main)


def test_change_keeps_what_was_fired_unless_the_times_change() -> None:
    """The same plan put again, by every deployment say, loses and repeats nothing."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(2.5 * HOUR_S)  # the second one waits
        _, is_new = await server.keeper.put(
            "", "hourly", replace(HOURLY, what=replace(CALL, function="g"))
        )
        assert not is_new
        await server.end(server.calls[0])
        await asyncio.sleep(1)
        assert [call.function for call in server.calls] == ["f", "g"]
        await server.end(server.calls[1])
        await server.keeper.put("", "hourly", replace(HOURLY, cron="15 * * * *"))
        await asyncio.sleep(HOUR_S)
        assert server.times()[2:] == ["01 03:15"]

    play(main)


def test_deleted_schedule_fires_no_more() -> None:
    """Also after a start; its calls go on, and its name is free."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(1.5 * HOUR_S)
        assert await server.keeper.delete("", "hourly")
        assert not await server.keeper.delete("", "hourly")
        await asyncio.sleep(2 * HOUR_S)
        await server.crash()
        await server.start()
        await asyncio.sleep(2 * HOUR_S)
        assert len(server.calls) == 1
        assert await server.keeper.get("", "hourly") is None
        assert await server.keeper.pause("", "hourly", paused=True) is None
        assert not server.bench.store.machine.facts

    play(main)


def test_applications_have_their_own_names() -> None:
    """One list for each, one for operators."""

    async def main(server: Server) -> None:
        for application in ("shop", "bank"):
            await server.keeper.put(
                application, "hourly", replace(HOURLY, what=replace(CALL, function=application))
            )
        await server.keeper.delete("shop", "other")
        found = await server.keeper.list(only=None)
        assert [view.application for view in found] == ["bank", "shop"]
        assert [view.plan.what for view in found] == [
            PlannedCall("http://a.example", name) for name in ("bank", "shop")
        ]
        (view,) = await server.keeper.list(only="shop")
        assert view.application == "shop"
        assert await server.keeper.get("", "hourly") is None

    play(main)


def test_outcome_is_known_after_a_start() -> None:
    """Of a call that has ended: from its result."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        await asyncio.sleep(1.5 * HOUR_S)
        (call,) = server.calls
        server.ended[call.key] = CallState.FAILED
        await server.crash()
        await server.start()
        server.bench.store.machine.calls.clear()
        view = await server.keeper.get("", "hourly")
        assert view is not None
        assert view.last is not None
        assert view.last.state == "failed"
        await asyncio.sleep(HOUR_S)
        found = await server.keeper.get("", "hourly")
        assert found is not None
        assert found.earlier == [view.last]

    play(main)


def test_there_are_a_thousand_schedules_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is there can be changed all the same."""
    assert MOST_SCHEDULES == 1000
    monkeypatch.setattr(keeper, "MOST_SCHEDULES", 100)

    async def main(server: Server) -> None:
        await asyncio.gather(
            *(server.keeper.put("", f"s{number}", HOURLY) for number in range(100))
        )
        with pytest.raises(Refused, match="most"):
            await server.keeper.put("", "more", HOURLY)
        await server.keeper.put("", "s1", HOURLY)
        await asyncio.sleep(1.1 * HOUR_S)
        assert len(server.calls) == 100

    play(main)


def test_firing_that_cannot_be_stored_comes_when_it_can() -> None:
    """A full disk for ten minutes: the call is made late, for its time, and once."""

    async def main(server: Server) -> None:
        await server.keeper.put("", "hourly", HOURLY)
        store, stored = server.bench.store, server.bench.store.stored

        async def refused(*_: object, **__: object) -> None:
            raise Refused(DISK_FULL)

        store.stored = refused  # type: ignore[method-assign]  # a disk that is full
        await asyncio.sleep(HOUR_S + 600)
        store.stored = stored  # type: ignore[method-assign]  # a disk that is full
        assert not server.calls
        await asyncio.sleep(10)
        assert server.times() == ["01 01:10"]
        view = await server.keeper.get("", "hourly")
        assert view is not None
        assert view.last is not None
        assert shown(view.last.at_us) == "01 01:00"

    play(main)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (replace(HOURLY, cron="x"), "cron 'x'"),
        (replace(HOURLY, timezone="Berlin"), "timezone 'Berlin'"),
        (replace(HOURLY, cron="0 0 */31 * 1#5"), "no such day"),
    ],
)
def test_what_is_wrong_with_the_times_of_a_plan_is_named(plan: Plan, says: str) -> None:
    """The field, and why."""
    with pytest.raises(ScheduleInvalid) as caught:
        check(plan, 0)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (PlannedCall("ftp://a", "f"), "call.endpoint"),
        (PlannedCall("http://a.example", ""), "call.function is missing"),
        (replace(CALL, input=b"\x12\x80\x80\x14" + bytes(5 << 16)), "call.input has"),
    ],
)
def test_what_is_wrong_with_a_planned_call_is_named(call: PlannedCall, says: str) -> None:
    """The field, and why."""
    with pytest.raises(ScheduleInvalid) as caught:
        check_call(call)
    assert says in str(caught.value)
