"""`/v1/calls`, promises and channels: what operators and applications see, end and complete."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest

from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.functions.shown import CallState
from dispatcher.functions.surface import CancelMode
from dispatcher.protocol.messages import Any as AnyMessage
from dispatcher.protocol.messages import (
    BytesValue,
    CallResult,
    DoubleValue,
    Error,
    Int64Value,
    StringValue,
    Value,
)
from dispatcher.testing.api import ApiBench
from dispatcher.testing.function_service import MemoryFunctions, call_id, view

SHOP = {"Authorization": "Bearer shop-key"}
BANK = {"Authorization": "Bearer bank-key"}
READ = {"Authorization": "Bearer read-key"}
ALICE = {"Authorization": "Bearer admin-key"}
KEYS = Keyring(
    [
        Key("shop", Role.DISPATCH, b"shop-key"),
        Key("bank", Role.DISPATCH, b"bank-key"),
        Key("grafana", Role.READ, b"read-key"),
        Key("alice", Role.ADMIN, b"admin-key"),
    ]
)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
PROTO = {"Content-Type": "application/proto"}


def serving(functions: MemoryFunctions, keys: Keyring | None = None) -> ApiBench:
    """An API over functions."""
    return ApiBench(keys or Keyring(), functions=functions)


def packed(value: Any) -> AnyMessage:
    """A value as applications send it."""
    name = value.DESCRIPTOR.full_name
    return AnyMessage(type_url=f"type.googleapis.com/{name}", value=value.SerializeToString())


# Looking


async def test_call_is_shown_with_instants_and_without_inner_names() -> None:
    """Every field is there; what is not known is null."""
    functions = MemoryFunctions()
    functions.put(view(1, state=CallState.SUSPENDED, application="shop"))
    async with serving(functions) as api:
        shown = await api.get(f"/v1/calls/{call_id(1)}")
    assert shown["id"] == shown["root_id"] == call_id(1)
    assert shown["state"] == "suspended"
    assert shown["created_at"] == "2026-01-01T00:00:00.000000Z"
    assert shown["expires_at"] == "2026-01-02T00:00:00.000000Z"
    assert shown["application"] == "shop"
    assert shown["parent_id"] is shown["ended_at"] is shown["last_error"] is None
    assert [node["id"] for node in shown["tree"]["nodes"]] == [call_id(1)]


async def test_calls_are_listed_in_pages_and_narrowed() -> None:
    """The newest first; everything that is said has to match."""
    functions = MemoryFunctions()
    for number in range(1, 8):
        functions.put(view(number))
    functions.put(view(8, state=CallState.FAILED, function="pay"))
    functions.put(view(9, endpoint="https://b.example", parent=8))
    async with serving(functions) as api:
        found: list[str] = []
        path = "/v1/calls?limit=4"
        while True:
            page = await api.get(path)
            found += [item["id"] for item in page["items"]]
            if page["next"] is None:
                break
            path = f"/v1/calls?limit=4&cursor={page['next']}"
        assert found == [call_id(number) for number in range(9, 0, -1)]
        for query, numbers in (
            ("state=failed", [8]),
            ("function=pay", [8]),
            ("endpoint=https://b.example", [9]),
            ("state=ready&limit=1", [9]),
            ("roots=true&limit=1", [8]),
        ):
            items = (await api.get(f"/v1/calls?{query}"))["items"]
            assert [item["id"] for item in items] == [call_id(number) for number in numbers]
        assert await api.error("/v1/calls?state=lost") == (400, "parameter_invalid")
        assert await api.error("/v1/calls?cursor=x") == (400, "cursor_invalid")
        assert await api.error("/v1/calls?roots=1") == (400, "parameter_invalid")


UNKNOWN_OF_CALLS = (
    "last_error",
    "last_error_at",
    "failing_since",
    "delivered_per_s",
    "attempt_p50_ms",
    "attempt_p95_ms",
    "oldest_at",
)


async def test_stats_tell_of_calls_and_their_lanes() -> None:
    """Apart from those of messages, with the same words; null where calls are not served."""
    functions = MemoryFunctions()
    functions.put(view(1, state=CallState.SUSPENDED))
    functions.put(view(2))
    async with serving(functions) as api:
        stats = await api.get("/v1/stats")
        described = await api.get("/openapi.json")
    assert stats["lanes"] == [
        {
            "kind": "call",
            "destination": "http://app.example",
            "ready": 1,
            "scheduled": None,
            "in_flight": 0,
            "limit": 10,
            "rate": None,
            "paused_until": "2026-01-01T00:00:00.000000Z",
            "held": False,
            "paused": False,
            "breaker": "open",
            **dict.fromkeys(UNKNOWN_OF_CALLS),
        }
    ]
    calls = stats["calls"]
    assert (calls["created_total"], calls["suspended"], calls["ready"]) == (2, 1, 1)
    assert calls["lanes"] == [
        {
            "endpoint": "http://app.example",
            "waiting": 1,
            "in_flight": 0,
            "limit": 10,
            "paused_until": "2026-01-01T00:00:00.000000Z",
            "held": False,
            "breaker": "open",
        }
    ]
    assert "CallStats" in described["components"]["schemas"]
    async with ApiBench(Keyring()) as api:
        assert (await api.get("/v1/stats"))["calls"] is None


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 1000])
async def test_lanes_of_calls_come_behind_those_of_messages_on_their_pages(limit: int) -> None:
    """Each once, however they are divided; with a kind, only those."""
    functions = MemoryFunctions()
    functions.applications = [f"http://app{number}.example" for number in range(3)]
    async with serving(functions) as api:
        for name in ("a.example", "app1.example", "z.example"):
            await api.admin.hold(name)
        messages = [("message", f"http://{name}.example") for name in ("a", "app1", "z")]
        calls = [("call", f"http://app{number}.example") for number in range(3)]
        for kind, wanted in (("", messages + calls), ("message", messages), ("call", calls)):
            asked = f"/v1/stats?lanes_limit={limit}" + (kind and f"&lanes_kind={kind}")
            found, path = [], asked
            while path:
                page = await api.get(path)
                assert page["lanes_total"] == len(wanted)
                assert len(page["lanes"]) <= limit
                found += [(lane["kind"], lane["destination"]) for lane in page["lanes"]]
                following = page["lanes_next"]
                path = following and f"{asked}&lanes_cursor={following}"
            assert found == wanted, kind


async def test_lanes_with_most_to_do_come_first_whatever_their_kind() -> None:
    """Calls and messages that wait count alike."""
    functions = MemoryFunctions()
    for number in range(1, 4):
        functions.put(view(number))
    async with serving(functions) as api:
        await api.admin.hold("a.example")
        path = "/v1/stats?lanes_order=messages&lanes_limit=1"
        page = await api.get(path)
        assert [lane["kind"] for lane in page["lanes"]] == ["call"]
        assert (page["lanes_total"], page["lanes_next"]) == (2, None)
        for cursor, kind in (("call:", "message"), ("a.example", "call")):
            path = f"/v1/stats?lanes_kind={kind}&lanes_cursor={cursor}"
            assert await api.error(path) == (400, "parameter_invalid")


async def test_call_has_its_tree_however_large_and_without_on_demand() -> None:
    """A thousand nodes at most, with the number of all. Small ones have no limit of their own."""
    functions = MemoryFunctions()
    functions.put(view(1, state=CallState.SUSPENDED))
    for number in range(2, 1502):
        functions.put(view(number, parent=1))
    functions.put(view(2000))
    async with serving(functions) as api:
        path = f"/v1/calls/{call_id(1)}"
        shown = await api.get(path)
        assert shown["tree"] == await api.get(f"{path}/tree")
        assert (shown["tree"]["total"], len(shown["tree"]["nodes"])) == (1501, 1000)
        assert shown["tree"]["by_state"] == {"suspended": 1, "ready": 1500}
        alone = await api.get(f"{path}?tree=false")
        assert alone == {**shown, "tree": None}
        assert await api.error(f"{path}?tree=1") == (400, "parameter_invalid")
        began = asyncio.get_running_loop().time()
        for _ in range(100):
            await api.get(f"/v1/calls/{call_id(2000)}")
        assert asyncio.get_running_loop().time() - began < 9, "ten a second of what is expensive"


async def test_id_that_is_none_is_said_to_be_no_calls() -> None:
    """Not a message's."""
    async with serving(MemoryFunctions()) as api:
        _, _, text = await api.ask("/v1/calls/x")
    assert "no id of a call" in text


async def test_tree_and_timeline_are_shown() -> None:
    """The call itself comes first, with how many there are of which state."""
    functions = MemoryFunctions()
    functions.put(view(1, state=CallState.SUSPENDED))
    functions.put(view(2, parent=1))
    functions.put(view(3, parent=1))
    async with serving(functions) as api:
        tree = await api.get(f"/v1/calls/{call_id(1)}/tree")
        assert [node["id"] for node in tree["nodes"]] == [call_id(1), call_id(2), call_id(3)]
        assert (tree["total"], tree["by_state"]) == (3, {"suspended": 1, "ready": 2})
        timeline = await api.get(f"/v1/calls/{call_id(1)}/timeline")
        assert timeline["dropped"] == 0
        (entry,) = timeline["entries"]
        assert (entry["step"], entry["at"]) == ("created", "2026-01-01T00:00:00.000000Z")


@pytest.mark.parametrize("path", ["", "/tree", "/explain", "/timeline", "/result", "?mode=kill"])
async def test_call_is_unknown_when_it_never_was_or_is_anothers(path: str) -> None:
    """An application can't find out which ids there are."""
    functions = MemoryFunctions()
    functions.put(view(1, application="shop"))
    method = "DELETE" if "mode" in path else "GET"
    async with serving(functions, KEYS) as api:
        for headers in (BANK, SHOP, ALICE):
            of = call_id(1) if headers is BANK else call_id(7)
            answer = await api.error(f"/v1/calls/{of}{path}", method, headers)
            assert answer == (404, "call_unknown")
        assert await api.error(f"/v1/calls/x{path}", method, SHOP) == (400, "id_invalid")


async def test_application_lists_its_own_calls_and_operators_all() -> None:
    """The role of the key decides, not what is asked for."""
    functions = MemoryFunctions()
    functions.put(view(1, application="shop"))
    functions.put(view(2, application="bank"))
    async with serving(functions, KEYS) as api:
        for headers, count in ((SHOP, 1), (BANK, 1), (READ, 2), (ALICE, 2)):
            status, _, text = await api.ask("/v1/calls", headers=headers)
            assert (status, len(json.loads(text)["items"])) == (200, count)
        for path in ("/v1/stats", "/v1/dead-letters", "/metrics"):
            assert await api.error(path, headers=SHOP) == (403, "key_forbidden")


# Results


@pytest.mark.parametrize(
    ("value", "output", "name", "data"),
    [
        (Int64Value(value=2**60), 2**60, "google.protobuf.Int64Value", None),
        (StringValue(value="é"), "é", "google.protobuf.StringValue", None),
        (BytesValue(value=b"\xff"), "/w==", "google.protobuf.BytesValue", None),
        (DoubleValue(value=float("inf")), "Infinity", "google.protobuf.DoubleValue", None),
        (Value(number_value=1.5), 1.5, "google.protobuf.Value", None),
    ],
)
async def test_result_is_shown_as_json(
    value: Any, output: Any, name: str, data: str | None
) -> None:
    """Integers stay integers; what has no word in JSON is text."""
    functions = MemoryFunctions()
    functions.put(view(1))
    await functions.end(call_id(1), CallResult(output=packed(value)), CallState.SUCCEEDED)
    async with serving(functions) as api:
        shown = await api.get(f"/v1/calls/{call_id(1)}/result")
    assert shown["output"] == output
    assert (shown["output_type"], shown["output_bytes"]) == (name, data)
    assert (shown["state"], shown["error"]) == ("succeeded", None)
    assert shown["ended_at"] == "2026-01-01T00:00:00.000000Z"


async def test_result_is_shown_as_bytes_when_nobody_here_knows_its_type() -> None:
    """A pickle, say: never looked at. Or one that only says that it is a known one."""
    functions = MemoryFunctions()
    for number, (url, data) in enumerate(
        [("x.example/Pickled", b"\x80\x04"), ("t/google.protobuf.Value", b"\xff")], start=1
    ):
        functions.put(view(number))
        result = CallResult(output=AnyMessage(type_url=url, value=data))
        await functions.end(call_id(number), result, CallState.SUCCEEDED)
    async with serving(functions) as api:
        shown = await api.get(f"/v1/calls/{call_id(1)}/result")
        assert shown["output"] is None
        assert shown["output_type"] == "Pickled"
        assert base64.b64decode(shown["output_bytes"]) == b"\x80\x04"
        broken = await api.get(f"/v1/calls/{call_id(2)}/result")
        assert base64.b64decode(broken["output_bytes"]) == b"\xff"


async def test_failed_call_has_an_error_and_protobuf_is_sent_as_it_is() -> None:
    """An output and an error may both be there."""
    functions = MemoryFunctions()
    functions.put(view(1))
    result = CallResult(error=Error(type="ValueError", message="no", value=b"\x80"))
    await functions.end(call_id(1), result, CallState.FAILED)
    async with serving(functions) as api:
        shown = await api.get(f"/v1/calls/{call_id(1)}/result")
        assert shown["error"] == {"type": "ValueError", "message": "no"}
        assert shown["state"] == "failed"
        url = f"{api.url}/v1/calls/{call_id(1)}/result"
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers={"Accept": "application/proto"}) as answer,
        ):
            assert answer.content_type == "application/proto"
            assert CallResult.FromString(await answer.read()) == result


async def test_result_is_waited_for_and_comes_when_the_call_ends() -> None:
    """202 when the time is over first, 410 when it is no longer kept."""
    functions = MemoryFunctions()
    functions.put(view(1))
    functions.put(view(2, state=CallState.SUCCEEDED))
    functions.expired.add(call_id(2))
    async with serving(functions) as api:
        status, _, text = await api.ask(f"/v1/calls/{call_id(1)}/result?wait=20ms")
        assert (status, json.loads(text)) == (202, {"id": call_id(1)})
        asked = asyncio.ensure_future(api.get(f"/v1/calls/{call_id(1)}/result?wait=30s"))
        await asyncio.sleep(0.05)
        assert not asked.done()
        await functions.end(call_id(1), CallResult(), CallState.SUCCEEDED)
        assert (await asked)["output"] is None
        assert await api.error(f"/v1/calls/{call_id(2)}/result") == (410, "result_expired")
        for wait in ("61s", "-1", "soon", "2m"):
            path = f"/v1/calls/{call_id(1)}/result?wait={wait}"
            assert await api.error(path) == (400, "parameter_invalid")


# Ending


async def test_call_is_ended_and_that_is_told() -> None:
    """By its application or an operator; not by who only reads."""
    functions = MemoryFunctions()
    functions.put(view(1, application="shop"))
    functions.put(view(2, application="shop", state=CallState.SUCCEEDED))
    path = f"/v1/calls/{call_id(1)}"
    async with serving(functions, KEYS) as api:
        assert (await api.ask(path, "DELETE", SHOP))[0] == 202
        assert (await api.ask(f"{path}?mode=kill", "DELETE", ALICE))[0] == 202
        assert await api.error(path, "DELETE", READ) == (403, "key_forbidden")
        assert await api.error(f"{path}?mode=x", "DELETE", SHOP) == (400, "parameter_invalid")
        ended = f"/v1/calls/{call_id(2)}"
        assert await api.error(ended, "DELETE", SHOP) == (409, "call_ended")
        told = [json.loads(line) for line in api.lines]
    assert functions.cancelled == [
        (call_id(1), CancelMode.CANCEL),
        (call_id(1), CancelMode.KILL),
    ]
    told = [line for line in told if line["event"] == "operator.call_cancelled"]
    assert [line["key"] for line in told] == ["shop", "alice"]
    assert told[1]["selection"] == {"id": call_id(1), "mode": "kill"}


# Promises and channels


@pytest.mark.parametrize(
    ("headers", "body", "output"),
    [
        (JSON, b'"x"', packed(StringValue(value="x"))),
        (JSON, b"17", packed(Int64Value(value=17))),
        (
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"17",
            packed(Int64Value(value=17)),
        ),
        (JSON, b"1.0", packed(DoubleValue(value=1.0))),
        (JSON, b"[1]", packed(Value.FromString(b"\x32\x0b\x0a\x09\x11" + b"\0" * 6 + b"\xf0\x3f"))),
        (TEXT, "é".encode(), packed(StringValue(value="é"))),
        ({"Content-Type": "text/plain; charset=utf-8"}, b"", packed(StringValue())),
    ],
)
async def test_promise_is_completed_with_a_value(
    headers: dict[str, str], body: bytes, output: AnyMessage
) -> None:
    """JSON becomes the type that an SDK makes of the same value; text is text."""
    functions = MemoryFunctions()
    async with serving(functions) as api:
        assert (await api.ask("/v1/promises/order%2F17", "POST", headers, body=body))[0] == 204
    (result,) = functions.promises.values()
    assert CallResult.FromString(result) == CallResult(output=output)
    assert list(functions.promises) == [("", "order/17")]


async def test_promise_is_completed_once() -> None:
    """The first one counts; who comes later is told so."""
    functions = MemoryFunctions()
    async with serving(functions) as api:
        assert (await api.ask("/v1/promises/p", "POST", JSON, body=b"1"))[0] == 204
        again = await api.error("/v1/promises/p", "POST", JSON, body=b"2")
        assert again == (409, "promise_completed")
    assert CallResult.FromString(functions.promises["", "p"]).output == packed(Int64Value(value=1))


async def test_error_is_of_the_type_that_is_named_with_the_body_as_its_message() -> None:
    """Text, JSON text or nothing; or an error in protobuf, with all that it holds."""
    functions = MemoryFunctions()
    sent = CallResult(error=Error(type="E", message="m", value=b"\x80"), dispatch_id="x")
    async with serving(functions) as api:
        for name, headers, body in (
            ("a", TEXT, b"too late"),
            ("b", JSON, b'"too late"'),
            ("c", {}, b""),
        ):
            status, *_ = await api.ask(
                f"/v1/promises/{name}?error=Rejected", "POST", headers, body=body
            )
            assert status == 204
        status, *_ = await api.ask("/v1/promises/d", "POST", PROTO, body=sent.SerializeToString())
        assert status == 204
        wrong = await api.error("/v1/promises/e?error=E", "POST", JSON, body=b"{}")
        assert wrong == (400, "body_invalid")
    found = [CallResult.FromString(result).error for result in functions.promises.values()]
    assert [one.type for one in found] == ["Rejected", "Rejected", "Rejected", "E"]
    assert [one.message for one in found] == ["too late", "too late", "", "m"]
    assert CallResult.FromString(functions.promises["", "d"]) == CallResult(error=sent.error)


async def test_channel_takes_one_value_after_the_other() -> None:
    """In their order, and never too many."""
    functions = MemoryFunctions()
    async with serving(functions) as api:
        for body in (b"1", b"1", b"2"):
            assert (await api.ask("/v1/channels/c", "POST", JSON, body=body))[0] == 204
    values = [CallResult.FromString(one).output for one in functions.channels["", "c"]]
    assert values == [packed(Int64Value(value=number)) for number in (1, 1, 2)]


async def test_promise_belongs_to_the_application_of_the_key() -> None:
    """An operator says whose it is; an application reaches its own only; a reader none."""
    functions = MemoryFunctions()
    async with serving(functions, KEYS) as api:
        for headers in (SHOP, BANK):
            assert (await api.ask("/v1/promises/p", "POST", {**headers, **JSON}, body=b"1"))[
                0
            ] == 204
        path = "/v1/promises/q?application=shop"
        assert (await api.ask(path, "POST", {**ALICE, **JSON}, body=b"1"))[0] == 204
        assert (await api.ask("/v1/promises/r", "POST", {**ALICE, **JSON}, body=b"1"))[0] == 204
        path = "/v1/promises/s?application=shop"
        for headers in (BANK, READ):
            refused = await api.error(path, "POST", {**headers, **JSON}, body=b"1")
            assert refused == (403, "key_forbidden")
    assert set(functions.promises) == {("shop", "p"), ("bank", "p"), ("shop", "q"), ("alice", "r")}


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "slug"),
    [
        ("p", {"Content-Type": "text/html"}, b"1", 415, "content_type"),
        ("p", FORM, b"approved=true", 400, "body"),
        ("p", JSON, b"{", 400, "body"),
        ("p", JSON, b"NaN", 400, "body"),
        ("p", JSON, b"9" * 5000, 400, "body"),
        ("p", JSON, b"18446744073709551616", 400, "body"),
        ("p", JSON, b"[" * 5000 + b"]" * 5000, 400, "body"),
        ("p", TEXT, b"\xff", 400, "body"),
        ("p", PROTO, b"\xff\xff", 400, "body"),
        ("p?error=", TEXT, b"", 400, "parameter"),
        ("x" * 256, TEXT, b"", 400, "name"),
        ("a%0Ab", TEXT, b"", 400, "name"),
    ],
)
async def test_value_is_refused_when_it_is_none(
    path: str, headers: dict[str, str], body: bytes, status: int, slug: str
) -> None:
    """And nothing is completed."""
    functions = MemoryFunctions()
    async with serving(functions) as api:
        answer = await api.error(f"/v1/promises/{path}", "POST", headers, body=body)
        assert answer == (status, f"{slug}_invalid")
    assert not functions.promises


async def test_value_is_refused_when_it_could_not_be_sent_to_an_application() -> None:
    """JSON and text above 1 MiB, protobuf above what fits into one request."""
    functions = MemoryFunctions()
    large = CallResult(output=AnyMessage(value=bytes(15_991_809))).SerializeToString()
    async with serving(functions) as api:
        for headers, body in ((TEXT, bytes(1024 * 1024 + 1)), (PROTO, large)):
            answer = await api.error("/v1/promises/p", "POST", headers, body=body)
            assert answer == (413, "body_too_large")
        assert (await api.ask("/v1/promises/p", "POST", PROTO, body=large[:0]))[0] == 204


def test_description_names_every_call_about_functions() -> None:
    """/openapi.json, with Connect's shape for the errors of its procedures."""
    document = ApiBench(functions=MemoryFunctions()).server.description()
    paths = document["paths"]
    assert {"/v1/calls", "/v1/calls/{id}/result", "/v1/promises/{name}"} <= set(paths)
    dispatch = paths["/dispatch.sdk.v1.DispatchService/Dispatch"]["post"]
    shape = dispatch["responses"]["400"]["content"]["application/json"]["schema"]
    assert shape == {"$ref": "#/components/schemas/ConnectFailure"}
    schemas = document["components"]["schemas"]
    assert {"ConnectFailure", "Call", "Calls", "CallTree", "Result", "Pending"} <= set(schemas)
    assert "202" in paths["/v1/calls/{id}/result"]["get"]["responses"]
