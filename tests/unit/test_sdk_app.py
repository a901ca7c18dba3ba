"""A whole application in one process: from the bytes of a Run request to those of its answer."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import traceback
from collections.abc import Iterator

import pytest

import dispatcher.sdk as dispatch
from dispatcher.errors import ConfigError
from dispatcher.protocol.messages import Any, CallResult, RunRequest, RunResponse
from dispatcher.protocol.signing import RUN_PATH
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.functions import apps
from dispatcher.sdk.replay.model import Value
from dispatcher.sdk.values import decode, encode
from dispatcher.sdk.wire import any_of, value_of

HEADERS = {"Content-Type": "application/proto", "Host": "app"}
EXTENSIONS = {"X-Dispatcher-Features": "append, cancel, delay, keep, state-ref, timeout, version"}


@dispatch.function
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@dispatch.function
async def welcome(names: list[str]) -> list[str]:
    await dispatch.sleep(60)
    return await greet.gather(names)


@dispatch.function
async def relays(name: str) -> str:
    return await greet(await greet(name))


@dispatch.function
def shout(text: str, times: int = 1) -> str:
    return text.upper() * times


@dispatch.function
async def hidden(names: list[str]) -> list[str]:
    called = globals()["gre" + "et"]
    async with asyncio.timeout(5):
        return [await called(name) for name in names]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_URL", "API_KEY", "ENDPOINT_URL", "ENDPOINT_ADDR", "VERIFICATION_KEY"):
        monkeypatch.delenv(f"DISPATCH_{name}", raising=False)


@pytest.fixture
def app() -> Iterator[dispatch.Dispatch]:
    made = dispatch.Dispatch(greet, welcome, shout)
    yield made
    made.close()


async def ask(app: dispatch.Dispatch, request: RunRequest, **headers: str) -> RunResponse:
    """Send a request."""
    answer = await app.handle("POST", RUN_PATH, HEADERS | headers, request.SerializeToString())
    assert answer.status == 200, answer
    return RunResponse.FromString(answer.body)


async def run(
    app: dispatch.Dispatch, function: str, input: Value, id: str = "1", **headers: str
) -> object:
    """What a function returns, with all that it calls, as a server has it run. Time is skipped."""
    request = RunRequest(function=function, dispatch_id=id, input=any_of(input))
    response = await ask(app, request, **headers)
    state = b""
    while response.HasField("poll"):
        poll = response.poll
        new = poll.typed_coroutine_state.value
        state = state + new if poll.extends else new
        request = RunRequest(function=function, dispatch_id=id)
        request.poll_result.typed_coroutine_state.CopyFrom(
            Any(type_url=poll.typed_coroutine_state.type_url, value=state)
        )
        for call in poll.calls:
            child = f"{id}.{call.correlation_id}"
            value = await run(app, call.function, value_of(call.input), child, **headers)
            assert isinstance(value, Value)
            request.poll_result.results.append(
                CallResult(
                    correlation_id=call.correlation_id, dispatch_id=child, output=any_of(value)
                )
            )
        response = await ask(app, request, **headers)
    assert response.status == Status.OK, response
    return value_of(response.exit.result.output)


@pytest.mark.parametrize("headers", [{}, EXTENSIONS])
async def test_an_application_runs_its_functions(
    app: dispatch.Dispatch, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of the documentation, with every server."""
    monkeypatch.setattr("dispatcher.sdk.running.runner.time.time_ns", Clock())
    value = await run(app, "welcome", welcome.build_call(["Ada", "Alan"]).input, **headers)
    assert isinstance(value, Value)
    assert decode(value, list[str]) == ["Hello, Ada!", "Hello, Alan!"]


@pytest.mark.parametrize(
    ("settings", "is_kept"),
    [
        ({}, False),
        ({"api_url": "http://127.0.0.1:1"}, True),
        ({"api_url": "http://far.example"}, False),
        ({"api_url": "http://far.example", "api_key": "a key"}, True),
    ],
)
async def test_large_results_are_kept_by_the_server_where_it_can_be_asked(
    settings: dict[str, str], is_kept: bool
) -> None:
    """On loopback also without a key, as a server there may have none."""
    app = dispatch.Dispatch(welcome, greet, **settings)  # type: ignore[arg-type]  # `warm` is no str
    first = any_of(relays.build_call("Ada").input)
    app.register(relays)
    poll = (await ask(app, RunRequest(function="relays", dispatch_id="1", input=first))).poll
    request = RunRequest(function="relays", dispatch_id="1")
    request.poll_result.typed_coroutine_state.CopyFrom(poll.typed_coroutine_state)
    request.poll_result.results.append(
        CallResult(
            correlation_id=poll.calls[0].correlation_id,
            dispatch_id="child",
            output=any_of(encode("x" * 100_000)),
        )
    )
    poll = (await ask(app, request, **EXTENSIONS)).poll
    assert list(poll.keep) == (["child"] if is_kept else [])
    app.close()


class Clock:
    """A minute later each time."""

    def __init__(self) -> None:
        self.now_ns = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        self.now_ns += 60 * 10**9
        return self.now_ns


async def test_a_function_that_is_not_async_is_run(app: dispatch.Dispatch) -> None:
    """In a thread; arguments have names and defaults as they are written."""
    value = await run(app, "shout", shout.build_call("hi", times=2).input)
    assert isinstance(value, Value)
    assert decode(value) == "HIHI"


async def test_a_function_that_hides_what_it_calls_is_run_as_durable(
    app: dispatch.Dispatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can see what it will wait for; then it does, and is run anew."""
    app.register(hidden)
    assert "plain" in app.describe()[-1]
    value = await run(app, "hidden", hidden.build_call(["Ada", "Alan"]).input)
    assert isinstance(value, Value)
    assert decode(value) == ["Hello, Ada!", "Hello, Alan!"]
    (record,) = caplog.records
    assert record.getMessage().startswith("hidden waits for greet at ")


async def test_a_durable_function_calls_through_the_application_that_runs_it() -> None:
    """Its body is in no context of the request, and sees that all the same."""
    found: list[object] = []

    @dispatch.function(durable=True)
    async def looks() -> None:
        found.append(apps.find(None))

    app = dispatch.Dispatch(looks)
    dispatch.Dispatch()
    await run(app, looks.name, looks.build_call().input)
    assert found == [app]


async def test_a_function_calls_through_the_application_that_runs_it() -> None:
    """And not through one that was made later."""
    found: list[object] = []

    @dispatch.function
    async def looks() -> None:
        found.append(apps.find(None))

    app = dispatch.Dispatch(looks)
    dispatch.Dispatch()
    await run(app, looks.name, looks.build_call().input)
    assert found == [app]


async def test_arguments_that_do_not_fit_say_which(app: dispatch.Dispatch) -> None:
    """Of whoever sent them."""
    request = RunRequest(function="greet", input=any_of(shout.build_call("a", times=2).input))
    response = await ask(app, request)
    assert response.status == Status.INVALID_ARGUMENT
    assert response.exit.result.error.message == (
        "greet needs the parameter 'name', which is missing: it was given 'text', 'times'."
    )


async def test_a_name_that_is_not_known_is_not_found(app: dispatch.Dispatch) -> None:
    """HTTP 404, as the protocol has it."""
    request = RunRequest(function="gret", input=Any())
    answer = await app.handle("POST", RUN_PATH, HEADERS, request.SerializeToString())
    assert answer.status == 404
    assert b"'greet'" in answer.body


async def test_people_are_told_what_this_is(app: dispatch.Dispatch) -> None:
    """And nothing of what is in it."""
    answer = await app.handle("GET", "/", {}, b"")
    assert answer.status == 200
    assert answer.body.endswith(
        b"with 3 functions. Its server runs them; there is nothing to see.\n"
    )


def test_functions_are_described(app: dispatch.Dispatch) -> None:
    """Each with its decision, and why."""
    plain, durable, thread = app.describe()
    assert "plain: it names no function of dispatch" in plain
    assert "durable: it names dispatch.sleep" in durable
    assert "plain: it is not async" in thread
    assert app.functions == (greet, welcome, shout)
    assert repr(app) == "<Dispatch of greet, welcome, shout>"


def test_what_is_no_function_is_refused() -> None:
    """With what to write."""

    def plain() -> None: ...

    wrong: list[object] = [plain]
    with pytest.raises(TypeError, match=r"put @dispatch\.function above it"):
        dispatch.Dispatch(*wrong)  # type: ignore[arg-type]  # that is the mistake


def test_two_functions_of_one_name_are_refused(app: dispatch.Dispatch) -> None:
    """Also when the second is registered later."""

    @dispatch.function(name="greet")
    async def other() -> None: ...

    with pytest.raises(ValueError, match="two functions are named greet"):
        app.register(other)
    app.register(greet)
    assert app.functions == (greet, welcome, shout)


def test_an_address_that_is_missing_is_said_when_it_is_needed(app: dispatch.Dispatch) -> None:
    """An application that only answers needs none."""
    with pytest.raises(ConfigError, match="DISPATCH_ENDPOINT_URL is not set"):
        _ = app.url
    assert dispatch.Dispatch(endpoint_url="http://127.0.0.1:8000/").url == "http://127.0.0.1:8000"


def test_a_setting_that_is_wrong_is_told_without_how_it_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A module makes its application while it is imported: the sentence ends a short traceback."""
    monkeypatch.setenv("DISPATCH_VERIFICATION_KEY", "no key")
    with pytest.raises(ConfigError) as caught:
        dispatch.Dispatch()
    lines = traceback.format_exception(caught.value)
    assert len(traceback.extract_tb(caught.value.__traceback__)) == 3
    assert lines[-1].startswith("dispatcher.errors.ConfigError: DISPATCH_VERIFICATION_KEY is no ")
    assert "KeyInvalid" not in "".join(lines)


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://app.example:8000", True),
        ("http://127.0.0.1:8000", False),
        ("bridge://session", False),
    ],
)
def test_an_application_that_answers_anybody_warns(
    url: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Where others can reach it."""
    with caplog.at_level(logging.WARNING, "dispatcher.sdk"):
        dispatch.Dispatch(greet, endpoint_url=url)
    said = [
        f"runs of anybody are answered at {url}: set DISPATCH_VERIFICATION_KEY to what "
        "`dispatcher keys show` prints on the server"
    ]
    assert [record.getMessage() for record in caplog.records] == (said if warns else [])


async def test_requests_are_verified_where_there_is_a_key() -> None:
    """An application with a key answers nobody else."""
    key = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    app = dispatch.Dispatch(greet, verification_key=key)
    request = RunRequest(function="greet", input=Any())
    answer = await app.handle("POST", RUN_PATH, HEADERS, request.SerializeToString())
    assert answer.status == 403
    assert b"the request is not signed" in answer.body


_SUSPENDED = """
import asyncio
import dispatcher.sdk as dispatch
from dispatcher.protocol.messages import RunRequest, RunResponse
from dispatcher.protocol.signing import RUN_PATH
from dispatcher.sdk.wire import any_of

@dispatch.function
async def greet(name: str) -> str:
    return name

async def values():
    try:
        yield await greet("a")
    finally:
        print("the finally of a generator ran")

@dispatch.function
async def long(kind: int) -> None:
    call = greet("never awaited, as it is suspended before")
    try:
        if kind == 0:
            await dispatch.sleep(60)
        elif kind == 1:
            await asyncio.gather(greet("b"), greet("c"))
        elif kind == 2:
            async with asyncio.TaskGroup() as group, asyncio.timeout(5):
                group.create_task(call)
                await greet("d")
        else:
            async for value in values():
                print(value)
    finally:
        print("a finally ran")
        await greet("e")

app = dispatch.Dispatch(greet, long)
HEADERS = {"Content-Type": "application/proto", "Host": "app"}

async def main():
    for number in range(40):
        input = any_of(long.build_call(number % 4).input)
        request = RunRequest(function="long", dispatch_id=str(number), input=input)
        answer = await app.handle("POST", RUN_PATH, HEADERS, request.SerializeToString())
        assert RunResponse.FromString(answer.body).HasField("poll")

asyncio.run(main())
print("over")
"""


def test_a_process_that_ends_runs_nothing_of_what_is_suspended() -> None:
    """No `finally`, no warning, no complaint of Python's: the calls go on elsewhere."""
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", _SUSPENDED],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")


def test_importing_the_sdk_needs_nothing_but_protobuf_and_cryptography() -> None:
    """Applications start fast, and need not have what the server has."""
    code = (
        "import sys; import dispatcher.sdk as dispatch; dispatch.Dispatch(); "
        "print([name for name in ('aiohttp', 'uvloop', 'structlog', 'pydantic', 'typer') "
        "if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
