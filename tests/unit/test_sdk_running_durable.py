"""Durable functions, from the bytes of a request to the bytes of its answer."""

from __future__ import annotations

import asyncio
import itertools
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import Any, CallResult, RecallRequest, RecallResponse, RunRequest
from dispatcher.protocol.states import OWN_STATE_TYPE
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.functions.spec import OnChange
from dispatcher.sdk.replay.loop import running
from dispatcher.sdk.replay.model import Failure, TailCall, Value
from dispatcher.sdk.running import session
from dispatcher.sdk.values import encode
from dispatcher.sdk.wire import any_of
from dispatcher.testing.runnables import (
    ALL,
    NOW_US,
    Asking,
    FakeRunnable,
    calls,
    does,
    failed,
    returned,
    runner,
    sleeps,
)


async def welcome(names: list[str]) -> object:
    await sleeps(60)
    return await asyncio.gather(*(calls("greet", name) for name in names))


@pytest.mark.parametrize("warm", [0, 100])
@pytest.mark.parametrize("features", [frozenset(), ALL])
async def test_a_function_sleeps_and_calls_others(features: frozenset[str], warm: int) -> None:
    """As it is written, kept in memory or not, with a server that knows our extensions or not."""
    now_us = NOW_US
    run = runner(FakeRunnable(welcome, durable=True), warm=warm, now_us=lambda: now_us)
    asking = Asking(run, "welcome", features)
    slept = await asking.first(["Ada", "Alan"])
    assert slept.poll.max_wait.seconds == 60
    assert not slept.poll.calls
    now_us += 60_000_000
    called = await asking.resume()
    assert [call.function for call in called.poll.calls] == ["greet", "greet"]
    assert not called.poll.HasField("max_wait")
    assert (called.poll.min_results, called.poll.max_results) == (1, 2)
    assert bool(called.poll.extends) == ("append" in features)
    first, second = (call.correlation_id for call in called.poll.calls)
    waits = await asking.resume({second: "Hello, Alan!"})
    assert waits.poll.max_results == 1
    assert returned(await asking.resume({first: "Hello, Ada!"})) == ["Hello, Ada!", "Hello, Alan!"]


class Bodies:
    """Counts how often a body began."""

    def __init__(self) -> None:
        self.begun = 0

    async def __call__(self) -> object:
        self.begun += 1
        first = await calls("one")
        return [first, await calls("two")]


def pair(warm: int = 100) -> tuple[Asking, Bodies]:
    """A function that makes two calls, one after the other."""
    bodies = Bodies()

    async def pair() -> object:
        return await bodies()

    return Asking(runner(FakeRunnable(pair, durable=True), warm=warm), "pair"), bodies


async def test_a_call_in_memory_goes_on_where_it_is() -> None:
    """Its body begins once, and the server sends a nonce in place of the state."""
    asking, bodies = pair()
    await asking.first()
    await asking.resume({0: 1}, by_nonce=True)
    assert returned(await asking.resume({1: 2}, by_nonce=True)) == [1, 2]
    assert bodies.begun == 1
    assert asking.runner.suspended == 0


@pytest.mark.parametrize("features", [ALL, frozenset()])
async def test_a_call_in_memory_is_found_by_its_whole_state(features: frozenset[str]) -> None:
    """As servers send it that know no nonces, or that have been started anew."""
    asking, bodies = pair()
    asking.features = features
    await asking.first()
    await asking.resume({0: 1})
    assert returned(await asking.resume({1: 2})) == [1, 2]
    assert bodies.begun == 1


async def test_a_nonce_of_an_older_state_asks_for_the_state() -> None:
    """What is in memory has gone on; that answer was lost."""
    asking, _ = pair()
    await asking.first()
    nonce = asking.nonce
    await asking.resume({0: 1})
    asking.nonce = nonce
    asking.runner.forget_answers()
    with pytest.raises(ConnectError) as raised:
        await asking.resume({0: 1}, by_nonce=True)
    assert raised.value.code is Code.FAILED_PRECONDITION


async def test_a_call_that_is_not_in_memory_is_replayed() -> None:
    """From the state, once for each resume."""
    asking, bodies = pair(warm=0)
    assert not (await asking.first()).poll.process
    await asking.resume({0: 1})
    assert returned(await asking.resume({1: 2})) == [1, 2]
    assert bodies.begun == 3


async def test_a_nonce_of_a_state_that_is_not_here_asks_for_the_state() -> None:
    """Another process may have it: the server sends it at once."""
    asking, _ = pair()
    await asking.first()
    asking.runner.close()
    with pytest.raises(ConnectError) as raised:
        await asking.resume({0: 1}, by_nonce=True)
    assert raised.value.code is Code.FAILED_PRECONDITION
    assert (await asking.resume({0: 1})).poll.calls[0].function == "two"


async def test_a_lost_answer_runs_nothing_again() -> None:
    """The request comes again, now with the whole state, and has the same answer."""
    asking, bodies = pair()
    await asking.first()
    assert await asking.again() == asking.response
    before = asking.state
    await asking.resume({0: 1}, by_nonce=True)
    poll = asking.request.poll_result
    poll.state_ref = 0
    poll.typed_coroutine_state.CopyFrom(typed(before))
    assert await asking.again() == asking.response
    assert returned(await asking.resume({1: 2}, by_nonce=True)) == [1, 2]
    assert bodies.begun == 1


async def test_a_call_is_replayed_where_the_server_has_another_state_than_was_answered() -> None:
    """The answer was lost, and forgotten here: what is in memory has gone too far."""
    asking, bodies = pair()
    await asking.first()
    state, nonce = asking.state, asking.nonce
    await asking.resume({0: 1})
    asking.runner.forget_answers()
    asking.state, asking.nonce = state, nonce
    assert (await asking.resume({0: 5})).poll.calls[0].function == "two"
    assert returned(await asking.resume({1: 6})) == [5, 6]
    assert bodies.begun == 2


async def test_a_call_that_begins_anew_runs_from_its_input() -> None:
    """Whatever is in memory of it."""
    asking, bodies = pair()
    first = await asking.first()
    await asking.resume({0: 1})
    assert await asking.first() == first
    assert bodies.begun == 2


@pytest.mark.parametrize("damage", ["cut", "other version", "empty", "none", "of another SDK"])
async def test_a_state_that_can_not_be_read_is_incompatible(damage: str) -> None:
    """Never HTTP 500: the server begins the call anew."""
    asking, _ = pair(warm=0)
    await asking.first()
    poll = asking.request.poll_result
    state = {"cut": asking.state[:-1], "other version": b"\x09" + asking.state[1:], "empty": b""}
    if damage in state:
        poll.typed_coroutine_state.CopyFrom(typed(state[damage]))
    elif damage == "of another SDK":
        poll.typed_coroutine_state.CopyFrom(typed(asking.state, "buf.build/other.State"))
    else:
        poll.SetInParent()
    status, kind, message = failed(await asking.again())
    assert (status, kind) == (Status.INCOMPATIBLE_STATE, "IncompatibleState")
    assert "state" in message


@pytest.mark.parametrize(
    ("on_change", "status"),
    [
        (OnChange.RESTART, Status.INCOMPATIBLE_STATE),
        (OnChange.WAIT, Status.TEMPORARY_ERROR),
        (OnChange.FAIL, Status.PERMANENT_ERROR),
    ],
)
async def test_a_body_that_does_something_else_is_what_its_function_says(
    on_change: OnChange, status: Status
) -> None:
    """It begins anew, waits for the code that fits, or fails; the message has both places."""
    callee = "one"

    async def edited() -> object:
        return await calls(callee)

    function = FakeRunnable(edited, durable=True, on_change=on_change)
    asking = Asking(runner(function, warm=0), "edited")
    await asking.first()
    callee = "other"
    found, kind, message = failed(await asking.resume({0: 1}))
    assert (found, kind) == (status, "IncompatibleState")
    assert "one" in message
    assert "other" in message


async def test_an_exception_that_leaves_a_durable_body_is_final() -> None:
    """Its cause is on record: a replay would raise it again, until the call expires."""

    class Busy(Exception):
        status = Status.THROTTLED

    async def busy() -> None:
        await calls("one")
        raise Busy("later")

    asking = Asking(runner(FakeRunnable(busy, durable=True)), "busy")
    await asking.first()
    assert failed(await asking.resume({0: 1})) == (Status.PERMANENT_ERROR, "Busy", "later")
    assert asking.runner.suspended == 0


async def test_a_fault_is_final_and_says_what_to_write() -> None:
    """I/O in a durable body, on the first run."""

    async def opens() -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    asking = Asking(runner(FakeRunnable(opens, durable=True)), "opens")
    status, kind, message = failed(await asking.first())
    assert (status, kind) == (Status.PERMANENT_ERROR, "NotDurable")
    assert "dispatch.step" in message


async def test_a_call_that_is_asked_to_end_may_clean_up() -> None:
    """Its last answer has the error that it was asked with."""
    cleaned = []

    async def long() -> None:
        try:
            await sleeps(1000)
        finally:
            cleaned.append(await calls("clean"))

    asking = Asking(runner(FakeRunnable(long, durable=True)), "long")
    await asking.first()
    cancelled = Failure("Cancelled", "long was cancelled: clean up and end.")
    assert (await asking.resume(error=cancelled)).poll.calls[0].function == "clean"
    done = await asking.resume({1: "yes"}, error=cancelled)
    assert failed(done) == (Status.PERMANENT_ERROR, *("Cancelled", cancelled.message))
    assert cleaned == ["yes"]


@pytest.mark.parametrize("warm", [0, 100])
async def test_a_call_may_clean_up_when_what_it_waits_for_is_cancelled_with_it(warm: int) -> None:
    """It is told that it is to end, before what became of that; what came to something is not
    lost."""
    seen = []

    async def long() -> None:
        try:
            await asyncio.gather(first(), calls("never"))
        finally:
            seen.append(await calls("clean"))

    async def first() -> None:
        seen.append(await calls("first"))
        await sleeps(1000)

    asking = Asking(runner(FakeRunnable(long, durable=True), warm=warm), "long")
    called = {call.function: call.correlation_id for call in (await asking.first()).poll.calls}
    cancelled = Failure("Cancelled", "long was cancelled: clean up and end.")
    results = {called["never"]: cancelled, called["first"]: "came"}
    (clean,) = (await asking.resume(results, error=cancelled)).poll.calls
    assert clean.function == "clean"
    seen.clear()
    done = await asking.resume({clean.correlation_id: "yes"}, error=cancelled)
    assert failed(done) == (Status.PERMANENT_ERROR, *("Cancelled", cancelled.message))
    assert seen == (["yes"] if warm else ["came", "yes"])


async def test_calls_of_a_poll_that_is_refused_fail() -> None:
    """The body is told, and may go on."""

    async def careful() -> object:
        try:
            return await calls("one")
        except RuntimeError as error:
            return str(error)

    asking = Asking(runner(FakeRunnable(careful, durable=True)), "careful")
    await asking.first()
    refused = Failure("TooManyCalls", "too many")
    assert returned(await asking.resume(error=refused)) == "TooManyCalls: too many"


async def test_calls_that_are_needed_no_more_are_cancelled() -> None:
    """Those that were made in a poll before; others are not made at all."""

    async def impatient() -> object:
        first = asyncio.create_task(awaited(calls("slow")))
        await sleeps(1)
        first.cancel()
        await asyncio.wait([first])
        return await calls("quick")

    now_us = NOW_US
    function = FakeRunnable(impatient, durable=True)
    asking = Asking(runner(function, now_us=lambda: now_us), "impatient")
    await asking.first()
    now_us += 1_000_000
    response = await asking.resume()
    assert list(response.poll.cancel) == [1]
    assert [call.function for call in response.poll.calls] == ["quick"]


async def awaited(what: object) -> object:
    return await what  # type: ignore[misc]  # anything that can be awaited


async def test_a_group_is_resumed_once_all_of_it_is_there() -> None:
    """And is given as many results as there are, up to what a server allows."""

    async def fan() -> object:
        loop = running()
        assert loop is not None
        group = object()
        operations = [calls("one", number).operation for number in range(1500)]
        futures = [loop.perform(one, group=group) for one in operations]
        return len([await future for future in futures])

    function = FakeRunnable(fan, durable=True)
    ours = await Asking(runner(function), "fan", ALL).first()
    others = await Asking(runner(function), "fan", frozenset()).first()
    assert (ours.poll.min_results, ours.poll.max_results) == (1500, 1500)
    assert (others.poll.min_results, others.poll.max_results) == (1000, 1000)


async def test_a_function_may_become_another_call() -> None:
    """A tail call; the record is not sent any more."""

    async def again() -> None:
        raise TailCall(calls("next", 7).operation)

    response = await Asking(runner(FakeRunnable(again, durable=True)), "again").first()
    assert response.status == Status.OK
    assert response.exit.tail_call.function == "next"
    assert not response.exit.HasField("result")


async def test_a_function_that_becomes_itself_runs_again() -> None:
    """The server asks the same then, to the byte, and no answer was lost."""
    begun = []

    async def forever() -> None:
        begun.append(1)
        raise TailCall(calls("forever").operation)

    asking = Asking(runner(FakeRunnable(forever, durable=True)), "forever")
    await asking.first()
    await asking.again()
    assert len(begun) == 2


async def test_calls_that_are_given_up_while_a_step_runs_are_told_with_the_end() -> None:
    """And a call that was not made yet is not told at all."""
    go, now_us, tick_us = asyncio.Event(), NOW_US, 0

    def clock() -> int:
        nonlocal now_us
        now_us += tick_us
        return now_us

    async def step() -> object:
        nonlocal tick_us
        tick_us = 5_000
        await go.wait()
        return 1

    async def races() -> object:
        made = asyncio.create_task(awaited(calls("made")))
        await sleeps(1)
        work = asyncio.create_task(awaited(does(step)))
        await sleeps(0.01)
        late = asyncio.create_task(awaited(calls("late")))
        await sleeps(0.01)
        made.cancel()
        late.cancel()
        go.set()
        return await work

    asking = Asking(runner(FakeRunnable(races, durable=True), now_us=clock), "races")
    await asking.first()
    now_us += 1_000_000
    response = await asking.resume()
    assert returned(response) == 1
    assert list(response.exit.cancel) == [1]


async def test_an_answer_that_no_server_reads_is_an_error_that_says_so() -> None:
    """And not a call that fails for a reason that nobody sees."""

    async def large() -> object:
        return await calls("one", "x" * 18_000_000)

    asking = Asking(runner(FakeRunnable(large, durable=True)), "large")
    status, kind, message = failed(await asking.first())
    assert (status, kind, asking.runner.suspended) == (Status.PERMANENT_ERROR, "TooLarge", 0)
    assert re.fullmatch(
        r"The input of one, called at app\.py:1: 18000\d{3} bytes, and 16000000 is the most that a "
        r"server takes\. Store large values elsewhere, and pass where they are",
        message,
    )


async def test_a_wait_is_at_least_a_second_for_servers_without_extensions() -> None:
    """The protocol says so."""

    async def naps() -> None:
        await sleeps(0.2)

    for features, wait_ms in ((ALL, 200), (frozenset[str](), 1000)):
        asking = Asking(runner(FakeRunnable(naps, durable=True)), "naps", features)
        poll = (await asking.first()).poll
        assert poll.max_wait.seconds * 1000 + poll.max_wait.nanos // 10**6 == wait_ms


async def test_arguments_that_do_not_fit_are_final() -> None:
    """Before the body begins."""
    asking = Asking(runner(FakeRunnable(welcome, durable=True)), "welcome")
    request = RunRequest(function="welcome", dispatch_id="1")
    request.input.CopyFrom(any_of(Value("google.protobuf.Int64Value", b"\x08\x01")))
    status, kind, _ = failed(await asking.ask(request))
    assert (status, kind) == (Status.INVALID_ARGUMENT, "InvalidArgumentError")


async def test_a_function_that_is_not_here_is_named_with_one_that_is() -> None:
    """It was renamed, or is of another application."""
    asking = Asking(runner(FakeRunnable(welcome, durable=True)), "welcome")
    with pytest.raises(ConnectError) as raised:
        await asking.ask(RunRequest(function="wellcome", input=Any()))
    assert raised.value.code is Code.NOT_FOUND
    assert raised.value.message == (
        "the application has no function 'wellcome': give it to Dispatch(…); or is 'welcome' meant?"
    )


LARGE = "x" * 100_000


class Keeper:
    """A server that keeps results; it answers one at a time."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.error: Exception | None = None

    async def __call__(self, request: RecallRequest) -> RecallResponse:
        assert (request.dispatch_id, request.permit) == ("01f3", b"permit")
        self.asked.append(list(request.results))
        if self.error is not None:
            raise self.error
        result = CallResult(dispatch_id=request.results[0], output=any_of(encode(LARGE)))
        return RecallResponse(results=[result])


def reading(keeper: Keeper | None) -> Asking:
    """A function that is given two large results and a small one."""

    async def reads() -> object:
        texts = [await calls("read", number) for number in range(3)]
        return [len(str(text)) for text in texts]

    return Asking(runner(FakeRunnable(reads, durable=True), warm=0, recall=keeper), "reads")


async def test_large_results_are_kept_by_the_server() -> None:
    """The state holds their ids, and who replays asks for them."""
    keeper = Keeper()
    asking = reading(keeper)
    await asking.first()
    assert list((await asking.resume({0: LARGE})).poll.keep) == ["child-0"]
    assert not (await asking.resume({1: "small"})).poll.keep
    assert len(asking.state) < 1000
    assert returned(await asking.resume({2: LARGE})) == [100_000, 5, 100_000]
    assert keeper.asked == [["child-0"], ["child-0"]]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ConnectError(Code.NOT_FOUND, "gone"), Status.INCOMPATIBLE_STATE, "IncompatibleState"),
        (ConnectError(Code.UNAVAILABLE, "busy"), Status.TEMPORARY_ERROR, "NotRecalled"),
        (ConnectionError("refused"), Status.TEMPORARY_ERROR, "NotRecalled"),
    ],
)
async def test_results_that_are_not_told_begin_the_call_anew_or_have_it_wait(
    error: Exception, status: Status, kind: str
) -> None:
    """What is gone is gone; a server that is away comes back."""
    keeper = Keeper()
    asking = reading(keeper)
    await asking.first()
    await asking.resume({0: LARGE})
    keeper.error = error
    assert failed(await asking.resume({1: "small"}))[:2] == (status, kind)
    keeper.error = None
    assert (await asking.resume({1: "small"})).HasField("poll")


@pytest.mark.parametrize(("most", "most_bytes"), [(1, 10**9), (10, 150_000)])
async def test_results_are_in_the_state_where_the_server_keeps_no_more(
    most: int, most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that keeps too much would end the call; what is replayed counts too."""
    monkeypatch.setattr(session, "MOST_KEPT", most)
    monkeypatch.setattr(session, "MOST_KEPT_BYTES", most_bytes)
    asking = reading(Keeper())
    await asking.first()
    assert list((await asking.resume({0: LARGE})).poll.keep) == ["child-0"]
    assert not (await asking.resume({1: LARGE})).poll.keep
    assert returned(await asking.resume({2: "x"})) == [100_000, 100_000, 1]


async def test_large_results_are_in_the_state_where_nobody_can_ask_for_them() -> None:
    """Without the address of the server and a key."""
    asking = reading(None)
    await asking.first()
    assert not (await asking.resume({0: LARGE})).poll.keep
    assert len(asking.state) > len(LARGE)


def typed(state: bytes, url: str = OWN_STATE_TYPE) -> Any:
    """A state as it is sent."""
    return Any(type_url=url, value=state)


def test_an_application_is_used_by_several_loops_at_once() -> None:
    """As in a server with threads, each with a loop of its own: a call goes on in any of them."""
    shared = runner(
        FakeRunnable(welcome, durable=True), now_us=itertools.count(NOW_US, 10**8).__next__
    )

    async def some(first: int) -> list[object]:
        found: list[object] = []
        for number in range(first, first + 20):
            asking = Asking(shared, "welcome", id=str(number))
            await asking.first(["a", "b"])
            await asking.resume()
            await asyncio.to_thread(asyncio.run, asking.resume({2: "B"}))
            found.append(returned(await asking.resume({1: "A"}, by_nonce=True)))
        return found

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda first: asyncio.run(some(first)), range(0, 400, 100)))
    assert found == [[["A", "B"]] * 20] * 4
