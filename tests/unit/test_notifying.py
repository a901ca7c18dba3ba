"""Notifications: how often, of what lasts, and in which words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.core.rate import Rate
from dispatcher.core.rules.notify import Below, Format, Kind, Notify
from dispatcher.core.rules.rule import Header, Secret
from dispatcher.node.disks import Space
from dispatcher.node.notifying import moments, wording
from dispatcher.node.notifying.conditions import Conditions, Failing, Over, about
from dispatcher.node.notifying.failing import LANES_AT_ONCE, first_of, look_at_lanes
from dispatcher.node.notifying.happening import Happening, State
from dispatcher.node.notifying.limiter import Limiter, Told
from dispatcher.node.notifying.notifier import Notifier
from dispatcher.node.problems import Ailing
from dispatcher.node.whole import Whole
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.lanes.lanes import Lane
from dispatcher.testing.queue import Bench, destination, message, simulate

SECOND = 1_000_000
MINUTE = 60 * SECOND


def happening(name: str) -> Happening:
    """One of many."""
    return Happening(Kind.DEAD_LETTER, State.HAPPENED, 0, name)


def test_what_no_attempt_ended_has_no_last_error() -> None:
    """`reason` says why it was given up: `operator` is no error, as in the event."""
    result = AttemptResult(None, None, "an operator moved it to the dead letters", 0)
    told = moments.of_letter(message(), "operator", result, 0)
    assert (told.details["reason"], told.details["last_error"]) == ("operator", None)
    assert "(operator)" in told.text


def table(**changed: object) -> Notify:
    """A table that asks for everything."""
    given: dict[str, object] = {
        "on": tuple(kind for kind in Kind if kind is not Kind.TEST),
        "url": Secret(b"https://hooks.example.com/secret?x=1", "hidden"),
        "format": Format.JSON,
        "at_most": Rate(1, MINUTE),
        "match": None,
        "for_ms": 60_000,
        "below": Below("10%", part=0.1),
        "headers": (),
    }
    return Notify(**(given | changed))  # type: ignore[arg-type]


def test_flood_is_told_when_it_begins_and_then_how_large_it_was() -> None:
    """The last one with the number of the others, as soon as there is room; nothing twice."""
    limiter = Limiter(Rate(1, 10 * MINUTE))
    first = limiter.take(happening("0"), 0)
    assert first == Told(happening("0"))
    for number in range(1, 216):
        assert limiter.take(happening(str(number)), number * SECOND) is None
    assert limiter.due(10 * MINUTE - 1) is None
    assert limiter.due(10 * MINUTE) == Told(happening("215"), left_out=214)
    assert limiter.due(60 * MINUTE) is None
    assert limiter.take(happening("later"), 60 * MINUTE) == Told(happening("later"))


def test_so_many_are_told_in_any_stretch_of_the_time() -> None:
    """Three at once, and none more before the first of them is so long ago."""
    limiter = Limiter(Rate(3, MINUTE))
    told = [limiter.take(happening(str(at)), at * SECOND) for at in (0, 20, 40, 50)]
    assert [one is not None for one in told] == [True, True, True, False]
    assert limiter.due(60 * SECOND) == Told(happening("50"))
    assert limiter.take(happening("next"), 61 * SECOND) is None
    assert limiter.due(80 * SECOND) == Told(happening("next"))


def test_rate_is_shared_among_those_who_tell_now() -> None:
    """Of which there may be more, or fewer, from one moment to the next."""
    among = 2
    limiter = Limiter(Rate(1, MINUTE), lambda: among)
    assert limiter.take(happening("a"), 0) is not None
    assert limiter.take(happening("b"), 2 * MINUTE - 1) is None
    assert limiter.due(2 * MINUTE) == Told(happening("b"))
    among = 3
    assert limiter.take(happening("c"), 4 * MINUTE) is None
    among = 1
    assert limiter.due(4 * MINUTE) == Told(happening("c"))


def test_what_could_not_be_told_is_told_later() -> None:
    """With what was left out before it, and what happened meanwhile."""
    limiter = Limiter(Rate(1, MINUTE))
    first = limiter.take(happening("a"), 0)
    assert first is not None
    limiter.give_back(first)
    assert limiter.due(1) == first
    limiter.take(happening("b"), 2)
    limiter.give_back(Told(happening("a"), left_out=5))
    assert limiter.due(MINUTE) == Told(happening("b"), left_out=6)


def failing(minutes: int) -> Failing:
    """A destination that fails for so long."""
    return Failing(0, minutes * MINUTE, waiting=844, last_error="http_503")


def test_destination_is_told_once_it_has_failed_for_long_and_when_that_is_over() -> None:
    """Each once, whatever its reason, and again when it fails again."""
    conditions = Conditions(table(for_ms=600_000), "https://hooks.example.com")
    assert conditions.fails("http://a", failing(9), 1) is None
    assert conditions.is_over("http://a", Over.ANSWERS, 1) is None
    text = "{} has been failing for 10 minutes (HTTP 503); 844 messages wait for it."
    for name in ("http://a", "http://b"):
        told = conditions.fails(name, failing(10), 2)
        assert told is not None
        assert (told.state, told.text, told.at_us) == (State.BEGAN, text.format(name), 2)
        assert conditions.fails(name, failing(11), 3) is None
    assert conditions.told == ["http://a", "http://b"]
    for name, over, sentence in (
        ("http://a", Over.ANSWERS, "http://a answers again."),
        ("http://b", Over.HELD, "http://b is held by an operator now."),
        ("http://a", Over.IDLE, "Nothing waits for http://a any more."),
    ):
        conditions.fails(name, failing(10), 4)
        told = conditions.is_over(name, over, 5)
        assert told is not None
        assert (told.state, told.text) == (State.RESOLVED, sentence)
        assert conditions.is_over(name, over, 6) is None
    assert conditions.told == []


def test_destination_that_is_told_is_not_told_of() -> None:
    """It would wait there too."""
    conditions = Conditions(table(), "https://hooks.example.com")
    assert conditions.fails("https://hooks.example.com", failing(60), 1) is None


def test_disk_is_told_once_and_when_it_has_space_again() -> None:
    """Not at the edge: a tenth more than the least."""
    conditions = Conditions(table(), "x")
    told = [conditions.has(Space(free, 100), 1) for free in (10, 9, 10, 11)]
    assert [one and one.state for one in told] == [None, State.BEGAN, None, State.RESOLVED]
    in_bytes = Conditions(table(below=Below("5GiB", size_bytes=5 << 30)), "x")
    low = in_bytes.has(Space(4 << 30, 100 << 30), 1)
    assert low is not None
    assert low.text == (
        "The disk of the log has 4.0 GiB (4 %) left. Without space messages are refused."
    )


def test_what_was_not_asked_for_is_not_told() -> None:
    """Neither begin nor end."""
    conditions = Conditions(table(on=(Kind.DEAD_LETTER,)), "x")
    assert not conditions.has_destinations
    assert conditions.has(Space(0, 100), 1) is None


MANY = 5_000


def test_thousands_of_failing_destinations_are_looked_at_a_few_at_a_time() -> None:
    """When the network is down: all of them are told and, later, that they are over; and between
    two rests no more than a few are looked at once a slice has lasted its time."""

    async def test(bench: Bench) -> None:
        failed = failing_lanes(bench, MANY)
        told: list[Happening] = []
        looks = Looks()
        conditions = Conditions(table(for_ms=60_000), "x")

        def tell(_: Conditions, happening: Happening) -> None:
            told.append(happening)
            looks.did()

        async def look() -> None:
            looks.done = 0
            whole = Whole(bench.queue.traffic, bench.queue)
            await look_at_lanes(whole.destinations, whole.clock, looks, [conditions], tell)

        await asyncio.sleep(120)
        await look()
        assert {one.state for one in told} == {State.BEGAN}
        assert len(conditions.told) == len(told) == MANY
        await look()
        assert len(told) == MANY
        for lane in failed:
            lane.scheduled = 0
        await look()
        assert {one.state for one in told[MANY:]} == {State.RESOLVED}
        assert (len(told), conditions.told) == (2 * MANY, [])
        assert looks.rests > 2 * MANY // LANES_AT_ONCE - 2
        assert looks.most <= LANES_AT_ONCE

    simulate(test)


class Looks(Pace):
    """A pace whose slices are over at once; `most` were told between two rests."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.done = self.most = self.rests = 0

    @property
    def is_over(self) -> bool:
        return True

    def did(self) -> None:
        """One more was told."""
        self.done += 1
        self.most = max(self.most, self.done)

    async def rest(self, *, part: float = 1.0) -> None:
        self.done = 0
        self.rests += 1


def failing_lanes(bench: Bench, count: int) -> list[Lane]:
    """Lanes of destinations that fail from now on, with a message each that waits for a time."""
    made = [bench.queue.lanes.of(destination(f"d{number}.example")) for number in range(count)]
    for lane in made:
        lane.scheduled = 1
        lane.peer.trail.failing_since = bench.queue.clock.now_us()
    return made


def test_destination_whose_lane_is_gone_is_told_to_be_over() -> None:
    """Nothing waits for it: lanes of those are forgotten after a while."""

    async def test(bench: Bench) -> None:
        conditions = Conditions(table(), "x")
        assert conditions.fails("http://gone.example", failing(60), 1) is not None
        told: list[str] = []
        await look_at_lanes(
            Whole(bench.queue.traffic, bench.queue).destinations,
            bench.queue.clock,
            Pace(0.0),
            [conditions],
            lambda _, happening: told.append(happening.text),
        )
        assert told == ["Nothing waits for http://gone.example any more."]

    simulate(test)


def test_destination_that_fails_in_another_process_is_told_once_and_not_over_before_it_is() -> None:
    """Also where there is no lane for it here; why it is over the other process says."""
    there: list[Over | None] = [None, Over.ANSWERS]

    async def why(names: Sequence[str]) -> list[Over | None]:
        assert names == ["http://a.example"]
        return [there.pop(0)]

    async def test(bench: Bench) -> None:
        conditions = Conditions(table(), "x")
        clock = bench.queue.clock
        fails = Ailing("http://a.example", 3, clock.wall_us() - 5 * MINUTE, "timeout")
        lately = Ailing("http://b.example", 3, clock.wall_us() - SECOND, "timeout")
        shut = Ailing("http://c.example", 3, None)

        async def look(*elsewhere: Ailing) -> list[str]:
            told: list[str] = []
            await look_at_lanes(
                Whole(bench.queue.traffic, bench.queue).destinations,
                clock,
                Pace(0.0),
                [conditions],
                lambda _, happening: told.append(happening.text),
                elsewhere,
                why,
            )
            return told

        (began,) = await look(fails, lately, shut)
        assert began.startswith("http://a.example has been failing for 5 minutes (timed out); 3")
        assert await look(fails, lately, shut) == []
        assert await look(lately) == []  # it fails there again, or still
        assert await look(lately) == ["http://a.example answers again."]

    simulate(test)


def test_reason_that_counts_is_the_one_that_somebody_knows() -> None:
    """A hold is everywhere; who has nothing for a destination knows nothing of it."""
    assert first_of([Over.IDLE, Over.ANSWERS]) is Over.ANSWERS
    assert first_of([Over.ANSWERS, Over.HELD, Over.IDLE]) is Over.HELD
    assert first_of([Over.IDLE, Over.IDLE]) is Over.IDLE
    assert first_of([Over.ANSWERS, None]) is None


@pytest.mark.parametrize(
    ("lasted_us", "text"),
    [
        (0, "0 seconds"),
        (SECOND, "1 second"),
        (119 * SECOND, "1 minute"),
        (3 * 3600 * SECOND, "3 hours"),
        (49 * 3600 * SECOND, "2 days"),
    ],
)
def test_times_are_said_as_people_say_them(lasted_us: int, text: str) -> None:
    """In their largest unit."""
    assert about(lasted_us) == text


def test_slack_gets_a_text_without_marks_of_its_own() -> None:
    """What is left out is in it, and who says it."""
    told = Told(Happening(Kind.DEAD_LETTER, State.HAPPENED, 0, "<!channel> & co."), left_out=214)
    body = json.loads(wording.body_of(Format.SLACK, told, "host1"))
    assert body == {"text": ":warning: &lt;!channel&gt; &amp; co. And 214 more. (host1)"}


def test_json_has_a_version() -> None:
    """Instants as in the API."""
    details = {"destination": "http://a", "since_us": 0, "waiting": 2}
    happened = Happening(Kind.DESTINATION_FAILING, State.BEGAN, SECOND, "It fails.", details)
    assert json.loads(wording.body_of(Format.JSON, Told(happened, 3), "host1")) == {
        "version": 1,
        "kind": "destination_failing",
        "state": "began",
        "at": "1970-01-01T00:00:01.000000Z",
        "instance": "host1",
        "text": "It fails.",
        "left_out": 3,
        "details": {
            "destination": "http://a",
            "since": "1970-01-01T00:00:00.000000Z",
            "waiting": 2,
        },
    }


def test_message_is_an_ordinary_one_with_a_label() -> None:
    """With the headers of the table, which win over ours."""
    headers = (Header("Authorization", Secret(b"Bearer x", "env:X")),)
    one = wording.message_of(table(headers=headers), Told(happening("x")), "h", 5)
    assert str(one.destination) == "https://hooks.example.com"
    assert one.head.startswith(
        b"POST /secret?x=1 HTTP/1.1\r\nHost: hooks.example.com\r\n"
        b"Content-Type: application/json\r\nAuthorization: Bearer x\r\nContent-Length: "
    )
    assert (one.label, one.accepted_at) == ("notify", 5)
    typed = table(headers=(Header("content-type", Secret(b"text/x", "hidden")),))
    assert (
        wording.message_of(typed, Told(happening("x")), "h", 5).head.lower().count(b"content-type")
        == 1
    )


def test_notification_of_a_table_that_is_gone_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the tables are replaced while another one is being stored."""
    kept = table()
    gone = table(url=Secret(b"https://gone.example.com/secret", "hidden"))
    made = wording.message_of

    async def test(bench: Bench) -> None:
        notifier = Notifier(
            Whole(bench.queue.traffic, bench.queue), bench.queue.intake, bench.queue.supervisor
        )

        def replacing(*told: Any) -> Message:
            notifier.replace([kept])
            return made(*told)

        monkeypatch.setattr(wording, "message_of", replacing)
        notifier.replace([kept, gone])
        notifier.letters_dropped(3, "age")
        notifier.start()
        await asyncio.sleep(10)
        told = [str(one.destination) for one in bench.deliverer.flying]
        assert told == ["https://hooks.example.com"]

    simulate(test)
