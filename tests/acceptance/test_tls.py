"""`https` destinations."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from dispatcher.testing.destination import Wait, answer
from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.running import dead, failed, forwarded, lines_of, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, post


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whom the server trusts."""
    return trustme.CA()


@pytest.fixture(scope="module")
def server(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that trusts one authority."""
    directory: Path = tmp_path_factory.mktemp("tls")
    file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    with ServerProcess(directory, **quick(SSL_CERT_FILE=str(file), RETRYLIMIT="1")) as made:
        yield made


def context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """What a destination with a certificate for these names needs."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(made)
    return made


@pytest.fixture
def secure(authority: trustme.CA, receivers: Receivers) -> Iterator[Receiver]:
    """A destination whose certificate is right."""
    with receivers.open(tls=context(authority, "localhost", "127.0.0.1")) as receiver:
        yield receiver


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_https_is_delivered_byte_for_byte(
    server: ServerProcess, secure: Receiver, host: str
) -> None:
    """The certificate is verified, by name or address; the rest is as with `http`."""
    port = secure.fake.port
    body = bytes(range(256)) * 2000
    data = post(f"HTTPS://{host}:{port}/base/", "X-A: 1", path="/p?q", body=body)
    one = forwarded(server, secure, data)
    assert one.head.startswith(b"POST /base/p?q HTTP/1.1\r\n")
    length = f"Content-Length: {len(body)}".encode()
    assert lines_of(one) == [f"Host: {host}:{port}".encode(), b"X-A: 1", length]
    assert bytes(one.body) == body


def test_connection_is_used_again(server: ServerProcess, secure: Receiver) -> None:
    """Handshakes are expensive."""
    for _ in range(3):
        forwarded(server, secure, post(f"https://127.0.0.1:{secure.fake.port}"))
    assert secure.fake.connections == 1


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_certificate_that_is_not_right_is_tried_again(
    server: ServerProcess, authority: trustme.CA, receivers: Receivers, wrong: str
) -> None:
    """From an authority nobody trusts, or for another host: nothing of the message is sent."""
    tls = (
        context(trustme.CA(), "127.0.0.1")
        if wrong == "authority"
        else context(authority, "other.example")
    )
    with receivers.open(tls=tls) as receiver:
        number = ask(server.listen, post(f"https://127.0.0.1:{receiver.fake.port}")).id
        event = failed(server, number)
        assert event["error"] == "tls_failed"
        assert event["next_attempt_at"] is not None
        assert dead(server, number)["reason"] == "retries_exhausted"
        assert receiver.requests == []


def test_https_to_a_destination_without_tls_is_tried_again(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Whatever it says, it is no answer."""
    receiver.fake.on_accept = answer(400)
    number = ask(server.listen, post(f"https://127.0.0.1:{receiver.fake.port}")).id
    event = failed(server, number)
    assert event["error"] == "tls_failed"
    assert event["next_attempt_at"] is not None


def test_http_to_a_destination_with_tls_is_tried_again(
    server: ServerProcess, secure: Receiver
) -> None:
    """What it says, an alert or nothing, is no answer either."""
    number = ask(server.listen, post(f"http://127.0.0.1:{secure.fake.port}")).id
    event = failed(server, number)
    assert event["error"] in {"connection_failed", "broken_response"}
    assert event["next_attempt_at"] is not None
    assert dead(server, number)["reason"] == "retries_exhausted"
    assert secure.requests == []


def test_handshake_that_does_not_end_is_a_timeout(
    server: ServerProcess, receivers: Receivers
) -> None:
    """The time of an attempt is for all of it."""
    with receivers.open(on_accept=[Wait(600)]) as receiver:
        data = post(f"https://127.0.0.1:{receiver.fake.port}", "X-Dispatcher-Timeout: 200")
        number = ask(server.listen, data).id
        assert failed(server, number)["error"] == "timeout"
