"""Polls, and what a call waits for: results of others, time, somebody outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from dispatcher.protocol.messages import Call, CallResult, Exit, Poll, RunResponse
from dispatcher.protocol.statuses import Status
from tests.acceptance.functions import (
    Client,
    Endpoint,
    Gone,
    Held,
    Http,
    Later,
    Reply,
    Run,
    an_any,
    exits,
    fails,
    is_first,
    polls,
    resumed,
)
from tests.acceptance.receiver import eventually

SETTINGS = {
    "CALL_RETRY_DELAY": "30",
    "CALL_RETRY_MAX_DELAY": "200",
    "CALL_START_DELAY": "0",
    "DRAIN_TIMEOUT": "300",
}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint(lambda run: exits()) as made:
        made.answer = partial(child, made)
        yield made


def child(endpoint: Endpoint, run: Run) -> Reply:
    """What children do, by their names: `slow_700` takes so many milliseconds, `held_2` waits until
    a parent has had so many runs."""
    kind, _, rest = run.request.function.partition("_")
    match kind:
        case "slow":
            return Later(float(rest) / 1000, exits(b"slow"))
        case "held":
            return Held(lambda: len(endpoint.of("parent")) >= int(rest), exits(b"held"))
        case "broken":
            return fails(7)
        case _:
            return exits(run.request.function.encode())


def stages(endpoint: Endpoint, *answers: Reply | Callable[[Run], Reply]) -> Callable[[Run], Reply]:
    """A call `parent` answers with these, one after the other; others are children."""
    left = iter(answers)

    def answer(run: Run) -> Reply:
        if run.request.function != "parent":
            return child(endpoint, run)
        reply = next(left)
        return reply(run) if callable(reply) else reply

    return answer


def calls(*names: str) -> list[Call]:
    """Calls of the same endpoint, named as the protocol allows: by nothing."""
    return [Call(function=name, input=an_any(name.encode())) for name in names]


def parent(client: Client, endpoint: Endpoint, *answers: Reply | Callable[[Run], Reply]) -> str:
    """Dispatch a call that answers so."""
    endpoint.answer = stages(endpoint, *answers)
    (id,) = client.dispatch(endpoint.call("parent"))
    return id


def test_children_know_where_they_belong(client: Client, endpoint: Endpoint) -> None:
    """Parent, root, and an expiration that is not later than their parent's; results name them."""
    nested = polls(*calls("leaf"), state=b"inner")
    seen: list[Run] = []

    def answer(run: Run) -> Reply:
        seen.append(run)
        match run.request.function, is_first(run):
            case "parent", True:
                return polls(*calls("middle"), state=b"outer")
            case "middle", True:
                return nested
            case _:
                return exits()

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("parent"))
    client.result(id)
    (middle, _), (leaf,) = endpoint.of("middle"), endpoint.of("leaf")
    assert middle.request.parent_dispatch_id == id
    assert leaf.request.parent_dispatch_id == middle.request.dispatch_id
    assert {run.request.root_dispatch_id for run in seen} == {id}
    (first, last) = endpoint.of("parent")
    assert middle.request.expiration_time.seconds <= first.request.expiration_time.seconds
    (result,) = last.request.poll_result.results
    assert result.dispatch_id == middle.request.dispatch_id
    assert last.request.poll_result.typed_coroutine_state == an_any(b"outer")


def test_min_results_are_waited_for_and_no_more_than_max_come_at_once(
    client: Client, endpoint: Endpoint
) -> None:
    """What is left carries over to a poll without calls."""
    names = [f"c{number}" for number in range(7)]
    id = parent(
        client,
        endpoint,
        polls(*calls(*names), min_results=7, max_results=3),
        polls(state=b"2", min_results=1, max_results=3),
        polls(state=b"3", min_results=1, max_results=3),
        exits(),
    )
    client.result(id)
    came = [resumed(run) for run in endpoint.of("parent")[1:]]
    assert [len(one) for one in came] == [3, 3, 1]
    together = came[0] | came[1] | came[2]
    assert together == {number + 1: name for number, name in enumerate(names)}


def test_results_come_as_they_come_where_one_is_enough(client: Client, endpoint: Endpoint) -> None:
    """min_results 1, as dispatch-py asks: a slow child holds up nothing but itself."""
    id = parent(client, endpoint, polls(*calls("fast", "held_2")), polls(state=b"2"), exits())
    client.result(id)
    first, second = endpoint.of("parent")[1:]
    assert resumed(first) == {1: "fast"}
    assert resumed(second) == {2: "held"}


def test_correlations_are_any_64_bits_and_may_be_there_twice(
    client: Client, endpoint: Endpoint
) -> None:
    """dispatch-go's begin anywhere."""
    numbers = [2**64 - 1, 4294967298, 2**63, 5, 5]
    made = calls(*"abcde")
    for call, number in zip(made, numbers, strict=True):
        call.correlation_id = number
    id = parent(client, endpoint, polls(*made, min_results=5), exits())
    client.result(id)
    results = endpoint.of("parent")[1].request.poll_result.results
    found = sorted((one.correlation_id, one.output.value) for one in results)
    assert found == sorted(zip(numbers, (b"a", b"b", b"c", b"d", b"e"), strict=True))


def test_legacy_state_comes_back_as_such(client: Client, endpoint: Endpoint) -> None:
    """In the same arm; and no state as none."""
    legacy = Poll(coroutine_state=b"old", min_results=1, max_results=1)
    legacy.max_wait.seconds = 0
    none = Poll(min_results=1, max_results=1)
    none.max_wait.seconds = 0
    ok = Status.OK.value
    id = parent(
        client, endpoint, RunResponse(status=ok, poll=legacy), RunResponse(status=ok, poll=none),
        exits(),
    )  # fmt: skip
    client.result(id)
    _, second, third = (run.request.poll_result for run in endpoint.of("parent"))
    assert second.WhichOneof("state") == "coroutine_state"
    assert second.coroutine_state == b"old"
    assert third.WhichOneof("state") is None


@pytest.mark.parametrize("wait_ms", [0, 700], ids=["checkpoint", "sleep"])
def test_max_wait_resumes_with_what_there_is(
    client: Client, endpoint: Endpoint, wait_ms: int
) -> None:
    """0 at once, more when it is over; a sleep is a poll without calls."""
    id = parent(client, endpoint, polls(wait_ms=wait_ms), exits())
    client.result(id)
    first, second = endpoint.of("parent")
    assert resumed(second) == {}
    assert second.at_s - first.at_s >= wait_ms / 1000 - 0.002  # clocks count whole milliseconds


def test_max_wait_resumes_before_slow_children_have_ended(
    client: Client, endpoint: Endpoint
) -> None:
    """And their results come later."""
    id = parent(
        client,
        endpoint,
        polls(*calls("held_2"), min_results=1, wait_ms=200),
        polls(state=b"2"),
        exits(),
    )
    client.result(id)
    first, second = endpoint.of("parent")[1:]
    assert (resumed(first), resumed(second)) == ({}, {1: "held"})


def test_poll_without_max_wait_waits_for_its_children(client: Client, endpoint: Endpoint) -> None:
    """For ever, if need be."""
    id = parent(client, endpoint, polls(*calls("slow_600"), min_results=1), exits())
    client.result(id)
    assert len(endpoint.of("parent")) == 2


def test_min_above_what_is_outstanding_gets_what_there_is(
    client: Client, endpoint: Endpoint
) -> None:
    """11.4: after a partial delivery dispatch-go goes on to ask for as many as at first."""
    id = parent(
        client,
        endpoint,
        polls(*calls("a", "broken", "slow_300"), min_results=3, max_results=3, wait_ms=300_000),
        polls(state=b"2", min_results=3, max_results=3, wait_ms=300_000),
        polls(state=b"3", min_results=3, max_results=3, wait_ms=300_000),
        exits(),
    )
    endpoint.answer = _until_all(endpoint.answer, 3)
    client.result(id)
    assert resumed_all(endpoint) == {1: "a", 2: "!ValueError", 3: "slow"}


def resumed_all(endpoint: Endpoint) -> dict[int, str]:
    """What all resumes of the parent brought."""
    found: dict[int, str] = {}
    for run in endpoint.of("parent")[1:]:
        found |= resumed(run)
    return found


def _until_all(answer: Callable[[Run], Reply], count: int) -> Callable[[Run], Reply]:
    """It exits once this many results have come."""
    came = 0

    def wrapped(run: Run) -> Reply:
        nonlocal came
        if run.request.function == "parent":
            came += len(resumed(run))
            if came == count:
                return exits()
        return answer(run)

    return wrapped


def test_failed_child_wakes_its_parent_early(client: Client, endpoint: Endpoint) -> None:
    """As if min_results were reached: a gather can give up at once."""
    id = parent(
        client, endpoint, polls(*calls("broken", "held_2"), min_results=2), exits(b"caught")
    )
    assert client.output(id) == b"caught"
    _, second = endpoint.of("parent")
    assert resumed(second) == {1: "!ValueError"}
    error = second.request.poll_result.results[0].error
    assert (error.message, error.value, error.traceback) == ("no", b"\x80pickled", b"at line 1")


def test_one_wrong_call_stops_a_whole_poll(client: Client, endpoint: Endpoint) -> None:
    """The function is told, and none of them runs; it may go on."""
    wrong = [*calls("a"), Call(function="not a name"), *calls("b")]

    def told(run: Run) -> Reply:
        error = run.request.poll_result.error
        assert "calls[1].function" in error.message
        return polls(*calls("c"), state=b"2")

    id = parent(client, endpoint, polls(*wrong, min_results=3), told, exits())
    client.result(id)
    assert not endpoint.of("a")
    assert not endpoint.of("b")
    assert resumed(endpoint.of("parent")[2]) == {1: "c"}


def test_gather_above_a_thousand_is_one_poll(client: Client, endpoint: Endpoint) -> None:
    """11.9: SDKs do not check their own bounds."""
    names = [f"c{number}" for number in range(1500)]
    first = polls(*calls(*names), min_results=1500, max_results=1500)
    id = parent(client, endpoint, first, exits())
    client.result(id)
    assert len(resumed(endpoint.of("parent")[1])) == 1500


def test_retry_of_a_resume_is_the_same_byte_for_byte(client: Client, endpoint: Endpoint) -> None:
    """Also when more results have come meanwhile: those come later."""
    id = parent(
        client,
        endpoint,
        polls(*calls("a", "held_2"), min_results=1),
        Http(503),
        Gone(),
        Later(0.4, Http(500, b"{}")),
        polls(state=b"2", min_results=1),
        exits(),
    )
    client.result(id)
    _, *again, last = endpoint.of("parent")
    assert len(again) == 4
    assert len({run.body for run in again}) == 1
    assert resumed(again[0]) == {1: "a"}
    assert resumed(last) == {2: "held"}


def test_lost_response_of_a_poll_makes_no_second_children(
    client: Client, endpoint: Endpoint
) -> None:
    """The response did not come: nothing of it counts."""
    id = parent(client, endpoint, Gone(), polls(*calls("a")), exits())
    client.result(id)
    assert len(endpoint.of("a")) == 1


def test_incompatible_state_begins_anew_and_drops_older_results(
    client: Client, endpoint: Endpoint
) -> None:
    """11.11: from the input; what the children of the first try came to is not delivered."""

    def incompatible(run: Run) -> Reply:
        return RunResponse(status=Status.INCOMPATIBLE_STATE.value)

    def again(run: Run) -> Reply:
        assert run.request.input == an_any(b"in")
        return polls(*calls("new"), state=b"anew", min_results=2, wait_ms=2500)

    endpoint.answer = stages(
        endpoint,
        polls(*calls("old", "slow_300"), min_results=1),
        incompatible,
        again,
        exits(b"anew"),
    )
    (id,) = client.dispatch(endpoint.call("parent", input=an_any(b"in")))
    assert client.output(id) == b"anew"
    assert resumed(endpoint.of("parent")[3]) == {1: "new"}


def test_state_that_never_fits_ends_the_call(client: Client, endpoint: Endpoint) -> None:
    """After some restarts that got no further."""

    def answer(run: Run) -> Reply:
        if is_first(run):
            return polls(state=b"s", wait_ms=0)
        return RunResponse(status=Status.INCOMPATIBLE_STATE.value)

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("f"))
    assert client.error(id).type == "IncompatibleState"
    assert len(endpoint.runs) == 8


@pytest.mark.parametrize("status", [Status.OK, Status.TEMPORARY_ERROR], ids=["ok", "temporary"])
def test_tail_call_takes_the_place_of_its_call(
    client: Client, endpoint: Endpoint, status: Status
) -> None:
    """dispatch-py's Reset says TEMPORARY_ERROR: it is no retry. Same id, same creation; results of
    older children are dropped; the waiter gets the last result."""
    tail = Call(function="tail", input=an_any(b"next"))
    reset = RunResponse(status=status.value, exit=Exit(tail_call=tail))

    def answer(run: Run) -> Reply:
        match run.request.function, is_first(run):
            case "parent", True:
                return polls(*calls("a", "slow_200"), state=b"s")
            case "parent", False:
                return reset
            case "tail", True:
                return polls(state=b"t", wait_ms=500, min_results=1)
            case "tail", False:
                assert resumed(run) == {}
                return exits(b"last")
            case _:
                return child(endpoint, run)

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("parent"))
    assert client.output(id) == b"last"
    first, second = endpoint.of("parent")[0], endpoint.of("tail")[0]
    assert second.request.input == an_any(b"next")
    assert second.request.dispatch_id == id
    assert second.request.creation_time == first.request.creation_time
    assert len(endpoint.of("parent")) == 2


def test_version_comes_with_each_run(client: Client, endpoint: Endpoint) -> None:
    """As the call was dispatched; a child, and what takes the place of a call, have their own."""

    def answer(run: Run) -> Reply:
        if run.request.function != "parent":
            return exits()
        if is_first(run):
            return polls(Call(function="child", version="of the child"))
        return RunResponse(
            status=Status.OK.value, exit=Exit(tail_call=Call(function="tail", version="3"))
        )

    endpoint.answer = answer
    ids = client.dispatch(endpoint.call("parent", version="2"), endpoint.call("child"))
    for id in ids:
        client.result(id)
    assert [run.request.version for run in endpoint.of("parent")] == ["2", "2"]
    assert [run.request.version for run in endpoint.of("tail")] == ["3"]
    assert {run.request.version for run in endpoint.of("child")} == {"", "of the child"}
    assert client.ask("GET", f"/v1/calls/{ids[0]}").json["version"] == "3"


def test_call_expires(client: Client, endpoint: Endpoint) -> None:
    """A suspended one, its children with it; a child by itself, which its parent hears of."""
    suspended, waiting = endpoint.call("parent"), endpoint.call("other")
    suspended.expiration.seconds = 1
    short = Call(function="slow_9000")
    short.expiration.seconds = 1

    def answer(run: Run) -> Reply:
        if run.request.function == "parent":
            return polls(state=b"s", min_results=1, wait_ms=60_000)
        if run.request.function == "other":
            return polls(short) if is_first(run) else exits(b"heard")
        return child(endpoint, run)

    endpoint.answer = answer
    first, second = client.dispatch(suspended, waiting)
    assert client.error(first).type == "Expired"
    assert client.state(first) == "expired"
    assert client.output(second) == b"heard"
    assert resumed(endpoint.of("other")[1]) == {1: "!Expired"}
    eventually(lambda: client.ask("GET", f"/v1/dead-letters/{first}").status == 200)


def test_cancelled_call_may_clean_up(client: Client, endpoint: Endpoint) -> None:
    """Children that wait are dropped, it gets one last resume with the error, and may call."""

    def told(run: Run) -> Reply:
        assert run.request.poll_result.error.type == "Cancelled"
        return polls(*calls("cleanup"), state=b"cleaning")

    waiting = Call(function="wait", endpoint="promise:never")
    id = parent(client, endpoint, polls(waiting), told, exits(b"cleaned"))
    client.until(id, "suspended")
    assert client.ask("DELETE", f"/v1/calls/{id}").status == 202
    result = client.result(id)
    assert client.state(id) == "cancelled"
    assert len(endpoint.of("cleanup")) == 1
    assert result.error.type == "Cancelled" or result.output.value == b"cleaned"
    assert client.ask("DELETE", f"/v1/calls/{id}").status == 409


def test_killed_call_runs_no_more(client: Client, endpoint: Endpoint) -> None:
    """Neither it nor what is under it; the parent of a killed child hears of it."""
    waiting = Call(function="wait", endpoint="promise:never")

    def answer(run: Run) -> Reply:
        if run.request.function == "parent":
            return polls(*calls("middle")) if is_first(run) else exits(b"heard")
        return polls(waiting, state=b"m")

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("parent"))
    (middle,) = eventually(lambda: endpoint.of("middle"))
    client.until(middle.request.dispatch_id, "suspended")
    assert client.ask("DELETE", f"/v1/calls/{middle.request.dispatch_id}?mode=kill").status == 202
    assert client.output(id) == b"heard"
    assert resumed(endpoint.of("parent")[1]) == {1: "!Cancelled"}
    assert len(endpoint.of("middle")) == 1


def complete(client: Client, path: str, value: object, query: str = "") -> int:
    """Complete a promise, or send to a channel."""
    body = json.dumps(value).encode()
    return client.ask(
        "POST", f"/v1/{path}{query}", "Content-Type: application/json", body=body
    ).status


def test_promise_is_kept_early_late_and_once(client: Client, endpoint: Endpoint) -> None:
    """By anybody who speaks HTTP; an error too. The second one to complete it is told."""
    waits = [
        Call(function="x", endpoint="promise:early"),
        Call(function="x", endpoint="promise:late"),
        Call(function="x", endpoint="promise:broken"),
    ]
    came: set[int] = set()

    def until_three(run: Run) -> Reply:
        came.update(resumed(run))
        return exits() if len(came) == 3 else polls(state=b"%d" % len(came))

    assert complete(client, "promises/early", "e") == 204
    id = parent(client, endpoint, polls(*waits, min_results=3, max_results=3), *[until_three] * 3)
    client.until(id, "suspended")
    assert complete(client, "promises/late", {"a": 1}) == 204
    assert complete(client, "promises/broken", "sorry", "?error=Refused") == 204
    assert complete(client, "promises/late", "again") == 409
    assert complete(client, "promises/early", "again") == 409
    client.result(id)
    results = {
        one.correlation_id: one
        for run in endpoint.of("parent")[1:]
        for one in run.request.poll_result.results
    }
    assert results[1].output.type_url.endswith("google.protobuf.StringValue")
    assert results[2].output.type_url.endswith(("google.protobuf.Value", "google.protobuf.Struct"))
    assert (results[3].error.type, results[3].error.message) == ("Refused", "sorry")
    assert client.state(results[2].dispatch_id) == "succeeded"
    assert client.state(results[3].dispatch_id) == "failed"


def test_promise_that_ends_otherwise_is_named(client: Client, endpoint: Endpoint) -> None:
    """It has no function: its endpoint says which one expired, or was cancelled."""
    never = Call(endpoint="promise:never")
    never.expiration.nanos = 300_000_000
    id = parent(client, endpoint, polls(never), exits())
    client.result(id)
    (result,) = endpoint.of("parent")[1].request.poll_result.results
    assert result.error.message.startswith("promise:never did not end")
    (id,) = client.dispatch(Call(endpoint="promise:unwanted"))
    assert client.ask("DELETE", f"/v1/calls/{id}").status == 202
    assert client.error(id).message == "promise:unwanted was cancelled."


def test_channel_gives_its_values_in_order(client: Client, endpoint: Endpoint) -> None:
    """One to each that waits, kept while nobody does."""

    def wait(number: int) -> RunResponse:
        return polls(Call(function="x", endpoint="channel:c"), state=b"%d" % number)

    assert complete(client, "channels/c", 1) == 204
    assert complete(client, "channels/c", 2) == 204
    id = parent(client, endpoint, wait(1), wait(2), wait(3), exits())
    eventually(lambda: len(endpoint.of("parent")) == 3)
    client.until(id, "suspended")
    assert complete(client, "channels/c", 3) == 204
    client.result(id)
    values = [run.request.poll_result.results[0].output.value for run in endpoint.of("parent")[1:]]
    assert len(set(values)) == 3
    assert values == sorted(values)


def test_state_of_several_megabytes_comes_back(client: Client, endpoint: Endpoint) -> None:
    """With large results beside it: as many as fit at once."""
    state, result = bytes(range(250)) * 24_000, bytes(range(250)) * 16_000

    def answer(run: Run) -> Reply:
        if run.request.function == "large":
            return exits(result)
        if is_first(run):
            return polls(*calls(*["large"] * 4), state=state, min_results=4)
        poll = run.request.poll_result
        assert poll.typed_coroutine_state == an_any(state)
        assert all(one.output == an_any(result) for one in poll.results)
        assert len(run.body) <= 16_000_000
        came.append(len(poll.results))
        return exits() if sum(came) == 4 else polls(state=state)

    came: list[int] = []
    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("parent"))
    client.result(id)
    assert came == [2, 2]


def test_parent_that_ends_leaves_its_children_alone(client: Client, endpoint: Endpoint) -> None:
    """They go on, and nobody waits for them."""
    id = parent(client, endpoint, polls(*calls("a", "slow_400"), min_results=1), exits())
    assert client.result(id) == CallResult(output=an_any(b"done"))
    (slow,) = eventually(lambda: endpoint.of("slow_400"))
    eventually(
        lambda: (
            client.ask("GET", f"/v1/calls/{slow.request.dispatch_id}").status == 404
            or client.state(slow.request.dispatch_id) == "succeeded"
        )
    )
    assert len(endpoint.of("slow_400")) == 1
