"""Whose turn it is: nobody waits for somebody else's crowd, and what an application says counts for
it alone."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections import Counter

import pytest

from dispatcher.core.breaker import FAILURES_TO_OPEN, Signal
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.core.rate import Rate
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.core.trail import Trail
from dispatcher.functions.lanes.lane import Place
from dispatcher.functions.lanes.lanes import IDLE_US, Lanes, Lesson

HEALTHY = Lesson(Signal.HEALTHY)
APP = "http://app:80"
SECOND = 1_000_000


class Owner:
    """Makes no attempts."""

    def take_turn(self, place: Place) -> None:
        raise AssertionError("the lanes only say whose turn it is")


OWNER = Owner()


class Table:
    """Lanes whose attempts end when they are told to."""

    def __init__(self, most: int = 200, rules: RulesInForce | None = None) -> None:
        self.lanes = Lanes(most, rules=rules)
        self.now_us = SECOND
        self.count = 0

    def add(
        self, root: int, *, name: str = APP, function: str = "f", is_resume: bool = False
    ) -> Place:
        self.count += 1
        return self.lanes.add(OWNER, self.count, name, function, root=root, is_resume=is_resume)

    def add_root(self, function: str = "f") -> Place:
        """A call that is its own root."""
        return self.add(self.count + 1, function=function)

    def start(self) -> list[Place]:
        """All that may be run now."""
        started = []
        while (place := self.lanes.next_turn(self.now_us)) is not None:
            started.append(place)
        return started

    def end(self, places: list[Place], lesson: Lesson = HEALTHY) -> None:
        self.now_us += 1
        for place in places:
            self.lanes.finish(place, lesson, self.now_us)

    def one_by_one(self, count: int) -> list[Place]:
        """So many calls, each run when the one before it has ended."""
        places = []
        for _ in range(count):
            place = self.lanes.next_turn(self.now_us)
            if place is None:
                break
            places.append(place)
            self.end([place])
        return places

    def warm(self, name: str = APP, rounds: int = 8) -> None:
        """Let a lane learn that much goes at once."""
        for _ in range(rounds):
            for root in range(300):
                self.add(root, name=name, function="warm")
            while places := self.start():
                self.end(places)


def test_first_runs_take_turns_between_roots() -> None:
    """A crowd of one root and the single call of another: that is next but one at the latest."""
    table = Table()
    for _ in range(1000):
        table.add(1)
    table.one_by_one(10)
    late = table.add(2)
    assert late in table.one_by_one(2)
    for root in (3, 4, 5):
        for _ in range(1000):
            table.add(root, function=f"f{root}")
    served = Counter(place.root for place in table.one_by_one(400))
    assert all(98 <= served[root] <= 102 for root in (1, 3, 4, 5)), served


def test_root_calls_take_turns_with_calls_below_other_roots() -> None:
    """One that comes while a crowd waits is next, and so is the crowd after it; those that need no
    run any more are passed over."""
    table = Table()
    crowd = [table.add(1_000_000) for _ in range(6)]
    table.end([table.lanes.next_turn(table.now_us) or crowd[0]])
    roots = [table.add_root() for _ in range(4)]
    gone = table.add_root()
    other = table.add_root("g")
    table.lanes.take_out(gone, table.now_us)
    taken = table.one_by_one(20)
    assert Counter(taken) == Counter([*crowd[1:], *roots, other])
    places = [taken.index(place) for place in (*roots, other)]
    assert places[:4] == sorted(places[:4]), "among themselves they keep their order"
    assert max(places) <= 5, "one of the crowd at most is run before the last of them"
    assert table.lanes.waiting == 0


def test_root_call_that_waits_takes_few_bytes_and_leaves_none() -> None:
    """A hundred thousand may be dispatched before the first has run: what is built for that crowd
    is what the process keeps."""
    count = 5_000
    table = Table()
    table.end([table.add_root()] and table.start())
    gc.collect()
    tracemalloc.start()
    try:
        places = [table.add_root() for _ in range(count)]
        assert in_lanes() / count < 180
        table.one_by_one(count)
        assert table.lanes.waiting == 0
        places.clear()
        assert in_lanes() / count < 2
    finally:
        tracemalloc.stop()


def in_lanes() -> int:
    """Bytes that lanes have allocated, and are still there."""
    gc.collect()
    of_lanes = tracemalloc.Filter(True, "*/functions/lanes/*")
    snapshot = tracemalloc.take_snapshot().filter_traces([of_lanes])
    return sum(one.size for one in snapshot.statistics("filename"))


def test_a_root_with_several_functions_gets_one_share() -> None:
    """Its share is not for each of its functions."""
    table = Table()
    for number in range(600):
        table.add(1, function=f"f{number % 10}")
        table.add(2, function="f0")
    served = Counter(place.root for place in table.one_by_one(200))
    assert 98 <= served[1] <= 102, served


def test_resumes_go_before_first_runs_in_the_order_they_came() -> None:
    """Of all functions."""
    table = Table()
    firsts = [table.add(1), table.add(2, function="g")]
    resumes = [table.add(3, function=name, is_resume=True) for name in ("g", "f", "g", "h", "f")]
    served = table.one_by_one(7)
    assert served[:5] == resumes
    assert set(served[5:]) == set(firsts)


def test_lanes_take_turns_within_what_there_is_for_all() -> None:
    """A crowd for one application does not hold up the others."""
    table = Table(most=4)
    for _ in range(100):
        table.add(1, name="http://a")
    table.add(2, name="http://b")
    table.add(3, name="http://c")
    started = table.start()
    assert len(started) == table.lanes.in_flight == 4
    assert Counter(place.lane.name for place in started) == {
        "http://a": 2,
        "http://b": 1,
        "http://c": 1,
    }


def test_application_that_answers_does_not_wait_for_a_turn_of_all_that_fail() -> None:
    """Ten thousand are gone, each with a call that is due, others are new: four attempts of five
    are for the one that answers, as long as it has calls. They all have their turns."""
    table = Table(most=100)
    gone = [f"http://gone{number}" for number in range(1000)]
    for name in gone:
        table.add(1, name=name)
    while started := table.start():
        table.end(started, Lesson(Signal.FAILURE))
    table.warm()
    for name in gone:
        table.add(1, name=name)
        table.add(1, name=f"{name}.new")
    for root in range(200):
        table.add(root)
    served = Counter(_kind(place.lane.name) for place in table.one_by_one(250))
    assert served["app"] == 200
    assert served["gone"] == served["new"] == 25
    assert len(table.one_by_one(10_000)) == 2000 - 50


def _kind(name: str) -> str:
    return "app" if name == APP else "new" if name.endswith(".new") else "gone"


def test_application_that_answers_has_room_while_all_others_hang() -> None:
    """An eighth of CALL_WORKER; an accident or two do not make it one of the others."""
    table = Table(most=80)
    table.warm()
    for number in range(200):
        table.add(1, name=f"http://hangs{number}")
    hanging = table.start()
    assert len(hanging) == 70
    for root in range(30):
        table.add(root)
    started = table.start()
    assert [place.lane.name for place in started] == [APP] * 10
    table.end(started[:2], Lesson(Signal.FAILURE))
    assert len(table.start()) == 2
    table.end(hanging[:1])  # one of them was only slow
    assert len(table.start()) == 1
    assert table.lanes.in_flight == 80


def test_limit_grows_with_success_and_halves_with_overload() -> None:
    """From 2 to CALL_WORKER, and never below 2."""
    table = Table(most=50)
    for _ in range(3000):
        table.add(1)
    sizes = []
    for _ in range(8):
        started = table.start()
        sizes.append(len(started))
        table.end(started)
    assert sizes[0] == 2
    assert sizes[-1] == 50
    assert sizes == sorted(sizes)
    table.end(table.start(), Lesson(Signal.OVERLOAD))  # fifty of one moment are one event
    table.now_us += 2 * SECOND
    (probe,) = table.start()  # and more than the breaker lets pass
    table.end([probe])
    assert len(table.start()) == 25


def hanging(table: Table, count: int) -> list[Place]:
    """So many attempts that do not end, of a warm application that bears one at once by now."""
    for root in range(count):
        table.add(root, function="hangs")
    places = table.start()
    assert len(places) == count
    for _ in range(8):
        table.lanes.find(APP).limit.overload(table.now_us, table.now_us + 1)  # type: ignore[union-attr]  # it is there
        table.now_us += 2
    return places


def test_attempts_that_hang_leave_room_for_two_others() -> None:
    """After five seconds, by an alarm, whatever the limit is; and for no more than two that are not
    slow yet."""
    table = Table()
    table.warm()
    slow_us = hanging(table, 6)[0].started_us + 5 * SECOND
    for root in range(10):
        table.add(root, is_resume=True)
    while table.now_us < slow_us:
        assert not table.start()
        table.now_us = table.lanes.wake_us()
    assert table.now_us == slow_us
    first = table.start()
    assert len(first) == 2
    table.end(first[:1])
    assert len(table.start()) == 1
    table.now_us += 5 * SECOND
    assert len(table.start()) == 2


def test_attempts_are_slow_only_where_others_are_quicker() -> None:
    """An application whose runs take twenty seconds gets no more than it bears."""
    table = Table()
    table.warm()
    for _ in range(40):
        table.add(1)
        (place,) = table.start()
        table.now_us += 20 * SECOND
        table.end([place])
    hanging(table, 6)
    table.add(1)
    table.now_us += 60 * SECOND
    assert not table.start()
    table.now_us += 25 * SECOND
    assert len(table.start()) == 1


def test_attempts_that_hang_do_not_take_what_there_is_for_other_applications() -> None:
    """An eighth of all stays; once there is more, those beside them go on by themselves."""
    table = Table(most=16)
    table.warm()
    places = hanging(table, 14)
    table.add(1)
    table.now_us += 60 * SECOND
    assert not table.start()
    table.add(2, name="http://other:80")
    assert len(table.start()) == 1
    table.end(places[:2])
    table.now_us = table.lanes.wake_us()
    assert len(table.start()) == 1


def test_busy_lane_sets_few_alarms() -> None:
    """One for its attempts, not one for each."""
    table = Table()
    for _ in range(1000):
        table.add(1)
    while places := table.start():
        assert len(places) == 2
        table.end(places, Lesson(Signal.NEUTRAL))
    assert len(table.lanes._alarms) == 1


def test_breaker_leaves_an_application_alone_and_tries_one_call() -> None:
    """Others go on meanwhile."""
    table = Table()
    for _ in range(100):
        table.add(1)
    failed = 0
    while started := table.start():
        table.end(started, Lesson(Signal.FAILURE))
        failed += len(started)
    assert failed == FAILURES_TO_OPEN
    other = table.add(2, name="http://other")
    assert table.start() == [other]
    assert table.lanes.wake_us() == table.now_us + SECOND
    table.now_us = table.lanes.wake_us()
    (probe,) = table.start()
    table.end([probe], Lesson(Signal.FAILURE))
    assert table.start() == []
    table.now_us = table.lanes.wake_us()
    (probe,) = table.start()
    table.end([probe])
    assert len(table.start()) == 2


def test_first_runs_try_an_application_too_whose_resumes_all_fail() -> None:
    """Its code was changed, say: nothing else would ever show that it is well."""
    table = Table()
    failing = Lesson(Signal.FAILURE)
    for _ in range(50):
        table.add(1, is_resume=True)
    while started := table.start():
        table.end(started, failing)
    first = table.add(2, function="well")
    tried: list[Place] = []
    while first not in tried and len(tried) < 5:
        table.now_us = table.lanes.wake_us()
        (probe,) = table.start()
        tried.append(probe)
        table.end([probe], HEALTHY if probe is first else failing)
    assert tried.index(first) < 2
    assert table.start()


def test_rest_that_an_application_asked_for_is_kept() -> None:
    """Nothing is sent to it before; attempts that end meanwhile change nothing."""
    table = Table()
    for _ in range(10):
        table.add(1)
    one, other = table.start()
    table.end([one], Lesson(Signal.OVERLOAD, rest_us=5 * SECOND))
    until_us = table.now_us + 5 * SECOND
    table.end([other])
    assert table.start() == []
    table.now_us = until_us - 1
    assert table.start() == []
    assert table.lanes.wake_us() == until_us
    table.now_us = until_us
    assert table.start()


def test_throttled_function_is_limited_alone() -> None:
    """Its application's other functions go on as before, and it comes back."""
    table = Table(most=100)
    table.warm()
    for _ in range(500):
        table.add(1, function="slow")
    slow = table.start()
    assert len(slow) == 100
    table.end(slow, Lesson(Signal.HEALTHY, throttles=True))
    for _ in range(500):
        table.add(2, function="good")
    again = table.start()
    assert Counter(place.function.name for place in again) == {"slow": 50, "good": 50}
    table.end(again)
    assert Counter(place.function.name for place in table.start())["slow"] <= 51


def test_answer_that_does_not_say_how_many_changes_no_limit() -> None:
    """INCOMPATIBLE_STATE, say: neither the application's limit nor its function's grows."""
    table = Table(most=100)
    for number in range(1000):
        table.add(number)

    def round_of(lesson: Lesson) -> int:
        started = table.start()
        table.end(started, lesson)
        return len(started)

    silent = Lesson(Signal.HEALTHY, is_silent=True)
    assert [round_of(silent) for _ in range(4)] == [2, 2, 2, 2]
    for _ in range(4):
        round_of(HEALTHY)
    many = round_of(Lesson(Signal.HEALTHY, throttles=True))
    fewer = [round_of(silent) for _ in range(4)]
    assert max(fewer) == min(fewer) < many


def test_answers_that_do_not_say_how_many_close_the_breaker() -> None:
    """The application is there again."""
    table = Table()
    for _ in range(FAILURES_TO_OPEN + 3):
        table.add(1)
        table.end(table.start(), Lesson(Signal.FAILURE))
    table.now_us = table.lanes.wake_us()
    (probe,) = table.start()
    table.end([probe], Lesson(Signal.HEALTHY, is_silent=True))
    assert table.start()


def test_throttled_function_rests_alone() -> None:
    """Its Retry-After is its own."""
    table = Table()
    table.add(1, function="slow")
    (slow,) = table.start()
    table.add(1, function="slow")
    table.end([slow], Lesson(Signal.HEALTHY, throttles=True, rest_us=3 * SECOND))
    good = table.add(1, function="good")
    assert table.start() == [good]
    table.now_us = table.lanes.wake_us()
    assert [place.function.name for place in table.start()] == ["slow"]


def test_calls_that_need_no_run_any_more_are_passed_over() -> None:
    """Wherever they stand."""
    table = Table()
    places = [table.add(number % 7, is_resume=number % 3 == 0) for number in range(90)]
    for place in places[::2]:
        table.lanes.take_out(place, table.now_us)
        table.lanes.take_out(place, table.now_us)
    assert table.lanes.waiting == 45
    assert set(table.one_by_one(90)) == set(places[1::2])
    assert table.lanes.waiting == 0


def test_held_lane_sends_nothing_until_it_is_held_no_more() -> None:
    """What is under way goes on; a lane that comes later is held too; others are served."""
    table = Table()
    table.lanes.hold("http://later", held=True)
    table.add(1)
    under_way = table.start()
    table.lanes.hold(APP, held=True)
    table.add(1)
    table.add(1, name="http://later")
    other = table.add(1, name="http://other")
    assert table.start() == [other]
    table.end([*under_way, other])
    assert table.start() == []
    table.lanes.hold(APP, held=False)
    (started,) = table.start()
    assert started.lane.name == APP
    table.lanes.hold("http://later", held=False)
    (started,) = table.start()
    assert started.lane.name == "http://later"


def test_idle_lanes_are_forgotten_after_a_minute() -> None:
    """With what was learned; one with a call in it is not."""
    table = Table()
    for number in range(10):
        table.add(1, name=f"http://{number}")
    table.end(table.start())
    waiting = table.add(1, name="http://3")
    assert len(table.lanes) == 10
    table.now_us += IDLE_US
    for _ in range(6):
        table.add(1, name="http://a")
        places = [place for place in table.start() if place is not waiting]
        table.end(places)
    assert {lane.name for lane in table.lanes} == {"http://3", "http://a"}


def test_pulled_lanes_are_fetched_and_take_up_nothing() -> None:
    """Resumes first there too; who fetches is told that there is something."""
    told: list[str] = []
    lanes = Lanes(1, can_be_pulled=told.append)
    first = lanes.add(OWNER, 1, "bridge://s", "f", root=1, is_resume=False)
    resume = lanes.add(OWNER, 2, "bridge://s", "f", root=1, is_resume=True)
    assert told == ["bridge://s"] * 2
    assert lanes.next_turn(5) is None
    assert lanes.pull("bridge://s", 5) is resume
    assert lanes.pull("bridge://s", 5) is first
    assert lanes.pull("bridge://s", 5) is None
    assert lanes.pull("bridge://t", 5) is None
    assert lanes.in_flight == 0
    lanes.finish(first, Lesson(Signal.FAILURE), 6)
    assert told == ["bridge://s"] * 3  # others of its function may have waited for that
    lanes.finish(resume, HEALTHY, 6)


def test_names_of_functions_are_bounded() -> None:
    """They are callers' words."""
    table = Table()
    for number in range(5000):
        table.add(1, function=f"f{number}")
        table.end(table.start())
    (lane,) = table.lanes
    assert len(lane.functions) <= 1001


@pytest.mark.parametrize("seed", range(30))
def test_nothing_is_ever_forgotten_in_a_lane(seed: int) -> None:
    """Whatever happens, all calls run in the end, and no more at once than may."""
    chance = random.Random(seed)
    table = Table(most=chance.choice([1, 2, 5, 40]))
    waiting: set[Place] = set()
    running: list[Place] = []
    for _ in range(2000):
        match chance.randrange(6):
            case 0 | 1:
                name = f"http://{chance.randrange(3)}"
                waiting.add(
                    table.add(
                        chance.randrange(5),
                        name=name,
                        function=f"f{chance.randrange(4)}",
                        is_resume=chance.random() < 0.3,
                    )
                )
            case 2:
                started = table.start()
                assert waiting.issuperset(started)
                waiting.difference_update(started)
                running += started
            case 3 | 4 if running:
                place = running.pop(chance.randrange(len(running)))
                lesson = Lesson(
                    chance.choice(list(Signal)),
                    throttles=chance.random() < 0.2,
                    rest_us=chance.choice([0, 0, SECOND]),
                )
                table.end([place], lesson)
            case 5 if waiting and chance.random() < 0.3:
                place = chance.choice(sorted(waiting, key=lambda one: one.since))
                waiting.discard(place)
                table.lanes.take_out(place, table.now_us)
        table.now_us += chance.choice([0, 1000, 300_000])
        assert table.lanes.waiting == len(waiting)
        assert table.lanes.in_flight == len(running) <= table.lanes.most
    while waiting or running:
        started = table.start()
        waiting.difference_update(started)
        running += started
        if running:
            table.end(running)
            running = []
        else:
            assert table.lanes.wake_us() > table.now_us, "nothing would ever wake them"
            table.now_us = table.lanes.wake_us()


# Rules.


def test_a_rate_holds_the_runs_of_its_application_and_of_no_other() -> None:
    """Ten a second, and three at once after a rest; the lane has its next turn by itself."""
    rate = Rate(10, SECOND, 3)
    table = Table(rules=RulesInForce(Rules([Rule(Match.parse("app"), rate=rate)])))
    for root in range(100):
        table.add(root)
        table.add(root, name="http://other")
    begun_us, runs = table.now_us, 0
    while table.now_us <= begun_us + SECOND:
        started = table.start()
        runs += sum(place.lane.name == APP for place in started)
        table.end(started)
        table.now_us += 999
    assert runs == 13
    assert all(lane.name == APP for lane in table.lanes if lane.waiting)


def test_concurrency_bounds_runs_however_slow_they_are() -> None:
    """One that is slow does not make room for others, as it does without a rule."""
    rules = RulesInForce(Rules([Rule(Match.parse("*:80"), concurrency=2)]))
    table = Table(rules=rules)
    for root in range(20):
        table.add(root)
    for _ in range(4):
        started = table.start()
        assert len(started) <= 2
        table.end(started)
    running = table.start()
    assert len(running) == 2
    table.now_us += 1000 * SECOND
    assert table.start() == []
    table.end(running[:1])
    assert len(table.start()) == 1


def test_other_rules_hold_for_calls_that_wait() -> None:
    """A rate that is gone lets them go, and a new one holds them."""
    rules = RulesInForce(Rules([Rule(Match.parse("app"), rate=Rate(1, 3600 * SECOND))]))
    table = Table(rules=rules)
    for root in range(20):
        table.add(root)
    table.end(table.start())
    assert table.start() == []
    rules.replace(Rules())
    table.lanes.rules_changed(table.now_us)
    for _ in range(3):
        started = table.start()
        assert started
        table.end(started)
    rules.replace(Rules([Rule(Match.parse("app"), concurrency=1)]))
    table.lanes.rules_changed(table.now_us)
    assert len(table.start()) == 1


def test_an_idle_application_is_kept_while_it_owes_tokens() -> None:
    """Else each minute would bring another burst."""
    table = Table(rules=RulesInForce(Rules([Rule(Match.parse("app"), rate=Rate(1, 600 * SECOND))])))
    table.add(1)
    table.end(table.start())
    for _ in range(9):
        table.now_us += 61 * SECOND
        table.add(2, name="http://other")
        table.end(table.start())
        assert table.lanes.find(APP) is not None
    for _ in range(4):
        table.now_us += 61 * SECOND
        table.add(2, name="http://other")
        table.end(table.start())
    assert table.lanes.find(APP) is None


def test_a_lane_without_a_readable_endpoint_has_no_rule() -> None:
    """Nor has a session: its calls are fetched as fast as somebody asks for them."""
    table = Table(rules=RulesInForce(Rules([Rule(Match.parse("*"), rate=Rate(1, 600 * SECOND))])))
    for name in ("", "bridge://session"):
        table.add(1, name=name)
        table.add(2, name=name)
    assert [place.lane.name for place in table.start()] == ["", ""]
    assert table.lanes.pull("bridge://session", table.now_us) is not None
    assert table.lanes.pull("bridge://session", table.now_us) is not None


def test_lane_remembers_what_its_runs_came_to() -> None:
    """How long they took, and what went wrong last; what is not the application's does not count,
    and an answer ends that it fails."""
    table = Table()

    def run(lesson: Lesson, took_us: int = 4_000) -> Trail:
        table.add(1)
        (place,) = table.start()
        table.now_us += took_us
        table.end([place], lesson)
        return place.lane.trail

    trail = run(Lesson(Signal.FAILURE, failed=AttemptResult(503, None, "", 4)))
    assert (trail.last_error, trail.failing_since) == ("http_503", table.now_us)
    run(Lesson(Signal.NEUTRAL, failed=AttemptResult(None, Failure.DNS, "", 0, ours=True)))
    assert trail.last_error == "http_503"
    run(Lesson(Signal.HEALTHY, failed=AttemptResult(404, None, "", 4)))
    assert (trail.last_error, trail.failing_since) == ("http_404", 0)
    run(Lesson(Signal.FAILURE, failed=AttemptResult(None, Failure.TIMEOUT, "", 4)))
    assert trail.failing_since
    for _ in range(60):
        run(HEALTHY)
    assert (trail.failing_since, trail.last_error) == (0, "timeout")
    assert trail.delivered == 60
    assert trail.per_second(table.now_us) > 0.9
    p50_ms, p95_ms = trail.percentiles_ms() or (0, 0)
    assert 3 < p50_ms <= p95_ms < 5
