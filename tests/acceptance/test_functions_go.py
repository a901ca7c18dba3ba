"""Applications of dispatch-go, by a fake that answers as its two modes do (protocol section 11)."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from dispatcher.protocol.messages import UInt64Value
from tests.acceptance.functions import Client, Endpoint, Gone, Later, Reply, Run, exits, fails
from tests.acceptance.go_application import STATE, Durable, Temporary, Volatile
from tests.acceptance.receiver import eventually

SETTINGS = {
    "CALL_RETRY_DELAY": "30",
    "CALL_RETRY_MAX_DELAY": "200",
    "CALL_START_DELAY": "0",
    "DRAIN_TIMEOUT": "300",
}
Body = Generator[list[str], dict[str, str], bytes]


def three_awaits() -> Body:
    """One, then two at once, then another one."""
    first = yield ["one"]
    both = yield ["two", "three"]
    last = yield ["four"]
    return " ".join([*first.values(), *both.values(), *last.values()]).encode()


def losing(answer: Callable[[Run], Reply], which: int) -> Callable[[Run], Reply]:
    """The same, but the answer to a resume with this number, from 1, is lost on its way."""
    count = 0

    def lose(run: Run) -> Reply:
        nonlocal count
        count += run.request.HasField("poll_result")
        reply = answer(run)
        is_lost = run.request.HasField("poll_result") and count == which
        return Gone() if is_lost else reply

    return lose


def children_of(endpoint: Endpoint) -> list[str]:
    """The functions of all runs but those of the flow, in order."""
    return [run.request.function for run in endpoint.runs if run.request.function != "flow"]


def test_volatile_functions_run_to_their_end(client: Client, endpoint: Endpoint) -> None:
    """Their state is a number, and the numbers of their calls begin anywhere, and go round."""
    endpoint.answer = Volatile({"flow": three_awaits}).answer
    (id,) = client.dispatch(endpoint.call("flow"))
    assert client.output(id) == b"one two three four"
    resumes = [run.request for run in endpoint.of("flow")[1:]]
    numbers = [one.correlation_id for run in resumes for one in run.poll_result.results]
    assert sorted(numbers) == [0, 1, 2, (1 << 64) - 1]
    assert all(run.poll_result.typed_coroutine_state.Is(UInt64Value.DESCRIPTOR) for run in resumes)


@pytest.mark.parametrize("max_wait_s", [300, None])
def test_lost_answer_that_a_volatile_function_cannot_repeat_makes_no_hot_loop(
    client: Client, endpoint: Endpoint, max_wait_s: int | None
) -> None:
    """The coroutine has gone on: the resume that comes again means nothing to it, and the calls of
    the lost answer are never made. Its expiration ends the call, and until then it costs little."""
    endpoint.answer = losing(Volatile({"flow": three_awaits}, max_wait_s).answer, 1)
    call = endpoint.call("flow")
    call.expiration.seconds = 2
    (id,) = client.dispatch(call)
    assert client.error(id).type == "Expired"
    assert children_of(endpoint) == ["one"]
    first, lost, again, *more = endpoint.of("flow")
    assert first.body != lost.body == again.body
    assert len(more) < 30  # delays of 30 ms that double up to 200 ms, over 2 s


def test_process_that_was_replaced_knows_no_volatile_function_any_more(
    client: Client, endpoint: Endpoint
) -> None:
    """Its answer is final, and reaches who waits."""
    go = Volatile({"flow": three_awaits})

    def answer(run: Run) -> Reply:
        if run.request.function == "one":
            go.restart()
        return go.answer(run)

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("flow"))
    assert client.error(id).message == "volatile coroutine 1 not found"
    assert len(endpoint.of("flow")) == 2


def test_volatile_function_that_fails_after_an_await_is_not_found_by_its_retry(
    client: Client, endpoint: Endpoint
) -> None:
    """Whatever its status says: the coroutine is gone."""

    def flow() -> Body:
        yield ["one"]
        raise Temporary

    endpoint.answer = Volatile({"flow": flow}).answer
    (id,) = client.dispatch(endpoint.call("flow"))
    assert client.error(id).message == "volatile coroutine 1 not found"
    assert len(endpoint.of("flow")) == 3


def test_failed_child_of_a_gather_ends_it_without_the_others(
    client: Client, endpoint: Endpoint
) -> None:
    """It asks for all of its results or five minutes: the one that failed comes at once."""

    def flow() -> Body:
        found = yield ["slow", "broken", "slow2"]
        return " ".join(found.values()).encode()

    go = Volatile({"flow": flow})

    def answer(run: Run) -> Reply:
        match run.request.function:
            case "broken":
                return fails(7)
            case "slow" | "slow2":
                return Later(20, exits(b"slow"))
            case _:
                return go.answer(run)

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("flow"))
    assert client.output(id, "15s") == b"!ValueError"


def test_durable_state_comes_back_byte_for_byte_and_a_lost_answer_is_given_again(
    client: Client, endpoint: Endpoint
) -> None:
    """7 kB of a type that nobody knows; no child is made twice."""
    endpoint.answer = losing(Durable({"flow": three_awaits}, "build 1").answer, 2)
    (id,) = client.dispatch(endpoint.call("flow"))
    assert client.output(id) == b"one two three four"
    assert sorted(children_of(endpoint)) == ["four", "one", "three", "two"]
    resumes = [run.request.poll_result for run in endpoint.of("flow")[1:]]
    assert resumes
    assert all(one.typed_coroutine_state.type_url == STATE for one in resumes)
    assert all(len(one.typed_coroutine_state.value) > 7000 for one in resumes)


def test_durable_function_of_another_build_begins_anew_from_its_input(
    client: Client, endpoint: Endpoint
) -> None:
    """INCOMPATIBLE_STATE; what the old build had called brings nothing to the new one."""
    go = Durable({"flow": three_awaits}, "build 1")

    def answer(run: Run) -> Reply:
        if run.request.function == "two" and go.build == "build 1":
            go.build = "build 2"
        return go.answer(run)

    endpoint.answer = answer
    (id,) = client.dispatch(endpoint.call("flow"))
    assert client.output(id) == b"one two three four"
    assert children_of(endpoint).count("one") == 2
    assert sum(run.request.HasField("input") for run in endpoint.of("flow")) == 2


def test_function_that_a_go_application_does_not_have_ends_its_call(
    client: Client, endpoint: Endpoint
) -> None:
    """It says so with 200 and NOT_FOUND, where dispatch-py answers 404."""
    endpoint.answer = lambda run: fails(15, "errorString", "function not found")
    (id,) = client.dispatch(endpoint.call("flow"))
    assert client.error(id).message == "function not found"
    eventually(lambda: client.state(id) == "failed")
    assert len(endpoint.runs) == 1
