"""The calls about dead letters, over real sockets."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import letter, message_id
from dispatcher.testing.api import ApiBench

ID = message_id(1)
ROOT = "/v1/dead-letters"


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API with five dead letters: three for a, two for b, of two causes."""
    async with ApiBench() as bench:
        for number in (1, 2, 3):
            bench.admin.bury(letter(number))
        for number in (4, 5):
            bench.admin.bury(letter(number, to="b", status=None, error="timeout"))
        yield bench


async def listed(api: ApiBench, **query: str | int) -> list[int]:
    """The numbers of the dead letters that a query lists."""
    page = await api.get(f"{ROOT}?{urlencode(query)}")
    return [int(item["id"], 16) for item in page["items"]]


async def test_list_is_oldest_first_and_has_every_field(api: ApiBench) -> None:
    """In the order of the documentation."""
    page = await api.get(ROOT)
    assert page["next"] is None
    assert [item["id"] for item in page["items"]] == [message_id(one) for one in range(1, 6)]
    assert page["items"][0] == {
        "id": ID,
        "kind": "message",
        "destination": "https://a.example",
        "method": "POST",
        "target": "/hooks/1?x=%2F",
        "function": None,
        "accepted_at": "2026-01-01T00:00:00.500000Z",
        "dead_at": "2026-01-01T00:00:01.000000Z",
        "attempts": 2,
        "last_status": 503,
        "last_error": "http_503",
        "reason": "retries_exhausted",
        "size_bytes": 18,
        "label": None,
        "options": {},
    }


async def test_pages_have_everything_once(api: ApiBench) -> None:
    """`next` is the cursor of the page after, and null at the end."""
    found: list[str] = []
    path = f"{ROOT}?limit=2"
    for expected in (2, 2, 1):
        page = await api.get(path)
        assert len(page["items"]) == expected
        found += [item["id"] for item in page["items"]]
        path = f"{ROOT}?limit=2&cursor={page['next']}"
    assert page["next"] is None
    assert found == [message_id(one) for one in range(1, 6)]


async def test_page_that_ends_with_the_last_letter_has_no_next(api: ApiBench) -> None:
    """No page is empty."""
    assert (await api.get(f"{ROOT}?limit=5"))["next"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"destination": "https://a.example"}, [1, 2, 3]),
        ({"destination": "https://B.example:443"}, [4, 5]),
        ({"destination": "a.example"}, []),
        ({"status": 503}, [1, 2, 3]),
        ({"error": "timeout"}, [4, 5]),
        ({"error": "http_503"}, [1, 2, 3]),
        ({"error": "http_404"}, []),
        ({"before": "2026-01-01T00:00:02Z"}, [1]),
        ({"after": "2026-01-01T01:00:04+01:00"}, [5]),
        ({"after": "2026-01-01T00:00:01Z", "before": "2026-01-01T00:00:04.000001Z"}, [2, 3, 4]),
        ({"status": 404}, []),
        ({"limit": 1, "error": "timeout"}, [4]),
    ],
)
async def test_list_is_filtered_by_all_that_is_said(
    api: ApiBench, query: dict[str, str | int], expected: list[int]
) -> None:
    """Instants are compared exclusively; a destination may be spelled in any way."""
    assert await listed(api, **query) == expected


async def test_plus_sign_of_an_offset_may_be_sent_as_it_is(api: ApiBench) -> None:
    """It arrives as a blank, which can mean nothing else."""
    page = await api.get(f"{ROOT}?after=2026-01-01T01:00:04+01:00")
    assert [item["id"] for item in page["items"]] == [message_id(5)]


@pytest.mark.parametrize(
    ("query", "slug"),
    [
        ("unknown=1", "parameter_unknown"),
        ("Limit=1", "parameter_unknown"),
        ("limit=0", "parameter_invalid"),
        ("limit=1001", "parameter_invalid"),
        ("limit=", "parameter_invalid"),
        ("limit=1_0", "parameter_invalid"),
        ("limit=%201", "parameter_invalid"),
        ("limit=1.0", "parameter_invalid"),
        ("limit=-1", "parameter_invalid"),
        ("limit=%D9%A1", "parameter_invalid"),
        ("limit=1&limit=1", "parameter_invalid"),
        ("status=99", "parameter_invalid"),
        ("status=600", "parameter_invalid"),
        ("error=Timeout", "parameter_invalid"),
        ("error=http_600", "parameter_invalid"),
        ("error=", "parameter_invalid"),
        ("before=2026-01-01", "parameter_invalid"),
        ("before=2026-01-01T00:00:00", "parameter_invalid"),
        ("before=2026-02-30T00:00:00Z", "parameter_invalid"),
        ("before=2026-01-01T00:00:00%2B24:00", "parameter_invalid"),
        ("after=0", "parameter_invalid"),
        ("destination=", "destination_invalid"),
        ("destination=a/b", "destination_invalid"),
        ("cursor=", "cursor_invalid"),
        ("cursor=1", "cursor_invalid"),
        ("cursor=aaaaaaaaaaaaaaaa", "cursor_invalid"),
    ],
)
async def test_list_answers_400_when_a_parameter_is_wrong(
    api: ApiBench, query: str, slug: str
) -> None:
    """Nothing is ignored, nothing is guessed."""
    assert await api.error(f"{ROOT}?{query}") == (400, slug)


async def test_filter_by_an_error_that_does_not_exist_is_refused(api: ApiBench) -> None:
    """Nothing found, or nothing purged, would say that there are no such letters. The words that
    there are stand in the answer."""
    for path in (ROOT, f"{ROOT}/groups"):
        assert await api.error(f"{path}?error=timeuot") == (400, "parameter_invalid")
    for verb in ("purge", "redrive"):
        sent = {"all": True, "error": "timeuot"}
        status, _, text = await api.ask(f"{ROOT}/{verb}", "POST", send=sent)
        answer = json.loads(text)
        assert (status, answer["error"]) == (400, "body_invalid")
        assert "connection_failed" in answer["message"]
        assert "http_404" in answer["message"]


async def test_groups_count_by_destination_and_cause_the_largest_first(api: ApiBench) -> None:
    """With the first and the last death."""
    groups = await api.get(f"{ROOT}/groups")
    assert [group["count"] for group in groups["items"]] == [3, 2]
    assert groups["items"][1] == {
        "kind": "message",
        "destination": "https://b.example",
        "function": None,
        "status": None,
        "error": "timeout",
        "reason": "retries_exhausted",
        "count": 2,
        "size_bytes": 36,
        "oldest": "2026-01-01T00:00:04.000000Z",
        "newest": "2026-01-01T00:00:05.000000Z",
    }
    filtered = await api.get(f"{ROOT}/groups?destination=https://a.example")
    assert [group["count"] for group in filtered["items"]] == [3]


async def test_groups_have_no_pages(api: ApiBench) -> None:
    """They take the filters only."""
    assert await api.error(f"{ROOT}/groups?limit=1") == (400, "parameter_unknown")


async def test_letter_is_shown_with_request_body_and_attempts(api: ApiBench) -> None:
    """Bytes that are no text survive: headers as Latin-1, the body as base64."""
    shown = await api.get(f"{ROOT}/{ID}")
    assert shown["headers"] == [["Content-Type", "application/json"], ["X-Name", "Jürgen"]]
    assert base64.b64decode(shown["body"]) == b'{"hello": "world"}'
    assert shown["redrives"] == 0
    assert shown["history"][1] == {
        "attempt": 2,
        "started_at": "2026-01-01T00:00:00.991000Z",
        "duration_ms": 9,
        "status": 503,
        "error": None,
        "response_start": "no \ufffd capacity",
    }


async def test_letter_is_shown_when_its_body_is_large(api: ApiBench) -> None:
    """The answer is put together beside the loop."""
    body = bytes(range(256)) * 4096
    api.admin.bury(letter(6, body=body))
    assert base64.b64decode((await api.get(f"{ROOT}/{message_id(6)}"))["body"]) == body


@pytest.mark.parametrize(("path", "method"), [("", "GET"), ("/redrive", "POST"), ("", "DELETE")])
async def test_letter_answers_404_when_there_is_none(api: ApiBench, path: str, method: str) -> None:
    """Whatever is asked of it."""
    error = await api.error(f"{ROOT}/{message_id(9)}{path}", method)
    assert error == (404, "dead_letter_unknown")


async def test_redrive_makes_one_ready_under_its_id(api: ApiBench) -> None:
    """202; it is no dead letter any more."""
    answer = await api.change(f"{ROOT}/{ID}/redrive")
    assert answer == (202, {"redriven": 1, "not_found": []})
    assert api.admin.messages[ID].state is MessageState.READY
    assert await listed(api) == [2, 3, 4, 5]


async def test_purge_removes_one_for_good(api: ApiBench) -> None:
    """204, and then 404."""
    assert await api.change(f"{ROOT}/{ID}", "DELETE") == (204, None)
    assert await api.error(f"{ROOT}/{ID}", "DELETE") == (404, "dead_letter_unknown")


@pytest.mark.parametrize(("call", "word"), [("redrive", "redriven"), ("purge", "purged")])
@pytest.mark.parametrize(
    ("selection", "count", "not_found"),
    [
        ({"ids": [message_id(9), ID, ID, message_id(2)]}, 2, [message_id(9)]),
        ({"ids": []}, 0, []),
        ({"destination": "https://A.example"}, 3, []),
        ({"destination": "https://a.example", "before": "2026-01-01T00:00:02Z"}, 1, []),
        ({"all": True}, 5, []),
        ({"all": True, "error": "timeout"}, 2, []),
        ({"all": True, "status": 503, "after": "2026-01-01T00:00:01Z"}, 2, []),
    ],
)
async def test_selected_ones_are_counted_then_moved(
    api: ApiBench, call: str, word: str, selection: dict[str, Any], count: int, not_found: list[str]
) -> None:
    """A dry run says what the call would, and changes nothing."""
    expected = (200, {word: count, "not_found": not_found})
    assert await api.change(f"{ROOT}/{call}", send={**selection, "dry_run": True}) == expected
    assert len(api.admin.dead) == 5
    assert await api.change(f"{ROOT}/{call}", send=selection) == expected
    assert len(api.admin.dead) == 5 - count


async def test_redrive_of_all_names_those_that_cannot_be_read(api: ApiBench) -> None:
    """The others are ready; one that was asked for alone is an error of its own."""
    api.admin.damaged = {message_id(2)}
    answer = await api.change(f"{ROOT}/redrive", send={"all": True})
    assert answer == (200, {"redriven": 4, "not_found": [], "failed": [message_id(2)]})
    assert await listed(api) == [2]
    for path, method in (("/redrive", "POST"), ("", "GET")):
        error = await api.error(f"{ROOT}/{message_id(2)}{path}", method)
        assert error == (500, "dead_letter_damaged")


async def test_redrive_passes_the_rate_on(api: ApiBench) -> None:
    """Messages a second."""
    await api.change(f"{ROOT}/redrive", send={"all": True, "rate": 100_000})
    await api.change(f"{ROOT}/redrive", send={"all": True})
    assert api.admin.rates == [100_000, None]


@pytest.mark.parametrize(
    ("send", "named"),
    [
        ({}, "exactly one"),
        ({"all": True, "ids": []}, "exactly one"),
        ({"all": True, "destination": "a"}, "exactly one"),
        ({"status": 503}, "exactly one"),
        ({"ids": [ID], "status": 503}, "`status`"),
        ({"all": False}, "`all`"),
        ({"all": 1}, "`all`"),
        ({"all": None}, "`all`"),
        ({"all": True, "status": "503"}, "`status`"),
        ({"all": True, "status": None}, "`status`"),
        ({"all": True, "dry_run": 1}, "`dry_run`"),
        ({"all": True, "dry_run": "true"}, "`dry_run`"),
        ({"all": True, "before": 0}, "`before`"),
        ({"all": True, "rate": 0}, "`rate`"),
        ({"all": True, "rate": 100_001}, "`rate`"),
        ({"all": True, "rate": 1.5}, "`rate`"),
        ({"all": True, "rate": "5"}, "`rate`"),
        ({"all": True, "rate": "none"}, "`rate`"),
        ({"all": True, "Rate": 1}, "'Rate'"),
        ({"all": True, "limit": 1}, "'limit'"),
        ({"ids": ID}, "`ids`"),
        ({"ids": [1]}, "`ids.0`"),
        ({"ids": [ID] * 10_001}, "`ids`"),
        ([], "object"),
        ("all", "object"),
    ],
)  # fmt: skip
async def test_redrive_answers_400_naming_what_is_wrong(
    api: ApiBench, send: object, named: str
) -> None:
    """And nothing is redriven."""
    status, _, text = await api.ask(f"{ROOT}/redrive", "POST", send=send)
    answer = json.loads(text)
    assert (status, answer["error"]) == (400, "body_invalid")
    assert named in answer["message"]
    assert len(api.admin.dead) == 5


async def test_purge_takes_no_rate(api: ApiBench) -> None:
    """It is over at once."""
    error = await api.error(f"{ROOT}/purge", "POST", send={"all": True, "rate": 1})
    assert error == (400, "body_invalid")


@pytest.mark.parametrize(
    ("send", "slug"),
    [({"ids": ["x"]}, "id_invalid"), ({"destination": "a/b"}, "destination_invalid")],
)
async def test_redrive_answers_with_the_slug_of_a_field_that_has_one(
    api: ApiBench, send: object, slug: str
) -> None:
    """The same as in a path."""
    assert await api.error(f"{ROOT}/redrive", "POST", send=send) == (400, slug)


async def test_ten_thousand_ids_are_taken(api: ApiBench) -> None:
    """As many as the documentation says fit in a body."""
    ids = [message_id(number) for number in range(1, 10_001)]
    status, answer = await api.change(f"{ROOT}/purge", send={"ids": ids})
    assert (status, answer["purged"], len(answer["not_found"])) == (200, 5, 9_995)


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/purge", "DELETE", "POST"),
        ("/redrive", "GET", "POST"),
        ("/groups", "DELETE", "GET, HEAD"),
        (f"/{ID}", "POST", "DELETE, GET, HEAD"),
        ("", "POST", "GET, HEAD"),
    ],
)
async def test_wrong_method_answers_405_with_the_right_ones(
    api: ApiBench, path: str, method: str, allowed: str
) -> None:
    """A word of the API is never taken for an id."""
    assert await api.error(ROOT + path, method) == (405, "method_not_allowed")
    assert (await api.ask(ROOT + path, method))[1]["Allow"] == allowed


async def test_letter_says_why_it_died_and_how_often_it_was_redriven(api: ApiBench) -> None:
    """The reason is one of the closed set."""
    detail = letter(6, status=None, error="egress_denied", reason="egress_denied")
    api.admin.bury(replace(detail, redrives=2))
    shown = await api.get(f"{ROOT}/{message_id(6)}")
    assert (shown["reason"], shown["redrives"]) == ("egress_denied", 2)
