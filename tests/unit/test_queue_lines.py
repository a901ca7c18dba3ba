"""Order keys and flow keys: who waits for whom, and for how long."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest

from dispatcher.core.destination import Destination
from dispatcher.core.flow import Flow, parse_flow
from dispatcher.core.message import Message
from dispatcher.core.rules.table import RulesInForce
from dispatcher.core.terms import Terms
from dispatcher.queue.admin.message_filter import MessageFilter
from dispatcher.queue.admin.surface import (
    Cancelled,
    Explanation,
    LetterFilter,
    MessageState,
    Reason,
)
from dispatcher.queue.lanes import line_table
from dispatcher.queue.pending.index import State
from dispatcher.testing.queue import Bench, destination, failed, message, simulate

DEAD = failed(404)
ALL = LetterFilter()
S = 1_000_000


def keyed(name: str, key: str = "k", to: str = "a.example", **terms: Any) -> Message:
    """A message with an order key."""
    made = message(destination(to), name=name)
    made.terms = Terms(order_key=key, **terms)
    return made


def flowing(name: str, flow: str | None = None, key: str = "f", **terms: Any) -> Message:
    """A message with a flow key."""
    made = message(name=name)
    made.terms = Terms(flow_key=key, flow=None if flow is None else parse_flow(flow), **terms)
    return made


async def hand_in(bench: Bench, *messages: Message) -> None:
    """Accept messages, each after the one before; their destinations take as many as there are."""
    for one in messages:
        widen(bench, one.destination)
    for one in messages:
        bench.accept(one)
    await asyncio.sleep(0.05)


def widen(bench: Bench, to: Destination | None = None) -> None:
    """Nothing but keys limits a destination."""
    lane = bench.queue.lanes.of(to or destination())
    lane.peer.limit.value = lane.peer.limit.ceiling
    bench.queue.starting.look_at(lane)


def flying(bench: Bench) -> list[str]:
    """The names of messages whose attempt is under way."""
    return [one.target[1:] for one in bench.deliverer.flying]


async def end(bench: Bench, name: str, result: Any = 200) -> None:
    """End the attempt of a message."""
    (found,) = [one for one in bench.deliverer.flying if one.target == f"/{name}"]
    bench.end(found, result)
    await asyncio.sleep(0.05)


def started(bench: Bench) -> list[str]:
    """The names of messages by the start of their attempts."""
    return [target[1:] for target, _ in bench.deliverer.started]


async def explained(bench: Bench, sent: Message) -> Explanation:
    """What is said of a message."""
    found = await bench.queue.admin.explain(sent.wire_id.decode())
    assert found is not None
    return found


def ids(*messages: Message) -> list[str]:
    """As operators name them."""
    return [one.wire_id.decode() for one in messages]


# ---------------------------------------------------------------------- order


def test_messages_with_one_key_go_one_at_a_time_and_in_order() -> None:
    """Others of the destination, with another key or with none, run on."""

    async def test(bench: Bench) -> None:
        await hand_in(bench, keyed("a1"), keyed("a2"), keyed("b1", "other"), message(name="free"))
        assert flying(bench) == ["a1", "b1", "free"]
        await hand_in(bench, keyed("a3"), keyed("c1", to="c.example"))
        assert flying(bench) == ["a1", "b1", "free", "c1"]
        await end(bench, "a1")
        assert flying(bench) == ["b1", "free", "c1", "a2"]
        await end(bench, "a2")
        await end(bench, "a3")
        for name in ("b1", "free", "c1"):
            await end(bench, name)
        assert not len(bench.queue.lines)
        assert not bench.queue.pending.has_lines

    simulate(test)


def test_retry_holds_up_its_key_and_nothing_else() -> None:
    """The next one waits until the first is delivered or given up."""

    async def test(bench: Bench) -> None:
        await hand_in(bench, keyed("a1"), keyed("a2"), keyed("b1", "other"))
        await end(bench, "b1")
        await end(bench, "a1", failed(500))
        assert flying(bench) == []
        await asyncio.sleep(1)
        assert flying(bench) == ["a1"]
        await end(bench, "a1", DEAD)
        assert flying(bench) == ["a2"]

    simulate(test)


def test_delayed_message_holds_its_key_from_its_202_on() -> None:
    """What comes behind it waits for its time too, and what is delayed behind another one waits for
    both."""

    async def test(bench: Bench) -> None:
        now = bench.clock.now_us()
        first = keyed("first", not_before_us=now + 10 * S)
        second = keyed("second")
        third = keyed("third", not_before_us=now + 60 * S)
        await hand_in(bench, first, second, third)
        assert flying(bench) == []
        await asyncio.sleep(10)
        assert flying(bench) == ["first"]
        await end(bench, "first")
        await end(bench, "second")
        assert flying(bench) == []
        view = await bench.queue.admin.message(third.wire_id.decode())
        assert view is not None
        assert view.state is MessageState.SCHEDULED
        await asyncio.sleep(55)
        assert flying(bench) == ["third"]

    simulate(test)


@pytest.mark.parametrize("again", ["no", "crash", "hasten", "cancel", "redirect"])
def test_delayed_message_behind_its_key_is_scheduled_until_its_time_has_come(again: str) -> None:
    """In lists, counts and by itself alike, also after a restart; `ready` from then on, while it
    waits for its key alone, and when an operator does not let it wait for its time."""

    async def test(bench: Bench) -> None:
        now = bench.clock.now_us()
        first = keyed("first", not_before_us=now + 100 * S)
        sent = [keyed(f"m{n}", not_before_us=now + n * 20 * S) for n in range(1, 4)]
        later, plain = keyed("later", not_before_us=now + 300 * S), keyed("plain")
        await hand_in(bench, first, *sent, later, plain)
        everyone = [first, *sent, later, plain]
        assert await _states(bench, everyone) == ["scheduled"] * 5 + ["ready"]
        await asyncio.sleep(41.5)
        assert await _states(bench, everyone) == [
            *("scheduled", "ready", "ready", "scheduled", "scheduled", "ready"),
        ]
        if again == "crash":
            await bench.crash()
            await bench.start()
        elif again == "hasten":
            assert (await bench.queue.admin.retry_waiting(ids(later))).scheduled == 1
        elif again == "cancel":
            assert await bench.queue.admin.cancel(ids(later)[0]) is Cancelled.DONE
            everyone.remove(later)
        elif again == "redirect":
            await bench.queue.admin.redirect_waiting(ids(later), "http://b.example")
        expected = ["scheduled", "ready", "ready", "scheduled", "scheduled", "ready"]
        if again == "hasten":
            expected[4] = "ready"
        elif again == "cancel":
            del expected[4]
        assert await _states(bench, everyone) == expected
        await asyncio.sleep(60)
        await end(bench, "first")
        await _check_counts(bench)
        assert bench.queue.lanes.of(destination()).later == (again in ("no", "crash"))

    simulate(test)


async def _states(bench: Bench, messages: list[Message]) -> list[str]:
    """The states of messages, each by itself; they are the same in lists, and in the counts."""
    found = []
    for one in ids(*messages):
        view = await bench.queue.admin.message(one)
        assert view is not None
        found.append(view.state.value)
    await _check_counts(bench)
    return found


async def _check_counts(bench: Bench) -> None:
    listed = {}
    for state in (MessageState.READY, MessageState.SCHEDULED):
        page = await bench.queue.admin.waiting(MessageFilter(state=state), cursor=0, limit=50)
        assert all(one.state is state for one in page.items)
        listed[state.value] = len(page.items)
    counted = bench.queue.figures.count_states()
    assert {name: counted[name] for name in listed} == listed
    lanes = list(bench.queue.lanes)
    assert sum(lane.shown_ready for lane in lanes) == listed["ready"]
    assert sum(lane.shown_scheduled for lane in lanes) == listed["scheduled"]


@pytest.mark.parametrize("crash", [False, True])
def test_order_is_kept_through_a_restart(crash: bool) -> None:
    """A retry stays before what came after it, also when its record was copied forward."""

    async def test(bench: Bench) -> None:
        now = bench.clock.now_us()
        late = keyed("late", "delayed", not_before_us=now + 3600 * S)
        sent = [keyed("m1"), keyed("m2"), keyed("m3"), late, keyed("behind", "delayed")]
        await hand_in(bench, *sent)
        await end(bench, "m1", failed(500))
        await (bench.crash() if crash else bench.stop())
        await bench.start()
        await asyncio.sleep(1)
        assert flying(bench) == ["m1"]
        for name in ("m1", "m2", "m3"):
            assert flying(bench) == [name]
            await end(bench, name)
        assert flying(bench) == []
        await asyncio.sleep(3600)
        assert flying(bench) == ["late"]
        await end(bench, "late")
        assert flying(bench) == ["behind"]

    simulate(test)


def test_message_that_is_cancelled_in_the_middle_leaves_the_others_in_order() -> None:
    """And one that is cancelled at the beginning lets the next one through."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("a.example")
        sent = [keyed(f"m{n}") for n in range(5)]
        await hand_in(bench, *sent)
        for at in (2, 0):
            assert await bench.queue.admin.cancel(sent[at].wire_id.decode()) is Cancelled.DONE
        await bench.queue.admin.resume("a.example")
        await asyncio.sleep(0.1)
        for name in ("m1", "m3", "m4"):
            assert flying(bench) == [name]
            await end(bench, name)
        assert not len(bench.queue.lines)

    simulate(test)


def test_message_is_given_up_at_its_deadline_while_it_waits_for_its_key() -> None:
    """Wherever it stands; the others stay in order."""

    async def test(bench: Bench) -> None:
        now = bench.clock.now_us()
        await hand_in(
            bench, keyed("m1"), keyed("m2", deadline_us=now + 2 * S), keyed("m3"), keyed("m4")
        )
        await asyncio.sleep(4)
        assert [dead.target for dead, _ in bench.notes.dead] == ["/m2"]
        await end(bench, "m1")
        assert flying(bench) == ["m3"]
        await end(bench, "m3")
        assert flying(bench) == ["m4"]

    simulate(test)


def test_message_behind_its_key_is_given_up_when_it_is_too_old() -> None:
    """`MAX_AGE` counts for it as for any other."""

    async def test(bench: Bench) -> None:
        await asyncio.sleep(400)  # the age is sure then
        await hand_in(bench, keyed("m1"), keyed("m2"))
        await asyncio.sleep(12)
        assert [dead.target for dead, _ in bench.notes.dead] == ["/m2"]
        assert flying(bench) == ["m1"]

    simulate(test, max_age_ms=10_000)


def test_redriven_letter_lines_up_behind_its_key_under_continue() -> None:
    """Also through a restart in between."""

    async def test(bench: Bench) -> None:
        dead = keyed("dead")
        await hand_in(bench, dead, keyed("m2"), keyed("m3"))
        await end(bench, "dead", DEAD)
        assert flying(bench) == ["m2"]
        await bench.queue.admin.redrive(ids(dead))
        await hand_in(bench, keyed("m4"))
        await bench.crash()
        await bench.start()
        await asyncio.sleep(0.1)
        for name in ("m2", "m3", "dead", "m4"):
            assert flying(bench) == [name]
            await end(bench, name)

    simulate(test)


def test_key_waits_for_its_dead_letter_under_hold_and_the_letter_goes_first() -> None:
    """Other keys run on; a restart changes nothing, and `explain` says it."""

    async def test(bench: Bench) -> None:
        dead, m2 = keyed("dead"), keyed("m2")
        await hand_in(bench, dead, m2, keyed("o1", "other"))
        await end(bench, "dead", DEAD)
        assert flying(bench) == ["o1"]
        said = await explained(bench, m2)
        assert said.reason is Reason.ORDER_KEY
        assert "held by a dead letter" in said.message
        await bench.crash()
        await bench.start()
        await hand_in(bench, keyed("m3"))
        await asyncio.sleep(1)
        assert flying(bench) == ["o1"]
        await bench.queue.admin.redrive(ids(dead))
        widen(bench)
        await asyncio.sleep(0.1)
        for name in ("dead", "m2", "m3"):
            assert flying(bench) == ["o1", name]
            await end(bench, name)

    simulate(test, order_holds=True)


@pytest.mark.parametrize("how", ["purge", "retention"])
def test_purging_a_letter_frees_its_key_under_hold(how: str) -> None:
    """So does its retention."""

    async def test(bench: Bench) -> None:
        dead = keyed("dead")
        await hand_in(bench, dead, keyed("m2"))
        await end(bench, "dead", DEAD)
        assert flying(bench) == []
        if how == "purge":
            await bench.queue.admin.purge(ids(dead))
        else:
            bench.queue.retention._policy = bench.queue.retention._policy.__class__(max_bytes=1)
            await bench.queue.retention.drop()
        await asyncio.sleep(0.1)
        assert flying(bench) == ["m2"]

    simulate(test, order_holds=True)


def test_redriven_letters_of_a_held_key_go_by_their_ids() -> None:
    """In whatever order they are redriven, and none before the last letter is gone."""

    async def test(bench: Bench) -> None:
        now = bench.clock.now_us()
        late = [keyed(f"late{n}", deadline_us=now + 2 * S) for n in range(4)]
        await hand_in(bench, keyed("m1"), *late, keyed("m2"))
        await asyncio.sleep(4)
        await end(bench, "m1")
        assert flying(bench) == []
        for number in (2, 0, 3, 1):
            assert flying(bench) == []
            await bench.queue.admin.redrive(ids(late[number]))
            await asyncio.sleep(0.1)
        for name in ("late0", "late1", "late2", "late3", "m2"):
            assert flying(bench) == [name]
            await end(bench, name)

    simulate(test, order_holds=True)


def test_key_is_held_while_the_letter_of_a_message_from_its_middle_is_being_stored() -> None:
    """From when it is given up, and not only from when that is durable."""

    async def test(bench: Bench) -> None:
        now = bench.clock.now_us()
        await hand_in(bench, keyed("m1"), keyed("m2", deadline_us=now + 2 * S), keyed("m3"))
        bench.dead_log.append_s = 30.0
        await asyncio.sleep(4)
        assert not bench.notes.dead
        await end(bench, "m1")
        assert flying(bench) == []
        await asyncio.sleep(60)
        assert bench.notes.dead
        assert flying(bench) == []
        bench.dead_log.append_s = 0.0
        await bench.queue.admin.purge(ALL)
        await asyncio.sleep(0.1)
        assert flying(bench) == ["m3"]

    simulate(test, order_holds=True)


def test_redriven_letter_goes_where_its_id_says_after_another_one_was_cancelled() -> None:
    """The place of one that left is nobody's."""

    async def test(bench: Bench) -> None:
        now = bench.clock.now_us()
        late = [keyed(f"late{n}", deadline_us=now + 2 * S) for n in range(5)]
        await hand_in(bench, keyed("m1"), *late, keyed("m2"))
        await asyncio.sleep(4)
        await end(bench, "m1")
        for number in (1, 3):
            await bench.queue.admin.redrive(ids(late[number]))
        assert await bench.queue.admin.cancel(ids(late[3])[0]) is Cancelled.DONE
        assert await bench.queue.admin.cancel(ids(late[1])[0]) is Cancelled.DONE
        for number in (4, 0, 2):
            await bench.queue.admin.redrive(ids(late[number]))
        await asyncio.sleep(0.1)
        for name in ("late0", "late2", "late4", "m2"):
            assert flying(bench) == [name]
            await end(bench, name)

    simulate(test, order_holds=True)


def test_letters_that_are_redriven_do_not_overtake_older_messages_of_a_held_key() -> None:
    """Each goes where its 202 says, also among messages that never died, and also where one was
    redriven before it."""

    async def test(bench: Bench) -> None:
        now = bench.clock.now_us()
        names = ("m0", "late1", "m2", "late3", "m4", "late5", "m6")
        sent = {
            name: keyed(name, deadline_us=now + 2 * S if name.startswith("late") else 0)
            for name in names
        }
        await hand_in(bench, *sent.values())
        await asyncio.sleep(4)
        assert len(bench.notes.dead) == 3
        for name in ("late3", "late5", "late1"):
            await bench.queue.admin.redrive(ids(sent[name]))
            await asyncio.sleep(0.1)
        for name in names:
            assert flying(bench) == [name]
            await end(bench, name)
        assert not len(bench.queue.lines)

    simulate(test, order_holds=True)


def test_explain_says_how_many_are_before_it() -> None:
    """Of its key, and not of its destination."""

    async def test(bench: Bench) -> None:
        sent = [keyed(f"m{n}") for n in range(4)]
        await hand_in(bench, *sent)
        said = await explained(bench, sent[3])
        assert (said.state, said.reason) == (MessageState.READY, Reason.ORDER_KEY)
        assert said.message == (
            "One message at a time is sent of its order key k; 3 messages of its key are before it."
        )
        assert "one message of its key is before it" in (await explained(bench, sent[1])).message
        totals = await bench.queue.admin.totals()
        assert (totals.ready, totals.in_flight) == (3, 1)
        (lane,) = (await bench.queue.admin.lanes(limit=10)).items
        assert lane.ready == 3

    simulate(test)


def test_letter_that_is_too_large_does_not_hold_its_key_up() -> None:
    """It is given up again after the next start."""

    async def test(bench: Bench) -> None:
        first = keyed("first")
        await hand_in(bench, first, keyed("second"))
        (found,) = bench.deliverer.flying
        bench.dead_log._max_batch_bytes = 10
        bench.end(found, DEAD)
        await asyncio.sleep(0.1)
        assert bench.notes.too_large
        assert flying(bench) == ["second"]

    simulate(test)


# ---------------------------------------------------------------------- flow


def test_no_more_than_parallelism_run_at_once() -> None:
    """Other keys and messages without one run on."""

    async def test(bench: Bench) -> None:
        await hand_in(bench, *(flowing(f"m{n}", "parallelism=2") for n in range(5)))
        await hand_in(bench, flowing("other", key="g"), message(name="free"))
        assert flying(bench) == ["m0", "m1", "other", "free"]
        await end(bench, "m1", failed(500))
        widen(bench)
        assert flying(bench) == ["m0", "other", "free", "m2"]
        await end(bench, "m0")
        assert "m3" in flying(bench)
        for name in ("other", "free", "m2", "m3"):
            await end(bench, name)
        await asyncio.sleep(2)
        assert sorted(flying(bench)) == ["m1", "m4"]

    simulate(test)


def test_attempts_of_a_key_start_evenly() -> None:
    """A burst of one unless it is given; retries count; what waits spends no attempt."""

    async def test(bench: Bench) -> None:
        begin = bench.clock.now_us()
        at: list[int] = []
        bench.deliverer.on_start = lambda sent: at.append(bench.clock.now_us() - begin)
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        await hand_in(bench, *(flowing(f"m{n}", "rate=10/1m") for n in range(10)))
        await asyncio.sleep(60)
        assert len(at) == 10
        assert all(n * 6 * S <= one <= n * 6 * S + S // 5 for n, one in enumerate(at))
        assert {attempt for _, attempt in bench.deliverer.started} == {1}

    simulate(test)


def test_burst_starts_at_once_and_then_the_rate_holds() -> None:
    """In any window no more than the rate and a burst."""

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        await hand_in(bench, *(flowing(f"m{n}", "rate=1/1s, burst=5") for n in range(9)))
        assert len(started(bench)) == 5
        await asyncio.sleep(2.2)
        assert len(started(bench)) == 7
        await asyncio.sleep(2)
        assert len(started(bench)) == 9
        await asyncio.sleep(1)  # idle: what it owes is not forgotten
        await hand_in(bench, *(flowing(f"n{n}") for n in range(9)))
        assert len(started(bench)) == 10

    simulate(test)


def test_value_given_last_holds_for_what_waits_already() -> None:
    """A wider one lets more through at once, and a narrower one takes back what was let through and
    has not started."""

    async def test(bench: Bench) -> None:
        await hand_in(bench, *(flowing(f"m{n}", "rate=1/1d") for n in range(4)))
        assert flying(bench) == ["m0"]
        await hand_in(bench, flowing("m4", "parallelism=3"))
        assert flying(bench) == ["m0", "m1", "m2"]
        for name in ("m0", "m1"):
            await end(bench, name)
        assert flying(bench) == ["m2", "m3", "m4"]
        await bench.queue.admin.hold("a.example")
        for name in ("m2", "m3", "m4"):
            await end(bench, name)
        await hand_in(bench, *(flowing(f"n{n}") for n in range(3)))
        await hand_in(bench, flowing("n3", "parallelism=1"))
        await bench.queue.admin.resume("a.example")
        await asyncio.sleep(0.1)
        for n in range(4):
            assert flying(bench) == [f"n{n}"]
            await end(bench, f"n{n}")

    simulate(test)


def test_key_without_a_value_uses_the_last_one_given_also_after_a_restart() -> None:
    """It is stored with each message, so it is known when the one that gave it is delivered."""

    async def test(bench: Bench) -> None:
        await hand_in(bench, flowing("m0", "parallelism=1"), *(flowing(f"m{n}") for n in (1, 2, 3)))
        await end(bench, "m0")
        await asyncio.sleep(1)
        bench.queue.pending.extents.cut()
        await bench.crash()
        del bench.log._payloads[bench.log._positions.pop(0)]  # as a segment that is trimmed
        assert not any(b"/m0 " in payload for payload in bench.log._payloads.values())
        await bench.start()
        await asyncio.sleep(0.1)
        assert flying(bench) == ["m1"]
        await end(bench, "m1")
        assert flying(bench) == ["m2"]

    simulate(test)


def test_at_most_one_burst_more_after_a_restart() -> None:
    """The tokens are not durable."""

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        await hand_in(bench, *(flowing(f"m{n}", "rate=1/1h, burst=2") for n in range(9)))
        assert len(started(bench)) == 2
        await bench.stop()
        await bench.start()
        await asyncio.sleep(1)
        assert len(started(bench)) == 4
        await asyncio.sleep(3600)
        assert len(started(bench)) == 5

    simulate(test)


def test_order_comes_before_flow() -> None:
    """Only the first of an order key asks for its flow."""

    async def test(bench: Bench) -> None:
        for n in range(3):
            await hand_in(bench, flowing(f"x{n}", "parallelism=2", order_key="x"))
        await hand_in(bench, flowing("y0", order_key="y"), flowing("z0", order_key="z"))
        assert flying(bench) == ["x0", "y0"]
        await end(bench, "x0")
        assert flying(bench) == ["y0", "z0"]
        await end(bench, "y0")
        assert flying(bench) == ["z0", "x1"]

    simulate(test)


def test_explain_says_what_the_flow_key_waits_for() -> None:
    """What holds for it, and when it may go."""

    async def test(bench: Bench) -> None:
        sent = [flowing(f"m{n}", "rate=10/1m, parallelism=2") for n in range(3)]
        await hand_in(bench, *sent)
        said = await explained(bench, sent[1])
        assert said.reason is Reason.FLOW_KEY
        assert said.message == (
            "Its flow key f lets 10/m start and 2 run at once at most; it is the next one of its "
            "key, and 1 in flight."
        )
        assert said.expected_at_us is not None
        assert abs(said.expected_at_us - bench.clock.now_us() - 6 * S) < S
        assert "one message of its key is before it" in (await explained(bench, sent[2])).message

    simulate(test)


def test_cancelled_messages_give_their_place_to_others() -> None:
    """Those that were let through, and those that wait."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("a.example")
        sent = [flowing(f"m{n}", "parallelism=1") for n in range(4)]
        await hand_in(bench, *sent)
        for at in (0, 2):
            assert await bench.queue.admin.cancel(sent[at].wire_id.decode()) is Cancelled.DONE
        await bench.queue.admin.resume("a.example")
        await asyncio.sleep(0.1)
        assert flying(bench) == ["m1"]
        await end(bench, "m1")
        assert flying(bench) == ["m3"]

    simulate(test)


def test_redriven_letter_has_the_newest_value_of_its_flow_key() -> None:
    """And its own where nothing newer is known."""

    async def test(bench: Bench) -> None:
        dead = flowing("dead", "parallelism=1")
        await hand_in(bench, dead)
        await end(bench, "dead", DEAD)
        await hand_in(bench, flowing("m1", "parallelism=2"))
        await bench.queue.admin.redrive(ids(dead))
        await asyncio.sleep(0.1)
        assert flying(bench) == ["m1", "dead"]
        await end(bench, "m1")
        await end(bench, "dead", DEAD)
        bench.queue.lines.table.flows.clear()  # as if very many others were used since
        bench.queue.lines.table.idle.clear()
        await bench.queue.admin.redrive(ids(dead))
        await hand_in(bench, flowing("m2"))
        assert flying(bench) == ["dead"]

    simulate(test)


def test_idle_flow_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was idle for the longest time is forgotten."""
    monkeypatch.setattr(line_table, "MOST_IDLE", 3)

    async def test(bench: Bench) -> None:
        bench.deliverer.answer = lambda sent: bench.queue.settling.delivered(sent, 200)
        await hand_in(bench, *(flowing(f"m{n}", "parallelism=1", f"f{n}") for n in range(6)))
        await hand_in(bench, flowing("none", None, "unknown"))
        lines = bench.queue.lines
        assert len(lines) == 3
        assert lines.known(b"http://a.example", Terms(flow_key="f5")) == Flow(None, 1)
        assert lines.known(b"http://a.example", Terms(flow_key="f0")) is None

    simulate(test)


# ---------------------------------------------------------------------- cost


def test_nothing_is_looked_through_however_many_wait() -> None:
    """Steps are counted: of a line with very many messages each one that leaves, from wherever,
    touches its neighbours only."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("a.example")
        count = 3000
        sent = [keyed(f"m{n}") for n in range(count)]
        await hand_in(bench, *sent)
        index = bench.queue.pending.index
        counted = _Counting(index.next)
        index.next = counted  # type: ignore[assignment]
        for at in range(1, count, 2):
            slot = sent[at].slot
            assert index.state[slot] == State.BEHIND
            bench.queue.changing.cancel([slot]).close()
        assert counted.steps < 8 * count

    simulate(test, rules=RulesInForce())


class _Counting:
    """Links, and how often they were touched."""

    def __init__(self, links: Any) -> None:
        self._links = links
        self.steps = 0

    def __getitem__(self, slot: int) -> int:
        self.steps += 1
        return int(self._links[slot])

    def __setitem__(self, slot: int, value: int) -> None:
        self.steps += 1
        self._links[slot] = value


def test_a_waiting_message_with_a_key_takes_few_bytes() -> None:
    """Besides its entry in the index; its key is shared with the others of the line."""

    async def test(bench: Bench) -> None:
        await bench.queue.admin.hold("a.example")
        lines, pending = bench.queue.lines, bench.queue.pending
        lane = bench.queue.lanes.of(destination())
        slots = [pending.add((1 << 40) + n, 1, lane.number, 10) for n in range(20_000)]
        terms = Terms(order_key="k")
        tracemalloc.start()
        try:
            for slot in slots:
                lines.note(slot, b"http://a.example", terms, slot)
                lines.waits(slot, 0, bench.queue.clock.now_us())
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size / len(slots) < 12

    simulate(test)
