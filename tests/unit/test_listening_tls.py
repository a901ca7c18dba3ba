"""TLS between a listener's sockets and its protocol."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from dispatcher.apart import apart
from dispatcher.errors import ConfigError
from dispatcher.listening import tls as tls_module
from dispatcher.listening.certificate import Certificate, read_certificate
from dispatcher.listening.tls import Secured, TlsConnection


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who issued it."""
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """What the listener shows."""
    path: Path = tmp_path_factory.mktemp("certificate")
    made = authority.issue_cert("localhost")
    made.cert_chain_pems[0].write_to_path(str(path / "cert"))
    made.private_key_pem.write_to_path(str(path / "key"))
    return read_certificate("LISTEN", path / "cert", path / "key")


class Wire(asyncio.Transport):
    """The loop's transport: keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False
        self.is_half_closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.is_half_closed = True

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 7) if name == "peername" else default


class Http(asyncio.Protocol):
    """What speaks HTTP. `stays`: it owes answers when the input ends."""

    def __init__(self, *, stays: bool = True) -> None:
        self.transport: Any = None
        self.received = b""
        self.ended = 0
        self.stays = stays

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.ended += 1
        return self.stays


class Client:
    """A client with both sides of the connection in hand."""

    def __init__(self, authority: trustme.CA, certificate: Certificate, http: Http) -> None:
        self.told: list[tuple[str, str]] = []
        self.secured = Secured(certificate, lambda reason, _, address: self._tell(reason, address))
        self.wire = Wire()
        self.http = http
        made = self.secured.secure(http)
        assert isinstance(made, TlsConnection)
        self.server: TlsConnection = made
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        authority.configure_trust(context)
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")
        self.server.connection_made(self.wire)

    def _tell(self, reason: str, address: str) -> None:
        self.told.append((reason, address))

    def pass_on(self) -> None:
        """Carry what was written to the other side, both ways."""
        if data := self._out.read():
            self.server.data_received(data)
        written, self.wire.written = self.wire.written, b""
        self._in.write(written)

    def shake_hands(self) -> None:
        """To the end."""
        for _ in range(4):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.pass_on()
            else:
                self.pass_on()
                return
        raise AssertionError("no end of the handshake")

    def send(self, data: bytes) -> None:
        """Write, and have it arrive."""
        self.tls.write(data)
        self.pass_on()

    def read(self) -> bytes:
        """All that has come, in clear."""
        self.pass_on()
        found = b""
        while True:
            try:
                data = self.tls.read(65536)
            except ssl.SSLWantReadError:
                return found
            if not data:
                return found
            found += data

    def say_goodbye(self) -> None:
        """Say that nothing more is sent (close_notify), and read on."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        data = self._out.read()
        self.server.data_received(data)


async def test_answers_reach_who_has_ended_its_side(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """The two sides of TLS end apart, as those of TCP."""
    client = Client(authority, certificate, Http(stays=True))
    client.shake_hands()
    client.send(b"request")
    client.say_goodbye()
    assert (client.http.received, client.http.ended) == (b"request", 1)
    assert client.server.eof_received()  # of TCP, after that of TLS: heard once
    assert client.http.ended == 1
    assert not client.wire.is_closed
    client.http.transport.write(b"answer")
    client.http.transport.close()
    assert client.wire.is_closed
    sealed = client.wire.written
    assert len(sealed) > len(b"answer")
    assert b"answer" not in sealed


async def test_connection_ends_where_nothing_is_owed(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """It is closed with a word."""
    client = Client(authority, certificate, Http(stays=False))
    client.shake_hands()
    client.say_goodbye()
    assert client.wire.is_closed


async def test_sending_side_is_closed_alone(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """What comes then is still heard of, whatever it is, and nothing more is written."""
    client = Client(authority, certificate, Http())
    client.shake_hands()
    client.http.transport.write(b"no")
    client.http.transport.write_eof()
    assert client.wire.is_half_closed
    assert client.read() == b"no"
    client.send(b"much more")
    assert len(client.http.received) >= len(b"much more")
    client.http.transport.write(b"late")
    client.http.transport.close()
    assert client.wire.is_closed
    assert client.wire.written == b""


async def test_what_is_written_before_the_handshake_is_over_is_kept(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """Who is refused at once is told why all the same."""
    client = Client(authority, certificate, Http())
    client.http.transport.write(b"too many")
    client.http.transport.write_eof()
    assert not client.wire.is_half_closed
    client.shake_hands()
    assert client.wire.is_half_closed
    assert client.read() == b"too many"


async def test_much_is_read_at_once(authority: trustme.CA, certificate: Certificate) -> None:
    """All records of a piece are one piece."""
    client = Client(authority, certificate, Http())
    client.shake_hands()
    client.tls.write(b"x" * 100_000)
    client.pass_on()
    assert client.http.received == b"x" * 100_000
    client.http.transport.writelines([b"y" * 50_000, bytearray(b"z" * 50_000)])
    assert client.read() == b"y" * 50_000 + b"z" * 50_000


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "plain"),
        (b"\x00\x01\x02", "plain"),
        (b"\x16\x03\x01\x00\x05hello", "broken"),
    ],
)
async def test_what_is_no_handshake_is_counted_and_closed(
    authority: trustme.CA, certificate: Certificate, first: bytes, reason: str
) -> None:
    """HTTP gets an answer."""
    client = Client(authority, certificate, Http())
    client.server.data_received(first)
    assert client.told == [(reason, "192.0.2.1")]
    assert client.secured.failed == {reason: 1}
    assert client.wire.is_closed is not first.startswith(b"GET")
    assert client.wire.written.startswith(b"HTTP/1.1 400 ") is first.startswith(b"GET")
    client.server.connection_lost(None)
    assert client.http.received == b""
    assert len(client.told) == 1


async def test_answer_to_plain_http_is_not_lost_by_what_still_comes(
    authority: trustme.CA, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that is under way is dropped, and the connection closed when it ends, when a stop asks
    for that, or when it takes too long: counted once."""
    monkeypatch.setattr(tls_module, "HANDSHAKE_S", 0.01)
    ending, stopped, slow = (Client(authority, certificate, Http()) for _ in range(3))
    for client in (ending, stopped, slow):
        client.server.data_received(b"POST / HTTP/1.1\r\n\r\n")
        client.server.data_received(bytes(1000))
        assert client.wire.is_half_closed
        assert not client.wire.is_closed
        assert client.wire.written.count(b"HTTP/1.1 400 ") == 1
    assert not ending.server.eof_received()
    stopped.http.transport.close()
    assert ending.wire.is_closed
    assert stopped.wire.is_closed
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if slow.wire.is_closed:
            break
    for client in (ending, stopped, slow):
        client.server.connection_lost(None)
        assert client.told == [("plain", "192.0.2.1")]
        assert client.http.received == b""


@pytest.mark.parametrize(("begins", "told"), [(True, ["closed"]), (False, [])])
async def test_who_goes_away_in_the_middle_is_counted(
    authority: trustme.CA, certificate: Certificate, begins: bool, told: list[str]
) -> None:
    """And not who only looks whether there is anybody."""
    client = Client(authority, certificate, Http())
    if begins:
        client.server.data_received(b"\x16\x03\x01")
    assert not client.server.eof_received()
    client.server.connection_lost(None)
    assert [reason for reason, _ in client.told] == told


async def test_handshake_has_an_end(
    authority: trustme.CA, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly it goes on."""
    monkeypatch.setattr(tls_module, "HANDSHAKE_S", 0.01)
    silent, slow, quick = (Client(authority, certificate, Http()) for _ in range(3))
    slow.server.data_received(b"\x16\x03\x01")
    quick.shake_hands()
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if silent.wire.is_closed and slow.wire.is_closed:
            break
    assert [one.told for one in (silent, slow)] == [[], [("timeout", "192.0.2.1")]]
    assert not quick.wire.is_closed


def test_old_versions_and_unreadable_files_are_refused(
    certificate: Certificate, tmp_path: Path
) -> None:
    """TLS 1.2 at least; a mistake names the setting and the file."""
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2
    with pytest.raises(ConfigError, match=r"API_TLS_CERT=.*none: No such file"):
        read_certificate("API", tmp_path / "none", tmp_path / "none")


def test_each_file_is_read_once(authority: trustme.CA, tmp_path: Path) -> None:
    """What was read is what is shown, and a pipe will do."""
    made = authority.issue_cert("localhost")
    written = {"cert": made.cert_chain_pems[0].bytes(), "key": made.private_key_pem.bytes()}
    for name, content in written.items():
        os.mkfifo(tmp_path / name)
        write = partial((tmp_path / name).write_bytes, content)
        threading.Thread(target=write, daemon=True).start()

    async def read() -> Certificate:
        files = (tmp_path / "cert", tmp_path / "key")
        return await apart(partial(read_certificate, "LISTEN", *files), name="certificate")

    found = asyncio.run(asyncio.wait_for(read(), 60))
    assert found.content == hashlib.sha256(b"\0".join(written.values())).digest()
