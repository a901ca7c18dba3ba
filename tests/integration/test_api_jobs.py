"""`/v1/jobs`: long work that goes on without its caller, is seen, paced and cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from dispatcher.api.backups import BackupState
from dispatcher.api.jobs import running
from dispatcher.errors import Refusal
from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import Carried, Course, InMemory, LetterFilter, Moved
from dispatcher.testing.admin import letter
from dispatcher.testing.api import ApiBench
from dispatcher.testing.queue import message

ROOT = "/v1/dead-letters"
ASYNC = {"Prefer": "respond-async"}


@pytest_asyncio.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiBench]:
    """Fifty dead letters, that are redriven as slowly as was asked for."""
    async with ApiBench() as api:
        for number in range(1, 51):
            api.admin.bury(letter(number))

        async def redrive(which: Any, *, course: Course | None = None) -> Moved:
            course = course or Course()
            count = 0
            keys = list(api.admin.dead) if isinstance(which, LetterFilter) else which
            async for ids in course.portions(keys, most=10, pace=Pace()):
                for one in ids:
                    del api.admin.dead[one]
                course.did(len(ids))
                count += len(ids)
            return Moved(count, [])

        monkeypatch.setattr(api.admin, "redrive", redrive)
        yield api


async def begin(api: ApiBench, **send: object) -> dict[str, Any]:
    """Begin a redrive, and do not wait for it."""
    sent = {"all": True, **send}
    status, headers, text = await api.ask(f"{ROOT}/redrive", "POST", ASYNC, send=sent)
    job: dict[str, Any] = json.loads(text)
    assert (status, headers["Location"]) == (202, f"/v1/jobs/{job['id']}")
    assert headers["Preference-Applied"] == "respond-async"
    return job


async def ended(api: ApiBench, job_id: str) -> dict[str, Any]:
    """How a job ended."""
    while True:
        job: dict[str, Any] = await api.get(f"/v1/jobs/{job_id}")
        if job["state"] != "running":
            return job
        await asyncio.sleep(0.01)


async def first_is_back(api: ApiBench) -> None:
    """Wait until the first of them is no dead letter any more."""
    while len(api.admin.dead) == 50:  # noqa: ASYNC110  # a plain dictionary
        await asyncio.sleep(0.01)


async def test_who_waits_gets_what_came_of_it_and_the_job_is_listed(api: ApiBench) -> None:
    """With the selection, and the answer."""
    answer = {"redriven": 50, "not_found": []}
    assert await api.change(f"{ROOT}/redrive", send={"all": True}) == (200, answer)
    (listed,) = (await api.get("/v1/jobs"))["items"]
    job = await api.get(f"/v1/jobs/{listed['id']}")
    assert job == {**listed, "result": answer}
    assert (job["kind"], job["state"], job["selection"]) == ("redrive", "done", {"all": True})
    assert (job["done"], job["skipped"], job["total"], job["unit"]) == (50, 0, 50, "messages")
    assert (job["rate"], job["error"], job["survives_restart"]) == (None, None, False)
    assert job["started_at"] <= job["ended_at"]


async def test_job_that_nobody_waits_for_is_seen_hurried_and_ends(api: ApiBench) -> None:
    """The rate holds from then on."""
    job = await begin(api, rate=1)
    assert (job["state"], job["rate"], job["ended_at"]) == ("running", "1/s", None)
    for given, shown in ((30, "30/s"), ("10/1m", "10/m"), ("none", None)):
        status, changed = await api.change(f"/v1/jobs/{job['id']}", "PATCH", {"rate": given})
        assert (status, changed["rate"]) == (200, shown)
    assert (await ended(api, job["id"]))["result"] == {"redriven": 50, "not_found": []}
    assert not api.admin.dead
    told = [one for one in map(json.loads, api.lines) if one["event"] == "operator.job_changed"]
    assert [one["selection"]["rate"] for one in told] == ["30/s", "10/m", "none"]


async def test_redrive_begins_with_a_rate_as_it_may_be_given_later(api: ApiBench) -> None:
    """So many a second, or a text; the selection tells it as it was sent."""
    job = await begin(api, rate="10/1m")
    assert (job["rate"], job["selection"]) == ("10/m", {"all": True, "rate": "10/1m"})
    assert (await api.change(f"/v1/jobs/{job['id']}", "DELETE"))[1]["state"] == "cancelled"


async def test_caller_may_wait_for_a_while(api: ApiBench) -> None:
    """What is done by then is answered as ever."""
    prefer = {"Prefer": "respond-async, wait=60"}
    status, _, text = await api.ask(f"{ROOT}/redrive", "POST", prefer, send={"all": True})
    assert (status, json.loads(text)["redriven"]) == (200, 50)


async def test_job_goes_on_when_its_caller_is_gone(api: ApiBench) -> None:
    """Who waits for it is one of those who look."""
    waiting = asyncio.create_task(api.ask(f"{ROOT}/redrive", "POST", send={"all": True, "rate": 1}))
    await first_is_back(api)
    waiting.cancel()
    await asyncio.wait([waiting])
    (job,) = (await api.get("/v1/jobs?state=running&kind=redrive"))["items"]
    await api.change(f"/v1/jobs/{job['id']}", "PATCH", {"rate": "none"})
    assert (await ended(api, job["id"]))["done"] == 50


async def test_cancelled_job_keeps_what_it_did(api: ApiBench) -> None:
    """It is told, and who waits for it is told that not everything was done."""
    waiting = asyncio.create_task(
        api.error(f"{ROOT}/redrive", "POST", send={"all": True, "rate": 1})
    )
    await first_is_back(api)
    (job,) = (await api.get("/v1/jobs"))["items"]
    status, cancelled = await api.change(f"/v1/jobs/{job['id']}", "DELETE")
    assert (status, cancelled["state"], cancelled["done"]) == (200, "cancelled", 1)
    assert await waiting == (409, "job_cancelled")
    assert len(api.admin.dead) == 49
    told = [json.loads(line) for line in api.lines if '"operator.' in line]
    told = [one for one in told if one["event"] != "operator.job_begun"]
    assert [(one["event"], one["count"], one["error"], one["job"]) for one in told] == [
        ("operator.redriven", 1, "job_cancelled", job["id"]),
        ("operator.job_cancelled", 1, None, job["id"]),
    ]


async def test_job_that_does_not_end_when_asked_is_told_as_cancelled(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is broken off, and the audit has the slug that its caller is answered."""
    monkeypatch.setattr(running, "CANCEL_SECONDS", 0.01)

    async def hang(which: Any, *, course: Course | None = None) -> Moved:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(api.admin, "redrive", hang)
    job = await begin(api)
    assert (await api.change(f"/v1/jobs/{job['id']}", "DELETE"))[1]["state"] == "cancelled"
    (told,) = [json.loads(line) for line in api.lines if '"operator.redriven"' in line]
    assert told["error"] == "job_cancelled"


async def test_job_says_whether_its_rate_can_be_changed(api: ApiBench) -> None:
    """What is not paced says so before somebody tries."""
    job = await begin(api, rate=1)
    assert job["has_rate"] is True
    for path in ("cancel", "retry", "dead-letter", "redirect"):
        sent = {"all": True, "rate": "10/1m", **({"to": "b.example"} if path == "redirect" else {})}
        _, _, text = await api.ask(f"/v1/messages/{path}", "POST", ASYNC, send=sent)
        assert (json.loads(text)["has_rate"], json.loads(text)["rate"]) == (True, "10/m")
    counted = {"all": True, "label": "x", "dry_run": True}
    _, _, text = await api.ask("/v1/messages/cancel", "POST", ASYNC, send=counted)
    assert json.loads(text)["has_rate"] is False


async def test_job_that_has_ended_is_not_changed(api: ApiBench) -> None:
    """Cancelling it says how it ended; its rate cannot be changed."""
    job = await ended(api, (await begin(api))["id"])
    status, answer = await api.change(f"/v1/jobs/{job['id']}", "DELETE")
    assert (status, answer["state"]) == (200, "done")
    changed = await api.error(f"/v1/jobs/{job['id']}", "PATCH", send={"rate": 1})
    assert changed == (409, "job_ended")


@pytest.mark.parametrize("rate", [0, 100_001, 1.5, True, "fast", "0/s", ""])
async def test_rate_that_is_none_is_refused(api: ApiBench, rate: object) -> None:
    """And the job goes on as before."""
    job = await begin(api, rate=1)
    refused = await api.error(f"/v1/jobs/{job['id']}", "PATCH", send={"rate": rate})
    assert refused == (400, "body_invalid")
    assert (await api.get(f"/v1/jobs/{job['id']}"))["rate"] == "1/s"


@pytest.mark.parametrize(
    ("method", "send"), [("GET", None), ("DELETE", None), ("PATCH", {"rate": 1})]
)
async def test_unknown_job_is_404(api: ApiBench, method: str, send: Any) -> None:
    """Whatever is asked of it."""
    assert await api.error("/v1/jobs/00000000", method, send=send) == (404, "job_unknown")


async def test_refusal_ends_the_job_and_is_the_answer() -> None:
    """As it was without jobs."""
    async with ApiBench() as api:
        api.admin.refusal = Refusal(503, "disk_full", "There is no space. Make space.")
        refused = await api.error(f"{ROOT}/purge", "POST", send={"all": True})
        assert refused == (503, "disk_full")
        (job,) = (await api.get("/v1/jobs"))["items"]
        assert (job["state"], job["error"], job["done"]) == ("failed", "disk_full", 0)
        assert job["message"] == "There is no space. Make space."


async def test_mistake_ends_the_job_and_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its traceback in the log, and 500."""
    async with ApiBench() as api:

        async def purge(_: object, *, course: Course) -> Moved:
            raise RuntimeError("nobody foresaw it")

        monkeypatch.setattr(api.admin, "purge", purge)
        refused = await api.error(f"{ROOT}/purge", "POST", send={"all": True})
        assert refused == (500, "internal_error")
        errors = [one for one in map(json.loads, api.lines) if one["level"] == "error"]
        assert [one["event"] for one in errors] == ["job.failed"]
        assert "nobody foresaw it" in errors[0]["exception"]


async def test_only_so_many_run_and_only_so_many_are_kept(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest that have ended go first, and none that runs."""
    monkeypatch.setattr(running, "MOST_RUNNING", 2)
    monkeypatch.setattr(running, "MOST_ENDED", 3)
    slow = [await begin(api, rate=1), await begin(api, rate=1)]
    refused = await api.error(f"{ROOT}/redrive", "POST", send={"all": True})
    assert refused == (503, "too_many_jobs")
    await api.change(f"/v1/jobs/{slow[1]['id']}", "DELETE")
    quick = []
    for _ in range(4):
        quick.append(await begin(api))
        await ended(api, quick[-1]["id"])
    ids = [job["id"] for job in (await api.get("/v1/jobs"))["items"]]
    assert ids == [*(job["id"] for job in reversed(quick[1:])), slow[0]["id"]]


async def test_stop_ends_jobs_and_names_them(api: ApiBench) -> None:
    """In between two messages, with what was done; none begins any more."""
    waiting = asyncio.create_task(
        api.error(f"{ROOT}/redrive", "POST", send={"all": True, "rate": 1})
    )
    await first_is_back(api)
    await api.server.jobs.stop(10.0)
    assert await waiting == (503, "shutting_down")
    refused = await api.error(f"{ROOT}/redrive", "POST", send={"all": True})
    assert refused == (503, "shutting_down")
    (told,) = [one for one in map(json.loads, api.lines) if one["event"] == "job.broken_off"]
    assert (told["kind"], told["done"], told["total"]) == ("redrive", 1, 50)
    acted = [one for one in map(json.loads, api.lines) if one["event"] == "operator.redriven"]
    assert [(one["count"], one["error"]) for one in acted] == [(1, "shutting_down")]


async def test_backup_is_a_job_that_counts_bytes(api: ApiBench) -> None:
    """Cancelling it is stopping it."""
    api.backups.share = 1_000_000  # it never gets anywhere
    status, begun = await api.change("/v1/backup", send={"directory": "/backups/1"})
    assert status == 202
    path = f"/v1/jobs/{begun['job']}"
    job = await api.get(path)
    assert (job["kind"], job["state"], job["unit"]) == ("backup", "running", "bytes")
    assert job["selection"] == {"directory": "/backups/1"}
    told = [one for one in map(json.loads, api.lines) if one["event"] == "operator.backup_begun"]
    assert [one["job"] for one in told] == [begun["job"]]
    changed = await api.change(path, "PATCH", {"rate": "50000000/s"})
    assert (changed[0], changed[1]["rate"], changed[1]["total"]) == (200, "50000000/s", 1000)
    assert (await api.change(path, "DELETE"))[1]["state"] == "cancelled"
    assert (await api.get("/v1/backup"))["state"] == "stopped"


async def test_count_has_no_rate(api: ApiBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does nothing that could be too fast for somebody."""

    async def hang(which: Any, *, course: Course) -> None:
        await course.rest(3600)

    monkeypatch.setattr(api.admin, "count_waiting", hang)
    asked = {"all": True, "label": "x", "dry_run": True}
    _, _, text = await api.ask("/v1/messages/cancel", "POST", ASYNC, send=asked)
    path = f"/v1/jobs/{json.loads(text)['id']}"
    assert await api.error(path, "PATCH", send={"rate": 1}) == (409, "job_unpaced")
    await api.change(path, "DELETE")


async def test_large_answers_of_ended_jobs_are_forgotten_the_oldest_first(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many bytes are kept together; who waited was answered, and the job says so."""
    monkeypatch.setattr(running, "MOST_ANSWER_BYTES", 1000)
    unknown = [f"{number:028x}" for number in range(1000, 1020)]
    for _ in range(3):
        status, answer = await api.change(f"{ROOT}/purge", send={"ids": unknown})
        assert (status, len(answer["not_found"])) == (200, 20)
    small = await ended(api, (await begin(api))["id"])
    jobs = [await api.get(f"/v1/jobs/{job['id']}") for job in (await api.get("/v1/jobs"))["items"]]
    assert [job["result"] is None for job in jobs] == [False, False, True, True]
    assert jobs[0] == small
    assert {job["state"] for job in jobs} == {"done"}
    assert [job["message"] is None for job in jobs] == [True, True, False, False]
    assert "forgotten" in jobs[2]["message"]


async def test_backup_that_fails_fails_its_job(api: ApiBench) -> None:
    """With its reason."""
    api.backups.result, api.backups.error = BackupState.FAILED, "No space left on device"
    api.backups.share = 2
    _, begun = await api.change("/v1/backup", send={"directory": "/backups/1"})
    job = await ended(api, begun["job"])
    assert (job["state"], job["error"]) == ("failed", "backup_failed")
    assert "No space left on device" in job["message"]


async def test_export_is_listed_while_it_is_written_and_can_be_cancelled(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader sees that it is not whole."""

    async def waiting(*_: Any, **__: Any) -> AsyncIterator[Carried]:
        while True:
            yield Carried(message(), InMemory(b"hello"), None)

    monkeypatch.setattr(api.carrier, "waiting", waiting)
    monkeypatch.setattr(running, "LONG_SECONDS", 0.0)
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{api.url}/v1/export?state=waiting")
        await answer.content.readline()
        (job,) = (await api.get("/v1/jobs?state=running"))["items"]
        assert (job["kind"], job["selection"]) == ("export", {"state": "waiting"})
        reading = asyncio.create_task(answer.read())
        last = (await api.change(f"/v1/jobs/{job['id']}", "DELETE"))[1]
        assert (last["state"], last["done"] > 0) == ("cancelled", True)
        with pytest.raises(aiohttp.ClientError):
            await reading


async def test_export_whose_reader_has_gone_has_ended(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not everything was read."""
    monkeypatch.setattr(running, "LONG_SECONDS", 0.0)

    async def waiting(*_: Any, **__: Any) -> AsyncIterator[Carried]:
        while True:
            yield Carried(message(), InMemory(b"x" * 100_000), None)

    monkeypatch.setattr(api.carrier, "waiting", waiting)
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{api.url}/v1/export?state=waiting")
        await answer.content.read(1)
        (job,) = (await api.get("/v1/jobs"))["items"]
        answer.close()
    assert (await ended(api, job["id"]))["state"] == "cancelled"


async def test_import_that_took_no_time_is_not_listed(api: ApiBench) -> None:
    """The command line makes one for each few lines."""
    headers = {"Content-Type": "application/x-ndjson"}
    status, _, _ = await api.ask("/v1/import", "POST", headers, body=b"")
    assert status == 200
    assert (await api.get("/v1/jobs"))["items"] == []


LINE = (
    b'{"kind": "message", "destination": "http://a.example", "method": "POST", "target": "/", '
    b'"headers": [], "body": ""}\n'
)


async def attached(api: ApiBench) -> dict[str, Any]:
    """The job of a connection, once it is there."""
    while True:
        for job in (await api.get("/v1/jobs?state=running"))["items"]:
            found: dict[str, Any] = job
            return found
        await asyncio.sleep(0.01)


async def test_export_goes_at_the_rate_that_it_is_given(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits between two lines, and knows how many there are."""

    async def dead(which: LetterFilter) -> AsyncIterator[Carried]:
        for _ in range(2_000):
            yield Carried(message(), InMemory(b"x" * 2_000), None)

    monkeypatch.setattr(api.carrier, "dead", dead)
    monkeypatch.setattr(running, "LONG_SECONDS", 0.0)
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{api.url}/v1/export?state=dead")
        await answer.content.readline()
        path = f"/v1/jobs/{(await attached(api))['id']}"
        reading = asyncio.create_task(answer.read())
        job = (await api.change(path, "PATCH", {"rate": "1/1h"}))[1]
        assert (job["rate"], job["total"]) == ("1/h", 50)
        await asyncio.sleep(0.1)
        done = (await api.get(path))["done"]
        assert done < 2_000
        await asyncio.sleep(0.1)
        assert (await api.get(path))["done"] == done
        await api.change(path, "PATCH", {"rate": "none"})
        assert len((await reading).splitlines()) == 1_999
    assert (await api.get(path))["state"] == "done"


async def test_import_goes_at_the_rate_that_it_is_given(api: ApiBench) -> None:
    """What it does not take yet waits with its sender."""
    paced = asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        yield LINE
        await paced.wait()
        for _ in range(200):
            yield LINE

    async with aiohttp.ClientSession() as session:
        headers = {"Content-Type": "application/x-ndjson"}
        sending = asyncio.create_task(
            session.post(f"{api.url}/v1/import", headers=headers, data=lines())
        )
        path = f"/v1/jobs/{(await attached(api))['id']}"
        assert (await api.change(path, "PATCH", {"rate": "1/1h"}))[0] == 200
        paced.set()
        while not (await api.get(path))["done"]:  # noqa: ASYNC110  # it is asked for
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert (await api.get(path))["done"] == 1
        await api.change(path, "PATCH", {"rate": "none"})
        assert (await (await sending).json())["imported"] == 201
