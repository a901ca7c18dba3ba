"""What is secret in the headers of a dead letter is shown to nobody who did not ask for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import accept, dead, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import get

SETTINGS = {
    "API_KEYS": "ann:admin:adm1n,ray:read:re4d",
    "MASK_HEADERS": "X-Api-Key, X-Session",
    "LOG_LEVEL": "debug",
}
ADMIN, READ = "Authorization: Bearer adm1n", "Authorization: Bearer re4d"
SENT = (
    "Authorization: Bearer s3cret",
    "Cookie: id=s3cret",
    "x-api-key: s3cret",
    "X-Plain: shown",
)


@pytest.fixture
def letter(server: ServerProcess, receiver: Receiver) -> str:
    """The path of a dead letter with secrets in its headers."""
    receiver.script(answer(404))
    number = accept(server, receiver, *SENT).id
    dead(server, number)
    return f"/v1/dead-letters/{number}"


def headers(server: ServerProcess, path: str, key: str) -> dict[str, str]:
    """The headers of a letter, as a key is shown them."""
    answered = get(server.api, path, key)
    assert answered.status == 200, answered
    return dict(answered.json["headers"])


@pytest.mark.parametrize("key", [ADMIN, READ])
def test_secrets_are_masked_for_whoever_looks(server: ServerProcess, letter: str, key: str) -> None:
    """The scheme of a login stays, as do other headers."""
    shown = headers(server, letter, key)
    assert shown["Authorization"] == "Bearer ***"
    assert (shown["Cookie"], shown["x-api-key"], shown["X-Plain"]) == ("***", "***", "shown")
    assert "s3cret" not in str(get(server.api, letter, key).body)


def test_admin_who_asks_sees_them_and_that_is_told(server: ServerProcess, letter: str) -> None:
    """The event says who, and of which letter."""
    shown = headers(server, f"{letter}?reveal=true", ADMIN)
    assert {": ".join(line) for line in shown.items()} >= set(SENT)
    which = {"id": letter.rpartition("/")[2]}

    def told() -> list[str]:
        revealed = [one for one in list(server.lines) if one["event"] == "operator.revealed"]
        return [one["key"] for one in revealed if one["selection"] == which]

    assert eventually(told) == ["ann"]


def test_key_that_may_only_read_is_refused(server: ServerProcess, letter: str) -> None:
    """Secrets, and exports, in which nothing is masked."""
    for path in (f"{letter}?reveal=true", "/v1/export?state=dead"):
        answered = get(server.api, path, READ)
        assert (answered.status, answered.json["error"]) == (403, "key_forbidden")


def test_command_shows_them_when_it_is_told_to(
    server: ServerProcess, letter: str, tmp_path: Path
) -> None:
    """`--reveal`, with the key of an admin."""
    host, port = server.api
    number = letter.rpartition("/")[2]

    def show(*options: str, key: str) -> tuple[int, str]:
        ran = run(
            tmp_path,
            *("dead", "show", number, *options),
            DISPATCHER_API=f"http://{host}:{port}",
            DISPATCHER_KEY=key,
        )
        return ran.returncode, ran.stdout

    assert show(key="adm1n")[1].count("***") == 3
    assert ["Cookie", "id=s3cret"] in json.loads(show("--reveal", "--json", key="adm1n")[1])[
        "headers"
    ]
    assert show("--reveal", key="re4d")[0] == 8


def test_export_of_an_admin_is_complete(server: ServerProcess, letter: str, tmp_path: Path) -> None:
    """It is for sending the messages somewhere else."""
    host, port = server.api
    api = {"DISPATCHER_API": f"http://{host}:{port}", "DISPATCHER_KEY": "adm1n"}
    exported = run(tmp_path, "export", "--state", "dead", "-", **api).stdout
    (line,) = [x for x in map(json.loads, exported.splitlines()) if x["id"] in letter]
    assert ["Cookie", "id=s3cret"] in line["headers"]
