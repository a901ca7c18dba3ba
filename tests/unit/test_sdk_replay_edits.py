"""Code that is edited while a call waits: what fits its record goes on, the rest is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import pytest

from dispatcher.sdk.replay.contradictions import named
from dispatcher.sdk.replay.model import (
    Cancelled,
    Contradicted,
    Ended,
    Event,
    Kind,
    Operation,
    Outcome,
    Suspended,
)
from dispatcher.testing.durable import (
    BEGAN_US,
    body_of,
    close_all,
    ended,
    failure,
    recorded,
    replayed,
    start,
    suspended,
)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


PIPELINE = """
    async def pipeline():
        first = await call("fetch", 1)
        await sleep(60)
        second = await call("transform", 2)
        await call("publish", 3)
"""

HINT = 'Edited before the place where it waits? Guard it with dispatch.patched("…"). Not edited: '


def _waiting_for_transform() -> bytes:
    """PIPELINE after its first call and its sleep: it waits at line 4."""
    run = start(body_of(PIPELINE))
    suspended(run)
    suspended(run, ended(0, 7), after_s=1)
    run.mark()
    suspended(run, after_s=61)
    return run.state()


def _edited(source: str) -> Outcome:
    return replayed(body_of(source), _waiting_for_transform())


def _said(source: str) -> str:
    outcome = _edited(source)
    assert isinstance(outcome, Contradicted), outcome
    return outcome.message


FITTING = {
    "unchanged": PIPELINE,
    "lines moved, and names of variables": """
    import contextlib


    async def pipeline():
        # A comment.
        one = await call("fetch", 1)

        await sleep(60)
        two = await call("transform", 2)
        await call("publish", 3)
""",
    "changed behind the place where it waits": """
    async def pipeline():
        first = await call("fetch", 1)
        await sleep(60)
        second = await call("transform", 2)
        await call("check", second)
        await call("publish", 4)
""",
    "in a timeout": """
    async def pipeline():
        async with asyncio.timeout(3600):
            first = await call("fetch", 1)
            async with asyncio.timeout(None):
                await sleep(60)
            second = await call("transform", 2)
        await call("publish", 3)
""",
    "in a helper": """
    async def pipeline():
        async def helper():
            await call("fetch", 1)
            await sleep(60)
        await helper()
        second = await call("transform", 2)
        await call("publish", 3)
""",
    "with a branch beside it, which begins now": """
    async def pipeline():
        beside = asyncio.create_task(call("audit", 9))
        first = await call("fetch", 1)
        await sleep(60)
        second = await call("transform", 2)
        await call("publish", 3)
        await beside
""",
    "with code that makes no operation": """
    async def pipeline():
        first = await call("fetch", 1)
        await asyncio.sleep(0)
        async with asyncio.Lock():
            await sleep(60)
        if first == 7:
            second = await call("transform", 2)
""",
    "in a loop": """
    async def pipeline():
        for function, number in (("fetch", 1), ("transform", 2), ("publish", 3)):
            await call(function, number)
            if number == 1:
                await sleep(60)
""",
    "in a try with a finally": """
    async def pipeline():
        try:
            first = await call("fetch", 1)
        finally:
            await sleep(60)
        second = await call("transform", 2)
        await call("publish", 3)
""",
    "with a semaphore that is free": """
    async def pipeline():
        slots = asyncio.Semaphore(2)
        async with slots:
            first = await call("fetch", 1)
        await sleep(60)
        async with slots:
            second = await call("transform", 2)
        await call("publish", 3)
""",
}


@pytest.mark.parametrize("edit", FITTING)
def test_edited_body_goes_on_when_it_fits_its_record(edit: str) -> None:
    """What is on record decides, and nothing else of the code."""
    assert isinstance(_edited(FITTING[edit]), Suspended)


def test_branch_that_was_added_makes_its_call_once_when_the_body_is_resumed() -> None:
    """A new task beside those on record has operations of its own, now and in later replays."""
    body = body_of(FITTING["with a branch beside it, which begins now"])
    run = start(body, _waiting_for_transform())
    outcome = suspended(run, after_s=62)
    assert [(each.id, each.operation.function) for each in outcome.calls] == [(3, "audit")]
    again = suspended(start(body, run.state()), ended(2, 8), after_s=63)
    assert [(each.id, each.operation.function) for each in again.calls] == [(4, "publish")]


CONTRADICTING = {
    "renamed": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        await sleep(60)
        second = await call("convert", 2)
        await call("publish", 3)
""",
        """
  recorded   await 3: transform, called at app.py:4
  now        await 3: convert, called at app.py:4
  before it  1 fetch ok · 2 sleep 60 s
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:3-4.",
    ),
    "inserted": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        await call("check", first)
        await sleep(60)
        second = await call("transform", 2)
        await call("publish", 3)
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        await 2: check, called at app.py:3
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-3.",
    ),
    "removed": (
        """
    async def pipeline():
        await sleep(60)
        second = await call("transform", 2)
        await call("publish", 3)
""",
        """
  recorded   await 1: fetch, called at app.py:2
  now        await 1: sleep 60 s, called at app.py:2
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2.",
    ),
    "another input": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        await sleep(60)
        second = await call("transform", first)
        await call("publish", 3)
""",
        """
  recorded   await 3: transform, called at app.py:4
  now        await 3: transform with another input, called at app.py:4
  before it  1 fetch ok · 2 sleep 60 s
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:3-4.",
    ),
    "another time": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        await sleep(86400)
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        await 2: sleep 86400 s, called at app.py:3
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-3.",
    ),
    "early return": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        if first == 7:
            return None
        await sleep(60)
        second = await call("transform", 2)
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        it returned
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-3.",
    ),
    "ended where it waited": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        await sleep(60)
""",
        """
  recorded   await 3: transform, called at app.py:4
  now        it returned
  before it  1 fetch ok · 2 sleep 60 s
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:3-4.",
    ),
    "early error": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        raise ValueError("too many")
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        it raised ValueError: too many
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-3.",
    ),
    "in a task": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        await asyncio.create_task(sleep(60))
        second = await call("transform", 2)
        await call("publish", 3)
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        the body waits at app.py:3 in pipeline
             task 1 waits at app.py:3 for sleep 60 s
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-3.",
    ),
    "a wait that nothing on record ends": (
        """
    async def pipeline():
        event = asyncio.Event()
        async def helper():
            await event.wait()
        first = await call("fetch", 1)
        async with asyncio.TaskGroup() as group:
            group.create_task(helper())
        await sleep(60)
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        the body waits at app.py:6 in pipeline
             task 1 waits at app.py:4 in helper
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-3.",
    ),
    "swallowed": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        try:
            await call("check", first)
        except BaseException:
            pass
        await sleep(60)
        second = await call("transform", 2)
        await call("publish", 3)
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        await 2: check, called at app.py:4
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-4.",
    ),
    "two that changed places": (
        """
    async def pipeline():
        await sleep(60)
        first = await call("fetch", 1)
        second = await call("transform", 2)
        await call("publish", 3)
""",
        """
  recorded   await 1: fetch, called at app.py:2
  now        await 1: sleep 60 s, called at app.py:2
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2.",
    ),
    "at a time instead of one after the other": (
        """
    async def pipeline():
        await asyncio.gather(call("fetch", 1), sleep(60))
        second = await call("transform", 2)
        await call("publish", 3)
""",
        """
  recorded   await 1: fetch, called at app.py:2
  now        the body waits at app.py:2 in pipeline
             task 1 waits at app.py:2 for fetch
             task 2 waits at app.py:2 for sleep 60 s
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2.",
    ),
    "a step instead of a call": (
        """
    async def pipeline():
        first = await step("fetch", 1)
        await sleep(60)
        second = await call("transform", 2)
        await call("publish", 3)
""",
        """
  recorded   await 1: fetch, called at app.py:2
  now        await 1: step fetch, called at app.py:2
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2.",
    ),
    "a loop that goes round once more": (
        """
    async def pipeline():
        for number in range(1, 3):
            await call("fetch", number)
        await sleep(60)
        second = await call("transform", 2)
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        await 2: fetch, called at app.py:3
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-3.",
    ),
    "a sleep of asyncio instead of a durable one": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        await asyncio.sleep(60)
        second = await call("transform", 2)
        await call("publish", 3)
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        the body waits at app.py:3 in pipeline
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-3.",
    ),
    "a condition turned round": (
        """
    async def pipeline():
        first = await call("fetch", 1)
        if first != 7:
            await sleep(60)
        second = await call("transform", 2)
        await call("publish", 3)
""",
        """
  recorded   await 2: sleep 60 s, called at app.py:3
  now        await 2: transform, called at app.py:5
  before it  1 fetch ok
"""
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-5.",
    ),
}


def test_the_catalogue_has_more_than_twenty_edits() -> None:
    """What fits and what does not: each written otherwise, the unchanged one not counted."""
    sources = {*FITTING.values(), *(source for source, _ in CONTRADICTING.values())}
    assert len(sources - {PIPELINE}) > 20


@pytest.mark.parametrize("edit", CONTRADICTING)
def test_edited_body_is_told_both_places_when_it_contradicts_its_record(edit: str) -> None:
    """The message names what is on record, what the code does now, and what went before."""
    source, message = CONTRADICTING[edit]
    head = "pipeline (call 01f3, 2nd resume) no longer fits its record."
    assert _said(source) == head + message


def _fan_out(*events: Sequence[Event]) -> bytes:
    return recorded(
        body_of("""
    async def branch(number):
        await call("one", number)
        await call("two", number)

    async def pipeline():
        await asyncio.gather(branch(1), branch(2))
"""),
        *events,
    )


def test_contradiction_names_the_task_when_it_is_not_in_the_body() -> None:
    """An index counts in its task: "await 2 of task 2"."""
    edited = body_of("""
    async def branch(number):
        await call("one", number)
        await call("two" if number == 1 else "three", number)

    async def pipeline():
        await asyncio.gather(branch(1), branch(2))
""")
    state = _fan_out([ended(1, 1)], [ended(0, 1)])
    outcome = replayed(edited, state)
    assert isinstance(outcome, Contradicted)
    assert outcome.message == (
        "pipeline (call 01f3, 3rd resume) no longer fits its record.\n"
        "  recorded   await 2 of task 2: two, called at app.py:3\n"
        "  now        await 2: three, called at app.py:3\n"
        "  before it  1 one ok\n"
        + HINT
        + "look for sets, globals, time, random or I/O at app.py:2-3."
    )


def test_message_counts_what_went_before_when_it_is_long() -> None:
    """Five operations before it are named, with their numbers and how they ended."""
    long = """
    async def pipeline():
        for number in range(9):
            try:
                await call("work", number)
            except Failed:
                pass
"""
    events = [[ended(n, 1)] for n in range(7)] + [[Ended(7, failure())]]
    state = recorded(body_of(long), *events)
    outcome = replayed(body_of(long.replace("range(9)", "[*range(8), 9]")), state)
    assert isinstance(outcome, Contradicted)
    assert outcome.message.splitlines()[3] == (
        "  before it  … · 4 work ok · 5 work ok · 6 work ok · 7 work ok · 8 work failed: Failed"
    )


def test_message_says_so_when_another_python_recorded_it() -> None:
    """Versions of asyncio differ: that it is another one is worth knowing."""
    minor = sys.version_info.minor
    state = _waiting_for_transform().replace(bytes((4 << 3, minor)), bytes((4 << 3, 9)), 1)
    outcome = replayed(body_of(CONTRADICTING["renamed"][0]), state)
    assert isinstance(outcome, Contradicted)
    assert outcome.message.endswith(f"\nIt began on Python 3.9, and this is 3.{minor}.")


def test_input_is_not_compared_when_the_function_has_opted_out() -> None:
    """`is_input_checked` is of the code as it is now, not of the record."""
    source = PIPELINE.replace('"transform", 2', '"transform", 5, checked=False')
    assert isinstance(_edited(source), Suspended)


def test_timers_of_asyncio_move_no_operation_when_they_are_wrapped_around_passed_code() -> None:
    """Timers are counted by themselves, and on record only once they have ended."""
    state = recorded(body_of(PIPELINE), [ended(0, 7)])
    source = PIPELINE.replace(
        'await call("fetch", 1)', 'await asyncio.wait_for(call("fetch", 1), 9)'
    )
    run = start(body_of(source), state)
    assert suspended(run, after_s=2).wake_us == BEGAN_US + 61_000_000


def test_timer_that_ends_too_early_is_a_contradiction_when_the_code_has_another_one_there() -> None:
    """It is never delivered to a timer that was set for later: that would be a timeout that did not
    happen."""
    source = """
    async def pipeline():
        await asyncio.sleep(1)
        await call("fetch", 1)
"""
    run = start(body_of(source))
    suspended(run)
    run = start(body_of(source), run.state())
    suspended(run, after_s=1)
    outcome = replayed(body_of(source.replace("sleep(1)", "sleep(5)")), run.state())
    assert isinstance(outcome, Contradicted)
    assert outcome.message == (
        "pipeline (call 01f3, 2nd resume) no longer fits its record.\n"
        "  recorded   a timer of the body ended: of asyncio.sleep, timeout or wait_for\n"
        "  now        the body waits at app.py:2 in pipeline\n"
        + HINT
        + "look for sets, globals, time, random or I/O before it."
    )


def test_body_that_ends_before_it_was_cancelled_is_a_contradiction() -> None:
    """On record it waited, and was cancelled; now it has returned by then."""
    source = """
    async def pipeline():
        try:
            await call("fetch", 1)
        finally:
            await call("clean", 2)
"""
    state = recorded(body_of(source), [Cancelled("by alice")])
    edited = """
    async def pipeline():
        asyncio.create_task(call("fetch", 1))
"""
    outcome = replayed(body_of(edited), state)
    assert isinstance(outcome, Contradicted)
    assert outcome.message == (
        "pipeline (call 01f3, 2nd resume) no longer fits its record.\n"
        "  recorded   the call was cancelled: by alice\n"
        "  now        it returned\n"
        + HINT
        + "look for sets, globals, time, random or I/O before it ends."
    )


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (Operation(Kind.CALL, "greet", ""), "greet"),
        (Operation(Kind.CALL, "greet", "", endpoint="https://b/"), "greet of https://b/"),
        (Operation(Kind.CALL, "promise", "", endpoint="promise:a:b"), "promise a:b"),
        (Operation(Kind.CALL, "channel", "", endpoint="channel:x"), "channel x"),
        (Operation(Kind.STEP, "resize", ""), "step resize"),
        (Operation(Kind.SLEEP, "sleep", "", duration_us=1_500_000), "sleep 1.5 s"),
        (Operation(Kind.SLEEP, "sleep", "", duration_us=86_400_000_000), "sleep 86400 s"),
        (Operation(Kind.SLEEP, "sleep", "", duration_us=10**14), "sleep 100000000 s"),
    ],
)
def test_operation_is_named_as_who_wrote_it_knows_it(operation: Operation, name: str) -> None:
    """By what it waits for, also where the record has a number of it only."""
    assert named(operation) == name


PATCHED = """
    async def pipeline():
        first = await call("fetch", 1)
        if patched("check first"):
            await call("check", 4)
        await sleep(60)
        second = await call("transform", 2)
        if patched("check second"):
            await call("check", 5)
        await call("publish", 3)
"""


def test_patch_lets_old_calls_finish_as_they_began_when_new_ones_do_more() -> None:
    """A call that has passed the place does what it did; at places that it comes to later, it does
    what the code says now."""
    outcome = suspended(start(body_of(PATCHED), _waiting_for_transform()), ended(2, 8), after_s=62)
    assert [each.operation.function for each in outcome.calls] == ["check"]
    run = start(body_of(PATCHED))
    suspended(run)
    fresh = suspended(run, ended(0, 7), after_s=1)
    assert [each.operation.function for each in fresh.calls] == ["check"]


def test_patch_is_the_same_in_every_replay_when_it_was_new_once() -> None:
    """The answer is on record: a later replay finds it there, and goes the same way."""
    body = body_of(PATCHED)
    state = recorded(body, [ended(0, 7)], [ended(2, 1)])
    run = start(body, state)
    assert suspended(run, after_s=3).wake_us == BEGAN_US + 62_000_000
    outcome = suspended(run, after_s=62)
    assert [each.operation.function for each in outcome.calls] == ["transform"]


def test_guard_of_a_patch_may_be_removed_when_no_call_from_before_it_waits() -> None:
    """A patch on record that nobody asks for is no contradiction."""
    state = recorded(body_of(PATCHED), [ended(0, 7)], [ended(2, 1)])
    source = PATCHED.replace('if patched("check first"):', "if True:")
    assert isinstance(replayed(body_of(source), state, after_s=3), Suspended)
