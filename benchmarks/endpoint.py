"""An application of functions without any SDK, which answers at once: a process of its own.

    python -m benchmarks.endpoint PORT

Functions: `noop` exits; `chain` awaits `noop` as often as its input says, one after the other;
`gather` awaits as many at once; `sleep` waits for a day. What they remember is in their state: how
many results they still want. Signatures are not looked at.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, cast

import httptools
import uvloop

from dispatcher.protocol.messages import (
    Any,
    Call,
    CallResult,
    Exit,
    Int64Value,
    Poll,
    RunRequest,
    RunResponse,
)

_OK: Final = 1
_DAY_S: Final = 86_400


def answer(body: bytes) -> bytes:
    """What a run comes to."""
    run = RunRequest.FromString(body)
    if run.function == "noop":
        return _EXIT
    if run.function == "sleep":
        poll = Poll(min_results=1, max_results=1)
        poll.max_wait.seconds = _DAY_S
        poll.typed_coroutine_state.CopyFrom(_packed(1))
        return RunResponse(status=_OK, poll=poll).SerializeToString()
    is_first = run.WhichOneof("directive") == "input"
    left = _unpacked(run.input if is_first else run.poll_result.typed_coroutine_state)
    left -= 0 if is_first else len(run.poll_result.results)
    if left <= 0:
        return _EXIT
    poll = Poll(max_results=1000)
    poll.typed_coroutine_state.CopyFrom(_packed(left))
    if run.function == "chain":
        poll.min_results = 1
        poll.calls.append(Call(correlation_id=left, function="noop", input=_packed(left)))
    else:
        poll.min_results = min(left, 1000)
        if is_first:
            poll.calls.extend(
                Call(correlation_id=number, function="noop", input=_packed(number))
                for number in range(left)
            )
    return RunResponse(status=_OK, poll=poll).SerializeToString()


def _packed(number: int) -> Any:
    packed = Any()
    packed.Pack(Int64Value(value=number))
    return packed


def _unpacked(packed: Any) -> int:
    number = Int64Value()
    packed.Unpack(number)
    return number.value


_EXIT: Final = RunResponse(
    status=_OK, exit=Exit(result=CallResult(output=_packed(1)))
).SerializeToString()


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        result = answer(body)
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/proto\r\nContent-Length: %d\r\n\r\n"
            % len(result)
            + result
        )


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
