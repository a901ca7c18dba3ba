"""The bridge as the Dispatch command line speaks it, byte for byte: what its HTTP library sends,
and what it does when something goes wrong."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dispatcher.protocol.messages import Call, RunRequest, RunResponse
from tests.acceptance.functions import Client, exits, polls
from tests.acceptance.receiver import eventually
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Answer, Caller

SETTINGS = {
    "CALL_RETRY_DELAY": "30",
    "CALL_RETRY_MAX_DELAY": "200",
    "CALL_START_DELAY": "0",
    "CALL_TIMEOUT": "5000",
    "DRAIN_TIMEOUT": "300",
}
_NAMES = itertools.count(1)
_HEADERS = "User-Agent: Go-http-client/1.1\r\nAuthorization: Bearer any\r\n"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A request that was fetched: the head of what is to be sent on, and its body."""

    id: str
    head: str
    run: RunRequest

    @property
    def headers(self) -> dict[str, str]:
        """Of what is to be sent on, by name in lower case."""
        pairs = (line.partition(": ") for line in self.head.split("\r\n")[1:])
        return {name.lower(): value for name, _, value in pairs}

    @property
    def attempt(self) -> int:
        """From 1."""
        return int(self.headers["x-dispatcher-attempt"])


@dataclass(slots=True)
class CommandLine:
    """What the command line sends. Each request has a connection of its own here; Go keeps them."""

    server: ServerProcess
    session: str
    host: str = "localhost"
    fetched: list[Fetched] = field(default_factory=list)

    def _ask(self, method: str, more: str, body: bytes = b"") -> Answer:
        with Caller(self.server.api, timeout_s=31.0) as caller:
            head = f"{method} /sessions/{self.session} HTTP/1.1\r\nHost: {self.host}\r\n{_HEADERS}"
            caller.send(f"{head}{more}Accept-Encoding: gzip\r\n\r\n".encode() + body)
            return caller.answer()

    def poll(self, seconds: str = "30") -> Fetched | None:
        """Wait for a request; None: 504, and it polls again without a word."""
        answer = self._ask("GET", f"Request-Timeout: {seconds}\r\n")
        if answer.status == 504:
            return None
        if answer.status != 200:  # it says so, pauses for a second, and polls again
            raise ConnectionError(answer)
        head, _, body = answer.body.partition(b"\r\n\r\n")
        run = RunRequest.FromString(body)
        fetched = Fetched(answer.headers["x-request-id"], head.decode("latin-1"), run)
        assert int(fetched.headers["content-length"]) == len(body)
        self.fetched.append(fetched)
        return fetched

    def has(self) -> Fetched:
        """Poll until there is one."""
        found = None
        while found is None:
            found = self.poll()
        return found

    def answer(self, fetched: Fetched, response: bytes) -> Answer:
        """Go writes a response as it read it, in chunks, without saying what it is."""
        more = f"X-Request-Id: {fetched.id}\r\nTransfer-Encoding: chunked\r\n"
        return self._ask("POST", more, b"%x\r\n%b\r\n0\r\n\r\n" % (len(response), response))

    def give_up(self, fetched: Fetched) -> Answer:
        """What it does when the application cannot be reached, talks nonsense, or it is stopped."""
        return self._ask("DELETE", f"X-Request-Id: {fetched.id}\r\n")


def response(run: RunResponse) -> bytes:
    """An application's response, as Go writes it down."""
    body = run.SerializeToString()
    return (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: application/proto\r\n"
        b"Date: Sun, 29 Nov 2026 23:00:00 GMT\r\nServer: uvicorn\r\n\r\n%b" % (len(body), body)
    )


@pytest.fixture
def line(server: ServerProcess) -> CommandLine:
    """The command line, with a session as it makes one: a UUID."""
    return CommandLine(server, f"6ba7b810-9dad-11d1-80b4-{next(_NAMES):012d}")


def dispatched(client: Client, line: CommandLine, *functions: str) -> list[str]:
    """Calls to the session; their ids."""
    return client.dispatch(
        *(Call(endpoint=f"bridge://{line.session}", function=name) for name in functions or "f")
    )


def test_request_is_what_go_can_read_and_answers_end_with_their_headers(
    client: Client, line: CommandLine
) -> None:
    """A request line with a path alone, Host, a length and nothing about codings, unsigned. What is
    answered to POST and DELETE has no body: the client does not read it, and would lose the
    connection."""
    (id,) = dispatched(client, line)
    first = line.has()
    begins, *_ = first.head.split("\r\n")
    assert begins == "POST /dispatch.sdk.v1.FunctionService/Run HTTP/1.1"
    assert first.headers["content-type"] == "application/proto"
    assert "host" in first.headers
    for absent in ("accept-encoding", "transfer-encoding", "signature", "connection"):
        assert absent not in first.headers
    given_up = line.give_up(first)
    assert (given_up.status, given_up.headers["content-length"], given_up.body) == (200, "0", b"")
    answered = line.answer(line.has(), response(exits()))
    assert (answered.status, answered.headers["content-length"]) == (202, "0")
    assert client.output(id) == b"done"
    assert [one.attempt for one in line.fetched] == [1, 2]


_BODY = exits().SerializeToString()
_TYPE = b"Content-Type: application/proto\r\n"


@pytest.mark.parametrize(
    "written",
    [
        b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (_TYPE, len(_BODY), _BODY),
        b"HTTP/1.0 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (_TYPE, len(_BODY), _BODY),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n%b\r\n%b" % (_TYPE, _BODY),
        b"HTTP/1.1 200 \r\ncontent-type: application/proto\r\ncontent-length: %d\r\n\r\n%b"
        % (len(_BODY), _BODY),
    ],
    ids=["chunked", "HTTP/1.0", "to the end", "lower case, no reason"],
)
def test_response_counts_however_it_is_framed(
    client: Client, line: CommandLine, written: bytes
) -> None:
    """As the application framed it."""
    (id,) = dispatched(client, line)
    assert line.answer(line.has(), written).status == 202
    assert client.output(id) == b"done"


def test_nothing_to_do_is_504_before_the_client_is_tired_of_waiting(line: CommandLine) -> None:
    """Again and again: a pristine session costs nothing."""
    for _ in range(3):
        assert line.poll("0.3") is None


def test_answers_that_nobody_waits_for_are_404(client: Client, line: CommandLine) -> None:
    """Late ones, a second one, those of another session, and of requests that were never made; the
    client goes on."""
    (id,) = dispatched(client, line)
    fetched = line.has()
    other = CommandLine(line.server, f"{line.session}-other")
    assert other.answer(fetched, response(exits(b"foreign"))).status == 404
    assert other.give_up(fetched).status == 404
    assert line.answer(fetched, response(exits())).status == 202
    assert line.answer(fetched, response(exits(b"twice"))).status == 404
    assert line.give_up(fetched).status == 404
    assert client.output(id) == b"done"
    (slow,) = dispatched(client, line, "slow")
    late = line.has()
    eventually(lambda: client.ask("GET", f"/v1/calls/{slow}").json["attempts"] == 1)
    assert line.answer(late, response(exits(b"late"))).status == 404
    assert line.answer(line.has(), response(exits(b"in time"))).status == 202
    assert client.output(slow) == b"in time"


def test_response_that_cannot_be_read_costs_an_attempt_and_is_said(
    client: Client, line: CommandLine
) -> None:
    """400, and then the client gives the request up, which is 404: it is given up already."""
    (id,) = dispatched(client, line)
    fetched = line.has()
    assert line.answer(fetched, b"no HTTP at all").status == 400
    assert line.give_up(fetched).status == 404
    assert line.answer(line.has(), response(exits())).status == 202
    assert client.output(id) == b"done"


def test_two_clients_of_a_session_share_its_calls(client: Client, line: CommandLine) -> None:
    """One of them has the parent, the other may have its children; each call is fetched once, and a
    client that is killed with what it had leaves it to the other after CALL_TIMEOUT."""
    (id,) = dispatched(client, line, "parent")
    other = CommandLine(line.server, line.session)
    parent = line.has()
    children = [Call(function="child") for _ in range(4)]
    line.answer(parent, response(polls(*children, min_results=4)))
    taken = [one.has() for one in (line, other, line, other)]
    assert {fetched.run.parent_dispatch_id for fetched in taken} == {id}
    assert len({fetched.run.dispatch_id for fetched in taken}) == 4
    for one, fetched in zip((line, other), taken[:2], strict=False):
        assert one.answer(fetched, response(exits())).status == 202
    # The one that had the third is killed; the other answers the fourth, and fetches the third.
    assert other.answer(taken[3], response(exits())).status == 202
    again = other.has()
    assert (again.run.dispatch_id, again.attempt) == (taken[2].run.dispatch_id, 2)
    assert other.answer(again, response(exits())).status == 202
    last = other.has()
    assert (last.run.dispatch_id, len(last.run.poll_result.results)) == (id, 4)
    assert other.answer(last, response(exits())).status == 202
    assert client.output(id) == b"done"


def test_stopped_client_gives_up_what_it_has_and_resumes_the_session_later(
    client: Client, line: CommandLine
) -> None:
    """Ctrl-C, and then `--session`: the calls waited, those that were suspended go on."""
    ids = dispatched(client, line, "f", "f", "waits")
    for fetched in [line.has() for _ in ids]:
        if fetched.run.function == "waits":
            assert line.answer(fetched, response(polls(state=b"s", wait_ms=1))).status == 202
        else:
            assert line.give_up(fetched).status == 200
    again = CommandLine(line.server, line.session)
    for _ in ids:
        assert again.answer(again.has(), response(exits())).status == 202
    assert [client.output(id) for id in ids] == [b"done"] * 3
    assert again.poll("0.3") is None


@pytest.mark.parametrize(
    ("status", "is_tried_again"),
    [(400, False), (401, False), (404, False), (408, True), (429, True), (500, True), (501, False)],
)
def test_http_errors_of_the_application_are_passed_on(
    client: Client, line: CommandLine, status: int, *, is_tried_again: bool
) -> None:
    """The client relays them, and they count as if they had come from there."""
    (id,) = dispatched(client, line)
    said = b"HTTP/1.1 %d X\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
    assert line.answer(line.has(), said % status).status == 202
    if is_tried_again:
        assert line.answer(line.has(), response(exits())).status == 202
        assert client.output(id) == b"done"
    else:
        assert client.error(id).message


@contextmanager
def polling(line: CommandLine, answer: Callable[[Fetched], RunResponse]) -> Iterator[None]:
    """The command line at work: one poll at a time, a pause of a second where it fails."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            try:
                fetched = line.poll("2")
            except OSError:
                is_over.wait(0.1)
                continue
            if fetched is not None:
                with suppress(OSError):
                    line.answer(fetched, response(answer(fetched)))

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        is_over.set()
        worker.join(10)
    assert not worker.is_alive()


def test_server_that_is_killed_while_clients_poll_finds_them_again(tmp_path: Path) -> None:
    """And while calls are with them: those are made again, what was recorded is not."""
    finished: dict[str, int] = {}

    def answer(fetched: Fetched) -> RunResponse:
        run = fetched.run
        if run.function == "child":
            finished[run.dispatch_id] = finished.get(run.dispatch_id, 0) + 1
            return exits()
        if run.WhichOneof("directive") == "input":
            return polls(*(Call(function="child") for _ in range(3)), min_results=3)
        return exits(b"%d" % len(run.poll_result.results))

    with ServerProcess(tmp_path, **SETTINGS) as server:
        host, port = server.api
        line = CommandLine(server, "s1")
        client = Client(server)
        with polling(line, answer):
            ids = dispatched(client, line, *["parent"] * 20)
            eventually(lambda: len(finished) >= 5)
            server.kill()
            settings = {**SETTINGS, "API_LISTEN": f"{host}:{port}"}
            with ServerProcess(tmp_path, **settings) as again:
                client = Client(again)
                for id in ids:
                    assert client.output(id) == b"3"
                assert again.stop() == 0
    assert len(finished) == 60
    assert sum(finished.values()) <= 60 + 1, "one was with the client"
