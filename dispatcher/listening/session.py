"""One TLS session, mostly as its server has it: bytes of the wire in, bytes for the wire out, no
sockets.

    handshake ─▶ up ─▶ at_eof: the other side sends nothing more
                  └──▶ ended: this side sends nothing more

The two ends are independent, as they are in TCP: who has said that it sends nothing more still
reads its answers.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

_RECORD_BYTES: Final = 16 * 1024
"""OpenSSL gives no more than the content of one record at once."""


class Session:
    """One session. Whatever a method does, `take` gives what is to be written then."""

    __slots__ = ("_incoming", "_outgoing", "at_eof", "is_client", "is_up", "tls")

    def __init__(self, context: ssl.SSLContext, server: str | None = None) -> None:
        """`server` is the name of the other side, where this one is the client and begins."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server is None,
            server_hostname=server,
        )
        self.is_up = False
        self.at_eof = False
        self.is_client = server is not None
        if self.is_client:
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()

    def receive(self, data: bytes) -> bytes:
        """Take what came; return all that can be read of it.

        Raises:
            ssl.SSLError: the handshake failed, or what came is no TLS. The session is over; there
                may be an alert to be written.
        """
        self._incoming.write(data)
        try:
            if not self.is_up:
                self.tls.do_handshake()
                self.is_up = True
            return self._read()
        except ssl.SSLWantReadError:
            return b""

    def _read(self) -> bytes:
        """All that is there. The usual piece is one record, and is not copied."""
        first = self._record()
        if not self._has_more:
            return first
        parts = [first]
        while self._has_more:
            parts.append(self._record())
        return b"".join(parts)

    @property
    def _has_more(self) -> bool:
        return not self.at_eof and bool(self._incoming.pending or self.tls.pending())

    def _record(self) -> bytes:
        """What one record has; b"" where it is not whole, or says that there is no more."""
        try:
            found = self.tls.read(_RECORD_BYTES)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLZeroReturnError:  # the same as nothing, after this side's `end`
            found = b""
        if not found:
            self.at_eof = True
        return found

    def send(self, data: bytes) -> None:
        """Seal what is to be sent; only once the session is up, and before it was ended."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]

    def end(self) -> None:
        """Say that nothing more will be sent. What comes later is understood, as far as all that
        came before was read; it need not be."""
        with suppress(ssl.SSLError):  # it waits for the other side to say so too, which we do not
            self.tls.unwrap()

    def take(self) -> bytes:
        """What is to be written now; b"" where nothing is."""
        return self._outgoing.read() if self._outgoing.pending else b""
