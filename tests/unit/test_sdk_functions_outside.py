"""What functions, promises and the log do where no durable function runs."""

from __future__ import annotations

import asyncio
import logging
import pickletools
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk.functions import apps, context
from dispatcher.sdk.functions.context import Inside
from dispatcher.sdk.replay.model import Failure, Kind, Operation, Result, Told
from dispatcher.sdk.values import encode
from dispatcher.testing.playing import FakeApp, Play, answered, application, argument, played


@dispatch.function
async def tenfold(x: int) -> int:
    return x * 10


# Outside of functions: through the client.


async def test_gather_outside_is_one_request() -> None:
    """With the key of its options."""
    with application() as app:
        assert await tenfold.with_options(key="k").gather(range(5)) == [0, 10, 20, 30, 40]
    assert app.requests == [5]
    assert {key for _, key in app.made} == {"k"}


async def test_gather_of_many_outside_is_several_requests_with_keys_of_their_own() -> None:
    """The server takes 1 000 calls at once."""
    with application() as app:
        assert len(await tenfold.with_options(key="k").gather(range(2_500))) == 2_500
    assert app.requests == [1000, 1000, 500]
    assert sorted({key for _, key in app.made if key}) == ["k", "k#1000", "k#2000"]


async def test_gather_with_a_limit_outside_makes_calls_in_turn() -> None:
    """No more wait at once."""
    with application() as app:
        assert await tenfold.gather(range(5), limit=2) == [0, 10, 20, 30, 40]
    assert (app.requests, app.most_at_once) == ([1] * 5, 2)


async def test_gather_with_a_limit_and_a_key_has_a_key_for_each_call() -> None:
    """One key can't be that of several requests."""
    with application() as app:
        await tenfold.with_options(key="k").gather(range(3), limit=1)
    assert [key for _, key in app.made] == ["k", "k#1", "k#2"]


async def test_gather_outside_raises_the_first_failure() -> None:
    """The other calls go on."""

    def answer(built: Any) -> Result:
        return Failure("E", "no") if argument(built.input) == 1 else encode(1)

    with application(answer=answer) as app, pytest.raises(dispatch.CallError, match="E: no"):
        await tenfold.gather(range(3))
    assert app.requests == [3]


async def test_promise_is_given_its_value_and_its_error() -> None:
    """By whoever has the client."""
    approval = dispatch.promise("order-7", bool)
    with application() as app:
        await approval.resolve(True)
        await approval.reject(ValueError("no"))
        await dispatch.channel("orders", int).send(3)
        await dispatch.channel("orders", int).fail(ValueError("no"))
    [(first, value), (_, error), (third, number), (_, other)] = app.completed
    assert (first, value, third, number) == (
        "promise:order-7",
        encode(True),
        "channel:orders",
        encode(3),
    )
    assert isinstance(error, Failure)
    assert isinstance(other, Failure)
    assert (error.type, error.message) == ("ValueError", "no")


async def test_promise_can_be_waited_for_outside() -> None:
    """As a call can."""
    with application(answer=lambda _: encode(True)) as app:
        assert await dispatch.promise("p", bool)
    [(call, _)] = app.made
    assert (call.endpoint, call.function) == ("promise:p", "promise")


def test_promise_is_resolved_by_a_durable_function_in_a_step() -> None:
    """Once."""

    async def body() -> None:
        await dispatch.promise("p", bool).resolve(True)

    play = Play(body, answered)
    with application() as app:
        apps.made(app)
        play.value()
        apps.gone(app)
    assert app.completed == [("promise:p", encode(True))]
    assert [each.function for each in play.steps] == ["promise.resolve"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: dispatch.promise(""),
            "the name of a promise must be 1 to 255 printable characters, and is ''.",
        ),
        (
            lambda: dispatch.channel("a\nb"),
            "the name of a channel must be 1 to 255 printable characters, and is 'a\\nb'.",
        ),
        (
            lambda: dispatch.promise(7),  # type: ignore[call-overload]  # the mistake
            "the name of a promise must be a string, and is 7.",
        ),
        (
            lambda: dispatch.promise("p").reject("no"),  # type: ignore[arg-type]  # the mistake
            "promise:p was given 'no' as its error: it must be an exception.",
        ),
    ],
)
def test_promise_refuses_what_it_cannot_be(make: Any, words: str) -> None:
    """Where it is written."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value) == words


def test_promise_refuses_a_value_of_another_type() -> None:
    """Before it is sent."""
    with pytest.raises(dispatch.EncodeError, match="the value of promise:p"):
        dispatch.promise("p", bool).resolve("yes")  # type: ignore[arg-type]  # the mistake


def test_promises_show_themselves() -> None:
    """By kind and name."""
    assert repr(dispatch.promise("p")) == "<promise 'p' of dispatch>"
    assert repr(dispatch.channel("c")) == "<channel 'c' of dispatch>"


# In a plain function: who runs it is told.


class FakeNet:
    """Is told of durable operations, and answers them."""

    def __init__(self) -> None:
        self.met_with: list[Operation] = []

    def met(self, operation: Operation) -> Generator[Any, Any, Result]:
        self.met_with.append(operation)
        yield from asyncio.sleep(0).__await__()
        return encode(7)


@pytest.fixture
def net() -> Generator[FakeNet]:
    net = FakeNet()
    token = context.inside.set(Inside(Told("c1", "pay"), net))
    yield net
    context.inside.reset(token)


async def test_who_runs_a_plain_function_is_told_of_what_is_durable(net: FakeNet) -> None:
    """Of each operation, by what it asks for."""
    token = context.inside.set(Inside(Told("c1", "pay"), net))
    assert await tenfold(1) == 7
    assert await tenfold.gather([1, 2]) == [7, 7]
    assert await dispatch.promise("p", int) == 7
    assert await dispatch.step(abs, 1) == 7
    await dispatch.sleep(3)
    context.inside.reset(token)
    assert [each.kind for each in net.met_with] == [
        *[Kind.CALL] * 4,
        Kind.STEP,
        Kind.SLEEP,
    ]


async def test_plain_function_may_dispatch_and_resolve(net: FakeNet) -> None:
    """Both wait for nothing, and go through the client at once."""
    context.inside.set(Inside(Told("c1", "pay"), net))
    with application() as app:
        await tenfold.dispatch(1)
        await dispatch.promise("p", bool).resolve(True)
    assert (len(app.made), len(app.completed), net.met_with) == (1, 1, [])


def test_current_tells_of_a_plain_call_too(net: FakeNet) -> None:
    """As of a durable one."""
    current = dispatch.current()
    assert (current.id, current.function, current.is_durable, current.expires_at) == (
        "c1",
        "pay",
        False,
        None,
    )
    assert current.root_id == "c1"


# The log.


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Generator[Kept]:
    handler = Kept()
    logger = logging.getLogger("dispatch")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_log_says_each_thing_once_however_often_it_is_replayed(kept: Kept) -> None:
    """Two awaits are three cold activations."""

    async def body() -> None:
        dispatch.log.info("begun")
        await tenfold(1)
        dispatch.log.info("half")
        await tenfold(2)
        dispatch.log.info("done")

    played(body)
    assert [record.getMessage() for record in kept.records] == ["begun", "half", "done"]


def test_log_has_fields_and_the_call(kept: Kept, net: FakeNet) -> None:
    """Behind the message, and in the record for who formats it as JSON."""
    log = dispatch.log.bind(shop="north")
    log.info("charged %s", "Ada", amount=12, rate="5%", level="top", msg="m")
    [record] = kept.records
    assert record.getMessage() == (
        "charged Ada shop='north' amount=12 rate='5%' level='top' msg='m'"
    )
    assert record.__dict__["dispatch"] == {
        "call": "c1",
        "function": "pay",
        "shop": "north",
        "amount": 12,
        "rate": "5%",
        "level": "top",
        "msg": "m",
    }
    assert (record.filename, record.funcName) == (
        "test_sdk_functions_outside.py",
        "test_log_has_fields_and_the_call",
    )


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_log_has_a_method_for_each_level(kept: Kept, level: str) -> None:
    """And says where it was called."""
    logging.getLogger("dispatch").setLevel(logging.DEBUG)
    getattr(dispatch.log, level)("x")
    dispatch.log.log(getattr(logging, level.upper()), "y")
    assert {record.levelname for record in kept.records} == {level.upper()}
    assert {record.filename for record in kept.records} == {"test_sdk_functions_outside.py"}


def test_log_without_fields_or_arguments_is_as_it_is(kept: Kept) -> None:
    """Also a percent sign."""
    dispatch.log.warning("100%")
    dispatch.log.debug("too low")
    try:
        raise ValueError("x")
    except ValueError:
        dispatch.log.exception("failed at 5%", step=3)
    assert [record.getMessage() for record in kept.records] == ["100%", "failed at 5% step=3"]
    assert kept.records[1].exc_info is not None


def test_log_of_ones_own_logger_is_silent_while_replaying_too() -> None:
    """By the same adapter."""
    handler, logger = Kept(), logging.getLogger("shop")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    log = dispatch.log.of(logger)

    async def body() -> None:
        log.info("begun")
        await tenfold(1)

    played(body)
    logger.removeHandler(handler)
    assert [record.name for record in handler.records] == ["shop"]
    assert repr(log) == "<log of dispatch to 'shop'>"


# Functions of others.


def test_remote_function_takes_one_value() -> None:
    """As those of the Go SDK, which know nothing of Python's classes."""
    far = dispatch.remote("far", endpoint="http://far:8000", returns=int)
    built = far.build_call({"a": 1})
    assert (built.function, built.endpoint, built.returns) == ("far", "http://far:8000", int)
    assert built.input.type == "google.protobuf.Value"
    assert far.build_call().input.type == "google.protobuf.Empty"
    with pytest.raises(TypeError) as caught:
        far(1, 2)
    assert str(caught.value) == (
        "far() takes one value, without a name: put several into a dict or a dataclass. For "
        'functions of dispatch-py write remote(…, style="dispatch-py").'
    )
    assert repr(far) == "<function far of dispatch, at http://far:8000>"


def test_remote_function_of_dispatch_py_takes_pickled_arguments() -> None:
    """Of a class that is named, and not imported."""
    far = dispatch.remote("far", style="dispatch-py")
    built = far.build_call(1, b="x")
    assert built.input.type.endswith("dispatch.sdk.python.v1.Pickled")
    start = built.input.data.index(b"\x80\x04")
    strings = [arg for _, arg, _ in pickletools.genops(built.input.data[start:])]
    assert {"dispatch.proto", "Arguments", "args", "kwargs", "b", "x", 1} <= set(strings)


def test_remote_function_is_a_child_of_a_durable_one() -> None:
    """At its endpoint, decoded to what it is said to return."""
    far = dispatch.remote("far", endpoint="http://far:8000", returns=float)

    async def body() -> Any:
        return await far(1), await far.gather([2, 3])

    play = Play(body, lambda _: encode(2.5))
    assert play.value() == (2.5, [2.5, 2.5])
    assert {each.endpoint for each in play.calls} == {"http://far:8000"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "a b"}, "the name of a function must be a letter (a to z, A to Z) or _"),
        ({"name": "a", "endpoint": "far"}, "endpoint= must be the URL of an application"),
        ({"name": "a", "style": "go"}, 'style= must be "plain" or "dispatch-py", and is \'go\'.'),
    ],
)
def test_remote_refuses_what_it_cannot_be(options: dict[str, Any], words: str) -> None:
    """Where it is written."""
    with pytest.raises(ValueError, match="must be") as caught:
        dispatch.remote(**options)
    assert str(caught.value).startswith(words)


# Applications.


async def test_application_that_was_made_last_is_used_where_nothing_says_which() -> None:
    """The function's own goes before it, and that of the code which runs before both."""
    last, own, here = FakeApp(), FakeApp(), FakeApp()

    @dispatch.function(name="mine")
    async def mine(x: int) -> int:
        return x

    apps.made(last)
    try:
        await mine(1)
        mine.give_to(own)
        await mine(1)
        token = context.app.set(here)
        await mine(1)
        context.app.reset(token)
    finally:
        apps.gone(last)
    assert [len(each.made) for each in (last, own, here)] == [1, 1, 1]


def test_importing_the_sdk_needs_nothing_of_the_server() -> None:
    """Nor aiohttp, uvloop, structlog, pydantic: a fresh interpreter has none of them afterwards."""
    code = (
        "import sys, dispatcher.sdk; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'aiohttp', 'uvloop', 'structlog', 'pydantic', 'typer', 'rich', 'prometheus_client'}), "
        "*sorted(name for name in sys.modules if name.startswith('dispatcher.') and "
        "name.split('.')[1] not in ('sdk', 'protocol', 'errors', 'build')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
