"""Programs become durable without a changed line: real clients, told of a proxy as their users do.

Nothing is sent beyond this machine, nor looked up: see `names/sitecustomize.py`.
"""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest
import trustme

from dispatcher.testing.destination import Request
from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.running import lines_of
from tests.proxy_clients.clients import Client, Clients, Proxy
from tests.proxy_clients.conftest import made

PATH = "/orders/%2F%5C//?a=1&&b=%20"
BODY = '{"order": 42}'
NOT_SENT_ON = {
    *("connection", "keep-alive", "te", "upgrade"),
    "http2-settings",  # which Java's Connection names
    "sec-fetch-mode",  # which undici sends to addresses of loopback alone
}


def lines_without_a_proxy(one: Request) -> list[bytes]:
    """The header lines of a request that came directly, but for those that end at a proxy."""
    lines = one.head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
    return [line for line in lines if _name(line) not in NOT_SENT_ON]


def _name(line: bytes) -> str:
    return line.partition(b":")[0].decode().lower()


def test_client_sends_what_it_would_send_without_a_proxy(
    client: Client, proxy: Proxy, receivers: Receivers
) -> None:
    """Request line, headers and body are the same, byte for byte, but for `Host`; each request
    goes to the host of its URL, also when they come on one connection and are alike."""
    with receivers.open() as one, receivers.open() as two, receivers.open() as direct:
        urls = [f"http://shop.test:{one.fake.port}{PATH}", f"http://stock.test:{two.fake.port}/a"]
        order = [0, 0, 1, 0, 1, 1]
        answers = client.send(*(urls[at] for at in order), proxy=proxy, body=BODY)
        assert [answer.status for answer in answers] == [202] * 6
        client.send(f"http://127.0.0.1:{direct.fake.port}{PATH}", proxy=None, body=BODY)
        (plain,) = direct.received()
        for at, receiver, name in ((0, one, "shop.test"), (1, two, "stock.test")):
            got = receiver.received(3)
            ids = {answer.id for answer, to in zip(answers, order, strict=True) if to == at}
            assert {each.headers["x-dispatcher-message-id"] for each in got} == ids
            for each in got:
                assert bytes(each.body) == BODY.encode()
                assert each.headers["host"] == f"{name}:{receiver.fake.port}"
                assert sorted(map(_without_host, lines_of(each))) == sorted(
                    map(_without_host, lines_without_a_proxy(plain))
                )
        assert one.requests[0].head.startswith(f"POST {PATH} HTTP/1.1\r\n".encode())


def _without_host(line: bytes) -> bytes:
    return b"Host" if _name(line) == "host" else line


def test_client_asks_without_a_body(client: Client, proxy: Proxy, receiver: Receiver) -> None:
    """GET is as good as any method."""
    url = f"http://shop.test:{receiver.fake.port}/?q"
    (answer,) = client.send(url, proxy=proxy, method="GET")
    assert answer.status == 202
    (one,) = receiver.received()
    assert one.head.startswith(b"GET /?q HTTP/1.1\r\n")
    assert one.headers["x-dispatcher-message-id"] == answer.id
    assert one.body_bytes == 0


def test_client_shows_its_key(client: Client, keyed: Proxy, receiver: Receiver) -> None:
    """As the password of the proxy, which does not reach the destination; without it, or with
    another, it is told that the proxy needs one."""
    url = f"http://shop.test:{receiver.fake.port}/"
    answers = client.send(url, url, proxy=keyed, body=BODY)
    assert [answer.status for answer in answers] == [202, 202]
    for one in receiver.received(2):
        assert bytes(one.body) == BODY.encode()
        assert "proxy-authorization" not in one.headers
    (refused,) = client.send(url, proxy=replace(keyed, key=""), body=BODY)
    assert refused.status == 407
    assert len(receiver.requests) == 2


def test_client_reaches_a_destination_with_tls(
    client: Client, proxy: Proxy, receivers: Receivers, authority: trustme.CA
) -> None:
    """With a header, and `http://` in the URL: the dispatcher verifies the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.test").configure_cert(context)
    with receivers.open(tls=context) as receiver:
        url = f"http://shop.test:{receiver.fake.port}{PATH}"
        (answer,) = client.send(url, proxy=proxy, body=BODY, header="X-Dispatcher-Scheme: https")
        (one,) = receiver.received()
        assert one.headers["x-dispatcher-message-id"] == answer.id
        assert one.head.startswith(f"POST {PATH} HTTP/1.1\r\n".encode())
        assert "x-dispatcher-scheme" not in one.headers


@pytest.mark.parametrize("name", ["requests", "httpx", "urllib", "go", "java-urlconnection"])
def test_client_that_asks_for_a_tunnel_is_told_what_to_do(
    clients: Clients, proxy: Proxy, receiver: Receiver, name: str
) -> None:
    """In the line of the status, which these clients show; none of them shows the body."""
    url = f"https://shop.test:{receiver.fake.port}/"
    with pytest.raises(AssertionError, match="Use http:// With X-Dispatcher-Scheme: https"):
        made(clients, name).send(url, proxy=replace(proxy, tunnels=True), body=BODY)
    assert receiver.requests == []
