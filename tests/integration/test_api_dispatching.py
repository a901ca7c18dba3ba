"""The Dispatch protocol over HTTP, as its clients speak it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from dispatcher.api.entrance import Lines
from dispatcher.api.turns import Turns
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.errors import Refusal
from dispatcher.functions.shown import CallState
from dispatcher.protocol.messages import (
    Any as AnyMessage,
)
from dispatcher.protocol.messages import (
    Call,
    CallResult,
    DispatchRequest,
    DispatchResponse,
    Error,
    RecallRequest,
    RecallResponse,
)
from dispatcher.testing.api import ApiBench
from dispatcher.testing.function_service import MemoryFunctions, call_id, view

DISPATCH = "/dispatch.sdk.v1.DispatchService/Dispatch"
WAIT = "/dispatch.sdk.v1.DispatchService/Wait"
LIST = "/dispatch.v1.SigningKeyService/ListSigningKeys"
CREATE = "/dispatch.v1.SigningKeyService/CreateSigningKey"
PROTO = {"Content-Type": "application/proto", "Connect-Protocol-Version": "1"}
KEYS = Keyring(
    [
        Key("shop", Role.DISPATCH, b"shop-key"),
        Key("bank", Role.DISPATCH, b"bank-key"),
        Key("grafana", Role.READ, b"read-key"),
        Key("alice", Role.ADMIN, b"admin-key"),
    ]
)


def shows(secret: str) -> dict[str, str]:
    """The headers of a call with a key."""
    return {**PROTO, "Authorization": f"Bearer {secret}"}


def request(*functions: str, endpoint: str = "http://127.0.0.1:8000") -> bytes:
    """A body that dispatches calls."""
    calls = [Call(endpoint=endpoint, function=name) for name in functions]
    return DispatchRequest(calls=calls).SerializeToString()


class Served:
    """An API with functions, and a client that sends bytes."""

    def __init__(self, keys: Keyring | None = None, lines: Lines | None = None) -> None:
        self.functions = MemoryFunctions()
        self.api = ApiBench(keys or Keyring(), functions=self.functions, lines=lines)

    async def __aenter__(self) -> Served:
        await self.api.__aenter__()
        return self

    async def __aexit__(self, *ending: Any) -> None:
        await self.api.__aexit__(*ending)

    async def post(
        self, path: str, body: bytes | Any, headers: Mapping[str, str] = PROTO
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send a body; status, headers and body of the answer."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.api.url + path, data=body, headers=headers) as answer,
        ):
            return answer.status, answer.headers, await answer.read()

    async def ids(self, body: bytes, headers: Mapping[str, str] = PROTO) -> list[str]:
        """Dispatch; the ids."""
        status, received, answer = await self.post(DISPATCH, body, headers)
        assert status == 200, answer
        assert received["Content-Type"] == "application/proto"
        return list(DispatchResponse.FromString(answer).dispatch_ids)

    async def refusal(
        self, path: str, body: bytes | Any, headers: Mapping[str, str] = PROTO
    ) -> tuple[int, str, str]:
        """Send what is refused; status, code and message, after a look at the shape."""
        status, received, answer = await self.post(path, body, headers)
        said = json.loads(answer)
        assert list(said) == ["code", "message"]
        assert received["Content-Type"].startswith("application/json")
        return status, said["code"], said["message"]


async def test_calls_are_dispatched_when_they_come_as_protobuf() -> None:
    """Ids in the order of the calls, in a DispatchResponse of the same content type."""
    async with Served() as served:
        assert await served.ids(request("a", "b")) == [call_id(1), call_id(2)]
        (dispatched,) = served.functions.requests
        assert [call.function for call in dispatched.calls] == ["a", "b"]
        assert served.functions.callers[0].application == ""


async def test_calls_are_dispatched_when_they_come_as_json() -> None:
    """With curl, say; values are what protobuf's JSON makes of them."""
    value = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "x"}
    body = {"calls": [{"endpoint": "http://a.example", "function": "f", "input": value}]}
    async with Served() as served:
        status, received, answer = await served.post(
            DISPATCH, json.dumps(body), {"Content-Type": "application/json; charset=utf-8"}
        )
        assert status == 200, answer
        assert received["Content-Type"] == "application/json"
        assert json.loads(answer) == {"dispatchIds": [call_id(1)]}
        (call,) = served.functions.requests[0].calls
        assert call.input.type_url == value["@type"]
        assert call.input.value == b"\n\x01x"


async def test_empty_batch_is_answered_without_ids() -> None:
    """dispatch-go sends them; its body has no bytes."""
    async with Served() as served:
        assert await served.ids(b"") == []


async def test_body_is_unpacked_when_it_is_gzipped() -> None:
    """Connect clients compress what is large, or everything."""
    async with Served() as served:
        headers = {**PROTO, "Content-Encoding": "gzip"}
        assert await served.ids(gzip.compress(request("a")), headers) == [call_id(1)]


async def test_caller_is_known_by_its_key_and_its_client() -> None:
    """The name of the key is the application; dispatch-py is aiohttp without our feature header."""
    python = {**shows("shop-key"), "User-Agent": "Python/3.11 aiohttp/3.10.1"}
    ours = {**python, "X-Dispatcher-Features": "append"}
    go = {**shows("shop-key"), "User-Agent": "connect-go/1.16.0"}
    async with Served(KEYS) as served:
        for headers in (python, ours, go):
            await served.ids(request("f"), headers)
        callers = served.functions.callers
        assert [caller.is_dispatch_py for caller in callers] == [True, False, False]
        assert {caller.application for caller in callers} == {"shop"}


@pytest.mark.parametrize(
    ("secret", "path", "status"),
    [
        ("shop-key", DISPATCH, 200),
        ("admin-key", DISPATCH, 200),
        ("read-key", DISPATCH, 403),
        ("shop-key", LIST, 200),
        ("read-key", LIST, 200),
        ("admin-key", CREATE, 200),
        ("shop-key", CREATE, 403),
        ("read-key", CREATE, 403),
    ],
)
async def test_role_of_the_key_says_what_may_be_done(secret: str, path: str, status: int) -> None:
    """Applications dispatch; only operators make keys; who reads changes nothing."""
    async with Served(KEYS) as served:
        is_dispatch = path == DISPATCH
        headers = {**shows(secret)}
        if not is_dispatch:
            headers["Content-Type"] = "application/json"
        body = request("f") if is_dispatch else b"{}"
        answered, _, answer = await served.post(path, body, headers)
        assert answered == status
        if status == 403:
            assert json.loads(answer)["code"] == "permission_denied"
            assert not served.functions.requests


async def test_missing_or_wrong_key_is_refused_as_clients_expect_it() -> None:
    """dispatch-go reports a key error only for this code."""
    async with Served(KEYS) as served:
        for headers in (PROTO, shows("wrong")):
            status, code, message = await served.refusal(DISPATCH, request("f"), headers)
            assert (status, code) == (401, "unauthenticated")
            assert "API_KEYS" in message


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "said"),
    [
        (b"\xff\xff", {}, 400, "invalid_argument", "DispatchRequest"),
        (b"{", {"Content-Type": "application/json"}, 400, "invalid_argument", "JSON"),
        (b"\xff", {"Content-Type": "application/json"}, 400, "invalid_argument", "JSON"),
        (b"[" * 5000, {"Content-Type": "application/json"}, 400, "invalid_argument", "JSON"),
        (b"", {"Content-Type": "text/plain"}, 415, "invalid_argument", "application/proto"),
        (b"", {"Connect-Protocol-Version": "2"}, 400, "invalid_argument", "Version"),
        (b"", {"Content-Encoding": "deflate"}, 501, "unimplemented", "gzip"),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400, "invalid_argument", ""),
        (b"", {"Idempotency-Key": ""}, 400, "invalid_argument", "Idempotency-Key"),
        (b"", {"Idempotency-Key": "x" * 256}, 400, "invalid_argument", "255"),
        (request("no name"), {}, 400, "invalid_argument", "calls[0].function"),
        (request("f", endpoint="arn:aws:lambda:x"), {}, 501, "unimplemented", "calls[0].endpoint"),
        (request(*["f"] * 1001), {}, 429, "resource_exhausted", "1000"),
    ],
)
async def test_wrong_request_is_refused_with_what_is_expected(
    body: bytes, headers: dict[str, str], status: int, code: str, said: str
) -> None:
    """In Connect's shape, whoever refuses it."""
    async with Served() as served:
        answer = await served.refusal(DISPATCH, body, {**PROTO, **headers})
        assert answer[:2] == (status, code)
        assert said in answer[2]
        assert not served.functions.requests


async def test_body_of_16_mb_is_taken_and_one_byte_more_is_not() -> None:
    """Packed or not, with a length or in chunks."""
    value = AnyMessage(value=bytes(7_999_900))
    calls = [Call(endpoint="http://a.example", function="f", input=value) for _ in range(2)]
    body = DispatchRequest(calls=calls).SerializeToString()
    fill = 16_000_000 - len(body)
    exact = DispatchRequest(
        calls=[
            calls[0],
            Call(
                endpoint="http://a.example",
                function="f",
                input=AnyMessage(value=bytes(7_999_900 + fill)),
            ),
        ]
    ).SerializeToString()
    assert len(exact) == 16_000_000
    over = exact + b"\x00"

    async def chunks(data: bytes) -> Any:
        for start in range(0, len(data), 1_000_000):
            yield data[start : start + 1_000_000]

    gzipped = {**PROTO, "Content-Encoding": "gzip"}
    async with Served() as served:
        for sent, headers in (
            (exact, PROTO),
            (chunks(exact), PROTO),
            (gzip.compress(exact, 1), gzipped),
        ):
            assert (await served.post(DISPATCH, sent, headers))[0] == 200
        for sent, headers in (
            (over, PROTO),
            (chunks(over), PROTO),
            (gzip.compress(over, 1), gzipped),
            (gzip.compress(bytes(100_000_000), 1), gzipped),
        ):
            status, code, message = await served.refusal(DISPATCH, sent, headers)
            assert (status, code) == (429, "resource_exhausted")
            assert "16000000" in message


async def test_refusal_of_the_service_is_unavailable_with_the_time_to_ask_again() -> None:
    """As for messages: a full disk, a stop, and what nobody foresaw."""
    async with Served() as served:
        served.functions.refuses = Refusal(503, "disk_full", "No space.", 5)
        status, received, answer = await served.post(DISPATCH, request("f"))
        assert (status, received["Retry-After"]) == (503, "5")
        assert json.loads(answer) == {"code": "unavailable", "message": "No space."}
        served.functions.fails = ValueError("a secret")
        assert await served.refusal(DISPATCH, request("f")) == (
            500,
            "internal",
            "The server failed; its log says how.",
        )
    async with Served() as starting:
        starting.api.reason = "recovering"
        assert (await starting.refusal(DISPATCH, request("f")))[:2] == (503, "unavailable")


async def test_unknown_procedure_is_unimplemented_and_so_is_another_method() -> None:
    """And without functions there is none at all; another path is as it always was."""
    async with Served() as served:
        path = "/dispatch.sdk.v1.DispatchService/Nothing"
        assert (await served.refusal(path, b""))[:2] == (404, "unimplemented")
        status, _, text = await served.api.ask(DISPATCH)
        assert (status, json.loads(text)["code"]) == (405, "unimplemented")
    async with Served(KEYS) as served:
        assert (await served.refusal(path, b"", shows("shop-key")))[:2] == (404, "unimplemented")
        assert (await served.refusal(path, b"", shows("wrong")))[:2] == (401, "unauthenticated")
    async with ApiBench() as without:
        status, _, text = await without.ask(DISPATCH, "POST", PROTO, body=b"")
        assert (status, json.loads(text)["code"]) == (404, "unimplemented")
        assert await without.error("/v1/calls") == (404, "not_found")
        assert "/v1/calls" not in without.server.description()["paths"]


async def test_idempotency_key_is_of_its_body_as_it_was_before_it_was_packed() -> None:
    """The same again: the same ids; packed or not makes no difference, other calls do."""
    headers = {**PROTO, "Idempotency-Key": "order-17"}
    async with Served() as served:
        first = await served.ids(request("f"), headers)
        packed = {**headers, "Content-Encoding": "gzip"}
        assert await served.ids(gzip.compress(request("f")), packed) == first
        assert len(served.functions.requests) == 1
        answer = await served.refusal(DISPATCH, request("g"), headers)
        assert answer[:2] == (409, "already_exists")


async def test_dispatching_waits_for_no_turn() -> None:
    """Calls are work, like messages; only what operators ask is so many a second, and strangers
    have their own turns."""
    lines = Lines(operators=Turns(0.01, 1), strangers=Turns(0.01, 1))
    async with Served(KEYS, lines) as served, asyncio.timeout(60):
        for _ in range(5):
            assert len(await served.ids(request("f"), shows("shop-key"))) == 1
        assert (await served.post(DISPATCH, request("f")))[0] == 401
        waits = asyncio.ensure_future(served.post(DISPATCH, request("f")))
        await asyncio.sleep(0.1)
        assert not waits.done()
        waits.cancel()
        await asyncio.wait([waits])


# Wait


async def test_wait_answers_with_the_result_when_the_call_ends() -> None:
    """As protobuf, whatever the result is."""
    async with Served() as served:
        served.functions.put(view(1))
        asked = asyncio.ensure_future(served.post(WAIT, call_id(1).encode()))
        await asyncio.sleep(0.05)
        assert not asked.done()
        result = CallResult(error=Error(type="E", message="m"))
        await served.functions.end(call_id(1), result, CallState.FAILED)
        status, received, answer = await asked
        assert (status, received["Content-Type"]) == (200, "application/proto")
        assert CallResult.FromString(answer) == result


async def test_wait_says_not_yet_when_the_callers_time_is_over() -> None:
    """Not longer than it waits itself; and what is unknown or gone is not found."""
    async with Served() as served:
        served.functions.put(view(1))
        served.functions.put(view(2))
        served.functions.expired.add(call_id(2))
        headers = {**PROTO, "Connect-Timeout-Ms": "20"}
        answer = await served.refusal(WAIT, call_id(1).encode(), headers)
        assert answer[:2] == (504, "deadline_exceeded")
        for unknown in (call_id(2), call_id(3), "x", ""):
            answer = await served.refusal(WAIT, unknown.encode(), headers)
            assert answer[:2] == (404, "not_found")
        assert (await served.refusal(WAIT, b"x" * 100))[:2] == (429, "resource_exhausted")


async def test_wait_answers_before_the_callers_time_is_over() -> None:
    """dispatch-py says 5 s, and reads nothing that comes later."""
    async with Served() as served:
        served.functions.put(view(1))
        await served.functions.end(call_id(1), CallResult(), CallState.SUCCEEDED)
        for timeout_ms, at_most_s in (("5000", 4.5), ("600000", 60.0)):
            headers = {**PROTO, "Connect-Timeout-Ms": timeout_ms}
            assert (await served.post(WAIT, call_id(1).encode(), headers))[0] == 200
            assert at_most_s - 1 < served.functions.waits_s.pop() <= at_most_s


async def test_wait_knows_no_calls_of_others() -> None:
    """An application's key sees its own; an operator's all."""
    async with Served(KEYS) as served:
        served.functions.put(view(1, application="shop"))
        await served.functions.end(call_id(1), CallResult(), CallState.SUCCEEDED)
        for secret, status in (
            ("shop-key", 200),
            ("bank-key", 404),
            ("read-key", 200),
            ("admin-key", 200),
        ):
            assert (await served.post(WAIT, call_id(1).encode(), shows(secret)))[0] == status


# Results by reference

RECALL = "/dispatch.sdk.v1.DispatchService/Recall"


def recalls(permit: bytes, *names: str) -> bytes:
    """A body that asks for results."""
    request = RecallRequest(dispatch_id=call_id(1), permit=permit, results=names)
    return request.SerializeToString()


async def test_results_that_a_call_keeps_are_recalled_with_its_permit() -> None:
    """In protobuf, by any application; who only looks has no use for it."""
    kept = CallResult(correlation_id=7, dispatch_id=call_id(2), output=AnyMessage(value=b"v"))
    body = recalls(b"permit", call_id(2))
    async with Served(KEYS) as served:
        served.functions.kept[call_id(2)] = kept
        for secret in ("shop-key", "bank-key", "admin-key"):
            status, received, answer = await served.post(RECALL, body, shows(secret))
            assert (status, received["Content-Type"]) == (200, "application/proto")
            assert list(RecallResponse.FromString(answer).results) == [kept]
        assert (await served.post(RECALL, body, shows("read-key")))[0] == 403
        assert (await served.post(RECALL, body))[0] == 401


async def test_recall_is_refused_as_connect_has_it() -> None:
    """Another permit, a result that is not kept, JSON, and what is no RecallRequest."""
    async with Served() as served:
        for body, expected in (
            (recalls(b"other"), (403, "permission_denied")),
            (recalls(b"permit", call_id(9)), (404, "not_found")),
            (b"\xff", (400, "invalid_argument")),
            (bytes(600_000), (429, "resource_exhausted")),
        ):
            assert (await served.refusal(RECALL, body))[:2] == expected
        headers = {"Content-Type": "application/json"}
        refused = await served.refusal(RECALL, b"{}", headers)
        assert refused[:2] == (501, "unimplemented")
        assert "application/proto" in refused[2]


# Signing keys


async def test_signing_keys_are_listed_and_made_as_the_command_line_expects_it() -> None:
    """Names as in protobuf's JSON, keys in PEM, the one that signs first."""
    headers = {"Content-Type": "application/json"}
    async with Served() as served:
        status, _, answer = await served.post(LIST, b"{}", headers)
        (key,) = json.loads(answer)["keys"]
        assert (status, key["signingKeyId"]) == (200, "00ff")
        assert key["asymmetricKey"]["publicKey"].startswith("-----BEGIN PUBLIC KEY-----\n")
        status, _, answer = await served.post(CREATE, b"{}", headers)
        assert json.loads(answer)["key"]["signingKeyId"] == "11ee"
        assert len(json.loads((await served.post(LIST, b"{}", headers))[2])["keys"]) == 2
        refused = await served.refusal(CREATE, b"{}", headers)
        assert refused[:2] == (400, "failed_precondition")
        told = [json.loads(line)["event"] for line in served.api.lines]
        assert told.count("operator.key_made") == 2
