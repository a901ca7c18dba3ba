"""Dead letters that are function calls, in the calls about dead letters."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest

from dispatcher.testing.admin import dead_call, letter, message_id
from dispatcher.testing.api import ApiBench

ROOT = "/v1/dead-letters"
CALL = f"{1 << 63 | 11:028x}"
ENDPOINT = "http://apps.example:8000"


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API with two dead messages and three dead calls, all of them for one place."""
    async with ApiBench() as bench:
        for number in (1, 2):
            bench.admin.bury(letter(number))
        bench.admin.bury(dead_call(11))
        bench.admin.bury(dead_call(12, function="refund"))
        bench.admin.bury(dead_call(13, error="expired"))
        yield bench


async def test_call_is_listed_with_its_function(api: ApiBench) -> None:
    """Method and target are of messages."""
    page = await api.get(f"{ROOT}?kind=call&limit=1")
    assert page["items"] == [
        {
            "id": CALL,
            "kind": "call",
            "destination": ENDPOINT,
            "method": "",
            "target": "",
            "function": "charge",
            "accepted_at": "2026-01-01T00:00:10.500000Z",
            "dead_at": "2026-01-01T00:00:11.000000Z",
            "attempts": 1,
            "last_status": None,
            "last_error": "permanent_error",
            "reason": "failed",
            "size_bytes": 13,
            "label": None,
            "options": {},
        }
    ]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"kind": "message"}, [1, 2]),
        ({"kind": "call"}, [11, 12, 13]),
        ({"function": "charge"}, [11, 13]),
        ({"destination": "HTTP://apps.example:8000"}, [11, 12, 13]),
        ({"destination": "HTTP://apps.example:8000/base"}, []),
        ({"destination": "bridge://shop/apps"}, []),
        ({"error": "permanent_error"}, [11, 12]),
        ({"error": "expired", "kind": "call"}, [13]),
    ],
)
async def test_letters_are_filtered_by_kind_and_function(
    api: ApiBench, query: dict[str, str], numbers: list[int]
) -> None:
    """In the list, and in what is selected to be redriven."""
    page = await api.get(f"{ROOT}?{urlencode(query)}")
    low = (1 << 63) - 1
    assert [int(item["id"][12:], 16) & low for item in page["items"]] == numbers
    selection = query if "destination" in query else {"all": True, **query}
    counted = await api.change(f"{ROOT}/purge", send={**selection, "dry_run": True})
    assert counted == (200, {"purged": len(numbers), "not_found": []})


async def test_kind_that_is_none_is_refused(api: ApiBench) -> None:
    """With the slug of a parameter."""
    assert await api.error(f"{ROOT}?kind=letter") == (400, "parameter_invalid")
    assert await api.error(f"{ROOT}?destination=bridge:") == (400, "destination_invalid")


async def test_groups_tell_functions_apart(api: ApiBench) -> None:
    """The same endpoint and cause, and another function."""
    groups = (await api.get(f"{ROOT}/groups?error=permanent_error"))["items"]
    assert {(one["kind"], one["function"], one["count"]) for one in groups} == {
        ("call", "charge", 1),
        ("call", "refund", 1),
    }


async def test_call_is_shown_with_its_input(api: ApiBench) -> None:
    """And with what only a call has."""
    shown = await api.get(f"{ROOT}/{CALL}")
    assert base64.b64decode(shown["body"]) == b"\x0a\x04type\x12\x05hello"
    assert shown["headers"] == []
    assert shown["detail"] == "no such card"
    assert shown["call"] == {
        "application": "shop",
        "version": "v1",
        "correlation": 7,
        "expiration_ms": 86_400_000,
        "timeout_ms": 0,
        "error_type": "ValueError",
    }
    assert [one["error"] for one in shown["history"]] == ["permanent_error"]
    assert (await api.get(f"{ROOT}/{message_id(1)}"))["call"] is None


async def test_call_is_redriven_and_purged_by_its_id(api: ApiBench) -> None:
    """As a message is, and it is none."""
    assert (await api.error(f"/v1/messages/{CALL}")) == (404, "message_unknown")
    assert await api.change(f"{ROOT}/{CALL}/redrive") == (202, {"redriven": 1, "not_found": []})
    assert await api.error(f"{ROOT}/{CALL}") == (404, "dead_letter_unknown")
    other = f"{1 << 63 | 12:028x}"
    assert await api.change(f"{ROOT}/{other}", "DELETE") == (204, None)


async def test_redrive_without_a_function_service_names_calls(api: ApiBench) -> None:
    """Messages go; one call that was asked for alone is an error of its own."""
    api.admin.has_functions = False
    status, answer = await api.change(f"{ROOT}/redrive", send={"all": True})
    assert (status, answer["redriven"]) == (200, 2)
    assert sorted(answer["unserved"]) == [f"{1 << 63 | number:028x}" for number in (11, 12, 13)]
    error = await api.error(f"{ROOT}/{CALL}/redrive", "POST")
    assert error == (409, "function_service_missing")
    assert await api.error(f"{ROOT}/{message_id(1)}") == (404, "dead_letter_unknown")
