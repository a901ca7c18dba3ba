"""`Client` and `SyncClient` against the API of the server, on loopback: the same calls, the same
answers."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.errors import ConfigError, Refusal
from dispatcher.functions.shown import CallState
from dispatcher.functions.surface import CancelMode
from dispatcher.protocol.messages import CallResult
from dispatcher.sdk.client.blocking import SyncClient
from dispatcher.sdk.client.client import Client
from dispatcher.sdk.client.errors import (
    AlreadyCompleted,
    CallsRefused,
    CallUnknown,
    ClientError,
    KeyRefused,
    NotEnded,
    ResultGone,
    Unreachable,
)
from dispatcher.sdk.client.handle import Handle, SyncHandle
from dispatcher.sdk.errors import exception_of, failure_of
from dispatcher.sdk.exceptions import PermanentError
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.replay.model import Failure, Value
from dispatcher.sdk.values import decode, encode
from dispatcher.sdk.wire import any_of, value_of
from dispatcher.testing.api import ApiBench
from dispatcher.testing.function_service import MemoryFunctions, call_id

_APP = "http://app.example"
_UNKNOWN = call_id(77)


@pytest.fixture
async def bench() -> AsyncIterator[ApiBench]:
    """A server that keeps calls in memory; `shop` is an application's key."""
    keys = Keyring([Key("shop", Role.DISPATCH, b"secret"), Key("me", Role.ADMIN, b"mine")])
    functions = MemoryFunctions()
    functions.patience_s = 0.01
    async with ApiBench(keys, functions=functions) as made:
        yield made


@pytest.fixture(params=[Client, SyncClient])
async def client(bench: ApiBench, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """One of the two clients."""
    made = request.param(api_url=bench.url, api_key="secret", endpoint_url=f"{_APP}/", timeout=0.5)
    yield made
    await told(made.close)


async def told(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a method of either client, or of what it gave: one that blocks in a thread, for the
    server runs in this one."""
    found = await asyncio.to_thread(method, *args, **kwargs)
    return await found if inspect.iscoroutine(found) else found


def functions_of(bench: ApiBench) -> MemoryFunctions:
    """What the server has taken in."""
    assert bench.functions is not None
    return bench.functions


def built(function: str = "greet", value: object = "Ada", **more: Any) -> BuiltCall[Any]:
    """A call."""
    return BuiltCall(function, encode(value), "app.py:1", **more)


class Greeting:
    """A function, as a batch sees it."""

    def build_call(self, *args: Any, **kwargs: Any) -> BuiltCall[Any]:
        """A call of it."""
        return built("greet", [*args, kwargs], returns=str)


async def end(bench: ApiBench, number: str, value: object) -> None:
    """Have a call return a value."""
    result = CallResult(output=any_of(encode(value)))
    await functions_of(bench).end(number, result, CallState.SUCCEEDED)


async def test_calls_are_dispatched_and_waited_for(bench: ApiBench, client: Any) -> None:
    """Each handle has its call, and reads the result by the hint of its function."""
    handles = await told(client.dispatch, built(returns=str), built("sum", returns=tuple[int, ...]))
    (request,) = functions_of(bench).requests
    assert [(one.endpoint, one.function) for one in request.calls] == [
        (_APP, "greet"),
        (_APP, "sum"),
    ]
    assert [one.id for one in handles] == [call_id(1), call_id(2)]
    await end(bench, handles[0].id, "Hello, Ada!")
    await end(bench, handles[1].id, [1, 2])
    assert [await told(one.result) for one in handles] == ["Hello, Ada!", (1, 2)]
    assert await told(client.result, handles[1].id, returns=list[int]) == [1, 2]
    assert await told(client.handle(handles[1].id, returns=set).result) == {1, 2}


async def test_no_calls_are_no_request(bench: ApiBench, client: Any) -> None:
    """Nothing is asked."""
    assert await told(client.dispatch) == []
    assert functions_of(bench).requests == []


async def test_first_run_is_not_put_off(bench: ApiBench, client: Any) -> None:
    """As it is for dispatch-py, whose client is aiohttp's too."""
    await told(client.dispatch, built())
    (caller,) = functions_of(bench).callers
    assert (caller.application, caller.is_dispatch_py) == ("shop", False)


async def test_key_makes_a_dispatch_once(bench: ApiBench, client: Any) -> None:
    """The same ids; with other calls it is an error. A call that is dispatched alone may have its
    own."""
    first = await told(client.dispatch, built(), key="order-7")
    again = await told(client.dispatch, built(key="order-7"))
    assert [one.id for one in first] == [one.id for one in again]
    other = await told(client.dispatch, built(), built(), key="order-8")
    assert len({one.id for one in [*first, *other]}) == 3
    with pytest.raises(ClientError, match="another body") as caught:
        await told(client.dispatch, built(value="Alan"), key="order-7")
    assert caught.value.code == "already_exists"


async def test_dispatch_without_a_key_is_made_each_time(bench: ApiBench, client: Any) -> None:
    """Its own key is for the tries of one."""
    for _ in range(2):
        await told(client.dispatch, built())
    assert len(functions_of(bench).requests) == 2


async def test_batch_is_dispatched_whole(bench: ApiBench, client: Any) -> None:
    """And is empty then."""
    batch = client.batch().add(Greeting(), "Ada", loud=True).add_call(built("other"))
    assert len(batch) == 2
    handles = await told(batch.dispatch)
    assert [one.id for one in handles] == [call_id(1), call_id(2)]
    (request,) = functions_of(bench).requests
    assert decode(value_of(request.calls[0].input)) == ["Ada", {"loud": True}]
    assert len(batch) == 0
    assert await told(batch.dispatch) == []


async def test_batch_that_failed_makes_no_call_twice_when_it_is_tried_again(
    bench: ApiBench, client: Any
) -> None:
    """It has its calls and its key until it was dispatched."""
    functions = functions_of(bench)
    batch = client.batch().add(Greeting(), "Ada")
    functions.refuses = Refusal(503, "disk_full", "The disk is full.")
    with pytest.raises(ClientError, match="The disk is full"):
        await told(batch.dispatch)
    functions.refuses = None
    copy = client.batch().add(Greeting(), "Ada")
    copy._key = batch._key  # as if the first had been taken
    (lost,) = await told(copy.dispatch)
    (handle,) = await told(batch.dispatch)
    assert handle.id == lost.id
    assert len(functions.requests) == 1


async def test_batch_takes_calls_and_no_others(client: Any) -> None:
    """The message says which form to write."""
    with pytest.raises(CallsRefused) as caught:
        client.batch().add_call("greet")
    assert str(caught.value) == (
        "add_call takes what f.build_call(...) gives, not str: write add(f, ...), or "
        "add_call(f.build_call(...))."
    )


async def test_batch_of_a_client_blocks_nobody(bench: ApiBench) -> None:
    """It has no other way to the server."""
    client = Client(api_url=bench.url)
    with pytest.raises(CallsRefused, match=r"write `await batch.dispatch\(\)`"):
        client.batch().add(Greeting()).dispatch_sync()


async def test_result_of_a_call_that_failed_is_raised(bench: ApiBench, client: Any) -> None:
    """In its own class, where that is imported."""
    (handle,) = await told(client.dispatch, built())
    _, failure = failure_of(ZeroDivisionError("by nothing"))
    result = CallResult()
    result.error.type, result.error.message = failure.type, failure.message
    result.error.value = failure.value
    await functions_of(bench).end(handle.id, result, CallState.FAILED)
    with pytest.raises(ZeroDivisionError, match="by nothing"):
        await told(handle.result)


async def test_result_that_is_not_there_is_a_timeout(bench: ApiBench, client: Any) -> None:
    """The call goes on."""
    (handle,) = await told(client.dispatch, built())
    with pytest.raises(NotEnded) as caught:
        await told(handle.result, timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    await end(bench, handle.id, None)
    assert await told(handle.result, timeout=5) is None


async def test_result_comes_while_it_is_waited_for(bench: ApiBench, client: Any) -> None:
    """At once."""
    functions = functions_of(bench)
    functions.patience_s = 30.0
    (handle,) = await told(client.dispatch, built(returns=str))
    waiting = asyncio.create_task(told(handle.result))
    async with asyncio.timeout(10):
        while not functions.waits_s:  # noqa: ASYNC110 # the twin tells nobody
            await asyncio.sleep(0.001)
    await end(bench, handle.id, "there")
    assert await waiting == "there"


async def test_call_that_is_not_known_is_an_error(bench: ApiBench, client: Any) -> None:
    """Whatever is asked about it."""
    for method in (client.result, client.info, client.cancel, client.handle("no id").info):
        with pytest.raises(CallUnknown):
            await told(method, *([] if method.__self__ is not client else [_UNKNOWN]))


async def test_result_that_is_gone_is_an_error(bench: ApiBench, client: Any) -> None:
    """It was kept for long enough."""
    (handle,) = await told(client.dispatch, built())
    functions_of(bench).expired.add(handle.id)
    with pytest.raises(ResultGone):
        await told(handle.result)


async def test_call_tells_how_it_stands(bench: ApiBench, client: Any) -> None:
    """As values of Python."""
    (handle,) = await told(client.dispatch, built())
    info = await told(handle.info)
    assert (info.id, info.state, info.function) == (handle.id, "ready", "greet")
    assert info.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert (info.ended_at, info.parent_id, info.has_ended) == (None, None, False)
    await end(bench, handle.id, None)
    assert (await told(client.info, handle.id)).has_ended


async def test_calls_are_listed_in_pages(bench: ApiBench, client: Any) -> None:
    """The newest first, those that match."""
    await told(client.dispatch, *[built("greet") for _ in range(3)], built("other"))
    page = await told(client.calls, function="greet", limit=2)
    assert [one.id for one in page.items] == [call_id(3), call_id(2)]
    page = await told(client.calls, function="greet", limit=2, cursor=page.next)
    assert [one.id for one in page.items] == [call_id(1)]
    assert page.next is None
    assert (await told(client.calls, state="succeeded", roots=True)).items == ()
    with pytest.raises(ClientError, match="limit"):
        await told(client.calls, limit=5000)


async def test_call_is_asked_to_end(bench: ApiBench, client: Any) -> None:
    """Or ended; one that has ended stays as it is."""
    (handle,) = await told(client.dispatch, built())
    await told(handle.cancel)
    await told(client.cancel, handle.id, kill=True)
    asked = [(handle.id, CancelMode.CANCEL), (handle.id, CancelMode.KILL)]
    assert functions_of(bench).cancelled == asked
    await end(bench, handle.id, None)
    await told(handle.cancel, kill=True)
    assert functions_of(bench).cancelled == asked


async def test_promise_is_completed_once(bench: ApiBench, client: Any) -> None:
    """With a value or an error; it belongs to the application."""
    await told(client.resolve, "a/b", {"ok": True})
    await told(client.reject, "second", "no way")
    await told(client.reject, "third", ValueError("bad"))
    with pytest.raises(AlreadyCompleted):
        await told(client.resolve, "a/b", 2)
    kept = {
        name: CallResult.FromString(it) for (_, name), it in functions_of(bench).promises.items()
    }
    assert {name for name, _ in functions_of(bench).promises} == {"shop"}
    assert decode(value_of(kept["a/b"].output)) == {"ok": True}
    raised = []
    for name in ("second", "third"):
        error = kept[name].error
        raised.append(exception_of(Failure(error.type, error.message, error.value)))
    assert [(type(one), str(one)) for one in raised] == [
        (PermanentError, "no way"),
        (ValueError, "bad"),
    ]


async def test_channel_is_sent_values(bench: ApiBench, client: Any) -> None:
    """In their order."""
    for number in (1, 2):
        await told(client.send, "orders", number)
    sent = functions_of(bench).channels["shop", "orders"]
    values = [decode(value_of(CallResult.FromString(one).output)) for one in sent]
    assert values == [1, 2]


async def test_operator_says_whose_promise_it_is(bench: ApiBench) -> None:
    """Its key is no application's."""
    async with Client(api_url=bench.url, api_key="mine") as client:
        await client.resolve("p", 1, application="shop")
        await client.send("c", 1, application="shop")
    assert list(functions_of(bench).promises) == [("shop", "p")]
    assert list(functions_of(bench).channels) == [("shop", "c")]


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256])
async def test_name_that_can_be_none_is_told(client: Any, name: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="the name of a promise must be 1 to 255 printable"):
        await told(client.resolve, name)


async def test_key_that_is_wrong_is_told(bench: ApiBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of where it is set."""
    monkeypatch.setenv("DISPATCH_API_URL", bench.url)
    monkeypatch.setenv("DISPATCH_API_KEY", "wrong")
    for client in (Client(), SyncClient()):
        with pytest.raises(KeyRefused) as caught:
            await told(client.dispatch, built(endpoint=_APP))
        assert str(caught.value) == (
            f"{bench.url} does not know the key that DISPATCH_API_KEY has: write one of API_KEYS "
            "of the server."
        )
        await told(client.close)


async def test_server_that_is_not_there_is_told(bench: ApiBench, client: Any) -> None:
    """After the client's time; each question says where it asked."""
    await bench.server.stop()
    with pytest.raises(Unreachable) as caught:
        await told(client.dispatch, built())
    assert str(caught.value).startswith(f"No answer from {client._server.url} (api_url=…): ")
    assert isinstance(caught.value, ConnectionError)


def test_client_without_a_server_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is made."""
    monkeypatch.delenv("DISPATCH_API_URL", raising=False)
    for kind in (Client, SyncClient):
        with pytest.raises(ConfigError, match="DISPATCH_API_URL is not set: write the URL"):
            kind()
        with pytest.raises(ValueError, match="timeout=0: expected seconds, more than 0"):
            kind(api_url="http://h", timeout=0)


async def test_functions_use_a_client_as_their_caller(bench: ApiBench, client: Any) -> None:
    """What they wait for is bytes: they know the type."""
    caller = client.caller
    (number,) = await told(caller.dispatch, [built()], key=None)
    await end(bench, number, 7)
    found = await told(caller.wait, number, timeout_s=5)
    assert found == Value("google.protobuf.Int64Value", b"\x08\x07")
    assert await told(caller.handle(number, int).result) == 7
    await told(caller.complete, "promise:p", Failure("Refused", "no"))
    assert list(functions_of(bench).promises) == [("shop", "p")]


@pytest.mark.parametrize(("one", "other"), [(Client, SyncClient), (Handle, SyncHandle)])
def test_both_clients_have_the_same_surface(one: type, other: type) -> None:
    """Names, parameters and defaults; one of them blocks."""
    ours = {name for name in dir(one) if not name.startswith("_")}
    assert ours == {name for name in dir(other) if not name.startswith("_")}
    for name in ours - {"caller", "id"}:
        asynchronous = inspect.signature(getattr(one, name))
        blocking = inspect.signature(getattr(other, name))
        assert list(asynchronous.parameters.values()) == list(blocking.parameters.values()), name


async def test_application_asks_the_server_by_its_settings(
    bench: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with them is told by the name of where they are set."""
    monkeypatch.setenv("DISPATCH_API_URL", bench.url)
    monkeypatch.setenv("DISPATCH_API_KEY", "wrong")
    app = dispatch.Dispatch(endpoint_url=_APP)
    other = dispatch.Dispatch(endpoint_url=_APP, api_key="another")
    for client, name in (
        (app.client, "DISPATCH_API_KEY"),
        (app.sync_client, "DISPATCH_API_KEY"),
        (other.client, "Dispatch(api_key=…)"),
    ):
        with pytest.raises(dispatch.KeyRefused, match=re.escape(f"the key that {name} has")):
            await told(client.dispatch, built())
        await told(client.close)
