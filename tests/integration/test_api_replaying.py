"""Replay over the API: lines that say how far it is, refusals, and what the log says of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from dispatcher.api import places, replaying
from dispatcher.api.jobs import running
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.core.rate import parse_rate
from dispatcher.errors import LogCorrupt, Refused
from dispatcher.queue.admin.surface import Course, HistoryFilter, Place, Replayed
from dispatcher.queue.refusals import BACKLOG_FULL, SHUTTING_DOWN
from dispatcher.testing.api import ApiBench
from dispatcher.testing.replayer import BEGIN

PLACE = Place(0x1_0000_1000, 7, 0x2_0000_0000)
SOME = replace(BEGIN, messages=3, size_bytes=30, first_us=1, last_us=2, read_bytes=50, place=PLACE)
DONE = replace(SOME, is_done=True, destinations=[("http://a.example", 3, 30)], destinations_total=1)
URL = "/v1/replay"


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API without keys."""
    async with ApiBench() as bench:
        yield bench


async def replay(api: ApiBench, **wanted: Any) -> list[dict[str, Any]]:
    """Ask for a replay; returns its lines."""
    status, headers, text = await api.ask(URL, "POST", send=wanted or {"all": True})
    assert status == 200, text
    assert headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in text.splitlines()]


def told(api: ApiBench) -> list[dict[str, Any]]:
    """What the log says that operators did."""
    events = [json.loads(line) for line in api.lines]
    return [one for one in events if one["event"] == "operator.replayed"]


async def newest(api: ApiBench, state: str) -> dict[str, Any]:
    """The newest job, once it is in a state."""
    while True:
        items = (await api.get("/v1/jobs"))["items"]
        if items and items[0]["state"] == state:
            found: dict[str, Any] = items[0]
            return found
        await asyncio.sleep(0.01)


async def test_lines_say_how_far_it_is(api: ApiBench) -> None:
    """One after all that was sent, and a last one with everything."""
    api.replayer.steps = [BEGIN, SOME, DONE]
    begin, some, done = await replay(api)
    assert (begin["state"], begin["messages"], begin["first_accepted_at"]) == ("running", 0, None)
    assert some == {
        "state": "running",
        "messages": 3,
        "size_bytes": 30,
        "first_accepted_at": "1970-01-01T00:00:00.000001Z",
        "last_accepted_at": "1970-01-01T00:00:00.000002Z",
        "read_bytes": 50,
        "log_bytes": 100,
        "unreadable": 0,
        "cursor": places.encode(PLACE),
        "job": begin["job"],
        "error": None,
        "message": None,
    }
    assert done == some | {
        "state": "done",
        "destinations": [{"destination": "http://a.example", "messages": 3, "size_bytes": 30}],
        "destinations_total": 1,
    }
    assert api.replayer.closed == 1


async def test_what_is_asked_for_is_what_the_queue_is_asked(api: ApiBench) -> None:
    """In its units and spellings."""
    await replay(
        api,
        destination="A.example",
        since="1970-01-01T00:00:01Z",
        until="1970-01-01T00:00:02Z",
        label="blue",
        to="https://b.example",
        rate="10/1m",
        dry_run=True,
        cursor=places.encode(PLACE),
    )
    which, how = api.replayer.asked[0]
    assert which == HistoryFilter("http://a.example", 1_000_000, 2_000_000, "blue")
    rate = parse_rate("10/1m")
    assert how == {"to": "https://b.example", "rate": rate, "dry_run": True, "after": PLACE}


@pytest.mark.parametrize(
    ("wanted", "slug"),
    [
        ({}, "body_invalid"),
        ({"to": "a.example"}, "body_invalid"),
        ({"all": True, "rate": "fast"}, "body_invalid"),
        ({"all": True, "rate": 50}, "body_invalid"),
        ({"all": True, "cursor": "aaaa"}, "cursor_invalid"),
        ({"all": True, "cursor": places.encode(PLACE)[::-1]}, "cursor_invalid"),
        ({"all": True, "to": "a.example/path"}, "destination_invalid"),
        ({"label": "two words"}, "body_invalid"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "body_invalid"),
        ({"all": True, "colour": "x"}, "body_invalid"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    api: ApiBench, wanted: dict[str, Any], slug: str
) -> None:
    """Nothing is sent by mistake."""
    status, _, text = await api.ask(URL, "POST", send=wanted)
    assert (status, json.loads(text)["error"]) == (400, slug)
    assert not api.replayer.asked


async def test_without_a_history_it_says_what_to_set(api: ApiBench) -> None:
    """And that what came before is not kept."""
    api.replayer.keeps_history = False
    status, _, text = await api.ask(URL, "POST", send={"all": True})
    answer = json.loads(text)
    assert (status, answer["error"]) == (409, "history_not_kept")
    assert "EVENT_SOURCING=true" in answer["message"]
    assert "from then on" in answer["message"]


async def test_there_is_one_replay_at_a_time(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is refused while the first goes on, and not after it."""
    go_on = asyncio.Event()
    begun = asyncio.Event()

    async def slowly(*_: Any, **__: Any) -> AsyncGenerator[Replayed, None]:
        begun.set()
        await go_on.wait()
        yield DONE

    monkeypatch.setattr(api.replayer, "replay", slowly)
    first = asyncio.create_task(replay(api))
    await begun.wait()
    status, _, text = await api.ask(URL, "POST", send={"all": True})
    assert (status, json.loads(text)["error"]) == (409, "replay_under_way")
    go_on.set()
    await first
    assert (await replay(api))[-1]["state"] == "done"


async def test_waiting_is_said_with_the_reason(api: ApiBench) -> None:
    """It is no end."""
    api.replayer.steps = [BEGIN, replace(SOME, waiting=BACKLOG_FULL), DONE]
    _, waiting, done = await replay(api)
    assert (waiting["state"], waiting["error"]) == ("waiting", "backlog_full")
    assert waiting["message"] == BACKLOG_FULL.message
    assert done["state"] == "done"


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (Refused(SHUTTING_DOWN), "shutting_down"),
        (LogCorrupt("x.seg", 5, "it is not as it was"), "log_damaged"),
    ],
)
async def test_failure_is_the_last_line(api: ApiBench, error: Exception, slug: str) -> None:
    """With the cursor behind which another replay goes on; and it is told."""
    api.replayer.steps = [BEGIN, SOME]
    api.replayer.error = error
    *_, last = await replay(api)
    assert (last["state"], last["error"], last["messages"]) == ("failed", slug, 3)
    assert places.decode(last["cursor"]) == PLACE
    assert [(one["count"], one["error"]) for one in told(api)] == [(3, slug)]


async def test_replay_is_told_with_the_key_and_what_was_asked_for() -> None:
    """A dry run is not: it changes nothing."""
    keys = Keyring([Key("alice", Role.ADMIN, b"secret-of-alice-1234")])
    async with ApiBench(keys) as api:
        headers = {"Authorization": "Bearer secret-of-alice-1234"}
        api.replayer.steps = [BEGIN, DONE]
        for dry_run in (True, False):
            wanted = {"since": "1970-01-01T00:00:01+00:00", "rate": "50/s", "dry_run": dry_run}
            status, _, _ = await api.ask(URL, "POST", headers, send=wanted)
            assert status == 200
        (event,) = told(api)
        assert (event["key"], event["count"], event["error"]) == ("alice", 3, None)
        assert event["selection"] == {"since": "1970-01-01T00:00:01.000000Z", "rate": "50/s"}


async def test_key_that_may_only_look_may_not_replay() -> None:
    """It sends messages."""
    keys = Keyring([Key("grafana", Role.READ, b"secret-of-grafana-12")])
    async with ApiBench(keys) as api:
        headers = {"Authorization": "Bearer secret-of-grafana-12"}
        status, _, text = await api.ask(URL, "POST", headers, send={"all": True})
        assert (status, json.loads(text)["error"]) == (403, "key_forbidden")
        assert not api.replayer.asked


async def test_replay_goes_on_when_its_caller_hangs_up(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a job, which says where it is while nothing happens, and is found and ended."""
    monkeypatch.setattr(replaying, "BEAT_SECONDS", 0.01)
    go_on = asyncio.Event()

    async def slowly(*_: Any, course: Course, **__: Any) -> AsyncGenerator[Replayed, None]:
        yield BEGIN
        while not go_on.is_set():
            if not await course.rest(0.01):
                course.cut()
                return
        yield DONE

    monkeypatch.setattr(api.replayer, "replay", slowly)
    for ends in (True, False):
        async with aiohttp.ClientSession() as session:
            answer = await session.post(f"{api.url}{URL}", json={"all": True})
            beats = [json.loads(await answer.content.readline()) for _ in range(3)]
            answer.close()
        assert beats[1] == beats[2], "it says where it is while nothing happens"
        path = f"/v1/jobs/{beats[0]['job']}"
        job = await api.get(path)
        assert (job["kind"], job["state"], job["selection"]) == ("replay", "running", {"all": True})
        assert (await api.error(URL, "POST", send={"all": True}))[1] == "replay_under_way"
        if ends:
            assert (await api.change(path, "DELETE"))[1]["state"] == "cancelled"
        else:
            go_on.set()
            await newest(api, "done")
            assert (await api.get(path))["result"]["messages"] == 3


async def test_dry_run_ends_when_its_caller_hangs_up(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would learn what it counted; and there is a place for another one."""
    ended = asyncio.Event()
    monkeypatch.setattr(replaying, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(running, "CANCEL_SECONDS", 0.1)

    async def forever(*_: Any, **__: Any) -> AsyncGenerator[Replayed, None]:
        try:
            yield BEGIN
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(api.replayer, "replay", forever)
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{api.url}{URL}", json={"all": True, "dry_run": True})
        await answer.content.readline()
        answer.close()
    async with asyncio.timeout(60):
        await ended.wait()
        await newest(api, "cancelled")
    assert told(api) == []


async def test_replay_that_somebody_cancels_says_so_in_its_last_line(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the cursor behind which another one goes on."""

    async def slowly(*_: Any, course: Course, **__: Any) -> AsyncGenerator[Replayed, None]:
        yield SOME
        await course.rest(3600)
        course.cut()

    monkeypatch.setattr(api.replayer, "replay", slowly)
    asking = asyncio.create_task(replay(api))
    job = await newest(api, "running")
    await api.change(f"/v1/jobs/{job['id']}", "DELETE")
    last = (await asking)[-1]
    assert (last["state"], last["error"]) == ("cancelled", "job_cancelled")
    assert places.decode(last["cursor"]) == PLACE


async def test_replay_that_nobody_waits_for_is_answered_with_its_job(api: ApiBench) -> None:
    """Or with its last line, where it has ended by then."""
    api.replayer.steps = [BEGIN, DONE]
    for prefer, status in (("respond-async", 202), ("respond-async, wait=60", 200)):
        answered, _, text = await api.ask(URL, "POST", {"Prefer": prefer}, send={"all": True})
        assert answered == status
        assert (json.loads(text).get("messages"), status) in ((None, 202), (3, 200))
        await newest(api, "done")
