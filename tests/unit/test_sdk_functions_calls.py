"""Calls of functions: their arguments, and what people do with them by mistake."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import warnings
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk.errors import failure_of
from dispatcher.sdk.functions import apps, context
from dispatcher.sdk.functions.context import Inside
from dispatcher.sdk.replay.model import Raised, Told
from dispatcher.sdk.values import encode
from dispatcher.testing.playing import BEGAN_US, FakeApp, Play, answered, application, played


@dispatch.function
async def tenfold(x: int) -> int:
    return x * 10


@dispatch.function(name="greet")
async def hello(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


@dispatch.function
def blocking(x: int) -> int:
    return x


def line() -> int:
    """The line of who calls this."""
    return sys._getframe(1).f_lineno


def of_calls(caught: list[warnings.WarningMessage]) -> list[warnings.WarningMessage]:
    """Without those of what other tests have left to the collector."""
    return [each for each in caught if each.category is RuntimeWarning]


def told(error: BaseException | None) -> str:
    assert error is not None
    return str(error)


async def test_call_is_dispatched_and_waited_for_outside_of_functions() -> None:
    """`await f(x)` anywhere else goes through the application's client."""
    with application() as app:
        assert await tenfold(4) == 40
        assert await blocking(5) == 50
    assert [(call.function, key) for call, key in app.made] == [
        ("tenfold", None),
        ("blocking", None),
    ]


async def test_call_has_a_year_to_end_when_nobody_says_how_long() -> None:
    """A function may wait for a person."""
    assert tenfold.build_call(1).options.expiration_us == 365 * 86_400_000_000


async def test_call_goes_through_the_application_that_its_function_was_given_to() -> None:
    """Where the code runs for none, and before the one that was made last."""
    app = FakeApp()

    @dispatch.function(name="own")
    async def own(x: int) -> int:
        return x

    own.give_to(app)
    assert await own.with_options(timeout=3)(2) == 20
    assert [call.function for call, _ in app.made] == ["own"]


async def test_call_says_what_to_write_when_there_is_no_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing could carry it out."""
    monkeypatch.setattr(apps, "_made", [])
    with pytest.raises(RuntimeError) as caught:
        await tenfold(1)
    at = f"tests/unit/test_sdk_functions_calls.py:{line() - 1}"
    assert told(caught.value) == (
        f"the call of tenfold made at {at} has no application that could carry it out: make one "
        "first, `app = dispatch.Dispatch(…)`, or use a client, "
        "`await dispatch.Client().dispatch(f.build_call(…))`."
    )


async def test_error_of_a_function_is_raised_where_it_is_awaited() -> None:
    """In its own class."""
    failure = failure_of(KeyError("gone"))[1]
    with application(answer=lambda _: failure), pytest.raises(KeyError, match="gone"):
        await tenfold(1)


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "hello() missing 1 required positional argument: 'name'"),
        (("a", "b"), {}, "hello() takes 1 positional argument but 2 were given"),
        (("a",), {"name": "b"}, "hello() got multiple values for argument 'name'"),
        (("a",), {"lod": True}, "hello() got an unexpected keyword argument 'lod'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_the_call(
    args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    """In Python's own words, where the call is written, before anything is sent."""
    with pytest.raises(TypeError) as caught:
        hello(*args, **kwargs)
    with pytest.raises(TypeError) as real:
        hello.local(*args, **kwargs).close()
    assert told(caught.value).startswith(words)
    assert told(real.value).startswith(words)


def test_every_kind_of_parameter_is_checked() -> None:
    """As Python does it."""

    @dispatch.function
    async def many(
        a: int, /, b: int, c: int = 3, *rest: int, d: int, e: int = 5, **more: int
    ) -> None: ...

    many.build_call(1, 2, d=4)
    many.build_call(1, b=2, d=4, f=6)
    many.build_call(1, 2, 3, 4, 5, d=4)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'd'"):
        many.build_call(1, 2)  # type: ignore[call-arg]  # the mistake
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        many.build_call(b=2, a=1, d=4)  # type: ignore[call-arg]  # the mistake


def test_argument_that_cannot_be_sent_is_refused_at_the_call() -> None:
    """With its name, and the traceback has the user's line."""
    with pytest.raises(dispatch.EncodeError) as caught:
        tenfold(object())  # type: ignore[arg-type]  # the mistake
    assert "argument 'x' of tenfold" in told(caught.value)
    assert caught.traceback[0].lineno == line() - 3


def test_call_that_is_never_awaited_says_where_and_that_nothing_was_dispatched() -> None:
    """In place of Python's sentence about a coroutine."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tenfold(1)
        at = line() - 1
    [warning] = of_calls(caught)
    assert str(warning.message) == (
        f"the call of tenfold made at tests/unit/test_sdk_functions_calls.py:{at} was never "
        "awaited: nothing was dispatched. Write `await` before it."
    )
    found = (warning.category, warning.filename, warning.lineno)
    assert found == (RuntimeWarning, __file__, at)


@pytest.mark.parametrize(
    ("make", "what", "nothing"),
    [
        (lambda: tenfold.gather([1]), "the gather of tenfold", "nothing was dispatched"),
        (lambda: tenfold.dispatch(1), "the dispatch of tenfold", "nothing was dispatched"),
        (lambda: dispatch.sleep(1), "the sleep", "nobody slept"),
        (lambda: dispatch.step(print, 1), "the step print", "nothing was done"),
        (lambda: dispatch.promise("p").wait(), "the wait for promise:p", "nobody waits"),
        (lambda: dispatch.promise("p").resolve(1), "the resolve of promise:p", "nothing was sent"),
        (lambda: dispatch.channel("c").receive(), "the wait for channel:c", "nobody waits"),
        (lambda: dispatch.channel("c").send(1), "the send of channel:c", "nothing was sent"),
    ],
)
def test_whatever_is_never_awaited_says_so(make: Any, what: str, nothing: str) -> None:
    """Each with what did not happen."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    at = f"tests/unit/test_sdk_functions_calls.py:{make.__code__.co_firstlineno}"
    said = [str(each.message) for each in of_calls(caught)]
    assert said == [f"{what} made at {at} was never awaited: {nothing}. Write `await` before it."]


async def test_call_that_is_awaited_twice_says_so() -> None:
    """Each `await` needs a call of its own."""
    with application() as app:
        call = tenfold(1)
        at = f"tests/unit/test_sdk_functions_calls.py:{line() - 1}"
        assert await call == 10
        with pytest.raises(RuntimeError) as caught:
            await call
    assert told(caught.value) == (
        f"the call of tenfold made at {at} was awaited before: each `await` needs a call of its "
        "own. To wait for one in several places, make it a task: asyncio.create_task(…)."
    )
    assert len(app.made) == 1


async def test_call_is_a_coroutine_for_asyncio() -> None:
    """A task can be made of it, and waited for with whatever asyncio has."""
    with application():
        assert await asyncio.create_task(tenfold(1)) == 10
        assert list(await asyncio.gather(tenfold(1), tenfold(2))) == [10, 20]
        assert await asyncio.wait_for(tenfold(3), 5) == 30
        async with asyncio.TaskGroup() as group:
            task = group.create_task(tenfold(4))
        assert task.result() == 40
    call = tenfold(1)
    assert inspect.isawaitable(call)
    call.close()


def test_call_can_be_run_by_asyncio() -> None:
    """`asyncio.run(f(1))` in a script."""
    app = FakeApp()
    context.app.set(None)
    tenfold.give_to(app)
    try:
        assert asyncio.run(tenfold(1)) == 10
    finally:
        tenfold.give_to(None)


def test_function_is_async_for_frameworks() -> None:
    """That ask before they call a handler."""
    assert inspect.iscoroutinefunction(tenfold) or sys.version_info < (3, 12)
    assert asyncio.iscoroutinefunction(tenfold)


def test_call_shows_itself() -> None:
    """What it is, where it was made, and whether it has begun."""
    call = tenfold(1)
    at = f"tests/unit/test_sdk_functions_calls.py:{line() - 1}"
    assert repr(call) == f"<the call of tenfold made at {at}, not awaited yet>"
    call.close()
    assert repr(call) == f"<the call of tenfold made at {at}, begun>"


def test_call_in_a_durable_function_is_a_child() -> None:
    """Its result is on record, and what is compared and sent is in its operation."""

    async def body() -> list[Any]:
        return [await tenfold(1), await hello("a", loud=True)]

    play = Play(body, lambda operation: encode(operation.function))
    with pytest.raises(dispatch.DecodeError):
        play.value()
    play = Play(body, lambda operation: encode(7 if operation.function == "tenfold" else "A"))
    assert play.value() == [7, "A"]
    assert [each.function for each in play.calls] == ["tenfold", "greet"]
    first = body.__code__.co_firstlineno
    assert play.calls[0].site == f"tests/unit/test_sdk_functions_calls.py:{first + 1}"


def test_options_are_on_the_call_and_not_on_the_function() -> None:
    """`with_options` gives another one."""
    slow = hello.with_options(expiration=60, timeout=3, delay=5, endpoint="http://far:8000")
    built = slow.build_call("a")
    assert (built.options.expiration_us, built.options.timeout_us, built.options.delay_us) == (
        60_000_000,
        3_000_000,
        5_000_000,
    )
    assert (built.endpoint, slow.name) == ("http://far:8000", "greet")
    assert hello.build_call("a").endpoint == ""


def test_key_is_refused_inside_of_a_function() -> None:
    """There every call is made once anyway."""

    async def body() -> int:
        return await tenfold.with_options(key="k")(1)

    outcome = Play(body, answered).run()
    assert isinstance(outcome, Raised)
    at = f"tests/unit/test_sdk_functions_calls.py:{body.__code__.co_firstlineno + 1}"
    assert told(outcome.error) == (
        f"the call of tenfold at {at} has a key=, and is made inside of a function: there each "
        "call is made once anyway. Leave key= out, or write "
        "`await tenfold.with_options(key=…).dispatch(…)`, which waits for nothing."
    )


async def test_key_is_sent_from_outside() -> None:
    """It makes the request idempotent."""
    with application() as app:
        await tenfold.with_options(key="k")(1)
        await tenfold.with_options(key="l").dispatch(1)
    assert [key for _, key in app.made] == ["k", "l"]


async def test_dispatch_gives_a_handle_and_waits_for_nothing() -> None:
    """It has the id, and knows the type of the result."""
    with application() as app:
        handle = await tenfold.dispatch(4)
    assert (handle.id, app.requests) == ("id0", [1])
    assert handle == app.handle("id0", int)


def test_dispatch_sync_gives_a_handle() -> None:
    """For code that is not async."""
    with application() as app:
        assert tenfold.dispatch_sync(4).id == "id0"
    assert app.requests == [1]


def test_dispatch_in_a_durable_function_is_a_step_whose_repetition_makes_no_second_call() -> None:
    """It is done once; after a crash in the middle the key is the same."""
    app = FakeApp()
    tenfold.give_to(app)

    async def body() -> str:
        return (await tenfold.dispatch(4)).id

    try:
        first, second = Play(body, answered), Play(body, answered)
        assert (first.value(), second.value()) == ("id0", "id1")
    finally:
        tenfold.give_to(None)
    assert [each.function for each in first.steps] == ["tenfold.dispatch"]
    (_, one), (_, two) = app.made
    assert one == two
    assert one is not None
    assert one.startswith("c1:")


def test_dispatch_after_a_tail_call_is_another_call() -> None:
    """With the same arguments, by the same call: its record is empty, and it has begun later."""
    app = FakeApp()
    tenfold.give_to(app)

    async def body() -> None:
        await tenfold.dispatch(4)

    try:
        Play(body, answered).value()
        Play(body, answered, now_us=BEGAN_US + 1).value()
    finally:
        tenfold.give_to(None)
    assert len({key for _, key in app.made}) == 2


def test_two_dispatches_of_one_call_in_a_durable_function_are_two() -> None:
    """Their keys differ."""
    app = FakeApp()
    tenfold.give_to(app)

    async def body() -> None:
        await tenfold.dispatch(4)
        await tenfold.dispatch(4)

    try:
        Play(body, answered).value()
    finally:
        tenfold.give_to(None)
    assert len({key for _, key in app.made}) == 2


def test_dispatch_sync_is_refused_in_a_durable_function() -> None:
    """It would block."""

    async def body() -> None:
        tenfold.dispatch_sync(4)

    outcome = Play(body, answered).run()
    assert isinstance(outcome, Raised)
    at = f"tests/unit/test_sdk_functions_calls.py:{body.__code__.co_firstlineno + 1}"
    assert told(outcome.error) == (
        f"tenfold.dispatch_sync(…) at {at} would block a durable function: write "
        "`await tenfold.dispatch(…)`."
    )


def test_wait_in_a_thread_says_what_to_write() -> None:
    """A function that is not async, and tries with asyncio.run()."""
    context_of_a_thread = Inside(Told("c1", "pay"))

    def pay() -> int:
        return asyncio.run(tenfold(1))

    token = context.inside.set(context_of_a_thread)
    try:
        with pytest.raises(RuntimeError) as caught:
            pay()
    finally:
        context.inside.reset(token)
    at = f"tests/unit/test_sdk_functions_calls.py:{pay.__code__.co_firstlineno + 1}"
    assert told(caught.value) == (
        f"pay can't wait for tenfold, called at {at}: it runs in a thread. Make it `async def`, "
        "and write `await` in its body itself, without asyncio.run()."
    )


def test_set_of_calls_is_walked_in_the_same_order_in_every_replay() -> None:
    """Hashes of calls are counted up."""

    async def body() -> list[int]:
        calls = {tenfold(number) for number in range(50)}
        return [await call for call in calls]

    assert len({tuple(played(body)) for _ in range(5)}) == 1


def test_evicted_function_warns_of_no_call() -> None:
    """What it would have awaited is nobody's mistake."""

    async def body() -> None:
        kept = tenfold(1)
        await tenfold(2)
        await kept

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert played(body) is None
        gc.collect()


async def test_local_runs_the_bare_function() -> None:
    """Nothing is sent."""
    assert await tenfold.local(4) == 40
    assert blocking.local(4) == 4


def test_reset_leaves_the_function_for_a_call() -> None:
    """The same by a method and by an exception."""
    token = context.inside.set(Inside(Told("c1", "pay")))
    try:
        with pytest.raises(dispatch.Reset) as caught:
            tenfold.reset(4)
    finally:
        context.inside.reset(token)
    assert (caught.value.operation.function, str(caught.value)) == (
        "tenfold",
        "a call of tenfold takes the place of this one",
    )
    reset = dispatch.Reset(tenfold(4))
    assert reset.call.input == tenfold.build_call(4).input
    assert not isinstance(reset, Exception)


def test_reset_is_refused_where_no_call_runs_that_it_could_end() -> None:
    """And says where it belongs."""

    def outside() -> None:
        tenfold.reset(4)

    with pytest.raises(RuntimeError) as caught:
        outside()
    at = f"tests/unit/test_sdk_functions_calls.py:{outside.__code__.co_firstlineno + 1}"
    assert told(caught.value) == (
        f"tenfold.reset(…) at {at} ends the call that runs here, and none does: it belongs in the "
        "body of a function. Elsewhere write `await tenfold(…)`."
    )


def test_call_that_takes_the_place_of_this_one_is_not_to_be_awaited() -> None:
    """Nothing is said of it, and it can't be awaited any more."""
    call = tenfold(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dispatch.Reset(call)
        with pytest.raises(RuntimeError, match="was awaited before"):
            call.send(None)
        dispatch.Reset(tenfold(4))
        gc.collect()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (4, TypeError, "Reset takes a call, as Reset(f(x)), and was given 4."),
        (
            tenfold.with_options(delay=3).build_call(1),
            ValueError,
            "the tail call of tenfold at {at} takes the place of this call at once: "
            "with_options(delay=, key=) means nothing for it.",
        ),
    ],
)
def test_reset_refuses_what_it_cannot_do(call: Any, kind: type[Exception], words: str) -> None:
    """And says so."""
    with pytest.raises(kind) as caught:
        dispatch.Reset(call)
    assert told(caught.value) == words.format(at=getattr(call, "site", ""))


async def test_call_that_is_cancelled_before_it_begins_is_not_made() -> None:
    """Nor does it say that nobody awaited it: its task has ended."""
    with application() as app, warnings.catch_warnings():
        warnings.simplefilter("error")
        task = asyncio.create_task(tenfold(1))
        assert "tenfold" in repr(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert app.made == []


def test_call_that_is_cancelled_in_a_durable_function_is_given_up() -> None:
    """Before it was sent nobody hears of it."""

    async def body() -> str:
        early, late = asyncio.create_task(tenfold(1)), asyncio.create_task(tenfold(2))
        await asyncio.sleep(0)
        early.cancel()
        await dispatch.sleep(1)
        late.cancel()
        await asyncio.wait([early, late])
        return f"{early.cancelled()} {late.cancelled()}"

    play = Play(body, lambda _: None)
    assert play.value() == "True True"
    assert (play.ids, play.cancelled) == ([1], [1])


def test_call_passes_on_what_is_thrown_into_it() -> None:
    """As a coroutine does, also where no loop runs."""
    call = tenfold(1)
    with pytest.raises(KeyError, match="x"):
        call.throw(KeyError("x"))
    call = tenfold(1)
    with pytest.raises(ValueError, match="y"):
        call.throw(ValueError, ValueError("y"), None)
    with pytest.raises(RuntimeError, match="was awaited before"):
        call.__await__()


@pytest.mark.parametrize(
    "use",
    [
        lambda call: call.upper(),
        lambda call: "ten" if call else "none",
        lambda call: ", ".join(call),
        lambda call: list(call),
        lambda call: len(call),
        lambda call: call[0],
        lambda call: call + "!",
        lambda call: "so: " + call,
        lambda call: 2 * call,
        lambda call: call < 3,
        lambda call: call >= 3,
        lambda call: "x" in call,
        lambda call: int(call),
        lambda call: call.__enter__(),
    ],
)
@pytest.mark.parametrize("make", [lambda: tenfold(1), lambda: dispatch.step(str, 1)])
def test_result_that_was_not_awaited_says_so_where_it_is_used(use: Any, make: Any) -> None:
    """With the line of the call, and what to write; never as if it were a value."""
    call = make()
    with pytest.raises((TypeError, AttributeError)) as caught:
        use(call)
    at = f"tests/unit/test_sdk_functions_calls.py:{make.__code__.co_firstlineno}"
    assert f"{call.what} made at {at}, not awaited yet>" in str(caught.value)
    assert "write `await` before it, and use what that gives." in str(caught.value)
    call.close()


def test_promise_is_no_truth() -> None:
    """`if dispatch.promise(…):` would be taken before anybody has given it a value."""
    with pytest.raises(TypeError, match=r"<promise 'order-7' of dispatch> is no value by itself"):
        bool(dispatch.promise("order-7", bool))


def test_call_is_still_asked_what_it_is() -> None:
    """Libraries probe for attributes, and copy and compare calls in sets."""
    call = tenfold(1)
    assert not hasattr(call, "cr_code")
    assert not hasattr(call, "upper")
    assert call in {call}
    call.close()


def test_call_that_is_sent_without_await_says_so() -> None:
    """As an argument, and as a result: both have a type that it does not."""
    call = tenfold(1)
    with pytest.raises(dispatch.EncodeError) as caught:
        tenfold(call)  # type: ignore[arg-type]
    at = f"tests/unit/test_sdk_functions_calls.py:{line() - 3}"
    assert str(caught.value) == (
        f"argument 'x' of tenfold has to be int, not <the call of tenfold made at {at}, not "
        "awaited yet>: write `await` before it."
    )
    call.close()
