"""Groups: one request, a message for each member, all or none."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dispatcher.testing.destination import Request, answer
from tests.acceptance.receiver import Gate, Receiver, Receivers, eventually
from tests.acceptance.ruled import Ruled
from tests.acceptance.running import ROOT, dead, metrics, pending_at_start, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Caller, ask, get, post, request

SETTINGS = quick(DISPATCHER_CONFIG="rules.toml", RETRYLIMIT="1")
LARGE = bytes(range(256)) * 4096


def table(*members: str, name: str = "all") -> bytes:
    """A group as it is written."""
    listed = ", ".join(f'"{member}"' for member in members)
    return f'[[group]]\nname = "{name}"\nmembers = [{listed}]\n'.encode()


def ids_of(server: ServerProcess, data: bytes) -> list[str]:
    """Send a request to a group, which must be accepted; return the ids."""
    return ask(server.listen, data).id.split(",")


def came(receiver: Receiver, count: int = 1) -> list[Request]:
    """Requests that a member got, in order."""
    return receiver.received(count)


def line_of(sent: Request) -> str:
    """The request line."""
    return sent.head.partition(b"\r\n")[0].decode("ascii")


def numbers(*receivers: Receiver) -> list[str]:
    """The ids of the first requests of some members."""
    return [came(one)[0].headers["x-dispatcher-message-id"] for one in receivers]


@pytest.fixture
def members(receivers: Receivers) -> Iterator[list[Receiver]]:
    """Three destinations."""
    with ExitStack() as stack:
        yield [stack.enter_context(receivers.open()) for _ in range(3)]


@pytest.fixture
def directory(tmp_path: Path, members: list[Receiver]) -> Path:
    """Where a server has them as a group."""
    (tmp_path / "rules.toml").write_bytes(table(*(one.authority for one in members)))
    return tmp_path


def test_example_of_the_documentation_does_what_it_says(
    tmp_path: Path, members: list[Receiver]
) -> None:
    """The table and the command of docs/rules.md, with destinations that are here."""
    page = (ROOT / "docs/rules.md").read_text("utf-8").partition("## Groups")[2]
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    billing, stock, _ = members
    toml = toml.replace("http://billing.example", billing.authority)
    toml = toml.replace("https://stock.example:8443", stock.authority)
    (tmp_path / "rules.toml").write_text(toml)
    with ServerProcess(tmp_path, **SETTINGS) as server:
        words = shlex.split(command.replace("127.0.0.1:8080", f"127.0.0.1:{server.listen[1]}"))
        said = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        (line,) = re.findall(r"X-Dispatcher-Message-Id: (\S+)", said.stdout)
        assert line.split(",") == numbers(billing, stock)
        for one, target in ((billing, "/new"), (stock, "/in/new")):
            (sent,) = came(one)
            assert line_of(sent) == f"POST {target} HTTP/1.1"
            assert sent.headers["host"] == one.authority
            assert bytes(sent.body) == b'{"id": 7}'


@pytest.mark.parametrize("body", [b"", b"small", bytes(200_000), LARGE], ids=len)
def test_each_member_gets_the_same_request(
    directory: Path, members: list[Receiver], body: bytes
) -> None:
    """Whatever the size of the body; each is a message that counts, with an id of its own."""
    with ServerProcess(directory, **SETTINGS) as server:
        found = ask(
            server.listen,
            post("group:all", "A: 1", "Accept: application/json", path="/p?q", body=body),
        )
        assert found.json == {"ids": found.id.split(",")}
        assert found.json["ids"] == numbers(*members)
        for one in members:
            (sent,) = came(one)
            assert line_of(sent) == "POST /p?q HTTP/1.1"
            assert (sent.headers["host"], sent.headers["a"]) == (one.authority, "1")
            assert bytes(sent.body) == body
        eventually(lambda: metrics(server)["dispatcher_messages_delivered_total"] == 3)
        assert metrics(server)["dispatcher_messages_accepted_total"] == 3


def test_options_are_those_of_each_message(directory: Path, members: list[Receiver]) -> None:
    """Each waits for its time."""
    with ServerProcess(directory, **SETTINGS) as server:
        data = post("group:all", "X-Dispatcher-Retries: 7", "X-Dispatcher-Delay: 1h")
        for number in ids_of(server, data):
            shown = get(server.api, f"/v1/messages/{number}").json
            assert (shown["state"], shown["attempts"]) == ("scheduled", 0)


def test_member_that_is_down_holds_up_no_other(directory: Path, members: list[Receiver]) -> None:
    """It is tried again, and is a dead letter of its own in the end."""
    members[1].fake.default = answer(500)
    with ServerProcess(directory, **SETTINGS, LOG_LEVEL="debug") as server:
        ids = ids_of(server, post("group:all", body=b"x"))
        assert numbers(members[0], members[2]) == [ids[0], ids[2]]
        assert dead(server, ids[1])["attempts"] == 2
        eventually(lambda: metrics(server)["dispatcher_messages_delivered_total"] == 2)


def test_egress_is_checked_for_each_member(tmp_path: Path, receiver: Receiver) -> None:
    """When it is delivered, as of every message."""
    (tmp_path / "rules.toml").write_bytes(table("http://10.0.0.1", receiver.authority))
    settings = {**SETTINGS, "EGRESS": "public", "EGRESS_ALLOW": "127.0.0.1/32"}
    with ServerProcess(tmp_path, **settings) as server:
        first, second = ids_of(server, post("group:all"))
        assert numbers(receiver) == [second]
        assert dead(server, first)["reason"] == "egress_denied"


def test_members_change_with_sighup_also_on_an_open_connection(
    directory: Path, members: list[Receiver]
) -> None:
    """A mistake keeps the old ones; what was accepted before stays as it is."""
    first, second, third = members
    held = third.fake.default = Gate()
    with ServerProcess(directory, **SETTINGS) as server, Caller(server.listen) as caller:
        ruled = Ruled(directory, server)

        def send() -> list[str]:
            caller.send(post("group:all", body=b"x"))
            return caller.answer().id.split(",")

        before = send()
        eventually(lambda: held.held == 1)
        ruled.write("rules.toml", table(first.authority, "no host"))
        ruled.reload("settings.kept")
        assert len(send()) == 3
        ruled.write("rules.toml", table(second.authority))
        assert ruled.reload("settings.reloaded")["replaced"] == ["group"]
        after = send()
        assert came(second, 3)[2].headers["x-dispatcher-message-id"] == after[0]
        ruled.write("rules.toml", table(first.authority, name="other"))
        ruled.reload("settings.reloaded")
        caller.send(post("group:all"))
        refused = caller.answer()
        assert (refused.status, refused.slug) == (400, "group_unknown")
        assert "other" in refused.json["message"]
        third.fake.default = answer()
        held.let_through(answer())
        assert numbers(third) == [before[2]]


def test_heads_that_are_too_long_together_are_413(tmp_path: Path) -> None:
    """Nothing is accepted, and the answer says what to do."""
    (tmp_path / "rules.toml").write_bytes(table(*(f"h{n}.invalid" for n in range(250))))
    with ServerProcess(tmp_path, **SETTINGS) as server:
        refused = ask(server.listen, post("group:all", "A: " + "a" * 3000, body=b"x"))
        assert (refused.status, refused.slug) == (413, "group_too_large")
        assert metrics(server)["dispatcher_messages_accepted_total"] == 0
        assert len(ids_of(server, post("group:all", "X-Dispatcher-Delay: 1h"))) == 250
        assert metrics(server)["dispatcher_messages_accepted_total"] == 250


# kill -9


@pytest.mark.parametrize("body", [b"small", LARGE], ids=len)
def test_all_members_get_it_after_a_kill(
    directory: Path, members: list[Receiver], body: bytes
) -> None:
    """After the 202 and before any attempt ended; ids and bodies are the same."""
    for one in members:
        one.fake.default = Gate()
    with ServerProcess(directory, **SETTINGS) as server:
        ids = ids_of(server, post("group:all", body=body))
        server.kill()
    for one in members:
        one.fake.default = answer()
        one.requests.clear()
    with ServerProcess(directory, **SETTINGS) as server:
        assert pending_at_start(server) == 3
        assert numbers(*members) == ids
        assert [bytes(came(one)[0].body) for one in members] == [body] * 3


def test_members_that_had_it_do_not_get_it_again_after_a_kill(
    directory: Path, members: list[Receiver]
) -> None:
    """Each message is settled for itself."""
    members[2].fake.default = Gate()
    with ServerProcess(directory, **SETTINGS) as server:
        ids = ids_of(server, post("group:all", body=LARGE))
        numbers(*members[:2])
        eventually(lambda: metrics(server)["dispatcher_messages_delivered_total"] == 2)
        # What is settled is written down with the next batch, and this is durable with it.
        assert ask(server.listen, post("later.invalid", "X-Dispatcher-Delay: 1h")).id
        server.kill()
    members[2].fake.default = answer()
    members[2].requests.clear()
    with ServerProcess(directory, **SETTINGS) as server:
        assert pending_at_start(server) == 2
        assert numbers(members[2]) == ids[2:]
        assert [len(one.requests) for one in members] == [1, 1, 1]


@pytest.mark.parametrize("body", [b"small", LARGE], ids=len)
def test_one_key_stands_for_all_messages_through_kills_and_other_members(
    directory: Path, members: list[Receiver], body: bytes
) -> None:
    """A repeat has the ids of the first answer, while they wait, after a crash, after they were
    delivered, and when the group has other members; another request with the key is 409."""
    first, _, third = members
    gate = third.fake.default = Gate()
    data = post("group:all", "X-Dispatcher-Idempotency-Key: k", body=body)

    def again(server: ServerProcess) -> list[str]:
        repeated = ask(server.listen, data)
        assert repeated.headers["x-dispatcher-duplicate"] == "true"
        return repeated.id.split(",")

    with ServerProcess(directory, **SETTINGS) as server:
        ids = ids_of(server, data)
        assert again(server) == ids
        eventually(lambda: gate.held == 1)
        server.kill()
    (directory / "rules.toml").write_bytes(table(first.authority + "/other"))
    with ServerProcess(directory, **SETTINGS) as server:
        assert again(server) == ids
        other = post("group:all", "X-Dispatcher-Idempotency-Key: k", path="/other", body=body)
        refused = ask(server.listen, other)
        assert (refused.status, refused.slug) == (409, "idempotency_conflict")
        third.fake.default = answer()
        gate.let_through(answer())
        eventually(lambda: metrics(server)["dispatcher_messages_delivered_total"] >= 1)
        server.kill()
    with ServerProcess(directory, **SETTINGS) as server:
        assert again(server) == ids
        assert metrics(server)["dispatcher_messages_accepted_total"] == 0
    for one, number in zip(members, ids, strict=True):
        assert {sent.headers["x-dispatcher-message-id"] for sent in one.requests} == {number}


def test_kill_amid_a_body_leaves_nothing(directory: Path, members: list[Receiver]) -> None:
    """Copies of a body whose end never came are no messages."""
    head = request(
        "POST / HTTP/1.1",
        "Host: dispatcher",
        "X-Dispatcher-Origin-Host: group:all",
        f"Content-Length: {len(LARGE)}",
    )
    with ServerProcess(directory, **SETTINGS) as server, Caller(server.listen) as caller:
        caller.send(head + LARGE[:-1])
        eventually(lambda: metrics(server)["dispatcher_log_live_bytes"] > 2 * len(LARGE))
        server.kill()
    with ServerProcess(directory, **SETTINGS) as server:
        assert pending_at_start(server) == 0
        assert len(ids_of(server, post("group:all"))) == 3
        assert [bytes(came(one)[0].body) for one in members] == [b""] * 3


def test_kill_at_any_moment_leaves_all_or_none(directory: Path, members: list[Receiver]) -> None:
    """Callers who were told nothing: of each request every member gets the message, or no one; and
    those that were answered are there."""
    answered: list[str] = []
    sent = 0
    for one in members:
        one.fake.default = Gate()
    for life in range(4):
        with ServerProcess(directory, **SETTINGS) as server, ExitStack() as stack:
            callers = [stack.enter_context(Caller(server.listen)) for _ in range(12)]
            for number, caller in enumerate(callers):
                path, body = f"/{life}-{number}", bytes(1000 if number % 4 else 300_000)
                caller.send(post("group:all", path=path, body=body))
                sent += 1
            for number, caller in enumerate(callers[: 3 * life]):
                assert caller.answer().status == 202
                answered.append(f"/{life}-{number}")
            server.kill()
    for one in members:
        one.fake.default = answer()
    with ServerProcess(directory, **SETTINGS) as server:
        pending = pending_at_start(server)
        assert pending % 3 == 0
        eventually(lambda: metrics(server)["dispatcher_messages_delivered_total"] == pending)
        targets = [{line_of(one).split(" ")[1] for one in member.requests} for member in members]
        assert targets[0] == targets[1] == targets[2]
        assert set(answered) <= targets[0]
        assert len(targets[0]) * 3 == pending
        assert len(answered) <= len(targets[0]) <= sent
