"""What holds a call up is named, and nothing is when its turn is next."""

from __future__ import annotations

from dispatcher.core.breaker import FAILURES_TO_OPEN, Signal
from dispatcher.core.rate import Rate
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.functions.lanes.gates import Closed, Gate, first_closed
from dispatcher.functions.lanes.lane import Place
from dispatcher.functions.lanes.lanes import Lanes, Lesson, pulled_lane

HEALTHY = Lesson(Signal.HEALTHY)
FAILURE = Lesson(Signal.FAILURE)
APP = "http://app:80"
SECOND = 1_000_000


class Owner:
    """Makes no attempts."""

    def take_turn(self, place: Place) -> None:
        raise AssertionError("the lanes only say whose turn it is")


class Table:
    """Lanes, and a call of `f` that is run or not."""

    def __init__(self, most: int = 200, rules: RulesInForce | None = None) -> None:
        self.lanes = Lanes(most, rules=rules)
        self.now_us = SECOND
        self.count = 0

    def add(self, function: str = "f", name: str = APP) -> None:
        self.count += 1
        self.lanes.add(Owner(), self.count, name, function, root=self.count, is_resume=False)

    def run(self, lesson: Lesson) -> None:
        """One call, from its beginning to its end."""
        self.add()
        place = self.lanes.next_turn(self.now_us)
        assert place is not None
        self.lanes.finish(place, lesson, self.now_us)

    def asked(self, name: str = APP) -> Closed | None:
        """What holds `f` up; it has its turn exactly where that is nothing."""
        lane = self.lanes.find(name)
        assert lane is not None
        closed = first_closed(self.lanes, lane, "f", self.now_us)
        assert (self.lanes.next_turn(self.now_us) is None) is (closed is not None)
        return closed


def ruled(**fields: object) -> RulesInForce:
    in_force = RulesInForce()
    in_force.rules = Rules((Rule(Match.parse("app:80"), **fields),))  # type: ignore[arg-type]
    return in_force


def test_nothing_holds_up_what_is_next() -> None:
    """It has its turn."""
    table = Table()
    table.add()
    assert table.asked() is None


def test_hold_of_an_operator_comes_first() -> None:
    """Also where the application asked for a rest."""
    table = Table()
    table.run(Lesson(Signal.OVERLOAD, rest_us=SECOND))
    table.lanes.hold(APP, held=True)
    table.add()
    assert table.asked() == Closed(Gate.HOLD)


def test_rest_of_an_application_ends_at_its_time() -> None:
    """By the clock of the lanes."""
    table = Table()
    table.run(Lesson(Signal.OVERLOAD, rest_us=7 * SECOND))
    table.add()
    assert table.asked() == Closed(Gate.PAUSE, 8 * SECOND)
    table.now_us = 8 * SECOND
    assert table.asked() is None


def test_breaker_says_until_when_and_then_waits_for_its_probe() -> None:
    """Which is a call like any other."""
    table = Table()
    for _ in range(FAILURES_TO_OPEN):
        table.run(FAILURE)
    table.add()
    assert table.asked() == Closed(Gate.BREAKER, 2 * SECOND)
    table.now_us = 2 * SECOND
    assert table.asked() is None  # the probe
    table.add()
    assert table.asked() == Closed(Gate.BREAKER)


def test_rate_says_when_there_is_a_token() -> None:
    """Of the rule of the application."""
    table = Table(rules=ruled(rate=Rate(1, SECOND, 1)))
    table.run(HEALTHY)
    table.add()
    assert table.asked() == Closed(Gate.RATE, 2 * SECOND)


def test_limit_is_that_of_the_application_or_of_its_rule() -> None:
    """Two at first; fewer where a rule says so."""
    for table, most in ((Table(), 2), (Table(rules=ruled(concurrency=1)), 1)):
        for _ in range(most + 1):
            table.add()
        for _ in range(most):
            assert table.asked() is None
        assert table.asked() == Closed(Gate.LIMIT)


def test_function_that_is_throttled_holds_up_its_own_calls() -> None:
    """While it rests, and while it has as many runs as it may; those of others go on."""
    table = Table()
    table.run(Lesson(Signal.HEALTHY, throttles=True, rest_us=SECOND))
    table.add()
    assert table.asked() == Closed(Gate.FUNCTION_PAUSE, 2 * SECOND)
    table.now_us = 2 * SECOND
    assert table.asked() is None
    table.add()
    assert table.asked() == Closed(Gate.FUNCTION_LIMIT)
    table.add("g")
    assert table.lanes.next_turn(table.now_us) is not None


def test_all_workers_may_be_busy_with_others() -> None:
    """Then a call waits for its turn."""
    table = Table(most=1)
    table.add(name="http://other:80")
    assert table.lanes.next_turn(table.now_us) is not None
    table.add()
    assert table.asked() == Closed(Gate.WORKERS)


def test_session_waits_to_be_fetched() -> None:
    """It is never given a turn by itself."""
    table = Table()
    session = pulled_lane("s", "")
    table.add(name=session)
    assert table.asked(session) == Closed(Gate.FETCH)
