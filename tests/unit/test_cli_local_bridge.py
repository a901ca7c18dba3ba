"""Runs that are fetched from the bridge: what they tell, and what is given back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from dispatcher.cli.address import Server
from dispatcher.cli.local.bridge_client import BridgeClient
from dispatcher.cli.local.calls import Calls
from dispatcher.cli.local.happenings import CallMoved, Happening, ServerSaid
from dispatcher.cli.local.passing import answered, asked
from dispatcher.cli.local.serialized import Response, ask, read_request
from dispatcher.protocol.messages import (
    Call,
    CallResult,
    Error,
    Exit,
    Poll,
    PollResult,
    RunRequest,
    RunResponse,
)
from dispatcher.protocol.statuses import Status
from tests.integration.cli_serving import Canned, answer

FIRST = RunRequest(function="f", dispatch_id="1", root_dispatch_id="1")
RESUMED = RunRequest(function="f", dispatch_id="1", root_dispatch_id="1", poll_result=PollResult())
PROTO = ("Content-Type", "application/proto")


def came(response: RunResponse) -> Response:
    """An answer of the application."""
    return Response(200, "OK", (PROTO,), response.SerializeToString())


def failing(status: Status) -> Response:
    """One that failed."""
    result = CallResult(error=Error(type="V", message="no"))
    return came(RunResponse(status=status.value, exit=Exit(result=result)))


@pytest.mark.parametrize(
    ("reply", "kinds", "state", "error"),
    [
        (came(RunResponse(status=1, exit=Exit())), ["run", "ended"], "succeeded", None),
        (
            came(RunResponse(status=1, poll=Poll(calls=[Call(), Call()]))),
            ["run", "suspended"],
            "suspended",
            None,
        ),
        (
            came(RunResponse(status=6, exit=Exit(tail_call=Call(function="g")))),
            ["run", "tail_called"],
            "ready",
            None,
        ),
        (failing(Status.PERMANENT_ERROR), ["run", "ended"], "failed", "V: no"),
        (failing(Status.THROTTLED), ["run"], "ready", "V: no"),
        (failing(Status.INCOMPATIBLE_STATE), ["run", "restarted"], "ready", None),
        (Response(503, "X", (), b""), ["run"], "ready", "http_503"),
        (Response(200, "OK", (PROTO,), b"\xff"), ["run"], "ready", "an answer that cannot be read"),
        ("Connection refused", ["run"], "ready", "Connection refused"),
    ],
)
def test_runs_that_pass_tell_of_their_call(
    reply: Response | str, kinds: list[str], state: str, error: str | None
) -> None:
    """As the API would."""
    calls = Calls()
    moves = [
        *asked(FIRST, "bridge://s", 10**15),
        *answered(FIRST, "bridge://s", reply, 10**15, attempt=1, duration_ms=2),
    ]
    assert [moved.kind for moved in moves] == ["created", *kinds]
    for moved in moves:
        call = calls.apply(moved.kind, moved.fields)
    assert (call.state, call.error) == (state, error)
    assert [moved.kind for moved in asked(RESUMED, "bridge://s", 10**15)] == ["resumed"]


class Application:
    """Accepts connections, reads what comes and answers with `data`, or closes."""

    def __init__(self, data: bytes) -> None:
        self.requests: list[bytes] = []
        self._data = data
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                if read := connection.recv(65536):  # nothing: somebody looks whether we listen
                    self.requests.append(read)
                    connection.sendall(self._data)

    def close(self) -> None:
        """Listen no more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def opened() -> Iterator[list[Application]]:
    """Applications of a test, closed at its end."""
    made: list[Application] = []
    yield made
    for one in made:
        one.close()


BODY = FIRST.SerializeToString()
REQUEST = (
    b"POST /dispatch.sdk.v1.FunctionService/Run HTTP/1.1\r\nHost: s\r\nX-Dispatcher-Attempt: 3\r\n"
    b"Content-Type: application/proto\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


NOTHING = [answer(504)] * 1000
"""What is answered to polls after the first, and to what is sent back."""


def sent(server: Canned, method: bytes) -> bytes:
    """The only request of a method."""
    (found,) = [request for request in server.requests if request.startswith(method)]
    return found


def fetched() -> bytes:
    """The answer to a poll."""
    head = f"HTTP/1.1 200 OK\r\nX-Request-Id: r1\r\nContent-Length: {len(REQUEST)}\r\n\r\n"
    return head.encode() + REQUEST


def moves(happenings: SimpleQueue[Happening], count: int) -> list[CallMoved]:
    """What is told of calls, so many."""
    found: list[CallMoved] = []
    while len(found) < count:
        if isinstance(told := happenings.get(timeout=20), CallMoved):
            found.append(told)
    return found


def test_run_is_passed_on_and_its_answer_sent_back(opened: list[Application]) -> None:
    """The request is the application's own, with its own `Host`; the answer has a length."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    opened.append(Application(chunked))
    happenings: SimpleQueue[Happening] = SimpleQueue()
    with Canned([fetched(), *NOTHING]) as server:
        far = Server.parse(server.url, "URL")
        client = BridgeClient(far, "key", "s", opened[0].endpoint, happenings)
        client.start()
        assert [moved.fields["attempt"] for moved in moves(happenings, 2)] == [None, 3]
        client.stop()
    get, post = server.requests[0], sent(server, b"POST")
    assert get.startswith(b"GET /sessions/s HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer key\r\n" in get
    assert post.startswith(b"POST /sessions/s HTTP/1.1\r\n")
    assert b"\r\nX-Request-Id: r1\r\n" in post
    assert post.endswith(b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\nab")
    (asked_for,) = opened[0].requests
    assert f"\r\nHost: {opened[0].endpoint}\r\n".encode() in asked_for
    assert asked_for.count(b"Host:") == 1


def test_run_is_given_back_when_the_application_breaks_off(opened: list[Application]) -> None:
    """The server makes another attempt then; nobody waits for the end of a time."""
    opened.append(Application(b"HTTP/1.1 200"))
    happenings: SimpleQueue[Happening] = SimpleQueue()
    with Canned([fetched(), *NOTHING]) as server:
        far = Server.parse(server.url, "URL")
        client = BridgeClient(far, None, "s", opened[0].endpoint, happenings)
        client.start()
        created, run = moves(happenings, 2)
        client.stop()
    assert (created.kind, run.kind, run.fields["status"]) == ("created", "run", None)
    assert b"\r\nX-Request-Id: r1\r\n" in sent(server, b"DELETE")


def test_trouble_with_the_server_is_told_once(opened: list[Application]) -> None:
    """And it is tried again, until it goes."""
    opened.append(Application(b""))
    happenings: SimpleQueue[Happening] = SimpleQueue()
    with Canned([answer(401)]) as server:
        far = Server.parse(server.url, "URL")
        client = BridgeClient(far, "wrong", "s", opened[0].endpoint, happenings)
        client.start()
        told = happenings.get(timeout=20)
        client.stop()
    assert told == ServerSaid(f"{server.url}: HTTP 401; it is tried again.")
    assert happenings.empty()


def test_request_of_the_bridge_is_read_as_it_is() -> None:
    """Headers as they came; what is none is told apart."""
    request = read_request(REQUEST)
    assert (request.method, request.body) == ("POST", BODY)
    assert ("X-Dispatcher-Attempt", "3") in request.headers
    with pytest.raises(ValueError, match="unpack"):
        read_request(b"nonsense")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            ask(f"127.0.0.1:{unused.getsockname()[1]}", request, timeout_s=5)
