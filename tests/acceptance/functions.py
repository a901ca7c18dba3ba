"""An application of functions without any SDK, run in a thread, and a caller of the function
service that writes HTTP by hand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any as Anything

from dispatcher.protocol.messages import (
    Any,
    Call,
    CallResult,
    DispatchRequest,
    DispatchResponse,
    Duration,
    Error,
    Exit,
    Poll,
    RunRequest,
    RunResponse,
)
from dispatcher.protocol.statuses import Status
from dispatcher.testing.ports import KeptPort
from tests.acceptance.receiver import eventually
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Answer, Caller, request

DISPATCH = "/dispatch.sdk.v1.DispatchService/Dispatch"
PROTO = "application/proto"


@dataclass(frozen=True, slots=True)
class Http:
    """An HTTP answer as it is. `length` False: it says that more comes than there is, and ends."""

    status: int
    body: bytes = b""
    headers: tuple[str, ...] = ()
    is_cut: bool = False
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """The connection ends without an answer, as when the process dies."""


@dataclass(frozen=True, slots=True)
class Later:
    """An answer that takes its time."""

    seconds: float
    reply: RunResponse | Http | Gone


@dataclass(frozen=True, slots=True)
class Held:
    """An answer that is given when somebody says so."""

    may_go: Callable[[], object]
    reply: RunResponse | Http | Gone


Reply = RunResponse | Http | Gone | Later | Held


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it came; `at_s` by the monotonic clock."""

    head: bytes
    body: bytes
    at_s: float = field(default_factory=time.monotonic)

    @property
    def request(self) -> RunRequest:
        """What it asks."""
        return RunRequest.FromString(self.body)

    @property
    def lines(self) -> list[str]:
        """Request line and header lines."""
        return self.head.decode("latin-1").split("\r\n")[:-2]

    @property
    def headers(self) -> dict[str, str]:
        """By name in lower case."""
        pairs = (line.partition(": ") for line in self.lines[1:])
        return {name.lower(): value for name, _, value in pairs}


class Endpoint:
    """The application. `answer` says what a run is answered with; it is called in the thread.
    `port` is where it listens, one of its own where none is said. A context manager; it may be
    entered again, on the same port."""

    def __init__(self, answer: Callable[[Run], Reply], port: int = 0) -> None:
        self.answer = answer
        self.runs: list[Run] = []
        self.errors: list[Exception] = []
        self._kept = KeptPort(port=port)
        self.port = self._kept.number
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What calls name."""
        return f"http://127.0.0.1:{self.port}"

    def of(self, function: str, id: str = "") -> list[Run]:
        """The runs of a function, of one call where that is said."""
        runs = list(self.runs)
        return [
            run
            for run in runs
            if run.request.function == function and id in ("", run.request.dispatch_id)
        ]

    def call(self, function: str, **more: Anything) -> Call:
        """A call of a function here."""
        return Call(endpoint=self.url, function=function, **more)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                run = Run(head, b"")
                length = int(run.headers["content-length"])
                run = Run(head, await reader.readexactly(length))
                self.runs.append(run)
                reply = self.answer(run)
                if isinstance(reply, Later):
                    await asyncio.sleep(reply.seconds)
                    reply = reply.reply
                if isinstance(reply, Held):
                    while not reply.may_go():  # noqa: ASYNC110  # another thread says so
                        await asyncio.sleep(0.01)
                    reply = reply.reply
                if isinstance(reply, Gone):
                    break
                writer.write(_bytes_of(reply))
                await writer.drain()
                if isinstance(reply, Http) and (reply.is_cut or reply.closes):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:
            self.errors.append(error)
        finally:
            writer.close()

    def __enter__(self) -> Endpoint:
        async def start() -> asyncio.Server:
            return await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 25)

        self._server = self._loop.run_until_complete(start())
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        assert not self.errors, self.errors


def _bytes_of(reply: RunResponse | Http) -> bytes:
    if isinstance(reply, RunResponse):
        reply = Http(200, reply.SerializeToString(), (f"Content-Type: {PROTO}",))
    length = len(reply.body) + 100 * reply.is_cut
    lines = [f"HTTP/1.1 {reply.status} X", *reply.headers, f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode() + reply.body


# What runs are answered with.


def an_any(value: bytes) -> Any:
    """A value of a type that nobody knows."""
    return Any(type_url="type.example/T", value=value)


def exits(value: bytes = b"done", status: Status = Status.OK) -> RunResponse:
    """It has ended."""
    return RunResponse(status=status.value, exit=Exit(result=CallResult(output=an_any(value))))


def fails(status: int, kind: str = "ValueError", message: str = "no") -> RunResponse:
    """It has failed."""
    error = Error(type=kind, message=message, value=b"\x80pickled", traceback=b"at line 1")
    return RunResponse(status=status, exit=Exit(result=CallResult(error=error)))


def polls(
    *calls: Call,
    state: bytes = b"state",
    min_results: int = 1,
    max_results: int = 10,
    wait_ms: int | None = None,
) -> RunResponse:
    """It waits. Calls without a correlation get 1, 2, … in their order."""
    poll = Poll(
        typed_coroutine_state=an_any(state), min_results=min_results, max_results=max_results
    )
    for number, call in enumerate(calls, 1):
        poll.calls.append(call)
        poll.calls[-1].correlation_id = call.correlation_id or number
    if wait_ms is not None:
        poll.max_wait.CopyFrom(Duration(seconds=wait_ms // 1000, nanos=wait_ms % 1000 * 10**6))
    return RunResponse(status=Status.OK.value, poll=poll)


def resumed(run: Run) -> dict[int, str]:
    """What a resume brought: outputs, or `!` and the types of errors, by correlation."""
    results = run.request.poll_result.results
    return {
        one.correlation_id: f"!{one.error.type}"
        if one.HasField("error")
        else one.output.value.decode(errors="replace")
        for one in results
    }


def is_first(run: Run) -> bool:
    """Whether it has an input."""
    return run.request.WhichOneof("directive") == "input"


# The other side.


class Client:
    """A caller with an API key."""

    def __init__(self, server: ServerProcess, key: str = "") -> None:
        self._server = server
        self._headers = [f"Authorization: Bearer {key}"] if key else []

    def ask(
        self, method: str, path: str, *headers: str, body: bytes = b"", timeout_s: float = 90.0
    ) -> Answer:
        """Send a request."""
        lines = ["Host: localhost", *self._headers, *headers, f"Content-Length: {len(body)}"]
        with Caller(self._server.api, timeout_s=timeout_s) as caller:
            caller.send(request(f"{method} {path} HTTP/1.1", *lines, body=body))
            return caller.answer()

    def post(self, message: DispatchRequest, *headers: str) -> Answer:
        """Dispatch; the answer as it is."""
        lines = (f"Content-Type: {PROTO}", "Connect-Protocol-Version: 1", *headers)
        return self.ask("POST", DISPATCH, *lines, body=message.SerializeToString())

    def dispatch(self, *calls: Call, headers: tuple[str, ...] = ()) -> list[str]:
        """Dispatch; the ids."""
        answer = self.post(DispatchRequest(calls=calls), *headers)
        assert answer.status == 200, answer
        assert answer.headers["content-type"] == PROTO
        return list(DispatchResponse.FromString(answer.body).dispatch_ids)

    def result(self, id: str, wait: str = "60s") -> CallResult:
        """What a call came to; it is waited for."""
        path = f"/v1/calls/{id}/result?wait={wait}"
        answer = self.ask("GET", path, f"Accept: {PROTO}")
        assert answer.status == 200, (answer, self.ask("GET", f"/v1/calls/{id}").body)
        return CallResult.FromString(answer.body)

    def output(self, id: str, wait: str = "60s") -> bytes:
        """What a call put out."""
        result = self.result(id, wait)
        assert not result.HasField("error"), result
        return result.output.value

    def error(self, id: str, wait: str = "60s") -> Error:
        """Why a call failed."""
        result = self.result(id, wait)
        assert result.HasField("error"), result
        return result.error

    def state(self, id: str) -> str:
        """What a call does."""
        return str(self.ask("GET", f"/v1/calls/{id}").json["state"])

    def until(self, id: str, state: str) -> None:
        """Wait until it does that."""
        eventually(lambda: self.state(id) == state)
