"""The calls about the whole, messages and destinations, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dispatcher.errors import Refusal
from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import letter, message, message_id
from dispatcher.testing.api import ApiBench

ID = message_id(1)


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API without keys."""
    async with ApiBench() as bench:
        yield bench


async def test_stats_are_totals_states_and_lanes(api: ApiBench) -> None:
    """In the order of the documentation."""
    api.admin.put(message(1))
    api.admin.put(message(2, MessageState.SCHEDULED))
    api.admin.put(message(3, MessageState.IN_FLIGHT, to="b"))
    api.admin.bury(letter(4))
    stats = await api.get("/v1/stats")
    assert list(stats) == [
        "accepted_total", "delivered_total", "dead_total", "ready", "scheduled", "in_flight",
        "dead", "log_bytes", "log_live_bytes", "lanes", "lanes_total", "lanes_next",
        "calls",
    ]  # fmt: skip
    assert (stats["ready"], stats["scheduled"], stats["in_flight"], stats["dead"]) == (1, 1, 1, 1)
    known = {
        "kind": "message",
        "destination": "https://a.example",
        "ready": 1,
        "scheduled": 1,
        "in_flight": 0,
        "limit": 10,
        "rate": None,
        "paused_until": None,
        "held": False,
        "paused": False,
        "breaker": "closed",
    }
    lane = stats["lanes"][0]
    assert {name: lane[name] for name in known} == known


async def test_message_is_shown_as_it_stands(api: ApiBench) -> None:
    """Times in UTC with microseconds, the target byte for byte."""
    api.admin.put(message(1, MessageState.SCHEDULED))
    assert await api.get(f"/v1/messages/{ID}") == {
        "id": ID,
        "state": "scheduled",
        "destination": "https://a.example",
        "method": "POST",
        "target": "/hooks/1?x=%2F",
        "accepted_at": "2026-01-01T00:00:01.000000Z",
        "attempts": 1,
        "next_attempt_at": "2026-01-01T00:01:01.000000Z",
        "last_error": "http_503",
        "label": None,
        "options": {},
        "size_bytes": 18,
        "reason": "scheduled",
        "until": "2026-01-01T00:01:01.000000Z",
        "destination_error": None,
        "headers": [["Host", "a.example"], ["Content-Type", "application/json"]],
    }


async def test_explanation_has_reason_sentence_and_instants(api: ApiBench) -> None:
    """The reason is for programs, the sentence for people."""
    api.admin.put(message(1, MessageState.SCHEDULED))
    said = await api.get(f"/v1/messages/{ID}/explain")
    assert list(said) == ["id", "state", "reason", "message", "until", "expected_at"]
    assert (said["reason"], said["until"]) == ("scheduled", "2026-01-01T00:01:01.000000Z")


@pytest.mark.parametrize("state", [MessageState.READY, MessageState.SCHEDULED])
async def test_cancel_forgets_a_message_when_it_waits(api: ApiBench, state: MessageState) -> None:
    """204 without a body, and it is not known any more."""
    api.admin.put(message(1, state))
    status, headers, text = await api.ask(f"/v1/messages/{ID}", "DELETE")
    assert (status, text) == (204, "")
    assert "Content-Type" not in headers
    assert await api.error(f"/v1/messages/{ID}") == (404, "message_unknown")


@pytest.mark.parametrize(
    ("state", "slug"),
    [
        (MessageState.IN_FLIGHT, "message_in_flight"),
        (MessageState.DELIVERED, "message_delivered"),
    ],
)
async def test_cancel_answers_409_when_it_is_too_late(
    api: ApiBench, state: MessageState, slug: str
) -> None:
    """The message stays as it is."""
    api.admin.put(message(1, state))
    assert await api.error(f"/v1/messages/{ID}", "DELETE") == (409, slug)
    assert (await api.get(f"/v1/messages/{ID}"))["state"] == state.value


async def test_cancel_answers_409_when_the_message_is_dead(api: ApiBench) -> None:
    """A dead letter is purged, which is another call."""
    api.admin.bury(letter(1))
    assert await api.error(f"/v1/messages/{ID}", "DELETE") == (409, "message_dead")


@pytest.mark.parametrize(("path", "method"), [("", "GET"), ("/explain", "GET"), ("", "DELETE")])
async def test_message_answers_404_when_it_is_not_known(
    api: ApiBench, path: str, method: str
) -> None:
    """Whatever is asked of it."""
    assert await api.error(f"/v1/messages/{ID}{path}", method) == (404, "message_unknown")


@pytest.mark.parametrize(
    "malformed",
    ["x", ID[:-1], ID + "0", ID.replace("1", "A"), "%20" + ID[1:], ID + "%0A", "%ff"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/messages/", "/v1/dead-letters/"])
async def test_id_answers_400_when_it_is_malformed(
    api: ApiBench, path: str, malformed: str
) -> None:
    """28 hexadecimal digits in lower case."""
    assert await api.error(path + malformed) == (400, "id_invalid")


@pytest.mark.parametrize(
    ("written", "spelling"),
    [
        ("a.example", "http://a.example"),
        ("A.example:8080", "http://a.example:8080"),
        ("https%3A%2F%2Fa.example", "https://a.example"),
        ("https%3A%2F%2Fa.example%3A443", "https://a.example"),
        ("[::1]:81", "http://[::1]:81"),
        ("%5B::1%5D", "http://[::1]"),
    ],
)
async def test_pause_and_resume_answer_the_one_spelling(
    api: ApiBench, written: str, spelling: str
) -> None:
    """Default port and case do not make another destination; twice is no error."""
    for _ in range(2):
        answer = await api.change(f"/v1/destinations/{written}/pause")
        assert answer == (200, {"destination": spelling, "held": True, "paused": True})
    assert api.admin.held == {spelling}
    answer = await api.change(f"/v1/destinations/{written}/resume")
    assert answer == (200, {"destination": spelling, "held": False, "paused": False})
    assert api.admin.held == set()


@pytest.mark.parametrize(
    "written",
    ["a%2Fb", "ftp%3A%2F%2Fa", "a:0", "a:65536", "u@a", "a%3Fb", "%ff", "a%20b", "%ED%A0%80"],
)
async def test_pause_answers_400_when_it_is_no_destination(api: ApiBench, written: str) -> None:
    """A base path belongs to messages, not to destinations."""
    error = await api.error(f"/v1/destinations/{written}/pause", "POST")
    assert error == (400, "destination_invalid")


@pytest.mark.parametrize(
    ("path", "method", "send"),
    [
        (f"/v1/messages/{ID}", "DELETE", None),
        (f"/v1/dead-letters/{ID}", "DELETE", None),
        (f"/v1/dead-letters/{ID}/redrive", "POST", None),
        ("/v1/dead-letters/redrive", "POST", {"all": True}),
        ("/v1/dead-letters/purge", "POST", {"all": True}),
        ("/v1/destinations/a/pause", "POST", None),
        ("/v1/destinations/a/resume", "POST", None),
    ],
)
async def test_change_is_refused_as_the_queue_says_when_it_cannot_be_stored(
    api: ApiBench, path: str, method: str, send: object
) -> None:
    """With the time to ask again; it is no failure of the server and not logged as one."""
    api.admin.refusal = Refusal(503, "disk_full", "Make space.", retry_after_s=7)
    assert await api.error(path, method, send=send) == (503, "disk_full")
    assert (await api.ask(path, method, send=send))[1]["Retry-After"] == "7"
    assert "api.failed" not in "".join(api.lines)
