"""Dead letters by what an operator knows of them: API and command line, to look and to act."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver
from tests.acceptance.running import dead, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.test_operating import ok
from tests.acceptance.wire import ask, get, request

SETTINGS = {"RETRYLIMIT": "0", "RETRY_DELAY": "0"}


@pytest.fixture
def ids(server: ServerProcess, receiver: Receiver) -> list[str]:
    """Four letters, of different methods, targets, keys and reasons."""
    found = []
    for method, target, key, status in (
        ("POST", "/orders/1", "a", 404),
        ("PUT", "/orders/2", "b", 503),
        ("POST", "/bills/3?x", "a", 503),
        ("DELETE", "/orders/1/4", "", 404),
    ):
        receiver.script(answer(status))
        sent = request(
            f"{method} {target} HTTP/1.1",
            "Host: dispatcher",
            f"X-Dispatcher-Origin-Host: {receiver.authority}",
            "Content-Length: 0",
            *([f"X-Dispatcher-Order-Key: {key}"] if key else []),
        )
        found.append(ask(server.listen, sent).id)
        dead(server, found[-1])
    return found


@pytest.mark.parametrize(
    ("which", "found"),
    [
        ({"target": "/orders/"}, [0, 1, 3]),
        ({"target": "/orders/1", "method": "POST"}, [0]),
        ({"method": "PUT"}, [1]),
        ({"method": "put"}, []),
        ({"order_key": "a"}, [0, 2]),
        ({"order_key": "a", "reason": "rejected"}, [0]),
        ({"reason": "retries_exhausted"}, [1, 2]),
        ({"reason": "expired"}, []),
    ],
)
def test_letters_are_found_by_what_is_known_of_them(
    server: ServerProcess,
    receiver: Receiver,
    ids: list[str],
    tmp_path: Path,
    which: dict[str, str],
    found: list[int],
) -> None:
    """In the list, page by page, on the command line, and in the count of a dry run."""
    which = {"destination": f"http://{receiver.authority}", **which}
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        asked = {**which, "limit": "2", **({"cursor": cursor} if cursor else {})}
        page = get(server.api, f"/v1/dead-letters?{urlencode(asked)}").json
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"]
    assert [ids.index(one) for one in seen] == found
    host, port = server.api
    options = [f"--{name.replace('_', '-')}={value}" for name, value in which.items()]
    ran = run(tmp_path, "dead", "list", "--json", *options, "--url", f"http://{host}:{port}")
    assert [ids.index(json.loads(line)["id"]) for line in ran.stdout.splitlines()] == found
    for verb, counted in (("redrive", "redriven"), ("purge", "purged")):
        said = ok(server, "POST", f"/v1/dead-letters/{verb}", {**which, "dry_run": True})
        assert said[counted] == len(found)


def test_letters_of_an_order_key_are_redriven_and_the_others_stay(
    server: ServerProcess, receiver: Receiver, ids: list[str]
) -> None:
    """What was looked at is what is done."""
    where = f"http://{receiver.authority}"
    which = {"destination": where, "order_key": "a", "method": "POST"}
    assert ok(server, "POST", "/v1/dead-letters/redrive", which)["redriven"] == 2
    left = get(server.api, f"/v1/dead-letters?{urlencode({'destination': where})}").json["items"]
    assert [one["id"] for one in left] == [ids[1], ids[3]]


def test_groups_know_reasons_and_nothing_of_records(
    server: ServerProcess, receiver: Receiver, ids: list[str]
) -> None:
    """What the index does not know would have to be read for every letter."""
    where = urlencode({"destination": f"http://{receiver.authority}"})
    groups = get(server.api, f"/v1/dead-letters/groups?{where}&reason=rejected").json
    assert [(one["reason"], one["count"]) for one in groups["items"]] == [("rejected", 2)]
    refused = get(server.api, f"/v1/dead-letters/groups?{where}&order_key=a")
    assert (refused.status, refused.json["error"]) == (400, "parameter_unknown")


def test_reason_that_there_is_none_is_refused_with_those_there_are(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Nothing found would say that there are no such letters."""
    host, port = server.api
    where = ("--url", f"http://{host}:{port}")
    ran = run(tmp_path, "dead", "list", "--reason", "bad", *where)
    assert ran.returncode == 2
    assert "expected one of retries_exhausted, rejected" in ran.stderr
