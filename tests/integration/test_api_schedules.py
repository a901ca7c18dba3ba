"""`/v1/schedules`: made, shown, run, paused and deleted, each application its own."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.protocol.messages import Any as AnyMessage
from dispatcher.protocol.messages import Int32Value
from dispatcher.schedules.plans import Plan, PlannedCall, PlannedMessage
from dispatcher.schedules.surface import FiringView
from dispatcher.testing.api import ApiBench
from dispatcher.testing.function_service import MemoryFunctions
from dispatcher.testing.schedules import NOW_US

SHOP = {"Authorization": "Bearer shop-key"}
READ = {"Authorization": "Bearer read-key"}
ALICE = {"Authorization": "Bearer admin-key"}
KEYS = Keyring(
    [
        Key("shop", Role.DISPATCH, b"shop-key"),
        Key("grafana", Role.READ, b"read-key"),
        Key("alice", Role.ADMIN, b"admin-key"),
    ]
)
PATH = "/v1/schedules/nightly"
CALL = {"endpoint": "http://a.example", "function": "clean_up"}
LEAST: dict[str, Any] = {"cron": "30 2 * * *", "call": CALL}


def serving(keys: Keyring | None = None) -> tuple[ApiBench, MemoryFunctions]:
    """An API over schedules, and these."""
    functions = MemoryFunctions()
    return ApiBench(keys or Keyring(), functions=functions), functions


def with_call(**fields: Any) -> dict[str, Any]:
    """A schedule with more in its call."""
    return {**LEAST, "call": {**CALL, **fields}}


def with_message(**fields: Any) -> dict[str, Any]:
    """A schedule of a message, with more of it."""
    return {"cron": "0 6 * * *", "destination": "http://a.example", **fields}


async def test_schedule_is_made_changed_shown_listed_and_deleted() -> None:
    """201 when it is new, then 200; what is not said has its default."""
    bench, _ = serving()
    async with bench as api:
        status, made = await api.change(PATH, "PUT", LEAST)
        assert status == 201
        assert made == {
            "name": "nightly",
            "application": "",
            "cron": "30 2 * * *",
            "timezone": "UTC",
            "overlap": "queue",
            "catch_up": "last",
            "paused": False,
            "next_at": "2026-01-01T02:30:00.000000Z",
            "is_waiting": False,
            "last": None,
            "earlier": [],
            "last_run": None,
            "skipped": 0,
            "call": {**CALL, "input": None, "input_any": None},
        }
        assert await api.get(PATH) == made
        changed = {**LEAST, "timezone": "Europe/Berlin", "overlap": "skip", "catch_up": "all"}
        status, shown = await api.change(PATH, "PUT", changed)
        assert status == 200
        assert shown["next_at"] == "2026-01-01T01:30:00.000000Z"
        assert (shown["overlap"], shown["catch_up"]) == ("skip", "all")
        assert await api.get("/v1/schedules") == {"items": [{**shown, "call": CALL}]}
        assert await api.change(PATH, "DELETE") == (204, None)
        assert await api.error(PATH, "DELETE") == (404, "schedule_unknown")
        assert await api.get("/v1/schedules") == {"items": []}
    told = [json.loads(line) for line in bench.lines]
    assert [(one["event"], one["selection"]["name"]) for one in told if "selection" in one] == [
        ("operator.schedule_set", "nightly"),
        ("operator.schedule_set", "nightly"),
        ("operator.schedule_deleted", "nightly"),
    ]


async def test_schedule_of_a_message_is_made_changed_shown_and_listed() -> None:
    """What is not said has its default; what is shown can be put again."""
    bench, functions = serving()
    async with bench as api:
        status, made = await api.change(PATH, "PUT", with_message())
        assert status == 201
        assert made == {
            "name": "nightly",
            "application": "",
            "cron": "0 6 * * *",
            "timezone": "UTC",
            "overlap": "queue",
            "catch_up": "last",
            "paused": False,
            "next_at": "2026-01-01T06:00:00.000000Z",
            "is_waiting": False,
            "last": None,
            "earlier": [],
            "last_run": None,
            "skipped": 0,
            "destination": "http://a.example",
            "method": "POST",
            "target": "/",
            "headers": [],
            "options": {},
            "body": "",
        }
        assert await api.get(PATH) == made
        changed = with_message(
            destination="HTTPS://A.example:443/base",
            method="PUT",
            target="/x?y",
            headers={"Content-Type": "text/plain", "Accept": ["a", "b"]},
            body="AAH/",
            options={"X-Dispatcher-Retry-Delay": "2s", "retries": 5, "deadline": "1h"},
        )
        status, shown = await api.change(PATH, "PUT", changed)
        assert status == 200
        message = {
            "destination": "https://a.example/base",
            "method": "PUT",
            "target": "/x?y",
            "headers": [["Content-Type", "text/plain"], ["Accept", "a"], ["Accept", "b"]],
            "body": "AAH/",
            "options": {"retry_delay": "2s", "retries": "5", "deadline": "1h"},
        }
        assert {name: shown[name] for name in message} == message
        planned = functions.schedules.views["", "nightly"].plan.what
        assert planned == PlannedMessage(
            "https://a.example/base",
            "PUT",
            "/x?y",
            (("Content-Type", "text/plain"), ("Accept", "a"), ("Accept", "b")),
            b"\x00\x01\xff",
            (("retry_delay", "2s"), ("retries", "5"), ("deadline", "1h")),
        )
        again = {"cron": "0 6 * * *", **message}
        assert (await api.change(PATH, "PUT", again))[1] == shown
        await api.change("/v1/schedules/clean", "PUT", LEAST)
        items = (await api.get("/v1/schedules"))["items"]
        assert [set(one) & {"call", "destination"} for one in items] == [{"call"}, {"destination"}]
        assert items[1] == {name: value for name, value in shown.items() if name != "body"}
        status, firing = await api.change(f"{PATH}/run")
        assert (status, firing["state"]) == (202, "waiting")
        assert (await api.get(PATH))["last_run"] == firing


@pytest.mark.parametrize(
    "value", [None, True, 7, -0.5, "text", [1.0, None], {"days": 7.0, "of": ["a", {}]}]
)
async def test_input_is_json_and_comes_back(value: Any) -> None:
    """As the types that SDKs make of these values."""
    bench, _ = serving()
    async with bench as api:
        await api.change(PATH, "PUT", with_call(input=value))
        shown = await api.get(PATH)
    assert shown["call"] == {**CALL, "input": value, "input_any": None}


async def test_input_of_any_type_is_bytes_and_comes_back() -> None:
    """What is shown can be put again: JSON alone would make another type of it."""
    packed = AnyMessage(
        type_url="type.googleapis.com/google.protobuf.Int32Value",
        value=Int32Value(value=7).SerializeToString(),
    ).SerializeToString()
    text = base64.b64encode(packed).decode("ascii")
    bench, functions = serving()
    async with bench as api:
        await api.change(PATH, "PUT", with_call(input_any=text))
        shown = await api.get(PATH)
    assert shown["call"] == {**CALL, "input": 7, "input_any": text}
    assert functions.schedules.views["", "nightly"].plan.what == PlannedCall(
        "http://a.example", "clean_up", packed
    )


@pytest.mark.parametrize(
    ("send", "error", "says"),
    [
        ({**LEAST, "cron": "30 2 * *"}, "schedule_invalid", "five fields"),
        ({**LEAST, "cron": "0 0 31 2 *"}, "schedule_invalid", "day-of-month"),
        ({**LEAST, "timezone": "Berlin"}, "schedule_invalid", "no such time zone"),
        (with_call(endpoint="ftp://a"), "schedule_invalid", "call.endpoint"),
        (with_call(function="1"), "schedule_invalid", "call.function"),
        (with_call(input=2**64), "schedule_invalid", "call.input"),
        (with_call(input="x" * 300_000), "schedule_invalid", "call.input"),
        (with_call(input_any="%"), "schedule_invalid", "call.input_any"),
        (with_call(input=1, input_any=""), "schedule_invalid", "one of them"),
        ({**LEAST, "overlap": "both"}, "body_invalid", "overlap"),
        ({**LEAST, "catch_up": "some"}, "body_invalid", "catch_up"),
        ({**LEAST, "destination": "http://a"}, "schedule_invalid", "one of them"),
        ({"cron": "0 0 * * *"}, "schedule_invalid", "`call`"),
        ({**LEAST, "target": "/x"}, "schedule_invalid", "target is for messages"),
        (with_message(destination="ftp://a"), "destination_invalid", "http or https"),
        (with_message(destination="http://u@a"), "destination_invalid", "user information"),
        (with_message(method="P T"), "schedule_invalid", "method"),
        (with_message(target="x"), "schedule_invalid", "slash"),
        (with_message(target="/ x"), "schedule_invalid", "request line"),
        (with_message(headers={"A": "\r\nB: c"}), "schedule_invalid", "line ends"),
        (with_message(headers={"A": "\u0394"}), "schedule_invalid", "Latin-1"),
        (with_message(headers={"A": "x" * 70_000}), "schedule_invalid", "65536 bytes"),
        (with_message(headers={"Content-Length": "1"}), "schedule_invalid", "Content-Length"),
        (with_message(headers={"X-Dispatcher-Delay": "1s"}), "schedule_invalid", "`options`"),
        (with_message(headers=[["A"]]), "body_invalid", "headers"),
        (with_message(body="%"), "schedule_invalid", "Base64"),
        (with_message(body="eHh4" * 100_000), "schedule_invalid", "body has 300000 bytes"),
        (with_message(options={"dealy": "1s"}), "schedule_invalid", "Did you mean delay?"),
        (with_message(options={"colour": "1"}), "schedule_invalid", "There are timeout, delay,"),
        (with_message(options={"retries": "many"}), "schedule_invalid", "options.retries"),
        (with_message(options={"retries": True}), "body_invalid", "options"),
        (with_message(options={"not_before": "0"}), "schedule_invalid", "options.not_before"),
        (with_message(options={"idempotency_key": "k"}), "schedule_invalid", "NAME@TIME"),
        (
            with_message(options={"deadline": "2999-01-01T00:00:00Z"}),
            "schedule_invalid",
            "options.deadline",
        ),
        (
            with_message(options={"delay": "2h", "deadline": "1h"}),
            "schedule_invalid",
            "X-Dispatcher-Deadline",
        ),
    ],
)
async def test_what_is_wrong_is_named(send: Any, error: str, says: str) -> None:
    """And nothing is made."""
    bench, functions = serving()
    async with bench as api:
        status, answer = await api.change(PATH, "PUT", send)
        assert (status, answer["error"]) == (400, error)
        assert says in answer["message"]
        assert await api.error("/v1/schedules/a%20b", "PUT", send=LEAST) == (400, "name_invalid")
        assert await api.error("/v1/schedules/%2E%2E", "PUT", send=LEAST) == (400, "name_invalid")
    assert not functions.schedules.views


async def test_schedule_is_run_and_paused_by_hand() -> None:
    """202 with the call; a paused one has no next firing."""
    bench, functions = serving()
    async with bench as api:
        assert await api.error(f"{PATH}/run", "POST") == (404, "schedule_unknown")
        await api.change(PATH, "PUT", LEAST)
        status, firing = await api.change(f"{PATH}/run")
        assert status == 202
        assert firing == {
            "key": "nightly@2026-01-01T00:00:00.000000Z",
            "at": "2026-01-01T00:00:00.000000Z",
            "id": f"{1:028x}",
            "state": "ready",
        }
        status, shown = await api.change(f"{PATH}/pause")
        assert (status, shown["paused"], shown["next_at"]) == (200, True, None)
        assert shown["last_run"] == firing
        status, shown = await api.change(f"{PATH}/resume")
        assert (status, shown["paused"]) == (200, False)
        assert await api.error("/v1/schedules/x/pause", "POST") == (404, "schedule_unknown")
        view = functions.schedules.views["", "nightly"]
        last = FiringView(NOW_US, f"{2:028x}", None)
        earlier = [replace(last, at_us=NOW_US - 1, state="failed")]
        functions.schedules.views["", "nightly"] = replace(
            view, next_at_us=NOW_US, is_waiting=True, last=last, skipped=4, earlier=earlier
        )
        shown = await api.get(PATH)
        assert [(one["at"], one["state"]) for one in shown["earlier"]] == [
            ("2025-12-31T23:59:59.999999Z", "failed")
        ]
        assert (shown["is_waiting"], shown["skipped"]) == (True, 4)
        assert shown["last"]["state"] is None


async def test_applications_have_their_own_and_operators_all() -> None:
    """A key of an application reaches no other's; an operator says whose."""
    bench, functions = serving(KEYS)
    plan = Plan("0 1 * * *", "UTC", PlannedCall("http://b", "pay"))
    await functions.schedules.put("bank", "nightly", plan)
    async with bench as api:

        async def ask(path: str, headers: dict[str, str], method: str = "GET") -> Any:
            send = LEAST if method == "PUT" else None
            status, _, text = await api.ask(path, method, headers, send=send)
            return status, json.loads(text) if text else None

        assert (await ask(PATH, SHOP))[0] == 404
        assert (await ask(PATH, SHOP, "PUT"))[1]["application"] == "shop"
        assert (await ask(PATH, READ, "PUT"))[0] == 403
        assert (await ask(f"{PATH}/run", READ, "POST"))[0] == 403
        names = [one["application"] for one in (await ask("/v1/schedules", SHOP))[1]["items"]]
        assert names == ["shop"]
        status, answer = await put(api, SHOP, with_message())
        assert (status, answer["error"]) == (403, "key_forbidden")
        assert "'admin'" in answer["message"]
        assert (await put(api, ALICE, with_message()))[0] == 201
        await ask(PATH, ALICE, "DELETE")
        for headers in (READ, ALICE):
            items = (await ask("/v1/schedules", headers))[1]["items"]
            assert [one["application"] for one in items] == ["bank", "shop"]
            assert (await ask(PATH, headers))[0] == 404
            found = (await ask(f"{PATH}?application=bank", headers))[1]
            assert found["call"]["function"] == "pay"
        items = (await ask("/v1/schedules?application=shop", ALICE))[1]["items"]
        assert [one["application"] for one in items] == ["shop"]
        assert (await ask(f"{PATH}?application=bank", SHOP))[0] == 403
        assert (await ask(f"{PATH}?application=bank", ALICE, "DELETE"))[0] == 204
        assert (await ask(f"{PATH}?application=shop", SHOP, "DELETE"))[0] == 204


async def test_secrets_in_headers_are_masked_and_kept() -> None:
    """In every answer, unless an admin asks for them; what is shown can be put again."""
    bench, functions = serving(KEYS)
    secret = [["Authorization", "Bearer s3cret"], ["Cookie", "a=s3cret"], ["X-A", "1"]]
    masked = [["Authorization", "Bearer ***"], ["Cookie", "***"], ["X-A", "1"]]
    async with bench as api:
        status, made = await put(api, ALICE, with_message(headers=secret))
        assert (status, made["headers"]) == (201, masked)
        for path, key in ((PATH, READ), ("/v1/schedules", READ), (PATH, ALICE)):
            found = await api.ask(f"{path}?application=alice", "GET", key)
            assert "s3cret" not in found[2]
        for verb in ("pause", "resume"):
            assert "s3cret" not in (await api.ask(f"{PATH}/{verb}", "POST", ALICE))[2]
        again = with_message(headers=[*masked, ["X-B", "2"]])
        assert (await put(api, ALICE, again))[0] == 200
        planned = functions.schedules.views["alice", "nightly"].plan.what
        assert isinstance(planned, PlannedMessage)
        assert planned.headers == (*map(tuple, secret), ("X-B", "2"))
        unknown = await put(api, ALICE, with_message(headers=[*masked, masked[0]]))
        assert unknown[0] == 200  # both are the one that is stored
        unknown = await put(api, ALICE, with_message(headers=[["Proxy-Authorization", "***"]]))
        assert (unknown[0], unknown[1]["error"]) == (400, "schedule_invalid")
        asked = f"{PATH}?reveal=true&application=alice"
        assert (await api.ask(asked, "GET", READ))[0] == 403
        assert json.loads((await api.ask(asked, "GET", ALICE))[2])["headers"][:2] == secret[:2]
    told = [json.loads(line) for line in bench.lines]
    (revealed,) = [one for one in told if one["event"] == "operator.revealed"]
    assert revealed["selection"] == {"application": "alice", "name": "nightly"}


async def put(api: ApiBench, headers: dict[str, str], send: Any) -> tuple[int, Any]:
    """Put a schedule with a key; status and document."""
    status, _, text = await api.ask(PATH, "PUT", headers, send=send)
    return status, json.loads(text)


async def test_there_are_a_thousand_at_most() -> None:
    """409 then, until one is deleted."""
    bench, functions = serving()
    plan = Plan("0 1 * * *", "UTC", PlannedCall("http://b", "pay"))
    for number in range(1000):
        await functions.schedules.put("", f"s{number}", plan)
    async with bench as api:
        assert await api.error(PATH, "PUT", send=LEAST) == (409, "schedules_full")
