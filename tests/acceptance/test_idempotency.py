"""Idempotency keys of messages, seen from outside, with crashes between all steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dispatcher.testing.destination import Wait, answer
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import dead, metrics, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Answer, Caller, ask, chunked, get, post, request

KEY = "X-Dispatcher-Idempotency-Key: order-4711"
LARGE = bytes(range(256)) * 2000


@dataclass(slots=True)
class Server:
    """A server that can be killed at any moment, and goes on with the same logs."""

    process: ServerProcess
    directory: Path
    settings: dict[str, str]

    def crash(self) -> None:
        """Kill -9, and start again."""
        self.process.kill()
        self.process = ServerProcess(self.directory, **self.settings)
        self.process.__enter__()

    def send(self, receiver: Receiver, *headers: str, body: bytes = b"") -> Answer:
        """Send a request with the key."""
        return ask(self.process.listen, post(receiver.authority, KEY, *headers, body=body))


@contextmanager
def started(directory: Path, **settings: str) -> Iterator[Server]:
    """A server that was not asked for a key, and retries quickly."""
    wanted = dict(quick(RETRYLIMIT="0", **settings))
    server = Server(ServerProcess(directory, **wanted), directory, wanted)
    server.process.__enter__()
    try:
        yield server
    finally:
        server.process.__exit__(None, None, None)


def is_first(answered: Answer) -> bool:
    """Whether a message was stored."""
    assert answered.status == 202, answered
    assert answered.headers.get("x-dispatcher-duplicate") in (None, "true")
    return "x-dispatcher-duplicate" not in answered.headers


def is_duplicate(answered: Answer, of: str) -> bool:
    """Whether this is the 202 of a duplicate of that message."""
    return not is_first(answered) and answered.id == of


def test_same_request_again_is_the_first_message(tmp_path: Path, receiver: Receiver) -> None:
    """Sent once, counted once; the key itself goes nowhere."""
    with started(tmp_path) as server:
        first = server.send(receiver, body=b"a")
        assert is_first(first)
        again = server.send(receiver, "Accept: application/json", "X-Other: header", body=b"a")
        assert is_duplicate(again, first.id)
        assert again.json == {"id": first.id}
        (one,) = receiver.received(1)
        assert "x-dispatcher-idempotency-key" not in one.headers
        assert is_duplicate(server.send(receiver, body=b"a"), first.id)
        assert metrics(server.process)["dispatcher_messages_accepted_total"] == 1
        server.send(receiver, "X-Dispatcher-Timeout: 5s", body=b"a")
        ask(server.process.listen, post(receiver.authority, path="/last"))
        assert receiver.received(2)[1].head.startswith(b"POST /last")


@pytest.mark.parametrize(
    "other",
    [
        {"body": b"b"},
        {"body": b"a", "method": "PUT"},
        {"body": b"a", "path": "/?b"},
    ],
)
def test_another_request_with_the_key_is_409(
    tmp_path: Path, receiver: Receiver, other: dict[str, object]
) -> None:
    """Body, method or target differ. At another destination the key is another one."""
    with started(tmp_path) as server:
        first = server.send(receiver, body=b"a")
        data = post(receiver.authority, KEY, **other)  # type: ignore[arg-type]  # as above
        refused = ask(server.process.listen, data)
        assert (refused.status, refused.slug) == (409, "idempotency_conflict")
        elsewhere = post(receiver.authority.replace("127.0.0.1", "localhost"), KEY, body=b"b")
        assert is_first(ask(server.process.listen, elsewhere))
        assert is_duplicate(server.send(receiver, body=b"a"), first.id)


def test_answers_keep_their_order_on_one_connection(tmp_path: Path, receiver: Receiver) -> None:
    """Duplicates among others, in one write."""
    with started(tmp_path) as server, Caller(server.process.listen) as caller:
        sent = [(KEY,), (), (KEY,), (), (KEY + "x",), (KEY,)]
        caller.send(b"".join(post(receiver.authority, *headers) for headers in sent))
        answered = [caller.answer() for _ in sent]
        assert [is_first(one) for one in answered] == [True, True, False, True, True, False]
        assert {answered[at].id for at in (0, 2, 5)} == {answered[0].id}
        assert len({one.id for one in answered}) == 4
        receiver.received(4)


def test_large_bodies_are_compared_as_they_arrive(tmp_path: Path, receiver: Receiver) -> None:
    """Of a length that is told, or not."""
    with started(tmp_path) as server:
        first = server.send(receiver, body=LARGE)
        assert is_first(first)
        coded = request(
            "POST / HTTP/1.1",
            "Host: h",
            f"X-Dispatcher-Origin-Host: {receiver.authority}",
            KEY,
            "Transfer-Encoding: chunked",
            body=chunked(*(LARGE[at : at + 100_000] for at in range(0, len(LARGE), 100_000))),
        )
        assert is_duplicate(ask(server.process.listen, coded), first.id)
        other = server.send(receiver, body=LARGE[:-1] + b"!")
        assert (other.status, other.slug) == (409, "idempotency_conflict")
        server.crash()
        assert is_duplicate(server.send(receiver, body=LARGE), first.id)


@pytest.mark.parametrize("value", ["", "two words", "ä", "k" * 256])
def test_bad_key_is_400(tmp_path: Path, receiver: Receiver, value: str) -> None:
    """1 to 255 visible bytes, once."""
    with started(tmp_path) as server:
        for lines in ([f"X-Dispatcher-Idempotency-Key: {value}"], [KEY, KEY]):
            refused = ask(server.process.listen, post(receiver.authority, *lines))
            assert (refused.status, refused.slug) == (400, "idempotency_key_invalid")
        longest = f"X-Dispatcher-Idempotency-Key: {'k' * 255}"
        assert is_first(ask(server.process.listen, post(receiver.authority, longest)))


def purge(server: Server, message: str) -> None:
    """Remove a dead letter for good."""
    host, port = server.process.api
    url = f"http://{host}:{port}"
    ended = run(server.directory, "dead", "purge", message, "--yes", "--url", url)
    assert ended.returncode == 0, ended.stderr


def test_key_outlives_crashes_between_all_steps_of_a_message(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Accepted, delivered, dead, redriven and delivered then: always the first message."""
    with started(tmp_path) as server:
        receiver.script(answer(404))
        first = server.send(receiver, "X-Dispatcher-Delay: 5s", body=b"a")
        server.crash()
        assert is_duplicate(server.send(receiver, body=b"a"), first.id)

        def letters() -> object:
            return get(server.process.api, "/v1/dead-letters").json["items"]

        eventually(letters)
        server.crash()
        assert is_duplicate(server.send(receiver, body=b"a"), first.id)
        host, port = server.process.api
        ended = run(tmp_path, "dead", "redrive", first.id, "--url", f"http://{host}:{port}")
        assert ended.returncode == 0, ended.stderr
        server.crash()
        assert is_duplicate(server.send(receiver, body=b"a"), first.id)
        receiver.received(2)
        eventually(lambda: not letters())
        assert is_duplicate(server.send(receiver, body=b"a"), first.id)
        server.crash()
        assert is_duplicate(server.send(receiver, body=b"a"), first.id)


def test_key_of_a_purged_letter_is_free(tmp_path: Path, receiver: Receiver) -> None:
    """At once, and after a crash."""
    with started(tmp_path) as server:
        receiver.script(answer(404))
        first = server.send(receiver, body=b"a")
        dead(server.process, first.id)
        assert is_duplicate(server.send(receiver, body=b"a"), first.id)
        purge(server, first.id)
        server.crash()
        second = server.send(receiver, body=b"a")
        assert is_first(second)
        assert second.id != first.id
        server.crash()
        assert is_duplicate(server.send(receiver, body=b"a"), second.id)


def test_key_of_a_cancelled_message_is_free(tmp_path: Path, receiver: Receiver) -> None:
    """At once, and after a crash."""
    with started(tmp_path) as server:
        first = server.send(receiver, "X-Dispatcher-Delay: 1h", body=b"a")
        server.crash()
        cancelled = ask(
            server.process.api,
            request(f"DELETE /v1/messages/{first.id} HTTP/1.1", "Host: h", "Content-Length: 0"),
        )
        assert cancelled.status == 204
        server.crash()
        second = server.send(receiver, "X-Dispatcher-Delay: 1h", body=b"b")
        assert is_first(second)
        server.crash()
        assert is_duplicate(server.send(receiver, body=b"b"), second.id)


def test_window_ends(tmp_path: Path, receiver: Receiver) -> None:
    """After IDEMPOTENCY_WINDOW the key is free; while its message waits it is not."""
    with started(tmp_path, IDEMPOTENCY_WINDOW="1500") as server:
        first = server.send(receiver, body=b"a")
        waits = "X-Dispatcher-Idempotency-Key: waits"
        held = post(receiver.authority, waits, "X-Dispatcher-Delay: 1h")
        waiting = ask(server.process.listen, held)
        receiver.received(1)

        def again() -> str | None:
            answered = server.send(receiver, body=b"a")
            return answered.id if is_first(answered) else None

        second = eventually(again)
        assert second != first.id
        assert is_duplicate(ask(server.process.listen, held), waiting.id)
        server.crash()
        assert is_duplicate(ask(server.process.listen, held), waiting.id)


def test_duplicate_is_answered_while_the_first_is_under_way(
    tmp_path: Path, receiver: Receiver
) -> None:
    """It does not wait for the destination."""
    with started(tmp_path) as server:
        receiver.script([Wait(60)])
        first = server.send(receiver, body=b"a")
        receiver.received(1)
        assert is_duplicate(server.send(receiver, body=b"a"), first.id)
        waited = server.send(receiver, "X-Dispatcher-Wait: 60s", body=b"a")
        assert is_duplicate(waited, first.id)


def test_duplicate_does_not_wait_although_the_first_does(
    tmp_path: Path, receiver: Receiver
) -> None:
    """The one who waits gets the destination's answer all the same."""
    wait = "X-Dispatcher-Wait: 60s"
    with started(tmp_path) as server, Caller(server.process.listen) as caller:
        receiver.script([Wait(2), *answer(200, body=b"done")])
        caller.send(post(receiver.authority, KEY, wait, body=b"a"))
        receiver.received(1)
        again = server.send(receiver, wait, body=b"a")
        first = caller.answer()
        assert (first.status, first.body) == (200, b"done")
        assert is_duplicate(again, first.headers["x-dispatcher-message-id"])


@pytest.mark.parametrize("crashes", [False, True])
def test_importing_a_file_again_makes_no_second_copy(
    tmp_path: Path, receiver: Receiver, crashes: bool
) -> None:
    """Of messages that wait and of dead letters, with and without keys of their own; and none that
    waits is left out."""
    there = tmp_path / "there"
    there.mkdir()
    with started(tmp_path) as server:
        receiver.script(answer(404, body=b"no"))
        one = ask(server.process.listen, post(receiver.authority, body=b"dead"))
        dead(server.process, one.id)
        held = "X-Dispatcher-Delay: 1h"
        server.send(receiver, held, body=b"keyed")
        for _ in range(2):  # alike, and not the same
            ask(server.process.listen, post(receiver.authority, held, body=b"twin"))
        ask(server.process.listen, post(receiver.authority, held, body=LARGE))
        host, port = server.process.api
        url = f"http://{host}:{port}"
        exported = run(tmp_path, "export", "all.ndjson", "--url", url)
        assert exported.returncode == 0, exported.stderr
    assert len((tmp_path / "all.ndjson").read_text().splitlines()) == 5
    with started(there) as other:

        def carried(*, imported: int, duplicates: int) -> None:
            host, port = other.process.api
            url = f"http://{host}:{port}"
            ended = run(there, "import", "../all.ndjson", "--json", "--url", url)
            assert ended.returncode == 0, ended.stderr
            answered = json.loads(ended.stdout)
            assert (answered["imported"], answered["duplicates"]) == (imported, duplicates)

        carried(imported=5, duplicates=0)
        if crashes:
            other.crash()
        carried(imported=0, duplicates=5)
        assert len(get(other.process.api, "/v1/dead-letters").json["items"]) == 1
        assert not is_first(other.send(receiver, body=b"keyed"))
        assert other.send(receiver, body=b"other").slug == "idempotency_conflict"
