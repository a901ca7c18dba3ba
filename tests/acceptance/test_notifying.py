"""[[notify]]: being told of what goes wrong, by messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.functions import Client, Endpoint, fails
from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.ruled import Ruled
from tests.acceptance.running import accept, dead, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, get, post


@pytest.fixture
def ruled(tmp_path: Path) -> Iterator[Ruled]:
    """A server whose tables a test writes. It must log no error."""
    (tmp_path / "rules.toml").touch()
    settings = quick(DISPATCHER_CONFIG="rules.toml", RETRYLIMIT="1000")
    with ServerProcess(tmp_path, **settings) as server:
        yield Ruled(tmp_path, server)
        assert server.stop() == 0
        assert [line for line in server.lines if line["level"] == "error"] == []


@pytest.fixture
def hook(receivers: Receivers) -> Iterator[Receiver]:
    """Where notifications go."""
    with receivers.open() as made:
        yield made


def tell(ruled: Ruled, hook: Receiver, *tables: str) -> None:
    """Put tables into force; `URL` is the hook's."""
    text = "\n".join(f"[[notify]]\n{table}" for table in tables)
    ruled.write("rules.toml", text.replace("URL", f"http://{hook.authority}").encode())
    assert "notify" in ruled.reload("settings.reloaded")["replaced"]


def told(hook: Receiver, path: str = "/") -> list[dict[str, Any]]:
    """Notifications that came to a path, as JSON."""
    start = f"POST {path} ".encode()
    whole = [one for one in list(hook.requests) if one.head.startswith(start)]
    return [json.loads(one.body) for one in whole if one.body]


def test_destination_that_fails_is_told_once_and_when_it_answers_again(
    ruled: Ruled, receiver: Receiver, hook: Receiver
) -> None:
    """After `for`, with how many messages wait; another one, that another table is about, is not.
    Notifications are messages with the label `notify`."""
    tell(
        ruled,
        hook,
        f'on = "destination_failing"\nurl = "URL/"\nfor = "1s"\nat_most = "9/1s"\n'
        f'destination = "{receiver.authority}"',
        'on = "destination_failing"\nurl = "URL/other"\nfor = "1s"\ndestination = "a.example"',
    )
    receiver.fake.default = answer(503)
    for _ in range(3):
        accept(ruled.server, receiver)
    (began,) = eventually(lambda: told(hook))
    name = f"http://{receiver.authority}"
    assert (began["version"], began["kind"], began["state"]) == (1, "destination_failing", "began")
    assert began["details"]["destination"] == name
    assert began["details"]["waiting"] + 1 >= 3  # one may be under way
    assert began["details"]["last_error"] == "http_503"
    assert began["left_out"] == 0
    receiver.fake.default = answer(200)
    eventually(lambda: len(told(hook)) > 1)
    began, resolved = told(hook)
    assert (resolved["state"], resolved["text"]) == ("resolved", f"{name} answers again.")
    number = hook.requests[0].headers["x-dispatcher-message-id"]
    shown = get(ruled.server.api, f"/v1/messages/{number}").json
    assert (shown["state"], shown["target"]) == ("delivered", "/")
    assert told(hook, "/other") == []


def test_flood_of_dead_letters_is_one_notification_and_one_with_their_number(
    ruled: Ruled, receiver: Receiver, hook: Receiver
) -> None:
    """Each table has a limit of its own; of 20 letters none is forgotten."""
    tell(
        ruled,
        hook,
        'on = "dead_letter"\nurl = "URL/slack"\nformat = "slack"\nat_most = "1/1h"',
        'on = "dead_letter"\nurl = "URL/json"\nat_most = "1/1s"',
    )
    receiver.fake.default = answer(404)
    numbers = [accept(ruled.server, receiver, "X-Dispatcher-Label: orders").id for _ in range(20)]
    for number in numbers:
        dead(ruled.server, number)

    def count() -> int:
        return sum(1 + one["left_out"] for one in told(hook, "/json"))

    eventually(lambda: count() == 20)
    first = told(hook, "/json")[0]
    assert first["details"]["id"] in numbers
    assert first["details"]["label"] == "orders"
    (slack,) = told(hook, "/slack")
    assert slack.keys() == {"text"}
    assert slack["text"].startswith(f":warning: A message to http://{receiver.authority} was given")
    assert count() == 20


def test_tables_that_are_the_same_have_a_limit_each(
    ruled: Ruled, receiver: Receiver, hook: Receiver
) -> None:
    """After the tables were read again too: each tells its first, and counts nothing twice."""
    same = 'on = "dead_letter"\nurl = "URL/"\nat_most = "1/1h"'
    tell(ruled, hook, same, same)
    tell(ruled, hook, same, same, 'on = "disk_low"\nurl = "URL/other"\nbelow = "1"')
    receiver.fake.default = answer(404)
    number = accept(ruled.server, receiver).id
    eventually(lambda: len(told(hook)) == 2)
    assert {one["details"]["id"] for one in told(hook)} == {number}


def test_notification_that_dies_makes_no_other(
    ruled: Ruled, receiver: Receiver, hook: Receiver
) -> None:
    """Whatever its destination says, and where it may not be sent."""
    tell(
        ruled,
        hook,
        'on = "dead_letter"\nurl = "URL/"\nat_most = "1000/1s"',
        'on = "dead_letter"\nurl = "http://169.254.169.254/latest"',
    )
    hook.fake.default = answer(404)
    receiver.fake.default = answer(404)
    for expected in (2, 3):
        dead(ruled.server, accept(ruled.server, receiver).id)
        eventually(lambda: len(labelled(ruled)) >= expected)  # noqa: B023
    reasons = sorted(line["reason"] for line in labelled(ruled))
    assert reasons == ["egress_denied", "rejected", "rejected"]
    assert len(told(hook)) == 2


def labelled(ruled: Ruled) -> list[dict[str, Any]]:
    """Notifications that were given up."""
    events = ruled.server.events("message.dead_lettered")
    return [line for line in events if line.get("label") == "notify"]


def test_headers_and_a_url_come_from_files_that_are_read_again(
    ruled: Ruled, receiver: Receiver, hook: Receiver
) -> None:
    """A mistake keeps what there is."""
    token = ruled.write("token", b"one")
    target = ruled.write("hook", f"http://{hook.authority}/secret".encode())
    table = (
        f'on = "dead_letter"\nurl = "file:{target}"\nat_most = "9/1s"\n'
        f'headers = {{Authorization = "file:{token}"}}'
    )
    tell(ruled, hook, table)
    receiver.fake.default = answer(404)
    for value in ("one", "two"):
        ruled.write("token", value.encode())
        ruled.reload("settings.reloaded")
        before = len(told(hook, "/secret"))
        accept(ruled.server, receiver)
        eventually(lambda: len(told(hook, "/secret")) > before)  # noqa: B023
        assert hook.requests[-1].headers["authorization"] == value
    ruled.write("rules.toml", b"[[notify]]\non = 3")
    assert "notify 1: " in ruled.reload("settings.kept")["reason"]
    accept(ruled.server, receiver)
    eventually(lambda: len(told(hook, "/secret")) == 3)


def test_disk_that_has_less_than_it_should_is_told(ruled: Ruled, hook: Receiver) -> None:
    """Once."""
    tell(ruled, hook, 'on = "disk_low"\nurl = "URL/"\nbelow = "900000TiB"\nat_most = "9/1s"')
    (one,) = eventually(lambda: told(hook))
    assert (one["kind"], one["state"]) == ("disk_low", "began")
    assert 0 < one["details"]["free_bytes"] < one["details"]["total_bytes"]


def test_call_that_fails_is_told(ruled: Ruled, hook: Receiver) -> None:
    """A root call that is given up for good."""
    tell(ruled, hook, 'on = ["call_failed"]\nurl = "URL/"')
    with Endpoint(lambda _: fails(7)) as endpoint:
        (number,) = Client(ruled.server).dispatch(endpoint.call("work"))
        (one,) = eventually(lambda: told(hook))
    assert one["kind"] == "call_failed"
    assert one["details"]["id"] == number
    assert one["details"]["function"] == "work"


def test_test_is_sent_to_each_or_to_one(ruled: Ruled, hook: Receiver) -> None:
    """With the tables of the environment, through the listener; `config check` shows them."""
    tell(
        ruled,
        hook,
        'on = "dead_letter"\nurl = "URL/"',
        'on = "dead_letter"\nurl = "URL/slack"\nformat = "slack"',
    )
    listener = ("--listener", "http://{}:{}".format(*ruled.server.listen))
    named = {"DISPATCHER_CONFIG": "rules.toml"}
    for which, count in (((), 2), (("2",), 1)):
        ended = run(ruled.directory, "notify", "test", *which, *listener, **named)
        assert ended.returncode == 0, ended.stderr
        assert len(ended.stdout.split()) == count
    eventually(lambda: len(told(hook)) == 1 and len(told(hook, "/slack")) == 2)
    assert told(hook)[0]["kind"] == "test"
    assert "This is a test" in told(hook, "/slack")[0]["text"]
    assert run(ruled.directory, "notify", "test", "3", *listener, **named).returncode == 2
    assert run(ruled.directory, "notify", "test", *listener).returncode == 2
    check = run(ruled.directory, "config", "check", **named).stdout
    assert f"notify 1: on=[dead_letter] url=http://{hook.authority}/…" in check


def test_server_without_tables_tells_nobody(
    ruled: Ruled, receiver: Receiver, hook: Receiver
) -> None:
    """And a table that is gone tells nothing more."""
    tell(ruled, hook, 'on = "dead_letter"\nurl = "URL/"')
    ruled.write("rules.toml", b"")
    ruled.reload("settings.reloaded")
    receiver.fake.default = answer(404)
    number = ask(ruled.server.listen, post(receiver.authority)).id
    dead(ruled.server, number)
    accept(ruled.server, hook)
    hook.received(1)
    assert told(hook) == []
