"""A caller that writes bytes to a socket and reads bytes back: nothing in between corrects either.

```
with Caller(server.listen) as caller:
    caller.send(request("POST /a HTTP/1.1", "Host: h", *headers, body=b"x"))
    assert caller.answer().status == 202
```
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

Address = tuple[str, int]

ORIGIN = "X-Dispatcher-Origin-Host: "
ORIGINAL = "X-Dispatcher-Original-Host: "


def request(line: str, *headers: str | bytes, body: bytes = b"") -> bytes:
    """Put a request together. Nothing is added: neither `Host` nor a length."""
    lines = [line.encode("latin-1")]
    lines += [one if isinstance(one, bytes) else one.encode("latin-1") for one in headers]
    return b"\r\n".join((*lines, b"", body))


def post(
    authority: str, *headers: str | bytes, path: str = "/", body: bytes = b"", method: str = "POST"
) -> bytes:
    """An ordinary message for a destination."""
    return request(
        f"{method} {path} HTTP/1.1",
        "Host: dispatcher",
        ORIGIN + authority,
        *headers,
        f"Content-Length: {len(body)}",
        body=body,
    )


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    """A body in the chunked coding."""
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `lines` are its header lines, `body` its body without codings."""

    status: int
    lines: tuple[str, ...]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case; of duplicates the last."""
        return {
            name.lower(): value for name, _, value in (line.partition(": ") for line in self.lines)
        }

    @property
    def id(self) -> str:
        """The id of the message that was accepted."""
        assert self.status == 202, self
        return self.headers["x-dispatcher-message-id"]

    @property
    def json(self) -> dict[str, Any]:
        """The body, read as a JSON object."""
        return cast(dict[str, Any], json.loads(self.body))

    @property
    def slug(self) -> str:
        """The stable name of the error, after a look at the shape that all errors have."""
        assert self.headers["content-type"].startswith("application/json"), self
        error = self.json
        assert error.keys() == {"error", "message"}
        assert len(error["message"]) > 20
        return str(error["error"])


class Caller:
    """One connection."""

    def __init__(
        self, address: Address, *, timeout_s: float = 60.0, tls: ssl.SSLContext | None = None
    ) -> None:
        """With `tls` the handshake is over when this returns."""
        self._socket = socket.create_connection(address, timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname=address[0])
        self._unread = b""

    def send(self, data: bytes) -> None:
        """Write bytes."""
        self._socket.sendall(data)

    def answer(self, *, to_head: bool = False) -> Answer:
        """Read one answer, an interim one too. `to_head`: it answers HEAD, and has no body.

        Raises:
            ConnectionError: there is none, or half of one.
        """
        while b"\r\n\r\n" not in self._unread:
            self._read()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        answer = Answer(int(status.split(" ")[1]), tuple(lines), b"")
        assert status.startswith("HTTP/1.1 "), status
        assert "transfer-encoding" not in answer.headers
        length = 0 if to_head else int(answer.headers.get("content-length", "0"))
        while len(self._unread) < length:
            self._read()
        body, self._unread = self._unread[:length], self._unread[length:]
        return Answer(answer.status, answer.lines, body)

    def at_end(self) -> bool:
        """Wait for the server's end of the connection; return whether nothing came before it."""
        try:
            while True:
                self._read()
        except ConnectionError:
            return not self._unread

    def finish(self) -> None:
        """Close the sending side; of TLS too without a word."""
        socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def reset(self) -> None:
        """Go away with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _read(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {self._unread!r}")
        self._unread += data

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()


def ask(
    address: Address, data: bytes, *, to_head: bool = False, tls: ssl.SSLContext | None = None
) -> Answer:
    """Send on a connection of its own, and return the answer."""
    with Caller(address, tls=tls) as caller:
        caller.send(data)
        return caller.answer(to_head=to_head)


def get(address: Address, path: str, *headers: str, tls: ssl.SSLContext | None = None) -> Answer:
    """An ordinary GET."""
    return ask(address, request(f"GET {path} HTTP/1.1", "Host: x", *headers), tls=tls)
