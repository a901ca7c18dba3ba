"""Options of a message where people see them: API, command line, exports."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import accept, dead, failed, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Answer, ask, get, request

SETTINGS = quick(RETRYLIMIT="0", LOG_LEVEL="debug", API_KEYS="")
OPTIONS = (
    "X-Dispatcher-Delay: 1h",
    "X-Dispatcher-Deadline: 2h",
    "X-Dispatcher-Retries: 3",
    "X-Dispatcher-Retry-Delay: 90s",
    "X-Dispatcher-Retry-Max-Delay: 1h30m",
    "X-Dispatcher-Label: orders",
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that gives up after one attempt."""
    (tmp_path / "first").mkdir()
    with ServerProcess(tmp_path / "first", **SETTINGS) as running:
        yield running


def post_json(server: ServerProcess, path: str, **fields: object) -> Answer:
    """Ask the API to do something."""
    body = json.dumps(fields)
    return ask(
        server.api,
        request(
            f"POST {path} HTTP/1.1",
            "Host: api",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            body=body.encode(),
        ),
    )


def die(server: ServerProcess, receiver: Receiver, *headers: str) -> str:
    """Have a message that is dead; returns its id."""
    receiver.fake.default = answer(404)
    number = accept(server, receiver, *headers).id
    assert number is not None
    dead(server, number)
    return number


def listed(server: ServerProcess, query: str) -> list[str]:
    """The ids of a list of dead letters."""
    return [one["id"] for one in get(server.api, f"/v1/dead-letters?{query}").json["items"]]


def command(server: ServerProcess, directory: Path, *arguments: str) -> str:
    """Run a command beside a server; returns what it printed."""
    host, port = server.api
    listen_host, listen_port = server.listen
    ran = run(
        directory,
        *arguments,
        DISPATCHER_API=f"http://{host}:{port}",
        DISPATCHER_LISTENER=f"http://{listen_host}:{listen_port}",
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_message_and_letter_show_their_options(server: ServerProcess, receiver: Receiver) -> None:
    """By the names of their headers, instants in place of spans; the label also by itself."""
    number = accept(server, receiver, *OPTIONS).id
    shown = get(server.api, f"/v1/messages/{number}").json
    assert shown["label"] == "orders"
    options = shown["options"]
    assert list(options) == [
        "not_before", "deadline", "retries", "retry_delay", "retry_max_delay", "label",
    ]  # fmt: skip
    times = [datetime.fromisoformat(shown["next_attempt_at"])]
    times += [datetime.fromisoformat(options[name]) for name in ("not_before", "deadline")]
    assert abs(times[1] - times[0]) < timedelta(seconds=1)
    assert times[2] - times[1] == timedelta(hours=1)
    assert (options["retries"], options["retry_delay"]) == ("3", "1m30s")
    plain = die(server, receiver)
    other = die(server, receiver, "X-Dispatcher-Label: orders", "X-Dispatcher-Retries: 0")
    first, second = get(server.api, "/v1/dead-letters").json["items"]
    assert (first["id"], first["label"], first["options"]) == (plain, None, {})
    asked = {"retries": "0", "label": "orders"}
    assert (second["label"], second["options"]) == ("orders", asked)
    letter = get(server.api, f"/v1/dead-letters/{other}").json
    assert (letter["label"], letter["options"]) == ("orders", asked)
    message = get(server.api, f"/v1/messages/{other}").json
    assert (message["state"], message["label"], message["options"]) == ("dead", "orders", asked)


def test_delivered_message_shows_its_options(server: ServerProcess, receiver: Receiver) -> None:
    """As long as it is known. A timeout is shown of one that waits."""
    headers = ("X-Dispatcher-Label: done", "X-Dispatcher-Retries: 7", "X-Dispatcher-Timeout: 1m")
    numbers = [accept(server, receiver, *headers).id, accept(server, receiver).id]
    receiver.received(2)
    shown = [eventually(partial(_delivered, server, number)) for number in numbers]
    assert [one and (one["label"], one["options"]) for one in shown] == [
        ("done", {"retries": "7", "label": "done"}),
        (None, {}),
    ]
    waits = accept(server, receiver, "X-Dispatcher-Delay: 1h", *headers).id
    options = get(server.api, f"/v1/messages/{waits}").json["options"]
    assert list(options) == ["timeout", "not_before", "retries", "label"]
    assert options["timeout"] == "1m"


def _delivered(server: ServerProcess, number: str | None) -> dict[str, Any] | None:
    found: dict[str, Any] = get(server.api, f"/v1/messages/{number}").json
    return found if found.get("state") == "delivered" else None


def test_dead_letters_are_found_by_their_label(
    server: ServerProcess, receiver: Receiver, tmp_path: Path
) -> None:
    """In lists, groups, redrives and purges; also after a restart."""
    plain = die(server, receiver)
    a = [die(server, receiver, "X-Dispatcher-Label: a") for _ in range(2)]
    b = die(server, receiver, "X-Dispatcher-Label: b")
    assert listed(server, "label=a") == a
    assert listed(server, "label=c") == []
    (group,) = get(server.api, "/v1/dead-letters/groups?label=a").json["items"]
    assert group["count"] == 2
    server.kill()
    with ServerProcess(tmp_path / "first", **SETTINGS) as again:
        assert listed(again, "label=a") == a
        assert listed(again, "label=b") == [b]
        receiver.fake.default = answer()
        before = len(receiver.requests)
        done = post_json(again, "/v1/dead-letters/redrive", all=True, label="a")
        assert done.json["redriven"] == 2
        assert len(receiver.received(before + 2)) == before + 2
        done = post_json(again, "/v1/dead-letters/purge", all=True, label="b")
        assert done.json["purged"] == 1
        assert listed(again, "") == [plain]
        refused = get(again.api, "/v1/dead-letters?label=a%20b")
        assert (refused.status, refused.slug) == (400, "parameter_invalid")


def test_commands_show_and_find_labels(
    server: ServerProcess, receiver: Receiver, tmp_path: Path
) -> None:
    """`message`, `dead list`, `dead show`, `dead groups` and `dead redrive --label`."""
    waits = accept(server, receiver, *OPTIONS).id
    assert waits is not None
    shown = command(server, tmp_path, "message", waits)
    assert "label:            orders" in shown
    assert "retry delay:      1m30s" in shown
    number = die(server, receiver, "X-Dispatcher-Label: late", "X-Dispatcher-Retries: 0")
    die(server, receiver)
    assert command(server, tmp_path, "dead", "list", "--label", "late").split()[-1] == "late"
    shown = command(server, tmp_path, "dead", "show", number)
    assert "label:" in shown
    assert "retries:" in shown
    found = json.loads(command(server, tmp_path, "dead", "groups", "--label", "late", "--json"))
    assert found["count"] == 1
    command(server, tmp_path, "dead", "redrive", "--label", "late")
    receiver.received(3)


def test_options_are_carried_to_another_server(
    server: ServerProcess, receiver: Receiver, tmp_path: Path
) -> None:
    """Of messages that wait, and of dead letters; `export --label` takes those of both kinds that
    have it."""
    accept(server, receiver, *OPTIONS)
    accept(server, receiver, "X-Dispatcher-Delay: 1h", "X-Dispatcher-Label: other")
    accept(server, receiver, "X-Dispatcher-Delay: 1h")
    die(server, receiver, "X-Dispatcher-Label: orders", "X-Dispatcher-Deadline: 1h")
    die(server, receiver)
    command(server, tmp_path, "export", "some.ndjson", "--label", "orders")
    lines = [json.loads(line) for line in (tmp_path / "some.ndjson").read_text().splitlines()]
    assert sorted(line["state"] for line in lines) == ["dead", "waiting"]
    command(server, tmp_path, "export", "waits.ndjson", "--state", "waiting", "--label", "other")
    (line,) = (tmp_path / "waits.ndjson").read_text().splitlines()
    assert json.loads(line)["options"]["label"] == "other"
    (tmp_path / "second").mkdir()
    with ServerProcess(tmp_path / "second", **SETTINGS) as second:
        command(second, tmp_path, "import", "some.ndjson")
        command(second, tmp_path, "export", "again.ndjson")
        again = [json.loads(line) for line in (tmp_path / "again.ndjson").read_text().splitlines()]
        assert sorted((one["state"], one["options"]) for one in again) == sorted(
            (one["state"], one["options"]) for one in lines
        )
        (letter,) = get(second.api, "/v1/dead-letters?label=orders").json["items"]
        assert list(letter["options"]) == ["deadline", "label"]
        waits = next(one["id"] for one in again if one["state"] == "waiting")
        assert get(second.api, f"/v1/messages/{waits}").json["state"] == "scheduled"


def test_redriven_message_keeps_what_makes_sense(server: ServerProcess, receiver: Receiver) -> None:
    """Label and retries; no delay and no deadline."""
    receiver.fake.default = answer(404)
    number = accept(server, receiver, "X-Dispatcher-Delay: 1ms", *OPTIONS[1:]).id
    assert number is not None
    dead(server, number)
    receiver.fake.default = answer(503)
    done = post_json(server, "/v1/dead-letters/redrive", ids=[number])
    assert done.json["redriven"] == 1

    def failed_again() -> dict[str, object] | None:
        shown: dict[str, object] = get(server.api, f"/v1/messages/{number}").json
        return shown if shown["last_error"] == "http_503" else None

    shown = eventually(failed_again)
    assert shown is not None
    assert (shown["state"], shown["label"]) == ("scheduled", "orders")
    assert shown["options"] == {
        "retries": "3", "retry_delay": "1m30s", "retry_max_delay": "1h30m", "label": "orders",
    }  # fmt: skip


def test_explain_tells_a_delay_from_a_retry(server: ServerProcess, receiver: Receiver) -> None:
    """And names the deadline and the retries that the message has of its own."""
    later = accept(server, receiver, *OPTIONS).id
    assert later is not None
    said = get(server.api, f"/v1/messages/{later}/explain").json
    assert said["reason"] == "scheduled"
    assert said["message"].startswith("Its caller asked for it later, with X-Dispatcher-Delay")
    assert "by X-Dispatcher-Retries: 3 at most" in said["message"]
    options = get(server.api, f"/v1/messages/{later}").json["options"]
    assert f"at its deadline, {options['deadline']}." in said["message"]
    assert said["until"][:19] == said["expected_at"][:19]
    receiver.fake.default = answer(503)
    again = accept(server, receiver, *OPTIONS[2:]).id
    assert again is not None
    failed(server, again)

    def told() -> str | None:
        found = get(server.api, f"/v1/messages/{again}/explain").json
        return str(found["message"]) if found["reason"] == "scheduled" else None

    text = eventually(told)
    assert text is not None
    assert text.startswith("Attempt 1 failed; the next one is not made before the delay is over.")
    assert "by X-Dispatcher-Retries: 3 at most" in text


def test_label_is_in_the_lines_of_the_log_and_in_events(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Of every event of its message, and of no other."""
    receiver.script(answer(), answer(404), answer(404))
    with Listening(server.api) as listening:
        labelled = [
            accept(server, receiver, "X-Dispatcher-Label: orders", "X-Dispatcher-Retries: 0").id
            for _ in range(2)
        ]
        plain = accept(server, receiver).id
        assert plain is not None
        dead(server, plain)
        events = listening.until(lambda one: (one["event"], one["id"]) == ("dead", plain))
    assert {one["event"] for one in events} == {"accepted", "attempted", "delivered", "dead"}
    for one in events:
        assert one.get("label") == ("orders" if one["id"] in labelled else None)
    names = ("message.accepted", "message.delivered", "attempt.finished", "message.dead_lettered")
    lines = [line for line in server.lines if line["event"] in names]
    assert {line["event"] for line in lines} == set(names)
    for line in lines:
        assert line.get("label") == ("orders" if line["id"] in labelled else None)
        assert ("label" in line) == (line["id"] in labelled)


class Listening:
    """A reader of `/v1/events` that is heard of."""

    def __init__(self, api: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*api, timeout=60)
        self._connection.request("GET", "/v1/events")
        self._answer = self._connection.getresponse()
        assert self._block() == [": listening"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def until(self, is_last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The events up to one of them: their data, with the name as `event`."""
        found: list[dict[str, Any]] = []
        while not found or not is_last(found[-1]):
            block = self._block()
            if len(block) == 2:
                name, data = (line.partition(": ")[2] for line in block)
                found.append({"event": name, **json.loads(data)})
        return found

    def _block(self) -> list[str]:
        lines: list[str] = []
        while line := self._answer.readline().decode().rstrip("\n"):
            lines.append(line)
        return lines
