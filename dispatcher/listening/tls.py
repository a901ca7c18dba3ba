"""TLS between the sockets of a listener and the protocol that speaks HTTP.

    socket ─▶ the loop's transport ─▶ TlsConnection ─▶ the protocol
                                   ◀─               ◀─

`TlsConnection` is the protocol of the transport on one side, and the transport of the protocol on
the other. The loop has TLS of its own, but not what listeners of ours need of a transport: there a
side that has ended its input gets no answer any more, the sending side cannot be closed alone
(which is how a refused caller is told why), and a connection is not heard of before its handshake
is over, so that none of those under way are counted or bounded.

The protocol is told of a connection as soon as there is one, and what it writes before the
handshake is over is kept until then. A handshake has `HANDSHAKE_S`. One that fails is counted, and
told at `debug`: anybody can make any number of them. Who speaks HTTP without TLS is told so.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from dispatcher.errors import Refusal
from dispatcher.listening.certificate import Certificate
from dispatcher.listening.session import Session

HANDSHAKE_S: Final = 10.0
_ALERT_RECORD: Final = 0x15
_HANDSHAKE_RECORD: Final = 0x16
_PLAIN: Final = Refusal(
    400, "tls_expected", "This port speaks TLS: use an address that begins with https://."
)
_PLAIN_BODY: Final = json.dumps({"error": _PLAIN.slug, "message": _PLAIN.message}).encode()
_PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_PLAIN_BODY), _PLAIN_BODY)
)
_UNSUPPORTED: Final = frozenset(
    ("UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER", "VERSION_TOO_LOW", "NO_SUITABLE_KEY_SHARE")
)

FailedHandshake = Callable[[str, str, str], None]
"""Is told the reason, the detail and the address of the other side."""


class Secured:
    """TLS of one listener: the certificate for new connections, and what became of handshakes.

    `failed` counts by reason:

        plain        it was no TLS
        unsupported  no common version or cipher: TLS 1.1, say
        refused      the other side refused, mostly our certificate
        broken       it was TLS, and not understood
        timeout      it was not over in time
        closed       the other side went away in the middle of it
    """

    def __init__(self, certificate: Certificate, told: FailedHandshake | None = None) -> None:
        self.certificate = certificate
        self.failed: Counter[str] = Counter()
        self._told = told

    def replace(self, certificate: Certificate) -> None:
        """Show this one to those who connect from now on."""
        self.certificate = certificate

    def secure(
        self,
        protocol: asyncio.BaseProtocol,
        *,
        server: str | None = None,
        reads_on: bool = False,
    ) -> asyncio.BaseProtocol:
        """Put TLS in front of the protocol of a new connection. `server` is the name of the other
        side, where it was this one that connected; `reads_on` as for `TlsConnection`."""
        made = TlsConnection(
            cast(asyncio.Protocol, protocol), self, server=server, reads_on=reads_on
        )
        return cast(asyncio.BaseProtocol, made)  # the loop only looks for the methods

    def fail(self, reason: str, detail: str, address: object) -> None:
        """Note a handshake that failed."""
        self.failed[reason] += 1
        if self._told is not None:
            shown = address[0] if isinstance(address, tuple) else address
            self._told(reason, detail, str(shown or ""))


class TlsConnection(asyncio.Transport):
    """One connection; see above for its two sides."""

    __slots__ = (
        "_at_eof",
        "_early",
        "_ends_early",
        "_has_begun",
        "_has_ended",
        "_has_failed",
        "_is_closed",
        "_is_deaf",
        "_keeps_open",
        "_protocol",
        "_raw",
        "_reads_on",
        "_secured",
        "_session",
        "_timer",
    )

    _raw: asyncio.Transport

    def __init__(
        self,
        protocol: asyncio.Protocol,
        secured: Secured,
        *,
        server: str | None = None,
        reads_on: bool = False,
    ) -> None:
        """`server` is the name of the other side, where it was this one that connected. With
        `reads_on` this side may end (`write_eof`) and still understands what comes; without, it
        ends to be rid of the other side."""
        self._protocol = protocol
        self._secured = secured
        self._session = Session(secured.certificate.context, server)
        self._timer: asyncio.TimerHandle | None = None
        self._early: list[bytes] = []
        """What was written before the handshake was over."""
        self._ends_early = False
        """Whether the sending side was closed before that."""
        self._has_begun = False
        self._has_failed = False
        """Whether the handshake failed, which is counted once."""
        self._is_closed = False
        self._reads_on = reads_on
        self._has_ended = False
        """Whether the session was ended on this side, which reads on."""
        self._is_deaf = False
        """Whether the session was ended: what comes is not deciphered any more."""
        self._at_eof = False
        self._keeps_open = False

    def __repr__(self) -> str:
        return f"<TlsConnection {'up' if self._session.is_up else 'shaking hands'}>"

    # As the protocol of the loop's transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANDSHAKE_S, self._give_up)
        self._flush()
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        if self._is_closed or self._at_eof:
            return
        if self._is_deaf:
            self._protocol.data_received(data)  # of which only the number of bytes matters now
            return
        if not self._has_begun and not self._begin(data):
            return
        session = self._session
        was_up = session.is_up
        try:
            plain = session.receive(data)
        except ssl.SSLError as error:
            self._flush()
            self._fail(error)
            return
        self._flush()
        if session.is_up and not was_up:
            self._come_up()
        if plain:
            self._protocol.data_received(plain)
        if session.at_eof and not self._is_closed:
            self._end_input()

    def eof_received(self) -> bool:
        if not self._session.is_up:
            self._raw.close()
            return False
        return self._end_input()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closed = True
        if self._timer is not None and self._has_begun and not self._has_failed:
            self._count("closed", str(exc or ""))
        self._stop_timer()
        self._protocol.connection_lost(exc)

    # The handshake.

    def _begin(self, data: bytes) -> bool:
        """Look at the first bytes; say whether they are TLS."""
        self._has_begun = True
        if data[0] == _HANDSHAKE_RECORD:
            return True
        if self._session.is_client:
            if data[0] == _ALERT_RECORD:
                return True
        elif bytes(data[:1]).isalpha():
            self._answer_plainly()
            return False
        self._end_handshake("plain", "")
        return False

    def _answer_plainly(self) -> None:
        """Say what is wrong, and drop what still comes until the other side has ended, or the time
        of a handshake is over: closed with bytes unread the socket is reset, and who sends a large
        body would see that in place of the answer."""
        self._count("plain", "")
        self._is_closed = True
        self._raw.write(_PLAIN_ANSWER)
        self._raw.write_eof()

    def _come_up(self) -> None:
        self._stop_timer()
        early, self._early = self._early, []
        for data in early:
            self.write(data)
        if self._ends_early:
            self.write_eof()

    def _give_up(self) -> None:
        if self._has_begun and not self._has_failed:
            self._end_handshake("timeout", f"not over after {HANDSHAKE_S:g} s")
        else:
            self._stop_timer()
            self._raw.abort()

    def _fail(self, error: ssl.SSLError) -> None:
        if self._session.is_up:
            self._is_closed = True
            self._raw.close()
            return
        self._end_handshake(_reason_of(error), error.reason or str(error))

    def _end_handshake(self, reason: str, detail: str) -> None:
        self._stop_timer()
        self._count(reason, detail)
        self._is_closed = True
        self._raw.close()

    def _count(self, reason: str, detail: str) -> None:
        self._has_failed = True
        self._secured.fail(reason, detail, self.get_extra_info("peername"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_input(self) -> bool:
        """The other side sends nothing more; return whether the connection stays for answers."""
        if not self._at_eof:
            self._at_eof = True
            self._keeps_open = bool(self._protocol.eof_received())
            if not self._keeps_open:
                self.close()
        return self._keeps_open

    def _flush(self) -> None:
        if data := self._session.take():
            self._raw.write(data)

    # As the transport of the protocol.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._is_closed or self._is_deaf or self._has_ended or not data:
            return
        if not self._session.is_up:
            self._early.append(bytes(data))
            return
        self._session.send(bytes(data))
        self._flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if self._is_closed or self._is_deaf or self._has_ended:
            return
        if not self._session.is_up:
            self._ends_early = True
            return
        self._session.end()
        self._flush()
        if self._reads_on:  # and so the session may yet have something to write
            self._has_ended = True
            return
        self._is_deaf = True
        self._raw.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if self._is_closed:
            self._raw.close()  # which may still be open: see `_answer_plainly`
            return
        self._is_closed = True
        if self._session.is_up and not (self._is_deaf or self._has_ended):
            self._session.end()
            self._flush()
        self._raw.close()

    def abort(self) -> None:
        self._is_closed = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._is_closed or self._raw.is_closing()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        return self._raw.is_reading()

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._raw.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        match name:
            case "ssl_object":
                return self._session.tls
            case "sslcontext":
                return self._session.tls.context
            case _:
                return self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol


def _reason_of(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason in _UNSUPPORTED:
        return "unsupported"
    return "refused" if "ALERT" in reason else "broken"
