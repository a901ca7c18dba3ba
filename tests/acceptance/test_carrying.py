"""Messages and dead letters out of one dispatcher and into another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dispatcher.testing.destination import answer
from tests.acceptance.functions import Client, Endpoint, an_any, exits, fails
from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import ROOT, accept, dead, lines_of, quick, run
from tests.acceptance.served import ServerProcess

_GOLDEN = ROOT / "tests/golden/first_dispatcher"
_LARGE = bytes(range(256)) * 3000


def commanded(server: ServerProcess, directory: Path, *arguments: str, code: int = 0) -> str:
    """What a command prints that speaks to a server."""
    host, port = server.api
    ended = run(directory, *arguments, "--url", f"http://{host}:{port}")
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def exported(server: ServerProcess, directory: Path, *arguments: str) -> list[dict[str, Any]]:
    """The lines of an export."""
    commanded(server, directory, "export", "out.ndjson", "--force", *arguments)
    return [json.loads(line) for line in (directory / "out.ndjson").read_text().splitlines()]


@contextmanager
def second(directory: Path, **settings: str) -> Iterator[ServerProcess]:
    """Another server, with logs of its own."""
    place = directory / "second"
    place.mkdir(exist_ok=True)
    with ServerProcess(place, **quick(**settings)) as server:
        yield server


def test_carried_messages_are_sent_as_they_would_have_been(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Byte for byte, small and large, by the other dispatcher and under its ids; those of the first
    are still there."""
    with ServerProcess(tmp_path, **quick()) as first:
        commanded(first, tmp_path, "hold", receiver.authority)
        odd = ("X-Odd: \xff\xfe", "x-spelling:  two blanks ", "X-Dispatcher-Timeout: 5s")
        ids = [accept(first, receiver, *odd, body=body).id for body in (b"", b"\0\xff", _LARGE)]
        lines = exported(first, tmp_path, "--state", "waiting")
        assert sorted(line["id"] for line in lines) == sorted(ids)
        assert {line["timeout_ms"] for line in lines} == {5000}
        with second(tmp_path) as other:
            assert "3 messages imported" in commanded(other, tmp_path, "import", "out.ndjson")
            there = {bytes(one.body): one for one in receiver.received(3)}
        commanded(first, tmp_path, "resume", receiver.authority)
        here = {bytes(one.body): one for one in receiver.received(6)[3:]}
    assert set(there) == set(here) == {b"", b"\0\xff", _LARGE}
    for body, one in here.items():
        assert lines_of(there[body]) == lines_of(one)
        assert (
            there[body].headers["x-dispatcher-message-id"] != one.headers["x-dispatcher-message-id"]
        )


def test_idempotency_key_of_a_redirected_message_stays_where_its_caller_sends_it(
    tmp_path: Path, receiver: Receiver, receivers: Receivers
) -> None:
    """In the other dispatcher too: the same request is a duplicate there, and at the new
    destination the key is free."""
    key = "X-Dispatcher-Idempotency-Key: k1"
    with receivers.open() as new, ServerProcess(tmp_path, **quick()) as first:
        for place in (receiver, new):
            commanded(first, tmp_path, "hold", place.authority)
        moved = accept(first, receiver, key, body=b"once").id
        commanded(first, tmp_path, "messages", "redirect", moved, "--to", new.authority)
        (line,) = exported(first, tmp_path)
        assert line["destination"] == f"http://{new.authority}"
        assert line["key_place"] == f"http://{receiver.authority}"
        with second(tmp_path) as other:
            for place in (receiver, new):
                commanded(other, tmp_path, "hold", place.authority)
            commanded(other, tmp_path, "import", "out.ndjson")
            assert "there already" in commanded(other, tmp_path, "import", "out.ndjson")
            again = accept(other, receiver, key, body=b"once")
            assert again.headers["x-dispatcher-duplicate"] == "true"
            free = accept(other, new, key, body=b"another")
            assert "x-dispatcher-duplicate" not in free.headers
            commanded(other, tmp_path, "resume", new.authority)
            assert sorted(bytes(one.body) for one in new.received(2)) == [b"another", b"once"]
    assert receiver.requests == []


def test_dead_letters_stay_dead_with_their_history(tmp_path: Path, receiver: Receiver) -> None:
    """Until somebody redrives them; then they are sent with attempts from 1."""
    with ServerProcess(tmp_path, **quick(RETRYLIMIT="1")) as first:
        for status, body in ((404, b"small"), (503, _LARGE)):
            receiver.script(*[answer(status, body=b"why not")] * (2 if status == 503 else 1))
            dead(first, accept(first, receiver, body=body).id)
        lines = exported(first, tmp_path, "--state", "dead")
        assert [len(line["history"]) for line in lines] == [1, 2]
        assert [len(one) for one in exported(first, tmp_path, "--status", "404", "--state", "dead")]
        commanded(first, tmp_path, "export", "all.ndjson")
    with second(tmp_path) as other:
        commanded(other, tmp_path, "import", "all.ndjson")
        (small, large) = exported(other, tmp_path, "--state", "dead")
        for old, new in zip(lines, (small, large), strict=True):
            same = ("destination", "target", "headers", "body", "reason", "detail", "attempts")
            assert {name: old[name] for name in same} == {name: new[name] for name in same}
            assert old["history"] == new["history"]
            assert old["id"] != new["id"]
        before = len(receiver.requests)
        commanded(other, tmp_path, "dead", "redrive", "--all", "--yes")
        bodies = {bytes(one.body) for one in receiver.received(before + 2)[before:]}
        assert bodies == {b"small", _LARGE}
        assert receiver.requests[-1].headers["x-dispatcher-attempt"] == "1"


def test_dead_calls_are_carried_and_run_again_from_their_input(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    """What is reported is on disk: kill -9 loses none. They are dead letters under new ids, with
    all that was known, until somebody redrives them."""
    large = bytes(range(256)) * 2048
    endpoint.answer = lambda run: fails(7, "KeyError")
    with ServerProcess(tmp_path, **quick()) as first:
        client = Client(first)
        inputs = [an_any(b"in"), an_any(large)]
        ids = client.dispatch(*[endpoint.call("f", input=one) for one in inputs])
        for id in ids:
            eventually(lambda id=id: client.ask("GET", f"/v1/dead-letters/{id}").status == 200)  # type: ignore[misc]  # bound at once
        lines = exported(first, tmp_path, "--state", "dead", "--kind", "call")
        assert sorted(line["id"] for line in lines) == sorted(ids)
    with (tmp_path / "out.ndjson").open("a") as file:
        file.write('{"kind": "call", "destination": "ftp://a", "function": "f"}\n')
    with second(tmp_path) as other:
        said = commanded(other, tmp_path, "import", "out.ndjson", code=1)
        assert "2 messages imported" in said
        assert "Line 3 is not imported: destination must begin with http://" in said
        other.kill()
    endpoint.answer = lambda run: exits(b"at last")
    with second(tmp_path) as other:
        found = exported(other, tmp_path, "--state", "dead")
        times = {"id", "accepted_at", "dead_at"}
        for old, new in zip(lines, found, strict=True):
            assert {name: old[name] for name in old.keys() - times} == {
                name: new[name] for name in new.keys() - times
            }
            assert old["error"] == "error:KeyError"
            assert len(new["history"]) == 1
        assert not {line["id"] for line in found} & set(ids)
        commanded(other, tmp_path, "dead", "redrive", "--all", "--yes")
        for line in found:
            assert Client(other).output(line["id"]) == b"at last"
    again = {run.request.dispatch_id: run.request.input for run in endpoint.runs[2:]}
    assert sorted(one.SerializeToString() for one in again.values()) == sorted(
        one.SerializeToString() for one in inputs
    )


def test_what_is_reported_is_on_disk(tmp_path: Path, receiver: Receiver) -> None:
    """kill -9 right after the report loses nothing of it."""
    line = {
        "destination": receiver.authority, "method": "POST", "target": "/x", "body": "aGVsbG8=",
    }  # fmt: skip
    (tmp_path / "in.ndjson").write_text("".join(json.dumps(line) + "\n" for _ in range(500)))
    with second(tmp_path) as other:
        commanded(other, tmp_path, "hold", receiver.authority)
        assert "500 messages imported" in commanded(other, tmp_path, "import", "in.ndjson")
        other.kill()
    with second(tmp_path) as again:
        commanded(again, tmp_path, "resume", receiver.authority)
        assert {bytes(one.body) for one in receiver.received(500)} == {b"hello"}


def test_files_of_the_first_dispatcher_are_imported(tmp_path: Path) -> None:
    """What had not ended waits, what was given up is dead."""
    for name in ("transaction.log", "deadletter.log"):
        shutil.copy(_GOLDEN / name, tmp_path / f"old-{name}")
    with second(tmp_path) as other:
        for destination in ("https://example.test", "http://[::1]:81"):
            commanded(other, tmp_path, "hold", destination)
        said = commanded(other, tmp_path, "import", "old-transaction.log")
        assert "2 waiting messages of the first Dispatcher" in said
        commanded(other, tmp_path, "import", "old-deadletter.log")
        for name in ("transaction.log", "deadletter.log"):
            said = commanded(other, tmp_path, "import", f"old-{name}")
            assert "0 messages imported" in said
            assert "2 messages there already" in said
        waiting = exported(other, tmp_path, "--state", "waiting")
        assert {(one["destination"], one["method"], one["target"]) for one in waiting} == {
            ("https://example.test", "PUT", "/a%2Fb"),
            ("http://[::1]:81", "GET", "/"),
        }
        first, last = exported(other, tmp_path, "--state", "dead")
        assert (first["destination"], first["attempts"]) == ("http://localhost:9000", 11)
        assert first["detail"] == "500 Internal Server Error"
        assert (last["method"], last["timeout_ms"]) == ("PATCH", 100)


def test_a_line_that_is_no_message_is_named_and_the_others_are_imported(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Exit code 1, with the line's number and what is wrong with it."""
    good = {"destination": receiver.authority, "method": "POST", "target": "/"}
    bad = [
        {**good, "target": "no slash"},
        {**good, "body": "not base64!"},
        {**good, "headers": [["X", "a\r\nY: b"]]},
        {**good, "tiemout_ms": 5},
        {**good, "incomplete": True},
        {**good, "key_place": "nowhere"},
        {**good, "destination": "user@host"},
        {**good, "headers": [["X-Dispatcher-Tiemout", "5"]]},
        {"destination": receiver.authority},
        [],
    ]
    lines = [good, *bad, good]
    text = "".join(json.dumps(line) + "\n" for line in lines) + "{cut"
    (tmp_path / "in.ndjson").write_text(text)
    with second(tmp_path) as other:
        said = commanded(other, tmp_path, "import", "in.ndjson", code=1)
        assert "2 messages imported" in said
        for number in range(1, 15):  # the first ten are named
            assert (f"Line {number} is not imported: " in said) == (number in range(2, 12))
        assert "11 lines not imported" in said
        assert receiver.received(2)
        for name, content in (("text", b"hello\n"), ("zeros", bytes(1000))):
            (tmp_path / name).write_bytes(content)
            assert "expected lines of JSON" in commanded(other, tmp_path, "import", name, code=2)
