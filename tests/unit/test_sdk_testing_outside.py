"""The testing kit: what comes from outside of the functions, and what goes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk.testing import Environment
from dispatcher.sdk.testing.crashes import Crash, Killed

pytest_plugins = ["dispatcher.sdk.testing.plugin"]

convert = dispatch.remote("convert", endpoint="http://billing:8000", returns=int)


@dispatch.function
async def total(amounts: list[int]) -> int:
    return sum([await convert(amount) for amount in amounts])


@dispatch.function
async def rate() -> float:
    answer = await dispatch.http.get("https://rates.example/eur")
    return float(answer.json()["rate"])


@dispatch.function
async def collect(most: int) -> list[str]:
    names: list[str] = []
    async for name in dispatch.channel("names", str):
        names.append(name)
        if len(names) == most:
            break
    return names


@dispatch.function
async def countdown(number: int) -> str:
    await dispatch.sleep(1)
    if number:
        countdown.reset(number - 1)
    return "lift-off"


@dispatch.function
async def approval(name: str) -> bool:
    return await dispatch.promise(name, bool).wait(expiration=60)


_PAID: list[int] = []


def pay(cents: int) -> str:
    _PAID.append(cents)
    return "paid"


@dispatch.function
async def once(cents: int) -> str:
    try:
        return await dispatch.step.options(at_most_once=True)(pay, cents)
    except dispatch.Interrupted:
        return "ask the bank"


@pytest.fixture
def env(environment: Callable[..., Environment]) -> Environment:
    made: Environment = environment(total)
    return made


def test_remote_function_is_stubbed_with_the_value_that_it_gets(env: Environment) -> None:
    """Other applications are not there; what has no stub says what to write."""
    with pytest.raises(LookupError) as missing:
        env.run(total, [1])
    assert str(missing.value) == (
        "convert at http://billing:8000 is not here: write env.stub(convert, lambda value: …) "
        "before."
    )
    env.stub(convert, lambda value: value * 2)
    assert env.run(total, [1, 2]) == 6


def test_http_request_is_stubbed_and_never_made(env: Environment) -> None:
    """A test that forgot it is told so."""
    with pytest.raises(LookupError, match="tests make none"):
        env.run(rate)
    answer = dispatch.http.Response(200, body=b'{"rate": 1.5}')
    env.stub(dispatch.http.send, lambda request: answer)
    env.fail(dispatch.http.send, ConnectionError)
    assert env.run(rate) == 1.5


def test_channel_gives_each_value_once_in_the_order_in_which_they_were_sent(
    env: Environment,
) -> None:
    """Before and while somebody waits."""
    env.send("names", "Ada")
    handle = env.start(collect, 3)
    env.send("names", "Alan")
    env.send(dispatch.channel("names", str), "Grace")
    assert handle.result() == ["Ada", "Alan", "Grace"]


def test_tail_calls_keep_the_call_and_its_id(env: Environment) -> None:
    """One call, begun four times."""
    handle = env.start(countdown, 3)
    assert handle.result() == "lift-off"
    assert env.runs(countdown) == 4
    assert str(env.tree()) == "countdown: ok, 4 runs"


def test_promise_is_given_an_error_or_expires(env: Environment) -> None:
    """As on a server: the first completion counts, and time of its own runs out."""
    env.reject("no", ValueError("not today"))
    with pytest.raises(ValueError, match="not today"):
        env.run(approval, "no")
    with pytest.raises(dispatch.Expired):
        env.run(approval, "late")
    env.resolve("yes", True)
    with pytest.raises(Exception, match="Promise yes was completed before, and that counts"):
        env.resolve("yes", False)
    assert env.run(approval, "yes") is True


def test_step_that_runs_once_at_most_did_so_when_it_was_crashed_everywhere() -> None:
    """After the crash in between the function is told, and has to find out."""
    ends = []
    for crash in range(3):
        _PAID.clear()
        with Environment(once) as env:
            env._parts.running.killed = Killed(crash, Crash.APPLICATION)
            ends.append((env.run(once, 5), list(_PAID)))
    assert ends == [("paid", [5]), ("ask the bank", [5]), ("paid", [5])]


def test_real_time_passes_when_it_is_asked_for(environment: Callable[..., Environment]) -> None:
    """For functions whose steps talk to something real."""
    env = environment(countdown, time="real")
    before = env.now
    env.start(countdown, 0).cancel()
    assert env.now >= before


@pytest.mark.parametrize(
    ("misuse", "said"),
    [
        (lambda env: env.fail(convert, ValueError, times=0), "times= must be 1 or more, and is 0."),
        (
            lambda env: env.stub(convert, 7),
            "The stub of convert is 7: write a function, as lambda x: 1.",
        ),
        (
            lambda env: env.fail(7, ValueError),
            "7 is no function: write one, what a step runs, or a step's name.",
        ),
        (lambda env: env.advance(days=-1), "Time goes on only: advance was given -1 day, 0:00:00."),
        (
            lambda env: Environment(total, time="fake"),  # type: ignore[arg-type]  # the mistake
            "time='fake': write 'simulated' or 'real'.",
        ),
    ],
)
def test_misuse_is_told_what_to_write(
    env: Environment, misuse: Callable[[Environment], Any], said: str
) -> None:
    """Each with one sentence."""
    with pytest.raises((TypeError, ValueError)) as told:
        misuse(env)
    assert str(told.value) == said
