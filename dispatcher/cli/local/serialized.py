"""Requests and responses as the bytes of a whole HTTP/1.1 message, as the bridge carries them."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from typing import Final

_OF_CONNECTIONS: Final = frozenset(
    {"connection", "content-length", "keep-alive", "transfer-encoding"}
)
"""Headers of one connection: the next one has its own."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request. Header names are as they came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """A response."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header, named in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def bytes(self) -> bytes:
        """All of it, with a length."""
        kept = [f"{k}: {v}" for k, v in self.headers if k.lower() not in _OF_CONNECTIONS]
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *kept]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


def read_request(data: bytes) -> Request:
    """Read a request that has a length.

    Raises:
        ValueError: it is none.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Request(method, target, tuple((k, v.strip()) for k, _, v in pairs), body)


def ask(endpoint: str, request: Request, *, timeout_s: float) -> Response:
    """Send a request to `host:port`. Returns the whole answer.

    Raises:
        OSError: nobody is there, or nothing came in time.
        http.client.HTTPException: what came is no answer, or half of one.
    """
    host, _, port = endpoint.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)
    try:
        connection.putrequest(
            request.method, request.target, skip_host=True, skip_accept_encoding=True
        )
        connection.putheader("Host", endpoint)
        for name, value in request.headers:
            if name.lower() not in _OF_CONNECTIONS | {"host"}:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body)
        answer = connection.getresponse()
        if not answer.chunked and answer.getheader("Content-Length") is None:
            # A process that dies in the middle of its answer ends one without a length too.
            raise http.client.HTTPException("an answer without a length")
        return Response(answer.status, answer.reason, tuple(answer.getheaders()), answer.read())
    finally:
        connection.close()
