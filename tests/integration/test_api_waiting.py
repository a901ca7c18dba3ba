"""The calls about messages that wait, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import letter, message, message_id
from dispatcher.testing.api import ApiBench


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API without keys."""
    async with ApiBench() as bench:
        yield bench


async def listed(api: ApiBench, query: str = "") -> list[str]:
    return [one["id"] for one in (await api.get(f"/v1/messages?{query}"))["items"]]


async def test_list_has_what_is_neither_delivered_nor_dead(api: ApiBench) -> None:
    """Each as it is shown by itself."""
    for number, state in enumerate(MessageState, 1):
        if state is not MessageState.DEAD:
            api.admin.put(message(number, state))
    api.admin.bury(letter(9))
    page = await api.get("/v1/messages")
    assert page["next"] is None
    assert [one["state"] for one in page["items"]] == ["ready", "in_flight", "scheduled"]
    one = page["items"][2]
    by_itself = await api.get(f"/v1/messages/{one['id']}")
    del by_itself["headers"]
    assert one == by_itself


async def test_list_is_turned_page_by_page(api: ApiBench) -> None:
    """`next` leads to the rest, and is null at the end."""
    for number in range(1, 6):
        api.admin.put(message(number))
    found: list[str] = []
    path: str | None = "/v1/messages?limit=2"
    while path is not None:
        page = await api.get(path)
        found += [one["id"] for one in page["items"]]
        path = page["next"] and f"/v1/messages?limit=2&cursor={page['next']}"
    assert found == [message_id(number) for number in range(1, 6)]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("destination=https://b.example:443", [2]),
        ("state=scheduled", [3]),
        ("state=held", [2]),
        ("label=red", [4]),
        ("order_key=k/1", [4]),
        ("method=PUT", [5]),
        ("target=/hooks/5", [5]),
        ("older_than=365d", []),
        ("older_than=0", [1, 2, 3, 4, 5]),
        ("state=ready&destination=https://a.example", [1, 4, 5]),
    ],
)
async def test_list_is_narrowed(api: ApiBench, query: str, numbers: list[int]) -> None:
    """By everything that is said."""
    options = {"label": "red", "order_key": "k/1"}
    api.admin._now_us = lambda: message(60).accepted_at_us
    api.admin.put(message(1))
    api.admin.put(message(2, to="b"))
    await api.admin.hold("https://b.example")
    api.admin.put(message(3, MessageState.SCHEDULED))
    api.admin.put(replace(message(4), label="red", options=options))
    api.admin.put(replace(message(5), method="PUT"))
    assert await listed(api, query) == [message_id(number) for number in numbers]


@pytest.mark.parametrize(
    ("query", "slug"),
    [
        ("state=dead", "parameter_invalid"),
        ("older_than=5x", "parameter_invalid"),
        ("older_than=", "parameter_invalid"),
        ("method=P%20T", "parameter_invalid"),
        ("target=a%20b", "parameter_invalid"),
        ("label=a%20b", "parameter_invalid"),
        ("order_key=", "parameter_invalid"),
        ("destination=ftp://a", "destination_invalid"),
        ("cursor=1", "cursor_invalid"),
        ("limit=0", "parameter_invalid"),
        ("status=503", "parameter_unknown"),
    ],
)
async def test_list_refuses_what_it_does_not_understand(
    api: ApiBench, query: str, slug: str
) -> None:
    """With a sentence that says what is expected."""
    assert await api.error(f"/v1/messages?{query}") == (400, slug)


def put_all(api: ApiBench) -> None:
    """One message in every state but dead, and one letter."""
    for number, state in enumerate(MessageState, 1):
        if state is not MessageState.DEAD:
            api.admin.put(message(number, state))
    api.admin.bury(letter(9))


NUMBERS = {state: message_id(number) for number, state in enumerate(MessageState, 1)}


async def test_cancel_of_many_counts_what_is_gone_and_what_is_left(api: ApiBench) -> None:
    """What is in flight stays; a dry run changes nothing."""
    put_all(api)
    would = {"cancelled": 2, "in_flight": 1, "not_found": []}
    path = "/v1/messages/cancel"
    assert await api.change(path, "POST", {"all": True, "dry_run": True}) == (200, would)
    assert len(await listed(api)) == 3
    assert await api.change(path, "POST", {"all": True}) == (200, would)
    assert await listed(api) == [NUMBERS[MessageState.IN_FLIGHT]]


async def test_retry_of_many_counts_what_is_due_now(api: ApiBench) -> None:
    """What was due before is counted apart."""
    put_all(api)
    asked = {"destination": "https://a.example", "target": "/hooks"}
    would = {"retried": 1, "due": 1, "in_flight": 1, "not_found": []}
    path = "/v1/messages/retry"
    assert await api.change(path, "POST", {**asked, "dry_run": True}) == (200, would)
    assert await api.change(path, "POST", asked) == (200, would)
    again = {**would, "retried": 0, "due": 2}
    assert await api.change(path, "POST", {**asked, "dry_run": True}) == (200, again)


@pytest.mark.parametrize(
    ("path", "done"), [("/v1/messages/cancel", "cancelled"), ("/v1/messages/retry", "retried")]
)
async def test_ids_that_do_not_wait_are_named(api: ApiBench, path: str, done: str) -> None:
    """Delivered, dead, and unknown ones."""
    put_all(api)
    not_found = [NUMBERS[MessageState.DELIVERED], message_id(9), message_id(99)]
    asked = [NUMBERS[MessageState.SCHEDULED], *not_found]
    status, answer = await api.change(path, "POST", {"ids": asked})
    assert status == 200
    assert (answer[done], answer["not_found"]) == (1, not_found)


@pytest.mark.parametrize("path", ["/v1/messages/cancel", "/v1/messages/retry"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": True, "destination": "a.example"},
        {"ids": [message_id(1)], "label": "x"},
        {"state": "ready"},
        {"all": True, "older_than": "soon"},
        {"all": True, "status": 503},
        {"all": True, "rate": 0},
    ],
)
async def test_selection_says_exactly_one_thing(
    api: ApiBench, path: str, body: dict[str, object]
) -> None:
    """As that of dead letters does."""
    assert await api.error(path, "POST", send=body) == (400, "body_invalid")


async def test_retry_of_one_tells_what_it_waits_for_now(api: ApiBench) -> None:
    """Its turn, or an operator who holds its destination."""
    put_all(api)
    one = NUMBERS[MessageState.SCHEDULED]
    status, said = await api.change(f"/v1/messages/{one}/retry")
    assert (status, said["state"], said["reason"]) == (200, "ready", "waiting_turn")
    await api.change("/v1/destinations/https%3A%2F%2Fa.example/hold")
    status, said = await api.change(f"/v1/messages/{one}/retry")
    assert (status, said["reason"]) == (200, "destination_held")


@pytest.mark.parametrize(
    ("number", "status", "slug"),
    [
        (NUMBERS[MessageState.IN_FLIGHT], 409, "message_in_flight"),
        (NUMBERS[MessageState.DELIVERED], 409, "message_delivered"),
        (message_id(9), 409, "message_dead"),
        (message_id(99), 404, "message_unknown"),
    ],
)
async def test_retry_of_one_is_refused_when_it_does_not_wait(
    api: ApiBench, number: str, status: int, slug: str
) -> None:
    """With the slugs of a cancel that comes too late."""
    put_all(api)
    assert await api.error(f"/v1/messages/{number}/retry", "POST") == (status, slug)


async def test_retry_of_a_destination_says_what_comes_of_it(api: ApiBench) -> None:
    """A probe; or that an operator holds it, or that nothing waits."""
    put_all(api)
    path = "/v1/destinations/https%3A%2F%2Fa.example"
    api.admin.backing_off["https://a.example"] = 0
    status, said = await api.change(f"{path}/retry")
    sentence = said.pop("message")
    assert status == 200
    assert said == {
        "destination": "https://a.example",
        "retried": 1,
        "waiting": 2,
        "probed": True,
        "held": False,
    }
    assert "probe" in sentence
    await api.change(f"{path}/hold")
    _, said = await api.change(f"{path}/retry")
    assert said["held"]
    assert "resumed" in said["message"]
    _, said = await api.change("/v1/destinations/other.example/retry")
    assert (said["waiting"], said["probed"]) == (0, False)
    assert await api.error("/v1/destinations/a%2Fb/retry", "POST") == (400, "destination_invalid")


async def test_audit_tells_what_was_cancelled_and_retried(api: ApiBench) -> None:
    """With the selection as it was sent, and how many; a dry run is not told."""
    put_all(api)
    await api.change("/v1/messages/retry", "POST", {"all": True, "dry_run": True})
    await api.change("/v1/messages/retry", "POST", {"all": True, "older_than": "5m"})
    await api.change("/v1/messages/cancel", "POST", {"ids": [message_id(1)]})
    told = [one for one in map(json.loads, api.lines) if one["event"].startswith("operator.")]
    assert [(one["event"], one["selection"], one["count"]) for one in told] == [
        ("operator.retried", {"all": True, "older_than": "5m"}, 1),
        ("operator.cancelled", {"ids": [message_id(1)], "of": 1}, 1),
    ]


async def test_secrets_in_headers_are_masked(api: ApiBench) -> None:
    """Unless somebody who may asks for them, which is told."""
    api.admin.put(message(1))
    lines = ((b"Host", b"a.example"), (b"Authorization", b"Bearer s3cret"))
    api.admin.requests[message_id(1)] = (lines, b"")
    path = f"/v1/messages/{message_id(1)}"
    shown = await api.get(path)
    assert shown["headers"] == [["Host", "a.example"], ["Authorization", "Bearer ***"]]
    revealed = await api.get(f"{path}?reveal=true")
    assert revealed["headers"][1] == ["Authorization", "Bearer s3cret"]
    assert any("operator.revealed" in line for line in api.lines)


async def test_body_is_sent_as_it_is(api: ApiBench) -> None:
    """Never as something that a browser would show: a page of ours is no place for a stranger's
    script. Of a dead message too; what was delivered has none any more."""
    put_all(api)
    one = NUMBERS[MessageState.SCHEDULED]
    api.admin.requests[one] = ((), b"<script>alert(1)</script>")
    status, headers, text = await api.ask(f"/v1/messages/{one}/body")
    assert (status, text) == (200, "<script>alert(1)</script>")
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"].startswith("attachment")
    _, headers, text = await api.ask(f"/v1/messages/{one}/body?limit=7")
    assert (headers["Content-Length"], text) == ("7", "<script")
    status, _, text = await api.ask(f"/v1/messages/{message_id(9)}/body")
    assert (status, text) == (200, '{"hello": "world"}')
    delivered = NUMBERS[MessageState.DELIVERED]
    assert await api.error(f"/v1/messages/{delivered}/body") == (409, "message_delivered")
    assert (await api.get(f"/v1/messages/{delivered}"))["headers"] is None
    assert await api.error(f"/v1/messages/{message_id(99)}/body") == (404, "message_unknown")


@pytest.mark.parametrize("path", ["/v1/messages/cancel", "/v1/messages/dead-letter"])
async def test_dry_run_that_reads_messages_is_a_job(api: ApiBench, path: str) -> None:
    """It may take minutes where millions wait: it is seen, and can be cancelled. The audit tells
    nothing of it, as nothing is done. One that the index answers is none."""
    put_all(api)
    await api.change(path, "POST", {"all": True, "dry_run": True})
    assert (await api.get("/v1/jobs"))["items"] == []
    status, answer = await api.change(path, "POST", {"all": True, "method": "PUT", "dry_run": True})
    assert (status, answer["in_flight"]) == (200, 0)
    (job,) = (await api.get("/v1/jobs"))["items"]
    assert (job["kind"], job["state"], job["done"]) == ("count", "done", 0)
    assert job["selection"] == {"all": True, "method": "PUT", "dry_run": True}
    assert not any("operator." in line for line in api.lines)
