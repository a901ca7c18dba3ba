"""The testing kit: functions in simulated time, as a person who writes them tests them."""

from __future__ import annotations

import asyncio
import cProfile
from collections.abc import Callable
from datetime import timedelta

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk.testing import START, Environment, NotDeterministic, Stuck

pytest_plugins = ["dispatcher.sdk.testing.plugin"]


@dispatch.function
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@dispatch.function
def shout(text: str) -> str:
    return text.upper()


@dispatch.function
async def welcome(names: list[str]) -> list[str]:
    await dispatch.sleep(timedelta(days=3))
    return await greet.gather(names)


async def charge(cents: int) -> str:
    raise AssertionError("the real one")


@dispatch.function
async def order(cents: int) -> str:
    receipt = await dispatch.step.options(retries=3)(charge, cents)
    is_approved = await dispatch.promise(f"order-{cents}", bool)
    return f"{receipt} {'approved' if is_approved else 'refused'}"


@dispatch.function
async def patient(name: str) -> str:
    try:
        async with asyncio.timeout(60):
            return await dispatch.promise(name, str)
    except TimeoutError:
        return "nobody came"


@dispatch.function
async def outside() -> list[str]:
    """A plain function that dispatches, and waits."""
    await asyncio.sleep(0)
    handle = await greet.dispatch("Ada")
    return [await handle.result()]


@dispatch.function
def outside_in_a_thread(name: str) -> str:
    return greet.dispatch_sync(name).result()


async def slow(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


@dispatch.function
async def parting() -> str:
    """Makes a call while another step runs, and is over before anybody heard of it."""

    async def greets() -> None:
        await dispatch.step(slow, 1)
        await greet("Ada")

    task = asyncio.create_task(greets())
    await asyncio.sleep(0)  # its step begins first
    await dispatch.step(slow, 50)
    return f"bye, {task.done()}"


@pytest.fixture
def env(environment: Callable[..., Environment]) -> Environment:
    made: Environment = environment(welcome)
    return made


def test_function_returns_at_once_when_it_sleeps_for_days(env: Environment) -> None:
    """Simulated time jumps to whatever is due next."""
    assert env.run(welcome, ["Ada", "Alan"]) == ["Hello, Ada!", "Hello, Alan!"]
    assert env.now == START + timedelta(days=3)


def test_time_stands_still_when_a_call_is_started(env: Environment) -> None:
    """`start` runs what can run now; `advance` lets time pass."""
    handle = env.start(welcome, ["Ada"])
    assert handle.info().state == "suspended"
    env.advance(days=2, hours=23)
    assert handle.info().state == "suspended"
    env.advance(hours=1)
    assert handle.info().state == "succeeded"
    assert handle.result() == ["Hello, Ada!"]


def test_function_is_tried_again_when_it_fails_for_a_time(env: Environment) -> None:
    """By the status of the error, with the delays of a server."""
    env.fail(greet, ConnectionError("refused"), times=2)
    assert env.run(welcome, ["Ada"]) == ["Hello, Ada!"]
    assert env.runs(greet) == 3
    assert env.now == START + timedelta(days=3, seconds=1.5)


def test_function_is_tried_again_when_its_error_says(env: Environment) -> None:
    """Not before `retry_after` has passed."""
    env.fail(greet, dispatch.ThrottledError("slow down", retry_after=600))
    assert env.run(greet, "Ada") == "Hello, Ada!"
    assert env.now == START + timedelta(seconds=600)


@dispatch.function
async def hopeless() -> None:
    raise ConnectionError("nobody is there")


def test_function_that_always_fails_is_not_tried_for_a_year(
    environment: Callable[..., Environment],
) -> None:
    """What would never end with a server ends the test, and says why."""
    env = environment(hopeless)
    with pytest.raises(Stuck) as told:
        env.run(hopeless)
    assert str(told.value) == (
        "hopeless has failed 1,000 times in a row, the last time with ConnectionError: nobody is "
        "there. It would be tried again until it expires: have it raise a PermanentError, or call "
        "it with with_options(expiration=…)."
    )


def test_what_is_no_exception_can_not_be_failed_with(env: Environment) -> None:
    """It would only show when the function runs."""
    with pytest.raises(TypeError, match=r"greet can't fail with 'no': write an exception\."):
        env.fail(greet, "no")  # type: ignore[arg-type]  # the mistake


def test_caller_gets_the_error_when_a_function_fails_for_good(env: Environment) -> None:
    """In its own class, as on a server."""
    env.fail(greet, ValueError("no such name"))
    with pytest.raises(ValueError, match="no such name"):
        env.run(welcome, ["Ada"])


def test_stub_runs_in_place_of_a_function_and_of_a_step(env: Environment) -> None:
    """With the same arguments, async or not."""

    async def free(cents: int) -> str:
        return f"{cents} forgiven"

    env.stub(greet, lambda name: f"Hi {name}")
    env.stub(charge, free)
    assert env.run(welcome, ["Ada"]) == ["Hi Ada"]
    handle = env.start(order, 5)
    env.resolve("order-5", True)
    assert handle.result() == "5 forgiven approved"


def test_step_is_tried_again_when_it_fails(env: Environment) -> None:
    """As often as its `retries` say; each try counts."""
    env.fail(charge, ConnectionError, times=2)
    env.stub(charge, lambda cents: "paid")
    env.resolve("order-5", False)
    assert env.run(order, 5) == "paid refused"
    assert env.runs(charge) == 3


def test_stuck_call_says_what_to_write_when_nothing_can_bring_it_on(env: Environment) -> None:
    """A promise that nobody resolves is no reason to let a year pass."""
    env.stub(charge, lambda cents: "paid")
    with pytest.raises(Stuck) as stuck:
        env.run(order, 5)
    assert str(stuck.value) == (
        "order waits for the promise 'order-5': write env.resolve('order-5', value) before"
    )


def test_timeout_is_over_at_once_when_nobody_comes(env: Environment) -> None:
    """A time of the function's own is waited for."""
    assert env.run(patient, "x") == "nobody came"
    assert env.now == START + timedelta(seconds=60)


def test_plain_functions_call_others_when_they_run_on_the_loop_or_in_a_thread(
    env: Environment,
) -> None:
    """What they dispatch goes to the environment as well."""
    assert env.run(outside) == ["Hello, Ada!"]
    assert env.run(outside_in_a_thread, "Alan") == "Hello, Alan!"
    assert env.run(shout, "hey") == "HEY"


def test_call_is_made_when_the_function_ends_before_anybody_heard_of_it(env: Environment) -> None:
    """Whatever else was under way: what a body has called is called."""
    assert env.run(parting) == "bye, False"
    env.advance(seconds=1)
    assert env.runs(greet) == 1


async def test_calls_go_to_the_environment_when_the_test_is_async(env: Environment) -> None:
    """As `await f(x)` and `f.dispatch(x)`; what the kit has is not awaited."""
    assert await greet("Ada") == "Hello, Ada!"
    handle = await welcome.dispatch(["Alan"])
    assert await handle.result() == ["Hello, Alan!"]
    assert env.run(greet, "Ada") == "Hello, Ada!"


def test_cancelled_call_cleans_up(env: Environment) -> None:
    """`cancel` resumes it for that, and its result is the error."""
    handle = env.start(welcome, ["Ada"])
    handle.cancel()
    with pytest.raises(dispatch.Cancelled):
        handle.result()
    assert handle.info().state == "cancelled"


_IN_A_STEP = "`await dispatch.step(…)` with a function that asks"


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        (
            "result",
            "`await f(…)` in place of its dispatch, or `await dispatch.step(handle.result)`",
        ),
        ("info", _IN_A_STEP),
        ("cancel", "`await dispatch.step(handle.cancel)`"),
    ],
)
def test_handle_is_refused_when_a_durable_function_asks_with_it(what: str, instead: str) -> None:
    """It would ask in each replay; in a step it may."""

    @dispatch.function(durable=True)
    async def asks(is_step: bool) -> None:
        ask = getattr(await greet.dispatch("Ada"), what)
        if not is_step:
            await ask()
        elif what != "info":  # a value that can't be on record
            await dispatch.step(ask)

    with Environment(asks, greet) as env:
        with pytest.raises(RuntimeError) as told:
            env.run(asks, False)
        env.run(asks, True)
    assert str(told.value) == (
        f"handle.{what}() would ask the server again in each replay of a durable function: write "
        f"{instead}."
    )


@pytest.mark.parametrize("is_async", [True, False])
def test_client_is_refused_when_a_durable_function_asks_with_it(is_async: bool) -> None:
    """Before anything is sent."""

    @dispatch.function(durable=True)
    async def asks() -> None:
        if is_async:
            await dispatch.Client(api_url="http://127.0.0.1:1", api_key="k").calls()
        else:
            dispatch.SyncClient(api_url="http://127.0.0.1:1", api_key="k").calls()

    with Environment(asks) as env, pytest.raises(RuntimeError) as told:
        env.run(asks)
    assert str(told.value) == (
        f"A client would ask the server again in each replay of a durable function: write "
        f"{_IN_A_STEP}."
    )


@pytest.mark.parametrize("durable", [True, False])
def test_loop_in_the_loop_of_a_function_is_told_with_what_to_write(durable: bool) -> None:
    """asyncio says only what can't be."""

    @dispatch.function(name="nests", durable=durable)
    async def nests() -> None:
        coroutine = asyncio.sleep(0)
        try:
            asyncio.run(coroutine)
        finally:
            coroutine.close()

    with Environment(nests) as env, pytest.raises(RuntimeError) as told:
        env.run(nests)
    assert (
        str(told.value)
        == "nests calls asyncio.run() in the event loop that runs it: write `await`."
    )


@pytest.mark.parametrize("verb", ["stub", "fail"])
def test_double_of_a_name_that_nothing_has_is_told_at_the_end(verb: str) -> None:
    """Once, with what is meant; not one for a function, or for a step that ran."""

    @dispatch.function
    async def charges() -> str:
        return await dispatch.step.options(name="charge_card")(str)

    env = Environment(charges, greet)
    env.stub("charge_card", lambda: "stubbed")
    env.stub(greet, lambda name: name)
    if verb == "stub":
        env.stub("charge_cart", lambda: "typo")
    else:
        env.fail("charge_cart", ValueError)
    assert env.run(charges) == "stubbed"
    with pytest.warns(UserWarning, match="was for nothing") as told:
        env.close()
    assert [str(one.message) for one in told] == [
        f"env.{verb}('charge_cart', …) was for nothing: no function here, and no step that ran, "
        "has that name. Did you mean 'charge_card'?"
    ]
    env.close()


_CLEANED: list[str] = []


@dispatch.function
async def tidy(swallows: bool) -> str:
    try:
        return await dispatch.promise("nobody", str)
    except asyncio.CancelledError:
        _CLEANED.append(await greet("Ada"))
        if not swallows:
            raise
    return "swallowed"


@pytest.mark.parametrize("swallows", [True, False])
def test_cancelled_call_calls_others_to_clean_up(
    env: Environment, swallows: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it ends with, it was cancelled; and nobody reads in a log that it has failed."""
    _CLEANED.clear()
    handle = env.start(tidy, swallows)
    handle.cancel()
    with pytest.raises(dispatch.Cancelled):
        handle.result()
    assert _CLEANED
    assert not caplog.records


def test_tree_shows_calls_below_who_made_them(env: Environment) -> None:
    """With how they ended, and how often they ran."""
    env.fail(greet, ConnectionError)
    env.run(welcome, ["Ada"])
    env.start(welcome, [])
    assert str(env.tree()) == "welcome: ok\n  greet: ok, 2 runs\nwelcome: suspended"


_COUNTED: list[int] = []


@dispatch.function(durable=True)
async def forgetful() -> int:
    _COUNTED.append(1)
    await greet("Ada")
    return len(_COUNTED)


def test_replay_is_compared_when_a_function_ends(env: Environment) -> None:
    """Also where no operation shows that it is not deterministic."""
    with pytest.raises(NotDeterministic) as told:
        env.run(forgetful)
    assert "was replayed at once, to check it, and went another way: first" in str(told.value)


def test_function_runs_as_usual_when_somebody_profiles_it(env: Environment) -> None:
    """A profiler stays in its place."""
    with cProfile.Profile() as profile:
        assert env.run(welcome, ["Ada"]) == ["Hello, Ada!"]
    assert any(entry.code == welcome.spec.body.__code__ for entry in profile.getstats())


def test_body_goes_on_where_it_is_when_it_is_not_replayed(
    environment: Callable[..., Environment],
) -> None:
    """`replay="never"` is a process that never dies, until `crash` says so."""
    _COUNTED.clear()
    env = environment(forgetful, replay="never")
    assert env.run(forgetful) == 1


def test_functions_go_back_to_their_application_when_an_environment_is_closed() -> None:
    """Tests leave nothing behind."""
    app = dispatch.Dispatch(greet, api_url="http://127.0.0.1:1", api_key="k")
    with Environment(greet):
        assert greet._home.app is not app
    assert greet._home.app is app


def plain(name: str) -> str:
    return name


def test_what_is_no_function_of_dispatch_is_refused() -> None:
    """With a sentence: a call in place of a function, and a function without its decorator."""
    with pytest.raises(TypeError) as made:
        Environment(plain)  # type: ignore[arg-type]  # that is the mistake
    assert str(made.value) == ("plain is no function of dispatch: put @dispatch.function above it.")
    with Environment(greet) as env, pytest.raises(TypeError) as asked:
        env.run(plain, "Ada")  # type: ignore[arg-type]  # that is the mistake
    assert str(asked.value).startswith(
        "a test names a function of dispatch, and then its arguments, as env.run(greet, 'Ada'), "
        "and this one names <function plain at "
    )


_PASSED = [0]


@dispatch.function
async def long(awaits: int) -> int:
    for _ in range(awaits):
        await dispatch.sleep(1)
        _PASSED[0] += 1
    return awaits


@dispatch.function
async def numbering(awaits: int) -> None:
    for _ in range(awaits):
        await dispatch.sleep(1)
    await greet(f"caller {_PASSED[0]}")
    _PASSED[0] += 1
    for _ in range(awaits):
        await dispatch.sleep(1)


def test_long_function_is_not_replayed_after_each_of_its_awaits(
    environment: Callable[..., Environment],
) -> None:
    """300 would be passed 90 000 times; to pass each some 40 times is enough."""
    _PASSED[0] = 0
    assert environment(long).run(long, 300) == 300
    assert 300 * 20 < _PASSED[0] < 300 * 50


def test_what_differs_in_between_is_found_all_the_same(
    environment: Callable[..., Environment],
) -> None:
    """It is on record, and every replay from there on comes by it."""
    with pytest.raises(NotDeterministic, match="greet with another input, called at"):
        environment(numbering).run(numbering, 150)
