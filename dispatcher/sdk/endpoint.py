"""What an application answers over HTTP: bytes in, bytes out, whatever server carries them.

    POST …/dispatch.sdk.v1.FunctionService/Run   200 and a RunResponse, or a Connect error
    GET, HEAD anything                           200 and a line for people

A request whose signature does not fit, that is malformed or that is for a function that is not
there is answered before anything runs: 400, 401, 403, 404, 405, 415.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from dispatcher.protocol import connect
from dispatcher.protocol.connect import Code, ConnectError, Encoding
from dispatcher.protocol.signing import RUN_PATH
from dispatcher.protocol.verifying import Verifier
from dispatcher.sdk.running.requests import Run, read_run
from dispatcher.sdk.running.runner import Runner

MOST_BYTES: Final = 16_000_000
"""Of a request's body; a server sends no more."""
FEATURES_HEADER: Final = "x-dispatcher-features"
_LARGE_BYTES: Final = 1024 * 1024
"""A body from which on it is verified in a thread: its digest takes 3 ms for each MB."""
_JSON: Final = ("Content-Type", "application/json")
_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")

_log: Final = logging.getLogger("dispatcher.sdk")

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `headers` has its Content-Type, and not its length."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


class Endpoint:
    """Answers requests with what a runner says. For any number of loops and threads."""

    def __init__(
        self,
        runner: Runner,
        verifier: Verifier | None,
        *,
        about: Callable[[], str],
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """`verifier` None: requests of anybody are answered. `about`: what people are told."""
        self._runner = runner
        self._verifier = verifier
        self._about = about
        self._now_s = now_s

    async def handle(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        """Answer a request.

        Args:
            path: path and query as in the request line, with whatever prefix the application is
                mounted at: the signature is over all of it.
            headers: pairs, or a mapping; names in any case.
        """
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        try:
            return await self._answer(method.upper(), path, pairs, body)
        except ConnectError as error:
            return Answer(error.http_status, [_JSON], error.body())
        except Exception:  # the boundary of a request: what nobody foresaw
            _log.exception("a run could not be answered")
            return _refused(500, Code.INTERNAL, "the application's log says what went wrong")

    async def _answer(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> Answer:
        is_run = path.partition("?")[0].endswith(RUN_PATH)
        if method in ("GET", "HEAD"):
            if is_run:
                return _refused(405, Code.UNIMPLEMENTED, "a Run is a POST", ("Allow", "POST"))
            return Answer(200, [_TEXT], f"{self._about()}\n".encode() if method == "GET" else b"")
        if method != "POST" or not is_run:
            message = (
                f"this is an application, and answers only POST …{RUN_PATH}, where the server "
                "sends its runs; DISPATCH_API_URL is the address of the server"
            )
            raise ConnectError(Code.NOT_FOUND, message)
        fields = {name.lower(): value for name, value in headers}
        if connect.encoding_of(fields.get("content-type")) is not Encoding.PROTO:
            return _refused(415, Code.UNKNOWN, "Content-Type has to be application/proto")
        _check_size(body)
        await self._verify(path, fields.get("host", ""), headers, body)
        reply = await self._runner.answer(_run(fields, body))
        more = [("Retry-After", str(reply.retry_after_s))] if reply.retry_after_s else []
        return Answer(200, [("Content-Type", Encoding.PROTO.value), *more], reply.body)

    async def _verify(
        self, path: str, host: str, headers: list[tuple[str, str]], body: bytes
    ) -> None:
        verifier = self._verifier
        if verifier is None:
            return

        def verify() -> None:
            verifier.verify(
                method="POST",
                target=path,
                host=host,
                headers=headers,
                body=body,
                now_s=self._now_s(),
            )

        if len(body) < _LARGE_BYTES:
            verify()
        else:
            await asyncio.to_thread(verify)


def _run(fields: Mapping[str, str], body: bytes) -> Run:
    connect.check_version(fields.get(connect.VERSION_HEADER.lower()))
    words = fields.get(FEATURES_HEADER, "").split(",")
    return read_run(
        connect.decoded(body, fields.get("content-encoding"), max_bytes=MOST_BYTES),
        features=frozenset(word.strip() for word in words if word.strip()),
        timeout_ms=connect.timeout_of(fields.get(connect.TIMEOUT_HEADER.lower())),
    )


def _check_size(body: bytes) -> None:
    if len(body) > MOST_BYTES:
        raise ConnectError(
            Code.INVALID_ARGUMENT,
            f"the body has {len(body)} bytes, and {MOST_BYTES} is the most",
        )


def _refused(status: int, code: Code, message: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, [_JSON, *headers], ConnectError(code, message).body())
