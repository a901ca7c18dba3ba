"""What operators do leaves a line in the log, with the name of their key, and a count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dispatcher.api.jobs import running
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.queue.admin.surface import Carried, InMemory
from dispatcher.queue.refusals import NOT_DURABLE_FULL
from dispatcher.testing.admin import letter, message, message_id
from dispatcher.testing.api import ApiBench
from dispatcher.testing.queue import message as sent

SECRET = "a-secret-that-nobody-may-see"
KEYS = Keyring(
    [
        Key("alice", Role.ADMIN, SECRET.encode()),
        Key("grafana", Role.READ, b"another-secret-to-keep"),
    ]
)
ALICE = {"Authorization": f"Bearer {SECRET}"}
GRAFANA = {"Authorization": "Bearer another-secret-to-keep"}
ROOT = "/v1/dead-letters"


def told(api: ApiBench) -> list[dict[str, Any]]:
    """The events of operators, without what all events have."""
    lines = [json.loads(line) for line in api.lines]
    for line in lines:
        assert line.pop("level") == "info"
        line.pop("timestamp")
        line.pop("job", None)  # a number without a meaning
    return [line for line in lines if line["event"].startswith("operator.")]


@pytest.mark.parametrize(
    ("method", "path", "sent", "event", "selection", "count"),
    [
        ("DELETE", f"{ROOT}/{message_id(1)}", None, "purged", {"id": message_id(1)}, 1),
        ("POST", f"{ROOT}/{message_id(1)}/redrive", None, "redriven", {"id": message_id(1)}, 1),
        ("POST", f"{ROOT}/purge", {"all": True}, "purged", {"all": True}, 3),
        (
            "POST",
            f"{ROOT}/redrive",
            {"ids": [message_id(1), message_id(9)]},
            "redriven",
            {"ids": [message_id(1), message_id(9)], "of": 2},
            1,
        ),
        ("DELETE", f"/v1/messages/{message_id(5)}", None, "cancelled", {"id": message_id(5)}, 1),
        (
            "POST",
            "/v1/destinations/a.example/pause",
            None,
            "held",
            {"destination": "http://a.example"},
            1,
        ),
        (
            "POST",
            "/v1/destinations/a.example/resume",
            None,
            "resumed",
            {"destination": "http://a.example"},
            1,
        ),
    ],
)
async def test_change_is_told_with_the_key_the_selection_and_the_count(
    method: str, path: str, sent: Any, event: str, selection: dict[str, Any], count: int
) -> None:
    """Never with the secret."""
    async with ApiBench(KEYS) as api:
        for number in (1, 2, 3):
            api.admin.bury(letter(number))
        api.admin.put(message(5))
        status, _, _ = await api.ask(path, method, ALICE, send=sent)
        assert status < 300
        assert told(api) == [
            {
                "event": f"operator.{event}",
                "key": "alice",
                "selection": selection,
                "count": count,
                "error": None,
            }
        ]
        assert api.server.audit.counts[event] == 1
        assert SECRET not in "".join(api.lines)


async def test_change_without_keys_is_told_of_nobody() -> None:
    """Everybody is let in, so nobody is named."""
    async with ApiBench() as api:
        await api.change("/v1/destinations/a.example/pause")
        assert [event["key"] for event in told(api)] == [None]


async def test_change_that_is_refused_for_want_of_space_is_told_with_the_reason() -> None:
    """Some of it may have been done."""
    async with ApiBench(KEYS) as api:
        api.admin.bury(letter(1))
        api.admin.refusal = NOT_DURABLE_FULL
        status, _, _ = await api.ask(f"{ROOT}/purge", "POST", ALICE, send={"all": True})
        assert status == 503
        (event,) = told(api)
        assert (event["count"], event["error"]) == (0, NOT_DURABLE_FULL.slug)


async def test_what_changes_nothing_is_not_told() -> None:
    """Looking, counting, and asking for what is not there."""
    async with ApiBench(KEYS) as api:
        api.admin.bury(letter(1))
        await api.ask("/v1/stats", headers=ALICE)
        await api.ask(f"{ROOT}/purge", "POST", ALICE, send={"all": True, "dry_run": True})
        await api.ask(f"{ROOT}/{message_id(7)}", "DELETE", ALICE)
        await api.ask(f"/v1/messages/{message_id(7)}", "DELETE", ALICE)
        assert told(api) == []


async def test_refused_key_is_told_with_its_name_where_it_has_one() -> None:
    """A wrong one has none, and is not shown."""
    async with ApiBench(KEYS) as api:
        await api.ask("/v1/stats", headers={"Authorization": "Bearer guessed"})
        await api.ask(f"{ROOT}/purge", "POST", GRAFANA, send={"all": True})
        wrong, forbidden = told(api)
        assert wrong == {
            "event": "operator.key_refused",
            "key": None,
            "address": "127.0.0.1",
            "method": "GET",
            "path": "/v1/stats",
            "error": "key_invalid",
            "untold": 0,
        }
        assert (forbidden["key"], forbidden["error"]) == ("grafana", "key_forbidden")
        assert "guessed" not in "".join(api.lines)


async def test_many_refused_keys_do_not_fill_the_log() -> None:
    """They are counted, and a line now and then says how many there were."""
    async with ApiBench(KEYS) as api:
        now = 1000.0
        api.server.audit._now = lambda: now
        for _ in range(50):
            await api.ask("/v1/stats")
        assert len(told(api)) < 20
        before = len(told(api))
        now += 20
        await api.ask("/v1/stats")
        last = told(api)[-1]
        assert last["untold"] == 50 - before
        assert api.server.audit.counts["key_refused"] == 51


async def test_what_is_exported_and_imported_is_told_with_its_number() -> None:
    """Whoever exports reads every body."""
    async with ApiBench(KEYS) as api:
        api.carrier.carried.append(Carried(sent(), InMemory(b"hello"), None))
        status, _, text = await api.ask("/v1/export?state=waiting", headers=ALICE)
        assert status == 200
        headers = {**ALICE, "Content-Type": "application/x-ndjson"}
        status, _, answer = await api.ask("/v1/import", "POST", headers, body=text.encode())
        assert (status, json.loads(answer)["imported"]) == (200, 1)
        found = [(event["event"], event["key"], event["count"]) for event in told(api)]
        assert found == [("operator.exported", "alice", 1), ("operator.imported", "alice", 1)]


async def test_audit_is_listed_newest_first_in_pages() -> None:
    """With who, what, to which and how many; by action, key and time."""
    async with ApiBench(KEYS) as api:
        for name in "abc":
            await api.ask(f"/v1/destinations/{name}.example/hold", "POST", ALICE)
        await api.ask("/v1/destinations/b.example/resume", "POST", ALICE)

        async def listed(query: str = "") -> Any:
            status, _, text = await api.ask(f"/v1/audit{query}", headers=GRAFANA)
            assert status == 200, text
            return json.loads(text)

        found = await listed()
        assert (found["next"], found["unkept"]) == (None, None)
        first = found["items"][0]
        assert first.pop("at") > "2026"
        assert first == {
            "action": "resumed",
            "key": "alice",
            "selection": {"destination": "http://b.example"},
            "count": 1,
            "error": None,
            "job": None,
        }
        held = await listed("?action=held&limit=2")
        page = await listed(f"?action=held&limit=2&cursor={held['next']}")
        places = [one["selection"]["destination"][7] for one in held["items"] + page["items"]]
        assert (places, page["next"]) == (["c", "b", "a"], None)
        assert (await listed("?key=bob"))["items"] == []
        assert (await listed("?since=2999-01-01T00:00:00Z"))["items"] == []
        api.audit.unkept = "There is no space."
        assert (await listed())["unkept"] == "There is no space."


@pytest.mark.parametrize("query", ["?action=dance", "?limit=0", "?cursor=x", "?since=now", "?x=1"])
async def test_audit_refuses_what_it_does_not_know(query: str) -> None:
    """As any list."""
    async with ApiBench() as api:
        assert (await api.error(f"/v1/audit{query}"))[0] == 400


async def test_refused_keys_do_not_fill_the_audit() -> None:
    """Ten of them, and then one a minute, with the number of those that were left out."""
    async with ApiBench(KEYS) as api:
        now = 1000.0
        api.server.audit._now = lambda: now
        for _ in range(50):
            await api.ask("/v1/stats")
        assert [one.action for one in api.audit.entries] == ["key_refused"] * 10
        now += 60.5
        await api.ask(f"/v1/{'x' * 1000}", headers={"Authorization": "Bearer guessed"})
        last = api.audit.entries[-1]
        assert (last.error, last.selection["untold"]) == ("key_invalid", 40)
        assert len(str(last.selection["path"])) == 200


async def test_job_is_in_the_audit_as_soon_as_it_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kill may come before its end."""
    monkeypatch.setattr(running, "LONG_SECONDS", 0.01)
    async with ApiBench(KEYS) as api:
        for number in range(1, 9):
            api.admin.bury(letter(number))
        sent = {"all": True, "rate": 20}
        await api.ask(f"{ROOT}/redrive", "POST", ALICE, send=sent)
        begun, ended = api.audit.entries
        assert (begun.action, ended.action) == ("job_begun", "redriven")
        assert (begun.key, begun.count, ended.count) == ("alice", None, 8)
        assert begun.selection == {"kind": "redrive", **sent}
        assert begun.job == ended.job
